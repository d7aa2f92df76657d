"""One seed becomes streams that have nothing to do with each other."""

from __future__ import annotations

import numpy as np
import torch

from core.accounting.rules import CostRates
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.learner import build_learner
from ml.agents.run_spec import DDPG, PPO, AlgorithmSpec
from ml.agents.streams import Streams
from ml.environment import BatchedTradingEnv
from tests.unit.ml.agents.agent_world import random_market


def test_no_two_streams_of_any_seed_are_alike() -> None:
    values = [value for seed in range(200) for value in Streams.of(seed)]
    assert len(set(values)) == len(values)
    assert Streams.of(7) == Streams.of(7)
    first = [torch.rand(1_000, generator=torch.Generator().manual_seed(value)).numpy() for value in values[:12]]
    together = np.corrcoef(first) - np.eye(len(first))
    assert np.abs(together).max() < 0.15


def test_a_learner_leaves_the_seed_of_its_environment_alone() -> None:
    """The episodes that it meets are those of the environment's seed, whichever seed the learner has."""
    spec = EnvironmentSpec(episode=16, random_position=True, costs=CostRates())

    def begun(kind: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        env = BatchedTradingEnv(random_market(300), spec, windows=8, seed=5)
        settings = AlgorithmSpec(kind=kind, hidden=(8,), windows=8, n_steps=4, batch=8, learning_starts=8, buffer=1_000)
        made = build_learner(settings, env, seed)
        env.reset()
        return env.rows, torch.cat([each.detach().flatten() for each in made.policy.parameters()])

    for kind in (PPO, DDPG):
        (one, weights), (two, others) = begun(kind, 1), begun(kind, 2)
        assert torch.equal(one, two)
        assert not torch.equal(weights, others)
