"""Own fills on the chart: a triangle under the bar for a buy, over it for a sell. GUI thread.

Beside the bar a triangle is seen at any zoom; at its own price it would drown in the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QPointF
from PySide6.QtGui import QPainter, QPolygonF

from app.theme import GRID
from app.ui.charts.pane import Pane, ViewItem
from app.ui.charts.primitives import FloatArray, PixelMap
from app.ui.charts.series import BarSeries
from app.ui.charts.style import ChartStyle, hairline
from core.domain.fills import Fill
from core.domain.orders import Side

_HALF = GRID + 2  # half the width of a triangle, logical pixels
_HEIGHT = 2 * GRID + 1
_GAP = GRID - 1
_FINEST = GRID - 1  # logical pixels of a bar from which on trades are marked


class FillMarkersItem(ViewItem):
    """All fills of the market in one item; only those in view are painted, one per pixel cell."""

    def __init__(self, style: ChartStyle) -> None:
        super().__init__()
        self._style = style
        self._series: BarSeries | None = None
        self._fills: list[Fill] = []
        self._x = np.empty(0)
        self._y = np.empty(0)
        self._sign = np.empty(0)

    def set_style(self, style: ChartStyle) -> None:
        """Take the colours of another theme."""
        self._style = style
        self.update()

    def set_fills(self, series: BarSeries | None, fills: Sequence[Fill]) -> None:
        """Show these fills on these bars."""
        self._series = series
        self._fills = sorted(fills, key=lambda fill: fill.time_ns)
        self.bars_changed()

    def bars_changed(self) -> None:
        """Find the bars of the fills again."""
        if self._series is not None:
            self._x = np.array([float(self._series.index_at(fill.time_ns)) for fill in self._fills])
        self._y = np.array([self._anchor(fill) for fill in self._fills])
        self._sign = np.array([float(fill.side.sign) for fill in self._fills])
        self.update()

    def _anchor(self, fill: Fill) -> float:
        """Return the end of the bar at which the triangle stands; the fill's price where there is no bar."""
        price = float(fill.price)
        bar = self._series.bar(self._series.index_at(fill.time_ns)) if self._series is not None else None
        if bar is None:
            return price
        return min(bar.low, price) if fill.side is Side.BUY else max(bar.high, price)

    def fills_at(self, index: int) -> list[Fill]:
        """Return the fills within a bar, oldest first."""
        first, last = np.searchsorted(self._x, [index, index + 1])
        return self._fills[first:last]

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        paint_markers(painter, self.pane, self._x, self._y, self._sign, self._style)


class TradeMarkersItem(ViewItem):
    """Trades known by the bar they happened in, with no price and no fill of their own."""

    def __init__(self, style: ChartStyle) -> None:
        super().__init__()
        self._style = style
        self._x = self._y = self._sign = np.empty(0)
        self._limit = 0

    def set_style(self, style: ChartStyle) -> None:
        """Take the colours of another theme."""
        self._style = style
        self.update()

    def set_trades(self, index: FloatArray, price: FloatArray, sign: FloatArray) -> None:
        """Show trades.

        Args:
            index: of their bars, ascending, shape (n,).
            price: end of the bar that they stand at, shape (n,).
            sign: 1 for a buy, -1 for a sale, shape (n,).
        """
        self._x, self._y, self._sign = index, price, sign
        self._limit = len(index)
        self.update()

    def set_limit(self, bars: int) -> None:
        """Show the trades of so many bars, counted from the first."""
        self._limit = int(np.searchsorted(self._x, bars))
        self.update()

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        if painter.worldTransform().m11() < _FINEST:
            return  # marks of neighbours would lie on each other and hide the bars
        inside = slice(0, self._limit)
        paint_markers(painter, self.pane, self._x[inside], self._y[inside], self._sign[inside], self._style)


def paint_markers(
    painter: QPainter, pane: Pane, at: FloatArray, price: FloatArray, sign: FloatArray, style: ChartStyle
) -> None:
    """Paint what of buys and sales is in view, one triangle per pixel cell.

    Args:
        painter: of an item in the pane.
        pane: where.
        at: bars, ascending, shape (n,).
        price: end of the bar, shape (n,).
        sign: above 0 for buys, shape (n,).
        style: colours.
    """
    if len(at) == 0:
        return
    (left, right), (bottom, top) = pane.x_range, pane.y_range
    first, last = np.searchsorted(at, [left - 1, right + 1])
    inside = np.arange(first, last)
    inside = inside[(price[inside] >= bottom) & (price[inside] <= top)]
    if len(inside) == 0:
        return
    painter.save()
    pixels = PixelMap.enter(painter)
    x, y = pixels.x(at[inside]), pixels.y(price[inside])
    half, height = _HALF * pixels.ratio, _HEIGHT * pixels.ratio
    cells = np.column_stack([x // half, y // half, sign[inside]])
    _, newest = np.unique(cells[::-1], axis=0, return_index=True)
    painter.setPen(hairline(style.background))
    for position in np.sort(len(inside) - 1 - newest):
        buy = sign[inside[position]] > 0
        painter.setBrush(style.price_colour(buy))
        away = 1.0 if buy else -1.0
        tip = y[position] + away * _GAP * pixels.ratio
        base = tip + away * height
        triangle = (
            QPointF(x[position], tip),
            QPointF(x[position] - half, base),
            QPointF(x[position] + half, base),
        )
        painter.drawConvexPolygon(QPolygonF(triangle))
    painter.restore()
