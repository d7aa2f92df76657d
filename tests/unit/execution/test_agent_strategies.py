"""Agents trade through the same path as every strategy, and a restart finds their account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest

from core.domain.candles import Candle
from core.errors import UserError
from core.events import ForecastMade, SignalEmitted, StrategyState, StrategyStatus
from core.execution.executor import Executor
from core.execution.journal import Journal
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_strategy_runner import MINUTE, T0, bar
from tests.unit.execution.test_unknown_orders import until
from tests.unit.strategies.scripted_agent import ScriptedAgent
from tests.unit.strategies.test_agent_strategy import AGENT_SPEC

D = Decimal


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent({1: 0.5, 2: 0.5, 3: 0.0})


@pytest.fixture
def trading(desk: Desk, agent: ScriptedAgent, venue: FakeVenue) -> Desk:
    desk.load_agent = agents(agent)
    venue.candles = [bar(i) for i in range(-20, 1)]
    venue.clock.set(T0 + MINUTE)
    return desk


def agents(*known: ScriptedAgent) -> Callable[[str], ScriptedAgent]:
    by_id = {agent.model_id: agent for agent in known}

    def load(model_id: str) -> ScriptedAgent:
        if model_id not in by_id:
            raise UserError(f"There is no model {model_id!r}.", "List them.")
        return by_id[model_id]

    return load


async def running(desk: Desk) -> tuple[Executor, list[Decimal]]:
    held: list[Decimal] = []

    async def done(candle: Candle) -> None:
        held.append(executor.position("BTC/USDT", "s1").quantity)

    executor = await desk.start(bar_processed=done)
    desk.tasks.append(asyncio.create_task(executor.run()))
    await executor.add_strategy(AGENT_SPEC)
    await executor.start_strategy("s1")
    await until(lambda: bool(desk.venue.candle_queues))
    return executor, held


async def test_its_weights_become_orders_of_its_own_account(trading: Desk, agent: ScriptedAgent) -> None:
    _, held = await running(trading)
    assert trading.said(StrategyStatus)[-1].state is StrategyState.RUNNING
    for index, price in ((1, 100.0), (2, 100.0), (3, 100.0)):
        trading.venue.push_candle(bar(index, price))
        await until(lambda index=index: len(held) == index)
    # The fee of a purchase was taken out of what it brought; the second purchase makes up for it as far as it may.
    assert [order.side for order in trading.venue.sent] == ["buy", "sell"]
    assert held == [D("4.995"), D("4.995"), D(0)]
    assert [event.signal.target_weight for event in trading.said(SignalEmitted)] == [0.5, 0.5, 0.0]
    assert [view.equity for view in agent.asked] == pytest.approx([1_000.0, 999.5, 999.5])
    assert [view.bars_since_change for view in agent.asked] == [0, 0, 1]
    assert not trading.said(ForecastMade)


async def test_a_restart_goes_on_with_the_account(trading: Desk, agent: ScriptedAgent) -> None:
    executor, held = await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(held) == 1)
    await executor.stop()
    kept = Journal(trading.paths.journal_db)
    (record,) = kept.strategies()
    kept.close()
    assert record.spec == AGENT_SPEC
    assert record.account is not None
    assert (record.account.quantity, record.account.peak) == (D(0), D(1_000))  # written before the order went out
    trading.venue.candles.append(bar(1))
    trading.venue.clock.set(T0 + 2 * MINUTE)
    again = await trading.start()
    trading.tasks.append(asyncio.create_task(again.run()))
    await until(lambda: bool(trading.venue.candle_queues))
    trading.venue.push_candle(bar(2, 110.0))
    await until(lambda: len(agent.asked) == 2)
    view = agent.asked[1]
    assert (view.units, view.entry_price, view.bars_since_change) == (4.995, 100.0, 0)
    assert view.equity == pytest.approx(1_000 - 0.5 + 49.95)
    assert view.peak == view.equity


async def test_an_agent_is_changed_only_while_it_is_stopped(trading: Desk, agent: ScriptedAgent) -> None:
    other, foreign = ScriptedAgent({2: 0.0}), ScriptedAgent({})
    other.model_id, foreign.model_id, foreign.lowest = "other", "short", -1.0
    trading.load_agent = agents(agent, other, foreign)
    executor, held = await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(held) == 1)
    trading.venue.candles.append(bar(1))
    with pytest.raises(UserError, match="an agent changes only while it is stopped"):
        await executor.change_model("s1", "other")
    with pytest.raises(UserError, match="a spot market allows none below 0"):
        await executor.change_model("s1", "short")
    await executor.stop_strategy("s1")
    await until(lambda: not trading.venue.candle_queues)
    await executor.change_model("s1", "other")
    trading.venue.clock.set(T0 + 2 * MINUTE)
    await executor.start_strategy("s1")
    await until(lambda: bool(trading.venue.candle_queues))
    trading.venue.push_candle(bar(2))
    await until(lambda: len(held) == 2)
    assert held == [D("4.995"), D(0)]
    assert other.asked[0].equity == pytest.approx(999.5)  # the same account


async def test_an_agent_that_cannot_trade_here_fails_alone(trading: Desk, agent: ScriptedAgent) -> None:
    agent.lowest = -1.0
    executor = await trading.start()
    await executor.add_strategy(AGENT_SPEC)
    await executor.start_strategy("s1")
    status = trading.said(StrategyStatus)[-1]
    assert status.state is StrategyState.FAILED
    assert "a spot market allows none below 0" in status.detail
    assert trading.venue.sent == []


async def test_a_weight_that_is_no_number_sends_nothing(trading: Desk, agent: ScriptedAgent) -> None:
    agent.weights[1] = float("nan")
    await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: trading.said(StrategyStatus)[-1].state is StrategyState.FAILED)
    assert trading.venue.sent == []
