"""Looking at and changing the risk limits from the command line, while no executor runs. Any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.clock import Clock
from core.config import DataPaths
from core.execution.journal_at_rest import journal_at_rest
from core.execution.process_lock import ExecutorLock
from core.signals.risk_management import RiskSettings

_REMEDY = "Change its limits in its window. Where it is `main.py trade`, end it first, then start it again."


@dataclass(frozen=True, slots=True)
class RiskAtRest:
    """The risk limits of a data folder over which nothing trades. The journal must be migrated.

    Attributes:
        lock: that of the data folder, without a key.
    """

    paths: DataPaths
    lock: ExecutorLock
    wall: Clock

    def look(self) -> RiskSettings:
        """Return the limits the next executor starts with.

        Raises:
            UserError: an executor runs, or the journal cannot be read.
        """
        with journal_at_rest(self.paths, self.lock, _REMEDY) as journal:
            return journal.risk_settings() or RiskSettings()

    def change(self, wanted: Mapping[str, str]) -> tuple[RiskSettings, RiskSettings]:
        """Journal new limits, all or none.

        Args:
            wanted: limit → number as a person wrote it.

        Returns:
            The limits before and after.

        Raises:
            UserError: a limit or a number makes no sense, an executor runs, or the journal cannot be written.
        """
        with journal_at_rest(self.paths, self.lock, _REMEDY) as journal:
            before = after = journal.risk_settings() or RiskSettings()
            for name, text in wanted.items():
                after = after.changed(name, text)
            if after != before:
                journal.set_risk_settings(after, self.wall.now_ns())
        return before, after
