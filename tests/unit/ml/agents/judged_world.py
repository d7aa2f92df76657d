"""Markets and agents whose judgement is known beforehand."""

from __future__ import annotations

import numpy as np

from core.accounting.fast import BarArrays
from core.accounting.rules import CostRates, MarketRules
from ml.agents.accounts import JudgedMarket
from ml.agents.diagnostics import Observed
from ml.agents.judge import JudgeOptions, SeedPass, judge
from ml.agents.results import AgentMetrics
from ml.arrays import FloatArray

TRAIN, TEST, SIZE = (0, 600), (600, 1_600), 1_600
CHEAP = CostRates(taker_fee=0.0005, half_spread=0.0001, slippage=0.0001)
QUICK = JudgeOptions(resamples=200, draws=40)


def market_of(log_return: FloatArray, *, gap: float = 0.0, costs: CostRates = CHEAP, **kwargs: object) -> JudgedMarket:
    """Return bars that open where the last one closed, or a share of the move away from there."""
    close = 100.0 * np.exp(np.cumsum(log_return))
    before = np.concatenate([[100.0], close[:-1]])
    opened = before * (close / before) ** gap
    size = len(close)
    bars = BarArrays(
        open=opened,
        high=np.maximum(opened, close) * 1.0001,
        low=np.minimum(opened, close) * 0.9999,
        close=close,
        volume=np.full(size, 1e6),
        funding_rate=np.zeros(size),
    )
    settings: dict[str, object] = {"rules": MarketRules(), "bars_per_year": 8_760.0, "runs": ((0, size),)} | kwargs
    return JudgedMarket(bars=bars, volatility=np.full(size, 0.01), costs=costs, **settings)  # type: ignore[arg-type]


def noise_market(seed: int, *, drift: float = 0.0, size: int = SIZE, **kwargs: object) -> JudgedMarket:
    """Return a market whose returns nobody can know."""
    return market_of(np.random.default_rng(seed).normal(drift, 0.01, size), **kwargs)  # type: ignore[arg-type]


def moves(market: JudgedMarket, start: int = TEST[0], stop: int = TEST[1]) -> FloatArray:
    """Return the log return that follows each decision row."""
    return np.diff(np.log(market.bars.close[start:stop]))


def judged(market: JudgedMarket, *weights: FloatArray, options: JudgeOptions = QUICK, **kwargs: object) -> AgentMetrics:
    """Judge networks by their targets."""
    passes = [SeedPass(number, values) for number, values in enumerate(weights)]
    return judge(market, (TRAIN,), (TEST,), passes, options=options, **kwargs)  # type: ignore[arg-type]


def watched(observations: FloatArray, policy: object, market_size: int) -> Observed:
    """Return what a policy saw."""
    return Observed(policy, observations.astype(np.float32), market_size)  # type: ignore[arg-type]
