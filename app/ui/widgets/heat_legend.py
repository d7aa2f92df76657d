"""Which colour means which weight: short, flat, long. GUI thread."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.i18n import format_number, tr
from app.theme import GRID, ROW_HEIGHT, SPACE_S, Palette
from app.ui.charts.heat import SHADES, shades
from app.ui.charts.style import ChartStyle

_CELL = GRID
_BAR_HEIGHT = 3 * GRID


class HeatLegend(QWidget):
    """The scale of `app.ui.charts.heat.HeatItem` with its ends in words."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("heat_legend")
        self._style = ChartStyle.from_palette(colours)
        self._most = 1.0

    def set_most(self, most: float) -> None:
        """Name the weight at the ends of the scale."""
        self._most = most
        self.retranslate()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._style = ChartStyle.from_palette(colours)
        self.update()

    def retranslate(self) -> None:
        """Write the words in the present language."""
        self.setAccessibleName(tr("Colours of the target weight"))
        self.setToolTip(tr("Target weight of the agent at each bar, as a share of its equity; nothing where none."))
        self.setAccessibleDescription(" … ".join(self._texts()))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        words = sum(metrics.horizontalAdvance(text) + SPACE_S for text in self._texts())
        return QSize(words + (2 * SHADES + 1) * _CELL, ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setFont(self._style.small)
        metrics, (low, high) = painter.fontMetrics(), self._texts()
        base = (self.height() + metrics.ascent() - metrics.descent()) // 2
        painter.setPen(self._style.muted)
        painter.drawText(0, base, low)
        x = metrics.horizontalAdvance(low) + SPACE_S
        top = (self.height() - _BAR_HEIGHT) // 2
        for colour in shades(self._style):
            painter.fillRect(QRect(x, top, _CELL, _BAR_HEIGHT), colour)
            x += _CELL
        painter.drawText(x + SPACE_S, base, high)
        painter.end()

    def _texts(self) -> tuple[str, str]:
        return (
            tr("short {weight}", weight=format_number(-self._most, 2, sign=True)),
            tr("long {weight}", weight=format_number(self._most, 2, sign=True)),
        )
