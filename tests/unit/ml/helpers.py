"""Synthetic markets with known properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.data.frame import CandleFrame
from core.domain.candles import Timeframe

START_NS = 1_600_000_000_000_000_000 // Timeframe.H1.ns * Timeframe.H1.ns
HOUR = Timeframe.H1


def frame_from_returns(returns: NDArray[np.float64], seed: int = 0, missing: tuple[int, ...] = ()) -> CandleFrame:
    """Return hourly bars whose closes have the given log returns; rows listed in `missing` are left out."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(returns))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.abs(rng.normal(0, 0.002, (2, len(returns))))
    keep = np.setdiff1d(np.arange(len(returns)), missing)
    return CandleFrame(
        time_ns=(START_NS + np.arange(len(returns), dtype=np.int64) * HOUR.ns)[keep],
        open=open_[keep],
        high=(np.maximum(open_, close) * (1 + spread[0]))[keep],
        low=(np.minimum(open_, close) * (1 - spread[1]))[keep],
        close=close[keep],
        volume=rng.lognormal(3, 0.5, len(returns))[keep],
        final=np.ones(len(keep), np.bool_),
        symbol="BTC/USDT",
        timeframe=HOUR,
    )


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


def noise_returns(size: int, seed: int, sigma: float = 0.01) -> NDArray[np.float64]:
    """Return independent normal returns."""
    return np.random.default_rng(seed).normal(0, sigma, size)


def ar1_returns(size: int, phi: float, seed: int, sigma: float = 0.01) -> NDArray[np.float64]:
    """Return r' = phi r + sigma e."""
    shocks = noise_returns(size, seed, sigma)
    values = np.empty(size)
    last = 0.0
    for index, shock in enumerate(shocks):
        last = phi * last + shock
        values[index] = last
    return values
