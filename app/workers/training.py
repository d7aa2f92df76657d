"""Training runs, one at a time, each in a child process this thread supervises. Methods belong to any thread.

The child dies with this thread, so the worker lives as long as the window.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QObject, Signal

from app.i18n import tr
from app.workers.base import WorkerThread
from core.errors import UserError
from core.jobs import JobCancelled, JobEvent, JobFailed, JobFinished, JobLog, JobProgress, JobStarted, Json

if TYPE_CHECKING:
    from core.job_supervisor import JobSupervisor

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.2
_POLL_S = 0.1
_FLUSH_TIMEOUT_S = 20.0


class RunBooks(Protocol):
    """Where runs are recorded; `app.workers.store.StoreWorker` is one."""

    def begin_run(self, run_id: str, kind: str, spec: dict[str, Any]) -> bool:
        """Record a run that has just started or goes on."""
        ...

    def finish_run(self, run_id: str, state: str, *, result: dict[str, Any] | None = None, message: str = "") -> bool:
        """Record how a run ended."""
        ...

    def flush(self) -> Future[None]:
        """Bring live candles to the disk, where the child reads them."""
        ...


@dataclass(frozen=True, slots=True)
class JobPlan:
    """How a kind of job is run.

    Attributes:
        kind: name in the books.
        target: "module:function" for the child.
        new_id: makes a run id.
        make: (run id, what the user asked for, whether it goes on from its checkpoint) → what the child gets; raises
            UserError on a bad request.
    """

    kind: str
    target: str
    new_id: Callable[[], str]
    make: Callable[[str, Json, bool], Json]


class TrainingWorker(WorkerThread):
    """Runs training in a child process; implements `app.services.TrainingCommands`.

    Signals (each carries the value of that name from `core.jobs`, but for the first):
        run_queued: id of a run that waits for its turn.
        run_started: `JobStarted`.
        run_progressed: `JobProgress`, at most five per second, the newest and always the last.
        run_logged: `JobLog`.
        run_finished, run_failed, run_cancelled: `JobFinished`, `JobFailed`, `JobCancelled`; one of them ends each run.
    """

    run_queued = Signal(str)
    run_started = Signal(object)
    run_progressed = Signal(object)
    run_logged = Signal(object)
    run_finished = Signal(object)
    run_failed = Signal(object)
    run_cancelled = Signal(object)

    def __init__(
        self,
        plan: JobPlan,
        books: RunBooks | None = None,
        supervisor: JobSupervisor | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__("training", parent)
        self._plan = plan
        self._books = books
        self._given = supervisor
        self._changed = threading.Condition()  # guards the three below
        self._waiting: deque[tuple[str, Json, Json]] = deque()
        self._current = ""
        self._cancel_current = False
        self._progress: JobProgress | None = None  # worker thread only, like the next
        self._progress_at = 0.0

    @cached_property
    def _supervisor(self) -> JobSupervisor:
        from core.job_supervisor import (
            JobSupervisor,  # brings multiprocessing, which the first window does not wait for
        )

        return self._given or JobSupervisor()

    def start_training(self, spec: Json) -> str:
        """Queue a run and return its id.

        Raises:
            UserError: the specification is not valid.
        """
        run_id = self._plan.new_id()
        self._queue(run_id, spec, resume=False)
        return run_id

    def resume_training(self, run_id: str, spec: Json) -> None:
        """Queue a run that ended early, to go on from its checkpoint; one that waits or runs is left alone.

        Raises:
            UserError: the specification is not valid.
        """
        if run_id not in self.active_runs():
            self._queue(run_id, spec, resume=True)

    def _queue(self, run_id: str, spec: Json, *, resume: bool) -> None:
        job = self._plan.make(run_id, spec, resume)
        with self._changed:
            self._waiting.append((run_id, spec, job))
            self._changed.notify()
        self.run_queued.emit(run_id)

    def cancel_training(self, run_id: str) -> None:
        """Stop a run within 2 s, or take it out of the queue; unknown and ended ids change nothing."""
        with self._changed:
            if run_id == self._current:
                self._cancel_current = True
                self._supervisor.request_stop()
                return
            kept = deque(item for item in self._waiting if item[0] != run_id)
            found = len(kept) < len(self._waiting)
            self._waiting = kept
        if found:
            self.run_cancelled.emit(JobCancelled(run_id, forced=False))

    def active_runs(self) -> tuple[str, ...]:
        """Return the ids of the current run, first, and of those that wait."""
        with self._changed:
            current = (self._current,) if self._current else ()
            return current + tuple(item[0] for item in self._waiting)

    def work(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._run(*item)
        finally:
            self._supervisor.close()
            with self._changed:
                waiting, self._waiting = self._waiting, deque()
            for run_id, _, _ in waiting:
                self.run_cancelled.emit(JobCancelled(run_id, forced=False))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _next(self) -> tuple[str, Json, Json] | None:
        with self._changed:
            while not self._waiting and not self.stop_requested:
                self._changed.wait()
            if self.stop_requested:
                return None
            item = self._waiting.popleft()
            self._current, self._cancel_current = item[0], False
            return item

    def _run(self, run_id: str, spec: Json, job: Json) -> None:
        """Run one job to its last event."""
        self._progress, self._progress_at = None, 0.0
        try:
            if self._books is not None:
                self._books.begin_run(run_id, self._plan.kind, spec)
                self._await_candles(self._books)
            if self._is_cancelled():
                self._conclude(JobCancelled(run_id, forced=False))
                return
            self._supervisor.start(run_id, self._plan.target, job)
            if self._is_cancelled():  # it came while there was no child to tell
                self._supervisor.request_stop()
            while self._supervisor.running:
                if self.stop_requested:
                    self._supervisor.request_stop()
                for event in self._supervisor.poll(_POLL_S):
                    self._deliver(event)
                self._release_progress()
        except OSError as exc:  # no memory or no process left for a child
            self._deliver(_not_started(run_id, exc))
        finally:
            with self._changed:
                self._current = ""

    def _is_cancelled(self) -> bool:
        with self._changed:
            return self._cancel_current or self.stop_requested

    @staticmethod
    def _await_candles(books: RunBooks) -> None:
        # A failed write was already reported by the store; the run can still use what is on disk.
        with contextlib.suppress(UserError, TimeoutError):
            books.flush().result(_FLUSH_TIMEOUT_S)

    def _deliver(self, event: JobEvent) -> None:
        if isinstance(event, JobProgress):
            self._progress = event
            return
        self._release_progress(force=not isinstance(event, JobStarted))
        if isinstance(event, JobStarted):
            self.run_started.emit(event)
        elif isinstance(event, JobLog):
            self.run_logged.emit(event)
        else:
            self._conclude(event)

    def _conclude(self, event: JobFinished | JobFailed | JobCancelled) -> None:
        """Write the books, then tell the window."""
        if isinstance(event, JobFinished):
            state, result, message, signal = "finished", event.result, "", self.run_finished
        elif isinstance(event, JobFailed):
            state, result, message, signal = "failed", None, f"{event.message} {event.remedy}".strip(), self.run_failed
        else:
            state, result, message, signal = "cancelled", None, "", self.run_cancelled
        if self._books is not None:
            self._books.finish_run(event.job_id, state, result=result, message=message)
        signal.emit(event)

    def _release_progress(self, *, force: bool = False) -> None:
        """Tell the newest progress, no more often than the window wants it."""
        now = time.monotonic()
        if self._progress is not None and (force or now - self._progress_at >= PROGRESS_INTERVAL_S):
            self.run_progressed.emit(self._progress)
            self._progress, self._progress_at = None, now


def _not_started(run_id: str, error: OSError) -> JobFailed:
    message = tr("The training process cannot be started: {reason}.", reason=error.strerror or str(error))
    return JobFailed(run_id, message, tr("Close other programs and try again."), user_error=True)
