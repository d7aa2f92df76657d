"""Streams drop, double and delay; restarts and other people's orders happen. The books equal the venue all the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.events import BalancesChanged, ConnectionState, ConnectionStatus, FillBooked, Notice, OrderUpdated, Severity
from core.execution.api.gateway import AmbiguousOutcome, FatalGatewayError, OrderReport, OrderRequest
from core.execution.books import check_books
from core.execution.executor import Executor
from core.execution.process_lock import ExecutorLock
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import VenueOrder
from tests.unit.execution.test_unknown_orders import REST, run, state_of, until


async def assert_books_equal(desk: Desk, executor) -> None:
    check = await check_books(desk.venue, desk.journal, executor.first_balances)
    assert check.differences == ()
    assert check.orders_match
    assert check.positions_match


async def test_partial_fills_arrive_by_stream_once_each_though_sent_twice(desk: Desk) -> None:
    desk.venue.duplicate = True
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    desk.venue.fill(order.client_order_id, Decimal("0.2"))
    await until(lambda: state_of(desk, order) is OrderState.PARTIALLY_FILLED)
    desk.venue.fill(order.client_order_id, Decimal("0.3"))
    await until(lambda: state_of(desk, order) is OrderState.FILLED)
    await asyncio.sleep(0.05)
    assert len(desk.said(FillBooked)) == 2
    await assert_books_equal(desk, executor)


async def test_a_fill_while_the_stream_is_silent_is_found_by_query(desk: Desk) -> None:
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    desk.venue.silent = True
    desk.venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: state_of(desk, order) is OrderState.FILLED)
    await until(lambda: len(desk.said(FillBooked)) == 1)
    await assert_books_equal(desk, executor)


async def test_reports_without_trades_are_completed_by_query(desk: Desk) -> None:
    desk.venue.fills_in_reports = False
    executor = await desk.start()
    order = await executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.5")))
    assert order.state is OrderState.FILLED
    await assert_books_equal(desk, executor)


def rest_longer(desk: Desk) -> None:
    """Let a broken stream stay away for long enough to be seen."""
    desk.options = replace(desk.options, backoff_s=0.1, backoff_max_s=0.2)


async def test_a_broken_stream_is_opened_again_and_reconciled(desk: Desk) -> None:
    rest_longer(desk)
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    await until(lambda: bool(desk.venue.user_queues))
    desk.venue.push(AmbiguousOutcome("connection closed"))
    await until(lambda: not desk.venue.user_queues)
    desk.venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: state_of(desk, order) is OrderState.FILLED and bool(desk.venue.user_queues))
    degraded = [s for s in desk.said(ConnectionStatus) if s.state is ConnectionState.DEGRADED]
    assert degraded[0].detail == "connection closed"


BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.5"))


async def test_a_routine_comparison_refuses_no_order_and_does_not_miss_it(desk: Desk) -> None:
    executor = await desk.start()
    asked, answer = asyncio.Event(), asyncio.Event()
    read = desk.venue.fetch_open_orders

    async def slowly(symbol: str | None = None):
        found = await read(symbol)  # as the venue stood before the order
        asked.set()
        await answer.wait()
        return found

    desk.venue.fetch_open_orders = slowly  # type: ignore[method-assign]
    comparing = asyncio.create_task(executor.reconcile_now())
    await asked.wait()
    resting = await executor.place_order(REST)
    bought = await executor.place_order(BUY)
    assert (resting.state, bought.state) == (OrderState.ACCEPTED, OrderState.FILLED)
    answer.set()
    await comparing
    assert state_of(desk, resting) is OrderState.ACCEPTED
    desk.venue.fetch_open_orders = read  # type: ignore[method-assign]
    await assert_books_equal(desk, executor)


async def test_exposure_does_not_grow_from_a_lost_stream_until_the_books_were_compared(desk: Desk) -> None:
    rest_longer(desk)
    executor, _ = await run(desk)
    await until(lambda: bool(desk.venue.user_queues))
    desk.venue.list_faults += [FatalGatewayError("not now")] * 3
    desk.venue.push(AmbiguousOutcome("connection closed"))
    await until(lambda: not desk.venue.user_queues)
    denied = await executor.place_order(BUY)
    assert (denied.state, denied.reason_code) == (OrderState.DENIED, "RECONCILING")
    await until(lambda: not desk.venue.list_faults and bool(desk.venue.user_queues))
    await executor.reconcile_now()
    assert (await executor.place_order(BUY)).state is OrderState.FILLED


async def test_a_comparison_begun_before_the_stream_was_lost_does_not_end_the_doubt(desk: Desk) -> None:
    executor, _ = await run(desk)
    await until(lambda: bool(desk.venue.user_queues))
    asked, answer = asyncio.Event(), asyncio.Event()
    read = desk.venue.fetch_open_orders

    async def slowly(symbol: str | None = None):
        found = await read(symbol)
        asked.set()
        await answer.wait()
        return found

    desk.venue.fetch_open_orders = slowly  # type: ignore[method-assign]
    comparing = asyncio.create_task(executor.reconcile_now())
    await asked.wait()
    desk.venue.push(AmbiguousOutcome("connection closed"))
    await until(lambda: not desk.venue.user_queues)
    desk.venue.list_faults += [FatalGatewayError("not now")] * 50  # no later comparison succeeds meanwhile
    answer.set()
    await comparing
    assert (await executor.place_order(BUY)).reason_code == "RECONCILING"
    desk.venue.list_faults.clear()
    desk.venue.fetch_open_orders = read  # type: ignore[method-assign]
    await executor.reconcile_now()
    assert (await executor.place_order(BUY)).state is OrderState.FILLED


def states(desk: Desk) -> list[ConnectionState]:
    """Return the states the link went through, without repetitions."""
    told = [status.state for status in desk.said(ConnectionStatus)]
    return [state for state, before in zip(told, [None, *told], strict=False) if state is not before]


async def test_a_dead_venue_is_offline_until_it_answers_and_its_account_stream_runs(desk: Desk) -> None:
    venue = desk.venue
    await run(desk)
    await until(lambda: bool(venue.user_queues))
    assert states(desk) == [ConnectionState.CONNECTING, ConnectionState.ONLINE]
    desk.events.clear()
    venue.die()
    await asyncio.sleep(0.5)  # pings, reconciliations and attempts to open the stream again, all in vain
    assert states(desk) == [ConnectionState.OFFLINE]
    assert venue.monitor.status.detail == "no connection"
    desk.events.clear()
    venue.stream_dead = True
    venue.revive()
    await asyncio.sleep(0.5)  # answered pings meanwhile
    assert states(desk) == [ConnectionState.DEGRADED]
    venue.stream_dead = False
    await until(lambda: bool(venue.user_queues))
    await asyncio.sleep(0.5)
    assert states(desk) == [ConnectionState.DEGRADED, ConnectionState.ONLINE]


async def test_books_that_cannot_be_compared_trouble_the_link(desk: Desk) -> None:
    await run(desk)
    desk.venue.list_faults += [FatalGatewayError("no permission to read orders")] * 3
    await until(lambda: desk.venue.monitor.status.state is ConnectionState.DEGRADED)
    assert desk.venue.monitor.status.detail == "no permission to read orders"
    await until(lambda: desk.venue.monitor.status.state is ConnectionState.ONLINE)


async def test_a_stop_that_is_cancelled_still_closes_everything(desk: Desk) -> None:
    executor = await desk.start()
    closing = asyncio.Event()
    close = desk.venue.close

    async def slowly() -> None:
        closing.set()
        await asyncio.sleep(0.05)
        await close()

    desk.venue.close = slowly  # type: ignore[method-assign]
    running = asyncio.create_task(executor.run())
    first = asyncio.create_task(executor.stop())
    await closing.wait()
    first.cancel()
    running.cancel()
    await asyncio.gather(first, running, return_exceptions=True)
    assert not desk.venue.closed
    await executor.stop()  # as a session does that is closed after its executor was cancelled
    assert desk.venue.closed
    assert ExecutorLock(desk.paths.root / "locks", "test").is_free()


async def test_a_revoked_key_is_said_clearly(desk: Desk) -> None:
    await run(desk)
    await until(lambda: bool(desk.venue.user_queues))
    desk.venue.push(FatalGatewayError("Invalid API-key"))
    await until(lambda: any(n.title == "The venue refuses this key" for n in desk.said(Notice)))
    assert len([n for n in desk.said(Notice) if n.text == "Invalid API-key"]) == 1


async def test_fills_while_the_program_was_off_are_booked_at_the_next_start(desk: Desk) -> None:
    first = await desk.start()
    order = await first.place_order(REST)
    await first.stop()
    desk.venue.fill(order.client_order_id, Decimal("0.2"))
    second = await desk.start()
    assert second.position("BTC/USDT", "manual").quantity == Decimal("0.1998")
    await second.stop()
    desk.venue.fill(order.client_order_id, Decimal("0.3"))
    third = await desk.start()
    assert state_of(desk, order) is OrderState.FILLED
    await assert_books_equal(desk, third)
    assert len({f.trade_id for f in desk.journal.fills()}) == 2


async def test_a_fill_after_the_cancel_is_booked(desk: Desk) -> None:
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    await executor.cancel_order(order.client_order_id)
    venue_order = desk.venue.orders[order.client_order_id]
    desk.venue.fill(order.client_order_id, Decimal("0.2"))
    venue_order.state = OrderState.CANCELED
    await until(lambda: executor.position("BTC/USDT", "manual").quantity > 0)
    assert state_of(desk, order) is OrderState.CANCELED
    assert executor.working_orders == []


async def test_orders_of_others_are_adopted_and_shown(desk: Desk) -> None:
    executor, _ = await run(desk)
    foreign = desk.venue.place_foreign("BTC/USDT", Side.BUY, Decimal("0.1"), Decimal(95))
    await until(lambda: bool(executor.working_orders))
    assert executor.working_orders[0].intent.owner == "external"
    desk.venue.fill(foreign.request.client_order_id, Decimal("0.1"))
    await until(lambda: executor.position("BTC/USDT", "external").quantity == Decimal("0.0999"))
    assert executor.position("BTC/USDT", "manual").quantity == 0
    await assert_books_equal(desk, executor)


async def test_trades_of_others_while_off_are_found_in_markets_we_trade(desk: Desk) -> None:
    first = await desk.start()
    await first.place_order(REST)
    await first.stop()
    desk.venue.silent = True
    foreign = desk.venue.place_foreign("BTC/USDT", Side.BUY, Decimal("0.1"), Decimal(95))
    desk.venue.fill(foreign.request.client_order_id, Decimal("0.1"))
    second = await desk.start()
    assert second.position("BTC/USDT", "external").quantity == Decimal("0.0999")
    assert any("somebody else" in n.title for n in desk.said(Notice))
    await second.stop()
    third = await desk.start()
    assert third.position("BTC/USDT", "external").quantity == Decimal("0.0999")


async def seen_by_a_trade(desk: Desk) -> tuple[Executor, VenueOrder]:
    """A resting order of somebody else of which the first thing that is heard is a trade of a part of it."""
    executor = await desk.start()
    await executor.place_order(REST)
    desk.venue.silent = True
    foreign = desk.venue.place_foreign("BTC/USDT", Side.BUY, Decimal(1), Decimal(95))
    desk.venue.fill(foreign.request.client_order_id, Decimal("0.3"))
    listing, desk.venue.fetch_open_orders = desk.venue.fetch_open_orders, nothing_open
    await executor.reconcile_now()
    desk.venue.fetch_open_orders = listing
    (order,) = [r.order for r in desk.journal.orders() if r.intent.owner == "external"]
    assert (order.state, order.filled_quantity) == (OrderState.FILLED, Decimal("0.3")), "all that is known of it"
    return executor, foreign


async def nothing_open(symbol: str | None = None) -> list[OrderReport]:
    return []


async def test_an_order_of_others_first_seen_by_its_trades_works_when_the_venue_lists_it(desk: Desk) -> None:
    executor, foreign = await seen_by_a_trade(desk)
    await executor.reconcile_now()
    (shown,) = [o for o in executor.working_orders if o.intent.owner == "external"]
    assert (shown.state, shown.intent.quantity, shown.filled_quantity) == (
        OrderState.PARTIALLY_FILLED,
        Decimal(1),
        Decimal("0.3"),
    )
    assert (shown.intent.order_type, shown.intent.limit_price) == (OrderType.LIMIT, Decimal(95))
    assert desk.said(OrderUpdated)[-1].order == shown
    assert desk.journal.order(shown.client_order_id).order == shown
    assert await executor.reconcile_now() == []
    desk.venue.fill(foreign.request.client_order_id, Decimal("0.7"))
    await executor.reconcile_now()
    assert state_of(desk, shown) is OrderState.FILLED
    assert executor.position("BTC/USDT", "external").quantity == Decimal("0.999")


async def test_an_order_of_others_that_fills_while_the_list_is_read_does_not_work_again(desk: Desk) -> None:
    executor, foreign = await seen_by_a_trade(desk)
    listing = desk.venue.fetch_open_orders

    async def then_filled(symbol: str | None = None) -> list[OrderReport]:
        reports = await listing(symbol)
        desk.venue.fill(foreign.request.client_order_id, Decimal("0.7"))
        return reports

    desk.venue.fetch_open_orders = then_filled
    await executor.reconcile_now()
    desk.venue.fetch_open_orders = listing
    (order,) = [r.order for r in desk.journal.orders() if r.intent.owner == "external"]
    assert (order.state, order.intent.quantity, order.filled_quantity) == (OrderState.FILLED, Decimal(1), Decimal(1))
    assert [n for n in desk.said(Notice) if n.severity is Severity.ERROR] == []
    assert len(executor.working_orders) == 1


async def test_an_order_the_venue_forgot_ends_as_gone(desk: Desk) -> None:
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    del desk.venue.orders[order.client_order_id]
    desk.venue.clock.advance(3_000_000_000)  # past the grace for lagging queries
    await until(lambda: state_of(desk, order) is OrderState.UNKNOWN)
    await asyncio.sleep(0.05)
    desk.venue.clock.advance(10_000_000_000)
    await asyncio.sleep(0.05)
    assert state_of(desk, order) is OrderState.UNKNOWN, "the venue had it: queries may be late"
    desk.venue.clock.advance(60_000_000_000)
    await until(lambda: state_of(desk, order) is OrderState.EXPIRED)
    record = desk.journal.order(order.client_order_id)
    assert record is not None
    assert record.order.reason_code == "GONE_AT_VENUE"
    assert executor.working_orders == []


async def test_a_lost_balance_frame_is_made_good_by_the_next_comparison(desk: Desk) -> None:
    executor = await desk.start()
    desk.venue.free["USDT"] -= 7  # the stream said nothing, and no order or trade speaks of it
    assert await executor.reconcile_now() == []
    assert {b.currency: b.free for b in desk.said(BalancesChanged)[-1].balances} == {"USDT": Decimal(9_993)}


async def test_a_market_held_only_by_somebody_else_is_followed_as_well(desk: Desk) -> None:
    executor = await desk.start()
    foreign = desk.venue.place_foreign("ETH/USDT", Side.BUY, Decimal(1), Decimal(9))
    await executor.reconcile_now()
    desk.venue.fill(foreign.request.client_order_id, Decimal(1))
    await executor.reconcile_now()
    sale = OrderRequest("web_sale", "ETH/USDT", Side.SELL, OrderType.MARKET, Decimal("0.4"))
    await desk.venue.submit_order(sale)  # the stream said nothing, and no order of the market is open
    await executor.reconcile_now()
    assert executor.position("ETH/USDT", "external").quantity == Decimal("0.599")
