"""The markets of the self-test as an environment for agents. Training child only (imports torch)."""

from __future__ import annotations

import numpy as np

from ml.agents.environment_spec import CONTINUOUS, EnvironmentSpec
from ml.agents.market_tensor import MarketTensor, Stretch, market_tensor
from ml.selftest_markets import CASH, TaskMarket


def environment_of(market: TaskMarket, *, actions: str = CONTINUOUS, levels: int = 3) -> EnvironmentSpec:
    """Return what an agent is told of a task: its newest bar and account, its costs, its reward.

    Args:
        market: of the task.
        actions: "continuous" or "discrete".
        levels: of the latter.
    """
    return EnvironmentSpec(
        window=1,
        actions=actions,
        levels=levels,
        lowest=market.lowest,
        highest=market.highest,
        reward=market.reward,
        reward_scale=market.reward_scale,
        risk_aversion=market.risk_aversion,
        episode=market.episode,
        start_weight=market.start_weight,
        close_out=market.close_out,
        cash=CASH,
        costs=market.costs,
    )


def tensor_of(market: TaskMarket) -> MarketTensor:
    """Return the bars of a task: one stretch, or where tasks have an end one for each whole episode."""
    size = market.stride if market.close_out else len(market)
    columns = (market.open, market.high, market.low, market.close, market.volume, market.funding)
    return market_tensor(
        market.features,
        np.stack(columns, axis=1),
        market.volatility,
        names=market.names,
        stretches=[Stretch(start, start + size) for start in range(0, len(market) - size + 1, size)],
        rules=market.rules,
        symbols=(market.task,),
    )
