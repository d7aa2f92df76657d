"""The wish to cancel an order that has no answer yet is kept until the venue's own word ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.domain.order_plans import PlanState
from core.domain.orders import Order, OrderState
from core.errors import UserError
from core.events import Notice
from core.execution import unwanted
from core.execution.api.gateway import DefinitiveReject, OrderUnknown
from core.execution.executor import Executor
from core.execution.fence import Fence
from core.execution.unwanted import UNWANTED
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_plan_runner import BRACKET, crash, plan_of, running, until
from tests.unit.execution.test_unknown_orders import REST, state_of

HIDDEN = ("fetch_order", "cancel_order", "fetch_open_orders", "cancel_all_orders")


async def _unknown(*args: object) -> object:
    raise OrderUnknown("Order does not exist.", "-2013")


async def _nothing(*args: object) -> list[object]:
    return []


class Hiding:
    """A venue that took an order, lost the answer, and shows the order to nobody before `show`."""

    def __init__(self, venue: FakeVenue) -> None:
        venue.submit_faults.append("lost_after")
        venue.silent = True
        self._venue = venue
        self._real: dict[str, Callable[..., Any]] = {name: getattr(venue, name) for name in HIDDEN}
        for name in HIDDEN:
            setattr(venue, name, _nothing if name.endswith("orders") else _unknown)

    def show(self) -> None:
        for name, method in self._real.items():
            setattr(self._venue, name, method)


def stored(desk: Desk) -> list[str]:
    return json.loads(desk.journal.meta(UNWANTED) or "[]")


async def give_up(desk: Desk, order: Order) -> None:
    """Let the evidence end an order that no query shows."""
    await asyncio.sleep(0.05)
    desk.venue.clock.advance(200 * NS_PER_S)
    await until(lambda: state_of(desk, order) is OrderState.EXPIRED)
    await asyncio.sleep(0.05)


async def unseen(desk: Desk) -> tuple[Executor, asyncio.Task[None], Hiding, Order]:
    executor, task = await running(desk)
    hiding = Hiding(desk.venue)
    order = await executor.place_order(REST)
    assert order.state is OrderState.UNKNOWN
    return executor, task, hiding, order


@pytest.mark.parametrize("how", ["cancel_order", "cancel_all"])
async def test_a_cancel_of_an_unknown_order_outlives_a_restart(desk: Desk, venue: FakeVenue, how: str) -> None:
    executor, task, hiding, order = await unseen(desk)
    if how == "cancel_order":
        assert (await executor.cancel_order(order.client_order_id)).state is OrderState.UNKNOWN
    else:
        await executor.cancel_all()
    await crash(executor, task, desk)
    hiding.show()
    await running(desk)
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    assert venue.open_orders() == []
    await until(lambda: stored(desk) == [])


async def test_a_cancel_of_an_order_that_was_given_up_and_shows_again(desk: Desk, venue: FakeVenue) -> None:
    executor, task, hiding, order = await unseen(desk)
    await executor.cancel_order(order.client_order_id)
    await give_up(desk, order)
    assert stored(desk) == [order.client_order_id], "that nobody found it is not the venue's word"
    await crash(executor, task, desk)
    await running(desk)
    hiding.show()
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    assert venue.open_orders() == []
    await until(lambda: stored(desk) == [])


async def test_a_confirmed_cancel_leaves_no_wish(desk: Desk) -> None:
    executor, task = await running(desk)
    order = await executor.place_order(REST)
    assert (await executor.cancel_order(order.client_order_id)).state is OrderState.CANCELED
    await crash(executor, task, desk)
    await running(desk)
    assert stored(desk) == []


async def test_a_cancel_on_its_way_in_a_crash_is_remembered_although_the_order_vanishes_then(
    desk: Desk, venue: FakeVenue
) -> None:
    executor, task = await running(desk)
    order = await executor.place_order(REST)
    venue.cancel_order = _hang  # type: ignore[method-assign]
    cancelling = asyncio.create_task(executor.cancel_order(order.client_order_id))
    await until(lambda: state_of(desk, order) is OrderState.PENDING_CANCEL)
    cancelling.cancel()
    await crash(executor, task, desk)
    del venue.cancel_order  # type: ignore[attr-defined]
    hiding = Hiding(venue)
    venue.submit_faults.clear()
    await running(desk)
    venue.clock.advance(10 * NS_PER_S)  # the confirmed order is not young any more
    await until(lambda: state_of(desk, order) is OrderState.UNKNOWN)
    hiding.show()
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    assert venue.open_orders() == []


async def _hang(*args: object) -> object:
    await asyncio.Event().wait()
    raise AssertionError


async def test_an_ended_plans_order_that_was_given_up_and_shows_again(desk: Desk, venue: FakeVenue) -> None:
    executor, _ = await running(desk)
    hiding = Hiding(venue)
    plan = await executor.create_plan(replace(BRACKET, limit_price=D(95)))
    (order,) = executor.working_orders
    await executor.cancel_plan(plan.plan_id)
    await give_up(desk, order)
    hiding.show()
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    assert venue.open_orders() == []


async def test_the_entry_of_a_plan_that_failed_because_it_never_arrived_is_cancelled_when_it_shows(
    desk: Desk, venue: FakeVenue
) -> None:
    executor, _ = await running(desk)
    hiding = Hiding(venue)
    await executor.create_plan(replace(BRACKET, limit_price=D(95)))
    (order,) = executor.working_orders
    await give_up(desk, order)
    venue.clock.advance(NS_PER_S)  # a plan waits a moment after what was in vain
    await until(lambda: plan_of(desk).state is PlanState.FAILED)
    hiding.show()
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    assert venue.open_orders() == [], "nobody would protect what it buys"


@pytest.mark.parametrize("where", ["inside", "outside"])
async def test_an_order_that_shows_after_stop_and_the_rearm_is_cancelled(
    desk: Desk, venue: FakeVenue, where: str
) -> None:
    executor, _, hiding, order = await unseen(desk)
    if where == "inside":
        assert (await executor.kill()).unknown == [order.client_order_id]
    else:
        Fence(desk.paths.root / "fence.json").raise_epoch("stopped from outside", venue.clock.now_ns())
        await until(lambda: executor.trading_record.reason == "stopped from outside")
        await asyncio.sleep(0.05)
    await executor.rearm()
    hiding.show()
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)
    assert venue.open_orders() == []


@contextmanager
def _full_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    def full(*args: object) -> None:
        raise UserError("The disk is full.", "")

    with monkeypatch.context() as patch:
        patch.setattr(desk.journal, "set_meta", full)
        yield


async def test_a_wish_that_cannot_be_written_down_keeps_no_cancel_from_being_sent(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, _, hiding, order = await unseen(desk)
    asked: list[str] = []

    async def ask(symbol: str, key: str) -> object:
        asked.append(key)
        return await _unknown()

    venue.cancel_order = ask  # type: ignore[method-assign, assignment]
    with _full_disk(desk, monkeypatch):
        await executor.cancel_order(order.client_order_id)
        assert asked == [order.client_order_id]
        assert stored(desk) == []
    await until(lambda: stored(desk) == [order.client_order_id])
    hiding.show()
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)


async def test_a_refusal_to_cancel_what_nobody_has_seen_ends_no_wish(desk: Desk, venue: FakeVenue) -> None:
    executor, _, hiding, order = await unseen(desk)

    async def refuse(*args: object) -> object:
        raise DefinitiveReject("Market is closed.", "-1013")

    venue.cancel_order = refuse  # type: ignore[method-assign, assignment]
    assert (await executor.cancel_order(order.client_order_id)).state is OrderState.UNKNOWN
    assert [n.title for n in desk.said(Notice)].count("The venue refuses to cancel") == 1
    hiding.show()
    await until(lambda: state_of(desk, order) is OrderState.CANCELED)


async def test_only_the_newest_orders_that_were_given_up_are_remembered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unwanted, "MOST_GIVEN_UP", 1)
    executor, _, _, first = await unseen(desk)
    await executor.cancel_order(first.client_order_id)
    await give_up(desk, first)
    desk.venue.submit_faults.append("lost_after")
    second = await executor.place_order(REST)
    await executor.cancel_order(second.client_order_id)
    assert stored(desk) == [first.client_order_id, second.client_order_id], "one of them may still arrive"
    await give_up(desk, second)
    await until(lambda: stored(desk) == [second.client_order_id])
