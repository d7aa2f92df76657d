"""The smallest window: no panel is pushed over its edge."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect
from PySide6.QtWidgets import QApplication, QDockWidget
from pytestqt.qtbot import QtBot

from app.i18n import Language
from app.ui.docks.chart_dock import ChartDock
from app.ui.docks.order_book_dock import OrderBookDock
from app.ui.main_window import MINIMUM_SIZE, MainWindow
from core.events import Notice, Severity
from tests.qt.window_kit import WindowKit


class Commands:
    def watch(self, symbol: str, timeframe: str) -> None: ...


def covered(window: MainWindow) -> bool:
    """Whether a toast hides what sends the order."""
    place = QRect(window.ticket.deed.mapTo(window, QPoint()), window.ticket.deed.size())
    return any(toast.geometry().intersects(place) for toast in window.toasts.toasts)


@pytest.mark.parametrize("language", list(Language))
def test_every_panel_and_the_deed_are_inside_the_smallest_window(
    qtbot: QtBot, qapp: QApplication, tmp_path: Path, language: Language
) -> None:
    kit = WindowKit(qapp, tmp_path)
    window = kit.window
    chart, book = ChartDock(Commands(), kit.theme), OrderBookDock(kit.theme)
    try:
        window.attach_dock("chart", chart)
        window.attach_dock("order_book", book)
        kit.language.set_language(language)
        window.show()
        qtbot.waitExposed(window)
        window.resize(*MINIMUM_SIZE)
        qtbot.wait(20)
        outside = [
            dock.objectName()
            for dock in window.findChildren(QDockWidget)
            if dock.isVisible() and dock.x() >= 0 and dock.geometry().right() > window.width()
        ]
        assert outside == []
        # Whatever the ticket has to say, what sends the order is in sight.
        for quantity in ("", "0.001s"):
            window.ticket.form.quantity.edit.setText(quantity)
            qtbot.wait(20)
            deed = window.ticket.deed
            assert deed.visibleRegion().boundingRect() == deed.rect()
        for text in ("One", "Two", "Three"):
            window.show_notice(Notice(Severity.WARNING, text, "A toast must not hide the button either."))
        assert len(window.toasts.toasts) == 3
        assert not covered(window)
        # Told while the ticket was behind another panel, they make room when it comes to the front.
        window.toasts.clear()
        dock = next(dock for dock in window.findChildren(QDockWidget) if dock.isAncestorOf(window.ticket))
        dock.hide()
        for text in ("One", "Two", "Three"):
            window.show_notice(Notice(Severity.WARNING, text, "A whole verdict needs many lines. " * 6))
        dock.show()
        qtbot.waitUntil(lambda: window.ticket.deed.isVisible() and not covered(window))
    finally:
        book.shutdown()
        kit.close()
