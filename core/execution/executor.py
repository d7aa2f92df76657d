"""The executor: everything between a decision and the books, Qt-free. One event loop owns it and all it holds.

The window runs it in a QThread, `main.py trade` on the main thread. Nothing else sends orders.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from core.clock import Clock
from core.config import DataPaths
from core.domain.order_plans import OrderPlan, PlanDraft
from core.domain.orders import STOP_REASON, Intent, Order, OrderChange, OrderDraft, TradingState
from core.domain.positions import Ownership, Position
from core.errors import UserError
from core.events import AccountOpened, BooksTold, EventSink, Notice, PositionChanged, Severity
from core.execution.account import AccountBook
from core.execution.api.gateway import ExchangeGateway, GatewayError
from core.execution.backoff import Backoff
from core.execution.book_keeper import BookKeeper
from core.execution.books import BookCheck, check_books
from core.execution.copy_watch import CopyWatch
from core.execution.executor_options import ExecutorOptions
from core.execution.fence import Fence
from core.execution.foreign_kill import import_kill_files
from core.execution.journal import Journal
from core.execution.kill_switch import KillReport
from core.execution.loops import Loops, take_all
from core.execution.mark_watcher import MarkWatcher
from core.execution.marks import Marks
from core.execution.order_desk import DeskOptions, OrderDesk
from core.execution.order_manager import BOOK, OrderManager
from core.execution.ownership_desk import OwnershipDesk
from core.execution.plan_runner import LOOK_S, PlanRunner
from core.execution.position_desk import PositionDesk
from core.execution.process_lock import ExecutorLock
from core.execution.reconciliation import Event
from core.execution.records import TradingStateRecord
from core.execution.risk_watch import RiskWatch
from core.execution.stop_desk import StopDesk
from core.execution.strategy_runner import BarHook, StrategyRunner
from core.execution.synchroniser import Synchroniser
from core.execution.trade_analyzer import TradeStats, analyze_trades
from core.execution.trading_control import TradingControl
from core.jitter import new_jitter
from core.signals.risk_management import RiskManager, RiskSettings
from core.strategies.making import ModelLoaders
from core.strategies.spec import StrategySpec

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
        loaders: ModelLoaders,
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
        self._new_id = new_id
        self._options = options or ExecutorOptions()
        self._loops = Loops(self._bears, self._tell_failure)
        # One for all loops: what was cut together must not come back together.
        self._jitter = new_jitter(self._options.jitter_seed)
        self._marks = Marks(wall)
        self._manager = OrderManager(gateway, journal, fence, wall, sink, self._marks)
        self._control = TradingControl(journal, fence, self._manager, sink, wall)
        self._account = AccountBook(journal, self._manager, self._marks, market)
        self._sync = Synchroniser(gateway, journal, self._manager, sink, wall, asyncio.sleep, self._options.evidence)
        self._mark_watcher = MarkWatcher(
            gateway,
            self._marks,
            self._loops.spawn,
            max_age_s=self._options.mark_max_age_s,
            backoff=self._new_backoff,
        )
        self._keeper = BookKeeper(
            gateway,
            journal,
            self._manager,
            self._account,
            self._sync,
            sink,
            wall,
            self._options,
            self._jitter,
            strategy_symbols=lambda: self._runner.symbols,
            bears=self._bears,
        )
        self._desk = OrderDesk(
            gateway,
            journal,
            self._manager,
            risk,
            self._control,
            self._account,
            self._marks,
            self._mark_watcher,
            self._sync,
            self._keeper,
            sink,
            wall,
            new_id=new_id,
            owner_denies=self._owner_denies,
            own_equity=lambda intent: self._runner.own_equity(intent),
            spawn=self._loops.spawn,
            backoff=self._new_backoff,
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
            loaders,
            self._marks,
            sink,
            market=market,
            wall=wall,
            spawn=self._loops.spawn,
            bar_processed=bar_processed,
            jitter=self._jitter,
        )
        self._positions = PositionDesk(journal, self._manager, self._marks, gateway, wall)
        self._ownership = OwnershipDesk(
            journal,
            self._manager,
            self._positions,
            self._runner,
            sink,
            wall,
            cancel=self.cancel_order,
            start=self.start_strategy,
        )
        self._plans = PlanRunner(
            gateway,
            journal,
            self._manager,
            self._desk,
            self._keeper,
            self._control,
            self._marks,
            self._mark_watcher,
            sink,
            wall,
            spawn=self._loops.spawn,
            new_id=new_id,
        )
        self._risk_watch = RiskWatch(
            risk,
            self._control,
            self._account,
            self._desk.flow,
            self._runner,
            self._plans,
            sink,
            self._loops.spawn,
            self._mark_watcher.watch,
        )
        self._stop_desk = StopDesk(
            gateway,
            self._manager,
            self._control,
            self._runner,
            self._plans,
            self._desk,
            self._keeper,
            self._sync,
            self._account,
            self._marks,
            self._mark_watcher,
            sink,
            wall,
            reports=paths.reports,
            kill_lock=paths.root / "kill.lock",
            answer_s=self._options.settle_s,
        )
        self._runner.release = self._ownership.release
        self._manager.claim = self._import_kills
        self._manager.on_stranded = CopyWatch(self._control, sink).met
        self._manager.on_unpriced = self._mark_watcher.price_currency
        self._shown_marks: dict[str, Decimal | None] = {}
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
            if self._journal.meta(BOOK) is None:
                self._journal.set_meta(BOOK, self._new_id())
            self._manager.load()
            self._desk.load()
            self._load_settings()
            self._import_kills()
            self._control.load()
            await self._keeper.measure_clock()
            await self._keeper.open()
            await self._price_positions()
            self._runner.load()
            self._manager.announce_books()
            self._ownership.load()
            if self._control.state is TradingState.HALTED:  # a kill while nothing ran stops strategies as well
                self._runner.forget_running()
            self._plans.load()
            self._sink(BooksTold())
            await self.reconcile_now()
            await self._unknown_round()
        except GatewayError as exc:
            await self.stop()
            raise UserError(
                f"{self._gateway.venue} cannot be used: {exc.message.rstrip('.')}.",
                getattr(exc, "remedy", "") or "Check the connection and the keys, then start again.",
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
            self._keeper.follow_account(),
            self._keeper.compare_regularly(),
            self._loops.every(self._options.cash_s, self._keeper.explain_cash),
            self._loops.every(self._options.unknown_s, self._unknown_round),
            self._loops.every(self._options.refresh_s, self._refresh_round),
            self._loops.every(self._options.ping_s, self._keeper.measure_clock),
            self._loops.every(min(LOOK_S, self._options.refresh_s), self._plans.round),
        ]
        for loop in loops:
            self._loops.begin(loop)
        if not resume:
            self._runner.hold()
            for error in self._plans.hold():
                _log.error("a plan that waits could not be written down: %s", error)
        elif self._control.state is not TradingState.HALTED:  # who may only reduce has to decide to leave
            await self._runner.resume()
        await self._loops.ended.wait()
        await self.stop()
        if self._loops.failure is not None:
            raise self._loops.failure

    async def stop(self) -> None:
        """Let STOP and submits come to their end, then close gateway, journal and lock. Orders stay. Idempotent.

        A caller that is cancelled leaves at once; the work goes on, and the next caller waits for it.
        """
        self._loops.ended.set()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="executor-stop")
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        reported = await self._stop_desk.wait_reported()  # what it cancels and sells needs all that ends here
        await self._manager.wait_idle(self._options.settle_s)
        await self._desk.close()
        await self._loops.close()
        if reported:
            await self._stop_desk.wait_reported()  # pressed meanwhile: its cancels still need the gateway
        self._stop_desk.write_what_goes()
        try:
            await self._gateway.close()
        finally:
            self._journal.close()
            self._lock.release()

    # --- orders -----------------------------------------------------------------------------------------------

    async def place_order(self, draft: OrderDraft, *, key: str | None = None) -> Order:
        """Send a manual order (see `OrderDesk.place_order`)."""
        return await self._desk.place_order(draft, key)

    async def submit(self, intent: Intent) -> Order:
        """Send any intent through risk (see `OrderDesk.submit`)."""
        return await self._desk.submit(intent)

    async def cancel_order(self, client_id: str) -> Order:
        """Cancel one order (see `OrderDesk.cancel_order`)."""
        return await self._desk.cancel_order(client_id)

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancel all orders (see `OrderDesk.cancel_all`)."""
        await self._desk.cancel_all(symbol)

    async def replace_order(self, client_id: str, change: OrderChange) -> Order:
        """Put a changed order in an order's place (see `OrderDesk.replace_order`)."""
        return await self._desk.replace_order(client_id, change)

    async def ask_about(self, client_id: str) -> Order:
        """Ask the venue about one order now, and return what is known of it then.

        Raises:
            UserError: there is no such order, or the venue does not answer.
        """
        try:
            return await self._sync.ask_about(client_id)
        except GatewayError as exc:
            raise UserError(f"The venue does not answer: {exc.message}", "Try again in a moment.") from exc

    async def declare_gone(self, client_id: str) -> Order:
        """End an UNKNOWN order on a person's word (see `Synchroniser.declare_gone`)."""
        try:
            return await self._sync.declare_gone(client_id)
        except GatewayError as exc:
            raise UserError(f"The venue does not answer: {exc.message}", "Try again in a moment.") from exc

    # --- order plans ------------------------------------------------------------------------------------------

    @property
    def plans(self) -> tuple[OrderPlan, ...]:
        """Order plans that are not over."""
        return self._plans.under_way

    async def create_plan(self, draft: PlanDraft) -> OrderPlan:
        """Begin an order plan (see `PlanRunner.create`)."""
        return await self._plans.create(draft)

    async def cancel_plan(self, plan_id: str) -> None:
        """End an order plan and cancel its orders (see `PlanRunner.cancel`)."""
        await self._plans.cancel(plan_id)

    async def resume_plan(self, plan_id: str) -> None:
        """Let a paused order plan go on (see `PlanRunner.resume`)."""
        await self._plans.resume(plan_id)

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
        for spec in self.strategies:
            if spec.strategy_id == strategy_id:
                self._ownership.check_start(spec.symbol)
        self._journal.add_command("start_strategy", {"strategy_id": strategy_id}, self._wall.now_ns())
        await self._runner.start(strategy_id)

    async def change_model(self, strategy_id: str, model_id: str) -> None:
        """Let another model decide from the next bar on (see `StrategyRunner.change_model`)."""
        values = {"strategy_id": strategy_id, "model_id": model_id}
        self._journal.add_command("change_model", values, self._wall.now_ns())
        await self._runner.change_model(strategy_id, model_id)

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

    async def take_over(self, symbol: str, *, move: bool = False) -> None:
        """Put a market into the person's hands (see `OwnershipDesk.take_over`); `UserError` where nobody trades it."""
        self._require_market(symbol)
        await self._ownership.take_over(symbol, move=move)

    async def hand_back(self, symbol: str, to: Ownership = Ownership.SHARED, *, move_to: str = "") -> None:
        """Let strategies trade a market again (see `OwnershipDesk.hand_back`); only one of its own gets the position.

        Raises:
            UserError: nobody trades or holds such a market, no such strategy trades it, or see there.
        """
        self._require_market(symbol)
        if move_to and (move_to, symbol) not in {(spec.strategy_id, spec.symbol) for spec in self.strategies}:
            raise UserError(f"No strategy named {move_to} trades {symbol}.", "Look at the strategy manager.")
        await self._ownership.hand_back(symbol, to, move_to=move_to)

    async def change_risk_settings(self, settings: RiskSettings) -> None:
        """Journal new limits, then put them in force."""
        self._journal.set_risk_settings(settings, self._wall.now_ns())
        self._risk.replace_settings(settings)

    # --- kill switch ------------------------------------------------------------------------------------------

    async def kill(self, flatten: bool = False, reason: str = STOP_REASON) -> KillReport:
        """Halt, cancel everything, confirm by query, optionally close all positions, write a report."""
        return await self._stop_desk.kill(flatten, reason)

    async def rearm(self) -> None:
        """Allow trading again; only ever by explicit request. Strategies stay stopped.

        Raises:
            UserError: STOP is at work, another process stopped trading a moment ago, or fence or journal cannot be
                written.
        """
        if self._stop_desk.is_at_work:
            raise UserError("Trading is being stopped at this moment.", "Wait for the report of STOP, then re-arm.")
        self._stop_desk.write_rest()
        self._control.rearm("re-armed")
        await self._risk_watch.round()  # measured anew before anything is decided

    async def reconcile_now(self) -> list[Event]:
        """Compare the books with the venue and repair them (see `BookKeeper.compare`)."""
        return await self._keeper.compare()

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

    def _owner_denies(self, intent: Intent) -> str:
        return self._plans.denies(intent) or self._runner.denies(intent) or self._ownership.owner_denies(intent)

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

    async def _price_positions(self) -> None:
        for symbol in sorted(
            {p.symbol for p in self._manager.positions if p.quantity} & set(self._gateway.instruments)
        ):
            await self._mark_watcher.freshen(symbol)
            self._mark_watcher.watch(symbol)

    def _require_market(self, symbol: str) -> None:
        held = {position.symbol for position in self._manager.positions}
        if symbol not in self._gateway.instruments and symbol not in held:
            raise UserError(f"{symbol} is not traded at this venue.", "Choose another market.")

    # --- inside: loops ----------------------------------------------------------------------------------------

    def _new_backoff(self) -> Backoff:
        options = self._options
        return Backoff(self._jitter, first_s=options.backoff_s, most_s=options.backoff_max_s)

    def _tell_failure(self, failure: BaseException) -> None:
        """Say what becomes of the orders when nothing is traded any more."""
        count = len(self._manager.working)
        left = "1 order stays" if count == 1 else f"{count} orders stay"
        why = failure.message if isinstance(failure, UserError) else f"{type(failure).__name__}: {failure}"
        text = f"{why} {left} open at the venue: start the program again, or cancel them there or with `main.py kill`."
        self._sink(Notice(Severity.ERROR, "Trading ends", text if count else why))

    def _bears(self, error: UserError) -> bool:
        return self._stop_desk.bears(error)

    async def _unknown_round(self) -> None:
        await take_all(self._look_into_unknown, self._desk.chase_cancels, self._ownership.settle)

    async def _look_into_unknown(self) -> None:
        try:
            await self._sync.resolve_unknown()
            await self._sync.book_missing_fills()
        except GatewayError as exc:
            _log.warning("unknown orders could not be looked into: %s", exc.message)

    async def _refresh_round(self) -> None:
        self._stop_desk.round()
        await take_all(self._risk_watch.round, self._show_prices)

    async def _show_prices(self) -> None:
        self._positions.price_open_amounts()
        for position in self._manager.positions:
            mark = self._marks.price(position.symbol)
            if self._shown_marks.get(position.symbol) != mark:
                self._sink(PositionChanged(position, mark))
        for symbol in {p.symbol for p in self._manager.positions} | self._runner.symbols:
            mark = self._marks.price(symbol)
            if self._shown_marks.get(symbol) != mark:
                self._shown_marks[symbol] = mark
                self._runner.refresh(symbol)
