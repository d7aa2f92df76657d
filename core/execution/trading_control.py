"""Whether trading is allowed: ACTIVE, REDUCING or HALTED, in journal and fence. Executor's loop."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace

from core.clock import Clock, to_datetime
from core.domain.orders import TradingState
from core.errors import UserError
from core.events import EventSink, TradingStateChanged
from core.execution.fence import Fence, FenceState
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager
from core.execution.records import TradingStateRecord

_log = logging.getLogger(__name__)

DRAWDOWN_REASON = "the drawdown limit was reached"  # why trading is halted where the program did it by itself
COPY_REASON = "another copy of Maru trades with this key"  # why it is reduced until a person re-arms


def halted_by(fence: FenceState) -> TradingStateRecord:
    """Return the halt that a raised fence means."""
    reason = fence.reason or "stopped from outside this program"
    return TradingStateRecord(TradingState.HALTED, reason, fence.epoch, fence.time_ns)


def state_at_rest(stored: TradingStateRecord | None, fence: FenceState | None) -> TradingStateRecord:
    """Return what holds for the next executor: the journal's state, or the halt of a fence raised since it was written.

    Args:
        stored: None in a new journal.
        fence: None where the file is missing or unreadable.
    """
    record = stored or TradingStateRecord(TradingState.ACTIVE, "first start", 0, 0)
    return record if fence is None or fence.epoch == record.epoch else halted_by(fence)


def describe_halt(halt: TradingStateRecord) -> str:
    """Say in one sentence since when and why trading is halted, or reduced."""
    since = to_datetime(halt.since_ns).isoformat(timespec="seconds")
    if halt.state is TradingState.REDUCING:
        return f"Only orders that reduce a position are allowed since {since}: {halt.reason.rstrip('.')}."
    return f"Trading is halted since {since}: {halt.reason.rstrip('.')}."


class TradingControl:
    """Owner of the trading state. Starts HALTED: nothing is sent before the stored state is known."""

    def __init__(self, journal: Journal, fence: Fence, manager: OrderManager, sink: EventSink, wall: Clock) -> None:
        self._journal = journal
        self._fence = fence
        self._manager = manager
        self._sink = sink
        self._wall = wall
        self._record = TradingStateRecord(TradingState.HALTED, "not started", 0, wall.now_ns())
        self._unwritten: TradingStateRecord | None = None
        self._unacknowledged = False
        self._halts = 0
        self._hurry = ExitStack()
        self._hurries = False

    @property
    def halts(self) -> int:
        """How often trading was halted: whoever waits notes it before, for a halt may be re-armed meanwhile."""
        return self._halts

    @property
    def state(self) -> TradingState:
        """What may be sent now."""
        return self._record.state

    @property
    def record(self) -> TradingStateRecord:
        """What may be sent now, since when and why."""
        return self._record

    @property
    def keeps_protection(self) -> bool:
        """Whether resting orders that only close stay in a halt.

        Nobody stopped trading by hand: taking the stops away from what is held would make its loss larger.
        """
        return self._record.reason == DRAWDOWN_REASON

    def load(self) -> None:
        """Take over the stored state; a fence raised while no executor ran halts.

        Raises:
            UserError: the journal cannot be read, or what lets trading begin cannot be written.
        """
        stored, fence = self._journal.trading_state(), self._fence.read()
        record = state_at_rest(stored, fence)
        if fence is None:
            self._fence.write(FenceState(record.epoch, record.epoch, record.reason, self._wall.now_ns()))
        if record == stored:
            self._enter(record)  # a start is no command: since when and why stay as they were journalled
        elif fence is not None and record.state is TradingState.HALTED:
            for error in self.follow_fence(fence):  # the fence holds it, and it is tried again while this runs
                _log.error("the halt found at the start could not be written down: %s", error)
        else:
            self._set(replace(record, since_ns=self._wall.now_ns()))

    def raised_fence(self) -> FenceState | None:
        """Return the fence where somebody raised it since this executor was armed."""
        fence = self._fence.read()
        return fence if fence is not None and fence.epoch != self._manager.armed_epoch else None

    def follow_fence(self, fence: FenceState) -> list[str]:
        """Halt because another process said so, and acknowledge it.

        Returns:
            What went wrong, one sentence each; the halt holds all the same, and `write_halt` makes up for it.
        """
        self._hold(halted_by(fence))
        return self._acknowledge() + self.write_held()

    def halt_now(self) -> None:
        """Refuse everything from this moment; cannot fail. `raise_halt` and `write_halt` make it durable.

        From now on nobody waits for a program that locks the journal: that would hold up every cancel.
        """
        self._halts += 1
        if not self._hurries:
            self._hurry.enter_context(self._journal.hurry())
            self._hurries = True
        self._record = replace(self._record, state=TradingState.HALTED)
        self._manager.revoke()

    def store_halt(self, reason: str) -> list[str]:
        """Make the halt durable in fence and journal; where one cannot be written, the other holds it.

        Returns:
            What went wrong, one sentence each; the halt holds all the same, and `write_halt` makes up for it.
        """
        return self.raise_halt(reason) + self.write_held()

    def raise_halt(self, reason: str) -> list[str]:
        """Halt in memory and by the fence, which holds it until `write_halt` has written the journal.

        Returns:
            What went wrong, one sentence each.
        """
        errors: list[str] = []
        epoch, now = self._manager.armed_epoch, self._wall.now_ns()
        try:
            epoch = self._fence.raise_epoch(reason, now, at_least=epoch).epoch
        except UserError as exc:
            errors.append(exc.message)
        self._hold(TradingStateRecord(TradingState.HALTED, reason, epoch, now))
        return errors + self._acknowledge()

    def write_halt(self) -> None:
        """Write down what of a halt journal or fence refused.

        Raises:
            UserError: they still cannot be written.
        """
        if self._unwritten is not None:
            self._journal.set_trading_state(self._unwritten)
            self._unwritten = None
        if self._unacknowledged:
            self._fence.acknowledge(self._manager.armed_epoch)
            self._unacknowledged = False

    def write_held(self) -> list[str]:
        """Do what `write_halt` does, and return what went wrong, one sentence each."""
        try:
            self.write_halt()
        except UserError as exc:
            return [exc.message]
        return []

    def reduce(self, reason: str) -> bool:
        """Let only orders that reduce a position pass; a halt stays one, and a newer reason replaces an older one.

        Returns:
            Whether that is new.

        Raises:
            UserError: the journal cannot be written.
        """
        if self.state is TradingState.HALTED or (self.state is TradingState.REDUCING and self.record.reason == reason):
            return False
        return self._change(TradingState.REDUCING, reason)

    def resume(self, reason: str, *, reduced_for: str) -> bool:
        """Let everything pass again after `reduce` for that very reason; a halt ends only by `rearm`.

        Returns:
            Whether that is new.

        Raises:
            UserError: the journal cannot be written.
        """
        if self.state is not TradingState.REDUCING or self.record.reason != reduced_for:
            return False
        return self._change(TradingState.ACTIVE, reason)

    def rearm(self, reason: str) -> None:
        """Allow trading again, by explicit request: at the epoch whose halt this executor knows, never at a later one.

        Raises:
            UserError: somebody raised the fence meanwhile, or fence or journal cannot be written.
        """
        epoch, fence, now = self._manager.armed_epoch, self._fence.read(), self._wall.now_ns()
        if fence is None:
            self._fence.write(FenceState(epoch, time_ns=now))
        elif fence.epoch != epoch:
            raise UserError(
                "Trading was stopped from outside a moment ago.", "Look at what happened, then re-arm again."
            )
        self._set(TradingStateRecord(TradingState.ACTIVE, reason, epoch, now))

    def _change(self, after: TradingState, reason: str) -> bool:
        self._set(TradingStateRecord(after, reason, self._manager.armed_epoch, self._wall.now_ns()))
        return True

    def _set(self, record: TradingStateRecord) -> None:
        if record.state is TradingState.HALTED:
            self.halt_now()  # must not wait for a journal that may fail
        self._journal.set_trading_state(record)
        self._enter(record)

    def _hold(self, halt: TradingStateRecord) -> None:
        """Enter a halt at once, whether or not it can be written: everybody asks the memory what may be sent."""
        self.halt_now()
        self._enter(halt)
        self._unwritten = halt

    def _acknowledge(self) -> list[str]:
        try:
            self._fence.acknowledge(self._manager.armed_epoch)
        except UserError as exc:
            self._unacknowledged = True
            return [exc.message]
        return []

    def _enter(self, record: TradingStateRecord) -> None:
        self._record, self._unwritten, self._unacknowledged = record, None, False
        if record.state is not TradingState.HALTED:
            self._hurry.close()
            self._hurries = False
        self._manager.armed_epoch = record.epoch
        self._sink(TradingStateChanged(record.state, record.reason))
