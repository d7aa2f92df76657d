"""Rewards against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ml.agents.environment_spec import REWARDS, EnvironmentSpec
from ml.agents.rewards import BarResult, FadingMoments, differential_sharpe, first_moments, reward_of

TYPICAL = 0.02


def _result(log_return: float = 0.013) -> BarResult:
    values = (log_return, 0.05, -0.7, 0.04, 0.09)
    return BarResult(*(torch.tensor([value], dtype=torch.float64) for value in values))


def _reward(spec: EnvironmentSpec, result: BarResult) -> float:
    moments = first_moments(result.log_return, TYPICAL)
    return float(reward_of(result, moments, spec, TYPICAL)[0])


def test_log_return() -> None:
    assert _reward(EnvironmentSpec(), _result()) == 0.013


def test_vol_scaled_is_the_simple_return_of_a_position_of_typical_risk() -> None:
    got = _reward(EnvironmentSpec(reward="vol_scaled"), _result())
    assert got == pytest.approx((math.exp(0.013) - 1) * TYPICAL / 0.05, rel=1e-12)


def test_a_market_that_stood_still_does_not_outweigh_all_others() -> None:
    still = _result()._replace(volatility=torch.tensor([1e-8], dtype=torch.float64))
    calm = _result()._replace(volatility=torch.tensor([0.1 * TYPICAL], dtype=torch.float64))
    spec = EnvironmentSpec(reward="vol_scaled")
    assert _reward(spec, still) == _reward(spec, calm) == pytest.approx(10 * math.expm1(0.013), rel=1e-12)


def test_drawdown_is_charged_when_it_grows_and_only_then() -> None:
    spec = EnvironmentSpec(reward="drawdown", drawdown_penalty=2.0)
    assert _reward(spec, _result()) == pytest.approx(0.013 - 2.0 * (0.09 - 0.04), rel=1e-12)
    shrunk = _result()._replace(drawdown_after=torch.tensor([0.01], dtype=torch.float64))
    assert _reward(spec, shrunk) == 0.013


def test_mean_variance() -> None:
    got = _reward(EnvironmentSpec(reward="mean_variance", risk_aversion=3.0), _result())
    assert got == pytest.approx(math.exp(0.013) - 1 - 1.5 * (0.7 * 0.05) ** 2, rel=1e-12)


def test_differential_sharpe_is_the_derivative_of_the_fading_sharpe_ratio() -> None:
    rng = np.random.default_rng(4)
    mean, square = 0.001, TYPICAL**2
    for value in rng.normal(0.001, TYPICAL, 50):
        moments = FadingMoments(*(torch.tensor([each], dtype=torch.float64) for each in (mean, square)))
        gain, after = differential_sharpe(torch.tensor([value], dtype=torch.float64), moments, 0.03, TYPICAL)

        def ratio(decay: float, a: float = mean, b: float = square, r: float = value) -> float:
            new_a, new_b = a + decay * (r - a), b + decay * (r * r - b)
            return new_a / math.sqrt(new_b - new_a * new_a)

        step = 1e-6
        assert float(gain) == pytest.approx((ratio(step) - ratio(-step)) / (2 * step), rel=1e-6, abs=1e-7)
        mean, square = mean + 0.03 * (value - mean), square + 0.03 * (value * value - square)
        assert (float(after.mean), float(after.square)) == (pytest.approx(mean), pytest.approx(square))


def test_differential_sharpe_of_an_account_flat_for_long_stays_finite() -> None:
    moments = FadingMoments(torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    still, moments = differential_sharpe(torch.zeros(1, dtype=torch.float64), moments, 0.01, TYPICAL)
    gain, _ = differential_sharpe(torch.tensor([TYPICAL], dtype=torch.float64), moments, 0.01, TYPICAL)
    assert float(still) == 0.0
    assert math.isfinite(float(gain))


@pytest.mark.parametrize("reward", REWARDS)
def test_a_gain_is_worth_more_than_a_loss(reward: str) -> None:
    spec = EnvironmentSpec(reward=reward)
    assert _reward(spec, _result(0.01)) > 0.0 or reward == "drawdown"
    assert _reward(spec, _result(0.01)) > _reward(spec, _result(-0.01))


def test_only_the_differential_sharpe_ratio_remembers() -> None:
    moments = first_moments(torch.zeros(1, dtype=torch.float64), TYPICAL)
    for reward in REWARDS:
        after = reward_of(_result(), moments, EnvironmentSpec(reward=reward), TYPICAL)[1]
        assert (after is moments) == (reward != "differential_sharpe")
