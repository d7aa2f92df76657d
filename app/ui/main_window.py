"""The main window: puts the parts together and passes events on. GUI thread only.

It decides nothing about trading. Everything it needs comes by constructor; panels that draw charts are attached after
the window shows, because importing their library takes longer than showing the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QByteArray, QEvent, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QDockWidget, QMainWindow, QMenu, QTabWidget, QWidget

from app.i18n import Language, mark, tr, tr_count
from app.models.hub import WindowModels
from app.models.log_model import level_of
from app.models.notifications_model import NoticeRow
from app.settings import (
    CLOSE_ACTION,
    LANGUAGE,
    LAST_SYMBOL,
    LAST_TIMEFRAME,
    LAYOUT_PRESET,
    THEME,
    UP_DOWN,
    WINDOW_GEOMETRY,
    WINDOW_STATE,
    CloseAction,
    LanguageChoice,
    header_state,
)
from app.theme import GRID, ThemeChoice, UpDown
from app.ui.actions import ACTIONS, MENU_TITLE, ActionId, ActionRegistry, Menu
from app.ui.command_palette import CommandPalette, PaletteEntry
from app.ui.dialogs.about_dialog import AboutDialog
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.error_dialog import ErrorDialog
from app.ui.dialogs.shortcuts_dialog import ShortcutsDialog
from app.ui.docks.fills_dock import FillsDock
from app.ui.docks.log_dock import LogDock
from app.ui.docks.notifications_dock import NotificationsDock
from app.ui.docks.orders_dock import OrdersDock
from app.ui.docks.positions_dock import PositionsDock
from app.ui.docks.strategies_dock import StrategiesDock
from app.ui.docks.ticket_dock import TicketDock
from app.ui.layouts import DockName, Layouts, Preset
from app.ui.status_bar import StatusBar
from app.ui.top_bar import TopBar
from app.ui.widgets.data_table import DataTable
from app.ui.widgets.mode_badge import ModeFrame, mode_word
from app.ui.widgets.panel import Panel
from app.ui.widgets.toast import ToastStack
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
_LANGUAGES = {
    ActionId.LANGUAGE_EN: (Language.ENGLISH, LanguageChoice.ENGLISH),
    ActionId.LANGUAGE_KO: (Language.KOREAN, LanguageChoice.KOREAN),
}
_THEMES = {
    ActionId.THEME_SYSTEM: ThemeChoice.SYSTEM,
    ActionId.THEME_DARK: ThemeChoice.DARK,
    ActionId.THEME_LIGHT: ThemeChoice.LIGHT,
}
_COLOURS = {
    ActionId.COLOURS_WESTERN: UpDown.WESTERN,
    ActionId.COLOURS_KOREAN: UpDown.KOREAN,
    ActionId.COLOURS_BLIND: UpDown.COLOUR_BLIND,
}


class MainWindow(QMainWindow):
    """The window.

    Attributes:
        models: everything shown, fed by `on_executor_event`.
        ticket, orders, positions, fills, strategies, log, notifications: the panels.

    Signals:
        close_requested: the person decided to quit; start the shutdown, then call `allow_close`.
        tray_requested: the window was hidden to the tray on the person's wish.
        train_requested: open the training wizard.
        market_changed: symbol and timeframe now looked at.
        notice_added: a `NoticeRow`, for the tray.
        frame_due: thirty times a second while visible; drain chart data.
        table_due: ten times a second while visible; drain everything else.
    """

    close_requested = Signal()
    tray_requested = Signal()
    train_requested = Signal()
    market_changed = Signal(str, str)
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
        self._dialogs: dict[str, ConfirmDialog] = {}
        self._attached: dict[DockName, QWidget] = {}
        self.setObjectName("main_window")
        self.resize(*DEFAULT_SIZE)
        self.setMinimumSize(*MINIMUM_SIZE)
        self.models = WindowModels(services.now_ns, self)
        self.actions_ = ActionRegistry(services.theme, self)
        self._build_panels()
        self._build_frame()
        self._connect()
        self._checks()
        self.retranslate()

    # -- construction ----------------------------------------------------------------------------------------------

    def _build_panels(self) -> None:
        theme, trading, models = self._services.theme, self._services.trading, self.models
        self.ticket = TicketDock(trading, models.strategies, theme, self._services.now_ns)
        self.strategies = StrategiesDock(models.strategies, trading, theme)
        self.orders = OrdersDock(models.orders, trading, theme)
        self.positions = PositionsDock(models.positions, theme)
        self.fills = FillsDock(models.fills, theme)
        self.log = LogDock(models.log, theme)
        self.notifications = NotificationsDock(models.notifications, theme)
        self.panels: dict[DockName, Panel] = {
            DockName.TICKET: self.ticket,
            DockName.STRATEGIES: self.strategies,
            DockName.ORDERS: self.orders,
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
        theme = self._services.theme
        self.top_bar = TopBar(theme, self.models.precision, self)
        self.addToolBar(Qt.ToolBarArea.TopToolBarArea, self.top_bar)
        self.status = StatusBar(theme, self)
        self.setStatusBar(self.status)
        self.menus: dict[Menu, QMenu] = {}
        self._submenus: dict[str, QMenu] = {}
        for menu in Menu:
            self.menus[menu] = self.menuBar().addMenu("")
        for spec in ACTIONS:
            parent = self.menus[spec.menu]
            if spec.group and spec.group not in self._submenus:
                self._submenus[spec.group] = parent.addMenu("")
            (self._submenus[spec.group] if spec.group else parent).addAction(self.actions_[spec.id])
        self._panel_menu = self.menus[Menu.VIEW].addMenu("")
        self._fill_panel_menu()
        self.palette_ = CommandPalette(self._palette_entries, self)
        self.toasts = ToastStack(theme, self)
        self.error_dialog = ErrorDialog(theme, self)
        self.mode_frame = ModeFrame(theme, self)
        self._table_timer = QTimer(self)
        self._table_timer.setInterval(TABLE_MS)
        self._frame_timer = QTimer(self)
        self._frame_timer.setInterval(FRAME_MS)

    def _connect(self) -> None:
        models, kill = self.models, self.top_bar.kill_switch
        models.notice_added.connect(self._on_notice_added)
        models.mode_changed.connect(self._on_mode)
        models.trading_state_changed.connect(self._on_trading_state)
        models.connection_changed.connect(self.status.set_connection)
        kill.kill_requested.connect(self._on_kill)
        kill.flatten_requested.connect(self._on_flatten)
        kill.rearm_requested.connect(self._on_rearm)
        self.actions_.triggered.connect(self._on_action)
        self.palette_.chosen.connect(self._on_palette)
        self.top_bar.symbol_chosen.connect(self.show_market)
        self.toasts.clicked.connect(self._on_toast_clicked)
        self.positions.close_requested.connect(self._on_close_position)
        self.ticket.handback_requested.connect(self._on_handback)
        self.strategies.train_requested.connect(self.train_requested)
        for panel in (self.orders, self.positions, self.fills, self.strategies):
            panel.market_requested.connect(self.show_market)
        self._services.language.changed.connect(self.retranslate)
        self._table_timer.timeout.connect(self._on_table_tick)
        self._frame_timer.timeout.connect(self.frame_due)

    def _checks(self) -> None:
        language, theme = self._services.language.language, self._services.theme
        self.actions_.check(next(a for a, (value, _) in _LANGUAGES.items() if value is language))
        self.actions_.check(next(a for a, value in _THEMES.items() if value is theme.choice))
        self.actions_.check(next(a for a, value in _COLOURS.items() if value is theme.up_down))
        self.actions_.check(ActionId.LAYOUT_TRADING)

    def attach_dock(self, name: str, widget: QWidget) -> None:
        """Add a panel built elsewhere ("chart", "order_book", "training") and give it its place.

        Its `retranslate()`, where it has one, is called on a change of language.
        """
        dock_name = DockName(name)
        self._attached[dock_name] = widget
        self.layouts.add(dock_name, self._dock(widget, tr(ATTACHED_TITLE[dock_name])))
        self.layouts.apply(self.layouts.preset)
        self._fill_panel_menu()

    def _fill_panel_menu(self) -> None:
        self._panel_menu.clear()
        for name in DockName:
            dock = self.layouts.dock(name)
            if dock is not None:
                self._panel_menu.addAction(dock.toggleViewAction())

    # -- events from the workers -----------------------------------------------------------------------------------

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
    def set_instruments(self, instruments: tuple[Instrument, ...]) -> None:
        """Learn the markets on offer."""
        self.models.set_instruments(instruments)
        self.top_bar.set_symbols(tuple(i.symbol for i in self.models.instruments), self._symbol)

    @Slot(object)
    def on_ticker(self, ticker: Ticker) -> None:
        """Take over the latest price of a market."""
        self.models.set_ticker(ticker)
        self.top_bar.set_ticker(ticker)
        self.status.set_tick(self._services.now_ns())

    @Slot(object)
    def on_book(self, book: BookSnapshot) -> None:
        """Take over the best prices of a market."""
        self.models.set_book(book)
        self.status.set_tick(self._services.now_ns())

    @Slot(object)
    def set_models(self, choices: tuple[object, ...]) -> None:
        """Set the trained models (`ModelChoice`) a strategy can be made of."""
        self.strategies.set_models(choices)  # type: ignore[arg-type]

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

    @Slot(int)
    def set_queue_depth(self, depth: int) -> None:
        """Show how many events wait."""
        self.status.set_queue_depth(depth)

    @Slot(float)
    def set_stall(self, worst_ms: float) -> None:
        """Show the longest stall of the last minute."""
        self.status.set_stall(worst_ms)

    @Slot(str)
    def show_market(self, symbol: str) -> None:
        """Look at a market."""
        self._watch(symbol, self._timeframe)

    @Slot(str)
    def set_timeframe(self, timeframe: str) -> None:
        """Look at the present market with other bars."""
        self._watch(self._symbol, timeframe)

    def _watch(self, symbol: str, timeframe: str) -> None:
        if (symbol, timeframe) == (self._symbol, self._timeframe):
            return
        if symbol != self._symbol:
            self.top_bar.set_symbol(symbol)
        self._symbol, self._timeframe = symbol, timeframe
        self._services.settings.set(LAST_SYMBOL, symbol)
        self._services.settings.set(LAST_TIMEFRAME, timeframe)
        self._services.market.watch(symbol, timeframe)
        self._write_title()
        self.market_changed.emit(symbol, timeframe)

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
        self.ticket.observe(self.models.ticket_context(self._symbol))
        self.ticket.tick()

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

    # -- what the person wants -------------------------------------------------------------------------------------

    @Slot(object)
    def _on_action(self, action: ActionId) -> None:
        settings, theme = self._services.settings, self._services.theme
        if action in _LANGUAGES:
            language, choice = _LANGUAGES[action]
            settings.set(LANGUAGE, choice)
            self._services.language.set_language(language)
        elif action in _THEMES:
            settings.set(THEME, _THEMES[action])
            theme.set_theme(_THEMES[action], theme.up_down)
        elif action in _COLOURS:
            settings.set(UP_DOWN, _COLOURS[action])
            theme.set_theme(theme.choice, _COLOURS[action])
        else:
            self._deeds()[action]()

    def _deeds(self) -> dict[ActionId, Callable[[], object]]:
        return {
            ActionId.NEW_ORDER: self._on_new_order,
            ActionId.CANCEL_ALL: partial(self._services.trading.cancel_all, None),
            ActionId.KILL: self._on_kill,
            ActionId.KILL_FLATTEN: self._on_flatten,
            ActionId.REARM: self._on_rearm,
            ActionId.TRAIN: self.train_requested.emit,
            ActionId.ADD_STRATEGY: self._on_add_strategy,
            ActionId.PALETTE: self.palette_.open,
            ActionId.FULL_SCREEN: self._toggle_full_screen,
            ActionId.LAYOUT_TRADING: partial(self.apply_layout, Preset.TRADING),
            ActionId.LAYOUT_TRAINING: partial(self.apply_layout, Preset.TRAINING),
            ActionId.LAYOUT_RESET: self._reset_layout,
            ActionId.SHORTCUTS: self._show_shortcuts,
            ActionId.ABOUT: self._show_about,
            ActionId.QUIT: self.close,
        }

    @Slot()
    def _on_kill(self) -> None:
        self._services.trading.kill(flatten=False)

    @Slot()
    def _on_flatten(self) -> None:
        held = [row for row in self.models.positions.records() if row.position.quantity]
        stakes = tuple(f"{row.position.symbol}  {row.position.quantity:f}  ({row.position.owner})" for row in held)
        text = tr("Trading halts, every order is cancelled and every position is sold at the market price.")
        buttons = (("cancel", tr("Cancel"), ""), ("flatten", tr("Sell everything"), "danger"))
        self._ask("flatten_dialog", tr("Sell everything?"), text, stakes, buttons)

    @Slot()
    def _on_rearm(self) -> None:
        text = tr("Strategies and orders may trade again. Strategies that were paused stay paused until started.")
        buttons = (("cancel", tr("Stay halted"), ""), ("rearm", tr("Re-arm"), "primary"))
        self._ask("rearm_dialog", tr("Allow trading again?"), text, (), buttons)

    @Slot(object)
    def _on_handback(self, strategy_ids: tuple[str, ...]) -> None:
        names = {s.strategy_id: s.title for s in self.models.strategies.records()}
        stakes = tuple(names.get(strategy_id, strategy_id) for strategy_id in strategy_ids)
        text = tr("These strategies start again and manage the market from its present position:")
        buttons = (("cancel", tr("Stay manual"), ""), ("handback", tr("Hand back"), "primary"))
        dialog = self._ask("handback_dialog", tr("Hand back to the strategies?"), text, stakes, buttons)
        dialog.setProperty("strategy_ids", list(strategy_ids))

    def _ask(
        self, name: str, title: str, text: str, stakes: tuple[str, ...], buttons: tuple[tuple[str, str, str], ...]
    ) -> ConfirmDialog:
        """Ask without blocking; the same question is asked once at a time. The first button is the safe one."""
        if name in self._dialogs:
            self._dialogs[name].raise_()
            return self._dialogs[name]
        dialog = ConfirmDialog(self, name=name, title=title, text=text, stakes=stakes)
        for number, (answer, label, variant) in enumerate(buttons):
            dialog.add_button(answer, label, variant=variant, default=number == 0)
        dialog.answered.connect(self._on_answered)
        self._dialogs[name] = dialog
        dialog.show()
        return dialog

    @Slot(str)
    def _on_answered(self, answer: str) -> None:
        dialog = self.sender()
        if not isinstance(dialog, ConfirmDialog):
            return
        self._dialogs.pop(dialog.objectName(), None)
        match answer:
            case "flatten":
                self._services.trading.kill(flatten=True)
            case "rearm":
                self._services.trading.rearm()
            case "handback":
                self.ticket.hand_back(tuple(dialog.property("strategy_ids")))
            case "tray":
                self._hide_to_tray()
            case "quit":
                self.close_requested.emit()

    @Slot(object)
    def _on_close_position(self, position: Position) -> None:
        self.show_market(position.symbol)
        self.refresh_now()
        self.layouts.show(DockName.TICKET)
        self.ticket.draft_close(position)

    @Slot()
    def _on_new_order(self) -> None:
        self.layouts.show(DockName.TICKET)
        self.ticket.quantity.edit.setFocus(Qt.FocusReason.ShortcutFocusReason)

    @Slot()
    def _on_add_strategy(self) -> None:
        self.layouts.show(DockName.STRATEGIES)
        self.strategies.open_add_dialog()

    @Slot()
    def _on_toast_clicked(self) -> None:
        self.layouts.show(DockName.NOTIFICATIONS)

    # -- palette ---------------------------------------------------------------------------------------------------

    def _palette_entries(self) -> list[PaletteEntry]:
        entries = [
            PaletteEntry(f"action:{spec.id.value}", _plain(tr(spec.text)), self.actions_[spec.id].shortcut().toString())
            for spec in ACTIONS
        ]
        entries += [PaletteEntry(f"market:{i.symbol}", i.symbol, tr("market")) for i in self.models.instruments]
        entries += [
            PaletteEntry(f"strategy:{s.strategy_id}", s.title, tr("strategy")) for s in self.models.strategies.records()
        ]
        return entries

    @Slot(str)
    def _on_palette(self, key: str) -> None:
        kind, _, name = key.partition(":")
        if kind == "action":
            self.actions_[ActionId(name)].trigger()
        elif kind == "market":
            self.show_market(name)
        else:
            self.layouts.show(DockName.STRATEGIES)
            self.strategies.table.select_key(name)

    # -- look ------------------------------------------------------------------------------------------------------

    @Slot()
    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.actions_.retranslate()
        for menu, title in MENU_TITLE.items():
            self.menus[menu].setTitle(tr(title))
        for group, submenu in self._submenus.items():
            submenu.setTitle(tr(group))
        self._panel_menu.setTitle(tr("Panels"))
        self.top_bar.retranslate()
        self.status.refresh()
        self.models.retranslate()
        self.error_dialog.retranslate()
        for name, panel in self.panels.items():
            panel.retranslate()
            self._set_dock_title(name, panel.title())
        for name, widget in self._attached.items():
            self._set_dock_title(name, tr(ATTACHED_TITLE[name]))
            rewrite = getattr(widget, "retranslate", None)
            if callable(rewrite):
                rewrite()
        self._write_title()

    def _set_dock_title(self, name: DockName, title: str) -> None:
        dock = self.layouts.dock(name)
        if dock is not None:
            dock.setWindowTitle(title)

    def _write_title(self) -> None:
        mode = self.models.mode
        parts = [] if mode is None else [mode_word(mode)]
        self.setWindowTitle(" – ".join([*parts, self._symbol, "Maru"]))

    def apply_layout(self, preset: Preset) -> None:
        """Arrange the panels by a preset and remember it."""
        self._services.settings.set(LAYOUT_PRESET, preset.value)
        self.layouts.apply(preset)
        self.actions_.check(
            ActionId.LAYOUT_TRADING if preset is Preset.TRADING else ActionId.LAYOUT_TRAINING,
        )

    def _reset_layout(self) -> None:
        self.apply_layout(self.layouts.preset)

    def _toggle_full_screen(self) -> None:
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def _show_shortcuts(self) -> None:
        ShortcutsDialog(self).show()

    def _show_about(self) -> None:
        AboutDialog(self._services.version, self).show()

    # -- memory ----------------------------------------------------------------------------------------------------

    def _tables(self) -> list[DataTable]:
        panels = (self.orders, self.positions, self.fills, self.strategies, self.log, self.notifications)
        return [panel.table for panel in panels]

    def save_memory(self) -> None:
        """Write geometry, layout and table columns to the settings."""
        settings = self._services.settings
        settings.set(WINDOW_GEOMETRY, bytes(self.saveGeometry().data()))
        settings.set(WINDOW_STATE, self.layouts.save())
        for table in self._tables():
            settings.set(header_state(table.view.objectName()), table.save_header())

    def restore_memory(self) -> None:
        """Read them back; call after every dock is attached. What does not fit falls back to the preset."""
        settings = self._services.settings
        preset = settings.get(LAYOUT_PRESET)
        self.layouts.preset = Preset(preset) if preset in list(Preset) else Preset.TRADING
        self.layouts.restore(settings.get(WINDOW_STATE))
        geometry = settings.get(WINDOW_GEOMETRY)
        if geometry:
            self.restoreGeometry(QByteArray(geometry))
        for table in self._tables():
            saved = settings.get(header_state(table.view.objectName()))
            if saved:
                table.restore_header(saved)
        chosen = ActionId.LAYOUT_TRADING if self.layouts.preset is Preset.TRADING else ActionId.LAYOUT_TRAINING
        self.actions_.check(chosen)

    # -- closing ---------------------------------------------------------------------------------------------------

    def stakes(self) -> list[str]:
        """Return what is at stake if the program ends now, one translated sentence each."""
        found: list[str] = []
        orders = len(self.models.orders.open_orders())
        running = len(self.models.strategies.active())
        if orders:
            found.append(tr_count("{n} order is open", "{n} orders are open", orders))
        if running:
            found.append(tr_count("{n} strategy is running", "{n} strategies are running", running))
        return [*found, *self._services.close_warnings()]

    @Slot()
    def allow_close(self) -> None:
        """Let the window close and stop its timers; the last step of the shutdown."""
        self._closable = True
        self._table_timer.stop()
        self._frame_timer.stop()
        self.toasts.clear()
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
        elif not stakes:
            self.close_requested.emit()
        else:
            buttons = [("stay", tr("Stay"), "")]
            if tray:
                buttons.append(("tray", tr("Minimise to tray"), ""))
            buttons.append(("quit", tr("Quit"), "danger"))
            self._ask("close_dialog", tr("Quit Maru?"), tr("Still going on:"), tuple(stakes), tuple(buttons))

    def _hide_to_tray(self) -> None:
        if self._services.tray_available():  # it may have vanished since the question
            self.hide()
            self.tray_requested.emit()

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._table_timer.start()
        self._frame_timer.start()


def _plain(text: str) -> str:
    return text.replace("&", "")
