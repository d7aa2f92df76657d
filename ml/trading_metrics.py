"""What positions earned, as an expert measures it. Pure functions, any thread; numpy only.

Returns are simple returns per bar of the account, after costs; a year has 365 days. The definitions equal those of
empyrical-reloaded except that the information ratio is annualised (its `excess_sharpe` is not), sizes of losses
(drawdown, Ulcer index) are positive, and what does not exist is None instead of infinite or not a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ml.arrays import FloatArray, finite_series
from ml.bootstrap import bootstrap_interval, sharpe
from ml.metrics.distributions import normal_ppf
from ml.statistic_results import (
    BootstrapInterval,
    CostPoint,
    ForecastEarnings,
    PositionMetrics,
    RelativeMetrics,
    TradingMetrics,
)

NS_PER_YEAR = 365 * 86_400 * 10**9
TAIL = 0.05
COST_MULTIPLES = (0.0, 1.0, 2.0, 3.0)
DELAYS = (0, 1)
_MIN_BOOTSTRAP = 10
_AT_A_HIGH = 1e-12  # a drawdown below it is rounding
_FLAT = 1e-15  # of the largest return: a deviation below it is rounding


@dataclass(frozen=True, slots=True, eq=False)
class StrategyReturns:
    """What trading a forecast's sign would have earned.

    Attributes:
        returns: simple, after costs, shape (n,).
        positions: −1, 0 or 1 held over each bar, shape (n,).
    """

    returns: FloatArray
    positions: FloatArray


def bars_per_year(bars: int, elapsed_ns: int) -> float:
    """Return how many bars a year of 365 days has where so many took so long, the time of gaps included."""
    return bars * NS_PER_YEAR / elapsed_ns


def simple_from_log(log_returns: FloatArray) -> FloatArray:
    """Turn log returns into simple ones."""
    return np.asarray(np.expm1(log_returns), np.float64)


def sharpe_per_bar(returns: FloatArray) -> float | None:
    """Return mean / standard deviation (n − 1), not annualised; None for constant returns or fewer than two."""
    if len(finite_series(returns)) < 2:
        return None
    deviation = float(returns.std(ddof=1))
    return float(returns.mean()) / deviation if deviation > _FLAT * float(np.abs(returns).max()) else None


def sharpe_interval(ratio: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a Sharpe ratio per bar of independent returns (Lo 2002): SR ± z √((1 + SR²/2) / T)."""
    half = float(normal_ppf(0.5 + confidence / 2.0)) * math.sqrt((1.0 + 0.5 * ratio * ratio) / count)
    return ratio - half, ratio + half


def drawdowns(returns: FloatArray) -> FloatArray:
    """Return how far the wealth is below its highest point so far, the start included, as a share >= 0, shape (n,)."""
    wealth = np.cumsum(_log_wealth(returns))  # in logs: a product over many bars may exceed any number
    peak = np.maximum(np.maximum.accumulate(wealth), 0.0)
    result: FloatArray = 0.0 - np.expm1(wealth - peak)  # no negative zero at the peak
    return result


def longest_drawdown(depth: FloatArray) -> int:
    """Return the most bars in a row below a high, also where it is not yet over."""
    return max((stop - start for start, stop in _runs(depth > _AT_A_HIGH)), default=0)


