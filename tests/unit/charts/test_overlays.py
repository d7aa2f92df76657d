import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ui.charts.overlays import moving_average, peak_buckets


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 400), period=st.integers(1, 60), seed=st.integers(0, 99), scale=st.sampled_from([1e-8, 1.0, 1e6])
)
def test_moving_average_equals_the_plain_mean(n, period, seed, scale):
    values = scale * (1 + np.random.default_rng(seed).random(n))
    found = moving_average(values, period)
    assert found.shape == values.shape
    for i in range(n):
        if i + 1 < period:
            assert np.isnan(found[i])
        else:
            np.testing.assert_allclose(found[i], values[i + 1 - period : i + 1].mean(), rtol=1e-10)


@given(n=st.integers(1, 500), per_bucket=st.integers(1, 50), seed=st.integers(0, 99))
def test_reduced_line_keeps_every_peak(n, per_bucket, seed):
    values = np.random.default_rng(seed).random(n)
    x, y = peak_buckets(0, values, per_bucket)
    assert x.shape == y.shape
    assert (y.min(), y.max()) == (values.min(), values.max())
    assert (np.diff(x) >= 0).all()
