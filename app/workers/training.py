"""Training runs from a queue, each in a child process this thread supervises. Methods belong to any thread.

The children die with this thread, so the worker lives as long as the window. The queue is on disk: what waits when the
program ends waits again when it starts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QObject, Signal

from app.flows.training_kind import TrainingKind, kind_of
from app.flows.training_queue import QueuedRun, QueueState, TrainingQueue
from app.i18n import tr
from app.workers.base import WorkerThread
from app.workers.queue_file import QueueFile
from core.errors import UserError
from core.jobs import (
    JobCancelled,
    JobEvent,
    JobFailed,
    JobFinished,
    JobLog,
    JobPaused,
    JobProgress,
    JobResumed,
    JobStarted,
    Json,
)

if TYPE_CHECKING:
    from core.job_supervisor import JobSupervisor

PROGRESS_INTERVAL_S = 0.2
OUTPUT_FILE = "output.txt"  # in the folder of a run
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
        """Bring everything given so far to the disk, live candles too, where the child reads them."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a message of progress stands.

    Attributes:
        teller: who speaks; of each only the newest message waits for the window.
        point: what the message is about; the last one about each point is always told, so that curves have no gaps.
    """

    teller: Hashable
    point: Hashable


def forecast_stage(payload: Json) -> Stage:
    """Networks are trained one after the other, epoch by epoch; messages of other jobs are all about the same."""
    return Stage(None, tuple(payload.get(key) for key in ("phase", "seed_index", "epoch")))


def agent_stage(payload: Json) -> Stage:
    """Agents may learn side by side; a pass over the validation part is told, and so are its curves."""
    last = payload.get("last") or {}
    return Stage(payload.get("seed_index"), (payload.get("phase"), last.get("step"), bool(payload.get("curves"))))


@dataclass(frozen=True, slots=True)
class JobPlan:
    """How a kind of job is run.

    Attributes:
        target: "module:function" for the child.
        new_id: makes a run id.
        make: (run id, what the user asked for, whether it goes on from its checkpoint) → what the child gets; raises
            UserError on a bad request.
        stage: which messages of progress must not be skipped.
    """

    target: str
    new_id: Callable[[], str]
    make: Callable[[str, Json, bool], Json]
    stage: Callable[[Json], Stage] = forecast_stage


class _Run:
    """A run at work. Worker thread, but for the requests of the supervisor."""

    def __init__(self, run: QueuedRun, supervisor: JobSupervisor) -> None:
        self.run_id, self.spec, self.resume = run.run_id, run.spec, run.resume
        self.supervisor = supervisor
        self.flushed: Future[None] | None = None
        self.flush_until = time.monotonic() + _FLUSH_TIMEOUT_S
        self.spawned = False
        self.waiting: dict[Hashable, JobProgress] = {}  # newest message of each teller, in the order they came
        self.progress_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether the books know of the run, or will not say so any more. A failed write was reported by the store."""
        return self.flushed is None or self.flushed.done() or time.monotonic() >= self.flush_until


