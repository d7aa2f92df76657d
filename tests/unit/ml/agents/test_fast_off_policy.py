"""Fast DDPG, TD3 and SAC: exact states, callbacks, parameters, and the learning curve of the stock version."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.noise import NormalActionNoise
from torch.utils._python_dispatch import TorchDispatchMode

from ml.agents.defaults import DDPG as DDPG_DEFAULTS
from ml.agents.defaults import OFF_POLICY
from ml.agents.fast_off_policy import (
    LEARNERS,
    FastDDPG,
    FastOffPolicy,
    FastSAC,
    FastTD3,
    LearnerState,
    off_policy_learner,
)
from ml.agents.market_tensor import Stretch
from ml.agents.run_spec import AlgorithmSpec
from ml.environment import BatchedTradingEnv
from ml.selftest_environment import environment_of, tensor_of
from ml.selftest_gain import best_weights, measure
from ml.selftest_markets import ou_task
from tests.unit.ml.agents.small_trading_env import SmallTradingEnv, reverting_series

KINDS = tuple(LEARNERS.values())
SERIES = reverting_series(2_000, seed=5)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for each other, for minutes where the machine has other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def learner(kind: type[FastOffPolicy], *, seed: int = 0, **settings: Any) -> FastOffPolicy:
    env = SmallTradingEnv(SERIES, 16, fee=0.1, seed=seed)
    given = {"batch_size": 64, "buffer_size": 4_000, "learning_starts": 320, "gradient_steps": 2}
    return kind(env, seed=seed, **given | settings)


def kept(state: LearnerState) -> LearnerState:
    return LearnerState({name: value.clone() for name, value in state.tensors.items()}, dict(state.numbers))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_steps", [1, 3])
def test_a_restored_learner_goes_on_to_the_bit(kind: type[FastOffPolicy], n_steps: int) -> None:
    one = learner(kind, n_steps=n_steps)
    one.learn(2_000)
    state = kept(one.state())
    one.learn(800, reset_num_timesteps=False)
    two = learner(kind, n_steps=n_steps, seed=7)
    two.restore(state)
    two.learn(800, reset_num_timesteps=False)
    first, second = one.state(), two.state()
    assert first.numbers == second.numbers
    assert first.numbers["timesteps"] == 2_800
    assert first.tensors.keys() == second.tensors.keys()
    assert [name for name, value in first.tensors.items() if not torch.equal(value, second.tensors[name])] == []
    changed = [name for name, value in first.tensors.items() if not torch.equal(value, state.tensors[name])]
    assert any(name.startswith("policy.") for name in changed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_learner(kind: type[FastOffPolicy]) -> None:
    states = [learner(kind, seed=seed).learn(1_000).state().tensors for seed in (3, 3, 4)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())


class Watch(BaseCallback):
    """Counts steps and stops after `most`."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def _on_step(self) -> bool:
        return self.n_calls < self.most


def test_a_callback_is_called_every_step_and_can_stop() -> None:
    model = learner(FastDDPG)
    watch = Watch(30)
    model.learn(10_000, callback=watch)
    assert watch.n_calls == 30
    assert model.num_timesteps == 30 * 16


