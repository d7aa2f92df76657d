"""An order book kept from a snapshot and numbered changes. Pure, any thread.

What is served is always what the venue's book was at one sequence number: a change that does not follow the last one, a
book that crosses itself or levels nobody told us of make it ask for a new snapshot instead. Changes carry absolute
quantities, so one that overlaps what is known already does no harm.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Level = tuple[float, float]  # price, quantity
MOST_BUFFERED = 5_000


@dataclass(frozen=True, slots=True)
class DepthEvent:
    """Changes of a venue's book.

    Attributes:
        first_id / last_id: the numbers of the changes it carries, both inclusive.
        bids / asks: new quantities by price; 0 removes a level.
        time_ns: venue time, ns UTC.
    """

    first_id: int
    last_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    time_ns: int


class _Side:
    """One side; keys ascend from the best price on: asks as they are, bids negated."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[float] = []
        self._quantities: dict[float, float] = {}
        self._worst_known = float("inf")

    def fill(self, levels: Iterable[Level], *, is_cut: bool) -> None:
        self._quantities = {self._sign * price: quantity for price, quantity in levels if quantity > 0}
        self._keys = sorted(self._quantities)
        # Beyond the last level of a snapshot that was cut nobody knows what stands there.
        self._worst_known = self._keys[-1] if is_cut and self._keys else float("inf")

    def change(self, levels: Iterable[Level]) -> None:
        for price, quantity in levels:
            key = self._sign * price
            if key > self._worst_known:
                continue
            if quantity > 0:
                if key not in self._quantities:
                    insort(self._keys, key)
                self._quantities[key] = quantity
            elif self._quantities.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def is_short(self, depth: int) -> bool:
        """Whether fewer than `depth` levels are known although there may be more."""
        return len(self._keys) < depth and self._worst_known != float("inf")

    def top(self, depth: int) -> tuple[Level, ...]:
        return tuple((self._sign * key, self._quantities[key]) for key in self._keys[:depth])

    @property
    def best(self) -> float | None:
        return self._sign * self._keys[0] if self._keys else None


class LocalBook:
    """The book of one market.

    Attributes:
        sequence: number of the last change it contains; 0 while there is none.
        time_ns: venue time of that change; 0 where only the snapshot is known.
    """

    def __init__(self) -> None:
        self._bids, self._asks = _Side(-1), _Side(1)
        self._buffer: deque[DepthEvent] = deque(maxlen=MOST_BUFFERED)  # the oldest give way: that shows as a gap
        self._is_synced = False
        self.sequence = 0
        self.time_ns = 0

    @property
    def needs_snapshot(self) -> bool:
        """Whether nothing can be served before `start` was given a snapshot."""
        return not self._is_synced

    def offer(self, event: DepthEvent) -> bool:
        """Take a change.

        Returns:
            Whether the book has changed and may be served. False also for a change known already, and where a
            snapshot is needed.
        """
        if not self._is_synced:
            self._buffer.append(event)
            return False
        if event.last_id <= self.sequence:
            return False
        if event.first_id > self.sequence + 1:  # changes were lost
            self.reset()
            self._buffer.append(event)
            return False
        self._bids.change(event.bids)
        self._asks.change(event.asks)
        self.sequence, self.time_ns = event.last_id, event.time_ns
        if self._is_crossed():
            self.reset()
            return False
        return True

    def start(self, sequence: int, bids: Sequence[Level], asks: Sequence[Level], *, is_cut: bool) -> bool:
        """Begin from a snapshot and the changes buffered since.

        Args:
            sequence: number of the last change it contains.
            bids: best first.
            asks: best first.
            is_cut: there may be levels beyond the last one of either side.

        Returns:
            Whether the book may be served; else a newer snapshot is needed.
        """
        buffered = list(self._buffer)
        self.reset()
        self._bids.fill(bids, is_cut=is_cut)
        self._asks.fill(asks, is_cut=is_cut)
        self.sequence, self._is_synced = sequence, True
        if self._is_crossed():
            self.reset()
        for event in buffered:
            self.offer(event)
        return self._is_synced

    def is_short(self, depth: int) -> bool:
        """Whether the market has moved so far that fewer than `depth` levels of a side are surely known."""
        return self._bids.is_short(depth) or self._asks.is_short(depth)

    def top(self, depth: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Return the best bids and asks."""
        return self._bids.top(depth), self._asks.top(depth)

    def reset(self) -> None:
        """Forget everything: a snapshot is needed."""
        self._buffer.clear()
        self._is_synced = False
        self.sequence = self.time_ns = 0

    def _is_crossed(self) -> bool:
        bid, ask = self._bids.best, self._asks.best
        return bid is not None and ask is not None and bid >= ask
