"""Every action of the window in one table; menus, shortcuts, palette and cheat-sheet read it. GUI thread only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QWidget

from app.i18n import mark, tr
from app.theme import ThemeManager
from core.domain.orders import TradingMode


class ActionId(StrEnum):
    """Names of the actions; constants, used in saved settings and tests."""

    NEW_ORDER = "new_order"
    NEW_PLAN = "new_plan"
    CANCEL_ALL = "cancel_all"
    KILL = "kill"
    KILL_FLATTEN = "kill_flatten"
    REARM = "rearm"
    RECONNECT = "reconnect"
    KEYS = "keys"
    RISK_LIMITS = "risk_limits"
    NEW_ACCOUNT = "new_account"
    MODE_PRACTICE = "mode_practice"
    MODE_PAPER = "mode_paper"
    TRAIN = "train"
    MODELS = "models"
    ADD_STRATEGY = "add_strategy"
    PALETTE = "palette"
    FULL_SCREEN = "full_screen"
    LAYOUT_TRADING = "layout_trading"
    LAYOUT_TRAINING = "layout_training"
    LAYOUT_RESET = "layout_reset"
    LANGUAGE_EN = "language_en"
    LANGUAGE_KO = "language_ko"
    THEME_SYSTEM = "theme_system"
    THEME_DARK = "theme_dark"
    THEME_LIGHT = "theme_light"
    COLOURS_WESTERN = "colours_western"
    COLOURS_KOREAN = "colours_korean"
    COLOURS_BLIND = "colours_colour_blind"
    WELCOME = "welcome"
    GUIDE = "guide"
    SHORTCUTS = "shortcuts"
    ABOUT = "about"
    QUIT = "quit"


class Menu(StrEnum):
    """Menus of the menu bar, in order."""

    FILE = "file"
    TRADE = "trade"
    STRATEGY = "strategy"
    VIEW = "view"
    SETTINGS = "settings"
    HELP = "help"


MENU_TITLE = {
    Menu.FILE: mark("&File"),
    Menu.TRADE: mark("&Trade"),
    Menu.STRATEGY: mark("&Strategies"),
    Menu.VIEW: mark("&View"),
    Menu.SETTINGS: mark("S&ettings"),
    Menu.HELP: mark("&Help"),
}


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action.

    Attributes:
        text / tip: English sources.
        icon: icon name, "" for none.
        shortcut: portable key text, "" for none.
        group: exclusive checkable group, also the submenu's English title; "" for a plain action.
        grave: ends, destroys or unlocks something; the palette offers it last, so that Enter alone never reaches it.
    """

    id: ActionId
    menu: Menu
    text: str
    tip: str
    icon: str = ""
    shortcut: str = ""
    group: str = ""
    grave: bool = False


MODE_GROUP, LANGUAGE_GROUP, THEME_GROUP, COLOUR_GROUP, LAYOUT_GROUP = (
    mark("Mode"),
    mark("Language"),
    mark("Theme"),
    mark("Rising and falling"),
    mark("Layout"),
)

