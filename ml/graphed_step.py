"""A training step recorded once as a CUDA graph and replayed, where that is measured faster. Training child only.

A step of a small network is dozens of kernels that each take less time than their launch; a graph launches them at
once. Nothing here has run on a GPU yet: what a CPU can show is tested (static buffers, the state after a recording, the
way back to the plain step), the recording itself is not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_WARM_UP = 3  # steps on a stream of their own, in which cuDNN and cuBLAS choose their ways and allocate
_WORTH_CHANGING = 0.95

Replay = Callable[[], None]
Capture = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Which of several ways to do the same was quickest.

    Attributes:
        name: of the way to take.
        seconds: the middle time of each, in the order they were given.
    """

    name: str
    seconds: tuple[tuple[str, float], ...]


def measure_faster(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    wait: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time ways to do the same in turns, after a turn that does not count, and take the quickest.

    Args:
        candidates: the plain way first; another must be 5 % quicker to be taken instead.
        rounds: turns that count, at least one.
        wait: returns when the device has done all it was given.
        clock: seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, run in candidates.items():
            wait()
            started = clock()
            run()
            wait()
            if turn:
                times[name].append(clock() - started)
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    plain = next(iter(candidates))
    quickest = min(middle, key=lambda name: middle[name])
    taken = quickest if middle[quickest] <= _WORTH_CHANGING * middle[plain] else plain
    return Timing(taken, tuple(middle.items()))


def graph_problem(network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> str:
    """Return why a training step of this network cannot be recorded, or ""."""
    if device.type != "cuda":
        return "only NVIDIA GPUs record a step"
    if any(isinstance(module, nn.RNNBase) and module.dropout > 0.0 for module in network.modules()):
        # cuDNN keeps the random numbers of this dropout in a state of its own, which no seed sets back.
        return "dropout between recurrent layers cannot be replayed from a seed"
    for group in optimizer.param_groups:
        if not group.get("capturable", False) or not isinstance(group["lr"], Tensor):
            return "the optimiser keeps its numbers outside the GPU"
    return ""


class GraphedStep:
    """A whole training step of one shape: gradients cleared, forward, backward, clipping, optimiser.

    Make it after a checkpoint was loaded: a recording holds on to the very tensors it saw, so the weights, the state of
    the optimiser and its learning rate may afterwards only be changed in place. Recording leaves weights, optimiser and
    random numbers as they were.

    Args:
        step: the step on the given inputs; returns the loss. Reads nothing else that changes.
        examples: inputs of the shape that will be recorded; copied.
        network / optimizer: what the step changes.
        capture: records a call, `capture_on_side_stream`; None runs the plain step.
        problem: why there is no `capture`, from `graph_problem`.

    Attributes:
        problem: why the plain step runs, "" where the recording does.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Tensor]], Tensor],
        examples: Sequence[Tensor],
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        capture: Capture | None,
        problem: str = "",
    ) -> None:
        self.problem = problem
        self._step = step
        self._inputs = tuple(example.detach().clone() for example in examples)
        self._replay: Replay | None = None
        self._loss = torch.zeros(())
        if capture is not None:
            self._record(capture, network, optimizer)

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """Do one step; inputs of another shape than the recorded one take the plain way.

        Returns:
            The loss, detached; overwritten by nothing.
        """
        if any(given.shape != held.shape for given, held in zip(inputs, self._inputs, strict=True)):
            return self._step(inputs).detach()
        for given, held in zip(inputs, self._inputs, strict=True):
            held.copy_(given)
        if self._replay is None:
            return self._step(self._inputs).detach()
        self._replay()
        return self._loss.detach().clone()

    def _record(self, capture: Capture, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Record the step; where that fails, say why and go on with the plain one."""
        device = self._inputs[0].device
        weights = [(tensor, tensor.detach().clone()) for tensor in (*network.parameters(), *network.buffers())]
        moments = {id(tensor): tensor.detach().clone() for tensor in _state_of(optimizer)}
        random = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
        try:
            self._replay, self._loss = capture(lambda: self._step(self._inputs))
        except RuntimeError as error:
            first = str(error).partition("\n")[0]
            self.problem = f"the step could not be recorded: {first}"
        with torch.no_grad():
            for tensor, before in weights:
                tensor.copy_(before)
            for tensor in _state_of(optimizer):
                # What the steps that warmed up made is zero in a new optimiser.
                tensor.copy_(moments.get(id(tensor), torch.zeros_like(tensor)))
        if device.type == "cuda":
            torch.cuda.set_rng_state(random, device)
        else:
            torch.set_rng_state(random)


def capture_on_side_stream(run: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
    """Record a call as a CUDA graph.

    Returns:
        What replays it, and the tensor its result is written to each time.

    Raises:
        RuntimeError: something in it cannot be recorded.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own stub lacks the types
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = run()
    return graph.replay, loss


def _state_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the tensors the optimiser keeps from step to step."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
