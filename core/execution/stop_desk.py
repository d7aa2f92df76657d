"""STOP inside the running executor: what must stand still, in that order. Executor's event loop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress
from pathlib import Path

from core.clock import Clock
from core.domain.orders import STOP_REASON, OrderState, TradingState
from core.errors import UserError
from core.events import EventSink, Notice, Severity, TradingStateChanged
from core.execution.account import AccountBook
from core.execution.api.gateway import ExchangeGateway, GatewayError
from core.execution.book_keeper import BookKeeper
from core.execution.fence import FenceState
from core.execution.kill_switch import (
    KillReport,
    begin_report,
    cancel_everything,
    flatten_intents,
    is_dust,
    is_flat,
    note,
    note_sale,
    sellable,
    write_report,
)
from core.execution.mark_watcher import MarkWatcher
from core.execution.marks import Marks
from core.execution.order_desk import OrderDesk
from core.execution.order_manager import OrderManager
from core.execution.plan_runner import PlanRunner
from core.execution.process_lock import exclusive
from core.execution.strategy_runner import StrategyRunner
from core.execution.synchroniser import Synchroniser
from core.execution.trading_control import TradingControl

_log = logging.getLogger(__name__)

REPORT_S = 60.0
OTHER_KILL_S, OTHER_KILL_POLL_S = 30.0, 0.1
UNLISTED_POLL_S = 0.25
_UNDECIDED = (OrderState.UNKNOWN, OrderState.SUBMITTED)


class StopDesk:
    """The kill switch of one executor.

    Args:
        reports: folder of the written reports.
        kill_lock: held by whoever closes positions, in this process or another.
        answer_s: how long answers to orders on the wire are waited for.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        manager: OrderManager,
        control: TradingControl,
        runner: StrategyRunner,
        plans: PlanRunner,
        desk: OrderDesk,
        keeper: BookKeeper,
        sync: Synchroniser,
        account: AccountBook,
        marks: Marks,
        watcher: MarkWatcher,
        sink: EventSink,
        wall: Clock,
        *,
        reports: Path,
        kill_lock: Path,
        answer_s: float,
    ) -> None:
        self._gateway = gateway
        self._manager = manager
        self._control = control
        self._runner = runner
        self._plans = plans
        self._desk = desk
        self._keeper = keeper
        self._sync = sync
        self._account = account
        self._marks = marks
        self._mark_watcher = watcher
        self._sink = sink
        self._wall = wall
        self._reports = reports
        self._kill_lock = kill_lock
        self._answer_s = answer_s
        self._one_at_a_time = asyncio.Lock()
        self._reported = asyncio.Event()
        self._reported.set()
        self._told_since: int | None = None  # of which halt it is told that the books cannot be written
        self._at_work = 0  # pressed and not reported: one after the other, and the lock is free in between

    @property
    def is_at_work(self) -> bool:
        """Whether a STOP has not reported yet."""
        return self._at_work > 0

    async def kill(self, flatten: bool, reason: str) -> KillReport:
        """Halt, cancel everything, confirm by query, optionally close all positions, write a report."""
        report = begin_report(reason, flatten, self._wall)
        self._control.halt_now()  # before anything that may fail
        self._runner.pause_all(STOP_REASON)
        self._at_work += 1
        self._reported.clear()
        try:
            async with self._one_at_a_time:  # a second press must not sell beside the first
                return await self._kill(report, flatten, reason)
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._reported.set()

    async def wait_reported(self) -> bool:
        """Wait until no STOP is at work: whoever closes the gateway under it leaves orders open. Not for ever.

        Returns:
            Whether that came true in time.
        """
        try:
            await asyncio.wait_for(self._reported.wait(), REPORT_S)
        except TimeoutError:
            _log.error("STOP has not reported after %.0f s; the program ends all the same", REPORT_S)
            return False
        return True

    def bears(self, error: UserError) -> bool:
        """Return whether the program goes on although its books cannot be written: while trading is halted.

        Who stopped trading must see what became of it, and what the halt left is still cancelled. The books are
        compared anew once they can be written; nothing grows before. Told once for each halt.
        """
        halt = self._control.record
        if halt.state is not TradingState.HALTED:
            return False
        self._keeper.doubt()
        if self._told_since != halt.since_ns:
            self._told_since = halt.since_ns
            text = f"{error.message} Trading is halted, cancels go on; the books are compared as soon as that goes."
            self._sink(Notice(Severity.ERROR, "The books cannot be written", text))
        return True

    def round(self) -> None:
        """Halt where another process raised the fence; try again to write down what a halt could not."""
        if (fence := self._control.raised_fence()) is not None:
            self._follow(fence)
        self.write_what_goes()

    def write_what_goes(self) -> None:
        """Write what `write_rest` does where that is possible; the person was told of what is not."""
        with suppress(UserError):
            self.write_rest()

    def write_rest(self) -> None:
        """Write down what a halt could not: nothing it stopped may begin again by itself after a restart.

        Raises:
            UserError: the journal still cannot be written.
        """
        self._control.write_halt()
        self._plans.write_rest()
        if self._control.state is TradingState.HALTED:
            self._runner.forget_running()

    def _follow(self, fence: FenceState) -> None:
        self._runner.pause_all("stopped from outside this program")
        errors = self._control.follow_fence(fence)
        reason = self._control.record.reason
        for error in dict.fromkeys(errors + self._end_everything(reason)):
            self._sink(Notice(Severity.ERROR, "The halt could not be written down", error))
        self._sink(Notice(Severity.WARNING, "Trading was stopped from outside", reason))

    def _end_everything(self, reason: str) -> list[str]:
        """End plans and forget running strategies; returns what could not be written, one sentence each."""
        self._desk.unwant_all()  # what has no answer yet may show after the re-arm
        errors = self._plans.end_all(reason)
        try:
            self._runner.forget_running()
        except UserError as exc:
            errors.append(exc.message)
        return errors

    async def _kill(self, report: KillReport, flatten: bool, reason: str) -> KillReport:
        # The fence holds the halt. The books are written once the cancels are out: another program may lock them.
        errors = self._control.raise_halt(reason)
        symbols = {order.intent.symbol for order in self._manager.working}
        try:
            await cancel_everything(
                self._gateway,
                symbols,
                report,
                self._sync.apply,
                answered=lambda: self._manager.wait_idle(self._answer_s),
            )
        finally:
            errors += self._control.write_held() + self._end_everything(reason)
        for error in errors:
            note(report, error)
        if flatten:
            try:
                await self._flatten(report)
            except UserError as exc:
                note(report, exc.message)
                report.flat = False
            except Exception as exc:  # noqa: BLE001 - the report must come whatever happens to the sales
                _log.error("closing the positions failed", exc_info=exc)
                note(report, f"closing the positions failed: {type(exc).__name__} {exc}")
                report.flat = False
        report.unknown += [o.client_order_id for o in self._manager.working if o.state in _UNDECIDED]
        report.unknown = sorted(set(report.unknown))
        report.held = self._held()
        path = write_report(report, self._reports, self._wall)
        self._sink(TradingStateChanged(TradingState.HALTED, reason, str(path)))
        severity = Severity.WARNING if report.complete else Severity.ERROR
        self._sink(Notice(severity, "Stop trading", report.summary()))
        return report

    def _held(self) -> list[dict[str, str]]:
        """Return what is still held and could be sold."""
        rules = self._gateway.instruments
        left = (p for p in self._manager.positions if p.quantity > 0 and p.symbol in rules)
        sellable = (p for p in left if not is_dust(p, rules[p.symbol], self._marks.price(p.symbol)))
        return [{"symbol": p.symbol, "owner": p.owner, "quantity": f"{p.quantity:f}"} for p in sellable]

    async def _flatten(self, report: KillReport) -> None:
        """Close positions, never beside a kill from another process: both would sell the same."""
        deadline = asyncio.get_running_loop().time() + OTHER_KILL_S
        with ExitStack() as alone:
            while True:
                try:
                    alone.enter_context(exclusive(self._kill_lock, 0.0))
                    break
                except UserError as exc:
                    if asyncio.get_running_loop().time() >= deadline:
                        report.errors.append(f"nothing was sold here: {exc.message}")
                        report.flat = False
                        return
                await asyncio.sleep(OTHER_KILL_POLL_S)
            await self._close_positions(report)

    async def _wait_for_trades(self) -> None:
        """Wait a little for trades the venue spoke of but has not listed: what they bought is held, what they sold not.

        Raises:
            GatewayError: the venue could not be asked.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_s
        while self._manager.unbooked and loop.time() < deadline:
            await asyncio.sleep(UNLISTED_POLL_S)
            await self._sync.book_missing_fills()

    async def _close_positions(self, report: KillReport) -> None:
        self._manager.claim()  # what a kill from outside announced is on its way out already
        try:
            await self._keeper.compare()
            await self._wait_for_trades()
            await self._keeper.refresh_balances()
        except GatewayError as exc:
            report.errors.append(f"the books could not be compared before closing: {exc.message}")
        instruments = dict(self._gateway.instruments)
        open_positions = sellable(self._manager.positions, instruments, report)
        for symbol in {p.symbol for p in open_positions}:
            await self._mark_watcher.freshen(symbol)
        prices = {p.symbol: self._marks.price(p.symbol) for p in open_positions}
        marks = {symbol: price for symbol, price in prices.items() if price is not None}
        kill_id = str(self._manager.armed_epoch)
        for position in open_positions:
            free = dict(self._account.free)  # read anew: the fee of a sale may have taken the next one's coins
            for intent in flatten_intents([position], free, instruments, marks, kill_id, self._wall.now_ns(), report):
                try:
                    note_sale(report, await self._desk.submit(intent))
                except UserError as exc:  # a sale that cannot be written down first is not sent; others may be
                    note(report, exc.message)
        with suppress(GatewayError):  # what stays unlisted is told below
            await self._wait_for_trades()
        if unlisted := sorted({intent.symbol for intent, _ in self._manager.unbooked}):
            note(report, f"the venue has not listed all trades in {', '.join(unlisted)} yet")
        report.flat = not unlisted and is_flat(self._manager.positions, instruments, marks)
