"""A walk through the environment and a run of the kernel that trades are the same account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.accounting.fast import run_targets
from core.accounting.rules import CostRates, MarketRules
from ml.agents.accounts import bars_between
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.episodes import EpisodeRules
from ml.agents.evaluation import Actor, judged_market, judged_rows, seed_pass
from ml.agents.gym_env import TradingEnv
from ml.agents.judge import judge
from ml.agents.market_tensor import MarketTensor, Stretch, joined, market_tensor, moved
from ml.agents.results import EDGE, UNTRAINED, AgentMetrics
from ml.environment import BatchedTradingEnv
from tests.unit.ml.agents.judged_world import QUICK

COSTS = CostRates(taker_fee=0.001, half_spread=0.0003, slippage=0.0002, impact=0.01, borrow_base=1e-5)
TRAIN = (Stretch(0, 500),)
TEST = (Stretch(500, 900), Stretch(950, 1_400))
FEATURES = 2


def market_of(size: int = 1_400, seed: int = 3) -> MarketTensor:
    """Return bars whose first feature is the next move and noise, and whose second is noise alone."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0.0, 0.01, size)
    close = 100.0 * np.exp(np.cumsum(moves))
    opened = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0.0, 0.002, size))
    high, low = np.maximum(opened, close) * 1.003, np.minimum(opened, close) * 0.997
    funding = np.where(np.arange(size) % 8 == 0, 1e-4, 0.0)
    prices = np.stack([opened, high, low, close, rng.uniform(1e3, 1e4, size), funding], axis=1)
    known = np.append(moves[1:], 0.0) / 0.01 + rng.normal(size=size)
    features = np.stack([known, rng.normal(size=size)], axis=1).astype(np.float32)
    stretches = (Stretch(0, 900), Stretch(950, size))
    return market_tensor(features, prices, np.full(size, 0.01), names=("known", "noise"), stretches=stretches)


def judged(actor: Actor, market: MarketTensor, spec: EnvironmentSpec, rules: MarketRules | None = None) -> AgentMetrics:
    """Walk, then judge."""
    env = BatchedTradingEnv(market, spec, windows=4, seed=1, rules=rules, costs=COSTS, stretches=TRAIN)
    found = judged_market(env, bars_per_year=8_760.0)
    train, test = ((s.start, s.stop) for s in TRAIN), judged_rows(env, TEST)
    return judge(found, tuple(train), test, [seed_pass(env, actor, TEST, 7)], options=QUICK)


def following(seen: Tensor) -> Tensor:
    """Return actions by the newest bar's first feature and the present weight."""
    return torch.tanh(seen[:, -FEATURES - ACCOUNT : -FEATURES - ACCOUNT + 1] + 0.3 * seen[:, -ACCOUNT:][:, :1])


ACCOUNT = BatchedTradingEnv(market_of(), EnvironmentSpec(episode=64), windows=1, seed=0).account_size


@pytest.mark.parametrize("window", [1, 5])
@pytest.mark.parametrize(
    "rules",
    [None, MarketRules(tick_size=0.01, lot_size=0.001, min_notional=10.0, max_leverage=2.0, maintenance=0.01)],
    ids=["smooth", "rounded"],
)
def test_what_the_environment_pays_is_what_the_judge_finds(window: int, rules: MarketRules | None) -> None:
    spec = EnvironmentSpec(window=window, episode=64, lowest=-2.0 if rules else -1.0, highest=2.0 if rules else 1.0)
    metrics = judged(following, market_of(), spec, rules)
    assert metrics.bars == (399 - window + 1) + (449 - window + 1)
    assert metrics.diagnostics.reward_gap == pytest.approx(0.0, abs=1e-9)
    assert metrics.diagnostics.rewards_add_up is True
    assert metrics.standing == EDGE
    assert metrics.diagnostics.ignores_market is False
    assert metrics.diagnostics.account_share is not None
    assert 0.0 < metrics.diagnostics.account_share < metrics.diagnostics.market_share  # type: ignore[operator]


