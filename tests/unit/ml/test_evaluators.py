from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.api import ForecastMetrics, ForecastSpec, HorizonMetrics
from ml.baselines import BaselineForecast, BaselineInputs, fit_baselines
from ml.dataset import build_dataset
from ml.evaluators import (
    HorizonForecast,
    baseline_inputs,
    evaluate_forecast,
    forecast_metrics,
    judge_horizon,
    target_classes,
)
from ml.inference import Forecasts
from ml.metrics.comparison import diebold_mariano
from ml.metrics.distributions import normal_ppf
from ml.metrics.quantile import crps_of_quantiles
from ml.metrics.regimes import RegimeCodes, trailing_return, trend_regimes, volatility_regimes
from tests.unit.ml.helpers import ar1_returns, frame_from_returns, noise_returns

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SPREAD = normal_ppf(LEVELS)
FloatArray = NDArray[np.float64]


def naive(last: FloatArray, sigma: float = 0.01) -> tuple[BaselineForecast, BaselineForecast]:
    """Return the two naive baselines with normal ranges."""
    zero = np.zeros(len(last))
    return (
        BaselineForecast("zero", zero, zero[:, None] + sigma * SPREAD),
        BaselineForecast("persistence", last, last[:, None] + sigma * 1.4 * SPREAD),
    )


def ar1_forecast(phi: float = 0.3, size: int = 6_000, seed: int = 3) -> tuple[HorizonForecast, FloatArray]:
    """Return the perfect forecast of an AR(1) and the last returns."""
    returns = ar1_returns(size + 1, phi, seed)
    last, outcome = returns[:-1], returns[1:]
    return HorizonForecast(1, LEVELS, phi * last[:, None] + 0.01 * SPREAD, outcome), last


def test_the_known_optimum_of_ar1_is_found() -> None:
    forecast, last = ar1_forecast()
    result = judge_horizon(forecast, naive(last))
    assert result.edge
    assert result.range_edge
    assert result.edge_p_value < 1e-6
    assert result.model.r2 == pytest.approx(0.09, abs=0.02)
    assert result.model.ic == pytest.approx(0.3, abs=0.04)
    assert result.crps_skill == pytest.approx(1 - np.sqrt(1 - 0.09), abs=0.012)
    assert result.calibration.ks_p_value > 0.01
    assert [point.observed for point in result.calibration.points] == pytest.approx(LEVELS, abs=0.02)
    assert result.model.skill_persistence == pytest.approx(1 - 1 / np.sqrt(1 + 0.49 / 0.91), abs=0.03)


def test_the_top_level_figures_are_those_of_the_first_horizon_and_survive_json() -> None:
    forecast, last = ar1_forecast()
    rng = np.random.default_rng(1)
    chances = rng.dirichlet((2.0, 1.0, 2.0), len(last))
    regimes = (trend_regimes(last), volatility_regimes(np.abs(last), np.abs(last)))
    hours = np.arange(len(last), dtype=np.int64) * 3_600_000_000_000
    full = replace(
        forecast, probabilities=chances, classes=rng.integers(0, 3, len(last)), regimes=regimes, time_ns=hours
    )
    shares = BaselineForecast("climatology", probabilities=np.full((len(last), 3), 1 / 3))
    first = judge_horizon(full, (*naive(last), shares))
    second = judge_horizon(replace(forecast, horizon=4), naive(last))
    result = forecast_metrics((first, second), forecast_std=0.003, target_std=0.0105)
    assert ForecastMetrics.from_json(result.to_json()) == result
    assert (result.model, result.edge, result.crps) == (first.model, first.edge, first.ranges.crps)
    assert (result.targets, result.effective_targets, second.effective_targets) == (6_000, 6_000, 1_500)
    assert result.pinball_baseline == first.baseline_ranges[0].pinball
    assert [row.horizon for row in result.horizons] == [1, 4]
    assert first.icir_block == "month"
    assert first.icir is not None
    assert first.icir > 1
    assert first.classes is not None
    assert [row.name for row in first.baseline_classes] == ["climatology"]
    assert [(row.grouping, row.regime) for row in first.regimes] == [
        ("trend", "down"),
        ("trend", "up"),
        ("volatility", "low"),
        ("volatility", "middle"),
        ("volatility", "high"),
    ]
    assert sum(row.targets for row in first.regimes[2:]) == 6_000


