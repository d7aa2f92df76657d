"""Positions, profit and fees: examples by hand, and the invariant for any sequence of fills."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.fills import Fill, Liquidity
from core.domain.orders import Side
from core.domain.positions import Position
from core.execution.position_tracker import book_fill, net_pnl, trade
from core.execution.trade_analyzer import analyze_trades
from tests.unit.execution.fake_venue import BTC, ETH

D = Decimal
FLAT = Position("fake", "BTC/USDT", "me")


def fill(side: Side, quantity: str, price: str, fee: str = "0", currency: str = "USDT", n: int = 0, **kw: str) -> Fill:
    symbol = kw.get("symbol", "BTC/USDT")
    return Fill("fake", symbol, str(n), "v", "c", side, D(price), D(quantity), D(fee), currency, Liquidity.TAKER, n)


def booked(*fills: Fill, rate: Decimal | None = None) -> Position:
    position = FLAT
    for each in fills:
        position = book_fill(position, each, BTC, lambda currency, quote: rate).position
    return position


def test_growing_averages_and_shrinking_realises() -> None:
    position = booked(fill(Side.BUY, "1", "100"), fill(Side.BUY, "3", "120"), fill(Side.SELL, "2", "130"))
    assert (position.quantity, position.average_price, position.realised_pnl) == (D(2), D(115), D(30))
    assert position.unrealised_pnl(D(120)) == D(10)


def test_through_zero_opens_at_the_new_price() -> None:
    position = booked(fill(Side.BUY, "1", "100"), fill(Side.SELL, "3", "110"))
    assert (position.quantity, position.average_price, position.realised_pnl) == (D(-2), D(110), D(10))
    closed = booked(fill(Side.BUY, "1", "100"), fill(Side.SELL, "3", "110"), fill(Side.BUY, "2", "100"))
    assert (closed.quantity, closed.average_price, closed.realised_pnl) == (D(0), D(0), D(30))


def test_a_base_fee_reduces_what_is_held() -> None:
    position = booked(fill(Side.BUY, "1", "100", "0.001", "BTC"))
    assert (position.quantity, position.average_price, position.fees) == (D("0.999"), D(100), D("0.1"))
    assert net_pnl(position, D(100)) == D("-0.1")


def test_fees_in_third_currencies_are_converted_or_left_out() -> None:
    one = book_fill(FLAT, fill(Side.BUY, "1", "100", "0.01", "BNB"), BTC, lambda currency, quote: D(600))
    assert (one.fee_quote, one.position.fees) == (D(6), D(6))
    other = book_fill(FLAT, fill(Side.BUY, "1", "100", "0.01", "BNB"), BTC, lambda currency, quote: None)
    assert (other.fee_quote, other.position.fees) == (None, D(0))


def test_a_fill_of_another_market_is_a_bug() -> None:
    with pytest.raises(ValueError, match="cannot change a position"):
        book_fill(FLAT, fill(Side.BUY, "1", "1", symbol="ETH/USDT"), ETH, lambda c, q: None)


def test_nothing_traded_changes_nothing() -> None:
    assert trade(FLAT, D(0), D(100)) == FLAT


def test_without_a_mark_the_open_part_counts_as_zero() -> None:
    assert net_pnl(booked(fill(Side.BUY, "1", "100", "1")), None) == D(-1)


QUICK = settings(max_examples=50, deadline=None)
amounts = st.decimals(min_value="0.00001", max_value="1000", places=5)
prices = st.decimals(min_value="0.01", max_value="100000", places=2)
fills = st.builds(
    lambda side, quantity, price, fee, currency: Fill(
        "fake", "BTC/USDT", "1", "v", "c", side, price, quantity, quantity * fee, currency, Liquidity.TAKER, 0
    ),
    st.sampled_from(Side),
    amounts,
    prices,
    st.decimals(min_value=0, max_value="0.01", places=4),
    st.sampled_from(["BTC", "USDT", "BNB"]),
)


@QUICK
@given(st.lists(fills, max_size=12), prices)
def test_profit_is_always_cash_plus_holding(sequence: list[Fill], mark: Decimal) -> None:
    rate = D("612.5")
    position = booked(*sequence, rate=rate)
    cash = quantity = D(0)
    for each in sequence:
        cash -= each.value * each.side.sign
        quantity += each.quantity * each.side.sign
        if each.fee_currency == "BTC":
            quantity -= each.fee
        else:
            cash -= each.fee * (rate if each.fee_currency == "BNB" else 1)
    assert position.quantity == quantity
    assert abs(net_pnl(position, mark) - (cash + quantity * mark)) <= D("1e-18") * (1 + abs(cash))


@QUICK
@given(st.lists(fills, max_size=12))
def test_the_average_price_lies_between_the_prices_paid(sequence: list[Fill]) -> None:
    position = booked(*sequence, rate=D(1))
    if position.quantity == 0:
        assert position.average_price == 0
    else:
        paid = [each.price for each in sequence]
        assert min(paid) * (1 - D("1e-20")) <= position.average_price <= max(paid) * (1 + D("1e-20"))


def test_the_analysis_finds_round_trips_profit_and_drawdown() -> None:
    sequence = [
        fill(Side.BUY, "1", "100", "0.1", n=1),
        fill(Side.SELL, "1", "110", "0.11", n=2),
        fill(Side.BUY, "1", "110", "0.11", n=3),
        fill(Side.SELL, "1", "90", "0.09", n=4),
        fill(Side.BUY, "2", "90", "0.18", n=5),
    ]
    stats = analyze_trades(sequence, {"BTC/USDT": D(95)}, {"BTC/USDT": BTC})
    assert [trip.pnl for trip in stats.round_trips] == [D("9.79"), D("-20.20")]
    assert (stats.round_trips[0].opened_ns, stats.round_trips[0].closed_ns) == (1, 2)
    assert stats.round_trips[1].fees == D("0.20")
    assert stats.hit_rate == 0.5
    assert stats.fees == D("0.59")
    assert (stats.realised_pnl, stats.unrealised_pnl) == (D(-10), D(10))
    assert stats.net_pnl == D("-0.59")
    assert stats.max_drawdown == D("9.79") - D("-10.59")
    assert stats.open_quantity == {"BTC/USDT": D(2)}
    assert stats.turnover == D(590)


def test_dust_left_by_base_fees_closes_a_round_trip() -> None:
    sequence = [fill(Side.BUY, "0.00101", "100", "0.00000101", "BTC", n=1), fill(Side.SELL, "0.001", "100", n=2)]
    stats = analyze_trades(sequence, {}, {"BTC/USDT": BTC})
    assert len(stats.round_trips) == 1
    assert 0 < stats.open_quantity["BTC/USDT"] < BTC.lot_size


def test_no_trades_give_empty_figures() -> None:
    stats = analyze_trades([], {}, {})
    assert (stats.fills, stats.net_pnl, stats.hit_rate, stats.round_trips) == (0, D(0), None, ())


@QUICK
@given(st.lists(fills, max_size=12), prices)
def test_round_trips_and_the_open_rest_add_up(sequence: list[Fill], mark: Decimal) -> None:
    stats = analyze_trades(sequence, {"BTC/USDT": mark}, {"BTC/USDT": BTC}, lambda c, q: D(600))
    parts = stats.realised_pnl + stats.unrealised_pnl - stats.fees
    assert abs(stats.net_pnl - parts) <= D("1e-18") * (1 + abs(stats.net_pnl))
    assert stats.max_drawdown >= 0
