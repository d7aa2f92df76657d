"""Level-of-detail store of price bars. Qt-free; owned by one thread (the GUI thread when it feeds a chart).

Level 0 holds the bars, every further level aggregates `FACTOR` neighbours of the one below (open of the first, high
of the highest, low of the lowest, close of the last, sum of the volume). A painter asks for the finest level that
has few enough buckets in view, so that a frame costs the same for a thousand bars and for five million.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
FIELDS = 5
FACTOR = 4
_FIRST_CAPACITY = 1_024


class _Level:
    """A growing (5, n) array; capacity doubles so that an append costs O(1) on average."""

    def __init__(self, values: FloatArray | None = None) -> None:
        self._buffer = np.empty((FIELDS, _FIRST_CAPACITY)) if values is None else values
        self.size = 0 if values is None else values.shape[1]

    @property
    def values(self) -> FloatArray:
        """A view of the filled part, shape (5, size)."""
        return self._buffer[:, : self.size]

    def set(self, index: int, bar: Sequence[float] | FloatArray) -> None:
        """Write column `index`; writing at `size` appends."""
        if index == self._buffer.shape[1]:
            grown = np.empty((FIELDS, max(_FIRST_CAPACITY, 2 * index)))
            grown[:, :index] = self._buffer
            self._buffer = grown
        self._buffer[:, index] = bar
        self.size = max(self.size, index + 1)


class OhlcPyramid:
    """Bars and their aggregates. Rows of every level: open, high, low, close, volume; columns: buckets in time order.

    Bucket `i` of level `k` covers the bars `[i * FACTOR**k, (i + 1) * FACTOR**k)`; the last one may be partial.
    A NaN high or low (a bar without trades, as some importers write it) is ignored by the extremes.
    """

    def __init__(self) -> None:
        self._levels = [_Level()]

    @classmethod
    def from_arrays(
        cls, open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray
    ) -> OhlcPyramid:
        """Build all levels at once from columns of equal length (n,).

        Raises:
            ValueError: the columns differ in length.
        """
        columns = (open_, high, low, close, volume)
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"columns differ in length: {[len(column) for column in columns]}")
        pyramid = cls()
        if len(open_) == 0:
            return pyramid
        values = np.ascontiguousarray(np.stack([np.asarray(column, np.float64) for column in columns]))
        pyramid._levels = [_Level(values)]
        while values.shape[1] > 1:
            values = _reduce(values)
            pyramid._levels.append(_Level(values))
        return pyramid

    def __len__(self) -> int:
        return self._levels[0].size

    @property
    def level_count(self) -> int:
        """Number of levels; the top one has a single bucket once there are bars."""
        return len(self._levels)

    def level(self, k: int) -> FloatArray:
        """Return level `k` as a view, shape (5, buckets); do not write to it."""
        return self._levels[k].values

    def append(self, bar: Sequence[float] | FloatArray) -> None:
        """Add a bar (open, high, low, close, volume) at the end; O(levels)."""
        self._write(len(self), bar)

    def replace_last(self, bar: Sequence[float] | FloatArray) -> None:
        """Overwrite the newest bar; O(levels).

        Raises:
            IndexError: there is no bar yet.
        """
        self.replace(len(self) - 1, bar)

    def replace(self, index: int, bar: Sequence[float] | FloatArray) -> None:
        """Overwrite bar `index`, for a late correction; O(levels).

        Raises:
            IndexError: there is no such bar.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"no bar {index} among {len(self)}")
        self._write(index, bar)

    def pick(self, first: int, last: int, limit: int) -> int:
        """Return the finest level with at most `limit` buckets over the bars `[first, last)`."""
        span = max(1, last - first)
        level = 0
        while level + 1 < len(self._levels) and -(-span // FACTOR**level) > limit:
            level += 1
        return level

    def slice(self, first: int, last: int, limit: int) -> tuple[int, int, FloatArray]:
        """Return what to paint for the bars `[first, last)`.

        Returns:
            (level, index of the first bucket, view of shape (5, buckets)); buckets reach over both ends where they
            do not align with `first` and `last`. The view has at most `limit` + 2 columns.
        """
        first, last = max(0, first), min(len(self), last)
        if first >= last:
            return 0, 0, self._levels[0].values[:, :0]
        level = self.pick(first, last, limit)
        return level, *self.buckets(level, first, last)

    def buckets(self, level: int, first: int, last: int) -> tuple[int, FloatArray]:
        """Return (index of the first bucket, view of shape (5, buckets)) of a level over the bars `[first, last)`."""
        first, last = max(0, first), min(len(self), last)
        if first >= last:
            return 0, self._levels[level].values[:, :0]
        width = FACTOR**level
        start, stop = first // width, -(-last // width)
        return start, self._levels[level].values[:, start:stop]

    def y_range(self, first: int, last: int) -> tuple[float, float] | None:
        """Return (lowest low, highest high) over the bars `[first, last)`, exactly; None without any.

        Walks up the levels and reads at most FACTOR buckets at each end of each level: O(log n).
        """
        start, stop = max(0, first), min(len(self), last)
        if start >= stop:
            return None
        low, high = np.inf, -np.inf
        for level in range(len(self._levels)):
            values = self._levels[level].values
            top = level + 1 == len(self._levels) or stop - start <= 2 * FACTOR
            inner_start = stop if top else -(-start // FACTOR) * FACTOR
            inner_stop = stop if top else stop // FACTOR * FACTOR
            for a, b in ((start, inner_start), (inner_stop, stop)):
                if a < b:
                    low = min(low, float(np.fmin.reduce(values[LOW, a:b])))
                    high = max(high, float(np.fmax.reduce(values[HIGH, a:b])))
            if top:
                break
            start, stop = inner_start // FACTOR, inner_stop // FACTOR
        return (low, high) if np.isfinite(low) and np.isfinite(high) else None

    def max_volume(self, first: int, last: int, limit: int) -> float:
        """Return the tallest volume bucket that `slice` with the same arguments would give; 0.0 without any."""
        _, _, values = self.slice(first, last, limit)
        if values.shape[1] == 0:
            return 0.0
        tallest = float(np.fmax.reduce(values[VOLUME]))
        return tallest if np.isfinite(tallest) else 0.0

    def _write(self, index: int, bar: Sequence[float] | FloatArray) -> None:
        self._levels[0].set(index, bar)
        level = 0
        while self._levels[level].size > 1:
            if level + 1 == len(self._levels):
                # The new top level has one more child than the old top had: build it from all of them.
                self._levels.append(_Level(_reduce(self._levels[level].values)))
            index //= FACTOR
            children = self._levels[level].values[:, index * FACTOR : (index + 1) * FACTOR]
            self._levels[level + 1].set(index, _reduce(children)[:, 0])
            level += 1


def _reduce(values: FloatArray) -> FloatArray:
    """Aggregate FACTOR neighbours, shape (5, n) to (5, ceil(n / FACTOR)); the last bucket may be partial."""
    size = values.shape[1]
    starts = np.arange(0, size, FACTOR)
    reduced = np.empty((FIELDS, len(starts)))
    reduced[OPEN] = values[OPEN, starts]
    reduced[HIGH] = np.fmax.reduceat(values[HIGH], starts)
    reduced[LOW] = np.fmin.reduceat(values[LOW], starts)
    reduced[CLOSE] = values[CLOSE, np.minimum(starts + FACTOR - 1, size - 1)]
    reduced[VOLUME] = np.add.reduceat(values[VOLUME], starts)
    return reduced
