"""What small plots of figures share: colours, an empty text, exact numbers under the mouse. GUI thread.

Painted one pixel wide and without antialiasing, as the price chart. A plot tells its figures in words too
(`setAccessibleDescription`), so that nothing depends on seeing it.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt
from PySide6.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QToolTip, QWidget

from app.theme import ROW_HEIGHT, Palette, mix
from app.ui.charts.style import ChartStyle

BAND_SHARE = 0.18  # how strongly a band of tolerance stands out from the surface


class FigurePlot(QWidget):
    """Base of the plots: subclasses say whether there is anything to draw, draw it, and name what lies at a point."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._style = ChartStyle.from_palette(colours)
        self._empty = ""

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._style = ChartStyle.from_palette(colours)
        self.update()

    def set_empty_text(self, text: str) -> None:
        """Set what stands there while there is nothing to draw."""
        self._empty = text
        self._describe()

    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return True

    def description(self) -> str:
        """Return the figures in words."""
        return ""

    def tip_at(self, position: QPoint) -> str:
        """Return the exact figures of what lies under a point, "" where nothing does."""
        return ""

    def paint_figures(self, painter: QPainter) -> None:
        """Paint what there is; the background and the small font are set."""

    def sizeHint(self) -> QSize:
        return QSize(12 * ROW_HEIGHT, 9 * ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(7 * ROW_HEIGHT, 6 * ROW_HEIGHT)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() is QEvent.Type.ToolTip:
            text = "" if self.is_empty() else self.tip_at(event.pos())
            if text:
                QToolTip.showText(event.globalPos(), text, self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._style.background)
        painter.setFont(self._style.small)
        if self.is_empty():
            painter.setPen(self._style.muted)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._empty)
        else:
            self.paint_figures(painter)
        painter.end()

    def _describe(self) -> None:
        """Say the figures anew and draw them."""
        self.setAccessibleDescription(self._empty if self.is_empty() else self.description())
        self.update()

    def _shade(self, colour: QColor, share: float = BAND_SHARE) -> QColor:
        """Return a colour as faint as a band behind figures."""
        return QColor(mix(self._style.palette.surface, colour.name(), share))


def centred(painter: QPainter, x: int, top: int, text: str, within: QRect) -> None:
    """Write a label centred on a column, kept within a rectangle."""
    metrics = painter.fontMetrics()
    width = metrics.horizontalAdvance(text)
    left = min(max(x - width // 2, within.left()), within.right() - width)
    painter.drawText(QRect(left, top, width + 1, metrics.height()), Qt.AlignmentFlag.AlignCenter, text)
