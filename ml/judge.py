"""The whole judgement of a trained forecaster on bars it never saw. Any thread; numpy, and scikit-learn for baselines.

The test part is forecast once by the network that is stored and once by each of its seeds alone; nothing here chooses
anything by what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml.api import ForecastMetrics, ForecastSpec
from ml.arrays import FloatArray, IntArray
from ml.baselines import chosen_baselines
from ml.conformal import (
    AdaptiveConformal,
    AdaptiveOptions,
    adaptive_intervals,
    calibrate_quantiles,
    conformal_quantiles,
    conformity_scores,
)
from ml.dataset import ForecastDataset, Part
from ml.evaluators import evaluate_forecast
from ml.feature_sources import Bars
from ml.inference import Forecasts, SequenceForecaster, forecast_rows
from ml.metric_results import ConformalMetrics, FeatureImportance, SeedScore
from ml.metrics.point import point_metrics
from ml.metrics.quantile import crps_of_quantiles
from ml.run_metrics import sign_sharpe, with_seeds, with_trading
from ml.statistic_results import ConformalOffset
from ml.trial_claims import settle_claims
from ml.trial_ledger import FINISHED, TRAINING, TrialLedger, trial_record

_CONFORMAL_ROWS = 50  # fewer validation bars say nothing about an interval


@dataclass(frozen=True, slots=True, eq=False)
class PartForecasts:
    """Forecasts of one part of the split, in log return.

    Attributes:
        rows: forecast, shape (n,).
        forecasts: of these rows.
    """

    rows: IntArray
    forecasts: Forecasts

    @property
    def median(self) -> FloatArray:
        """Median at the first horizon, shape (n,)."""
        return self.forecasts.quantiles[:, 0, self.forecasts.quantiles.shape[2] // 2]


@dataclass(frozen=True, slots=True, eq=False)
class SeedForecaster:
    """The network of one seed and how its training went."""

    seed: int
    epochs: int
    best_epoch: int
    valid_loss: float
    forecaster: SequenceForecaster


def part_forecasts(forecaster: SequenceForecaster, data: ForecastDataset, part: Part, burn_in: int) -> PartForecasts:
    """Forecast a part as live trading would; inputs may reach back before it, targets may not."""
    rows, forecasts = forecast_rows(forecaster, data, max(0, part.start - 4 * burn_in), part.stop, burn_in)
    inside = rows >= part.start
    chances = forecasts.probabilities
    return PartForecasts(
        rows[inside], Forecasts(forecasts.quantiles[inside], None if chances is None else chances[inside])
    )


def judge(
    data: ForecastDataset,
    spec: ForecastSpec,
    bars: Bars,
    whole: SequenceForecaster,
    seeds: Sequence[SeedForecaster],
    *,
    check_stop: Callable[[], None] = lambda: None,
) -> ForecastMetrics:
    """Judge a forecaster.

    Args:
        data / spec: of the run.
        bars: the dataset was made of.
        whole: the network that is stored.
        seeds: its members alone.
        check_stop: called between the steps; raises to stop.
    """
    burn_in = spec.training.burn_in
    valid = part_forecasts(whole, data, data.valid, burn_in)
    test = part_forecasts(whole, data, data.test, burn_in)
    check_stop()
    metrics = evaluate_forecast(
        data,
        bars,
        test.rows,
        test.forecasts,
        spec.model.quantile_levels,
        forecast_std=float(valid.median.std()),
        flat_band=spec.model.flat_band,
        baselines=chosen_baselines(boosting=spec.evaluation.boosting),
        before_baseline=lambda _: check_stop(),
    )
    scores = [_seed_score(data, spec, seed) for seed in seeds]
    check_stop()
    traded = with_trading(with_seeds(metrics, scores, spec), test.median, data.held(test.rows, data.test), spec)
    return replace(
        traded,
        conformal=_conformal(data, spec, valid, test),
        importance=feature_importance(data, spec, whole, check_stop),
    )


def _seed_score(data: ForecastDataset, spec: ForecastSpec, seed: SeedForecaster) -> SeedScore:
    burn_in, levels = spec.training.burn_in, spec.model.quantile_levels
    valid = part_forecasts(seed.forecaster, data, data.valid, burn_in)
    test = part_forecasts(seed.forecaster, data, data.test, burn_in)
    outcome = data.log_return[test.rows, 0]
    point = point_metrics("model", test.median, outcome, data.horizons[0])
    return SeedScore(
        seed=seed.seed,
        epochs=seed.epochs,
        best_epoch=seed.best_epoch,
        valid_loss=seed.valid_loss,
        crps=float(crps_of_quantiles(test.forecasts.quantiles[:, 0], outcome, levels).mean()),
        r2=point.r2,
        ic=point.ic,
        hit_rate=point.hit_rate,
        valid_sharpe=sign_sharpe(valid.median, data.held(valid.rows, data.valid).log_return),
        test_sharpe=sign_sharpe(test.median, data.held(test.rows, data.test).log_return),
    )


def _conformal(
    data: ForecastDataset, spec: ForecastSpec, valid: PartForecasts, test: PartForecasts
) -> tuple[ConformalMetrics, ...]:
    """Measure offsets on the validation part and see on the test part whether the intervals keep their promise."""
    levels = spec.model.quantile_levels
    if len(valid.rows) < _CONFORMAL_ROWS:
        return ()
    reports = []
    for column, horizon in enumerate(data.horizons):
        known, seen = valid.forecasts.quantiles[:, column], test.forecasts.quantiles[:, column]
        outcome, unit = data.log_return[:, column], data.unit[:, column]
        offsets = calibrate_quantiles(known, levels, outcome[valid.rows], unit[valid.rows])
        scores = outer_scores(data, column, valid)
        reports.append(conformal_metrics(horizon, levels, seen, outcome[test.rows], unit[test.rows], offsets, scores))
    return tuple(reports)


def outer_scores(data: ForecastDataset, column: int, known: PartForecasts) -> FloatArray:
    """Return how far outcomes lie outside the outer interval of one horizon, which is negative inside, shape (n,)."""
    quantiles, rows = known.forecasts.quantiles[:, column], known.rows
    return conformity_scores(quantiles[:, 0], quantiles[:, -1], data.log_return[rows, column], data.unit[rows, column])


def conformal_metrics(
    horizon: int,
    levels: tuple[float, ...],
    quantiles: FloatArray,
    outcome: FloatArray,
    unit: FloatArray,
    offsets: tuple[ConformalOffset, ...],
    scores: FloatArray,
) -> ConformalMetrics:
    """See whether the outer interval of one horizon keeps its promise: as it is, moved, and adapting.

    Args:
        horizon / levels: of the forecasts.
        quantiles / outcome / unit: of judged bars in time order, shapes (n, Q), (n,) and (n,).
        offsets: measured on earlier bars.
        scores: of earlier bars, which the adaptive level begins with; they may be none.
    """
    moved = conformal_quantiles(quantiles, unit, offsets)
    nominal = levels[-1] - levels[0]
    start = AdaptiveConformal.start(AdaptiveOptions(alpha=1.0 - nominal, horizon=horizon), scores).state()
    adaptive = adaptive_intervals(quantiles[:, 0], quantiles[:, -1], outcome, unit, start)
    return ConformalMetrics(
        horizon=horizon,
        nominal_coverage=nominal,
        coverage=_covered(quantiles[:, 0], quantiles[:, -1], outcome),
        width=float((quantiles[:, -1] - quantiles[:, 0]).mean()),
        split_coverage=_covered(moved[:, 0], moved[:, -1], outcome),
        split_width=_finite_mean(moved[:, -1] - moved[:, 0]),
        adaptive_coverage=float(adaptive.covered.mean()),
        adaptive_width=_finite_mean(adaptive.upper - adaptive.lower),
        offsets=offsets,
        adaptive_infinite=float((~np.isfinite(adaptive.upper - adaptive.lower)).mean()),
    )


def _covered(low: FloatArray, high: FloatArray, outcome: FloatArray) -> float:
    return float(((outcome >= low) & (outcome <= high)).mean())


def _finite_mean(values: FloatArray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def feature_importance(
    data: ForecastDataset, spec: ForecastSpec, forecaster: SequenceForecaster, check_stop: Callable[[], None]
) -> tuple[FeatureImportance, ...]:
    """Shuffle one feature after the other over the validation part and see how much worse the forecasts become.

    Breiman (2001); the validation part, because the test part is looked at once. A feature whose worth another one
    carries as well shows little.
    """
    repeats, burn_in = spec.evaluation.permutation_repeats, spec.training.burn_in
    if not repeats:
        return ()
    start, stop = max(0, data.valid.start - 4 * burn_in), data.valid.stop
    shuffled = np.flatnonzero(data.has_input[start:stop]) + start

    def crps(inputs: ForecastDataset) -> float:
        part = part_forecasts(forecaster, inputs, data.valid, burn_in)
        losses = crps_of_quantiles(
            part.forecasts.quantiles[:, 0], data.log_return[part.rows, 0], spec.model.quantile_levels
        )
        return float(losses.mean())

    whole = crps(data)
    rng = np.random.default_rng(spec.training.seed)
    results = []
    for column, name in enumerate(data.pipeline.names):
        rises = []
        for _ in range(repeats):
            check_stop()
            inputs = data.inputs.copy()
            inputs[shuffled, column] = inputs[rng.permutation(shuffled), column]
            rises.append(crps(replace(data, inputs=inputs)) / whole - 1.0)
        deviation = float(np.std(rises, ddof=1)) if repeats > 1 else None
        results.append(FeatureImportance(name, float(np.mean(rises)), deviation))
    return tuple(sorted(results, key=lambda row: -row.loss))


def count_trials(
    ledger: TrialLedger, metrics: ForecastMetrics, spec: ForecastSpec, run_id: str, hashes: tuple[str, str], now_ns: int
) -> ForecastMetrics:
    """Write every seed of a run into the ledger and claim no more than all trials of the market so far allow.

    Args:
        ledger: of the data folder.
        metrics: of the run.
        spec / run_id: of the run.
        hashes: of the bars and of the specification without its seed.
        now_ns: ns UTC.
    """
    ledger.append_all(
        replace(
            trial_record(TRAINING, spec, run_id, hashes, score.seed, FINISHED, now_ns),
            valid_sharpe=score.valid_sharpe,
            test_sharpe=score.test_sharpe,
            score=score.crps,
            score_name="crps",
        )
        for score in metrics.seeds
    )
    return settle_claims(metrics, ledger, spec)
