"""Garbage collection in the GUI thread only. GUI thread.

The cycle collector runs in whichever thread allocates; in a worker it would destroy widgets from the wrong thread and
crash. So automatic collection is off while the guard is on, and a timer collects where the widgets live.

A full collection walks every object there is: 100 ms once a worker has imported a large library. What imports leave
behind stays until the end anyway, so it is exempted as soon as new modules are seen, which costs nothing.
"""

from __future__ import annotations

import gc
import sys

from PySide6.QtCore import QObject, QTimer, Slot

INTERVAL_MS = 250
FULL_EVERY = 40  # ticks: a full collection at least every 10 s


class GcGuard(QObject):
    """Collects on a timer instead of by allocation count."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._ticks = 0
        self._modules = 0
        self._thresholds = gc.get_threshold()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.collect)

    def start(self) -> None:
        """Take over collection."""
        gc.disable()
        self._modules = len(sys.modules)
        self._timer.start()

    def stop(self) -> None:
        """Give collection back to the interpreter; idempotent."""
        self._timer.stop()
        gc.enable()

    @staticmethod
    def freeze() -> None:
        """Exempt everything alive from future collections; once, when the window is complete: full runs get short."""
        gc.collect()
        gc.freeze()

    @Slot()
    def collect(self) -> None:
        """Collect as far as the interpreter's own thresholds ask."""
        self._ticks += 1
        modules = len(sys.modules)
        if modules != self._modules:
            self._modules = modules
            gc.freeze()
            return
        young, middle, _ = gc.get_count()
        if self._ticks % FULL_EVERY == 0:
            gc.collect(2)
        elif middle > self._thresholds[1]:
            gc.collect(1)
        elif young > self._thresholds[0]:
            gc.collect(0)
