"""Where the panels stand: presets, saving, restoring. GUI thread only.

Panels are known by constant names, never by their translated titles: a saved layout survives a change of language.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from PySide6.QtCore import QByteArray, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDockWidget, QMainWindow, QWidget

from app.theme import GRID

STATE_VERSION = 1


class DockName(StrEnum):
    """Constant names of the docks; the object name of a dock is `dock_<name>`."""

    CHART = "chart"
    ORDER_BOOK = "order_book"
    TICKET = "ticket"
    TRAINING = "training"
    STRATEGIES = "strategies"
    ORDERS = "orders"
    PLANS = "plans"
    POSITIONS = "positions"
    FILLS = "fills"
    LOG = "log"
    NOTIFICATIONS = "notifications"


class Preset(StrEnum):
    """Arrangements to choose from."""

    TRADING = "trading"
    TRAINING = "training"


_TABLES = (
    DockName.POSITIONS,
    DockName.ORDERS,
    DockName.PLANS,
    DockName.FILLS,
    DockName.STRATEGIES,
    DockName.LOG,
    DockName.NOTIFICATIONS,
)
# Docks that came later than the others: an arrangement saved before knows nothing of them, and they join this one.
_NEIGHBOUR = {DockName.PLANS: DockName.ORDERS}
_LEFT, _RIGHT = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
_CHART_WIDTH, _BOOK_WIDTH, _TICKET_WIDTH, _TRAINING_WIDTH = 208 * GRID, 70 * GRID, 82 * GRID, 130 * GRID
_CHART_HEIGHT, _TABLE_HEIGHT = 110 * GRID, 62 * GRID


class Layouts(QObject):
    """Arranges the docks of a window.

    Args:
        window: the main window; the docks are added to it here.

    Signals:
        arranged: a preset or a saved arrangement was applied.
        brought_up: the program brought a dock to the front.
    """

    arranged = Signal()
    brought_up = Signal()

    def __init__(self, window: QMainWindow) -> None:
        super().__init__(window)
        # Qt tells of a dock's new place before it stands there, so titles are looked at one turn later.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self.refresh_titles)
        self._window = window
        self._docks: dict[DockName, QDockWidget] = {}
        self.preset = Preset.TRADING
        self._left: dict[Preset, bytes] = {}  # how each preset looked when it was left
        window.setDockNestingEnabled(True)

    def add(self, name: DockName, dock: QDockWidget) -> None:
        """Make a dock known; it appears with the next `apply`."""
        dock.setObjectName(f"dock_{name.value}")
        dock.setAllowedAreas(Qt.DockWidgetArea.AllDockWidgetAreas)
        dock.dockLocationChanged.connect(self._on_dock_moved)
        dock.topLevelChanged.connect(self._on_dock_moved)
        self._docks[name] = dock

    def dock(self, name: DockName) -> QDockWidget | None:
        """Return a dock, None while it is not attached."""
        return self._docks.get(name)

    def docks(self) -> list[QDockWidget]:
        """Return the docks that are attached."""
        return list(self._docks.values())

    def toggles(self) -> list[QAction]:
        """Return the actions that show and hide each dock."""
        known = [self._docks[name] for name in DockName if name in self._docks]
        return [dock.toggleViewAction() for dock in known]

    def set_title(self, name: DockName, title: str) -> None:
        """Set the translated title of a dock."""
        self._docks[name].setWindowTitle(title)

    def choose(self, preset: Preset) -> None:
        """Go to a preset as it was left; nothing happens where it is the present one."""
        if preset is not self.preset:
            self._left[self.preset] = self.save()
            self._take(preset, self._left.get(preset, b""))

    def apply(self, preset: Preset) -> None:
        """Put every dock back to its factory place in a preset."""
        self.preset = preset
        self._left.pop(preset, None)
        for dock in self._docks.values():
            dock.setFloating(False)
            self._window.removeDockWidget(dock)
        if preset is Preset.TRADING:
            self._trading()
        else:
            self._training()
        self.refresh_titles()
        self.arranged.emit()

    @Slot()
    def refresh_titles(self) -> None:
        """Hide the title of a dock whose tab already says it."""
        for dock in self._docks.values():
            tabbed = not dock.isFloating() and bool(self._window.tabifiedDockWidgets(dock))
            blank: QWidget | None = dock.titleBarWidget()
            if tabbed and blank is None:
                dock.setTitleBarWidget(QWidget(dock))
            elif not tabbed and blank is not None:
                dock.setTitleBarWidget(None)  # type: ignore[arg-type]
                blank.deleteLater()

    @Slot()
    def _on_dock_moved(self) -> None:
        self._later.start()

    def _trading(self) -> None:
        self._column(_LEFT, (DockName.CHART,), _TABLES, front=DockName.POSITIONS)
        right = [d for d in (self._place(DockName.ORDER_BOOK, _RIGHT), self._place(DockName.TICKET, _RIGHT)) if d]
        if len(right) == 2:
            self._window.splitDockWidget(right[0], right[1], Qt.Orientation.Horizontal)
        self._tabify(DockName.TICKET, (DockName.TRAINING,))
        self._resize((DockName.CHART, DockName.ORDER_BOOK, DockName.TICKET), (_CHART_WIDTH, _BOOK_WIDTH, _TICKET_WIDTH))

    def _training(self) -> None:
        tables = tuple(name for name in _TABLES if name is not DockName.STRATEGIES)
        self._column(_LEFT, (DockName.CHART,), (DockName.STRATEGIES, *tables), front=DockName.STRATEGIES)
        self._place(DockName.TRAINING, _RIGHT)
        self._tabify(DockName.TRAINING, (DockName.TICKET, DockName.ORDER_BOOK))
        self._resize((DockName.CHART, DockName.TRAINING), (_CHART_WIDTH, _TRAINING_WIDTH))

    def _column(
        self, area: Qt.DockWidgetArea, top: tuple[DockName, ...], tabs: tuple[DockName, ...], *, front: DockName
    ) -> None:
        """Stack `top` over a group of tabs."""
        for name in top:
            self._place(name, area)
        upper = self._docks.get(top[-1])
        lower = self._place(tabs[0], area)
        if upper is not None and lower is not None:
            self._window.splitDockWidget(upper, lower, Qt.Orientation.Vertical)
            self._window.resizeDocks([upper, lower], [_CHART_HEIGHT, _TABLE_HEIGHT], Qt.Orientation.Vertical)
        self._tabify(tabs[0], tabs[1:])
        chosen = self._docks.get(front)
        if chosen is not None:
            chosen.raise_()

    def _place(self, name: DockName, area: Qt.DockWidgetArea) -> QDockWidget | None:
        dock = self._docks.get(name)
        if dock is not None:
            self._window.addDockWidget(area, dock)
            dock.show()
        return dock

    def _tabify(self, first: DockName, others: tuple[DockName, ...]) -> None:
        base = self._docks.get(first)
        for name in others:
            dock = self._docks.get(name)
            if dock is None:
                continue
            if base is None:
                base = self._place(name, _RIGHT)
                continue
            self._window.addDockWidget(_RIGHT, dock)
            self._window.tabifyDockWidget(base, dock)
            dock.show()
        if base is not None:
            base.raise_()

    def _resize(self, names: tuple[DockName, ...], widths: tuple[int, ...]) -> None:
        present = [(self._docks[n], w) for n, w in zip(names, widths, strict=True) if n in self._docks]
        self._window.resizeDocks([d for d, _ in present], [w for _, w in present], Qt.Orientation.Horizontal)

    def save(self) -> bytes:
        """Return the present arrangement."""
        return bytes(self._window.saveState(STATE_VERSION).data())

    def arrangements(self) -> dict[Preset, bytes]:
        """Return how each preset that was ever used looks, or looked when it was left."""
        return {**self._left, self.preset: self.save()}

    def restore(self, preset: Preset, states: Mapping[Preset, bytes]) -> bool:
        """Take over saved arrangements and go to a preset; False (and its factory places) where its own does not fit.

        Args:
            states: empty bytes where a preset was never used.
        """
        self._left = {name: state for name, state in states.items() if state}
        return self._take(preset, states.get(preset, b""))

    def _take(self, preset: Preset, state: bytes) -> bool:
        self.preset = preset
        if state and self._window.restoreState(QByteArray(state), STATE_VERSION):
            self._place_newcomers(state)
            self.refresh_titles()
            self.arranged.emit()
            return True
        self.apply(preset)
        return False

    def _place_newcomers(self, state: bytes) -> None:
        """Put docks that a saved arrangement does not name behind their neighbours."""
        for name, neighbour in _NEIGHBOUR.items():
            dock, beside = self._docks.get(name), self._docks.get(neighbour)
            # Qt writes object names as big-endian UTF-16.
            if dock is None or beside is None or dock.objectName().encode("utf-16-be") in state:
                continue
            group = (beside, *self._window.tabifiedDockWidgets(beside))
            front = [other for other in group if not other.visibleRegion().isEmpty()]
            dock.setFloating(False)
            self._window.tabifyDockWidget(beside, dock)
            dock.show()
            for other in front:
                other.raise_()

    def show(self, name: DockName, *, focus: bool = False) -> None:
        """Bring a dock to the front; with `focus` its keys work at once."""
        dock = self._docks.get(name)
        if dock is not None:
            dock.show()
            dock.raise_()
            self.brought_up.emit()
            if focus:
                dock.widget().setFocus(Qt.FocusReason.OtherFocusReason)
