"""Re-arming from the command line, while no executor runs. Any thread; every step holds the data folder's lock.

A running executor owns its journal and its trading state, so it re-arms itself, where its person sees what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.clock import Clock
from core.config import DataPaths
from core.domain.orders import TradingState
from core.execution.fence import Fence
from core.execution.journal_at_rest import journal_at_rest
from core.execution.process_lock import ExecutorLock
from core.execution.records import TradingStateRecord
from core.execution.trading_control import describe_halt, state_at_rest

_REMEDY = (
    "Re-arm in its window. Where it is `main.py trade`, end it, re-arm, and start it again: its strategies "
    "stay stopped until then."
)


class HaltedAgain(Exception):
    """Somebody stopped trading while a person was deciding about an earlier halt.

    Attributes:
        halt: the newer one; it stays.
    """

    def __init__(self, halt: TradingStateRecord) -> None:
        super().__init__(describe_halt(halt))
        self.halt = halt


@dataclass(frozen=True, slots=True)
class RearmAtRest:
    """The trading state of a data folder over which nothing trades. The journal must be migrated.

    Attributes:
        lock: that of the data folder, without a key.
    """

    paths: DataPaths
    fence: Fence
    lock: ExecutorLock
    wall: Clock

    def look(self) -> TradingStateRecord:
        """Return what the next executor would start with.

        Raises:
            UserError: an executor runs, or the journal cannot be read.
        """
        with journal_at_rest(self.paths, self.lock, _REMEDY) as journal:
            return state_at_rest(journal.trading_state(), self.fence.read())

    def rearm(self, seen: TradingStateRecord, reason: str) -> list[str]:
        """Allow trading again after the halt a person has seen, and leave every strategy stopped.

        The journal is armed at the epoch of that halt and the fence is not touched: a kill that raises it at any
        moment, also after the last look, halts the next executor.

        Args:
            seen: the halt, as `look` returned it.

        Returns:
            The strategies that would have started by themselves otherwise.

        Raises:
            HaltedAgain: there is another halt than the one seen.
            UserError: an executor runs, or the journal cannot be written.
        """
        with journal_at_rest(self.paths, self.lock, _REMEDY) as journal:
            if (present := state_at_rest(journal.trading_state(), self.fence.read())) != seen:
                raise HaltedAgain(present)
            stopped = [record for record in journal.strategies() if record.running]
            for record in stopped:
                journal.save_strategy(replace(record, running=False))
            journal.set_trading_state(TradingStateRecord(TradingState.ACTIVE, reason, seen.epoch, self.wall.now_ns()))
            after = state_at_rest(journal.trading_state(), self.fence.read())
            if after.state is TradingState.HALTED:
                raise HaltedAgain(after)
        return [record.spec.strategy_id for record in stopped]
