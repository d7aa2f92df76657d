from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ui.charts.ticks import TickRank, price_ticks, time_ticks
from core.clock import NS_PER_S

SEOUL, NEW_YORK, KOLKATA = ZoneInfo("Asia/Seoul"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")


def ns(*moment: int, zone=UTC) -> int:
    return int(datetime(*moment, tzinfo=zone).timestamp()) * NS_PER_S


def minutes(ns_: int) -> int:
    """Bars of one minute without gaps: the index is the minute since the epoch."""
    return -(-ns_ // (60 * NS_PER_S))


@given(
    low=st.floats(1e-9, 1e6),
    share=st.floats(1e-4, 10),
    pixels=st.integers(50, 2_000),
    decimals=st.integers(0, 10),
)
def test_price_marks_lie_inside_at_even_distances_on_the_tick_grid(low, share, pixels, decimals):
    high = low * (1 + share)
    ticks = price_ticks(low, high, pixels, 44, decimals)
    slack = (high - low) * 1e-6
    assert all(low - slack <= t <= high + slack for t in ticks)
    assert len(ticks) <= pixels / 44 + 1
    for before, after in pairwise(ticks):
        assert (after - before) >= 10.0**-decimals * (1 - 1e-6)
        assert (after - before) / (high - low) * pixels >= 44 * (1 - 1e-6)
    assert len({f"{t:.{decimals}f}" for t in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("low", "high", "decimals", "expected"),
    [
        (0.00000012, 0.00000031, 8, ["0.00000015", "0.00000020", "0.00000025", "0.00000030"]),
        (56_012.3, 59_870.0, 2, ["57000.00", "58000.00", "59000.00"]),
        (0.1, 0.4, 1, ["0.1", "0.2", "0.3", "0.4"]),
    ],
)
def test_price_marks_of_known_ranges(low, high, decimals, expected):
    assert [f"{t:.{decimals}f}" for t in price_ticks(low, high, 200, 44, decimals)] == expected


def test_price_marks_of_impossible_ranges():
    assert price_ticks(1.0, 1.0, 100, 40, 2) == []
    assert price_ticks(2.0, 1.0, 100, 40, 2) == []
    assert price_ticks(0.0, float("inf"), 100, 40, 2) == []
    assert price_ticks(0.0, 1.0, 10, 40, 2) == []


def test_time_marks_stand_on_local_midnight():
    ticks = time_ticks(ns(2024, 5, 1), ns(2024, 5, 4), 86_400, SEOUL, minutes)
    assert [(t.moment.day, t.moment.hour) for t in ticks] == [(2, 0), (3, 0), (4, 0)]
    assert ticks[0].index == minutes(ns(2024, 5, 1, 15))
    assert {t.rank for t in ticks} == {TickRank.DAY}


def test_time_marks_follow_half_hour_zones():
    ticks = time_ticks(ns(2024, 5, 1), ns(2024, 5, 1, 6), 3_600, KOLKATA, minutes)
    assert [t.moment.hour for t in ticks] == [6, 7, 8, 9, 10, 11]
    assert all(t.moment.minute == 0 for t in ticks)


def test_time_marks_through_both_daylight_saving_changes():
    spring = time_ticks(ns(2024, 3, 10, 5), ns(2024, 3, 10, 9), 3_600, NEW_YORK, minutes)
    assert [f"{t.moment.astimezone(NEW_YORK):%H}" for t in spring] == ["00", "01", "03", "04", "05"]
    autumn = time_ticks(ns(2024, 11, 3, 4), ns(2024, 11, 3, 8), 3_600, NEW_YORK, minutes)
    assert [t.moment.hour for t in autumn] == [0, 1, 1, 2, 3]
    indices = [t.index for t in autumn]
    assert [b - a for a, b in pairwise(indices)] == [60, 60, 60, 60]


def test_larger_units_outrank():
    ticks = time_ticks(ns(2023, 11, 15), ns(2024, 2, 15), 30 * 86_400, UTC, minutes)
    assert [(t.moment.month, t.rank) for t in ticks] == [
        (12, TickRank.MONTH),
        (1, TickRank.YEAR),
        (2, TickRank.MONTH),
    ]
    years = time_ticks(ns(2015, 6, 1), ns(2024, 6, 1), 500 * 86_400, UTC, minutes)
    assert [t.moment.year for t in years] == [2016, 2018, 2020, 2022, 2024]


def test_several_boundaries_in_a_gap_give_one_mark():
    def one_bar(_ns: int) -> int:
        return 7

    ticks = time_ticks(ns(2023, 12, 30), ns(2024, 1, 3), 86_400, UTC, one_bar)
    assert [(t.index, t.rank) for t in ticks] == [(7, TickRank.YEAR)]


def test_empty_and_absurd_ranges_give_no_marks():
    assert time_ticks(10, 10, 60, UTC, minutes) == []
    assert time_ticks(-(10**19), -(10**18), 60, UTC, minutes) == []


@given(
    start=st.integers(1_262_304_000, 1_900_000_000),
    span=st.integers(60, 4 * 365 * 86_400),
    zone=st.sampled_from([UTC, SEOUL, NEW_YORK, KOLKATA]),
)
def test_marks_ascend_lie_inside_and_are_few(start, span, zone):
    wanted = span / 12
    ticks = time_ticks(start * NS_PER_S, (start + span) * NS_PER_S, wanted, zone, minutes)
    indices = [t.index for t in ticks]
    assert indices == sorted(set(indices))
    assert len(ticks) <= 26
    assert all(start <= t.moment.timestamp() <= start + span for t in ticks)
