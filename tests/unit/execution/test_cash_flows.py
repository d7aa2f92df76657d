"""What trading explains of the balances, exactly, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.domain.fills import Fill, Liquidity
from core.domain.instruments import Instrument
from core.domain.orders import OrderDraft, OrderType, Side
from core.domain.positions import Balance, FundingPayment
from core.execution.cash_flows import Flows, add_fill, add_funding, unexplained
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import BTC

D = Decimal
ETHBTC: Instrument = replace(BTC, symbol="ETH/BTC", base="ETH", quote="BTC")


def fill(symbol: str, side: Side, quantity: Decimal, price: Decimal, fee: Decimal, currency: str) -> Fill:
    return Fill("fake", symbol, "1", "v", "c", side, price, quantity, fee, currency, Liquidity.TAKER, 1)


def test_fees_leave_the_currency_they_were_taken_in() -> None:
    flows: Flows = {}
    add_fill(flows, fill("BTC/USDT", Side.BUY, D("0.5"), D(100), D("0.01"), "BNB"), BTC)
    add_fill(flows, fill("ETH/BTC", Side.BUY, D(2), D("0.1"), D("0.002"), "ETH"), ETHBTC)
    add_funding(flows, FundingPayment("fake", "BTC/USDT", "f", D("-0.25"), "USDT", 1))
    assert flows == {"BTC": D("0.3"), "USDT": D("-50.25"), "BNB": D("-0.01"), "ETH": D("1.998")}


def test_only_what_trading_does_not_explain_is_named() -> None:
    flows: Flows = {}
    add_fill(flows, fill("BTC/USDT", Side.BUY, D("0.5"), D(100), D(0), "USDT"), BTC)
    first = {"USDT": D(1_000), "XRP": D(7)}
    held = [Balance("USDT", D(900), D(50)), Balance("BTC", D("0.4"), D(0)), Balance("ETH", D(3), D(0))]
    assert unexplained(held, first, flows) == {"BTC": D("-0.1"), "ETH": D(3), "XRP": D(-7)}
    assert unexplained([], {}, {}) == {}


amounts = st.decimals(min_value="0.0001", max_value=100, places=4)


@given(
    st.lists(
        st.builds(
            lambda side, quantity, price, fee, currency: fill("BTC/USDT", side, quantity, price, fee, currency),
            st.sampled_from(Side),
            amounts,
            amounts,
            amounts,
            st.sampled_from(["BTC", "USDT", "BNB"]),
        ),
        max_size=10,
    ),
    amounts,
)
def test_a_deposit_shows_to_the_last_digit(fills: list[Fill], deposit: Decimal) -> None:
    held = {"BTC": D(10), "USDT": D(20), "BNB": D(30)}
    first, flows = dict(held), {}
    for each in fills:
        add_fill(flows, each, BTC)
        held["BTC"] += each.quantity * each.side.sign
        held["USDT"] -= each.value * each.side.sign
        held[each.fee_currency] -= each.fee
    held["BTC"] += deposit
    balances = [Balance(currency, amount, D(0)) for currency, amount in held.items()]
    assert unexplained(balances, first, flows) == {"BTC": deposit}


async def test_a_traded_account_has_nothing_unexplained(desk: Desk) -> None:
    executor = await desk.start()
    for number, side in enumerate((Side.BUY, Side.BUY, Side.SELL)):
        desk.venue.fee_currency = "BNB" if number == 1 else None
        desk.venue.clock.advance(3_000_000_000)
        await executor.place_order(OrderDraft("BTC/USDT", side, OrderType.MARKET, D("0.7")))
    flows: Flows = {}
    for each in desk.journal.fills():
        add_fill(flows, each, BTC)
    balances = await desk.venue.fetch_balances()
    assert unexplained(balances, executor.first_balances, flows) == {}
    desk.venue.free["BTC"] += D("0.25")
    assert unexplained(await desk.venue.fetch_balances(), executor.first_balances, flows) == {"BTC": D("0.25")}
