"""What the folds of an evaluation say together: one out-of-sample series, or a distribution of paths. Any thread.

numpy only; the networks are trained by `ml.worker.folds`. A training label never reaches into what a held-out row looks
at, nor the other way round: the purge is as long as the features look back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from core.errors import UserError
from ml.api import ForecastMetrics, ForecastSpec
from ml.arrays import IntArray
from ml.bootstrap import seed_summary
from ml.dataset import ForecastDataset, Part, PreparedBars
from ml.evaluation_plan import COMBINATORIAL, EvaluationPlan, FoldScore, PathScore, Spread
from ml.evaluators import forecast_metrics, judge_horizon
from ml.fold_store import Block, FoldOutcome, joined
from ml.held_moves import held_apart, held_on
from ml.metric_results import HorizonMetrics, SeedScore
from ml.metrics.point import point_metrics
from ml.metrics.quantile import crps_of_quantiles
from ml.run_metrics import sign_sharpe, with_seeds, with_trading
from ml.statistic_results import SeedSummary
from ml.trading_metrics import forecast_strategy_returns, trading_metrics
from ml.validation import (
    CombinatorialSplits,
    Fold,
    Guard,
    combinatorial_purged,
    walk_forward,
    with_validation,
)
from ml.verdict import SIGNIFICANCE, has_edge, luck_sentence

_FEWEST = 30  # targets in a part, as in an ordinary split


@dataclass(frozen=True, slots=True)
class Folds:
    """The folds of a plan, in rows of the bars.

    Attributes:
        folds: what trains, stops early and judges.
        splits: how the combinatorial folds make paths; None for walk-forward.
    """

    folds: tuple[Fold, ...]
    splits: CombinatorialSplits | None


def plan_folds(prepared: PreparedBars, spec: ForecastSpec, plan: EvaluationPlan) -> Folds:
    """Lay a plan over bars.

    Raises:
        UserError: too few bars for it.
    """
    rows = prepared.target_rows()
    size = len(rows)
    guard = Guard(
        horizon=spec.model.reach,
        purge=max(spec.split.purge_bars, prepared.pipeline.warm_up),
        embargo=int(plan.embargo * size),
    )
    if plan.scheme == COMBINATORIAL:
        splits = combinatorial_purged(size, groups=plan.groups, test_groups=plan.test_groups, guard=guard)
        folds = tuple(_validated(fold, plan, guard) for fold in splits.folds)
    else:
        splits = None
        begin = int(plan.train_share * size)
        valid = int(plan.valid_share * begin)
        train = begin - valid - guard.before - guard.behind
        _require(train)
        folds = walk_forward(size, train_size=train, valid_size=valid, guard=guard, folds=plan.folds, mode=plan.mode)
    for fold in folds:
        _require(
            min(len(fold.train_rows()) - 2 * spec.training.segment_length, len(fold.valid or ()), *map(len, fold.test))
        )
    return Folds(tuple(fold.at(rows) for fold in folds), splits)


def fold_dataset(prepared: PreparedBars, fold: Fold) -> ForecastDataset:
    """Return the dataset of one fold, scaled by what its own training rows say.

    Args:
        prepared: the bars.
        fold: in rows of the bars, with a validation part. Its test part is the whole stretch from the first to the last
            test block: use `judged_parts` for what is tested.
    """
    assert fold.valid is not None
    train = Part.of([(interval.start, interval.stop) for interval in fold.train])
    valid = Part(fold.valid.start, fold.valid.stop)
    test = Part.of([(interval.start, interval.stop) for interval in fold.test])
    return prepared.divided(train, valid, test, prepared.scaling(train))


def judged_parts(fold: Fold) -> tuple[Part, ...]:
    """Return the test blocks of a fold in rows of the bars."""
    return tuple(Part(interval.start, interval.stop) for interval in fold.test)


def fold_score(number: int, outcome: FoldOutcome, spec: ForecastSpec) -> FoldScore:
    """Judge one fold at the first horizon."""
    # What lies between its test blocks trains it: nothing is held over that.
    block, record = joined(outcome.blocks, held_apart), outcome.record
    judged = judge_horizon(*block.pairs[0])
    sharpe, earned = _trading(block, spec)
    times = _times(block)
    return FoldScore(
        fold=number,
        train_from_ns=record.train_from_ns,
        train_to_ns=record.train_to_ns,
        test_from_ns=int(times[0]),
        test_to_ns=int(times[-1]),
        train_targets=record.train_targets,
        valid_targets=record.valid_targets,
        targets=judged.targets,
        epochs=float(np.mean([seed.best_epoch for seed in record.seeds])),
        crps_skill=judged.crps_skill,
        r2=judged.model.r2,
        ic=judged.model.ic,
        hit_rate=judged.model.hit_rate,
        coverage=judged.ranges.coverage,
        sharpe=sharpe,
        net_return=earned,
    )


def path_scores(
    outcomes: Sequence[FoldOutcome], splits: CombinatorialSplits, spec: ForecastSpec, tries: int
) -> tuple[PathScore, ...]:
    """Judge every path of the combinatorial scheme at the first horizon, as a walk-forward series is judged.

    Args:
        outcomes: of the folds.
        splits: which folds make a path.
        spec: of the evaluation.
        tries: see `ml.trial_claims.judged_tries`.
    """
    scores = []
    for number, path in enumerate(splits.paths, start=1):
        blocks = [outcomes[fold].blocks[splits.tested[fold].index(group)] for group, fold in enumerate(path)]
        block = joined(blocks, held_on)
        judged = judge_horizon(*block.pairs[0])
        sharpe, earned = _trading(block, spec)
        scores.append(
            PathScore(
                path=number,
                targets=judged.targets,
                crps_skill=judged.crps_skill,
                r2=judged.model.r2,
                ic=judged.model.ic,
                sharpe=sharpe,
                net_return=earned,
                edge_p_value=judged.edge_p_value,
                edge=has_edge(judged, tries),
                range_edge=judged.range_edge,
            )
        )
    return tuple(scores)


class Scored(Protocol):
    """What `spread` looks at; folds and paths have it."""

    @property
    def crps_skill(self) -> float:
        """See `FoldScore`."""
        ...

    @property
    def r2(self) -> float:
        """See `FoldScore`."""
        ...

    @property
    def sharpe(self) -> float | None:
        """See `FoldScore`."""
        ...

    @property
    def net_return(self) -> float | None:
        """See `FoldScore`."""
        ...


def spread(scores: Sequence[Scored], seed: int | None) -> Spread:
    """Return what folds or paths agree on.

    Args:
        scores: at least one.
        seed: of the bootstrap over folds; None for paths: they judge the same bars, so that resampling them would say
            nothing about others.
    """
    returns = [score.net_return for score in scores if score.net_return is not None]
    return Spread(
        crps_skill=_summary([score.crps_skill for score in scores], seed),
        r2=_summary([score.r2 for score in scores], seed),
        sharpe=_summary([score.sharpe for score in scores if score.sharpe is not None], seed),
        better=float(np.mean([score.crps_skill > 0.0 for score in scores])),
        probability_of_loss=float(np.mean(np.array(returns) < 0.0)) if returns else None,
    )


def walk_forward_metrics(
    outcomes: Sequence[FoldOutcome], spec: ForecastSpec, *, check_stop: Callable[[], None] = lambda: None
) -> ForecastMetrics:
    """Judge the tests of all folds, in time order, as one series no network of which saw its bars."""
    block = joined([block for outcome in outcomes for block in outcome.blocks], held_on)
    judged: list[HorizonMetrics] = []
    for pair in block.pairs:
        check_stop()
        judged.append(judge_horizon(*pair))
    records = [outcome.record for outcome in outcomes]
    metrics = forecast_metrics(
        judged,
        forecast_std=float(np.mean([record.forecast_std for record in records])),
        target_std=float(np.mean([record.target_std for record in records])),
    )
    seeded = with_seeds(metrics, _seed_scores(block, outcomes), spec)
    return with_trading(seeded, block.first.centre, block.held, spec)


def walk_forward_verdict(metrics: ForecastMetrics, folds: Sequence[FoldScore]) -> str:
    """Return the verdict on the whole series, and how steady it was."""
    better, ahead = sum(fold.crps_skill > 0.0 for fold in folds), sum(fold.r2 > 0.0 for fold in folds)
    return (
        f"{metrics.verdict} Its ranges beat those of past volatility in {better} of {len(folds)} folds, its point "
        f"forecasts an unchanged price in {ahead}."
    )


def paths_verdict(spread_: Spread, paths: Sequence[PathScore], tries: int) -> str:
    """Return what the paths of the combinatorial scheme allow to say: only what each of them was tested for."""
    assert spread_.r2 is not None
    r2, count, shown = spread_.r2, len(paths), sum(path.edge for path in paths)
    figures = f"R² {r2.minimum:+.2%} to {r2.maximum:+.2%}, median {r2.median:+.2%}"
    what = "vidence of an edge over every naive forecast before costs"
    if shown:
        steady = "" if shown == count else ": no steady edge"
        sentences = [f"E{what} on {shown} of {count} paths ({figures}){steady}."]
    else:
        sentences = [f"No e{what} on any of {count} paths ({figures})."]
    if shown < count and any(path.edge_p_value < SIGNIFICANCE and not path.edge for path in paths) and tries > 1:
        sentences.append(luck_sentence(tries))
    ranges = sum(path.range_edge for path in paths)
    sentences += [
        f"Evidence that its ranges beat those of past volatility on {ranges} of {count}.",
        "All paths judge the same bars: their spread shows what the training decides, and is no confidence interval.",
    ]
    if spread_.probability_of_loss is not None:
        sentences.append(
            f"Trading its sign at every bar loses money on {spread_.probability_of_loss:.0%} of the paths."
        )
    return " ".join(sentences)


def _validated(fold: Fold, plan: EvaluationPlan, guard: Guard) -> Fold:
    """Take the validation part of a combinatorial fold from the end of its longest training stretch."""
    longest = max(len(interval) for interval in fold.train)
    size = min(int(plan.valid_share * len(fold.train_rows())), longest // 2)
    _require(size)
    return with_validation(fold, size, guard)


def _require(targets: int) -> None:
    if targets < _FEWEST:
        raise UserError(
            "There are too few bars for these folds.",
            "Choose a longer range, fewer folds or groups, or a shorter purge, embargo or segment.",
        )


def _trading(block: Block, spec: ForecastSpec) -> tuple[float | None, float | None]:
    """Return the annualised Sharpe ratio before costs and the return after them, of holding the sign."""
    centre = block.first.centre
    ratio = sign_sharpe(centre, block.held.log_return)
    paid = forecast_strategy_returns(centre, block.held.log_return, spec.evaluation.cost).returns
    year = block.held.bars_per_year
    figures = trading_metrics(np.maximum(paid, -1.0), bars_per_year=year)
    return None if ratio is None else ratio * math.sqrt(year), figures.total_return


def _seed_scores(block: Block, outcomes: Sequence[FoldOutcome]) -> tuple[SeedScore, ...]:
    """Judge each seed alone over all folds; epochs and losses are means over them."""
    forecast, scores = block.first, []
    for index, quantiles in enumerate(block.seed_quantiles):
        centre = quantiles[:, len(forecast.levels) // 2]
        point = point_metrics("model", centre, forecast.outcome, forecast.horizon)
        records = [outcome.record.seeds[index] for outcome in outcomes]
        sharpes = [record.valid_sharpe for record in records if record.valid_sharpe is not None]
        scores.append(
            SeedScore(
                seed=records[0].seed,
                epochs=sum(record.epochs for record in records),
                best_epoch=round(float(np.mean([record.best_epoch for record in records]))),
                valid_loss=float(np.mean([record.valid_loss for record in records])),
                crps=float(crps_of_quantiles(quantiles, forecast.outcome, forecast.levels).mean()),
                r2=point.r2,
                ic=point.ic,
                hit_rate=point.hit_rate,
                valid_sharpe=float(np.mean(sharpes)) if sharpes else None,
                test_sharpe=sign_sharpe(centre, block.held.log_return),
            )
        )
    return tuple(scores)


def _times(block: Block) -> IntArray:
    assert block.first.time_ns is not None
    return block.first.time_ns


def _summary(values: list[float], seed: int | None) -> SeedSummary | None:
    if not values:
        return None
    if seed is None:
        return replace(seed_summary(np.array(values)), low=None, high=None, iqm_low=None, iqm_high=None)
    return seed_summary(np.array(values), seed=seed)
