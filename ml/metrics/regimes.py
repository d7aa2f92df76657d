"""States of the market that a forecast is judged in separately. Any thread; numpy only.

A regime is known when the forecast is made: it is read from the past alone, and its borders from the training part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RegimeCodes:
    """One way to divide forecasts.

    Attributes:
        grouping: what divides them, "volatility" or "trend".
        names: of the regimes.
        codes: index into `names` of each forecast, shape (n,); negative where it belongs to none.
    """

    grouping: str
    names: tuple[str, ...]
    codes: IntArray


def volatility_regimes(training: FloatArray, tested: FloatArray) -> RegimeCodes:
    """Divide by terciles of the volatility known at the forecast.

    Args:
        training: volatility of the training rows, which sets the borders, shape (m,).
        tested: volatility of the rows to divide, shape (n,).
    """
    borders = np.quantile(training, (1.0 / 3.0, 2.0 / 3.0))
    return RegimeCodes("volatility", ("low", "middle", "high"), np.searchsorted(borders, tested).astype(np.int64))


def trend_regimes(past_return: FloatArray) -> RegimeCodes:
    """Divide by the sign of the return that led up to the forecast, shape (n,); those without a move belong nowhere."""
    codes = np.select([past_return > 0.0, past_return < 0.0], [1, 0], default=-1)
    return RegimeCodes("trend", ("down", "up"), codes.astype(np.int64))


def trailing_return(close: FloatArray, bars: int) -> FloatArray:
    """Return the log return over the last `bars` bars of each, 0 where there are not so many, shape (n,)."""
    logs = np.log(close)
    values = np.zeros(len(logs))
    values[bars:] = logs[bars:] - logs[:-bars]
    return values
