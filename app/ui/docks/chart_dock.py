"""The chart with its tool row. GUI thread only.

Everything arrives as values through slots, drained by the window at no more than 60 Hz; the chart asks for a market
through `MarketCommands.watch` and shows nothing of another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QKeySequence, QResizeEvent, QShortcut, QWheelEvent
from PySide6.QtWidgets import QButtonGroup, QComboBox, QMenu, QToolButton, QVBoxLayout, QWidget

from app.i18n import mark, tr
from app.models.live_forecasts import LiveForecasts
from app.models.model_look import ModelLook
from app.services import MarketCommands
from app.theme import SPACE_L, SPACE_XS, ThemeManager, set_look
from app.ui.charts.heat import track_on
from app.ui.charts.overlays import MOVING_AVERAGES
from app.ui.charts.states import ChartState
from app.ui.charts.view import ChartView
from app.ui.docks.look_strip import LookStrip
from app.ui.widgets.panel import Panel, ToolRow
from app.ui.widgets.price_readout import PriceReadout
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.market import PublicTrade, Ticker
from core.domain.money import ZERO
from core.domain.orders import Order
from core.domain.positions import Position
from core.events import AccountOpened, ExecutorEvent, ForecastMade, OrderUpdated, PositionChanged, StrategyStatus
from ml.outlook import AgentWeights

if TYPE_CHECKING:
    from core.data.frame import CandleFrame

# Keys 1 to 9 choose them in this order; in a narrow window the rear ones of _SPARE disappear first.
TIMEFRAMES = tuple(Timeframe(name) for name in ("1m", "5m", "15m", "30m", "1h", "4h", "12h", "1d", "1w"))
_SPARE = tuple(Timeframe(name) for name in ("12h", "30m", "1w", "5m", "4h", "15m", "1d", "1m", "1h"))
_DEFAULT_DECIMALS = 2
_PENDING_MAX = 1_000
_SYMBOL_LENGTH = 9  # characters of a usual symbol


class ChartDock(Panel):
    """Chart, market selector, timeframes, indicators, follow button and last price.

    Signals:
        market_changed(str, str): symbol and timeframe a person chose here.
        price_picked(object): `Decimal` price Ctrl-clicked in the chart, on the market's tick grid.
    """

    TITLE = mark("Chart")
    NAME = "chart_dock"
    market_changed = Signal(str, str)
    price_picked = Signal(object)

    def __init__(
        self, commands: MarketCommands, theme: ThemeManager, zone: tzinfo | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, parent)
        self._commands = commands
        self._instruments: dict[str, Instrument] = {}
        self._symbol, self._timeframe = "", Timeframe.H1
        self._pending: list[Candle] = []
        self._newest_ns = 0  # open time of the newest bar heard of
        self._fills: list[Fill] = []
        self._orders: dict[str, Order] = {}
        self._positions: dict[tuple[str, str], Position] = {}
        self._forecasts = LiveForecasts()
        self._forecast: ForecastMade | None = None  # on the chart
        self._look: ModelLook | None = None
        self._looked: ForecastMade | None = None  # on the chart
        self._weights: AgentWeights | None = None  # on the chart
        self.chart = ChartView(theme.palette, zone, self)
        self.look = LookStrip(theme, self)
        self.setFocusProxy(self.chart)
        self.tools = ToolRow(self)
        # The row hides what has no room; it must not keep the window from becoming narrow.
        self.tools.setMinimumWidth(1)
        self._build_tools()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.tools)
        layout.addWidget(self.look)
        layout.addWidget(self.chart, 1)
        self.chart.follow_changed.connect(self._on_follow_changed)
        self.chart.price_clicked.connect(self._on_price_clicked)
        # One redraw for a burst of fills, orders and positions; none of the values is dropped.
        self._overlay_timer = QTimer(self)
        self._overlay_timer.setSingleShot(True)
        self._overlay_timer.timeout.connect(self._show_own)
        self.retranslate()
        self.refresh_look()

    # -- market -----------------------------------------------------------------------------------------------------

    @property
    def symbol(self) -> str:
        """The market shown, "" before the first."""
        return self._symbol

    @property
    def timeframe(self) -> Timeframe:
        """The bar length shown."""
        return self._timeframe

    def set_instruments(self, instruments: Sequence[Instrument]) -> None:
        """Offer these markets in the selector."""
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        with QSignalBlocker(self.markets):
            self.markets.clear()
            self.markets.addItems(sorted(self._instruments))
            self.markets.setCurrentText(self._symbol)
            if self._symbol not in self._instruments:
                self.markets.setCurrentIndex(-1)
        if self._symbol:  # shown before its tick size was known
            self.chart.set_price_decimals(self._decimals)
            self.readout.set_decimals(self._decimals)
            self._overlay_timer.start()
        self._fit_tools()

    @Slot(str, str)
    def show_market(self, symbol: str, timeframe: Timeframe | str) -> None:
        """Switch to a market, ask for its data and say so on the chart."""
        self._symbol, self._timeframe = symbol, Timeframe(timeframe)
        self._pending, self._newest_ns = [], 0
        self._forecast = self._looked = self._weights = None  # the chart forgets them with the bars
        with QSignalBlocker(self.markets):
            if self.markets.findText(symbol) < 0:
                self.markets.addItem(symbol)
            self.markets.setCurrentText(symbol)
        self._timeframe_group.setExclusive(False)  # no button is checked where none has this bar length
        for button, choice in self._timeframe_buttons.items():
            button.setChecked(choice is self._timeframe)
        self._timeframe_group.setExclusive(True)
        decimals = self._decimals
        self.chart.set_instrument(symbol, self._timeframe, decimals)
        self.readout.reset(decimals)
        self._show_own()
        self._fit_tools()
        self._commands.watch(symbol, self._timeframe.value)
        self.market_changed.emit(symbol, self._timeframe.value)

    @Slot(object)
    def on_history(self, frame: CandleFrame) -> None:
        """Show the history of the market; an answer for another market or timeframe came too late and is dropped."""
        if frame.symbol != self._symbol or frame.timeframe is not self._timeframe:
            return
        self._weights = None  # they are put on the new bars anew
        closed = frame.final
        columns = (frame.open, frame.high, frame.low, frame.close, frame.volume)
        open_, high, low, close, volume = (column[closed] for column in columns)
        self.chart.set_history(frame.time_ns[closed], open_, high, low, close, volume)
        newest = int(frame.time_ns[-1]) if len(frame) else -1
        if len(frame) and not closed[-1]:
            open_, high, low, close, volume = (column[-1] for column in columns)
            self.chart.update_forming(newest, open_, high, low, close, volume)
        waiting, self._pending = self._pending, []
        for candle in waiting:
            if candle.open_time_ns >= newest:
                self._take(candle)
        self._show_own()

    @Slot(str, str)
    def on_history_failed(self, message: str, remedy: str) -> None:
        """Say on the chart why there is no history."""
        self.chart.show_error(message, remedy)

    @Slot(object)
    def on_candle(self, candle: Candle) -> None:
        """Take a live bar; while the history loads it waits for it."""
        if candle.symbol != self._symbol or candle.timeframe is not self._timeframe:
            return
        if candle.open_time_ns >= self._newest_ns:  # a bar read again after its close says nothing about now
            self._newest_ns = candle.open_time_ns
            self._show_trade(candle.close)
        if self.chart.state is ChartState.LOADING:
            self._pending = [*self._pending[-_PENDING_MAX:], candle]
        elif self.chart.state is not ChartState.ERROR:
            self._take(candle)

    @Slot(object)
    def on_ticker(self, ticker: Ticker) -> None:
        """Show the change of the day, and the last price while no trades are heard."""
        if ticker.symbol == self._symbol:
            before = self.readout.sizeHint().width()
            self.readout.take_ticker(ticker.last, ticker.change_24h)
            self._fit_readout(before)

    @Slot(object)
    def on_trades(self, trades: Sequence[PublicTrade]) -> None:
        """Show the price of the newest trade."""
        own = [trade for trade in trades if trade.symbol == self._symbol]
        if own:
            self._show_trade(own[-1].price)

    @Slot(object)
    def set_stale(self, seconds: float | None) -> None:
        """Say on the chart how old its newest data is; None while it is fresh."""
        self.chart.set_stale(seconds)

    @Slot(object)
    def show_look(self, look: ModelLook | None) -> None:
        """Show a model that is looked at and what it expects, None for none."""
        self._look = look
        self._overlay_timer.start()

    # -- own orders, fills, positions -------------------------------------------------------------------------------

    def set_fills(self, fills: Sequence[Fill]) -> None:
        """Replace all fills, of every market, e.g. with those read at start."""
        self._fills = list(fills)
        self._overlay_timer.start()

    @Slot(object)
    def on_fill(self, fill: Fill) -> None:
        """Mark a fill."""
        self._fills.append(fill)
        self._overlay_timer.start()

    @Slot(object)
    def on_event(self, event: ExecutorEvent) -> None:
        """Take what the chart shows of an executor's event; fills come by `on_fill`."""
        match event:
            case AccountOpened():
                self.forget_books()
            case OrderUpdated(order=order):
                self.on_order(order)
            case PositionChanged(position=position):
                self.on_position(position)
            case ForecastMade():
                self._forecasts.take_forecast(event)
                self._overlay_timer.start()
            case StrategyStatus():
                self._forecasts.take_status(event)
                self._overlay_timer.start()
            case _:
                pass

    @Slot()
    def forget_books(self) -> None:
        """Take own orders, fills and positions off the chart: they are told anew, or are another account's."""
        self._fills.clear()
        self._orders.clear()
        self._positions.clear()
        self._forecasts.forget()
        self._overlay_timer.start()

    @Slot(object)
    def on_order(self, order: Order) -> None:
        """Draw a working order, or remove one that ended."""
        if order.state.is_terminal:
            self._orders.pop(order.client_order_id, None)
        else:
            self._orders[order.client_order_id] = order
        self._overlay_timer.start()

    @Slot(object)
    def on_position(self, position: Position) -> None:
        """Take the position of one owner; the chart shows the sum of all owners in the market."""
        self._positions[position.symbol, position.owner] = position
        self._overlay_timer.start()

    # -- appearance -------------------------------------------------------------------------------------------------

    def retranslate(self) -> None:
        self.markets.setAccessibleName(tr("Market"))
        self.markets.setToolTip(tr("Market"))
        self.markets.setPlaceholderText(tr("Choose a market"))
        self.indicators.setAccessibleName(tr("Indicators"))
        self.indicators.setToolTip(tr("Lines over the chart"))
        self.follow.setAccessibleName(tr("Follow new bars"))
        self.follow.setToolTip(tr("Follow new bars (Space)"))
        for period, action in self._average_actions.items():
            action.setText(tr("Moving average {n}", n=period))
        self.fan_action.setText(tr("Forecast of running strategies"))
        self.weights_action.setText(tr("Target weights of an agent"))
        for number, (button, timeframe) in enumerate(self._timeframe_buttons.items(), start=1):
            button.setToolTip(tr("{timeframe} bars (key {key})", timeframe=timeframe.value, key=number))
            button.setAccessibleName(tr("{timeframe} bars", timeframe=timeframe.value))
        self.chart.retranslate()
        self.look.retranslate()
        if not self._symbol:
            self.chart.clear(tr("No market chosen."), tr("Choose one in the list at the top left."))
        self._fit_tools()

    def refresh_look(self) -> None:
        self.chart.set_palette(self.theme.palette)
        self.readout.set_palette(self.theme.palette)
        self.look.refresh_look()
        self.indicators.setIcon(self.theme.icon("activity"))
        self._draw_follow()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_tools()

    def shutdown(self) -> None:
        """Close the chart and stop the timers; the panel is not used again."""
        self._overlay_timer.stop()
        self.readout.stop()
        self.chart.shutdown()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _build_tools(self) -> None:
        self.markets = _MarketBox(self)
        self.markets.setObjectName("chart_markets")
        self.markets.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.markets.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.markets.setMinimumContentsLength(_SYMBOL_LENGTH)
        self.markets.textActivated.connect(self._on_market_chosen)
        self.tools.add(self.markets)
        self._timeframe_buttons: dict[QToolButton, Timeframe] = {}
        self._timeframe_group = QButtonGroup(self)
        for number, timeframe in enumerate(TIMEFRAMES, start=1):
            button = self._tool(f"chart_timeframe_{timeframe.value}", checkable=True)
            button.setText(timeframe.value)
            self._timeframe_group.addButton(button)
            self._timeframe_buttons[button] = timeframe
            shortcut = QShortcut(QKeySequence(str(number)), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(button.click)
        self._timeframe_group.buttonClicked.connect(self._on_timeframe_clicked)
        self.indicators = self._tool("chart_indicators")
        self.indicators.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        self._average_actions: dict[int, QAction] = {}
        for period in MOVING_AVERAGES:
            action = menu.addAction("")
            action.setCheckable(True)
            action.setData(period)
            self._average_actions[period] = action
        menu.addSeparator()
        self.fan_action = menu.addAction("")
        self.fan_action.setObjectName("chart_fan")
        self.fan_action.setCheckable(True)
        self.fan_action.setChecked(True)
        self.weights_action = menu.addAction("")
        self.weights_action.setObjectName("chart_weights")
        self.weights_action.setCheckable(True)
        self.weights_action.setChecked(True)
        menu.triggered.connect(self._on_indicator)
        self.indicators.setMenu(menu)
        self.follow = self._tool("chart_follow", checkable=True)
        self.follow.setChecked(True)
        self.follow.toggled.connect(self.chart.set_following)
        self.tools.add_stretch()
        self.readout = PriceReadout(self.theme.palette, self)
        self.tools.add(self.readout)

    def _tool(self, name: str, *, checkable: bool = False) -> QToolButton:
        button = QToolButton(self)
        button.setObjectName(name)
        button.setCheckable(checkable)
        set_look(button, "variant", "quiet")
        self.tools.add(button)
        return button

    @property
    def _decimals(self) -> int:
        instrument = self._instruments.get(self._symbol)
        return instrument.price_decimals if instrument is not None else _DEFAULT_DECIMALS

    def _take(self, candle: Candle) -> None:
        add = self.chart.append_final if candle.final else self.chart.update_forming
        add(candle.open_time_ns, candle.open, candle.high, candle.low, candle.close, candle.volume)

    def _show_trade(self, price: float) -> None:
        before = self.readout.sizeHint().width()
        self.readout.take_trade(price)
        self._fit_readout(before)

    def _fit_readout(self, before: int) -> None:
        if self.readout.sizeHint().width() > before:
            self._fit_tools()

    @Slot()
    def _show_own(self) -> None:
        self.chart.set_fills(self._fills)
        self.chart.set_working_orders(list(self._orders.values()))
        position = net_position(self._symbol, list(self._positions.values()))
        instrument = self._instruments.get(self._symbol)
        if position is not None and instrument is not None and instrument.is_dust(position.quantity):
            position = None  # what a fee left of a lot is no position to look after
        self.chart.set_position(position)
        forecast = self._forecasts.of(self._symbol, self._timeframe.value)
        if forecast is not self._forecast:
            self._forecast = forecast
            self.chart.set_forecast(forecast)
        self._show_look(forecast)

    def _show_look(self, traded: ForecastMade | None) -> None:
        """Show the model that is looked at; what a strategy's own forecast says already is not drawn twice."""
        look = self._look
        self.look.show_look(look, look is not None and self._forecasts.uses(look.model.model_id))
        looked = None if look is None else look.forecast
        drawn = traded.forecast.model_id if traded is not None and self.fan_action.isChecked() else ""
        if looked is not None and looked.forecast.model_id == drawn:
            looked = None
        if looked != self._looked:
            self._looked = looked
            self.chart.set_looked(looked)
        self._show_weights(None if look is None else look.weights)

    def _show_weights(self, weights: AgentWeights | None) -> None:
        """Colour the bars by what an agent that is looked at wants to hold."""
        series = self.chart.series
        if weights is self._weights:
            return
        self._weights = weights if series is not None else None
        track = None
        if weights is not None and series is not None:
            track = track_on(series, weights.time_ns, weights.target, weights.held)
        self.chart.set_weights(track)
        self.look.show_scale(None if track is None else track.most)

    def _fit_tools(self) -> None:
        """Hide timeframes for which there is no room; the chosen one stays."""
        buttons = {timeframe: button for button, timeframe in self._timeframe_buttons.items()}
        for button in buttons.values():
            button.setVisible(True)
        fixed = (self.markets, self.indicators, self.follow, self.readout)
        needed = sum(w.sizeHint().width() + SPACE_XS for w in (*fixed, *buttons.values())) + SPACE_L
        for timeframe in _SPARE:
            if needed <= self.width():
                break
            if timeframe is not self._timeframe:
                buttons[timeframe].setVisible(False)
                needed -= buttons[timeframe].sizeHint().width() + SPACE_XS

    def _draw_follow(self) -> None:
        colours = self.theme.palette
        shade = colours.accent if self.follow.isChecked() else colours.muted
        self.follow.setIcon(self.theme.icon("target", shade))

    @Slot(str)
    def _on_market_chosen(self, symbol: str) -> None:
        if symbol != self._symbol:
            self.show_market(symbol, self._timeframe)

    @Slot(object)
    def _on_timeframe_clicked(self, button: QToolButton) -> None:
        timeframe = self._timeframe_buttons[button]
        if self._symbol and timeframe is not self._timeframe:
            self.show_market(self._symbol, timeframe)

    @Slot(QAction)
    def _on_indicator(self, action: QAction) -> None:
        if action is self.fan_action:
            self.chart.set_fan_shown(action.isChecked())
            self._show_own()
        elif action is self.weights_action:
            self.chart.set_weights_shown(action.isChecked())
        elif action in self._average_actions.values():
            self.chart.set_average(int(action.data()), action.isChecked())

    @Slot(bool)
    def _on_follow_changed(self, follow: bool) -> None:
        with QSignalBlocker(self.follow):
            self.follow.setChecked(follow)
        self._draw_follow()

    @Slot(float)
    def _on_price_clicked(self, price: float) -> None:
        instrument = self._instruments.get(self._symbol)
        text = Decimal(f"{price:.{self._decimals}f}")
        self.price_picked.emit(instrument.round_price(text) if instrument is not None else text)


class _MarketBox(QComboBox):
    """A selector that scrolling past does not touch: the wheel would switch the market."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def net_position(symbol: str, positions: Sequence[Position]) -> Position | None:
    """Return the sum of several owners' positions in a market, None where it is flat.

    The average price is that of the quantities on the side of the sum.
    """
    own = [p for p in positions if p.symbol == symbol and p.quantity]
    quantity = sum((p.quantity for p in own), ZERO)
    if not quantity:
        return None
    same = [p for p in own if (p.quantity > 0) == (quantity > 0)]
    size = sum((p.quantity for p in same), ZERO)
    average = sum((p.quantity * p.average_price for p in same), ZERO) / size
    return Position(own[0].venue, symbol, "", quantity, average)
