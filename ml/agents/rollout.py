"""What PPO remembers of a rollout, on the device: where each window stood, never what it saw. Torch; job children only.

An observation is a function of a row of the market and of a window's account, so a rollout keeps these two and the
environment gathers the market again for each mini-batch: some numbers per step instead of hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor


class RolloutSamples(NamedTuple):
    """A mini-batch, each of shape (B, ...)."""

    rows: Tensor
    account: Tensor
    actions: Tensor
    values: Tensor
    log_prob: Tensor
    advantages: Tensor
    returns: Tensor


class IndexRollout(RolloutBuffer):
    """A rollout of `n_envs` windows over `buffer_size` steps, tensors of shape (steps, windows, ...).

    Attributes:
        rows / account: each window before its step.
        actions: as the policy drew them, before they were clipped.
        ended: the episode ended with the step; truncated: by its length, so that its value goes on.
        end_rows / end_account: what the step led to, before the window began anew.
        end_value: what is expected to follow an episode that its length cut; 0 elsewhere.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        gae_lambda: float = 1,
        gamma: float = 0.99,
        n_envs: int = 1,
        *,
        account_size: int,
        seed: int = 0,
    ) -> None:
        """Take memory on the device; the arguments are those of `RolloutBuffer`.

        Args:
            account_size: numbers that the environment keeps of an account.
            seed: of the order of the mini-batches.
        """
        self._account_size, self._seed = account_size, seed
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        shape = (buffer_size, n_envs)

        def floats(*more: int) -> Tensor:
            return torch.zeros(*shape, *more, dtype=torch.float32, device=self.device)

        self.rows = torch.zeros(shape, dtype=torch.int64, device=self.device)
        self.end_rows = torch.zeros_like(self.rows)
        self.account, self.end_account = floats(account_size), floats(account_size)
        if isinstance(action_space, spaces.Discrete):
            self.drawn = torch.zeros(shape, dtype=torch.int64, device=self.device)
        else:
            self.drawn = floats(self.action_dim)
        self.reward, self.value, self.log_prob = floats(), floats(), floats()
        self.advantage, self.target, self.end_value = floats(), floats(), floats()
        self.ended = torch.zeros(shape, dtype=torch.bool, device=self.device)
        self.truncated = torch.zeros_like(self.ended)

    def reset(self) -> None:
        """Begin anew; everything is overwritten step by step."""
        self.pos = 0
        self.full = False

    def write(self, **values: Tensor) -> None:
        """Keep one step of all windows, by the names of the attributes."""
        for name, value in values.items():
            getattr(self, name)[self.pos] = value
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def finish(self, last_value: Tensor) -> None:
        """Compute advantages and value targets by generalised advantage estimation.

        Args:
            last_value: of where the windows stand after the last step, shape (windows,). `end_value` must be known.
        """
        gathered = torch.zeros_like(last_value)
        follows = last_value
        for step in range(self.buffer_size - 1, -1, -1):
            goes_on = (~self.ended[step]).to(torch.float32)
            follows = goes_on * follows + self.end_value[step]
            delta = self.reward[step] + self.gamma * follows - self.value[step]
            gathered = delta + self.gamma * self.gae_lambda * goes_on * gathered
            self.advantage[step] = gathered
            follows = self.value[step]
        torch.add(self.advantage, self.value, out=self.target)

    def batches(self, size: int) -> Iterator[RolloutSamples]:
        """Yield everything once in random order, in mini-batches of `size`; the last one may be smaller."""
        order = torch.randperm(self.buffer_size * self.n_envs, generator=self.generator, device=self.device)
        flat = [
            part.flatten(0, 1)
            for part in (
                self.rows,
                self.account,
                self.drawn,
                self.value,
                self.log_prob,
                self.advantage,
                self.target,
            )
        ]
        for chosen in torch.split(order, size):
            yield RolloutSamples(*(part.index_select(0, chosen) for part in flat))
