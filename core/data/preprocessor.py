"""From stored bars to bars fit for training: sorted, unique, sane, cut into contiguous segments. Pure, any thread.

Gaps are never filled: an invented bar is a lie the model would learn. They end a segment instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.data.frame import CandleFrame, IntArray
from core.data.quality import ohlc_violations


@dataclass(frozen=True, slots=True, eq=False)
class PreparedCandles:
    """Bars in contiguous segments.

    Attributes:
        frame: final bars, ascending, each open time once.
        segment: segment of each bar, int64, shape (n,); counts up from 0, a new one starts after every gap.
        dropped: rows left out because they were duplicates, unfinished, misaligned or impossible.
    """

    frame: CandleFrame
    segment: IntArray
    dropped: int

    @property
    def segments(self) -> int:
        """Number of contiguous segments."""
        return int(self.segment[-1]) + 1 if len(self.segment) else 0

    def bounds(self) -> list[tuple[int, int]]:
        """Return the half-open row ranges of the segments, in order."""
        if not len(self.segment):
            return []
        edges = (np.flatnonzero(np.diff(self.segment)) + 1).tolist()
        return list(zip([0, *edges], [*edges, len(self.segment)], strict=True))


def preprocess_data(frame: CandleFrame, *, min_segment: int = 1) -> PreparedCandles:
    """Clean a frame and mark its contiguous segments.

    Args:
        frame: bars in any order; of several rows with one open time the last counts.
        min_segment: shorter segments are dropped (their bars count as dropped).

    Returns:
        The prepared bars. An impossible bar is dropped and thereby splits its segment.
    """
    order = np.argsort(frame.time_ns, kind="stable")
    ascending = frame.select(order)
    times = ascending.time_ns
    last_of_bar = np.append(times[1:] != times[:-1], np.ones(min(1, len(times)), np.bool_))
    aligned = (times - frame.timeframe.floor(0)) % frame.timeframe.ns == 0
    good = last_of_bar & ascending.final & aligned & ~ohlc_violations(ascending)
    kept = ascending.select(good)
    segment = _segments(kept)
    if min_segment > 1 and len(kept):
        long_enough = np.bincount(segment)[segment] >= min_segment
        kept = kept.select(long_enough)
        segment = _segments(kept)
    return PreparedCandles(kept, segment, len(frame) - len(kept))


def _segments(frame: CandleFrame) -> IntArray:
    breaks = np.diff(frame.time_ns) != frame.timeframe.ns
    return np.concatenate([np.zeros(min(1, len(frame)), np.int64), np.cumsum(breaks, dtype=np.int64)])
