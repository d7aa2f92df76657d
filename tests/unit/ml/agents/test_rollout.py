"""The rollout on the device: the same advantages as the library's buffer, every step once in the mini-batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from ml.agents.rollout import IndexRollout

STEPS, WINDOWS = 7, 5
SEEN = spaces.Box(-1, 1, (3,))
BOX = spaces.Box(-1, 1, (1,))


def made(action_space: spaces.Space[Any], seed: int = 0) -> IndexRollout:
    return IndexRollout(STEPS, SEEN, action_space, "cpu", 0.9, 0.97, WINDOWS, account_size=2, seed=seed)


def filled(seed: int = 0) -> tuple[IndexRollout, dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(3)
    rollout = made(BOX, seed)
    kept: dict[str, list[torch.Tensor]] = {name: [] for name in ("reward", "value", "ended")}
    for step in range(STEPS):
        values = {
            "rows": torch.arange(WINDOWS) + 100 * step,
            "account": torch.rand(WINDOWS, 2, generator=random),
            "drawn": torch.rand(WINDOWS, 1, generator=random),
            "value": torch.rand(WINDOWS, generator=random),
            "log_prob": torch.rand(WINDOWS, generator=random),
            "reward": torch.rand(WINDOWS, generator=random) - 0.5,
            "ended": torch.rand(WINDOWS, generator=random) < 0.3,
            "truncated": torch.zeros(WINDOWS, dtype=torch.bool),
            "end_rows": torch.zeros(WINDOWS, dtype=torch.int64),
            "end_account": torch.zeros(WINDOWS, 2),
        }
        for name, parts in kept.items():
            parts.append(values[name])
        rollout.write(**values)
    return rollout, {name: torch.stack(parts) for name, parts in kept.items()}


def test_advantages_equal_those_of_the_library() -> None:
    rollout, kept = filled()
    assert rollout.full
    last = torch.linspace(-1, 1, WINDOWS)
    cut = rollout.ended & (torch.arange(STEPS).unsqueeze(1) % 2 == 0)
    assert 1 < cut.sum() < rollout.ended.sum()
    rollout.end_value[cut] = torch.linspace(2, 3, int(cut.sum()))
    rollout.finish(last)
    assert torch.equal(rollout.reward, kept["reward"])
    theirs = RolloutBuffer(STEPS, SEEN, BOX, "cpu", 0.9, 0.97, WINDOWS)
    starts = np.zeros(WINDOWS, bool)
    for step in range(STEPS):
        theirs.add(
            np.zeros((WINDOWS, 3)),
            np.zeros((WINDOWS, 1)),
            (kept["reward"][step] + 0.97 * rollout.end_value[step]).numpy(),
            starts,
            kept["value"][step],
            torch.zeros(WINDOWS),
        )
        starts = kept["ended"][step].numpy()
    theirs.compute_returns_and_advantage(last, starts)
    np.testing.assert_allclose(rollout.advantage.numpy(), theirs.advantages, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rollout.target.numpy(), theirs.returns, rtol=0, atol=1e-6)


def test_every_step_is_in_one_mini_batch_with_all_that_belongs_to_it() -> None:
    rollout, _ = filled()
    rollout.finish(torch.zeros(WINDOWS))
    batches = list(rollout.batches(8))
    assert [len(batch.rows) for batch in batches] == [8, 8, 8, 8, 3]
    rows = torch.cat([batch.rows for batch in batches])
    assert rows.sort().values.tolist() == rollout.rows.flatten().sort().values.tolist()
    place = {int(row): place for place, row in enumerate(rollout.rows.flatten())}
    for batch in batches:
        for index, row in enumerate(batch.rows.tolist()):
            assert batch.returns[index] == rollout.target.flatten()[place[row]]
            assert torch.equal(batch.account[index], rollout.account.flatten(0, 1)[place[row]])
            assert torch.equal(batch.actions[index], rollout.drawn.flatten(0, 1)[place[row]])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_is_a_function_of_the_seed(seed: int) -> None:
    orders = [
        torch.cat([batch.rows for batch in filled(with_seed)[0].batches(8)]) for with_seed in (seed, seed, seed + 1)
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_choices_of_a_grid_are_whole_numbers() -> None:
    assert made(spaces.Discrete(5)).drawn.dtype == torch.int64
