"""Trading beside the window: the executor on its own thread and loop. Methods belong to any thread.

The thread makes the session (gateway, journal, executor) itself, for all of it is bound to its loop. Commands return at
once; what comes of them arrives as events, failures as notices. Nothing here waits for the GUI thread, so the kill
switch works while the window stands still.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from PySide6.QtCore import QObject, Signal

from app.i18n import tr
from app.workers.base import AsyncWorkerThread
from app.workers.retry import PAUSES_S, Retry, needs_person
from app.workers.snapshot import EventQueue
from core.domain.order_plans import PlanDraft
from core.domain.orders import STOP_REASON, OrderChange, OrderDraft, TradingMode
from core.domain.positions import Ownership
from core.errors import UserError
from core.events import DraftRefused, EventSink, ExecutorEvent, FillBooked, Notice, Severity
from core.signals.risk_management import RiskSettings
from core.strategies.spec import StrategySpec


class TradingEngine(Protocol):
    """What the worker needs of `core.execution.executor.Executor`."""

    async def start(self) -> None:
        """Connect, load the books, reconcile; raises UserError."""
        ...

    async def run(self, *, resume: bool) -> None:
        """Trade until stopped, cancelled or ended by a bug; `resume` starts what was running before by itself."""
        ...

    async def place_order(self, draft: OrderDraft) -> Any:
        """Send a manual order."""
        ...

    async def cancel_order(self, client_id: str) -> Any:
        """Cancel one order."""
        ...

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancel all orders."""
        ...

    async def replace_order(self, client_id: str, change: OrderChange) -> Any:
        """Put a changed order in a resting one's place."""
        ...

    async def ask_about(self, client_id: str) -> Any:
        """Ask the venue about one order."""
        ...

    async def declare_gone(self, client_id: str) -> Any:
        """End an order without an answer on a person's word."""
        ...

    async def create_plan(self, draft: PlanDraft) -> Any:
        """Begin an order plan."""
        ...

    async def cancel_plan(self, plan_id: str) -> None:
        """End an order plan."""
        ...

    async def resume_plan(self, plan_id: str) -> None:
        """Let a paused order plan go on."""
        ...

    @property
    def strategies(self) -> tuple[StrategySpec, ...]:
        """Registered strategies."""
        ...

    async def stop(self) -> None:
        """End `run`; orders stay."""
        ...

    async def add_strategy(self, spec: StrategySpec) -> None:
        """Register a strategy."""
        ...

    async def remove_strategy(self, strategy_id: str) -> None:
        """Forget a strategy."""
        ...

    async def start_strategy(self, strategy_id: str) -> None:
        """Run a strategy."""
        ...

    async def change_model(self, strategy_id: str, model_id: str) -> None:
        """Let another model decide."""
        ...

    async def stop_strategy(self, strategy_id: str) -> None:
        """Stop a strategy."""
        ...

    async def kill(self, flatten: bool = False, reason: str = STOP_REASON) -> Any:
        """Halt, cancel everything, report."""
        ...

    async def rearm(self) -> None:
        """Allow trading again."""
        ...

    async def change_risk_settings(self, settings: RiskSettings) -> None:
        """Journal new limits, then put them in force."""
        ...

    async def take_over(self, symbol: str, *, move: bool = False) -> None:
        """Put a market into the person's hands."""
        ...

    async def hand_back(self, symbol: str, to: Ownership, *, move_to: str = "") -> None:
        """Let strategies trade a market again."""
        ...


class TradingSession(Protocol):
    """What the worker needs of `app.runtime.TradingSession`."""

    @property
    def executor(self) -> TradingEngine:
        """The engine, not started yet."""
        ...

    async def close(self) -> None:
        """Stop the engine and close everything; orders stay."""
        ...


OpenSession = Callable[[EventSink], Awaitable[TradingSession]]
Command = Callable[[TradingEngine], Awaitable[Any]]
# Told the sentence where a command was refused.
Refused = Callable[[str], None]
OpenAccount = Callable[[Decimal], Awaitable[None]]
ChooseMode = Callable[[TradingMode], None]


@dataclass(frozen=True, slots=True)
class _PendingKill:
    """A kill switch pressed before there was an executor."""

    flatten: bool


