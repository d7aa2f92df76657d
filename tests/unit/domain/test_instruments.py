"""A venue's trading rules: what is rounded which way, and the first rule broken."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from core.domain.instruments import Instrument

D = Decimal
BTC = Instrument(
    "fake",
    "BTC/USDT",
    "BTCUSDT",
    "BTC",
    "USDT",
    tick_size=D("0.01"),
    lot_size=D("0.00010"),
    min_quantity=D("0.001"),
    max_quantity=D(100),
    min_notional=D(5),
)


def test_decimals_follow_the_steps() -> None:
    assert (BTC.price_decimals, BTC.quantity_decimals) == (2, 4)
    assert replace(BTC, tick_size=D(10)).price_decimals == 0


def test_rounding_never_makes_an_order_larger() -> None:
    assert (BTC.round_price(D("1.017")), BTC.floor_price(D("1.017")), BTC.ceil_price(D("1.012"))) == (
        D("1.02"),
        D("1.01"),
        D("1.02"),
    )
    assert BTC.round_quantity(D("0.12349")) == D("0.1234")


@pytest.mark.parametrize(("quantity", "dust"), [("0", False), ("0.00009", True), ("-0.00009", True), ("0.0001", False)])
def test_dust_is_less_than_a_lot(quantity: str, dust: bool) -> None:
    assert BTC.is_dust(D(quantity)) is dust


@pytest.mark.parametrize(
    ("quantity", "price", "sentence"),
    [
        ("0.00105", "100", "is not a multiple of the lot size"),
        ("0.0001", "100", "is below the minimum"),
        ("0", None, "is below the minimum"),
        ("101", "100", "is above the maximum"),
        ("1", "0", "is not positive"),
        ("0.01", "499.99", "order value .* is below the minimum 5 USDT"),
    ],
)
def test_the_first_broken_rule_is_named(quantity: str, price: str | None, sentence: str) -> None:
    violation = BTC.rule_violation(D(quantity), None if price is None else D(price))
    assert violation is not None
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(violation)


def test_valid_orders_break_no_rule() -> None:
    assert BTC.rule_violation(D("0.01"), D(500)) is None
    assert BTC.rule_violation(D("0.01"), None) is None


@pytest.mark.parametrize("wrong", [{"tick_size": D(0)}, {"lot_size": D("-1")}])
def test_steps_must_be_positive(wrong: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        replace(BTC, **wrong)
