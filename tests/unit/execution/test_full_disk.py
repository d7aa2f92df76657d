"""A halt on a disk that takes no more data: it holds at once, and is written down as soon as that goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.domain.order_plans import PlanDraft, PlanKind, PlanState
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingState
from core.errors import UserError
from core.events import Notice, PositionChanged
from core.execution.api.gateway import OrderReport, RetryableError
from core.execution.executor import Executor
from core.execution.fence import Fence
from core.execution.journal import Journal
from core.signals.risk_management import RiskSettings
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_plan_runner import BRACKET, crash, resting, running, until
from tests.unit.execution.test_unknown_orders import REST
from tests.unit.persistence.locked import locked_database

BTC, ETH = "BTC/USDT", "ETH/USDT"
BUY = OrderDraft(BTC, Side.BUY, OrderType.MARKET, D("0.5"))
TWAP = PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D(10), slices=10, duration_s=1000)


def full(*args: object, **kwargs: object) -> None:
    raise UserError("The disk is full.", "Free some space.")


@contextmanager
def refuse_all(journal: Journal) -> Iterator[None]:
    full()
    yield


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No new data reaches the disk any more, neither of the journal nor of the fence."""
    monkeypatch.setattr(Journal, "_write", refuse_all)
    monkeypatch.setattr(Fence, "write", full)


async def fall_below_the_drawdown_limit(executor: Executor, venue: FakeVenue) -> None:
    venue.tick(BTC, D(40))
    await until(lambda: executor.trading_state is TradingState.HALTED)


@pytest.fixture
def limited(desk: Desk) -> Desk:
    """A desk whose trading halts when 20 of the highest profit are lost."""
    desk.risk = RiskSettings(max_drawdown=D(20))
    return desk


