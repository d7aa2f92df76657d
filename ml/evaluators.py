"""Honest figures: a model beside its baselines on the same bars it never saw. Any thread; numpy only.

`judge_horizon` works on plain arrays, one horizon at a time; `forecast_metrics` puts the horizons together. Everything
is computed from first principles in `ml.metrics`; the tests compare with scikit-learn, scipy, statsmodels and
scoringrules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml.api import TREND_SLOW
from ml.arrays import Float32Array, FloatArray, IntArray
from ml.baselines import BaselineForecast, BaselineInputs, fit_baselines
from ml.dataset import ForecastDataset
from ml.feature_sources import Bars
from ml.inference import Forecasts
from ml.metric_results import (
    ClassMetrics,
    Comparison,
    ForecastMetrics,
    HorizonMetrics,
    RegimeMetrics,
)
from ml.metrics.calibration import calibration
from ml.metrics.classification import class_metrics
from ml.metrics.comparison import diebold_mariano
from ml.metrics.point import correlation, hit_rate, icir, point_metrics, skill
from ml.metrics.quantile import crps_of_quantiles, inside_outer, range_metrics
from ml.metrics.regimes import RegimeCodes, trailing_return, trend_regimes, volatility_regimes
from ml.verdict import SIGNIFICANCE, verdict

REFERENCE = "zero"  # the baseline every forecast needs: the price stays, with ranges as wide as volatility was
PERSISTENCE = "persistence"
CLIMATOLOGY = "climatology"
# Forecasts that know nothing of the bar; over a rising market the mean of the past alone beats a price that stays.
NAIVE = (REFERENCE, PERSISTENCE, CLIMATOLOGY)
_FEWEST_IN_REGIME = 30
_ROUNDING = 1e-7  # log return by which quantiles of a network in single precision may cross


@dataclass(frozen=True, slots=True, eq=False)
class HorizonForecast:
    """What a model says about test rows in time order, and what came.

    Attributes:
        horizon: bars ahead.
        levels: of the quantiles, ascending, the median in the middle.
        quantiles: log returns over the horizon, ascending within each row, shape (n, Q).
        outcome: log returns over the horizon, shape (n,).
        point: forecast of the mean, shape (n,); the median where None.
        probabilities: of down, flat and up, shape (n, 3), and the class that came, codes 0 to 2, shape (n,).
        regimes: ways to divide the rows.
        time_ns: open times of the bars forecast from, ns UTC, shape (n,); only for the IC of calendar blocks.
    """

    horizon: int
    levels: tuple[float, ...]
    quantiles: FloatArray
    outcome: FloatArray
    point: FloatArray | None = None
    probabilities: FloatArray | None = None
    classes: IntArray | None = None
    regimes: tuple[RegimeCodes, ...] = ()
    time_ns: IntArray | None = None

    @property
    def centre(self) -> FloatArray:
        """The point forecast, shape (n,)."""
        return self.quantiles[:, len(self.levels) // 2] if self.point is None else self.point


def judge_horizon(forecast: HorizonForecast, baselines: Sequence[BaselineForecast], *, seed: int = 0) -> HorizonMetrics:
    """Judge one horizon of a model beside baselines on the same rows.

    Args:
        forecast: of the model.
        baselines: must hold `zero` with quantiles.
        seed: of the draws where the probability integral transform is not determined.

    Raises:
        ValueError: arrays that do not fit together, or no zero baseline.
    """
    _check(forecast, baselines)
    forecast = replace(forecast, quantiles=np.sort(forecast.quantiles, axis=1))
    outcome, horizon, levels = forecast.outcome, forecast.horizon, forecast.levels
    by_name = {baseline.name: baseline for baseline in baselines}
    persistence = by_name[PERSISTENCE].point if PERSISTENCE in by_name else None
    model = point_metrics("model", forecast.centre, outcome, horizon, persistence=persistence)
    points = tuple(
        point_metrics(row.name, row.point, outcome, horizon, persistence=persistence)
        for row in baselines
        if row.point is not None
    )
    ranges = range_metrics("model", forecast.quantiles, outcome, levels)
    baseline_ranges = tuple(
        range_metrics(row.name, row.quantiles, outcome, levels) for row in baselines if row.quantiles is not None
    )
    comparisons = _comparisons(forecast, baselines)
    naive = [c.p_better for c in comparisons if c.loss == "squared" and c.baseline in NAIVE]
    p_value = max(naive)
    ranges_of = [c for c in comparisons if c.loss == "crps" and c.baseline in (REFERENCE, CLIMATOLOGY)]
    ic_ratio, block = icir(forecast.centre, outcome, forecast.time_ns)
    return HorizonMetrics(
        horizon=horizon,
        targets=len(outcome),
        effective_targets=len(outcome) // horizon,
        model=model,
        baselines=points,
        ranges=ranges,
        baseline_ranges=baseline_ranges,
        crps_skill=skill(ranges.crps, next(row.crps for row in baseline_ranges if row.name == REFERENCE)),
        comparisons=comparisons,
        calibration=calibration(forecast.quantiles, outcome, levels, horizon, np.random.default_rng(seed)),
        edge_p_value=p_value,
        edge=p_value < SIGNIFICANCE and model.r2 > 0.0 and (model.ic or 0.0) > 0.0,
        range_edge=all(c.gain > 0.0 and c.p_better < SIGNIFICANCE for c in ranges_of),
        icir=ic_ratio,
        icir_block=block,
        classes=_model_classes(forecast),
        baseline_classes=_baseline_classes(forecast, baselines),
        regimes=_regimes(forecast, by_name[REFERENCE]),
    )


def forecast_metrics(horizons: Sequence[HorizonMetrics], *, forecast_std: float, target_std: float) -> ForecastMetrics:
    """Put the judged horizons together; the first one is the main one.

    Args:
        horizons: from `judge_horizon`, at least one.
        forecast_std: standard deviation of the first horizon's point forecasts of the validation part.
        target_std: standard deviation of its training targets.
    """
    main = horizons[0]
    reference = next(row for row in main.baseline_ranges if row.name == REFERENCE)
    return ForecastMetrics(
        targets=main.targets,
        effective_targets=main.effective_targets,
        model=main.model,
        baselines=main.baselines,
        pinball=main.ranges.pinball,
        pinball_baseline=reference.pinball,
        coverage=main.ranges.coverage,
        nominal_coverage=main.ranges.nominal_coverage,
        edge_p_value=main.edge_p_value,
        edge=main.edge,
        forecast_std=forecast_std,
        target_std=target_std,
        verdict=verdict(main),
        crps=main.ranges.crps,
        crps_baseline=reference.crps,
        crps_skill=main.crps_skill,
        horizons=tuple(horizons),
    )


def baseline_inputs(
    data: ForecastDataset, rows: IntArray, levels: tuple[float, ...], column: int = 0, flat_band: float | None = None
) -> BaselineInputs:
    """Return what the baselines of test rows need from a dataset.

    The last return of a bar is the target of the bar one horizon earlier; it counts as 0 across a gap.

    Args:
        data: the dataset.
        rows: test rows.
        levels: of the quantiles.
        column: which of the horizons.
        flat_band: half width of the class "flat" in units of the target; None where nothing is classified.
    """
    train, valid = data.rows(data.train), data.rows(data.valid)
    horizon, outcome, unit = data.horizons[column], data.log_return[:, column], data.unit[:, column]
    last = np.concatenate([np.zeros(horizon), outcome[:-horizon]])
    classes = None if flat_band is None else target_classes(data.target[:, column], flat_band)
    return BaselineInputs(
        x_train=data.inputs[train],
        y_train=outcome[train],
        unit_train=unit[train],
        last_train=last[train],
        x_valid=data.inputs[valid],
        y_valid=outcome[valid],
        unit_valid=unit[valid],
        x_test=data.inputs[rows],
        unit_test=unit[rows],
        last_test=last[rows],
        levels=levels,
        classes_train=None if classes is None else classes[train],
        classes_valid=None if classes is None else classes[valid],
    )


def target_classes(target: Float32Array, flat_band: float) -> IntArray:
    """Return 0, 1 or 2 for down, flat or up, of targets in units of volatility."""
    return (target > -flat_band).astype(np.int64) + (target > flat_band)


def evaluate_forecast(
    data: ForecastDataset,
    bars: Bars,
    rows: IntArray,
    forecasts: Forecasts,
    levels: tuple[float, ...],
    *,
    forecast_std: float,
    flat_band: float | None = None,
    baselines: Sequence[str] | None = None,
    before_baseline: Callable[[str], None] | None = None,
) -> ForecastMetrics:
    """Judge the forecasts of a dataset's test rows, every horizon beside baselines fitted on the same split.

    Args:
        data / bars / rows / forecasts / levels / flat_band / baselines / before_baseline: as in `judged_pairs`.
        forecast_std: standard deviation of the first horizon's medians of the validation part.
    """
    pairs = judged_pairs(
        data,
        bars,
        rows,
        forecasts,
        levels,
        flat_band=flat_band,
        baselines=baselines,
        before_baseline=before_baseline,
    )
    target_std = float(data.log_return[data.rows(data.train), 0].std())
    return forecast_metrics([judge_horizon(*pair) for pair in pairs], forecast_std=forecast_std, target_std=target_std)


def judged_pairs(
    data: ForecastDataset,
    bars: Bars,
    rows: IntArray,
    forecasts: Forecasts,
    levels: tuple[float, ...],
    *,
    flat_band: float | None = None,
    baselines: Sequence[str] | None = None,
    before_baseline: Callable[[str], None] | None = None,
) -> list[tuple[HorizonForecast, tuple[BaselineForecast, ...]]]:
    """Return for every horizon what `judge_horizon` wants: the model's forecasts, and baselines of the same rows.

    Args:
        data: the dataset.
        bars: it was made of.
        rows: test rows that were forecast, ascending, shape (n,).
        forecasts: log return quantiles (n, H, Q) and, where the model has them, chances (n, H, 3).
        levels: of the quantiles, the median in the middle.
        flat_band: of the classes; needed where there are chances.
        baselines: names from `ml.baselines.BASELINES`, `zero` among them; all if None.
        before_baseline: called with the name of each before it is fitted, to report or to stop.
    """
    band = None if forecasts.probabilities is None else flat_band
    regimes = (
        volatility_regimes(data.volatility[data.rows(data.train)], data.volatility[rows]),
        trend_regimes(trailing_return(bars.close, TREND_SLOW)[rows]),
    )
    pairs = []
    for column, horizon in enumerate(data.horizons):
        inputs = baseline_inputs(data, rows, levels, column, band)
        forecast = HorizonForecast(
            horizon=horizon,
            levels=levels,
            quantiles=forecasts.quantiles[:, column],
            outcome=data.log_return[rows, column],
            probabilities=None if forecasts.probabilities is None else forecasts.probabilities[:, column],
            classes=None if band is None else target_classes(data.target[rows, column], band),
            regimes=regimes,
            time_ns=bars.time_ns[rows],
        )
        pairs.append((forecast, fit_baselines(inputs, baselines, before_baseline)))
    return pairs


def _check(forecast: HorizonForecast, baselines: Sequence[BaselineForecast]) -> None:
    size, count = len(forecast.outcome), len(forecast.levels)
    if forecast.quantiles.shape != (size, count):
        raise ValueError(f"quantiles of shape {forecast.quantiles.shape} for {size} outcomes and {count} levels")
    if not (np.isfinite(forecast.quantiles).all() and np.isfinite(forecast.outcome).all()):
        raise ValueError("quantiles and outcomes must be finite")
    if (np.diff(forecast.quantiles, axis=1) < -_ROUNDING).any():
        raise ValueError("quantiles must not cross")
    if (forecast.probabilities is None) != (forecast.classes is None):
        raise ValueError("probabilities and classes belong together")
    if not any(row.name == REFERENCE and row.point is not None and row.quantiles is not None for row in baselines):
        raise ValueError(f"the baseline {REFERENCE} with quantiles is missing")
    for row in baselines:
        for values, shape in ((row.point, (size,)), (row.quantiles, (size, count)), (row.probabilities, (size, 3))):
            if values is not None and values.shape != shape:
                raise ValueError(f"baseline {row.name}: shape {values.shape} instead of {shape}")


def _comparisons(forecast: HorizonForecast, baselines: Sequence[BaselineForecast]) -> tuple[Comparison, ...]:
    """Test the model against every baseline, by squared error and by CRPS."""
    outcome, levels = forecast.outcome, forecast.levels
    squared = (outcome - forecast.centre) ** 2
    crps = crps_of_quantiles(forecast.quantiles, outcome, levels)
    results = []
    for row in baselines:
        if row.point is not None:
            results.append(_compare(row.name, "squared", squared, (outcome - row.point) ** 2, forecast.horizon))
        if row.quantiles is not None:
            other = crps_of_quantiles(row.quantiles, outcome, levels)
            results.append(_compare(row.name, "crps", crps, other, forecast.horizon))
    return tuple(results)


def _compare(baseline: str, loss: str, model: FloatArray, other: FloatArray, horizon: int) -> Comparison:
    test = diebold_mariano(model, other, horizon)
    return Comparison(baseline, loss, -test.mean_difference, -test.statistic, test.p_value, test.p_a_better)


def _model_classes(forecast: HorizonForecast) -> ClassMetrics | None:
    if forecast.probabilities is None or forecast.classes is None:
        return None
    return class_metrics("model", forecast.probabilities, forecast.classes)


def _baseline_classes(forecast: HorizonForecast, baselines: Sequence[BaselineForecast]) -> tuple[ClassMetrics, ...]:
    if forecast.classes is None:
        return ()
    return tuple(
        class_metrics(row.name, row.probabilities, forecast.classes)
        for row in baselines
        if row.probabilities is not None
    )


def _regimes(forecast: HorizonForecast, reference: BaselineForecast) -> tuple[RegimeMetrics, ...]:
    """Judge the model in every regime that holds enough forecasts."""
    assert reference.quantiles is not None
    point, outcome = forecast.centre, forecast.outcome
    crps = crps_of_quantiles(forecast.quantiles, outcome, forecast.levels)
    other = crps_of_quantiles(reference.quantiles, outcome, forecast.levels)
    inside = inside_outer(forecast.quantiles, outcome)
    rows = []
    for regimes in forecast.regimes:
        for code, name in enumerate(regimes.names):
            at = np.flatnonzero(regimes.codes == code)
            if len(at) < _FEWEST_IN_REGIME:
                continue
            error, actual = outcome[at] - point[at], outcome[at]
            rows.append(
                RegimeMetrics(
                    grouping=regimes.grouping,
                    regime=name,
                    targets=len(at),
                    mae=float(np.abs(error).mean()),
                    skill=skill(float(np.abs(error).mean()), float(np.abs(actual).mean())),
                    r2=skill(float((error**2).mean()), float((actual**2).mean())),
                    ic=correlation(point[at], actual),
                    hit_rate=hit_rate(point[at], actual)[0],
                    crps=float(crps[at].mean()),
                    crps_skill=skill(float(crps[at].mean()), float(other[at].mean())),
                    coverage=float(inside[at].mean()),
                )
            )
    return tuple(rows)
