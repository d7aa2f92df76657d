"""Orders lost, doubled or misjudged: what users of other programs lost money to must not happen here.

Which complaint each test stands for is written in `test_known_scars.py`.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest

from core.clock import NS_PER_S
from core.domain.order_plans import ExitRules, PlanDraft, PlanKind, PlanState
from core.domain.orders import Intent, IntentSource, Order, OrderDraft, OrderState, OrderType, Side
from core.errors import UserError
from core.events import FillBooked, IntentDenied, Notice, PlanUpdated, Severity
from core.execution.api.gateway import AmbiguousOutcome
from core.signals.risk_management import RiskSettings
from tests.unit.execution.conftest import Desk
from tests.unit.execution.test_reconnect import assert_books_equal
from tests.unit.execution.test_unknown_orders import BUY, REST, run, state_of, until

HOUR_NS = 3_600 * NS_PER_S


def strategy_buys(number: int, quantity: str = "0.1") -> Intent:
    """The same decision, taken once more by a strategy in a loop."""
    return Intent(
        f"loop:{number}", IntentSource.STRATEGY, "loop", "BTC/USDT", Side.BUY, Decimal(quantity), OrderType.MARKET
    )


def resting(price: str, symbol: str = "BTC/USDT") -> OrderDraft:
    quantity = Decimal("0.5") if symbol == "BTC/USDT" else Decimal(1)
    return OrderDraft(symbol, Side.BUY, OrderType.LIMIT, quantity, limit_price=Decimal(price))


async def test_an_order_reported_cancelled_that_was_really_filled_is_in_the_position(desk: Desk) -> None:
    executor, _ = await run(desk)
    order = await executor.place_order(REST)
    desk.venue.silent = True
    assert (await executor.cancel_order(order.client_order_id)).state is OrderState.CANCELED
    desk.venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: executor.position("BTC/USDT", "manual").quantity == Decimal("0.4995"))
    record = desk.journal.order(order.client_order_id)
    assert record is not None
    assert record.order.filled_quantity == Decimal("0.5")
    await assert_books_equal(desk, executor)


async def test_a_database_locked_before_the_order_is_sent_sends_nothing(desk: Desk) -> None:
    executor = await desk.start()
    with desk.journal._engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(desk.paths.journal_db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="is locked by another program"):
        await executor.place_order(BUY)
    assert desk.venue.sent == []
    other.execute("ROLLBACK")
    other.close()
    assert (await executor.place_order(BUY)).state is OrderState.FILLED
    assert len(desk.venue.sent) == 1
    await assert_books_equal(desk, executor)


async def test_an_order_that_went_through_at_the_exchange_but_not_at_the_database_is_booked_later(desk: Desk) -> None:
    executor = await desk.start()
    other = sqlite3.connect(desk.paths.journal_db, isolation_level=None, check_same_thread=False)
    with desk.journal._engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")
    send = desk.venue.submit_order

    async def then_the_database_locks(request):
        other.execute("BEGIN IMMEDIATE")
        return await send(request)

    desk.venue.submit_order = then_the_database_locks  # type: ignore[method-assign]
    with pytest.raises(UserError):
        await executor.place_order(BUY)
    assert len(desk.venue.sent) == 1
    other.execute("ROLLBACK")
    other.close()
    desk.venue.submit_order = send  # type: ignore[method-assign]
    with suppress(UserError):
        await executor.stop()
    desk.executors.remove(executor)
    second = await desk.start()
    await second.reconcile_now()
    assert second.position("BTC/USDT", "manual").quantity == Decimal("0.4995")
    assert len(desk.venue.sent) == 1
    await assert_books_equal(desk, second)


async def test_an_order_not_found_right_after_it_was_created_is_neither_given_up_nor_sent_again(desk: Desk) -> None:
    executor, _ = await run(desk)
    desk.venue.silent = True
    desk.venue.list_faults.clear()
    listing = desk.venue.fetch_open_orders

    async def lists_nothing_yet(symbol: str | None = None):
        return [] if desk.venue.lag else await listing(symbol)

    desk.venue.fetch_open_orders = lists_nothing_yet  # type: ignore[method-assign]
    desk.venue.lag = 5
    order = await executor.place_order(REST)
    for _ in range(8):
        await executor.reconcile_now()
        desk.venue.clock.advance(NS_PER_S)
        assert not state_of(desk, order).is_terminal
        assert [o.client_order_id for o in executor.working_orders] == [order.client_order_id]
    await until(lambda: desk.venue.lag == 0 and state_of(desk, order) is OrderState.ACCEPTED)
    assert len(desk.venue.sent) == 1


async def test_every_order_has_an_id_of_ours_that_is_on_disk_before_it_is_sent(desk: Desk) -> None:
    executor = await desk.start()
    send, on_disk = desk.venue.submit_order, []

    async def spy(request):
        on_disk.append(desk.journal.order(request.client_order_id) is not None)
        return await send(request)

    desk.venue.submit_order = spy  # type: ignore[method-assign]
    orders = [await executor.place_order(d) for d in (REST, BUY, resting("91"), resting("9", "ETH/USDT"))]
    assert on_disk == [True] * 4
    ids = {order.client_order_id for order in orders}
    assert len(ids) == 4
    assert ids == {request.client_order_id for request in desk.venue.sent}
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,36}", client_id) for client_id in ids)  # what Binance takes


STOPPED = PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, Decimal("0.4995"), exits=ExitRules(Decimal(90)))


async def stopped_out(desk: Desk, faults: tuple[str, ...] = ()):
    executor, _ = await run(desk)
    await executor.place_order(BUY)
    desk.venue.submit_faults.extend(faults)
    await executor.create_plan(STOPPED)
    return executor


def stops(desk: Desk) -> list:
    return [r for r in desk.venue.sent if r.order_type is OrderType.STOP_LOSS_LIMIT]


async def test_a_stop_loss_is_placed_once_and_not_again_in_each_loop(desk: Desk) -> None:
    executor = await stopped_out(desk)
    for _ in range(20):
        desk.venue.clock.advance(5 * NS_PER_S)
        desk.venue.tick("BTC/USDT", Decimal(100))
        await executor.reconcile_now()
    assert len(stops(desk)) == 1
    (stop,) = executor.working_orders
    assert stop.intent.reduce_only


async def test_a_stop_loss_the_venue_refuses_is_not_spammed_and_a_person_is_told(desk: Desk) -> None:
    executor = await stopped_out(desk, ("reject",) * 1_000)
    for _ in range(14 * 60 // 5):  # quarter of an hour
        desk.venue.clock.advance(5 * NS_PER_S)
        desk.venue.tick("BTC/USDT", Decimal(100))
        await asyncio.sleep(0.012)
    assert 1 < len(stops(desk)) <= 8
    assert desk.said(PlanUpdated)[-1].plan.state is PlanState.FAILED
    notice = desk.said(Notice)[-1]
    assert (notice.severity, notice.title) == (Severity.ERROR, "A position is not protected any more")
    assert executor.position("BTC/USDT", "manual").quantity == Decimal("0.4995")


async def test_a_stop_loss_is_not_placed_again_after_the_position_is_closed_nor_left_behind(desk: Desk) -> None:
    executor = await stopped_out(desk)
    closing = OrderDraft("BTC/USDT", Side.SELL, OrderType.MARKET, Decimal("0.4995"), reduce_only=True)
    beside_the_stop = await executor.place_order(closing)
    assert beside_the_stop.state is OrderState.DENIED  # the same coins must not be sold twice
    await executor.cancel_plan(executor.plans[0].plan_id)
    assert (await executor.place_order(closing)).state is OrderState.FILLED
    desk.venue.tick("BTC/USDT", Decimal(80))  # far below the stop
    await asyncio.sleep(0.1)
    assert desk.venue.open_orders() == []
    assert executor.plans == ()
    assert len(stops(desk)) == 1
    assert executor.position("BTC/USDT", "manual").quantity == 0


async def test_a_second_buy_without_an_answer_stays_in_the_books_and_its_fill_in_the_position(desk: Desk) -> None:
    first, _ = await run(desk)
    await first.submit(strategy_buys(1))
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    second = replace(strategy_buys(2), limit_price=Decimal(95), order_type=OrderType.LIMIT)
    order = await first.submit(second)
    assert order.state in (OrderState.UNKNOWN, OrderState.ACCEPTED)  # a round of questions may have been quick
    await first.stop()
    desk.venue.clock.advance(HOUR_NS)
    executor, _ = await run(desk)
    assert state_of(desk, order) is OrderState.ACCEPTED
    desk.venue.fill(order.client_order_id, Decimal("0.1"))
    await until(lambda: executor.position("BTC/USDT", "loop").quantity == Decimal("0.1998"))
    await assert_books_equal(desk, executor)


async def test_a_timeout_on_create_never_places_the_order_twice(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    executor, _ = await run(desk)
    orders = [await executor.place_order(BUY, key="my click") for _ in range(3)]  # impatient fingers
    assert len({order.client_order_id for order in orders}) == 1
    await until(lambda: executor.position("BTC/USDT", "manual").quantity == Decimal("0.4995"))
    assert len(desk.venue.sent) == len(desk.venue.orders) == 1


async def test_a_timeout_is_no_failure_and_nothing_takes_the_orders_place(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    desk.venue.lag = 1_000_000
    executor = await desk.start()
    order = await executor.submit(strategy_buys(0))
    again = [await executor.submit(strategy_buys(number)) for number in range(1, 6)]
    assert state_of(desk, order) is OrderState.UNKNOWN
    assert {o.reason_code for o in again} == {"UNKNOWN_ORDER_LOCK"}
    assert len(desk.venue.sent) == 1
    desk.venue.lag = 0
    await executor.reconcile_now()
    assert state_of(desk, order) is OrderState.FILLED
    await assert_books_equal(desk, executor)


async def test_six_orders_that_fill_hours_after_a_network_error_are_not_forgotten(desk: Desk) -> None:
    executor, _ = await run(desk)
    await until(lambda: bool(desk.venue.user_queues))
    orders: list[Order] = [await executor.place_order(resting(str(90 + i))) for i in range(6)]
    desk.venue.die()
    await until(lambda: not desk.venue.user_queues)
    desk.venue.clock.advance(5 * HOUR_NS)
    assert len(executor.working_orders) == 6  # a failed query is no cancel
    for order in orders:
        desk.venue.fill(order.client_order_id, Decimal("0.5"))
    desk.venue.revive()
    await until(lambda: executor.position("BTC/USDT", "manual").quantity == 6 * Decimal("0.4995"))
    assert [state_of(desk, order) for order in orders] == [OrderState.FILLED] * 6
    await assert_books_equal(desk, executor)


async def test_a_fill_told_by_stream_answer_and_list_alike_counts_once_and_none_is_invented(desk: Desk) -> None:
    desk.venue.duplicate = True
    executor, _ = await run(desk)
    await until(lambda: bool(desk.venue.user_queues))
    bought = await executor.place_order(BUY)
    order = await executor.place_order(REST)
    desk.venue.fill(order.client_order_id, Decimal("0.2"))
    for _ in range(5):
        known = desk.venue.orders[order.client_order_id]
        desk.venue.push(desk.venue.report(known, tuple(known.fills)))
        await executor.reconcile_now()
    assert len(desk.said(FillBooked)) == 2
    assert {f.client_order_id for f in desk.journal.fills()} == {bought.client_order_id, order.client_order_id}
    assert executor.position("BTC/USDT", "manual").quantity == Decimal("0.6993")
    assert [o.client_order_id for o in executor.working_orders] == [order.client_order_id]
    await assert_books_equal(desk, executor)


async def test_nothing_is_sent_after_the_stop(desk: Desk) -> None:
    executor, task = await run(desk)
    await executor.place_order(REST)
    await executor.stop()
    await task
    calls = len(desk.venue.calls)
    for late in (executor.submit(strategy_buys(1)), executor.place_order(BUY)):
        with pytest.raises(UserError, match="Trading has ended; nothing was sent"):
            await late
    await asyncio.sleep(0.2)  # many rounds of every loop
    assert "submit" not in desk.venue.calls[calls:]
    assert len(desk.venue.sent) == 1


async def test_a_loop_that_decides_without_end_is_stopped_at_the_limit_of_its_rate(desk: Desk) -> None:
    desk.risk = RiskSettings(max_orders_per_minute=20, max_orders_per_second=5, duplicate_window_s=0)
    executor = await desk.start()
    for number in range(300):
        await executor.submit(strategy_buys(number))
        desk.venue.clock.advance(NS_PER_S // 10)
    assert len(desk.venue.sent) <= 20
    assert {e.code for e in desk.said(IntentDenied)} == {"ORDER_RATE"}
    await assert_books_equal(desk, executor)


async def test_an_answer_that_takes_long_is_not_resolved_by_impatience_and_orders_do_not_pile_up(desk: Desk) -> None:
    executor, _ = await run(desk)
    answer = asyncio.Event()
    send = desk.venue.submit_order

    async def slow(request):
        await answer.wait()
        return await send(request)

    desk.venue.submit_order = slow  # type: ignore[method-assign]
    placing = asyncio.create_task(executor.submit(strategy_buys(0)))
    await until(lambda: bool(executor.working_orders))
    for _ in range(9):
        desk.venue.clock.advance(30 * NS_PER_S)
        await asyncio.sleep(0.03)
        assert [o.state for o in executor.working_orders] == [OrderState.SUBMITTED]
        await executor.reconcile_now()
        assert (await executor.submit(strategy_buys(0))).state is OrderState.SUBMITTED  # decided already
    answer.set()
    assert (await placing).state is OrderState.FILLED
    assert len(desk.venue.orders) == 1
    await assert_books_equal(desk, executor)


async def test_a_request_that_failed_on_its_way_out_and_back_is_told_apart_by_evidence_alone(desk: Desk) -> None:
    desk.venue.submit_faults.extend(["lost_after", "lost_before"])
    desk.venue.query_faults.extend([AmbiguousOutcome("timed out")] * 10)
    desk.venue.silent = True
    executor, _ = await run(desk)
    there = await executor.place_order(resting("90"))
    not_there = await executor.place_order(resting("9", "ETH/USDT"))
    await until(lambda: state_of(desk, there) is OrderState.ACCEPTED)
    assert state_of(desk, not_there) is OrderState.UNKNOWN
    await until(lambda: not desk.venue.query_faults)
    await asyncio.sleep(0.1)  # asked since: from here on its absence counts, once it is too late for it to arrive
    desk.venue.clock.advance(20 * NS_PER_S)
    await until(lambda: state_of(desk, not_there) is OrderState.EXPIRED)
    assert len(desk.venue.sent) == 2
    assert [o.client_order_id for o in executor.working_orders] == [there.client_order_id]
