from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from core.indicators.rolling import rolling_max, rolling_mean, rolling_min, rolling_rms, rolling_sum, rolling_zscore

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
