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
        self.endpoints: Future[PracticeEndpoints] = Future()

    def work(self) -> None:
        try:
            process = self._make()
            endpoints = process.start()
        except BaseException as exc:
            self.endpoints.set_exception(exc)
            raise
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
        # A loop that still waits for the endpoints must end, too, where the exchange never came up.
        if not self.isRunning():
            self.endpoints.cancel()
