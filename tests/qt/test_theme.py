"""Colours, fonts and icons."""

from __future__ import annotations

import re

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFontInfo, QFontMetrics, QPalette
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app import theme as t
from app.stylesheet import build_style_sheet, contrast, mix, readable_on
from app.theme import ThemeChoice, ThemeManager, ThemeName, UpDown, palette

IMAGES = {"chevron_down": "a", "chevron_up": "b", "check": "c", "dot": "d"}
LOOKS = [(name, up_down) for name in ThemeName for up_down in UpDown]


@pytest.fixture
def manager(qapp: QApplication) -> ThemeManager:
    return ThemeManager(qapp)


@pytest.mark.parametrize(("name", "up_down"), LOOKS)
def test_every_look_applies_without_a_warning_and_is_readable(
    manager: ThemeManager, qapp: QApplication, name: ThemeName, up_down: UpDown
) -> None:
    manager.set_theme(ThemeChoice(name.value), up_down)
    colours = manager.palette
    assert colours == palette(name, up_down)
    assert qapp.font() == t.number_font()
    assert qapp.palette().color(QPalette.ColorRole.Window).name().upper() == colours.background
    assert contrast(colours.text, colours.background) >= 7
    assert contrast(colours.muted, colours.surface) >= 4.5
    assert contrast(colours.on_accent, colours.accent) >= 4.5
    for filled in ("practice", "paper", "live", "danger", "up", "down"):
        colour = getattr(colours, filled)
        assert contrast(readable_on(colour, colours), colour) >= 4, filled


@pytest.mark.parametrize(("name", "up_down"), LOOKS)
def test_style_sheet_has_no_open_placeholder_and_no_foreign_colour(name: ThemeName, up_down: UpDown) -> None:
    colours = palette(name, up_down)
    sheet = build_style_sheet(colours, IMAGES)
    assert "{{" not in sheet
    assert not re.search(r"\{[a-z_]+\}", sheet)
    known = {getattr(colours, field) for field in colours.__slots__} | {mix(colours.surface, colours.accent, 0.25)}
    assert set(re.findall(r"#[0-9A-Fa-f]{6}", sheet)) <= known


def test_change_is_announced_and_icons_follow(qtbot: QtBot, manager: ThemeManager) -> None:
    manager.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    dark = manager.icon("play").pixmap(32, 32).toImage()
    assert manager.icon("play") is manager.icon("play")
    with qtbot.waitSignal(manager.changed, timeout=1000):
        manager.set_theme(ThemeChoice.LIGHT, UpDown.WESTERN)
    assert manager.icon("play").pixmap(32, 32).toImage() != dark


class QBalloonTip(QWidget):
    """Stands for Qt's own private class of that name: pale yellow, whatever the theme."""

    def __init__(self) -> None:
        super().__init__()
        colours = self.palette()
        colours.setColor(QPalette.ColorRole.Window, QColor("#FFFFE1"))
        colours.setColor(QPalette.ColorRole.WindowText, QColor("#000000"))
        self.setPalette(colours)
        self.label = QLabel("Bought", self)


@pytest.mark.parametrize("choice", [ThemeChoice.DARK, ThemeChoice.LIGHT])
def test_the_balloon_of_the_tray_is_readable(qtbot: QtBot, manager: ThemeManager, choice: ThemeChoice) -> None:
    manager.set_theme(choice, UpDown.WESTERN)
    balloon = QBalloonTip()
    qtbot.addWidget(balloon)
    balloon.show()
    ground = balloon.palette().color(QPalette.ColorRole.Window).name()
    assert ground.upper() == manager.palette.raised
    assert contrast(balloon.label.palette().color(QPalette.ColorRole.WindowText).name(), ground) >= 7


def test_system_choice_follows_the_desktop(
    qtbot: QtBot, manager: ThemeManager, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.set_theme(ThemeChoice.SYSTEM, UpDown.WESTERN)
    monkeypatch.setattr(type(qapp.styleHints()), "colorScheme", lambda _hints: Qt.ColorScheme.Light)
    with qtbot.waitSignal(manager.changed, timeout=1000):
        qapp.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Light)
    assert manager.palette == palette(ThemeName.LIGHT)
    manager.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    with qtbot.assertNotEmitted(manager.changed):
        qapp.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Light)


def test_every_icon_draws_something(qapp: QApplication) -> None:
    names = t.icon_names()
    assert len(names) >= 40
    for name in names:
        image = t.pixmap(name, "#FF0000", 32).toImage()
        shades = {image.pixelColor(x, y).name() for x in range(32) for y in range(32) if image.pixelColor(x, y).alpha()}
        assert shades == {"#ff0000"} or all(shade.endswith("0000") for shade in shades), name
        assert shades, name


def test_unknown_icon_is_refused(manager: ThemeManager) -> None:
    with pytest.raises(KeyError, match="no icon"):
        manager.icon("no-such-icon")


def test_bundled_font_has_korean_arrows_and_tabular_digits(qapp: QApplication) -> None:
    assert t.FONT_FAMILY in t.load_fonts()
    for bold in (False, True):
        font = t.number_font(bold=bold)
        assert QFontInfo(font).family().startswith(t.FONT_FAMILY)
        metrics = QFontMetrics(font)
        assert all(metrics.inFontUcs4(ord(letter)) for letter in "한글뷁"[:2] + "▲▼→−×…₩")
        widths = {metrics.horizontalAdvance(digit * 10) for digit in "0123456789"}
        assert len(widths) == 1
    proportional = QFontMetrics(t.number_font())
    assert proportional.horizontalAdvance("+") == proportional.horizontalAdvance("−")


def test_look_of_a_widget_changes_with_its_property(qtbot: QtBot, manager: ThemeManager) -> None:
    manager.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    button = QPushButton("x")
    qtbot.addWidget(button)
    button.resize(60, 30)
    plain = button.grab().toImage()
    t.set_look(button, "variant", "danger")
    assert button.grab().toImage() != plain
    assert button.property("variant") == "danger"
    label = QLabel("x")
    qtbot.addWidget(label)
    t.set_look(label, "card", True)
    assert label.property("card") == "true"
