"""Synthetic liquidity around the last trade. Pure functions of (symbol seed, price grid, market time), any thread.

Resting levels sit on a fixed, jittered price grid, so the book keeps its levels while the price moves through it and
depth updates stay small. Each level changes its quantity every few seconds of market time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from core.practice.bars import Ints

LEVELS: Final = 500
_REFRESH_MS: Final = 4_000
_STEP_MS: Final = 500  # quantities are constant within a step of market time


@dataclass(frozen=True, slots=True)
class Touch:
    """Best prices around the last trade, ticks: its aggressor's side sits at the trade price."""

    bid: int
    ask: int
    stamp: int  # varies with every trade; seeds the quantity at the touch

    @classmethod
    def after(cls, price: int, buyer_maker: bool, stamp: int) -> Touch:
        """Return the best prices after a trade: the aggressor hit the opposite side at `price`."""
        return cls(price, price + 1, stamp) if buyer_maker else cls(max(1, price - 1), price, stamp)


def liquidity_step(now_ms: int) -> int:
    """Return the step of market time within which levels do not change."""
    return now_ms // _STEP_MS


def resting_levels(seed: int, level_lots: int, touch: Touch, now_ms: int, *, asks: bool) -> tuple[Ints, Ints]:
    """Return (prices in ticks, quantities in lots) of one side, best first."""
    best = touch.ask if asks else touch.bid
    gap = _grid(best)
    numbers = best // gap + (np.arange(LEVELS + 1) if asks else -np.arange(LEVELS + 1))
    numbers = numbers[numbers >= 0]
    place = _mix(numbers.astype(np.uint64) ^ np.uint64(_key(seed, 17 + gap)))
    prices = numbers * gap + (place % np.uint64(gap)).astype(np.int64)
    beyond = prices > best if asks else (prices < best) & (prices > 0)
    prices, place, numbers = prices[beyond][:LEVELS], place[beyond][:LEVELS], numbers[beyond][:LEVELS]
    phase = (place >> np.uint64(40)) % np.uint64(_REFRESH_MS)
    age = (np.uint64(liquidity_step(now_ms) * _STEP_MS) + phase) // np.uint64(_REFRESH_MS)
    draw = _mix(place ^ _mix(age))
    uniform = ((draw >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    depth = 1.0 + np.arange(len(prices)) / 40.0
    lots = 1 + (level_lots * (0.15 - np.log(uniform)) * np.sqrt(depth)).astype(np.int64)
    first = _mix(np.array([touch.stamp ^ _key(seed, 3 if asks else 5)], np.uint64))
    share = ((first >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    first_lots = 1 + (level_lots * (0.3 - np.log(share))).astype(np.int64)
    return np.concatenate([[best], prices]), np.concatenate([first_lots, lots])


def _grid(price: int) -> int:
    """Return the spacing of levels: about a hundred-thousandth of the price, a power of two so that it is stable."""
    return int(1 << max(0, (price // 100_000).bit_length()))


def _key(seed: int, salt: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03) & 0x7FFFFFFFFFFFFFFF


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit integers (the finaliser of the splitmix generator)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
