"""From a policy's walk through the judged bars to what the judge takes. Training child only (imports torch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from core.accounting.fast import BarArrays
from core.accounting.reference import LEAST_RATIO
from ml.agents.accounts import JudgedMarket, MarketRows
from ml.agents.accounts import Stretch as Rows
from ml.agents.diagnostics import MOST_OBSERVATIONS, Observed
from ml.agents.judge import SeedPass
from ml.agents.market_tensor import PRICE_COLUMNS, Stretch
from ml.arrays import Float32Array, FloatArray, IntArray
from ml.environment import BatchedTradingEnv, StretchPass

Actor = Callable[[Tensor], Tensor]
"""Takes observations, shape (B, D), and returns the actions that are deterministic for them."""


def judged_market(env: BatchedTradingEnv, *, bars_per_year: float, time_ns: IntArray | None = None) -> JudgedMarket:
    """Return the bars of an environment with its costs and rules.

    Args:
        env: what the agent learned in.
        bars_per_year: that make a year of 365 days.
        time_ns: opening times, ns UTC, one for each row; several markets need them.
    """
    prices = env.market.prices.cpu().numpy()
    columns = {name: np.ascontiguousarray(prices[:, index]) for index, name in enumerate(PRICE_COLUMNS)}
    return JudgedMarket(
        bars=BarArrays(**columns),
        volatility=env.market.volatility.cpu().numpy(),
        runs=tuple((stretch.start, stretch.stop) for stretch in env.market.stretches),
        costs=env.episode_rules.costs,
        rules=env.episode_rules.rules[0],
        bars_per_year=bars_per_year,
        cash=env.spec.cash,
        lowest=env.spec.lowest,
        highest=env.spec.highest,
        time_ns=time_ns,
        markets=_markets(env),
    )


def _markets(env: BatchedTradingEnv) -> tuple[MarketRows, ...]:
    """Return the rows of each market; none where there is one alone."""
    symbols = env.market.symbols
    if len(symbols) == 1:
        return ()
    first: dict[int, int] = {}
    for stretch in env.market.stretches:
        first.setdefault(stretch.symbol, stretch.start)
    rules = env.episode_rules.rules
    return tuple(MarketRows(symbols[index], row, rules[index]) for index, row in first.items())


def judged_rows(env: BatchedTradingEnv, stretches: Sequence[Stretch]) -> tuple[Rows, ...]:
    """Return the rows of stretches from the first with a full window of features on, without those too short."""
    return tuple((s.start + env.spec.window - 1, s.stop) for s in sorted(stretches) if len(s) > env.spec.window)


def seed_pass(env: BatchedTradingEnv, actor: Actor, stretches: Sequence[Stretch], seed: int) -> SeedPass:
    """Let a policy walk once over the judged bars, from flat.

    Args:
        env: to walk in; its costs and rules are those of the judge.
        actor: of the policy.
        stretches: that are judged; the decisions are those of `judged_rows`.
        seed: of the policy's training.
    """
    walks = env.evaluate_pass(actor, stretches, start_weight=0.0)

    def policy(observations: Float32Array) -> FloatArray:
        with torch.no_grad():
            seen = torch.from_numpy(observations).to(env.device)
            return np.asarray(env.weights_of(actor(seen)).cpu().numpy(), np.float64)

    return SeedPass(
        seed=seed,
        weights=np.concatenate([walk.weights for walk in walks]),
        observed=Observed(policy, seen_on(env, walks, seed), env.market_size),
        rewards=rewards_of(env, walks),
    )


def seen_on(env: BatchedTradingEnv, walks: Sequence[StretchPass], seed: int) -> Float32Array:
    """Return what was seen on the walks; where that is a lot, on bars drawn at random."""
    rows = np.concatenate([np.arange(walk.first_row, walk.first_row + len(walk.weights)) for walk in walks])
    account = np.concatenate([walk.account for walk in walks])
    if len(rows) > MOST_OBSERVATIONS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_OBSERVATIONS, replace=False))
        rows, account = rows[chosen], account[chosen]
    seen = env.observe(torch.from_numpy(rows).to(env.device), torch.from_numpy(account).to(env.device))
    return np.asarray(seen.cpu().numpy(), np.float32)


def rewards_of(env: BatchedTradingEnv, walks: Sequence[StretchPass]) -> float | None:
    """Return the sum of what was paid on walks, in log return; None where something else is paid for."""
    return float(sum(walk.rewards.sum() for walk in walks)) if env.spec.reward == "log_return" else None


def bar_returns(equity: FloatArray) -> FloatArray:
    """Return the log returns as the kernel counts them: what is left after ruin is a number, and then nothing moves."""
    ratio = np.ones(len(equity) - 1)
    np.divide(equity[1:], equity[:-1], out=ratio, where=equity[:-1] > 0.0)
    return np.asarray(np.log(np.maximum(ratio, LEAST_RATIO)), np.float64)
