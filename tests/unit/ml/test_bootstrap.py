"""Bootstraps: block lengths equal arch's, resampling keeps what it promises, and intervals cover."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from ml.bootstrap import (
    METHODS,
    BootstrapInterval,
    SeedSummary,
    bootstrap_interval,
    circular_indices,
    interquartile_mean,
    mean,
    optimal_block_length,
    paired_interval,
    seed_summary,
    sharpe,
    stationary_indices,
)
from tests.unit.ml.helpers import ar1_returns, noise_returns


@pytest.mark.parametrize("phi", [-0.6, 0.0, 0.3, 0.8, 0.97])
@pytest.mark.parametrize("size", [20, 137, 1_000, 20_000])
def test_block_lengths_equal_arch(phi: float, size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arch.bootstrap import optimal_block_length as reference
    for seed in range(4):
        values = ar1_returns(size, phi, seed) + 0.001
        wanted = reference(values).iloc[0]
        found = optimal_block_length(values)
        assert found.stationary == pytest.approx(float(wanted["stationary"]), abs=1e-9, rel=1e-9)
        assert found.circular == pytest.approx(float(wanted["circular"]), abs=1e-9, rel=1e-9)


def test_block_lengths_of_odd_series() -> None:
    assert optimal_block_length(np.full(50, 0.1)).stationary == 1.0
    spike = np.zeros(50)
    spike[0] = 1.0
    assert 0.0 <= optimal_block_length(spike).stationary <= 50
    differenced = optimal_block_length(np.diff(noise_returns(1_001, 1)))
    assert differenced.circular == math.ceil(3 * math.sqrt(1_000)), "never longer than this"
    with pytest.raises(ValueError, match="ten values"):
        optimal_block_length(np.arange(9.0))
    with pytest.raises(ValueError, match="finite"):
        optimal_block_length(np.array([1.0, math.nan] * 10))


def test_stationary_blocks_have_the_mean_length_and_start_anywhere() -> None:
    n, block = 500, 8.0
    indices = stationary_indices(n, block, 400, np.random.default_rng(1))
    assert indices.shape == (400, n)
    breaks = (np.diff(indices, axis=1) % n != 1).mean()
    assert breaks == pytest.approx((1 / block) * (1 - 1 / n), rel=0.03)
    counts = np.bincount(indices.ravel(), minlength=n)
    assert counts.min() > 250
    assert counts.max() < 550
    assert (np.diff(stationary_indices(n, 1.0, 50, np.random.default_rng(2)), axis=1) % n != 1).mean() > 0.99


def test_circular_blocks_are_contiguous() -> None:
    indices = circular_indices(10, 4, 300, np.random.default_rng(3))
    assert indices.shape == (300, 10)
    inside = np.diff(indices, axis=1) % 10 == 1
    assert inside[:, [0, 1, 2, 4, 5, 6, 8]].all()
    assert (np.bincount(indices.ravel(), minlength=10) > 200).all()


@pytest.mark.parametrize("method", METHODS)
def test_intervals_of_a_dependent_mean_cover(method: str) -> None:
    """Independent resampling would cover about 64 % here (AR(1) with 0.6); blocks come close to what they promise."""
    covered, naive = 0, 0
    for seed in range(200):
        values = ar1_returns(600, 0.6, seed)
        found = bootstrap_interval(values, mean, seed=seed, method=method, resamples=400)
        covered += found.low <= 0.0 <= found.high
        plain = bootstrap_interval(values, mean, seed=seed, method=method, resamples=400, block=1.0)
        naive += plain.low <= 0.0 <= plain.high
    assert 0.86 <= covered / 200 <= 1.0
    assert naive / 200 < 0.78


def test_interval_of_an_independent_mean_equals_theory() -> None:
    values = noise_returns(5_000, 4)
    found = bootstrap_interval(values, mean, seed=1, block=1.0, resamples=4_000)
    half = stats.norm.ppf(0.975) * values.std() / math.sqrt(5_000)
    assert found.estimate == values.mean()
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)
    assert found.positive == pytest.approx(stats.norm.cdf(values.mean() / (half / 1.96)), abs=0.03)
    assert BootstrapInterval.from_json(found.to_json()) == found


def test_seeds_decide() -> None:
    values = noise_returns(300, 5)
    first = bootstrap_interval(values, sharpe, seed=1, resamples=200)
    assert bootstrap_interval(values, sharpe, seed=1, resamples=200) == first
    assert bootstrap_interval(values, sharpe, seed=2, resamples=200) != first


def test_large_series_are_done_in_batches() -> None:
    shapes = []

    def statistic(values: np.ndarray) -> np.ndarray:
        shapes.append(values.shape[0])
        return values.mean(axis=-1)

    bootstrap_interval(noise_returns(1_000_000, 6), statistic, seed=1, resamples=9, block=50.0)
    assert shapes == [1, 4, 4, 1]


def test_paired_differences_use_the_same_bars() -> None:
    common = ar1_returns(800, 0.3, 7, sigma=0.05)
    common -= common.mean()
    better = common + noise_returns(800, 8, 0.001) + 0.0005
    found = paired_interval(better, common, mean, seed=1)
    assert found.low > 0.0, "what both share cancels"
    assert found.positive == 1.0
    assert found.estimate == pytest.approx((better - common).mean())
    assert paired_interval(common, common, sharpe, seed=1).high == 0.0
    alone = bootstrap_interval(better, mean, seed=1)
    assert alone.low < 0.0 < alone.high
    with pytest.raises(ValueError, match="length"):
        paired_interval(common, common[:-1], mean, seed=1)


@pytest.mark.parametrize(
    "options", [{"method": "jackknife"}, {"resamples": 0}, {"confidence": 1.0}, {"block": math.nan}]
)
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no bootstrap|at least one resample|finite"):
        bootstrap_interval(noise_returns(50, 1), mean, seed=1, **options)


def test_wrong_series() -> None:
    with pytest.raises(ValueError, match="ten values"):
        bootstrap_interval(noise_returns(9, 1), mean, seed=1)
    with pytest.raises(ValueError, match="statistic is not finite"):
        bootstrap_interval(noise_returns(50, 1), lambda values: values[..., 0] * math.nan, seed=1)
    with pytest.raises(ValueError, match="finite numbers"):
        paired_interval(np.full(20, math.inf), np.full(20, math.inf), mean, seed=1)


def test_sharpe_of_a_constant_series_is_zero() -> None:
    values = np.array([[0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    assert sharpe(values).tolist() == [0.0, 0.0, 2.0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_interquartile_mean_equals_scipy(count: int) -> None:
    values = noise_returns(count, count)
    assert interquartile_mean(values[None, :])[0] == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-15)


def test_seed_summary() -> None:
    values = np.array([0.03, 0.01, 0.02, 0.05, -0.01])
    found = seed_summary(values)
    assert (found.median, found.minimum, found.maximum, found.count) == (0.02, -0.01, 0.05, 5)
    assert found.iqm == pytest.approx(0.02)
    assert found.low is not None
    assert found.high is not None
    assert -0.01 <= found.low < 0.02 < found.high <= 0.05
    assert SeedSummary.from_json(found.to_json()) == found
    single = seed_summary(np.array([0.4]))
    assert (single.median, single.low, single.iqm_high) == (0.4, None, None)
    with pytest.raises(ValueError, match="no seed"):
        seed_summary(np.empty(0))
    with pytest.raises(ValueError, match="finite"):
        seed_summary(np.array([0.1, math.nan]))


def test_seed_intervals_cover_the_median() -> None:
    """With ten seeds; the range of five holds the median in 1 − 2/2⁵ = 93.75 % of cases, no more."""
    rng = np.random.default_rng(9)
    covered = 0
    for number in range(300):
        found = seed_summary(rng.normal(0.02, 0.01, 10), seed=number, resamples=500)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.02 <= found.high
    assert covered / 300 > 0.88
