"""Ordered shutdown that never blocks the window. GUI thread only, except the watchdog inside the interpreter.

Closing the window asks `Lifecycle.close_warnings`, then calls `quit`; from there on stages run one after the other,
each started, polled by a timer and, if it takes too long, given up. It needs nothing but the Qt event loop.
"""

from __future__ import annotations

import faulthandler
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import IO, Any, Protocol

from PySide6.QtCore import QCoreApplication, QObject, QSocketNotifier, QTimer, Signal, Slot

from app.workers.base import WorkerThread

log = logging.getLogger(__name__)

POLL_MS = 5
HURRY_S = 1.0  # what is left to each stage once the user insists
WATCHDOG_MARGIN_S = 10.0


class StageOutcome(StrEnum):
    """How a stage ended."""

    DONE = "done"
    FAILED = "failed"  # it raised
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the shutdown.

    Attributes:
        name: for logs and the progress line; English source text.
        begin: starts it and returns at once.
        done: whether it is over; polled.
        timeout_s: after which it is given up.
        give_up: called once on timeout, e.g. to kill a child; may be None.
        busy: whether it does something that must not be cut; polled. While it does, it has `busy_timeout_s` instead.
        busy_timeout_s: see `busy`.
    """

    name: str
    begin: Callable[[], None]
    done: Callable[[], bool] = lambda: True
    timeout_s: float = 3.0
    give_up: Callable[[], None] | None = None
    busy: Callable[[], bool] = lambda: False
    busy_timeout_s: float = 0.0

    @property
    def longest_s(self) -> float:
        """The longest it may take."""
        return max(self.timeout_s, self.busy_timeout_s)


@dataclass(frozen=True, slots=True)
class StageReport:
    """What became of a stage."""

    name: str
    outcome: StageOutcome
    seconds: float


def worker_stage(name: str, worker: WorkerThread, timeout_s: float) -> Stage:
    """Return the stage that stops a worker thread; one never started is done at once."""
    return Stage(name, worker.request_stop, lambda: worker.join(0), timeout_s)


class Watchdog(Protocol):
    """Ends a process that hangs."""

    def arm(self, seconds: float) -> None:
        """End the process with a trace of all threads unless disarmed in time."""
        ...

    def disarm(self) -> None:
        """Call it off."""
        ...


class FaultWatchdog:
    """The interpreter's own watchdog: works even where the GUI thread hangs in foreign code."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = file

    def arm(self, seconds: float) -> None:
        """See `Watchdog`; the trace goes to the crash file."""
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._file or sys.stderr)

    def disarm(self) -> None:
        """See `Watchdog`."""
        faulthandler.cancel_dump_traceback_later()


