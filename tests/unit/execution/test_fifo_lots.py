"""Lots, funding and transfers: examples by hand, and what holds for any facts heard in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.fills import Fill, Liquidity
from core.domain.orders import Side
from core.domain.positions import FundingPayment, FundingShare, Lot, Position, account_positions
from core.execution import fill_booker
from core.execution.fill_booker import FillBooker
from core.execution.position_tracker import (
    BookedFill,
    ClosedLot,
    History,
    apply_transfer,
    book_fill,
    book_funding,
    fee_in_quote,
    is_late,
    net_pnl,
    plan_transfer,
    replay,
    share_funding,
)
from tests.unit.execution.fake_venue import BTC

D = Decimal
SYMBOL = "BTC/USDT"
OWNERS = ("manual", "trend", "grid")
RATE = D("612.5")


def nobody_knows(currency: str, quote: str) -> Decimal | None:
    return None


def at_the_rate(currency: str, quote: str) -> Decimal | None:
    return RATE


def fill(
    side: Side,
    quantity: str | Decimal,
    price: str | Decimal,
    fee: str | Decimal = "0",
    currency: str = "USDT",
    n: int = 0,
) -> Fill:
    return Fill(
        "fake", SYMBOL, str(n), "v", "c", side, D(price), D(quantity), D(fee), currency, Liquidity.TAKER, n * 10
    )


@dataclass
class _Memory:
    """What the booker asks of the journal."""

    books: Books
    asked: int = 0

    def has_fill(self, fill: Fill) -> bool:
        facts = self.books.facts.values()
        return any(booked.fill.trade_id == fill.trade_id for history in facts for booked in history.fills)

    def history(self, symbol: str, owner: str) -> History:
        self.asked += 1
        return self.books.history(owner)


@dataclass
class Books:
    """The books of one market as the executor keeps them: fact by fact, in the order in which they are heard."""

    convert: Callable[[str, str], Decimal | None] = at_the_rate
    positions: dict[str, Position] = field(default_factory=dict)
    facts: dict[str, History] = field(default_factory=dict)
    closed: list[ClosedLot] = field(default_factory=list)
    cash: dict[str, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.booker = FillBooker(_Memory(self), self.convert)  # type: ignore[arg-type]

    def position(self, owner: str) -> Position:
        return self.positions.get(owner) or Position("fake", SYMBOL, owner)

    def history(self, owner: str) -> History:
        return self.facts.get(owner, History())

    def pay(self, owner: str, amount: Decimal) -> None:
        self.cash[owner] = self.cash.get(owner, D(0)) + amount

    def hear(self, owner: str, each: Fill) -> None:
        before, history = self.position(owner), self.history(owner)
        booking = self.booker.book(before, each, BTC)
        if booking is None:
            return
        self.booker.booked(booking.position)
        self.positions[owner] = booking.position
        booked = BookedFill(each, booking.fee_quote, before.cursor.chapter)
        self.facts[owner] = replace(history, fills=(*history.fills, booked))
        self.closed += booking.closed
        self.pay(owner, -each.value * each.side.sign)
        if each.fee_currency != "BTC":
            self.pay(owner, -each.fee * (RATE if each.fee_currency == "BNB" else 1))

    def fund(self, payment: FundingPayment) -> None:
        for share in share_funding(payment, self.positions.values(), "external", "USDT", self.convert):
            history = self.history(share.owner)
            self.positions[share.owner] = book_funding(self.position(share.owner), share)
            self.booker.forget(self.positions[share.owner])
            self.facts[share.owner] = replace(history, funding=(*history.funding, share))
            self.pay(share.owner, share.amount_quote or D(0))

    def move(self, giver: str, receiver: str, time_ns: int) -> None:
        moved = plan_transfer(self.position(giver), self.position(receiver), "taken over", time_ns)
        for owner in (giver, receiver):
            history = self.history(owner)
            self.positions[owner] = apply_transfer(self.position(owner), moved)
            self.booker.forget(self.positions[owner])
            self.facts[owner] = replace(history, transfers=(*history.transfers, moved))


def lots(position: Position) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    return [(lot.trade_id, lot.quantity, lot.price, lot.fee) for lot in position.lots]


# --- examples -------------------------------------------------------------------------------------------------------


def test_closing_takes_the_oldest_first() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "1", "100", "1", n=1))
    books.hear("manual", fill(Side.BUY, "3", "120", "3", n=2))
    books.hear("manual", fill(Side.SELL, "2", "130", "2", n=3))
    position = books.position("manual")
    assert lots(position) == [("2", D(2), D(120), D(2))]
    assert (position.fifo_pnl, position.realised_pnl) == (D(40), D(30))
    assert (position.fifo_unrealised_pnl(D(130)), position.unrealised_pnl(D(130))) == (D(20), D(30))
    first, second = books.closed
    assert (first.entry_id, first.exit_id, first.quantity, first.gross_pnl, first.fees) == ("1", "3", 1, 30, 2)
    assert (second.entry_id, second.quantity, second.gross_pnl, second.pnl) == ("2", 1, 10, 8)
    assert (first.opened_ns, first.closed_ns) == (10, 30)


def test_through_zero_opens_in_the_other_direction() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "1", "100", n=1))
    books.hear("manual", fill(Side.SELL, "3", "110", "0.3", n=2))
    position = books.position("manual")
    assert lots(position) == [("2", D(-2), D(110), D("0.2"))]
    assert position.fifo_pnl == 10
    books.hear("manual", fill(Side.BUY, "2", "100", n=3))
    assert books.position("manual").lots == ()
    assert books.position("manual").fifo_pnl == 30


def test_a_fee_in_base_currency_is_withheld_from_what_was_bought() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "1", "100", n=1))
    books.hear("manual", fill(Side.BUY, "1", "110", "0.001", "BTC", n=2))
    position = books.position("manual")
    assert lots(position) == [("1", 1, 100, 0), ("2", D("0.999"), 110, D("0.11"))]
    assert (position.quantity, position.fifo_pnl, position.fees) == (D("1.999"), 0, D("0.11"))


def test_a_fee_in_base_currency_on_a_closing_trade_is_sold() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "2", "100", n=1))
    books.hear("manual", fill(Side.SELL, "1", "110", "0.01", "BTC", n=2))
    position = books.position("manual")
    assert lots(position) == [("1", D("0.99"), 100, 0)]
    assert (position.quantity, position.fifo_pnl, position.fees) == (D("0.99"), D("10.10"), D("1.10"))
    short = Books()
    short.hear("manual", fill(Side.SELL, "1", "100", n=1))
    short.hear("manual", fill(Side.BUY, "1", "90", "0.01", "BTC", n=2))
    assert lots(short.position("manual")) == [("2", D("-0.01"), 90, 0)]


def test_a_rebate_in_base_currency_makes_the_lot_larger() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "1", "100", "-0.001", "BTC", n=1))
    position = books.position("manual")
    assert lots(position) == [("1", D("1.001"), 100, D("-0.1"))]
    assert net_pnl(position, D(100)) == D("0.1")


def test_a_fee_that_nobody_can_convert_is_counted_and_in_no_figure() -> None:
    books = Books(nobody_knows)
    books.hear("manual", fill(Side.BUY, "1", "100", "0.01", "BNB", n=1))
    position = books.position("manual")
    assert (position.unpriced, position.fees, position.lots[0].fee) == (1, 0, 0)
    (booked,) = books.history("manual").fills
    assert booked.fee_quote is None
    priced = replace(booked, fee_quote=fee_in_quote(booked.fill, BTC, at_the_rate))
    later, _ = replay(Position("fake", SYMBOL, "manual"), History([priced]), BTC)
    assert (later.unpriced, later.fees, later.lots[0].fee) == (0, D("6.125"), D("6.125"))


def test_a_late_fill_goes_where_its_time_belongs() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "1", "100", n=1))
    books.hear("manual", fill(Side.SELL, "1", "130", n=3))
    assert books.position("manual").fifo_pnl == 30
    books.hear("manual", fill(Side.BUY, "1", "90", n=2))
    assert lots(books.position("manual")) == [("2", 1, 90, 0)]
    assert books.position("manual").realised_pnl == 35
    assert books.position("manual").cursor.trade_id == "3"
    books.hear("manual", fill(Side.SELL, "1", "95", "0.5", n=0))
    assert [lot.exit_id for lot in books.closed] == ["3"]
    assert books.position("manual").fees == D("0.5")


def test_a_late_fill_reads_the_journal_only_where_it_is_older_than_what_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fill_booker, "KEPT", 3)
    books = Books()
    memory = books.booker._journal
    for number in (2, 4, 6, 8, 10, 12):
        books.hear("manual", fill(Side.BUY, "1", "100", n=number))
    books.hear("manual", fill(Side.SELL, "0.5", "110", n=9))
    assert memory.asked == 0
    books.hear("manual", fill(Side.BUY, "1", "90", n=3))
    assert memory.asked == 1
    books.hear("manual", fill(Side.BUY, "1", "90", n=11))  # what was built anew is kept as well
    books.hear("manual", fill(Side.BUY, "1", "90", n=11))  # heard twice
    assert memory.asked == 1
    assert [lot.trade_id for lot in books.position("manual").lots] == ["2", "3", "4", "6", "8", "10", "11", "12"]
    assert books.position("manual").lots[0].quantity == D("0.5")
    assert replay(Position("fake", SYMBOL, "manual"), books.history("manual"), BTC)[0] == books.position("manual")
    assert [lot.exit_id for lot in books.closed] == ["9"]


def test_trades_of_one_moment_count_by_number() -> None:
    first, second = (
        replace(fill(Side.BUY, "1", "100", n=9), time_ns=5),
        replace(fill(Side.BUY, "1", "90", n=10), time_ns=5),
    )
    books = Books()
    books.hear("manual", second)
    assert is_late(books.position("manual"), first)
    assert is_late(books.position("manual"), second)
    books.hear("manual", first)
    assert [lot.trade_id for lot in books.position("manual").lots] == ["9", "10"]


def test_a_transfer_moves_lots_at_cost_and_no_profit() -> None:
    books = Books()
    books.hear("trend", fill(Side.BUY, "1", "100", "1", n=1))
    books.hear("manual", fill(Side.BUY, "1", "110", "2", n=2))
    books.hear("trend", fill(Side.BUY, "1", "120", "3", n=3))
    books.hear("trend", fill(Side.SELL, "0.5", "140", "1", n=4))
    before = account_positions(books.positions.values())[SYMBOL]
    books.move("trend", "manual", 99)
    trend, manual = books.position("trend"), books.position("manual")
    assert (trend.quantity, trend.lots, trend.fifo_pnl, trend.fees) == (0, (), 20, 5)
    assert lots(manual) == [("1", D("0.5"), 100, 0), ("2", 1, 110, 2), ("3", 1, 120, 0)]
    assert (manual.quantity, manual.average_price, manual.fees, manual.realised_pnl) == (D("2.5"), 110, 2, 0)
    assert (trend.cursor.chapter, manual.cursor.chapter, manual.updated_ns) == (1, 1, 99)
    after = account_positions(books.positions.values())[SYMBOL]
    assert after == before
    books.hear("trend", fill(Side.BUY, "1", "100", n=2))  # heard after the transfer, so it counts after it
    assert lots(books.position("trend")) == [("2", 1, 100, 0)]


def test_transfers_that_make_no_sense_are_refused() -> None:
    long, short, flat = (Position("fake", SYMBOL, owner) for owner in OWNERS)
    long = book_fill(long, fill(Side.BUY, "1", "100", n=1), BTC, at_the_rate).position
    short = book_fill(short, fill(Side.SELL, "1", "100", n=2), BTC, at_the_rate).position
    with pytest.raises(ValueError, match="nothing to move"):
        plan_transfer(flat, long, "", 1)
    with pytest.raises(ValueError, match="opposite sides"):
        plan_transfer(long, short, "", 1)
    moved = plan_transfer(long, flat, "", 1)
    with pytest.raises(ValueError, match="none of trend"):
        apply_transfer(short, moved)
    with pytest.raises(ValueError, match="does not hold"):
        apply_transfer(apply_transfer(long, moved), moved)
    with pytest.raises(ValueError, match="opposite sides"):
        apply_transfer(replace(short, owner="grid"), moved)


def test_funding_is_divided_by_what_the_owners_hold() -> None:
    books = Books()
    books.hear("manual", fill(Side.BUY, "1", "100", n=1))
    books.hear("trend", fill(Side.BUY, "3", "100", n=2))
    books.hear("grid", fill(Side.SELL, "1", "100", n=3))
    payment = FundingPayment("fake", SYMBOL, "f1", D("-1"), "USDT", 50)
    shares = {
        s.owner: s.amount for s in share_funding(payment, books.positions.values(), "external", "USDT", at_the_rate)
    }
    third = D("0.333333333333333333")
    assert shares == {"grid": third, "manual": -third, "trend": D(-1)}
    books.fund(payment)
    assert books.position("trend").funding == -1
    assert net_pnl(books.position("trend"), D(100)) == -1
    assert books.position("trend").updated_ns == 50


def test_funding_without_a_holder_or_a_price_is_not_lost() -> None:
    payment = FundingPayment("fake", SYMBOL, "f1", D("0.5"), "BNB", 50)
    (share,) = share_funding(payment, [], "external", "USDT", nobody_knows)
    assert share == FundingShare(payment, "external", D("0.5"), None)
    unpriced = book_funding(Position("fake", SYMBOL, "external"), share)
    assert (unpriced.funding, unpriced.unpriced, unpriced.updated_ns) == (0, 1, 50)
    (known,) = share_funding(payment, [], "external", "USDT", at_the_rate)
    assert known.amount_quote == D("306.25")


def test_a_lot_knows_its_cost() -> None:
    assert Lot("1", 1, D("-0.5"), D("100.10")).cost == D("-50.05")


def test_the_account_adds_up_its_owners() -> None:
    books = Books(nobody_knows)
    books.hear("manual", fill(Side.BUY, "1", "100", "0.1", "BNB", n=1))
    books.hear("trend", fill(Side.BUY, "3", "120", "2", n=2))
    account = account_positions(books.positions.values())[SYMBOL]
    assert (account.quantity, account.average_price, account.fees, account.unpriced) == (4, 115, 2, 1)
    assert account.unrealised_pnl(D(125)) == account.fifo_unrealised_pnl(D(125)) == 40
    books.hear("grid", fill(Side.SELL, "4", "130", n=3))
    assert account_positions(books.positions.values())[SYMBOL].average_price == 0
    assert account_positions(books.positions.values())[SYMBOL].unrealised_pnl(D(7)) == 60
    assert account_positions([]) == {}


# --- properties -----------------------------------------------------------------------------------------------------

QUICK = settings(max_examples=80, deadline=None)
amounts = st.decimals(min_value="0.00001", max_value="1000", places=5)
prices = st.decimals(min_value="0.01", max_value="100000", places=2)


@dataclass(frozen=True)
class Step:
    """One fact: a fill (of the owner), a payment, or a transfer (owner to the next one)."""

    kind: str
    owner: str
    fill: Fill


def _step(
    kind: str, owner: str, side: Side, quantity: Decimal, price: Decimal, fee: Decimal, currency: str, time_ns: int
) -> Step:
    made = Fill("fake", SYMBOL, "", "v", "c", side, price, quantity, quantity * fee, currency, Liquidity.MAKER, time_ns)
    return Step(kind, owner, made)


steps = st.lists(
    st.builds(
        _step,
        st.sampled_from(["fill", "fill", "fill", "fill", "fund", "move"]),
        st.sampled_from(OWNERS),
        st.sampled_from(Side),
        amounts,
        prices,
        st.decimals(min_value="-0.0005", max_value="0.01", places=4),
        st.sampled_from(["BTC", "USDT", "BNB"]),
        st.integers(min_value=1, max_value=6),
    ),
    max_size=14,
)


def play(sequence: list[Step]) -> Books:
    books = Books()
    for number, step in enumerate(sequence):
        if step.kind == "fill":
            books.hear(step.owner, replace(step.fill, trade_id=str(number)))
        elif step.kind == "fund":
            amount = step.fill.price * step.fill.side.sign
            books.fund(FundingPayment("fake", SYMBOL, str(number), amount, "USDT", step.fill.time_ns))
        else:
            receiver = OWNERS[(OWNERS.index(step.owner) + 1) % len(OWNERS)]
            giving, taking = books.position(step.owner).quantity, books.position(receiver).quantity
            if giving and giving * taking >= 0:
                books.move(step.owner, receiver, 100)
    return books


@QUICK
@given(steps, prices)
def test_profit_is_always_cash_plus_holding(sequence: list[Step], mark: Decimal) -> None:
    books = play(sequence)
    account = account_positions(books.positions.values()).get(SYMBOL)
    if account is None:
        return
    worth = sum(books.cash.values(), start=D(0)) + account.quantity * mark
    by_lots = account.fifo_pnl + account.fifo_unrealised_pnl(mark) - account.fees + account.funding
    assert by_lots == worth  # to the last digit
    by_average = account.realised_pnl + account.unrealised_pnl(mark) - account.fees + account.funding
    assert abs(by_average - worth) <= D("1e-22") * (1 + sum(abs(s.fill.value) for s in sequence))


@QUICK
@given(steps, prices)
def test_each_owner_without_transfers_keeps_the_invariant(sequence: list[Step], mark: Decimal) -> None:
    books = play([step for step in sequence if step.kind != "move"])
    for owner, position in books.positions.items():
        worth = books.cash.get(owner, D(0)) + position.quantity * mark
        by_lots = position.fifo_pnl + position.fifo_unrealised_pnl(mark) - position.fees + position.funding
        assert by_lots == worth
        assert abs(net_pnl(position, mark) - worth) <= D("1e-22") * (1 + sum(abs(s.fill.value) for s in sequence))


@QUICK
@given(steps)
def test_lots_add_up_to_the_position_are_sorted_and_of_one_sign(sequence: list[Step]) -> None:
    for position in play(sequence).positions.values():
        assert sum((lot.quantity for lot in position.lots), start=D(0)) == position.quantity
        assert all(lot.quantity * position.quantity > 0 for lot in position.lots)
        assert [lot.order for lot in position.lots] == sorted({lot.order for lot in position.lots})


@QUICK
@given(steps)
def test_books_built_anew_from_all_facts_are_the_same(sequence: list[Step]) -> None:
    books = play(sequence)
    for owner, position in books.positions.items():
        assert replay(Position("fake", SYMBOL, owner), books.history(owner), BTC)[0] == position


@QUICK
@given(steps, st.randoms(use_true_random=False))
def test_the_order_in_which_fills_are_heard_does_not_matter(sequence: list[Step], random: object) -> None:
    heard = [(s.owner, replace(s.fill, trade_id=str(n))) for n, s in enumerate(sequence)]
    first, second = Books(), Books()
    for owner, each in sorted(heard, key=lambda pair: (pair[1].time_ns, int(pair[1].trade_id))):
        first.hear(owner, each)
    random.shuffle(heard)  # type: ignore[attr-defined]
    for owner, each in heard:
        second.hear(owner, each)
    assert first.positions == second.positions


@QUICK
@given(steps)
def test_round_trips_and_open_lots_account_for_profit_and_fees(sequence: list[Step]) -> None:
    books = play([step for step in sequence if step.kind == "fill"])
    for owner, position in books.positions.items():
        same, closed = replay(Position("fake", SYMBOL, owner), books.history(owner), BTC)
        assert same == position
        assert sum((lot.gross_pnl for lot in closed), start=D(0)) == position.fifo_pnl
        open_fees = sum((lot.fee for lot in position.lots), start=D(0))
        assert sum((lot.fees for lot in closed), start=D(0)) + open_fees == position.fees


@QUICK
@given(st.lists(st.tuples(st.sampled_from(OWNERS), amounts, st.sampled_from(Side)), max_size=6), prices)
def test_the_shares_of_a_payment_add_up_to_it(holdings: list[tuple[str, Decimal, Side]], amount: Decimal) -> None:
    books = Books()
    for number, (owner, quantity, side) in enumerate(holdings):
        books.hear(owner, fill(side, quantity, "100", n=number + 1))
    payment = FundingPayment("fake", SYMBOL, "f", amount, "USDT", 1)
    shares = share_funding(payment, books.positions.values(), "external", "USDT", at_the_rate)
    assert sum((share.amount for share in shares), start=D(0)) == amount


@QUICK
@given(steps)
def test_books_are_the_same_however_few_fills_are_kept(sequence: list[Step]) -> None:
    usual = play(sequence)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill_booker, "KEPT", 1)
        assert play(sequence).positions == usual.positions
