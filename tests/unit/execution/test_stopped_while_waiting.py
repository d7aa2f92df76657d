"""STOP and "cancel all" also reach orders that wait for a price, a book or balances: none is sent after re-arming."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.domain.orders import OrderChange, OrderDraft, OrderState, OrderType, Side
from core.errors import UserError
from core.execution.trading_control import DRAWDOWN_REASON
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_plan_runner import BRACKET

BTC, ETH = "BTC/USDT", "ETH/USDT"
BUY = OrderDraft(BTC, Side.BUY, OrderType.MARKET, D("0.5"))
REST = OrderDraft(BTC, Side.BUY, OrderType.LIMIT, D(1), D(95))


class Held:
    """Holds back one answer of the venue until told to go on; `asked` when somebody waits for it."""

    def __init__(self, venue: FakeVenue, method: str) -> None:
        self.go, self.asked = asyncio.Event(), asyncio.Event()
        self._answer: Callable[..., Any] = getattr(venue, method)
        setattr(venue, method, self)

    async def __call__(self, *args: object) -> object:
        self.asked.set()
        await self.go.wait()
        return await self._answer(*args)

    async def wait(self) -> None:
        await asyncio.wait_for(self.asked.wait(), 2)


async def test_an_order_stopped_while_its_price_is_asked_for_is_not_sent_after_rearming(
    desk: Desk, venue: FakeVenue
) -> None:
    executor = await desk.start()
    price = Held(venue, "fetch_ticker")
    placing = asyncio.create_task(executor.place_order(BUY))
    await price.wait()
    assert (await executor.kill()).complete
    await executor.rearm()
    price.go.set()
    order = await placing
    assert (order.state, order.reason_code) == (OrderState.DENIED, "TRADING_HALTED")
    assert order.message == "trading was stopped before the order was sent"
    assert venue.sent == []
    assert (await executor.place_order(BUY)).state is OrderState.FILLED, "what is ordered after re-arming goes out"


async def test_a_change_stopped_by_stop_is_not_sent_after_rearming(desk: Desk, venue: FakeVenue) -> None:
    executor = await desk.start()
    former = await executor.place_order(REST)
    balances = Held(venue, "fetch_balances")
    changing = asyncio.create_task(executor.replace_order(former.client_order_id, OrderChange(limit_price=D(96))))
    await balances.wait()
    assert (await executor.kill()).complete
    await executor.rearm()
    balances.go.set()
    assert (await changing).client_order_id == former.client_order_id
    assert len(venue.sent) == 1
    assert venue.open_orders() == []


@pytest.mark.parametrize("how", ["cancel_all", "cancel_order", "kill"])
async def test_nothing_follows_a_change_cancelled_while_the_new_order_waits_for_its_price(
    desk: Desk, venue: FakeVenue, how: str
) -> None:
    executor = await desk.start()
    former = await executor.place_order(REST)
    price, cancel = Held(venue, "fetch_ticker"), venue.cancel_order

    async def cancel_slowly(symbol: str, key: str) -> object:
        answer = await cancel(symbol, key)
        venue.clock.advance(60 * NS_PER_S)  # the cancel took its time: the price is old
        return answer

    venue.cancel_order = cancel_slowly  # type: ignore[method-assign, assignment]
    changing = asyncio.create_task(executor.replace_order(former.client_order_id, OrderChange(limit_price=D(96))))
    await price.wait()
    assert former.client_order_id not in {o.client_order_id for o in executor.working_orders}
    match how:
        case "cancel_all":
            await executor.cancel_all()
        case "cancel_order":
            await executor.cancel_order(former.client_order_id)
        case "kill":
            await executor.kill()
            await executor.rearm()
    price.go.set()
    assert (await changing).client_order_id == former.client_order_id
    assert len(venue.sent) == 1
    assert venue.open_orders() == []


async def test_a_change_whose_price_is_asked_for_while_trading_stops_leaves_the_order_as_it_is(
    desk: Desk, venue: FakeVenue
) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    sale = OrderDraft(BTC, Side.SELL, OrderType.LIMIT, D("0.4"), D(105), reduce_only=True)
    former = await executor.place_order(sale)
    venue.clock.advance(60 * NS_PER_S)
    price = Held(venue, "fetch_ticker")
    changing = asyncio.create_task(executor.replace_order(former.client_order_id, OrderChange(limit_price=D(106))))
    await price.wait()
    executor._control.halt_now()
    executor._control.store_halt(DRAWDOWN_REASON)  # what only closes stays at the venue
    price.go.set()
    with pytest.raises(UserError, match="was to be cancelled meanwhile"):
        await changing
    assert [o.request.limit_price for o in venue.open_orders()] == [D(105)]


async def test_a_plan_stopped_while_its_price_is_asked_for_does_not_begin_after_rearming(
    desk: Desk, venue: FakeVenue
) -> None:
    executor = await desk.start()
    price = Held(venue, "fetch_ticker")
    making = asyncio.create_task(executor.create_plan(BRACKET))
    await price.wait()
    assert (await executor.kill()).complete
    await executor.rearm()
    price.go.set()
    with pytest.raises(UserError, match="stopped before the plan began"):
        await making
    assert venue.sent == []
    assert executor.plans == ()


@pytest.mark.parametrize(("where", "is_sent"), [(None, False), (BTC, False), (ETH, True)])
async def test_cancelling_all_orders_includes_those_that_wait_for_their_price(
    desk: Desk, venue: FakeVenue, where: str | None, is_sent: bool
) -> None:
    executor = await desk.start()
    price = Held(venue, "fetch_ticker")
    placing = asyncio.create_task(executor.place_order(REST))
    await price.wait()
    await executor.cancel_all(where)
    price.go.set()
    if is_sent:
        assert (await placing).state is OrderState.ACCEPTED
    else:
        with pytest.raises(UserError, match="All orders were cancelled before this one was sent"):
            await placing
    assert len(venue.sent) == is_sent


async def test_what_protects_goes_out_although_a_loss_limit_halts_while_its_price_is_asked_for(
    desk: Desk, venue: FakeVenue
) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    venue.clock.advance(60 * NS_PER_S)
    price = Held(venue, "fetch_ticker")
    sale = OrderDraft(BTC, Side.SELL, OrderType.MARKET, D("0.4"), reduce_only=True)
    grows = replace(BUY, quantity=D("0.1"))
    placing = [asyncio.create_task(executor.place_order(draft)) for draft in (sale, grows)]
    await price.wait()
    executor._control.halt_now()
    executor._control.store_halt(DRAWDOWN_REASON)
    price.go.set()
    states = [(await each).state for each in placing]
    assert states == [OrderState.FILLED, OrderState.DENIED]


async def test_a_second_stop_does_not_hold_up_the_sale_of_the_first(desk: Desk, venue: FakeVenue) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    venue.clock.advance(60 * NS_PER_S)
    price = Held(venue, "fetch_ticker")
    first = asyncio.create_task(executor.kill(flatten=True))
    await price.wait()
    second = asyncio.create_task(executor.kill(flatten=True))
    await asyncio.sleep(0)
    price.go.set()
    assert (await first).flat
    assert (await second).flat
    assert [request.side for request in venue.sent] == [Side.BUY, Side.SELL]