def trading_metrics(
    returns: FloatArray, *, bars_per_year: float, bootstrap_seed: int | None = None, resamples: int = 1_000
) -> TradingMetrics:
    """Measure simple returns per bar.

    Args:
        returns: after costs, each at least −1, shape (n,), n >= 2.
        bars_per_year: see the function of that name.
        bootstrap_seed: of the Sharpe ratio's bootstrap interval, which ten bars at least are needed for; None leaves it
            out.
        resamples: of the bootstrap.

    Raises:
        ValueError: fewer than two returns, one that is not finite, or one below −1.
    """
    if len(finite_series(returns)) < 2 or float(returns.min()) < -1.0:
        raise ValueError("at least two returns, none below -1")
    year = math.sqrt(bars_per_year)
    depth = drawdowns(returns)
    deepest = float(depth.max())
    growth = float(_log_wealth(returns).sum())
    cagr = _compounded(growth * bars_per_year / len(returns))
    ratio = sharpe_per_bar(returns)
    low, high = sharpe_interval(ratio, len(returns)) if ratio is not None else (None, None)
    downside = math.sqrt(float((np.minimum(returns, 0.0) ** 2).mean()))
    skew, kurtosis = _shape(returns) if ratio is not None else (None, None)
    gains, losses = returns[returns > 0.0], -returns[returns < 0.0]
    moved = len(gains) + len(losses)
    tail, top = (float(value) for value in np.quantile(returns, (TAIL, 1.0 - TAIL)))
    return TradingMetrics(
        bars=len(returns),
        bars_per_year=bars_per_year,
        total_return=_compounded(growth),
        cagr=cagr,
        volatility=float(returns.std(ddof=1)) * year,
        sharpe=None if ratio is None else ratio * year,
        sharpe_low=None if low is None else low * year,
        sharpe_high=None if high is None else high * year,
        sharpe_bootstrap=_bootstrap(returns, year, bootstrap_seed, resamples) if ratio is not None else None,
        sortino=float(returns.mean()) * bars_per_year / (downside * year) if downside else None,
        max_drawdown=deepest,
        drawdown_bars=longest_drawdown(depth),
        calmar=cagr / deepest if deepest and cagr is not None else None,
        ulcer=math.sqrt(float((depth**2).mean())),
        skew=skew,
        kurtosis=kurtosis,
        value_at_risk=tail,
        conditional_value_at_risk=float(np.sort(returns)[: int((len(returns) - 1) * TAIL) + 1].mean()),
        tail_ratio=abs(top) / abs(tail) if tail else None,
        hit_rate=len(gains) / moved if moved else None,
        profit_factor=float(gains.sum() / losses.sum()) if len(losses) else None,
        average_gain=float(gains.mean()) if len(gains) else None,
        average_loss=float(losses.mean()) if len(losses) else None,
    )


def position_metrics(positions: FloatArray, *, bars_per_year: float) -> PositionMetrics:
    """Describe positions held over each bar, shape (n,), n >= 1; the account is flat before and after."""
    if not len(finite_series(positions)):
        raise ValueError("at least one position")
    sign = np.sign(positions)
    stretches = [run for side in (1.0, -1.0) for run in _runs(sign == side)]
    held = sum(stop - start for start, stop in stretches)
    changes = float(np.abs(np.diff(positions, prepend=0.0, append=0.0)).sum())
    return PositionMetrics(
        turnover=changes / len(positions) * bars_per_year,
        exposure=float(np.abs(positions).mean()),
        long_share=float((sign > 0).mean()),
        short_share=float((sign < 0).mean()),
        flat_share=float((sign == 0).mean()),
        holding_bars=held / len(stretches) if stretches else None,
        trades=len(stretches),
    )


def relative_metrics(returns: FloatArray, hold: FloatArray, *, bars_per_year: float) -> RelativeMetrics:
    """Compare returns with those of holding the market over the same bars, both simple, shape (n,), n >= 2.

    Raises:
        ValueError: different or too short series, or values that are not finite.
    """
    if returns.shape != hold.shape or len(finite_series(returns)) < 2:
        raise ValueError("two series of the same length, two bars at least")
    finite_series(hold)
    difference = sharpe_per_bar(returns - hold)
    alpha = beta = correlation = None
    if sharpe_per_bar(hold) is not None:
        own, market = returns - returns.mean(), hold - hold.mean()
        beta = float(market @ own) / float(market @ market)
        unexplained = float((returns - beta * hold).mean())
        alpha = _compounded(math.log1p(unexplained) * bars_per_year) if unexplained > -1.0 else None
        if sharpe_per_bar(returns) is not None:
            correlation = float(own @ market) / math.sqrt(float(own @ own) * float(market @ market))
    return RelativeMetrics(
        alpha=alpha,
        beta=beta,
        information_ratio=None if difference is None else difference * math.sqrt(bars_per_year),
        correlation=correlation,
    )


