"""Equity of an agent against holding, under the bars it belongs to. GUI thread."""

from __future__ import annotations

import math

import numpy as np
from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.i18n import format_number, tr
from app.theme import GRID, ROW_HEIGHT, SPACE_S, SPACE_XS, Palette
from app.ui.charts.axes import PRICE_GAP, Scale
from app.ui.charts.overlays import peak_buckets
from app.ui.charts.primitives import FloatArray, draw_polyline
from app.ui.charts.style import ChartStyle, hairline
from app.ui.charts.ticks import price_ticks
from app.ui.charts.view import ChartView

_HEIGHT = 5 * ROW_HEIGHT
_ROOM = 0.1
_DECIMALS = 3


class EquityStrip(QWidget):
    """Two lines over the same bars as a chart, with its pixel columns."""

    def __init__(self, chart: ChartView, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("replay_equity")
        self._chart = chart
        self._style = ChartStyle.from_palette(colours)
        self._equity = np.empty(0)
        self._hold: FloatArray | None = None
        self._bars, self._row = 0, 0
        chart.view_changed.connect(self.update)

    def set_lines(self, equity: FloatArray, hold: FloatArray | None) -> None:
        """Show the equity of the agent and of holding, shape (m,) each."""
        self._equity, self._hold = equity, hold
        self._bars = self._row = 0
        self.update()

    def set_done(self, bars: int, row: int) -> None:
        """Show so many bars, counted from the first, and read the lines at one of them."""
        self._bars, self._row = bars, row
        self.setAccessibleDescription(". ".join(text for text, _ in self._words()))
        self.update()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._style = ChartStyle.from_palette(colours)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(40 * GRID, _HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(40 * GRID, 3 * ROW_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        style = self._style
        painter.fillRect(self.rect(), style.background)
        painter.setPen(hairline(style.line))
        painter.drawLine(0, 0, self.width(), 0)
        painter.setFont(style.small)
        head = painter.fontMetrics().height() + 2 * SPACE_XS
        area = QRect(0, head, self._chart.plot_width, max(1, self.height() - head))
        painter.drawLine(area.right() + 1, 0, area.right() + 1, self.height())
        first, last = self._visible()
        if first < last:
            self._paint_lines(painter, area, first, last)
        self._paint_words(painter)
        painter.end()

    def _visible(self) -> tuple[int, int]:
        left, right = self._chart.visible_range
        return max(0, math.floor(left)), min(self._bars, math.ceil(right) + 1)

    def _lines(self) -> list[tuple[FloatArray, QColor, Qt.PenStyle]]:
        lines = [] if self._hold is None else [(self._hold, self._style.muted, Qt.PenStyle.DashLine)]
        return [*lines, (self._equity, self._style.accent, Qt.PenStyle.SolidLine)]

    def _paint_lines(self, painter: QPainter, area: QRect, first: int, last: int) -> None:
        shown = [values[first:last] for values, _, _ in self._lines()]
        low, high = min(float(v.min()) for v in shown), max(float(v.max()) for v in shown)
        span = (high - low) or abs(high) * 0.01 or 0.01
        scale = Scale(area, low - span * _ROOM, high + span * _ROOM)
        self._paint_axis(painter, area, scale)
        painter.setClipRect(area)
        per_pixel = max(1, int((last - first) / max(1, area.width())))
        for (_, colour, pen), values in zip(self._lines(), shown, strict=True):
            x, y = np.arange(first, last, dtype=np.float64), values
            if per_pixel > 1:
                x, y = peak_buckets(first, values, per_pixel)
            begin, step = self._chart.column(0.0), (self._chart.column(1e4) - self._chart.column(0.0)) / 1e4
            rows = np.asarray(area.top() + (1 - (y - scale.low) / (scale.high - scale.low)) * area.height(), np.float64)
            painter.setPen(hairline(colour, pen))
            draw_polyline(painter, begin + x * step, rows)
        painter.setPen(hairline(self._style.accent))
        column = self._chart.column(self._row)
        painter.drawLine(column, area.top(), column, area.bottom())
        painter.setClipping(False)

    def _paint_axis(self, painter: QPainter, area: QRect, scale: Scale) -> None:
        metrics = painter.fontMetrics()
        for value in price_ticks(scale.low, scale.high, area.height(), PRICE_GAP * 0.75, _DECIMALS):
            y = scale.y(value)
            if not area.top() + metrics.height() // 2 <= y <= area.bottom() - metrics.height() // 2:
                continue
            painter.setPen(hairline(self._style.grid))
            painter.drawLine(area.left(), y, area.right(), y)
            painter.setPen(self._style.muted)
            painter.drawText(area.right() + SPACE_S, y + metrics.ascent() // 2, format_number(value, _DECIMALS))

    def _words(self) -> list[tuple[str, QColor]]:
        if not self._bars:
            return []
        texts = [(tr("Agent {value}", value=format_number(float(self._equity[self._row]), 3)), self._style.accent)]
        if self._hold is not None:
            value = format_number(float(self._hold[self._row]), 3)
            texts.append((tr("Buy and hold {value}", value=value), self._style.muted))
        return texts

    def _paint_words(self, painter: QPainter) -> None:
        metrics = painter.fontMetrics()
        words = [(tr("Equity, 1 at the start"), self._style.text), *self._words()]
        x = SPACE_S
        for text, colour in words:
            painter.setPen(colour)
            painter.drawText(x, SPACE_XS + metrics.ascent(), text)
            x += metrics.horizontalAdvance(text) + SPACE_S
