"""Price and time axes: their marks, the grid, and the tags on them. GUI thread.

Axes are painters, not graphics items: they draw in logical pixels, so that lines are crisp and every label sits
exactly where the eye expects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from PySide6.QtCore import QRect, Qt, QTimeZone
from PySide6.QtGui import QColor, QFontMetrics, QPainter

from app.i18n import format_compact, format_number, mark, tr
from app.theme import GRID, ROW_HEIGHT, SPACE_M, SPACE_S, SPACE_XS
from app.ui.charts.series import BarSeries
from app.ui.charts.style import ChartStyle, hairline
from app.ui.charts.ticks import TickRank, TimeTick, price_ticks, time_ticks
from core.clock import NS_PER_S, to_datetime

PRICE_GAP = 11 * GRID  # smallest distance of two price marks, px
TIME_GAP = 20 * GRID
AXIS_HEIGHT = ROW_HEIGHT
_MIN_WIDTH = 14 * GRID
_DAY_NS = 86_400 * NS_PER_S
_MONTHS = (
    *(mark("Jan"), mark("Feb"), mark("Mar"), mark("Apr"), mark("May"), mark("Jun")),
    *(mark("Jul"), mark("Aug"), mark("Sep"), mark("Oct"), mark("Nov"), mark("Dec")),
)


def local_zone() -> tzinfo:
    """Return the zone of this machine with its daylight-saving rules; UTC where it cannot be told."""
    name = bytes(QTimeZone.systemTimeZoneId().data()).decode()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def zone_label(zone: tzinfo, moment_ns: int) -> str:
    """Return how far a zone is from UTC at a moment: "UTC", "UTC+9", "UTC+5:30"."""
    offset = to_datetime(moment_ns).astimezone(zone).utcoffset()
    minutes = round(offset.total_seconds() / 60) if offset is not None else 0
    if minutes == 0:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '−'}{hours}{f':{rest:02d}' if rest else ''}"


@dataclass(frozen=True, slots=True)
class Tag:
    """A filled label on an axis.

    Attributes:
        position: price on the price axis.
        text: what it says.
        fill / ink: colours.
    """

    position: float
    text: str
    fill: QColor
    ink: QColor


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to the vertical pixels of a rectangle."""

    rect: QRect
    low: float
    high: float

    def y(self, value: float) -> int:
        """Return the pixel row of a value."""
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.5
        # Far outside values must stay inside the integer range of the painter.
        return round(min(max(self.rect.top() + (1 - share) * self.rect.height(), -1e6), 1e6))

    def value(self, y: float) -> float:
        """Return the value at a pixel row."""
        share = 1 - (y - self.rect.top()) / max(1, self.rect.height())
        return self.low + share * (self.high - self.low)

    def shows(self, value: float) -> bool:
        """Whether a value lies in view."""
        return self.low <= value <= self.high


