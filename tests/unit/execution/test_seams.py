"""Where two parts of the order path meet: what one does while the other waits for an answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal as D

import pytest

from core.clock import NS_PER_S
from core.domain.fills import Fill
from core.domain.market import BookSnapshot, Ticker
from core.domain.order_plans import PlanDraft, PlanKind
from core.domain.orders import OrderChange, OrderDraft, OrderState, OrderType, Side, TradingMode, TradingState
from core.errors import UserError
from core.execution.records import OrderRecord
from tests.unit.execution.conftest import FAST, Desk
from tests.unit.execution.fake_venue import FakeVenue

BTC = "BTC/USDT"
REST = OrderDraft(BTC, Side.BUY, OrderType.LIMIT, D("0.5"), limit_price=D(90))


async def test_a_plan_cancelled_while_the_book_is_read_sends_nothing(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await desk.start()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow_book(symbol: str, depth: int = 100) -> BookSnapshot:
        asked.set()
        await answer.wait()
        return BookSnapshot(symbol, (), (), venue.clock.now_ns())

    monkeypatch.setattr(venue, "fetch_book", slow_book)
    draft = PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D(1), duration_s=60, slices=2)
    begun = asyncio.create_task(executor.create_plan(draft))
    await asked.wait()
    (plan,) = executor.plans
    await executor.cancel_plan(plan.plan_id)
    answer.set()
    await begun
    assert venue.sent == []


async def test_two_changes_of_one_order_make_one_new_order(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    venue.clock.advance(20 * NS_PER_S)  # the price is old: both ask for it
    plain = venue.fetch_ticker

    async def slow_ticker(symbol: str) -> Ticker:
        await asyncio.sleep(0.02)
        return await plain(symbol)

    monkeypatch.setattr(venue, "fetch_ticker", slow_ticker)
    changes = (OrderChange(limit_price=D(91)), OrderChange(limit_price=D(92)))
    await asyncio.gather(*(executor.replace_order(order.client_order_id, c) for c in changes), return_exceptions=True)
    assert len(venue.open_orders()) == 1


async def test_an_order_declared_gone_is_open_again_when_the_venue_lists_it(desk: Desk, venue: FakeVenue) -> None:
    venue.silent = True
    venue.submit_faults.append("lost_after")
    executor = await desk.start()
    order = await executor.place_order(REST)
    venue.lag, hidden = 100, venue.orders.pop(order.client_order_id)
    with pytest.raises(UserError):
        await executor.declare_gone(order.client_order_id)
    venue.clock.advance(10 * NS_PER_S)
    gone = await executor.declare_gone(order.client_order_id)
    assert gone.state is OrderState.EXPIRED
    venue.lag = 0
    venue.orders[order.client_order_id] = hidden
    await executor.reconcile_now()
    assert [o.state for o in executor.working_orders] == [OrderState.ACCEPTED]
    assert await executor.reconcile_now() == []


async def test_stop_cancels_every_market_although_answers_cannot_be_booked(desk: Desk, venue: FakeVenue) -> None:
    executor = await desk.start()
    await executor.place_order(REST)
    await executor.place_order(replace(REST, symbol="ETH/USDT", limit_price=D(9), quantity=D(1)))

    def full(*args: object, **kwargs: object) -> None:
        raise UserError("The disk is full.")

    desk.journal.update_order = full  # type: ignore[method-assign]
    report = await executor.kill(flatten=True)
    assert report.confirmed
    assert venue.open_orders() == []
    assert "The disk is full." in report.errors
    assert executor.trading_state is TradingState.HALTED


async def test_a_limit_order_that_rests_after_a_first_fill_is_not_waited_for(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.options = replace(FAST, settle_s=5.0)
    executor = await desk.start()
    plain = venue._accept

    def fill_a_part(request):
        order = plain(request)
        venue.fill(request.client_order_id, D("0.1"))
        return order

    monkeypatch.setattr(venue, "_accept", fill_a_part)
    venue.calls.clear()
    async with asyncio.timeout(2):
        order = await executor.place_order(replace(REST, limit_price=D(100)))
    assert order.state is OrderState.PARTIALLY_FILLED
    assert venue.calls.count("query") + venue.calls.count("fills") <= 3


async def test_an_account_with_a_long_past_is_read_from_the_beginning_of_the_books(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue.mode = TradingMode.LIVE
    asked: list[int | None] = []
    plain = venue.fetch_fills

    async def note(symbol: str, *, since_ns: int | None = None) -> list[Fill]:
        asked.append(since_ns)
        return await plain(symbol, since_ns=since_ns)

    monkeypatch.setattr(venue, "fetch_fills", note)
    executor = await desk.start()
    await executor.place_order(REST)
    await executor.reconcile_now()
    assert asked
    assert None not in asked


async def test_a_trade_in_a_market_that_is_gone_does_not_end_the_program(desk: Desk, venue: FakeVenue) -> None:
    executor = await desk.start()
    await executor._keeper.explain_cash()
    venue.clock.advance(NS_PER_S)
    await executor.place_order(OrderDraft("ETH/USDT", Side.BUY, OrderType.MARKET, D(1)))
    venue.instruments = {BTC: venue.instruments[BTC]}
    for _ in range(3):
        venue.clock.advance(NS_PER_S)
        await executor._keeper.explain_cash()
    assert executor.position("ETH/USDT", "manual").quantity == D("0.999"), "looked at, and nothing lost"


async def test_a_plan_whose_orders_stand_still_is_not_read_again(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await desk.start()
    draft = PlanDraft(PlanKind.ICEBERG, BTC, Side.BUY, D(3), D(95), visible=D(1))
    await executor.create_plan(draft)
    read: list[str] = []
    plain = desk.journal.children

    def note(plan_id: str) -> list[OrderRecord]:
        read.append(plan_id)
        return plain(plan_id)

    monkeypatch.setattr(desk.journal, "children", note)
    for _ in range(20):
        await executor._plans.round()
        await asyncio.sleep(0)
    assert len(read) <= 1
    venue.fill(venue.sent[0].client_order_id, D(1))
    await executor.reconcile_now()
    await executor._plans.round()
    await asyncio.sleep(0.05)
    assert len(venue.sent) == 2, "a part that was filled is followed by the next"


async def test_an_order_given_up_as_gone_is_open_again_when_the_venue_lists_it(desk: Desk, venue: FakeVenue) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    venue.clock.advance(10 * NS_PER_S)
    hidden = venue.orders.pop(order.client_order_id)
    await executor.reconcile_now()
    await executor._unknown_round()
    venue.clock.advance(70 * NS_PER_S)
    await executor._unknown_round()
    assert desk.journal.order(order.client_order_id).order.state is OrderState.EXPIRED
    venue.orders[order.client_order_id] = hidden
    await executor.reconcile_now()
    assert [o.state for o in executor.working_orders] == [OrderState.ACCEPTED]
