"""Base classes of the worker threads. Objects live in the GUI thread; `run` and what it calls run in the worker thread.

Rules that were paid for (each breaks in practice):
- Signals are emitted from the worker thread. Connect them only to `@Slot` methods of QObjects: Qt runs a lambda, a
  partial or a plain method in the worker thread.
- A worker is owned by Python and never given to `deleteLater`; it is joined before it is dropped.
- A worker serves once. To run again, make a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from PySide6.QtCore import QDeadlineTimer, QObject, QThread, Signal

from app.crash import report_loop_error

Job = Callable[[], Awaitable[Any]]


class WorkerThread(QThread):
    """A thread that can be started and stopped safely in every order.

    Subclasses implement `work`, which returns soon after `request_stop`, and `_wake` where `work` may be asleep.

    Attributes:
        drains: whether `work` runs even where the stop overtook the start, to end what was given before.

    Signals:
        failed: `work` raised; carries the exception. `finished` follows.
    """

    failed = Signal(object)
    drains = False

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._name = name
        self._stop_requested = threading.Event()

    @property
    def stop_requested(self) -> bool:
        """Whether the worker was asked to stop. Any thread."""
        return self._stop_requested.is_set()

    def request_stop(self) -> None:
        """Ask the worker to stop and return at once; idempotent; a worker not yet started will not work. Any thread."""
        self._stop_requested.set()
        self._wake()

    def join(self, timeout_s: float) -> bool:
        """Wait until the thread has ended; True if it has, or never ran. Not from the worker thread itself."""
        return self.wait(QDeadlineTimer(round(timeout_s * 1000)))

    def stop(self, timeout_s: float) -> bool:
        """Request the stop and wait; for tests and the command line, the window uses `app.lifecycle`."""
        self.request_stop()
        return self.join(timeout_s)

    def run(self) -> None:
        # Names the thread in logs and crash reports; it is a foreign thread to Python otherwise.
        threading.current_thread().name = self._name
        if (trace := threading.gettrace()) is not None:  # debuggers and coverage follow Python's threads only
            sys.settrace(trace)
        if self.stop_requested and not self.drains:
            return
        try:
            self.work()
        except Exception as exc:  # noqa: BLE001 - the thread boundary: everything goes to `failed`
            self.failed.emit(exc)

    @abstractmethod
    def work(self) -> None:
        """Do the worker's job. Worker thread."""
        raise NotImplementedError

    def _wake(self) -> None:
        """Wake `work` if it sleeps. Any thread."""


class AsyncWorkerThread(WorkerThread):
    """A thread whose body is one native asyncio loop.

    Subclasses implement `serve`, which must let `CancelledError` propagate after its clean-up; it is cancelled on stop.
    Work given to `submit` before the loop is up waits for it, so that no caller ever waits.
    """

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(name, parent)
        self._lock = threading.Lock()  # guards the three below
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[Job] = []
        self._closed = False
        self._stop: asyncio.Event | None = None  # worker thread only
        self._tasks: set[asyncio.Future[Any]] = set()  # worker thread only

    @abstractmethod
    async def serve(self) -> None:
        """Run until cancelled or done. Worker thread."""
        raise NotImplementedError

    def on_job_error(self, error: Exception) -> None:
        """Take the exception of submitted work; the default treats it as a failure of the worker. Worker thread."""
        self.failed.emit(error)

    def submit(self, job: Job) -> bool:
        """Run `job()` on the worker's loop and return at once. Any thread.

        Args:
            job: makes the awaitable; called on the worker thread.

        Returns:
            False where the worker is stopping or has ended and the job will not run.
        """
        with self._lock:
            if self._closed or self.stop_requested:
                return False
            if self._loop is None:
                self._early.append(job)
                return True
            # Inside the lock: the loop is closed only after `_closed` is set under it.
            self._loop.call_soon_threadsafe(self._launch, job)
            return True

    def work(self) -> None:
        asyncio.run(self._main())

    def run(self) -> None:
        super().run()
        with self._lock:
            self._closed = True  # also where the worker was stopped before it ran

    def _wake(self) -> None:
        with self._lock:
            if self._loop is not None and not self._closed and self._stop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(report_loop_error)
        self._stop = asyncio.Event()
        with self._lock:
            self._loop = loop
            early, self._early = self._early, []
        if self.stop_requested:  # it may have come between the first check and now
            self._stop.set()
        try:
            for job in early:
                self._launch(job)
            await self._serve_until_stopped()
        finally:
            with self._lock:
                self._closed = True
            await self._settle()

    async def _serve_until_stopped(self) -> None:
        assert self._stop is not None
        serving = asyncio.ensure_future(self.serve())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not serving.done():
            serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving  # raises what really went wrong

    def _launch(self, job: Job) -> None:
        task = asyncio.ensure_future(self._guard(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, job: Job) -> None:
        try:
            await job()
        except Exception as exc:  # noqa: BLE001 - the boundary of submitted work: handed on, never lost
            self.on_job_error(exc)

    async def _settle(self) -> None:
        """Let submitted work that is under way end its clean-up; nothing new arrives any more."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
