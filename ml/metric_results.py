"""What an evaluation of forecasts says, as frozen values that travel as JSON. Any thread; torch-free.

Three naive forecasts of a return exist and all are reported: `zero` says that the price stays where it is,
`persistence` that the last return over the same horizon repeats, `climatology` that the mean of the training part goes
on. On most markets the second is by far the weakest.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml.jsonvalues import JsonValue
from ml.statistic_results import ConformalOffset, DeflatedSharpe, ForecastEarnings, SeedSummary, SharpeMoments


@dataclass(frozen=True, slots=True)
class PointMetrics(JsonValue):
    """Errors of one forecaster on the test part; returns are log returns over the horizon.

    Attributes:
        name: "model", "zero", "persistence", "climatology", "ridge", "boosting" …
        mae / rmse: log return.
        skill: 1 − MAE / MAE of the price that stays.
        r2: out-of-sample R² against the zero forecast.
        ic / rank_ic: Pearson and Spearman correlation of forecast and outcome; None where a forecast is constant.
        hit_rate: share of right signs, hit_low / hit_high its 95 % interval; None where the forecast is zero.
        ic_low / ic_high: 95 % interval of `ic` that allows for overlap and clustered volatility (Newey-West).
        skill_persistence: 1 − MAE / MAE of the last return repeated; None where that was not forecast.
    """

    name: str
    mae: float
    rmse: float
    skill: float
    r2: float
    ic: float | None = None
    rank_ic: float | None = None
    hit_rate: float | None = None
    hit_low: float | None = None
    hit_high: float | None = None
    ic_low: float | None = None
    ic_high: float | None = None
    skill_persistence: float | None = None


@dataclass(frozen=True, slots=True)
class RangeMetrics(JsonValue):
    """Quality of one forecaster's quantiles on the test part, in log return where there is a unit.

    Attributes:
        name: as in `PointMetrics`.
        pinball: mean pinball loss over the levels.
        crps: continuous ranked probability score of the quantiles (`ml.metrics.quantile.crps_of_quantiles`).
        coverage / nominal_coverage: share of outcomes inside the outer quantiles, and what it should be.
        width: mean width of that interval.
        winkler: its mean interval score, width plus penalties for outcomes outside.
    """

    name: str
    pinball: float
    crps: float
    coverage: float
    nominal_coverage: float
    width: float
    winkler: float


@dataclass(frozen=True, slots=True)
class Comparison(JsonValue):
    """Diebold and Mariano's test of the model against one baseline, with the correction for small samples.

    Attributes:
        baseline: which.
        loss: "squared" (point forecasts) or "crps" (quantiles).
        gain: mean loss of the baseline minus that of the model; positive where the model is better.
        statistic: of the test, positive where the model is better.
        p_value: two-sided.
        p_better: one-sided, that the model is better.
    """

    baseline: str
    loss: str
    gain: float
    statistic: float
    p_value: float
    p_better: float


@dataclass(frozen=True, slots=True)
class CalibrationPoint(JsonValue):
    """Share of outcomes at or below a quantile (`observed`) beside its level (`nominal`)."""

    nominal: float
    observed: float


@dataclass(frozen=True, slots=True)
class Calibration(JsonValue):
    """Whether the quantiles mean what they say.

    Attributes:
        points: one per level.
        pit_counts: histogram of the probability integral transform in ten equal bins; flat when calibrated.
        ks_statistic: largest distance of its distribution from the uniform one.
        ks_p_value: Kolmogorov's p-value with the number of independent targets.
    """

    points: tuple[CalibrationPoint, ...]
    pit_counts: tuple[int, ...]
    ks_statistic: float
    ks_p_value: float


@dataclass(frozen=True, slots=True)
class ReliabilityPoint(JsonValue):
    """Forecasts of similar confidence: their mean, the share that came true, and how many they are."""

    confidence: float
    observed: float
    count: int


@dataclass(frozen=True, slots=True)
class ClassMetrics(JsonValue):
    """Quality of one forecaster's probabilities of down, flat and up.

    Attributes:
        name: "model", "climatology", "logistic", "boosting".
        accuracy: share of outcomes whose class was the most probable one.
        auc: mean of the one-vs-rest areas of the classes that occur; `aucs` holds each, None where one is missing.
        mcc: Matthews' correlation of the most probable class and the outcome.
        brier: mean squared distance over the three classes, 0 to 2.
        log_loss: mean, natural logarithm.
        ece: expected calibration error of the most probable class in ten equal bins.
        reliability: the non-empty bins.
    """

    name: str
    accuracy: float
    auc: float | None
    aucs: tuple[float | None, ...]
    mcc: float
    brier: float
    log_loss: float
    ece: float
    reliability: tuple[ReliabilityPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class RegimeMetrics(JsonValue):
    """The model in one part of the market's states.

    Attributes:
        grouping / regime: "volatility" with "low", "middle", "high"; "trend" with "down", "up" …
        targets: how many.
        mae / skill / r2 / ic / hit_rate: as in `PointMetrics`, within the regime.
        crps / crps_skill: of the quantiles, and 1 − CRPS / CRPS of the zero baseline.
        coverage: of the outer interval.
    """

    grouping: str
    regime: str
    targets: int
    mae: float
    skill: float
    r2: float
    ic: float | None
    hit_rate: float | None
    crps: float
    crps_skill: float
    coverage: float


@dataclass(frozen=True, slots=True)
class HorizonMetrics(JsonValue):
    """Honest figures of one horizon on bars the model never saw.

    Attributes:
        horizon: bars ahead.
        targets / effective_targets: forecasts, and how many of them do not overlap.
        model / baselines: errors of the point forecasts.
        ranges / baseline_ranges: quality of the quantiles.
        crps_skill: 1 − CRPS / CRPS of the zero baseline, whose ranges scale with volatility.
        comparisons: of the model with every baseline.
        calibration: of the model's quantiles.
        edge_p_value: one-sided p-value that squared errors are smaller than those of every naive forecast.
        edge: whether there is evidence of an edge over them.
        range_edge: whether there is evidence that the quantiles beat those of zero and of climatology.
        icir / icir_block: mean over standard deviation of the IC of calendar blocks ("day", "week" or "month", UTC);
            None and "" where there are too few.
        classes / baseline_classes: quality of the probabilities, where there are any.
        regimes: the model in every regime.
    """

    horizon: int
    targets: int
    effective_targets: int
    model: PointMetrics
    baselines: tuple[PointMetrics, ...]
    ranges: RangeMetrics
    baseline_ranges: tuple[RangeMetrics, ...]
    crps_skill: float
    comparisons: tuple[Comparison, ...]
    calibration: Calibration
    edge_p_value: float
    edge: bool
    range_edge: bool
    icir: float | None = None
    icir_block: str = ""
    classes: ClassMetrics | None = None
    baseline_classes: tuple[ClassMetrics, ...] = ()
    regimes: tuple[RegimeMetrics, ...] = ()


@dataclass(frozen=True, slots=True)
class SeedScore(JsonValue):
    """How the network of one seed did at the first horizon, alone.

    Attributes:
        seed: of weights, order and dropout.
        epochs / best_epoch: of its training.
        valid_loss: its best.
        crps / r2 / ic / hit_rate: on the test part; None where a forecast is constant.
        valid_sharpe / test_sharpe: per bar, of holding the forecast's sign, before costs; None where it is constant.
    """

    seed: int
    epochs: int
    best_epoch: int
    valid_loss: float
    crps: float
    r2: float
    ic: float | None
    hit_rate: float | None
    valid_sharpe: float | None
    test_sharpe: float | None


@dataclass(frozen=True, slots=True)
class ConformalMetrics(JsonValue):
    """What became of the outer interval of one horizon on the test part.

    Attributes:
        horizon: bars ahead.
        nominal_coverage: share of outcomes it promises.
        coverage / width: of the model's own interval; mean width in log return.
        split_coverage / split_width: moved by the offset measured on the validation part.
        adaptive_coverage / adaptive_width: with a level that follows the outcomes; mean width of the intervals that
            have ends: after a row of misses the level may ask for the whole line; None where no interval has.
        offsets: of every pair of quantiles, the outermost first.
        adaptive_infinite: share of the adaptive intervals without ends, which their width leaves out.
    """

    horizon: int
    nominal_coverage: float
    coverage: float
    width: float
    split_coverage: float
    split_width: float | None
    adaptive_coverage: float
    adaptive_width: float | None
    offsets: tuple[ConformalOffset, ...]
    adaptive_infinite: float = 0.0


@dataclass(frozen=True, slots=True)
class FeatureImportance(JsonValue):
    """What a feature is worth on the validation part.

    Attributes:
        name: of the column.
        loss: mean rise of the CRPS at the first horizon when its values are shuffled, as a share of the CRPS.
        deviation: standard deviation of that rise over the shuffles; None for a single one.
    """

    name: str
    loss: float
    deviation: float | None


@dataclass(frozen=True, slots=True)
class ForecastMetrics(JsonValue):
    """Honest figures of a model on bars it never saw; those outside `horizons` are of the first horizon.

    Attributes:
        targets: test targets; effective_targets: how many count as independent given overlapping horizons.
        model / baselines: point errors of the median forecast and of the yardsticks on the same bars.
        pinball / pinball_baseline: mean pinball loss of the quantiles, and that of the zero baseline.
        coverage / nominal_coverage: share of outcomes inside the outer quantiles, and what it should be.
        edge_p_value: one-sided p-value that squared errors are smaller than those of every naive forecast.
        edge: whether there is evidence of an edge over every naive forecast, given `tries`.
        forecast_std: standard deviation of the validation medians; the unit of `Forecast.z_score`.
        target_std: standard deviation of the training targets.
        verdict: one or more sentences for a person.
        crps / crps_baseline / crps_skill: of the quantiles, of the zero baseline, and 1 − their ratio.
        horizons: everything, by horizon.
        seeds: the networks of the single seeds; seed_crps / seed_r2 / seed_ic: what they agree on.
        conformal: intervals that keep their promise, by horizon.
        importance: of the features, the greatest first; empty where it was not measured.
        earnings: what holding the sign of the forecast would have earned on the test part.
        sharpe: of that, per bar, before costs; deflated: what remains of it after all trials of the market so far.
        tries: configurations judged on the market so far, this one included; a claim must stand up to as many.
    """

    targets: int
    effective_targets: int
    model: PointMetrics
    baselines: tuple[PointMetrics, ...]
    pinball: float
    pinball_baseline: float
    coverage: float
    nominal_coverage: float
    edge_p_value: float
    edge: bool
    forecast_std: float
    target_std: float
    verdict: str
    crps: float | None = None
    crps_baseline: float | None = None
    crps_skill: float | None = None
    horizons: tuple[HorizonMetrics, ...] = ()
    seeds: tuple[SeedScore, ...] = ()
    seed_crps: SeedSummary | None = None
    seed_r2: SeedSummary | None = None
    seed_ic: SeedSummary | None = None
    conformal: tuple[ConformalMetrics, ...] = ()
    importance: tuple[FeatureImportance, ...] = ()
    earnings: ForecastEarnings | None = None
    sharpe: SharpeMoments | None = None
    deflated: DeflatedSharpe | None = None
    tries: int = 1
