"""The kernel's fills in the Decimal ledger of paper and live: the same cash, the same position, the same equity."""

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounting.reference import AccountState, BarPrices, Fill, Step, Target, equity_of, open_account, step
from core.accounting.rules import CostRates, MarketRules
from core.domain import fills as ledger
from core.domain.instruments import Instrument
from core.domain.money import ZERO
from core.domain.orders import Side
from core.domain.positions import FundingPayment, FundingShare, Position
from core.execution.position_tracker import book_fill, book_funding, net_pnl
from tests.unit.accounting import markets

CASH = Decimal(10_000)


class Books:
    """Cash and a position in Decimal, told of fills and payments only."""

    def __init__(self, rules: MarketRules) -> None:
        self.market = Instrument(
            "venue", "BTC/USDT", "BTCUSDT", "BTC", "USDT", Decimal(str(rules.tick_size)), Decimal(str(rules.lot_size))
        )
        self.cash, self.position, self.count = CASH, Position("venue", "BTC/USDT", "agent"), 0

    def book(self, done: Step, costs: CostRates, rules: MarketRules) -> None:
        self.pay(Decimal(done.costs.funding))
        for fill in done.fills:
            self.trade(fill, costs, rules)
        self.pay(Decimal(done.costs.borrow))

    def pay(self, amount: Decimal) -> None:
        self.count += 1
        payment = FundingPayment("venue", "BTC/USDT", str(self.count), -amount, "USDT", self.count)
        self.position = book_funding(self.position, FundingShare(payment, "agent", -amount, -amount))
        self.cash -= amount

    def trade(self, fill: Fill, costs: CostRates, rules: MarketRules) -> None:
        """Book whole lots at whole ticks; the fee is calculated anew, as a venue does."""
        self.count += 1
        side = Side.BUY if fill.lots > 0 else Side.SELL
        price = round(fill.price / rules.tick_size) * self.market.tick_size
        quantity = abs(int(fill.lots)) * self.market.lot_size
        assert float(quantity) == pytest.approx(abs(fill.lots) * rules.unit, rel=1e-15)
        fee = Decimal(str(costs.maker_fee if fill.is_maker else costs.taker_fee)) * price * quantity
        if fill.is_forced:
            fee = Decimal(fill.fee)  # no more than what is left
        liquidity = ledger.Liquidity.MAKER if fill.is_maker else ledger.Liquidity.TAKER
        told = ledger.Fill(
            "venue", "BTC/USDT", str(self.count), "1", "1", side, price, quantity, fee, "USDT", liquidity, self.count
        )
        self.position = book_fill(self.position, told, self.market, lambda *_: None).position
        self.cash -= side.sign * told.value + fee


@settings(max_examples=200, deadline=None)
@given(st.data(), markets.paths, markets.costs, markets.rules(rounded=True))
def test_the_ledger_books_what_the_kernel_says(
    data: st.DataObject, bars: tuple, costs: CostRates, rules: MarketRules
) -> None:
    books, state = Books(rules), open_account(float(CASH), markets.START)
    for bar in bars:
        done = step(state, data.draw(markets.decisions(near=bar.open)), bar, costs, rules)
        books.book(done, costs, rules)
        state = done.state
        if state.liquidated:
            assert books.position.quantity == 0
            assert state.cash == pytest.approx(max(float(books.cash), 0.0), abs=1e-9 * spent(done, books))
            return  # a debt is the venue's loss; the ledger knows none
        agree(books, state, rules)


def agree(books: Books, state: AccountState, rules: MarketRules) -> None:
    mark, position = Decimal(state.mark), books.position
    assert position.quantity == int(state.lots) * books.market.lot_size
    scale = float(CASH) + abs(state.cash) + abs(state.lots) * rules.unit * state.mark
    assert float(books.cash) == pytest.approx(state.cash, rel=1e-9, abs=1e-9 * scale)
    assert float(position.average_price) == pytest.approx(state.entry_price, rel=1e-9)
    equity = books.cash + position.quantity * mark
    assert float(equity) == pytest.approx(equity_of(state, rules), rel=1e-9, abs=1e-9 * scale)
    assert float(CASH + net_pnl(position, mark)) == pytest.approx(float(equity), rel=1e-12, abs=1e-9)


def spent(done: Step, books: Books) -> float:
    return float(CASH) + abs(float(books.cash)) + sum(abs(fill.lots) * fill.price for fill in done.fills)


def test_a_run_that_trades_much_agrees_to_the_end() -> None:
    """Rounding does not add up: 2,000 fills later both still say the same."""
    rules = MarketRules(tick_size=0.01, lot_size=0.00001, min_notional=5.0, max_leverage=3.0, maintenance=0.01)
    costs = CostRates(0.0004, 0.0002, 0.0001, 0.0001, 0.01, 0.5, 0.0, 1e-6, 0.0)
    rng, books, state, last = random.Random(11), Books(rules), open_account(float(CASH), 43_210.98), 43_210.98
    filled = 0
    for _ in range(2000):
        opening, close = last * (1 + rng.gauss(0, 1e-4)), last * (1 + rng.gauss(0, 2e-3))
        high, low = max(opening, close) * 1.0005, min(opening, close) * 0.9995
        bar = BarPrices(opening, high, low, close, rng.uniform(10, 500), 1e-5)
        done = step(state, Target(rng.uniform(-0.9, 0.9)), bar, costs, rules)
        books.book(done, costs, rules)
        state, last, filled = done.state, close, filled + len(done.fills)
        agree(books, state, rules)
    assert filled > 1500
    assert books.position.funding != ZERO
