"""Indicators in scale-free form with finite memory. Pure functions of float64 arrays, any thread.

All are causal: the value at t uses bars up to and including t. The first values, whose window is not full, are NaN.
The classic RSI, ATR and MACD smooth for ever; these are their windowed relatives (Cutler's RSI, the simple mean of the
true range, a difference of simple means), so that a bounded live buffer reproduces history exactly. The classic forms
are available by name in `core.indicators.talib_indicators`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.clock import NS_PER_S
from core.indicators.rolling import FloatArray, rolling_max, rolling_mean, rolling_min, rolling_rms, rolling_sum

_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_MONDAY_S = 4 * _DAY_S  # the epoch was a Thursday
_TINY = 1e-12


def log_returns(close: FloatArray, horizon: int = 1) -> FloatArray:
    """Return log(close[t] / close[t - horizon]), shape (n,)."""
    if horizon < 1:
        raise ValueError(f"the horizon must be positive, not {horizon}")
    result = np.full(len(close), np.nan)
    logs = np.log(close)
    result[horizon:] = logs[horizon:] - logs[:-horizon]
    return result


def realised_volatility(close: FloatArray, window: int) -> FloatArray:
    """Return the root mean square of the last `window` one-bar log returns, shape (n,), log return per bar."""
    result = np.full(len(close), np.nan)
    result[1:] = rolling_rms(log_returns(close)[1:], window)
    return result


def true_range(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Return the true range in quote currency, shape (n,); the first value is NaN."""
    result = np.full(len(close), np.nan)
    result[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    return result


def average_true_range(high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return the mean true range of the last `window` bars as a share of the close, shape (n,)."""
    result = np.full(len(close), np.nan)
    result[1:] = rolling_mean(true_range(high, low, close)[1:], window)
    return result / close


def relative_strength(close: FloatArray, window: int) -> FloatArray:
    """Return Cutler's RSI moved to -1 … 1 (0 where the price stood still), shape (n,)."""
    change = np.diff(close)
    result = np.full(len(close), np.nan)
    total = rolling_sum(np.abs(change), window)
    quiet = total <= _TINY * close[1:]
    result[1:] = np.where(quiet, 0.0, rolling_sum(change, window) / np.where(quiet, 1.0, total))
    return result


def trend(close: FloatArray, fast: int, slow: int) -> FloatArray:
    """Return log(mean of the last `fast` closes / mean of the last `slow`), shape (n,): a windowed MACD."""
    result: FloatArray = np.log(rolling_mean(close, fast) / rolling_mean(close, slow))
    return result


def range_position(high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return where the close lies between the lowest low (-1) and highest high (1) of `window` bars, shape (n,)."""
    top, bottom = rolling_max(high, window), rolling_min(low, window)
    width = top - bottom
    flat = width <= _TINY * close
    return np.where(flat, 0.0, (2.0 * close - top - bottom) / np.where(flat, 1.0, width))


def body(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Return (close - open) / (high - low), 0 for a bar without range, shape (n,), -1 … 1."""
    width = high - low
    flat = width <= _TINY * close
    return np.where(flat, 0.0, (close - open_) / np.where(flat, 1.0, width))


def time_of_day(time_ns: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return sine and cosine of the time of day (UTC) of each bar's open, shapes (n,)."""
    return _cycle(time_ns, _DAY_S, 0)


def time_of_week(time_ns: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return sine and cosine of the time since Monday 00:00 UTC of each bar's open, shapes (n,)."""
    return _cycle(time_ns, _WEEK_S, _MONDAY_S)


def _cycle(time_ns: NDArray[np.int64], period_s: int, origin_s: int) -> tuple[FloatArray, FloatArray]:
    # Integers first: a float64 of nanoseconds since 1970 is off by hundreds of nanoseconds.
    within = (time_ns // NS_PER_S - origin_s) % period_s
    angle = within * (2.0 * np.pi / period_s)
    return np.sin(angle), np.cos(angle)
