"""What the window's actions do. GUI thread only.

One object with every deed in one table: menu, shortcut, button and palette end in the same method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtWidgets import QMainWindow

from app.i18n import format_exact
from app.models.hub import WindowModels
from app.ui import welcome
from app.ui.actions import MODE_ACTIONS, ActionId, ActionRegistry
from app.ui.command_palette import CommandPalette
from app.ui.dialogs.about_dialog import AboutDialog
from app.ui.dialogs.guide_dialog import GuideDialog
from app.ui.dialogs.keys_dialog import KeysDialog
from app.ui.dialogs.new_account_dialog import NewAccountDialog
from app.ui.dialogs.risk_dialog import RiskDialog
from app.ui.dialogs.shortcuts_dialog import ShortcutsDialog
from app.ui.docks.strategies_dock import StrategiesDock
from app.ui.docks.ticket_dock import TicketDock
from app.ui.layouts import DockName, Layouts, Preset
from app.ui.order_dialogs import OrderDialogs
from app.ui.preferences import Preferences
from app.ui.questions import Questions
from app.ui.welcome import WelcomeCard
from app.ui.window_services import WindowServices
from core.domain.orders import TradingMode


@dataclass(frozen=True, slots=True)
class WindowParts:
    """The parts of the window that deeds work on."""

    window: QMainWindow
    models: WindowModels
    actions: ActionRegistry
    layouts: Layouts
    questions: Questions
    palette: CommandPalette
    ticket: TicketDock
    strategies: StrategiesDock
    orders: OrderDialogs


class Deeds(QObject):
    """Carries out actions.

    Signals:
        market_chosen: unified symbol to look at.
        train_requested: open the training wizard.
        models_requested: open the window of stored models.
        reconnect_requested: try now whatever has to be there before trading can connect.
    """

    market_chosen = Signal(str)
    train_requested = Signal()
    models_requested = Signal()
    reconnect_requested = Signal()

    def __init__(self, services: WindowServices, parts: WindowParts) -> None:
        super().__init__(parts.window)
        self._services = services
        self._parts = parts
        self._preferences = Preferences(services.theme, services.language, services.settings, parts.actions)
        self._table: dict[ActionId, Callable[[], object]] = {
            ActionId.NEW_ORDER: self.go_to_ticket,
            ActionId.NEW_PLAN: parts.orders.new_plan,
            ActionId.CANCEL_ALL: partial(services.trading.cancel_all, None),
            ActionId.KILL: self.kill,
            ActionId.KILL_FLATTEN: self.ask_flatten,
            ActionId.REARM: parts.questions.ask_rearm,
            ActionId.RECONNECT: self._reconnect,
            ActionId.KEYS: self._show_keys,
            ActionId.RISK_LIMITS: self._show_risk_limits,
            ActionId.NEW_ACCOUNT: self._ask_new_account,
            ActionId.MODE_PRACTICE: partial(self._ask_mode, TradingMode.PRACTICE),
            ActionId.MODE_PAPER: partial(self._ask_mode, TradingMode.PAPER),
            ActionId.TRAIN: self.train_requested.emit,
            ActionId.MODELS: self.models_requested.emit,
            ActionId.ADD_STRATEGY: self._add_strategy,
            ActionId.PALETTE: parts.palette.open,
            ActionId.FULL_SCREEN: self._toggle_full_screen,
            ActionId.LAYOUT_TRADING: partial(parts.layouts.choose, Preset.TRADING),
            ActionId.LAYOUT_TRAINING: partial(parts.layouts.choose, Preset.TRAINING),
            ActionId.LAYOUT_RESET: self._reset_layout,
            ActionId.WELCOME: self.show_welcome,
            ActionId.GUIDE: self._show_guide,
            ActionId.SHORTCUTS: self._show_shortcuts,
            ActionId.ABOUT: self._show_about,
            ActionId.QUIT: parts.window.close,
        }
        questions, trading = parts.questions, services.trading
        questions.flatten_confirmed.connect(self._on_flatten_confirmed)
        questions.rearm_confirmed.connect(trading.rearm)
        questions.mode_confirmed.connect(trading.switch_mode)
        parts.models.mode_changed.connect(self.show_choices)
        parts.strategies.train_requested.connect(self.train_requested)
        parts.actions.triggered.connect(self.carry_out)
        parts.palette.chosen.connect(self._on_palette)
        parts.layouts.arranged.connect(self.show_choices)
        parts.actions[ActionId.KEYS].setEnabled(services.keys is not None)
        self.show_choices()

    @Slot(object)
    def carry_out(self, action: ActionId) -> None:
        """Do what an action says."""
        if not self._preferences.carry_out(action):
            self._table[action]()

    @Slot()
    def show_choices(self) -> None:
        """Check the menu entries of what is chosen now."""
        self._preferences.show_choices()
        trading = self._parts.layouts.preset is Preset.TRADING
        self._parts.actions.check(ActionId.LAYOUT_TRADING if trading else ActionId.LAYOUT_TRAINING)
        mode = self._parts.models.mode
        if mode is not None and mode in MODE_ACTIONS:
            self._parts.actions.check(MODE_ACTIONS[mode])

    @Slot()
    def kill(self) -> None:
        """Halt and cancel everything, at once; reads no model and asks nothing."""
        self._services.trading.kill(flatten=False)

    @Slot()
    def ask_flatten(self) -> None:
        """Ask whether everything is to be sold."""
        positions = self._parts.models.positions
        lines = (
            f"{p.symbol}  {format_exact(p.quantity)}  ({positions.owner_title(p.owner)})" for p in positions.held()
        )
        self._parts.questions.ask_flatten(tuple(lines))

    @Slot()
    def go_to_ticket(self) -> None:
        """Show the ticket with the cursor in the quantity."""
        self._parts.layouts.show(DockName.TICKET)
        self._parts.ticket.form.quantity.edit.setFocus(Qt.FocusReason.ShortcutFocusReason)

    @Slot()
    def show_welcome(self) -> None:
        """Show what this is and how to begin; once at a time."""
        window = self._parts.window
        card = window.findChild(WelcomeCard)
        if card is None:
            card = WelcomeCard(self._services.theme, self._services.language, window)
            card.chosen.connect(self._on_welcome)
            self._parts.layouts.brought_up.connect(card.hide)  # it would lie half under the panel
        card.show()
        card.raise_()

    def _show_keys(self) -> None:
        window = self._parts.window
        dialog = window.findChild(KeysDialog)
        if dialog is None and self._services.keys is not None:
            dialog = KeysDialog(self._services.keys, window)
        if dialog is not None:
            dialog.show()
            dialog.activateWindow()

    def _ask_mode(self, mode: TradingMode) -> None:
        self.show_choices()  # the menu shows what is, not what was wished for
        if mode is not self._parts.models.mode:
            self._parts.questions.ask_mode(mode)

    def _show_risk_limits(self) -> None:
        window, models = self._parts.window, self._parts.models
        dialog = window.findChild(RiskDialog)
        if dialog is None:
            dialog = RiskDialog(lambda: models.risk_settings, models.risk_use, window)
            dialog.accepted_settings.connect(self._services.trading.change_risk_settings)
        dialog.show()
        dialog.activateWindow()

    def _ask_new_account(self) -> None:
        dialog = NewAccountDialog(self._parts.window)
        dialog.confirmed.connect(self._services.trading.new_account)
        dialog.show()

    def _reset_layout(self) -> None:
        self._parts.layouts.apply(self._parts.layouts.preset)

    def _reconnect(self) -> None:
        self.reconnect_requested.emit()
        self._services.trading.reconnect()

    def _add_strategy(self) -> None:
        self._parts.layouts.show(DockName.STRATEGIES)
        self._parts.strategies.open_add_dialog()

    def _toggle_full_screen(self) -> None:
        window = self._parts.window
        window.setWindowState(window.windowState() ^ Qt.WindowState.WindowFullScreen)

    def _show_guide(self) -> None:
        window = self._parts.window
        guide = window.findChild(GuideDialog)
        if guide is None:
            guide = GuideDialog(self._services.theme, self._services.language, window)
        guide.show()
        guide.activateWindow()

    def _show_shortcuts(self) -> None:
        ShortcutsDialog(self._parts.window).show()

    def _show_about(self) -> None:
        AboutDialog(self._services.version, self._parts.window).show()

    @Slot()
    def _on_flatten_confirmed(self) -> None:
        self._services.trading.kill(flatten=True)

    @Slot(str)
    def _on_welcome(self, step: str) -> None:
        if step == welcome.MARKET:
            self._parts.layouts.show(DockName.CHART, focus=True)
        elif step == welcome.TRAIN:
            self.train_requested.emit()
        elif step == welcome.ORDER:
            self.go_to_ticket()
        else:
            self._show_guide()

    @Slot(str)
    def _on_palette(self, key: str) -> None:
        kind, _, name = key.partition(":")
        if kind == "action":
            self._parts.actions[ActionId(name)].trigger()
        elif kind == "market":
            self.market_chosen.emit(name)
        else:
            self._parts.layouts.show(DockName.STRATEGIES)
            self._parts.strategies.table.select_key(name)
