"""The two crossings from worker threads into the GUI thread.

`SnapshotStore` keeps the newest value per key and may drop older ones: market data. `EventQueue` delivers every event
once and in order: orders, fills, errors, kill-switch changes. Both have at most one wake-up in the GUI thread's event
queue, however fast the producers are. `put` and `push` belong to any thread, everything else to the GUI thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot


class SnapshotStore(QObject):
    """Newest value per key, delivered no faster than asked.

    Args:
        intervals_ms: shortest time between two deliveries of a key; others use `default_ms`.
        default_ms: 16 is once per frame.

    Signals:
        updated: read-only mapping of the keys that changed to their newest values. GUI thread.
    """

    updated = Signal(object)
    _wake = Signal()

    def __init__(
        self,
        intervals_ms: Mapping[Any, int] | None = None,
        default_ms: int = 16,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._intervals = {key: ms / 1000 for key, ms in (intervals_ms or {}).items()}
        self._default = default_ms / 1000
        self._lock = threading.Lock()  # guards the two below
        self._fresh: dict[Hashable, Any] = {}
        self._awake = False
        self._latest: dict[Hashable, Any] = {}
        self._delivered: dict[Hashable, float] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._deliver)
        self._wake.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def put(self, key: Hashable, value: Any) -> None:
        """Replace the value of `key`; `value` must be frozen, it is shared. Any thread."""
        with self._lock:
            self._fresh[key] = value
            if self._awake:
                return
            self._awake = True
        self._wake.emit()

    def latest(self, key: Hashable, default: Any = None) -> Any:
        """Return the value last delivered for `key`. GUI thread."""
        return self._latest.get(key, default)

    def clear(self) -> None:
        """Forget everything, delivered or not: another market is coming. GUI thread."""
        with self._lock:
            self._fresh.clear()
        self._latest.clear()
        self._delivered.clear()

    @Slot()
    def _deliver(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = {key: value for key, value in self._fresh.items() if self._wait(key, now) <= 0}
            for key in due:
                del self._fresh[key]
            waits = [self._wait(key, now) for key in self._fresh]
            self._awake = bool(waits)
        if waits:  # the timer is the one wake-up still pending; values put until then join it
            self._timer.start(max(1, round(min(waits) * 1000)))
        if due:
            self._latest.update(due)
            self._delivered.update(dict.fromkeys(due, now))
            self.updated.emit(MappingProxyType(due))

    def _wait(self, key: Hashable, now: float) -> float:
        """Return the seconds until `key` may be delivered again."""
        last = self._delivered.get(key)
        return 0.0 if last is None else last + self._intervals.get(key, self._default) - now


class EventQueue(QObject):
    """Every event, once, in order.

    Signals:
        event_arrived: one event. GUI thread.
        drained: after a group of events was delivered; views that repaint once per group connect here. GUI thread.
    """

    event_arrived = Signal(object)
    drained = Signal()
    _wake = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()  # guards the two below
        self._waiting: deque[Any] = deque()
        self._awake = False
        self._draining = False
        self._wake.connect(self.drain, Qt.ConnectionType.QueuedConnection)

    def push(self, event: Any) -> None:
        """Append a frozen event and return at once. Any thread."""
        with self._lock:
            self._waiting.append(event)
            if self._awake:
                return
            self._awake = True
        self._wake.emit()

    @Slot()
    def drain(self) -> None:
        """Deliver everything that waits; called by the wake-up, and once more at shutdown after the workers ended."""
        if self._draining:  # a receiver ran a nested event loop: the outer call goes on in order
            return
        self._draining = True
        try:
            with self._lock:
                group = len(self._waiting)
            for _ in range(group):
                with self._lock:
                    event = self._waiting.popleft()
                self.event_arrived.emit(event)
            if group:
                self.drained.emit()
        finally:
            self._draining = False
            with self._lock:
                more = self._awake = bool(self._waiting)
        if more:  # came in meanwhile: next turn of the event loop, so that a flood cannot starve the window
            self._wake.emit()