@dataclass(frozen=True, slots=True)
class _Renewal:
    """The wish for another account: a new one or that of another mode, and the strategies that come along.

    Attributes:
        balance: what a new account begins with; None where none is wanted.
        mode: whose account is wanted; None for the present mode's.
    """

    strategies: tuple[StrategySpec, ...]
    balance: Decimal | None = None
    mode: TradingMode | None = None


class ExecutorWorker(AsyncWorkerThread):
    """Runs the executor; implements `app.services.TradingCommands`.

    Attributes:
        events: every `ExecutorEvent` in order; lives in the GUI thread.

    Signals:
        ready: the executor trades; emitted again after every reconnection.
        filled: a `FillBooked` that happened just now; those of earlier runs come through `events` only.
        mode_chosen: the `TradingMode` that sessions are opened in from now on.
    """

    ready = Signal()
    filled = Signal(object)
    mode_chosen = Signal(object)

    def __init__(
        self,
        open_session: OpenSession,
        parent: QObject | None = None,
        retry_s: tuple[float, ...] = PAUSES_S,
        halt: Callable[[], object] | None = None,
        open_account: OpenAccount | None = None,
        choose_mode: ChooseMode | None = None,
    ) -> None:
        """Create it.

        Args:
            open_session: builds a session on the running loop; called again after a failure a person can repair.
            parent: Qt owner.
            retry_s: pauses before the next attempts, seconds.
            halt: makes a kill durable while there is no executor: whatever starts next over this data starts halted.
            open_account: puts a new account in place of the present one, while no session is open; None where that
                cannot be done.
            choose_mode: has sessions opened in another mode from now on; None where there is one mode only.
        """
        super().__init__("executor", parent)
        self.events = EventQueue(self)
        self._open_session = open_session
        self._retry_s = retry_s
        self._halt = halt
        self._open_account = open_account
        self._choose_mode = choose_mode
        self._executor: TradingEngine | None = None  # worker thread only, like the rest
        self._pending_kill: _PendingKill | None = None
        self._stops_at_work = 0  # written by the worker's thread only
        self._renewal: _Renewal | None = None
        self._carried: tuple[StrategySpec, ...] = ()  # not yet registered in the other account
        self._was_here = False  # whether that account may know some of them from before
        self._retry: Retry | None = None
        self._live = False
        self._first = True  # of this program: nobody has started anything in it yet

    # --- commands ---------------------------------------------------------------------------------------------

    def place_order(self, draft: OrderDraft) -> None:
        """See `TradingCommands`. Refused with a notice while there is no connection: an order must not fire later."""

        def refused(text: str) -> None:
            self.events.push(DraftRefused(draft, text))

        self._command(tr("The order was not sent"), lambda executor: executor.place_order(draft), refused)

    def cancel_order(self, client_order_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The order was not cancelled"), lambda executor: executor.cancel_order(client_order_id))

    def cancel_all(self, symbol: str | None) -> None:
        """See `TradingCommands`."""
        self._command(tr("Not all orders were cancelled"), lambda executor: executor.cancel_all(symbol))

    def replace_order(self, client_order_id: str, change: OrderChange) -> None:
        """See `TradingCommands`."""
        failure = tr("The order was not changed")
        self._command(failure, lambda executor: executor.replace_order(client_order_id, change))

    def ask_about(self, client_order_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The order is still without an answer"), lambda executor: executor.ask_about(client_order_id))

    def declare_gone(self, client_order_id: str) -> None:
        """See `TradingCommands`."""
        failure = tr("The order is still without an answer")
        self._command(failure, lambda executor: executor.declare_gone(client_order_id))

    def create_plan(self, draft: PlanDraft) -> None:
        """See `TradingCommands`."""
        self._command(tr("The order plan was not begun"), lambda executor: executor.create_plan(draft))

    def cancel_plan(self, plan_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The order plan was not cancelled"), lambda executor: executor.cancel_plan(plan_id))

    def resume_plan(self, plan_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The order plan was not resumed"), lambda executor: executor.resume_plan(plan_id))

    def add_strategy(self, spec: StrategySpec) -> None:
        """See `TradingCommands`."""
        self._command(tr("The strategy was not added"), lambda executor: executor.add_strategy(spec))

    def remove_strategy(self, strategy_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The strategy was not removed"), lambda executor: executor.remove_strategy(strategy_id))

    def start_strategy(self, strategy_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The strategy was not started"), lambda executor: executor.start_strategy(strategy_id))

    def change_model(self, strategy_id: str, model_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The model was not changed"), lambda executor: executor.change_model(strategy_id, model_id))

    def stop_strategy(self, strategy_id: str) -> None:
        """See `TradingCommands`."""
        self._command(tr("The strategy was not stopped"), lambda executor: executor.stop_strategy(strategy_id))

    def take_over(self, symbol: str, move: bool) -> None:
        """See `TradingCommands`."""
        self._command(
            tr("The market was not taken over"),
            lambda executor: executor.take_over(symbol, move=move),
        )

    def hand_back(self, symbol: str, to: Ownership, move_to: str) -> None:
        """See `TradingCommands`."""
        self._command(
            tr("The market was not handed back"),
            lambda executor: executor.hand_back(symbol, to, move_to=move_to),
        )

    def rearm(self) -> None:
        """See `TradingCommands`."""
        self._command(tr("Trading was not re-armed"), lambda executor: executor.rearm())

    def change_risk_settings(self, settings: RiskSettings) -> None:
        """See `TradingCommands`."""
        self._command(tr("The risk limits were not changed"), lambda executor: self._change_risk(executor, settings))

    def new_account(self, balance: Decimal) -> None:
        """See `TradingCommands`."""
        self._command(tr("The new account was not opened"), lambda executor: self._ask_renewal(executor, balance))

    def switch_mode(self, mode: TradingMode) -> None:
        """See `TradingCommands`. Asked for while there is no connection, it holds for the next attempt."""
        if not self.submit(lambda: self._switch_mode(mode)):
            self._tell(Severity.ERROR, tr("The mode was not changed"), tr("Trading has already ended in this program."))

    @property
    def stop_at_work(self) -> bool:
        """Whether a kill has begun and is not over. Any thread."""
        return self._stops_at_work > 0

    def kill(self, flatten: bool) -> None:
        """See `TradingCommands`. Pressed while there is no connection, it acts as soon as there is one."""
        if not self.submit(lambda: self._kill(flatten)):
            self._tell(Severity.ERROR, tr("Stop trading"), tr("Trading has already ended in this program."))

    def reconnect(self) -> None:
        """See `TradingCommands`. Without effect while there is a connection."""
        self.submit(self._reconnect)

    # --- worker thread ----------------------------------------------------------------------------------------

    async def serve(self) -> None:
        self._retry = Retry(self._retry_s, waits_for_person=True)
        await self._retry.run(self._trade, self._tell_trouble)

    async def _trade(self) -> None:
        """Trade until the session ends, and on with another account where one was asked for.

        Raises:
            UserError, GatewayError, Exception: see `_run_session`.
        """
        if self._renewal is not None and self._renewal.mode is None:
            self._renewal = None  # a new account that trouble came before must not happen at some later time
        while True:
            if self._renewal is not None:
                renewal, self._renewal = self._renewal, None
                await self._renew(renewal)
            await self._run_session()
            if self._renewal is None:
                return

    async def _ask_renewal(self, executor: TradingEngine, balance: Decimal) -> None:
        if self._open_account is None:
            raise UserError(tr("Only a practice account can be exchanged for a new one."), "")
        self._renewal = _Renewal(executor.strategies, balance=balance)
        await executor.stop()

    async def _switch_mode(self, mode: TradingMode) -> None:
        executor = self._executor
        self._renewal = _Renewal(self._carried if executor is None else executor.strategies, mode=mode)
        await (self._reconnect() if executor is None else executor.stop())

    async def _change_risk(self, executor: TradingEngine, settings: RiskSettings) -> None:
        await executor.change_risk_settings(settings)
        self._tell(Severity.SUCCESS, tr("The risk limits were changed"), "")

    async def _renew(self, renewal: _Renewal) -> None:
        if renewal.mode is not None:
            self._change_mode(renewal.mode, renewal.strategies)
            return
        assert self._open_account is not None
        assert renewal.balance is not None
        try:
            await self._open_account(renewal.balance)
        except UserError as exc:
            self._tell(Severity.ERROR, tr("The new account was not opened"), str(exc))
            return
        self._carried, self._was_here = renewal.strategies, False
        text = tr("The books of the former one are kept in the data folder.")
        self._tell(Severity.SUCCESS, tr("A new account has begun"), text)

    def _change_mode(self, mode: TradingMode, strategies: tuple[StrategySpec, ...]) -> None:
        try:
            if self._choose_mode is None:
                raise UserError(tr("There is no other mode to trade in."), "")
            self._choose_mode(mode)
        except UserError as exc:
            self._tell(Severity.ERROR, tr("The mode was not changed"), str(exc))
            return
        self._carried, self._was_here = strategies, True
        self._first = True  # nobody has started anything in the other account yet
        self.mode_chosen.emit(mode)

    async def _run_session(self) -> None:
        """Open a session and trade until it ends.

        Raises:
            UserError, GatewayError: it cannot be opened, or went on until something failed that can be repaired.
            Exception: a bug.
        """
        session = await self._open_session(self._sink)
        try:
            executor = session.executor
            await executor.start()
            if self._renewal is not None:
                return  # another mode was asked for while this one was being opened
            await self._register_carried(executor)
            self._executor, self._live = executor, True
            if self._retry is not None:
                self._retry.succeeded()
            self.ready.emit()
            if self._pending_kill is not None:
                pending, self._pending_kill = self._pending_kill, None
                await self._kill(pending.flatten)
            resume, self._first = not self._first, False
            await executor.run(resume=resume)
        finally:
            self._executor, self._live = None, False
            await session.close()

    async def _register_carried(self, executor: TradingEngine) -> None:
        """Register what came along into another account; one that it cannot take must not keep it from trading."""
        known = {spec.strategy_id for spec in executor.strategies} if self._was_here else set()
        while self._carried:
            spec, *rest = self._carried
            try:
                if spec.strategy_id not in known:
                    await executor.add_strategy(spec)
            except UserError as exc:
                self._tell(Severity.ERROR, tr("The strategy was not added"), f"{spec.title}: {exc}")
            self._carried = tuple(rest)

    async def _kill(self, flatten: bool) -> None:
        if self._executor is None:
            self._pending_kill = _PendingKill(flatten)
            self._halt_durably()
            text = tr("There is no connection to the venue; it acts as soon as there is one.")
            self._tell(Severity.WARNING, tr("Stop trading"), text)
            await self._reconnect()
            return
        self._stops_at_work += 1
        try:
            await self._perform(tr("STOP failed"), lambda executor: executor.kill(flatten))
        finally:
            self._stops_at_work -= 1

    def _halt_durably(self) -> None:
        """Keep a kill from being forgotten with this program, which may end before there is a connection."""
        if self._halt is None:
            return
        try:
            self._halt()
        except UserError as exc:
            self._tell(Severity.ERROR, tr("STOP failed"), str(exc))

    async def _reconnect(self) -> None:
        if self._retry is not None:
            self._retry.now()

    def _command(self, failure: str, command: Command, refused: Refused | None = None) -> None:
        if not self.submit(lambda: self._perform(failure, command, refused)):
            self._refuse(failure, tr("Trading has already ended in this program."), refused)

    async def _perform(self, failure: str, command: Command, refused: Refused | None = None) -> None:
        """Run a command; whatever goes wrong is told under the title `failure`, and to `refused` what had no effect."""
        if self._executor is None:
            self._refuse(failure, tr("There is no connection to the venue yet. Try again in a moment."), refused)
            return
        try:
            await command(self._executor)
        except asyncio.CancelledError:
            self._tell(
                Severity.WARNING, failure, tr("The program was closing. Look at the orders after the next start.")
            )
            raise
        except UserError as exc:
            self._refuse(failure, str(exc), refused)
        except Exception as exc:  # noqa: BLE001 - a bug in one command must not end trading; the hook reports it
            self._tell(Severity.ERROR, failure, str(exc) or type(exc).__name__)
            sys.excepthook(type(exc), exc, exc.__traceback__)

    def _refuse(self, failure: str, text: str, refused: Refused | None) -> None:
        self._tell(Severity.ERROR, failure, text)
        if refused is not None:
            refused(text)

    def _sink(self, event: ExecutorEvent) -> None:
        self.events.push(event)
        if self._live and isinstance(event, FillBooked):
            self.filled.emit(event)

    def _tell_trouble(self, trouble: UserError) -> None:
        text = str(trouble)
        if needs_person(trouble):
            hint = tr("It is not tried again by itself: choose Trade → Reconnect when you have repaired it.")
            text = f"{text}\n{hint}"
        self._tell(Severity.ERROR, tr("Trading is not connected"), text)

    def _tell(self, severity: Severity, title: str, text: str) -> None:
        self.events.push(Notice(severity, title, text))
