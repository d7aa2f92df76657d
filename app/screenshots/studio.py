"""The real window with real widgets, fed with made-up values instead of workers. GUI thread only.

Nothing here opens a connection, a database or a process: commands of the widgets are noted and go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QApplication, QWidget

from app.language import LanguageManager
from app.screenshots.clipping import clipped_texts
from app.screenshots.market import NOW_NS, PictureMarket
from app.screenshots.session import BARS, BTC, Moment, PictureSession
from app.screenshots.training import PictureSources
from app.settings import LAST_TIMEFRAME, Settings
from app.theme import ThemeManager
from app.ui.docks.chart_dock import ChartDock
from app.ui.docks.order_book_dock import OrderBookDock
from app.ui.docks.training_dock import TrainingDock
from app.ui.layouts import DockName
from app.ui.main_window import MainWindow
from app.ui.tray import Tray
from app.ui.window_services import WindowServices
from core.clock import NS_PER_S, ManualClock
from core.config import VERSION
from core.domain.order_plans import PlanDraft
from core.domain.orders import OrderChange, OrderDraft, TradingMode
from core.domain.positions import Ownership
from core.events import ConnectionState, ExecutorEvent, FillBooked, Notice
from core.signals.risk_management import RiskSettings
from core.strategies.spec import StrategySpec

_ROUNDS = 4  # through the event queue: layouts, deferred deletions, timers of 0 ms


class SilentCommands:
    """Takes every command of the window and does nothing (`app.services` protocols).

    Attributes:
        draft: the order last sent; the scenes answer it.
    """

    def __init__(self) -> None:
        self.draft: OrderDraft | None = None

    def place_order(self, draft: OrderDraft) -> None:
        """Keep an order for the scene to answer."""
        self.draft = draft

    def cancel_order(self, client_order_id: str) -> None:
        """Ignore a cancel."""

    def cancel_all(self, symbol: str | None) -> None:
        """Ignore a cancel of everything."""

    def replace_order(self, client_order_id: str, change: OrderChange) -> None:
        """Ignore a change."""

    def ask_about(self, client_order_id: str) -> None:
        """Ignore a question."""

    def declare_gone(self, client_order_id: str) -> None:
        """Ignore a person's word."""

    def create_plan(self, draft: PlanDraft) -> None:
        """Ignore a new order plan."""

    def cancel_plan(self, plan_id: str) -> None:
        """Ignore the end of an order plan."""

    def resume_plan(self, plan_id: str) -> None:
        """Ignore the wish that an order plan goes on."""

    def add_strategy(self, spec: StrategySpec) -> None:
        """Ignore a new strategy."""

    def remove_strategy(self, strategy_id: str) -> None:
        """Ignore a removal."""

    def start_strategy(self, strategy_id: str) -> None:
        """Ignore a start."""

    def change_model(self, strategy_id: str, model_id: str) -> None:
        """Ignore another model."""

    def stop_strategy(self, strategy_id: str) -> None:
        """Ignore a stop."""

    def take_over(self, symbol: str, move: bool) -> None:
        """Ignore a take-over."""

    def hand_back(self, symbol: str, to: Ownership, move_to: str) -> None:
        """Ignore a hand-back."""

    def kill(self, flatten: bool) -> None:
        """Ignore the kill switch."""

    def rearm(self) -> None:
        """Ignore a re-arm."""

    def reconnect(self) -> None:
        """Ignore the wish to connect again."""

    def change_risk_settings(self, settings: RiskSettings) -> None:
        """Ignore new limits."""

    def new_account(self, balance: Decimal) -> None:
        """Ignore the wish for a new account."""

    def switch_mode(self, mode: TradingMode) -> None:
        """Ignore the wish for another mode."""

    def watch(self, symbol: str, timeframe: str) -> None:
        """Ignore the wish for another market."""

    def start_training(self, spec: dict[str, Any]) -> str:
        """Ignore a training; no run gets an id."""
        return ""

    def plan_after(self, run_id: str) -> None:
        """Ignore the wish for a run after another one."""

    def pause_training(self, run_id: str) -> None:
        """Ignore a pause."""

    def continue_training(self, run_id: str) -> None:
        """Ignore the end of a pause."""

    def move_training(self, run_id: str, by: int) -> None:
        """Ignore a move in the queue."""

    def forget_training(self, run_id: str) -> None:
        """Ignore the wish to forget a run."""

    def set_training_slots(self, slots: int) -> None:
        """Ignore another number of runs at a time."""

    def cancel_training(self, run_id: str) -> None:
        """Ignore a cancel of a run."""

    def resume_training(self, run_id: str) -> None:
        """Ignore the wish that a run goes on."""


class Materials:
    """What every picture is made of; computed once.

    Attributes:
        market / session / sources: see their modules.
    """

    def __init__(self) -> None:
        self.market = PictureMarket()
        self.session = PictureSession(self.market)
        self.sources = PictureSources(self.market)


