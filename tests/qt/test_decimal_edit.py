from __future__ import annotations

from decimal import Decimal

import pytest
from PySide6.QtCore import QEvent, QLocale, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QKeyEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.i18n import Language, set_language
from app.ui.widgets.decimal_edit import DecimalEdit, DecimalField

ACCEPTED = [("0.001", "0.001"), ("61200", "61200"), (".5", "0.5"), ("12.", "12")]
REFUSED = ["0,001", "1,5", "1.234,5", "1,234", "1e3", "1 234", "＋１", "1\u00a0234", "1.2.3", "-1"]
LOCALES = ["en_US", "ko_KR", "de_DE"]


@pytest.fixture
def edit(qtbot: QtBot) -> DecimalEdit:
    edit = DecimalEdit()
    qtbot.addWidget(edit)
    edit.set_step(Decimal("0.01"))
    edit.show()
    edit.setFocus()
    return edit


@pytest.fixture(params=LOCALES)
def locale(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield request.param
    QLocale.setDefault(before)


def type_text(edit: DecimalEdit, text: str) -> None:
    """Type like a keyboard or input method; the test library's own typing knows only ASCII."""
    for char in text:
        if char.isascii():
            QTest.keyClick(edit, char)
        else:
            QApplication.sendEvent(
                edit, QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_unknown, Qt.KeyboardModifier.NoModifier, char)
            )


def paste(edit: DecimalEdit, text: str) -> None:
    QGuiApplication.clipboard().setText(text)
    edit.selectAll()
    edit.paste()


@pytest.mark.parametrize(("text", "value"), ACCEPTED)
def test_typed_and_pasted_numbers_are_exact(
    qtbot: QtBot, edit: DecimalEdit, locale: str, text: str, value: str
) -> None:
    qtbot.keyClicks(edit, text)
    assert edit.value() == Decimal(value)
    paste(edit, text)
    assert edit.value() == Decimal(value)
    assert edit.problem() is None


@pytest.mark.parametrize("text", REFUSED)
def test_ambiguous_text_is_refused_typed_and_pasted(qtbot: QtBot, edit: DecimalEdit, locale: str, text: str) -> None:
    type_text(edit, text)
    assert edit.text() == text  # nothing is swallowed: "0,001" without its comma would be 1
    assert edit.value() is None
    edit.clear()
    paste(edit, text)
    assert edit.value() is None
    problem = edit.problem()
    assert problem is not None
    assert problem.text()
    assert edit.property("invalid") == "true"


def test_the_comma_of_the_number_pad_is_a_point(qtbot: QtBot, edit: DecimalEdit) -> None:
    qtbot.keyClicks(edit, "0")
    qtbot.keyClick(edit, Qt.Key.Key_Comma, Qt.KeyboardModifier.KeypadModifier)
    qtbot.keyClicks(edit, "001")
    assert edit.value() == Decimal("0.001")


def test_up_and_down_move_by_steps(qtbot: QtBot, edit: DecimalEdit) -> None:
    edit.set_value(Decimal("1.00"))
    qtbot.keyClick(edit, Qt.Key.Key_Up)
    assert edit.value() == Decimal("1.01")
    qtbot.keyClick(edit, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert edit.value() == Decimal("1.11")
    edit.setText("1.115")
    qtbot.keyClick(edit, Qt.Key.Key_Down)
    assert edit.value() == Decimal("1.11")
    edit.setText("1.115")
    qtbot.keyClick(edit, Qt.Key.Key_Up)
    assert edit.value() == Decimal("1.12")
    edit.set_value(Decimal(0))
    qtbot.keyClick(edit, Qt.Key.Key_Down)
    assert edit.value() == 0


def test_steps_leave_refused_text_alone(qtbot: QtBot, edit: DecimalEdit) -> None:
    edit.setText("1,5")
    qtbot.keyClick(edit, Qt.Key.Key_Up)
    assert edit.text() == "1,5"


def wheel(edit: DecimalEdit) -> bool:
    middle = QPointF(edit.rect().center())
    event = QWheelEvent(
        middle,
        edit.mapToGlobal(middle),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(edit, event)
    return event.isAccepted()


def test_the_wheel_needs_the_focus(qtbot: QtBot, edit: DecimalEdit) -> None:
    edit.set_value(Decimal(1))
    edit.activateWindow()
    edit.setFocus()
    qtbot.waitUntil(edit.hasFocus)
    assert wheel(edit)
    assert edit.value() == Decimal("1.01")
    edit.clearFocus()
    assert not wheel(edit)
    assert edit.value() == Decimal("1.01")


def test_a_step_must_be_positive(edit: DecimalEdit) -> None:
    with pytest.raises(ValueError, match="positive"):
        edit.set_step(Decimal(0))


def test_the_echo_says_what_was_understood(qtbot: QtBot) -> None:
    field = DecimalField("BTC", round_down=True)
    qtbot.addWidget(field)
    field.edit.set_step(Decimal("0.001"))
    field.edit.setText("0.010")
    assert field.echo() == "= 0.01 BTC"
    field.edit.setText("0.0109")
    assert field.echo() == "rounded to 0.01 BTC"
    field.edit.setText("0,01")
    assert "ambiguous" in field.echo()
    set_language(Language.KOREAN)
    field.retranslate()
    assert "모호" in field.echo()
    field.edit.clear()
    assert field.echo() == ""
