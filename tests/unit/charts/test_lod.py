import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ui.charts.lod import FACTOR, HIGH, LOW, VOLUME, OhlcPyramid

SCALES = (1e-10, 1e-8, 1e-4, 1.0, 1e3, 1e6)


def make_bars(n: int, seed: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    close = scale * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    open_ = np.concatenate([[scale], close])[:n]
    high = np.maximum(open_, close) * (1 + rng.random(n) * 0.01)
    low = np.minimum(open_, close) * (1 - rng.random(n) * 0.01)
    return np.stack([open_, high, low, close, rng.integers(0, 1000, n).astype(float)])


def assert_same(left: OhlcPyramid, right: OhlcPyramid) -> None:
    assert left.level_count == right.level_count
    for k in range(left.level_count):
        np.testing.assert_array_equal(left.level(k), right.level(k))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 1_300),
    split=st.floats(0, 1),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from(SCALES),
    spikes=st.booleans(),
)
def test_streaming_equals_bulk_at_every_level(n, split, seed, scale, spikes):
    bars = make_bars(n, seed, scale)
    start = int(n * split)
    pyramid = OhlcPyramid.from_arrays(*bars[:, :start])
    for i in range(start, n):
        if spikes:
            pyramid.append(bars[:, i] * [1, 5, 0.2, 1, 9])  # a wrong print, corrected by the next message
            pyramid.replace_last(bars[:, i])
        else:
            pyramid.append(bars[:, i])
    assert_same(pyramid, OhlcPyramid.from_arrays(*bars))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 700), seed=st.integers(0, 999), data=st.data())
def test_late_correction_equals_bulk(n, seed, data):
    bars = make_bars(n, seed)
    pyramid = OhlcPyramid.from_arrays(*bars)
    index = data.draw(st.integers(0, n - 1))
    corrected = bars.copy()
    corrected[:, index] = [1.0, 9.0, 0.1, 2.0, 3.0]
    pyramid.replace(index, corrected[:, index])
    assert_same(pyramid, OhlcPyramid.from_arrays(*corrected))


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 2_000),
    a=st.integers(-50, 2_050),
    b=st.integers(-50, 2_050),
    seed=st.integers(0, 99),
    scale=st.sampled_from(SCALES),
)
def test_y_range_equals_brute_force(n, a, b, seed, scale):
    bars = make_bars(n, seed, scale)
    pyramid = OhlcPyramid.from_arrays(*bars)
    first, last = min(a, b), max(a, b)
    inside = bars[:, max(0, first) : max(0, last)]
    found = pyramid.y_range(first, last)
    if inside.shape[1] == 0:
        assert found is None
    else:
        assert found == (inside[LOW].min(), inside[HIGH].max())


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 3_000), a=st.integers(0, 3_000), span=st.integers(1, 3_000), limit=st.integers(1, 300))
def test_slice_covers_the_range_with_few_buckets(n, a, span, limit):
    bars = make_bars(n, 7)
    pyramid = OhlcPyramid.from_arrays(*bars)
    first, last = min(a, n), min(a + span, n)
    level, start, values = pyramid.slice(first, last, limit)
    if first >= last:
        assert values.shape[1] == 0
        return
    width = FACTOR**level
    assert start * width <= first
    assert (start + values.shape[1]) * width >= last
    assert values.shape[1] <= limit + 2
    if level:  # the next finer level would have been too much
        assert -(-(last - first) // (width // FACTOR)) > limit
    assert values[HIGH].max() >= bars[HIGH, first:last].max()
    assert values[LOW].min() <= bars[LOW, first:last].min()
    assert pyramid.max_volume(first, last, limit) == values[VOLUME].max()


def test_volume_is_conserved_at_every_level():
    bars = make_bars(4_097, 3)
    pyramid = OhlcPyramid.from_arrays(*bars)
    for k in range(pyramid.level_count):
        assert pyramid.level(k)[VOLUME].sum() == bars[VOLUME].sum()
    assert pyramid.level(pyramid.level_count - 1).shape == (5, 1)


def test_empty_pyramid_answers_without_bars():
    pyramid = OhlcPyramid()
    assert len(pyramid) == 0
    assert pyramid.y_range(0, 10) is None
    assert pyramid.slice(0, 10, 5)[2].shape == (5, 0)
    assert pyramid.max_volume(0, 10, 5) == 0.0
    with pytest.raises(IndexError):
        pyramid.replace_last([1, 1, 1, 1, 1])


def test_nan_extremes_are_ignored():
    bars = make_bars(40, 5)
    bars[HIGH, 3] = bars[LOW, 3] = np.nan
    pyramid = OhlcPyramid.from_arrays(*bars)
    assert pyramid.y_range(0, 40) == (np.nanmin(bars[LOW]), np.nanmax(bars[HIGH]))


def test_columns_of_different_length_are_refused():
    one, two = np.ones(1), np.ones(2)
    with pytest.raises(ValueError, match="differ in length"):
        OhlcPyramid.from_arrays(one, one, two, one, one)
