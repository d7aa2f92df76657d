"""Fills the venue speaks of but never lists, and fills beyond what was ordered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal as D

from core.clock import NS_PER_S
from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.events import FillBooked, Notice
from core.execution.executor import Executor
from core.execution.reconciliation import inferred_fill, is_inferred
from core.execution.synchroniser import EvidenceRules
from tests.unit.execution.conftest import FAST, Desk
from tests.unit.execution.fake_venue import BTC as INSTRUMENT
from tests.unit.execution.fake_venue import FakeVenue

BTC = "BTC/USDT"
BUY = OrderDraft(BTC, Side.BUY, OrderType.MARKET, D(1))


async def with_hidden_trades(desk: Desk, venue: FakeVenue) -> tuple[Executor, asyncio.Task[None]]:
    desk.options = replace(FAST, evidence=EvidenceRules(query_gap_s=0.0, unlisted_s=60.0))
    venue.fills_in_reports = False
    venue.hide_trades = True
    executor = await desk.start()
    task = asyncio.create_task(executor.run())
    await executor.place_order(BUY)
    return executor, task


async def test_a_fill_that_is_never_listed_is_booked_from_the_orders_totals(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await with_hidden_trades(desk, venue)
    await asyncio.sleep(0.05)
    assert executor.position(BTC, "manual").quantity == 0  # not yet: trades may be listed late
    venue.clock.advance(61 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert executor.position(BTC, "manual").quantity == D("0.999")
    (booked,) = desk.said(FillBooked)
    assert is_inferred(booked.fill)
    assert (booked.fill.price, booked.fill.quantity) == (D(100), D(1))
    assert "A fill was booked that the venue does not list" in [notice.title for notice in desk.said(Notice)]
    await executor.stop()
    await task


async def test_the_real_trade_listed_later_does_not_count_again(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await with_hidden_trades(desk, venue)
    await asyncio.sleep(0.05)
    venue.clock.advance(61 * NS_PER_S)
    await asyncio.sleep(0.1)
    venue.hide_trades = False
    await executor.reconcile_now()
    assert executor.position(BTC, "manual").quantity == D("0.999")
    await executor.stop()
    await task
    again = await desk.start()  # nor after a restart
    await again.reconcile_now()
    assert again.position(BTC, "manual").quantity == D("0.999")


async def test_the_id_of_an_inferred_fill_is_a_hash_of_what_it_says(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await with_hidden_trades(desk, venue)
    await asyncio.sleep(0.05)
    (record,) = desk.journal.unsettled_orders()
    one, two = (inferred_fill(record, "fake", INSTRUMENT, time_ns) for time_ns in (1, 2))
    assert one is not None
    assert two is not None
    assert one.trade_id == two.trade_id
    more = replace(record, order=replace(record.order, filled_quantity=D(2)))
    other = inferred_fill(more, "fake", INSTRUMENT, 1)
    assert other is not None
    assert other.trade_id != one.trade_id
    complete = replace(record, booked_quantity=D(1), booked_value=D(100))
    assert inferred_fill(complete, "fake", INSTRUMENT, 1) is None
    await executor.stop()
    await task


async def test_an_order_filled_beyond_its_size_is_booked_and_told(desk: Desk, venue: FakeVenue) -> None:
    executor = await desk.start()
    task = asyncio.create_task(executor.run())
    order = await executor.place_order(OrderDraft(BTC, Side.BUY, OrderType.LIMIT, D(1), D(99)))
    venue.fill(order.client_order_id, D(1))
    venue.fill(order.client_order_id, D("0.5"))
    await asyncio.sleep(0.05)
    assert executor.position(BTC, "manual").quantity == D("1.4985")
    told = [notice for notice in desk.said(Notice) if notice.title == "The venue filled more than was ordered"]
    assert len(told) == 1
    (state,) = {o.order.state for o in desk.journal.orders()}
    assert state is OrderState.FILLED
    await executor.stop()
    await task


async def test_an_order_that_goes_on_after_an_inferred_fill_books_what_follows_and_only_that(
    desk: Desk, venue: FakeVenue
) -> None:
    desk.options = replace(FAST, evidence=EvidenceRules(query_gap_s=0.0, unlisted_s=60.0))
    venue.fills_in_reports = False
    venue.hide_trades = True
    executor = await desk.start()
    task = asyncio.create_task(executor.run())
    order = await executor.place_order(OrderDraft(BTC, Side.BUY, OrderType.LIMIT, D(1), D(99)))
    venue.fill(order.client_order_id, D("0.1"))
    await asyncio.sleep(0.1)
    venue.clock.advance(61 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert executor.position(BTC, "manual").quantity == D("0.0999")
    venue.clock.advance(NS_PER_S)
    venue.fill(order.client_order_id, D("0.4"))
    venue.hide_trades = False
    await executor.reconcile_now()
    await asyncio.sleep(0.1)
    assert executor.position(BTC, "manual").quantity == D("0.4995")
    await executor.stop()
    await task
