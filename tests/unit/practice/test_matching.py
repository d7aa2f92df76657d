"""Matching: own orders against synthetic liquidity and the flow of market trades."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.practice.bars import MINUTE_MS
from core.practice.exchange import Exchange
from core.practice.orders import BUY, FOK, GTC, IOC, LIMIT_MAKER, SELL, Order, Rejection
from core.practice.specs import UNITS
from tests.unit.practice.markets import SPEC, START, ScriptedMarket, exchange_over, order, steady

PRICE = 6_000_000


def totals(exchange: Exchange) -> dict[str, int]:
    return {asset: free + locked for asset, (free, locked) in exchange.ledger.balances().items()}


def test_market_order_takes_the_best_levels_and_pays_the_fee_in_what_it_gets(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path)
    _, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 3)
    wanted = asks[0][1] + 1
    placed = exchange.place(order(exchange, BUY, wanted), 1)
    assert placed.order.status == "FILLED"
    assert [(fill.price, fill.quantity) for fill in placed.fills] == [asks[0], (asks[1][0], 1)]
    value = sum(fill.price * fill.quantity for fill in placed.fills) * SPEC.value_scale
    fees = sum(fill.quantity * SPEC.lot_units // 1_000 for fill in placed.fills)
    assert totals(exchange) == {"USDT": 10_000 * UNITS - value, "BTC": wanted * SPEC.lot_units - fees}
    assert exchange.matcher(SPEC.symbol).book(exchange.market_ms, 1)[1] == [(asks[1][0], asks[1][1] - 1)]


def test_order_by_value_spends_no_more_than_the_value(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path)
    wanted = order(exchange, BUY, 0)
    wanted.quote_quantity = 500 * UNITS
    placed = exchange.place(wanted, 1)
    spent = placed.order.value * SPEC.value_scale
    assert placed.order.status == "FILLED"
    assert 0 <= 500 * UNITS - spent < placed.fills[-1].price * SPEC.value_scale


def test_a_market_order_the_account_cannot_pay_changes_nothing(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path, usdt=100)
    before = exchange.ledger.balances()
    with pytest.raises(Rejection) as refused:
        exchange.place(order(exchange, BUY, 1_000), 1)
    assert refused.value.code == -2010
    assert exchange.ledger.balances() == before
    assert exchange.open_orders() == []


def test_a_market_order_beyond_the_book_fills_what_there_is_and_expires(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path, usdt=10**9)
    _, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 5_000)
    offered = sum(lots for _, lots in asks)
    placed = exchange.place(order(exchange, BUY, offered + 5), 1)
    assert placed.order.status == "EXPIRED"
    assert placed.order.executed == offered


def test_limit_order_rests_and_locks_exactly_its_value(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path)
    placed = exchange.place(order(exchange, BUY, 1_000, PRICE - 50_000), 1)
    assert placed.order.status == "NEW"
    assert exchange.ledger.locked("USDT") == 1_000 * (PRICE - 50_000) * SPEC.value_scale
    bids, _ = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 5_000)
    assert any(price == PRICE - 50_000 and lots >= 1_000 for price, lots in bids)
    exchange.cancel(exchange.open_orders()[0], 2)
    assert exchange.ledger.balances()["USDT"] == (10_000 * UNITS, 0)


def test_a_better_price_than_the_limit_frees_the_difference(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path)
    placed = exchange.place(order(exchange, BUY, 10, PRICE + 100_000), 1)
    assert placed.order.status == "FILLED"
    assert placed.fills[0].price < PRICE + 100_000
    assert exchange.ledger.locked("USDT") == 0
    assert exchange.ledger.free("USDT") == 10_000 * UNITS - placed.order.value * SPEC.value_scale


def test_time_in_force(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path, usdt=10**9)
    _, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 1)
    price, lots = asks[0]
    killed = exchange.place(order(exchange, BUY, lots + 1, price, time_in_force=FOK), 1)
    assert (killed.order.status, killed.order.executed) == ("EXPIRED", 0)
    part = exchange.place(order(exchange, BUY, lots + 1, price, time_in_force=IOC), 2)
    assert (part.order.status, part.order.executed) == ("EXPIRED", lots)
    assert exchange.open_orders() == []
    assert exchange.ledger.locked("USDT") == 0


def test_maker_only_orders_never_take(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path)
    bids, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 1)
    with pytest.raises(Rejection) as refused:
        exchange.place(order(exchange, BUY, 10, asks[0][0], kind=LIMIT_MAKER), 1)
    assert refused.value.code == -2010
    assert exchange.place(order(exchange, BUY, 10, bids[0][0], kind=LIMIT_MAKER), 1).order.status == "NEW"


def test_a_trade_through_our_price_fills_us_first_at_our_price(tmp_path: Path) -> None:
    minute = [(0, PRICE, 500, False), (10_000, PRICE - 1_000, 300, True), (59_999, PRICE, 500, False)]
    exchange = exchange_over(ScriptedMarket([minute, minute]), tmp_path)
    near = exchange.place(order(exchange, BUY, 100, PRICE - 400), 1).order
    far = exchange.place(order(exchange, BUY, 100, PRICE - 500_000), 2).order
    exchange.advance(START + 10_000, 3)
    stored = exchange.store.fills(SPEC.symbol, order_id=near.order_id)
    assert [(fill.price, fill.quantity, fill.is_maker) for fill in stored] == [(PRICE - 400, 100, True)]
    assert [o.order_id for o in exchange.open_orders()] == [far.order_id]
    tape = [(p.price, p.quantity) for p in exchange.recent_prints(SPEC.symbol, 2)]
    assert tape == [(PRICE - 400, 100), (PRICE - 1_000, 200)]


def test_at_our_price_the_queue_in_front_trades_first(tmp_path: Path) -> None:
    price = PRICE - 1
    minute = [(0, PRICE, 500, False), (5_000, price, 10, True), (9_000, price, 10**6, True), (59_999, PRICE, 5, False)]
    exchange = exchange_over(ScriptedMarket([minute]), tmp_path)
    bids, _ = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 1)
    assert bids[0][0] == price
    exchange.place(order(exchange, BUY, 100, price), 1)
    assert exchange.open_orders()[0].queue == bids[0][1] > 10
    exchange.advance(START + 5_000, 2)
    assert exchange.open_orders()[0].executed == 0
    assert exchange.open_orders()[0].queue == bids[0][1] - 10
    exchange.advance(START + 9_000, 3)
    assert exchange.open_orders() == []


def test_price_then_time_decides_among_own_orders(tmp_path: Path) -> None:
    minute = [(0, PRICE, 500, False), (9_000, PRICE - 3_000, 150, True), (59_999, PRICE - 3_000, 5, True)]
    exchange = exchange_over(ScriptedMarket([minute]), tmp_path)
    second = exchange.place(order(exchange, BUY, 100, PRICE - 2_000), 1).order
    third = exchange.place(order(exchange, BUY, 100, PRICE - 2_000), 2).order
    first = exchange.place(order(exchange, BUY, 100, PRICE - 1_500), 3).order
    exchange.advance(START + 9_000, 4)
    fills = exchange.store.fills(SPEC.symbol)
    # The trade of 150 lots fills the best price and half of the older order; the book that followed fills the rest.
    assert [(fill.order_id, fill.quantity) for fill in fills] == [
        (first.order_id, 100),
        (second.order_id, 50),
        (second.order_id, 50),
        (third.order_id, 100),
    ]


def test_stop_waits_then_works(tmp_path: Path) -> None:
    minute = [(0, PRICE, 500, False), (9_000, PRICE - 3_000, 50, True), (59_999, PRICE - 3_000, 5, True)]
    exchange = exchange_over(ScriptedMarket([minute]), tmp_path, btc=1)
    with pytest.raises(Rejection, match="trigger immediately"):
        exchange.place(order(exchange, SELL, 10, PRICE, stop=PRICE + 10), 1)
    placed = exchange.place(order(exchange, SELL, 10, PRICE - 5_000, stop=PRICE - 2_000), 1).order
    assert not placed.working
    assert exchange.ledger.locked("BTC") == 10 * SPEC.lot_units
    exchange.advance(START + 8_999, 2)
    assert not exchange.open_orders()[0].working
    exchange.advance(START + 9_000, 3)
    assert exchange.open_orders() == []
    done = exchange.store.find_order(SPEC.symbol, placed.order_id, None)
    assert done is not None
    assert done.status == "FILLED"


def test_liquidity_that_arrives_between_two_trades_meets_the_order_that_waits_for_it(tmp_path: Path) -> None:
    minute = [(0, PRICE, 500, False), (59_000, PRICE, 5, False)]
    exchange = exchange_over(ScriptedMarket([minute]), tmp_path, usdt=10**9)
    _, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 20)
    limit = asks[-1][0]
    wanted = sum(lots for _, lots in asks) + 10**6  # more than there will ever be at this price
    assert exchange.place(order(exchange, BUY, wanted, limit), 1).order.status == "PARTIALLY_FILLED"
    before = exchange.open_orders()[0].executed
    for second in range(1, 50):
        exchange.advance(START + second * 1_000, second)
        bids, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 1)
        assert bids[0][0] == limit < asks[0][0]
    assert exchange.open_orders()[0].executed > before


def test_own_orders_never_trade_with_each_other(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path, btc=1)
    _, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 1)
    resting = exchange.place(order(exchange, SELL, 50, asks[0][0]), 1).order
    enough = exchange.place(order(exchange, BUY, 10, asks[0][0]), 2)
    assert enough.order.status == "FILLED"
    assert [o.order_id for o in exchange.open_orders()] == [resting.order_id]
    placed = exchange.place(order(exchange, BUY, asks[0][1], asks[0][0]), 3)
    assert placed.order.executed == asks[0][1] - 10
    gone = exchange.store.find_order(SPEC.symbol, resting.order_id, None)
    assert gone is not None
    assert gone.status == "EXPIRED_IN_MATCH"
    assert exchange.ledger.locked("BTC") == 0


actions = st.lists(
    st.tuples(
        st.sampled_from(["limit", "market", "value", "maker", "stop", "cancel", "advance"]),
        st.sampled_from([BUY, SELL]),
        st.integers(10, 4_000),
        st.integers(-6_000, 6_000),
        st.sampled_from([GTC, IOC, FOK]),
    ),
    max_size=30,
)
minutes = st.lists(
    st.lists(st.tuples(st.integers(-5_000, 5_000), st.integers(1, 3_000), st.booleans()), min_size=2, max_size=8),
    min_size=3,
    max_size=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=actions, minutes=minutes)
def test_balances_are_conserved_and_tape_equals_candles(
    actions: list[tuple[str, str, int, int, str]], minutes: list[list[tuple[int, int, bool]]]
) -> None:
    scripts = [
        [(n * 7_000, PRICE + move, lots, maker) for n, (move, lots, maker) in enumerate(minute)] for minute in minutes
    ]
    source = ScriptedMarket(scripts)
    with tempfile.TemporaryDirectory() as folder:
        exchange = exchange_over(source, Path(folder), usdt=50_000, btc=1)
        clock = START
        for number, action in enumerate(actions):
            clock = act(exchange, action, clock, number)
            check_account(exchange)
        exchange.advance(START + len(scripts) * MINUTE_MS, 10**6)
        check_account(exchange)
        check_tape(exchange, len(scripts))
        exchange.store.close()


def act(exchange: Exchange, action: tuple[str, str, int, int, str], clock: int, number: int) -> int:
    kind, side, lots, move, tif = action
    if kind == "advance":
        clock += lots * 10
        exchange.advance(clock, number)
    elif kind == "cancel":
        for open_order in exchange.open_orders()[:1]:
            exchange.cancel(open_order, number)
    else:
        wanted = order(exchange, side, lots, 0 if kind in ("market", "value") else PRICE + move)
        if kind == "value":
            wanted.quantity, wanted.quote_quantity = 0, lots * UNITS
        elif kind == "maker":
            wanted.type = LIMIT_MAKER
        elif kind == "stop":
            wanted.type, wanted.stop = "STOP_LOSS_LIMIT", PRICE + move // 2
        elif kind == "limit":
            wanted.time_in_force = tif
        try:
            exchange.place(wanted, number)
        except Rejection as refused:
            assert refused.code in (-2010, -1013)  # noqa: PT017 - every other refusal is a defect
    return clock


def check_account(exchange: Exchange) -> None:
    """Money only moves: what the fills say is what the account holds, and locks are what open orders may spend."""
    expected = {"USDT": 50_000 * UNITS, "BTC": UNITS}
    for fill in exchange.store.fills(SPEC.symbol, limit=10_000):
        value, base = fill.price * fill.quantity * SPEC.value_scale, fill.quantity * SPEC.lot_units
        expected["USDT"] += -value if fill.is_buyer else value - fill.fee
        expected["BTC"] += base - fill.fee if fill.is_buyer else -base
        assert fill.fee == (base if fill.is_buyer else value) // 1_000
    assert totals(exchange) == expected
    assert exchange.store.balances() == exchange.ledger.balances()
    assert all(free >= 0 and locked >= 0 for free, locked in exchange.ledger.balances().values())
    locks = {"USDT": 0, "BTC": 0}
    for living in exchange.open_orders():
        locks["USDT" if living.is_buy else "BTC"] += spendable(living)
        assert living.locked == spendable(living)
    assert {asset: exchange.ledger.locked(asset) for asset in locks} == locks
    bids, asks = exchange.matcher(SPEC.symbol).book(exchange.market_ms, 1)
    assert not bids or not asks or bids[0][0] < asks[0][0]


def spendable(living: Order) -> int:
    return living.remaining * (living.price * SPEC.value_scale if living.is_buy else SPEC.lot_units)


def check_tape(exchange: Exchange, count: int) -> None:
    """The trades of every minute add up to its candle, and our fills are on the tape."""
    bars = exchange.klines(SPEC.symbol, MINUTE_MS, START, None, 1_000)
    assert len(bars) == count
    seen = set()
    for bar in bars.tolist():
        prints = exchange.prints_from(SPEC.symbol, bar[0], bar[0] + MINUTE_MS - 1, 10_000)
        prices = [p.price for p in prints]
        assert bar[1:5] == [prices[0], max(prices), min(prices), prices[-1]]
        assert bar[5] == sum(p.quantity for p in prints)
        assert bar[6] == sum(p.price * p.quantity for p in prints)
        assert bar[7] == len(prints)
        assert bar[8] == sum(p.quantity for p in prints if not p.buyer_maker)
        assert [p.trade_id for p in prints] == list(range(prints[0].trade_id, prints[0].trade_id + len(prints)))
        seen |= {(p.trade_id, p.price, p.quantity) for p in prints}
    mine = {(f.trade_id, f.price, f.quantity) for f in exchange.store.fills(SPEC.symbol, limit=10_000)}
    assert mine <= seen
