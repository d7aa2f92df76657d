"""What helps a person who is new: the welcome and the user guide inside the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QPoint, QRect, Qt, QUrl
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QTextBrowser, QWidget
from pytestqt.qtbot import QtBot

from app.i18n import Language
from app.settings import FIRST_RUN_DONE
from app.theme import ThemeChoice, UpDown
from app.ui.actions import ActionId
from app.ui.dialogs import guide_dialog
from app.ui.dialogs.guide_dialog import DOCS, GuideDialog, anchor_of
from app.ui.layouts import DockName
from app.ui.main_window import MINIMUM_SIZE
from app.ui.welcome import GUIDE, MARKET, ORDER, TRAIN, WelcomeCard
from tests.qt.window_kit import WindowKit

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def kit(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[WindowKit]:
    kit = WindowKit(qapp, tmp_path)
    kit.window.show()
    qtbot.waitExposed(kit.window)
    yield kit
    kit.language.set_language(Language.ENGLISH)
    kit.close()


def settle() -> None:
    QApplication.processEvents()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def card(kit: WindowKit) -> WelcomeCard | None:
    settle()
    found = kit.window.findChild(WelcomeCard)
    return found if found is not None and found.isVisible() else None


def shown_card(kit: WindowKit) -> WelcomeCard:
    found = card(kit)
    assert found is not None
    return found


def press(qtbot: QtBot, kit: WindowKit, name: str) -> None:
    button = shown_card(kit).findChild(QPushButton, name)
    assert button is not None
    qtbot.mouseClick(button, LEFT)


def place(widget: QWidget, window: QWidget) -> QRect:
    return QRect(widget.mapTo(window, QPoint()), widget.size())


# --- welcome ------------------------------------------------------------------------------------------------------


def test_the_welcome_greets_once_per_data_folder(qtbot: QtBot, kit: WindowKit) -> None:
    assert card(kit) is None  # not before the start is complete
    kit.window.greet()
    assert "no real money moves" in " ".join(label.text() for label in shown_card(kit).findChildren(QLabel))
    assert kit.settings.get(FIRST_RUN_DONE)
    press(qtbot, kit, "welcome_close")
    kit.window.greet()
    assert card(kit) is None
    kit.window.actions_[ActionId.WELCOME].trigger()
    kit.window.actions_[ActionId.WELCOME].trigger()
    assert len(kit.window.findChildren(WelcomeCard)) == 1


@pytest.mark.parametrize("language", list(Language))
def test_the_welcome_leaves_stop_free_and_the_focus_where_it_is(
    qtbot: QtBot, kit: WindowKit, language: Language
) -> None:
    window = kit.window
    window.activateWindow()
    window.ticket.form.quantity.edit.setFocus()
    qtbot.waitUntil(window.ticket.form.quantity.edit.hasFocus)
    window.greet()
    kit.language.set_language(language)
    for size in (MINIMUM_SIZE, (1_600, 1_000)):
        window.resize(*size)
        settle()
        where = place(shown_card(kit), window)
        assert window.rect().contains(where)
        assert not where.intersects(place(window.top_bar, window))
        assert not where.intersects(place(window.menuBar(), window))
    assert window.ticket.form.quantity.edit.hasFocus()
    qtbot.mouseClick(window.top_bar.kill_switch.kill, LEFT)
    assert kit.trading.calls == [("kill", False)]


def test_each_first_step_leads_there_and_ends_the_welcome(qtbot: QtBot, kit: WindowKit) -> None:
    window, chart = kit.window, QWidget()
    chart.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    window.attach_dock("chart", chart)
    window.activateWindow()
    window.greet()
    press(qtbot, kit, MARKET)
    qtbot.waitUntil(chart.hasFocus)
    assert card(kit) is None
    window.deeds.show_welcome()
    window.layouts.show(DockName.CHART)  # as a model looked at does: begun without the card
    assert card(kit) is None
    window.deeds.show_welcome()
    press(qtbot, kit, ORDER)
    qtbot.waitUntil(window.ticket.form.quantity.edit.hasFocus)
    window.deeds.show_welcome()
    with qtbot.waitSignal(window.train_requested):
        press(qtbot, kit, TRAIN)
    window.deeds.show_welcome()
    press(qtbot, kit, GUIDE)
    assert shown_card(kit) is not None  # the guide stands beside it
    guide(kit).close()
    train = shown_card(kit).findChild(QPushButton, TRAIN)
    assert train is not None
    window.activateWindow()
    train.setFocus()
    qtbot.waitUntil(train.hasFocus)
    qtbot.keyClick(train, Qt.Key.Key_Escape)
    assert card(kit) is None


def test_the_welcome_follows_the_language(kit: WindowKit) -> None:
    kit.window.greet()
    kit.language.set_language(Language.KOREAN)
    texts = [label.text() for label in shown_card(kit).findChildren(QLabel)]
    assert any("실제 돈은 움직이지 않습니다" in text for text in texts)


# --- user guide ---------------------------------------------------------------------------------------------------


def guide(kit: WindowKit) -> GuideDialog:
    settle()
    found = kit.window.findChild(GuideDialog)
    assert found is not None
    assert found.isVisible()
    return found


def top_line(text: QTextBrowser) -> str:
    return text.cursorForPosition(QPoint(40, 16)).block().text()


def test_the_guide_opens_once_and_follows_language_and_theme(kit: WindowKit) -> None:
    kit.window.actions_[ActionId.GUIDE].trigger()
    kit.window.actions_[ActionId.GUIDE].trigger()
    assert len(kit.window.findChildren(GuideDialog)) == 1
    found = guide(kit)
    assert not found.isModal()
    assert found.windowTitle() == "User guide"
    assert found.text.toPlainText().startswith("User guide")
    kit.language.set_language(Language.KOREAN)
    assert found.windowTitle() == "사용 안내서"
    assert found.text.toPlainText().startswith("사용 안내서")
    bar = found.text.verticalScrollBar()
    bar.setValue(300)
    before = found.text.document().toHtml()
    kit.theme.set_theme(ThemeChoice.LIGHT, UpDown.WESTERN)
    assert bar.value() == 300
    assert found.text.document().toHtml() != before  # links have the colour of the theme
    found.close()


@pytest.mark.parametrize("language", list(Language))
def test_every_chapter_and_every_link_of_the_guide_leads_somewhere(
    qtbot: QtBot, kit: WindowKit, language: Language
) -> None:
    kit.language.set_language(language)
    kit.window.actions_[ActionId.GUIDE].trigger()
    found = guide(kit)
    source = (DOCS / f"user_guide.{language.value}.md").read_text("utf-8")
    titles = [line.removeprefix("## ") for line in source.splitlines() if line.startswith("## ")]
    assert [found.chapters.item(row).text() for row in range(found.chapters.count())] == titles
    for row in (5, 1):
        found.chapters.setCurrentRow(row)
        assert top_line(found.text) == titles[row]
    found.follow(QUrl(f"#{anchor_of(titles[3])}"))
    assert top_line(found.text) == titles[3]
    back = found.findChild(QPushButton, "guide_back")
    assert back is not None
    assert not back.isVisible()
    found.follow(QUrl("cli.md#practice-exchange-protocol"))
    assert top_line(found.text) == "Practice exchange protocol"
    qtbot.mouseClick(back, LEFT)
    assert found.chapters.item(0).text() == titles[0]
    found.follow(QUrl("../secret.md"))
    found.follow(QUrl("https://example.com/"))
    assert found.chapters.item(0).text() == titles[0]
    found.close()


def test_a_guide_that_is_missing_is_said(kit: WindowKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide_dialog, "DOCS", tmp_path)
    kit.window.actions_[ActionId.GUIDE].trigger()
    assert guide(kit).text.toPlainText() == "The page user_guide.en.md is missing. Install the program again."
    guide(kit).close()
