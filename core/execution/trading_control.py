"""Whether trading is allowed: ACTIVE, REDUCING or HALTED, in journal and fence. Executor's loop."""

from __future__ import annotations

from core.clock import Clock
from core.domain.orders import TradingState
from core.errors import UserError
from core.events import EventSink, TradingStateChanged
from core.execution.fence import Fence, FenceState
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager
from core.execution.records import TradingStateRecord


class TradingControl:
    """Owner of the trading state. Starts HALTED: nothing is sent before the stored state is known."""

    def __init__(self, journal: Journal, fence: Fence, manager: OrderManager, sink: EventSink, wall: Clock) -> None:
        self._journal = journal
        self._fence = fence
        self._manager = manager
        self._sink = sink
        self._wall = wall
        self._state = TradingState.HALTED

    @property
    def state(self) -> TradingState:
        """What may be sent now."""
        return self._state

    def load(self) -> None:
        """Take over the stored state; a fence raised while no executor ran halts.

        Raises:
            UserError: the fence or the journal cannot be written.
        """
        stored = self._journal.trading_state() or TradingStateRecord(TradingState.ACTIVE, "first start", 0, 0)
        fence = self._fence.read()
        if fence is None:
            self._fence.write(FenceState(stored.epoch, stored.epoch, stored.reason, self._wall.now_ns()))
        elif fence.epoch != stored.epoch:
            self.follow_fence(fence)
            return
        self._set(stored.state, stored.reason, stored.epoch)

    def raised_fence(self) -> FenceState | None:
        """Return the fence where somebody raised it since this executor was armed."""
        fence = self._fence.read()
        return fence if fence is not None and fence.epoch != self._manager.armed_epoch else None

    def follow_fence(self, fence: FenceState) -> str:
        """Halt because another process said so, acknowledge it, and return its reason."""
        reason = fence.reason or "stopped from outside this program"
        self._set(TradingState.HALTED, reason, fence.epoch)
        self._fence.acknowledge(fence.epoch)
        return reason

    def halt_now(self) -> None:
        """Refuse everything from this moment; cannot fail. `store_halt` makes it durable."""
        self._state = TradingState.HALTED
        self._manager.revoke()

    def store_halt(self, reason: str) -> list[str]:
        """Make the halt durable in fence and journal; where one cannot be written, the other holds it.

        Returns:
            What went wrong, one sentence each.
        """
        errors: list[str] = []
        try:
            fence = self._fence.raise_epoch(reason, self._wall.now_ns(), at_least=self._manager.armed_epoch)
            self._fence.acknowledge(fence.epoch)
            self._manager.armed_epoch = fence.epoch
        except UserError as exc:
            errors.append(exc.message)
        try:
            self._set(TradingState.HALTED, reason, self._manager.armed_epoch)
        except UserError as exc:
            errors.append(exc.message)
            self._sink(TradingStateChanged(TradingState.HALTED, reason))
        return errors

    def change(self, state: TradingState, reason: str) -> None:
        """Change the state by explicit request, at the fence's present epoch.

        Raises:
            UserError: the fence or the journal cannot be written.
        """
        fence = self._fence.read()
        if fence is None:
            fence = FenceState(self._manager.armed_epoch, time_ns=self._wall.now_ns())
            self._fence.write(fence)
        self._set(state, reason, fence.epoch)

    def _set(self, state: TradingState, reason: str, epoch: int) -> None:
        if state is TradingState.HALTED:
            self.halt_now()  # must not wait for a journal that may fail
        self._journal.set_trading_state(TradingStateRecord(state, reason, epoch, self._wall.now_ns()))
        self._state = state
        self._manager.armed_epoch = epoch
        self._sink(TradingStateChanged(state, reason))
