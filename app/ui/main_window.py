"""The main window: puts the parts together and passes events on. GUI thread only.

It decides nothing about trading. Everything it needs comes by constructor; panels that draw charts are attached after
the window shows, because importing their library takes longer than showing the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QCloseEvent, QShowEvent
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabWidget, QWidget

from app.i18n import mark, tr
from app.models.hub import WindowModels
from app.models.log_model import level_of
from app.models.model_choice import ModelChoice
from app.models.notifications_model import NoticeRow
from app.settings import CLOSE_ACTION, FIRST_RUN_DONE, LAST_SYMBOL, LAST_TIMEFRAME, CloseAction
from app.theme import GRID
from app.ui.actions import ActionRegistry
from app.ui.closing import closing_stakes
from app.ui.command_palette import CommandPalette, palette_entries
from app.ui.deeds import Deeds, WindowParts
from app.ui.dialogs.error_dialog import ErrorDialog
from app.ui.docks.fills_dock import FillsDock
from app.ui.docks.log_dock import LogDock
from app.ui.docks.notifications_dock import NotificationsDock
from app.ui.docks.orders_dock import OrdersDock
from app.ui.docks.plans_dock import PlansDock
from app.ui.docks.positions_dock import PositionsDock
from app.ui.docks.strategies_dock import StrategiesDock
from app.ui.docks.ticket_dock import TicketDock
from app.ui.layouts import DockName, Layouts, Preset
from app.ui.menus import Menus
from app.ui.order_dialogs import OrderDialogs
from app.ui.ownership_questions import OwnershipQuestions
from app.ui.questions import Questions
from app.ui.status_bar import StatusBar
from app.ui.top_bar import TopBar
from app.ui.widgets.mode_badge import ModeFrame, mode_word
from app.ui.widgets.panel import Panel
from app.ui.widgets.toast import ToastStack
from app.ui.window_memory import WindowMemory
from app.ui.window_services import WindowServices
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, Ticker
from core.domain.orders import TradingMode
from core.domain.positions import Position
from core.events import ConnectionStatus, ExecutorEvent, Notice, TradingStateChanged

TABLE_MS, FRAME_MS = 100, 33
CLOCK_TICKS = 10  # table ticks between two looks at the clock
DEFAULT_SIZE = (360 * GRID, 210 * GRID)
MINIMUM_SIZE = (240 * GRID, 140 * GRID)

ATTACHED_TITLE = {
    DockName.CHART: mark("Chart"),
    DockName.ORDER_BOOK: mark("Order book"),
    DockName.TRAINING: mark("Training"),
}


class MainWindow(QMainWindow):
    """The window.

    Attributes:
        models: everything shown, fed by `on_executor_event`.
        ticket, orders, plans, positions, fills, strategies, log, notifications: the panels.
        layouts, memory: arrangement and its storage.
        deeds: what menus, shortcuts and the palette do.

    Signals:
        close_requested: the person decided to quit; start the shutdown, then call `allow_close`.
        tray_requested: the window was hidden to the tray on the person's wish.
        train_requested: open the training wizard.
        models_requested: open the window of stored models.
        reconnect_requested: see `Deeds`.
        market_requested: show this symbol with this timeframe (the chart does, and asks for its data).
        notice_added: a `NoticeRow`, for the tray.
        frame_due: thirty times a second once shown; drain chart data.
        table_due: ten times a second once shown; drain everything else.
    """

    close_requested = Signal()
    tray_requested = Signal()
    train_requested = Signal()
    models_requested = Signal()
    reconnect_requested = Signal()
    market_requested = Signal(str, str)
    notice_added = Signal(object)
    frame_due = Signal()
    table_due = Signal()

    def __init__(self, services: WindowServices) -> None:
        super().__init__()
        self._services = services
        self._symbol = services.settings.get(LAST_SYMBOL)
        self._timeframe = services.settings.get(LAST_TIMEFRAME)
        self._closable = False
        self._ticks = 0
        self._attached: dict[DockName, QWidget] = {}
        self.setObjectName("main_window")
        self.resize(*DEFAULT_SIZE)
        self.setMinimumSize(*MINIMUM_SIZE)
        self.models = WindowModels(services.now_ns, self)
        self.actions_ = ActionRegistry(services.theme, self)
        self._build_panels()
        self._build_frame()
        self._connect()
        self.retranslate()

    # -- construction ----------------------------------------------------------------------------------------------

    def _build_panels(self) -> None:
        theme, trading, models = self._services.theme, self._services.trading, self.models
        self.ticket = TicketDock(trading, models.strategies, models.ownerships, theme, self._services.now_ns)
        self.strategies = StrategiesDock(models.strategies, trading, theme, models.equity)
        self.orders = OrdersDock(models.orders, trading, theme)
        self.plans = PlansDock(models.plans, trading, theme)
        self.positions = PositionsDock(models.positions, theme)
        self.fills = FillsDock(models.fills, theme)
        self.log = LogDock(models.log, theme)
        self.notifications = NotificationsDock(models.notifications, theme)
        self.panels: dict[DockName, Panel] = {
            DockName.TICKET: self.ticket,
            DockName.STRATEGIES: self.strategies,
            DockName.ORDERS: self.orders,
            DockName.PLANS: self.plans,
            DockName.POSITIONS: self.positions,
            DockName.FILLS: self.fills,
            DockName.LOG: self.log,
            DockName.NOTIFICATIONS: self.notifications,
        }
        self.layouts = Layouts(self)
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        for name, panel in self.panels.items():
            panel.refresh_look()
            self.layouts.add(name, self._dock(panel, panel.title()))
        self.layouts.apply(Preset.TRADING)

    def _dock(self, widget: QWidget, title: str) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setWidget(widget)
        return dock

    def _build_frame(self) -> None:
        services = self._services
        self.top_bar = TopBar(services.theme, self)
        self.addToolBar(Qt.ToolBarArea.TopToolBarArea, self.top_bar)
        self.status = StatusBar(services.theme, self)
        self.setStatusBar(self.status)
        self._menus = Menus(self.menuBar(), self.actions_)
        self._menus.set_panels(self.layouts.toggles())
        self.palette_ = CommandPalette(partial(palette_entries, self.actions_, self.models), self)
        self.toasts = ToastStack(services.theme, self, self.ticket.foot)
        self.error_dialog = ErrorDialog(services.theme, self)
        self.questions = Questions(self)
        self.ownership = OwnershipQuestions(self, services.trading, self.models)
        self.order_dialogs = OrderDialogs(self, services.trading, self.models, lambda: self._symbol, services.now_ns)
        self.mode_frame = ModeFrame(services.theme, self)
        parts = WindowParts(
            self,
            self.models,
            self.actions_,
            self.layouts,
            self.questions,
            self.palette_,
            self.ticket,
            self.strategies,
            self.order_dialogs,
        )
        self.deeds = Deeds(services, parts)
        panels = (self.orders, self.plans, self.positions, self.fills, self.strategies, self.log, self.notifications)
        self.memory = WindowMemory(self, self.layouts, [panel.table for panel in panels], services.settings)
        self._table_timer, self._frame_timer = QTimer(self), QTimer(self)
        self._table_timer.setInterval(TABLE_MS)
        self._frame_timer.setInterval(FRAME_MS)

    def _connect(self) -> None:
        models, kill = self.models, self.top_bar.kill_switch
        models.notice_added.connect(self._on_notice_added)
        models.mode_changed.connect(self._on_mode)
        models.trading_state_changed.connect(self._on_trading_state)
        models.connection_changed.connect(self.status.set_connection)
        kill.kill_requested.connect(self.deeds.kill)
        kill.flatten_requested.connect(self.deeds.ask_flatten)
        kill.rearm_requested.connect(self.questions.ask_rearm)
        self.questions.tray_confirmed.connect(self._hide_to_tray)
        self.questions.quit_confirmed.connect(self.close_requested)
        self.toasts.clicked.connect(self._on_toast_clicked)
        self.positions.close_requested.connect(self._on_close_position)
        self.positions.protect_requested.connect(self._on_protect_position)
        self.orders.resolve_requested.connect(self.order_dialogs.resolve)
        self.orders.change_requested.connect(self.order_dialogs.change)
        self.plans.new_requested.connect(self.order_dialogs.new_plan)
        for source in (self.positions, self.ticket.head):
            source.take_over_requested.connect(self.ownership.ask_take_over)
            source.hand_back_requested.connect(self.ownership.ask_hand_back)
        self.positions.leave_requested.connect(self.ownership.ask_leave)
        self.positions.share_requested.connect(self.ownership.ask_share)
        self.deeds.train_requested.connect(self.train_requested)
        self.deeds.models_requested.connect(self.models_requested)
        self.deeds.reconnect_requested.connect(self.reconnect_requested)
        self.deeds.market_chosen.connect(self.show_market)
        for panel in (self.orders, self.plans, self.positions, self.fills, self.strategies):
            panel.market_requested.connect(self.show_market)
        self._services.language.changed.connect(self.retranslate)
        self._table_timer.timeout.connect(self._on_table_tick)
        self._frame_timer.timeout.connect(self.frame_due)

    def attach_dock(self, name: str, widget: QWidget) -> None:
        """Add a panel built elsewhere ("chart", "order_book", "training") and give it its place.

        Its `retranslate()`, where it has one, is called on a change of language.
        """
        dock_name = DockName(name)
        self._attached[dock_name] = widget
        self.layouts.add(dock_name, self._dock(widget, tr(ATTACHED_TITLE[dock_name])))
        self.layouts.apply(self.layouts.preset)
        self._menus.set_panels(self.layouts.toggles())

    # -- what comes in ---------------------------------------------------------------------------------------------

    @Slot(object)
    def on_executor_event(self, event: ExecutorEvent) -> None:
        """Take over one executor event; they arrive here in order and none is left out."""
        self.models.apply(event)
        self.ticket.on_event(event)

    @Slot(object)
    def on_connection(self, status: ConnectionStatus) -> None:
        """Take over the health of a link that the executor does not report, such as the market feed."""
        self.models.apply(status)

    @Slot(object)
    def set_instruments(self, instruments: Sequence[Instrument]) -> None:
        """Learn the markets on offer and their rules."""
        self.models.set_instruments(tuple(instruments))
        self.models.positions.retranslate()  # what came before its market was known: decimals, and what is dust

    @Slot(object)
    def on_ticker(self, ticker: Ticker) -> None:
        """Take over the latest price of a market."""
        self.models.set_ticker(ticker)
        self.status.set_tick(self._services.now_ns())

    @Slot(object)
    def on_book(self, book: BookSnapshot) -> None:
        """Take over the best prices of a market."""
        self.models.set_book(book)
        self.status.set_tick(self._services.now_ns())

    @Slot(object)
    def set_models(self, choices: Sequence[ModelChoice]) -> None:
        """Set the trained models a strategy can be made of."""
        self.strategies.set_models(choices)

    @Slot(object)
    def show_notice(self, notice: Notice) -> None:
        """Tell the person something that is not an executor event."""
        self.models.add_notice(notice)

    @Slot(int, str, str)
    def add_log(self, level: int, source: str, text: str) -> None:
        """Add a line to the log; `level` as the standard library numbers them."""
        self.models.add_log(level_of(level), source, text)

    @Slot(str, str, str)
    def show_error(self, message: str, remedy: str = "", details: str = "") -> None:
        """Show an error: one sentence, what to do, details."""
        self.error_dialog.show_error(message, remedy, details)

    # -- market ----------------------------------------------------------------------------------------------------

    @property
    def market(self) -> tuple[str, str]:
        """Symbol and timeframe looked at; at start those of the last session."""
        return self._symbol, self._timeframe

    @Slot(str)
    def show_market(self, symbol: str) -> None:
        """Ask the chart for a market."""
        if symbol != self._symbol:
            self.market_requested.emit(symbol, self._timeframe)
            self.on_market_changed(symbol, self._timeframe)

    @Slot(str, str)
    def on_market_changed(self, symbol: str, timeframe: str) -> None:
        """Follow the chart: the ticket trades what the chart shows."""
        if (symbol, timeframe) == (self._symbol, self._timeframe):
            return
        self._symbol, self._timeframe = symbol, timeframe
        self._services.settings.set(LAST_SYMBOL, symbol)
        self._services.settings.set(LAST_TIMEFRAME, timeframe)
        self._write_title()
        self.refresh_now()

    # -- timers ----------------------------------------------------------------------------------------------------

    @Slot()
    def _on_table_tick(self) -> None:
        self.table_due.emit()
        self.refresh_now()
        self._ticks += 1
        if self._ticks % CLOCK_TICKS == 0:
            self.status.tick(self._services.now_ns())

    def refresh_now(self) -> None:
        """Bring everything staged to the screen without waiting for the timer."""
        self.models.flush()
        context = self.models.ticket_context(self._symbol)
        self.ticket.observe(context)
        self.ticket.tick()
        quote = self._symbol.partition("/")[2]
        self.top_bar.set_account(self.models.equity(quote), self.models.profit(), quote)

    # -- what the executor says ------------------------------------------------------------------------------------

    @Slot(object)
    def _on_notice_added(self, row: NoticeRow) -> None:
        self.toasts.show_notice(row)
        self.notice_added.emit(row)

    @Slot(object)
    def _on_mode(self, mode: TradingMode) -> None:
        self.top_bar.badge.set_mode(mode)
        self.mode_frame.set_mode(mode)
        self.ticket.set_mode(mode)
        self._write_title()

    @Slot(object)
    def _on_trading_state(self, change: TradingStateChanged) -> None:
        self.top_bar.kill_switch.set_state(change.state, change.reason)

    @Slot(object)
    def _on_close_position(self, position: Position) -> None:
        self.show_market(position.symbol)
        self.refresh_now()
        self.layouts.show(DockName.TICKET)
        self.ticket.draft_close(position)

    @Slot(object)
    def _on_protect_position(self, position: Position) -> None:
        self.show_market(position.symbol)
        self.refresh_now()
        self.order_dialogs.protect(position)

    @Slot()
    def _on_toast_clicked(self) -> None:
        self.layouts.show(DockName.NOTIFICATIONS)

    # -- look ------------------------------------------------------------------------------------------------------

    @Slot()
    def retranslate(self) -> None:
        """Write every text in the present language."""
        parts = (self.actions_, self._menus, self.top_bar, self.models, self.error_dialog, self.toasts)
        for rewrite in (*(part.retranslate for part in parts), *(panel.retranslate for panel in self.panels.values())):
            rewrite()
        self.status.refresh()
        for name, panel in self.panels.items():
            self.layouts.set_title(name, panel.title())
        for name, widget in self._attached.items():
            self.layouts.set_title(name, tr(ATTACHED_TITLE[name]))
            of_widget = getattr(widget, "retranslate", None)
            if callable(of_widget):
                of_widget()
        self._write_title()

    def _write_title(self) -> None:
        mode = self.models.mode
        parts = [] if mode is None else [mode_word(mode)]
        self.setWindowTitle(" – ".join([*parts, self._symbol, "Maru"]))

    def apply_layout(self, preset: Preset) -> None:
        """Arrange the panels by a preset, as it was left."""
        self.layouts.choose(preset)

    def greet(self) -> None:
        """Show the welcome where this data folder was never opened before; the menu Help shows it again."""
        settings = self._services.settings
        if not settings.get(FIRST_RUN_DONE):
            settings.set(FIRST_RUN_DONE, True)
            self.deeds.show_welcome()

    # -- closing ---------------------------------------------------------------------------------------------------

    def stakes(self) -> tuple[str, ...]:
        """Return what is at stake if the program ends now, one translated sentence each."""
        return (*closing_stakes(self.models), *self._services.close_warnings())

    @Slot()
    def allow_close(self) -> None:
        """Close the window and stop its timers; the last step of the shutdown. Saves nothing: see `memory`."""
        self._closable = True
        self.memory.stop()
        self._table_timer.stop()
        self._frame_timer.stop()
        self.toasts.clear()
        self.questions.close_all()
        self.error_dialog.close()
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._closable:
            event.accept()
            return
        event.ignore()
        stakes, tray = self.stakes(), self._services.tray_available()
        if tray and self._services.settings.get(CLOSE_ACTION) is CloseAction.TRAY:
            self._hide_to_tray()
        elif stakes:
            self.questions.ask_close(stakes, tray=tray)
        else:
            self.close_requested.emit()

    @Slot()
    def _hide_to_tray(self) -> None:
        if self._services.tray_available():  # it may have vanished since the question
            self.hide()
            self.tray_requested.emit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._closable:
            self._table_timer.start()
            self._frame_timer.start()
