"""What the kernel may be told."""

from dataclasses import replace
from decimal import Decimal

import pytest

from core.accounting.rules import CostRates, MarketRules, spot_rules
from core.domain.instruments import Instrument
from core.errors import UserError


def test_usual_costs_and_rules_are_accepted() -> None:
    CostRates(0.0004, -0.0001, 0.0005, 0.0002, 0.7, 0.5, 1e-5, 1e-5, 0.005).validate()
    MarketRules(0.1, 0.001, 0.001, 5.0, 20.0, 0.04, False, 0.05).validate()


@pytest.mark.parametrize(
    "wrong",
    [
        {"taker_fee": -0.0001},
        {"taker_fee": 1.0},
        {"maker_fee": -0.02},
        {"half_spread": float("nan")},
        {"impact": -1.0},
        {"impact": float("inf")},
        {"impact_exponent": 2.0},
        {"borrow_quote": 1.5},
    ],
)
def test_costs_that_no_market_has_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        CostRates(**wrong).validate()


@pytest.mark.parametrize(
    "wrong",
    [
        {"tick_size": -1.0},
        {"lot_size": float("nan")},
        {"band": float("inf")},
        {"max_leverage": 0.0},
        {"max_leverage": 126.0},
        {"maintenance": -0.1},
        {"max_leverage": 10.0, "maintenance": 0.1},
        {"max_leverage": 0.5, "maintenance": 1.0},
    ],
)
def test_rules_that_contradict_themselves_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        MarketRules(**wrong).validate()


def test_costs_of_trading_are_scaled_and_those_of_holding_are_not() -> None:
    rates = CostRates(0.001, 0.0005, 0.0002, 0.0003, 0.1, 0.6, 0.01, 0.02, 0.03)
    doubled = rates.times(2.0)
    assert doubled == replace(rates, taker_fee=0.002, maker_fee=0.001, half_spread=0.0004, slippage=0.0006, impact=0.2)
    free = rates.times(0.0)
    assert (free.taker_fee, free.impact, free.borrow_base, free.liquidation_fee) == (0.0, 0.0, 0.01, 0.03)


def test_a_unit_is_a_lot_or_a_coin() -> None:
    assert MarketRules(lot_size=0.001).unit == 0.001
    assert MarketRules().unit == 1.0


def test_a_spot_market_has_neither_debts_nor_shorts() -> None:
    market = Instrument(
        "binance", "BTC/USDT", "BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), Decimal("0.0001"),
        min_notional=Decimal(5),
    )  # fmt: skip
    rules = spot_rules(market)
    rules.validate()
    assert rules == MarketRules(0.01, 0.00001, 0.0001, 5.0, allows_short=False)
