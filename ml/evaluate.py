"""Judges a stored model on bars it did not come with: newer ones, another range, another market. Any thread; no torch.

What the model was trained on is known from its package. Those bars, and a horizon and a purge around them, are left
out, whichever market the bars are of: markets move together, so the same weeks of another one are no news either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.clock import to_datetime
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import DataRange, ForecastMetrics, ForecastSpec, spec_hash
from ml.arrays import BoolArray, IntArray
from ml.baselines import BASELINES
from ml.conformal import conformity_scores
from ml.dataset import ForecastDataset, Part, PreparedBars, contiguous_stretches, prepare_bars
from ml.evaluate_folds import deflated
from ml.evaluation_plan import ModelResult
from ml.evaluators import evaluate_forecast
from ml.features import MarketHistory, pipeline_for
from ml.inference import Forecasts, OnnxForecaster, SequenceForecaster
from ml.judge import PartForecasts, conformal_metrics, part_forecasts
from ml.metric_results import ConformalMetrics
from ml.model_storage import StoredModel, data_lineage
from ml.overfitting import sharpe_moments
from ml.trading_metrics import forecast_earnings, forecast_strategy_returns
from ml.trial_ledger import EVALUATION, FINISHED, TrialLedger, TrialRecord
from ml.verdict import earnings_sentence

_FEWEST = 30  # judged bars
_FEWEST_FOR_YARDSTICKS = 300
_SET_ASIDE = 0.3  # of the judged bars, where no others can tell the yardsticks how wide ranges must be
_SIMPLE = ("zero", "persistence", "climatology")


@dataclass(frozen=True, slots=True)
class _Span:
    """Open times of the first and last bar of a part, ns UTC."""

    first_ns: int
    last_ns: int

    def mask(self, time_ns: IntArray, around_ns: int = 0) -> BoolArray:
        inside: BoolArray = (time_ns >= self.first_ns - around_ns) & (time_ns <= self.last_ns + around_ns)
        return inside


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """What fits the yardsticks and what is judged.

    Attributes:
        train / valid: rows the yardsticks are fitted and tuned on.
        judged: stretches of rows.
        own: whether `train` and `valid` are those of the model.
        note: a sentence about them; empty where they are.
    """

    train: Part
    valid: Part
    judged: tuple[Part, ...]
    own: bool
    note: str


def evaluate_model(
    stored: StoredModel,
    history: MarketHistory,
    data: DataRange,
    *,
    include_training: bool = False,
    check_stop: Callable[[], None] = lambda: None,
) -> ModelResult:
    """Judge a stored model.

    Args:
        stored: the model.
        history: bars of one market up to the end of the range, as early as there are any: those before the range warm
            up the network, and yardsticks are fitted on those the model was trained on.
        data: whose bars these are, and the range to judge.
        include_training: judge also bars the model was trained on, which flatters it.
        check_stop: called between the steps; raises to stop.

    Raises:
        UserError: another bar length, features computed differently, or too few bars that the model was not trained on.
    """
    spec, frame = stored.spec, history.frame
    if frame.timeframe.value != spec.data.timeframe:
        raise UserError(
            f"The model knows bars of {spec.data.timeframe}, not of {frame.timeframe.value}.",
            "Choose bars of that length.",
        )
    pipeline_for(spec.features, stored.feature_digest, frame.timeframe)
    prepared = prepare_bars(history, spec)
    trained, own_test, around = _spans(stored)
    near = trained.mask(frame.time_ns, around)
    wanted = _within(frame, data)
    allowed = wanted if include_training else wanted & ~near
    trained_on = int((wanted & near & prepared.has_target).sum())
    same = (data.venue, data.symbol) == (spec.data.venue, spec.data.symbol)
    layout = _layout(stored, prepared, allowed, trained_on, same=same)
    whole = OnnxForecaster(stored.onnx)
    judged = Part.of([(part.start, part.stop) for part in layout.judged])
    dataset = prepared.divided(layout.train, layout.valid, judged, stored.scaling)
    test = _forecasts(whole, dataset, layout.judged, spec)
    if len(test.rows) < _FEWEST:
        raise UserError(f"Only {len(test.rows)} bars can be judged.", "Choose a longer range or data with fewer gaps.")
    metrics = _judged(stored, dataset, frame, layout, test, whole, check_stop)
    times = frame.time_ns[test.rows]
    own = int(own_test.mask(times).sum()) if same else 0
    return ModelResult(
        model_id=stored.model_id,
        venue=data.venue,
        symbol=data.symbol,
        timeframe=data.timeframe,
        data_sha256=data_lineage(frame)["sha256"],
        first_ns=int(times[0]),
        last_ns=int(times[-1]),
        judged=len(test.rows),
        trained_on=trained_on,
        included=include_training,
        own_test=own,
        notes=_notes(stored, data, layout, trained_on, own, included=include_training, same=same),
        metrics=metrics,
    )


def count_evaluation(result: ModelResult, spec: ForecastSpec, ledger: TrialLedger, now_ns: int) -> ModelResult:
    """Write the evaluation into the ledger, once however often it is repeated, and deflate its Sharpe ratio."""
    what = [result.data_sha256, result.first_ns, result.last_ns, result.judged]
    identity = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    ledger.append(
        TrialRecord(
            trial_id=f"evaluation/{result.model_id}/{identity}",
            created_ns=now_ns,
            kind=EVALUATION,
            venue=result.venue,
            symbol=result.symbol,
            timeframe=result.timeframe,
            data_hash=result.data_sha256,
            spec_hash=spec_hash(spec),
            seed=spec.training.seed,
            status=FINISHED,
            run_id=result.model_id,
            test_sharpe=None if result.metrics.sharpe is None else result.metrics.sharpe.sharpe,
            score=result.metrics.crps,
            score_name="crps",
        )
    )
    judged_on = replace(spec, data=replace(spec.data, venue=result.venue, symbol=result.symbol))
    return replace(result, metrics=deflated(result.metrics, ledger, judged_on))


def _spans(stored: StoredModel) -> tuple[_Span, _Span, int]:
    """Return when the model was trained and validated, when it was tested, and how far around the former to stay."""
    spec, split = stored.spec, stored.manifest["split"]
    trained = _Span(int(split["train"]["first_open_ns"]), int(split["valid"]["last_open_ns"]))
    tested = _Span(int(split["test"]["first_open_ns"]), int(split["test"]["last_open_ns"]))
    return trained, tested, (spec.model.reach + spec.split.purge_bars) * Timeframe(spec.data.timeframe).ns


def _within(frame: CandleFrame, data: DataRange) -> BoolArray:
    """Return which bars the range asks for."""
    inside = np.ones(len(frame), np.bool_)
    if data.start_ns is not None:
        inside &= frame.time_ns >= data.start_ns
    if data.end_ns is not None:
        inside &= frame.time_ns < data.end_ns
    return inside


def _layout(stored: StoredModel, prepared: PreparedBars, allowed: BoolArray, trained_on: int, *, same: bool) -> _Layout:
    """Decide which rows the yardsticks learn from, and cut the others into stretches."""
    usable = np.flatnonzero(allowed & prepared.has_target)
    if len(usable) < _FEWEST:
        if trained_on:
            raise UserError(
                f"{trained_on:,} bars of that range were trained on, which leaves {len(usable):,} to judge.",
                "Choose newer bars, or add --include-training to judge them all the same.",
            )
        raise UserError(f"Only {len(usable):,} bars can be judged.", "Choose a longer range or data with fewer gaps.")
    stretches = _stretches(allowed, prepared)
    if same and _has_training_bars(stored, prepared.frame):
        split, time_ns = stored.manifest["split"], prepared.frame.time_ns
        train, valid = (
            _rows_at(time_ns, int(split[name]["first_open_ns"]), int(split[name]["last_open_ns"]))
            for name in ("train", "valid")
        )
        return _Layout(train, valid, stretches, True, "")
    reach = stored.spec.model.reach + stored.spec.split.purge_bars
    stop = max(0, int(usable[0]) - reach)
    before = int(prepared.has_target[:stop].sum())
    if before >= _FEWEST_FOR_YARDSTICKS:
        note = f"The bars it was trained on are not at hand: its yardsticks come from {before:,} earlier bars."
        return _Layout(Part(0, stop), Part(0, stop), stretches, False, note)
    cut = int(usable[int(len(usable) * _SET_ASIDE)])
    kept = allowed.copy()
    kept[: cut + reach] = False
    stretches = _stretches(kept, prepared)
    aside = Part(int(usable[0]), cut)
    if not stretches or int(prepared.has_target[aside.start : aside.stop].sum()) < _FEWEST:
        raise UserError("There are too few bars to judge and to compare with.", "Choose a longer range.")
    note = (
        f"The bars it was trained on are not at hand: its yardsticks come from the first {_SET_ASIDE:.0%} of the range."
    )
    return _Layout(aside, aside, stretches, False, note)


def _stretches(allowed: BoolArray, prepared: PreparedBars) -> tuple[Part, ...]:
    """Return the stretches in which something can be judged."""
    parts = (Part(start, stop) for start, stop in contiguous_stretches(allowed))
    return tuple(part for part in parts if prepared.has_target[part.start : part.stop].any())


def _has_training_bars(stored: StoredModel, frame: CandleFrame) -> bool:
    """Whether the very bars the model was made from are among these."""
    data = stored.manifest["data"]
    part = frame.between(int(data["first_open_ns"]), int(data["last_open_ns"]) + 1)
    return len(part) > 0 and data_lineage(part)["sha256"] == data["sha256"]


def _rows_at(time_ns: IntArray, first_ns: int, last_ns: int) -> Part:
    return Part(int(np.searchsorted(time_ns, first_ns)), int(np.searchsorted(time_ns, last_ns, side="right")))


def _forecasts(
    forecaster: SequenceForecaster, data: ForecastDataset, parts: Sequence[Part], spec: ForecastSpec
) -> PartForecasts:
    """Forecast several stretches, each as live trading would."""
    found = [part_forecasts(forecaster, data, part, spec.training.burn_in) for part in parts]
    chances = [part.forecasts.probabilities for part in found if part.forecasts.probabilities is not None]
    return PartForecasts(
        np.concatenate([part.rows for part in found]),
        Forecasts(
            np.concatenate([part.forecasts.quantiles for part in found]), np.concatenate(chances) if chances else None
        ),
    )


def _judged(
    stored: StoredModel,
    data: ForecastDataset,
    frame: CandleFrame,
    layout: _Layout,
    test: PartForecasts,
    whole: SequenceForecaster,
    check_stop: Callable[[], None],
) -> ForecastMetrics:
    spec = stored.spec
    learned = [name for name in BASELINES if spec.evaluation.boosting or name != "boosting"]
    metrics = evaluate_forecast(
        data,
        frame,
        test.rows,
        test.forecasts,
        spec.model.quantile_levels,
        forecast_std=stored.metrics.forecast_std,
        flat_band=spec.model.flat_band,
        baselines=learned if layout.own else _SIMPLE,
        before_baseline=lambda _: check_stop(),
    )
    check_stop()
    held = data.held(test.rows, data.test)
    earnings = forecast_earnings(
        test.median,
        held.log_return,
        cost=spec.evaluation.cost,
        bars_per_year=held.bars_per_year,
        bootstrap_seed=spec.training.seed,
    )
    return replace(
        metrics,
        verdict=f"{metrics.verdict} {earnings_sentence(earnings)}".rstrip(),
        conformal=_conformal(stored, data, layout, test, whole),
        earnings=earnings,
        sharpe=sharpe_moments(forecast_strategy_returns(test.median, held.log_return).returns),
    )


def _conformal(
    stored: StoredModel, data: ForecastDataset, layout: _Layout, test: PartForecasts, whole: SequenceForecaster
) -> tuple[ConformalMetrics, ...]:
    """Move the intervals by the offsets the model came with; the adaptive level begins with what was before."""
    levels = stored.spec.model.quantile_levels
    offsets = {report.horizon: report.offsets for report in stored.metrics.conformal}
    valid = _forecasts(whole, data, [layout.valid], stored.spec)
    reports = []
    for column, horizon in enumerate(data.horizons):
        if horizon not in offsets:
            continue
        outcome, unit = data.log_return[:, column], data.unit[:, column]
        known = valid.forecasts.quantiles[:, column]
        scores = conformity_scores(known[:, 0], known[:, -1], outcome[valid.rows], unit[valid.rows])
        seen = test.forecasts.quantiles[:, column]
        reports.append(
            conformal_metrics(horizon, levels, seen, outcome[test.rows], unit[test.rows], offsets[horizon], scores)
        )
    return tuple(reports)


def _notes(
    stored: StoredModel, data: DataRange, layout: _Layout, trained_on: int, own: int, *, included: bool, same: bool
) -> tuple[str, ...]:
    spec, notes = stored.spec, []
    if not same:
        notes.append(
            f"ANOTHER MARKET: the model was trained on {spec.data.venue} {spec.data.symbol} and is judged on "
            f"{data.venue} {data.symbol}."
        )
    if trained_on:
        trained, _, _ = _spans(stored)
        when = f"{to_datetime(trained.first_ns):%Y-%m-%d} to {to_datetime(trained.last_ns):%Y-%m-%d}"
        if included:
            notes.append(
                f"{trained_on:,} of these bars are from the time it was trained on ({when}): the figures flatter it."
            )
        else:
            notes.append(f"{trained_on:,} bars from the time it was trained on ({when}) are left out.")
    if own:
        notes.append(f"{own:,} of these bars were its own test, which it was judged on before.")
    if layout.note:
        notes.append(layout.note)
    if not stored.metrics.conformal:
        notes.append("The model was stored without measured intervals; only its own are shown.")
    return tuple(notes)
