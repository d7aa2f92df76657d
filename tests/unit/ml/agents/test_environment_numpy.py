"""The batched environment as stable-baselines3 sees it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecMonitor

from ml.agents.environment_spec import EnvironmentSpec
from ml.arrays import FloatArray
from ml.environment import BatchedTradingEnv
from tests.unit.ml.agents.agent_world import ALL_COSTS, random_market

SPEC = EnvironmentSpec(window=3, episode=12, costs=ALL_COSTS)
GRID = replace(SPEC, actions="discrete", levels=5)


def _env(spec: EnvironmentSpec = SPEC, windows: int = 8, seed: int = 1) -> BatchedTradingEnv:
    return BatchedTradingEnv(random_market(300), spec, windows=windows, seed=seed, clock=iter(range(10_000)).__next__)


def test_steps_are_those_of_the_device_side() -> None:
    ours, theirs = _env(), _env()
    first = ours.reset()
    assert first.dtype == np.float32
    assert np.array_equal(first, theirs.reset_tensor().numpy())
    rng, ends = np.random.default_rng(0), 0
    for _ in range(40):
        actions = rng.uniform(-1, 1, (8, 1)).astype(np.float32)
        obs, rewards, dones, infos = ours.step(actions)
        step = theirs.step_tensor(torch.from_numpy(actions))
        assert np.array_equal(obs, step.obs.numpy())
        assert np.array_equal(rewards, step.reward.numpy())
        assert np.array_equal(dones, (step.terminated | step.truncated).numpy())
        last = theirs.observe(step.rows, step.account).numpy()
        for index, (done, info) in enumerate(zip(dones, infos, strict=True)):
            assert bool(info) == done
            if not done:
                continue
            ends += 1
            assert np.array_equal(info["terminal_observation"], last[index])
            assert info["TimeLimit.truncated"] is bool(step.truncated[index])
            assert info["episode"]["r"] == float(step.episode_reward[index])
            assert info["episode"]["l"] == int(step.episode_length[index])
            assert info["episode"]["t"] > 0
    assert ends > 20


def test_steps_without_an_end_share_their_infos() -> None:
    env = _env(replace(SPEC, episode=200))
    env.reset()
    quiet = [
        infos for *_, dones, infos in (env.step(np.zeros((8, 1), np.float32)) for _ in range(5)) if not dones.any()
    ]
    assert len(quiet) > 1
    assert all(infos is quiet[0] for infos in quiet)
    assert all(info is quiet[0][0] and not info for info in quiet[0])


def test_an_episode_adds_up_its_rewards() -> None:
    env = _env()
    env.reset()
    totals, lengths, rng, ends = np.zeros(8), np.zeros(8, np.int64), np.random.default_rng(0), 0
    for _ in range(60):
        _, rewards, dones, infos = env.step(rng.uniform(-1, 1, (8, 1)))
        totals, lengths = totals + rewards, lengths + 1
        for index in np.flatnonzero(dones):
            assert infos[index]["episode"]["r"] == pytest.approx(totals[index], rel=1e-5, abs=1e-6)
            assert infos[index]["episode"]["l"] == lengths[index]
            totals[index] = lengths[index] = 0
            ends += 1
    assert ends > 30


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_actions_that_are_no_numbers_do_not_trade(wrong: float) -> None:
    env = _env()
    env.reset()
    before = [tensor.clone() for tensor in env.episodes]
    actions = np.zeros((8, 1), np.float32)
    actions[3] = wrong
    with pytest.raises(ValueError, match="finite"):
        env.step(actions)
    assert all(torch.equal(now, then) for now, then in zip(env.episodes, before, strict=True))


@pytest.mark.parametrize("actions", [np.full(8, 5), np.full(8, -1), np.zeros(8), np.zeros((8, 1), np.int64)])
def test_levels_that_do_not_exist_are_refused(actions: FloatArray) -> None:
    env = _env(GRID)
    env.reset()
    with pytest.raises(ValueError, match="actions"):
        env.step(actions)


def test_actions_of_another_shape_are_refused() -> None:
    env = _env()
    env.reset()
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros((7, 1), np.float32))
    with pytest.raises(RuntimeError, match="no step"):
        env.step_wait()


def test_a_seed_holds_for_the_next_reset_only() -> None:
    env, other = _env(seed=1), _env(seed=2)
    for each in (env, other):
        each.seed(77)
    assert np.array_equal(env.reset(), other.reset())
    following = env.reset()
    assert np.array_equal(following, other.reset())
    env.seed(77)
    assert not np.array_equal(env.reset(), following)


def test_attributes_are_shared_by_all_windows() -> None:
    env = _env()
    assert env.get_attr("spec") == [SPEC] * 8
    assert env.get_attr("spec", [0, 2]) == [SPEC] * 2
    assert env.env_is_wrapped(Monitor) == [True] * 8
    assert env.env_is_wrapped(VecMonitor, 0) == [False]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="share"):
        env.set_attr("spec", GRID, 0)
    with pytest.raises(AttributeError):
        env.get_attr("unknown")


def _trained(kind: str) -> list[FloatArray]:
    torch.set_num_threads(1)
    given: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "seed": 5, "device": "cpu"}
    if kind == "ddpg":
        noise = NormalActionNoise(np.zeros(1), np.full(1, 0.2))
        model: PPO | DDPG = DDPG("MlpPolicy", _env(), learning_starts=40, buffer_size=400, action_noise=noise, **given)
    else:
        env = _env(GRID if kind == "discrete" else SPEC)
        model = PPO("MlpPolicy", env, n_steps=16, batch_size=64, n_epochs=2, **given)
    model.learn(400)
    rewards = [float(episode["r"]) for episode in model.ep_info_buffer or ()]
    assert len(rewards) > 10
    return [*(value.detach().numpy() for value in model.policy.state_dict().values()), np.array(rewards)]


@pytest.mark.parametrize("kind", ["continuous", "discrete", "ddpg"])
def test_the_stock_algorithms_run_and_repeat_themselves(kind: str) -> None:
    first, second = _trained(kind), _trained(kind)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_stock_evaluation_uses_our_episodes() -> None:
    env = _env()
    model = PPO("MlpPolicy", env, n_steps=4, batch_size=32, policy_kwargs={"net_arch": [8]}, device="cpu", seed=1)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=16)
    assert np.isfinite(mean)


_MEMORY = """
import resource, sys, numpy as np, torch
from ml.agents.environment_spec import EnvironmentSpec
from ml.environment import BatchedTradingEnv
from ml.agents.market_tensor import market_tensor
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20
torch.set_num_threads(1)
before = resident()
rows = 1_000_000
close = 100 + np.sin(np.arange(rows) / 50)
prices = np.empty((rows, 6))
for column in range(4):
    prices[:, column] = close
prices[:, 4], prices[:, 5] = 1e6, 0
features = np.zeros((rows, 30), np.float32)
features[:] = np.sin(np.arange(30))
market = market_tensor(features, prices, np.full(rows, 0.01), names=[str(i) for i in range(30)])
env = BatchedTradingEnv(market, EnvironmentSpec(window=32, episode=64), windows=1024, seed=1)
env.reset()
for _ in range(100):
    env.step(np.zeros((1024, 1), np.float32))
with open("/proc/self/status") as file:  # getrusage also tells of the process that this one was forked from
    peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
print(resident() - before, peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_windows_on_a_million_bars_take_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    now, peak = map(float, done.stdout.split())
    assert 150 < now <= 500  # MiB: the bars themselves take 175
    assert peak <= 500
