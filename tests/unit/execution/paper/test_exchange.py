"""The paper venue: Binance's refusals, exact books, a file that is never behind what was told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_S, ManualClock
from core.domain.fills import Liquidity
from core.domain.instruments import FeeRule
from core.domain.market import BookSnapshot, PublicTrade
from core.domain.orders import OrderState, OrderType, Side, TimeInForce
from core.errors import UserError
from core.execution.api.gateway import (
    AmbiguousOutcome,
    BalanceReport,
    DefinitiveReject,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
    UserEvent,
)
from core.execution.fill_values import FillRules
from core.execution.paper.account_file import AccountFile, archive
from core.execution.paper.exchange import MAX_OPEN_ORDERS, PaperExchange
from tests.unit.execution.fake_venue import BTC, ETH, START_NS

D = Decimal
SYMBOL = "BTC/USDT"
BUY, SELL = Side.BUY, Side.SELL


class Bench:
    """One exchange over a file, which can be left and opened again."""

    def __init__(self, path: Path, **opening: int) -> None:
        self.path = path
        self.clock = ManualClock(START_NS)
        self.instruments = {SYMBOL: BTC, "ETH/USDT": ETH}
        self.told: list[UserEvent] = []
        self.opening = {currency: D(amount) for currency, amount in (opening or {"USDT": 10_000}).items()}
        self.file, self.exchange = self.open()
        self.numbers = iter(range(1, 10_000))

    def open(self) -> tuple[AccountFile, PaperExchange]:
        file = AccountFile(self.path, self.opening)
        exchange = PaperExchange(file, "fake", self.clock, FillRules(participation=D(1)), self.told.append)
        exchange.use_instruments(self.instruments)
        return file, exchange

    def reopen(self) -> None:
        self.exchange.close()
        self.file, self.exchange = self.open()

    def book(self, bids: tuple, asks: tuple, symbol: str = SYMBOL) -> None:
        self.exchange.on_book(BookSnapshot(symbol, bids, asks, self.clock.now_ns()))

    def trade(self, price: float, quantity: float, side: Side, symbol: str = SYMBOL) -> None:
        self.clock.advance(1)
        self.exchange.on_trades(symbol, [PublicTrade(symbol, "1", price, quantity, side, self.clock.now_ns())])

    def place(self, side: Side, quantity: str, price: str | None = None, **more: object) -> OrderReport:
        kind = more.pop("kind", OrderType.LIMIT if price else OrderType.MARKET)
        key = str(more.pop("key", f"id{next(self.numbers)}"))
        request = OrderRequest(key, SYMBOL, side, kind, D(quantity), D(price) if price else None)
        return self.exchange.place(replace(request, **more), self.clock.now_ns())

    def held(self, currency: str) -> tuple[Decimal, Decimal]:
        found = [b for b in self.exchange.balances() if b.currency == currency]
        return (found[0].free, found[0].locked) if found else (D(0), D(0))

    def said(self, kind: type) -> list:
        return [event for event in self.told if isinstance(event, kind)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "account.sqlite")
    made.book(((99.0, 5.0),), ((100.0, 1.0), (101.0, 5.0)))
    yield made
    made.exchange.close()


def test_a_market_buy_pays_the_book_and_its_fee(bench: Bench) -> None:
    report = bench.place(BUY, "2")
    assert (report.state, report.filled_quantity, report.average_price) == (OrderState.FILLED, 2, D("100.5"))
    assert [(f.price, f.quantity, f.fee, f.fee_currency) for f in report.fills] == [
        (100, 1, D("0.001"), "BTC"),
        (101, 1, D("0.001"), "BTC"),
    ]
    assert bench.held("USDT") == (9_799, 0)
    assert bench.held("BTC") == (D("1.998"), 0)
    assert bench.exchange.fills(SYMBOL, None) == list(report.fills)
    told = bench.said(OrderReport)
    assert told == [report]
    assert {b.currency: b.total for b in bench.said(BalanceReport)[-1].balances} == {"USDT": 9_799, "BTC": D("1.998")}


def test_a_market_order_beyond_the_book_expires(bench: Bench) -> None:
    assert bench.place(BUY, "7").filled_quantity == 6
    report = bench.place(SELL, "5.5")
    assert (report.state, report.filled_quantity) == (OrderState.EXPIRED, 5)
    assert report.message == "the order book held no more"
    assert bench.held("BTC") == (D("0.994"), 0)


def test_a_limit_order_locks_and_gives_back(bench: Bench) -> None:
    report = bench.place(BUY, "2", "99")
    assert bench.held("USDT") == (9_802, 198)
    bench.trade(98.0, 0.5, SELL)
    assert bench.held("USDT") == (9_802, D("148.5"))
    cancelled = bench.exchange.cancel(SYMBOL, report.client_order_id)
    assert (cancelled.state, cancelled.filled_quantity) == (OrderState.CANCELED, D("0.5"))
    assert bench.held("USDT") == (D("9950.5"), 0)
    with pytest.raises(OrderUnknown, match="Unknown order sent"):
        bench.exchange.cancel(SYMBOL, report.client_order_id)
    assert bench.exchange.order(SYMBOL, report.client_order_id).state is OrderState.CANCELED
    with pytest.raises(OrderUnknown, match="does not exist"):
        bench.exchange.order("ETH/USDT", report.client_order_id)


def test_a_limit_that_takes_below_its_price_gets_the_difference_back(bench: Bench) -> None:
    report = bench.place(BUY, "1", "101")
    assert report.state is OrderState.FILLED
    assert bench.held("USDT") == (9_900, 0)


def refused(bench: Bench, *what: str | Side, **more: object) -> DefinitiveReject:
    before = (bench.exchange.balances(), bench.exchange.open_orders(), len(bench.told))
    with pytest.raises(DefinitiveReject) as caught:
        bench.place(*what, **more)
    assert (bench.exchange.balances(), bench.exchange.open_orders(), len(bench.told)) == before
    return caught.value


@pytest.mark.parametrize(
    ("what", "more", "code", "message"),
    [
        ((BUY, "0.000001", "99"), {}, "-1013", "LOT_SIZE"),
        ((BUY, "0", "99"), {}, "-1013", "LOT_SIZE"),
        ((BUY, "1", "99.001"), {}, "-1013", "PRICE_FILTER"),
        ((BUY, "1", "-1"), {}, "-1013", "PRICE_FILTER"),
        ((BUY, "0.00001", "99"), {}, "-1013", "NOTIONAL"),
        ((BUY, "1"), {"kind": OrderType.LIMIT}, "-1102", "needs a price"),
        ((BUY, "1000", "99"), {}, "-2010", "insufficient balance"),
        ((SELL, "1", "200"), {}, "-2010", "insufficient balance"),
        ((SELL, "1"), {}, "-2010", "insufficient balance"),
        ((BUY, "1", "100"), {"kind": OrderType.LIMIT_MAKER}, "-2010", "immediately match and take"),
        ((BUY, "1", "99"), {"symbol": "XRP/USDT"}, "-1121", "no market XRP/USDT"),
    ],
)
def test_what_the_venue_refuses_leaves_no_trace(
    bench: Bench, what: tuple, more: dict[str, object], code: str, message: str
) -> None:
    error = refused(bench, *what, **more)
    assert error.code == code
    assert message in error.message


def test_an_order_at_the_market_must_be_paid_for_at_the_prices_of_the_book(bench: Bench) -> None:
    bench.book(((99.0, 5.0),), ((100.0, 60.0), (200.0, 60.0)))
    assert "insufficient balance" in refused(bench, BUY, "80.1").message
    assert bench.place(BUY, "79.5").state is OrderState.FILLED  # 60 at 100 and 19.5 at 200
    assert bench.held("USDT") == (100, 0)


def test_a_stop_that_would_trigger_at_once_is_refused_and_another_waits(bench: Bench) -> None:
    bench.exchange.on_last_price(SYMBOL, float("nan"))
    bench.exchange.on_last_price(SYMBOL, 100.0)
    bench.place(BUY, "1")
    stop = {"kind": OrderType.STOP_LOSS_LIMIT}
    error = refused(bench, SELL, "0.5", "95", stop_price=D(100), **stop)
    assert "trigger immediately" in error.message
    report = bench.place(SELL, "0.5", "95", stop_price=D(98), **stop)
    assert report.state is OrderState.ACCEPTED
    assert bench.held("BTC") == (D("0.499"), D("0.5"))
    bench.reopen()
    bench.book(((97.0, 5.0),), ((100.0, 1.0),))
    bench.trade(98.0, 0.1, SELL)
    assert bench.exchange.order(SYMBOL, report.client_order_id).average_price == 97
    assert bench.held("BTC") == (D("0.499"), 0)


def test_client_order_ids_are_unique_among_open_orders_only(bench: Bench) -> None:
    bench.place(BUY, "1", "99", key="twice")
    with pytest.raises(AmbiguousOutcome, match="Duplicate order sent"):
        bench.place(BUY, "1", "98", key="twice")
    assert len(bench.exchange.open_orders()) == 1
    bench.exchange.cancel(SYMBOL, "twice")
    again = bench.place(BUY, "1", "98", key="twice")
    assert bench.exchange.order(SYMBOL, "twice").venue_order_id == again.venue_order_id


def test_no_market_holds_more_open_orders_than_the_venue_takes(bench: Bench) -> None:
    for _ in range(MAX_OPEN_ORDERS):
        bench.place(BUY, "0.1", "90")
    assert "MAX_NUM_ORDERS" in refused(bench, BUY, "0.1", "90").message
    assert len(bench.exchange.cancel_all("ETH/USDT")) == 0
    assert len(bench.exchange.cancel_all(SYMBOL)) == MAX_OPEN_ORDERS
    assert bench.held("USDT") == (10_000, 0)


def test_without_a_book_nothing_is_sold_blindly(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a.sqlite")
    with pytest.raises(RetryableError, match="order book of BTC/USDT is not known"):
        bench.place(BUY, "1")
    bench.exchange.close()


def test_own_orders_in_the_way_expire_and_are_told(bench: Bench) -> None:
    bench.place(BUY, "2")
    resting = bench.place(SELL, "1", "100.5")
    bench.told.clear()
    bench.place(BUY, "3", "101")
    ended = bench.exchange.order(SYMBOL, resting.client_order_id)
    assert (ended.state, ended.message) == (OrderState.EXPIRED, "an own order would have met it")
    assert [report.state for report in bench.said(OrderReport)] == [OrderState.FILLED, OrderState.EXPIRED]


def test_a_fee_on_top_is_locked_with_the_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a.sqlite")
    bench.instruments = {SYMBOL: replace(BTC, fee_rule=FeeRule.QUOTE, maker_fee=D("0.001"), taker_fee=D("0.002"))}
    bench.exchange.use_instruments(bench.instruments)
    bench.book(((99.0, 5.0),), ((100.0, 100.0),))
    assert "insufficient balance" in refused(bench, BUY, "100").message
    assert "insufficient balance" in refused(bench, BUY, "100", "100").message
    bench.place(BUY, "10", "99")
    assert bench.held("USDT")[1] == D("991.98")
    bench.trade(98.0, 10.0, SELL)
    assert bench.held("USDT") == (10_000 - D("990.99"), 0)
    assert bench.held("BTC") == (10, 0)
    bench.exchange.close()


def test_fees_are_paid_in_a_third_currency_while_there_is_enough_of_it(tmp_path: Path) -> None:
    file = AccountFile(tmp_path / "a.sqlite", {"USDT": D(10_000), "ETH": D("0.015")})
    clock = ManualClock(START_NS)
    exchange = PaperExchange(file, "fake", clock, FillRules(), lambda event: None, fees_in="ETH")
    exchange.use_instruments({SYMBOL: BTC, "ETH/USDT": ETH})
    exchange.on_book(BookSnapshot(SYMBOL, ((99.0, 5.0),), ((100.0, 50.0),), START_NS))

    def buy(key: str) -> tuple[Decimal, str]:
        report = exchange.place(OrderRequest(key, SYMBOL, BUY, OrderType.MARKET, D(1)), START_NS)
        return report.fills[0].fee, report.fills[0].fee_currency

    assert buy("no price yet") == (D("0.001"), "BTC")
    exchange.on_last_price("ETH/USDT", 10.0)
    assert buy("enough") == (D("0.01"), "ETH")
    assert buy("not enough") == (D("0.001"), "BTC")
    held = {balance.currency: balance.total for balance in exchange.balances()}
    assert held == {"USDT": 9_700, "ETH": D("0.005"), "BTC": D("2.998")}
    exchange.close()


# --- the file -----------------------------------------------------------------------------------------------------


def test_everything_is_there_after_a_restart(bench: Bench) -> None:
    bench.place(BUY, "1")
    resting = bench.place(BUY, "2", "99")
    bench.trade(99.0, 6.0, SELL)  # five in front, one of ours
    state = (bench.exchange.balances(), bench.exchange.open_orders(), bench.exchange.fills(SYMBOL, None))
    seen = bench.exchange.seen_ns(SYMBOL)
    bench.reopen()
    assert (bench.exchange.balances(), bench.exchange.open_orders(), bench.exchange.fills(SYMBOL, None)) == state
    assert bench.exchange.seen_ns(SYMBOL) == seen == bench.clock.now_ns()
    bench.book(((99.0, 50.0),), ((100.0, 1.0),))
    bench.trade(99.0, 0.5, SELL)  # it has kept its place in the queue
    assert bench.exchange.order(SYMBOL, resting.client_order_id).filled_quantity == D("1.5")
    assert len({fill.trade_id for fill in bench.exchange.fills(SYMBOL, None)}) == 3


def test_nothing_is_told_before_it_is_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[bool] = []

    def look(event: UserEvent) -> None:
        if isinstance(event, OrderReport):
            other = sqlite3.connect(bench.path)
            row = other.execute("SELECT 1 FROM orders WHERE client_id = ?", (event.client_order_id,)).fetchone()
            stored.append(row is not None)
            other.close()

    monkeypatch.setattr(bench.exchange, "_emit", look)
    bench.place(BUY, "1")
    bench.exchange.cancel(SYMBOL, bench.place(BUY, "1", "99").client_order_id)
    assert stored == [True] * 3


def fails(*_: object) -> None:
    raise UserError("The disk is full.", "")


def test_what_cannot_be_stored_has_not_happened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.place(BUY, "2", "99")
    before = (bench.exchange.balances(), bench.exchange.open_orders())
    bench.told.clear()
    with monkeypatch.context() as broken:
        broken.setattr(bench.file, "save", fails)
        steps: list[Callable[[], object]] = [
            lambda: bench.place(BUY, "1"),
            lambda: bench.trade(98.0, 1.0, SELL),
            lambda: bench.exchange.cancel_all(SYMBOL),
        ]
        for step in steps:
            with pytest.raises(UserError, match="disk is full"):
                step()
            assert (bench.exchange.balances(), bench.exchange.open_orders()) == before
    assert bench.told == []
    bench.trade(98.0, 1.0, SELL)
    assert bench.held("USDT") == (9_802, 99)


def test_what_another_program_did_is_taken_over_and_told(bench: Bench) -> None:
    mine = bench.place(BUY, "2", "99")
    other = PaperExchange(AccountFile(bench.path, {}), "fake", bench.clock, FillRules(), lambda event: None)
    bench.told.clear()
    assert [report.client_order_id for report in other.cancel_all(SYMBOL)] == [mine.client_order_id]
    bench.exchange.follow_file()
    assert [report.state for report in bench.said(OrderReport)] == [OrderState.CANCELED]
    assert bench.exchange.open_orders() == []
    assert bench.held("USDT") == (10_000, 0)
    bench.trade(90.0, 9.0, SELL)
    assert bench.exchange.fills(SYMBOL, None) == []
    other.close()


def test_an_order_about_to_be_stored_meets_what_another_program_wrote(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = AccountFile(bench.path, {})
    with monkeypatch.context() as late:
        late.setattr(bench.exchange, "follow_file", lambda: None)  # it was looked at a moment before
        other.announce()
        with pytest.raises(RetryableError, match="changed by another program"):
            bench.place(BUY, "1")
    assert bench.exchange.open_orders() == []
    assert bench.exchange.fills(SYMBOL, None) == []
    bench.exchange.follow_file()
    assert bench.place(BUY, "1").state is OrderState.FILLED
    other.close()


def test_a_new_account_begins_anew_beside_the_old(bench: Bench) -> None:
    first = bench.file.account_id
    bench.place(BUY, "1")
    bench.exchange.close()
    kept = archive(bench.path)
    assert kept is not None
    old = AccountFile(kept, {})
    assert (old.account_id, len(old.fills())) == (first, 1)
    old.close()
    bench.opening = {"USDT": D(500), "BTC": D(1)}
    bench.file, bench.exchange = bench.open()
    assert bench.file.account_id != first
    assert bench.file.opening == bench.opening
    assert bench.held("BTC") == (1, 0)
    assert archive(bench.path.with_name("none.sqlite")) is None


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("this is not a database, by far not, not at all" * 50)
    with pytest.raises(UserError, match="cannot be used"):
        AccountFile(tmp_path / "a.sqlite", {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be used"):
        AccountFile(tmp_path / "file" / "a.sqlite", {})


# --- properties ---------------------------------------------------------------------------------------------------

PRICE = st.integers(9_500, 10_500).map(lambda ticks: D(ticks) / 100)
LOTS = st.integers(1, 300_000).map(lambda lots: D(lots) / 100_000)
KINDS = st.sampled_from(list(OrderType))
STEP = st.one_of(
    st.tuples(st.just("order"), KINDS, st.sampled_from(list(Side)), LOTS, PRICE, PRICE, st.sampled_from(TimeInForce)),
    st.tuples(st.just("book"), st.integers(9_600, 10_400), LOTS, LOTS),
    st.tuples(st.just("trade"), PRICE, LOTS, st.sampled_from(list(Side))),
    st.tuples(st.just("cancel"), st.integers(1, 20)),
    st.tuples(st.just("restart")),
)


def run_step(bench: Bench, step: tuple) -> None:
    match step:
        case ("order", kind, side, quantity, price, trigger, tif):
            limit = None if kind is OrderType.MARKET else str(price)
            stop = trigger if kind is OrderType.STOP_LOSS_LIMIT else None
            tif = TimeInForce.GTC if kind in (OrderType.MARKET, OrderType.LIMIT_MAKER) else tif
            try:
                bench.place(side, str(quantity), limit, kind=kind, stop_price=stop, time_in_force=tif)
            except (DefinitiveReject, RetryableError):
                return
        case ("book", mid, first, second):
            bids = tuple(((mid - n) / 100, float(first)) for n in (1, 3, 8))
            asks = tuple(((mid + n) / 100, float(second)) for n in (1, 2, 9))
            bench.book(bids, asks)
        case ("trade", price, quantity, side):
            bench.trade(float(price), float(quantity), side)
        case ("cancel", number):
            try:
                bench.exchange.cancel(SYMBOL, f"id{number}")
            except OrderUnknown:
                return
        case _:
            bench.reopen()


def assert_conserved(bench: Bench) -> None:
    """Cash, positions and fees add up to what the account began with, to the last digit."""
    expected = dict(bench.opening)
    fills = bench.exchange.fills(SYMBOL, None)
    for fill in fills:
        for currency, amount in (
            ("BTC", fill.quantity * fill.side.sign),
            ("USDT", -fill.price * fill.quantity * fill.side.sign),
            (fill.fee_currency, -fill.fee),
        ):
            expected[currency] = expected.get(currency, D(0)) + amount
    balances = {balance.currency: balance for balance in bench.exchange.balances()}
    assert {c: b.total for c, b in balances.items()} == {c: amount for c, amount in expected.items() if amount}
    assert all(b.free >= 0 and b.locked >= 0 for b in balances.values())
    locked: dict[str, Decimal] = {}
    for order in bench.file.open_orders():
        locked[order.pays_in] = locked.get(order.pays_in, D(0)) + order.locked
        own = [fill for fill in fills if fill.venue_order_id == order.key]
        assert order.executed == sum((fill.quantity for fill in own), start=D(0)) < order.quantity
        assert all(fill.liquidity in Liquidity for fill in own)
    assert {c: b.locked for c, b in balances.items() if b.locked} == {c: a for c, a in locked.items() if a}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=5, max_size=30), rule=st.sampled_from(FeeRule))
def test_nothing_is_created_or_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple], rule: FeeRule
) -> None:
    bench = Bench(tmp_path_factory.mktemp("account") / "a.sqlite", USDT=500, BTC=2)
    bench.instruments = {SYMBOL: replace(BTC, fee_rule=rule, maker_fee=D("0.00075"), taker_fee=D("0.0011"))}
    bench.exchange.use_instruments(bench.instruments)
    try:
        for step in steps:
            run_step(bench, step)
            assert_conserved(bench)
    finally:
        bench.exchange.close()


def test_time_is_the_venues(bench: Bench) -> None:
    bench.clock.advance(5 * NS_PER_S)
    report = bench.place(BUY, "1")
    assert report.time_ns == report.fills[0].time_ns == START_NS + 5 * NS_PER_S
    assert bench.exchange.fills(SYMBOL, report.time_ns + 1) == []
