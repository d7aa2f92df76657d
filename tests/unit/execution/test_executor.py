from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from core.config import DataPaths
from core.domain.orders import Intent, IntentSource, OrderDraft, OrderState, OrderType, Side, TradingState
from core.errors import UserError
from core.events import ConnectionStatus, FillBooked, IntentDenied, OrderUpdated, PositionChanged
from core.execution.api.gateway import AmbiguousOutcome
from core.execution.order_manager import SHOWN_AFTER_S
from core.persistence.schema import ensure_migrated
from tests.unit.execution.conftest import Desk

BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.5"))
REST = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.5"), limit_price=Decimal(90))


async def test_a_manual_market_order_ends_in_the_books(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(BUY)
    assert order.state is OrderState.FILLED
    assert order.average_price == 100
    position = executor.position("BTC/USDT", "manual")
    assert position.quantity == Decimal("0.4995")  # the fee was taken from what was bought
    assert position.fees == Decimal("0.05")
    states = [event.order.state for event in desk.said(OrderUpdated)]
    assert states[-1] is OrderState.FILLED
    assert len(desk.said(FillBooked)) == 1
    assert desk.said(PositionChanged)[-1].position == position
    assert [r.order for r in desk.journal.orders()] == [order]
    assert desk.said(ConnectionStatus)


async def test_an_order_that_waits_for_its_answer_is_shown(desk: Desk) -> None:
    executor = await desk.start()
    answer, send = asyncio.Event(), desk.venue.submit_order

    async def slowly(request):
        await answer.wait()
        return await send(request)

    desk.venue.submit_order = slowly
    order = asyncio.create_task(executor.place_order(BUY))
    async with asyncio.timeout(5):
        while not desk.said(OrderUpdated):  # noqa: ASYNC110 - shown after a moment of its own
            await asyncio.sleep(0.001)
    assert [event.order.state for event in desk.said(OrderUpdated)] == [OrderState.SUBMITTED]
    answer.set()
    assert (await order).state is OrderState.FILLED
    states = [event.order.state for event in desk.said(OrderUpdated)]
    await asyncio.sleep(2 * SHOWN_AFTER_S)
    assert [event.order.state for event in desk.said(OrderUpdated)] == states, "what is known better is not overruled"


async def test_the_intent_is_on_disk_before_the_request_leaves(desk: Desk) -> None:
    executor = await desk.start()
    seen: list[OrderState] = []
    send = desk.venue.submit_order

    async def spy(request):
        record = desk.journal.order(request.client_order_id)
        seen.append(record.order.state)
        return await send(request)

    desk.venue.submit_order = spy
    await executor.place_order(BUY)
    assert seen == [OrderState.SUBMITTED]


async def test_a_limit_order_rests_and_is_cancelled(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    assert order.state is OrderState.ACCEPTED
    assert executor.working_orders == [order]
    assert (await executor.cancel_order(order.client_order_id)).state is OrderState.CANCELED
    assert executor.working_orders == []
    assert desk.venue.open_orders() == []


async def test_risk_denies_and_says_why(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal(1_000)))
    assert order.state is OrderState.DENIED
    assert desk.said(IntentDenied)[0].code == "MAX_ORDER_VALUE"
    assert desk.venue.sent == []


async def test_two_executors_on_one_key_are_refused(desk: Desk) -> None:
    await desk.start()
    with pytest.raises(UserError, match="already trading with this key"):
        await desk.start()


async def test_a_venue_that_is_down_is_one_sentence(desk: Desk) -> None:
    desk.venue.connect_error = AmbiguousOutcome("connection refused")
    with pytest.raises(UserError, match="fake cannot be used: connection refused"):
        await desk.start()
    assert desk.executors[0].trading_state is TradingState.HALTED


async def test_a_person_closes_the_position_of_a_strategy_in_its_own_name(desk: Desk) -> None:
    executor = await desk.start()
    bought = Intent(
        "trend:1",
        IntentSource.STRATEGY,
        "trend",
        "BTC/USDT",
        Side.BUY,
        Decimal(1),
        OrderType.MARKET,
        created_ns=desk.venue.clock.now_ns(),
    )
    await executor.submit(bought)
    held = executor.position("BTC/USDT", "trend").quantity
    close = OrderDraft("BTC/USDT", Side.SELL, OrderType.MARKET, held, reduce_only=True, owner="trend")
    too_much = replace(close, quantity=held + Decimal("0.001"))
    assert (await executor.place_order(too_much)).reason_code == "REDUCE_ONLY_WOULD_INCREASE"
    with pytest.raises(UserError, match="can only reduce the position of trend"):
        await executor.place_order(replace(close, reduce_only=False))
    order = await executor.place_order(close)
    assert (order.state, order.intent.source, order.intent.owner) == (OrderState.FILLED, "manual", "trend")
    assert executor.position("BTC/USDT", "trend").quantity == 0
    assert executor.position("BTC/USDT", "manual").quantity == 0


async def test_the_same_key_for_another_order_is_refused(desk: Desk) -> None:
    executor = await desk.start()
    first = await executor.place_order(BUY, key="1")
    assert (await executor.place_order(BUY, key="1")).client_order_id == first.client_order_id
    with pytest.raises(UserError, match=r"used before, for another order: buy 0\.5 BTC/USDT"):
        await executor.place_order(replace(BUY, side=Side.SELL), key="1")
    assert len(desk.venue.sent) == 1


async def test_two_journals_never_give_two_orders_one_id(desk: Desk, tmp_path: Path) -> None:
    executor = await desk.start()
    first = await executor.place_order(BUY, key="1")
    await executor.stop()
    again = await desk.start()
    assert (await again.place_order(BUY, key="1")).client_order_id == first.client_order_id, "a restart changes nothing"
    await again.stop()
    desk.paths = DataPaths(tmp_path / "another").create()
    ensure_migrated(desk.paths)
    desk.venue.submit_faults.append("lost_before")
    elsewhere = await desk.start()
    lost = await elsewhere.place_order(BUY, key="1")
    assert lost.client_order_id != first.client_order_id
    assert lost.filled_quantity == 0, "the other folder's order was not taken for it"


async def test_two_executors_draw_other_pauses_and_all_loops_of_one_share_a_source(desk: Desk) -> None:
    desk.options = replace(desk.options, jitter_seed=None)
    first, second = desk.build(), desk.build()
    assert first._keeper._jitter is first._runner._jitter is first._jitter
    assert first._new_backoff().next_s() != second._new_backoff().next_s()