class Studio:
    """One main window to take pictures of.

    Attributes:
        window, chart, book, training: the widgets.
        materials: what they are fed with.
        theme / language: shared with dialogs and wizard.
        clipped: texts cut off in the picture taken last, see `clipped_texts`.
    """

    def __init__(
        self, materials: Materials, theme: ThemeManager, language: LanguageManager, folder: Path, size: tuple[int, int]
    ) -> None:
        """Build and show the window.

        Args:
            materials: see `Materials`.
            theme / language: already set.
            folder: an empty folder for the settings.
            size: of the window, px.
        """
        self.materials, self.theme, self.language = materials, theme, language
        self.clock = ManualClock(NOW_NS - 2 * 86_400 * NS_PER_S)
        self.commands = SilentCommands()
        self._number = 0
        self.clipped: list[str] = []
        settings = Settings(folder / "settings.ini")
        settings.set(LAST_TIMEFRAME, BARS.value)
        self.window = MainWindow(
            WindowServices(
                self.commands,
                self.commands,
                self.commands,
                theme,
                language,
                settings,
                version=VERSION,
                now_ns=self.clock.now_ns,
            )
        )
        self.chart = ChartDock(self.commands, theme, zone=None)
        self.book = OrderBookDock(theme)
        self.training = TrainingDock(self.commands, theme)
        for name, dock in (
            (DockName.CHART, self.chart),
            (DockName.ORDER_BOOK, self.book),
            (DockName.TRAINING, self.training),
        ):
            self.window.attach_dock(name.value, dock)
        self.window.resize(*size)
        self.window.show()
        settle()

    # --- feeding ----------------------------------------------------------------------------------------------

    def feed_market(self) -> None:
        """Show prices, chart, book and trades."""
        market, window = self.materials.market, self.window
        instruments = self.materials.session.instruments
        window.set_instruments(instruments)
        self.chart.set_instruments(instruments)
        self.chart.show_market(BTC, BARS)
        self.chart.on_history(market.history(BTC, BARS))
        self.choose_book()
        self.book.on_book(market.book(BTC))
        self.book.on_trades(market.trades(BTC))
        for symbol in market.symbols:
            window.on_ticker(market.ticker(symbol))
        self.chart.on_ticker(market.ticker(BTC))
        window.set_models(self.materials.session.models())

    def choose_book(self) -> None:
        """Point the order book at the market, without a book yet."""
        rules = next(item for item in self.materials.session.instruments if item.symbol == BTC)
        self.book.set_instrument(BTC, rules.price_decimals, rules.quantity_decimals)

    def feed_session(self, mode: TradingMode) -> None:
        """Play the session; each event is heard at its own time."""
        self.play(sorted(self.materials.session.moments(mode), key=lambda moment: moment[0]))
        self.clock.set(max(NOW_NS, self.clock.now_ns()))
        for symbol in self.materials.market.symbols:
            self.window.on_ticker(self.materials.market.ticker(symbol))
        self.window.status.tick(self.clock.now_ns())
        self.window.refresh_now()

    def play(self, moments: Iterable[Moment]) -> None:
        """Hand events to the window and the chart as the composition root does."""
        for time_ns, event in moments:
            self.clock.set(max(time_ns, self.clock.now_ns()))
            self.hear(event)
        self.window.refresh_now()

    def hear_links(self, mode: TradingMode, state: ConnectionState) -> None:
        """Report both links in a state and the mode of the gateway."""
        for link in ("market", "orders"):
            self.hear(self.materials.session.link(link, mode, state))

    def hear(self, event: ExecutorEvent) -> None:
        """Hand one event to the window and the chart."""
        if isinstance(event, Notice):  # the session's are those of the program, which the executor's log does not hold
            self.window.show_notice(event)
            return
        self.window.on_executor_event(event)
        if isinstance(event, FillBooked):
            self.chart.on_fill(event.fill)
        else:
            self.chart.on_event(event)

    def next_number(self) -> int:
        """Return a number not yet used, for ids."""
        self._number += 1
        return self._number

    # --- pictures ---------------------------------------------------------------------------------------------

    def picture(self) -> QPixmap:
        """Return the whole window."""
        return self.shoot(self.window)

    def dock_picture(self, name: DockName) -> QPixmap:
        """Bring a dock to the front and return it alone; afterwards the usual ones are in front again."""
        layouts = self.window.layouts
        layouts.show(name)
        dock = layouts.dock(name)
        assert dock is not None, name
        taken = self.shoot(dock)
        for usual in (DockName.TICKET, DockName.POSITIONS):
            layouts.show(usual)
        return taken

    def shoot(self, widget: QWidget) -> QPixmap:
        """Return a widget when it has come to rest."""
        settle()
        self.window.refresh_now()
        settle()
        self.clipped = clipped_texts(widget)
        return widget.grab()

    def close(self) -> None:
        """Take everything down; the window is gone afterwards."""
        for dock in (self.chart, self.book):
            dock.shutdown()
        self.window.allow_close()
        self.window.deleteLater()
        settle()


def make_tray(studio: Studio) -> Tray:
    """Return a tray icon with its menu, as the program has it; `close` it afterwards."""
    return Tray(studio.theme, studio.language, studio.clock)


def settle() -> None:
    """Run what waits in the event queue, deferred deletions too."""
    for _ in range(_ROUNDS):
        QApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
