"""Agents trade through the same path as every strategy, and a restart finds their account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from core.domain.candles import Candle
from core.domain.orders import IntentSource
from core.errors import UserError
from core.events import ForecastMade, IntentDenied, SignalEmitted, StrategyState, StrategyStatus
from core.execution.executor import Executor
from core.execution.journal import Journal
from core.strategies.agent_strategy import AgentStrategy
from core.strategies.spec import StrategyKind, StrategySpec
from ml.hot_swap import SwappableAgent
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


def changeable(*known: ScriptedAgent) -> Callable[[str], SwappableAgent]:
    load = agents(*known)
    return lambda model_id: SwappableAgent(load(model_id), load)


@pytest.fixture
def other() -> ScriptedAgent:
    agent = ScriptedAgent({2: 0.0, 3: 0.25})
    agent.model_id, agent.band = "other", 0.02
    return agent


async def test_another_agent_decides_from_the_next_bar_on_with_the_same_account(
    trading: Desk, agent: ScriptedAgent, other: ScriptedAgent
) -> None:
    trading.load_agent = changeable(agent, other)
    executor, held = await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(held) == 1)
    trading.venue.candles.append(bar(1))
    await executor.change_model("s1", "other")
    status = trading.said(StrategyStatus)[-1]
    assert (status.model_id, status.state, status.position) == ("other", StrategyState.RUNNING, D("4.995"))
    assert len(trading.venue.sent) == 1  # the change itself trades nothing
    for index in (2, 3):
        trading.venue.push_candle(bar(index))
        await until(lambda index=index: len(held) == index)
    assert [order.side for order in trading.venue.sent] == ["buy", "sell", "buy"]
    assert held[:2] == [D("4.995"), D(0)]
    assert [event.signal.model_id for event in trading.said(SignalEmitted)] == ["agent", "other", "other"]
    assert other.seen[-3:] == [T0 + MINUTE, T0 + 2 * MINUTE, T0 + 3 * MINUTE]  # none missed, none twice
    assert other.asked[0].equity == pytest.approx(999.5)
    assert (other.asked[0].units, other.asked[0].bars_since_change) == (4.995, 0)
    await executor.stop()
    (again,) = (await trading.start()).strategies
    assert (again.model_id, again.kind) == ("other", StrategyKind.AGENT)


async def test_a_restart_after_the_books_know_of_a_change_begins_with_the_new_agent(
    trading: Desk, agent: ScriptedAgent, other: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    trading.load_agent = changeable(agent, other)
    executor, held = await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(held) == 1)
    trading.venue.candles.append(bar(1))

    def killed(self: AgentStrategy, spec: StrategySpec) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(AgentStrategy, "change_model", killed)
    with pytest.raises(RuntimeError, match="killed"):
        await executor.change_model("s1", "other")
    await executor.stop()
    trading.venue.clock.set(T0 + 2 * MINUTE)
    again = await trading.start()
    trading.tasks.append(asyncio.create_task(again.run()))
    await until(lambda: bool(trading.venue.candle_queues))
    trading.venue.push_candle(bar(2))
    await until(lambda: again.position("BTC/USDT", "s1").quantity == 0)
    assert [order.side for order in trading.venue.sent] == ["buy", "sell"]
    assert (len(agent.asked), len(other.asked)) == (1, 1)
    assert other.asked[0].units == 4.995


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("short", "a spot market allows none below 0"),
        ("ether", "trained on ETH/USDT"),
        ("young", "needs 99 closed bars"),
        ("none", "no model 'none'"),
    ],
)
async def test_an_agent_that_does_not_fit_leaves_the_former_one_at_work(
    trading: Desk, agent: ScriptedAgent, wanted: str, message: str
) -> None:
    short, ether, young = ScriptedAgent({}), ScriptedAgent({}), ScriptedAgent({})
    short.model_id, short.lowest = "short", -1.0
    ether.model_id, ether.symbol = "ether", "ETH/USDT"
    young.model_id, young.warm_up_bars = "young", 99
    trading.load_agent = changeable(agent, short, ether, young)
    executor, held = await running(trading)
    with pytest.raises(UserError, match=message):
        await executor.change_model("s1", wanted)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(held) == 1)
    assert trading.said(SignalEmitted)[0].signal.model_id == "agent"
    assert [spec.model_id for spec in executor.strategies] == ["agent"]
    assert held == [D("4.995")]


async def test_a_stopped_strategy_gets_another_agent_too(
    trading: Desk, agent: ScriptedAgent, other: ScriptedAgent
) -> None:
    trading.load_agent = changeable(agent, other)
    executor, held = await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(held) == 1)
    trading.venue.candles.append(bar(1))
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


async def test_a_large_purchase_after_many_small_ones_goes_out(trading: Desk, agent: ScriptedAgent) -> None:
    """No slip: it stays within the account that a person gave the agent. Refused, it would be so at every close."""
    trading.venue.free["USDT"] = D(2_000)
    agent.weights = {index: 0.03 * index for index in range(1, 7)} | {7: 1.0, 8: 1.0}
    executor, held = await running(trading)
    for index in range(1, 9):
        trading.venue.push_candle(bar(index))
        await until(lambda index=index: len(held) == index)
    assert not trading.said(IntentDenied)
    assert held[5] < D("1.8")
    assert held[6] > D("9.9")
    assert held[7] == held[6]
    bought = trading.journal.order_of(f"s1:{T0 + 7 * MINUTE}")
    assert bought is not None
    purchase = bought.order.intent
    position = executor.position("BTC/USDT", "s1")
    assert executor._runner.own_equity(purchase) == D(1_000) - position.fees + position.realised_pnl
    assert executor._runner.own_equity(replace(purchase, source=IntentSource.MANUAL)) is None
