"""What a model expects ahead of the last bar: bands of its quantiles and their median. GUI thread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPolygonF

from app.i18n import format_percent, mark, tr, tr_count
from app.ui.charts.axes import PriceAxis
from app.ui.charts.pane import ViewItem
from app.ui.charts.primitives import FloatArray, PixelMap, draw_polyline
from app.ui.charts.series import BarSeries
from app.ui.charts.style import ChartStyle, hairline
from core.events import ForecastMade

STALE_BARS = 2  # a forecast that so many later bars have closed on says nothing about now
_OPACITY = 0.16  # of one band; inner ones lie on outer ones
_LOOKED_OPACITY = 0.09
_ID_LENGTH = 10
_WORDS = mark("Forecast {model}, {made}: +{n} bars {median} ({share}: {low} – {high})")
_LOOKED_WORDS = mark("Looked at: {model}, {made}: +{n} bars {median} ({share}: {low} – {high})")


@dataclass(frozen=True, slots=True)
class Fan:
    """A forecast in prices.

    Attributes:
        model_id: whose.
        bar_open_ns: open time of the bar it was made on, ns UTC.
        levels: of the quantiles, ascending, the median in the middle.
        bars: ahead, ascending, 0 first: the close it starts from.
        prices: one row per entry of `bars`, one price per level.
    """

    model_id: str
    bar_open_ns: int
    levels: tuple[float, ...]
    bars: tuple[int, ...]
    prices: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, event: ForecastMade) -> Fan | None:
        """Return the fan of a forecast; None where it holds nothing that can be drawn."""
        forecast = event.forecast
        ranges = [(r.horizon_bars, r.quantiles) for r in forecast.fan] or [(forecast.horizon_bars, forecast.quantiles)]
        levels = len(forecast.quantile_levels)
        prices = [tuple(event.close * math.exp(value) for value in sorted(row)) for _, row in ranges]
        if not all(len(row) == levels and all(map(math.isfinite, row)) for row in prices):
            return None
        start = (event.close,) * levels
        return cls(
            forecast.model_id,
            forecast.bar_open_ns,
            forecast.quantile_levels,
            (0, *(bars for bars, _ in ranges)),
            (start, *prices),
        )

    def at(self, bars: int) -> int:
        """Return the place of the horizon nearest to so many bars ahead."""
        return min(range(1, len(self.bars)), key=lambda place: abs(self.bars[place] - bars))


class FanItem(ViewItem):
    """One fan; nothing is painted while it is hidden, stale or not on these bars.

    That of a model that trades has the colour of what is at work; one that is only looked at is grey and dashed.
    """

    def __init__(self, style: ChartStyle, *, looked: bool = False) -> None:
        super().__init__()
        self._style, self._looked = style, looked
        self._series: BarSeries | None = None
        self._fan: Fan | None = None
        self._wanted = True

    @property
    def fan(self) -> Fan | None:
        """What is painted now."""
        return self._fan if self._wanted and self._index() is not None else None

    @property
    def colour(self) -> QColor:
        """Of its median and its words."""
        return self._style.text if self._looked else self._style.accent

    @property
    def ahead(self) -> int:
        """Bars beyond the newest that the fan needs; the same between two of its bars, so that the view stands."""
        fan = self.fan
        return 0 if fan is None else fan.bars[-1]

    def set_style(self, style: ChartStyle) -> None:
        """Take the colours of another theme."""
        self._style = style
        self.update()

    def set_series(self, series: BarSeries | None) -> None:
        """Stand on other bars."""
        self._series = series
        self.update()

    def set_fan(self, fan: Fan | None) -> None:
        """Show another forecast."""
        self._fan = fan
        self.update()

    def set_wanted(self, wanted: bool) -> None:
        """Show or hide it."""
        self._wanted = wanted
        self.update()

    def y_range(self, first: float, last: float) -> tuple[float, float] | None:
        """Return the lowest and highest price it reaches in view; None where it is not."""
        fan, index = self.fan, self._index()
        if fan is None or index is None or index + fan.bars[-1] < first or index > last:
            return None
        return min(map(min, fan.prices)), max(map(max, fan.prices))

    def words(self, axis: PriceAxis, hovered: int | None) -> str:
        """Return what it says, at the bar under the mouse or at the farthest horizon; "" where there is none."""
        fan, index = self.fan, self._index()
        if fan is None or index is None or self._series is None:
            return ""
        beyond = hovered is not None and hovered > index
        place = fan.at(hovered - index) if hovered is not None and beyond else len(fan.bars) - 1
        row = fan.prices[place]
        age = self._age(index)
        made = tr("from the last close") if age <= 0 else tr_count("{n} bar old", "{n} bars old", age)
        template = _LOOKED_WORDS if self._looked else _WORDS
        return tr(
            template,
            model=fan.model_id[:_ID_LENGTH],
            made=made,
            n=fan.bars[place],
            median=axis.text(row[len(row) // 2]),
            share=format_percent(fan.levels[-1] - fan.levels[0], 0),
            low=axis.text(row[0]),
            high=axis.text(row[-1]),
        )

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        fan, index = self.fan, self._index()
        if fan is None or index is None:
            return
        painter.save()
        pixels = PixelMap.enter(painter)
        x = pixels.x(np.array(fan.bars) + float(index))
        rows = pixels.y(np.array(fan.prices))
        shade = QColor(self.colour)
        shade.setAlphaF(_LOOKED_OPACITY if self._looked else _OPACITY)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shade)
        for pair in range(len(fan.levels) // 2):
            painter.drawPolygon(_band(x, rows[:, pair], rows[:, -1 - pair]))
        painter.setPen(hairline(self.colour, Qt.PenStyle.DashLine if self._looked else Qt.PenStyle.SolidLine))
        draw_polyline(painter, x, rows[:, len(fan.levels) // 2])
        if self._looked:  # its edge is seen on that of another fan, too
            painter.setPen(hairline(self._style.muted, Qt.PenStyle.DotLine))
            for end in (0, -1):
                draw_polyline(painter, x, rows[:, end])
        painter.restore()

    def _index(self) -> int | None:
        """Return the bar the fan starts from; None where these bars do not hold it or too many have closed since."""
        if self._series is None or self._fan is None:
            return None
        index = self._series.index_at(self._fan.bar_open_ns)
        there = 0 <= index < self._series.total and self._series.time_at(index) == self._fan.bar_open_ns
        return index if there and self._age(index) < STALE_BARS else None

    def _age(self, index: int) -> int:
        """Return how many bars have closed since."""
        assert self._series is not None
        return max(0, len(self._series) - 1 - index)


def _band(x: FloatArray, low: FloatArray, high: FloatArray) -> QPolygonF:
    def points(columns: Sequence[float], values: Sequence[float]) -> list[QPointF]:
        return [QPointF(column, value) for column, value in zip(columns, values, strict=True)]

    return QPolygonF(points(x.tolist(), high.tolist()) + points(x[::-1].tolist(), low[::-1].tolist()))