def test_metrics_of_older_packages_are_read() -> None:
    forecast, last = ar1_forecast()
    result = forecast_metrics((judge_horizon(forecast, naive(last)),), forecast_std=0.003, target_std=0.01)
    old = {key: value for key, value in result.to_json().items() if not key.startswith(("crps", "horizons"))}
    assert ForecastMetrics.from_json(old).horizons == ()


def test_comparisons_are_diebold_mariano_with_the_model_as_first() -> None:
    forecast, last = ar1_forecast()
    baselines = naive(last)
    result = judge_horizon(forecast, baselines)
    test = diebold_mariano((forecast.outcome - 0.3 * last) ** 2, (forecast.outcome - last) ** 2, 1)
    row = next(c for c in result.comparisons if (c.baseline, c.loss) == ("persistence", "squared"))
    assert (row.gain, row.statistic) == (-test.mean_difference, -test.statistic)
    assert (row.p_value, row.p_better) == (test.p_value, test.p_a_better)
    assert row.gain > 0
    assert baselines[0].quantiles is not None
    test = diebold_mariano(
        crps_of_quantiles(forecast.quantiles, forecast.outcome, LEVELS),
        crps_of_quantiles(baselines[0].quantiles, forecast.outcome, LEVELS),
        1,
    )
    row = next(c for c in result.comparisons if (c.baseline, c.loss) == ("zero", "crps"))
    assert (row.gain, row.p_better) == (-test.mean_difference, test.p_a_better)


def test_beating_only_the_weaker_naive_forecast_is_no_edge() -> None:
    """On noise the repeated return is a terrible forecast; where returns trend, the standing price is."""
    rng = np.random.default_rng(5)
    returns = rng.normal(0, 0.01, 4_001)
    zero = HorizonForecast(1, LEVELS, 1e-5 * rng.normal(size=(4_000, 1)) + 0.01 * SPREAD, returns[1:])
    result = judge_horizon(zero, naive(returns[:-1]))
    tests = {c.baseline: c.p_better for c in result.comparisons if c.loss == "squared"}
    assert tests["persistence"] < 1e-6
    assert result.edge_p_value == tests["zero"]
    assert not result.edge
    forecast, last = ar1_forecast(0.9)
    copied = replace(forecast, quantiles=last[:, None] + 0.01 * SPREAD)
    result = judge_horizon(copied, naive(last))
    assert result.model.r2 > 0.5
    assert not result.edge


def test_the_drift_of_a_rising_market_is_no_edge() -> None:
    """A constant beats the price that stays, and so does the mean of the past, which knows nothing of any bar."""
    rng = np.random.default_rng(6)
    outcome = rng.normal(0.002, 0.01, 4_000)
    zero, persistence = naive(np.concatenate([[0.0], outcome[:-1]]))
    mean = np.full(4_000, 0.0021)
    climatology = BaselineForecast("climatology", mean, mean[:, None] + 0.01 * SPREAD)
    median = mean + 1e-4 * rng.normal(size=4_000)
    model = HorizonForecast(1, LEVELS, median[:, None] + 0.01 * SPREAD, outcome)
    assert judge_horizon(model, (zero, persistence)).edge_p_value < 0.001
    result = judge_horizon(model, (zero, persistence, climatology))
    assert result.edge_p_value > 0.05
    assert not result.edge


def test_regimes_are_judged_on_their_own_rows() -> None:
    forecast, last = ar1_forecast()
    codes = np.full(len(last), -1, np.int64)
    codes[:1_000], codes[1_000:1_010] = 1, 0
    regimes = RegimeCodes("made up", ("tiny", "thousand"), codes)
    (row,) = judge_horizon(replace(forecast, regimes=(regimes,)), naive(last)).regimes
    assert (row.regime, row.targets) == ("thousand", 1_000)
    alone = replace(forecast, quantiles=forecast.quantiles[:1_000], outcome=forecast.outcome[:1_000])
    result = judge_horizon(alone, naive(last[:1_000]))
    assert (row.mae, row.r2, row.ic, row.hit_rate) == (
        result.model.mae,
        result.model.r2,
        result.model.ic,
        result.model.hit_rate,
    )
    assert (row.crps, row.crps_skill, row.coverage) == (
        result.ranges.crps,
        result.crps_skill,
        result.ranges.coverage,
    )


