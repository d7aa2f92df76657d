"""Volatility, order flow, liquidity and return statistics estimated from bars. Pure functions, any thread.

All are scale-free (but `amihud`), causal and of finite memory; every result has shape (n,), NaN where the window is not
full. Prices must be positive. Spreads are estimates from bars, not quotes: of the right order over many bars, noisy
in each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.clock import NS_PER_S
from core.indicators.indicators import log_returns
from core.indicators.rolling import (
    FloatArray,
    lagged,
    ratio,
    rolling_comoments,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_moments,
    rolling_sum,
)

_LOG_2 = float(np.log(2))
_CORWIN_SCHULTZ = 3 - 2 * 2**0.5
_DAY_S = 86_400
# A spread of returns below this share of their mean square is the rounding of equal returns.
_EQUAL_RETURNS = 1e-12
# Hours (UTC) in which the cash markets of Asia, Europe and America trade, outer bounds over summer and winter time.
_SESSIONS_H = ((0, 8), (7, 17), (13, 21))


def parkinson(high: FloatArray, low: FloatArray, window: int) -> FloatArray:
    """Return volatility per bar from the ranges (Parkinson 1980), about 5 times as efficient as from closes."""
    return np.sqrt(rolling_mean(np.log(high / low) ** 2, window) / (4 * _LOG_2))


def garman_klass(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return volatility per bar from range and body (Garman and Klass 1980), for prices without drift or gaps."""
    parts = 0.5 * np.log(high / low) ** 2 - (2 * _LOG_2 - 1) * np.log(close / open_) ** 2
    return np.sqrt(np.maximum(rolling_mean(parts, window), 0.0))


