"""How a self-test speaks to its surroundings. Job children only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.jobs import JobStopped
from ml.selftest import SelftestJob


@dataclass(frozen=True, slots=True)
class LabHooks:
    """How a laboratory speaks to its surroundings.

    Attributes:
        on_step: gets what is done and the share of the task that is through.
        should_stop: polled often; may wait inside while the run is paused.
        clock: seconds without such waits.
    """

    on_step: Callable[[str, float], None]
    should_stop: Callable[[], bool]
    clock: Callable[[], float]


class Steps:
    """What all laboratories share: steps of equal length, told and broken off, and seeds.

    Args:
        job: its settings.
        hooks: to its surroundings.
    """

    def __init__(self, job: SelftestJob, hooks: LabHooks) -> None:
        self.job = job
        self._hooks = hooks
        self._steps, self._step = 1, 0

    def expect(self, steps: int) -> None:
        """Announce how many series the coming task learns."""
        self._steps, self._step = steps, 0

    def seed(self, number: int) -> int:
        """Return a seed of a series of its own for each number below 1,000."""
        return self.job.seed * 1_000 + number

    def check_stop(self) -> None:
        """Raise `JobStopped` where the run shall stop."""
        if self._hooks.should_stop():
            raise JobStopped

    def _tell(self, what: str, share: float) -> None:
        self.check_stop()
        self._hooks.on_step(what, (self._step + share) / self._steps)
