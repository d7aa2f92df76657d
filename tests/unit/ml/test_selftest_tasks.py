"""Generators have the stated moments, and simulations come to what the formulas of the optima say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.domain.candles import Timeframe
from ml import selftest_tasks as tasks
from ml.metrics.distributions import crps_normal

MANY = 400_000


def test_bars_have_the_returns_and_open_at_midnight() -> None:
    returns = tasks.noise(100, 1)
    frame = tasks.bars_of_returns(returns, 2)
    assert np.diff(np.log(frame.close), prepend=math.log(100.0)) == pytest.approx(returns, abs=1e-12)
    assert int(frame.time_ns[0]) % Timeframe.D1.ns == 0
    assert set(np.diff(frame.time_ns).tolist()) == {Timeframe.H1.ns}
    assert (frame.high >= np.maximum(frame.open, frame.close)).all()
    assert (frame.low <= np.minimum(frame.open, frame.close)).all()
    assert frame.equals(tasks.bars_of_returns(returns, 2))


def test_noise_has_its_moments() -> None:
    values = tasks.noise(MANY, 3, 0.02)
    assert values.mean() == pytest.approx(0.0, abs=4 * 0.02 / math.sqrt(MANY))
    assert values.std() == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("phi", [0.2, -0.2, 0.1])
def test_autoregression_reaches_its_optima(phi: float) -> None:
    returns = tasks.autoregression(np.full(MANY, phi), 4)
    forecast, outcome = phi * returns[:-1], returns[1:]
    assert returns.std() == pytest.approx(0.01 / math.sqrt(1.0 - phi * phi), rel=0.01)
    error = tasks.ar1_r2_error(phi, MANY)
    assert tasks.r2_gain(outcome, forecast) == pytest.approx(tasks.ar1_r2(phi), abs=4 * error)
    hits = np.mean(np.sign(forecast) == np.sign(outcome))
    assert hits == pytest.approx(tasks.ar1_hit_rate(phi), abs=4 * 0.5 / math.sqrt(MANY))
    earned = np.sign(forecast) * outcome
    assert earned.mean() / earned.std() == pytest.approx(tasks.ar1_sign_sharpe(phi), abs=4 / math.sqrt(MANY))


def test_published_values_of_the_optima() -> None:
    assert tasks.ar1_r2(0.2) == pytest.approx(0.04)
    assert tasks.ar1_hit_rate(0.2) == pytest.approx(0.5641, abs=5e-5)
    assert tasks.ar1_sign_sharpe(0.2) == pytest.approx(0.1616, abs=5e-5)
    assert tasks.sinusoid_profit(0.1) == pytest.approx(0.4013, abs=5e-5)
    assert tasks.normal_crps(np.ones(1)) == pytest.approx(0.56419, abs=5e-6)
    assert tasks.normal_pinball(np.ones(1), 0.05) == pytest.approx(0.10314, abs=5e-6)
    assert tasks.normal_pinball(np.ones(1), 0.5) == pytest.approx(0.39894, abs=5e-6)


def test_the_error_of_the_r2_is_that_of_many_series() -> None:
    values = []
    for seed in range(300):
        returns = tasks.autoregression(np.full(2_000, 0.2), seed)
        values.append(tasks.r2_gain(returns[1:], 0.2 * returns[:-1]))
    assert np.std(values) == pytest.approx(tasks.ar1_r2_error(0.2, 1_999), rel=0.15)


def test_a_forecast_of_the_old_sign_loses_three_times_the_optimum() -> None:
    returns = tasks.autoregression(np.repeat([0.2, -0.2], MANY), 5)[MANY:]
    found = tasks.r2_gain(returns[1:], 0.2 * returns[:-1])
    assert found == pytest.approx(tasks.ar1_wrong_sign_r2(0.2), abs=4 * tasks.ar1_r2_error(0.2, MANY))


@pytest.mark.parametrize(("period", "amplitude"), [(40, 0.1), (24, 0.3)])
def test_the_right_sign_earns_the_sinusoid_s_profit(period: int, amplitude: float) -> None:
    returns = tasks.sinusoid(10 * period + 1, period, amplitude)[1:]
    assert np.abs(returns).sum() / 10 == pytest.approx(tasks.sinusoid_profit(amplitude), abs=1e-12)
    # Turning points where the sine rounds to its peak give tiny returns; real flips are two per period.
    flips = np.count_nonzero(np.diff(np.sign(returns[: 10 * period])))
    assert flips == 20
    assert tasks.sinusoid_profit(amplitude, 0.001) == pytest.approx(tasks.sinusoid_profit(amplitude) - 0.004)


def test_a_sinusoid_must_turn_on_bars() -> None:
    with pytest.raises(ValueError, match="quarter"):
        tasks.sinusoid(100, 42, 0.1)


def test_daily_volatility_follows_the_hour_and_gives_the_stated_losses() -> None:
    sigma = tasks.daily_volatility(24 * (MANY // 24), 0.7)
    assert sigma.reshape(-1, 24).std(axis=0).max() == pytest.approx(0.0, abs=1e-12)
    assert sigma.max() / sigma.min() == pytest.approx(math.exp(1.4))
    outcome = sigma * tasks.noise(len(sigma), 6, 1.0)
    assert crps_normal(outcome, 0.0, sigma).mean() == pytest.approx(tasks.normal_crps(sigma), rel=0.01)
    quantiles = tasks.normal_quantiles(sigma, (0.05, 0.5))
    for column, level in enumerate((0.05, 0.5)):
        error = outcome - quantiles[:, column]
        loss = np.maximum(level * error, (level - 1.0) * error).mean()
        assert loss == pytest.approx(tasks.normal_pinball(sigma, level), rel=0.01)
        assert (outcome <= quantiles[:, column]).mean() == pytest.approx(level, abs=0.003)


def test_garch_has_its_variance_and_its_deviations_standardise_it() -> None:
    returns, sigma = tasks.garch(MANY, 7, alpha=0.2, beta=0.75)
    assert (returns / sigma).std() == pytest.approx(1.0, rel=0.01)
    assert (sigma**2).mean() == pytest.approx(1e-4, rel=0.1)
    again = 0.05 * 1e-4 + 0.2 * returns[:-1] ** 2 + 0.75 * sigma[:-1] ** 2
    assert sigma[1:] ** 2 == pytest.approx(again, rel=1e-9)
