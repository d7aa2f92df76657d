"""The fill model: never better than the market, never more than it shows, and the same at every level of data."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.candles import Candle, Timeframe
from core.domain.fills import Liquidity
from core.domain.instruments import FeeRule, Instrument
from core.domain.orders import OrderType, Side, TimeInForce
from core.execution.fill_model import FillModel
from core.execution.fill_values import (
    DataLevel,
    Ended,
    ExactBar,
    Execution,
    FillRules,
    Happening,
    Latency,
    Refusal,
    SimOrder,
    Triggered,
    exact_bar,
    exact_levels,
    fee_of,
)

D = Decimal
COIN = Instrument("fake", "BTC/USDT", "BTCUSDT", "BTC", "USDT", tick_size=D("0.1"), lot_size=D("0.01"))
FREE = FillRules(half_spread=D(0), slippage=D(0), participation=D(1))
BUY, SELL = Side.BUY, Side.SELL


def levels(*pairs: tuple[float, float]) -> list[tuple[Decimal, Decimal]]:
    return exact_levels(COIN, pairs)


def book_model(bids: tuple[tuple[float, float], ...], asks: tuple[tuple[float, float], ...]) -> FillModel:
    model = FillModel(COIN, FREE, DataLevel.BOOK)
    assert model.on_book(levels(*bids), levels(*asks)) == []
    return model


def market(key: str, side: Side, quantity: float) -> SimOrder:
    return SimOrder(key, side, OrderType.MARKET, D(str(quantity)))


def limit(
    key: str, side: Side, quantity: float, price: float, tif: TimeInForce = TimeInForce.GTC, *, maker: bool = False
) -> SimOrder:
    kind = OrderType.LIMIT_MAKER if maker else OrderType.LIMIT
    return SimOrder(key, side, kind, D(str(quantity)), D(str(price)), time_in_force=tif)


def stop(key: str, side: Side, quantity: float, trigger: float, price: float) -> SimOrder:
    return SimOrder(key, side, OrderType.STOP_LOSS_LIMIT, D(str(quantity)), D(str(price)), D(str(trigger)))


def told(happened: list[Happening]) -> list[tuple]:
    out: list[tuple] = []
    for event in happened:
        if isinstance(event, Execution):
            out.append((event.key, float(event.price), float(event.quantity), event.liquidity.value))
        else:
            out.append((event.key, type(event).__name__))
    return out


def trade(model: FillModel, price: float, quantity: float, aggressor: Side) -> list[tuple]:
    return told(model.on_trade(D(str(price)), D(str(quantity)), aggressor))


# --- the book -----------------------------------------------------------------------------------------------------


def test_a_market_order_walks_the_book_and_what_the_book_lacks_expires() -> None:
    model = book_model(((99, 1),), ((101, 1), (102, 2)))
    assert model.plan(market("p", BUY, 2)) == levels((101, 1), (102, 1))
    assert told(model.place(market("a", BUY, 5))) == [
        ("a", 101, 1, "taker"),
        ("a", 102, 2, "taker"),
        ("a", "Ended"),
    ]
    assert not model.has_orders


def test_what_was_taken_is_not_there_again_until_the_book_shows_it_anew() -> None:
    model = book_model(((99, 1),), ((101, 5), (102, 5)))
    model.place(market("a", BUY, 4))
    assert model.available(SELL)[0] == (D(101), D(1))
    model.on_book(levels((99, 1)), levels((101, 5), (102, 5)))  # the real market never saw our order
    assert model.available(SELL)[0] == (D(101), D(1))
    model.on_book(levels((99, 1)), levels((101, 3), (102, 5)))  # somebody took two: what we took is among the rest
    assert model.available(SELL) == levels((102, 5))
    model.on_book(levels((99, 1)), levels((101, 7), (102, 5)))
    assert model.available(SELL)[0] == (D(101), D(4))
    model.on_book(levels((99, 1)), levels((102, 5)))  # gone
    model.on_book(levels((99, 1)), levels((101, 7), (102, 5)))  # anew
    assert model.available(SELL)[0] == (D(101), D(7))


def test_a_level_out_of_sight_keeps_what_was_taken_from_it() -> None:
    model = book_model(((99, 1),), ((101, 1), (102, 5)))
    model.place(market("a", BUY, 4))
    model.on_book(levels((98, 1)), levels((100, 2), (101, 1)))
    model.on_book(levels((99, 1)), levels((101, 1), (102, 5)))
    assert (D(102), D(2)) in model.available(SELL)


@pytest.mark.parametrize(
    ("tif", "expected"),
    [
        (TimeInForce.GTC, [("a", 101, 1, "taker")]),
        (TimeInForce.IOC, [("a", 101, 1, "taker"), ("a", "Ended")]),
        (TimeInForce.FOK, [("a", "Ended")]),
    ],
)
def test_the_time_in_force_decides_about_the_rest(tif: TimeInForce, expected: list[tuple]) -> None:
    model = book_model(((99, 1),), ((101, 1), (102, 2)))
    order = limit("a", BUY, 3, 101, tif)
    assert sum((q for _, q in model.plan(order)), start=D(0)) == (0 if tif is TimeInForce.FOK else 1)
    assert told(model.place(order)) == expected
    assert model.has_orders == (tif is TimeInForce.GTC)


def test_an_order_that_must_not_take_is_refused() -> None:
    model = book_model(((99, 1),), ((101, 1),))
    assert model.refusal(limit("a", BUY, 1, 101, maker=True)) is Refusal.WOULD_TAKE
    assert model.refusal(limit("a", BUY, 1, 100.9, maker=True)) is None
    model.place(limit("own", SELL, 1, 100.5))
    assert model.refusal(limit("a", BUY, 1, 100.9, maker=True)) is Refusal.WOULD_TAKE


def test_own_orders_in_the_way_expire_first() -> None:
    model = book_model(((99, 1),), ((101, 1), (102, 1)))
    model.place(limit("low", SELL, 1, 100.5))
    model.place(limit("high", SELL, 1, 101.5))
    assert told(model.place(market("a", BUY, 1))) == [("low", "Ended"), ("a", 101, 1, "taker")]
    assert told(model.place(limit("b", BUY, 3, 102))) == [("high", "Ended"), ("b", 102, 1, "taker")]


# --- the queue ----------------------------------------------------------------------------------------------------


def test_a_resting_order_waits_behind_what_is_displayed() -> None:
    model = book_model(((99, 3),), ((101, 1),))
    model.place(limit("a", BUY, 2, 99))
    assert trade(model, 99, 2, SELL) == []
    assert trade(model, 99, 2, BUY) == []  # somebody bought there: not our side of the book
    assert trade(model, 99, 2, SELL) == [("a", 99, 1, "maker")]
    assert trade(model, 99, 2, SELL) == [("a", 99, 1, "maker")]


def test_cancellations_are_behind_us_until_less_is_left_than_was_in_front() -> None:
    model = book_model(((99, 5),), ((101, 1),))
    order = limit("a", BUY, 2, 99)
    model.place(order)
    model.on_book(levels((99, 9)), levels((101, 1)))  # they join behind
    model.on_book(levels((99, 6)), levels((101, 1)))
    assert order.ahead == 5
    model.on_book(levels((99, 2)), levels((101, 1)))
    assert order.ahead == 2


def test_a_trade_that_the_book_told_before_counts_once() -> None:
    model = book_model(((99, 10),), ((101, 1),))
    order = limit("a", BUY, 2, 99)
    model.place(order)
    model.on_book(levels((99, 8)), levels((101, 1)))
    model.on_book(levels((99, 6)), levels((101, 1)))
    assert trade(model, 99, 4, SELL) == []
    assert order.ahead == 6
    assert trade(model, 99, 7, SELL) == [("a", 99, 1, "maker")]


def test_two_own_orders_at_a_price_are_served_in_turn_and_no_trade_twice() -> None:
    model = book_model(((99, 1),), ((101, 1),))
    model.place(limit("a", BUY, 1, 99))
    model.on_book(levels((99, 3)), levels((101, 1)))
    model.place(limit("b", BUY, 1, 99))
    assert trade(model, 99, 2, SELL) == [("a", 99, 1, "maker")]
    assert trade(model, 99, 1, SELL) == []  # the other two of the three that were in front of b
    assert trade(model, 99, 1, SELL) == []
    assert trade(model, 99, 1, SELL) == [("b", 99, 1, "maker")]


def test_a_trade_through_the_price_fills_with_at_most_its_quantity() -> None:
    model = book_model(((99, 50),), ((101, 1),))
    model.place(limit("a", BUY, 3, 99))
    assert trade(model, 98.9, 2, SELL) == [("a", 99, 2, "maker")]
    assert trade(model, 98.9, 2, SELL) == [("a", 99, 1, "maker")]


def test_an_opposite_book_that_reaches_the_price_fills_what_it_displays() -> None:
    model = book_model(((99, 50),), ((101, 1),))
    model.place(limit("a", BUY, 3, 99))
    crossed = (levels((97, 1)), levels((98, 1), (99, 1), (100, 9)))
    assert told(model.on_book(*crossed)) == [("a", 99, 2, "maker")]
    assert told(model.on_book(*crossed)) == []  # the same quantity is not offered twice


def test_a_price_out_of_sight_has_its_queue_when_it_comes_into_sight() -> None:
    model = book_model(((99, 1), (98, 1)), ((101, 1),))
    order = limit("a", BUY, 1, 90)
    model.place(order)
    assert order.ahead is None
    assert trade(model, 90, 5, SELL) == []
    model.on_book(levels((91, 1), (90, 4), (89, 1)), levels((101, 1)))
    assert order.ahead == 4


# --- stops --------------------------------------------------------------------------------------------------------


def test_a_stop_triggers_on_the_last_price_and_then_takes() -> None:
    model = book_model(((97, 2), (95, 9)), ((101, 1),))
    trade(model, 100, 1, BUY)
    assert model.refusal(stop("x", SELL, 1, 100, 99)) is Refusal.WOULD_TRIGGER
    assert model.refusal(stop("x", BUY, 1, 100, 101)) is Refusal.WOULD_TRIGGER
    order = stop("a", SELL, 3, 98, 96)
    assert model.refusal(order) is None
    assert model.plan(order) == []
    assert model.place(order) == []
    assert trade(model, 98.1, 1, SELL) == []
    assert trade(model, 98, 1, SELL) == [("a", "Triggered"), ("a", 97, 2, "taker")]
    assert model.available(SELL) == levels((101, 1))
    assert order.is_resting


def test_a_stop_triggered_by_a_trade_of_the_past_takes_without_the_book_of_today() -> None:
    model = book_model(((99, 9),), ((101, 1),))
    model.place(stop("a", SELL, 1, 98, 96))
    happened = model.on_trade(D(97), D(1), SELL, level=DataLevel.TRADES)
    assert told(happened) == [("a", "Triggered")]
    assert told(model.on_trade(D("96.5"), D(5), SELL, level=DataLevel.TRADES)) == [("a", 96.5, 1, "taker")]
    model.place(stop("b", SELL, 1, 96, 95))
    model.on_trade(D(96), D(1), SELL, level=DataLevel.TRADES)
    assert told(model.on_book(levels((95.5, 1)), levels((101, 1)))) == [("b", 95.5, 1, "taker")]


# --- trades and bars ----------------------------------------------------------------------------------------------


def test_without_a_book_what_takes_meets_the_next_trades_worsened() -> None:
    rules = FillRules(half_spread=D("0.001"), slippage=D("0.001"), participation=D("0.5"))
    model = FillModel(COIN, rules, DataLevel.TRADES)
    assert model.place(market("a", BUY, 2)) == []
    assert trade(model, 100, 2, SELL) == [("a", 100.2, 1, "taker")]
    assert trade(model, 101, 9, BUY) == [("a", 101.3, 1, "taker")]  # rounded to the worse tick
    model.place(market("b", SELL, 1))
    assert trade(model, 101, 9, BUY) == [("b", 100.7, 1, "taker")]


def test_without_a_book_only_trades_through_the_price_fill_what_rests() -> None:
    for fraction, expected in ((D(0), []), (D("0.5"), [("a", 100, 1, "maker")])):
        model = FillModel(COIN, FillRules(D(0), D(0), fraction, D(1)), DataLevel.TRADES)
        model.place(limit("a", BUY, 5, 100))
        assert trade(model, 105, 1, SELL) == []
        assert trade(model, 100, 2, SELL) == expected
        assert trade(model, 99.9, 3, SELL) == [("a", 100, 3, "maker")]


def bar(open_: float, high: float, low: float, close: float, volume: float = 1_000) -> ExactBar:
    candle = Candle("BTC/USDT", Timeframe.M1, 0, open_, high, low, close, volume, final=True)
    return exact_bar(COIN, candle)


def bars_model(rules: FillRules = FREE) -> FillModel:
    return FillModel(COIN, rules, DataLevel.BARS)


def test_a_market_order_takes_at_the_next_open_with_spread_and_slippage() -> None:
    model = bars_model(FillRules(D("0.001"), D("0.001"), D(0), D("0.5")))
    model.place(market("a", BUY, 2))
    assert told(model.on_bar(bar(100, 110, 90, 105, volume=2))) == [("a", 100.2, 1, "taker")]
    assert told(model.on_bar(bar(106, 110, 90, 105, volume=0))) == []
    assert told(model.on_bar(bar(107, 110, 90, 105))) == [("a", 107.3, 1, "taker")]


def test_a_bar_must_trade_through_a_limit() -> None:
    model = bars_model(FillRules(D(0), D(0), D("0.5"), D(1)))
    model.place(limit("a", BUY, 2, 95))
    assert told(model.on_bar(bar(100, 101, 95.1, 100))) == []
    assert told(model.on_bar(bar(100, 101, 95, 100))) == [("a", 95, 1, "maker")]  # touched: the fraction
    assert told(model.on_bar(bar(100, 101, 94.9, 100))) == [("a", 95, 1, "maker")]


def test_a_gap_past_a_resting_limit_fills_at_the_limit_and_no_better() -> None:
    model = bars_model()
    model.place(limit("a", SELL, 1, 105))
    assert told(model.on_bar(bar(100, 101, 99, 100))) == []
    assert told(model.on_bar(bar(110, 111, 108, 109))) == [("a", 105, 1, "maker")]


def test_a_limit_that_arrives_crossing_takes_at_the_open_within_its_limit() -> None:
    model = bars_model(FillRules(D("0.001"), D(0), D(0), D(1)))
    model.place(limit("a", BUY, 1, 101))
    assert told(model.on_bar(bar(100, 101, 99, 100))) == [("a", 100.1, 1, "taker")]
    model.place(limit("m", BUY, 1, 101, maker=True))
    assert told(model.on_bar(bar(100, 101, 99, 100))) == [("m", "Ended")]
    model.place(limit("i", BUY, 1, 99, TimeInForce.IOC))
    assert told(model.on_bar(bar(100, 101, 98, 100))) == [("i", "Ended")]
    model.place(limit("f", BUY, 2_000, 101, TimeInForce.FOK))
    assert told(model.on_bar(bar(100, 101, 98, 100))) == [("f", "Ended")]


def test_a_limit_that_arrives_at_the_open_lies_in_the_book_for_the_whole_bar() -> None:
    model = bars_model()
    model.place(limit("a", BUY, 1, 95))
    model.place(limit("m", SELL, 1, 105, maker=True))
    assert told(model.on_bar(bar(100, 106, 94, 100))) == [("a", 95, 1, "maker"), ("m", 105, 1, "maker")]


def test_within_a_bar_the_stop_comes_first_and_the_rest_of_it_waits() -> None:
    model = bars_model()
    model.place(limit("profit", SELL, 1, 105))
    model.on_bar(bar(100, 101, 99, 100))
    model.place(stop("loss", SELL, 1, 95, 94))
    assert told(model.on_bar(bar(100, 110, 90, 109))) == [
        ("loss", "Triggered"),
        ("loss", 95, 1, "taker"),
        ("profit", 105, 1, "maker"),
    ]
    model.place(stop("gap", SELL, 1, 95, 94))
    # It opened below the limit: what the stop leaves resting sees nothing of this bar.
    assert told(model.on_bar(bar(93, 110, 92, 100))) == [("gap", "Triggered")]
    assert told(model.on_bar(bar(93, 100, 92, 100))) == [("gap", 94, 1, "maker")]


def test_no_more_than_our_share_of_a_bar_is_ours() -> None:
    model = bars_model(FillRules(D(0), D(0), D(0), D("0.1")))
    model.place(limit("a", BUY, 3, 95))
    model.place(limit("b", BUY, 3, 96))
    model.on_bar(bar(100, 101, 99, 100))
    assert told(model.on_bar(bar(100, 101, 90, 91, volume=40))) == [("b", 96, 3, "maker"), ("a", 95, 1, "maker")]


# --- all levels ---------------------------------------------------------------------------------------------------


def market_of(level: DataLevel, price: float) -> tuple[FillModel, list[Happening]]:
    """A market that stands at `price`, with an order of one coin that takes."""
    model = FillModel(COIN, FREE, level)
    if level is DataLevel.BOOK:
        model.on_book(levels((price, 50)), levels((price, 50)))
    happened = model.place(market("m", BUY, 1))
    return model, happened + move(model, level, price)


def move(model: FillModel, level: DataLevel, price: float) -> list[Happening]:
    if level is DataLevel.BARS:
        return model.on_bar(bar(price, price, price, price))
    happened = model.on_trade(D(str(price)), D(50), SELL)
    if level is DataLevel.BOOK:
        happened += model.on_book(levels((price, 50)), levels((price, 50)))
    return happened


@pytest.mark.parametrize("level", DataLevel)
def test_the_levels_agree_where_all_know_enough(level: DataLevel) -> None:
    model, happened = market_of(level, 100)
    assert told(happened) == [("m", 100, 1, "taker")]
    model.place(limit("b", BUY, 2, 98))
    model.place(stop("s", SELL, 1, 97, 90))
    assert told(move(model, level, 99)) == []
    fills = [event for event in move(model, level, 96) + move(model, level, 96) if not isinstance(event, Triggered)]
    assert sorted(told(fills)) == [("b", 98, 2, "maker"), ("s", 96, 1, "taker")]


# --- properties ---------------------------------------------------------------------------------------------------

PRICES = st.integers(950, 1_050).map(lambda ticks: D(ticks) / 10)
LOTS = st.integers(1, 500).map(lambda lots: D(lots) / 100)


@st.composite
def books(draw: st.DrawFn) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
    mid = draw(st.integers(970, 1_030))
    bids = draw(st.lists(st.integers(1, 15), min_size=1, max_size=6, unique=True))
    asks = draw(st.lists(st.integers(1, 15), min_size=1, max_size=6, unique=True))
    return (
        [(D(mid - away) / 10, draw(LOTS)) for away in sorted(bids)],
        [(D(mid + away) / 10, draw(LOTS)) for away in sorted(asks)],
    )


ORDERS = st.tuples(
    st.sampled_from([OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT]),
    st.sampled_from(list(Side)),
    LOTS,
    PRICES,
    PRICES,
    st.sampled_from(list(TimeInForce)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("book"), books()),
        st.tuples(st.just("trade"), st.tuples(PRICES, LOTS, st.sampled_from(list(Side)))),
        st.tuples(st.just("order"), ORDERS),
        st.tuples(st.just("cancel"), st.integers(0, 12)),
    ),
    max_size=40,
)


def make_order(key: str, wish: tuple) -> SimOrder:
    kind, side, quantity, price, trigger, tif = wish
    if kind is OrderType.MARKET:
        return SimOrder(key, side, kind, quantity)
    stop_price = trigger if kind is OrderType.STOP_LOSS_LIMIT else None
    tif = TimeInForce.GTC if kind is OrderType.LIMIT_MAKER else tif
    return SimOrder(key, side, kind, quantity, price, stop_price, tif)


@given(STEPS)
def test_no_fill_is_better_than_the_book_or_more_than_it_shows(steps: list[tuple]) -> None:
    model = FillModel(COIN, FREE, DataLevel.BOOK)
    asked: dict[str, tuple[SimOrder, Decimal]] = {}
    filled: dict[str, Decimal] = {}
    shown: dict[Side, dict[Decimal, Decimal]] = {BUY: {}, SELL: {}}
    offered: dict[Side, dict[Decimal, Decimal]] = {BUY: {}, SELL: {}}  # still to be had since the book was told
    ahead: dict[str, Decimal] = {}
    for number, (kind, what) in enumerate(steps):
        traded = D(0)
        before = {side: dict(model.available(side)) for side in Side}
        if kind == "book":
            happened = model.on_book(*what)
            shown = {BUY: dict(what[0]), SELL: dict(what[1])}
            offered = {side: dict(levels) for side, levels in shown.items()}
        elif kind == "trade":
            happened, traded = model.on_trade(*what), what[1]
        elif kind == "order":
            order = make_order(str(number), what)
            if model.refusal(order) is not None:
                continue
            asked[order.key] = (order, order.remaining)
            plan = model.plan(order)
            happened = model.place(order)
            mine = [(e.price, e.quantity) for e in happened if isinstance(e, Execution) and e.key == order.key]
            assert mine == plan, "what was planned is what is taken"
        else:
            model.cancel(str(what))
            happened = []
        for event in happened:
            if not isinstance(event, Execution):
                continue
            order, quantity = asked[event.key]
            filled[event.key] = filled.get(event.key, D(0)) + event.quantity
            assert filled[event.key] <= quantity
            assert event.quantity > 0
            assert order.within_limit(event.price)
            if event.liquidity is Liquidity.TAKER:
                left = offered[order.side.opposite]
                assert left.get(event.price, D(0)) >= event.quantity, "only what is displayed, and only once"
                left[event.price] -= event.quantity
                best = before[order.side.opposite]
                assert all(order.side.sign * price <= order.side.sign * event.price for price in list(best)[:1])
            else:
                assert event.price == order.limit_price
        if kind == "trade":
            made = [e for e in happened if isinstance(e, Execution) and e.liquidity is Liquidity.MAKER]
            assert sum((e.quantity for e in made), start=D(0)) <= traded
        for key, (order, _) in asked.items():
            if model.order(key) is not None and order.is_resting and order.ahead is not None:
                assert order.ahead <= ahead.get(key, order.ahead), "nobody moves back in a queue"
                ahead[key] = order.ahead
                displayed = shown[order.side].get(order.limit_price)
                assert displayed is None or kind != "book" or order.ahead <= displayed


@given(STEPS)
def test_the_same_market_gives_the_same_fills(steps: list[tuple]) -> None:
    def run() -> list[Happening]:
        model, happened = FillModel(COIN, FREE, DataLevel.BOOK), []
        for number, (kind, what) in enumerate(steps):
            if kind == "book":
                happened += model.on_book(*what)
            elif kind == "trade":
                happened += model.on_trade(*what)
            elif kind == "order" and model.refusal(order := make_order(str(number), what)) is None:
                happened += model.place(order)
        return happened

    assert run() == run()


BARS = st.lists(st.lists(st.integers(950, 1_050), min_size=4, max_size=4), max_size=15)


@given(BARS, st.lists(ORDERS, max_size=6), st.sampled_from([D(0), D("0.3"), D(1)]))
def test_no_fill_lies_outside_its_bar(rows: list[list[int]], wishes: list[tuple], fraction: Decimal) -> None:
    rules = FillRules(D("0.001"), D("0.001"), fraction, D("0.5"))
    model = FillModel(COIN, rules, DataLevel.BARS)
    orders = {str(n): make_order(str(n), wish) for n, wish in enumerate(wishes)}
    for order in orders.values():
        model.place(order)
    for first, second, third, fourth in rows:
        ticks = sorted((first, second, third, fourth))
        shown = bar(first / 10, ticks[3] / 10, ticks[0] / 10, fourth / 10, volume=3)
        happened = model.on_bar(shown)
        fills = [event for event in happened if isinstance(event, Execution)]
        assert sum((fill.quantity for fill in fills), start=D(0)) <= D("1.5")
        for fill in fills:
            order = orders[fill.key]
            assert order.within_limit(fill.price)
            if fill.liquidity is Liquidity.MAKER:
                assert fill.price == order.limit_price
                reached = shown.low if order.side is BUY else shown.high
                assert order.side.sign * reached <= order.side.sign * fill.price
            elif order.order_type is not OrderType.STOP_LOSS_LIMIT:
                assert order.side.sign * fill.price > order.side.sign * shown.open, "taking costs"


# --- small parts --------------------------------------------------------------------------------------------------


def test_fees_are_taken_where_the_venue_takes_them() -> None:
    quote = Instrument("v", "A/B", "AB", "A", "B", D("0.1"), D("0.01"), fee_rule=FeeRule.QUOTE, maker_fee=D("0.0005"))
    assert fee_of(COIN, BUY, D(100), D(2), Liquidity.TAKER) == (D("0.002"), "BTC")
    assert fee_of(COIN, SELL, D(100), D(2), Liquidity.TAKER) == (D("0.2"), "USDT")
    assert fee_of(quote, BUY, D(100), D(2), Liquidity.MAKER) == (D("0.1"), "B")
    assert fee_of(COIN, SELL, D(100), D(2), Liquidity.TAKER, third=("BNB", D(400))) == (D("0.0005"), "BNB")
    assert fee_of(COIN, BUY, D(100), D("0.0000001"), Liquidity.TAKER) == (D(0), "BTC")


def test_market_floats_become_the_numbers_the_venue_wrote() -> None:
    assert levels((0.1 + 0.2, 1.239), (100.04, 0.009)) == [(D("0.3"), D("1.23"))]


def test_latency_is_drawn_from_a_seed_within_its_bounds() -> None:
    one, same, other = Latency(100, 50, 7), Latency(100, 50, 7), Latency(100, 50, 8)
    drawn = [one.next_ns() for _ in range(50)]
    assert drawn == [same.next_ns() for _ in range(50)]
    assert drawn != [other.next_ns() for _ in range(50)]
    assert 100 <= min(drawn) < max(drawn) <= 150
    with pytest.raises(ValueError, match="negative"):
        Latency(-1, 0, 0)


@pytest.mark.parametrize("wrong", [{"half_spread": D(-1)}, {"touch_fraction": D(2)}, {"participation": D(0)}])
def test_rules_that_mean_nothing_are_refused(wrong: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="must"):
        FillRules(**wrong)


def test_an_order_is_placed_once_and_can_be_put_back() -> None:
    model = book_model(((99, 1),), ((101, 1),))
    order = limit("a", BUY, 1, 99)
    model.place(order)
    with pytest.raises(ValueError, match="here already"):
        model.place(order)
    model.forget_orders()
    assert not model.has_orders
    model.restore(order)
    assert model.order("a") is order
    assert model.cancel("a")
    assert not model.cancel("a")
    assert Ended("a", "x").key == "a"
