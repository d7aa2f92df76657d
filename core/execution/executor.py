"""The executor: everything between a decision and the books, Qt-free. One event loop owns it and all it holds.

The window runs it in a QThread, `main.py trade` on the main thread. Nothing else sends orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from decimal import Decimal
from typing import Any

from core.clock import Clock
from core.config import DataPaths
from core.domain.orders import STOP_REASON, Intent, Order, OrderDraft, OrderState, TradingState
from core.domain.positions import Balance, Position
from core.errors import UserError
from core.events import (
    AccountOpened,
    BalancesChanged,
    BooksTold,
    EventSink,
    Notice,
    PositionChanged,
    Severity,
    TradingStateChanged,
)
from core.execution.account import AccountBook
from core.execution.api.gateway import (
    BalanceReport,
    ExchangeGateway,
    FatalGatewayError,
    GatewayError,
    UserEvent,
)
from core.execution.books import BookCheck, check_books
from core.execution.executor_options import ExecutorOptions
from core.execution.fence import Fence
from core.execution.foreign_kill import import_kill_files
from core.execution.journal import Journal
from core.execution.kill_switch import (
    KillReport,
    begin_report,
    cancel_everything,
    flatten_intents,
    is_dust,
    note_sale,
    write_report,
)
from core.execution.mark_watcher import MarkWatcher
from core.execution.marks import Marks
from core.execution.order_desk import DeskOptions, OrderDesk
from core.execution.order_manager import OrderManager
from core.execution.process_lock import ExecutorLock
from core.execution.reconciliation import Event, describe
from core.execution.records import TradingStateRecord
from core.execution.strategy_runner import BarHook, StrategyRunner
from core.execution.synchroniser import Synchroniser
from core.execution.trade_analyzer import TradeStats, analyze_trades
from core.execution.trading_control import TradingControl
from core.signals.risk_management import RiskManager, RiskSettings
from core.strategies.predictor import PredictorLoader
from core.strategies.spec import StrategySpec

ACCOUNT_STREAM, RECONCILIATION = "account-stream", "reconciliation"  # what may trouble the link

_log = logging.getLogger(__name__)


class Executor:
    """Order path, strategies, kill switch and books of one account.

    Args:
        gateway: the account's venue; closed by `stop`.
        journal: open and migrated; closed by `stop`.
        risk: the gate; its settings are replaced by the journalled ones at start.
        fence / lock: see their modules.
        market: market clock (bar close); wall: server clock.
        bar_processed: awaited after every strategy has handled a final candle, its orders resting or over and booked.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        journal: Journal,
        risk: RiskManager,
        sink: EventSink,
        load_predictor: PredictorLoader,
        *,
        paths: DataPaths,
        fence: Fence,
        lock: ExecutorLock,
        market: Clock,
        wall: Clock,
        bar_processed: BarHook | None = None,
        options: ExecutorOptions | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._risk = risk
        self._sink = sink
        self._paths = paths
        self._lock = lock
        self._market = market
        self._wall = wall
        self._options = options or ExecutorOptions()
        self._marks = Marks(wall)
        self._manager = OrderManager(gateway, journal, fence, wall, sink, self._marks)
        self._control = TradingControl(journal, fence, self._manager, sink, wall)
        self._account = AccountBook(journal, self._manager, self._marks, market)
        self._sync = Synchroniser(gateway, journal, self._manager, sink, wall, asyncio.sleep, self._options.evidence)
        self._mark_watcher = MarkWatcher(
            gateway,
            self._marks,
            self._spawn,
            max_age_s=self._options.mark_max_age_s,
            backoff_s=self._options.backoff_s,
            backoff_max_s=self._options.backoff_max_s,
        )
        self._desk = OrderDesk(
            gateway,
            self._manager,
            risk,
            self._control,
            self._account,
            self._marks,
            self._mark_watcher,
            self._sync,
            sink,
            wall,
            refresh_balances=self._refresh_balances,
            new_id=new_id,
            options=DeskOptions(
                self._options.settle_s,
                self._options.settle_poll_s,
                self._options.backoff_s,
                self._options.cancel_attempts,
            ),
        )
        self._runner = StrategyRunner(
            gateway,
            journal,
            self._desk,
            load_predictor,
            self._marks,
            sink,
            market=market,
            wall=wall,
            spawn=self._spawn,
            bar_processed=bar_processed,
        )
        self._manager.claim = self._import_kills
        self._manager.on_unpriced = self._mark_watcher.price_currency
        self._jitter = random.Random(0)
        self._shown_marks: dict[str, Decimal | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stop_wanted = asyncio.Event()
        self._reconcile_lock = asyncio.Lock()
        self._streams_lost = 0  # how often the account stream ended
        self._kill_lock = asyncio.Lock()
        self._stopping: asyncio.Task[None] | None = None

    # --- what others may look at ------------------------------------------------------------------------------

    @property
    def trading_state(self) -> TradingState:
        """What may be sent now."""
        return self._control.state

    @property
    def risk_settings(self) -> RiskSettings:
        """Limits in force."""
        return self._risk.settings

    @property
    def working_orders(self) -> list[Order]:
        """Orders the venue may still execute."""
        return self._manager.working

    @property
    def positions(self) -> list[Position]:
        """All positions, flat ones too."""
        return self._manager.positions

    @property
    def strategies(self) -> tuple[StrategySpec, ...]:
        """Registered strategies."""
        return self._runner.specs

    @property
    def first_balances(self) -> dict[str, Decimal]:
        """What the account held when this journal began, by currency."""
        return self._account.first_balances()

    @property
    def trading_record(self) -> TradingStateRecord:
        """What may be sent now, since when and why."""
        return self._control.record

    @property
    def wanted_strategies(self) -> set[str]:
        """Strategies that run, or that `run` starts again."""
        return self._runner.wanted

    def position(self, symbol: str, owner: str) -> Position:
        """Return one owner's position."""
        return self._manager.position(symbol, owner)

    # --- life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the lock, connect, load the journal, reconcile; then ACTIVE or HALTED as stored.

        Raises:
            UserError: another executor runs, or the venue cannot be reached. Nothing is left behind.
        """
        self._lock.acquire()
        try:
            await self._gateway.connect()
            self._sink(AccountOpened(self._journal.meta("account") or ""))
            self._manager.load()
            self._load_settings()
            self._import_kills()
            self._control.load()
            await self._ping()
            await self._load_account()
            self._runner.load()
            if self._control.state is TradingState.HALTED:  # a kill while nothing ran stops strategies as well
                self._runner.forget_running()
            self._manager.announce_books()
            self._sink(BooksTold())
            await self.reconcile_now()
            await self._unknown_round()
        except GatewayError as exc:
            await self.stop()
            raise UserError(
                f"{self._gateway.venue} cannot be used: {exc.message.rstrip('.')}.",
                "Check the connection and the keys, then start again.",
            ) from exc
        except BaseException:
            await self.stop()
            raise

    async def run(self, *, resume: bool = True) -> None:
        """Trade until `stop`.

        Args:
            resume: whether strategies that were running when the program ended start again by themselves; otherwise
                they wait for a person to start them.

        Raises:
            Exception: a bug in one of the loops; everything is closed by then.
        """
        loops: list[Coroutine[Any, Any, None]] = [
            self._user_loop(),
            self._every(self._options.reconcile_s, self._reconcile_round),
            self._every(self._options.unknown_s, self._unknown_round),
            self._every(self._options.refresh_s, self._refresh_round),
            self._every(self._options.ping_s, self._ping),
        ]
        for loop in loops:
            self._spawn(loop)
        if not resume:
            self._runner.hold()
        elif self._control.state is TradingState.ACTIVE:
            await self._runner.resume()
        await self._stop_wanted.wait()
        await self.stop()
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """End all loops, let submits be answered, close gateway, journal and lock. Orders stay. Idempotent.

        A caller that is cancelled leaves at once; the work goes on, and the next caller waits for it.
        """
        self._stop_wanted.set()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="executor-stop")
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        await self._manager.wait_idle(self._options.settle_s)
        await self._desk.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._gateway.close()
        finally:
            self._journal.close()
            self._lock.release()

    # --- orders -----------------------------------------------------------------------------------------------

    async def place_order(self, draft: OrderDraft) -> Order:
        """Send a manual order (see `OrderDesk.place_order`)."""
        return await self._desk.place_order(draft)

    async def submit(self, intent: Intent) -> Order:
        """Send any intent through risk (see `OrderDesk.submit`)."""
        return await self._desk.submit(intent)

    async def cancel_order(self, client_id: str) -> Order:
        """Cancel one order (see `OrderDesk.cancel_order`)."""
        return await self._desk.cancel_order(client_id)

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancel all orders (see `OrderDesk.cancel_all`)."""
        await self._desk.cancel_all(symbol)

    # --- strategies and settings ------------------------------------------------------------------------------

    async def add_strategy(self, spec: StrategySpec) -> None:
        """Register a strategy, stopped (see `StrategyRunner.add`)."""
        self._journal.add_command("add_strategy", {"strategy_id": spec.strategy_id}, self._wall.now_ns())
        self._runner.add(spec)

    async def remove_strategy(self, strategy_id: str) -> None:
        """Stop and forget a strategy; its books stay."""
        self._journal.add_command("remove_strategy", {"strategy_id": strategy_id}, self._wall.now_ns())
        await self._runner.remove(strategy_id)

    async def start_strategy(self, strategy_id: str) -> None:
        """Warm up and run a strategy.

        Raises:
            UserError: trading is halted, or there is no such strategy.
        """
        if self._control.state is TradingState.HALTED:
            raise UserError("Trading is halted.", "Re-arm trading first.")
        self._journal.add_command("start_strategy", {"strategy_id": strategy_id}, self._wall.now_ns())
        await self._runner.start(strategy_id)

    async def wait_until_following(self, strategy_id: str) -> None:
        """Wait until the candles of a started strategy arrive by stream; in lockstep, release the first bar then."""
        await self._runner.wait_until_following(strategy_id)

    async def quiesce(self) -> None:
        """Pause all strategies and let orders under way be answered; they run again at the next start."""
        self._runner.pause_all("the program is stopping")
        await self._runner.settle()
        await self._manager.wait_idle(self._options.settle_s)

    async def stop_strategy(self, strategy_id: str) -> None:
        """Stop a strategy and cancel its working orders; its position stays."""
        self._journal.add_command("stop_strategy", {"strategy_id": strategy_id}, self._wall.now_ns())
        await self._runner.stop(strategy_id)

    async def change_risk_settings(self, settings: RiskSettings) -> None:
        """Journal new limits, then put them in force."""
        self._journal.set_risk_settings(settings, self._wall.now_ns())
        self._risk.replace_settings(settings)

    # --- kill switch ------------------------------------------------------------------------------------------

    async def kill(self, flatten: bool = False, reason: str = STOP_REASON) -> KillReport:
        """Halt, cancel everything, confirm by query, optionally close all positions, write a report."""
        report = begin_report(reason, flatten, self._wall)
        self._control.halt_now()  # before anything that may fail
        self._runner.pause_all(STOP_REASON)
        async with self._kill_lock:  # a second press must not sell beside the first
            return await self._kill(report, flatten, reason)

    async def _kill(self, report: KillReport, flatten: bool, reason: str) -> KillReport:
        report.errors += self._control.store_halt(reason)
        try:
            self._runner.forget_running()
        except UserError as exc:
            report.errors.append(exc.message)
        symbols = {order.intent.symbol for order in self._manager.working}
        await cancel_everything(
            self._gateway,
            symbols,
            report,
            self._desk.apply,
            answered=lambda: self._manager.wait_idle(self._options.settle_s),
        )
        if flatten:
            await self._flatten(report)
        undecided = (OrderState.UNKNOWN, OrderState.SUBMITTED)
        report.unknown += [o.client_order_id for o in self._manager.working if o.state in undecided]
        report.unknown = sorted(set(report.unknown))
        path = write_report(report, self._paths.reports, self._wall)
        self._sink(TradingStateChanged(TradingState.HALTED, reason, str(path)))
        severity = Severity.WARNING if report.complete else Severity.ERROR
        self._sink(Notice(severity, "Stop trading", report.summary()))
        return report

    async def rearm(self) -> None:
        """Allow trading again; only ever by explicit request. Strategies stay stopped.

        Raises:
            UserError: another process stopped trading a moment ago, or fence or journal cannot be written.
        """
        self._control.rearm("re-armed")

    async def reconcile_now(self) -> list[Event]:
        """Compare the books with the venue and repair them.

        Exposure may not grow from the moment on when they may be incomplete (a start, a lost account stream, a
        comparison that failed) until they have been compared. A routine comparison of complete books refuses nothing:
        an order sent meanwhile is one that it knows of.

        Raises:
            GatewayError: the venue could not be asked.
        """
        async with self._reconcile_lock:
            streams_lost = self._streams_lost
            try:
                events = await self._sync.reconcile(self._desk.symbols | self._runner.symbols)
            except BaseException:
                self._desk.in_doubt = True
                raise
            # What was read before the stream was lost says nothing about what happened after.
            self._desk.in_doubt = streams_lost != self._streams_lost
        for event in events:
            _log.info("reconciled: %s", describe(event))
        await self._refresh_balances()  # always: a lost balance frame leaves no other trace
        return events

    async def audit(self) -> tuple[BookCheck, TradeStats]:
        """Reconcile once more, then compare the books with the venue and analyse what was traded.

        Raises:
            GatewayError: the venue could not be asked.
        """
        await self.reconcile_now()
        await self._sync.book_missing_fills()
        check = await check_books(self._gateway, self._journal, self.first_balances)
        marks = {p.symbol: self._marks.price(p.symbol) for p in self._manager.positions}
        known = {symbol: price for symbol, price in marks.items() if price is not None}
        stats = analyze_trades(self._journal.fills(), known, self._gateway.instruments, self._marks.convert)
        return check, stats

    # --- inside: start ----------------------------------------------------------------------------------------

    def _load_settings(self) -> None:
        settings = self._journal.risk_settings()
        if settings is None:
            self._journal.set_risk_settings(self._risk.settings, self._wall.now_ns())
        else:
            self._risk.replace_settings(settings)

    def _import_kills(self) -> None:
        for intent, submitted_ns in import_kill_files(self._paths.root, self._journal, self._wall.now_ns()):
            self._manager.import_unknown(intent, submitted_ns)

    async def _load_account(self) -> None:
        begun = self._journal.meta("begun_ns")
        if begun is None:
            begun = str(await self._gateway.server_time_ns())
            self._journal.set_meta("begun_ns", begun)
        self._sync.adopt_from_ns = int(begun)
        await self._refresh_balances()
        self._account.remember_first_balances()
        held = {p.symbol for p in self._manager.positions if p.quantity}
        self._desk.symbols = held | {record.intent.symbol for record in self._manager.unsettled}
        for symbol in sorted(held & set(self._gateway.instruments)):
            await self._mark_watcher.freshen(symbol)
            self._mark_watcher.watch(symbol)

    # --- inside: kill switch ----------------------------------------------------------------------------------

    async def _flatten(self, report: KillReport) -> None:
        try:
            await self.reconcile_now()
            await self._refresh_balances()
        except GatewayError as exc:
            report.errors.append(f"the books could not be compared before closing: {exc.message}")
        open_positions = [p for p in self._manager.positions if p.quantity > 0]
        for symbol in {p.symbol for p in open_positions}:
            await self._mark_watcher.freshen(symbol)
        prices = {p.symbol: self._marks.price(p.symbol) for p in open_positions}
        marks = {symbol: price for symbol, price in prices.items() if price is not None}
        self._import_kills()  # what a kill from outside announced is on its way out already
        kill_id = str(self._manager.armed_epoch)
        free = dict(self._account.free)
        for intent in flatten_intents(
            open_positions, free, dict(self._gateway.instruments), marks, kill_id, self._wall.now_ns(), report
        ):
            note_sale(report, await self.submit(intent))
        left = [p for p in self._manager.positions if p.quantity > 0]
        instruments = self._gateway.instruments
        report.flat = all(is_dust(p, instruments[p.symbol], marks.get(p.symbol)) for p in left)

    def _follow_fence(self) -> None:
        fence = self._control.raised_fence()
        if fence is None:
            return
        self._runner.pause_all("stopped from outside this program")
        reason = self._control.follow_fence(fence)
        self._runner.forget_running()
        self._sink(Notice(Severity.WARNING, "Trading was stopped from outside", reason))

    # --- inside: orders ---------------------------------------------------------------------------------------

    async def _refresh_balances(self) -> None:
        try:
            self._set_balances(await self._gateway.fetch_balances(), complete=True)
        except GatewayError as exc:
            _log.warning("balances could not be read: %s", exc.message)

    def _set_balances(self, balances: Iterable[Balance], *, complete: bool) -> None:
        if self._account.set_balances(balances, complete=complete):
            self._sink(BalancesChanged(self._account.balances))

    # --- inside: loops ----------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        # A bug, or a journal that cannot be written: without books there is no trading.
        self._failure = self._failure or task.exception()
        self._stop_wanted.set()

    async def _every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await action()

    async def _back_off(self, seconds: float) -> float:
        await asyncio.sleep(seconds * self._jitter.uniform(0.8, 1.2))
        return min(seconds * 2, self._options.backoff_max_s)

    async def _user_loop(self) -> None:
        backoff = self._options.backoff_s
        while True:
            detail = "the account stream ended"
            try:
                async for event in self._gateway.watch_user():
                    backoff = self._options.backoff_s
                    self._gateway.clear_trouble(ACCOUNT_STREAM)
                    self._on_user_event(event)
            except FatalGatewayError as exc:
                detail, backoff = exc.message, self._options.backoff_max_s
                self._sink(Notice(Severity.ERROR, "The venue refuses this key", exc.message))
            except GatewayError as exc:
                detail = exc.message
            self._streams_lost += 1
            self._desk.in_doubt = True
            self._gateway.report_trouble(ACCOUNT_STREAM, detail)
            backoff = await self._back_off(backoff)
            await self._reconcile_round()

    def _on_user_event(self, event: UserEvent) -> None:
        if isinstance(event, BalanceReport):
            self._set_balances(event.balances, complete=False)
        else:
            self._desk.apply(event)

    async def _reconcile_round(self) -> None:
        try:
            await self.reconcile_now()
        except GatewayError as exc:
            self._gateway.report_trouble(RECONCILIATION, exc.message)
        else:
            self._gateway.clear_trouble(RECONCILIATION)

    async def _unknown_round(self) -> None:
        try:
            await self._sync.resolve_unknown()
            await self._sync.book_missing_fills()
        except GatewayError as exc:
            _log.warning("unknown orders could not be looked into: %s", exc.message)
        await self._desk.chase_cancels()

    async def _refresh_round(self) -> None:
        self._follow_fence()
        self._account.roll_day()
        for position in self._manager.positions:
            mark = self._marks.price(position.symbol)
            if self._shown_marks.get(position.symbol) != mark:
                self._sink(PositionChanged(position, mark))
        for symbol in {p.symbol for p in self._manager.positions} | self._runner.symbols:
            mark = self._marks.price(symbol)
            if self._shown_marks.get(symbol) != mark:
                self._shown_marks[symbol] = mark
                self._runner.refresh(symbol)

    async def _ping(self) -> None:
        """Measure the venue's clock; the question alone makes the gateway notice a link that is gone."""
        started = self._wall.now_ns()
        with contextlib.suppress(GatewayError):  # told by the gateway; the last offset stays
            server = await self._gateway.server_time_ns()
            self._sync.clock_offset_ns = server - (started + self._wall.now_ns()) // 2
