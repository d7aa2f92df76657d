"""Which bar of a replay is the present one, and how it moves on by itself. GUI thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal, Slot

SPEEDS = (1, 2, 5, 20, 100, 500)  # bars a second
FRAME_MS = 33
_LONGEST_S = 0.25  # a stall is not caught up with


class ReplayPlayer(QObject):
    """Moves along bars.

    Signals:
        moved(int): another row is the present one.
        playing_changed(bool): it plays or has stopped.
    """

    moved = Signal(int)
    playing_changed = Signal(bool)

    def __init__(self, clock: Callable[[], float] = time.monotonic, parent: QObject | None = None) -> None:
        """Stand at the first of no bars.

        Args:
            clock: seconds.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._clock = clock
        self._bars = 0
        self._row = 0
        self._speed = SPEEDS[2]
        self._last = 0.0
        self._due = 0.0
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_frame)

    @property
    def row(self) -> int:
        """The present bar."""
        return self._row

    @property
    def bars(self) -> int:
        """How many there are."""
        return self._bars

    @property
    def speed(self) -> int:
        """Bars a second."""
        return self._speed

    @property
    def playing(self) -> bool:
        """Whether it moves on by itself."""
        return self._timer.isActive()

    def begin(self, bars: int, row: int = 0) -> None:
        """Take other bars and stand at one of them."""
        self.pause()
        self._bars, self._row = bars, row
        self.moved.emit(row)

    def set_speed(self, speed: int) -> None:
        """Move on so many bars a second."""
        self._speed = speed
        self._due = 0.0
        if self.playing:
            self._timer.start(self._interval)

    def go_to(self, row: int) -> None:
        """Stand at a bar, the nearest one there is."""
        row = min(max(row, 0), self._bars - 1)
        if row != self._row:
            self._row = row
            self.moved.emit(row)

    @Slot()
    def toggle(self) -> None:
        """Play or stop; at the end it begins again."""
        if self.playing:
            self.pause()
        else:
            self.play()

    def play(self) -> None:
        """Move on by itself; from the end, from the beginning on."""
        if self._bars < 2 or self.playing:
            return
        if self._row == self._bars - 1:
            self.go_to(0)
        self._last, self._due = self._clock(), 0.0
        self._timer.start(self._interval)
        self.playing_changed.emit(True)

    def pause(self) -> None:
        """Stop."""
        if self.playing:
            self._timer.stop()
            self.playing_changed.emit(False)

    @property
    def _interval(self) -> int:
        return max(FRAME_MS, 1_000 // self._speed)

    @Slot()
    def _on_frame(self) -> None:
        now = self._clock()
        self._due += min(now - self._last, max(_LONGEST_S, 1.0 / self._speed)) * self._speed
        self._last = now
        # Half a bar early is on time: a timer is never exact, and a bar must not wait for another frame.
        whole = int(self._due + 0.5)
        if whole > 0:
            self._due -= whole
            self.go_to(self._row + whole)
        if self._row == self._bars - 1:
            self.pause()
