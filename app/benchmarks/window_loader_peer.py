"""The usual way to train a recurrent network on bars, for comparison. Runs in a benchmark's child only (imports torch).

One window per target: a data set whose items are the last bars before a target, a loader that shuffles them and stacks
them into batches, a network that reads a window and forecasts from its last bar. Every bar passes through the network
as often as a window is long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

WINDOW = 64


class WindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows of contiguous bars with what came after each.

    Args:
        inputs: features, shape (n, F).
        target: of each bar, shape (n,).
        window: bars of one item.
    """

    def __init__(self, inputs: Tensor, target: Tensor, window: int = WINDOW) -> None:
        self._inputs, self._target, self._window = inputs, target, window

    def __len__(self) -> int:
        return max(0, len(self._inputs) - self._window + 1)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        end = index + self._window
        return self._inputs[index:end], self._target[end - 1]


class WindowForecaster(nn.Module):
    """An LSTM over a window with a linear forecast from its last bar."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(features, hidden, batch_first=True)
        self.output = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Forecast, shapes (B, T, F) to (B,)."""
        values, _ = self.recurrent(x)
        forecast: Tensor = self.output(values[:, -1])
        return forecast.squeeze(-1)


class WindowTrainer:
    """Fits a `WindowForecaster` by squared error, batch by batch, for ever.

    Args:
        inputs / target: see `WindowDataset`.
        hidden: units.
        batch: windows per step.
        seed: of weights and order.
        window: bars per window.
        rate: learning rate of AdamW.
    """

    def __init__(
        self,
        inputs: Tensor,
        target: Tensor,
        *,
        hidden: int,
        batch: int,
        seed: int,
        window: int = WINDOW,
        rate: float = 1e-3,
    ) -> None:
        torch.manual_seed(seed)
        self.network = WindowForecaster(inputs.shape[1], hidden)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, fused=True)
        self._loader = DataLoader(
            WindowDataset(inputs, target, window),
            batch_size=batch,
            shuffle=True,
            drop_last=True,
            generator=torch.Generator().manual_seed(seed),
        )
        if not len(self._loader):
            raise ValueError("not even one batch of windows")
        self._batches = iter(self._loader)

    def step(self) -> tuple[int, float]:
        """Fit one batch; return its targets and its loss before the step."""
        try:
            x, y = next(self._batches)
        except StopIteration:
            self._batches = iter(self._loader)
            x, y = next(self._batches)
        loss = nn.functional.mse_loss(self.network(x), y)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub lacks the types
        self._optimizer.step()
        return len(y), float(loss.detach())


@dataclass(frozen=True, slots=True)
class Pace:
    """What was done in which time: `targets` in `cpu_s` seconds of the processor, `wall_s` by the clock."""

    targets: float
    cpu_s: float
    wall_s: float


def measure_window_loader(
    trainer: WindowTrainer, *, seconds: float, cpu_clock: Callable[[], float], wall_clock: Callable[[], float]
) -> Pace:
    """Train for at least so much processor time and two batches, after one batch to warm up."""
    trainer.step()
    cpu, wall, targets, steps = cpu_clock(), wall_clock(), 0, 0
    while steps < 2 or cpu_clock() - cpu < seconds:
        targets += trainer.step()[0]
        steps += 1
    return Pace(targets, cpu_clock() - cpu, wall_clock() - wall)
