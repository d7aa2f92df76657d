"""What time it is at the venue. Pure apart from the two clocks it is given; runs on the gateway's event loop.

The venue's time is kept as an offset from the *monotonic* clock: somebody who sets the wall clock, or a time service
that steps it, cannot make an order's timestamp stale or lie in the future. What the wall clock is used for is to notice
that the monotonic one stood still (a machine that slept): the two then come apart, and until the venue was asked again
nobody knows the time.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from core.clock import NS_PER_MS, Clock

SAMPLES = 5
SLOW_TRIP = 2.0  # samples whose trip took more than this many times the quickest say too little
TRIP_TOLERANCE_NS = 20 * NS_PER_MS  # resolution of the venue's clock and drift of ours between samples
STEP_NS = 250 * NS_PER_MS
ALARM_SKEW_NS = 500 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One answer of the venue's clock.

    Attributes:
        offset_ns: venue time minus monotonic time, taking the way there and the way back as equally long.
        trip_ns: there and back; the true offset is within half of it.
    """

    offset_ns: int
    trip_ns: int


class VenueClock:
    """The venue's clock as measured; a `Clock`.

    Before the first measurement it is the wall clock.
    """

    def __init__(self, wall: Clock, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall = wall
        self._monotonic_ns = monotonic_ns
        self._samples: deque[ClockSample] = deque(maxlen=SAMPLES)
        self._offset_ns = wall.now_ns() - monotonic_ns()
        self._anchor_ns = self._offset_ns  # wall minus monotonic when last looked at
        self._doubt_ns = 0  # how far the offset may be from the truth
        self._is_known = False

    def now_ns(self) -> int:
        """Return the venue's time, ns UTC."""
        return self._monotonic_ns() + self._offset_ns

    @property
    def is_measured(self) -> bool:
        """Whether the venue was asked, and did not say since that the answer is wrong."""
        return self._is_known

    @property
    def skew_ns(self) -> int:
        """Venue clock minus this machine's wall clock, ns; follows every step of the latter at once."""
        return self.now_ns() - self._wall.now_ns()

    @property
    def has_stepped(self) -> bool:
        """Whether wall and monotonic clock have come apart since the last measurement."""
        return abs(self._wall.now_ns() - self._monotonic_ns() - self._anchor_ns) > STEP_NS

    def start_trip(self) -> int:
        """Return the mark to give `sample` when the answer is there."""
        return self._monotonic_ns()

    def sample(self, started_ns: int, venue_ns: int) -> None:
        """Take one answer of the venue's clock.

        Args:
            started_ns: from `start_trip`.
            venue_ns: what the venue said, ns UTC.
        """
        ended_ns = self._monotonic_ns()
        fresh = ClockSample(venue_ns - (started_ns + ended_ns) // 2, ended_ns - started_ns)
        if self.has_stepped or self._contradicts(fresh):
            self._samples.clear()
        self._samples.append(fresh)
        quickest_ns = min(sample.trip_ns for sample in self._samples)
        good = [s for s in self._samples if s.trip_ns <= SLOW_TRIP * quickest_ns + NS_PER_MS]
        self._offset_ns = statistics.median_low(s.offset_ns for s in good)
        self._doubt_ns = max(s.trip_ns for s in good) // 2
        self._anchor_ns = self._wall.now_ns() - ended_ns
        self._is_known = True

    def follow_wall(self) -> None:
        """Take the wall clock's word: for a venue that does not tell its time."""
        self._offset_ns = self._anchor_ns = self._wall.now_ns() - self._monotonic_ns()

    def forget(self) -> None:
        """Drop what was measured: the venue says that it is wrong."""
        self._samples.clear()
        self._is_known = False

    def _contradicts(self, fresh: ClockSample) -> bool:
        """Whether a sample proves the present offset wrong: one of the clocks was set, earlier samples mean nothing."""
        reach_ns = fresh.trip_ns // 2 + self._doubt_ns + TRIP_TOLERANCE_NS
        return self._is_known and abs(fresh.offset_ns - self._offset_ns) > reach_ns
