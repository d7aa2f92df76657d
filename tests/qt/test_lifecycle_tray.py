"""The tray icon: mode, messages, menu, and desktops without a tray."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QSystemTrayIcon
from pytestqt.qtbot import QtBot

from app.i18n import Language
from app.language import LanguageManager
from app.notifications import Notification
from app.theme import ThemeManager
from app.ui.tray import Tray, mode_icon
from core.clock import ManualClock
from core.domain.fills import Fill, Liquidity
from core.domain.orders import Side, TradingMode
from core.events import Notice, Severity
from tests.qt.conftest import settle


class Messages:
    """Stands for the desktop: records what would pop up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[tuple[str, str]] = []
        self.present = True
        monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: self.present)
        monkeypatch.setattr(QSystemTrayIcon, "supportsMessages", lambda: True)
        monkeypatch.setattr(QSystemTrayIcon, "showMessage", lambda _icon, title, text, *_: self.record(title, text))

    def record(self, title: str, text: str) -> None:
        self.shown.append((title, text))


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Messages:
    return Messages(monkeypatch)


@pytest.fixture
def tray(qapp: QApplication, language: LanguageManager) -> Iterator[Tray]:
    made = Tray(ThemeManager(qapp), language, ManualClock())
    yield made
    made.close()
    settle()


def action(tray: Tray, name: str) -> QAction:
    found = tray._menu.findChild(QAction, name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "signal"),
    [("tray-show", "show_requested"), ("tray-kill", "kill_requested"), ("tray-quit", "quit_requested")],
)
def test_menu_asks(qtbot: QtBot, tray: Tray, name: str, signal: str) -> None:
    with qtbot.waitSignal(getattr(tray, signal), timeout=1000):
        action(tray, name).trigger()


def test_click_on_the_icon_asks_for_the_window(qtbot: QtBot, tray: Tray) -> None:
    with qtbot.waitSignal(tray.show_requested, timeout=1000):
        tray._icon.activated.emit(QSystemTrayIcon.ActivationReason.Trigger)
    with qtbot.assertNotEmitted(tray.show_requested):
        tray._icon.activated.emit(QSystemTrayIcon.ActivationReason.Context)


def test_mode_and_halt_are_shown_in_both_languages(tray: Tray, language: LanguageManager) -> None:
    assert tray._icon.toolTip() == "Maru · PRACTICE"
    tray.set_mode(TradingMode.LIVE)
    tray.set_halted(True)
    assert tray._icon.toolTip() == "Maru · LIVE, halted"
    assert not action(tray, "tray-kill").isEnabled()
    language.set_language(Language.KOREAN)
    assert tray._icon.toolTip() == "Maru · 실거래, 중지됨"
    language.set_language(Language.ENGLISH)
    tray.set_halted(False)
    assert action(tray, "tray-kill").isEnabled()


def test_each_mode_has_its_own_icon(qapp: QApplication) -> None:
    theme = ThemeManager(qapp)
    pictures = [mode_icon(theme, mode).pixmap(32, 32).toImage() for mode in TradingMode]
    assert all(a != b for i, a in enumerate(pictures) for b in pictures[i + 1 :])


def fill(quantity: str) -> Fill:
    return Fill(
        "binance",
        "BTC/USDT",
        "1",
        "v",
        "c",
        Side.BUY,
        Decimal(100),
        Decimal(quantity),
        Decimal(0),
        "USDT",
        Liquidity.TAKER,
        0,
    )


def test_fills_pop_up_together(qtbot: QtBot, tray: Tray, messages: Messages) -> None:
    tray._batch_timer.setInterval(20)
    tray.add_fill(fill("1"))
    tray.add_fill(fill("2"))
    qtbot.waitUntil(lambda: messages.shown == [("2 fills", "Bought 3 BTC/USDT")], timeout=5000)


@pytest.mark.parametrize(("loud", "present", "expected"), [(True, True, 1), (False, True, 0), (True, False, 0)])
def test_only_loud_notices_pop_up_and_only_with_a_tray(
    tray: Tray, messages: Messages, loud: bool, present: bool, expected: int
) -> None:
    messages.present = present
    tray.notify(Notification(1, 0, Notice(Severity.ERROR, "bad"), loud=loud))
    assert len(messages.shown) == expected


def test_without_a_tray_nothing_shows(tray: Tray, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(QSystemTrayIcon, "show", lambda icon: shown.append(icon))
    messages.present = False
    tray.start()
    assert shown == []
    messages.present = True
    tray.start()
    assert len(shown) == 1
