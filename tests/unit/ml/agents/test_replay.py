"""Replay buffer: what it gives back is what happened, also over several steps, ends and the wrap-around."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml.agents.replay import IndexReplayBuffer
from tests.unit.ml.agents.small_trading_env import SmallTradingEnv, Step, reverting_series

GAMMA = 0.9


def filled(steps: int, *, n_steps: int, capacity: int = 60, windows: int = 3) -> tuple[IndexReplayBuffer, list[dict]]:
    """Return a buffer and, as plain Python, everything that was ever put into it: one entry per step."""
    env = SmallTradingEnv(reverting_series(400, seed=1), windows, fee=0.1, episode=7, floor=-2.5, seed=2)
    buffer = IndexReplayBuffer(env, capacity, n_steps=n_steps, gamma=GAMMA, seed=3)
    generator = torch.Generator().manual_seed(4)
    told = []
    for _ in range(steps):
        rows, account = env.rows.clone(), env.account.clone()
        action = torch.rand(windows, 1, generator=generator) * 2 - 1
        step = env.step_tensor(action)
        buffer.record(rows, account, action, step)
        told.append({"obs": env.observe(rows, account).numpy(), "action": action.numpy(), "step": step})
    return buffer, told


def expected(told: list[dict], step: int, window: int, n_steps: int) -> tuple[np.ndarray, float, float, float]:
    """Return next observation, done, reward and discount by walking along the steps."""
    reward, discount = 0.0, 1.0
    for index in range(step, min(step + n_steps, len(told))):
        outcome: Step = told[index]["step"]
        reward += discount * float(outcome.reward[window])
        discount *= GAMMA
        following = np.concatenate(
            ([float(reverting_series(400, seed=1)[outcome.rows[window]])], outcome.account[window].numpy())
        )
        done = float(outcome.terminated[window])
        if outcome.terminated[window] or outcome.truncated[window]:
            break
    return following, done, reward, discount


@pytest.mark.parametrize("n_steps", [1, 3, 5])
@pytest.mark.parametrize("steps", [12, 20, 47])  # partly filled, just full, overwritten more than once
def test_samples_are_what_happened(n_steps: int, steps: int) -> None:
    buffer, told = filled(steps, n_steps=n_steps)
    batch = buffer.sample(2_000)
    index = {
        told[step]["obs"][window].tobytes() + told[step]["action"][window].tobytes(): (step, window)
        for step in range(max(0, steps - 20), steps)
        for window in range(3)
    }
    seen = set()
    ends = {"terminated": 0, "truncated": 0}
    assert batch.discounts is not None
    for row in range(len(batch.actions)):
        step, window = index[batch.observations[row].numpy().tobytes() + batch.actions[row].numpy().tobytes()]
        seen.add((step, window))
        following, done, reward, discount = expected(told, step, window, n_steps)
        np.testing.assert_allclose(batch.next_observations[row].numpy(), following, rtol=1e-6)
        assert float(batch.dones[row]) == done
        assert float(batch.rewards[row]) == pytest.approx(reward, rel=1e-5, abs=1e-6)
        assert float(batch.discounts[row]) == pytest.approx(discount, rel=1e-6)
        outcome = told[step]["step"]
        ends["terminated"] += bool(outcome.terminated[window])
        ends["truncated"] += bool(outcome.truncated[window])
    assert seen == set(index.values())  # 2,000 draws of at most 60
    assert min(ends.values()) > 0 or steps == 12


def test_an_episode_cut_short_is_bootstrapped_and_one_that_ended_is_not() -> None:
    buffer, _ = filled(20, n_steps=1)
    stored = buffer._stored
    cut = stored["ended"] & ~stored["terminated"]
    assert cut.any()
    assert stored["terminated"].any()
    batch = buffer.sample(5_000)
    share = float((stored["terminated"]).float().mean())
    assert float(batch.dones.mean()) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("steps", [12, 47])
def test_a_restored_buffer_goes_on_with_the_same_samples(steps: int) -> None:
    buffer, _ = filled(steps, n_steps=3)
    buffer.sample(10)
    tensors, numbers = buffer.state()
    kept = {name: value.clone() for name, value in tensors.items()}
    env = SmallTradingEnv(reverting_series(400, seed=1), 3, fee=0.1, episode=7, floor=-2.5, seed=9)
    other = IndexReplayBuffer(env, 60, n_steps=3, gamma=GAMMA, seed=8)
    other.restore(kept, numbers)
    for one, two in zip(buffer.sample(100), other.sample(100), strict=True):
        assert torch.equal(one, two)


def test_a_state_of_another_shape_is_refused() -> None:
    buffer, _ = filled(20, n_steps=1)
    env = SmallTradingEnv(reverting_series(400, seed=1), 2)
    with pytest.raises(ValueError, match="does not fit"):
        IndexReplayBuffer(env, 60, n_steps=1, gamma=GAMMA, seed=0).restore(*buffer.state())


def test_a_buffer_without_room_for_one_return_is_refused() -> None:
    env = SmallTradingEnv(reverting_series(400, seed=1), 3)
    with pytest.raises(ValueError, match="do not fit"):
        IndexReplayBuffer(env, 8, n_steps=3, gamma=GAMMA, seed=0)
