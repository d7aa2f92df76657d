"""One window as a plain gymnasium environment."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_by_sb3

from core.accounting.rules import CostRates, MarketRules
from ml.agents.accounting import Accounts, Bars, cost_tensors, step_targets
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.episodes import EpisodeRules, Kernel
from ml.agents.gym_env import ENVIRONMENT_ID, TradingEnv, reference_kernel, register_environments
from tests.unit.ml.agents.agent_world import ALL_COSTS, random_market

SPECS = {
    "continuous": EnvironmentSpec(window=3, episode=30, costs=ALL_COSTS, cost_jitter=1.0, random_position=True),
    "discrete": EnvironmentSpec(actions="discrete", levels=5, episode=30, reward="differential_sharpe"),
    "with an end": EnvironmentSpec(lowest=0.0, start_weight=1.0, episode=8, close_out=True, costs=ALL_COSTS),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.filterwarnings("ignore:.*infinity. This is probably too")  # features have no bounds
def test_both_checkers_pass(spec: EnvironmentSpec) -> None:
    env = TradingEnv(random_market(200), spec)
    check_env(env, skip_render_check=True)
    check_by_sb3(env)


def test_it_is_registered_once() -> None:
    register_environments()
    register_environments()
    env = gymnasium.make(ENVIRONMENT_ID, market=random_market(200), spec=SPECS["continuous"])
    first, info = env.reset(seed=3)
    assert first.shape == env.observation_space.shape
    assert np.array_equal(env.reset(seed=3)[0], first)
    assert info["equity"] == pytest.approx(10_000.0)
    assert env.step(np.array([0.5], np.float32))[4]["row"] == info["row"] + 1


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_it_is_the_batched_environment_with_the_reference_kernel(spec: EnvironmentSpec) -> None:
    rules = spec.rules(MarketRules(tick_size=0.01, lot_size=0.0001))
    market = random_market(300)
    env = TradingEnv(market, spec, rules=rules)
    batched = EpisodeRules(market, spec, rules=rules)
    rng, ends = np.random.default_rng(0), 0
    for seed in range(12):
        obs, _ = env.reset(seed=seed)
        uniform = np.random.default_rng(seed).random((EpisodeRules.DRAWS, 1))
        now, over = batched.begin(torch.from_numpy(uniform), aged=False), False
        while not over:
            row = int(now.row)
            window = market.features[row - spec.window + 1 : row + 1].reshape(-1)
            expected = torch.cat([window, batched.account_of(now)[0]]).numpy()
            np.testing.assert_allclose(obs, expected, rtol=1e-6, atol=1e-7)
            action = np.int64(rng.integers(5)) if spec.is_discrete else rng.uniform(-1, 1, 1).astype(np.float32)
            obs, reward, terminated, truncated, info = env.step(action)
            moved = batched.move(now, batched.weights_of(torch.from_numpy(np.array([action]))))
            assert reward == pytest.approx(float(moved.reward), rel=1e-9, abs=1e-9)
            assert (terminated, truncated) == (bool(moved.terminated), bool(moved.truncated))
            assert info["log_return"] == pytest.approx(float(moved.log_return), rel=1e-9, abs=1e-12)
            now, over = moved.episodes, terminated or truncated
        ends += 1
        with pytest.raises(RuntimeError, match="reset"):
            env.step(action)
    assert ends == 12


def test_an_action_that_is_no_number_does_not_trade() -> None:
    env = TradingEnv(random_market(200), replace(SPECS["continuous"], window=1))
    env.reset(seed=1)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.array([np.nan], np.float32))


@pytest.mark.parametrize("kernel", [step_targets, partial(reference_kernel, CostRates())])
def test_what_a_gap_sells_by_force_is_no_fill_of_the_decision(kernel: Kernel) -> None:
    rules, costs = MarketRules(max_leverage=3.0, maintenance=0.05), CostRates()
    number = partial(torch.full, (1,), dtype=torch.float64)
    accounts = Accounts(number(-200.0), number(3.0), number(100.0), number(100.0), torch.tensor([False]))
    bars = Bars(number(68.0), number(70.0), number(65.0), number(69.0), number(1e6), number(0.0))
    tensors = cost_tensors(costs, dtype=torch.float64, device="cpu")
    met = kernel(accounts, number(1.0), bars, tensors, rules)
    assert met.liquidated_now.tolist() == [True]
    assert (met.fill_lots.tolist(), met.fill_price.tolist()) == ([0.0], [0.0])
    assert float(met.accounts.cash) == pytest.approx(3 * 68 * (1 - costs.taker_fee) - 200)