class TrainingWorker(WorkerThread):
    """Runs training in child processes; see `app.services.TrainingCommands`.

    Signals (those of a run carry the value of that name from `core.jobs`):
        queue_changed: `queue` is another one.
        queue_failed: UserError: the queue could not be read or written.
        run_started: `JobStarted`.
        run_progressed: `JobProgress`, the newest of each teller at most five times per second, and always the last;
            besides, the last about every point, see `Stage`.
        run_paused, run_resumed: `JobPaused`, `JobResumed`.
        run_logged: `JobLog`.
        run_finished, run_failed, run_cancelled: `JobFinished`, `JobFailed`, `JobCancelled`; one of them ends each run.
    """

    queue_changed = Signal()
    queue_failed = Signal(object)
    run_started = Signal(object)
    run_progressed = Signal(object)
    run_paused = Signal(object)
    run_resumed = Signal(object)
    run_logged = Signal(object)
    run_finished = Signal(object)
    run_failed = Signal(object)
    run_cancelled = Signal(object)

    drains = True  # writes down what was queued

    def __init__(
        self,
        plans: Mapping[TrainingKind, JobPlan],
        queue_file: Path,
        books: RunBooks | None = None,
        parent: QObject | None = None,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Prepare; nothing is read before the thread runs.

        Args:
            plans: how runs of each kind become jobs; they share the queue.
            queue_file: where the queue is kept.
            books: where runs are recorded.
            parent: Qt owner.
            now_ns: the time, for when a run was queued.
        """
        super().__init__("training", parent)
        self._plans, self._books, self._now_ns = plans, books, now_ns
        self._file = QueueFile(queue_file)
        self._changed = threading.Condition()  # guards the two below
        self._queue = TrainingQueue()
        self._runs: dict[str, _Run] = {}  # at work; changed by the worker thread only
        self._saved: TrainingQueue | None = None  # last given to the file; worker thread only, as the next
        self._write_failed = False

    # --- commands ---------------------------------------------------------------------------------------------

    def start_training(self, spec: Json, after: str = "") -> str:
        """Queue a run and return its id.

        Args:
            spec: what to do.
            after: the run that must have ended before; "" where there is none.

        Raises:
            UserError: the specification is not valid.
        """
        run_id = self._plan_of(spec).new_id()
        self._add(QueuedRun(run_id, spec, self._now_ns(), after=after))
        return run_id

    def resume_training(self, run_id: str, spec: Json) -> None:
        """Queue a run that ended early, to go on from its checkpoint; one that waits or runs is left alone.

        Raises:
            UserError: the specification is not valid.
        """
        self._add(QueuedRun(run_id, spec, self._now_ns(), resume=True))

    def pause_training(self, run_id: str) -> None:
        """Let a run stand still where it is, or wait longer; others change nothing."""
        self._apply(lambda queue: queue.pause(run_id))

    def continue_training(self, run_id: str) -> None:
        """Take a pause back; others change nothing."""
        self._apply(lambda queue: queue.resume(run_id))

    def cancel_training(self, run_id: str) -> None:
        """Stop a run within 2 s, or take it out of the queue; unknown and ended ids change nothing."""
        before, after = self._apply(lambda queue: queue.cancel(run_id))
        if before.find(run_id) is not None and after.find(run_id) is None:
            self.run_cancelled.emit(JobCancelled(run_id, forced=False))

    def move_training(self, run_id: str, by: int) -> None:
        """Move a waiting run so many places down, or up below 0."""
        self._apply(lambda queue: queue.move(run_id, by))

    def set_slots(self, slots: int) -> None:
        """Let so many runs be at work at a time."""
        self._apply(lambda queue: queue.with_slots(slots))

    @property
    def queue(self) -> TrainingQueue:
        """The present queue. Any thread."""
        with self._changed:
            return self._queue

    def active_runs(self) -> tuple[str, ...]:
        """Return the ids of the runs at work, first, and of those that wait."""
        return tuple(run.run_id for run in self.queue.runs)

    def _add(self, run: QueuedRun) -> None:
        self._plan_of(run.spec).make(run.run_id, run.spec, run.resume)  # a bad request is told to whoever makes it
        self._apply(lambda queue: queue.add(run))

    def _plan_of(self, spec: Json) -> JobPlan:
        return self._plans[kind_of(spec)]

    def _apply(self, change: Callable[[TrainingQueue], TrainingQueue]) -> tuple[TrainingQueue, TrainingQueue]:
        """Change the queue, tell the children what that means for them, and return the queue before and after."""
        with self._changed:
            before = self._queue
            self._queue = after = change(before)
            if after == before:
                return before, after
            for run_id, active in self._runs.items():
                _tell(active.supervisor, before.find(run_id), after.find(run_id))
            self._changed.notify()
        self.queue_changed.emit()
        return before, after

    # --- thread -----------------------------------------------------------------------------------------------

    def work(self) -> None:
        self._load()
        try:
            while not self.stop_requested:
                self._start_due()
                self._save()
                self._serve()
            self._stop_all()
        finally:
            for active in self._runs.values():
                active.supervisor.close()
            self._save()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _load(self) -> None:
        try:
            earlier = self._file.load()
        except UserError as exc:
            self.queue_failed.emit(exc)
            return
        unchanged = TrainingQueue().slots  # what a person chose before this thread ran counts more

        def merge(queue: TrainingQueue) -> TrainingQueue:
            slots = earlier.slots if queue.slots == unchanged else queue.slots
            return queue.in_front(earlier.runs).with_slots(slots)

        self._apply(merge)

    def _save(self) -> None:
        """Write the queue down; a disk that refuses is told once, until it takes it again."""
        self._saved = self.queue
        try:
            self._file.save(self._saved)
        except UserError as exc:
            if not self._write_failed:
                self.queue_failed.emit(exc)
            self._write_failed = True
        else:
            self._write_failed = False

    def _start_due(self) -> None:
        from core.job_supervisor import (
            JobSupervisor,  # brings multiprocessing, which the first window does not wait for
        )

        while due := self.queue.due():
            with self._changed:
                if due[0] not in self._queue.due():
                    continue  # somebody was faster
                self._queue = self._queue.start(due[0])
                run = self._queue.find(due[0])
                assert run is not None
                active = self._runs[run.run_id] = _Run(run, JobSupervisor())
            self.queue_changed.emit()
            if self._books is not None:
                self._books.begin_run(run.run_id, kind_of(run.spec).value, run.spec)
                active.flushed = self._books.flush()

    def _serve(self) -> None:
        """Attend to the runs at work for a moment, or sleep until something changes."""
        with self._changed:
            if not self._runs:
                while not self._queue.due() and not self.stop_requested and self._queue is self._saved:
                    self._changed.wait()
                return
        share = _POLL_S / len(self._runs)
        for active in tuple(self._runs.values()):
            if not active.spawned:
                self._spawn_when_ready(active, share)
                continue
            for event in active.supervisor.poll(share):
                self._deliver(active, event)
            self._release_progress(active)

    def _spawn_when_ready(self, active: _Run, wait_s: float) -> None:
        """Start the child once the books know of the run: a crash from then on leaves it interrupted, not lost."""
        run_id = active.run_id
        if self.stop_requested:  # it has not begun: the next session finds it waiting
            with self._changed:
                del self._runs[run_id]
            return
        run = self.queue.find(run_id)
        if run is None or run.state is QueueState.STOPPING:
            self._conclude(active, JobCancelled(run_id, forced=False))
            return
        if not active.ready:
            time.sleep(wait_s)
            return
        self._apply(lambda queue: queue.note_begun(run_id))
        self._save()
        try:
            plan = self._plan_of(active.spec)
            job = plan.make(run_id, active.spec, active.resume)
            active.supervisor.start(run_id, plan.target, job, output=self._output_file(run_id))
        except UserError as exc:  # queued by another version of the program
            self._conclude(active, JobFailed(run_id, exc.message, exc.remedy, user_error=True))
        except OSError as exc:  # no memory or no process left for a child
            self._conclude(active, _not_started(run_id, exc))
        else:
            active.spawned = True
            with self._changed:  # what was asked for while there was no child to tell
                _tell(active.supervisor, None, self._queue.find(run_id))

    def _output_file(self, run_id: str) -> Path | None:
        """Return where the child of a run prints to; None where its folder cannot be made, which the child will say."""
        folder = self._file.folder / run_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return folder / OUTPUT_FILE

    def _stop_all(self) -> None:
        """End the children; their runs can go on in a later session, those that wait stay in the queue."""
        for active in self._runs.values():
            active.supervisor.request_stop()
        while self._runs:
            self._serve()

    # --- events -----------------------------------------------------------------------------------------------

    def _deliver(self, active: _Run, event: JobEvent) -> None:
        if isinstance(event, JobProgress):
            stage = self._plan_of(active.spec).stage
            told = stage(event.payload)
            before = active.waiting.get(told.teller)
            if before is not None and stage(before.payload).point != told.point:
                self._release_progress(active, force=True)
            active.waiting.pop(told.teller, None)
            active.waiting[told.teller] = event
            return
        self._release_progress(active, force=not isinstance(event, JobStarted))
        if isinstance(event, JobStarted):
            self.run_started.emit(event)
        elif isinstance(event, JobLog):
            self.run_logged.emit(event)
        elif isinstance(event, JobPaused):
            self._apply(lambda queue: queue.note_paused(event.job_id))
            self.run_paused.emit(event)
        elif isinstance(event, JobResumed):
            self.run_resumed.emit(event)
        else:
            self._conclude(active, event)

    def _conclude(self, active: _Run, event: JobFinished | JobFailed | JobCancelled) -> None:
        """Write the books, let the next run start, then tell the window."""
        if isinstance(event, JobFinished):
            state, result, message, signal = "finished", event.result, "", self.run_finished
        elif isinstance(event, JobFailed):
            state, result, message, signal = "failed", None, f"{event.message} {event.remedy}".strip(), self.run_failed
        else:
            state, result, message, signal = "cancelled", None, "", self.run_cancelled
        if self._books is not None:
            self._books.finish_run(event.job_id, state, result=result, message=message)
        with self._changed:
            self._runs.pop(active.run_id, None)
        self._apply(lambda queue: queue.end(active.run_id))
        signal.emit(event)

    def _release_progress(self, active: _Run, *, force: bool = False) -> None:
        """Tell the newest progress, no more often than the window wants it."""
        now = time.monotonic()
        if active.waiting and (force or now - active.progress_at >= PROGRESS_INTERVAL_S):
            for progress in active.waiting.values():
                self.run_progressed.emit(progress)
            active.waiting, active.progress_at = {}, now


def _tell(supervisor: JobSupervisor, before: QueuedRun | None, now: QueuedRun | None) -> None:
    """Tell a child what became of its run; any thread, harmless where there is no child yet."""
    old = before.state if before is not None else QueueState.RUNNING
    new = now.state if now is not None else old
    if new is old:
        return
    if new is QueueState.STOPPING:
        supervisor.request_stop()
    elif new is QueueState.PAUSING:
        supervisor.pause()
    elif new is QueueState.RUNNING:
        supervisor.resume()


def _not_started(run_id: str, error: OSError) -> JobFailed:
    message = tr("The training process cannot be started: {reason}.", reason=error.strerror or str(error))
    return JobFailed(run_id, message, tr("Close other programs and try again."), user_error=True)
