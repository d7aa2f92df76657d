"""Jobs that measure agents. Run in a spawned child under `core.job_supervisor` (imports torch).

Environment, learners and settings are the program's own. Clock and score are those that its peers are measured by
(`app.benchmarks.peers`): processor time of this process on one thread, rollouts with the training on them after a first
round that warms up, and the mean net log return of one pass over bars that nobody learnt from.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from stable_baselines3.common.callbacks import BaseCallback

from app.benchmarks.peers.learning_clock import LearningClock
from app.benchmarks.peers.problem import Problem, net_score
from core.accounting.rules import CostRates
from core.errors import UserError
from core.jobs import JobChannel, Json
from ml.agents.environment_spec import CONTINUOUS, DISCRETE, EnvironmentSpec
from ml.agents.learner import Learner, build_learner, deterministic
from ml.agents.market_tensor import MarketTensor, market_tensor, restricted
from ml.agents.run_spec import DDPG, AlgorithmSpec
from ml.api import ResourceSpec
from ml.environment import BatchedTradingEnv
from ml.gpu_utils import choose_device

_SEED = 1
_WARM_UP_STEPS = 5
_ENDLESS = 10**12


def ppo_settings() -> AlgorithmSpec:
    """Return the program's own settings of PPO; the learning rate does not fall, as runs here have no last step."""
    return replace(AlgorithmSpec(), schedule="constant")


def ddpg_settings() -> AlgorithmSpec:
    """Return the program's own settings of DDPG, likewise."""
    return replace(AlgorithmSpec.of(DDPG), schedule="constant")


def paces(job: Json, channel: JobChannel) -> Json:
    """Train by PPO for a while with each number of epochs.

    Args:
        job: `problem` (file), `seconds` of processor time for each, `epochs` (list; null for the program's own).
        channel: unused; the job is short.

    Returns:
        `runs`: see `Outcome.to_json`; `epochs` of each; `observation`: numbers in one.
    """
    problem, runs, epochs = Problem.load(Path(job["problem"])), [], []
    for wanted in job["epochs"]:
        settings = ppo_settings() if wanted is None else replace(ppo_settings(), epochs=wanted)
        model = build_learner(settings, environment(problem, settings.windows), _SEED)
        runs.append(_timed(model, LearningClock(job["seconds"])))
        epochs.append(settings.epochs)
    return {"runs": runs, "epochs": epochs, "observation": model.observation_space.shape[0]}  # type: ignore[index]


def time_to_score(job: Json, channel: JobChannel) -> Json:
    """Train by PPO until three scores in a row are above a threshold; see `Outcome.to_json`.

    Args:
        job: `problem` (file), `seconds` of processor time at most, `threshold`.
        channel: unused; the job is short.
    """
    problem, settings = Problem.load(Path(job["problem"])), ppo_settings()
    env = environment(problem, settings.windows)
    model = build_learner(settings, env, _SEED)
    return _timed(model, LearningClock(job["seconds"], lambda: score(env, model, problem), job["threshold"]))


def ddpg_pace(job: Json, channel: JobChannel) -> Json:
    """Train by DDPG for a while; see `Outcome.to_json`, and `samples_per_step`.

    Args:
        job: `problem` (file) and `seconds` of processor time.
        channel: unused; the job is short.
    """
    problem, settings = Problem.load(Path(job["problem"])), ddpg_settings()
    env = environment(problem, settings.windows, replace(_spec(problem), actions=CONTINUOUS))
    # All decisions before learning starts lie within the first round, which does not count.
    clock = LearningClock(job["seconds"], round_steps=settings.learning_starts + settings.windows)
    told = _timed(build_learner(settings, env, _SEED), clock)
    return told | {"samples_per_step": settings.batch * settings.gradient_steps / settings.windows}


def env_pace(job: Json, channel: JobChannel) -> Json:
    """Step the environment alone with random actions, once for each window in bars.

    Args:
        job: `problem` (file), `windows` (accounts), `steps` of them all, `bars` (list of observation windows).
        channel: unused; the job is short.

    Returns:
        `rates` (steps per second of the processor) and `observations` (numbers in one), for each of `bars`.
    """
    problem, rates, sizes = Problem.load(Path(job["problem"])), [], []
    for bars in job["bars"]:
        env = environment(problem, job["windows"], replace(_spec(problem), window=bars))
        drawn = torch.randint(env.spec.levels, (job["steps"] + _WARM_UP_STEPS, env.num_envs))
        env.reset_tensor()
        with torch.no_grad():
            for actions in drawn[:_WARM_UP_STEPS]:
                env.step_tensor(actions)
            began = time.process_time()
            for actions in drawn[_WARM_UP_STEPS:]:
                env.step_tensor(actions)
        rates.append(job["steps"] * env.num_envs / (time.process_time() - began))
        sizes.append(env.market_size + env.account_size)
    return {"rates": rates, "observations": sizes}


