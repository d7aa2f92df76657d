"""Synthetic markets with known properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from ml.arrays import FloatArray
from ml.selftest_tasks import autoregression, bars_of_returns, noise

START_NS = 1_600_000_000_000_000_000 // Timeframe.H1.ns * Timeframe.H1.ns
HOUR = Timeframe.H1


def frame_from_returns(returns: FloatArray, seed: int = 0, missing: tuple[int, ...] = ()) -> CandleFrame:
    """Return hourly bars whose closes have the given log returns; rows listed in `missing` are left out."""
    rows = np.arange(len(returns), dtype=np.int64)
    whole = replace(bars_of_returns(returns, seed), time_ns=START_NS + rows * HOUR.ns, symbol="BTC/USDT")
    return whole.select(np.setdiff1d(rows, missing))


def appended(frame: CandleFrame, bars: int = 50) -> CandleFrame:
    """Return bars that follow directly, at the last price."""
    last, opens = float(frame.close[-1]), frame.time_ns[-1] + frame.timeframe.ns * np.arange(1, bars + 1)
    price = last * (1.0 + 0.01 * np.sin(np.arange(bars)))
    return replace(
        frame,
        time_ns=opens,
        open=np.full(bars, last),
        high=np.maximum(price, last),
        low=np.minimum(price, last),
        close=price,
        volume=np.ones(bars),
        final=np.ones(bars, np.bool_),
    )


noise_returns = noise


def ar1_returns(size: int, phi: float, seed: int, sigma: float = 0.01) -> FloatArray:
    """Return r' = phi r + sigma e."""
    return autoregression(np.full(size, phi), seed, sigma)
