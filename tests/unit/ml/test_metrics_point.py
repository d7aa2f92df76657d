from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from ml.metrics.point import (
    correlation,
    correlation_interval,
    hit_rate,
    icir,
    point_metrics,
    rank_correlation,
    ranks,
    skill,
    wilson_interval,
)

RNG = np.random.default_rng(4)
OUTCOME = RNG.normal(0, 0.01, 2_000)
FORECAST = 0.2 * OUTCOME + RNG.normal(0, 0.004, 2_000)
HOUR_NS = 3_600_000_000_000


def test_point_metrics_equal_the_libraries() -> None:
    row = point_metrics("model", FORECAST, OUTCOME, 1, persistence=np.roll(OUTCOME, 1))
    assert row.mae == pytest.approx(metrics.mean_absolute_error(OUTCOME, FORECAST), abs=1e-12)
    assert row.rmse == pytest.approx(metrics.root_mean_squared_error(OUTCOME, FORECAST), abs=1e-12)
    assert row.r2 == pytest.approx(1 - row.rmse**2 / np.mean(OUTCOME**2), abs=1e-9)
    assert row.skill == pytest.approx(1 - row.mae / np.abs(OUTCOME).mean(), abs=1e-9)
    repeated = metrics.mean_absolute_error(OUTCOME, np.roll(OUTCOME, 1))
    assert row.skill_persistence == pytest.approx(1 - row.mae / repeated, abs=1e-9)
    assert row.ic == pytest.approx(stats.pearsonr(FORECAST, OUTCOME).statistic, abs=1e-9)
    assert row.rank_ic == pytest.approx(stats.spearmanr(FORECAST, OUTCOME).statistic, abs=1e-9)
    hits = int((np.sign(FORECAST) == np.sign(OUTCOME)).sum())
    interval = stats.binomtest(hits, 2_000).proportion_ci(method="wilson")
    assert (row.hit_low, row.hit_high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_ranks_share_ties() -> None:
    values = RNG.integers(0, 20, 300).astype(np.float64)
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values))
    other = RNG.integers(0, 5, 300).astype(np.float64)
    assert rank_correlation(values, other) == pytest.approx(stats.spearmanr(values, other).statistic, abs=1e-9)


def test_constant_forecasts_have_no_correlation_and_no_hits() -> None:
    assert correlation(np.ones(5), np.arange(5.0)) is None
    assert correlation(np.full(1_000, 0.1), RNG.normal(size=1_000)) is None  # whose mean is not exactly 0.1
    row = point_metrics("zero", np.zeros(2_000), OUTCOME, 1)
    assert (row.ic, row.rank_ic, row.hit_rate, row.hit_low, row.ic_low) == (None,) * 5
    assert (row.skill, row.r2, row.skill_persistence) == (0.0, 0.0, None)


def test_correlation_does_not_depend_on_the_scale() -> None:
    wanted = correlation(FORECAST, OUTCOME)
    for scale in (1e-160, 1e150):
        assert correlation(FORECAST * scale, OUTCOME) == pytest.approx(wanted, abs=1e-12)


def test_zeros_are_neither_hit_nor_miss() -> None:
    assert hit_rate(np.array([1.0, -1.0, 0.0, 2.0]), np.array([2.0, 1.0, 1.0, 0.0])) == (0.5, 2)
    assert skill(1.0, 0.0) == 0.0


def test_the_interval_of_hits_widens_with_overlap() -> None:
    one, ten = point_metrics("model", FORECAST, OUTCOME, 1), point_metrics("model", FORECAST, OUTCOME, 10)
    assert one.hit_rate == ten.hit_rate
    assert one.hit_rate is not None
    assert (ten.hit_low, ten.hit_high) == wilson_interval(one.hit_rate, 200)


def test_the_interval_of_the_ic_is_fishers_for_independent_normals_and_wider_for_overlap() -> None:
    low, high = correlation_interval(FORECAST, OUTCOME, 1) or (0.0, 0.0)
    wanted = stats.pearsonr(FORECAST, OUTCOME).confidence_interval()
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.01)
    window = np.ones(12)
    a, b = np.convolve(FORECAST, window, "valid"), np.convolve(OUTCOME, window, "valid")
    single, overlapping = correlation_interval(a, b, 1), correlation_interval(a, b, 12)
    assert single is not None
    assert overlapping is not None
    assert overlapping[1] - overlapping[0] > 1.1 * (single[1] - single[0])


def test_the_interval_of_the_ic_covers_zero_on_noise_as_often_as_it_should() -> None:
    inside = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        window = np.ones(6)
        a, b = (np.convolve(rng.normal(size=1_505), window, "valid") for _ in range(2))
        low, high = correlation_interval(a, b, 6) or (1.0, 1.0)
        inside += low <= 0.0 <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_icir_is_over_calendar_months() -> None:
    start = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    hours = start + np.arange(24 * 365, dtype=np.int64) * HOUR_NS
    rng = np.random.default_rng(3)
    outcome = rng.normal(size=len(hours))
    forecast = 0.1 * outcome + rng.normal(size=len(hours))
    months = hours.astype("datetime64[ns]").astype("datetime64[M]")
    values = [stats.pearsonr(forecast[months == m], outcome[months == m]).statistic for m in np.unique(months)]
    value, block = icir(forecast, outcome, hours)
    assert block == "month"
    assert value == pytest.approx(np.mean(values) / np.std(values, ddof=1), abs=1e-9)


@pytest.mark.parametrize(("days", "wanted"), [(70, "week"), (10, "day"), (3, "")])
def test_shorter_spans_take_shorter_blocks(days: int, wanted: str) -> None:
    start = int(datetime(2023, 1, 2, tzinfo=UTC).timestamp()) * 10**9  # a Monday
    times = start + np.arange(24 * days, dtype=np.int64) * HOUR_NS
    outcome = RNG.normal(size=len(times))
    value, block = icir(outcome + RNG.normal(size=len(times)), outcome, times)
    assert block == wanted
    assert (value is None) is (wanted == "")
    assert icir(outcome, outcome, None) == (None, "")