def test_what_does_not_fit_together_is_refused() -> None:
    forecast, last = ar1_forecast()
    wrong: list[tuple[HorizonForecast, tuple[BaselineForecast, ...], str]] = [
        (forecast, naive(last)[1:], "zero"),
        (forecast, naive(last[:-1]), "shape"),
        (replace(forecast, quantiles=forecast.quantiles[:, ::-1]), naive(last), "cross"),
        (replace(forecast, quantiles=forecast.quantiles[:, :3]), naive(last), "levels"),
        (replace(forecast, quantiles=forecast.quantiles * np.nan), naive(last), "finite"),
        (replace(forecast, classes=np.zeros(len(last), np.int64)), naive(last), "belong together"),
    ]
    for model, baselines, words in wrong:
        with pytest.raises(ValueError, match=words):
            judge_horizon(model, baselines)


def judged_ridge(seed: int, horizon: int, size: int = 3_000) -> HorizonMetrics:
    """Fit a ridge regression on noise and judge it as if it were the model."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(0, 0.01, size + 2 * horizon) * np.exp(0.5 * np.sin(np.arange(size + 2 * horizon) / 300))
    sums = np.concatenate([[0.0], np.cumsum(shocks)])
    back = sums[horizon : horizon + size] - sums[:size]
    ahead = sums[2 * horizon : 2 * horizon + size] - sums[horizon : horizon + size]
    # Slow features, as real ones are, make neighbouring forecasts alike.
    slow = np.cumsum(rng.normal(size=(size, 4)), axis=0)
    x = np.column_stack([back * 100, rng.normal(size=(size, 3)), slow / 10 - (slow / 10).mean(axis=0)])
    a, b = int(size * 0.6), int(size * 0.75)
    gap, unit = horizon, np.full(size, 0.01 * np.sqrt(horizon))
    train, valid, test = slice(0, a - gap), slice(a, b - gap), slice(b, size)
    inputs = BaselineInputs(
        x[train], ahead[train], unit[train], back[train],
        x[valid], ahead[valid], unit[valid],
        x[test], unit[test], back[test], LEVELS,
    )  # fmt: skip
    zero, persistence, ridge = fit_baselines(inputs, ("zero", "persistence", "ridge"))
    assert ridge.quantiles is not None
    model = HorizonForecast(horizon, LEVELS, ridge.quantiles, ahead[test], point=ridge.point)
    return judge_horizon(model, (zero, persistence))


@pytest.mark.parametrize("horizon", [1, 12])
def test_noise_is_seldom_taken_for_an_edge(horizon: int) -> None:
    seeds = 200
    results = [judged_ridge(seed, horizon) for seed in range(seeds)]
    assert sum(result.edge for result in results) <= 0.05 * seeds
    assert all(result.edge_p_value < 0.05 for result in results if result.edge)


@pytest.mark.parametrize("skilled", [True, False])
def test_a_dataset_is_judged_beside_all_baselines(skilled: bool) -> None:
    frame = frame_from_returns(noise_returns(4_000, 8))
    data = build_dataset(frame, ForecastSpec())
    rows = data.rows(data.test)
    noise = np.random.default_rng(1).normal(0, 0.002, len(rows))
    median = 0.3 * data.log_return[rows, 0] + noise if skilled else noise
    forecasts = Forecasts((median[:, None] + SPREAD * 0.01)[:, None], None)
    fitted: list[str] = []
    result = evaluate_forecast(data, frame, rows, forecasts, LEVELS, forecast_std=0.002, before_baseline=fitted.append)
    assert result.edge is skilled
    assert ("No evidence" in result.verdict) is not skilled
    assert result.nominal_coverage == pytest.approx(0.9)
    error = np.abs(data.log_return[rows, 0] - median)
    assert result.coverage == pytest.approx((error <= 0.01 * SPREAD[-1]).mean())
    assert [row.name for row in result.baselines] == ["zero", "persistence", "climatology", "ridge", "boosting"]
    assert fitted == [row.name for row in result.baselines]
    assert (result.forecast_std, result.target_std) == pytest.approx((0.002, 0.01), rel=0.1)
    assert len(result.horizons[0].regimes) == 5
    assert result.horizons[0].icir_block == "day"
    assert type(result).from_json(result.to_json()) == result


def test_every_horizon_is_judged_on_its_own_targets_and_classes() -> None:
    frame = frame_from_returns(ar1_returns(5_000, 0.5, 8))
    spec = ForecastSpec()
    data = build_dataset(frame, replace(spec, model=replace(spec.model, horizons=(1, 4))))
    rows = data.rows(data.test)
    quantiles = np.stack([data.unit[rows, k, None] * SPREAD for k in (0, 1)], axis=1)
    sure = np.stack([np.eye(3)[target_classes(data.target[rows, k], 0.43)] for k in (0, 1)], axis=1)
    sure[:, 1] = 1 / 3
    result = evaluate_forecast(
        data,
        frame,
        rows,
        Forecasts(quantiles, sure),
        LEVELS,
        forecast_std=0.0,
        flat_band=0.43,
        baselines=("zero", "persistence", "climatology", "ridge", "logistic"),
    )
    first, second = result.horizons
    assert (first.horizon, second.horizon) == (1, 4)
    assert first.classes is not None
    assert second.classes is not None
    assert first.classes.accuracy == 1.0
    assert second.classes.log_loss == pytest.approx(np.log(3))
    assert [row.name for row in first.baseline_classes] == ["climatology", "logistic"]
    assert first.baseline_classes[1].log_loss < first.baseline_classes[0].log_loss - 0.03
    assert first.baselines[3].r2 > second.baselines[3].r2 > 0.0  # an AR(1) is forgotten
    outcome = np.abs(data.log_return[rows, 1])
    assert second.baselines[0].mae == pytest.approx(outcome.mean())


def test_classes_are_cut_at_the_band() -> None:
    target = np.array([-0.6, -0.5, -0.4, 0.0, 0.5, 0.6], np.float32)
    np.testing.assert_array_equal(target_classes(target, 0.5), [0, 0, 1, 1, 1, 2])


def test_the_last_return_of_a_dataset_is_the_one_that_led_up_to_the_bar() -> None:
    frame = frame_from_returns(ar1_returns(3_000, 0.2, 4), missing=(2_900,))
    spec = ForecastSpec()
    data = build_dataset(frame, replace(spec, model=replace(spec.model, horizons=(1, 3))))
    rows = data.rows(data.test)
    logs = np.log(frame.close)
    inputs = baseline_inputs(data, rows, LEVELS, 1)
    np.testing.assert_allclose(inputs.last_test, logs[rows] - logs[rows - 3], atol=1e-12)
    np.testing.assert_array_equal(inputs.unit_test, data.unit[rows, 1])


def test_regimes_follow_the_past() -> None:
    close = np.exp(np.array([0.0, 0.1, 0.1, 0.05, 0.3]))
    np.testing.assert_allclose(trailing_return(close, 2), [0.0, 0.0, 0.1, -0.05, 0.2])
    np.testing.assert_array_equal(trend_regimes(trailing_return(close, 2)).codes, [-1, -1, 1, 0, 1])
    codes = volatility_regimes(np.arange(1.0, 10.0), np.array([0.5, 3.0, 5.0, 9.0])).codes
    np.testing.assert_array_equal(codes, [0, 0, 1, 2])


def test_evaluation_is_fast() -> None:
    rng = np.random.default_rng(2)
    size = 100_000
    outcome = rng.standard_t(4, size) * 0.01
    times = np.arange(size, dtype=np.int64) * 3_600_000_000_000
    zero, persistence = naive(np.roll(outcome, 1))
    regimes = (trend_regimes(np.roll(outcome, 1)), volatility_regimes(np.abs(outcome), np.abs(outcome)))
    started = time.perf_counter()
    for horizon in (1, 4, 24):
        quantiles = rng.normal(0, 0.001, size)[:, None] + 0.01 * SPREAD
        forecast = HorizonForecast(
            horizon,
            LEVELS,
            quantiles,
            outcome,
            probabilities=rng.dirichlet((1, 1, 1), size),
            classes=rng.integers(0, 3, size),
            regimes=regimes,
            time_ns=times,
        )
        judge_horizon(forecast, (zero, persistence))
    assert time.perf_counter() - started < 15  # 2 s on a quiet machine
