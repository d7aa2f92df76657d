"""Candles: the closed bars and, apart from them, the forming one. GUI thread.

Rising bars are hollow and falling ones filled where there is room, so that colour never speaks alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QGraphicsItem

from app.ui.charts.lod import CLOSE, FACTOR, HIGH, LOW, OPEN
from app.ui.charts.pane import PaneItem
from app.ui.charts.primitives import FloatArray, PixelMap, draw_rects
from app.ui.charts.series import BarSeries
from app.ui.charts.style import ChartStyle

BODY_SHARE = 0.76
_HOLLOW_FROM = 5  # device pixels of body width
_SMALLEST = 1e-300  # an item must have an extent


def bucket_limit(pixels: float) -> int:
    """Return how many buckets a view of so many device pixels can tell apart; panes must agree on it."""
    return max(64, int(pixels))


def bucket_centres(level: int, start: int, count: int) -> FloatArray:
    """Return x of the middles of buckets `start` … of a level, shape (count,)."""
    width = FACTOR**level
    return (np.arange(start, start + count) * width) + (width - 1) / 2


def body_width(spacing: float, line: int) -> int:
    """Return a body width in device pixels for bars `spacing` pixels apart that centres on a wick of width `line`."""
    width = int(spacing * BODY_SHARE)
    if (width - line) % 2:
        width -= 1
    return max(line, width)


class SeriesItem(PaneItem):
    """Base of items that paint a bar series: exposes only the visible slice, bounds as floats from the data.

    Attributes:
        series: the bars; replaced as a whole on another market.
    """

    def __init__(self, style: ChartStyle) -> None:
        super().__init__()
        # Without the flag Qt passes the whole bounding rectangle and every partial update paints everything.
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemUsesExtendedStyleOption, True)
        self.series: BarSeries | None = None
        self._style = style
        self._bounds = QRectF()

    def set_series(self, series: BarSeries | None) -> None:
        """Show other bars."""
        self.series = series
        self.bars_changed()

    def set_style(self, style: ChartStyle) -> None:
        """Take the colours of another theme."""
        self._style = style
        self.update()

    def bars_changed(self) -> None:
        """Recompute the extent after bars were added or corrected."""
        bounds = self._data_bounds()
        if bounds != self._bounds:
            self.prepareGeometryChange()
            self._bounds = bounds
        self.update()

    def boundingRect(self) -> QRectF:
        return self._bounds

    def _data_bounds(self) -> QRectF:
        raise NotImplementedError

    def _view_columns(self, series: BarSeries, pixels: PixelMap) -> tuple[int, tuple[int, int]]:
        """Return (level of detail, visible bars) of the whole view; a partial repaint must use the same level."""
        left, right = self.pane.x_range
        view = max(0, int(left) - 1), min(len(series), int(right) + 2)
        return series.pyramid.pick(*view, bucket_limit(abs(right - left) * pixels.scale_x)), view

    def _buckets(self, series: BarSeries, pixels: PixelMap, exposed: QRectF) -> tuple[FloatArray, FloatArray, int]:
        """Return what stands in a strip: centres of the buckets (n,), their bars (5, n), and bars per bucket."""
        level, (first, last) = self._view_columns(series, pixels)
        bucket = FACTOR**level
        # One bucket more at each side: bodies reach over the edge of the exposed strip.
        first = max(first, math.floor(exposed.left()) - bucket)
        last = min(last, math.ceil(exposed.right()) + bucket + 1)
        start, bars = series.pyramid.buckets(level, first, last)
        return bucket_centres(level, start, bars.shape[1]), bars, bucket


def series_bounds(count: int, low: float, high: float) -> QRectF:
    """Return the extent of bars 0 … count - 1 between two prices."""
    return QRectF(-0.5, low, count, max(high - low, _SMALLEST))


def paint_candles(
    painter: QPainter, pixels: PixelMap, x: FloatArray, bars: FloatArray, spacing: float, style: ChartStyle
) -> None:
    """Paint candles.

    Args:
        painter: already in device pixels.
        pixels: map from item coordinates.
        x: middles of the bars, shape (n,).
        bars: shape (≥ 4, n), rows as in the pyramid; columns with a NaN price are left out.
        spacing: device pixels between two bars.
        style: colours.
    """
    whole = np.isfinite(bars[:4]).all(axis=0)
    if not whole.all():
        x, bars = x[whole], bars[:, whole]
    line = pixels.line
    width = body_width(spacing, line)
    centre = pixels.x(x + 0.0)
    open_, high, low, close = (pixels.y(bars[row]) for row in (OPEN, HIGH, LOW, CLOSE))
    top = np.minimum(open_, close)
    body = np.maximum(np.abs(open_ - close) + line, line)
    left = centre - (width - line) // 2
    rising = bars[CLOSE] >= bars[OPEN]
    painter.setPen(Qt.PenStyle.NoPen)
    for mask, colour in ((rising, style.up), (~rising, style.down)):
        painter.setBrush(colour)
        draw_rects(painter, centre[mask], high[mask], line, (low - high + line)[mask])
        if width > line:
            draw_rects(painter, left[mask], top[mask], width, body[mask])
    if width >= _HOLLOW_FROM * line:
        _hollow(painter, rising & (body > 2 * line), left, top, width, body, line, style.background)


def _hollow(
    painter: QPainter,
    mask: NDArray[np.bool_],
    left: FloatArray,
    top: FloatArray,
    width: int,
    body: FloatArray,
    line: int,
    background: QColor,
) -> None:
    painter.setBrush(background)
    draw_rects(painter, left[mask] + line, top[mask] + line, width - 2 * line, body[mask] - 2 * line)


class CandleItem(SeriesItem):
    """The closed bars; a frame costs the same whatever their number."""

    def _data_bounds(self) -> QRectF:
        if self.series is None or len(self.series) == 0:
            return QRectF()
        whole = self.series.pyramid.y_range(0, len(self.series))
        return series_bounds(len(self.series), *whole) if whole else QRectF()

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        if self.series is None or len(self.series) == 0:
            return
        painter.save()
        pixels = PixelMap.enter(painter)
        x, bars, bucket = self._buckets(self.series, pixels, option.exposedRect)
        paint_candles(painter, pixels, x, bars, bucket * pixels.scale_x, self._style)
        painter.restore()


class FormingBarItem(SeriesItem):
    """The running bar in an item of its own: a tick repaints one bar, not the history."""

    def _data_bounds(self) -> QRectF:
        if self.series is None or self.series.forming is None:
            return QRectF()
        _, high, low, _, _ = self.series.forming
        return QRectF(len(self.series) - 0.5, low, 1, max(high - low, _SMALLEST))

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        if self.series is None or self.series.forming is None:
            return
        painter.save()
        pixels = PixelMap.enter(painter)
        bars = np.array(self.series.forming).reshape(-1, 1)
        x = np.array([float(len(self.series))])
        level, _ = self._view_columns(self.series, pixels)
        paint_candles(painter, pixels, x, bars, FACTOR**level * pixels.scale_x, self._style)
        painter.restore()
