"""Geometry, layout and table columns across restarts, also those that were not planned. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QByteArray, QEvent, QObject, QTimer, Slot
from PySide6.QtWidgets import QMainWindow

from app.settings import LAYOUT_PRESET, WINDOW_GEOMETRY, Settings, header_state, layout_state
from app.ui.layouts import Layouts, Preset
from app.ui.widgets.data_table import DataTable

QUIET_MS = 1_500  # so long after the last change everything is written: a drag is one change, not a hundred
_MOVES = (QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.WindowStateChange)


class WindowMemory(QObject):
    """Writes the look of a window to the settings and reads it back."""

    def __init__(self, window: QMainWindow, layouts: Layouts, tables: Sequence[DataTable], settings: Settings) -> None:
        super().__init__(window)
        self._window = window
        self._layouts = layouts
        self._tables = tables
        self._settings = settings
        self._watching = False
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(QUIET_MS)
        self._quiet.timeout.connect(self._on_quiet)

    def watch(self) -> None:
        """Write everything shortly after each change from now on: a crash must not bring an old arrangement back.

        Not before every panel stands in its place, for until then the arrangement is nobody's.
        """
        if self._watching:
            return
        self._watching = True
        self._window.installEventFilter(self)
        self._layouts.arranged.connect(self._on_change)
        for dock in self._layouts.docks():
            dock.installEventFilter(self)  # a splitter that is moved tells nobody but the docks beside it
            dock.dockLocationChanged.connect(self._on_change)
            dock.topLevelChanged.connect(self._on_change)
            dock.visibilityChanged.connect(self._on_change)
        for table in self._tables:
            header = table.view.horizontalHeader()
            for changed in (header.sectionResized, header.sectionMoved, header.sortIndicatorChanged):
                changed.connect(self._on_change)

    def stop(self) -> None:
        """Write nothing by itself any more: what the window looks like while it closes is nobody's wish."""
        self._watching = False
        self._quiet.stop()

    def save(self) -> None:
        """Write everything."""
        self._settings.set(WINDOW_GEOMETRY, bytes(self._window.saveGeometry().data()))
        for preset, state in self._layouts.arrangements().items():
            self._settings.set(layout_state(preset.value), state)
        self._settings.set(LAYOUT_PRESET, self._layouts.preset.value)
        for table in self._tables:
            self._settings.set(header_state(table.view.objectName()), table.save_header())

    def restore(self) -> None:
        """Read everything; what does not fit falls back to the preset or the default."""
        name = self._settings.get(LAYOUT_PRESET)
        chosen = Preset(name) if name in list(Preset) else Preset.TRADING
        self._layouts.restore(chosen, {p: self._settings.get(layout_state(p.value)) for p in Preset})
        geometry = self._settings.get(WINDOW_GEOMETRY)
        if geometry:
            self._window.restoreGeometry(QByteArray(geometry))  # Qt clamps it to the screens there are
        for table in self._tables:
            saved = self._settings.get(header_state(table.view.objectName()))
            if saved:
                table.restore_header(saved)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in _MOVES:
            self._on_change()
        return False

    @Slot()
    def _on_change(self) -> None:
        if self._watching:
            self._quiet.start()

    @Slot()
    def _on_quiet(self) -> None:
        if self._window.isVisible() and not self._window.isMinimized():  # a hidden window shows no arrangement
            self.save()