class PriceAxis:
    """The vertical axis of a pane.

    Attributes:
        decimals: decimals of the tick size; None shows short numbers (volume).
    """

    def __init__(self, decimals: int | None) -> None:
        self.decimals = decimals

    def text(self, value: float) -> str:
        """Return a value as the axis writes it: all decimals of the tick size, never an exponent or a prefix."""
        return format_compact(value) if self.decimals is None else format_number(value, self.decimals)

    def ticks(self, scale: Scale) -> list[float]:
        """Return the values to mark."""
        if self.decimals is None:
            # A low pane: two or three marks, none at the very top where the separator is.
            found = price_ticks(scale.low, scale.high, scale.rect.height(), PRICE_GAP * 0.75, 12)
            return [value for value in found if value > scale.low]
        return price_ticks(scale.low, scale.high, scale.rect.height(), PRICE_GAP, self.decimals)

    def width(self, metrics: QFontMetrics, values: Sequence[float]) -> int:
        """Return the width the labels of some values need, px, on the grid so that it seldom changes."""
        widest = max((metrics.horizontalAdvance(self.text(value)) for value in values), default=0)
        return max(_MIN_WIDTH, -(-(widest + SPACE_S + SPACE_M) // SPACE_M) * SPACE_M)

    def paint(self, painter: QPainter, rect: QRect, scale: Scale, style: ChartStyle, tags: Sequence[Tag]) -> None:
        """Paint labels and tags into `rect`; later tags cover earlier ones."""
        painter.setFont(style.small)
        painter.setPen(hairline(style.muted))
        height = painter.fontMetrics().height()
        tagged = [scale.y(tag.position) for tag in tags if scale.shows(tag.position)]
        for value in self.ticks(scale):
            y = scale.y(value)
            free = all(abs(y - other) > height for other in tagged)
            if free and rect.top() + height // 2 <= y <= rect.bottom() - height // 2:
                self._label(painter, rect, y, height, self.text(value))
        for tag in tags:
            if scale.shows(tag.position):
                self._tag(painter, rect, scale.y(tag.position), height, tag)

    @staticmethod
    def _label(painter: QPainter, rect: QRect, y: int, height: int, text: str) -> None:
        area = QRect(rect.left(), y - height // 2, rect.width() - SPACE_S, height)
        painter.drawText(area, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)

    def _tag(self, painter: QPainter, rect: QRect, y: int, height: int, tag: Tag) -> None:
        tall = height + SPACE_XS
        top = min(max(y - tall // 2, rect.top()), rect.bottom() - tall)
        painter.fillRect(QRect(rect.left(), top, rect.width(), tall), tag.fill)
        painter.setPen(tag.ink)
        self._label(painter, rect, top + tall // 2, height, tag.text)


class TimeAxis:
    """The horizontal axis: bar index below, calendar time of the reader's zone above.

    Attributes:
        zone: the reader's zone; bars of a day and longer are always marked in UTC, by which they are cut.
    """

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone

    def zone_of(self, series: BarSeries) -> tzinfo:
        """Return the zone that marks this series."""
        return UTC if series.timeframe_ns >= _DAY_NS else self.zone

    def ticks(self, series: BarSeries, first: float, last: float, pixels: int) -> list[TimeTick]:
        """Return the marks for a range of bars over a width in pixels, thinned so that labels do not touch."""
        if pixels <= 0 or last <= first:
            return []
        start, end = series.time_at(int(first)), series.time_at(int(last) + 1)
        # Bars in view, not elapsed time, decide the distance: gaps take no room on the axis.
        wanted_s = (last - first) / pixels * TIME_GAP * series.timeframe_ns / NS_PER_S
        found = time_ticks(start, end, wanted_s, self.zone_of(series), series.first_index_from)
        kept: list[TimeTick] = []
        gap = TIME_GAP * 0.6 * (last - first) / pixels
        for tick in found:
            if kept and tick.index - kept[-1].index < gap:
                if tick.rank > kept[-1].rank:
                    kept[-1] = tick
                continue
            kept.append(tick)
        return kept

    @staticmethod
    def tick_text(tick: TimeTick, intraday: bool) -> str:
        """Return the label of a mark; within days a date carries its month."""
        moment = tick.moment
        if tick.rank is TickRank.TIME:
            return f"{moment:%H:%M}"
        month = tr(_MONTHS[moment.month - 1])
        if tick.rank is TickRank.DAY and not intraday:
            return str(moment.day)
        if tick.rank is TickRank.YEAR and not intraday:
            return str(moment.year)
        if intraday:
            return tr("{day} {month}", day=moment.day, month=month)
        return month

    def moment_text(self, series: BarSeries, index: int) -> str:
        """Return the open time of a bar, ISO."""
        moment: datetime = to_datetime(series.time_at(index)).astimezone(self.zone_of(series))
        return f"{moment:%Y-%m-%d}" if series.timeframe_ns >= _DAY_NS else f"{moment:%Y-%m-%d %H:%M}"

    def paint(
        self,
        painter: QPainter,
        rect: QRect,
        ticks: Sequence[TimeTick],
        x_of: Sequence[int],
        style: ChartStyle,
    ) -> None:
        """Paint the labels of marks whose pixel columns are `x_of`; larger units stand out."""
        intraday = any(tick.rank is TickRank.TIME for tick in ticks)
        for tick, x in zip(ticks, x_of, strict=True):
            important = tick.rank > (TickRank.TIME if intraday else TickRank.DAY)
            painter.setFont(style.bold if important else style.small)
            painter.setPen(style.text if important else style.muted)
            text = self.tick_text(tick, intraday)
            width = painter.fontMetrics().horizontalAdvance(text)
            left = x - width // 2
            if left >= rect.left() and left + width <= rect.right():
                painter.drawText(QRect(left, rect.top(), width + 1, rect.height()), Qt.AlignmentFlag.AlignVCenter, text)
