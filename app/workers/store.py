"""The single writer of everything but orders. Methods belong to any thread; the files to the worker thread.

Jobs run in the order they were given. What waits when the program stops is still written.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from app.i18n import tr
from app.workers.base import WorkerThread
from core.clock import Clock
from core.domain.candles import Candle
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from core.events import Notice, Severity

if TYPE_CHECKING:  # the databases load with the worker, not with the window
    from core.data.data_storage import CandleStore
    from core.data.frame import CandleFrame
    from core.persistence.store import Store

FLUSH_S = 5.0  # live candles reach the disk at least this often


@dataclass(frozen=True, slots=True)
class StoreBackend:
    """What the worker writes to.

    Attributes:
        store: runs and notices.
        candles: price history.
    """

    store: Store
    candles: CandleStore


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What a query returned.

    Attributes:
        number: as returned by `StoreWorker.query`.
        value: what the query returned; None where it failed.
        error: why it failed, else None.
    """

    number: int
    value: Any
    error: UserError | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    what: str  # for the notice if it fails, translated; empty keeps quiet
    run: Callable[[StoreBackend], Any]
    future: Future[Any] = field(default_factory=Future)
    query: int | None = None


class StoreWorker(WorkerThread):
    """Writes runs, notices and candles; answers queries.

    Signals:
        noticed: a `Notice` that something could not be written.
        answered: a `QueryAnswer`.
    """

    noticed = Signal(object)
    answered = Signal(object)
    drains = True

    def __init__(self, open_backend: Callable[[], StoreBackend], clock: Clock, parent: QObject | None = None) -> None:
        """Create it.

        Args:
            open_backend: opens the files; called on the worker thread.
            clock: stamps runs and notices.
            parent: Qt owner.
        """
        super().__init__("store", parent)
        self._open_backend = open_backend
        self._clock = clock
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()  # guards the queue and `_closed`
        self._closed = False
        self._numbers = itertools.count(1)

    def append_candles(self, origin: DataOrigin, candles: Sequence[Candle]) -> bool:
        """Keep live candles; False where the worker has ended."""
        kept = tuple(candles)
        return self._put(_Job(tr("Live candles"), lambda backend: backend.candles.append(origin, kept)))

    def write_candles(self, origin: DataOrigin, frame: CandleFrame, source: str) -> bool:
        """Merge price history; False where the worker has ended."""
        return self._put(_Job(tr("Price history"), lambda backend: backend.candles.write(origin, frame, source)))

    def begin_run(self, run_id: str, kind: str, spec: dict[str, Any]) -> bool:
        """Record a run that has just started or goes on; False where the worker has ended."""
        now = self._clock.now_ns()
        return self._put(_Job(tr("Training run"), lambda backend: backend.store.begin_run(run_id, kind, spec, now)))

    def finish_run(self, run_id: str, state: str, *, result: dict[str, Any] | None = None, message: str = "") -> bool:
        """Record how a run ended; False where the worker has ended."""
        now = self._clock.now_ns()

        def write(backend: StoreBackend) -> None:
            backend.store.finish_run(run_id, state, now, result=result, message=message)

        return self._put(_Job(tr("Training run"), write))

    def add_notice(self, notice: Notice) -> bool:
        """Keep a notice; False where the worker has ended. A failure is only logged: its notice would come here."""
        now = self._clock.now_ns()
        return self._put(_Job("", lambda backend: backend.store.add_notice(notice, now)))

    def query(self, read: Callable[[StoreBackend], Any]) -> int:
        """Run `read` after everything given before; the result comes as `answered` with the number returned here.

        A worker that has ended answers nothing.
        """
        number = next(self._numbers)
        self._put(_Job("", read, query=number))
        return number

    def flush(self) -> Future[None]:
        """Bring everything given so far to the disk; the future tells when. Not to be waited for in the GUI thread."""
        job = _Job(tr("Live candles"), lambda backend: backend.candles.flush())
        if not self._put(job):
            job.future.set_exception(UserError(tr("The store has ended."), ""))
        return job.future

    def work(self) -> None:
        try:
            backend = self._open_backend()
        except BaseException:
            self._abandon()
            raise
        try:
            self._write_until_stopped(backend)
        finally:
            self._abandon()
            backend.store.close()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _put(self, job: _Job) -> bool:
        with self._changed:
            if self._closed:
                return False
            self._waiting.append(job)
            self._changed.notify()
            return True

    def _write_until_stopped(self, backend: StoreBackend) -> None:
        flushed = time.monotonic()
        while True:
            job = self._next(flushed + FLUSH_S)
            if job is not None:
                self._perform(job, backend)
            if time.monotonic() >= flushed + FLUSH_S:
                flushed = time.monotonic()
                self._perform(_Job(tr("Live candles"), lambda b: b.candles.flush()), backend)
            if job is None and self.stop_requested:
                break
        self._perform(_Job(tr("Live candles"), lambda b: b.candles.flush()), backend)

    def _next(self, deadline: float) -> _Job | None:
        """Return the next job; None at the deadline, or where nothing waits and the worker is to stop."""
        with self._changed:
            while not self._waiting and not self.stop_requested:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    return None
            if self._waiting:
                return self._waiting.popleft()
            self._closed = True  # under the lock: nothing can slip in behind the last job
            return None

    def _perform(self, job: _Job, backend: StoreBackend) -> None:
        error: UserError | None = None
        try:
            value = job.run(backend)
        except UserError as exc:
            error, value = exc, None
            job.future.set_exception(exc)
            if job.what:
                title = tr("{what} could not be written", what=job.what)
                self.noticed.emit(Notice(Severity.ERROR, title, str(exc)))
        except Exception as exc:  # noqa: BLE001 - one bad job must not end the only writer; the hook reports the bug
            error, value = UserError(str(exc)), None
            job.future.set_exception(exc)
            sys.excepthook(type(exc), exc, exc.__traceback__)
        else:
            job.future.set_result(value)
        if job.query is not None:
            self.answered.emit(QueryAnswer(job.query, value, error))

    def _abandon(self) -> None:
        """Refuse further jobs and fail those that will never run."""
        with self._changed:
            self._closed = True
            lost = list(self._waiting)
            self._waiting.clear()
        for job in lost:
            job.future.set_exception(UserError(tr("The store has ended."), ""))
