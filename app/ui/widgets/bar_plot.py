"""Named bars with error bars below each other: what each feature is worth. GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from app.i18n import format_percent
from app.theme import GRID, ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS, Palette
from app.ui.charts.style import hairline
from app.ui.widgets.figure_plot import FigurePlot

_NAME_SHARE = 0.38  # of the width, at most, for the names
_THICKNESS = 3 * GRID


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        name: what it measures.
        value: its length.
        deviation: standard deviation of the value; None where it is not known.
    """

    name: str
    value: float
    deviation: float | None = None


def _percent(value: float) -> str:
    return format_percent(value, 2, sign=True)


class BarPlot(FigurePlot):
    """Horizontal bars from a common zero line, one row each; as high as they are many."""

    def __init__(
        self, colours: Palette, parent: QWidget | None = None, *, write: Callable[[float], str] = _percent
    ) -> None:
        super().__init__(colours, parent)
        self._write = write
        self._bars: tuple[Bar, ...] = ()

    def set_bars(self, bars: Sequence[Bar]) -> None:
        """Show bars, the first one on top."""
        self._bars = tuple(bars)
        self.updateGeometry()
        self._describe()

    def is_empty(self) -> bool:
        return not self._bars

    def description(self) -> str:
        return "; ".join(self._text(bar) for bar in self._bars)

    def tip_at(self, position: QPoint) -> str:
        row = position.y() // ROW_HEIGHT
        return self._text(self._bars[row]) if 0 <= row < len(self._bars) else ""

    def sizeHint(self) -> QSize:
        return QSize(14 * ROW_HEIGHT, max(3, len(self._bars)) * ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(9 * ROW_HEIGHT, max(3, len(self._bars)) * ROW_HEIGHT)

    def paint_figures(self, painter: QPainter) -> None:
        metrics, style = painter.fontMetrics(), self._style
        longest = max(metrics.horizontalAdvance(bar.name) for bar in self._bars) + SPACE_XS
        names = min(longest, int(self.width() * _NAME_SHARE))
        values = max(metrics.horizontalAdvance(self._write(bar.value)) for bar in self._bars)
        left, right = names + SPACE_M, self.width() - values - SPACE_M - SPACE_S
        low = min(0.0, *(bar.value - (bar.deviation or 0.0) for bar in self._bars))
        high = max(0.0, *(bar.value + (bar.deviation or 0.0) for bar in self._bars))
        per_unit = max(1, right - left) / ((high - low) or 1.0)
        zero = left + round(-low * per_unit)
        for row, bar in enumerate(self._bars):
            middle = row * ROW_HEIGHT + ROW_HEIGHT // 2
            text = QRect(SPACE_XS, row * ROW_HEIGHT, names, ROW_HEIGHT)
            painter.setPen(style.text)
            name = metrics.elidedText(bar.name, Qt.TextElideMode.ElideRight, names)
            painter.drawText(text, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)
            end = zero + round(bar.value * per_unit)
            body = QRect(min(zero, end), middle - _THICKNESS // 2, max(1, abs(end - zero)), _THICKNESS)
            painter.fillRect(body, self._shade(style.accent if bar.value > 0 else style.muted, 0.6))
            if bar.deviation:
                self._paint_error(painter, end, middle, round(bar.deviation * per_unit))
            box = QRect(self.width() - values - SPACE_S, row * ROW_HEIGHT, values, ROW_HEIGHT)
            painter.setPen(style.muted)
            alignment = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(box, alignment, self._write(bar.value))
        painter.setPen(hairline(style.line))
        painter.drawLine(zero, 0, zero, len(self._bars) * ROW_HEIGHT)

    def _paint_error(self, painter: QPainter, end: int, middle: int, reach: int) -> None:
        painter.setPen(hairline(self._style.text))
        painter.drawLine(end - reach, middle, end + reach, middle)
        for x in (end - reach, end + reach):
            painter.drawLine(x, middle - GRID // 2, x, middle + GRID // 2)

    def _text(self, bar: Bar) -> str:
        spread = f" ± {self._write(bar.deviation).lstrip('+')}" if bar.deviation is not None else ""
        return f"{bar.name}: {self._write(bar.value)}{spread}"
