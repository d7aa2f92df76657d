"""What statistics of returns and of repetitions come to. Frozen values without numpy, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from ml.jsonvalues import JsonValue


@dataclass(frozen=True, slots=True)
class BootstrapInterval(JsonValue):
    """A statistic with its bootstrap interval.

    Attributes:
        estimate: on the series itself.
        low / high: percentile interval.
        confidence: of the interval.
        positive: share of the resamples whose statistic is above zero.
        block: mean block length in bars.
        resamples: how many.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    positive: float
    block: float
    resamples: int


@dataclass(frozen=True, slots=True)
class SeedSummary(JsonValue):
    """What several seeds agree on.

    Attributes:
        count: of the seeds.
        median: the middle.
        iqm: interquartile mean, the mean of the middle half (Agarwal et al. 2021).
        low / high: bootstrap interval of the median; None for a single seed.
        iqm_low / iqm_high: that of the interquartile mean.
        minimum / maximum: worst and best.
        confidence: of the intervals. With five seeds they are hardly narrower than the range.
    """

    count: int
    median: float
    iqm: float
    low: float | None
    high: float | None
    iqm_low: float | None
    iqm_high: float | None
    minimum: float
    maximum: float
    confidence: float


@dataclass(frozen=True, slots=True)
class ConformalOffset(JsonValue):
    """How far both ends of an interval move.

    Attributes:
        alpha: share of outcomes that may lie outside.
        count: calibration outcomes.
        offset: outward, in units of volatility, inward where negative; None where so few outcomes promise this only of
            the whole line.
    """

    alpha: float
    count: int
    offset: float | None


@dataclass(frozen=True, slots=True)
class SharpeMoments(JsonValue):
    """What the significance of a Sharpe ratio depends on.

    Attributes:
        sharpe: mean / standard deviation (n − 1) of the returns per bar.
        count: bars.
        skew: third standardised moment.
        kurtosis: fourth standardised moment, 3 for a normal distribution.
    """

    sharpe: float
    count: int
    skew: float
    kurtosis: float


@dataclass(frozen=True, slots=True)
class DeflatedSharpe(JsonValue):
    """What remains of a Sharpe ratio after how many were tried.

    Attributes:
        trials: how many, or how many independent ones.
        trial_std: standard deviation of their Sharpe ratios per bar.
        threshold: the Sharpe ratio the best of so many worthless trials is expected to show.
        probability: that the true Sharpe ratio is above zero, given that this one was picked.
    """

    trials: float
    trial_std: float
    threshold: float
    probability: float


@dataclass(frozen=True, slots=True)
class TradingMetrics(JsonValue):
    """Figures of one series of returns; None where a figure does not exist or is beyond any number.

    Attributes:
        bars / bars_per_year: length and year of the series.
        total_return / cagr: compounded, over everything and per year; −1 after a total loss.
        volatility: annualised standard deviation (n − 1).
        sharpe: annualised; None for constant returns.
        sharpe_low / sharpe_high: 95 % interval for independent returns (Lo 2002).
        sharpe_bootstrap: annualised, with the stationary bootstrap's interval; None where it was not asked for.
        sortino: annualised mean over the downside deviation against 0 (Sortino & van der Meer 1991).
        max_drawdown: deepest fall from a high, share of it; drawdown_bars: the longest time below a high, in bars.
        calmar: cagr / max_drawdown (Young 1991).
        ulcer: root of the mean squared drawdown (Martin & McCann 1989).
        skew / kurtosis: standardised moments, 3 for a normal distribution.
        value_at_risk / conditional_value_at_risk: the 5 % quantile of the returns per bar, and the mean of the returns
            up to it; negative where they are losses.
        tail_ratio: size of the 95 % quantile over that of the 5 % quantile.
        hit_rate: share of gains among the bars that gained or lost.
        profit_factor: sum of gains / sum of losses; average_gain / average_loss: per such bar, both positive.
    """

    bars: int
    bars_per_year: float
    total_return: float | None
    cagr: float | None
    volatility: float
    sharpe: float | None
    sharpe_low: float | None
    sharpe_high: float | None
    sharpe_bootstrap: BootstrapInterval | None
    sortino: float | None
    max_drawdown: float
    drawdown_bars: int
    calmar: float | None
    ulcer: float
    skew: float | None
    kurtosis: float | None
    value_at_risk: float
    conditional_value_at_risk: float
    tail_ratio: float | None
    hit_rate: float | None
    profit_factor: float | None
    average_gain: float | None
    average_loss: float | None


@dataclass(frozen=True, slots=True)
class PositionMetrics(JsonValue):
    """What the positions themselves were like.

    Attributes:
        turnover: sum of position changes per year, in units of the account; entering and leaving included.
        exposure: mean size of the position; long_share / short_share / flat_share: of the bars.
        holding_bars: mean length of a stretch with one sign; None where there never was a position.
        trades: such stretches.
    """

    turnover: float
    exposure: float
    long_share: float
    short_share: float
    flat_share: float
    holding_bars: float | None
    trades: int


@dataclass(frozen=True, slots=True)
class RelativeMetrics(JsonValue):
    """Returns beside those of holding the market; None where the market never moved or nothing differs.

    Attributes:
        alpha: annualised, compounded return that the market does not explain (Jensen 1968).
        beta: of the regression on the market.
        information_ratio: annualised mean over deviation of the difference.
        correlation: with the market.
    """

    alpha: float | None
    beta: float | None
    information_ratio: float | None
    correlation: float | None


@dataclass(frozen=True, slots=True)
class CostPoint(JsonValue):
    """One point of the cost curve: the strategy with a multiple of the cost and a delay in bars."""

    multiple: float
    delay: int
    metrics: TradingMetrics
    relative: RelativeMetrics


@dataclass(frozen=True, slots=True)
class ForecastEarnings(JsonValue):
    """What a forecast would have earned, beside holding the market.

    Attributes:
        cost: per unit of turnover, 0.001 for 10 basis points.
        positions: of the strategy without delay.
        points: for every delay and multiple of the cost.
        hold: long over the whole range, with the same cost.
    """

    cost: float
    positions: PositionMetrics
    points: tuple[CostPoint, ...]
    hold: TradingMetrics
