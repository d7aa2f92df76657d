"""An agent that wants what is written down, for tests of the strategies that follow one."""

from __future__ import annotations

from collections.abc import Sequence

from core.accounting.rules import CostRates
from core.domain.candles import Candle, Timeframe
from core.strategies.agent_policy import AccountView, AgentDecision
from tests.unit.execution.test_strategy_runner import MINUTE, T0


class ScriptedAgent:
    """Wants the weight written down for each bar index; 0.5 elsewhere."""

    model_id = "agent"
    symbol = "BTC/USDT"
    timeframe = Timeframe.M1
    warm_up_bars = 5
    band = 0.0
    costs = CostRates()
    lowest, highest = 0.0, 1.0

    def __init__(self, weights: dict[int, float]) -> None:
        self.weights = weights
        self.seen: list[int] = []
        self.asked: list[AccountView] = []

    def warm_up(self, candles: Sequence[Candle]) -> bool:
        self.seen = [candle.open_time_ns for candle in candles]
        return len(candles) >= self.warm_up_bars

    def update(self, candle: Candle) -> bool:
        assert candle.open_time_ns == self.seen[-1] + MINUTE
        self.seen.append(candle.open_time_ns)
        return len(self.seen) >= self.warm_up_bars

    def decide(self, account: AccountView) -> AgentDecision:
        self.asked.append(account)
        index = (self.seen[-1] - T0) // MINUTE
        return AgentDecision(self.weights.get(index, 0.5), f"seen {index}")
