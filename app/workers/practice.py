"""The practice exchange as a child of the window: started, watched and stopped on a thread of its own.

Objects live in the GUI thread; `work` runs in the worker thread. Other workers wait for `endpoints`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from app.workers.base import WorkerThread
from core.errors import UserError

if TYPE_CHECKING:
    from core.practice.control import PracticeEndpoints
    from core.practice.process import PracticeProcess

WATCH_S = 0.5
STEADY_S = 30.0  # one that ends sooner than this after its start may only end again
PAUSES_S = (0.5, 2.0, 5.0)  # before it is started again nevertheless; then a person is asked


class PracticeHost(WorkerThread):
    """Owns the practice exchange's process.

    Attributes:
        endpoints: where it listens, once it is ready; fails with the reason where it could not start.

    Signals:
        ready: the exchange answers.
        restarted: it had ended although nobody stopped it, and runs again at the same address.
        died: it ended although nobody stopped it and is not started again before `revive`; carries a `UserError`.
    """

    ready = Signal()
    restarted = Signal()
    died = Signal(object)

    def __init__(
        self, make: Callable[[PracticeEndpoints | None], PracticeProcess], parent: QObject | None = None
    ) -> None:
        """Create it.

        Args:
            make: builds the process, taking the place of an earlier one where given; called on the worker thread, so
                that its imports do not stall the window.
            parent: Qt owner.
        """
        super().__init__("practice", parent)
        self._make = make
        self._woken = threading.Event()
        self._wanted = threading.Event()
        self._starting: PracticeProcess | None = None
        self.endpoints: Future[PracticeEndpoints] = Future()

    def use(self, endpoints: PracticeEndpoints) -> None:
        """Tell `endpoints` from now on: the account was exchanged for one with other keys. Any thread."""
        replaced: Future[PracticeEndpoints] = Future()
        replaced.set_result(endpoints)
        self.endpoints = replaced

    def work(self) -> None:
        try:
            process, endpoints = self._start(None)
        except Exception as exc:
            if self.stop_requested:  # it was told to give up, and nobody waits for it any more
                self.endpoints.cancel()
                return
            self.endpoints.set_exception(exc)
            raise
        self.endpoints.set_result(endpoints)
        self.ready.emit()
        failures = 0
        while True:
            began = time.monotonic()
            try:
                while process.running:
                    if self._woken.wait(WATCH_S):
                        return
            finally:
                process.stop()
            failures = 0 if time.monotonic() - began >= STEADY_S else failures + 1
            trouble = UserError("The practice exchange keeps ending.", "Look at the log, then choose Reconnect.")
            self._wanted.clear()
            while True:
                if failures > len(PAUSES_S):
                    failures = 0
                    if not self._give_up(trouble):
                        return
                elif failures and self._woken.wait(PAUSES_S[failures - 1]):
                    return
                try:
                    process, _ = self._start(endpoints)
                    break
                except UserError as exc:
                    trouble, failures = exc, failures + 1
            self.restarted.emit()

    @Slot()
    def revive(self) -> None:
        """Start the exchange again where it was given up; without effect while it runs. Any thread."""
        self._wanted.set()

    def _give_up(self, trouble: UserError) -> bool:
        """Say why the exchange is not started again and wait for a person; whether he wants it started."""
        if not self.stop_requested:
            self.died.emit(trouble)
        while not self.stop_requested:
            if self._wanted.wait(WATCH_S):
                self._wanted.clear()
                return True
        return False

    def _start(self, resume: PracticeEndpoints | None) -> tuple[PracticeProcess, PracticeEndpoints]:
        self._starting = process = self._make(resume)
        if self.stop_requested:
            process.cancel()
        endpoints = process.start()
        self._starting = None
        return process, endpoints

    def _wake(self) -> None:
        self._woken.set()
        if (starting := self._starting) is not None:  # a slow machine may take longer to start it than a quit may last
            starting.cancel()
        # A loop that still waits for the endpoints must end, too, where the exchange never came up.
        if not self.isRunning():
            self.endpoints.cancel()
