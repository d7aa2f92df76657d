"""Live language switch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QLibraryInfo, QLocale
from PySide6.QtWidgets import QDialogButtonBox
from pytestqt.qtbot import QtBot

from app.i18n import Language, tr
from app.language import LanguageManager, system_language


@pytest.fixture
def manager(qapp: object) -> Iterator[LanguageManager]:
    made = LanguageManager()
    yield made
    made.set_language(Language.ENGLISH)


def test_switch_is_announced_once(qtbot: QtBot, manager: LanguageManager) -> None:
    with qtbot.waitSignal(manager.changed, timeout=1000):
        manager.set_language(Language.KOREAN)
    assert tr("Quit") == "종료"
    assert manager.language is Language.KOREAN
    with qtbot.assertNotEmitted(manager.changed):
        manager.set_language(Language.KOREAN)
    with qtbot.waitSignal(manager.changed, timeout=1000):
        manager.set_language(Language.ENGLISH)
    assert tr("Quit") == "Quit"


def test_buttons_of_qt_speak_korean_too(qtbot: QtBot, manager: LanguageManager) -> None:
    folder = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
    manager.set_language(Language.KOREAN)
    box = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
    qtbot.addWidget(box)
    assert folder
    assert box.button(QDialogButtonBox.StandardButton.Cancel).text() == "취소"


def test_numbers_of_qt_have_no_separators_of_a_locale(qapp: object) -> None:
    QLocale.setDefault(QLocale(QLocale.Language.German))
    assert QLocale().toString(1234.5) == "1.234,5"
    LanguageManager()
    assert QLocale().toString(1234.5) == "1234.5"
    assert system_language() in Language
