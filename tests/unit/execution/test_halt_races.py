"""A halt at the worst moments: an order just registered, waiting for its turn, on the wire, or not shown yet."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.execution.api.gateway import OrderRequest, OrderUnknown, SendRevoked
from tests.unit.execution.conftest import Desk
from tests.unit.execution.test_unknown_orders import REST, run, state_of, until

BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.5"))


async def test_an_order_registered_before_a_kill_is_not_sent_after_it(desk: Desk) -> None:
    executor = await desk.start()
    order, report = await asyncio.gather(executor.place_order(BUY), executor.kill())
    assert desk.venue.sent == []
    assert (order.state, order.reason_code) == (OrderState.DENIED, "FENCED")
    assert report.complete


async def test_an_order_that_waits_for_a_request_limit_is_not_sent_after_a_kill(desk: Desk) -> None:
    executor = await desk.start()
    turn, send = asyncio.Event(), desk.venue.submit_order

    async def queue(request: OrderRequest) -> object:
        await turn.wait()
        if not request.may_send():
            raise SendRevoked("trading was stopped")
        return await send(request)

    desk.venue.submit_order = queue  # type: ignore[method-assign, assignment]
    placing = asyncio.create_task(executor.place_order(BUY))
    await asyncio.sleep(0.01)
    killing = asyncio.create_task(executor.kill())
    await asyncio.sleep(0.01)
    turn.set()
    assert (await placing).reason_code == "FENCED"
    assert (await killing).complete
    assert desk.venue.sent == []


async def test_a_kill_waits_for_an_order_on_the_wire_before_it_says_that_none_is_open(desk: Desk) -> None:
    executor = await desk.start()
    arrive, send = asyncio.Event(), desk.venue.submit_order

    async def slow(request: OrderRequest) -> object:
        await arrive.wait()
        return await send(request)

    desk.venue.submit_order = slow  # type: ignore[method-assign, assignment]
    placing = asyncio.create_task(executor.place_order(REST))
    await asyncio.sleep(0.01)
    killing = asyncio.create_task(executor.kill())
    await asyncio.sleep(0.05)
    assert not killing.done()
    arrive.set()
    await placing
    report = await killing
    assert report.confirmed
    assert desk.venue.open_orders() == []


async def test_an_order_that_shows_after_the_kill_is_cancelled(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    desk.venue.lag = 3
    executor, _ = await run(desk)
    # Nobody can list it: neither the answer, nor the stream, nor the first queries.
    listing, desk.venue.fetch_open_orders = desk.venue.fetch_open_orders, _nothing  # type: ignore[method-assign]
    cancel_all, desk.venue.cancel_all_orders = desk.venue.cancel_all_orders, _nothing  # type: ignore[method-assign]
    order = await executor.place_order(REST)
    report = await executor.kill()
    assert report.unknown == [order.client_order_id]
    assert not report.complete
    desk.venue.fetch_open_orders, desk.venue.cancel_all_orders = listing, cancel_all  # type: ignore[method-assign]
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    assert desk.venue.open_orders() == []


async def _nothing(*args: object) -> list[object]:
    return []


async def test_a_cancel_that_met_an_order_on_its_way_is_not_forgotten(desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_after")
    desk.venue.silent = True
    executor, _ = await run(desk)
    query, desk.venue.fetch_order = desk.venue.fetch_order, _unknown  # type: ignore[method-assign]
    cancel, desk.venue.cancel_order = desk.venue.cancel_order, _unknown  # type: ignore[method-assign]
    order = await executor.place_order(REST)
    assert (await executor.cancel_order(order.client_order_id)).state is OrderState.UNKNOWN
    desk.venue.fetch_order, desk.venue.cancel_order = query, cancel  # type: ignore[method-assign]
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)


async def _unknown(*args: object) -> object:
    raise OrderUnknown("Order does not exist.", "-2013")


async def test_two_kills_at_once_sell_a_position_once(desk: Desk) -> None:
    desk.venue.free["BTC"] = Decimal(10)  # there is more on the account than is ours to sell
    executor = await desk.start()
    await executor.place_order(BUY)
    first, second = await asyncio.gather(executor.kill(flatten=True), executor.kill(flatten=True))
    assert [r.side for r in desk.venue.sent] == ["buy", "sell"]
    assert first.flat
    assert second.flat
    assert executor.position("BTC/USDT", "manual").quantity == 0


async def test_a_position_that_is_not_free_is_neither_dust_nor_flat(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    desk.venue.free["BTC"] = Decimal(0)  # locked by an order of somebody else
    report = await executor.kill(flatten=True)
    assert report.dust == []
    assert report.flat is False
    assert any("0.4995 BTC/USDT of manual: only 0 is free" in error for error in report.errors)
    assert not report.complete
