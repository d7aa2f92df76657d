"""Streams that lied, stopped or never came back: orders and books must be right without them.

Which complaint each test stands for is written in `test_known_scars.py`.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from core.clock import NS_PER_S
from core.domain.orders import OrderState, Side
from core.events import ConnectionState, FillBooked, SignalEmitted
from core.execution.api.gateway import AmbiguousOutcome, NoAnswer
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_reconnect import assert_books_equal
from tests.unit.execution.test_strategy_runner import MINUTE, T0, ScriptedModel, bar, running
from tests.unit.execution.test_unknown_orders import BUY, REST, run, state_of, until

HELD = Decimal("0.4995")


@pytest.fixture
def trading(desk: Desk, venue: FakeVenue) -> Desk:
    """A desk whose model wants to buy at bar 1."""
    model = ScriptedModel({1: 1.0})
    desk.load_predictor = lambda model_id: model
    venue.candles = [bar(i) for i in range(-20, 1)]
    venue.clock.set(T0 + MINUTE)
    return desk


async def test_an_unfinished_candle_is_never_traded_on_as_if_it_had_closed(trading: Desk) -> None:
    executor, _ = await running(trading)
    for close in (100.0, 250.0, 40.0):
        trading.venue.push_candle(bar(1, close, final=False))
    await asyncio.sleep(0.1)
    assert trading.said(SignalEmitted) == []
    assert trading.venue.sent == []
    trading.venue.push_candle(bar(1, 101.0))
    await until(lambda: executor.position("BTC/USDT", "s1").quantity > 0)
    await until(lambda: bool(trading.said(SignalEmitted)))  # shown some milliseconds after the order was sent
    (signal,) = trading.said(SignalEmitted)
    assert signal.signal.bar_open_ns == bar(1).open_time_ns
    assert len(trading.venue.sent) == 1


async def test_an_outage_does_not_start_a_storm_of_reconnects_and_leaves_one_stream(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    await until(lambda: bool(venue.user_queues))
    dials, watch = [], venue.watch_user

    def counted():
        dials.append(1)
        return watch()

    venue.watch_user = counted  # type: ignore[method-assign]
    tasks = len(asyncio.all_tasks())
    venue.die()
    await asyncio.sleep(1.0)
    assert 2 <= len(dials) <= 1.3 * 1.0 / (0.02 / 2)  # the longest pause is 0.02 s, half of that the mean of the jitter
    assert len(asyncio.all_tasks()) <= tasks + 1
    venue.revive()
    await until(lambda: bool(venue.user_queues))
    order = await executor.place_order(REST)
    venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: state_of(desk, order) is OrderState.FILLED)
    assert len(venue.user_queues) == 1
    assert len(asyncio.all_tasks()) <= tasks + 2
    await assert_books_equal(desk, executor)


async def test_fills_between_a_1006_and_the_new_stream_are_read_from_the_list(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    await until(lambda: bool(venue.user_queues))
    order = await executor.place_order(REST)
    venue.stream_dead = True
    venue.push(AmbiguousOutcome("connection closed (1006)"))
    await until(lambda: not venue.user_queues)
    for part in ("0.1", "0.2", "0.2"):  # told to nobody
        venue.fill(order.client_order_id, Decimal(part))
    venue.stream_dead = False
    await until(lambda: state_of(desk, order) is OrderState.FILLED and bool(venue.user_queues))
    await until(lambda: len(desk.said(FillBooked)) == 3)
    assert executor.position("BTC/USDT", "manual").quantity == HELD
    await assert_books_equal(desk, executor)


@pytest.mark.parametrize("lost", [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}])
async def test_order_updates_the_stream_swallows_are_found_all_the_same(desk: Desk, lost: set[int]) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    await until(lambda: bool(venue.user_queues))
    order = await executor.place_order(REST)
    for number, step in enumerate(("0.2", "0.1", "cancel")):
        venue.silent = number in lost
        if step == "cancel":
            await venue.cancel_order("BTC/USDT", order.client_order_id)
        else:
            venue.fill(order.client_order_id, Decimal(step))
    venue.silent = False
    await asyncio.sleep(0.05)  # what was told is heard
    venue.clock.advance(10 * NS_PER_S)
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    await until(lambda: len(desk.said(FillBooked)) == 2)
    assert executor.position("BTC/USDT", "manual").quantity == Decimal("0.2997")
    assert executor.working_orders == []
    await assert_books_equal(desk, executor)


async def test_an_old_list_of_open_orders_brings_no_cancelled_order_back(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    stale = await desk.venue.fetch_open_orders()
    listing = desk.venue.fetch_open_orders
    await executor.cancel_order(order.client_order_id)

    async def behind(symbol: str | None = None):
        return stale

    desk.venue.fetch_open_orders = behind  # type: ignore[method-assign]
    await executor.reconcile_now()
    assert state_of(desk, order) is OrderState.CANCELED
    assert executor.working_orders == []
    desk.venue.fetch_open_orders = listing  # type: ignore[method-assign]
    await executor.reconcile_now()
    await assert_books_equal(desk, executor)


async def test_a_stream_that_closes_again_and_again_comes_back_each_time(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    for error in (NoAnswer("closed"), AmbiguousOutcome("1006"), NoAnswer("idle"), AmbiguousOutcome("reset")):
        await until(lambda: bool(venue.user_queues))
        (open_now,) = venue.user_queues
        venue.push(error)
        await until(lambda open_now=open_now: open_now not in venue.user_queues)
    await until(lambda: bool(venue.user_queues) and venue.monitor.status.state is ConnectionState.ONLINE)
    venue.hide_trades = True  # only the stream can tell now
    order = await executor.place_order(REST)
    venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: executor.position("BTC/USDT", "manual").quantity == HELD)
    venue.hide_trades = False
    assert (await executor.place_order(BUY)).state is OrderState.FILLED
    await assert_books_equal(desk, executor)


async def test_a_cancel_does_not_stay_under_way_for_ever(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    lost, gone = await executor.place_order(REST), None
    venue.cancel_faults.extend([NoAnswer("timed out")] * 6)
    await executor.cancel_order(lost.client_order_id)
    await until(lambda: state_of(desk, lost) is OrderState.CANCELED)
    venue.clock.advance(10 * NS_PER_S)
    gone = await executor.place_order(REST)
    venue.silent = True
    venue.cancel_faults.extend([NoAnswer("timed out")] * 3)
    venue.orders[gone.client_order_id].state = OrderState.CANCELED  # it was carried out, and nothing said so
    await executor.cancel_order(gone.client_order_id)
    venue.clock.advance(10 * NS_PER_S)
    await until(lambda: state_of(desk, gone) is OrderState.CANCELED)
    assert executor.working_orders == []


async def test_one_side_that_falls_silent_does_not_freeze_the_other(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    await until(lambda: bool(venue.user_queues))
    await executor.place_order(BUY)
    bid = await executor.place_order(REST)
    venue.silent = True  # the socket is open and says nothing, which no ping of it shows
    ask = venue.place_foreign("BTC/USDT", Side.SELL, Decimal("0.1"), Decimal(120))
    venue.fill(bid.client_order_id, Decimal("0.5"))
    venue.fill(ask.request.client_order_id, Decimal("0.1"))
    await until(lambda: executor.position("BTC/USDT", "manual").quantity == 2 * HELD)
    await until(lambda: executor.position("BTC/USDT", "external").quantity == Decimal("-0.1"))
    await assert_books_equal(desk, executor)
