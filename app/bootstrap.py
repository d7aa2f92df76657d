"""Composition root with Qt: builds workers, models and the window, wires them and takes them down. GUI thread.

No other module knows every part. The start is ordered by what a person sees: the window first, then charts, then
connections; heavy libraries load on worker threads or in children.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QObject, QTimer, Signal, Slot
from PySide6.QtWidgets import QApplication

from app.crash import CrashHandler, CrashReport, LastRun
from app.gc_guard import GcGuard
from app.gui_options import GuiOptions
from app.i18n import Language, tr
from app.language import LanguageManager, system_language
from app.lifecycle import FaultWatchdog, Lifecycle, Stage, worker_stage
from app.live import LIVE_VENUES, ask_venue, asked_venues
from app.log_bridge import LogBridge
from app.look_desk import LookDesk, connect_look
from app.models.keys_model import KeysModel
from app.notifications import NotificationManager
from app.past_notices import PastNotices
from app.practice_links import PRACTICE_VENUE, PracticeLinks
from app.runtime import migrate_once, raise_fence
from app.settings import (
    LANGUAGE,
    NOTIFY_ERRORS,
    NOTIFY_FILLS,
    NOTIFY_TRAINING,
    PRACTICE_SPEED,
    THEME,
    TRADING_MODE,
    UP_DOWN,
    LanguageChoice,
    Settings,
)
from app.stall_watch import StallWatch
from app.theme import ThemeChoice, ThemeManager, load_fonts
from app.trade_links import TradeLinks
from app.training_desk import TrainingDesk
from app.training_plans import training_plans
from app.ui.layouts import DockName
from app.ui.main_window import MainWindow
from app.ui.tray import Tray, mode_icon
from app.ui.window_services import WindowServices
from app.workers.executor import ExecutorWorker
from app.workers.keys import KeysWorker
from app.workers.market import MarketWorker
from app.workers.practice import PracticeHost
from app.workers.queue_file import QUEUE_FILE
from app.workers.store import StoreBackend, StoreWorker
from app.workers.training import TrainingWorker
from core.clock import NS_PER_S, SystemClock
from core.config import VERSION, DataPaths
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.orders import STOP_REASON, TradingMode, TradingState
from core.errors import UserError
from core.events import (
    ConnectionStatus,
    ExecutorEvent,
    FillBooked,
    Notice,
    Severity,
    TradingStateChanged,
)
from core.secrets.book import open_key_book

if TYPE_CHECKING:
    from app.models.notifications_model import NoticeRow
    from app.ui.docks.chart_dock import ChartDock
    from app.ui.docks.order_book_dock import OrderBookDock
    from app.ui.docks.training_dock import TrainingDock
    from app.workers.history import HistoryRequest, HistoryWorker

STALE_AFTER_S = 5.0
# The panels that need arrays, in pieces small enough for one turn of the event loop each.
PANEL_MODULES = (
    *(f"app.ui.charts.{name}" for name in ("lod", "series", "ticks", "style", "axes", "candles", "overlays")),
    *(f"app.ui.charts.{name}" for name in ("order_lines", "crosshair", "states", "scene", "view")),
    "app.ui.docks.chart_dock",
    "app.ui.docks.order_book_dock",
    "app.ui.docks.training_dock",
)
JUST_NOW_NS = 10 * NS_PER_S
STOP_PATIENCE_S = 70.0  # the executor waits a minute for it
STEP_MS = 5  # pause between two steps of the start, for whatever else the window has to do
WATCHED_MODULES = ("torch", "pandas", "ccxt", "sqlalchemy", "numba", "scipy", "sklearn", "alembic", "river")

_log = logging.getLogger(__name__)


def _keep_nothing(*_secrets: str) -> None:
    """Stand in for a redactor where no log is kept."""


class Application(QObject):
    """Everything that runs beside and behind the window.

    Attributes:
        window: the main window.
        executor, market, training, store, practice, keys: the workers.
        desk: training as the window sees it.
        look: the stored model on the chart that nobody trades with.
        lifecycle: call `lifecycle.quit()` to end.
        stalls: measures the longest stall of the GUI thread.

    Signals:
        started: the window is complete and every worker runs.
    """

    started = Signal()

    def __init__(
        self,
        qapp: QApplication,
        options: GuiOptions,
        paths: DataPaths,
        crash: CrashHandler,
        hide: Callable[..., None] = _keep_nothing,
    ) -> None:
        """Build and wire everything; nothing runs yet.

        Args:
            qapp: the application object.
            options: how the window was started.
            paths: data folder, created.
            crash: installed handler.
            hide: takes secrets that no log or crash report may show.
        """
        super().__init__()
        self._qapp, self._options, self.paths, self._crash = qapp, options, paths, crash
        self._clock = SystemClock()
        self._last_tick_ns = 0
        self._newest_bar: Candle | None = None
        self._halted = False
        self.settings = Settings(paths.settings_file, self)
        self.language = LanguageManager(self)
        self.theme = ThemeManager(qapp, self)
        self._apply_look()
        self.lifecycle = Lifecycle(watchdog=FaultWatchdog(crash.fault_file), parent=self)
        self._prepare = migrate_once(paths)
        self._build_workers(hide)
        self.notifications = NotificationManager(self._clock)
        self.desk = TrainingDesk(
            paths,
            self.training,
            self.store,
            self._links.open_history,
            self.theme,
            self.language,
            self._links.market_now_ns,
            self,
        )
        self.key_list = KeysModel(self.keys, LIVE_VENUES, asked_venues(), self)
        self.window = MainWindow(
            WindowServices(
                trading=self.executor,
                market=self.market,
                training=self.desk,
                theme=self.theme,
                language=self.language,
                settings=self.settings,
                close_warnings=self.desk.close_warnings,
                tray_available=Tray.available,
                keys=self.key_list,
                version=VERSION,
            )
        )
        self.look = LookDesk(paths, self._symbols, lambda: self.market.origin, self._download, self)
        self.past_notices = PastNotices(self.store, self.window.models.notifications, self._clock, self)
        self.tray = Tray(self.theme, self.language, self._clock, self)
        self.stalls = StallWatch(parent=self)
        self.collector = GcGuard(self)
        self.log_bridge = LogBridge(self)
        self._second = QTimer(self)
        self._second.setInterval(1_000)
        self._bringing_up: Iterator[None] = iter(())
        self.chart: ChartDock | None = None
        self.book: OrderBookDock | None = None
        self.training_dock: TrainingDock | None = None
        self._wire()
        self._plan_shutdown()

    # --- building ---------------------------------------------------------------------------------------------

    def _apply_look(self) -> None:
        load_fonts()
        chosen = self.settings.get(LANGUAGE)
        language = system_language() if chosen is LanguageChoice.SYSTEM else Language(chosen.value)
        self.language.set_language(Language(self._options.language) if self._options.language else language)
        theme = ThemeChoice(self._options.theme) if self._options.theme else self.settings.get(THEME)
        self.theme.set_theme(theme, self.settings.get(UP_DOWN))

    def _build_workers(self, hide: Callable[..., None]) -> None:
        self.practice = PracticeHost(self._make_practice, self)
        practice = PracticeLinks(self.paths, self.practice, hide)
        mode = self.settings.get(TRADING_MODE)
        self._links = TradeLinks(self.paths, practice, mode, self._options.paper_market, hide)
        self.store = StoreWorker(self._open_store, self._clock, self)
        self.executor = ExecutorWorker(
            self._links.open_trading,
            self,
            halt=functools.partial(raise_fence, self.paths, STOP_REASON),
            open_account=self._links.open_account,
            choose_mode=self._links.choose,
        )
        symbol, timeframe = _last_market(self.settings)
        self.market = MarketWorker(
            self._links.open_market,
            symbol,
            timeframe,
            venue=PRACTICE_VENUE,
            mode=self._links.mode,
            books=self.store,
            parent=self,
        )
        self.keys = KeysWorker(functools.partial(open_key_book, self.paths, hide), ask_venue, self)
        self.training = TrainingWorker(training_plans(self.paths), self.paths.runs / QUEUE_FILE, self.store, self)

    def _make_practice(self, resume: Any) -> Any:
        from core.practice.process import PracticeProcess

        self._prepare()
        speed = self._options.speed or format(self.settings.get(PRACTICE_SPEED), "f")
        return PracticeProcess(data_dir=self.paths.root, seed=self._options.seed, speed=speed, resume=resume)

    def _open_store(self) -> StoreBackend:
        self._prepare()
        from core.data.data_storage import CandleStore
        from core.persistence.store import Store

        store = Store(self.paths.store_db)
        store.interrupt_runs(self._clock.now_ns())  # one program per data folder: none of them can be running
        return StoreBackend(store, CandleStore(self.paths.candles))

    def _wire(self) -> None:
        window, desk = self.window, self.desk
        self.executor.events.event_arrived.connect(self._on_executor_event)
        self.executor.filled.connect(self._on_filled)
        self.executor.mode_chosen.connect(self._on_mode_chosen)
        self.market.instruments_loaded.connect(self._on_instruments)
        self.market.connection_changed.connect(window.on_connection)
        self.market.ticker_changed.connect(window.on_ticker)
        self.market.ticker_changed.connect(self._on_tick)
        self.market.candle_arrived.connect(self._on_candle)
        self.market.book_changed.connect(window.on_book)
        self.market.failed.connect(self._on_trouble)
        self.executor.failed.connect(self._on_trouble)
        self.practice.restarted.connect(self._on_practice_restarted)
        self.practice.died.connect(self._on_practice_trouble)
        self.practice.failed.connect(self._on_practice_trouble)
        self.keys.listed.connect(self.key_list.on_listed)
        self.keys.answered.connect(self.key_list.on_answered)
        self.keys.failed.connect(self._on_trouble)
        self.store.noticed.connect(window.show_notice)
        self.store.failed.connect(self._on_trouble)
        self.training.failed.connect(self._on_trouble)
        desk.noticed.connect(window.show_notice)
        desk.models_changed.connect(window.set_models)
        desk.logged.connect(window.add_log)
        desk.strategy_wanted.connect(self._on_strategy_wanted)
        desk.training_wanted.connect(self._on_training_wanted)
        window.train_requested.connect(desk.open_wizard)
        window.models_requested.connect(desk.open_models)
        window.reconnect_requested.connect(self.practice.revive)
        window.close_requested.connect(self.lifecycle.quit)
        window.notice_added.connect(self._on_notice_added)
        self.log_bridge.line_logged.connect(window.add_log)
        self.notifications.add_sink(self._on_notification)
        self.tray.show_requested.connect(self.show_window)
        self.tray.kill_requested.connect(self._on_tray_kill)
        self.tray.quit_requested.connect(window.close)
        self.theme.changed.connect(self._on_theme_changed)
        self._crash.crashed.connect(self._on_crashed)
        self._second.timeout.connect(self._on_second)

    def _plan_shutdown(self) -> None:
        add = self.lifecycle.add_stage
        trading = worker_stage("Trading", self.executor, 10.0)
        # The executor itself waits for a STOP at work, at most a minute.
        add(dataclasses.replace(trading, busy=lambda: self.executor.stop_at_work, busy_timeout_s=STOP_PATIENCE_S))
        add(worker_stage("Training", self.training, 8.0))
        add(Stage("Downloads", self._stop_downloads, self._downloads_stopped, 5.0))
        add(worker_stage("API keys", self.keys, 3.0))
        add(worker_stage("Market data", self.market, 5.0))
        add(worker_stage("Practice exchange", self.practice, 7.0))
        add(worker_stage("Store", self.store, 8.0))
        add(Stage("Window", self._close_window, timeout_s=2.0))

    # --- start ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Show the window, then bring everything else up behind it."""
        self.window.setWindowIcon(mode_icon(self.theme, self._tray_mode()))
        if not self._options.reset_layout:
            self.window.memory.restore()
        self.window.show()
        self._qapp.processEvents()  # painted before anything else takes time
        self._trace("first_window")
        if self._options.quit_after_s is not None:
            QTimer.singleShot(round(self._options.quit_after_s * 1_000), self, self.lifecycle.quit)
        self._bringing_up = self._bring_up()
        self._next_step()

    @Slot()
    def _next_step(self) -> None:
        if self.lifecycle.is_quitting or next(self._bringing_up, self) is self:
            return
        QTimer.singleShot(STEP_MS, self, self._next_step)

    def _bring_up(self) -> Iterator[None]:
        """Bring everything up behind the window; each `yield` gives the event loop a turn, so that none takes long."""
        self.stalls.start()
        # Off this thread: the arrays' library alone would hold up the window for longer than it may stand still.
        loading = threading.Thread(target=_load_arrays, name="load-arrays", daemon=True)
        loading.start()
        while loading.is_alive():
            yield
        for name in PANEL_MODULES:
            importlib.import_module(name)
            yield
        from app.ui.docks.chart_dock import ChartDock
        from app.ui.docks.order_book_dock import OrderBookDock
        from app.ui.docks.training_dock import TrainingDock

        self.chart = ChartDock(self.market, self.theme)
        yield
        self.window.attach_dock(DockName.CHART.value, self.chart)
        yield
        self.book = OrderBookDock(self.theme)
        yield
        self.window.attach_dock(DockName.ORDER_BOOK.value, self.book)
        yield
        self.training_dock = TrainingDock(self.desk, self.theme)
        yield
        self.window.attach_dock(DockName.TRAINING.value, self.training_dock)
        yield
        self._connect_docks(self.chart, self.book, self.training_dock)
        # The workers come last and one by one: their imports would slow all of the above.
        for worker in (self.practice, self.store, self.market, self.executor):
            yield
            worker.start()
        yield
        self._complete()
        yield
        self.window.greet()

    def _complete(self) -> None:
        self.training.start()
        self.keys.start()
        self.tray.start()
        self.collector.start()
        self._second.start()
        self.past_notices.load()
        self.desk.restore_runs()
        self.desk.refresh()
        self.desk.detect_devices()
        self.started.emit()

    def _connect_docks(self, chart: ChartDock, book: OrderBookDock, training: TrainingDock) -> None:
        window = self.window
        if not self._options.reset_layout:
            window.memory.restore()
        window.memory.watch()
        self.desk.attach_dock(training)
        self.market.history_arrived.connect(chart.on_history)
        self.market.history_failed.connect(chart.on_history_failed)
        self.market.candle_arrived.connect(chart.on_candle)
        self.market.ticker_changed.connect(chart.on_ticker)
        self.market.trades_arrived.connect(chart.on_trades)
        self.market.book_changed.connect(book.on_book)
        self.market.trades_arrived.connect(book.on_trades)
        chart.market_changed.connect(window.on_market_changed)
        chart.market_changed.connect(self._on_market_changed)
        chart.price_picked.connect(window.ticket.pick_price)
        book.price_picked.connect(window.ticket.pick_price)
        window.market_requested.connect(chart.show_market)
        window.models.mode_changed.connect(chart.forget_books)
        window.models.mode_changed.connect(book.forget)
        connect_look(self.look, chart, self.market, self.desk, window)
        chart.show_market(*window.market)

    # --- slots ------------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_executor_event(self, event: ExecutorEvent) -> None:
        self.window.on_executor_event(event)
        if isinstance(event, ConnectionStatus):
            self.tray.set_mode(event.mode)
        elif isinstance(event, TradingStateChanged):
            self._halted = event.state is TradingState.HALTED
            self.tray.set_halted(self._halted)
        if self.chart is None:
            return
        if isinstance(event, FillBooked):
            self.chart.on_fill(self._at_the_bar(event.fill))
        else:
            self.chart.on_event(event)

    @Slot(object)
    def _on_filled(self, event: FillBooked) -> None:
        if self.settings.get(NOTIFY_FILLS):
            self.tray.add_fill(event.fill)

    @Slot(object)
    def _on_mode_chosen(self, mode: TradingMode) -> None:
        self.settings.set(TRADING_MODE, mode)
        self._last_tick_ns, self._newest_bar = 0, None
        self.market.reopen(mode)
        if self.chart is not None:
            self.chart.show_market(*self.window.market)

    @Slot(object)
    def _on_instruments(self, instruments: tuple[Instrument, ...]) -> None:
        self.window.set_instruments(instruments)
        self.desk.set_markets([instrument.symbol for instrument in instruments], self.market.origin)
        self.window.strategies.set_origin(self.market.origin)
        if self.chart is not None:
            self.chart.set_instruments(instruments)
            self._on_market_changed(*self.window.market)

    @Slot(str, str)
    def _on_market_changed(self, symbol: str, _timeframe: str) -> None:
        known = {instrument.symbol: instrument for instrument in self.window.models.instruments}
        if self.book is not None and symbol in known:
            self.book.set_instrument(symbol, known[symbol].price_decimals, known[symbol].quantity_decimals)

    @Slot(object)
    def _on_tick(self, _ticker: object) -> None:
        self._last_tick_ns = time.monotonic_ns()

    @Slot(object)
    def _on_trouble(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error  # a bug: the crash handler shows it
        self.window.show_notice(Notice(Severity.ERROR, error.message, error.remedy))

    @Slot(object)
    def _on_practice_trouble(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error
        self.window.show_error(error.message, error.remedy)
        self.window.show_notice(Notice(Severity.ERROR, error.message, error.remedy))

    @Slot()
    def _on_practice_restarted(self) -> None:
        text = tr("It was started again. The connections are being restored.")
        self.window.show_notice(Notice(Severity.WARNING, tr("The practice exchange had ended."), text))

    @Slot(str)
    def _on_strategy_wanted(self, model_id: str) -> None:
        self.window.layouts.show(DockName.STRATEGIES)
        self.window.strategies.open_add_dialog(model_id)

    @Slot()
    def _on_training_wanted(self) -> None:
        self.window.layouts.show(DockName.TRAINING)

    @Slot(object)
    def _on_notice_added(self, row: NoticeRow) -> None:
        self.notifications.publish(row.notice)

    def _on_notification(self, notification: Any) -> None:
        notice: Notice = notification.notice
        wanted = {
            Severity.ERROR: self.settings.get(NOTIFY_ERRORS),
            Severity.SUCCESS: self.settings.get(NOTIFY_TRAINING),
        }
        self.store.add_notice(notice)
        if wanted.get(notice.severity, False):
            self.tray.notify(notification)

    @Slot()
    def _on_tray_kill(self) -> None:
        self.executor.kill(flatten=False)

    @Slot()
    def _on_theme_changed(self) -> None:
        self.window.setWindowIcon(mode_icon(self.theme, self._tray_mode()))

    @Slot(object)
    def _on_crashed(self, report: CrashReport) -> None:
        where = "" if report.path is None else tr("A report was written to {path}.", path=str(report.path))
        self.window.show_error(tr("Something went wrong: {what}", what=report.summary), where, report.details)

    @Slot()
    def _on_second(self) -> None:
        self.window.status.add_stall(self.stalls.take_recent_ms())
        age_s = (time.monotonic_ns() - self._last_tick_ns) / 1e9
        stale = age_s if self._last_tick_ns and age_s > STALE_AFTER_S else None
        if self.chart is not None and self.book is not None:
            self.chart.set_stale(stale)
            self.book.set_stale(stale)

    @Slot()
    def show_window(self) -> None:
        """Bring the window to the front."""
        self.window.showNormal() if self.window.isMinimized() else self.window.show()
        self.window.raise_()
        self.window.activateWindow()

    @Slot(object)
    def _on_candle(self, candle: Candle) -> None:
        self._newest_bar = candle

    # --- helpers ----------------------------------------------------------------------------------------------

    def tell_last_run(self, last: LastRun) -> None:
        """Say that the last run did not end properly."""
        if not last.clean:
            _log.warning("the last run did not end properly; trace: %s", last.path or "none")
            text = tr("Strategies stay stopped until you start them. The books are compared with the exchange first.")
            self.window.show_notice(Notice(Severity.WARNING, tr("Maru did not end properly last time."), text))

    def _at_the_bar(self, fill: Fill) -> Fill:
        """Return a fill of this moment with the time of the forming bar where the market runs behind the wall.

        The exchange stamps own fills with the wall's time, and bars with the market's.
        """
        bar, now_ns = self._newest_bar, self._clock.now_ns()
        if bar is None or now_ns - fill.time_ns > JUST_NOW_NS or fill.time_ns < bar.close_time_ns:
            return fill
        return dataclasses.replace(fill, time_ns=bar.open_time_ns)

    def _tray_mode(self) -> TradingMode:
        return self.window.models.mode or TradingMode.PRACTICE

    def _symbols(self) -> set[str]:
        return {instrument.symbol for instrument in self.window.models.instruments}

    def _download(self, request: HistoryRequest) -> HistoryWorker:
        from app.workers.history import HistoryWorker

        return HistoryWorker(self._links.open_history, request, self.paths.candles, self.store)

    def _stop_downloads(self) -> None:
        for worker in (*self.desk.workers(), *self.look.workers()):
            worker.request_stop()

    def _downloads_stopped(self) -> bool:
        return not self.desk.workers() and not self.look.workers()

    def _close_window(self) -> None:
        self._second.stop()
        self.window.memory.save()
        self.settings.sync()
        self.tray.close()
        self.desk.close_windows()
        for dock in (self.chart, self.book, self.training_dock):
            close = getattr(dock, "shutdown", None)
            if close is not None:
                close()
        self.window.allow_close()
        self.collector.stop()
        self.stalls.stop()

    def _trace(self, moment: str) -> None:
        if self._options.trace is not None:
            loaded = [name for name in WATCHED_MODULES if name in sys.modules]
            self._options.trace.write_text(json.dumps({moment: time.time(), "heavy_modules": loaded}))


def _last_market(settings: Settings) -> tuple[str, Timeframe]:
    from app.settings import LAST_SYMBOL, LAST_TIMEFRAME

    timeframe = settings.get(LAST_TIMEFRAME)
    return settings.get(LAST_SYMBOL), Timeframe(timeframe) if timeframe in set(Timeframe) else Timeframe.M1


def _load_arrays() -> None:
    import core.data.frame

    assert core.data.frame is not None


def end_qt_objects(application: Application) -> None:
    """Delete the window before Qt ends: what outlives the application object crashes on exit."""
    application.window.deleteLater()
    application.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
