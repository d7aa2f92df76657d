from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import linear_model, metrics

from ml.api import ForecastSpec
from ml.dataset import build_dataset
from ml.evaluators import (
    correlation,
    edge_p_value,
    evaluate_forecast,
    long_run_variance,
    mean_pinball,
    normal_cdf,
    point_metrics,
    rank_correlation,
    ranks,
    ridge_forecast,
    wilson_interval,
)
from tests.unit.ml.helpers import ar1_returns, frame_from_returns, noise_returns

RNG = np.random.default_rng(4)
OUTCOME = RNG.normal(0, 0.01, 2_000)
FORECAST = 0.2 * OUTCOME + RNG.normal(0, 0.004, 2_000)


def test_point_metrics_equal_the_libraries() -> None:
    row = point_metrics("model", FORECAST, OUTCOME, 1)
    assert row.mae == pytest.approx(metrics.mean_absolute_error(OUTCOME, FORECAST))
    assert row.rmse == pytest.approx(metrics.root_mean_squared_error(OUTCOME, FORECAST))
    assert row.r2 == pytest.approx(1 - row.rmse**2 / np.mean(OUTCOME**2))
    assert row.skill == pytest.approx(1 - row.mae / np.abs(OUTCOME).mean())
    assert row.ic == pytest.approx(stats.pearsonr(FORECAST, OUTCOME).statistic)
    assert row.rank_ic == pytest.approx(stats.spearmanr(FORECAST, OUTCOME).statistic)
    hits = int((np.sign(FORECAST) == np.sign(OUTCOME)).sum())
    interval = stats.binomtest(hits, 2_000).proportion_ci(method="wilson")
    assert (row.hit_low, row.hit_high) == pytest.approx((interval.low, interval.high))


def test_ranks_share_ties() -> None:
    values = RNG.integers(0, 20, 300).astype(np.float64)
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values))
    other = RNG.integers(0, 5, 300).astype(np.float64)
    assert rank_correlation(values, other) == pytest.approx(stats.spearmanr(values, other).statistic)


def test_constant_forecasts_have_no_correlation_and_no_hits() -> None:
    assert correlation(np.ones(5), np.arange(5.0)) is None
    row = point_metrics("persistence", np.zeros(2_000), OUTCOME, 1)
    assert (row.ic, row.rank_ic, row.hit_rate, row.hit_low) == (None, None, None, None)
    assert (row.skill, row.r2) == (0.0, 0.0)


def test_pinball_equals_sklearn_and_the_known_value() -> None:
    levels = (0.05, 0.5, 0.95)
    quantiles = np.sort(RNG.normal(0, 0.01, (2_000, 3)), axis=1)
    wanted = np.mean([metrics.mean_pinball_loss(OUTCOME, quantiles[:, i], alpha=q) for i, q in enumerate(levels)])
    assert mean_pinball(quantiles, OUTCOME, levels) == pytest.approx(wanted)
    normal = RNG.normal(0, 1, 400_000)
    assert mean_pinball(np.array([stats.norm.ppf(0.05)]), normal, (0.05,)) == pytest.approx(0.10314, rel=0.02)


def test_wilson_and_normal_equal_scipy() -> None:
    interval = stats.binomtest(30, 100).proportion_ci(method="wilson")
    assert wilson_interval(0.3, 100) == pytest.approx((interval.low, interval.high))
    for z in (-3.0, 0.0, 1.7):
        assert normal_cdf(z) == pytest.approx(stats.norm.cdf(z))


def test_long_run_variance_sees_overlap() -> None:
    noise = RNG.normal(0, 1, 50_000)
    assert long_run_variance(noise, 1) == pytest.approx(1.0, rel=0.1)
    overlapping = np.convolve(noise, np.ones(12), "valid")  # long-run variance 12², plain variance 12
    assert long_run_variance(overlapping, 12) > 5 * overlapping.var()


def test_edge_p_value_is_small_for_skill_and_large_for_noise() -> None:
    assert edge_p_value(FORECAST, OUTCOME, 1) < 1e-6
    assert edge_p_value(np.zeros(2_000), OUTCOME, 1) == 1.0
    claims = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        claims += edge_p_value(rng.normal(0, 0.002, 1_000), rng.normal(0, 0.01, 1_000), 1) < 0.05
    assert claims <= 10  # at most the nominal 5 %


def test_ridge_equals_sklearn_and_finds_ar1() -> None:
    data = build_dataset(frame_from_returns(ar1_returns(8_000, 0.3, 2)), ForecastSpec())
    rows = data.rows(data.test)
    forecast = ridge_forecast(data, rows)
    train, valid = data.rows(data.train), data.rows(data.valid)
    best = min(
        (linear_model.Ridge(10.0**power).fit(data.inputs[train], data.log_return[train, 0]) for power in range(-2, 7)),
        key=lambda model: np.mean((data.log_return[valid, 0] - model.predict(data.inputs[valid])) ** 2),
    )
    np.testing.assert_allclose(forecast, best.predict(data.inputs[rows]), atol=1e-6)
    assert point_metrics("ridge", forecast, data.log_return[rows, 0], 1).r2 > 0.05


@pytest.mark.parametrize("skilled", [True, False])
def test_the_verdict_follows_the_figures(skilled: bool) -> None:
    data = build_dataset(frame_from_returns(noise_returns(4_000, 8)), ForecastSpec())
    rows = data.rows(data.test)
    noise = np.random.default_rng(1).normal(0, 0.002, len(rows))
    median = 0.3 * data.log_return[rows, 0] + noise if skilled else noise
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    spread = np.array([-1.645, -0.674, 0.0, 0.674, 1.645]) * 0.01
    result = evaluate_forecast(data, rows, median[:, None] + spread, levels, noise)
    assert result.edge is skilled
    assert ("No evidence" in result.verdict) is not skilled
    assert result.nominal_coverage == pytest.approx(0.9)
    error = np.abs(data.log_return[rows, 0] - median)
    assert result.coverage == pytest.approx((error <= 0.01645).mean())
    assert [row.name for row in result.baselines] == ["persistence", "ridge"]
    assert result.forecast_std == pytest.approx(0.002, rel=0.1)
    assert type(result).from_json(result.to_json()) == result
