"""What is wrong with a price history: gaps, duplicates, empty and impossible bars. Pure functions, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.clock import to_datetime
from core.data.frame import CandleFrame


@dataclass(frozen=True, slots=True)
class Gap:
    """Bars that should exist between two stored ones.

    Attributes:
        start_ns: open time of the first missing bar, ns UTC.
        end_ns: open time of the first bar after the gap, ns UTC.
        missing: number of missing bars.
    """

    start_ns: int
    end_ns: int
    missing: int


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What `check_quality` found.

    Attributes:
        rows: rows looked at.
        first_ns / last_ns: first and last open time, ns UTC; None without rows.
        gaps: every gap, oldest first.
        duplicates: rows whose open time occurred before.
        unsorted: rows older than the row before them.
        misaligned: rows that do not open on a multiple of the timeframe.
        zero_volume: bars in which nothing was traded.
        ohlc_violations: bars whose high or low contradicts the other prices, or with a price that is not positive.
        unfinished: rows not final.
    """

    symbol: str
    timeframe: str
    rows: int
    first_ns: int | None
    last_ns: int | None
    gaps: tuple[Gap, ...]
    duplicates: int
    unsorted: int
    misaligned: int
    zero_volume: int
    ohlc_violations: int
    unfinished: int

    @property
    def missing(self) -> int:
        """Missing bars of all gaps."""
        return sum(gap.missing for gap in self.gaps)

    @property
    def is_clean(self) -> bool:
        """Whether nothing needs repair (quiet bars and the forming bar are normal)."""
        return not (self.gaps or self.duplicates or self.unsorted or self.misaligned or self.ohlc_violations)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, times in ISO 8601."""
        return {
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "rows": self.rows,
            "first": None if self.first_ns is None else to_datetime(self.first_ns).isoformat(),
            "last": None if self.last_ns is None else to_datetime(self.last_ns).isoformat(),
            "gaps": len(self.gaps),
            "missing": self.missing,
            "longest_gap": max((gap.missing for gap in self.gaps), default=0),
            "duplicates": self.duplicates,
            "unsorted": self.unsorted,
            "misaligned": self.misaligned,
            "zero_volume": self.zero_volume,
            "ohlc_violations": self.ohlc_violations,
            "unfinished": self.unfinished,
            "clean": self.is_clean,
        }


def find_gaps(frame: CandleFrame) -> tuple[Gap, ...]:
    """Return the gaps between the first and the last bar, whatever the order of the rows."""
    times = np.unique(frame.time_ns)
    step = frame.timeframe.ns
    missing = np.diff(times) // step - 1
    return tuple(
        Gap(int(times[i]) + step, int(times[i + 1]), int(missing[i])) for i in np.flatnonzero(missing > 0).tolist()
    )


def ohlc_violations(frame: CandleFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark the bars whose prices cannot be true; NaN counts as a violation. Shape (n,)."""
    body_high = np.maximum(frame.open, frame.close)
    body_low = np.minimum(frame.open, frame.close)
    good = (frame.low > 0) & (frame.high >= body_high) & (frame.low <= body_low) & np.isfinite(frame.high)
    return ~(good & (frame.volume >= 0))


def check_quality(frame: CandleFrame) -> QualityReport:
    """Look at every row of `frame` and count what is wrong with it."""
    times = frame.time_ns
    rows = len(frame)
    offsets = times - np.int64(frame.timeframe.floor(0))
    return QualityReport(
        symbol=frame.symbol,
        timeframe=frame.timeframe.value,
        rows=rows,
        first_ns=int(times.min()) if rows else None,
        last_ns=int(times.max()) if rows else None,
        gaps=find_gaps(frame),
        duplicates=rows - len(np.unique(times)),
        unsorted=int(np.count_nonzero(np.diff(times) < 0)),
        misaligned=int(np.count_nonzero(offsets % frame.timeframe.ns)),
        zero_volume=int(np.count_nonzero(frame.volume == 0)),
        ohlc_violations=int(np.count_nonzero(ohlc_violations(frame))),
        unfinished=int(np.count_nonzero(~frame.final)),
    )