def forecast_strategy_returns(
    median: FloatArray, outcome: FloatArray, cost: float = 0.0, delay: int = 0
) -> StrategyReturns:
    """Return what holding the sign of a forecast earns, bar by bar.

    The position decided at the close of bar t is held over the bar after it, or `delay` bars later. Every change costs
    `cost` times its size, of the account; the entry pays at the first bar held and closing it pays at the last bar.
    Where bars are missing, `ml.held_moves` makes one bar of a judged bar and all up to the next judged one.

    Args:
        median: forecast known at the close of each bar, of any horizon, shape (n,).
        outcome: log return from that close to the next at which something is decided, shape (n,).
        cost: per unit of turnover, fee and half the spread and slippage; 0.001 is 10 basis points.
        delay: bars between the decision and the position.

    Raises:
        ValueError: different lengths, no bar, values that are not finite, a negative cost or delay.
    """
    if median.shape != outcome.shape or not len(finite_series(median)):
        raise ValueError("one outcome for every forecast, and at least one")
    if not cost >= 0.0 or delay < 0:
        raise ValueError("no negative cost or delay")
    finite_series(outcome)
    positions = np.zeros(len(median))
    positions[delay:] = np.sign(median[: max(0, len(median) - delay)])
    changes = np.abs(np.diff(positions, prepend=0.0))
    changes[-1] += abs(positions[-1])
    return StrategyReturns(positions * simple_from_log(outcome) - cost * changes, positions)


def forecast_earnings(
    median: FloatArray,
    outcome: FloatArray,
    *,
    cost: float,
    bars_per_year: float,
    bootstrap_seed: int | None = None,
) -> ForecastEarnings:
    """Return what a forecast would have earned with 0, 1, 2 and 3 times the cost, at once and one bar late.

    Args:
        median / outcome / cost: as in `forecast_strategy_returns`.
        bars_per_year: see the function of that name.
        bootstrap_seed: of the Sharpe ratios' bootstrap intervals, which holding and trading at once at no cost and at
            the cost itself have: they take longer than all the rest. None leaves them out.

    Raises:
        ValueError: as in `forecast_strategy_returns`, fewer than two bars, or a cost above a third of the account.
    """
    if len(outcome) < 2 or cost * COST_MULTIPLES[-1] >= 1.0:
        raise ValueError("at least two bars, and a cost that leaves something")
    hold = forecast_strategy_returns(np.ones(len(outcome)), outcome, cost).returns
    points = []
    for delay in DELAYS:
        for multiple in COST_MULTIPLES:
            earned = forecast_strategy_returns(median, outcome, cost * multiple, delay).returns
            # A short position can lose more than the account; then it is gone, and not less than nothing.
            earned = np.maximum(earned, -1.0)
            points.append(
                CostPoint(
                    multiple=multiple,
                    delay=delay,
                    metrics=trading_metrics(
                        earned,
                        bars_per_year=bars_per_year,
                        bootstrap_seed=bootstrap_seed if delay == 0 and multiple <= 1.0 else None,
                    ),
                    relative=relative_metrics(earned, hold, bars_per_year=bars_per_year),
                )
            )
    positions = forecast_strategy_returns(median, outcome).positions
    return ForecastEarnings(
        cost=cost,
        positions=position_metrics(positions, bars_per_year=bars_per_year),
        points=tuple(points),
        hold=trading_metrics(np.maximum(hold, -1.0), bars_per_year=bars_per_year, bootstrap_seed=bootstrap_seed),
    )


def _log_wealth(returns: FloatArray) -> FloatArray:
    """Return the logarithms of the growth per bar; minus infinity for a total loss."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(returns), np.float64)


def _compounded(growth: float) -> float | None:
    """Return e^growth − 1, or None where that is beyond any number."""
    try:
        return math.expm1(growth)
    except OverflowError:
        return None


def _bootstrap(returns: FloatArray, year: float, seed: int | None, resamples: int) -> BootstrapInterval | None:
    if seed is None or len(returns) < _MIN_BOOTSTRAP:
        return None
    return bootstrap_interval(returns, lambda values: sharpe(values) * year, seed=seed, resamples=resamples)


def _shape(returns: FloatArray) -> tuple[float, float]:
    """Return skew and kurtosis of returns that vary."""
    scaled = (returns - returns.mean()) / returns.std()
    return float((scaled**3).mean()), float((scaled**4).mean())


def _runs(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
