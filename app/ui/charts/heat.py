"""What an agent wants to hold, bar by bar: a strip of columns under the candles and a tint behind them. GUI thread.

A column is as high as the weight and stands above the middle line for a long one, below it for a short one, so that
colour never speaks alone. Where several bars share a pixel the column shows their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPainter

from app.i18n import format_number, mark, tr
from app.theme import GRID, mix
from app.ui.charts.pane import ViewItem
from app.ui.charts.primitives import FloatArray, PixelMap, draw_rects
from app.ui.charts.series import BarSeries, IntArray
from app.ui.charts.style import ChartStyle, hairline

STRIP_HEIGHT = 9 * GRID
SHADES = 12  # of each side
_TINT = 0.16
_ROUND = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 125.0)
_ROUNDING = 1e-9
_WORDS = mark("target {target}, held {held}")
_UNDECIDED = mark("no decision, held {held}")


@dataclass(frozen=True, slots=True, eq=False)
class WeightTrack:
    """Weights along the bars of a chart, by their index.

    Attributes:
        target: chosen at the close of each bar, share of the equity; NaN where nothing is decided, shape (n,).
        held: until then, shape (n,); NaN where nothing is known of a bar.
        most: size of weight that has the strongest colour.
    """

    target: FloatArray
    held: FloatArray
    most: float

    @classmethod
    def of(cls, target: FloatArray, held: FloatArray) -> WeightTrack:
        """Return a track whose strongest colour is a round number that no target goes beyond."""
        largest = float(np.abs(target[np.isfinite(target)]).max(initial=0.0))
        return cls(target, held, next((most for most in _ROUND if most >= largest - _ROUNDING), largest))


def track_on(series: BarSeries, time_ns: Sequence[int], target: Sequence[float], held: Sequence[float]) -> WeightTrack:
    """Return weights of the closed bars of a chart by their open times; those of bars it does not hold are left out."""
    wanted, holding = np.full(len(series), np.nan), np.full(len(series), np.nan)
    times = np.asarray(time_ns, np.int64)
    places = np.searchsorted(series.times, times)
    there = places < len(series)
    there[there] = series.times[places[there]] == times[there]
    wanted[places[there]] = np.asarray(target, np.float64)[there]
    holding[places[there]] = np.asarray(held, np.float64)[there]
    return WeightTrack.of(wanted, holding)


def column_means(values: FloatArray, edges: IntArray) -> FloatArray:
    """Return the mean of the finite values between each two edges, NaN where there is none, shape (len(edges) - 1,)."""
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])[edges]
    counts = np.concatenate([[0], np.cumsum(known)])[edges]
    number = np.diff(counts)
    return np.divide(np.diff(sums), number, out=np.full(len(number), np.nan), where=number > 0)


def shades(style: ChartStyle) -> tuple[QColor, ...]:
    """Return the colours from fully short over flat to fully long, 2 * `SHADES` + 1 of them."""
    palette = style.palette
    flat = mix(palette.surface, palette.muted, 0.35)
    short = [mix(flat, palette.short, step / SHADES) for step in range(SHADES, 0, -1)]
    long = [mix(flat, palette.long, step / SHADES) for step in range(1, SHADES + 1)]
    return tuple(QColor(name) for name in (*short, flat, *long))


class HeatItem(ViewItem):
    """The weights of an agent over the candles; nothing is painted while there are none or it is hidden."""

    def __init__(self, style: ChartStyle) -> None:
        super().__init__()
        self._style = style
        self._shades = shades(style)
        self._track: WeightTrack | None = None
        self._limit = 0
        self._wanted = True

    @property
    def shown(self) -> bool:
        """Whether there is something to paint."""
        return self._track is not None and self._wanted

    def set_style(self, style: ChartStyle) -> None:
        """Take the colours of another theme."""
        self._style, self._shades = style, shades(style)
        self.update()

    def set_track(self, track: WeightTrack | None) -> None:
        """Show other weights, all of them."""
        self._track = track
        self._limit = 0 if track is None else len(track.target)
        self.update()

    def set_limit(self, bars: int) -> None:
        """Show the weights of so many bars, counted from the first."""
        self._limit = bars
        self.update()

    def set_wanted(self, wanted: bool) -> None:
        """Show or hide it."""
        self._wanted = wanted
        self.update()

    def words(self, index: int) -> str:
        """Return what it says of a bar; "" where there is nothing."""
        track = self._track
        if track is None or not self._wanted or not 0 <= index < min(self._limit, len(track.target)):
            return ""
        target, held = float(track.target[index]), float(track.held[index])
        if not math.isfinite(held):
            return ""
        held_text = format_number(held, 2, sign=True)
        if not math.isfinite(target):
            return tr(_UNDECIDED, held=held_text)
        return tr(_WORDS, target=format_number(target, 2, sign=True), held=held_text)

    def colour(self, weight: float) -> QColor:
        """Return the colour of a weight."""
        most = self._track.most if self._track is not None else 1.0
        return self._shades[int(_steps(np.array([weight]), most)[0]) + SHADES]

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        track = self._track
        if track is None or not self._wanted:
            return
        (left, right), (low, high) = self.pane.x_range, self.pane.y_range
        first, last = max(0, math.floor(left)), min(self._limit, len(track.target), math.ceil(right) + 1)
        if first >= last:
            return
        painter.save()
        pixels = PixelMap.enter(painter)
        painter.setPen(Qt.PenStyle.NoPen)
        x, width, weight = _columns(track.target[first:last], first, pixels)
        bottom, top = float(pixels.y(low)), float(pixels.y(high))
        self._paint_tint(painter, x, width, weight, top, bottom)
        self._paint_strip(painter, pixels, x, width, weight, bottom)
        painter.restore()

    def _paint_tint(
        self, painter: QPainter, x: FloatArray, width: FloatArray, weight: FloatArray, top: float, bottom: float
    ) -> None:
        assert self._track is not None
        step = _steps(weight, self._track.most)
        if len(step) == 0:
            return
        # Columns of one colour that touch are one rectangle: what an agent holds seldom changes.
        parts = (np.diff(step) != 0) | (x[1:] != x[:-1] + width[:-1])
        begins = np.concatenate([[0], 1 + np.flatnonzero(parts)])
        ends = np.append(begins[1:], len(step)) - 1
        right = x[ends] + width[ends]
        for value in np.unique(step[begins]).tolist():
            if value == 0:
                continue
            chosen = begins[step[begins] == value]
            reach = right[step[begins] == value]
            shade = QColor(self._shades[value + SHADES])
            shade.setAlphaF(_TINT)
            painter.setBrush(shade)
            draw_rects(
                painter, x[chosen], np.full(len(chosen), top), reach - x[chosen], np.full(len(chosen), bottom - top)
            )

    def _paint_strip(
        self,
        painter: QPainter,
        pixels: PixelMap,
        x: FloatArray,
        width: FloatArray,
        weight: FloatArray,
        bottom: float,
    ) -> None:
        assert self._track is not None
        half = math.floor(STRIP_HEIGHT * pixels.ratio / 2)
        middle = bottom - half - pixels.line
        step = _steps(weight, self._track.most)
        height = np.maximum(np.round(np.abs(weight) / self._track.most * half), pixels.line)
        above = np.where(weight >= 0.0, middle - height, middle)
        for value in np.unique(step).tolist():
            chosen = step == value
            painter.setBrush(self._shades[value + SHADES])
            draw_rects(painter, x[chosen], above[chosen], width[chosen], height[chosen])
        if len(x):
            painter.setPen(hairline(self._style.muted, Qt.PenStyle.DotLine))
            painter.drawLine(int(x[0]), int(middle), int(x[-1] + width[-1]), int(middle))


def _columns(target: FloatArray, first: int, pixels: PixelMap) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return left edges, widths and weights of the columns of bars from `first` on, in device pixels."""
    edges = np.floor((np.arange(first, first + len(target) + 1) - 0.5) * pixels.scale_x + pixels.offset_x)
    if pixels.scale_x >= 1.0:
        known = np.isfinite(target)
        return edges[:-1][known], np.diff(edges)[known], target[known]
    places, begins = np.unique(edges[:-1], return_index=True)
    means = column_means(target, np.append(begins, len(target)).astype(np.int64))
    known = np.isfinite(means)
    return places[known], np.ones(int(known.sum())), means[known]


def _steps(weight: FloatArray, most: float) -> IntArray:
    """Return the shade of weights, from -`SHADES` to `SHADES`; 0 for nothing only."""
    share = np.clip(weight / most, -1.0, 1.0)
    size = np.ceil(np.abs(share) * SHADES - 1e-9)
    return (np.sign(share) * size).astype(np.int64)
