"""Where the self-test's agents learn and are measured. Training child only (torch).

Nothing here knows an optimum. An agent learns on one series and is measured on another one of the same kind, by the
trading kernel. What trains is handed in, so that tests can put something broken there and see the self-test fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from ml.agents.defaults import OffPolicySettings, PPOSettings
from ml.agents.environment_spec import CONTINUOUS, DISCRETE, EnvironmentSpec
from ml.agents.fast_off_policy import FastOffPolicy, off_policy_learner
from ml.agents.fast_ppo import FastPPO, ppo_learner
from ml.agents.market_tensor import Stretch
from ml.arrays import FloatArray
from ml.environment import BatchedTradingEnv
from ml.selftest import SelftestJob
from ml.selftest_environment import environment_of, tensor_of
from ml.selftest_gain import Gain, measure
from ml.selftest_markets import TaskMarket
from ml.selftest_steps import LabHooks, Steps

Act = Callable[[Tensor], Tensor]
Settings = PPOSettings | OffPolicySettings

_SIDE_BY_SIDE, _WARM_UP = 1_000, 64  # decisions of a stretch, and those before whose weights are not counted
_LOOK_EVERY = 16  # steps of all windows between two looks at whether to stop
_TRAINED = 0.9  # share of the time of one run


class Train(Protocol):
    """What teaches an agent, as `train_agent` does."""

    def __call__(
        self, env: BatchedTradingEnv, settings: Settings, /, *, seed: int, on_step: Callable[[float], None]
    ) -> Act:
        """Return what the agent does without chance; `on_step` gets the share that is done and may raise."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Agent:
    """Something that learnt.

    Attributes:
        act: observations (B, D) to actions, without chance.
        spec: of the environment it learnt in.
        cpu_seconds: of the learning.
    """

    act: Act
    spec: EnvironmentSpec
    cpu_seconds: float


class AgentLab(Steps):
    """Teaches one agent after the other.

    Args:
        job: its settings.
        hooks: to its surroundings.
        train: the product's learners unless a test says otherwise.
    """

    def __init__(self, job: SelftestJob, hooks: LabHooks, train: Train | None = None) -> None:
        super().__init__(job, hooks)
        self._train = train or train_agent

    def learn(self, name: str, market: TaskMarket, settings: Settings, *, seed: int, levels: int = 0) -> Agent:
        """Teach an agent.

        Args:
            name: for the progress.
            market: to learn on.
            settings: of PPO, or else of DDPG.
            seed: of networks, chance and episodes.
            levels: of the weights to choose from; 0 where any may be held.

        Raises:
            JobStopped: asked to stop.
        """
        self._tell(name, 0.0)
        spec = environment_of(market, actions=DISCRETE if levels else CONTINUOUS, levels=levels or 3)
        # Positions that exploring alone would seldom come to are seen as well; an episode with an end has its own.
        learning = replace(spec, random_position=not market.close_out)
        env = BatchedTradingEnv(tensor_of(market), learning, windows=settings.windows, seed=seed)
        began = time.process_time()
        act = self._train(env, settings, seed=seed, on_step=lambda share: self._tell(name, _TRAINED * share))
        return Agent(act, spec, time.process_time() - began)

    def measured(self, name: str, agent: Agent, market: TaskMarket) -> tuple[Gain, FloatArray]:
        """Let an agent trade a market it has not seen; return what it gained, and its weights."""
        self._tell(f"{name}: test", _TRAINED)
        weights = self.weights(agent, market)
        self.passed(f"{name}: tested")
        return measure(market, weights), weights

    def passed(self, what: str) -> None:
        """Say that one of the expected steps is through."""
        self._step += 1
        self._tell(what, 0.0)

    def weights(self, agent: Agent, market: TaskMarket) -> FloatArray:
        """Return the weights of a walk through a market.

        It is walked in stretches beside each other, which is faster. Each begins somewhat earlier than it counts, so
        that at its border the agent holds what it would hold had it come all the way.
        """
        env = BatchedTradingEnv(tensor_of(market), agent.spec, windows=1, seed=0)
        count = len(market) - 1
        stretches, skipped = env.stretches, [0] * len(env.stretches)
        if not market.close_out:
            firsts = range(0, count, _SIDE_BY_SIDE)
            skipped = [min(first, _WARM_UP) for first in firsts]
            stretches = tuple(
                Stretch(first - skip, min(first + _SIDE_BY_SIDE, count) + 1)
                for first, skip in zip(firsts, skipped, strict=True)
            )

        def act(seen: Tensor) -> Tensor:
            self.check_stop()
            return agent.act(seen)

        weights = np.zeros(count)
        for walked, skip in zip(env.evaluate_pass(act, stretches), skipped, strict=True):
            first = walked.first_row + skip
            weights[first : walked.first_row + len(walked.weights)] = walked.weights[skip:]
        return weights


def train_agent(env: BatchedTradingEnv, settings: Settings, /, *, seed: int, on_step: Callable[[float], None]) -> Act:
    """Teach one of the product's learners, see `Train`."""
    learner: FastPPO | FastOffPolicy
    if isinstance(settings, PPOSettings):
        learner = ppo_learner(env, settings, seed=seed)
    else:
        learner = off_policy_learner("ddpg", env, settings, seed=seed)
    learner.learn(settings.steps, callback=_Watch(settings.steps, on_step), log_interval=settings.steps)  # no logs
    policy = learner.policy

    def act(seen: Tensor) -> Tensor:
        with torch.no_grad():
            actions: Tensor = policy._predict(seen, deterministic=True)
        return actions

    return act


class _Watch(BaseCallback):
    """Tells now and then how far learning is; what it tells may break it off by raising."""

    def __init__(self, steps: int, on_step: Callable[[float], None]) -> None:
        super().__init__()
        self._total, self._on_step_done = steps, on_step

    def _on_step(self) -> bool:
        if self.n_calls % _LOOK_EVERY == 0:
            self._on_step_done(min(1.0, self.num_timesteps / self._total))
        return True
