"""The best policies reach what the formulas say they do, and nothing near them does better."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from ml.agents import known_answers as known
from ml.arrays import FloatArray

PATHS, BARS = 2_000, 1_000  # simulated side by side


def _signals(decay: float, shock: float, seed: int) -> FloatArray:
    """Stationary draws of f' = (1 − decay) f + shock · ε, shape (BARS, PATHS)."""
    rng = np.random.default_rng(seed)
    rows = np.empty((BARS, PATHS))
    rows[0] = rng.normal(0.0, shock / math.sqrt(decay * (2.0 - decay)), PATHS)
    for row in range(1, BARS):
        rows[row] = (1.0 - decay) * rows[row - 1] + rng.normal(0.0, shock, PATHS)
    return rows


def _held(policy: known.Policy, states: FloatArray) -> FloatArray:
    """What a policy holds from each state on; starts flat, 200 bars before what is returned."""
    held = np.empty_like(states)
    position = np.zeros(states.shape[1])
    for row, state in enumerate(states):
        position = policy(state, position)
        held[row] = position
    return held[200:]


def _trades(held: FloatArray) -> FloatArray:
    return np.diff(held, axis=0)


def test_published_values() -> None:
    assert known.ou_gain(0.1, 1.0) == pytest.approx(0.18305, abs=5e-6)
    assert known.ou_sharpe(0.1, 1.0) == pytest.approx(0.1813, abs=5e-5)
    assert known.kelly_weight(5e-4, 0.02) == pytest.approx(1.25)
    assert known.kelly_growth(5e-4, 0.02, 1.25) == pytest.approx(3.125e-4)
    signal = known.SignalMarket()
    assert signal.trading_rate == pytest.approx(0.3904, abs=5e-5)
    assert signal.aim == pytest.approx(0.7620, abs=5e-5)


def test_ou_price_with_cost() -> None:
    solved = known.ou_with_cost(0.1, 1.0, 0.5)
    assert solved.gain == pytest.approx(0.1223, abs=1e-4)
    assert solved.band == pytest.approx(1.53, abs=0.03)  # 1.55 is the first point beyond it on a grid of 0.05
    prices = _signals(0.1, 1.0, 1)
    gains = {}
    for band in (solved.band, 1.1, 2.1):
        held = _held(known.Hysteresis(band, -1.0), prices)
        gains[band] = (-0.1 * prices[200:] * held).mean() - 0.5 * np.abs(_trades(held)).mean()
    assert gains[solved.band] == pytest.approx(solved.gain, rel=0.005)
    assert max(gains, key=gains.__getitem__) == solved.band


def test_without_cost_the_band_vanishes_and_a_large_cost_ends_trading() -> None:
    free = known.ou_with_cost(0.1, 1.0, 0.0)
    assert free.gain == pytest.approx(known.ou_gain(0.1, 1.0), rel=0.001)
    assert free.band == pytest.approx(0.0, abs=0.02)
    assert known.ou_with_cost(0.1, 1.0, 50.0).gain < 1e-4


def test_ou_gain_and_sharpe_are_those_of_a_simulation() -> None:
    prices = _signals(0.1, 1.0, 2)
    noise = np.random.default_rng(3).normal(size=prices.shape)
    earned = -np.sign(prices) * (-0.1 * prices + noise)
    assert earned.mean() == pytest.approx(known.ou_gain(0.1, 1.0), rel=0.01)
    assert earned.mean() / earned.std() == pytest.approx(known.ou_sharpe(0.1, 1.0), rel=0.01)


@pytest.mark.parametrize(("lowest", "highest", "best"), [(0.0, 2.5, 1.25), (0.0, 1.0, 1.0), (1.5, 2.0, 1.5)])
def test_kelly_weight_within_bounds_has_the_highest_growth(lowest: float, highest: float, best: float) -> None:
    weight = known.kelly_weight(5e-4, 0.02, lowest=lowest, highest=highest)
    assert weight == pytest.approx(best)
    others = np.linspace(lowest, highest, 101)
    assert known.kelly_growth(5e-4, 0.02, weight) >= max(known.kelly_growth(5e-4, 0.02, other) for other in others)