def _rogers_satchell_parts(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    parts: FloatArray = np.log(high / close) * np.log(high / open_) + np.log(low / close) * np.log(low / open_)
    return parts


def rogers_satchell(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return volatility per bar that a drift does not raise (Rogers and Satchell 1991)."""
    parts = _rogers_satchell_parts(open_, high, low, close)
    return np.sqrt(np.maximum(rolling_mean(parts, window), 0.0))


def yang_zhang(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return volatility per bar for prices with drift and gaps (Yang and Zhang 2000); `window` >= 2."""
    weight = 0.34 / (1.34 + (window + 1) / (window - 1))
    gaps = rolling_moments(np.log(open_ / lagged(close, 1)), window)[1] / (window - 1)
    bodies = rolling_moments(np.log(close / open_), window)[1] / (window - 1)
    ranges = rolling_mean(_rogers_satchell_parts(open_, high, low, close), window)
    return np.sqrt(np.maximum(gaps + weight * bodies + (1 - weight) * ranges, 0.0))


def volume_imbalance(close: FloatArray, volume: FloatArray, window: int) -> FloatArray:
    """Return volume of rising minus falling bars by all volume, -1 … 1: the change of Granville's OBV in a window."""
    signed = np.sign(close - lagged(close, 1)) * volume
    return ratio(rolling_sum(signed, window), rolling_sum(volume, window), 0.0)


def flow_imbalance(close: FloatArray, volume: FloatArray, window: int, deviation_window: int) -> FloatArray:
    """Return bought minus sold volume by all volume, -1 … 1, classified in bulk (Easley, López de Prado, O'Hara 2016).

    The share of a bar taken as bought is the distribution function of its return over the deviation of returns. Of
    the fat-tailed distributions the paper allows, Student's t with three degrees of freedom is used.
    """
    returns = log_returns(close)
    deviation = np.sqrt(rolling_moments(returns, deviation_window)[1] / deviation_window)
    y = ratio(returns, deviation, 0.0) / 3**0.5
    surplus = (y / (1 + y * y) + np.arctan(y)) * (2 / np.pi)
    return ratio(rolling_sum(surplus * volume, window), rolling_sum(volume, window), 0.0)


def amihud(close: FloatArray, volume: FloatArray, window: int) -> FloatArray:
    """Return the mean of |log return| per traded quote currency (Amihud 2002); a bar without trades counts 0."""
    return rolling_mean(ratio(np.abs(log_returns(close)), close * volume, 0.0), window)


def corwin_schultz(high: FloatArray, low: FloatArray, window: int) -> FloatArray:
    """Return the estimated relative spread from ranges of one and two bars (Corwin and Schultz 2012), mean, >= 0."""
    single = np.log(high / low) ** 2
    beta = single + lagged(single, 1)
    gamma = np.log(rolling_max(high, 2) / rolling_min(low, 2)) ** 2
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / _CORWIN_SCHULTZ - np.sqrt(gamma / _CORWIN_SCHULTZ)
    return rolling_mean(np.maximum(2 * np.tanh(alpha / 2), 0.0), window)


def roll_spread(close: FloatArray, window: int) -> FloatArray:
    """Return the estimated relative spread from the bounce of closes (Roll 1984); 0 where returns do not bounce."""
    returns = log_returns(close)
    common = rolling_comoments(returns, lagged(returns, 1), window)[1] / window
    return 2 * np.sqrt(np.maximum(-common, 0.0))


def abdi_ranaldo(high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return the estimated relative spread from close and mid-ranges (Abdi and Ranaldo 2017); 0 where none shows."""
    middle = (np.log(high) + np.log(low)) / 2
    last = np.log(lagged(close, 1))
    product = (last - lagged(middle, 1)) * (last - middle)
    return 2 * np.sqrt(np.maximum(rolling_mean(product, window), 0.0))


def return_shape(close: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Return skewness (0) and kurtosis (3 for a normal distribution) of log returns; those where all are equal."""
    returns = log_returns(close)
    squares = returns * returns  # products, because powers of arrays take twenty times as long
    first, second = rolling_mean(returns, window), rolling_mean(squares, window)
    third, fourth = rolling_mean(squares * returns, window), rolling_mean(squares * squares, window)
    mean_squared = first * first
    variance = second - mean_squared
    variance = np.where(variance <= _EQUAL_RETURNS * second, 0.0, variance) + 0.0 * first
    skew = ratio(third - 3 * first * second + 2 * first * mean_squared, variance * np.sqrt(variance), 0.0)
    tails = fourth - 4 * first * third + 6 * mean_squared * second - 3 * mean_squared * mean_squared
    return skew, ratio(tails, variance * variance, 3.0)


def autocorrelation(close: FloatArray, lag: int, window: int) -> FloatArray:
    """Return the correlation of log returns with those `lag` bars before, -1 … 1; 0 where returns are equal."""
    returns = log_returns(close)
    xx, xy, yy = rolling_comoments(returns, lagged(returns, lag), window)
    return np.clip(ratio(xy, np.sqrt(xx) * np.sqrt(yy), 0.0), -1.0, 1.0)


def variance_ratio(close: FloatArray, horizon: int, window: int) -> FloatArray:
    """Return the variance of returns over `horizon` bars by `horizon` times that over one (Lo and MacKinlay 1988).

    Above 1 in trends, below 1 where moves revert; the mean return is taken as zero. 1 where the price stood still.
    """
    long, short = log_returns(close, horizon), log_returns(close)
    return ratio(rolling_mean(long**2, window), horizon * rolling_mean(short**2, window), 1.0)


def drawdown(high: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return log(close / highest high of the window), 0 or less."""
    result: FloatArray = np.log(close / rolling_max(high, window))
    return result


def run_up(low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return log(close / lowest low of the window), 0 or more."""
    result: FloatArray = np.log(close / rolling_min(low, window))
    return result


def day_of_month(time_ns: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return sine and cosine of the share of its month (UTC) that has passed at each bar's open."""
    moments = time_ns.astype("datetime64[ns]")
    months = moments.astype("datetime64[M]")
    start = months.astype("datetime64[ns]")
    length = ((months + 1).astype("datetime64[ns]") - start).astype(np.int64)
    angle = (moments - start).astype(np.int64) / length * (2 * np.pi)
    return np.sin(angle), np.cos(angle)


def sessions(time_ns: NDArray[np.int64]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return 1 for bars that open while cash markets of Asia, Europe, America may trade, else 0, weekends too."""
    hour = time_ns // NS_PER_S % _DAY_S // 3_600
    asia, europe, america = (((hour >= start) & (hour < end)).astype(np.float64) for start, end in _SESSIONS_H)
    return asia, europe, america
