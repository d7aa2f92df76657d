"""Rules, fees, clocks and limits of exchanges, and the way out: what users of other programs got stuck on.

Which complaint each test stands for is written in `test_known_scars.py`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from core.clock import NS_PER_S
from core.domain.order_plans import ExitRules, PlanDraft, PlanKind
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingState
from core.events import FillBooked
from core.execution.api.gateway import DefinitiveReject, RetryableError
from core.execution.process_lock import ExecutorLock
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import START_NS
from tests.unit.execution.test_reconnect import assert_books_equal
from tests.unit.execution.test_unknown_orders import BUY, REST, run, state_of, until

HOUR_NS = 3_600 * NS_PER_S


async def test_dust_below_the_smallest_order_is_named_and_keeps_nothing_from_ending(desk: Desk) -> None:
    executor, _ = await run(desk)
    await executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.06")))
    desk.venue.tick("BTC/USDT", Decimal(80))  # worth 4.80, and 5 is the least
    await asyncio.sleep(0.05)
    held = executor.position("BTC/USDT", "manual").quantity
    sale = OrderDraft("BTC/USDT", Side.SELL, OrderType.MARKET, Decimal("0.05994"), reduce_only=True)
    denied = await executor.place_order(sale)
    assert (denied.state, len(desk.venue.sent)) == (OrderState.DENIED, 1)
    assert "minimum" in denied.message
    report = await executor.kill(flatten=True)
    assert report.complete
    assert [dust["quantity"] for dust in report.dust] == [f"{held:f}"]
    await executor.rearm()
    desk.venue.tick("BTC/USDT", Decimal(100))  # it is worth enough again, and is no immortal
    await asyncio.sleep(0.05)
    assert (await executor.place_order(sale)).state is OrderState.FILLED
    assert executor.position("BTC/USDT", "manual").quantity == 0
    await assert_books_equal(desk, executor)


async def test_a_price_the_venue_refuses_ends_the_order_and_starts_no_emergency_exit(desk: Desk) -> None:
    executor, _ = await run(desk)
    await executor.place_order(BUY)
    send, asked = desk.venue.submit_order, []

    async def refuses_far_prices(request):
        if request.limit_price is not None:
            asked.append(request)
            raise DefinitiveReject("Filter failure: PERCENT_PRICE_BY_SIDE", "-1013")
        return await send(request)

    desk.venue.submit_order = refuses_far_prices  # type: ignore[method-assign]
    take = OrderDraft(
        "BTC/USDT", Side.SELL, OrderType.LIMIT, Decimal("0.4"), limit_price=Decimal(104), reduce_only=True
    )
    order = await executor.place_order(take)
    assert order.state is OrderState.REJECTED
    assert order.message == "Filter failure: PERCENT_PRICE_BY_SIDE"
    await asyncio.sleep(0.2)
    assert len(asked) == 1
    assert [request.side for request in desk.venue.sent] == [Side.BUY]
    assert executor.position("BTC/USDT", "manual").quantity == Decimal("0.4995")


@pytest.mark.parametrize("fee_currency", ["BTC", "USDT", "ETH"])
async def test_no_exit_is_larger_than_what_the_fees_left(desk: Desk, fee_currency: str) -> None:
    venue = desk.venue
    venue.free["ETH"] = Decimal(1)
    venue.fee_currency = fee_currency
    executor, _ = await run(desk)
    bracket = PlanDraft(PlanKind.BRACKET, "BTC/USDT", Side.BUY, Decimal(1), None, ExitRules(Decimal(90)))
    await executor.create_plan(bracket)
    await until(lambda: len(venue.open_orders()) == 1)
    (stop,) = venue.open_orders()
    venue.fee_currency = None
    assert stop.request.quantity == venue.free["BTC"] == executor.position("BTC/USDT", "manual").quantity
    report = await executor.kill(flatten=True)
    assert report.flat
    assert venue.sent[-1].quantity == (Decimal("0.999") if fee_currency == "BTC" else Decimal(1))
    assert venue.sent[-1].side is Side.SELL
    assert executor.position("BTC/USDT", "manual").quantity == 0


async def test_a_coin_that_paid_fees_elsewhere_is_sold_only_as_far_as_it_is_there(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    eth = await executor.place_order(OrderDraft("ETH/USDT", Side.BUY, OrderType.MARKET, Decimal(10)))
    assert eth.state is OrderState.FILLED, eth
    venue.fee_currency, venue.fee_rate = "ETH", Decimal("0.25")  # as BNB is held and pays for everything else
    await executor.place_order(BUY)
    await executor.reconcile_now()
    there = venue.free["ETH"]
    assert there < executor.position("ETH/USDT", "manual").quantity
    report = await executor.kill(flatten=True)  # and the sale of the other coin takes its fee before ETH is sold
    sold = {request.symbol: request.quantity for request in venue.sent if request.side is Side.SELL}
    assert sold["ETH/USDT"] == there - Decimal("0.25")
    assert [sale["state"] for sale in report.sold] == ["filled", "filled"]
    assert report.complete


@pytest.mark.parametrize("skew_s", [-3_600, -2, 2, 3_600])
async def test_a_wrong_clock_neither_gives_an_order_up_too_early_nor_keeps_it_for_ever(desk: Desk, skew_s: int) -> None:
    desk.venue.skew_ns = skew_s * NS_PER_S
    desk.venue.submit_faults.append("lost_before")
    executor, _ = await run(desk)
    order = await executor.place_order(BUY)
    await asyncio.sleep(0.1)
    desk.venue.clock.advance(3 * NS_PER_S)
    await asyncio.sleep(0.1)
    assert state_of(desk, order) is OrderState.UNKNOWN  # within recvWindow, by the venue's own clock
    desk.venue.clock.advance(3 * NS_PER_S)
    await until(lambda: state_of(desk, order) is OrderState.EXPIRED)
    assert len(desk.venue.sent) == 1
    assert (await executor.place_order(BUY)).state is OrderState.FILLED
    await executor.reconcile_now()
    assert {p.owner for p in executor.positions} == {"manual"}  # its trades are not taken for another's
    await assert_books_equal(desk, executor)


async def test_a_request_outside_the_recv_window_is_refused_and_told_not_repeated(desk: Desk) -> None:
    executor = await desk.start()

    async def too_late(request):
        desk.venue.sent.append(request)
        raise RetryableError("Timestamp for this request is outside of the recvWindow.", "-1021")

    send, desk.venue.submit_order = desk.venue.submit_order, too_late  # type: ignore[method-assign]
    order = await executor.place_order(BUY)
    assert (order.state, order.reason_code) == (OrderState.REJECTED, "NOT_PROCESSED")
    assert "recvWindow" in order.message
    assert len(desk.venue.sent) == 1
    desk.venue.submit_order = send  # type: ignore[method-assign]
    desk.venue.clock.advance(10 * NS_PER_S)
    assert (await executor.place_order(BUY)).state is OrderState.FILLED


async def test_a_ban_is_not_answered_with_more_requests_and_loses_no_order(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    await until(lambda: bool(venue.user_queues))
    order = await executor.place_order(REST)
    asked = []

    async def banned(*_: object, **__: object):
        asked.append(1)
        raise RetryableError("Way too much request weight used; IP banned.", "418")

    names = ("submit_order", "cancel_order", "cancel_all_orders", "fetch_order", "fetch_open_orders", "fetch_fills")
    free = {name: getattr(venue, name) for name in names}
    for name in names:
        setattr(venue, name, banned)
    venue.clock.advance(HOUR_NS)
    await asyncio.sleep(0.5)
    assert len(asked) <= 30  # one comparison per interval, not one per order, market or loop
    assert state_of(desk, order) is OrderState.ACCEPTED  # a refused question proves nothing
    for name, method in free.items():
        setattr(venue, name, method)
    venue.fill(order.client_order_id, Decimal("0.5"))
    await until(lambda: state_of(desk, order) is OrderState.FILLED)
    assert len(venue.sent) == 1
    await assert_books_equal(desk, executor)


async def test_an_order_refused_for_too_many_requests_is_not_sent_again_by_itself(desk: Desk) -> None:
    desk.venue.submit_faults.append("retry")
    executor, _ = await run(desk)
    order = await executor.place_order(BUY)
    await asyncio.sleep(0.2)
    assert (order.state, order.reason_code) == (OrderState.REJECTED, "NOT_PROCESSED")
    assert len(desk.venue.sent) == 1
    assert executor.position("BTC/USDT", "manual").quantity == 0


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/St_Johns"])
async def test_the_machines_time_zone_is_in_no_time_of_an_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        executor = await desk.start()
        order = await executor.place_order(BUY)
        report = await executor.kill()
    finally:
        monkeypatch.undo()
        time.tzset()
    (fill,) = (event.fill for event in desk.said(FillBooked))
    assert order.intent.created_ns == order.submitted_ns == fill.time_ns == START_NS
    started = datetime.fromisoformat(report.started)
    assert started.utcoffset() is not None
    assert started == datetime.fromtimestamp(START_NS / NS_PER_S, UTC)
    assert executor.trading_record.since_ns == START_NS


LOOPS = ("_keeper.compare_round", "_unknown_round", "_refresh_round", "_keeper.measure_clock", "_plans.round")


@pytest.mark.parametrize("loop", [*LOOPS, "_keeper._hear"])
async def test_a_loop_that_dies_takes_trading_down_loudly_and_frees_everything(desk: Desk, loop: str) -> None:
    executor = await desk.start()
    owner: object = executor
    *path, name = loop.split(".")
    for part in path:
        owner = getattr(owner, part)

    def bug(*_: object) -> None:
        raise ZeroDivisionError("after days")

    setattr(owner, name, bug)
    with pytest.raises(ZeroDivisionError, match="after days"):
        await asyncio.wait_for(executor.run(), 5)
    assert desk.venue.closed
    free = ExecutorLock(desk.paths.root / "locks", "test")
    assert free.is_free()
    again = await desk.start()  # and the next start finds everything in order
    assert (await again.place_order(BUY)).state is OrderState.FILLED


async def test_the_panic_stop_leaves_nothing_open_whatever_the_orders_are_in(desk: Desk) -> None:
    venue = desk.venue
    executor, _ = await run(desk)
    await until(lambda: bool(venue.user_queues))
    await executor.place_order(BUY)
    await executor.place_order(REST)
    foreign = venue.place_foreign("ETH/USDT", Side.BUY, Decimal(1), Decimal(9))
    venue.silent = True
    venue.submit_faults.append("lost_after")
    venue.lag = 1_000_000
    unanswered = await executor.place_order(
        OrderDraft("ETH/USDT", Side.BUY, OrderType.LIMIT, Decimal(2), limit_price=Decimal("9.5"))
    )
    assert state_of(desk, unanswered) in (OrderState.UNKNOWN, OrderState.ACCEPTED)
    venue.lag = 0
    report = await executor.kill(flatten=True)
    assert report.confirmed
    assert report.flat
    assert venue.open_orders() == []
    assert foreign.state is OrderState.CANCELED
    assert executor.trading_state is TradingState.HALTED
    sent = len(venue.sent)
    assert (await executor.place_order(BUY)).reason_code == "TRADING_HALTED"
    await asyncio.sleep(0.2)
    assert len(venue.sent) == sent
    assert executor.position("BTC/USDT", "manual").quantity == 0


async def test_a_limit_price_typed_by_hand_is_the_one_that_is_sent(desk: Desk) -> None:
    executor = await desk.start()
    price = Decimal("97.31")
    draft = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.5"), limit_price=price)
    order = await executor.place_order(draft)
    (request,) = desk.venue.sent
    assert (request.order_type, request.limit_price, order.intent.limit_price) == (OrderType.LIMIT, price, price)
    wrong = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.5"), limit_price=Decimal("97.317"))
    assert (await executor.place_order(wrong)).state is OrderState.DENIED  # never rounded behind one's back
    assert len(desk.venue.sent) == 1
