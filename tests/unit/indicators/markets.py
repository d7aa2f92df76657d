"""Made-up markets on which indicators are compared: dear and cheap coins, standstill, spikes."""

from __future__ import annotations

import numpy as np

Columns = dict[str, np.ndarray]


def _market(
    seed: int, size: int, price: float, *, decimals: int, still: tuple[int, int] | None = None, spikes: int = 0
) -> Columns:
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(4, size) * 0.002
    trades = np.ones(size)
    if still is not None:
        for start in rng.integers(0, size, 1 + size // (4 * still[1])):
            trades[start : start + rng.integers(*still)] = 0
    for count, start in enumerate(np.sort(rng.integers(0, size, spikes))):
        returns[start] = -0.3 if count % 2 else 0.3
    returns *= trades
    volume = np.round(rng.lognormal(0, 2, size) * 3, 8) * trades
    for start in rng.integers(0, size, spikes):
        volume[start] *= 1e6
    returns -= returns.mean()  # the price comes home, so that the ticks keep their share of it
    returns *= trades
    close = np.round(price * np.exp(np.cumsum(returns)), decimals)
    open_ = np.concatenate(([close[0]], close[:-1]))
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    high = np.maximum(np.round(top * (1 + np.abs(rng.normal(0, 0.001, size)) * trades), decimals), top)
    low = np.minimum(np.round(bottom * (1 - np.abs(rng.normal(0, 0.001, size)) * trades), decimals), bottom)
    time_ns = 1_600_000_000_000_000_000 + np.arange(size) * 3_600_000_000_000
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    return {"time_ns": time_ns, **columns}


def dear(size: int) -> Columns:
    """A coin of 100,000 with volumes of eight digits."""
    return _market(1, size, 1e5, decimals=2)


def cheap(size: int) -> Columns:
    """A coin of 0.00001 whose tick is a thousandth of its price: many equal bars."""
    return _market(2, size, 1e-5, decimals=8)


def dust(size: int) -> Columns:
    """A price of a ten-billionth, as of cheap coins in bitcoin."""
    return _market(3, size, 1e-10, decimals=14)


def still(size: int) -> Columns:
    """A market that stands still without volume for up to 400 bars at a time."""
    return _market(4, size, 250.0, decimals=2, still=(2, 400))


def spiky(size: int) -> Columns:
    """Jumps of 30 % and a million times the volume, with standstill between."""
    return _market(5, size, 40.0, decimals=3, still=(2, 60), spikes=20 + size // 300)


def constant(size: int) -> Columns:
    """A price that never moves and no trades."""
    columns = dear(size)
    return {**columns, **dict.fromkeys(("open", "high", "low", "close"), np.full(size, 0.1)), "volume": np.zeros(size)}


MARKETS = {"dear": dear, "cheap": cheap, "dust": dust, "still": still, "spiky": spiky, "constant": constant}


def smooth(size: int) -> Columns:
    """A market without ties, on which definitions can be compared."""
    return _market(6, size, 100.0, decimals=12)
