"""Are books and account equal? No false alarm, and no real difference that is missed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D

import pytest
import sqlalchemy as sa

from core.clock import NS_PER_S
from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.events import Notice
from core.execution.books import check_books
from core.execution.executor import Executor
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import BTC

ETHBTC = replace(BTC, symbol="ETH/BTC", venue_symbol="ETHBTC", base="ETH", quote="BTC", min_notional=D("0.0001"))


async def trade(desk: Desk, symbol: str, side: Side, quantity: str) -> None:
    desk.venue.clock.advance(3 * NS_PER_S)
    order = await desk.executors[-1].place_order(OrderDraft(symbol, side, OrderType.MARKET, D(quantity)))
    assert order.state is OrderState.FILLED, order


async def differences(desk: Desk) -> tuple[str, ...]:
    check = await check_books(desk.venue, desk.journal, desk.executors[-1].first_balances)
    assert check.orders_match
    assert check.positions_match is not bool(check.differences)
    return check.differences


async def look(desk: Desk, times: int = 2) -> None:
    for _ in range(times):
        desk.venue.clock.advance(NS_PER_S)
        await desk.executors[-1]._keeper.explain_cash()


@pytest.fixture
async def executor(desk: Desk) -> Executor:
    return await desk.start()


@pytest.mark.usefixtures("executor")
async def test_fees_paid_in_a_coin_that_is_also_traded_are_no_difference(desk: Desk) -> None:
    await trade(desk, "ETH/USDT", Side.BUY, "1")
    desk.venue.fee_currency = "ETH"
    await trade(desk, "BTC/USDT", Side.BUY, "0.5")
    assert desk.venue.free["ETH"] == D("0.998")
    assert await differences(desk) == ()
    desk.venue.free["ETH"] -= D("0.001")  # as if a second fee had been taken
    assert await differences(desk) == ("0.001 ETH went out that no trade explains.",)


@pytest.mark.usefixtures("executor")
async def test_a_market_quoted_in_a_traded_coin_is_no_difference(desk: Desk) -> None:
    desk.venue.instruments = {**desk.venue.instruments, "ETH/BTC": ETHBTC}
    desk.venue.prices["ETH/BTC"] = D("0.1")
    await trade(desk, "BTC/USDT", Side.BUY, "1")
    await trade(desk, "ETH/BTC", Side.BUY, "2")
    assert desk.venue.free["BTC"] == D("0.799")
    assert await differences(desk) == ()
    await trade(desk, "ETH/BTC", Side.SELL, "1")
    assert await differences(desk) == ()
    desk.venue.free["BTC"] += D("0.2")
    assert await differences(desk) == ("0.2 BTC came in that no trade explains.",)


@pytest.mark.usefixtures("executor")
async def test_a_market_the_venue_does_not_trade_any_more_can_be_compared(desk: Desk) -> None:
    await trade(desk, "ETH/USDT", Side.BUY, "1")
    desk.venue.instruments = {"BTC/USDT": BTC}
    assert await differences(desk) == ()
    desk.venue.free["ETH"] -= 1
    assert await differences(desk) == ("1 ETH went out that no trade explains.",)


@pytest.mark.parametrize("looked_before", [False, True])
@pytest.mark.parametrize("amount", ["2", "-0.25"], ids=["deposit", "withdrawal"])
@pytest.mark.usefixtures("executor")
async def test_a_deposit_is_a_difference_until_its_person_was_told(
    desk: Desk, amount: str, looked_before: bool
) -> None:
    await trade(desk, "BTC/USDT", Side.BUY, "0.5")
    await look(desk, int(looked_before))
    desk.venue.free["BTC"] += D(amount)
    words = "2 BTC came in" if amount == "2" else "0.25 BTC went out"
    assert await differences(desk) == (f"{words} that no trade explains.",)
    await look(desk)
    assert [notice.text for notice in desk.said(Notice)] == [f"{words} that no trade explains."]
    assert await differences(desk) == ()
    await trade(desk, "BTC/USDT", Side.SELL, "0.125")
    assert await differences(desk) == ()
    desk.venue.free["BTC"] += 1
    assert await differences(desk) == ("1 BTC came in that no trade explains.",)


@pytest.mark.usefixtures("executor")
async def test_what_becomes_of_money_that_is_no_position_is_not_asked_here(desk: Desk) -> None:
    await trade(desk, "BTC/USDT", Side.BUY, "0.5")
    desk.venue.free["USDT"] += 100
    assert await differences(desk) == ()


@pytest.mark.usefixtures("executor")
async def test_a_position_that_its_trades_do_not_make_is_found_whatever_was_told(desk: Desk) -> None:
    await trade(desk, "BTC/USDT", Side.BUY, "0.5")
    await look(desk)
    with desk.journal._engine.begin() as connection:
        connection.execute(sa.text("UPDATE positions SET quantity = '0.6' WHERE symbol = 'BTC/USDT'"))
    assert await differences(desk) == ("the position in BTC/USDT is 0.6, its trades make 0.4995",)
    with desk.journal._engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM lots"))
        connection.execute(sa.text("DELETE FROM positions"))
    assert await differences(desk) == ("the position in BTC/USDT is 0, its trades make 0.4995",)


@pytest.mark.usefixtures("executor")
async def test_what_is_not_in_the_books_yet_when_they_are_first_looked_at_is_not_taken_as_given(desk: Desk) -> None:
    order = await desk.executors[-1].place_order(
        OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, D("0.5"), limit_price=D(90))
    )
    fill = desk.venue.fill(order.client_order_id, D("0.5"))  # nobody follows the account stream
    await look(desk, 1)
    assert desk.executors[-1]._manager.book(fill)
    await look(desk)
    assert desk.said(Notice) == []
    assert await differences(desk) == ()


async def test_balances_that_could_not_be_read_when_the_books_began_are_no_deposit(desk: Desk) -> None:
    desk.venue.balance_faults.extend(["busy"] * 3)
    await desk.start()
    desk.venue.balance_faults.clear()
    assert desk.executors[-1].first_balances == {}
    await look(desk, 3)
    assert desk.said(Notice) == []
    await trade(desk, "BTC/USDT", Side.BUY, "0.5")
    assert await differences(desk) == ()
