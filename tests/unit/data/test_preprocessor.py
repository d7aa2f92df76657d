"""Preprocessing: what remains is clean and contiguous within each segment, and nothing is invented."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.frame import CandleFrame
from core.data.preprocessor import preprocess_data
from core.domain.candles import Timeframe

STEP = Timeframe.M1.ns


def frame_of(indices: list[int]) -> CandleFrame:
    columns = [np.full(len(indices), value) for value in (1.0, 2.0, 0.5, 1.0, 1.0)]
    times = np.array(indices, np.int64) * STEP
    return CandleFrame(times, *columns, np.ones(len(indices), np.bool_), "A/B", Timeframe.M1)


def test_gaps_and_bad_bars_split_segments() -> None:
    frame = frame_of([0, 1, 2, 5, 6, 7, 9])
    frame.low[4] = -1.0  # bar 6
    frame.final[6] = False
    prepared = preprocess_data(frame)
    assert (prepared.frame.time_ns // STEP).tolist() == [0, 1, 2, 5, 7]
    assert prepared.segment.tolist() == [0, 0, 0, 1, 2]
    assert prepared.bounds() == [(0, 3), (3, 4), (4, 5)]
    assert (prepared.segments, prepared.dropped) == (3, 2)
    long = preprocess_data(frame, min_segment=2)
    assert (long.frame.time_ns // STEP).tolist() == [0, 1, 2]
    assert long.segment.tolist() == [0, 0, 0]


def test_empty_frame() -> None:
    prepared = preprocess_data(CandleFrame.empty("A/B", Timeframe.M1))
    assert (prepared.segments, prepared.bounds(), prepared.dropped) == (0, [], 0)


@given(st.lists(st.integers(0, 40), max_size=60))
def test_any_order_and_any_duplicates(indices: list[int]) -> None:
    prepared = preprocess_data(frame_of(indices))
    assert (prepared.frame.time_ns // STEP).tolist() == sorted(set(indices))
    assert prepared.dropped == len(indices) - len(set(indices))
    for start, stop in prepared.bounds():
        times = prepared.frame.time_ns[start:stop]
        assert np.all(np.diff(times) == STEP)
    assert all(
        prepared.frame.time_ns[b[0]] - prepared.frame.time_ns[a[1] - 1] > STEP
        for a, b in zip(prepared.bounds(), prepared.bounds()[1:], strict=False)
    )
