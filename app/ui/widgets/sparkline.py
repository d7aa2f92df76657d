"""A line the size of a word. GUI thread."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPointF, QSize
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.i18n import format_percent, tr
from app.theme import GRID, ROW_HEIGHT, Palette
from app.ui.charts.style import hairline


class Sparkline(QWidget):
    """The course of a few values without axes, in the colour of their net change."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = colours
        self._values: list[float] = []

    def set_values(self, values: Sequence[float]) -> None:
        """Show these values, oldest first; values that are not finite are left out."""
        self._values = [value for value in values if math.isfinite(value)]
        self.setAccessibleDescription(self._description())
        self.update()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = colours
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(4 * ROW_HEIGHT, ROW_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        if len(self._values) < 2:
            return
        low, high = min(self._values), max(self._values)
        area = self.rect().adjusted(1, GRID, -2, -GRID)
        step = area.width() / (len(self._values) - 1)
        scale = area.height() / (high - low) if high > low else 0.0
        middle = area.center().y()
        points = [
            QPointF(area.left() + i * step, area.bottom() - (value - low) * scale if scale else middle)
            for i, value in enumerate(self._values)
        ]
        rising = self._values[-1] >= self._values[0]
        painter = QPainter(self)
        painter.setPen(hairline(QColor(self._palette.up if rising else self._palette.down)))
        painter.drawPolyline(points)
        painter.end()

    def _description(self) -> str:
        if len(self._values) < 2 or not self._values[0]:
            return tr("No values yet")
        change = format_percent(self._values[-1] / self._values[0] - 1, sign=True)
        return tr("{n} values, change {change}", n=len(self._values), change=change)
