"""Limits survive the journal of any version, change by name, and a loosened one is known as such."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest

from core.errors import UserError
from core.signals.risk.settings import UNITS, Unit
from core.signals.risk_management import RiskSettings, daily_loss_reached, drawdown_reached

D = Decimal
ODD = RiskSettings(D("0.1"), D("1e5"), D(3), D("0.015"), 7, 0, D("0.5"), D("0.25"), D("2.5"), D("0.001"), 1, 2, 3, 4, 5)


def test_settings_survive_json() -> None:
    assert RiskSettings.from_json(ODD.to_json()) == ODD


def test_what_an_earlier_version_stored_is_read_with_the_defaults_of_the_rest() -> None:
    stored = {
        "max_order_value": "0.1",
        "max_position_value": "100000",
        "max_daily_loss": "3",
        "price_collar": "0.015",
        "max_open_orders": 7,
        "duplicate_window_s": 0,
    }
    old = RiskSettings(D("0.1"), D("1e5"), D(3), D("0.015"), 7, 0)
    assert RiskSettings.from_json(stored) == old
    assert old.max_drawdown == RiskSettings().max_drawdown


def test_what_a_later_version_stored_is_read_as_far_as_it_is_known() -> None:
    assert RiskSettings.from_json({**ODD.to_json(), "max_hope": "1"}) == ODD


def test_every_limit_has_a_unit_and_a_number_of_its_kind() -> None:
    assert set(UNITS) == {field.name for field in fields(RiskSettings)}
    for name, unit in UNITS.items():
        assert isinstance(getattr(RiskSettings(), name), int if unit.is_whole else Decimal), name


@pytest.mark.parametrize("bad", [{"max_order_value": D(-1)}, {"price_collar": D("NaN")}, {"max_open_orders": -1}])
def test_senseless_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        RiskSettings(**bad)


def test_one_limit_is_changed_by_name() -> None:
    assert ODD.changed("max_slippage", "0.03") == replace(ODD, max_slippage=D("0.03"))
    assert ODD.changed("max_open_orders", "12") == replace(ODD, max_open_orders=12)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("max_hope", "1", "There is no risk setting max_hope."),
        ("max_open_orders", "1.5", "whole number"),
        ("max_order_value", "much", "must not be much"),
        ("max_order_value", "inf", "must not be inf"),
        ("max_order_value", "-1", "must not be -1"),
    ],
)
def test_senseless_changes_are_refused_in_a_sentence(name: str, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        ODD.changed(name, text)
    assert said in str(caught.value)


def test_the_block_of_a_wrong_clock_cannot_be_switched_off() -> None:
    assert RiskSettings(max_clock_skew_ms=1_000).max_clock_skew_ms == 1_000
    for too_much in (1_001, 100_000_000):
        with pytest.raises(UserError, match=f"max_clock_skew_ms must not be {too_much}.* at most 1000"):
            ODD.changed("max_clock_skew_ms", str(too_much))
    with pytest.raises(UserError, match="max_clock_skew_ms"):
        replace(ODD, max_clock_skew_ms=1_001)


@pytest.mark.parametrize(("stored", "read"), [(100_000_000, 1_000), (1_001, 1_000), (999, 999)])
def test_what_an_earlier_version_let_through_is_read_as_the_most_there_is(stored: int, read: int) -> None:
    assert RiskSettings.from_json({**ODD.to_json(), "max_clock_skew_ms": stored}) == replace(
        ODD, max_clock_skew_ms=read
    )


def test_differences_and_what_is_looser() -> None:
    after = replace(ODD, max_order_value=D(1), max_open_orders=6, duplicate_window_s=9)
    assert ODD.differences(after) == {
        "max_order_value": (D("0.1"), D(1)),
        "max_open_orders": (D(7), D(6)),
        "duplicate_window_s": (D(0), D(9)),
    }
    assert ODD.loosened(after) == ("max_order_value",)
    assert after.loosened(ODD) == ("max_open_orders", "duplicate_window_s")
    assert ODD.loosened(ODD) == ()


def test_losses_are_reached_at_the_limit_and_never_without_a_loss() -> None:
    none_allowed = replace(ODD, max_daily_loss=D(0), max_drawdown=D(0))
    assert not daily_loss_reached(D(0), none_allowed)
    assert daily_loss_reached(D("-0.01"), none_allowed)
    assert not drawdown_reached(D(0), none_allowed)
    assert drawdown_reached(D("0.01"), none_allowed)
    assert daily_loss_reached(D(-3), ODD)
    assert not daily_loss_reached(D("-2.99"), ODD)
    assert drawdown_reached(D("0.5"), ODD)
    assert not drawdown_reached(D("0.49"), ODD)


def test_units_of_counts_are_whole() -> None:
    assert {unit for unit in Unit if unit.is_whole} == {Unit.COUNT, Unit.SECONDS, Unit.MILLISECONDS}
