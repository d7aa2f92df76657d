"""The risk limits in the window: shown as told, sent as entered, and a looser one only after a question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QPushButton
from pytestqt.qtbot import QtBot

from app.ui.actions import ActionId
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.risk_dialog import RiskDialog
from core.domain.positions import Position
from core.events import AccountOpened, PositionChanged, RiskFigures, RiskSettingsChanged
from core.signals.risk_management import RiskSettings
from tests.qt.window_kit import WindowKit

D = Decimal
LIMITS = replace(RiskSettings(), max_order_value=D(7_500), price_collar=D("0.03"))


@pytest.fixture
def kit(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[WindowKit]:
    kit = WindowKit(qapp, tmp_path)
    kit.window.show()
    qtbot.waitExposed(kit.window)
    yield kit
    kit.close()


def open_dialog(kit: WindowKit) -> RiskDialog:
    kit.window.actions_[ActionId.RISK_LIMITS].trigger()
    found = kit.window.findChild(RiskDialog)
    assert found is not None
    return found


def press(qtbot: QtBot, button: QPushButton) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def use(dialog: RiskDialog, name: str) -> str:
    label = dialog.findChild(QLabel, f"use_{name}")
    assert label is not None
    return label.text()


def enter(dialog: RiskDialog, name: str, text: str) -> None:
    dialog.fields[name].edit.setText(text)


def test_limits_are_shown_as_told_with_what_is_used(kit: WindowKit) -> None:
    kit.play()
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    kit.window.on_executor_event(RiskFigures(D("-50"), D("120")))
    dialog = open_dialog(kit)
    assert dialog.fields["max_order_value"].edit.value() == D(7_500)
    assert dialog.fields["price_collar"].edit.value() == D(3)
    assert use(dialog, "max_daily_loss") == "now 50.00 (1\u00a0%)"
    assert use(dialog, "max_drawdown") == "now 120.00 (1\u00a0%)"
    opened = len(kit.window.models.orders.open_orders())
    assert opened
    assert use(dialog, "max_open_orders").startswith(f"now {opened} ")
    assert not dialog.apply.isEnabled(), "nothing is changed"
    kit.window.on_executor_event(RiskFigures(D("-500"), D("120")))
    dialog.refresh()
    assert use(dialog, "max_daily_loss") == "now 500.00 (10\u00a0%)"


def test_the_dialog_is_there_once(kit: WindowKit) -> None:
    assert open_dialog(kit) is open_dialog(kit)


def test_a_tighter_limit_is_sent_at_once(qtbot: QtBot, kit: WindowKit) -> None:
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    dialog = open_dialog(kit)
    enter(dialog, "max_order_value", "5000")
    enter(dialog, "max_slippage", "0.75")
    press(qtbot, dialog.apply)
    assert kit.trading.named("change_risk_settings") == [
        (replace(LIMITS, max_order_value=D(5_000), max_slippage=D("0.0075")),)
    ]
    assert not dialog.isVisible()


@pytest.mark.parametrize("answer", ["loosen", "cancel"])
def test_a_looser_limit_is_asked_about(qtbot: QtBot, kit: WindowKit, answer: str) -> None:
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    dialog = open_dialog(kit)
    enter(dialog, "max_order_value", "9000")
    enter(dialog, "max_daily_loss", "100")
    press(qtbot, dialog.apply)
    assert kit.trading.named("change_risk_settings") == []
    question = dialog.findChild(ConfirmDialog, "risk_looser_dialog")
    assert question is not None
    stakes = [label.text() for label in question.findChildren(QLabel, "stake")]
    assert stakes == ["•  Value of one order: 7500 quote currency → 9000 quote currency"]
    button = question.findChild(QPushButton, answer)
    assert button is not None
    press(qtbot, button)
    sent = [(replace(LIMITS, max_order_value=D(9_000), max_daily_loss=D(100)),)]
    assert kit.trading.named("change_risk_settings") == (sent if answer == "loosen" else [])
    assert dialog.isVisible() is (answer == "cancel"), "what was entered stays for another try"


@pytest.mark.parametrize(
    ("name", "text"), [("max_order_value", ""), ("max_order_value", "1,5"), ("max_open_orders", "2.5")]
)
def test_what_makes_no_sense_cannot_be_applied(kit: WindowKit, name: str, text: str) -> None:
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    dialog = open_dialog(kit)
    enter(dialog, name, text)
    assert not dialog.apply.isEnabled()
    assert dialog.problem.text()
    dialog.fields[name].edit.set_value(D(3))
    assert dialog.problem.text() == ""
    assert dialog.apply.isEnabled()


def test_before_the_executor_speaks_nothing_can_be_applied(kit: WindowKit) -> None:
    dialog = open_dialog(kit)
    assert "not known" in dialog.problem.text()
    assert not dialog.apply.isEnabled()
    assert dialog.fields["max_order_value"].edit.text() == ""
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    dialog.refresh()
    assert dialog.fields["max_order_value"].edit.value() == D(7_500)
    assert dialog.problem.text() == ""


def test_a_change_from_elsewhere_does_not_overwrite_what_is_being_entered(kit: WindowKit) -> None:
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    dialog = open_dialog(kit)
    kit.window.on_executor_event(RiskSettingsChanged(replace(LIMITS, max_order_value=D(6_000))))
    dialog.refresh()
    assert dialog.fields["max_order_value"].edit.value() == D(6_000)
    enter(dialog, "max_order_value", "5")
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    dialog.refresh()
    assert dialog.fields["max_order_value"].edit.value() == D(5)


def test_defaults_fill_the_form_only(qtbot: QtBot, kit: WindowKit) -> None:
    kit.window.on_executor_event(RiskSettingsChanged(LIMITS))
    dialog = open_dialog(kit)
    press(qtbot, dialog.defaults)
    assert dialog.entered() == RiskSettings()
    assert kit.trading.calls == []
    assert dialog.apply.isEnabled()


def test_figures_of_another_account_are_forgotten(kit: WindowKit) -> None:
    window = kit.window
    window.on_executor_event(AccountOpened("practice:a"))
    window.on_executor_event(RiskFigures(D("-50"), D("120")))
    assert window.models.risk_use().drawdown == D(120)
    window.on_executor_event(AccountOpened("practice:b"))
    assert window.models.risk_use().drawdown is None


def test_the_largest_position_is_known_with_its_price_only(kit: WindowKit) -> None:
    assert kit.window.models.risk_use().largest_position == D(0)
    kit.window.on_executor_event(PositionChanged(Position("v", "BTC/USDT", "manual", D(2), D(1)), D(100)))
    kit.window.on_executor_event(PositionChanged(Position("v", "BTC/USDT", "s1", D(1), D(1)), D(100)))
    kit.window.on_executor_event(PositionChanged(Position("v", "ETH/USDT", "s1", D(1), D(1)), D(9)))
    kit.window.refresh_now()
    assert kit.window.models.risk_use().largest_position == D(300)
    kit.window.on_executor_event(PositionChanged(Position("v", "SOL/USDT", "s1", D(1), D(1)), None))
    kit.window.refresh_now()
    assert kit.window.models.risk_use().largest_position is None
