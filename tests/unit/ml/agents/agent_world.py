"""Small random markets for agents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.accounting.reference import BarPrices
from core.accounting.rules import CostRates, MarketRules
from ml.agents.market_tensor import MarketTensor, Stretch, market_tensor
from ml.arrays import FloatArray

ALL_COSTS = CostRates(
    taker_fee=0.001,
    half_spread=0.0003,
    slippage=0.0002,
    impact=0.01,
    borrow_base=1e-5,
    borrow_quote=2e-5,
    liquidation_fee=0.004,
)


def random_prices(size: int, seed: int, *, sigma: float = 0.01, gaps: bool = True, start: float = 100.0) -> FloatArray:
    """Return bars as `market_tensor` takes them; without gaps each opens where the last closed."""
    rng = np.random.default_rng(seed)
    close = start * np.exp(np.cumsum(rng.normal(0.0, sigma, size)))
    opened = np.concatenate([[start], close[:-1]])
    if gaps:
        opened = opened * np.exp(rng.normal(0.0, sigma / 4, size))
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, sigma / 2, size)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, sigma / 2, size)))
    funding = np.where(np.arange(size) % 8 == 0, rng.normal(0.0, 1e-4, size), 0.0)
    return np.stack([opened, high, low, close, rng.uniform(50.0, 5_000.0, size), funding], axis=1)


def random_market(
    size: int = 400,
    features: int = 3,
    seed: int = 0,
    *,
    sigma: float = 0.01,
    gaps: bool = True,
    stretches: Sequence[Stretch] | None = None,
    rules: MarketRules | None = None,
) -> MarketTensor:
    """Return a market whose first feature is the number of the row, and whose others are noise."""
    rng = np.random.default_rng(seed + 1_000)
    columns = rng.normal(size=(size, features)).astype(np.float32)
    columns[:, 0] = np.arange(size)
    return market_tensor(
        columns,
        random_prices(size, seed, sigma=sigma, gaps=gaps),
        rng.uniform(0.5, 2.0, size) * sigma,
        names=[f"f{index}" for index in range(features)],
        stretches=stretches,
        rules=rules,
        symbols=("A", "B"),
    )


def bar_at(market: MarketTensor, row: int) -> BarPrices:
    """Return a bar as the reference kernel takes it."""
    return BarPrices(*market.prices[row].tolist())
