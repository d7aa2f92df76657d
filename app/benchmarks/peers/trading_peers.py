"""Other trading environments under stock PPO or DDPG: how fast they learn and how soon they do well.

Runs under the interpreter of `make bench-peers` and prints one JSON line. Of this project it imports its own folder
only, where nothing needs more than the peers do.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DDPG, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from app.benchmarks.peers.learning_clock import LearningClock, Outcome
from app.benchmarks.peers.problem import Problem, net_score

_FINE_POSITIONS = 201
_DDPG_ROUND = 500
_DDPG_BUFFER = 100_000  # the default of a million windows would take 4 GB


def anytrading(problem: Problem) -> gymnasium.Env[Any, Any]:
    """Return gym-anytrading's environment of a problem: short or long, the position behind the flattened window."""
    from gym_anytrading.envs.trading_env import Actions, Positions, TradingEnv

    class OnProblem(TradingEnv):
        """What the library leaves to its users: the data, the reward and the profit."""

        def __init__(self) -> None:
            super().__init__(problem.features, problem.window)
            size = problem.window * problem.features.shape[1] + 1
            self.observation_space = gymnasium.spaces.Box(-1e10, 1e10, (size,), np.float32)

        def _process_data(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
            return problem.close, problem.features

        def _get_observation(self) -> NDArray[np.float32]:
            held = np.float32(1.0 if self._position == Positions.Long else -1.0)
            return np.append(super()._get_observation().reshape(-1), held)

        def _calculate_reward(self, action: int) -> float:
            wanted = 1.0 if action == Actions.Buy.value else -1.0
            held = 1.0 if self._position == Positions.Long else -1.0
            gain = self.prices[self._current_tick] / self.prices[self._current_tick - 1] - 1.0
            self._net = wanted * gain - problem.fee * abs(wanted - held)
            return float(problem.scale * np.log1p(self._net))

        def _update_profit(self, action: int) -> None:
            self._total_profit *= 1.0 + self._net

    return OnProblem()


def trading_env(problem: Problem, positions: Sequence[float] = (-1.0, 1.0)) -> gymnasium.Env[Any, Any]:
    """Return gym-trading-env's environment of a problem with the position in each row of the window."""
    import pandas as pd

    with warnings.catch_warnings():  # the library turns every warning of the process into an error
        from gym_trading_env.environments import TradingEnv, dynamic_feature_last_position_taken

    def reward(history: Any) -> float:
        value = history["portfolio_valuation", -1] / history["portfolio_valuation", -2]
        return float(problem.scale * np.log(value))

    columns = {f"feature_{i}": column for i, column in enumerate(problem.features.T)}
    prices = dict.fromkeys(("open", "high", "low", "close"), problem.close)
    index = pd.date_range("2020-01-01", periods=len(problem.close), freq="min")
    env: gymnasium.Env[Any, Any] = TradingEnv(
        pd.DataFrame(columns | prices, index=index),
        positions=list(positions),
        dynamic_feature_functions=[dynamic_feature_last_position_taken],
        reward_function=reward,
        windows=problem.window,
        trading_fees=problem.fee,
        verbose=0,
    )
    return env


class OnAxis(gymnasium.ActionWrapper[Any, NDArray[np.float32], int]):
    """Actions between -1 and 1 as the nearest of evenly spaced positions: neither library knows continuous actions."""

    def __init__(self, env: gymnasium.Env[Any, int], positions: int) -> None:
        super().__init__(env)
        self._last = positions - 1
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def action(self, action: NDArray[np.float32]) -> int:
        return round((float(action[0]) + 1.0) / 2.0 * self._last)


ENVIRONMENTS = {"gym-anytrading": anytrading, "gym-trading-env": trading_env}


def evaluate(model: PPO, env: gymnasium.Env[Any, Any], problem: Problem) -> float:
    """Return the score of one deterministic pass over a problem, in units of the reward."""
    observation, _ = env.reset(seed=0)
    weights: list[float] = []
    over = False
    while not over:
        action = int(model.predict(observation, deterministic=True)[0])
        observation, _, terminated, truncated, _ = env.step(action)
        weights.append(2.0 * action - 1.0)
        over = terminated or truncated
    first = len(problem.close) - 1 - len(weights)
    return problem.scale * net_score(weights, problem.close[first:], problem.fee)


def learn(name: str, problem: Problem, envs: int, seed: int, seconds: float, threshold: float | None) -> Outcome:
    """Train stock PPO with its default settings until the time is over or the score is reached."""
    make = ENVIRONMENTS[name]
    np.random.seed(seed)  # gym-trading-env draws its first position from it
    parts = problem.training(envs)
    vectorised = DummyVecEnv([lambda part=part: Monitor(make(part)) for part in parts])  # type: ignore[misc]
    model = PPO("MlpPolicy", vectorised, seed=seed, device="cpu")
    if threshold is None:
        clock = LearningClock(seconds)
    else:
        unseen = problem.validation()
        watched = make(unseen)
        clock = LearningClock(seconds, lambda: evaluate(model, watched, unseen), threshold)
    model.learn(10**9, callback=clock)
    return clock.outcome


def learn_ddpg(problem: Problem, seed: int, seconds: float) -> Outcome:
    """Train stock DDPG in one environment of gym-trading-env, with its defaults but for the size of the nets."""
    np.random.seed(seed)
    fine = np.linspace(-1.0, 1.0, _FINE_POSITIONS).tolist()
    env = Monitor(OnAxis(trading_env(problem.part(0, problem.split), fine), _FINE_POSITIONS))
    model = DDPG(
        "MlpPolicy", env, policy_kwargs={"net_arch": [64, 64]}, buffer_size=_DDPG_BUFFER, seed=seed, device="cpu"
    )
    clock = LearningClock(seconds, round_steps=_DDPG_ROUND)
    model.learn(10**9, callback=clock)
    return clock.outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one environment and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", type=Path, help="npz file of the problem")
    parser.add_argument("environment", choices=sorted(ENVIRONMENTS))
    parser.add_argument("--ddpg", action="store_true", help="DDPG in one environment of gym-trading-env")
    parser.add_argument("--envs", type=int, default=1, help="environments in one DummyVecEnv")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="processor time after which to end")
    parser.add_argument("--threshold", type=float, help="take scores and end when they are above it")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    problem = Problem.load(chosen.problem)
    if chosen.ddpg:
        outcome = learn_ddpg(problem, chosen.seed, chosen.seconds)
    else:
        outcome = learn(chosen.environment, problem, chosen.envs, chosen.seed, chosen.seconds, chosen.threshold)
    print(json.dumps(outcome.to_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