def memory(job: Json, channel: JobChannel) -> Json:
    """Learn by PPO on a large market and return the most memory used meanwhile beyond that of the imports, `rss_mb`.

    Args:
        job: `windows`, `bars`, `features`, `window` of the observation, `rollouts` to learn.
        channel: unused; the job is short.
    """
    process = psutil.Process()
    before = process.memory_info().rss
    rng = np.random.default_rng(_SEED)
    features = rng.standard_normal((job["bars"], job["features"]), dtype=np.float32)
    close = np.exp(np.cumsum(rng.normal(0.0, 1e-3, job["bars"])))
    problem = Problem(features, close, job["bars"], job["window"], 5e-4, 1e3)
    settings = replace(ppo_settings(), windows=job["windows"])
    watch = _MemoryWatch(process)
    env = environment(problem, settings.windows)
    steps = job["rollouts"] * settings.windows * settings.n_steps
    build_learner(settings, env, _SEED).learn(steps, callback=watch)
    return {"rss_mb": (watch.most - before) / 1e6}


def on_gpu(job: Json, channel: JobChannel) -> Json:
    """Train by PPO on a GPU for a while.

    Args:
        job: `problem` (file), `seconds`, `windows`, `batch`, and `device` as `ml.api.ResourceSpec` names it.
        channel: unused; the job is short.

    Returns:
        `skipped`, the reason why there is nothing to measure, or "" and what `Outcome.to_json` says.
    """
    try:
        choice = choose_device(ResourceSpec(device=job["device"], threads=1), 1 << 10)
    except UserError as error:
        return {"skipped": error.message}
    problem = Problem.load(Path(job["problem"]))
    settings = replace(ppo_settings(), windows=job["windows"], batch=job["batch"])
    model = build_learner(settings, environment(problem, settings.windows, device=choice.name), _SEED)
    return {"skipped": "", "device": choice.title, **_timed(model, LearningClock(job["seconds"]))}


def environment(
    problem: Problem, windows: int, spec: EnvironmentSpec | None = None, device: str = "cpu"
) -> BatchedTradingEnv:
    """Return the program's environment on the training part of a problem."""
    market = market_of(problem)
    part = restricted(market.stretches, 0, problem.split)
    return BatchedTradingEnv(market, spec or _spec(problem), windows=windows, seed=_SEED, stretches=part, device=device)


def market_of(problem: Problem) -> MarketTensor:
    """Return a problem's bars; each opens where the last one closed, so that orders are filled as in the peers."""
    close, count = problem.close, problem.features.shape[1]
    prices = np.zeros((len(close), 6))
    prices[:, 0] = prices[:, 1] = prices[:, 2] = prices[:, 3] = close
    prices[1:, 0] = close[:-1]
    np.maximum(prices[:, 0], close, out=prices[:, 1])
    np.minimum(prices[:, 0], close, out=prices[:, 2])
    prices[:, 4] = 1.0
    names = [f"feature_{i}" for i in range(count)]
    return market_tensor(problem.features, prices, np.full(len(close), 1.0 / problem.scale), names=names)


def score(env: BatchedTradingEnv, model: Learner, problem: Problem) -> float:
    """Return the score of one deterministic pass over the validation part, in units of the reward."""
    unseen = restricted(env.market.stretches, problem.split, len(problem.close))
    (walk,) = env.evaluate_pass(deterministic(model.policy), unseen)
    return problem.scale * net_score(walk.weights, problem.close[walk.first_row :], problem.fee)


class _MemoryWatch(BaseCallback):
    """Keeps the most memory of the process, looked at after each step of the environment and before each rollout."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__()
        self.most = 0
        self._process = process

    def _on_rollout_start(self) -> None:
        self._look()

    def _on_step(self) -> bool:
        self._look()
        return True

    def _look(self) -> None:
        self.most = max(self.most, self._process.memory_info().rss)


def _spec(problem: Problem) -> EnvironmentSpec:
    """Return what the peers have too: short or long, and the fee."""
    return EnvironmentSpec(
        window=problem.window,
        actions=DISCRETE,
        levels=2,
        reward_scale=problem.scale,
        costs=CostRates(taker_fee=problem.fee),
    )


def _timed(model: Learner, clock: LearningClock) -> dict[str, Any]:
    model.learn(_ENDLESS, callback=clock)
    return clock.outcome.to_json()