class Lifecycle(QObject):
    """Runs the stages of the shutdown once, in the order they were added.

    Attributes:
        reports: what became of the stages so far.

    Signals:
        quitting: the shutdown began; freeze order entry.
        stage_started: a stage began; carries its name (English source text).
        stage_finished: a stage ended; carries a `StageReport`.
        finished: all stages ended; the event loop is about to end.
    """

    quitting = Signal()
    stage_started = Signal(str)
    stage_finished = Signal(object)
    finished = Signal()

    def __init__(
        self,
        end: Callable[[int], None] = QCoreApplication.exit,
        watchdog: Watchdog | None = None,
        parent: QObject | None = None,
    ) -> None:
        """Create it.

        Args:
            end: ends the event loop with an exit code.
            watchdog: for the case that a stage blocks the GUI thread itself.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._end = end
        self._watchdog = watchdog or FaultWatchdog()
        self._stages: list[Stage] = []
        self._warnings: list[Callable[[], str | None]] = []
        self._index = -1  # stage that runs; -1 before the shutdown
        self._began = 0.0
        self._hurried_at: float | None = None
        self._code = 0
        self.reports: list[StageReport] = []
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)

    @property
    def is_quitting(self) -> bool:
        """Whether the shutdown began."""
        return self._index >= 0

    @property
    def stuck(self) -> bool:
        """Whether a stage was given up: its thread may still run, so end the process with `os._exit`."""
        return any(report.outcome is StageOutcome.TIMED_OUT for report in self.reports)

    def add_stage(self, stage: Stage) -> None:
        """Append a stage.

        Raises:
            RuntimeError: the shutdown began already.
        """
        if self.is_quitting:
            raise RuntimeError(f"stage {stage.name!r} comes too late: the shutdown began")
        self._stages.append(stage)

    def add_close_warning(self, ask: Callable[[], str | None]) -> None:
        """Register what may be at stake: `ask` returns one translated sentence, or None where nothing is."""
        self._warnings.append(ask)

    def close_warnings(self) -> list[str]:
        """Return what is at stake if the program closes now."""
        return [text for ask in self._warnings if (text := ask())]

    @Slot()
    def quit(self, code: int = 0) -> None:
        """Begin the shutdown; further calls change nothing."""
        if self.is_quitting:
            return
        self._index, self._code = 0, code
        self._watchdog.arm(sum(stage.longest_s for stage in self._stages) + WATCHDOG_MARGIN_S)
        log.info("shutdown begins")
        self.quitting.emit()
        self._timer.start()
        self._begin()

    @Slot(int)
    def quit_for_signal(self, _number: int) -> None:
        """Begin the shutdown because the system asked for it: that is a clean end, not an error."""
        self.quit()

    @Slot()
    def hurry(self) -> None:
        """Give every remaining stage one second at most: the user asked a second time."""
        if self.is_quitting and self._hurried_at is None:
            self._hurried_at = time.monotonic()

    def _begin(self) -> None:
        if self._index >= len(self._stages):
            self._finish()
            return
        stage = self._stages[self._index]
        self._began = time.monotonic()
        self.stage_started.emit(stage.name)
        try:
            stage.begin()
        except Exception as exc:  # noqa: BLE001 - the rest of the shutdown must still run; the hook reports it
            self._surface(exc)
            self._conclude(StageOutcome.FAILED)

    @Slot()
    def _poll(self) -> None:
        if self._index >= len(self._stages):
            return
        stage = self._stages[self._index]
        try:
            if stage.done():
                self._conclude(StageOutcome.DONE)
            elif time.monotonic() > self._deadline(stage):
                log.error("shutdown stage %s did not end within %.0f s", stage.name, time.monotonic() - self._began)
                self._give_up(stage)
                self._conclude(StageOutcome.TIMED_OUT)
        except Exception as exc:  # noqa: BLE001 - as above
            self._surface(exc)
            self._conclude(StageOutcome.FAILED)

    def _deadline(self, stage: Stage) -> float:
        regular = self._began + (stage.longest_s if stage.busy() else stage.timeout_s)
        if self._hurried_at is None:
            return regular
        return min(regular, max(self._began, self._hurried_at) + HURRY_S)

    def _give_up(self, stage: Stage) -> None:
        if stage.give_up is not None:
            try:
                stage.give_up()
            except Exception as exc:  # noqa: BLE001 - as above
                self._surface(exc)

    def _conclude(self, outcome: StageOutcome) -> None:
        stage = self._stages[self._index]
        report = StageReport(stage.name, outcome, time.monotonic() - self._began)
        self.reports.append(report)
        log.info("shutdown stage %s: %s after %.2f s", *(report.name, report.outcome.value, report.seconds))
        self.stage_finished.emit(report)
        self._index += 1
        # Through the event loop, so that queued events and deferred deletions run between stages.
        QTimer.singleShot(0, self, self._begin)

    def _finish(self) -> None:
        self._timer.stop()
        self._watchdog.disarm()
        log.info("shutdown complete")
        self.finished.emit()
        self._end(self._code)

    @staticmethod
    def _surface(error: Exception) -> None:
        sys.excepthook(type(error), error, error.__traceback__)


class SignalWatcher(QObject):
    """Turns SIGINT and SIGTERM into a clean quit; the second one hurries, the third kills.

    Python runs signal handlers only between bytecodes, which never come while Qt waits; a wake-up socket makes Qt run
    some.

    Signals:
        requested: the first signal arrived; carries its number.
        insisted: the second signal arrived.
    """

    requested = Signal(int)
    insisted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._count = 0
        self._pending: list[tuple[int, int]] = []
        self._old: dict[int, Any] = {}
        self._old_fd = -1
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._notifier: QSocketNotifier | None = None

    def start(self) -> None:
        """Take the signals over. Main thread."""
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._notifier = QSocketNotifier(self._reader.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._on_readable)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._handle)

    def stop(self) -> None:
        """Give the signals back; idempotent."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()
        if self._notifier is not None and self._reader is not None and self._writer is not None:
            signal.set_wakeup_fd(self._old_fd)
            self._notifier.setEnabled(False)
            self._notifier.deleteLater()
            self._notifier = None
            self._reader.close()
            self._writer.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # Runs between any two bytecodes of the main thread, in the middle of a write for example: it only takes note.
        self._count += 1
        self._pending.append((self._count, number))
        if self._count == 2:
            signal.signal(number, signal.SIG_DFL)  # the third one kills, whatever the event loop is doing

    @Slot()
    def _on_readable(self) -> None:
        if self._reader is not None:
            try:
                self._reader.recv(4096)
            except BlockingIOError:
                log.debug("woken without a signal")
        # By now the interpreter has run the handler: it does so before the first bytecode of this method.
        while self._pending:
            count, number = self._pending.pop(0)
            if count == 1:
                self.requested.emit(number)
            elif count == 2:
                self.insisted.emit()
