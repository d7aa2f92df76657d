"""Several values of one figure on a line, with their median and its interval. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from app.theme import GRID, ROW_HEIGHT, SPACE_M, Palette
from app.ui.charts.style import hairline
from app.ui.widgets.figure_plot import FigurePlot

_REACH = 2 * GRID


class DotPlot(FigurePlot):
    """One dot per value, a line at the median, a band for its interval."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(colours, parent)
        self._dots: tuple[tuple[float, str], ...] = ()
        self._median = 0.0
        self._interval: tuple[float, float] | None = None

    def set_dots(
        self, dots: Sequence[tuple[float, str]], median: float = 0.0, interval: tuple[float, float] | None = None
    ) -> None:
        """Show values with what is said under the mouse, their median and its interval."""
        self._dots, self._median, self._interval = tuple(dots), median, interval
        self._describe()

    def is_empty(self) -> bool:
        return not self._dots

    def description(self) -> str:
        return "; ".join(text for _, text in self._dots)

    def tip_at(self, position: QPoint) -> str:
        near = [text for value, text in self._dots if abs(self._x(value) - position.x()) <= _REACH]
        return "\n".join(near)

    def sizeHint(self) -> QSize:
        return QSize(8 * ROW_HEIGHT, ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(5 * ROW_HEIGHT, ROW_HEIGHT)

    def paint_figures(self, painter: QPainter) -> None:
        style, middle = self._style, self.height() // 2
        if self._interval is not None:
            low, high = (self._x(value) for value in self._interval)
            painter.fillRect(QRect(low, GRID, max(1, high - low), self.height() - 2 * GRID), self._shade(style.accent))
        painter.setPen(hairline(style.line))
        painter.drawLine(SPACE_M, middle, self.width() - SPACE_M, middle)
        painter.setPen(hairline(style.text))
        x = self._x(self._median)
        painter.drawLine(x, GRID, x, self.height() - GRID)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)  # a handful of dots
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(style.accent)
        for value, _ in self._dots:
            painter.drawEllipse(QPoint(self._x(value), middle), GRID - 1, GRID - 1)

    def _x(self, value: float) -> int:
        values = [dot for dot, _ in self._dots] + list(self._interval or ()) + [self._median]
        low, high = min(values), max(values)
        share = (value - low) / (high - low) if high > low else 0.5
        return SPACE_M + round(share * (self.width() - 2 * SPACE_M))
