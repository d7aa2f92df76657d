"""Replay buffer that keeps where the agents stood, not what they saw. Runs in the training child only (imports torch).

A market window is hundreds of numbers and shared by all: the buffer keeps its row and the state of the account, some
sixty bytes per transition on the device, and lets the environment rebuild the observations of a sample. All of its
randomness comes from one seeded generator of its own; neither writing nor sampling waits for the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecNormalize

    from ml.environment import BatchedTradingEnv, Transition

_STORED = ("rows", "account", "action", "reward", "terminated", "ended", "next_rows", "next_account")


class IndexReplayBuffer(ReplayBuffer):
    """Transitions of all windows by index, with returns over one or more steps.

    A return of several steps ends early where the episode ends or the newest transition is reached, and is discounted
    accordingly. Only termination stops the bootstrap: an episode that was merely cut short goes on in value.
    """

    def __init__(self, env: BatchedTradingEnv, capacity: int, *, n_steps: int, gamma: float, seed: int) -> None:
        """Reserve the memory.

        Args:
            env: rebuilds the observations.
            capacity: transitions of all windows together; rounded down to a whole number of steps.
            n_steps: rewards per return.
            gamma: discount per step.
            seed: of the samples.

        Raises:
            ValueError: there is no room for one return.
        """
        device = env.device
        # The stock constructor would reserve NumPy arrays of observations; only what lies above it is wanted.
        super(ReplayBuffer, self).__init__(
            capacity // env.num_envs, env.observation_space, env.action_space, device, n_envs=env.num_envs
        )
        if not 1 <= n_steps <= self.buffer_size:
            raise ValueError(f"{n_steps} steps per return do not fit {self.buffer_size} steps of every window")
        self.n_steps = n_steps
        self.gamma = gamma
        self._env = env
        slots = self.buffer_size * self.n_envs

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(slots, *shape, dtype=dtype, device=device)

        self._stored = {
            "rows": zeros(dtype=torch.int64),
            "account": zeros(env.account_size),
            "action": zeros(self.action_dim),
            "reward": zeros(),
            "terminated": zeros(dtype=torch.bool),
            "ended": zeros(dtype=torch.bool),
            "next_rows": zeros(dtype=torch.int64),
            "next_account": zeros(env.account_size),
        }
        self._ahead = torch.arange(n_steps, device=device)
        self._discounts = torch.tensor([gamma**step for step in range(n_steps + 1)], device=device)
        self._generator = torch.Generator(device).manual_seed(seed)

    def record(self, rows: Tensor, account: Tensor, action: Tensor, step: Transition) -> None:
        """Add one step of every window: where it stood, what it did, what came of it."""
        begin = self.pos * self.n_envs
        values = (rows, account, action, step.reward, step.terminated, step.terminated | step.truncated)
        for name, value in zip(_STORED, (*values, step.rows, step.account), strict=True):
            self._stored[name][begin : begin + self.n_envs].copy_(value)
        self.pos += 1
        if self.pos == self.buffer_size:
            self.pos, self.full = 0, True

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Return transitions drawn with equal chance; `env` is unused: observations are normalised already."""
        stored = self._stored
        slot = torch.randint(self.size() * self.n_envs, (batch_size,), generator=self._generator, device=self.device)
        last, reward, discount = self._returns(slot)
        observations = self._env.observe(
            torch.cat((stored["rows"].index_select(0, slot), stored["next_rows"].index_select(0, last))),
            torch.cat((stored["account"].index_select(0, slot), stored["next_account"].index_select(0, last))),
        )
        return ReplayBufferSamples(
            observations[:batch_size],
            stored["action"].index_select(0, slot),
            observations[batch_size:],
            stored["terminated"].index_select(0, last).float().unsqueeze(1),
            reward.unsqueeze(1),
            discount.unsqueeze(1),
        )

    def _returns(self, slot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the last slot, the sum of discounted rewards and the discount of what follows, per first slot."""
        if self.n_steps == 1:
            return slot, self._stored["reward"].index_select(0, slot), self._discounts[1].expand_as(slot)
        newest = (self.pos - 1) % self.buffer_size
        chain = (slot.unsqueeze(1) + self._ahead * self.n_envs) % (self.buffer_size * self.n_envs)
        stops = self._stored["ended"][chain] | (chain // self.n_envs == newest)
        # A step counts where none before it stopped.
        counts = stops.cumsum(1) - stops.long() == 0
        length = counts.sum(1)
        reward = (self._stored["reward"][chain] * counts * self._discounts[:-1]).sum(1)
        return chain.gather(1, length.unsqueeze(1) - 1).squeeze(1), reward, self._discounts[length]

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Return what `restore` takes: the filled part of the content and the generator, and the position."""
        filled = self.size() * self.n_envs
        tensors = {name: value[:filled] for name, value in self._stored.items()}
        numbers = {"pos": self.pos, "full": int(self.full), "windows": self.n_envs, "steps": self.buffer_size}
        return tensors | {"generator": self._generator.get_state()}, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, int]) -> None:
        """Take over a state.

        Raises:
            ValueError: it is of a buffer of another shape.
        """
        if (numbers["windows"], numbers["steps"]) != (self.n_envs, self.buffer_size):
            raise ValueError("a state of a replay buffer with another number of windows or steps does not fit")
        self.pos, self.full = numbers["pos"], bool(numbers["full"])
        filled = self.size() * self.n_envs
        for name, value in self._stored.items():
            value[:filled].copy_(tensors[name])
        self._generator.set_state(tensors["generator"].cpu())