class Lines(KVWriter):
    """Output of a logger that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.lines.append(dict(key_values))

    def close(self) -> None: ...


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_episodes_are_logged_once_per_interval(kind: type[FastOffPolicy]) -> None:
    model, lines = learner(kind), Lines()
    model.set_logger(Logger(None, [lines]))
    model.learn(16 * 100, log_interval=50)
    assert [line["time/total_timesteps"] for line in lines.lines] == [800, 1600]
    line = lines.lines[1]
    # Episodes have 50 steps and all windows start together: each half saw every window end once.
    assert [each["time/episodes"] for each in lines.lines] == [16, 32]
    assert line["rollout/ep_len_mean"] == 50
    for name in ("critic_loss", "actor_loss", "q_mean", "saturated"):
        assert np.isfinite(line[f"train/{name}"])
    assert 0 <= line["train/saturated"] <= 1
    assert line["train/n_updates"] == 2 * (99 - 320 // 16)  # the updates of the last step follow


def test_the_logged_return_is_the_sum_of_the_rewards() -> None:
    model, lines = learner(FastDDPG, learning_starts=10_000), Lines()
    model.set_logger(Logger(None, [lines]))
    model.learn(16 * 50, log_interval=50)
    rewards = model.replay.state()[0]["reward"].view(50, 16).double().sum(0)
    assert lines.lines[0]["rollout/ep_rew_mean"] == pytest.approx(float(rewards.mean()))


def test_warm_up_actions_are_uniform_and_later_ones_are_the_policys_with_noise() -> None:
    model = learner(FastDDPG, learning_starts=1_600, exploration=0.05)
    model.learn(1_600)
    actions = model.replay.state()[0]["action"]
    assert float(actions.mean()) == pytest.approx(0, abs=0.06)
    assert float(actions.std()) == pytest.approx(3**-0.5, abs=0.03)
    model.learning_starts = 0
    model.gradient_steps = 0
    model.learn(1_600, reset_num_timesteps=False)
    stored = model.replay.state()[0]
    seen = model.trading_env.observe(stored["rows"][1_600:], stored["account"][1_600:])
    noise = stored["action"][1_600:].numpy() - model.predict(seen.numpy())[0]
    assert float(noise.std()) == pytest.approx(0.05, rel=0.06)
    assert np.abs(actions.numpy()).max() <= 1


@pytest.mark.parametrize(("kind", "stock"), [(FastDDPG, DDPG), (FastTD3, TD3), (FastSAC, SAC)])
def test_parameters_fit_the_stock_class_and_back(kind: type[FastOffPolicy], stock: type, tmp_path: Path) -> None:
    fast = learner(kind)
    fast.learn(800)
    env = SmallTradingEnv(SERIES, 16)
    other = stock("MlpPolicy", env, policy_kwargs={"net_arch": [64, 64], "optimizer_kwargs": {"fused": True}})
    other.set_parameters(fast.get_parameters())
    seen = env.reset()
    np.testing.assert_array_equal(fast.predict(seen, deterministic=True)[0], other.predict(seen, deterministic=True)[0])
    again = learner(kind, seed=5)
    other.save(tmp_path / "agent.zip")
    again.set_parameters(tmp_path / "agent.zip")
    np.testing.assert_array_equal(fast.predict(seen, deterministic=True)[0], again.predict(seen, deterministic=True)[0])


@pytest.mark.parametrize("name", ["action_noise", "use_sde", "replay_buffer_class"])
def test_settings_that_would_be_ignored_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        learner(FastSAC, **{name: None})


@pytest.mark.parametrize(
    ("kind", "stock_kind", "settings"),
    [
        (FastDDPG, DDPG, {}),
        (FastTD3, TD3, {"policy_delay": 2, "target_policy_noise": 0.4}),
        (FastSAC, SAC, {"ent_coef": 0.2}),
        (FastSAC, SAC, {"ent_coef": "auto_0.5", "target_update_interval": 2}),
    ],
)
def test_updates_are_those_of_the_stock_class(
    kind: type[FastOffPolicy], stock_kind: type, settings: dict[str, Any]
) -> None:
    """Same parameters, samples and noise: the same parameters after several updates, targets included."""
    fast = learner(kind, learning_starts=320, gradient_steps=1, tau=0.05, **settings)
    fast.learn(320)
    env = SmallTradingEnv(SERIES, 16)
    nets = {"net_arch": [64, 64], "optimizer_kwargs": {"fused": True}}
    stock = stock_kind("MlpPolicy", env, tau=0.05, policy_kwargs=nets, **settings)
    stock.set_parameters(fast.get_parameters())
    stock.set_logger(fast.logger)
    state = kept(fast.state())
    stock.replay_buffer = learner(FastDDPG, seed=3).replay
    stock.replay_buffer.restore(
        {name.removeprefix("replay."): value for name, value in state.tensors.items() if name.startswith("replay.")},
        state.numbers,
    )
    fast._noise = torch.randn_like  # type: ignore[method-assign]  # theirs comes from the global generator
    for model in (fast, stock):
        torch.manual_seed(13)
        model.train(5, 64)
    off = []
    for name, value in fast.policy.state_dict().items():
        # Theirs adds a millionth to the density of SAC's actions, so that it need not be 0.
        near = 5e-5 if isinstance(fast, FastSAC) else 2e-6
        off.append(((stock.policy.state_dict()[name] - value).abs() > near + 1e-4 * value.abs()).flatten())
        assert not torch.equal(value, state.tensors[f"policy.{name}"])
    # With it a gradient near 0 may have the other sign, and Adam makes a whole step of it.
    assert int(torch.cat(off).sum()) <= (5 if isinstance(fast, FastSAC) else 0)
    if settings.get("ent_coef") == "auto_0.5":
        torch.testing.assert_close(stock.log_ent_coef, fast.log_ent_coef, rtol=1e-4, atol=1e-5)
        assert float(fast.log_ent_coef.detach()) != pytest.approx(np.log(0.5), abs=1e-4)


def test_what_is_stored_is_what_could_be_done() -> None:
    model = learner(FastDDPG, learning_starts=0, gradient_steps=0, exploration=3.0)
    model.learn(800)
    size = model.replay.state()[0]["action"].abs()
    assert float(size.max()) == 1.0
    assert 0.5 < float((size == 1.0).float().mean()) < 1.0


def trading_env(windows: int, seed: int, *, rows: int = 20_000, **given: Any) -> BatchedTradingEnv:
    """Return the real environment on an Ornstein-Uhlenbeck price with costs."""
    market = ou_task(rows, 100 + seed, cost=0.5).market
    spec = replace(environment_of(market), **given)
    return BatchedTradingEnv(tensor_of(market), spec, windows=windows, seed=seed)


def gain(model: Any) -> float:
    """Return the gain per step of the deterministic policy, in many windows from flat."""
    env = trading_env(256, 99, rows=100_000)
    seen, total = env.reset(), 0.0
    for _ in range(200):
        seen, rewards, _, _ = env.step(model.predict(seen, deterministic=True)[0])
        total += float(rewards.mean())
    return total / 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_learner_in_the_real_environment_resumes_to_the_bit(kind: type[FastOffPolicy]) -> None:
    given = {"batch_size": 64, "buffer_size": 4_000, "learning_starts": 320, "n_steps": 3}
    one, two = (kind(trading_env(16, 0, random_position=True, episode=40), seed=seed, **given) for seed in (1, 2))
    one.learn(2_000)
    state = kept(one.state())
    one.learn(800, reset_num_timesteps=False)
    two.restore(state)
    two.learn(800, reset_num_timesteps=False)
    first, second = one.state(), two.state()
    assert first.numbers == second.numbers
    assert [name for name, value in first.tensors.items() if not torch.equal(value, second.tensors[name])] == []


class Waits(TorchDispatchMode):
    """Names the operations that make the host wait for a device, whichever the tensors are on now."""

    SIZED_BY_VALUES = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "repeat_interleave")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = [index for index in args[1] if index is not None] if name in ("index", "index_put_") else []
        if name.startswith(self.SIZED_BY_VALUES) or any(mask.dtype == torch.bool for mask in masks):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_waits_are_noticed() -> None:
    with Waits() as waits:
        float(torch.ones(3).sum())
        torch.ones(3)[torch.ones(3) > 0].sum()
    assert waits.seen == ["_local_scalar_dense", "index"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_steps", [1, 3])
def test_nothing_waits_for_the_device_while_collecting_and_learning(kind: type[FastOffPolicy], n_steps: int) -> None:
    env = trading_env(16, 0, random_position=True, episode=10)
    model = kind(env, batch_size=64, buffer_size=4_000, learning_starts=160, n_steps=n_steps)
    model.learn(400)
    with Waits() as waits:
        model.learn(16 * 30, reset_num_timesteps=False, log_interval=None)
    assert waits.seen == []


@pytest.mark.parametrize("kind", sorted(LEARNERS))
@pytest.mark.parametrize("source", [OFF_POLICY.__getitem__, AlgorithmSpec.of])
def test_a_learner_is_told_the_settings_of_the_product(kind: str, source: Callable[[str], Any]) -> None:
    settings = replace(source(kind), hidden=(8, 4), n_steps=3, noise=0.25, entropy=0.02)
    model = off_policy_learner(kind, trading_env(16, 0), settings, seed=2)
    assert model.policy.net_arch == [8, 4]
    assert model.lr_schedule(0.5) == settings.learning_rate / 2
    assert (model.batch_size, model.gamma, model.tau) == (settings.batch, settings.gamma, settings.tau)
    assert (model.replay.n_steps, model.replay.gamma) == (3, settings.gamma)
    assert model.replay.buffer_size == settings.buffer // 16
    assert (model.exploration, model.learning_starts) == (0.25, settings.learning_starts)
    assert model.gradient_steps == settings.gradient_steps
    assert type(model) is LEARNERS[kind]
    assert not isinstance(model, FastSAC) or float(model.ent_coef_tensor) == pytest.approx(0.02)


def test_a_state_survives_its_files(tmp_path: Path) -> None:
    one = learner(FastSAC)
    one.learn(1_000)
    state = one.state()
    save_file({name: value.contiguous() for name, value in state.tensors.items()}, tmp_path / "state.safetensors")
    numbers = json.loads(json.dumps(state.numbers))
    two = learner(FastSAC, seed=3)
    two.restore(LearnerState(load_file(tmp_path / "state.safetensors"), numbers))
    for name, value in one.state().tensors.items():
        assert torch.equal(value, two.state().tensors[name]), name


@pytest.mark.slow
def test_the_fast_version_learns_as_the_stock_version_does() -> None:
    """Gains after 6, 9 and 12 thousand steps, medians over three seeds, each on a market of its own."""
    settings = {"batch_size": 128, "buffer_size": 20_000, "learning_starts": 3_000, "gradient_steps": 4, "gamma": 0.95}
    curves: dict[str, list[list[float]]] = {"fast": [], "stock": []}
    for seed in range(3):
        noise = NormalActionNoise(np.zeros(1), np.full(1, 0.3))
        policy = {"net_arch": [64, 64], "optimizer_kwargs": {"fused": True}}
        stock = DDPG(
            "MlpPolicy", trading_env(32, seed), seed=seed, action_noise=noise, policy_kwargs=policy, **settings
        )
        for name, model in (("fast", FastDDPG(trading_env(32, seed), seed=seed, **settings)), ("stock", stock)):
            curve = []
            for begin, stop in pairwise((0, 6_000, 9_000, 12_000)):
                model.learn(stop - begin, reset_num_timesteps=begin == 0)
                curve.append(gain(model))
            curves[name].append(curve)
    medians = {name: np.median(curve, axis=0) for name, curve in curves.items()}
    np.testing.assert_allclose(medians["fast"], medians["stock"], atol=0.03)
    assert medians["fast"][-1] > 0.08


@pytest.mark.slow
def test_ddpg_learns_to_trade_against_costs() -> None:
    """A fifth of the default steps: the task itself, with all of them, is the self-test's."""
    task, fresh = ou_task(100_000, 1, cost=0.5), ou_task(20_000, 2, cost=0.5)
    spec = replace(environment_of(task.market), random_position=True)
    env = BatchedTradingEnv(tensor_of(task.market), spec, windows=DDPG_DEFAULTS.windows, seed=1)
    model = off_policy_learner("ddpg", env, DDPG_DEFAULTS, seed=1).learn(200_000, log_interval=None)
    judge = BatchedTradingEnv(tensor_of(fresh.market), spec, windows=1, seed=0)
    cuts = [Stretch(start, start + 2_500, 0) for start in range(0, 20_000, 2_500)]
    passes = judge.evaluate_pass(lambda seen: model.policy._predict(seen, deterministic=True), cuts)
    weights = np.concatenate([np.append(each.weights, each.weights[-1]) for each in passes])[:-1]
    best = measure(fresh.market, best_weights(fresh.market, fresh.policy)).mean
    assert best == pytest.approx(fresh.optimum, rel=0.03)
    assert 0.9 < measure(fresh.market, weights).mean / best <= 1.005
