"""PPO on the device: what the library's own version learns, to rounding, and a problem with a known answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.fast_ppo import FUSED_ADAM, DevicePolicy, FastPPO
from ml.agents.market_tensor import Stretch, market_tensor
from ml.environment import BatchedTradingEnv
from ml.selftest_markets import TASKS, KnownTask

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `render_mode` attribute"),
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad"),  # the library reads its own spread
]
STEPS, WINDOWS = 32, 24
SETTINGS = {"n_steps": STEPS, "batch_size": STEPS * WINDOWS, "n_epochs": 3, "learning_rate": 1e-3, "gamma": 0.98}
NETS = {"net_arch": [16, 16]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def environment(
    task: KnownTask, *, actions: str, episode: int, windows: int = WINDOWS, seed: int = 5
) -> BatchedTradingEnv:
    market = task.market
    prices = np.stack([market.open, market.high, market.low, market.close, market.volume, market.funding], axis=1)
    tensor = market_tensor(market.features, prices, market.volatility, names=market.names, rules=market.rules)
    spec = EnvironmentSpec(
        actions=actions,
        lowest=market.lowest,
        highest=market.highest,
        reward_scale=market.reward_scale,
        episode=episode,
        random_position=True,
        cash=1.0,
        costs=market.costs,
    )
    return BatchedTradingEnv(tensor, spec, windows=windows, seed=seed)


@pytest.fixture(scope="module")
def reverting() -> KnownTask:
    return TASKS["E"](20_000, 1)


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_it_learns_what_the_library_learns(reverting: KnownTask, actions: str) -> None:
    """Mini-batches as large as the rollout make the order of steps, the one thing that differs, not matter."""
    ours = FastPPO(environment(reverting, actions=actions, episode=20), seed=3, policy_kwargs=NETS, **SETTINGS)
    theirs = PPO(
        DevicePolicy,
        environment(reverting, actions=actions, episode=20),  # ends by length within each rollout
        seed=3,
        policy_kwargs={**NETS, "optimizer_kwargs": dict(FUSED_ADAM)},
        device="cpu",
        **SETTINGS,
    )
    theirs.policy.load_state_dict(ours.policy.state_dict())
    theirs.get_env().seed(5)  # as `environment` does, but theirs has given it its own
    before = torch.cat([part.flatten() for part in ours.policy.parameters()]).detach().clone()
    for algorithm in (ours, theirs):
        torch.manual_seed(11)  # actions are drawn by the global generator
        algorithm.learn(4 * STEPS * WINDOWS, log_interval=None)
    learnt, known = (torch.cat([part.flatten() for part in made.policy.parameters()]) for made in (ours, theirs))
    assert float((learnt - before).abs().max()) > 1e-3
    torch.testing.assert_close(learnt, known, rtol=0, atol=2e-5)
    buffer = ours.rollout_buffer
    paid = buffer.reward + ours.gamma * buffer.end_value  # theirs holds both in one
    assert (buffer.end_value != 0).sum() > 20
    np.testing.assert_allclose(paid.numpy(), theirs.rollout_buffer.rewards, rtol=0, atol=2e-4)


def test_the_same_seed_learns_the_same_to_the_bit(reverting: KnownTask) -> None:
    def learnt(seed: int) -> torch.Tensor:
        env = environment(reverting, actions="discrete", episode=64)
        made = FastPPO(env, seed=seed, policy_kwargs=NETS, **{**SETTINGS, "batch_size": 96})
        made.learn(2 * STEPS * WINDOWS, log_interval=None)
        return torch.cat([part.flatten() for part in made.policy.parameters()]).detach()

    assert torch.equal(learnt(1), learnt(1))
    assert not torch.equal(learnt(1), learnt(2))


def test_discrete_actions_are_drawn_as_by_the_library(reverting: KnownTask) -> None:
    made = FastPPO(environment(reverting, actions="discrete", episode=64), seed=3, policy_kwargs=NETS, **SETTINGS)
    distribution = made.policy.get_distribution(torch.randn(500, made.policy.observation_space.shape[0]) * 5)
    chances = distribution.distribution.probs
    torch.manual_seed(4)
    ours = distribution.sample()
    torch.manual_seed(4)
    assert torch.equal(ours, torch.multinomial(chances, 1, replacement=True).squeeze(1))
    assert set(ours.tolist()) == {0, 1, 2}


def test_the_mean_reward_is_what_was_paid(reverting: KnownTask) -> None:
    """What is expected to follow an episode that was cut off is no reward."""
    env = environment(reverting, actions="discrete", episode=4)
    paid = list[torch.Tensor]()
    plain = env.step_tensor
    env.step_tensor = lambda actions: (paid.append((step := plain(actions)).reward), step)[1]  # type: ignore[assignment, func-returns-value]
    made = FastPPO(env, seed=3, policy_kwargs=NETS, **SETTINGS)
    with torch.no_grad():
        made.policy.value_net.bias.fill_(50.0)
    made.learn(STEPS * WINDOWS, log_interval=None)
    assert made.rollout_buffer.truncated.any()
    assert made.logger.name_to_value["rollout/reward_mean"] == pytest.approx(float(torch.stack(paid).mean()), abs=1e-6)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_a_mini_batch_of_one_is_learnt_from(reverting: KnownTask) -> None:
    env = environment(reverting, actions="continuous", episode=64, windows=1)
    made = FastPPO(env, seed=1, policy_kwargs=NETS, **{**SETTINGS, "n_steps": 9, "batch_size": 4})
    made.learn(9, log_interval=None)
    assert all(bool(torch.isfinite(part).all()) for part in made.policy.parameters())


def test_a_callback_stops_it(reverting: KnownTask) -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 5

    made = FastPPO(environment(reverting, actions="discrete", episode=64), seed=1, policy_kwargs=NETS, **SETTINGS)
    made.learn(10_000, callback=Stop(), log_interval=None)
    assert made.num_timesteps == 5 * WINDOWS


def test_too_large_a_divergence_ends_an_iteration(reverting: KnownTask) -> None:
    env = environment(reverting, actions="discrete", episode=64)
    settings = {**SETTINGS, "n_epochs": 50, "learning_rate": 0.02}
    made = FastPPO(env, seed=1, policy_kwargs=NETS, target_kl=1e-4, **settings)
    made.learn(STEPS * WINDOWS, log_interval=None)
    assert made._n_updates < 50


@pytest.mark.parametrize("more", [{"clip_range_vf": 0.2}, {"use_sde": True}])
def test_what_it_leaves_out_is_refused(reverting: KnownTask, more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="FastPPO"):
        FastPPO(environment(reverting, actions="continuous", episode=64), seed=1, **SETTINGS, **more)


def test_it_solves_mean_reversion_with_costs() -> None:
    """Task E in short: without its costs in mind an agent would trade far too often."""
    task, unseen = TASKS["E"](100_000, 1), TASKS["E"](40_000, 99)
    made = FastPPO(
        environment(task, actions="discrete", episode=512, windows=256),
        seed=0,
        n_steps=64,
        batch_size=4_096,
        n_epochs=8,
        learning_rate=1e-3,
        gamma=0.98,
        policy_kwargs={"net_arch": [64, 64]},
    )
    made.learn(250_000, log_interval=None)
    judged = environment(unseen, actions="discrete", episode=512, windows=1)
    walks = judged.evaluate_pass(
        lambda seen: made.policy._predict(seen, deterministic=True),
        [Stretch(start, start + 1_000) for start in range(0, 40_000, 1_000)],  # beside each other: that is faster
    )
    gained = np.concatenate([np.diff(np.log(walk.equity)) for walk in walks])
    surprise = [unseen.market.surprise[walk.first_row + 1 :][: len(walk.weights)] * walk.weights for walk in walks]
    share = (gained - np.concatenate(surprise)).mean() * unseen.market.reward_scale / unseen.optimum
    assert share >= 0.9