A, M = ActionId, Menu
ACTIONS: tuple[ActionSpec, ...] = (
    ActionSpec(
        A.QUIT,
        M.FILE,
        mark("Quit"),
        mark("Close the program; asks if something is at stake"),
        "power",
        "Ctrl+Q",
        grave=True,
    ),
    ActionSpec(A.NEW_ORDER, M.TRADE, mark("Order ticket"), mark("Go to the order ticket"), "wallet", "F2"),
    ActionSpec(
        A.NEW_PLAN,
        M.TRADE,
        mark("New order plan…"),
        mark("A stop, a target, a bracket, or an order spread over time"),
        "layers",
        "Shift+F2",
    ),
    ActionSpec(
        A.CANCEL_ALL,
        M.TRADE,
        mark("Cancel all orders"),
        mark("Cancel every open order"),
        "x",
        "Ctrl+Shift+X",
        grave=True,
    ),
    ActionSpec(
        A.KILL,
        M.TRADE,
        mark("Stop trading"),
        mark("Halt and cancel every order, at once"),
        "octagon-x",
        "Ctrl+Shift+K",
        grave=True,
    ),
    ActionSpec(
        A.KILL_FLATTEN,
        M.TRADE,
        mark("Stop and sell everything…"),
        mark("Halt, cancel and sell every position"),
        grave=True,
    ),
    ActionSpec(
        A.REARM,
        M.TRADE,
        mark("Re-arm trading…"),
        mark("Allow trading again after a halt"),
        "refresh-cw",
        grave=True,
    ),
    ActionSpec(
        A.RECONNECT,
        M.TRADE,
        mark("Reconnect"),
        mark("Connect to the venue again now, for example with a repaired key"),
        "refresh-cw",
    ),
    ActionSpec(
        A.RISK_LIMITS,
        M.TRADE,
        mark("Risk limits…"),
        mark("What orders may not exceed, and how much of it is used"),
        "shield-alert",
    ),
    ActionSpec(
        A.NEW_ACCOUNT,
        M.TRADE,
        mark("New account…"),
        mark("Begin again with fresh play money; the old books are kept"),
        "plus",
        grave=True,
    ),
    ActionSpec(
        A.MODE_PRACTICE,
        M.TRADE,
        mark("Practice"),
        mark("Trade on the practice exchange on this computer"),
        group=MODE_GROUP,
        grave=True,
    ),
    ActionSpec(
        A.MODE_PAPER,
        M.TRADE,
        mark("Paper"),
        mark("Trade on Binance's live market with simulated fills, without keys"),
        group=MODE_GROUP,
        grave=True,
    ),
    ActionSpec(A.TRAIN, M.STRATEGY, mark("Train a model…"), mark("Open the training wizard"), "brain", "Ctrl+T"),
    ActionSpec(
        A.MODELS,
        M.STRATEGY,
        mark("Models…"),
        mark("Look at stored models, compare them, give them away and take them in"),
        "layers",
        "Ctrl+M",
    ),
    ActionSpec(A.ADD_STRATEGY, M.STRATEGY, mark("Add strategy…"), mark("Make a strategy of a model"), "plus", "Ctrl+N"),
    ActionSpec(
        A.PALETTE, M.VIEW, mark("Command palette…"), mark("Find any command, market or strategy"), "command", "Ctrl+K"
    ),
    ActionSpec(A.FULL_SCREEN, M.VIEW, mark("Full screen"), mark("Use the whole screen"), "maximize", "F11"),
    ActionSpec(
        A.LAYOUT_TRADING,
        M.VIEW,
        mark("Trading"),
        mark("Chart, book and ticket"),
        "chart-candlestick",
        "Ctrl+1",
        LAYOUT_GROUP,
    ),
    ActionSpec(
        A.LAYOUT_TRAINING,
        M.VIEW,
        mark("Training"),
        mark("Training beside the strategies"),
        "brain",
        "Ctrl+2",
        LAYOUT_GROUP,
    ),
    ActionSpec(
        A.LAYOUT_RESET, M.VIEW, mark("Reset layout"), mark("Put every panel back to its place"), "layout-dashboard"
    ),
    ActionSpec(A.LANGUAGE_EN, M.SETTINGS, "English", "English", group=LANGUAGE_GROUP),
    ActionSpec(A.LANGUAGE_KO, M.SETTINGS, "한국어", "한국어", group=LANGUAGE_GROUP),
    ActionSpec(A.THEME_SYSTEM, M.SETTINGS, mark("As the system"), mark("Follow the desktop"), group=THEME_GROUP),
    ActionSpec(A.THEME_DARK, M.SETTINGS, mark("Dark"), mark("Dark theme"), "moon", group=THEME_GROUP),
    ActionSpec(A.THEME_LIGHT, M.SETTINGS, mark("Light"), mark("Light theme"), "sun", group=THEME_GROUP),
    ActionSpec(
        A.COLOURS_WESTERN, M.SETTINGS, mark("Green up, red down"), mark("Western price colours"), group=COLOUR_GROUP
    ),
    ActionSpec(
        A.COLOURS_KOREAN, M.SETTINGS, mark("Red up, blue down"), mark("Korean price colours"), group=COLOUR_GROUP
    ),
    ActionSpec(
        A.COLOURS_BLIND,
        M.SETTINGS,
        mark("Orange up, blue down"),
        mark("Colour-blind price colours"),
        group=COLOUR_GROUP,
    ),
    ActionSpec(A.KEYS, M.SETTINGS, mark("API keys…"), mark("Keys for trading with real money"), "key"),
    ActionSpec(A.WELCOME, M.HELP, mark("Welcome"), mark("What this is, and three ways to begin"), "graduation-cap"),
    ActionSpec(A.GUIDE, M.HELP, mark("User guide"), mark("Everything explained, on one page"), "book-open"),
    ActionSpec(A.SHORTCUTS, M.HELP, mark("Keyboard shortcuts"), mark("Every key on one page"), "keyboard", "F1"),
    ActionSpec(A.ABOUT, M.HELP, mark("About Maru"), mark("Version and system"), "info"),
)
del A, M

MODE_ACTIONS = {TradingMode.PRACTICE: ActionId.MODE_PRACTICE, TradingMode.PAPER: ActionId.MODE_PAPER}


class ActionRegistry(QObject):
    """Makes the actions and tells which one was triggered.

    Signals:
        triggered: an `ActionId`.
    """

    triggered = Signal(object)

    def __init__(self, theme: ThemeManager, window: QWidget) -> None:
        super().__init__(window)
        self._theme = theme
        self._actions: dict[ActionId, QAction] = {}
        self._groups: dict[str, QActionGroup] = {}
        for spec in ACTIONS:
            action = QAction(self)
            action.setObjectName(f"action_{spec.id.value}")
            action.setData(spec.id.value)
            if spec.shortcut:
                action.setShortcut(QKeySequence(spec.shortcut))
            if spec.id is ActionId.KILL:  # also while a dialog has the focus
                action.setShortcutContext(Qt.ShortcutContext.ApplicationShortcut)
            if spec.group:
                action.setCheckable(True)
                self._group(spec.group).addAction(action)
            action.triggered.connect(self._on_triggered)
            window.addAction(action)
            self._actions[spec.id] = action
        theme.changed.connect(self.refresh_look)
        self.retranslate()
        self.refresh_look()

    def __getitem__(self, action_id: ActionId) -> QAction:
        return self._actions[action_id]

    def check(self, action_id: ActionId) -> None:
        """Mark a member of an exclusive group as the present choice."""
        self._actions[action_id].setChecked(True)

    def retranslate(self) -> None:
        """Write every text in the present language."""
        for spec in ACTIONS:
            action = self._actions[spec.id]
            keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            action.setText(tr(spec.text))
            action.setToolTip(f"{tr(spec.tip)} ({keys})" if keys else tr(spec.tip))
            action.setStatusTip(tr(spec.tip))

    @Slot()
    def refresh_look(self) -> None:
        """Draw the icons in the present theme."""
        for spec in ACTIONS:
            if spec.icon:
                self._actions[spec.id].setIcon(self._theme.icon(spec.icon))

    def _group(self, title: str) -> QActionGroup:
        if title not in self._groups:
            self._groups[title] = QActionGroup(self)
        return self._groups[title]

    @Slot()
    def _on_triggered(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self.triggered.emit(ActionId(action.data()))
