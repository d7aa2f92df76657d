"""Geometry, layout and table columns across restarts. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QByteArray
from PySide6.QtWidgets import QMainWindow

from app.settings import LAYOUT_PRESET, WINDOW_GEOMETRY, WINDOW_STATE, Settings, header_state
from app.ui.layouts import Layouts, Preset
from app.ui.widgets.data_table import DataTable


class WindowMemory:
    """Writes the look of a window to the settings and reads it back."""

    def __init__(self, window: QMainWindow, layouts: Layouts, tables: Sequence[DataTable], settings: Settings) -> None:
        self._window = window
        self._layouts = layouts
        self._tables = tables
        self._settings = settings

    def save(self) -> None:
        """Write everything."""
        self._settings.set(WINDOW_GEOMETRY, bytes(self._window.saveGeometry().data()))
        self._settings.set(WINDOW_STATE, self._layouts.save())
        self._settings.set(LAYOUT_PRESET, self._layouts.preset.value)
        for table in self._tables:
            self._settings.set(header_state(table.view.objectName()), table.save_header())

    def restore(self) -> None:
        """Read everything; what does not fit falls back to the preset or the default."""
        preset = self._settings.get(LAYOUT_PRESET)
        self._layouts.preset = Preset(preset) if preset in list(Preset) else Preset.TRADING
        self._layouts.restore(self._settings.get(WINDOW_STATE))
        geometry = self._settings.get(WINDOW_GEOMETRY)
        if geometry:
            self._window.restoreGeometry(QByteArray(geometry))  # Qt clamps it to the screens there are
        for table in self._tables:
            saved = self._settings.get(header_state(table.view.objectName()))
            if saved:
                table.restore_header(saved)
