"""Whether an agent learned anything: what its targets look like and what they depend on. Any thread; numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ml.agents.results import AgentDiagnostics
from ml.arrays import Float32Array, FloatArray, finite_series
from ml.trading_metrics import sharpe_per_bar

Policy = Callable[[Float32Array], FloatArray]
"""Takes observations, shape (B, D), and returns the target weights that are deterministic for them, shape (B,)."""

NEARLY = 0.025  # of the range of weights: targets so near to each other are the same
AT_ONE_ACTION = 0.99  # share of the bars at one target from which on it is a constant
LEAST_SHARE = 0.01  # of the targets' variance that what it observes of the market must account for
REWARD_TOLERANCE = 1e-4  # rewards are float32
_BINS = 21
MOST_OBSERVATIONS = 20_000  # more do not tell more


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What an agent saw on the judged bars, and what it makes of observations.

    Attributes:
        policy: of the agent.
        observations: on its pass, of all bars or of enough drawn at random, shape (B, D).
        market_size: so many columns are of the market, the others of the account.
    """

    policy: Policy
    observations: Float32Array
    market_size: int


def diagnose(
    weights: FloatArray,
    returns: FloatArray,
    hold: FloatArray,
    *,
    lowest: float,
    highest: float,
    observed: Observed | None = None,
    rewards: float | None = None,
    earned: float | None = None,
    seed: int = 0,
) -> AgentDiagnostics:
    """Look at targets and at what they depend on.

    Args:
        weights: targets of the pass, shape (m,), m >= 1.
        returns / hold: simple returns of the agent and of holding, equally many.
        lowest / highest: weights that may be held.
        observed: what it saw; None leaves out what depends on it.
        rewards / earned: sum of the rewards in log return, and what the account earned without a sale at the end;
            either may be None.
        seed: of what is put out of order.
    """
    width = highest - lowest
    if not len(finite_series(weights)) or not width > 0.0:
        raise ValueError("at least one target, and a range of weights")
    usual = float(np.quantile(weights, 0.5, method="lower"))  # one of them, not between two
    share = float((np.abs(weights - usual) <= NEARLY * width).mean())
    market, account, change = (None, None, None) if observed is None else reaction(observed, width, seed)
    gap = None if rewards is None or earned is None else rewards - earned
    return AgentDiagnostics(
        mode_weight=usual,
        mode_share=share,
        entropy=action_entropy(weights, lowest, highest),
        saturated=float(((weights <= lowest + 1e-3 * width) | (weights >= highest - 1e-3 * width)).mean()),
        hold_correlation=_correlation(returns, hold),
        market_share=market,
        account_share=account,
        mean_change=change,
        reward_gap=gap,
        constant=share >= AT_ONE_ACTION,
        ignores_market=None if market is None else market < LEAST_SHARE,
        rewards_add_up=None if gap is None else abs(gap) <= REWARD_TOLERANCE * (1.0 + abs(earned or 0.0)),
    )


def action_entropy(weights: FloatArray, lowest: float, highest: float) -> float:
    """Return the entropy of targets in bins of equal width over that of all bins alike, between 0 and 1."""
    counts, _ = np.histogram(np.clip(weights, lowest, highest), bins=_BINS, range=(lowest, highest))
    chance = counts[counts > 0] / len(weights)
    return max(0.0, -float(chance @ np.log(chance)) / math.log(_BINS))


def reaction(observed: Observed, width: float, seed: int) -> tuple[float, float, float]:
    """Return how much targets depend on the market and on the account observed, and how far they move without one.

    Each group of columns is taken from another bar at random, the rest stays: half the mean squared move of the target
    over its variance is the share of the variance that the group accounts for, alone or with the other (Jansen 1999).
    A policy that always answers the same has none of either.

    Returns:
        market share, account share, and the mean move where the market columns are their means, as a share of `width`.
    """
    rng = np.random.default_rng(seed)
    seen = observed.observations
    if len(seen) > MOST_OBSERVATIONS:
        seen = seen[np.sort(rng.choice(len(seen), MOST_OBSERVATIONS, replace=False))]
    size = observed.market_size
    if seen.ndim != 2 or not 0 < size <= seen.shape[1]:
        raise ValueError("observations have the shape (bars, columns), those of the market first")
    usual = _targets(observed.policy, seen)
    order = rng.permutation(len(seen))
    elsewhere, other_account, blind = seen.copy(), seen.copy(), seen.copy()
    elsewhere[:, :size] = seen[order, :size]
    other_account[:, size:] = seen[order, size:]
    blind[:, :size] = seen[:, :size].mean(axis=0, dtype=np.float64)
    variance = float(usual.var())
    shares = []
    for changed in (elsewhere, other_account):
        moved = float(((_targets(observed.policy, changed) - usual) ** 2).mean()) / 2.0
        shares.append(moved / variance if variance > 1e-12 * width * width else 0.0)
    return shares[0], shares[1], float(np.abs(_targets(observed.policy, blind) - usual).mean()) / width


def _targets(policy: Policy, observations: Float32Array) -> FloatArray:
    targets = np.asarray(policy(observations), np.float64).reshape(-1)
    if targets.shape != (len(observations),):
        raise ValueError("a policy answers every observation with one target")
    return finite_series(targets)


def _correlation(first: FloatArray, second: FloatArray) -> float | None:
    if sharpe_per_bar(first) is None or sharpe_per_bar(second) is None:
        return None
    return float(np.corrcoef(first, second)[0, 1])
