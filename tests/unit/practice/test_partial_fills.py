"""Fills that a fault bounds or brings about: nothing is created, and what is left rests or expires as it should."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.practice.exchange import Exchange
from core.practice.fault_rules import parse_faults
from core.practice.faults import FaultPlan
from core.practice.orders import BUY, FOK, IOC, SELL
from core.practice.specs import UNITS
from tests.unit.practice.markets import SPEC, START, exchange_over, order, steady

PRICE = 6_000_000
RICH = 10**9


def capped(folder: Path, spec: str, *, usdt: int = RICH, btc: int = 0) -> tuple[Exchange, FaultPlan]:
    plan = FaultPlan(lambda: 0)
    plan.arm(parse_faults(spec))
    return exchange_over(steady(6), folder, usdt, btc, plan.fill_cap), plan


def book(exchange: Exchange) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return exchange.matcher(SPEC.symbol).book(exchange.trading_ms, 5_000)


def test_a_limit_order_gets_a_part_and_the_rest_waits_in_an_uncrossed_book(tmp_path: Path) -> None:
    exchange, plan = capped(tmp_path, "partial:BTCUSDT,lots=40")
    limit = PRICE + 20_000
    placed = exchange.place(order(exchange, BUY, 1_000, limit), 1)
    assert (placed.order.status, placed.order.executed) == ("PARTIALLY_FILLED", 40)
    bids, asks = book(exchange)
    assert bids[0] == (limit, 960)
    assert asks[0][0] > limit
    assert exchange.ledger.locked("USDT") == 960 * limit * SPEC.value_scale
    seen = [40]
    for second in range(1, 300):
        exchange.advance(START + second * 1_000, second)
        (rest,) = exchange.open_orders() or [None]
        executed = 1_000 if rest is None else rest.executed
        assert executed - seen[-1] <= 40 * 3  # at most a fill for each of market trade, new liquidity and their meeting
        seen.append(executed)
    assert len(set(seen)) > 3  # it goes on in small steps
    assert plan.to_json()["faults"][0]["fired"] >= len(set(seen))


@pytest.mark.parametrize(("kind", "executed"), [(IOC, 25), (FOK, 0)])
def test_what_may_not_rest_expires(tmp_path: Path, kind: str, executed: int) -> None:
    exchange, _ = capped(tmp_path, "partial,lots=25")
    placed = exchange.place(order(exchange, BUY, 100, PRICE + 20_000, time_in_force=kind), 1)
    assert (placed.order.status, placed.order.executed) == ("EXPIRED", executed)
    assert exchange.ledger.locked("USDT") == 0


def test_market_orders_by_quantity_and_by_value(tmp_path: Path) -> None:
    exchange, _ = capped(tmp_path, "partial,lots=25")
    by_quantity = exchange.place(order(exchange, BUY, 100), 1)
    assert (by_quantity.order.status, by_quantity.order.executed) == ("EXPIRED", 25)
    wanted = order(exchange, BUY, 0)
    wanted.quote_quantity = 500 * UNITS
    by_value = exchange.place(wanted, 2)
    assert (by_value.order.status, by_value.order.executed) == ("EXPIRED", 25)
    assert by_value.order.quantity > 25
    small = exchange.place(order(exchange, BUY, 20), 3)
    assert small.order.status == "FILLED"


def test_only_the_next_chance_is_bounded(tmp_path: Path) -> None:
    exchange, plan = capped(tmp_path, "partial,lots=25,next=1")
    exchange.place(order(exchange, BUY, 10, PRICE - 100_000), 1)  # nothing to fill: no occasion
    assert plan.to_json()["faults"][0]["met"] == 0
    assert exchange.place(order(exchange, BUY, 100), 2).order.executed == 25
    assert exchange.place(order(exchange, BUY, 100), 3).order.executed == 100


def test_a_bounded_taker_expires_only_what_it_would_have_met(tmp_path: Path) -> None:
    exchange, _ = capped(tmp_path, "partial,lots=5,skip=1", btc=10)
    near, far = PRICE + 1_000, PRICE + 400_000
    exchange.place(order(exchange, SELL, 10, near), 1)
    exchange.place(order(exchange, SELL, 10, far), 2)
    exchange.place(order(exchange, BUY, 1), 3)  # the occasion that is let pass
    exchange.place(order(exchange, BUY, 20_000, far), 4)
    assert [resting.price for resting in exchange.open_orders() if resting.side == SELL] == [near, far]


def test_the_market_trades_against_an_order_on_demand(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path)
    limit = PRICE - 50_000
    placed = exchange.place(order(exchange, BUY, 100, limit), 1)
    (resting,) = exchange.open_orders()
    part = exchange.trade_against(resting, 30, 2)
    assert (part.status, part.executed) == ("PARTIALLY_FILLED", 30)
    whole = exchange.trade_against(resting, 10_000, 3)
    assert (whole.status, whole.executed) == ("FILLED", 100)
    fills = exchange.store.fills(SPEC.symbol, order_id=placed.order.order_id)
    assert [(fill.price, fill.quantity, fill.is_maker) for fill in fills] == [(limit, 30, True), (limit, 70, True)]
    assert exchange.open_orders() == []
    assert exchange.last_price(SPEC.symbol) == limit
    assert exchange.ledger.locked("USDT") == 0
    spent = 100 * limit * SPEC.value_scale
    assert exchange.ledger.free("USDT") == 10_000 * UNITS - spent


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 60),
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 300), st.integers(-30_000, 30_000), st.sampled_from(["GTC", IOC, FOK])),
        min_size=1,
        max_size=8,
    ),
)
def test_however_bounded_nothing_is_created_or_lost(lots: int, wanted: list[tuple[bool, int, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        exchange, _ = capped(Path(folder), f"partial,lots={lots}", usdt=1_000_000, btc=1)
        fees = {"USDT": 0, "BTC": 0}
        for number, (is_buy, quantity, offset, kind) in enumerate(wanted):
            exchange.place(
                order(exchange, BUY if is_buy else SELL, quantity, PRICE + offset, time_in_force=kind), number
            )
            exchange.advance(START + number * 7_000, number)
        held = {"USDT": 1_000_000 * UNITS, "BTC": UNITS}
        for fill in exchange.store.fills(SPEC.symbol, from_id=0, limit=10_000):
            assert 0 < fill.quantity <= lots
            sign = 1 if fill.is_buyer else -1
            held["BTC"] += sign * fill.quantity * SPEC.lot_units
            held["USDT"] -= sign * fill.price * fill.quantity * SPEC.value_scale
            fees[fill.fee_asset] += fill.fee
        balances = exchange.ledger.balances()
        assert {asset: sum(balances[asset]) for asset in held} == {a: held[a] - fees[a] for a in held}
        locked = {"USDT": 0, "BTC": 0}
        for resting in exchange.open_orders():
            if resting.side == BUY:
                locked["USDT"] += resting.remaining * resting.price * SPEC.value_scale
            else:
                locked["BTC"] += resting.remaining * SPEC.lot_units
        assert {asset: balances[asset][1] for asset in locked} == locked
        exchange.store.close()
