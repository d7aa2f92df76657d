"""Volume bars beneath the candles. GUI thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter

from app.ui.charts.candles import SeriesItem, body_width, bucket_limit
from app.ui.charts.lod import CLOSE, OPEN, VOLUME
from app.ui.charts.primitives import PixelMap, draw_rects
from app.ui.charts.series import BarSeries
from app.ui.charts.style import ChartStyle

_HEADROOM = 1.12


def volume_top(series: BarSeries, first: int, last: int, view_pixels: float) -> float:
    """Return the upper end of the volume axis for the bars `[first, last)` as `VolumeItem` would paint them."""
    tallest = series.pyramid.max_volume(first, last, bucket_limit(view_pixels))
    if series.forming is not None and first <= len(series) < last:
        tallest = max(tallest, series.forming[VOLUME])
    return tallest * _HEADROOM if tallest > 0 else 1.0


class VolumeItem(SeriesItem):
    """Volume per bar, coloured as the candle above; zoomed out, a bucket's bar is the sum of its bars.

    The forming bar is part of it: its pane is small, and one item keeps both in step.
    """

    def __init__(self, style: ChartStyle) -> None:
        super().__init__(style)
        self._top = 0.0

    def set_series(self, series: BarSeries | None) -> None:
        self._top = 0.0
        super().set_series(series)

    def set_top(self, top: float) -> None:
        """Tell the visible upper end, which may exceed every single bar where buckets are summed."""
        if top > self._top:
            self._top = top
            self.bars_changed()

    def _data_bounds(self) -> QRectF:
        if self.series is None or self.series.total == 0:
            return QRectF()
        return QRectF(-0.5, 0.0, self.series.total, max(self._top, 1e-300))

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        if self.series is None or self.series.total == 0:
            return
        painter.save()
        pixels = PixelMap.enter(painter)
        x, bars, bucket = self._buckets(self.series, pixels, option.exposedRect)
        if self.series.forming is not None:
            x = np.append(x, float(len(self.series)))
            bars = np.column_stack([bars, np.array(self.series.forming)])
        line = pixels.line
        width = body_width(bucket * pixels.scale_x, line)
        left = pixels.x(x) - (width - line) // 2
        top = pixels.y(np.nan_to_num(bars[VOLUME]))
        height = pixels.y(0.0) - top
        rising = bars[CLOSE] >= bars[OPEN]
        painter.setPen(Qt.PenStyle.NoPen)
        for mask, colour in ((rising, self._style.up_volume), (~rising, self._style.down_volume)):
            painter.setBrush(colour)
            draw_rects(painter, left[mask], top[mask], width, height[mask])
        painter.restore()
