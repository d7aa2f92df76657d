"""Time sources, injected wherever code asks what time it is. Runs on any thread.

Two kinds of time exist (DESIGN section 5): the *server clock* (wall time: authentication, limits, order
timestamps) and the *market clock* (bar close, staleness), which a practice market may run apart from the wall.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """A source of UTC time."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The wall clock of this machine."""

    def now_ns(self) -> int:
        """Return the wall time in nanoseconds since the Unix epoch, UTC."""
        return time.time_ns()


class ManualClock:
    """A clock that stands still until told; for tests and for replay, where bars drive the time."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """Return the time last set, in nanoseconds since the Unix epoch, UTC."""
        return self._now_ns

    def set(self, now_ns: int) -> None:
        """Move the clock; it never runs backwards.

        Raises:
            ValueError: `now_ns` lies before the current time.
        """
        if now_ns < self._now_ns:
            raise ValueError(f"the clock cannot run backwards: {now_ns} < {self._now_ns}")
        self._now_ns = now_ns

    def advance(self, delta_ns: int) -> None:
        """Move the clock forward by `delta_ns` nanoseconds."""
        self.set(self._now_ns + delta_ns)


def to_datetime(ns: int) -> datetime:
    """Convert nanoseconds since the epoch to an aware UTC datetime (microsecond resolution)."""
    seconds, rest = divmod(ns, NS_PER_S)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1_000)


def from_datetime(moment: datetime) -> int:
    """Convert an aware datetime to nanoseconds since the epoch.

    Raises:
        ValueError: `moment` is naive.
    """
    if moment.tzinfo is None:
        raise ValueError("naive datetimes are not accepted; attach a time zone")
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * NS_PER_S + moment.microsecond * 1_000
