"""An agent's strategy turns its target weights into orders of its own account."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from core.domain.orders import Evidence, Side
from core.domain.positions import Position
from core.errors import UserError
from core.strategies.agent_strategy import AgentStrategy, require_spot
from core.strategies.making import ModelLoaders, make_strategy
from core.strategies.model_strategy import ModelStrategy
from core.strategies.own_account import AccountMemory
from core.strategies.spec import StrategyKind
from tests.unit.execution.fake_venue import BTC
from tests.unit.execution.test_strategy_runner import MINUTE, SPEC, T0, ScriptedModel, bar
from tests.unit.strategies.scripted_agent import ScriptedAgent

D = Decimal
AGENT_SPEC = replace(SPEC, kind=StrategyKind.AGENT, model_id="agent")
FLAT = Position("fake", "BTC/USDT", "s1")
HISTORY = [bar(index) for index in range(-6, 1)]


def strategy(agent: ScriptedAgent, **state: object) -> AgentStrategy:
    made = AgentStrategy(AGENT_SPEC, agent, BTC, **state)  # type: ignore[arg-type]
    assert made.warm_up(HISTORY)
    return made


def test_it_buys_what_its_weight_means() -> None:
    agent = ScriptedAgent({1: 0.25})
    decision = strategy(agent).on_bar(bar(1), FLAT, 7)
    assert decision is not None
    intent, signal = decision.intent, decision.signal
    assert intent is not None
    assert (intent.side, intent.quantity, intent.reduce_only) == (Side.BUY, D("2.5"), False)
    assert (intent.intent_id, intent.created_ns) == (f"s1:{T0 + MINUTE}", 7)
    assert intent.evidence == Evidence("agent", "seen 1", None, T0 + MINUTE)
    assert (signal.target_weight, signal.reference_price, signal.forecast) == (0.25, 100.0, None)
    assert signal.reason == "agent wants 25.0% of 1000.00 in the market"
    assert decision.account == AccountMemory(D(0), D(0), T0 + MINUTE, D(1_000))
    assert agent.asked[0].equity == 1_000.0


def test_what_it_earned_is_what_it_trades_next() -> None:
    agent = ScriptedAgent({1: 0.5, 2: 0.5})
    made = strategy(agent)
    made.on_bar(bar(1), FLAT, 7)
    held = replace(FLAT, quantity=D(5), average_price=D(100))
    decision = made.on_bar(bar(2, 120.0), held, 8)  # 1100, of which 600 are in the market: rounded down to 4.58333
    assert decision is not None
    assert decision.intent is not None
    assert (decision.intent.side, decision.intent.quantity) == (Side.SELL, D("0.41667"))
    assert decision.intent.reduce_only
    assert (agent.asked[1].equity, agent.asked[1].peak, agent.asked[1].bars_since_change) == (1_100.0, 1_100.0, 0)


def test_a_restart_finds_its_account() -> None:
    """Of the account only the memory is kept; what is held comes from the books."""
    agent = ScriptedAgent({2: 0.0})
    memory = AccountMemory(D(-3), D(5), T0 - 10 * MINUTE, D(1_500))
    made = strategy(agent, last_bar_ns=T0 - MINUTE, last_target=0.5, account=memory)
    held = replace(FLAT, quantity=D(5), average_price=D(100), realised_pnl=D(-3))
    made.on_bar(bar(1), held, 7)
    seen = agent.asked[0]
    assert (seen.equity, seen.peak, seen.bars_since_change, seen.entry_price) == (1_000.0, 1_500.0, 11, 100.0)
    assert made.on_bar(bar(1), held, 7, HISTORY) is None  # decided on before
    leaving = made.on_bar(bar(2), held, 8)
    assert leaving is not None
    assert leaving.intent is not None
    assert (leaving.intent.side, leaving.intent.quantity) == (Side.SELL, D(5))


def test_nothing_to_change_is_no_order() -> None:
    decision = strategy(ScriptedAgent({1: 0.0})).on_bar(bar(1), FLAT, 7)
    assert decision is not None
    assert decision.intent is None
    assert decision.account is not None


def test_an_agent_that_warms_up_decides_nothing() -> None:
    made = AgentStrategy(AGENT_SPEC, ScriptedAgent({}), BTC)
    assert not made.warm_up(HISTORY[-3:])
    assert not made.is_warm
    assert made.on_bar(bar(1), FLAT, 7) is None
    assert made.on_bar(bar(2), FLAT, 7) is not None
    assert made.warm_up_bars == 5
    assert made.newest is None


@pytest.mark.parametrize(("lowest", "highest"), [(-0.5, 1.0), (0.0, 2.0)])
def test_positions_that_spot_does_not_know_are_refused(lowest: float, highest: float) -> None:
    agent = ScriptedAgent({})
    agent.lowest, agent.highest = lowest, highest
    with pytest.raises(UserError, match="a spot market allows none below 0 or above 1"):
        AgentStrategy(AGENT_SPEC, agent, BTC)
    require_spot(0.0, 1.0)


def test_an_agent_of_another_market_is_refused() -> None:
    agent = ScriptedAgent({})
    agent.symbol = "ETH/USDT"
    with pytest.raises(UserError, match="trained on ETH/USDT 1m, not on BTC/USDT 1m"):
        AgentStrategy(AGENT_SPEC, agent, BTC)


def test_the_kind_says_which_loader_is_asked() -> None:
    agent, model = ScriptedAgent({}), ScriptedModel({})
    loaders = ModelLoaders({"model": model}.__getitem__, {"agent": agent}.__getitem__)  # type: ignore[arg-type]
    assert isinstance(make_strategy(SPEC, loaders, BTC), ModelStrategy)
    assert isinstance(make_strategy(AGENT_SPEC, loaders, BTC), AgentStrategy)
