"""What a CPU shows of recorded training steps: buffers, state after a recording, the way back, the choice by time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from ml.lstm_model import LstmForecaster, pinball_loss
from torch import Tensor, nn

from ml.api import ModelSpec
from ml.graphed_step import GraphedStep, graph_problem, measure_faster


class Training:
    def __init__(self, dropout: float = 0.3) -> None:
        torch.manual_seed(5)
        self.network = LstmForecaster(3, ModelSpec(hidden_size=4, dropout=dropout))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-2, fused=True)
        self.levels = torch.tensor(self.network.spec.quantile_levels)

    def step(self, inputs: Sequence[Tensor]) -> Tensor:
        x, y = inputs
        quantiles, _, _ = self.network(x, *self.network.initial_state(len(x), x.device))
        loss = pinball_loss(quantiles, y, torch.ones_like(y), self.levels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return loss

    def graphed(self, capture: Callable | None, problem: str = "") -> GraphedStep:
        return GraphedStep(self.step, batches()[0], self.network, self.optimizer, capture, problem)


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(9)
    sizes = [6, 6, 6, 2, 6]  # the last batch of an epoch is smaller
    return [
        (torch.randn(size, 10, 3, generator=generator), torch.randn(size, 10, generator=generator)) for size in sizes
    ]


def run(step: Callable[[Sequence[Tensor]], Tensor], training: Training) -> tuple[list[float], list[Tensor]]:
    torch.manual_seed(11)
    losses = [float(step(batch).detach()) for batch in batches()]
    return losses, [parameter.detach().clone() for parameter in training.network.parameters()]


def recording(call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Stand in for a recording: warms up as the real one does, then writes every result to the same tensor."""
    for _ in range(3):
        result = call().detach().clone()

    def replay() -> None:
        result.copy_(call().detach())

    return replay, result


def failing(call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    call()
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


@pytest.mark.parametrize("capture", [None, recording, failing])
@pytest.mark.parametrize("trained_before", [False, True])
def test_every_way_gives_the_plain_step_to_the_bit(capture: Callable | None, trained_before: bool) -> None:
    plain, other = Training(), Training()
    if trained_before:  # as after a checkpoint: the optimiser has moments
        for training in (plain, other):
            torch.manual_seed(2)
            training.step(batches()[1])
    losses, weights = run(plain.step, plain)
    graphed = other.graphed(capture)
    other_losses, other_weights = run(graphed, other)
    assert other_losses == losses
    for one, another in zip(weights, other_weights, strict=True):
        assert torch.equal(one, another)


def test_a_recording_leaves_the_random_numbers_where_they_were() -> None:
    training = Training()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    training.graphed(recording)
    assert torch.equal(torch.rand(4), expected)


def test_a_failed_recording_gives_its_reason() -> None:
    assert Training().graphed(failing).problem == (
        "the step could not be recorded: operation not permitted when stream is capturing"
    )
    assert Training().graphed(recording).problem == ""
    assert Training().graphed(None, "not here").problem == "not here"


def test_a_loss_is_not_overwritten_by_the_next_step() -> None:
    training = Training()
    graphed = training.graphed(recording)
    first = graphed(batches()[0])
    before = float(first)
    graphed(batches()[1])
    assert float(first) == before


def test_what_cannot_be_recorded_is_told() -> None:
    training = Training()
    assert "NVIDIA" in graph_problem(training.network, training.optimizer, torch.device("cpu"))
    cuda = torch.device("cuda", 0)  # only its type is looked at
    assert "optimiser" in graph_problem(training.network, training.optimizer, cuda)
    deep = LstmForecaster(3, ModelSpec(hidden_size=4, layers=2, dropout=0.2))
    assert "dropout between" in graph_problem(deep, training.optimizer, cuda)
    ready = torch.optim.AdamW(training.network.parameters(), lr=torch.tensor(1e-3), capturable=True)
    assert graph_problem(training.network, ready, cuda) == ""


class Clock:
    """Seconds that pass only when a candidate says so."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0

    def __call__(self) -> float:
        return self.now

    def taking(self, *seconds: float) -> Callable[[], None]:
        turns = iter(seconds)

        def run() -> None:
            self.calls += 1
            self.now += next(turns)

        return run


def test_the_quickest_way_is_taken_and_the_first_turn_does_not_count() -> None:
    clock = Clock()
    ways = {"plain": clock.taking(1, 5, 5, 5), "graph": clock.taking(60, 3, 99, 3)}
    timing = measure_faster(ways, 3, clock=clock)
    assert timing.name == "graph"
    assert timing.seconds == (("plain", 5.0), ("graph", 3.0))
    assert clock.calls == 8


def test_a_hair_faster_is_not_worth_another_way() -> None:
    clock = Clock()
    ways = {"plain": clock.taking(1, 1, 1, 1), "graph": clock.taking(1, 0.97, 0.97, 0.97)}
    assert measure_faster(ways, 3, clock=clock).name == "plain"


def test_the_device_is_waited_for_inside_the_measured_time() -> None:
    clock = Clock()
    timing = measure_faster({"plain": lambda: None}, 1, wait=clock.taking(0, 1, 0, 4), clock=clock)
    assert timing.seconds == (("plain", 4.0),)
