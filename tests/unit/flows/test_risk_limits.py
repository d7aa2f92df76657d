"""The risk limits as a form: what was entered is what is meant, to the last digit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.flows.risk_limits import (
    LIMIT_TEXTS,
    RiskUse,
    loosened_lines,
    read_form,
    shown_value,
    step_of,
    unit_text,
    use_text,
)
from app.i18n import Language, set_language
from core.errors import UserError
from core.signals.risk.settings import UNITS
from core.signals.risk_management import RiskSettings

D = Decimal
ODD = replace(RiskSettings(), price_collar=D("0.0375"), max_order_share=D("0.333"), max_order_value=D("1234.5"))


def form(settings: RiskSettings) -> dict[str, Decimal | None]:
    return {name: shown_value(name, settings) for name in UNITS}


def test_every_limit_is_explained() -> None:
    assert set(LIMIT_TEXTS) == set(UNITS)
    assert len({text.title for text in LIMIT_TEXTS.values()}) == len(UNITS)
    assert all(step_of(name) > 0 for name in UNITS)


@pytest.mark.parametrize("settings", [RiskSettings(), ODD])
def test_what_is_shown_is_read_back_exactly(settings: RiskSettings) -> None:
    assert read_form(form(settings)) == settings


def test_fractions_are_per_cent() -> None:
    assert shown_value("price_collar", ODD) == D("3.75")
    assert (unit_text("price_collar"), unit_text("max_open_orders")) == ("%", "")


@pytest.mark.parametrize(
    ("name", "entered", "said"),
    [
        ("max_order_value", None, "Value of one order: enter a number."),
        ("max_open_orders", D("2.5"), "Open orders: enter a whole number."),
        (
            "max_clock_skew_ms",
            D(1_001),
            "Difference of the clocks: Give at most 1000: a clock that is further off always stops live trading.",
        ),
        ("max_order_value", D(-1), "Value of one order: Give a number from 0 up."),
        ("max_price_age_s", D(-1), "Age of the market price: Give a number from 0 up."),
    ],
)
def test_what_makes_no_sense_is_said_with_its_limit(name: str, entered: Decimal | None, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_form({**form(RiskSettings()), name: entered})
    assert caught.value.message == said
    set_language(Language.KOREAN)
    with pytest.raises(UserError) as caught:
        read_form({**form(RiskSettings()), name: entered})
    assert "Give" not in caught.value.message


def test_looser_limits_are_listed_with_both_values() -> None:
    after = replace(ODD, price_collar=D("0.05"), max_order_value=D(1), duplicate_window_s=1)
    assert loosened_lines(ODD, after) == ("Distance of a limit price: 3.75 % → 5 %", "Repetition: 2 s → 1 s")


def test_use_is_said_where_it_is_known() -> None:
    settings = replace(RiskSettings(), max_drawdown=D(0))
    use = RiskUse(D("-812.4"), D("12.5"), 4, D(8_000))
    assert use_text("max_daily_loss", settings, use) == "now 812.40 (16\u00a0%)"
    assert use_text("max_daily_loss", settings, replace(use, day_pnl=D(5))) == "now 0.00 (0\u00a0%)"
    assert use_text("max_drawdown", settings, use) == "now 12.50"
    assert use_text("max_open_orders", settings, use) == "now 4 (8\u00a0%)"
    assert use_text("max_position_value", settings, use) == "now 8,000.00 (8\u00a0%)"
    assert use_text("max_order_value", settings, use) == ""
    assert {use_text(name, settings, RiskUse()) for name in UNITS} == {""}
