from __future__ import annotations

from collections import Counter

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.flows.fuzzy import score
from app.i18n import Language, load_table
from app.theme import icon_names
from app.ui.actions import ACTIONS, ActionId, ActionRegistry
from app.ui.dialogs.about_dialog import AboutDialog
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.shortcuts_dialog import ShortcutsDialog
from tests.qt.window_kit import make_theme


def test_every_action_is_complete() -> None:
    assert {spec.id for spec in ACTIONS} == set(ActionId)
    shortcuts = Counter(spec.shortcut for spec in ACTIONS if spec.shortcut)
    assert [keys for keys, number in shortcuts.items() if number > 1] == []
    assert {spec.icon for spec in ACTIONS if spec.icon} <= set(icon_names())
    korean = load_table(Language.KOREAN)
    missing = [s.text for s in ACTIONS if s.text not in korean and s.id not in ("language_en", "language_ko")]
    assert missing == []


def test_the_registry_tells_which_action(qtbot: QtBot, qapp: QApplication) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    registry = ActionRegistry(make_theme(qapp), host)
    with qtbot.waitSignal(registry.triggered) as told:
        registry[ActionId.KILL].trigger()
    assert told.args == [ActionId.KILL]
    assert registry[ActionId.KILL].objectName() == "action_kill"
    assert "Ctrl+Shift+K" in registry[ActionId.KILL].toolTip()
    registry.check(ActionId.THEME_LIGHT)
    registry.check(ActionId.THEME_DARK)
    assert not registry[ActionId.THEME_LIGHT].isChecked()


def test_fuzzy_prefers_word_starts_and_runs() -> None:
    assert score("", "anything") == 0
    assert score("xyz", "Train a model") is None
    train = score("trm", "Train a model")
    assert train is not None
    names = ["Reset layout", "Trading", "Training", "Train a model…", "Restart"]
    best = max(names, key=lambda name: score("tm", name) if score("tm", name) is not None else -99)  # type: ignore[arg-type,return-value]
    assert best == "Train a model…"
    exact, scattered = score("train", "Training"), score("train", "xtxrxaxixn")
    assert exact is not None
    assert scattered is not None
    assert exact > scattered


def test_the_cheat_sheet_lists_every_shortcut(qtbot: QtBot) -> None:
    dialog = ShortcutsDialog()
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    shown = {label.text() for label in dialog.findChildren(QLabel)}
    assert {spec.shortcut for spec in ACTIONS if spec.shortcut} <= shown
    assert "Ctrl+Enter" in shown


def test_about_copies_the_system(qtbot: QtBot) -> None:
    dialog = AboutDialog("1.2.3")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    qtbot.mouseClick(dialog.findChild(QPushButton, "about_copy"), Qt.MouseButton.LeftButton)
    text = QApplication.clipboard().text()
    assert text.startswith("Maru 1.2.3\nPython 3.")
    assert "Qt 6." in text


def test_a_confirm_dialog_answers_once_and_esc_is_safe(qtbot: QtBot) -> None:
    dialog = ConfirmDialog(None, name="question", title="Sell?", text="Really?", stakes=("one",))
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    answers: list[str] = []
    dialog.answered.connect(answers.append)
    dialog.add_button("cancel", "Cancel", default=True)
    dialog.add_button("sell", "Sell", variant="danger")
    dialog.show()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert answers == ["cancel"]
    dialog.close()
    assert answers == ["cancel"]


@pytest.mark.parametrize(("focus", "subjects"), [("cancel", []), ("delete", [["a", "b"]])])
def test_a_deed_brings_back_what_it_was_offered_for(qtbot: QtBot, focus: str, subjects: list[list[str]]) -> None:
    dialog = ConfirmDialog(None, name="question", title="Delete?", text="Really?")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    agreed: list[object] = []
    dialog.agreed.connect(agreed.append)
    dialog.offer("delete", "Delete", keep="Keep", subject=["a", "b"])
    dialog.show()
    assert dialog.findChild(QPushButton, "cancel").isDefault()
    qtbot.mouseClick(dialog.findChild(QPushButton, focus), Qt.MouseButton.LeftButton)
    assert agreed == subjects


@pytest.mark.parametrize(("focus", "answer"), [("cancel", "cancel"), ("sell", "sell")])
def test_enter_presses_the_button_it_is_on(qtbot: QtBot, focus: str, answer: str) -> None:
    dialog = ConfirmDialog(None, name="question", title="Sell?", text="Really?")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    answers: list[str] = []
    dialog.answered.connect(answers.append)
    dialog.add_button("cancel", "Cancel", default=True)
    dialog.add_button("sell", "Sell", variant="danger")
    dialog.show()
    button = dialog.findChild(QPushButton, focus)
    button.setFocus()
    qtbot.keyClick(button, Qt.Key.Key_Return)
    assert answers == [answer]
