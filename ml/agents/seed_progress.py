"""What a run says of its seeds, of which several may learn at once. The run's main thread; torch-free."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ml.agents.progress import AgentProgress
from ml.telemetry import ResourceMonitor

_SECONDS = 0.25


class SeedProgress:
    """Puts together what the seeds say: the time left of the whole run, what it takes, and not too often."""

    def __init__(
        self,
        on_progress: Callable[[AgentProgress], None],
        monitor: ResourceMonitor,
        seeds: Sequence[int],
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            on_progress: gets every message that goes on.
            monitor: of all processes of the run.
            seeds: that are left, by their indices.
            at_once: of them learn at the same time.
            clock: seconds.
        """
        self._on_progress, self._monitor, self._at_once, self._clock = on_progress, monitor, at_once, clock
        self._waiting = set(seeds)
        self._left: dict[int, float | None] = {}  # seconds of each that learns
        self._per_step: dict[int, float] = {}
        self._passed: dict[int, int | None] = {}  # step of the newest pass over the validation part that was told
        self._held: dict[int, AgentProgress] = {}
        self._told_at = -_SECONDS

    def take(self, progress: AgentProgress) -> None:
        """Take what a seed says of itself: its first word and each validation go on at once, the rest with `flush`."""
        index = progress.seed_index
        self._waiting.discard(index)
        self._left[index] = progress.eta_s
        if progress.eta_s is not None and progress.step < progress.steps:
            self._per_step[index] = progress.eta_s / (progress.steps - progress.step)
        passed = None if progress.last is None else progress.last.step
        self._held.pop(index, None)
        if index in self._passed and passed == self._passed[index]:
            self._held[index] = progress
            return
        self._passed[index] = passed
        self._tell(progress)

    def flush(self) -> None:
        """Let the oldest of what is held back go on where it is time again."""
        if self._held and self._clock() - self._told_at >= _SECONDS:
            self._tell(self._held.pop(next(iter(self._held))))

    def take_and_flush(self, progress: AgentProgress) -> None:
        """Take what a seed says of itself where no other learns meanwhile."""
        self.take(progress)
        self.flush()

    def end(self, index: int) -> None:
        """Take note that a seed is done."""
        self._waiting.discard(index)
        self._left[index] = 0.0
        held = self._held.pop(index, None)
        if held is not None:
            self._tell(held)

    def _tell(self, progress: AgentProgress) -> None:
        self._told_at = self._clock()
        self._monitor.sample()
        sample = self._monitor.latest
        progress = replace(progress, eta_s=self._seconds_left(progress))
        if sample is not None:
            gpu = sample.gpu
            progress = replace(
                progress,
                cpu_percent=sample.cpu_percent,
                rss_bytes=sample.rss_bytes,
                gpu_percent=None if gpu is None else gpu.utilisation_percent,
                gpu_memory_bytes=None if gpu is None else gpu.memory_used,
            )
        self._on_progress(progress)

    def _seconds_left(self, progress: AgentProgress) -> float | None:
        """Return the time to the end if every step of every seed is used, seeds that wait taken by whoever is free."""
        if not self._per_step:
            return None
        whole = progress.steps * sum(self._per_step.values()) / len(self._per_step)
        busy = [whole if left is None else left for left in self._left.values() if left != 0.0]
        ends = sorted(busy) + [0.0] * (self._at_once - len(busy))
        heapq.heapify(ends)
        for _ in self._waiting:
            heapq.heapreplace(ends, ends[0] + whole)
        return max(ends)
