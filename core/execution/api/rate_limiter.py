"""How much of one request limit of a venue is used. Pure apart from the time it is told; not thread-safe by itself.

Venues such as Binance count in fixed windows: the minute of a request is cut by *their* clock, and at its end the count
drops to nothing. Neither usual way of following that is safe. A token bucket of the same size lets almost twice the
limit through within one window (a full bucket, then what flows in). Counting in the same fixed windows fails at the
border: a request we book into the old minute may arrive in the new one, and our idea of the venue's clock is a
measurement. So what we send ourselves is counted over a *sliding* window: as no period of that length ever holds more
than the limit, no window can, however the venue cuts it. The price is that a budget spent at once comes back only when
the window has passed.

What others send over the same address or account we cannot see; the venue tells it with every answer. That figure
counts for the venue's own fixed window and ends with it. The larger of both figures rules. Requests on their way while
the venue counted are missing in its figure; the safety margin covers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

BUCKETS = 60
SAFETY_MARGIN = 0.1
WINDOW_GUARD_S = 1.0  # how much longer than the venue's window we believe its figure: clock and travel time


class LimitKind(StrEnum):
    """What a limit counts."""

    WEIGHT = "weight"  # cost of requests, by address
    RAW = "raw"  # requests, by address
    ORDERS = "orders"  # new orders, by account


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """A limit as the venue states it: at most `limit` within each `period_s` seconds."""

    kind: LimitKind
    limit: float
    period_s: float

    def __post_init__(self) -> None:
        if self.limit <= 0 or self.period_s <= 0:
            raise ValueError(f"invalid limit: {self.limit} per {self.period_s} s")


@dataclass(frozen=True, slots=True)
class LimitUse:
    """What the venue says was used of a limit in its running window."""

    kind: LimitKind
    period_s: float
    used: float


class SlidingWindow:
    """A sum over the last `period_s` seconds, in a ring of buckets; every call costs the same, however much happened.

    A bucket counts until the last moment it stands for has left the window, so the sum is never too small.
    """

    def __init__(self, period_s: float) -> None:
        self._width_s = period_s / BUCKETS
        self._ring = [0.0] * (BUCKETS + 1)
        self._index = 0  # number of the newest bucket since time zero
        self._sum = 0.0

    def add(self, now_s: float, amount: float) -> None:
        """Count `amount` as of now."""
        self._advance(now_s)
        self._ring[self._index % len(self._ring)] += amount
        self._sum += amount

    def total(self, now_s: float) -> float:
        """Return the sum over the window that ends now."""
        self._advance(now_s)
        return self._sum

    def wait_s(self, now_s: float, excess: float) -> float:
        """Return after how many seconds at least `excess` of the present sum has left the window."""
        self._advance(now_s)
        left = 0.0
        for age in range(BUCKETS, -1, -1):
            if excess <= 0:
                break
            amount = self._ring[(self._index - age) % len(self._ring)]
            excess -= amount
            if amount:
                left = (self._index - age + len(self._ring)) * self._width_s - now_s
        return max(0.0, left)

    def _advance(self, now_s: float) -> None:
        index = int(now_s // self._width_s)
        if index - self._index >= len(self._ring):
            self._ring = [0.0] * len(self._ring)
            self._sum, self._index = 0.0, index
        while self._index < index:  # at most one turn of the ring
            self._index += 1
            place = self._index % len(self._ring)
            self._sum -= self._ring[place]
            self._ring[place] = 0.0


class LimitPool:
    """One limit: own use over a sliding window, corrected by what the venue says."""

    def __init__(self, limit: RequestLimit, *, margin: float = SAFETY_MARGIN) -> None:
        """Start unused.

        Args:
            limit: as the venue states it.
            margin: share of it that is never used.
        """
        if not 0 <= margin < 1:
            raise ValueError(f"invalid margin: {margin}")
        self.limit = limit
        self._margin = margin
        self._own = SlidingWindow(limit.period_s)
        self._told = 0.0
        self._told_until_s = float("-inf")

    @property
    def capacity(self) -> float:
        """What may be used within a window."""
        return self.limit.limit * (1 - self._margin)

    def resize(self, limit: RequestLimit) -> None:
        """Follow a limit that the venue changed; what was used stays used."""
        if limit.period_s != self.limit.period_s:
            raise ValueError("a limit of another period is another limit")
        self.limit = limit

    def used(self, now_s: float) -> float:
        """Return what counts as used now."""
        told = self._told if now_s < self._told_until_s else 0.0
        return max(self._own.total(now_s), told)

    def wait_s(self, now_s: float, amount: float, share: float) -> float:
        """Return how long to wait until `amount` fits into `share` of the capacity; 0.0 where it fits now."""
        room = self.capacity * share
        amount = min(amount, room)  # a call above the whole share waits until nothing is used
        excess = self.used(now_s) + amount - room
        if excess <= 1e-9:
            return 0.0
        wait_s = self._own.wait_s(now_s, self._own.total(now_s) + amount - room)
        if now_s < self._told_until_s and self._told + amount > room + 1e-9:
            wait_s = max(wait_s, self._told_until_s - now_s)
        return wait_s

    def take(self, now_s: float, amount: float) -> None:
        """Count a request that is about to be sent."""
        self._own.add(now_s, amount)
        self._told += amount

    def told(self, now_s: float, used: float, window_left_s: float) -> None:
        """Take the venue's own figure.

        Args:
            used: since its running window began.
            window_left_s: until that window ends, by our idea of the venue's clock.
        """
        until_s = now_s + min(window_left_s, self.limit.period_s) + WINDOW_GUARD_S
        if used >= self._told or now_s >= self._told_until_s or until_s > self._told_until_s + WINDOW_GUARD_S:
            # Answers overtake each other: an older figure of the same window is smaller and says nothing new.
            self._told, self._told_until_s = used, until_s
