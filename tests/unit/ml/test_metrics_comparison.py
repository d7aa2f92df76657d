from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS

from ml.metrics.comparison import diebold_mariano, long_run_variance, newey_west_lags

RNG = np.random.default_rng(6)


def hac_variance(values: NDArray[np.float64], lags: int, kernel: str) -> float:
    """Return the variance of the mean by statsmodels."""
    fitted = OLS(values, np.ones(len(values))).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "kernel": kernel, "use_correction": False}
    )
    return float(fitted.cov_params()[0, 0])


@pytest.mark.parametrize(("horizon", "count"), [(1, 900), (3, 900), (24, 900), (24, 5_000)])
def test_the_long_run_variance_is_the_larger_of_two_of_statsmodels(horizon: int, count: int) -> None:
    values = np.convolve(RNG.standard_t(5, count + horizon - 1), np.ones(horizon), "valid")
    bartlett = hac_variance(values, newey_west_lags(count, horizon), "bartlett")
    uniform = hac_variance(values, horizon - 1, "uniform")
    assert long_run_variance(values, horizon) == pytest.approx(count * max(bartlett, uniform), rel=1e-9)


def test_the_long_run_variance_sees_the_whole_overlap() -> None:
    overlapping = np.convolve(RNG.normal(0, 1, 60_000), np.ones(12), "valid")
    assert long_run_variance(overlapping, 12) == pytest.approx(144, rel=0.12)
    assert newey_west_lags(100, 1) == 4
    assert newey_west_lags(50, 500) == 49


def test_diebold_mariano_equals_the_formula() -> None:
    count, horizon = 400, 4
    loss_a = np.convolve(RNG.normal(0, 1, count + 3), np.ones(4), "valid") ** 2
    loss_b = np.convolve(RNG.normal(0, 1.1, count + 3), np.ones(4), "valid") ** 2
    difference = loss_a - loss_b
    variance = max(
        hac_variance(difference, newey_west_lags(count, horizon), "bartlett"),
        hac_variance(difference, horizon - 1, "uniform"),
    )
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    statistic = difference.mean() / np.sqrt(variance) * np.sqrt(correction)
    result = diebold_mariano(loss_a, loss_b, horizon)
    assert result.mean_difference == pytest.approx(difference.mean(), abs=1e-12)
    assert result.statistic == pytest.approx(statistic, rel=1e-9)
    assert result.p_value == pytest.approx(2 * stats.t.sf(abs(statistic), count / horizon - 1), rel=1e-9)
    assert result.p_a_better == pytest.approx(stats.t.cdf(statistic, count / horizon - 1), rel=1e-9)


def test_sides_are_mirrored() -> None:
    loss_a, loss_b = RNG.exponential(1.0, 500), RNG.exponential(1.3, 500)
    forth, back = diebold_mariano(loss_a, loss_b, 1), diebold_mariano(loss_b, loss_a, 1)
    assert forth.statistic == -back.statistic < 0
    assert forth.p_value == back.p_value < 0.01
    assert forth.p_a_better + back.p_a_better == pytest.approx(1.0)
    assert forth.p_a_better < 0.01


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_differences_that_do_not_vary_prove_nothing(gain: float) -> None:
    loss = RNG.uniform(1, 2, 300)
    result = diebold_mariano(loss, loss + gain, 1)
    assert (result.statistic, result.p_value, result.p_a_better) == (0.0, 1.0, 1.0)


def test_too_few_independent_targets_prove_nothing() -> None:
    result = diebold_mariano(RNG.uniform(0, 1, 100), RNG.uniform(5, 6, 100), 50)
    assert (result.statistic, result.p_value, result.p_a_better) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(("horizon", "count"), [(1, 300), (12, 600), (48, 1_000)])
def test_equal_forecasts_are_told_apart_as_seldom_as_promised(horizon: int, count: int) -> None:
    seeds, claims = 600, 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        a, b = (np.convolve(rng.normal(size=count + horizon), np.ones(horizon), "valid")[:count] for _ in range(2))
        claims += diebold_mariano(a**2, b**2, horizon).p_value < 0.05
    assert 0.02 <= claims / seeds <= 0.075


def test_one_target_proves_nothing() -> None:
    assert long_run_variance(np.array([0.3]), 1) == 0.0
    result = diebold_mariano(np.array([1.0]), np.array([2.0]), 1)
    assert (result.mean_difference, result.statistic, result.p_value) == (-1.0, 0.0, 1.0)
