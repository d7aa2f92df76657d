"""Lets several seeds of an agent's run learn at the same time, each in a process. The run's main thread; torch-free.

A small network is learned by one core and bound by Python, so that processes are what makes more cores count. Each has
its own checkpoint file; they are killed where the run stops, since nothing else than that file would be kept either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Self

from core.errors import UserError
from core.jobs import JobFailed, JobProgress, JobStopped
from ml.agents.progress import AgentProgress
from ml.agents.seed_progress import SeedProgress
from ml.agents.seed_tasks import SEED_JOB, SeedJob, SeedReport, SeedTask
from ml.crew import Crew, CrewEvent, children_allowed

_WAIT_SECONDS = 0.05
_PAUSED_AFTER = 0.2  # seconds without an answer, which otherwise comes at once


class SeedCrew:
    """The processes of one run."""

    def __init__(self, job: SeedJob, at_once: int, log: Callable[[str, str], None]) -> None:
        """Plan them.

        Args:
            job: of each.
            at_once: how many.
            log: gets level and text of what they log.
        """
        self._job, self._log = job, log
        self._crew: Crew[SeedTask] = Crew(
            f"{job.run_id}-seed", SEED_JOB, job.to_json(), at_once, log, threads=job.spec.resources.threads
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are up."""
        return self._crew.pids

    def train(
        self,
        seeds: Sequence[AgentProgress],
        progress: SeedProgress,
        should_stop: Callable[[], bool],
        elapsed: Callable[[], float],
    ) -> None:
        """Train seeds to their ends.

        Args:
            seeds: the first message of each.
            progress: hears of everything.
            should_stop: see `ml.rl_trainer.train_rl_model`; asked on another thread.
            elapsed: seconds that the run has learned, without pauses.

        Raises:
            JobStopped: `should_stop` returned true.
            UserError: a process failed or died.
        """
        waiting, paused = list(seeds), False
        with children_allowed(), closing(self._crew) as crew, _Question(should_stop) as question:
            while waiting or crew.tasks:
                question.raise_if_stopped()
                if question.waits != paused:
                    paused = not paused
                    (crew.pause if paused else crew.resume)()
                while waiting and crew.free and not paused:
                    start = waiting.pop(0)
                    progress.take(start)  # a seed is counted before it learns anything
                    crew.submit(SeedTask(start.seed_index, elapsed()))
                for task, event in crew.events(_WAIT_SECONDS):
                    self._take(task, event, progress)
                if not paused:
                    progress.flush()

    def _take(self, task: SeedTask | None, event: CrewEvent, progress: SeedProgress) -> None:
        if not isinstance(event, JobProgress):
            raise self._failure(event)
        report = SeedReport.from_json(event.payload)
        if report.progress is not None:
            progress.take(report.progress)
        elif task is not None:
            self._crew.release(task)
            progress.end(task.index)

    def _failure(self, event: CrewEvent) -> UserError:
        if not isinstance(event, JobFailed):
            return UserError("The process ended.", "")
        if event.details:
            self._log("ERROR", event.details)
        return UserError(event.message, event.remedy)


class _Question:
    """Whether to stop, asked on a thread of its own: the answer waits for as long as the run is paused."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._thread = ThreadPoolExecutor(1, "seeds-stop")
        self._asked_at = 0.0
        self._answer: Future[bool] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._thread.shutdown(wait=False)  # while the run is paused it would wait, too

    @property
    def waits(self) -> bool:
        """Whether the answer takes so long that the run must be paused."""
        return self._answer is not None and time.monotonic() - self._asked_at > _PAUSED_AFTER

    def raise_if_stopped(self) -> None:
        """Ask again where there is an answer; raise `JobStopped` where it is yes."""
        if self._answer is not None:
            if not self._answer.done():
                return
            if self._answer.result():
                raise JobStopped
        self._asked_at = time.monotonic()
        self._answer = self._thread.submit(self._should_stop)
