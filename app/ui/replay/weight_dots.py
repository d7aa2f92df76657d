"""Where the networks of an agent stand between short and long, and where its target and its position. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPolygon
from PySide6.QtWidgets import QWidget

from app.i18n import format_number, tr
from app.theme import GRID, ROW_HEIGHT, SPACE_S, Palette
from app.ui.charts.style import ChartStyle, hairline

_RADIUS = GRID
_HEIGHT = 2 * ROW_HEIGHT


class WeightDots(QWidget):
    """A line from the lowest weight to the highest: rings of the networks, the target, and what is held."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("replay_dots")
        self._style = ChartStyle.from_palette(colours)
        self._weights: tuple[float, ...] = ()
        self._target: float | None = None
        self._held = 0.0
        self._most = 1.0

    def set_most(self, most: float) -> None:
        """Let the line reach to this size of weight on both sides."""
        self._most = most
        self.update()

    def show_weights(self, weights: Sequence[float], target: float | None, held: float) -> None:
        """Show what each network wants, what is wanted together, and what is held."""
        self._weights, self._target, self._held = tuple(weights), target, held
        self.setToolTip(tr("○ each network, ▼ the target, which is their mean, ▮ what is held"))
        self.update()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._style = ChartStyle.from_palette(colours)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(40 * GRID, _HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, style = QPainter(self), self._style
        painter.setFont(style.small)
        line = self.height() // 2
        left, right = SPACE_S, self.width() - SPACE_S
        painter.setPen(hairline(style.line))
        painter.drawLine(left, line, right, line)
        for share, text in ((-1.0, -self._most), (0.0, 0.0), (1.0, self._most)):
            x = round(left + (share + 1.0) / 2 * (right - left))
            painter.setPen(hairline(style.line))
            painter.drawLine(x, line - _RADIUS, x, line + _RADIUS)
            painter.setPen(style.muted)
            label = format_number(text, 0 if text == 0 else 2, sign=True)
            width = painter.fontMetrics().horizontalAdvance(label)
            at = min(max(x - width // 2, left), right - width)
            painter.drawText(at, self.height() - painter.fontMetrics().descent(), label)
        self._paint_marks(painter, line)
        painter.end()

    def _paint_marks(self, painter: QPainter, line: int) -> None:
        style = self._style
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(style.muted)
        held = self._x(self._held)
        painter.drawRect(QRect(held - 1, line - 2 * _RADIUS, 3, 4 * _RADIUS))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(style.text)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for weight in self._weights:
            painter.drawEllipse(QPoint(self._x(weight), line), _RADIUS, _RADIUS)
        if self._target is not None:
            x, tip = self._x(self._target), line - _RADIUS
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(style.accent)
            corners = [
                QPoint(x, tip),
                QPoint(x - _RADIUS - 1, tip - 2 * _RADIUS),
                QPoint(x + _RADIUS + 1, tip - 2 * _RADIUS),
            ]
            painter.drawPolygon(QPolygon(corners))

    def _x(self, weight: float) -> int:
        share = min(max(weight / self._most, -1.0), 1.0)
        return round(SPACE_S + (share + 1.0) / 2 * (self.width() - 2 * SPACE_S))
