"""A person at the window: mouse and keys only, on widgets found by their object names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from PySide6.QtCore import QAbstractItemModel, QPoint, QRect, Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QDateEdit, QMainWindow, QMenu, QTabBar, QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

W = TypeVar("W", bound=QWidget)
LEFT = Qt.MouseButton.LeftButton
CONTROL = Qt.KeyboardModifier.ControlModifier

PATIENCE = 6.0  # times given are those of a quiet machine; only a hang may fail


def shown(widget: QWidget) -> bool:
    """Whether any of it can be seen; panels behind others lie outside the window."""
    window = widget.window()
    place = QRect(widget.mapTo(window, QPoint()), widget.size())
    return widget.isVisible() and window.rect().intersects(place)


class Person:
    """Looks at the window and works it; every step fails where a person could not do it."""

    def __init__(self, qtbot: QtBot, window: QMainWindow) -> None:
        self.qtbot, self.window = qtbot, window

    # -- looking ---------------------------------------------------------------------------------------------------

    def see(self, kind: type[W], name: str, within: QWidget | None = None, timeout_s: float = 10.0) -> W:
        """Return the one widget of this name that can be seen, waiting for it."""
        found: list[W] = []

        def visible() -> bool:
            found[:] = [w for w in (within or self.window).findChildren(kind, name) if shown(w)]
            return bool(found)

        self.wait(visible, timeout_s, f"{kind.__name__} {name!r}")
        assert len(found) == 1, f"{len(found)} widgets are called {name!r}"
        return found[0]

    def wait(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Let the program run until `ready`."""
        try:
            self.qtbot.waitUntil(ready, timeout=round(timeout_s * PATIENCE * 1_000))
        except self.qtbot.TimeoutError:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}") from None

    def rows(self, name: str) -> list[dict[str, str]]:
        """Return the visible cells of a table, by column title; empty where its empty state shows."""
        view = next(v for v in self.window.findChildren(QAbstractItemView, name))
        model: QAbstractItemModel = view.model()
        titles = [str(model.headerData(c, Qt.Orientation.Horizontal)) for c in range(model.columnCount())]
        return [
            {title: str(model.index(row, column).data()) for column, title in enumerate(titles)}
            for row in range(model.rowCount())
        ]

    # -- working ---------------------------------------------------------------------------------------------------

    def click(self, widget: QWidget, at: QPoint | None = None) -> None:
        """Click what can be seen and is enabled."""
        assert isValid(widget)
        name = widget.objectName()
        assert widget.isVisible(), f"{name} is not visible"
        assert widget.isEnabled(), f"{name} is not enabled"
        window = widget.window()
        if not window.isActiveWindow():  # what a window manager does at a click; the offscreen screen has none
            window.activateWindow()
            self.wait(window.isActiveWindow, 5.0, f"{window.objectName()} is active")
        point = at if at is not None else widget.rect().center()
        hit = window.childAt(widget.mapTo(window, point))
        assert hit is not None, f"{name} lies outside its window"
        assert hit is widget or widget.isAncestorOf(hit), f"{name} is covered by {hit!r}"
        self.qtbot.mouseClick(widget, LEFT, pos=point)

    def press(self, kind: type[QWidget], name: str, within: QWidget | None = None) -> None:
        """Find and click."""
        self.click(self.see(kind, name, within))

    def tick(self, kind: type[QWidget], name: str, within: QWidget | None = None) -> None:
        """Click the box or circle in front of a text."""
        widget = self.see(kind, name, within)
        self.click(widget, QPoint(widget.height() // 2, widget.height() // 2))

    def write(self, kind: type[QWidget], name: str, text: str, within: QWidget | None = None) -> None:
        """Replace the text of a field."""
        field = self.see(kind, name, within)
        self.click(field)
        self.qtbot.waitUntil(lambda: self._focused(field))
        self.qtbot.keyClick(QGuiApplication.focusWindow(), Qt.Key.Key_A, CONTROL)
        self.qtbot.keyClicks(field, text)

    def write_date(self, name: str, iso: str, within: QWidget | None = None) -> None:
        """Write a date into its field, part by part as the field wants it."""
        field = self.see(QDateEdit, name, within)
        self.click(field, QPoint(field.height() // 2, field.height() // 2))
        self.qtbot.waitUntil(lambda: self._focused(field))
        self.qtbot.keyClick(field, Qt.Key.Key_A, CONTROL)
        self.qtbot.keyClicks(field, iso)
        self.qtbot.keyClick(field, Qt.Key.Key_Tab)
        shown = field.date().toString(Qt.DateFormat.ISODate)
        assert shown == iso, f"{name} made {shown} of {iso}"

    def _focused(self, field: QWidget) -> bool:
        now: Any = field.window().focusWidget()
        return now is not None and (now is field or field.isAncestorOf(now) or now.focusProxy() is field)

    def choose(self, name: str, text: str, within: QWidget | None = None) -> None:
        """Open a list with the mouse and take an entry with keys (a click right after opening counts as a release)."""
        box = self.see(QComboBox, name, within)
        self.click(box)
        view = box.view()
        self.wait(view.isVisible, 5.0, f"the list of {name}")
        index = view.model().index(box.findText(text), 0)
        assert index.isValid(), f"{name} has no {text!r}, but {[box.itemText(i) for i in range(box.count())]}"
        self.qtbot.keyClick(view, Qt.Key.Key_Home)
        for _ in range(index.row()):
            self.qtbot.keyClick(view, Qt.Key.Key_Down)
        self.qtbot.keyClick(view, Qt.Key.Key_Return)
        self.wait(lambda: box.currentText() == text, 5.0, f"{name} shows {text}")

    def menu(self, title: str, action_name: str) -> None:
        """Open a menu of the menu bar and click an entry."""
        bar = self.window.menuBar()
        entry = next(a for a in bar.actions() if a.text().replace("&", "") == title)
        self.qtbot.mouseClick(bar, LEFT, pos=bar.actionGeometry(entry).center())
        opened = next(m for m in bar.findChildren(QMenu) if m.menuAction() is entry)
        self.wait(opened.isVisible, 5.0, f"menu {title}")
        action: QAction = next(a for a in opened.actions() if a.objectName() == action_name)
        assert action.isEnabled()
        self.qtbot.mouseClick(opened, LEFT, pos=opened.actionGeometry(action).center())

    def tab(self, title: str) -> None:
        """Bring a panel to the front by its tab."""
        for bar in self.window.findChildren(QTabBar):
            for index in range(bar.count()):
                if bar.isVisible() and bar.tabText(index) == title:
                    self.qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(index).center())
                    return
        raise AssertionError(f"there is no tab {title!r}")

    def select_row(self, name: str, row: int) -> None:
        """Click a row of a table."""
        view = self.see(QAbstractItemView, name)
        rect = view.visualRect(view.model().index(row, 0))
        self.qtbot.mouseClick(view.viewport(), LEFT, pos=rect.center())
