"""The practice exchange as a child of the window: started, watched and stopped on a thread of its own.

Objects live in the GUI thread; `work` runs in the worker thread. Other workers wait for `endpoints`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.workers.base import WorkerThread
from core.errors import UserError

if TYPE_CHECKING:
    from core.practice.control import PracticeEndpoints
    from core.practice.process import PracticeProcess

WATCH_S = 0.5


class PracticeHost(WorkerThread):
    """Owns the practice exchange's process.

    Attributes:
        endpoints: where it listens, once it is ready; fails with the reason where it could not start.

    Signals:
        ready: the exchange answers.
        died: it ended although nobody stopped it; carries a `UserError`.
    """

    ready = Signal()
    died = Signal(object)

    def __init__(self, make: Callable[[], PracticeProcess], parent: QObject | None = None) -> None:
        """Create it.

        Args:
            make: builds the process; called on the worker thread, so that its imports do not stall the window.
            parent: Qt owner.
        """
        super().__init__("practice", parent)
        self._make = make
        self._woken = threading.Event()
        self._starting: PracticeProcess | None = None
        self.endpoints: Future[PracticeEndpoints] = Future()

    def work(self) -> None:
        try:
            self._starting = process = self._make()
            if self.stop_requested:
                process.cancel()
            endpoints = process.start()
        except Exception as exc:
            if self.stop_requested:  # it was told to give up, and nobody waits for it any more
                self.endpoints.cancel()
                return
            self.endpoints.set_exception(exc)
            raise
        self._starting = None
        try:
            self.endpoints.set_result(endpoints)
            self.ready.emit()
            while not self._woken.wait(WATCH_S):
                if not process.running:
                    self.died.emit(
                        UserError("The practice exchange has ended unexpectedly.", "Start the program again.")
                    )
                    return
        finally:
            process.stop()

    def _wake(self) -> None:
        self._woken.set()
        if (starting := self._starting) is not None:  # a slow machine may take longer to start it than a quit may last
            starting.cancel()
        # A loop that still waits for the endpoints must end, too, where the exchange never came up.
        if not self.isRunning():
            self.endpoints.cancel()