async def test_a_fence_raised_outside_halts_although_nothing_can_be_written(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    fence = Fence(desk.paths.root / "fence.json")
    epoch = fence.raise_epoch("killed from outside", venue.clock.now_ns()).epoch
    with monkeypatch.context() as disk:
        disk.setattr(desk.journal, "set_trading_state", full)
        disk.setattr(desk.journal, "save_plan", full)
        disk.setattr(Fence, "write", full)
        await asyncio.sleep(0.1)
        assert not task.done()
        assert executor.trading_record.reason == "killed from outside"
        assert executor.plans == ()
        told = [notice.title for notice in desk.said(Notice)]
        assert told.count("The halt could not be written down") == 1
        assert told.count("Trading was stopped from outside") == 1  # once, not every round
    await asyncio.sleep(0.1)
    state = fence.read()
    assert state is not None
    assert state.acknowledged == epoch  # a kill from outside waits for it before it sells
    stored = desk.journal.trading_state()
    assert stored is not None
    assert (stored.state, stored.reason) == (TradingState.HALTED, "killed from outside")


async def test_plans_that_a_start_under_a_halt_could_not_write_stay_ended(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await executor.create_plan(TWAP)
    await crash(executor, task, desk)
    Fence(desk.paths.root / "fence.json").raise_epoch("killed while nothing ran", venue.clock.now_ns())
    second = desk.build()
    with monkeypatch.context() as disk:
        disk.setattr(desk.journal, "save_plan", full)
        await second.start()
    assert second.plans == ()
    assert [n.text for n in desk.said(Notice) if n.title == "The halt could not be written down"] == [
        "The disk is full."
    ]
    task = asyncio.create_task(second.run())
    await asyncio.sleep(0.05)
    await second.rearm()
    await crash(second, task, desk)
    third = await desk.start()
    assert third.plans == ()


async def test_a_drawdown_halt_is_written_down_later(
    limited: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(limited)
    await executor.place_order(BUY)
    await asyncio.sleep(0.05)
    with monkeypatch.context() as disk:
        disk.setattr(limited.journal, "set_trading_state", full)
        disk.setattr(Fence, "raise_epoch", full)
        await fall_below_the_drawdown_limit(executor, venue)
        await asyncio.sleep(0.05)
        assert not task.done()
    await asyncio.sleep(0.1)
    await crash(executor, task, limited)
    second = await limited.start()
    assert second.trading_state is TradingState.HALTED


async def test_a_drawdown_halt_pauses_every_plan_and_writes_it_later(
    limited: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(limited)
    await executor.place_order(BUY)
    for _ in range(2):
        await executor.create_plan(TWAP)
    await asyncio.sleep(0.05)
    with monkeypatch.context() as disk:
        disk.setattr(limited.journal, "save_plan", full)
        await fall_below_the_drawdown_limit(executor, venue)
        assert [plan.state for plan in executor.plans] == [PlanState.PAUSED, PlanState.PAUSED]
        assert not task.done()
    await asyncio.sleep(0.1)
    assert [plan.state for plan in limited.journal.plans_under_way()] == [PlanState.PAUSED, PlanState.PAUSED]


async def test_a_plan_cancelled_by_hand_is_not_brought_back_by_what_was_to_be_written_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, _ = await running(desk)
    plan = await executor.create_plan(TWAP)
    with monkeypatch.context() as disk:
        disk.setattr(desk.journal, "save_plan", full)
        assert executor._plans.hold("a test") == ["The disk is full."]
    await executor.cancel_plan(plan.plan_id)
    await asyncio.sleep(0.05)
    assert executor.plans == ()
    assert desk.journal.plans_under_way() == []


async def test_stop_after_a_drawdown_halt_keeps_no_protection(
    limited: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, _ = await running(limited)
    await executor.place_order(BUY)
    await asyncio.sleep(0.05)
    await fall_below_the_drawdown_limit(executor, venue)
    assert executor._control.keeps_protection
    monkeypatch.setattr(limited.journal, "set_trading_state", full)
    await executor.kill()
    assert not executor._control.keeps_protection
    closing = OrderDraft(BTC, Side.SELL, OrderType.LIMIT, D("0.4"), D(45), reduce_only=True)
    assert (await executor.place_order(closing)).state is OrderState.DENIED


async def test_stop_sells_although_its_own_fence_cannot_be_acknowledged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    monkeypatch.setattr(Fence, "acknowledge", full)
    report = await executor.kill(flatten=True)
    assert report.flat
    assert report.errors == ["The disk is full."]


def as_real_venues_do(venue: FakeVenue, slow_symbol: str = "") -> None:
    """Cancels are told by the stream as well, a market may answer later than another, a closed gateway asks nobody."""
    listing = venue.fetch_open_orders

    async def cancel_all(symbol: str) -> list[OrderReport]:
        if symbol == slow_symbol:
            await asyncio.sleep(0.5)
        if venue.closed:
            raise RetryableError("the gateway is not connected")
        found = [order for order in venue.open_orders() if order.request.symbol == symbol]
        for order in found:
            order.state = OrderState.CANCELED
            venue.push(venue.report(order))
        await asyncio.sleep(0.01)
        return [venue.report(order) for order in found]

    async def listed(symbol: str | None = None) -> list[OrderReport]:
        if venue.closed:
            raise RetryableError("the gateway is not connected")
        return await listing(symbol)

    venue.cancel_all_orders, venue.fetch_open_orders = cancel_all, listed  # type: ignore[method-assign]


async def two_markets(executor: Executor) -> None:
    await executor.place_order(REST)
    await executor.place_order(OrderDraft(ETH, Side.BUY, OrderType.LIMIT, D(5), limit_price=D("9.5")))


async def test_stop_cancels_every_market(desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    executor, task = await running(desk)
    await two_markets(executor)
    bought = venue.open_orders()[0]
    as_real_venues_do(venue, ETH)
    with monkeypatch.context() as disk:
        fill_the_disk(disk)
        report = await executor.kill()
        assert venue.open_orders() == []
        assert report.confirmed
        venue.fill(bought.request.client_order_id, D("0.1"))  # it came just before its cancel
        bought.state = OrderState.CANCELED
        await asyncio.sleep(0.1)
        assert not task.done()
        assert executor._keeper.in_doubt
        assert [n.title for n in desk.said(Notice)].count("The books cannot be written") == 1
    await until(lambda: not executor._keeper.in_doubt)
    assert executor.position(BTC, "manual").quantity == venue.free["BTC"] == D("0.0999")
    venue.clock.advance(61 * NS_PER_S)
    await until(lambda: executor.working_orders == [])  # the books are equal to the venue again
    await executor.rearm()
    assert executor.trading_state is TradingState.ACTIVE


async def test_what_stop_stopped_does_not_come_back_where_nothing_was_ever_written(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the program ends: the fence is raised by a new name for its file."""
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await executor.create_plan(TWAP)
    await until(lambda: len(resting(venue)) == 1)
    as_real_venues_do(venue)
    with monkeypatch.context() as disk:
        fill_the_disk(disk)
        await executor.kill()
        await asyncio.sleep(0.1)
        assert not task.done()
        await executor.stop()
    desk.executors.remove(executor)
    venue.closed = False
    sent = len(venue.sent)
    second, _ = await running(desk)
    venue.clock.advance(110 * NS_PER_S)
    venue.tick(BTC, D(100))
    await asyncio.sleep(0.1)
    assert second.trading_state is TradingState.HALTED
    assert second.plans == ()
    assert venue.sent[sent:] == []


async def test_a_minute_after_stop_the_program_still_shows_what_is_held(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await executor.place_order(BUY)
    await asyncio.sleep(0.05)
    fill_the_disk(monkeypatch)
    await executor.kill()
    venue.clock.advance(61 * NS_PER_S)  # the profit is to be written down
    venue.tick(BTC, D(101))
    await asyncio.sleep(0.1)
    assert not task.done()
    assert [shown.mark_price for shown in desk.said(PositionChanged)][-1] == D(101)


async def test_what_shows_only_after_stop_is_cancelled_one_after_the_other(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first cancel cannot be booked; the second order is cancelled all the same."""
    executor, task = await running(desk)
    await two_markets(executor)

    async def nothing(symbol: str) -> list[OrderReport]:
        return []

    venue.cancel_all_orders = nothing  # type: ignore[method-assign]
    fill_the_disk(monkeypatch)
    await executor.kill()
    await until(lambda: venue.open_orders() == [])
    assert not task.done()


async def test_while_trading_is_allowed_books_that_cannot_be_written_end_it_and_name_what_stays_open(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await two_markets(executor)
    fill_the_disk(monkeypatch)
    venue.fill(venue.open_orders()[0].request.client_order_id, D("0.1"))
    with pytest.raises(UserError, match="disk is full"):
        await asyncio.wait_for(task, 5)
    told = [notice.text for notice in desk.said(Notice) if notice.title == "Trading ends"]
    assert told == [
        "The disk is full. 2 orders stay open at the venue: start the program again, or cancel them there or with "
        "`main.py kill`."
    ]


async def test_a_program_that_is_closed_lets_stop_finish(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await two_markets(executor)
    as_real_venues_do(venue, ETH)
    killing = asyncio.create_task(executor.kill())
    await asyncio.sleep(0.05)
    await executor.stop()
    report = await killing
    await task
    assert report.complete
    assert venue.open_orders() == []


async def test_a_program_that_is_closed_waits_for_no_stop_for_ever(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, _ = await running(desk)
    await executor.place_order(REST)
    as_real_venues_do(venue, BTC)
    monkeypatch.setattr("core.execution.stop_desk.REPORT_S", 0.02)
    killing = asyncio.create_task(executor.kill())
    await asyncio.sleep(0.01)
    await executor.stop()
    assert not killing.done()
    assert not (await killing).confirmed


async def test_stop_beside_a_program_that_locks_the_journal_cancels_at_once(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    for number in range(4):
        await executor.place_order(replace(REST, symbol=ETH, limit_price=D(9) - number, quantity=D(1)))
    refused: list[tuple[str, ...]] = []
    update = Journal.update_order

    def note_refusal(self: Journal, *args: Any) -> None:
        try:
            update(self, *args)
        except UserError:
            refused.append(tuple(venue.calls))
            raise

    monkeypatch.setattr(Journal, "update_order", note_refusal)
    venue.calls.clear()
    with locked_database(desk.paths.journal_db):
        report = await asyncio.wait_for(executor.kill(), timeout=5)  # one write alone would wait for as long
        assert report.confirmed
        assert venue.open_orders() == []
        assert refused[0].count("cancel_all") == 2, "every market was asked before a write was waited for"
        assert any("locked by another program" in error for error in report.errors)
        assert not task.done()
        assert executor.trading_state is TradingState.HALTED
    await until(lambda: desk.journal.trading_state().state is TradingState.HALTED)
    await until(lambda: all(r.order.state.is_terminal for r in desk.journal.orders()))
    assert desk.journal.plans_under_way() == []
    await executor.stop()
    await task
