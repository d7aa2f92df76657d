"""Statistics summed where the tensors are and read together. Runs in the training child only (imports torch).

Reading one number makes the host wait for the device; the trainers of agents read all of theirs once per log interval.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Tally:
    """Means of named numbers."""

    def __init__(self) -> None:
        """Start empty."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, **values: Tensor) -> None:
        """Add one value of each name: tensors of one number."""
        for name, value in values.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def drain(self) -> dict[str, float]:
        """Return the means since the last call; waits for the device once."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values())).tolist()
        means = {name: total / self._counts[name] for name, total in zip(self._sums, sums, strict=True)}
        self._sums, self._counts = {}, {}
        return means


class EpisodeStatistics:
    """Sums of rewards and lengths of the episodes that ended."""

    def __init__(self, device: torch.device) -> None:
        """Start empty."""
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, ended: Tensor, reward: Tensor, length: Tensor) -> None:
        """Add one step of every window: whether its episode ended, and its sum of rewards and length so far."""
        self._sums += torch.stack((torch.ones_like(reward), reward, length.double())).mul(ended).sum(1)

    def drain(self) -> tuple[int, float, float]:
        """Return number, mean sum of rewards and mean length of the episodes that ended since the last call.

        Waits for the device once.
        """
        number, reward, length = self._sums.tolist()
        self._sums.zero_()
        return int(number), reward / max(number, 1), length / max(number, 1)
