"""Indicator lines over the candles. GUI thread."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter

from app.ui.charts.candles import SeriesItem, series_bounds
from app.ui.charts.lod import CLOSE
from app.ui.charts.primitives import FloatArray, PixelMap, draw_polyline
from app.ui.charts.series import BarSeries
from app.ui.charts.style import ChartStyle, hairline

MOVING_AVERAGES = (20, 50, 200)


def moving_average(values: FloatArray, period: int) -> FloatArray:
    """Return the simple moving average, shape as `values`; NaN until `period` values are there."""
    result = np.full(len(values), np.nan)
    if len(values) < period:
        return result
    # Sums of differences from a price of the series keep their digits over millions of bars.
    base = values[len(values) // 2]
    sums = np.cumsum(np.concatenate([[0.0], values - base]))
    result[period - 1 :] = base + (sums[period:] - sums[:-period]) / period
    return result


def peak_buckets(x0: int, values: FloatArray, per_bucket: int) -> tuple[FloatArray, FloatArray]:
    """Reduce a line to the lowest and highest point of every bucket, so that no peak is lost.

    Args:
        x0: x of the first value, a multiple of `per_bucket`.
        values: consecutive values, shape (n,).
        per_bucket: values per bucket.

    Returns:
        x and y of shape (2 * buckets,).
    """
    starts = np.arange(0, len(values), per_bucket)
    centres = x0 + starts + (per_bucket - 1) / 2
    points = np.empty(2 * len(starts))
    points[0::2] = np.fmin.reduceat(values, starts)
    points[1::2] = np.fmax.reduceat(values, starts)
    return np.repeat(centres, 2), points


class MovingAverageItem(SeriesItem):
    """A simple moving average of the close, clipped to the view and peak-reduced to its pixels.

    Attributes:
        period: bars averaged.
    """

    def __init__(self, period: int, slot: int, style: ChartStyle) -> None:
        super().__init__(style)
        self.period = period
        self._slot = slot
        self._values = np.empty(0)
        self._size = 0

    def set_series(self, series: BarSeries | None) -> None:
        self._size = 0
        super().set_series(series)

    def bars_changed(self, first: int = 0) -> None:
        """Recompute the average from bar `first` on."""
        if self.series is not None and self.isVisible():
            self._recompute(min(first, self._size))
        super().bars_changed()

    def value_at(self, index: int) -> float | None:
        """Return the average at a bar, the forming one included; None while it is not defined."""
        if self.series is None:
            return None
        if index == len(self.series):
            value = self._forming_value()
        elif 0 <= index < self._size:
            value = float(self._values[index])
        else:
            return None
        return value if value is not None and math.isfinite(value) else None

    def _recompute(self, first: int) -> None:
        assert self.series is not None
        size = len(self.series)
        if size > len(self._values):
            grown = np.empty(max(1_024, 2 * size))
            grown[: self._size] = self._values[: self._size]
            self._values = grown
        start = max(0, first - self.period + 1)
        closes = self.series.pyramid.level(0)[CLOSE, start:]
        self._values[first:size] = moving_average(closes, self.period)[first - start :]
        self._size = size

    def _forming_value(self) -> float | None:
        if self.series is None or self.series.forming is None or len(self.series) < self.period - 1:
            return None
        known = self.series.pyramid.level(0)[CLOSE, len(self.series) - self.period + 1 :]
        return float((known.sum() + self.series.forming[CLOSE]) / self.period)

    def _data_bounds(self) -> QRectF:
        if self.series is None or self.series.total == 0:
            return QRectF()
        whole = self.series.y_range(0, self.series.total)
        return series_bounds(self.series.total, *whole) if whole else QRectF()

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        if self.series is None or self._size == 0:
            return
        exposed = option.exposedRect
        painter.save()
        pixels = PixelMap.enter(painter)
        painter.setPen(hairline(self._style.overlays[self._slot % len(self._style.overlays)]))
        step = max(1, int(1 / pixels.scale_x))
        first = max(0, (math.floor(exposed.left()) // step - 1) * step)
        last = min(self._size, (math.ceil(exposed.right()) // step + 2) * step)
        values = self._values[first : max(first, last)]
        x, y = (np.arange(first, first + len(values)) + 0.0, values) if step == 1 else peak_buckets(first, values, step)
        if last == self._size and (tip := self._forming_value()) is not None:
            x, y = np.append(x, float(self._size)), np.append(y, tip)
        draw_polyline(painter, pixels.x(x), pixels.y(y))
        painter.restore()