def test_power_utility_holds_less() -> None:
    assert known.kelly_weight(5e-4, 0.02, 5.0) == pytest.approx(0.25)
    assert known.kelly_growth(5e-4, 0.02, 0.25, 5.0) == pytest.approx(5e-4 * 0.25 / 2)


def test_garleanu_pedersen_value_is_that_of_a_simulation() -> None:
    market = known.SignalMarket()
    signals = _signals(market.decay, market.shock, 4)
    for policy, value in ((market.policy, 0.07258), (market.markowitz, -0.075), (market.myopic, 0.06327)):
        held = _held(policy, signals)
        gain = (signals[200:] * held - 0.5 * held**2).mean() - 2.0 * (_trades(held) ** 2).mean()
        assert gain == pytest.approx(market.value(policy), abs=0.0007)
        assert market.value(policy) == pytest.approx(value, abs=5e-6)


@pytest.mark.parametrize("cost", [0.0, 0.3, 4.0])
def test_garleanu_pedersen_is_the_best_linear_policy(cost: float) -> None:
    market = known.SignalMarket(slope=0.7, decay=0.3, shock=0.4, sigma=1.3, risk_aversion=0.8, cost=cost)
    best = market.policy
    value = market.value(best)
    for keep in (-0.02, 0.0, 0.02):
        for slope in (-0.02, 0.0, 0.02):
            other = known.Linear(best.keep + keep, best.slope + slope)
            assert market.value(other) <= value + 1e-15
    assert market.value(known.Linear(best.keep, best.slope + 0.02)) < value


def test_cfm_free_and_quadratic() -> None:
    market = known.CfmMarket()
    predictor = _signals(market.decay, market.shock, 5)
    held = _held(known.cfm_free_policy(market), predictor)
    gain = (predictor[200:] * held - market.risk * held**2).mean()
    assert gain == pytest.approx(known.cfm_free_gain(market), rel=0.01)
    gains = []
    for policy in (known.cfm_quadratic_policy(market), known.cfm_myopic_policy(market)):
        held = _held(policy, predictor)
        gains.append(
            (predictor[200:] * held - market.risk * held**2).mean() - market.cost * (_trades(held) ** 2).mean()
        )
    assert gains[0] == pytest.approx(known.cfm_quadratic_gain(market), rel=0.01)
    assert gains[1] < gains[0]


def test_cfm_myopic_is_the_published_formula() -> None:
    policy = known.cfm_myopic_policy(known.CfmMarket(risk=0.3, cost=0.5))
    p, held = np.array([0.4, -1.0]), np.array([0.7, 0.1])
    assert policy(p, held) == pytest.approx((p + 2 * 0.5 * held) / (2 * (0.3 + 0.5)))


def test_cfm_linear_cost_by_value_iteration_beats_every_band_of_the_published_form() -> None:
    market = known.CfmMarket()
    solved = known.cfm_linear(market)
    predictor = _signals(market.decay, market.shock, 6)

    def gain(policy: known.Policy) -> float:
        held = _held(policy, predictor)
        earned = predictor[200:] * held - market.risk * held**2
        return float(earned.mean() - market.cost * np.abs(_trades(held)).mean())

    best = gain(solved.policy)
    assert best == pytest.approx(solved.gain, rel=0.01)
    states = solved.policy.states
    middle = states / (2.0 * market.risk)
    published = [gain(known.Band(states, middle - width, middle + width)) for width in np.linspace(0.05, 0.4, 8)]
    assert best > max(published)
    assert max(published) > 0.9 * best
    assert gain(known.Band(states, middle, middle)) < 0.9 * best  # follows every move


@pytest.mark.parametrize("aversion", [0.0, 0.02, 1.0])
def test_almgren_chriss_is_the_cheapest_trajectory(aversion: float) -> None:
    task = known.Unwinding(trades=12, sigma=1.4, cost=0.7, risk_aversion=aversion)
    held = task.trajectory()
    assert held[0] == pytest.approx(1.0)
    assert held[-1] == 0.0
    # The stationary point of the cost in x_1 … x_11 solves a tridiagonal system.
    size = task.trades - 1
    system = np.diag(np.full(size, 4.0 * task.cost + 2.0 * aversion * task.sigma**2))
    system -= 2.0 * task.cost * (np.eye(size, k=1) + np.eye(size, k=-1))
    right = np.zeros(size)
    right[0] = 2.0 * task.cost
    assert held[1:-1] == pytest.approx(np.linalg.solve(system, right), rel=1e-9)
    position = np.ones(1)
    for trades_left, after in zip(range(task.trades, 0, -1), held[1:], strict=True):
        position = task.policy(np.full(1, float(trades_left)), position)
        assert position[0] == pytest.approx(after, abs=1e-12)


