"""Bars as integer arrays, and their exact aggregation. Pure functions over numpy, any thread.

A bar is a row of int64 `(open time ms, open, high, low, close, volume, value, trades, taker buy volume, taker buy
value)`: prices in ticks, volumes in lots, values in ticks times lots. Sums of such rows are exact.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, VALUE, COUNT, BUY_VOLUME, BUY_VALUE = range(10)
COLUMNS: Final = 10
_SUMMED = (VOLUME, VALUE, COUNT, BUY_VOLUME, BUY_VALUE)

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
_MONDAY_MS: Final = 4 * DAY_MS  # the epoch was a Thursday

INTERVALS: Final[dict[str, int]] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": WEEK_MS,
}


def interval_name(interval_ms: int) -> str:
    """Return the venue's name of an interval length."""
    return next(name for name, length in INTERVALS.items() if length == interval_ms)


def floor_open(time_ms: int, interval_ms: int) -> int:
    """Return the open time of the bar that contains `time_ms`; weeks open on Monday."""
    offset = _MONDAY_MS if interval_ms == WEEK_MS else 0
    return (time_ms - offset) // interval_ms * interval_ms + offset


def empty_bars() -> Ints:
    """Return an array of no bars."""
    return np.empty((0, COLUMNS), np.int64)


def aggregate(rows: Ints, interval_ms: int) -> Ints:
    """Merge rows, sorted by time, into bars of `interval_ms` (a multiple of the rows' own length).

    Returns:
        One row per interval that holds at least one input row. Rows without trades do not set the price range while
        the interval has trades.
    """
    if len(rows) == 0:
        return empty_bars()
    offset = _MONDAY_MS if interval_ms == WEEK_MS else 0
    opens = (rows[:, TIME] - offset) // interval_ms * interval_ms + offset
    starts = np.flatnonzero(np.r_[True, opens[1:] != opens[:-1]])
    ends = np.r_[starts[1:], len(rows)] - 1
    merged = np.empty((len(starts), COLUMNS), np.int64)
    merged[:, TIME] = opens[starts]
    merged[:, OPEN] = rows[starts, OPEN]
    merged[:, CLOSE] = rows[ends, CLOSE]
    merged[:, HIGH] = np.maximum.reduceat(rows[:, HIGH], starts)
    merged[:, LOW] = np.minimum.reduceat(rows[:, LOW], starts)
    for column in _SUMMED:
        merged[:, column] = np.add.reduceat(rows[:, column], starts)
    silent = rows[:, COUNT] == 0
    if silent.any() and not silent.all():
        _skip_silent_rows(rows, silent, opens, merged)
    return merged


def _skip_silent_rows(rows: Ints, silent: npt.NDArray[np.bool_], opens: Ints, merged: Ints) -> None:
    """Let only rows with trades set the prices of `merged` where an interval has both kinds."""
    traded = rows[~silent]
    times = opens[~silent]
    starts = np.flatnonzero(np.r_[True, times[1:] != times[:-1]])
    ends = np.r_[starts[1:], len(traded)] - 1
    target = np.searchsorted(merged[:, TIME], times[starts])
    merged[target, OPEN] = traded[starts, OPEN]
    merged[target, CLOSE] = traded[ends, CLOSE]
    merged[target, HIGH] = np.maximum.reduceat(traded[:, HIGH], starts)
    merged[target, LOW] = np.minimum.reduceat(traded[:, LOW], starts)


def flat_bar(open_ms: int, price: int) -> Ints:
    """Return the row of a bar in which nothing traded."""
    return np.array([open_ms, price, price, price, price, 0, 0, 0, 0, 0], np.int64)


def bar_of_trades(open_ms: int, price: Ints, quantity: Ints, buyer_maker: npt.NDArray[np.bool_]) -> Ints:
    """Return the row that aggregates a non-empty run of trades, in order."""
    value = price * quantity
    buys = ~buyer_maker
    return np.array(
        [
            open_ms,
            price[0],
            price.max(),
            price.min(),
            price[-1],
            quantity.sum(),
            value.sum(),
            len(price),
            quantity[buys].sum(),
            value[buys].sum(),
        ],
        np.int64,
    )
