from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from core.indicators.rolling import (
    decayed_sum,
    lagged,
    on_grid,
    ratio,
    rolling_age_of_max,
    rolling_comoments,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_moments,
    rolling_rms,
    rolling_sum,
    rolling_zscore,
)

WINDOWS = [1, 2, 3, 7, 8, 31, 48, 200]


@pytest.mark.parametrize("window", WINDOWS)
def test_rolling_statistics_equal_their_definition(window: int) -> None:
    values = np.random.default_rng(window).normal(5, 2, 200)
    windows = sliding_window_view(values, window)
    for function, expected in (
        (rolling_sum, windows.sum(-1)),
        (rolling_mean, windows.mean(-1)),
        (rolling_max, windows.max(-1)),
        (rolling_min, windows.min(-1)),
        (rolling_rms, np.sqrt((windows**2).mean(-1))),
    ):
        result = function(values, window)
        assert np.isnan(result[: window - 1]).all()
        np.testing.assert_allclose(result[window - 1 :], expected, rtol=1e-12)


@pytest.mark.parametrize("window", WINDOWS[1:])
def test_zscore_equals_its_definition(window: int) -> None:
    values = np.random.default_rng(window).normal(5, 2, 300)
    windows = sliding_window_view(values, window)
    expected = (windows[:, -1] - windows.mean(-1)) / windows.std(-1)
    np.testing.assert_allclose(rolling_zscore(values, window)[window - 1 :], expected, rtol=1e-9)


def test_zscore_of_a_constant_is_zero() -> None:
    assert (rolling_zscore(np.full(20, 0.1), 5)[4:] == 0).all()
    assert (rolling_zscore(np.zeros(20), 5)[4:] == 0).all()


@given(st.integers(1, 60), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_a_window_alone_gives_bit_for_bit_the_batch_value(window: int, extra: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1e6, window + extra)
    for function in (rolling_sum, rolling_rms, rolling_zscore, rolling_max):
        assert function(values, window)[-1] == function(values[-window:], window)[-1]


def test_short_input_and_bad_windows() -> None:
    assert np.isnan(rolling_sum(np.ones(3), 4)).all()
    assert len(rolling_sum(np.empty(0), 4)) == 0
    with pytest.raises(ValueError, match="positive"):
        rolling_sum(np.ones(3), 0)


@pytest.mark.parametrize("window", WINDOWS[1:])
def test_moments_and_comoments_equal_their_definition(window: int) -> None:
    rng = np.random.default_rng(window)
    x, y = rng.normal(1e5, 2, 300), rng.normal(-3, 1e-3, 300)
    windows = sliding_window_view(x, window), sliding_window_view(y, window)
    mean, squares = rolling_moments(x, window)
    np.testing.assert_allclose(mean[window - 1 :], windows[0].mean(-1), rtol=1e-12)
    np.testing.assert_allclose(squares[window - 1 :], windows[0].var(-1) * window, rtol=1e-7)
    xx, xy, yy = rolling_comoments(x, y, window)
    for index in range(window - 1, 300, 37):
        dx, dy = (part[index - window + 1] - part[index - window + 1].mean() for part in windows)
        np.testing.assert_allclose([xx[index], yy[index]], [dx @ dx, dy @ dy], rtol=1e-7)
        assert xy[index] == pytest.approx(dx @ dy, abs=1e-7 * np.sqrt((dx @ dx) * (dy @ dy)))


def test_moments_of_equal_values_are_exactly_zero() -> None:
    assert (rolling_moments(np.full(100, 0.1), 37)[1][36:] == 0).all()


@given(st.integers(1, 60), st.integers(0, 200), st.floats(0, 0.999), st.integers(0, 2**32 - 1))
def test_a_decayed_sum_is_the_same_from_its_window(length: int, extra: int, decay: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1e6, length + extra)
    result = decayed_sum(values, decay, length)
    assert np.isnan(result[: length - 1]).all()
    assert result[-1] == decayed_sum(values[-length:], decay, length)[-1]
    weights = decay ** np.arange(length - 1, -1, -1.0)
    assert result[-1] == pytest.approx(weights @ values[-length:], abs=1e-9 * np.abs(values).max() * length)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 20))
def test_the_age_of_the_largest_counts_from_the_latest(numbers: list[int], window: int) -> None:
    values = np.array(numbers, np.float64)
    ages = rolling_age_of_max(values, window)
    assert np.isnan(ages[: window - 1]).all()
    for index in range(window - 1, len(values)):
        part = numbers[index - window + 1 : index + 1]
        assert ages[index] == part[::-1].index(max(part))


@given(st.floats(1e-12, 1e12), st.integers(20, 50))
def test_the_grid_keeps_so_many_bits(value: float, bits: int) -> None:
    rounded = on_grid(np.array([value]), bits)[0]
    assert abs(rounded - value) <= value * 2.0**-bits
    mantissa = int(np.frexp(rounded)[0] * 2.0**53)
    assert mantissa % 2 ** (53 - bits) == 0


def test_sums_on_the_grid_are_exact_in_any_order() -> None:
    prices = on_grid(np.random.default_rng(0).uniform(1000, 4000, 5000), 40)
    running = prices[:30].sum()
    for index in range(30, 5000):
        running += prices[index]
        running -= prices[index - 30]
        assert running == prices[index - 29 : index + 1][::-1].sum()


def test_ratio_and_lag() -> None:
    result = ratio(np.array([1.0, np.nan, 3.0]), np.array([0.0, 1.0, 2.0]), 9.0)
    np.testing.assert_array_equal(result, [9.0, np.nan, 1.5])
    np.testing.assert_array_equal(lagged(np.arange(3.0), 1), [np.nan, 0, 1])
    np.testing.assert_array_equal(lagged(np.arange(2.0), 5), [np.nan, np.nan])
