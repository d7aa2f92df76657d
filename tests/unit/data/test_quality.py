"""Quality check: each kind of damage is found and counted once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.frame import CandleFrame
from core.data.quality import Gap, check_quality, find_gaps
from core.domain.candles import Timeframe

MINUTE = Timeframe.M1.ns


def frame_of(indices: list[int]) -> CandleFrame:
    rows = len(indices)
    columns = [np.full(rows, value) for value in (1.0, 2.0, 0.5, 1.0, 1.0)]
    times = np.array(indices, np.int64) * MINUTE
    return CandleFrame(times, *columns, np.ones(rows, np.bool_), "A/B", Timeframe.M1)


def test_clean_frame_is_clean() -> None:
    report = check_quality(frame_of([5, 6, 7]))
    assert report.is_clean
    assert report.to_json()["first"] == "1970-01-01T00:05:00+00:00"
    assert check_quality(frame_of([])).to_json()["first"] is None


def test_everything_wrong_is_counted() -> None:
    frame = frame_of([0, 1, 1, 5, 4])
    frame.high[0] = 0.9
    frame.low[1] = np.nan
    frame.volume[3] = 0.0
    frame.final[4] = False
    frame.time_ns[0] += 7
    report = check_quality(frame)
    assert (report.duplicates, report.unsorted, report.misaligned) == (1, 1, 1)
    assert (report.zero_volume, report.ohlc_violations, report.unfinished) == (1, 2, 1)
    assert report.missing == 2
    assert not report.is_clean


def test_gap_names_its_bars() -> None:
    assert find_gaps(frame_of([0, 3])) == (Gap(MINUTE, 3 * MINUTE, 2),)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_gaps_and_rows_add_up_to_the_span(present: set[int]) -> None:
    indices = sorted(present)
    gaps = find_gaps(frame_of(indices))
    assert sum(g.missing for g in gaps) + len(indices) == indices[-1] - indices[0] + 1
    assert all((g.end_ns - g.start_ns) // MINUTE == g.missing for g in gaps)