def test_several_markets_are_walked_and_judged_by_the_rules_and_the_funding_of_each() -> None:
    """What each account was paid is what a straight run of the kernel over its market says."""
    several = [
        MarketRules(),
        MarketRules(tick_size=0.01, lot_size=0.001, min_notional=10.0),
        MarketRules(tick_size=0.5, lot_size=0.1, min_quantity=0.2),
    ]
    markets = [
        replace(market_of(seed=seed), rules=(rules,), symbols=(f"{seed}/B",)) for seed, rules in enumerate(several)
    ]
    size, whole = len(markets[0]), joined(markets)
    spec = EnvironmentSpec(window=3, episode=64, lowest=-2.0, highest=2.0, maintenance=0.01, band=0.02)
    env = BatchedTradingEnv(whole, spec, windows=4, seed=1, costs=COSTS, stretches=TRAIN)
    tests = [stretch for index in range(3) for stretch in moved(TEST, size * index, index)]
    hours = np.tile(np.arange(size, dtype=np.int64) * 3_600_000_000_000, 3)
    found = judged_market(env, bars_per_year=8_760.0, time_ns=hours)
    walk = seed_pass(env, following, tests, 7)
    passes = env.evaluate_pass(following, tests)
    metrics = judge(found, [(0, 400)], judged_rows(env, tests), [walk], options=QUICK)
    assert metrics.diagnostics.reward_gap == pytest.approx(0.0, abs=1e-9)
    for each in passes:
        stretch, rules = each.stretch, spec.rules(several[each.stretch.symbol])
        bars = bars_between(found.bars, each.first_row, stretch.stop)
        run = run_targets(each.weights, bars, COSTS, rules, cash=spec.cash)
        np.testing.assert_allclose(each.equity, run.equity, rtol=1e-9)
        assert (run.lots == np.round(run.lots)).all() == (rules.lot_size > 0)
    assert [market.symbol for market in metrics.markets] == list(whole.symbols)
    assert all(market.paid.funding != 0.0 for market in metrics.markets)
    gym = TradingEnv(whole, spec, costs=COSTS)
    gym.reset(seed=3)
    for step in range(40):
        observation, reward, terminated, truncated, info = gym.step(np.array([np.sin(step)], np.float32))
        assert np.isfinite([reward, info["equity"], *observation]).all()
        if terminated or truncated:
            break


def test_rewards_that_are_not_the_profit_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account itself is right: only what the agent is paid for it is not."""
    honest = EpisodeRules._rewarded

    def flattering(self: EpisodeRules, *args: Any) -> Any:
        reward, moments = honest(self, *args)
        return reward.clamp(min=-1.0), moments

    monkeypatch.setattr(EpisodeRules, "_rewarded", flattering)
    diagnostics = judged(following, market_of(), EnvironmentSpec(episode=64)).diagnostics
    assert diagnostics.rewards_add_up is False
    assert diagnostics.reward_gap is not None
    assert diagnostics.reward_gap > 0.01


def test_other_rewards_are_not_compared_with_the_profit() -> None:
    diagnostics = judged(following, market_of(), EnvironmentSpec(episode=64, reward="vol_scaled")).diagnostics
    assert diagnostics.rewards_add_up is None


def test_discrete_actions_are_judged_as_weights() -> None:
    spec = EnvironmentSpec(actions="discrete", levels=3, episode=64, window=2)

    def actor(seen: Tensor) -> Tensor:
        return (1 + torch.sign(seen[:, -FEATURES - ACCOUNT])).long()

    metrics = judged(actor, market_of(), spec)
    assert metrics.diagnostics.saturated == 1.0
    assert metrics.diagnostics.rewards_add_up is True
    assert metrics.diagnostics.market_share == pytest.approx(1.0, abs=0.15)


def test_an_agent_that_only_looks_at_its_account_is_not_trained() -> None:
    def actor(seen: Tensor) -> Tensor:
        return torch.where(seen[:, -ACCOUNT:][:, :1] > 0.0, -0.5, 0.5)

    metrics = judged(actor, market_of(), EnvironmentSpec(episode=64))
    assert metrics.standing == UNTRAINED
    assert metrics.diagnostics.market_share == 0.0


def test_a_ruined_account_adds_up_too() -> None:
    """Fifty times the account, and a maintenance margin: it does not last."""
    spec = EnvironmentSpec(episode=64, lowest=-50.0, highest=50.0, maintenance=0.01)
    metrics = judged(lambda seen: -torch.sign(following(seen)), market_of(), spec)
    assert metrics.ensemble.liquidations == 2
    assert metrics.diagnostics.rewards_add_up is True
