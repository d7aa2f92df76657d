"""What is asked of the venue, how far its answers reach, and what follows where it cannot be asked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal as D

import pytest

from core.clock import NS_PER_S
from core.domain.fills import Fill
from core.domain.orders import Order, OrderDraft, OrderState, OrderType, Side, TradingState
from core.errors import UserError
from core.events import Notice
from core.execution.api.gateway import DefinitiveReject, OrderReport, RetryableError
from core.execution.executor import Executor
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_unknown_orders import BUY, REST, run, state_of, until

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


# --- how far trades are read ----------------------------------------------------------------------------------------


async def outage(
    desk: Desk, venue: FakeVenue, task: asyncio.Task[None], meanwhile: Callable[[], object], heard: Callable[[], object]
) -> None:
    """Take the link away for two hours; when it is back, the stream tells a fill before any comparison succeeds."""
    venue.die()
    await until(lambda: not venue.user_queues)
    venue.silent = True
    venue.clock.advance(600 * NS_PER_S)
    meanwhile()
    venue.clock.advance(7_200 * NS_PER_S)
    venue.list_faults.extend(RetryableError("busy") for _ in range(10_000))
    venue.silent = False
    venue.revive()
    await until(lambda: bool(venue.user_queues))
    heard()
    await asyncio.sleep(0.05)
    assert not task.done()


def resting(price: int, quantity: str = "1") -> OrderDraft:
    return OrderDraft(BTC, Side.BUY, OrderType.LIMIT, D(quantity), D(price))


async def test_own_fills_of_a_long_outage_are_booked_with_their_own_fees(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await run(desk)
    await executor.place_order(BUY)
    missed, heard = await executor.place_order(resting(96, "2")), await executor.place_order(resting(95))
    await executor.reconcile_now()

    def fill_as_maker() -> None:
        venue.fee_rate = D("0.0001")
        venue.fill(missed.client_order_id, D(2))
        venue.fee_rate = D("0.001")

    await outage(desk, venue, task, fill_as_maker, lambda: venue.fill(heard.client_order_id, D("0.2")))
    venue.list_faults.clear()
    await until(lambda: not executor._keeper.in_doubt)
    venue.clock.advance(301 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert executor.position(BTC, "manual").quantity == venue.free["BTC"]


async def test_trades_of_others_in_a_long_outage_are_found(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await run(desk)
    await executor.place_order(BUY)
    heard = await executor.place_order(resting(95))

    def sell() -> None:
        foreign = venue.place_foreign(BTC, Side.SELL, D("0.3"), D(100))
        venue.fill(foreign.request.client_order_id, D("0.3"))

    await outage(desk, venue, task, sell, lambda: venue.fill(heard.client_order_id, D("0.2")))
    venue.list_faults.clear()
    await until(lambda: executor.position(BTC, "external").quantity == D("-0.3"))
    check, _ = await executor.audit()
    assert check.differences == ()


async def test_a_long_outage_is_read_after_a_restart_as_well(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await run(desk)
    await executor.place_order(BUY)
    missed, heard = await executor.place_order(resting(96)), await executor.place_order(resting(95))
    await executor.reconcile_now()
    await outage(
        desk,
        venue,
        task,
        lambda: venue.fill(missed.client_order_id, D(1)),
        lambda: venue.fill(heard.client_order_id, D("0.2")),
    )
    await executor.stop()
    await task
    venue.list_faults.clear()
    venue.clock.advance(3 * 86_400 * NS_PER_S)
    second = await desk.start()
    assert second.position(BTC, "manual").quantity == venue.free["BTC"]
    assert state_of(desk, missed) is OrderState.FILLED


async def test_a_market_never_read_before_the_outage_is_read_from_its_beginning(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await run(desk)
    venue.list_faults.extend(RetryableError("busy") for _ in range(10_000))
    missed, heard = await executor.place_order(resting(96)), await executor.place_order(resting(95))
    await outage(
        desk,
        venue,
        task,
        lambda: venue.fill(missed.client_order_id, D(1)),
        lambda: venue.fill(heard.client_order_id, D("0.2")),
    )
    await executor.stop()
    await task
    venue.list_faults.clear()
    second = await desk.start()
    assert second.position(BTC, "manual").quantity == venue.free["BTC"]


async def test_a_trade_that_waits_for_its_owner_is_not_left_behind(desk: Desk, venue: FakeVenue) -> None:
    venue.silent = True
    venue.submit_faults.append("lost_after")
    executor = await desk.start()
    lost = await executor.place_order(BUY)  # its trade is listed, and nobody knows yet whose it is
    venue.lag = 1_000_000
    await executor.reconcile_now()
    venue.silent = False
    for _ in range(3):
        venue.clock.advance(3_000 * NS_PER_S)
        foreign = venue.place_foreign(BTC, Side.SELL, D("0.1"), D(100))
        venue.fill(foreign.request.client_order_id, D("0.1"))
        await executor.reconcile_now()
    venue.lag = 0
    await executor.reconcile_now()
    assert state_of(desk, lost) is OrderState.FILLED
    assert executor.position(BTC, "manual").quantity == D("0.4995")
    assert executor.position(BTC, "external").quantity == D("-0.3")


async def test_a_journal_of_an_earlier_version_is_read_from_its_newest_fill(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await desk.start()
    await first.place_order(BUY)
    booked_ns = venue.clock.now_ns()
    await first.stop()
    with sqlite3.connect(desk.paths.journal_db) as file:
        file.execute("DELETE FROM meta WHERE key = 'trades_read'")
    file.close()
    venue.clock.advance(86_400 * NS_PER_S)
    asked: list[int | None] = []
    plain = venue.fetch_fills

    async def note(symbol: str, *, since_ns: int | None = None) -> list[Fill]:
        asked.append(since_ns)
        return await plain(symbol, since_ns=since_ns)

    monkeypatch.setattr(venue, "fetch_fills", note)
    await desk.start()
    assert set(asked) == {booked_ns - 3_600 * NS_PER_S}
    assert desk.journal.trades_read() == {BTC: booked_ns}


async def test_how_far_trades_are_read_is_not_written_every_round(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await desk.start()
    order = await executor.place_order(resting(95))
    written: list[dict[str, int]] = []
    plain = desk.journal.set_trades_read

    def note(until_ns: dict[str, int]) -> None:
        written.append(dict(until_ns))
        plain(until_ns)

    monkeypatch.setattr(desk.journal, "set_trades_read", note)
    for _ in range(10):
        await executor.reconcile_now()
    assert written == []
    began = venue.clock.now_ns()
    for _ in range(13):
        venue.fill(order.client_order_id, D("0.01"))
        await executor.reconcile_now()
        venue.clock.advance(10 * NS_PER_S)
    assert written == [{BTC: began + seconds * NS_PER_S} for seconds in (0, 60, 120)]