def test_without_risk_the_position_is_sold_evenly() -> None:
    task = known.Unwinding(trades=10, cost=2.0, risk_aversion=0.0)
    assert np.diff(task.trajectory()) == pytest.approx(np.full(10, -0.1))
    assert task.total_cost(task.trajectory()) == pytest.approx(2.0 * 10 * 0.01)


def test_leak_threshold_is_the_best_of_all() -> None:
    shocks = np.random.default_rng(7).normal(size=(BARS, PATHS))
    gains = {}
    for threshold in (0.3, 0.5, 0.7):
        held = _held(known.Hysteresis(threshold, 1.0), shocks)
        gains[threshold] = (shocks[200:] * held).mean() - 0.5 * np.abs(_trades(held)).mean()
    assert gains[0.5] == pytest.approx(known.leak_threshold_gain(1.0, 0.5), rel=0.005)
    assert gains[0.5] > max(gains[0.3], gains[0.7])


def test_outcomes_have_the_moments_of_the_normal_variable() -> None:
    outcomes = known.normal_outcomes(0.02)
    assert outcomes.mean() == pytest.approx(0.0, abs=1e-12)
    assert outcomes.std() == pytest.approx(0.02, rel=0.002)
    assert (np.diff(outcomes) > 0).all()


def test_leak_optimum_tends_to_the_threshold_rule_for_small_returns() -> None:
    scale = 1e-4
    solved = known.leak_optimum(known.normal_outcomes(scale), 0.5 * scale, np.linspace(-1.0, 1.0, 5))
    assert solved.gain / scale == pytest.approx(known.leak_threshold_gain(1.0, 0.5), rel=5e-4)
    returns = scale * np.array([-0.6, -0.4, 0.0, 0.4, 0.6])
    for held in (-1.0, 0.5, 1.0):
        target = solved(returns, np.full(5, held))
        assert target.tolist() == [-1.0, held, held, held, 1.0]


def test_leak_optimum_of_large_returns_beats_other_thresholds_with_compounding() -> None:
    """Returns of 5 % and a long-only market: what is held drifts, and gains multiply."""
    rng = np.random.default_rng(8)
    outcomes, positions, cost = known.normal_outcomes(0.05), np.array([0.0, 1.0]), 0.02
    returns = rng.normal(0.0, 0.05, (BARS, PATHS))
    solved = known.leak_optimum(outcomes, cost, positions)

    def gain(policy: known.Policy) -> float:
        held, total = np.zeros(PATHS), 0.0
        for known_return in returns:
            target = policy(known_return, held)
            grown = 1.0 + target * np.expm1(known_return) - cost * np.abs(target - held)
            total += float(np.log(grown).mean())
            held = target * np.exp(known_return) / grown
        return total / BARS

    best = gain(solved)
    assert best == pytest.approx(solved.gain, rel=0.01)
    for threshold in (0.0, 0.01, 0.04):
        assert gain(_LongAbove(threshold)) < best


def test_nothing_is_done_with_a_leak_that_costs_more_than_it_brings() -> None:
    solved = known.leak_optimum(known.normal_outcomes(0.01), 0.05, np.array([-1.0, 0.0, 1.0]))
    assert solved.gain == pytest.approx(0.0, abs=1e-9)


@dataclass(frozen=True)
class _LongAbove:
    threshold: float

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        return np.where(state > self.threshold, 1.0, np.where(state < -self.threshold, 0.0, position))


def test_phase_is_long_where_the_sinusoid_rises() -> None:
    period = 24
    phase = np.arange(period) / period
    rises = np.sin(2 * np.pi * (phase + 1 / period)) > np.sin(2 * np.pi * phase)
    assert known.Phase(period)(phase, np.zeros(period)).tolist() == np.where(rises, 1.0, -1.0).tolist()
