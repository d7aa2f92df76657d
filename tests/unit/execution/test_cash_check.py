"""Deposits, withdrawals and everything else that no trade explains."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D

import pytest

from core.clock import NS_PER_S
from core.domain.orders import OrderDraft, OrderType, Side
from core.events import Notice
from core.execution.executor import Executor
from tests.unit.execution.conftest import FAST, Desk
from tests.unit.execution.fake_venue import FakeVenue

BTC = "BTC/USDT"
TITLE = "The account changed by something other than trades"


def told(desk: Desk) -> list[str]:
    return [notice.text for notice in desk.said(Notice) if notice.title == TITLE]


@pytest.fixture
async def executor(desk: Desk, venue: FakeVenue) -> Executor:
    desk.options = replace(FAST, cash_s=3600.0)
    started = await desk.start()
    await look(started, venue)
    return started


async def look(executor: Executor, venue: FakeVenue) -> None:
    venue.clock.advance(NS_PER_S)
    await executor._keeper.explain_cash()


async def trade(executor: Executor, venue: FakeVenue, side: Side = Side.BUY, quantity: str = "1") -> None:
    venue.clock.advance(3 * NS_PER_S)
    await executor.place_order(OrderDraft(BTC, side, OrderType.MARKET, D(quantity)))


async def test_trades_explain_themselves_to_the_last_digit(executor: Executor, desk: Desk, venue: FakeVenue) -> None:
    await trade(executor, venue, quantity="0.33333")
    venue.prices[BTC] = D("101.37")
    await trade(executor, venue, Side.SELL, "0.11111")
    for _ in range(3):
        await look(executor, venue)
    assert told(desk) == []


@pytest.mark.parametrize(
    ("amount", "words"), [("250", "250 USDT came in"), ("-40.5", "40.5 USDT went out")], ids=["deposit", "withdrawal"]
)
async def test_what_no_trade_explains_is_told_once_and_changes_no_position(
    executor: Executor, desk: Desk, venue: FakeVenue, amount: str, words: str
) -> None:
    await trade(executor, venue)
    venue.free["USDT"] += D(amount)
    await look(executor, venue)
    assert told(desk) == [], "one look may have come between a trade and its booking"
    for _ in range(3):
        await look(executor, venue)
    assert told(desk) == [f"{words} that no trade explains."]
    assert executor.position(BTC, "manual").quantity == D("0.999")


async def test_what_happened_while_nothing_ran_is_told_after_the_start(
    executor: Executor, desk: Desk, venue: FakeVenue
) -> None:
    await executor.stop()
    venue.free["USDT"] += 5
    again = await desk.start()
    await look(again, venue)
    await look(again, venue)
    assert told(desk) == ["5 USDT came in that no trade explains."]


async def test_a_trade_not_in_the_books_yet_is_waited_for(executor: Executor, desk: Desk, venue: FakeVenue) -> None:
    venue.fills_in_reports = False
    venue.hide_trades = True
    await trade(executor, venue)
    await look(executor, venue)
    await look(executor, venue)
    assert told(desk) == []


async def test_an_unanswered_question_says_nothing(executor: Executor, desk: Desk, venue: FakeVenue) -> None:
    await trade(executor, venue)
    venue.balance_faults.append("busy")
    await look(executor, venue)
    await look(executor, venue)
    assert told(desk) == []
    assert executor.position(BTC, "manual").quantity == D("0.999"), "a failed query is not a flat position"
