"""The chart widget: candles, volume, overlays, crosshair, own orders and fills. GUI thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from PySide6.QtCore import QPoint, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QKeyEvent, QShowEvent
from PySide6.QtWidgets import QToolButton, QVBoxLayout, QWidget

from app.i18n import tr
from app.theme import CONTROL_HEIGHT, SPACE_M, Palette, icon
from app.ui.charts.axes import local_zone
from app.ui.charts.canvas import ChartCanvas, Zone
from app.ui.charts.crosshair import Crosshair
from app.ui.charts.fan import Fan
from app.ui.charts.heat import WeightTrack
from app.ui.charts.lod import FloatArray
from app.ui.charts.overlays import MOVING_AVERAGES
from app.ui.charts.scene import ChartScene
from app.ui.charts.series import BarSeries, IntArray
from app.ui.charts.states import ChartState, StateText
from app.ui.charts.style import ChartStyle
from core.domain.candles import Timeframe
from core.domain.fills import Fill
from core.domain.orders import Order
from core.domain.positions import Position
from core.events import ForecastMade

_PIXELS_PER_BAR = 8  # of a fresh view
_ZOOM_PER_NOTCH = 0.85
_ZOOM_PER_PIXEL = 1.005
_PAN_PER_NOTCH = 0.06
_PAN_PER_KEY = 0.1


class ChartView(QWidget):
    """A candle chart of one market.

    Mouse: wheel zooms at the cursor, dragging pans, dragging an axis stretches it, a double click on an axis makes it
    automatic again, Ctrl+click picks a price. Keys: ←/→ move, +/− zoom, Home/End oldest/newest, F all bars, Space
    follow.

    Signals:
        follow_changed(bool): whether the view moves along with new bars.
        price_clicked(float): the user Ctrl-clicked into the price pane at this price.
        view_changed: other bars are in view, or the pane has another width.
    """

    view_changed = Signal()
    follow_changed = Signal(bool)
    price_clicked = Signal(float)

    def __init__(self, colours: Palette, zone: tzinfo | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("chart_view")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._palette = colours
        self._symbol = ""
        self._timeframe = Timeframe.H1
        self._fills: list[Fill] = []
        self._following = True
        self._open = True
        self._canvas = ChartCanvas(self)
        self._scene = ChartScene(self._canvas, ChartStyle.from_palette(colours), zone or local_zone())
        self._canvas.attach(self._scene)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._canvas)
        self._latest = QToolButton(self)
        self._latest.setObjectName("chart_go_to_latest")
        self._latest.clicked.connect(self.go_to_latest)
        self._latest.hide()
        self._crosshair = Crosshair(self)
        self._crosshair.moved.connect(self._on_crosshair_moved)
        self._canvas.hovered.connect(self._on_hovered)
        self._canvas.dragged.connect(self._on_dragged)
        self._canvas.wheeled.connect(self._on_wheeled)
        self._canvas.double_clicked.connect(self._on_double_clicked)
        self._canvas.clicked.connect(self._on_clicked)
        self._canvas.resized.connect(self._on_resized)
        self.retranslate()
        self.set_palette(colours)

    # -- content ----------------------------------------------------------------------------------------------------

    @property
    def symbol(self) -> str:
        """The market shown, "" before the first."""
        return self._symbol

    @property
    def state(self) -> ChartState:
        """Whether there are bars to look at."""
        return self._scene.state

    @property
    def following(self) -> bool:
        """Whether the view moves along with new bars."""
        return self._scene.window.follow

    @property
    def visible_range(self) -> tuple[float, float]:
        """The visible bar indices, fractional."""
        return self._scene.window.first, self._scene.window.last

    @property
    def price_range(self) -> tuple[float, float]:
        """The visible prices."""
        return self._scene.price.low, self._scene.price.high

    @property
    def series(self) -> BarSeries | None:
        """The bars shown; read only."""
        return self._scene.series

    def set_instrument(self, symbol: str, timeframe: Timeframe | str, price_decimals: int) -> None:
        """Switch to a market; the chart says that it is loading until `set_history`."""
        self._symbol, self._timeframe = symbol, Timeframe(timeframe)
        self._scene.price_axis.decimals = price_decimals
        self._scene.title = f"{symbol} · {self._timeframe.value}"
        self._scene.set_series(None)
        self._scene.heat.set_track(None)
        for fan in self._scene.fans:
            fan.set_fan(None)
        self._fills = []
        self._scene.order_lines.set_orders([])
        self._scene.order_lines.set_position(None)
        self._scene.stale_s = None
        self._set_state(ChartState.LOADING, StateText(tr("Loading {symbol} …", symbol=symbol)))

    def set_price_decimals(self, decimals: int) -> None:
        """Write prices with so many decimals, once the market's tick size is known."""
        self._scene.price_axis.decimals = decimals
        self._moved()

    def set_history(
        self,
        time_ns: IntArray,
        open_: FloatArray,
        high: FloatArray,
        low: FloatArray,
        close: FloatArray,
        volume: FloatArray,
        *,
        keep_view: bool = False,
    ) -> None:
        """Show closed bars, oldest first.

        Args:
            time_ns: opening times, ns UTC, shape (n,).
            open_ / high / low / close / volume: prices in quote currency, shape (n,).
            keep_view: leave the view where it is; where it follows, the newest of these bars is at the right.

        Raises:
            ValueError: the times do not ascend strictly or the lengths differ.
        """
        series = BarSeries(self._timeframe.ns)
        series.set_history(time_ns, open_, high, low, close, volume)
        self._scene.set_series(series)
        self._scene.set_fills(self._fills)
        if series.total == 0:
            self._scene.set_series(None)
            text = StateText(
                tr("No bars of {symbol} yet.", symbol=self._symbol),
                tr("The first bar appears when the market trades."),
            )
            self._set_state(ChartState.EMPTY, text)
            return
        self._scene.refresh()
        self._scene.window.set_ahead(self._scene.ahead)
        if keep_view and self._scene.state is ChartState.READY:
            self._scene.window.set_total(series.total)
        else:
            self._scene.window.reset(series.total, self._scene.plot_width / _PIXELS_PER_BAR)
        self._set_state(ChartState.READY, StateText(""))

    def append_bars(
        self,
        time_ns: IntArray,
        open_: FloatArray,
        high: FloatArray,
        low: FloatArray,
        close: FloatArray,
        volume: FloatArray,
    ) -> None:
        """Take closed bars that follow those shown, and draw once; arrays of shape (n,)."""
        series = self._series_for_bar()
        size = len(series)
        for row in range(len(time_ns)):
            columns = (open_, high, low, close, volume)
            series.append_final(int(time_ns[row]), tuple(float(column[row]) for column in columns))
        self._bars_added(size)

    def update_forming(
        self, open_time_ns: int, open_: float, high: float, low: float, close: float, volume: float
    ) -> None:
        """Show the running bar; called at most once per frame."""
        series = self._series_for_bar()
        before = series.total
        size = len(series)
        if not series.set_forming(open_time_ns, (open_, high, low, close, volume)):
            return
        if series.total != before or len(series) != size:
            self._bars_added(size)
        else:
            self._scene.tick()

    def append_final(
        self, open_time_ns: int, open_: float, high: float, low: float, close: float, volume: float
    ) -> None:
        """Take a closed bar: the next one, a correction of a known one, or one that fills a gap."""
        series = self._series_for_bar()
        size = len(series)
        index = series.append_final(open_time_ns, (open_, high, low, close, volume))
        self._bars_added(min(index, size))

    def set_fills(self, fills: Sequence[Fill]) -> None:
        """Mark own fills; those of other markets are left out."""
        self._fills = [fill for fill in fills if fill.symbol == self._symbol]
        self._scene.set_fills(self._fills)
        self._canvas.viewport().update()

    def set_working_orders(self, orders: Sequence[Order]) -> None:
        """Show working orders as lines; those of other markets are left out."""
        self._scene.order_lines.set_orders([o for o in orders if o.intent.symbol == self._symbol])
        self._canvas.viewport().update()

    def set_position(self, position: Position | None) -> None:
        """Show the average price of the position; None or a flat one shows nothing."""
        own = position is not None and position.symbol == self._symbol
        self._scene.order_lines.set_position(position if own else None)
        self._canvas.viewport().update()

    def set_forecast(self, event: ForecastMade | None) -> None:
        """Show what a strategy's model expects ahead of the last bar; of another market or bar length shows nothing."""
        self._scene.fan.set_fan(self._fan_of(event))
        self._make_room()

    def set_looked(self, event: ForecastMade | None) -> None:
        """Show what a model expects that nobody trades with; of another market or bar length shows nothing."""
        self._scene.looked_fan.set_fan(self._fan_of(event))
        self._make_room()

    def set_fan_shown(self, shown: bool) -> None:
        """Show or hide forecasts of strategies."""
        self._scene.fan.set_wanted(shown)
        self._make_room()

    @property
    def fan(self) -> Fan | None:
        """The forecast of a strategy drawn now; None where there is none, or it is hidden or stale."""
        return self._scene.fan.fan

    @property
    def looked_fan(self) -> Fan | None:
        """The forecast drawn now of a model that is only looked at; None where there is none, or it is stale."""
        return self._scene.looked_fan.fan

    # -- what an agent did ------------------------------------------------------------------------------------------

    def set_weights(self, track: WeightTrack | None) -> None:
        """Show what an agent wanted to hold at each bar, None for nothing."""
        self._scene.heat.set_track(track)
        self._moved()

    def set_weights_shown(self, shown: bool) -> None:
        """Show or hide these weights."""
        self._scene.heat.set_wanted(shown)
        self._moved()

    def set_trades(self, index: FloatArray, price: FloatArray, sign: FloatArray) -> None:
        """Mark trades at bars, see `TradeMarkersItem.set_trades`."""
        self._scene.trades.set_trades(index, price, sign)
        self._canvas.viewport().update()

    def set_done(self, bars: int, cursor: int | None) -> None:
        """Show weights and trades of so many bars, counted from the first, and a line at one of them."""
        self._scene.heat.set_limit(bars)
        self._scene.trades.set_limit(bars)
        self._scene.cursor = cursor
        self._canvas.viewport().update()

    def weight_colour(self, weight: float) -> QColor:
        """Return the colour that a weight has on the chart."""
        return self._scene.heat.colour(weight)

    def reveal(self, index: int) -> None:
        """Move the view so that a bar is in it; one that is seen changes nothing."""
        window = self._scene.window
        if not window.first + 1 <= index <= window.last - 1:
            follow = window.follow
            window.pan(index - window.first - window.span / 2)
            window.follow = follow and index == window.total - 1
            self._moved()

    def column(self, index: float) -> int:
        """Return the pixel column of a bar's middle, also outside the view."""
        return self._scene.column(index)

    @property
    def plot_width(self) -> int:
        """Width of the panes without the price axis, px."""
        return self._scene.plot_width

    def set_stale(self, seconds: float | None) -> None:
        """Say on the chart that the newest data is `seconds` old; None while it is fresh."""
        if seconds != self._scene.stale_s:
            self._scene.stale_s = seconds
            self._canvas.viewport().update()

    def clear(self, message: str, detail: str = "") -> None:
        """Show no bars but a sentence, and beneath it what to do next."""
        self._scene.set_series(None)
        self._set_state(ChartState.EMPTY, StateText(message, detail))

    def show_error(self, message: str, remedy: str = "") -> None:
        """Say why there are no bars and what helps."""
        self._scene.set_series(None)
        self._set_state(ChartState.ERROR, StateText(message, remedy))

    def set_average(self, period: int, shown: bool) -> None:
        """Show or hide a moving average; `period` is one of `MOVING_AVERAGES`."""
        self._scene.set_average(period, shown)

    @property
    def averages(self) -> tuple[int, ...]:
        """Periods of the moving averages now shown."""
        return tuple(period for period in MOVING_AVERAGES if self._scene.averages[period].isVisible())

    def set_palette(self, colours: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = colours
        self._scene.set_style(ChartStyle.from_palette(colours))
        self._latest.setIcon(icon("chevron-right", colours.text))

    def set_zone(self, zone: tzinfo) -> None:
        """Show times in another zone."""
        self._scene.time_axis.zone = zone
        self._scene.refresh()

    def retranslate(self) -> None:
        """Set all text again after a change of language."""
        self._latest.setAccessibleName(tr("Go to latest"))
        self._latest.setToolTip(tr("Go to latest (End)"))
        self.setAccessibleName(tr("Price chart"))
        self._describe()
        self._canvas.viewport().update()

    def shutdown(self) -> None:
        """Close in order: timer, items, scene; the widget is not used again. Safe to call twice."""
        if not self._open:
            return
        self._open = False
        self._crosshair.stop()
        self._canvas.detach()
        self._scene.close()
        self._canvas.close()

    # -- navigation -------------------------------------------------------------------------------------------------

    @Slot()
    def go_to_latest(self) -> None:
        """Show the newest bar and follow."""
        self._scene.window.go_to_latest()
        self._moved()

    @Slot(bool)
    def set_following(self, follow: bool) -> None:
        """Follow new bars or stand still."""
        if follow == self._scene.window.follow:
            return
        if follow:
            self._scene.window.go_to_latest()
        self._scene.window.follow = follow
        self._moved()

    def fit(self) -> None:
        """Show all bars with an automatic price range."""
        self._scene.price.auto = True
        self._scene.window.fit()
        self._moved()

    def zoom(self, factor: float) -> None:
        """Zoom around the newest visible bar; below 1 zooms in."""
        window = self._scene.window
        window.zoom(min(window.last, window.total - 1.0), factor)
        self._moved()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self._scene.state is not ChartState.READY:
            super().keyPressEvent(event)
            return
        window = self._scene.window
        step = window.span * _PAN_PER_KEY
        match event.key():
            case Qt.Key.Key_Left:
                window.pan(-step)
            case Qt.Key.Key_Right:
                window.pan(step)
            case Qt.Key.Key_Plus | Qt.Key.Key_Equal:
                self.zoom(_ZOOM_PER_NOTCH)
            case Qt.Key.Key_Minus:
                self.zoom(1 / _ZOOM_PER_NOTCH)
            case Qt.Key.Key_Home:
                window.go_to_start()
            case Qt.Key.Key_End:
                window.go_to_latest()
            case Qt.Key.Key_F:
                self.fit()
            case Qt.Key.Key_Space:
                self.set_following(not window.follow)
            case _:
                super().keyPressEvent(event)
                return
        self._moved()
        event.accept()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._scene.refresh()

    def sizeHint(self) -> QSize:
        return QSize(28 * CONTROL_HEIGHT, 16 * CONTROL_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(8 * CONTROL_HEIGHT, 5 * CONTROL_HEIGHT)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _series_for_bar(self) -> BarSeries:
        """Return the bars to add to; a market without history starts with the first bar that arrives."""
        if self._scene.series is None:
            self._scene.set_series(BarSeries(self._timeframe.ns))
        assert self._scene.series is not None
        return self._scene.series

    def _fan_of(self, event: ForecastMade | None) -> Fan | None:
        own = event is not None and (event.forecast.symbol, event.timeframe) == (self._symbol, self._timeframe.value)
        return Fan.of(event) if event is not None and own else None

    def _make_room(self) -> None:
        """Leave room for the forecast beyond the newest bar, and draw."""
        self._scene.window.set_ahead(self._scene.ahead)
        self._describe()
        self._moved()

    def _bars_added(self, first: int) -> None:
        series = self._scene.series
        assert series is not None
        self._scene.bars_changed(first)
        if self._scene.state is ChartState.READY:
            self._scene.window.set_total(series.total)
            self._make_room()  # a bar that closes may be one too many for the forecast
        else:
            self._scene.window.reset(series.total, self._scene.plot_width / _PIXELS_PER_BAR)
            self._set_state(ChartState.READY, StateText(""))

    def _set_state(self, state: ChartState, text: StateText) -> None:
        self._scene.state, self._scene.text = state, text
        self._describe()
        self._moved()

    def _describe(self) -> None:
        """Tell screen readers what the picture shows."""
        series = self._scene.series
        if self._scene.state is ChartState.READY and series is not None:
            close = self._scene.price_axis.text(series.last_close or 0.0)
            text = tr("{title}, {n} bars, last price {price}", title=self._scene.title, n=series.total, price=close)
            fans = (self._scene.fan, self._scene.looked_fan)
            text = ". ".join(filter(None, (text, *(fan.words(self._scene.price_axis, None) for fan in fans))))
        else:
            shown = self._scene.text.shown()
            text = f"{shown.title} {shown.detail}".strip()
        self.setAccessibleDescription(text)

    def _moved(self) -> None:
        self._scene.refresh()
        self.view_changed.emit()
        follow = self._scene.window.follow
        self._latest.setVisible(self._scene.state is ChartState.READY and not follow)
        self._place_button()
        if follow != self._following:
            self._following = follow
            self.follow_changed.emit(follow)

    def _place_button(self) -> None:
        rect = self._scene.price_rect
        side = self._latest.sizeHint()
        self._latest.resize(side)
        self._latest.move(rect.right() - side.width() - SPACE_M, rect.bottom() - side.height() - SPACE_M)
        self._scene.reserved = self._latest.geometry() if self._latest.isVisibleTo(self) else None

    @Slot()
    def _on_resized(self) -> None:
        self._scene.refresh()
        self.view_changed.emit()
        self._place_button()

    @Slot(object)
    def _on_hovered(self, position: QPoint | None) -> None:
        self._crosshair.move_to(position)

    @Slot()
    def _on_crosshair_moved(self) -> None:
        before = self._scene.hover_region()
        self._scene.hover = self._crosshair.position
        self._canvas.viewport().update(before.united(self._scene.hover_region()))

    @Slot(object, int, int)
    def _on_dragged(self, zone: Zone, dx: int, dy: int) -> None:
        scene = self._scene
        if scene.state is not ChartState.READY:
            return
        window = scene.window
        if zone is Zone.SEPARATOR:
            scene.move_separator(dy)
        elif zone is Zone.PRICE_AXIS:
            scene.scale_price(_ZOOM_PER_PIXEL**dy)
        elif zone is Zone.TIME_AXIS:
            window.zoom(min(window.last, window.total - 1.0), _ZOOM_PER_PIXEL**-dx)
        else:
            if dx:
                window.pan(-dx * window.span / max(1, scene.plot_width))
            if not scene.price.auto and zone is Zone.PRICE:
                scene.shift_price(dy)
        self._moved()

    @Slot(QPoint, float, float)
    def _on_wheeled(self, position: QPoint, across: float, along: float) -> None:
        scene = self._scene
        if scene.state is not ChartState.READY:
            return
        if along and scene.zone_at(position) is Zone.PRICE_AXIS:
            scene.scale_price(_ZOOM_PER_NOTCH**along)
        elif along:
            scene.window.zoom(scene.index_at(position.x()), _ZOOM_PER_NOTCH**along)
        if across:
            scene.window.pan(-across * _PAN_PER_NOTCH * scene.window.span)
        self._moved()

    @Slot(object)
    def _on_double_clicked(self, zone: Zone) -> None:
        if self._scene.state is not ChartState.READY:
            return
        if zone is Zone.PRICE_AXIS:
            self._scene.price.auto = True
        elif zone is Zone.TIME_AXIS:
            self._scene.window.reset(self._scene.window.total, self._scene.plot_width / _PIXELS_PER_BAR)
        self._moved()

    @Slot(QPoint, bool)
    def _on_clicked(self, position: QPoint, with_control: bool) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        # A plain click only takes the focus: it must not rewrite a price someone is about to send.
        if with_control and self._scene.state is ChartState.READY and self._scene.zone_at(position) is Zone.PRICE:
            self.price_clicked.emit(self._scene.price_scale().value(position.y()))
