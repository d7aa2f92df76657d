"""Signals with hysteresis, intents that never exceed their target: by example and for any numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.orders import Side
from core.domain.signals import Forecast, Signal
from core.signals.generator import Sizing, generate_intent, generate_signal
from core.strategies.spec import StrategySpec
from tests.unit.execution.fake_venue import BTC

D = Decimal
SPEC = StrategySpec("s", "S", "BTC/USDT", "1h", "m", D(1_000), entry_z=0.5, exit_z=-0.5)
SIGNAL = Signal("s", "BTC/USDT", 1.0, 100.0, 42, "why", "m", "f", 0.01)


def forecast(z: float) -> Forecast:
    return Forecast("BTC/USDT", 42, 1, (0.1, 0.5, 0.9), (-0.01, 0.002, 0.01), z, "m", "f")


@pytest.mark.parametrize(
    ("z", "held", "weight"),
    [(0.5, False, 1.0), (2.0, True, 1.0), (0.49, False, 0.0), (0.49, True, 1.0), (-0.49, True, 1.0), (-0.5, True, 0.0)],
)
def test_hysteresis(z: float, held: bool, weight: float) -> None:
    signal = generate_signal(forecast(z), SPEC, holds=held, reference_price=100.0)
    assert signal.target_weight == weight
    assert (signal.bar_open_ns, signal.model_id, signal.feature_hash, signal.forecast) == (42, "m", "f", 0.002)


def test_an_entry_buys_the_capital_rounded_down() -> None:
    intent = generate_intent(replace(SIGNAL, reference_price=99.99), Sizing(D(1_000)), D(0), BTC, 7)
    assert intent is not None
    assert (intent.side, intent.quantity, intent.reference_price) == (Side.BUY, D("10.00100"), D("99.99"))
    assert (intent.intent_id, intent.created_ns, intent.reduce_only) == ("s:42", 7, False)
    assert intent.evidence.bar_open_ns == 42


def test_an_exit_sells_all_that_can_be_sold() -> None:
    intent = generate_intent(replace(SIGNAL, target_weight=0.0), Sizing(D(1_000)), D("9.990009"), BTC, 7)
    assert intent is not None
    assert (intent.side, intent.quantity, intent.reduce_only) == (Side.SELL, D("9.99"), True)


@pytest.mark.parametrize(
    ("weight", "holding", "price"),
    [
        (1.0, "9.5", 100.0),  # within the dead band
        (0.0, "0", 100.0),  # nothing to sell
        (0.0, "0.000009", 100.0),  # below the lot
        (0.0, "0.04", 100.0),  # below the venue's minimum value
        (1.0, "0", 0.0),  # no price
        (1.0, "0", 1e9),  # the capital does not buy one lot
    ],
)
def test_no_order_where_none_is_worth_or_able_to_be_sent(weight: float, holding: str, price: float) -> None:
    signal = replace(SIGNAL, target_weight=weight, reference_price=price)
    assert generate_intent(signal, Sizing(D("0.5") if price == 1e9 else D(1_000)), D(holding), BTC, 7) is None


def test_too_much_held_is_sold_down_to_the_target() -> None:
    intent = generate_intent(SIGNAL, Sizing(D(1_000)), D(12), BTC, 7)
    assert intent is not None
    assert (intent.side, intent.quantity) == (Side.SELL, D(2))


@settings(max_examples=100, deadline=None)
@given(
    st.decimals(0, 1, places=6).map(float),
    st.floats(0.01, 1e6),
    st.decimals(0, 100, places=7),
    st.decimals(1, 100_000, places=2),
)
def test_an_intent_never_overshoots_and_is_always_valid(
    weight: float, price: float, holding: Decimal, capital: Decimal
) -> None:
    signal = replace(SIGNAL, target_weight=weight, reference_price=price)
    intent = generate_intent(signal, Sizing(capital), holding, BTC, 7)
    if intent is None:
        return
    assert intent.reference_price is not None
    assert BTC.rule_violation(intent.quantity, intent.reference_price) is None
    target = capital * Decimal(repr(weight)) / intent.reference_price
    after = holding + intent.quantity * intent.side.sign
    assert abs(after - target) <= abs(holding - target)
    assert (after <= target) if intent.side is Side.BUY else (after >= target)


@pytest.mark.parametrize("bad", [{"capital": D(0)}, {"exit_z": 0.6}])
def test_a_senseless_strategy_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"capital|exit_z"):
        replace(SPEC, **bad)  # type: ignore[arg-type]
