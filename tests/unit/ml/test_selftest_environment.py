"""The environment pays for the best policy of a task what the formula says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ml.environment import BatchedTradingEnv
from ml.selftest_environment import environment_of, tensor_of
from ml.selftest_gain import best_weights, measure
from ml.selftest_markets import TASKS, KnownTask


def _environment(task: KnownTask, windows: int) -> BatchedTradingEnv:
    torch.set_num_threads(1)
    return BatchedTradingEnv(tensor_of(task.market), environment_of(task.market), windows=windows, seed=1)


def _actions(task: KnownTask, rows: Tensor, account: Tensor) -> Tensor:
    """What the best policy does, from the row and the weight that the environment shows."""
    market = task.market
    state = market.state[rows.numpy()]
    if market.close_out:
        state = 1.0 + np.rint(account[:, -1].numpy().astype(np.float64) * market.episode)
    held = account[:, 0].numpy().astype(np.float64)
    weights = np.clip(task.policy(state, held), market.lowest, market.highest)
    scaled = 2.0 * (weights - market.lowest) / (market.highest - market.lowest) - 1.0
    return torch.from_numpy(scaled.astype(np.float32)[:, None])


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("C", 0.01), ("D", 0.05), ("E", 0.05), ("G", 0.03), ("H", 0.05), ("I-linear", 0.05), ("J", 0.01), ("M", 0.03)],
)
def test_the_environment_pays_the_optimum_to_the_best_policy(name: str, tolerance: float) -> None:
    task = TASKS[name](100_000, 2)
    market = task.market
    windows, steps = 400, 190 if market.close_out else 300
    environment = _environment(task, windows)
    environment.reset_tensor()
    gains = np.zeros((steps, windows))
    for step in range(steps):
        rows, account = environment.rows, environment.account
        actions = _actions(task, rows, account)
        weights = environment.weights_of(actions).numpy()
        done = environment.step_tensor(actions)
        luck = market.reward_scale * weights * market.surprise[rows.numpy() + 1]
        gains[step] = done.reward.numpy() - luck
    settled = gains if market.close_out else gains[20:]
    gain = settled.mean() * (market.episode if market.close_out else 1)
    assert gain == pytest.approx(task.optimum, rel=tolerance)


@pytest.mark.parametrize("name", ["E", "H", "J", "M"])
def test_one_pass_through_the_environment_decides_as_the_policy_alone(name: str) -> None:
    """The weights of a pass, measured, are worth those that the recursion of the formula gives."""
    task = TASKS[name](2_000, 3)
    market = task.market
    environment = _environment(task, 2)
    features = tensor_of(market).features
    rows_of = {tuple(row): number for number, row in enumerate(features.tolist())}

    def policy(observation: Tensor) -> Tensor:
        width = features.shape[1]
        rows = torch.tensor([rows_of[tuple(row)] for row in observation[:, :width].tolist()])
        return _actions(task, rows, observation[:, width:])

    weights = np.zeros(len(market) - 1)
    for walked in environment.evaluate_pass(policy):
        weights[walked.first_row : walked.first_row + len(walked.weights)] = walked.weights
    alone = measure(market, best_weights(market, task.policy))
    assert measure(market, weights).mean == pytest.approx(alone.mean, rel=0.01)
