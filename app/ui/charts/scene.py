"""The panes of a chart: geometry, ranges, items and everything painted around them. GUI thread.

`ChartView` decides what to show and where to look; this module knows where every pixel goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QRegion

from app.i18n import tr, tr_count
from app.theme import GRID, ROW_HEIGHT, SPACE_S, SPACE_XS
from app.ui.charts.axes import AXIS_HEIGHT, PriceAxis, Scale, Tag, TimeAxis, zone_label
from app.ui.charts.candles import CandleItem, FormingBarItem
from app.ui.charts.canvas import ChartCanvas, Zone
from app.ui.charts.crosshair import Word, bar_words, paint_crosshair, paint_legend
from app.ui.charts.fan import FanItem
from app.ui.charts.heat import HeatItem
from app.ui.charts.markers import FillMarkersItem, TradeMarkersItem
from app.ui.charts.order_lines import OrderLines
from app.ui.charts.overlays import MOVING_AVERAGES, MovingAverageItem
from app.ui.charts.pane import Pane
from app.ui.charts.series import BarSeries
from app.ui.charts.states import ChartState, StateText, paint_stale, paint_state
from app.ui.charts.style import ChartStyle, hairline
from app.ui.charts.ticks import TimeTick
from app.ui.charts.viewport import BarWindow
from app.ui.charts.volume import VolumeItem, volume_top
from core.domain.fills import Fill

_TOP_ROOM, _BOTTOM_ROOM = 0.14, 0.08  # of the price range, free above and below
_HEAT_ROOM = 0.16  # below, where a strip of weights stands
_VOLUME_SHARE = 0.2
_VOLUME_MIN, _VOLUME_MAX = 0.08, 0.6
_FINEST, _COARSEST = 1e-9, 1e3  # limits of stretching the price axis, as shares of the price
_GAP_LABEL_BARS = 160  # with more bars in view a gap is a short tick without words
_GRAB = GRID  # px around the separator that take hold of it


@dataclass(slots=True)
class PriceRange:
    """The vertical range of the price pane; `auto` follows the visible bars."""

    low: float = 0.0
    high: float = 1.0
    auto: bool = True


class ChartScene:
    """Price and volume pane over one time axis.

    Attributes:
        series: the bars shown, None before the first history.
        window: which of them are in view.
        price: vertical range of the price pane.
        state / text: what stands on the chart instead of bars.
        stale_s: age of the newest data where it is too old, else None.
        title: market and timeframe.
        hover: the mouse, None outside.
        cursor: bar that a line stands at, None for none.
        reserved: area that labels keep clear of.
    """

    def __init__(self, canvas: ChartCanvas, style: ChartStyle, zone: tzinfo) -> None:
        self._canvas = canvas
        self.style = style
        self.series: BarSeries | None = None
        self.window = BarWindow()
        self.price = PriceRange()
        self.state, self.text = ChartState.EMPTY, StateText("")
        self.stale_s: float | None = None
        self.title = ""
        self.hover: QPoint | None = None
        self.reserved: QRect | None = None
        self.cursor: int | None = None
        self.order_lines = OrderLines()
        self.time_axis = TimeAxis(zone)
        self.price_axis = PriceAxis(2)
        self._volume_axis = PriceAxis(None)
        self._volume_share = _VOLUME_SHARE
        self._volume_top = 1.0
        self._ticks: list[TimeTick] = []
        self._legend = QRect()
        self._painted_row: int | None = None
        self._price_rect = self._volume_rect = self._axis_rect = self._time_rect = QRect(0, 0, 1, 1)
        self._price_pane, self._volume_pane = Pane(canvas.scene()), Pane(canvas.scene())
        self._candles, self._forming = CandleItem(style), FormingBarItem(style)
        self._volume = VolumeItem(style)
        self._markers = FillMarkersItem(style)
        self.heat, self.trades = HeatItem(style), TradeMarkersItem(style)
        self.fan, self.looked_fan = FanItem(style), FanItem(style, looked=True)
        self.fans = (self.looked_fan, self.fan)
        self.averages = {period: MovingAverageItem(period, i, style) for i, period in enumerate(MOVING_AVERAGES)}
        lines = self.averages.values()
        for item in (self.heat, *self.fans, self._candles, self._forming, *lines, self._markers, self.trades):
            self._price_pane.add(item)
        self._volume_pane.add(self._volume)
        for item in self.averages.values():
            item.setVisible(False)

    # -- data -------------------------------------------------------------------------------------------------------

    def set_series(self, series: BarSeries | None) -> None:
        """Show other bars, the newest ones first."""
        self.series = series
        for item in (self._candles, self._forming, self._volume, *self.averages.values()):
            item.set_series(series)
        for fan in self.fans:
            fan.set_series(series)
        self._markers.set_fills(series, [])
        self.price.auto = True

    def set_fills(self, fills: Sequence[Fill]) -> None:
        """Show these fills."""
        self._markers.set_fills(self.series, fills)

    def bars_changed(self, first: int) -> None:
        """Take note that bars from index `first` on are new or corrected."""
        for item in self.averages.values():
            item.bars_changed(first)
        for other in (self._candles, self._forming, self._volume):
            other.bars_changed()
        self._markers.bars_changed()

    def tick(self) -> None:
        """Repaint what a changed forming bar touches, and no more."""
        assert self.series is not None
        old, new = self._painted_row, self._row_of_last()
        forming = self.series.forming
        if forming is not None and self._needs_range(forming):
            self.refresh()
            return
        self._forming.bars_changed()
        self._volume.update(QRectF(len(self.series) - 1.0, 0.0, 2.0, self._volume_top))
        for item in self.averages.values():
            if item.isVisible():
                item.update(QRectF(len(self.series) - 2.0, self.price.low, 3.0, self.price.high - self.price.low))
        region = QRegion(self._axis_rect).united(self._legend)
        for row in (old, new):
            if row is not None:
                region = region.united(QRect(self._price_rect.left(), row - 1, self._price_rect.width(), 3))
        self._canvas.viewport().update(region)

    def set_style(self, style: ChartStyle) -> None:
        """Take the colours of another theme."""
        self.style = style
        for own in (self._markers, self.trades, self.heat, *self.fans):
            own.set_style(style)
        for item in (self._candles, self._forming, self._volume, *self.averages.values()):
            item.set_style(style)
        self._canvas.viewport().update()

    def set_average(self, period: int, shown: bool) -> None:
        """Show or hide a moving average."""
        item = self.averages[period]
        item.setVisible(shown)
        item.set_series(self.series)
        self._canvas.viewport().update()

    def close(self) -> None:
        """Take the panes out of the scene before Qt and Python destroy them in an order of their own."""
        for pane in (self._price_pane, self._volume_pane):
            self._canvas.scene().removeItem(pane)

    # -- geometry ---------------------------------------------------------------------------------------------------

    @property
    def ahead(self) -> int:
        """Bars beyond the newest that forecasts need."""
        return max(fan.ahead for fan in self.fans)

    @property
    def plot_width(self) -> int:
        """Width of the panes, px."""
        return self._price_rect.width()

    @property
    def price_rect(self) -> QRect:
        """The price pane, widget pixels."""
        return self._price_rect

    def refresh(self) -> None:
        """Fit the vertical ranges, place the panes and repaint everything."""
        self._fit()
        self._place(self._canvas.viewport().size())
        ready = self.series is not None and self.state is ChartState.READY
        for pane in (self._price_pane, self._volume_pane):
            pane.setVisible(ready)
        if ready and self.series is not None:
            first, last = self.window.first, self.window.last
            self._price_pane.set_range((first, last), (self.price.low, self.price.high))
            self._volume.set_top(self._volume_top)
            self._volume_pane.set_range((first, last), (0.0, self._volume_top))
            self._ticks = self.time_axis.ticks(self.series, first, last, self.plot_width)
        self._canvas.viewport().update()

    def zone_at(self, position: QPoint) -> Zone:
        if abs(position.y() - self._volume_rect.top()) <= _GRAB and position.x() <= self._price_rect.right():
            return Zone.SEPARATOR
        for rect, zone in (
            (self._price_rect, Zone.PRICE),
            (self._volume_rect, Zone.VOLUME),
            (self._axis_rect, Zone.PRICE_AXIS),
            (self._time_rect, Zone.TIME_AXIS),
        ):
            if rect.contains(position):
                return zone
        return Zone.NONE

    def index_at(self, x: float) -> float:
        """Return the (fractional) bar index at a pixel column."""
        return self.window.first + (x - self._price_rect.left()) / max(1, self.plot_width) * self.window.span

    def column(self, index: float) -> int:
        """Return the pixel column of a bar's middle, the same as the candle's wick."""
        share = (index - self.window.first) / self.window.span
        return self._price_rect.left() + math.floor(share * self.plot_width)

    def price_scale(self) -> Scale:
        """Return the map between prices and pixel rows."""
        return Scale(self._price_rect, self.price.low, self.price.high)

    def move_separator(self, pixels: int) -> None:
        """Make the volume pane higher (negative) or lower."""
        height = self._price_rect.height() + self._volume_rect.height()
        self._volume_share -= pixels / max(1, height)
        self._volume_share = min(max(self._volume_share, _VOLUME_MIN), _VOLUME_MAX)
        self.refresh()

    def scale_price(self, factor: float) -> None:
        """Stretch the price range around its middle and keep it from now on."""
        middle, half = (self.price.low + self.price.high) / 2, (self.price.high - self.price.low) / 2 * factor
        size = max(abs(self.price.low), abs(self.price.high))
        if size * _FINEST <= half <= size * _COARSEST:
            self.price = PriceRange(middle - half, middle + half, auto=False)

    def shift_price(self, pixels: int) -> None:
        """Move the price range by a number of pixel rows; only where the user has set it."""
        step = pixels * (self.price.high - self.price.low) / max(1, self._price_rect.height())
        self.price.low += step
        self.price.high += step

    def _needs_range(self, forming: Sequence[float]) -> bool:
        assert self.series is not None
        visible = self.window.first <= len(self.series) <= self.window.last
        outside = forming[1] > self.price.high or forming[2] < self.price.low
        return visible and ((self.price.auto and outside) or forming[4] > self._volume_top)

    def _fit(self) -> None:
        if self.series is None:
            return
        first, last = self.window.indices()
        self._volume_top = volume_top(self.series, first, last, self.plot_width * self._canvas.devicePixelRatioF())
        found = self.series.y_range(first, last) if self.price.auto else None
        if found is None:
            return
        low, high = found
        for fan in self.fans:
            ahead = fan.y_range(self.window.first, self.window.last)
            if ahead is not None:
                low, high = min(low, ahead[0]), max(high, ahead[1])
        span = high - low
        if span <= 0:
            # One price only: a range of a few ticks around it.
            span = max(10.0 ** -(self.price_axis.decimals or 0) * GRID, abs(high) * 1e-6)
            low, high = low - span / 2, high + span / 2
        below = _HEAT_ROOM if self.heat.shown else _BOTTOM_ROOM
        self.price.low, self.price.high = low - span * below, high + span * _TOP_ROOM

    def _place(self, size: QSize) -> None:
        axis = self.price_axis.width(QFontMetrics(self.style.bold), (self.price.low, self.price.high))
        width, height = max(1, size.width() - axis), max(2, size.height() - AXIS_HEIGHT)
        lower = max(1, int(height * self._volume_share))
        self._price_rect = QRect(0, 0, width, height - lower)
        self._volume_rect = QRect(0, height - lower, width, lower)
        self._axis_rect = QRect(width, 0, axis, height)
        self._time_rect = QRect(0, height, size.width(), AXIS_HEIGHT)
        self._price_pane.set_geometry(self._price_rect)
        self._volume_pane.set_geometry(self._volume_rect)

    def _row_of_last(self) -> int | None:
        close = self.series.last_close if self.series is not None else None
        return self.price_scale().y(close) if close is not None else None

    # -- painting ---------------------------------------------------------------------------------------------------

    def paint_background(self, painter: QPainter) -> None:
        """Paint background, grid and gap marks, in widget pixels."""
        painter.fillRect(self._canvas.viewport().rect(), self.style.background)
        if self.state is not ChartState.READY or self.series is None:
            return
        painter.setPen(hairline(self.style.grid))
        bottom = self._volume_rect.bottom()
        for tick in self._ticks:
            x = self.column(tick.index)
            if 0 <= x <= self._price_rect.right():
                painter.drawLine(x, 0, x, bottom)
        scale = self.price_scale()
        for value in self.price_axis.ticks(scale):
            y = scale.y(value)
            painter.drawLine(0, y, self._price_rect.right(), y)
        self._paint_gaps(painter)

    def paint_foreground(self, painter: QPainter) -> None:
        """Paint lines, axes, legend, crosshair and states, in widget pixels."""
        style = self.style
        if self.state is not ChartState.READY or self.series is None:
            paint_state(painter, self._canvas.viewport().rect(), self.state, self.text, style)
            if self.title:
                self._legend = paint_legend(painter, self._price_rect, [self._title_words()], style)
            return
        scale, last = self.price_scale(), self.series.last_close
        painter.setClipRect(self._price_rect)
        tags = self.order_lines.paint(painter, scale, self.price_axis, last, style, self.reserved)
        tags += self._paint_last_price(painter, scale)
        painter.setClipping(False)
        self._paint_frame(painter)
        if self.cursor is not None and 0 <= (x := self.column(self.cursor)) <= self._price_rect.right():
            painter.setPen(hairline(style.accent))
            painter.drawLine(x, 0, x, self._volume_rect.bottom())
        inside = self.hover if self.hover is not None and self._plot_rect().contains(self.hover) else None
        hovered = round(self.index_at(inside.x())) if inside is not None else None
        if inside is not None and hovered is not None:
            paint_crosshair(painter, self._panes(), self.column(hovered), inside.y(), style)
        self._paint_axes(painter, scale, tags, inside)
        if hovered is not None:
            self._paint_time_tag(painter, hovered)
        self._legend = paint_legend(painter, self._price_rect, self.legend_rows(hovered), style)
        if self.stale_s is not None:
            paint_stale(painter, self._price_rect, self.stale_s, style)

    def hover_region(self) -> QRegion:
        """Return what the crosshair covers now, for a partial repaint."""
        region = QRegion(self._legend).united(self._axis_rect).united(self._time_rect)
        if self.hover is None or not self._plot_rect().contains(self.hover):
            return region
        x, y = self.column(round(self.index_at(self.hover.x()))), self.hover.y()
        plot = self._plot_rect()
        region = region.united(QRect(x - 1, plot.top(), 3, plot.height()))
        return region.united(QRect(plot.left(), y - 1, plot.width(), 3))

    def legend_rows(self, hovered: int | None) -> list[list[Word]]:
        """Return the legend for a bar, by default the one with the line, or the newest."""
        series = self.series
        if series is None:
            return []
        chosen = hovered if hovered is not None else self.cursor
        bar = series.bar(chosen) if chosen is not None else None
        bar = bar or series.bar(series.total - 1)
        if bar is None:
            return [self._title_words()]
        before = series.bar(bar.index - 1)
        decimals = self.price_axis.decimals or 0
        rows = [self._title_words() + bar_words(bar, before.close if before else None, decimals, self.style)]
        second: list[Word] = []
        for number, (period, item) in enumerate(self.averages.items()):
            value = item.value_at(bar.index) if item.isVisible() else None
            if value is not None:
                colour = self.style.overlays[number % len(self.style.overlays)]
                text = tr("MA {period}  {value}", period=period, value=self.price_axis.text(value))
                second.append(Word(text, colour, self.style.small))
        missing = series.missing_before(bar.index)
        if missing and hovered is not None:
            text = tr_count("{n} bar missing before", "{n} bars missing before", missing)
            second.append(Word(text, self.style.warning, self.style.small))
        fills = self._markers.fills_at(bar.index)
        if fills and hovered is not None:
            second.append(Word(tr_count("{n} fill", "{n} fills", len(fills)), self.style.text, self.style.small))
        if words := self.heat.words(bar.index):
            second.append(Word(words, self.style.text, self.style.bold))
        expected = [(fan.words(self.price_axis, hovered), fan.colour) for fan in (self.fan, self.looked_fan)]
        return [*rows, second, *([Word(words, colour, self.style.small)] for words, colour in expected if words)]

    def _title_words(self) -> list[Word]:
        return [Word(self.title, self.style.text, self.style.bold)]

    def _plot_rect(self) -> QRect:
        return self._price_rect.united(self._volume_rect)

    def _panes(self) -> list[QRect]:
        return [self._price_rect, self._volume_rect]

    def _paint_gaps(self, painter: QPainter) -> None:
        """Mark where bars are missing: time jumps there although the bars stand side by side."""
        assert self.series is not None
        first, last = self.window.indices()
        wide = last - first <= _GAP_LABEL_BARS
        painter.setFont(self.style.small)
        painter.setPen(hairline(self.style.warning, Qt.PenStyle.DotLine))
        rect, seen = self._price_rect, -1
        for index in self.series.gaps:
            x = self.column(index - 0.5)
            if not first < index < last or x == seen:
                continue
            seen = x
            painter.drawLine(x, rect.top() if wide else rect.bottom() - ROW_HEIGHT // 2, x, rect.bottom())
            if wide:
                text = tr("{n} missing", n=self.series.missing_before(index))
                painter.drawText(x + SPACE_XS, rect.bottom() - SPACE_S, text)

    def _paint_last_price(self, painter: QPainter, scale: Scale) -> list[Tag]:
        assert self.series is not None
        bar = self.series.bar(self.series.total - 1)
        if bar is None or not math.isfinite(bar.close):
            return []
        colour = self.style.muted if self.stale_s is not None else self.style.price_colour(bar.rising)
        self._painted_row = scale.y(bar.close)
        if scale.shows(bar.close):
            painter.setPen(hairline(colour, Qt.PenStyle.DotLine))
            painter.drawLine(scale.rect.left(), self._painted_row, scale.rect.right(), self._painted_row)
        return [Tag(bar.close, self.price_axis.text(bar.close), colour, self.style.ink(colour))]

    def _paint_frame(self, painter: QPainter) -> None:
        painter.setPen(hairline(self.style.line))
        right = self._axis_rect.left()
        painter.drawLine(right, 0, right, self._axis_rect.bottom())
        painter.drawLine(0, self._volume_rect.top(), self._axis_rect.right(), self._volume_rect.top())
        painter.drawLine(0, self._time_rect.top(), self._time_rect.right(), self._time_rect.top())

    def _paint_axes(self, painter: QPainter, scale: Scale, tags: list[Tag], inside: QPoint | None) -> None:
        assert self.series is not None
        style = self.style
        volume_scale = Scale(self._volume_rect, 0.0, self._volume_top)
        price_axis = QRect(self._axis_rect.left() + 1, 0, self._axis_rect.width() - 1, self._price_rect.height())
        volume_axis = QRect(price_axis.left(), self._volume_rect.top(), price_axis.width(), self._volume_rect.height())
        volume_tags: list[Tag] = []
        if inside is not None:
            over_price = self._price_rect.contains(inside)
            axis, to = (self.price_axis, scale) if over_price else (self._volume_axis, volume_scale)
            value = to.value(inside.y())
            (tags if over_price else volume_tags).append(Tag(value, axis.text(value), style.text, style.background))
        self.price_axis.paint(painter, price_axis, scale, style, tags)
        self._volume_axis.paint(painter, volume_axis, volume_scale, style, volume_tags)
        labels = self._time_rect.adjusted(0, 0, -self._axis_rect.width(), 0)
        self.time_axis.paint(painter, labels, self._ticks, [self.column(t.index) for t in self._ticks], style)
        painter.setFont(style.small)
        painter.setPen(style.muted)
        corner = QRect(labels.right(), labels.top(), self._axis_rect.width() - SPACE_S, labels.height())
        newest = self.series.time_at(max(0, self.series.total - 1))
        zone = zone_label(self.time_axis.zone_of(self.series), newest)
        painter.drawText(corner, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, zone)

    def _paint_time_tag(self, painter: QPainter, index: int) -> None:
        assert self.series is not None
        painter.setFont(self.style.small)
        text = self.time_axis.moment_text(self.series, index)
        width = painter.fontMetrics().horizontalAdvance(text) + 2 * SPACE_S
        left = min(max(self.column(index) - width // 2, 0), self._price_rect.right() - width)
        tag = QRect(left, self._time_rect.top() + 1, width, self._time_rect.height() - 2)
        painter.fillRect(tag, self.style.text)
        painter.setPen(self.style.background)
        painter.drawText(tag, Qt.AlignmentFlag.AlignCenter, text)
