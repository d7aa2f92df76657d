"""What was promised against what came: calibration of quantiles, reliability of chances. GUI thread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPolygon
from PySide6.QtWidgets import QWidget

from app.i18n import format_percent, tr
from app.theme import GRID, ROW_HEIGHT, SPACE_S, SPACE_XS, Palette
from app.ui.charts.style import hairline
from app.ui.widgets.figure_plot import FigurePlot, centred

_MARKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_BAND_STEPS = 40
_Z = 1.96  # of the band that 95 % of honest forecasters stay in
_REACH = 3 * GRID  # px around a point within which the mouse means it


@dataclass(frozen=True, slots=True)
class DiagonalPoint:
    """One promise.

    Attributes:
        promised / observed: shares, 0 to 1.
        count: forecasts behind it; None where all are.
    """

    promised: float
    observed: float
    count: int | None = None


class DiagonalPlot(FigurePlot):
    """Points that lie on the diagonal where every promise was kept, and the band that chance alone explains."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(colours, parent)
        self._points: tuple[DiagonalPoint, ...] = ()
        self._independent = 0
        self._across = self._up = ""

    def set_points(self, points: Sequence[DiagonalPoint], independent: int = 0) -> None:
        """Show points; `independent` outcomes give the width of the band, none where it is 0."""
        self._points, self._independent = tuple(points), independent
        self._describe()

    def set_axes(self, across: str, up: str) -> None:
        """Name the axes."""
        self._across, self._up = across, up
        self._describe()

    def is_empty(self) -> bool:
        return not self._points

    def description(self) -> str:
        return "; ".join(self._text(point) for point in self._points)

    def tip_at(self, position: QPoint) -> str:
        area = self._area()
        near = [p for p in self._points if (self._place(area, p) - position).manhattanLength() <= _REACH]
        return "\n".join(self._text(point) for point in near)

    def sizeHint(self) -> QSize:
        return QSize(12 * ROW_HEIGHT, 11 * ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(9 * ROW_HEIGHT, 11 * ROW_HEIGHT)  # below that the marks of the axes run into each other

    def paint_figures(self, painter: QPainter) -> None:
        area, style = self._area(), self._style
        line = painter.fontMetrics().height()
        band = self._band(area)
        if band is not None:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._shade(style.accent))
            painter.drawPolygon(band)
            painter.setBrush(Qt.BrushStyle.NoBrush)
        for value in _MARKS:
            at = self._place(area, DiagonalPoint(value, value))
            painter.setPen(hairline(style.grid))
            painter.drawLine(at.x(), area.top(), at.x(), area.bottom())
            painter.drawLine(area.left(), at.y(), area.right(), at.y())
            painter.setPen(style.muted)
            text = format_percent(value, 0)
            centred(painter, at.x(), area.bottom() + SPACE_XS, text, self.rect())
            box = QRect(0, at.y() - line // 2, area.left() - SPACE_XS, line)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)
        painter.drawText(QRect(0, 0, self.width(), line), Qt.AlignmentFlag.AlignLeft, self._up)
        centred(painter, area.center().x(), area.bottom() + SPACE_XS + line, self._across, self.rect())
        painter.setPen(hairline(style.muted, Qt.PenStyle.DashLine))
        painter.drawLine(area.bottomLeft(), area.topRight())
        places = [self._place(area, point) for point in self._points]
        painter.setPen(hairline(style.accent))
        painter.drawPolyline(places)
        for place in places:
            painter.fillRect(QRect(place - QPoint(2, 2), QSize(5, 5)), style.accent)

    def _area(self) -> QRect:
        line = self.fontMetrics().height()
        left = self.fontMetrics().horizontalAdvance(format_percent(1.0, 0)) + SPACE_S
        side = min(self.width() - left - SPACE_S, self.height() - 3 * line - 2 * SPACE_S)
        return QRect(left, line + SPACE_XS, max(1, side), max(1, side))

    @staticmethod
    def _place(area: QRect, point: DiagonalPoint) -> QPoint:
        x = area.left() + round(point.promised * (area.width() - 1))
        return QPoint(x, area.bottom() - round(min(max(point.observed, 0.0), 1.0) * (area.height() - 1)))

    def _band(self, area: QRect) -> QPolygon | None:
        if self._independent <= 0:
            return None
        shares = [step / _BAND_STEPS for step in range(_BAND_STEPS + 1)]
        off = [_Z * math.sqrt(share * (1.0 - share) / self._independent) for share in shares]
        upper = [DiagonalPoint(share, share + d) for share, d in zip(shares, off, strict=True)]
        lower = [DiagonalPoint(share, share - d) for share, d in zip(shares, off, strict=True)]
        return QPolygon([self._place(area, point) for point in (*upper, *reversed(lower))])

    @staticmethod
    def _text(point: DiagonalPoint) -> str:
        promised, observed = format_percent(point.promised, 1), format_percent(point.observed, 1)
        if point.count is None:
            return tr("promised {promised}, came {observed}", promised=promised, observed=observed)
        return tr("promised {promised}, came {observed} ({n} ×)", promised=promised, observed=observed, n=point.count)
