"""The bars of one market as a chart sees them: x is the bar index, one step per bar. Qt-free; GUI thread.

Final bars live in the pyramid; the forming bar stands after them at index `len(series)`, so that a tick never
touches the history. Infinite values become NaN, and bars with NaN prices are not painted. Counting bars instead of
seconds keeps the spacing even and the numbers small enough for any transform; `time_at` and `index_at` translate,
also beyond both ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.ui.charts.lod import CLOSE, FIELDS, FloatArray, OhlcPyramid

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar as the legend shows it; `index` is its x position."""

    index: int
    time_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    final: bool

    @property
    def rising(self) -> bool:
        """Whether it closed at or above its open."""
        return self.close >= self.open


class BarSeries:
    """Bars of one market and timeframe, oldest first.

    Attributes:
        pyramid: the final bars at every level of detail.
    """

    def __init__(self, timeframe_ns: int) -> None:
        if timeframe_ns <= 0:
            raise ValueError(f"timeframe must be positive, got {timeframe_ns}")
        self.timeframe_ns = timeframe_ns
        self.pyramid = OhlcPyramid()
        self._times = np.empty(1_024, np.int64)
        self._gaps: list[int] = []
        self._forming: tuple[int, tuple[float, ...]] | None = None

    def __len__(self) -> int:
        """Number of final bars."""
        return len(self.pyramid)

    @property
    def total(self) -> int:
        """Number of bars on the chart, the forming one included."""
        return len(self) + (self._forming is not None)

    @property
    def times(self) -> IntArray:
        """Open times of the final bars, ns UTC, shape (len,); a view."""
        return self._times[: len(self)]

    @property
    def gaps(self) -> Sequence[int]:
        """Indices of bars before which at least one bar is missing, ascending; the forming bar included."""
        if self._forming is not None and len(self) and self._is_gap(int(self._times[len(self) - 1]), self._forming[0]):
            return [*self._gaps, len(self)]
        return self._gaps

    def missing_before(self, index: int) -> int:
        """Return how many bars are missing between bar `index` - 1 and bar `index`."""
        if not 0 < index < self.total:
            return 0
        return max(0, (self.time_at(index) - self.time_at(index - 1)) // self.timeframe_ns - 1)

    def set_history(
        self,
        time_ns: IntArray,
        open_: FloatArray,
        high: FloatArray,
        low: FloatArray,
        close: FloatArray,
        volume: FloatArray,
    ) -> None:
        """Replace all bars; arrays of equal length (n,), times strictly ascending.

        Raises:
            ValueError: the times do not ascend or the lengths differ.
        """
        times = np.array(time_ns, np.int64)
        steps = np.diff(times)
        if len(times) != len(open_):
            raise ValueError(f"{len(times)} times for {len(open_)} bars")
        if (steps <= 0).any():
            raise ValueError("bar times must ascend strictly")
        columns = [np.where(np.isfinite(column), column, np.nan) for column in (open_, high, low, close, volume)]
        self.pyramid = OhlcPyramid.from_arrays(*columns)
        self._times = times
        self._gaps = [int(i) + 1 for i in np.nonzero(steps > self.timeframe_ns)[0]]
        self._forming = None

    def append_final(self, time_ns: int, bar: Sequence[float]) -> int:
        """Take a closed bar: a new one, a correction of a known one, or one that fills a gap.

        Args:
            time_ns: its open time, ns UTC.
            bar: open, high, low, close, volume.

        Returns:
            The index it now has.
        """
        if self._forming is not None and self._forming[0] <= time_ns:
            # Closed, or passed over because its close was never seen; a REST re-read corrects the latter.
            forming_time, forming = self._forming
            self._forming = None
            if forming_time < time_ns:
                self._place(forming_time, forming)
        return self._place(time_ns, _finite(bar))

    def set_forming(self, time_ns: int, bar: Sequence[float]) -> bool:
        """Show the running bar; returns False where it is older than what is already closed."""
        if len(self) and time_ns <= int(self._times[len(self) - 1]):
            return False
        if self._forming is not None and time_ns < self._forming[0]:
            return False
        if self._forming is not None and time_ns > self._forming[0]:
            self._place(*self._forming)
        self._forming = (time_ns, _finite(bar))
        return True

    @property
    def forming(self) -> tuple[float, ...] | None:
        """Open, high, low, close, volume of the running bar; its index is `len(self)`."""
        return self._forming[1] if self._forming is not None else None

    @property
    def last_close(self) -> float | None:
        """Close of the newest bar, running or not."""
        if self._forming is not None:
            return self._forming[1][CLOSE]
        return float(self.pyramid.level(0)[CLOSE, -1]) if len(self) else None

    def bar(self, index: int) -> Bar | None:
        """Return the bar at an index, None outside the data."""
        if self._forming is not None and index == len(self):
            time_ns, (open_, high, low, close, volume) = self._forming
            return Bar(index, time_ns, open_, high, low, close, volume, final=False)
        if not 0 <= index < len(self):
            return None
        open_, high, low, close, volume = self.pyramid.level(0)[:, index].tolist()
        return Bar(index, int(self._times[index]), open_, high, low, close, volume, final=True)

    def time_at(self, index: int) -> int:
        """Return the open time of a bar, ns UTC; beyond both ends the bars are counted on."""
        if self._forming is not None and index >= len(self):
            return self._forming[0] + (index - len(self)) * self.timeframe_ns
        if len(self) == 0:
            return index * self.timeframe_ns
        if index < 0:
            return int(self._times[0]) + index * self.timeframe_ns
        if index >= len(self):
            return int(self._times[len(self) - 1]) + (index - len(self) + 1) * self.timeframe_ns
        return int(self._times[index])

    def index_at(self, time_ns: int) -> int:
        """Return the index of the bar in which a moment lies; in a gap, the bar before it."""
        if self.total == 0:
            return time_ns // self.timeframe_ns
        last = self.total - 1
        end = self.time_at(last)
        if time_ns >= end:
            return last + (time_ns - end) // self.timeframe_ns
        start = self.time_at(0)
        if time_ns < start:
            return (time_ns - start) // self.timeframe_ns
        return int(np.searchsorted(self.times, time_ns, "right")) - 1

    def first_index_from(self, time_ns: int) -> int:
        """Return the first bar that opens at or after a moment."""
        index = self.index_at(time_ns)
        return index if self.time_at(index) >= time_ns else index + 1

    def y_range(self, first: int, last: int) -> tuple[float, float] | None:
        """Return (lowest low, highest high) over the bars `[first, last)`, the forming one included."""
        found = self.pyramid.y_range(first, last)
        if self._forming is not None and first <= len(self) < last:
            _, high, low, _, _ = self._forming[1]
            if math.isnan(high) or math.isnan(low):
                return found
            found = (low, high) if found is None else (min(found[0], low), max(found[1], high))
        return found

    def _place(self, time_ns: int, bar: Sequence[float]) -> int:
        size = len(self)
        if size == 0 or time_ns > int(self._times[size - 1]):
            return self._append(time_ns, bar)
        index = int(np.searchsorted(self.times, time_ns))
        if int(self._times[index]) == time_ns:
            self.pyramid.replace(index, bar)
            return index
        # A back-filled bar: rare, so the levels are simply built again.
        forming = self._forming
        column = np.asarray(bar, np.float64).reshape(FIELDS, 1)
        self.set_history(
            np.insert(self.times, index, time_ns), *np.insert(self.pyramid.level(0), [index], column, axis=1)
        )
        self._forming = forming
        return index

    def _append(self, time_ns: int, bar: Sequence[float]) -> int:
        size = len(self)
        if size == len(self._times):
            self._times = np.concatenate([self._times, np.empty(max(1_024, size), np.int64)])
        if size and self._is_gap(int(self._times[size - 1]), time_ns):
            self._gaps.append(size)
        self._times[size] = time_ns
        self.pyramid.append(bar)
        return size

    def _is_gap(self, before_ns: int, after_ns: int) -> bool:
        return after_ns - before_ns > self.timeframe_ns


def _finite(bar: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) if math.isfinite(value) else math.nan for value in bar)
