"""Restarts that doubled, dropped or closed what they found: they must change nothing here.

Which complaint each test stands for is written in `test_known_scars.py`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal

from core.clock import NS_PER_S
from core.domain.order_plans import ExitRules, PlanDraft, PlanKind, PlanState
from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.events import FillBooked, PlanUpdated
from core.execution.executor import Executor
from tests.unit.execution.conftest import Desk
from tests.unit.execution.test_reconnect import assert_books_equal
from tests.unit.execution.test_unknown_orders import BUY, REST, run, state_of, until

DAY_NS = 86_400 * NS_PER_S
HELD = Decimal("0.4995")
SELL = OrderDraft("BTC/USDT", Side.SELL, OrderType.MARKET, HELD, reduce_only=True)


async def restarted(desk: Desk, executor: Executor, task: asyncio.Task[None]) -> tuple[Executor, asyncio.Task[None]]:
    await executor.stop()
    with suppress(asyncio.CancelledError):
        await task
    return await run(desk)


async def test_restart_after_restart_books_nothing_twice_and_sends_nothing(desk: Desk) -> None:
    executor, task = await run(desk)
    await executor.place_order(BUY)
    order = await executor.place_order(REST)
    desk.venue.fill(order.client_order_id, Decimal("0.2"))
    await until(lambda: state_of(desk, order) is OrderState.PARTIALLY_FILLED)
    sent, fills = len(desk.venue.sent), desk.journal.fills()
    for _ in range(4):
        executor, task = await restarted(desk, executor, task)
        assert desk.journal.fills() == fills
        assert await executor.reconcile_now() == []
        assert [o.client_order_id for o in executor.working_orders] == [order.client_order_id]
        assert executor.position("BTC/USDT", "manual").quantity == Decimal("0.6993")
    assert len(desk.venue.sent) == sent
    assert "cancel" not in desk.venue.calls
    await assert_books_equal(desk, executor)


async def test_a_warm_restart_does_not_flatten_a_position_nor_drop_its_working_order(desk: Desk) -> None:
    executor, task = await run(desk)
    await executor.place_order(BUY)
    order = await executor.place_order(REST)
    before = executor.position("BTC/USDT", "manual")
    executor, task = await restarted(desk, executor, task)
    await asyncio.sleep(0.1)
    after = executor.position("BTC/USDT", "manual")
    assert (after.quantity, after.average_price) == (before.quantity, before.average_price)
    assert [o.client_order_id for o in executor.working_orders] == [order.client_order_id]
    assert {p.owner for p in executor.positions} == {"manual"}  # no invented counterpart
    assert state_of(desk, order) is OrderState.ACCEPTED


async def test_a_position_older_than_the_venues_list_of_trades_starts_and_is_equal(desk: Desk) -> None:
    executor, task = await run(desk)
    await executor.place_order(BUY)
    for _ in range(3):
        desk.venue.clock.advance(400 * DAY_NS)
        desk.venue.trades_from_ns = desk.venue.clock.now_ns() - 90 * DAY_NS
        executor, task = await restarted(desk, executor, task)
        assert await executor.reconcile_now() == []
        assert executor.position("BTC/USDT", "manual").quantity == HELD
        assert len(desk.journal.fills()) == 1
    assert (await executor.place_order(SELL)).state is OrderState.FILLED
    assert executor.position("BTC/USDT", "manual").quantity == 0


async def test_comparing_equal_books_ends_and_changes_nothing(desk: Desk) -> None:
    executor, _ = await run(desk)
    await executor.place_order(BUY)
    await executor.place_order(REST)
    booked = len(desk.said(FillBooked))
    assert [await executor.reconcile_now() for _ in range(10)] == [[]] * 10
    assert len(desk.said(FillBooked)) == booked
    await assert_books_equal(desk, executor)


BRACKET = PlanDraft(PlanKind.BRACKET, "BTC/USDT", Side.BUY, Decimal(1), None, ExitRules(Decimal(90), Decimal(120)))


async def test_stop_and_target_still_belong_together_after_a_restart(desk: Desk) -> None:
    executor, task = await run(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(desk.venue.open_orders()) == 1)
    (stop,) = desk.venue.open_orders()
    executor, task = await restarted(desk, executor, task)
    desk.venue.tick("BTC/USDT", Decimal(121))
    await until(lambda: len(desk.venue.sent) == 3 and len(desk.venue.open_orders()) == 1)
    sale = desk.venue.sent[-1]
    assert stop.state is OrderState.CANCELED  # before the target was sold, never beside it
    assert (sale.side, sale.quantity, sale.limit_price) == (Side.SELL, Decimal("0.999"), Decimal(120))
    desk.venue.fill(sale.client_order_id, sale.quantity, Decimal(121))
    await until(lambda: executor.plans == ())
    await asyncio.sleep(0.05)
    assert desk.said(PlanUpdated)[-1].plan.state is PlanState.DONE
    assert executor.position("BTC/USDT", "manual").quantity == 0
    assert desk.venue.open_orders() == []  # nothing is orphaned


async def test_an_entry_filled_while_the_program_was_off_is_protected_at_the_start(desk: Desk) -> None:
    executor, task = await run(desk)
    entry = PlanDraft(
        PlanKind.BRACKET, "BTC/USDT", Side.BUY, Decimal(1), Decimal(95), ExitRules(Decimal(90), Decimal(120))
    )
    await executor.create_plan(entry)
    (waiting,) = desk.venue.open_orders()
    await executor.stop()
    await task
    desk.venue.fill(waiting.request.client_order_id, Decimal(1))
    executor, task = await run(desk)
    await until(lambda: len(desk.venue.open_orders()) == 1)
    (stop,) = desk.venue.open_orders()
    assert (stop.request.stop_price, stop.request.quantity) == (Decimal(90), Decimal("0.999"))


async def test_an_order_that_ended_while_the_program_was_off_is_not_shown_as_working(desk: Desk) -> None:
    executor, task = await run(desk)
    cancelled = await executor.place_order(REST)
    filled = await executor.place_order(
        OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.1"), limit_price=Decimal(92))
    )
    await executor.stop()
    await task
    await desk.venue.cancel_order("BTC/USDT", cancelled.client_order_id)
    desk.venue.fill(filled.client_order_id, Decimal("0.1"))
    desk.venue.clock.advance(DAY_NS)
    executor, task = await run(desk)
    assert executor.working_orders == []
    assert state_of(desk, cancelled) is OrderState.CANCELED
    assert state_of(desk, filled) is OrderState.FILLED
    await assert_books_equal(desk, executor)


async def test_a_first_start_without_any_memory_closes_and_cancels_nothing(desk: Desk) -> None:
    desk.venue.free["BTC"] = Decimal(3)
    foreign = desk.venue.place_foreign("BTC/USDT", Side.SELL, Decimal(1), Decimal(130))
    executor, _ = await run(desk)
    await asyncio.sleep(0.1)
    assert desk.venue.sent == []
    assert not {"submit", "cancel", "cancel_all"} & set(desk.venue.calls)
    assert foreign.state is OrderState.ACCEPTED
    assert desk.venue.free["BTC"] == 3
    assert [o.intent.owner for o in executor.working_orders] == ["external"]


async def test_a_position_opened_before_a_restart_is_closed_after_it_with_its_whole_profit(desk: Desk) -> None:
    executor, task = await run(desk)
    await executor.place_order(BUY)
    executor, task = await restarted(desk, executor, task)
    desk.venue.tick("BTC/USDT", Decimal(110))
    assert (await executor.place_order(SELL)).state is OrderState.FILLED
    position = executor.position("BTC/USDT", "manual")
    assert position.quantity == 0
    assert position.realised_pnl > Decimal(4)
    executor, task = await restarted(desk, executor, task)
    assert executor.position("BTC/USDT", "manual") == position
    await assert_books_equal(desk, executor)


async def test_a_fill_of_the_last_moment_before_a_crash_is_booked_once(desk: Desk) -> None:
    executor, task = await run(desk)
    await until(lambda: bool(desk.venue.user_queues))
    order = await executor.place_order(REST)
    desk.venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: state_of(desk, order) is OrderState.FILLED)
    for _ in range(3):  # every start reads the trades of the last hour again, and the stream repeats itself
        executor, task = await restarted(desk, executor, task)
        await until(lambda: bool(desk.venue.user_queues))
        known = desk.venue.orders[order.client_order_id]
        desk.venue.push(desk.venue.report(known, tuple(known.fills)))
        await executor.reconcile_now()
    assert len(desk.journal.fills()) == 1
    assert executor.position("BTC/USDT", "manual").quantity == HELD
    await assert_books_equal(desk, executor)
