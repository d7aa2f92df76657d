"""Changing a resting order, and what a person may say of an order without an answer."""

from __future__ import annotations

import asyncio
from decimal import Decimal as D

import pytest

from core.clock import NS_PER_S
from core.domain.market import Ticker
from core.domain.orders import Order, OrderChange, OrderDraft, OrderState, OrderType, Side
from core.errors import RiskRefused, UserError
from core.execution.api.gateway import RetryableError
from core.execution.executor import Executor
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue

BTC = "BTC/USDT"
LIMIT = OrderDraft(BTC, Side.BUY, OrderType.LIMIT, D(1), D(95))


async def placed(desk: Desk) -> tuple[Executor, Order]:
    executor = await desk.start()
    return executor, await executor.place_order(LIMIT)


async def test_the_former_order_is_over_before_the_new_one_is_sent(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    venue.calls.clear()
    order = await executor.replace_order(former.client_order_id, OrderChange(limit_price=D(96)))
    assert (order.state, order.intent.limit_price, order.intent.quantity) == (OrderState.ACCEPTED, D(96), D(1))
    assert venue.calls.index("cancel") < venue.calls.index("submit")
    assert [o.request.limit_price for o in venue.open_orders()] == [D(96)]
    assert order.intent.owner == former.intent.owner


async def test_what_was_filled_before_the_cancel_is_taken_off(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    venue.silent = True
    venue.fill(former.client_order_id, D("0.3"))  # nobody has heard of it yet
    order = await executor.replace_order(former.client_order_id, OrderChange(quantity=D("1.5")))
    assert order.intent.quantity == D("1.2")
    total = sum((o.request.quantity for o in venue.open_orders()), start=D(0))
    assert total + D("0.3") == D("1.5")


async def test_an_order_filled_meanwhile_is_not_followed_by_another(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    venue.silent = True
    venue.fill(former.client_order_id, D(1))
    order = await executor.replace_order(former.client_order_id, OrderChange(limit_price=D(96)))
    assert order.client_order_id == former.client_order_id
    assert order.state is OrderState.FILLED
    assert len(venue.sent) == 1


async def test_two_changes_of_one_order_are_followed_by_one_order(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, former = await placed(desk)
    fetch = venue.fetch_ticker

    async def slow(symbol: str) -> Ticker:
        await asyncio.sleep(0.01)
        return await fetch(symbol)

    monkeypatch.setattr(venue, "fetch_ticker", slow)
    venue.clock.advance(60 * NS_PER_S)  # the price is old: both changes wait for it
    changes = [OrderChange(limit_price=D(96)), OrderChange(limit_price=D(97))]
    outcomes = await asyncio.gather(
        *(executor.replace_order(former.client_order_id, change) for change in changes), return_exceptions=True
    )
    assert [o.request.limit_price for o in venue.open_orders()] == [D(96)]
    assert isinstance(outcomes[1], UserError)
    assert "being changed" in outcomes[1].message


async def test_an_unconfirmed_cancel_is_followed_by_nothing(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    venue.cancel_faults.extend(RetryableError("busy") for _ in range(5))
    order = await executor.replace_order(former.client_order_id, OrderChange(limit_price=D(96)))
    assert order.state is OrderState.PENDING_CANCEL
    assert len(venue.sent) == 1


async def test_a_change_that_risk_refuses_leaves_the_order_alone(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    with pytest.raises(RiskRefused, match="would be refused") as refused:
        await executor.replace_order(former.client_order_id, OrderChange(limit_price=D(150)))
    assert refused.value.reason_code == "PRICE_COLLAR"
    assert [o.state for o in venue.open_orders()] == [OrderState.ACCEPTED]


async def test_what_cannot_be_changed_says_so(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    with pytest.raises(UserError, match="Nothing is changed"):
        await executor.replace_order(former.client_order_id, OrderChange(limit_price=D(95)))
    with pytest.raises(UserError, match="no order"):
        await executor.replace_order("maru-nobody", OrderChange(limit_price=D(95)))
    await executor.cancel_order(former.client_order_id)
    with pytest.raises(UserError, match="working order"):
        await executor.replace_order(former.client_order_id, OrderChange(limit_price=D(96)))


async def unknown(desk: Desk, venue: FakeVenue, fault: str = "lost_before") -> tuple[Executor, str]:
    executor = await desk.start()
    venue.submit_faults.append(fault)
    venue.lag = 3
    order = await executor.place_order(LIMIT)
    assert order.state is OrderState.UNKNOWN
    return executor, order.client_order_id


async def test_asking_shows_an_order_that_arrived(desk: Desk, venue: FakeVenue) -> None:
    executor, key = await unknown(desk, venue, "lost_after")
    venue.lag = 0
    assert (await executor.ask_about(key)).state is OrderState.ACCEPTED


async def test_an_order_that_may_still_arrive_cannot_be_declared_gone(desk: Desk, venue: FakeVenue) -> None:
    executor, key = await unknown(desk, venue)
    with pytest.raises(UserError, match="may still arrive"):
        await executor.declare_gone(key)


async def test_an_order_declared_gone_opens_again_when_it_shows(desk: Desk, venue: FakeVenue) -> None:
    executor, key = await unknown(desk, venue, "lost_after")
    venue.lag = 10_000
    # A trade that could be this order's keeps the program from deciding alone.
    hidden = venue.fill(key, D("0.1"))
    venue.silent = True
    with pytest.raises(UserError):
        await executor.declare_gone(key)
    venue.clock.advance(6 * NS_PER_S)
    order = await executor.declare_gone(key)
    assert order.state in (OrderState.EXPIRED, OrderState.PARTIALLY_FILLED)
    venue.lag = 0
    await executor.reconcile_now()
    await asyncio.sleep(0)
    again = await executor.ask_about(key)
    assert again.state is OrderState.PARTIALLY_FILLED
    assert again.filled_quantity == hidden.quantity


async def test_only_an_unanswered_order_can_be_declared_gone(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    with pytest.raises(UserError, match="not waiting for a decision"):
        await executor.declare_gone(former.client_order_id)


async def test_a_cancel_during_a_change_is_followed_by_no_changed_order(desk: Desk, venue: FakeVenue) -> None:
    executor, former = await placed(desk)
    venue.cancel_faults.append(RetryableError("busy"))
    changing = asyncio.create_task(executor.replace_order(former.client_order_id, OrderChange(limit_price=D(96))))
    await asyncio.sleep(0)
    await executor.cancel_order(former.client_order_id)
    order = await changing
    assert order.state is OrderState.CANCELED
    assert venue.open_orders() == []
    assert len(venue.sent) == 1
