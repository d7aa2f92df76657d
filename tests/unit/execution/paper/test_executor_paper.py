"""The executor over a paper account: the same order path, and books that survive whatever ends the program."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingState
from core.events import BalancesChanged, FillBooked
from tests.unit.execution.paper.conftest import Paper, until

SYMBOL = "BTC/USDT"
BUY = OrderDraft(SYMBOL, Side.BUY, OrderType.MARKET, Decimal("1.5"))
REST = OrderDraft(SYMBOL, Side.BUY, OrderType.LIMIT, Decimal("0.5"), limit_price=Decimal(99))


async def assert_books_equal(executor) -> None:
    check, _ = await executor.audit()
    assert check.differences == ()


async def test_a_market_order_walks_the_real_book_into_the_books(paper: Paper) -> None:
    executor = await paper.started()
    order = await executor.place_order(BUY)
    assert order.state is OrderState.FILLED
    assert round(order.average_price, 6) == Decimal("100.333333")  # one at 100, a half at 101
    assert executor.position(SYMBOL, "manual").quantity == Decimal("1.4985")
    assert len(paper.said(FillBooked)) == 2
    await assert_books_equal(executor)


async def test_a_resting_order_fills_by_the_live_market_and_is_told(paper: Paper) -> None:
    executor = await paper.started()
    running = asyncio.create_task(executor.run())
    await until(lambda: bool(paper.said(BalancesChanged)))
    order = await executor.place_order(REST)
    assert order.state is OrderState.ACCEPTED
    await until(lambda: paper.market.listeners("trades") == 1)
    paper.market.trade(98.9, 0.2, Side.SELL)
    await until(lambda: executor.working_orders[0].state is OrderState.PARTIALLY_FILLED)
    paper.market.trade(98.9, 0.5, Side.SELL)
    await until(lambda: executor.working_orders == [])
    assert executor.position(SYMBOL, "manual").quantity == Decimal("0.4995")
    await assert_books_equal(executor)
    await executor.stop()
    await running


async def test_the_account_goes_on_where_it_was_left(paper: Paper) -> None:
    first = await paper.started()
    await first.place_order(BUY)
    resting = await first.place_order(REST)
    await first.stop()
    second = await paper.started()
    assert [o.client_order_id for o in second.working_orders] == [resting.client_order_id]
    assert second.position(SYMBOL, "manual").quantity == Decimal("1.4985")
    await assert_books_equal(second)
    assert (await second.cancel_order(resting.client_order_id)).state is OrderState.CANCELED
    await assert_books_equal(second)


async def test_the_kill_switch_cancels_and_sells_at_the_live_market(paper: Paper) -> None:
    executor = await paper.started()
    await executor.place_order(BUY)
    await executor.place_order(REST)
    report = await executor.kill(flatten=True)
    assert report.complete
    assert len(report.cancelled) == 1
    assert executor.trading_state is TradingState.HALTED
    assert executor.position(SYMBOL, "manual").quantity < Decimal("0.001")
    await assert_books_equal(executor)
