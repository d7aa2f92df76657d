"""Curves over a shared x axis: loss per epoch, equity per day. GUI thread.

Painted with the marks and pens of the price chart, one pixel wide and without antialiasing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.i18n import format_number
from app.theme import GRID, ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS, Palette
from app.ui.charts.axes import PRICE_GAP, Scale
from app.ui.charts.style import ChartStyle, hairline
from app.ui.charts.ticks import price_ticks

_DECIMALS = 12
_ROOM = 0.08
_MARK_GAP = 12 * GRID
_MARK_SIZE = 7
_WIDE = 10.0  # highest by lowest, from which on growth is told on a logarithmic axis
_LOG_MARKS = ((1, 2, 5), (1, 3), (1,))  # of each power of ten, the densest first


class CurveColour(StrEnum):
    """Which colour of the palette a curve takes."""

    ACCENT = "accent"
    WARNING = "warning"
    SUCCESS = "success"
    MUTED = "muted"
    VIOLET = "paper"


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        name: shown in the legend, once for all curves of that name; "" is left out there.
        x / y: equal length; a y that is not finite interrupts the line.
        colour: role in the palette.
        dashed: a second cue beside the colour.
        mark: x of a point on it that stands out, e.g. the best epoch.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: CurveColour
    dashed: bool = False
    mark: float | None = None

    def points(self) -> list[tuple[float, float]]:
        """Return the finite points."""
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if math.isfinite(y)]


class _FactorScale(Scale):
    """Maps values by their logarithm to base ten, in which the range is given."""

    def y(self, value: float) -> int:
        return super().y(math.log10(value))


def factor_ticks(low: float, high: float, pixels: float, min_gap: float) -> list[float]:
    """Return the values to mark between two logarithms to base ten, ascending; see `price_ticks`."""
    decade = pixels / (high - low)
    powers = range(math.floor(low), math.ceil(high) + 1)
    for marks in _LOG_MARKS:
        places = [math.log10(mark) for mark in (*marks, 10)]
        if min(b - a for a, b in pairwise(places)) * decade >= min_gap:
            return [m * 10.0**p for p in powers for m in marks if low <= p + math.log10(m) <= high]
    step = math.ceil(min_gap / decade)
    return [10.0**p for p in powers if p % step == 0 and low <= p <= high]


class CurvePlot(QWidget):
    """A small plot with legend, automatic range and a reading under the mouse."""

    def __init__(self, colours: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = colours
        self._style = ChartStyle.from_palette(colours)
        self._curves: tuple[Curve, ...] = ()
        self._x_range: tuple[float, float] | None = None
        self._growth = False
        self._x_marks: tuple[tuple[float, str], ...] = ()
        self._empty = self._x_title = ""
        self._hover: QPoint | None = None
        self.setMouseTracking(True)

    def set_curves(
        self, curves: Sequence[Curve], *, x_range: tuple[float, float] | None = None, growth: bool = False
    ) -> None:
        """Show curves.

        Args:
            curves: what to draw, the first one on top.
            x_range: fixed horizontal range; None fits the data.
            growth: they are multiples of a start: where they differ tenfold the same factor takes the same height,
                as the ones that grew little could not be told apart otherwise.
        """
        self._curves, self._x_range, self._growth = tuple(curves), x_range, growth
        newest = [f"{entry[0].name} {_values_text([c.points()[-1][1] for c in entry])}" for entry in self._entries()]
        self.setAccessibleDescription(", ".join(newest) or self._empty)
        self.update()

    def set_x_title(self, text: str) -> None:
        """Set what the horizontal axis counts; it stands at its right end."""
        self._x_title = text
        self.update()

    def set_x_marks(self, marks: Sequence[tuple[float, str]]) -> None:
        """Set where the horizontal axis is marked, and with what; without any it counts."""
        self._x_marks = tuple(marks)
        self.update()

    def set_empty_text(self, text: str) -> None:
        """Set what stands there while no curve has a point."""
        self._empty = text
        self.update()

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._palette, self._style = colours, ChartStyle.from_palette(colours)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(14 * ROW_HEIGHT, 7 * ROW_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(7 * ROW_HEIGHT, 5 * ROW_HEIGHT)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hover = event.position().toPoint()
        self.update()

    def leaveEvent(self, event) -> None:  # type: ignore[no-untyped-def]
        self._hover = None
        self.update()
        super().leaveEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._style.background)
        points = [point for curve in self._curves for point in curve.points()]
        painter.setFont(self._style.small)
        if points:
            self._paint_plot(painter, points)
        else:
            painter.setPen(self._style.muted)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._empty)
        painter.end()

    def _paint_plot(self, painter: QPainter, points: list[tuple[float, float]]) -> None:
        metrics = painter.fontMetrics()
        line = metrics.height()
        low, high = min(y for _, y in points), max(y for _, y in points)
        by_factor = self._growth and low > 0 and high / low > _WIDE
        if by_factor:
            low, high = math.log10(low), math.log10(high)
        span = (high - low) or abs(high) * 0.1 or 1.0
        low, high = low - span * _ROOM, high + span * _ROOM
        legend = self._legend_rows(metrics)
        height = self.height() - (1 + max(1, len(legend))) * line - 2 * SPACE_S
        if by_factor:
            ticks = factor_ticks(low, high, height, PRICE_GAP * 0.75)
            labels = [format_number(value, max(0, -math.floor(math.log10(value) + 1e-9))) for value in ticks]
        else:
            ticks = price_ticks(low, high, height, PRICE_GAP * 0.75, _DECIMALS)
            labels = [format_number(value, _needed_decimals(ticks)) for value in ticks]
        axis = max(metrics.horizontalAdvance(label) for label in (*labels, self._x_title)) + SPACE_S
        area = QRect(
            SPACE_XS, max(1, len(legend)) * line + SPACE_S, max(1, self.width() - axis - SPACE_S), max(1, height)
        )
        scale = _FactorScale(area, low, high) if by_factor else Scale(area, low, high)
        painter.setPen(hairline(self._style.grid))
        for value in ticks:
            painter.drawLine(area.left(), scale.y(value), area.right(), scale.y(value))
        painter.setPen(self._style.muted)
        for value, label in zip(ticks, labels, strict=True):
            box = QRect(area.right(), scale.y(value) - line // 2, axis, line)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, label)
        x_low, x_high = self._x_range or (min(x for x, _ in points), max(x for x, _ in points))
        across = area.width() / ((x_high - x_low) or 1.0)
        self._paint_x_marks(painter, area, x_low, x_high, across)
        for curve in reversed(self._curves):
            self._paint_curve(painter, curve, area, scale, x_low, across)
        self._paint_legend(painter, area, x_low, across, legend)

    def _paint_x_marks(self, painter: QPainter, area: QRect, x_low: float, x_high: float, across: float) -> None:
        painter.setPen(self._style.muted)
        line = painter.fontMetrics().height()
        counted = [(value, format_number(value, 0)) for value in price_ticks(x_low, x_high, area.width(), _MARK_GAP, 0)]
        free = area.left()
        for value, text in self._x_marks or counted:
            x = area.left() + round((value - x_low) * across)
            width = painter.fontMetrics().horizontalAdvance(text)
            left = min(max(x - width // 2, area.left()), area.right() - width)
            if left < free:  # it would run into the one before
                continue
            free = left + width + SPACE_S
            painter.drawText(QRect(left, area.bottom() + SPACE_XS, width + 1, line), Qt.AlignmentFlag.AlignCenter, text)
        corner = QRect(area.right(), area.bottom() + SPACE_XS, self.width() - area.right() - SPACE_XS, line)
        painter.drawText(corner, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self._x_title)

    def _paint_curve(
        self, painter: QPainter, curve: Curve, area: QRect, scale: Scale, x_low: float, across: float
    ) -> None:
        dash = Qt.PenStyle.DashLine if curve.dashed else Qt.PenStyle.SolidLine
        painter.setPen(hairline(self._colour(curve), dash))
        points = [QPoint(area.left() + round((x - x_low) * across), scale.y(y)) for x, y in curve.points()]
        if len(points) == 1:
            painter.fillRect(QRect(points[0] - QPoint(1, 1), QSize(3, 3)), self._colour(curve))
        else:
            painter.drawPolyline(points)
        for point, (x, _) in zip(points, curve.points(), strict=True):
            if x == curve.mark:
                around = QPoint(_MARK_SIZE // 2, _MARK_SIZE // 2)
                painter.fillRect(QRect(point - around, QSize(_MARK_SIZE, _MARK_SIZE)), self._colour(curve))

    def _entries(self) -> list[list[Curve]]:
        """Return the curves of each entry of the legend: those of one name that have a point."""
        found: dict[str, list[Curve]] = {}
        for curve in self._curves:
            if curve.name and curve.points():
                found.setdefault(curve.name, []).append(curve)
        return list(found.values())

    def _legend_rows(self, metrics: QFontMetrics) -> list[list[list[Curve]]]:
        """Divide the entries of the legend into rows that fit beside each other."""
        rows: list[list[list[Curve]]] = []
        free = 0
        for entry in self._entries():
            newest = [curve.points()[-1][1] for curve in entry]
            width = metrics.horizontalAdvance(_legend_text(entry[0], newest)) + SPACE_M
            if not rows or width > free:
                rows.append([])
                free = self.width() - SPACE_XS + SPACE_M
            rows[-1].append(entry)
            free -= width
        return rows

    def _paint_legend(
        self, painter: QPainter, area: QRect, x_low: float, across: float, rows: list[list[list[Curve]]]
    ) -> None:
        """Write names and values: the newest ones, or those under the mouse."""
        line = painter.fontMetrics().height()
        for number, row in enumerate(rows):
            x = area.left()
            baseline = area.top() - SPACE_S - (len(rows) - 1 - number) * line
            for entry in row:
                shown = [curve.points()[-1] for curve in entry]
                if self._hover is not None:
                    wanted = x_low + (self._hover.x() - area.left()) / across
                    shown = [min(curve.points(), key=lambda point: abs(point[0] - wanted)) for curve in entry]
                    painter.setPen(hairline(self._style.muted, Qt.PenStyle.DashLine))
                    for column in {area.left() + round((x_shown - x_low) * across) for x_shown, _ in shown}:
                        painter.drawLine(column, area.top(), column, area.bottom())
                painter.setPen(self._colour(entry[0]))
                text = _legend_text(entry[0], [value for _, value in shown])
                painter.drawText(QPoint(x, baseline), text)
                x += painter.fontMetrics().horizontalAdvance(text) + SPACE_M

    def _colour(self, curve: Curve) -> QColor:
        return QColor(getattr(self._palette, curve.colour.value))


def _legend_text(curve: Curve, values: Sequence[float]) -> str:
    return f"{'╌' if curve.dashed else '─'} {curve.name} {_values_text(values)}"


def _values_text(values: Sequence[float]) -> str:
    """Return a value, or the lowest and the highest of several."""
    low, high = _short(min(values)), _short(max(values))
    return low if low == high else f"{low} … {high}"


def _short(value: float) -> str:
    """Four significant digits, enough to see a loss move."""
    decimals = max(0, min(_DECIMALS, 3 - math.floor(math.log10(abs(value))))) if value else 0
    return format_number(value, decimals)


def _needed_decimals(ticks: Sequence[float]) -> int:
    """Return the decimals that tell neighbouring marks apart."""
    if len(ticks) < 2:
        return 4
    return max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
