from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from app.benchmarks.window_loader_peer import WindowDataset, WindowForecaster, WindowTrainer, measure_window_loader
from tests.unit.ml.helpers import ar1_returns


def autoregression(rows: int, share: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    """An AR(1) series of unit variance: each value as input, the next one as target."""
    values = ar1_returns(rows + 1, share, seed=3, sigma=np.sqrt(1.0 - share**2))
    return torch.tensor(values[:-1, None], dtype=torch.float32), torch.tensor(values[1:], dtype=torch.float32)


def test_an_item_is_the_window_that_ends_at_its_target() -> None:
    inputs, target = torch.arange(10.0)[:, None], torch.arange(10.0) * 100
    windows = WindowDataset(inputs, target, 4)
    assert len(windows) == 7
    for index in (0, 6):
        window, answer = windows[index]
        assert window[:, 0].tolist() == [index, index + 1, index + 2, index + 3]
        assert answer.item() == 100 * window[-1, 0].item()


def test_the_forecast_comes_from_the_last_bar_of_the_window() -> None:
    torch.manual_seed(1)
    network = WindowForecaster(2, 8)
    x = torch.randn(3, 5, 2)
    changed = x.clone()
    changed[:, -1] += 1.0
    assert network(x).shape == (3,)
    assert not torch.allclose(network(x), network(changed))
    with torch.no_grad():
        whole, _ = network.recurrent(x)
        assert torch.allclose(network(x), network.output(whole[:, -1])[:, 0])


def test_the_peer_learns_an_autoregression() -> None:
    inputs, target = autoregression(4_000)
    trainer = WindowTrainer(inputs, target, hidden=8, batch=64, seed=1, window=8, rate=1e-2)
    losses = [trainer.step()[1] for _ in range(200)]
    first, last = np.mean(losses[:10]), np.mean(losses[-50:])
    assert first > 0.7  # the variance is 1
    assert last < 0.45  # and 0.36 of it cannot be forecast


def test_a_seed_gives_the_same_losses_again() -> None:
    inputs, target = autoregression(500)
    runs = [WindowTrainer(inputs, target, hidden=4, batch=32, seed=5, window=8) for _ in range(2)]
    first, second = ([trainer.step() for _ in range(20)] for trainer in runs)  # 20 steps go past the end of the data
    assert first == second


def test_too_few_bars_for_a_batch_are_refused() -> None:
    inputs, target = autoregression(50)
    with pytest.raises(ValueError, match="batch"):
        WindowTrainer(inputs, target, hidden=4, batch=64, seed=1, window=8)


def test_the_time_of_the_first_batch_is_not_counted_and_two_are_done_at_least() -> None:
    inputs, target = autoregression(500)
    trainer = WindowTrainer(inputs, target, hidden=4, batch=32, seed=1, window=8)
    cpu, wall = itertools.count(0.0, 10.0), itertools.count(0.0, 100.0)
    pace = measure_window_loader(trainer, seconds=1.0, cpu_clock=lambda: next(cpu), wall_clock=lambda: next(wall))
    assert pace.targets == 64
    assert pace.wall_s == 100.0
    assert pace.cpu_s == 20.0  # read at the start, after the second batch and at the end
