"""A histogram beside what an even spread would look like. GUI thread."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from app.i18n import format_number, format_percent, tr
from app.theme import SPACE_S, SPACE_XS, Palette
from app.ui.charts.style import hairline
from app.ui.widgets.figure_plot import FigurePlot, centred

_Z = 1.96
_ROOM = 1.1


class HistogramPlot(FigurePlot):
    """Shares of equal bins from 0 to 1; the dashed line is the even spread, the band what chance alone explains."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(colours, parent)
        self._counts: tuple[int, ...] = ()
        self._independent = 0
        self._across = ""

    def set_counts(self, counts: Sequence[int], independent: int = 0) -> None:
        """Show bins; `independent` outcomes give the width of the band, none where it is 0."""
        self._counts, self._independent = tuple(counts), independent
        self._describe()

    def set_axis(self, across: str) -> None:
        """Name the horizontal axis."""
        self._across = across
        self._describe()

    def is_empty(self) -> bool:
        return not sum(self._counts)

    def description(self) -> str:
        return "; ".join(self._text(bin_) for bin_ in range(len(self._counts)))

    def tip_at(self, position: QPoint) -> str:
        area = self._area()
        if not area.contains(position):
            return ""
        return self._text(min(len(self._counts) - 1, (position.x() - area.left()) * len(self._counts) // area.width()))

    def paint_figures(self, painter: QPainter) -> None:
        area, style, total = self._area(), self._style, sum(self._counts)
        even = 1.0 / len(self._counts)
        off = _Z * math.sqrt(even * (1.0 - even) / self._independent) if self._independent > 0 else 0.0
        top = max(max(self._counts) / total, even + off) * _ROOM

        def row(share: float) -> int:
            return area.bottom() - round(max(0.0, share) / top * area.height())

        if off:
            band = QRect(area.left(), row(even + off), area.width(), row(even - off) - row(even + off))
            painter.fillRect(band, self._shade(style.accent))
        edges = [area.left() + area.width() * n // len(self._counts) for n in range(len(self._counts) + 1)]
        for number, count in enumerate(self._counts):
            upper = row(count / total)
            bar = QRect(edges[number] + 1, upper, edges[number + 1] - edges[number] - 2, area.bottom() - upper)
            painter.fillRect(bar, self._shade(style.accent, 0.6))
        painter.setPen(hairline(style.muted, Qt.PenStyle.DashLine))
        painter.drawLine(area.left(), row(even), area.right(), row(even))
        painter.setPen(hairline(style.line))
        painter.drawLine(area.left(), area.bottom(), area.right(), area.bottom())
        painter.setPen(style.muted)
        line = painter.fontMetrics().height()
        for share in (0.0, 0.5, 1.0):
            x = area.left() + round(share * area.width())
            centred(painter, x, area.bottom() + SPACE_XS, format_number(share, 1), self.rect())
        centred(painter, area.center().x(), area.bottom() + SPACE_XS + line, self._across, self.rect())

    def _area(self) -> QRect:
        line = self.fontMetrics().height()
        return QRect(SPACE_S, SPACE_S, max(1, self.width() - 2 * SPACE_S), max(1, self.height() - 3 * line - SPACE_S))

    def _text(self, number: int) -> str:
        step = 1.0 / len(self._counts)
        return tr(
            "{low} to {high}: {share} of outcomes",
            low=format_number(number * step, 1),
            high=format_number((number + 1) * step, 1),
            share=format_percent(self._counts[number] / sum(self._counts), 1),
        )
