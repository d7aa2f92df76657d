"""Policies whose dependence on what they see is known, and fingerprints of those that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.agents.diagnostics import Observed, action_entropy, diagnose, reaction
from ml.agents.results import AgentDiagnostics

RNG = np.random.default_rng(4)
SEEN = RNG.normal(size=(8_000, 5)).astype(np.float32)
RETURNS = RNG.normal(size=8_000) * 0.01


def found(weights: np.ndarray, **kwargs: object) -> AgentDiagnostics:
    """Diagnose targets on a market that has nothing to do with them."""
    return diagnose(weights, RETURNS, RETURNS[::-1], lowest=-1.0, highest=1.0, **kwargs)  # type: ignore[arg-type]


def watching(market: float, account: float) -> Observed:
    """Return a policy that weighs one column of each kind."""
    return Observed(lambda seen: market * seen[:, 0] + account * seen[:, 4], SEEN, 3)


@pytest.mark.parametrize(("market", "account"), [(0.8, 0.6), (1.0, 0.0), (0.0, 1.0), (0.1, 0.995)])
def test_shares_are_those_of_the_variance(market: float, account: float) -> None:
    """For a sum of independent columns the total-effect index is the column's share of the variance."""
    shares = reaction(watching(market, account), 2.0, seed=1)
    assert shares[0] == pytest.approx(market**2, abs=0.03)
    assert shares[1] == pytest.approx(account**2, abs=0.03)
    assert shares[2] == pytest.approx(market * math.sqrt(2 / math.pi) / 2.0, abs=0.01)


def test_what_acts_together_counts_for_both() -> None:
    shares = reaction(Observed(lambda seen: seen[:, 0] * seen[:, 4], SEEN, 3), 2.0, seed=1)
    assert shares[0] == pytest.approx(1.0, abs=0.08)
    assert shares[1] == pytest.approx(1.0, abs=0.08)


def test_a_policy_that_sees_nothing_ignores_the_market() -> None:
    blind = found(SEEN[:, 4].astype(np.float64), observed=watching(0.0, 1.0))
    assert blind.ignores_market is True
    assert not blind.constant
    assert not blind.is_trained
    sighted = found(SEEN[:, 0].astype(np.float64), observed=watching(0.3, 1.0))
    assert sighted.ignores_market is False
    assert sighted.is_trained
    unknown = found(SEEN[:, 0].astype(np.float64))
    assert unknown.ignores_market is None
    assert unknown.is_trained


def test_a_constant_policy_reacts_to_nothing() -> None:
    observed = Observed(lambda seen: np.full(len(seen), 0.3), SEEN, 3)
    assert reaction(observed, 2.0, seed=1) == (0.0, 0.0, 0.0)
    assert found(np.full(8_000, 0.3), observed=observed).ignores_market is True


@pytest.mark.parametrize(
    ("others", "constant"), [(0.0, True), (0.009, True), (0.011, False), (0.5, False)], ids=lambda value: str(value)
)
def test_nearly_always_the_same_is_a_constant(others: float, constant: bool) -> None:
    weights = np.full(8_000, 1.0)
    weights[: int(others * 8_000)] = -1.0
    result = found(weights + 0.01 * np.sin(np.arange(8_000)))
    assert result.constant is constant
    assert result.mode_share == pytest.approx(1.0 - others, abs=1e-3)


def test_entropy_is_that_of_the_bins() -> None:
    assert action_entropy(np.full(100, 0.2), -1.0, 1.0) == 0.0
    assert action_entropy(np.linspace(-1, 1, 21_000), -1.0, 1.0) == pytest.approx(1.0, abs=1e-4)
    assert action_entropy(np.resize([-1.0, 1.0], 100), -1.0, 1.0) == pytest.approx(math.log(2) / math.log(21))


def test_saturation_is_the_share_at_the_bounds() -> None:
    assert found(np.resize([-1.0, 0.0, 1.0, 0.999], 8_000)).saturated == 0.75
    assert diagnose(np.resize([0.0, 0.5], 8_000), RETURNS, RETURNS, lowest=0.0, highest=1.0).saturated == pytest.approx(
        0.5
    )


def test_rewards_are_compared_with_the_account() -> None:
    weights = SEEN[:, 0].astype(np.float64)
    assert found(weights, rewards=0.5, earned=0.5 + 5e-5).rewards_add_up is True
    off = found(weights, rewards=0.5, earned=0.4)
    assert off.rewards_add_up is False
    assert off.reward_gap == pytest.approx(0.1)
    assert found(weights, rewards=None, earned=0.4).rewards_add_up is None


def test_correlation_with_holding() -> None:
    weights = SEEN[:, 0].astype(np.float64)
    same = diagnose(weights, 2.0 * RETURNS, RETURNS, lowest=-1.0, highest=1.0)
    assert same.hold_correlation == pytest.approx(1.0)
    still = diagnose(weights, np.zeros(8_000), RETURNS, lowest=-1.0, highest=1.0)
    assert still.hold_correlation is None


@pytest.mark.parametrize("size", [0, 6])
def test_columns_that_are_not_there_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="those of the market first"):
        reaction(Observed(lambda seen: seen[:, 0], SEEN, size), 2.0, seed=1)


def test_an_answer_that_is_no_target_is_refused() -> None:
    with pytest.raises(ValueError, match="one target"):
        reaction(Observed(lambda seen: seen, SEEN, 3), 2.0, seed=1)
