"""Episodes of agents that were never trained, for what stores and shows them."""

from __future__ import annotations

import numpy as np

from core.domain.candles import Timeframe
from ml.agents.episode import Episode

HOUR_NS = Timeframe.H1.ns
FIRST_NS = 1_672_531_200 * 10**9  # 2023-01-01


def random_episode(
    bars: int = 60, *, seeds: int = 2, names: tuple[str, ...] = ("ret_1", "weight"), seed: int = 0, gap_at: int = 30
) -> Episode:
    """Return a pass over two stretches whose equity follows what it holds, without costs but one share per trade."""
    rng = np.random.default_rng(seed)
    moved = rng.normal(0.0, 0.01, bars)
    moved[0] = 0.0
    close = 20_000.0 * np.exp(np.cumsum(moved))
    opened = np.concatenate([close[:1], close[:-1]])
    time_ns = FIRST_NS + np.arange(bars) * HOUR_NS
    time_ns[gap_at:] += 5 * HOUR_NS
    starts = np.array([0, gap_at] if 0 < gap_at < bars else [0])
    each = rng.uniform(-1.0, 1.0, (bars, seeds))
    ends = np.append(starts[1:] - 1, bars - 1)
    each[ends] = 0.0
    target = each.mean(axis=1)
    held = np.concatenate([[0.0], target[:-1]])
    held[starts] = 0.0
    traded = np.diff(held, prepend=0.0)
    traded[starts] = 0.0
    cost = 0.001 * np.abs(traded)
    growth = held * np.expm1(moved) - cost
    hold = np.where(np.isin(np.arange(bars), starts), 0.0, moved)
    observed = rng.normal(size=(bars, len(names))).astype(np.float32)
    observed[ends] = 0.0
    return Episode(
        symbol="BTC/USDT",
        timeframe="1h",
        time_ns=time_ns,
        open=opened,
        high=np.maximum(opened, close) * 1.002,
        low=np.minimum(opened, close) * 0.998,
        close=close,
        volume=rng.uniform(1.0, 9.0, bars),
        target=target,
        held=held,
        traded=traded,
        equity=np.asarray(np.cumprod(1.0 + growth), np.float64),
        cost=cost,
        seeds=each,
        names=names,
        observed=observed,
        rules={"flat": np.ones(bars), "hold": np.exp(np.cumsum(hold))},
        starts=starts,
    )
