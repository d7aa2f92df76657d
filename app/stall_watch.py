"""Measures how long the window stood still. The heart beats in the GUI thread; a watcher thread looks at it."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, QTimer, Slot

log = logging.getLogger(__name__)

BEAT_MS = 10


@dataclass(frozen=True, slots=True)
class Stall:
    """One time the GUI thread did not turn.

    Attributes:
        milliseconds: how long.
        stack: what it was doing when the threshold passed; empty where the watcher was not looking in time.
    """

    milliseconds: float
    stack: str


class StallWatch(QObject):
    """Finds the longest stall and logs what the GUI thread was doing in those over a threshold.

    Attributes:
        worst_ms: longest stall since `reset`, ms.
        stalls: those over the threshold since `reset`, at most `keep` of the newest.
    """

    keep = 50

    def __init__(self, threshold_ms: float = 100.0, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._threshold = threshold_ms
        self.worst_ms = 0.0
        self._recent_ms = 0.0
        self.stalls: list[Stall] = []
        self._last = 0.0
        self._stack = ""
        self._caught = -1.0  # the beat whose stall was already looked at
        self._gui_thread = threading.get_ident()
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)

    def start(self) -> None:
        """Start measuring."""
        self.reset()
        self._ended.clear()
        self._timer.start()
        self._watcher = threading.Thread(target=self._watch, name="stall-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop measuring; the figures stay. Idempotent."""
        self._timer.stop()
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def reset(self) -> None:
        """Forget what was measured."""
        self.worst_ms = 0.0
        self.stalls.clear()
        self._last = time.perf_counter()

    def take_recent_ms(self) -> float:
        """Return the longest stall since this was last asked, ms."""
        recent, self._recent_ms = self._recent_ms, 0.0
        return recent

    @Slot()
    def _beat(self) -> None:
        now = time.perf_counter()
        stalled = (now - self._last) * 1000 - BEAT_MS
        stack, self._stack = self._stack, ""
        self._last = now
        self.worst_ms = max(self.worst_ms, stalled)
        self._recent_ms = max(self._recent_ms, stalled)
        if stalled > self._threshold:
            self.stalls = [*self.stalls[-self.keep + 1 :], Stall(stalled, stack)]
            log.info("the window stood still for %.0f ms\n%s", stalled, stack)

    def _watch(self) -> None:
        """Look at the last beat; once per stall, note what the GUI thread does. Watcher thread."""
        while not self._ended.wait(self._threshold / 4000):
            beat = self._last
            late = (time.perf_counter() - beat) * 1000 - BEAT_MS
            if late <= self._threshold or beat == self._caught:
                continue
            self._caught = beat
            frame = sys._current_frames().get(self._gui_thread)
            if frame is not None:
                self._stack = "".join(traceback.format_stack(frame, limit=25))
