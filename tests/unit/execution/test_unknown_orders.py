"""What happens when the answer to a submit is missing: sent once, locked, and resolved by evidence alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from core.clock import NS_PER_MS, NS_PER_S
from core.domain.orders import Intent, IntentSource, Order, OrderDraft, OrderState, OrderType, Side
from core.errors import UserError
from core.events import Notice
from core.execution.api.gateway import AmbiguousOutcome, DefinitiveReject, RetryableError
from core.execution.executor import Executor
from core.execution.order_manager import client_order_id
from core.execution.records import OrderRecord
from core.execution.synchroniser import EvidenceRules
from tests.unit.execution.conftest import FAST, Desk

BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.5"))
REST = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.5"), limit_price=Decimal(90))


async def until(condition: Callable[[], bool], timeout_s: float = 3.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the conditions are facts of the journal, not events
            await asyncio.sleep(0.005)


async def run(desk: Desk) -> tuple[Executor, asyncio.Task[None]]:
    executor = await desk.start()
    return executor, asyncio.create_task(executor.run())


def state_of(desk: Desk, order: Order) -> OrderState:
    record = desk.journal.order(order.client_order_id)
    assert record is not None
    return record.order.state


async def test_an_order_that_arrived_is_found_and_booked(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    executor, _ = await run(desk)
    order = await executor.place_order(BUY)
    assert order.state is OrderState.UNKNOWN
    await until(lambda: state_of(desk, order) is OrderState.FILLED)
    await until(lambda: executor.position("BTC/USDT", "manual").quantity == Decimal("0.4995"))
    assert len(desk.venue.sent) == 1


async def test_an_order_that_never_arrived_expires_only_after_the_venue_could_no_longer_accept_it(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_before")
    executor, _ = await run(desk)
    order = await executor.place_order(BUY)
    await asyncio.sleep(0.1)
    assert state_of(desk, order) is OrderState.UNKNOWN  # the venue's clock stands: nothing is proven
    desk.venue.clock.advance(3 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert state_of(desk, order) is OrderState.UNKNOWN  # within recvWindow and its margin
    desk.venue.clock.advance(2 * NS_PER_S)
    await until(lambda: state_of(desk, order) is OrderState.EXPIRED)
    record = desk.journal.order(order.client_order_id)
    assert record is not None
    assert record.order.reason_code == "NEVER_ARRIVED"
    assert len(desk.venue.sent) == 1


async def test_an_unknown_order_locks_growth_in_its_market_only(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_before")
    executor = await desk.start()
    await executor.place_order(BUY)
    locked = await executor.place_order(REST)
    assert locked.reason_code == "UNKNOWN_ORDER_LOCK"
    other = OrderDraft("ETH/USDT", Side.BUY, OrderType.MARKET, Decimal(1))
    assert (await executor.place_order(other)).state is OrderState.FILLED


async def test_lagging_queries_do_not_end_an_order_that_exists(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    desk.venue.lag = 6
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    assert order.state is OrderState.UNKNOWN
    desk.venue.clock.advance(10 * NS_PER_S)
    await until(lambda: state_of(desk, order) is OrderState.ACCEPTED)
    assert len(desk.venue.sent) == 1


async def test_trades_of_an_order_queries_do_not_show_keep_it_unknown(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    desk.venue.lag = 1_000_000
    executor, _ = await run(desk)
    order = await executor.place_order(BUY)
    await asyncio.sleep(0.05)
    desk.venue.clock.advance(10 * NS_PER_S)
    await asyncio.sleep(0.2)
    assert state_of(desk, order) is OrderState.UNKNOWN
    assert all(p.owner != "external" for p in executor.positions)  # its trade is not taken for somebody else's
    desk.venue.lag = 0
    await until(lambda: state_of(desk, order) is OrderState.FILLED)


async def look_for_evidence(desk: Desk, draft: OrderDraft) -> tuple[Executor, Order]:
    """Return an UNKNOWN order that was looked for once, and is too old by now to arrive; no loop of its own runs."""
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    desk.venue.lag = 1_000_000
    desk.options = replace(FAST, evidence=EvidenceRules())
    executor = await desk.start()
    order = await executor.place_order(draft)
    await executor._sync.resolve_unknown()
    desk.venue.clock.advance(10 * NS_PER_S)
    assert state_of(desk, order) is OrderState.UNKNOWN
    return executor, order


async def test_an_order_seen_by_the_second_query_alone_is_no_lost_one(desk: Desk) -> None:
    desk.venue.hide_trades = True
    executor, order = await look_for_evidence(desk, BUY)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        desk.venue.lag = 0 if seconds >= 1.0 else desk.venue.lag  # queries have caught up after a second

    executor._sync._sleep = sleep
    await executor._sync.resolve_unknown()
    assert state_of(desk, order) is OrderState.FILLED
    assert slept == [1.0]


async def test_an_order_seen_in_the_list_of_open_orders_alone_is_no_lost_one(desk: Desk) -> None:
    executor, order = await look_for_evidence(desk, REST)
    executor._sync._sleep = no_pause
    await executor._sync.resolve_unknown()
    assert state_of(desk, order) is OrderState.ACCEPTED


async def no_pause(seconds: float) -> None:
    """Take no time."""


@pytest.mark.parametrize("window_ms", [1_000, 30_000])
async def test_how_long_a_request_may_arrive_is_the_venues_own_word(desk: Desk, window_ms: int) -> None:
    desk.venue.recv_window_ms = window_ms
    desk.venue.submit_faults.append("lost_before")
    executor = await desk.start()
    order = await executor.place_order(BUY)
    await executor._sync.resolve_unknown()
    desk.venue.clock.advance((window_ms + 1_000) * NS_PER_MS)
    await executor._sync.resolve_unknown()
    assert state_of(desk, order) is OrderState.UNKNOWN
    desk.venue.clock.advance(NS_PER_MS)
    await executor._sync.resolve_unknown()
    assert state_of(desk, order) is OrderState.EXPIRED


async def test_where_requests_do_not_expire_only_a_person_ends_an_unknown_order(desk: Desk) -> None:
    desk.venue.recv_window_ms = None
    desk.venue.submit_faults.append("lost_before")
    executor = await desk.start()
    order = await executor.place_order(BUY)
    await executor._sync.resolve_unknown()
    desk.venue.clock.advance(60 * NS_PER_S)
    with pytest.raises(UserError, match="may still arrive"):
        await executor.declare_gone(order.client_order_id)
    desk.venue.clock.advance(3_600 * NS_PER_S)
    await executor._sync.resolve_unknown()
    assert state_of(desk, order) is OrderState.UNKNOWN
    gone = await executor.declare_gone(order.client_order_id)
    assert (gone.state, gone.reason_code) == (OrderState.EXPIRED, "DECLARED_GONE")


async def test_where_requests_do_not_expire_what_the_venue_once_had_is_gone_without_a_person(desk: Desk) -> None:
    desk.venue.recv_window_ms = None
    executor = await desk.start()
    order = await executor.place_order(REST)
    del desk.venue.orders[order.client_order_id]
    desk.venue.clock.advance(10 * NS_PER_S)
    await executor.reconcile_now()
    await executor._sync.resolve_unknown()
    desk.venue.clock.advance(3_600 * NS_PER_S)
    await executor._sync.resolve_unknown()
    record = desk.journal.order(order.client_order_id)
    assert record is not None
    assert record.order.reason_code == "GONE_AT_VENUE"


async def test_failed_queries_prove_nothing(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_before")
    executor, _ = await run(desk)
    order = await executor.place_order(BUY)
    await asyncio.sleep(0.05)
    desk.venue.query_faults.extend([RetryableError("busy")] * 100_000)
    desk.venue.clock.advance(60 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert state_of(desk, order) is OrderState.UNKNOWN
    desk.venue.query_faults.clear()
    await until(lambda: state_of(desk, order) is OrderState.EXPIRED)


async def test_an_order_proven_lost_that_shows_after_all_is_booked(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_before")
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    await asyncio.sleep(0.05)
    desk.venue.clock.advance(10 * NS_PER_S)
    await until(lambda: state_of(desk, order) is OrderState.EXPIRED)
    desk.venue._accept(desk.venue.sent[0])
    await until(lambda: state_of(desk, order) is OrderState.ACCEPTED)
    desk.venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: state_of(desk, order) is OrderState.FILLED)
    assert len(desk.venue.sent) == 1, "it was never sent again"


@pytest.mark.parametrize("fault", ["reject", "fatal", "retry"])
async def test_a_refusal_ends_the_order(desk: Desk, fault: str) -> None:
    desk.venue.submit_faults.append(fault)
    executor = await desk.start()
    order = await executor.place_order(BUY)
    assert order.state is OrderState.REJECTED
    assert order.reason_code == ("NOT_PROCESSED" if fault == "retry" else "VENUE_REJECTED")
    assert order.message


async def test_a_bug_in_the_gateway_surfaces_and_leaves_the_order_unknown(desk: Desk) -> None:
    desk.venue.submit_faults.append("bug")
    executor = await desk.start()
    with pytest.raises(ZeroDivisionError):
        await executor.place_order(BUY)
    assert [o.state for o in executor.working_orders] == [OrderState.UNKNOWN]


async def test_who_stops_waiting_does_not_stop_the_order(desk: Desk) -> None:
    executor = await desk.start()
    answer = asyncio.Event()
    send = desk.venue.submit_order

    async def slow(request):
        await answer.wait()
        return await send(request)

    desk.venue.submit_order = slow
    task = asyncio.create_task(executor.place_order(BUY))
    await until(lambda: bool(executor.working_orders))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [o.state for o in executor.working_orders] == [OrderState.SUBMITTED]
    answer.set()
    await until(lambda: executor.position("BTC/USDT", "manual").quantity > 0)


async def test_an_answer_that_does_not_come_before_the_end_leaves_the_order_unknown(desk: Desk) -> None:
    executor = await desk.start()
    never = asyncio.Event()

    async def hang(request):
        await never.wait()

    send, desk.venue.submit_order = desk.venue.submit_order, hang
    task = asyncio.create_task(executor.place_order(BUY))
    await until(lambda: bool(executor.working_orders))
    await executor.stop()
    with pytest.raises(asyncio.CancelledError):
        await task
    desk.venue.submit_order = send
    second = await desk.start()
    assert [o.state for o in second.working_orders] == [OrderState.UNKNOWN]


async def test_a_restart_resolves_and_never_sends_again(desk: Desk) -> None:
    desk.venue.submit_faults.extend(["lost_after", "lost_before"])
    desk.venue.silent = True
    first = await desk.start()
    arrived = await first.place_order(REST)
    lost = await first.place_order(OrderDraft("ETH/USDT", Side.BUY, OrderType.MARKET, Decimal(1)))
    assert {o.state for o in first.working_orders} == {OrderState.UNKNOWN}
    await first.stop()
    second, _ = await run(desk)
    assert state_of(desk, arrived) is OrderState.ACCEPTED
    assert state_of(desk, lost) is OrderState.UNKNOWN
    desk.venue.clock.advance(10 * NS_PER_S)
    await until(lambda: state_of(desk, lost) is OrderState.EXPIRED)
    assert len(desk.venue.sent) == 2
    assert [o.client_order_id for o in second.working_orders] == [arrived.client_order_id]


async def test_an_order_committed_but_never_sent_is_not_sent_by_recovery(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_before")
    await desk.start()
    now = desk.venue.clock.now_ns()
    intent = Intent("manual:1", IntentSource.MANUAL, "manual", "BTC/USDT", Side.BUY, Decimal(1), OrderType.MARKET)
    crashed = Order(client_order_id("manual:1"), intent, OrderState.SUBMITTED, submitted_ns=now)
    desk.journal.insert_order(OrderRecord(crashed), "submit", now)  # … and the process dies before the send
    await desk.executors[0].stop()
    await run(desk)
    await asyncio.sleep(0.05)
    desk.venue.clock.advance(10 * NS_PER_S)
    await until(lambda: [r.order.state for r in desk.journal.orders()] == [OrderState.EXPIRED])
    assert desk.venue.sent == []


async def test_a_cancel_whose_answer_is_lost_is_asked_again(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    desk.venue.cancel_faults.extend([AmbiguousOutcome("timed out")] * 4)
    pending = await executor.cancel_order(order.client_order_id)
    assert pending.state is OrderState.PENDING_CANCEL
    await executor.reconcile_now()
    assert state_of(desk, order) is OrderState.PENDING_CANCEL
    await executor.reconcile_now()
    assert state_of(desk, order) is OrderState.CANCELED
    assert desk.venue.open_orders() == []


async def test_a_cancel_asked_for_again_and_refused_then_leaves_the_order_working(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    desk.venue.cancel_faults.extend([AmbiguousOutcome("timed out")] * 3)
    assert (await executor.cancel_order(order.client_order_id)).state is OrderState.PENDING_CANCEL
    desk.venue.cancel_faults.append(DefinitiveReject("This order is locked."))
    await executor.reconcile_now()
    assert state_of(desk, order) is OrderState.ACCEPTED
    assert "The venue refuses to cancel" in [notice.title for notice in desk.said(Notice)]
    desk.venue.calls.clear()
    await executor.reconcile_now()
    assert "cancel" not in desk.venue.calls, "refused is refused"


async def test_a_venue_that_refuses_while_trading_is_halted_is_told_once(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(REST)
    desk.venue.cancel_faults.extend([DefinitiveReject("This order is locked.")] * 100)
    report = await executor.kill()
    assert not report.confirmed
    for _ in range(3):
        await executor._desk.chase_cancels()
    said = [notice.text for notice in desk.said(Notice) if notice.title == "The venue refuses to cancel"]
    assert said == ["This order is locked."]
    order = executor.working_orders[0]
    await executor.cancel_order(order.client_order_id)
    assert len([n for n in desk.said(Notice) if n.title == "The venue refuses to cancel"]) == 2, "a person asked"


async def test_a_cancel_that_comes_too_late_finds_the_fill(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    desk.venue.fill(order.client_order_id, Decimal("0.5"))
    after = await executor.cancel_order(order.client_order_id)
    assert after.state is OrderState.FILLED


async def test_a_cancel_the_venue_refuses_leaves_the_order_working(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    desk.venue.cancel_faults.append(DefinitiveReject("not now"))
    after = await executor.cancel_order(order.client_order_id)
    assert (after.state, after.message) == (OrderState.ACCEPTED, "not now")


async def test_two_orders_at_once_are_checked_one_after_the_other(desk: Desk) -> None:
    executor = await desk.start()
    first, second = await asyncio.gather(executor.place_order(REST), executor.place_order(REST))
    assert {first.state, second.state} == {OrderState.ACCEPTED, OrderState.DENIED}
    assert len(desk.venue.sent) == 1
    await executor.cancel_all()
    assert executor.working_orders == []
    assert desk.venue.open_orders() == []


async def test_cancelling_what_is_not_there_is_one_sentence(desk: Desk) -> None:
    executor = await desk.start()
    with pytest.raises(UserError, match="no order nobody"):
        await executor.cancel_order("nobody")
    desk.venue.list_faults.append(AmbiguousOutcome("timed out"))
    with pytest.raises(UserError, match="Not all orders could be cancelled"):
        await executor.cancel_all("BTC/USDT")
    with pytest.raises(UserError, match="This is no order"):
        await executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal(1)))


async def test_an_order_the_venue_forgets_while_it_is_cancelled_is_looked_into(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    del desk.venue.orders[order.client_order_id]
    assert (await executor.cancel_order(order.client_order_id)).state is OrderState.PENDING_CANCEL


async def test_an_intent_decided_before_is_not_sent_again(desk: Desk) -> None:
    executor = await desk.start()
    intent = Intent("s:1", IntentSource.STRATEGY, "s", "BTC/USDT", Side.BUY, Decimal("0.5"), OrderType.MARKET)
    first = await executor.submit(intent)
    assert await executor.submit(intent) == first
    assert len(desk.venue.sent) == 1
