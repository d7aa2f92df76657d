"""Hilbert transform and MAMA: after how many bars, and how many moves of the price, they have forgotten their start."""

from __future__ import annotations

import numpy as np
import pytest

from core.indicators.catalogue import compute, warm_up
from core.indicators.talib_rules import CYCLE_MEMORY, CYCLE_MOVES, MEASURED

SIZE = 24_000


def walk(seed: int, kind: str) -> np.ndarray:
    """A price whose moves are rare, of one tick, or in bursts between long standstills."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0, 0.002, SIZE)
    if kind == "rare":
        returns *= rng.random(SIZE) < 0.36
    elif kind == "bursts":
        # 100 bars that move, then 180 that do not: just above the share of moves that is asked for.
        returns *= np.arange(SIZE) % 280 < 100
    elif kind == "one pause":
        # 710 bars that move, then 1,280 that do not: the state is frozen for as long as the memory allows.
        returns *= np.arange(SIZE) % 1990 < 710
    if kind == "ticks":
        return 1e4 + np.cumsum(np.sign(returns) * (rng.random(SIZE) < 0.5))
    return np.round(100 * np.exp(np.cumsum(returns)), 4)


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("kind", ["dense", "rare", "bursts", "one pause", "ticks"])
def test_the_start_is_forgotten(name: str, kind: str) -> None:
    start = warm_up(name, {})
    for seed in range(3):
        close = walk(seed, kind)
        batch = compute(name, {"close": close}, {})
        for moment in range(start + 500, SIZE, 211):
            window = compute(name, {"close": close[moment - start : moment + 1]}, {})
            for label, values in window.items():
                scale = close[moment] if np.abs(values[-1]) > 50 or "MAMA" in name else 1.0
                assert abs(values[-1] - batch[label][moment]) <= 1e-9 * scale, (label, seed, moment)


def test_a_price_that_hardly_moves_gives_the_neutral_value() -> None:
    moves = np.zeros(6000)
    moves[:: CYCLE_MEMORY // CYCLE_MOVES + 2] = 0.01
    close = 100 + np.cumsum(moves)
    assert set(compute("HT_DCPERIOD", {"close": close}, {})["real"][3000:]) == {28.0}
    assert set(compute("HT_SINE", {"close": close}, {})["leadsine"][3000:]) == {0.0}
    np.testing.assert_array_equal(compute("HT_TRENDLINE", {"close": close}, {})["real"][3000:], close[3000:])
