import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ui.charts.series import BarSeries

HOUR = 3_600_000_000_000
START = 1_700_000_000_000_000_000 // HOUR * HOUR


def bar(price: float) -> tuple[float, float, float, float, float]:
    return price, price + 1, price - 1, price + 0.5, 10.0


def series_of(hours: list[int]) -> BarSeries:
    series = BarSeries(HOUR)
    times = np.array([START + h * HOUR for h in hours], np.int64)
    rows = np.array([bar(100.0 + h) for h in hours], np.float64).reshape(len(hours), 5).T
    series.set_history(times, *rows)
    return series


def test_gaps_are_found_and_counted():
    series = series_of([0, 1, 2, 6, 7])
    assert list(series.gaps) == [3]
    assert series.missing_before(3) == 3
    assert series.missing_before(2) == 0
    series.append_final(START + 10 * HOUR, bar(1.0))
    assert list(series.gaps) == [3, 5]
    series.set_forming(START + 12 * HOUR, bar(1.0))
    assert list(series.gaps) == [3, 5, 6]
    assert series.missing_before(6) == 1


@settings(max_examples=100, deadline=None)
@given(hours=st.sets(st.integers(0, 300), min_size=1, max_size=80), probe=st.integers(-50, 400))
def test_time_and_index_agree(hours, probe):
    known = sorted(hours)
    series = series_of(known)
    for index, hour in enumerate(known):
        assert series.time_at(index) == START + hour * HOUR
        assert series.index_at(START + hour * HOUR + HOUR // 2) == index
        assert series.first_index_from(START + hour * HOUR) == index
    moment = START + probe * HOUR + HOUR // 3
    index = series.index_at(moment)
    assert series.time_at(index) <= moment < series.time_at(index + 1)
    assert series.time_at(series.first_index_from(moment)) >= moment


def test_forming_bar_becomes_final_at_its_index():
    series = series_of([0, 1])
    assert series.set_forming(START + 2 * HOUR, bar(7.0))
    assert (len(series), series.total, series.last_close) == (2, 3, 7.5)
    assert series.append_final(START + 2 * HOUR, bar(8.0)) == 2
    assert (len(series), series.total, series.forming, series.last_close) == (3, 3, None, 8.5)


def test_a_forming_bar_whose_close_was_missed_is_kept_and_can_be_corrected():
    series = series_of([0])
    series.set_forming(START + HOUR, bar(5.0))
    series.set_forming(START + 2 * HOUR, bar(6.0))
    assert (len(series), series.total) == (2, 3)
    assert series.append_final(START + HOUR, bar(50.0)) == 1
    assert series.bar(1).open == 50.0
    assert series.forming == bar(6.0)


def test_late_bars_are_ignored_as_forming_and_inserted_as_final():
    series = series_of([0, 3])
    assert not series.set_forming(START + 3 * HOUR, bar(1.0))
    series.set_forming(START + 4 * HOUR, bar(9.0))
    assert series.append_final(START + HOUR, bar(42.0)) == 1
    assert [series.bar(i).open for i in range(series.total)] == [100.0, 42.0, 103.0, 9.0]
    assert list(series.gaps) == [2]


def test_streaming_equals_history():
    whole = series_of(list(range(5_000)))
    streamed = series_of([0])
    for h in range(1, 5_000):
        streamed.set_forming(START + h * HOUR, bar(1.0))
        streamed.append_final(START + h * HOUR, bar(100.0 + h))
    np.testing.assert_array_equal(whole.times, streamed.times)
    for k in range(whole.pyramid.level_count):
        np.testing.assert_array_equal(whole.pyramid.level(k), streamed.pyramid.level(k))


def test_y_range_includes_the_forming_bar():
    series = series_of([0, 1])
    series.set_forming(START + 2 * HOUR, (1.0, 500.0, 0.5, 2.0, 1.0))
    assert series.y_range(0, 3) == (0.5, 500.0)
    assert series.y_range(0, 2) == (99.0, 102.0)
    assert series.y_range(5, 9) is None


def test_empty_series_answers():
    series = BarSeries(HOUR)
    assert (series.total, series.last_close, series.bar(0), series.y_range(0, 1)) == (0, None, None, None)
    assert series.index_at(5 * HOUR + 1) == 5
    assert series.append_final(START, bar(1.0)) == 0


@pytest.mark.parametrize("hours", [[0, 0], [2, 1]])
def test_times_that_do_not_ascend_are_refused(hours):
    with pytest.raises(ValueError, match="ascend"):
        series_of(hours)
