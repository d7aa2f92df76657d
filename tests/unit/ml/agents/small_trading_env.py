"""A trading environment of a few lines with the methods that learners use: one price path, a fee, scripted ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor


class Step(NamedTuple):
    obs: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    rows: Tensor
    account: Tensor
    next_rows: Tensor
    next_account: Tensor
    episode_reward: Tensor
    episode_length: Tensor


class SmallTradingEnv(VecEnv):
    """Windows on one series: the reward is the weight times the next difference less the fee of changing the weight.

    The account is (weight, steps since the start / 100). An episode is cut short after `episode` steps and ends for
    good where the series falls below `floor`.
    """

    account_size = 2
    market_size = 1

    def __init__(
        self,
        series: np.ndarray,
        windows: int,
        *,
        fee: float = 0.0,
        episode: int = 50,
        floor: float = -1e9,
        seed: int = 0,
    ) -> None:
        self.series = torch.from_numpy(series.astype(np.float32))
        self.fee, self.episode, self.floor = fee, episode, floor
        self.generator = torch.Generator().manual_seed(seed)
        box = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        super().__init__(windows, box, spaces.Box(-1, 1, (1,), np.float32))
        self.device = torch.device("cpu")
        self.rows, self.account = self._starts(), torch.zeros(windows, 2)
        self.earned = torch.zeros(windows, dtype=torch.float64)
        self.actions = np.zeros((windows, 1), np.float32)

    def _starts(self) -> Tensor:
        last = len(self.series) - self.episode - 1
        return torch.randint(last, (self.num_envs,), generator=self.generator)

    def observe(self, rows: Tensor, account: Tensor) -> Tensor:
        return torch.cat((self.series[rows].unsqueeze(1), account), 1)

    def reset_tensor(self) -> Tensor:
        self.rows, self.account = self._starts(), torch.zeros(self.num_envs, 2)
        return self.observe(self.rows, self.account)

    def step_tensor(self, actions: Tensor) -> Step:
        weight = actions[:, 0].clamp(-1, 1)
        rows = self.rows + 1
        gain = weight * (self.series[rows] - self.series[self.rows]) - self.fee * (weight - self.account[:, 0]).abs()
        account = torch.stack((weight, self.account[:, 1] + 0.01), 1)
        terminated = self.series[rows] < self.floor
        truncated = ~terminated & (account[:, 1] * 100 > self.episode - 0.5)
        ended = terminated | truncated
        self.rows = torch.where(ended, self._starts(), rows)
        self.account = account * ~ended.unsqueeze(1)
        earned, self.earned = self.earned + gain, (self.earned + gain) * ~ended
        obs = self.observe(self.rows, self.account)
        length = (account[:, 1] * 100).round().long()
        return Step(obs, gain, terminated, truncated, rows, account, self.rows, self.account, earned, length)

    def state(self) -> dict[str, Tensor]:
        episodes = {"rows": self.rows, "account": self.account, "earned": self.earned}
        return episodes | {"generator": self.generator.get_state()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.rows, self.account, self.earned = (tensors[name].clone() for name in ("rows", "account", "earned"))
        self.generator.set_state(tensors["generator"])

    # What unmodified stable-baselines3 uses.

    def reset(self) -> np.ndarray:
        return self.reset_tensor().numpy()

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        step = self.step_tensor(torch.from_numpy(self.actions))
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        before = self.observe(step.rows, step.account).numpy()
        for index in torch.nonzero(step.terminated | step.truncated).flatten().tolist():
            cut = bool(step.truncated[index])
            infos[index] = {"terminal_observation": before[index], "TimeLimit.truncated": cut}
        return step.obs.numpy(), step.reward.numpy(), (step.terminated | step.truncated).numpy(), infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> Sequence[bool]:
        return [False] * self.num_envs


def reverting_series(length: int, *, seed: int, pull: float = 0.1) -> np.ndarray:
    """Return a series that is pulled back to 0, with steps of deviation 1."""
    noise = np.random.default_rng(seed).standard_normal(length)
    series = np.zeros(length)
    for index in range(1, length):
        series[index] = (1 - pull) * series[index - 1] + noise[index]
    return series
