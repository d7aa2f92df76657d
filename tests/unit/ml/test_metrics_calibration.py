from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ml.metrics.calibration import calibration, probability_integral_transform, uniformity
from ml.metrics.distributions import normal_ppf

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
FloatArray = NDArray[np.float64]


def transform(quantiles: FloatArray, outcome: FloatArray, seed: int = 1) -> FloatArray:
    return probability_integral_transform(quantiles, outcome, LEVELS, np.random.default_rng(seed))


def normals(size: int, width: float = 1.0, seed: int = 2) -> tuple[FloatArray, FloatArray]:
    """Return quantiles of normal forecasts of changing mean and width, and outcomes."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.normal(size=size), rng.uniform(0.5, 2, size)
    quantiles = mean[:, None] + width * scale[:, None] * normal_ppf(LEVELS)
    return quantiles, mean + scale * rng.normal(size=size)


def test_between_two_quantiles_only_the_probability_of_being_there_is_known() -> None:
    quantiles = np.tile(normal_ppf(LEVELS), (4_000, 1))
    values = transform(quantiles * 3 + 1, np.full(4_000, 1.1))
    assert stats.kstest((values - 0.5) / 0.25, "uniform").pvalue > 0.001
    assert (values.min() >= 0.5, values.max() <= 0.75) == (True, True)


def test_outside_only_the_probability_of_being_there_is_known() -> None:
    quantiles = np.tile(normal_ppf(LEVELS), (4_000, 1))
    low, high = transform(quantiles, np.full(4_000, -9.0)), transform(quantiles, np.full(4_000, 9.0))
    assert stats.kstest(low / 0.05, "uniform").pvalue > 0.001
    assert stats.kstest((high - 0.95) / 0.05, "uniform").pvalue > 0.001
    assert (low.min() >= 0, low.max() <= 0.05, high.min() >= 0.95, high.max() <= 1) == (True,) * 4


def test_ties_are_drawn_from_the_levels_they_span_and_are_reproducible() -> None:
    quantiles = np.tile([-1.0, 0.0, 0.0, 0.0, 1.0], (4_000, 1))
    tied = transform(quantiles, np.zeros(4_000))
    assert stats.kstest((tied - 0.25) / 0.5, "uniform").pvalue > 0.001
    np.testing.assert_array_equal(tied, transform(quantiles, np.zeros(4_000)))
    assert (transform(quantiles, np.zeros(4_000), seed=9) != tied).any()
    np.testing.assert_array_equal(transform(quantiles, np.full(4_000, 1.0)), np.full(4_000, 0.95))


def test_the_test_of_uniformity_is_kolmogorovs() -> None:
    values = np.random.default_rng(3).beta(1.05, 1, 800)
    wanted = stats.kstest(values, "uniform", method="asymp")
    assert uniformity(values, 800) == pytest.approx((wanted.statistic, wanted.pvalue), abs=1e-9)
    assert uniformity(values, 80)[1] > wanted.pvalue


def test_calibrated_forecasts_are_flat_and_pass_however_many_they_are() -> None:
    quantiles, outcome = normals(100_000)
    result = calibration(quantiles, outcome, LEVELS, 1, np.random.default_rng(4))
    assert sum(result.pit_counts) == 100_000
    assert stats.chisquare(result.pit_counts).pvalue > 0.001
    assert result.ks_p_value > 0.01
    assert [point.nominal for point in result.points] == list(LEVELS)
    assert [point.observed for point in result.points] == pytest.approx(LEVELS, abs=0.01)


SHAPES = [stats.norm(), stats.t(3), stats.laplace(), stats.expon(), stats.uniform()]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.dist.name)
def test_right_quantiles_of_any_distribution_are_rejected_as_seldom_as_promised(shape: Any) -> None:
    rejected = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mean, scale = rng.normal(size=500), rng.uniform(0.5, 2, 500)
        quantiles = mean[:, None] + scale[:, None] * shape.ppf(LEVELS)
        outcome = mean + scale * shape.rvs(500, random_state=rng)
        rejected += calibration(quantiles, outcome, LEVELS, 1, np.random.default_rng(seed)).ks_p_value < 0.05
    assert 0.02 <= rejected / 300 <= 0.09


@pytest.mark.parametrize(("width", "outer"), [(0.7, "too many"), (1.4, "too few")])
def test_wrong_widths_show(width: float, outer: str) -> None:
    quantiles, outcome = normals(5_000, width)
    result = calibration(quantiles, outcome, LEVELS, 1, np.random.default_rng(4))
    assert result.ks_p_value < 1e-6
    assert (result.pit_counts[0] > 600) is (outer == "too many")
    assert (result.pit_counts[0] < 400) is (outer == "too few")
