"""What is asked of the venue, how far its answers reach, and what follows where it cannot be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal as D

import pytest

from core.clock import NS_PER_S
from core.domain.fills import Fill
from core.domain.orders import Order, OrderState, TradingState
from core.errors import UserError
from core.events import Notice
from core.execution.api.gateway import DefinitiveReject, OrderReport
from core.execution.executor import Executor
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_unknown_orders import BUY, REST, run, state_of

BTC, ETH = "BTC/USDT", "ETH/USDT"
UNLISTED = "Orders in a market that the venue does not list"


def told_unlisted(desk: Desk) -> list[str]:
    return [notice.text for notice in desk.said(Notice) if notice.title == UNLISTED]


def delist(venue: FakeVenue, symbol: str) -> Callable[[], None]:
    """Let the venue know nothing of a market from the next start on; returns what brings it back."""
    connect, fills, query, listing = venue.connect, venue.fetch_fills, venue.fetch_order, venue.fetch_open_orders

    async def connect_without() -> None:
        await connect()
        venue.instruments = {name: rules for name, rules in venue.instruments.items() if name != symbol}

    async def listed_fills(asked: str, *, since_ns: int | None = None) -> list[Fill]:
        if asked == symbol:
            raise DefinitiveReject(f"fake has no market {symbol}")
        return await fills(asked, since_ns=since_ns)

    async def listed_order(asked: str, key: str) -> OrderReport:
        if asked == symbol:
            raise DefinitiveReject(f"fake has no market {symbol}")
        return await query(asked, key)

    async def listed_orders(asked: str | None = None) -> list[OrderReport]:
        return [report for report in await listing(asked) if report.symbol != symbol]

    def relist() -> None:
        venue.connect, venue.fetch_fills, venue.fetch_order = connect, fills, query
        venue.fetch_open_orders = listing

    venue.connect, venue.fetch_fills, venue.fetch_order = connect_without, listed_fills, listed_order
    venue.fetch_open_orders = listed_orders
    return relist


async def left_unanswered(desk: Desk, venue: FakeVenue, fault: str) -> Order:
    """Leave an order without an answer, then end the program."""
    venue.submit_faults.append(fault)
    venue.silent = True
    executor = await desk.start()
    order = await executor.place_order(REST)
    assert order.state is OrderState.UNKNOWN
    await executor.stop()
    venue.silent = False
    return order


# --- markets that are not listed ------------------------------------------------------------------------------------


async def test_an_unsettled_order_in_a_delisted_market_keeps_nobody_from_starting(desk: Desk, venue: FakeVenue) -> None:
    order = await left_unanswered(desk, venue, "lost_before")
    delist(venue, BTC)
    executor, _ = await run(desk)
    assert executor.trading_state is TradingState.ACTIVE
    venue.clock.advance(100 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert state_of(desk, order) is OrderState.UNKNOWN, "nobody could be asked: nothing is proven"
    assert len(told_unlisted(desk)) == 1, "told once, however often it is looked at"
    assert order.client_order_id in told_unlisted(desk)[0]
    assert BTC in told_unlisted(desk)[0]
    other = await executor.place_order(replace(BUY, symbol=ETH, quantity=D(5)))
    assert other.state is OrderState.FILLED


async def test_an_order_that_worked_in_a_market_now_suspended_works_on_when_it_is_back(
    desk: Desk, venue: FakeVenue
) -> None:
    first = await desk.start()
    order = await first.place_order(REST)
    await first.stop()
    relist = delist(venue, BTC)
    second, task = await run(desk)
    venue.clock.advance(100 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert state_of(desk, order) is OrderState.ACCEPTED
    assert order.client_order_id in told_unlisted(desk)[0]
    await second.stop()
    await task
    relist()
    venue.fill(order.client_order_id, D("0.5"))
    third = await desk.start()
    assert state_of(desk, order) is OrderState.FILLED
    assert third.position(BTC, "manual").quantity == D("0.4995")


async def test_fills_that_are_missing_in_a_delisted_market_are_not_made_up(desk: Desk, venue: FakeVenue) -> None:
    venue.fills_in_reports, venue.hide_trades = False, True
    first = await desk.start()
    order = await first.place_order(BUY)
    await first.stop()
    delist(venue, BTC)
    second, task = await run(desk)
    await asyncio.sleep(0.05)
    venue.clock.advance(400 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert not task.done()
    assert second.position(BTC, "manual").quantity == 0
    assert order.client_order_id in told_unlisted(desk)[0]


async def test_a_person_decides_on_an_order_of_a_delisted_market(desk: Desk, venue: FakeVenue) -> None:
    order = await left_unanswered(desk, venue, "lost_after")
    relist = delist(venue, BTC)
    second = await desk.start()
    with pytest.raises(UserError, match="does not list BTC/USDT"):
        await second.ask_about(order.client_order_id)
    with pytest.raises(UserError, match="may still arrive"):
        await second.declare_gone(order.client_order_id)
    venue.clock.advance(10 * NS_PER_S)
    gone = await second.declare_gone(order.client_order_id)
    assert (gone.state, gone.reason_code) == (OrderState.EXPIRED, "DECLARED_GONE")
    with pytest.raises(UserError, match="not waiting for a decision"):
        await second.declare_gone(order.client_order_id)
    await second.stop()
    relist()
    third = await desk.start()  # it is there after all, and the market is back
    assert state_of(desk, order) is OrderState.ACCEPTED
    venue.fill(order.client_order_id, D("0.5"))
    await third.reconcile_now()
    assert state_of(desk, order) is OrderState.FILLED
    assert third.position(BTC, "manual").quantity == D("0.4995")


async def test_only_in_a_market_that_is_not_listed_a_working_order_can_be_declared_gone(
    desk: Desk, venue: FakeVenue
) -> None:
    first = await desk.start()
    order = await first.place_order(REST)
    with pytest.raises(UserError, match="not waiting for a decision"):
        await first.declare_gone(order.client_order_id)
    await first.stop()
    del venue.orders[order.client_order_id]
    delist(venue, BTC)
    second = await desk.start()
    assert (await second.declare_gone(order.client_order_id)).state is OrderState.EXPIRED
    assert second.working_orders == []


async def test_books_are_audited_beside_a_market_that_is_gone(desk: Desk, venue: FakeVenue) -> None:
    first = await desk.start()
    await first.place_order(BUY)
    rest = await first.place_order(REST)
    await first.place_order(replace(BUY, symbol=ETH, quantity=D(5)))
    await first.stop()
    delist(venue, BTC)
    second = await desk.start()
    check, stats = await second.audit()
    assert check.positions_match
    assert check.differences == (f"order {rest.client_order_id}: {BTC} is not listed",)
    assert (check.positions, stats.fills) == ({BTC: D("0.4995"), ETH: D("4.995")}, 1)


# --- looking into orders without an answer --------------------------------------------------------------------------


async def two_unanswered(desk: Desk, venue: FakeVenue) -> tuple[Executor, Order, Order]:
    """Leave two orders without an answer, the first of which the venue refuses to be asked about."""
    venue.silent = True
    venue.submit_faults.extend(["lost_before", "lost_after"])
    executor = await desk.start()
    first = await executor.place_order(REST)
    second = await executor.place_order(replace(REST, symbol=ETH, quantity=D(5), limit_price=D(9)))
    query = venue.fetch_order

    async def refuse_the_first(symbol: str, key: str) -> OrderReport:
        if symbol == BTC:
            raise DefinitiveReject("Market is closed.", "-1013")
        return await query(symbol, key)

    venue.fetch_order = refuse_the_first
    return executor, first, second


async def test_an_order_that_cannot_be_asked_about_keeps_no_other_waiting(desk: Desk, venue: FakeVenue) -> None:
    executor, first, second = await two_unanswered(desk, venue)
    await executor._unknown_round()
    assert (state_of(desk, first), state_of(desk, second)) == (OrderState.UNKNOWN, OrderState.ACCEPTED)


async def test_patience_begins_anew_when_an_order_is_lost_again(desk: Desk, venue: FakeVenue) -> None:
    executor, first, second = await two_unanswered(desk, venue)
    hidden = venue.orders.pop(second.client_order_id)
    await executor._unknown_round()  # the case of the second one is opened
    venue.silent = False
    venue.clock.advance(NS_PER_S)
    venue.orders[second.client_order_id] = hidden
    executor._sync.apply(venue.report(hidden))
    assert state_of(desk, second) is OrderState.ACCEPTED
    venue.clock.advance(100 * NS_PER_S)
    del venue.orders[second.client_order_id]
    await executor.reconcile_now()
    await executor._unknown_round()
    assert state_of(desk, second) is OrderState.UNKNOWN, "the venue had it a moment ago: its queries may be late"
    venue.clock.advance(70 * NS_PER_S)
    await executor._unknown_round()
    assert state_of(desk, second) is OrderState.EXPIRED
    assert state_of(desk, first) is OrderState.UNKNOWN
