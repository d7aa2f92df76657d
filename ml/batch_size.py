"""How many segments go through the network at once, and what happens where they do not fit. Training child only.

The batch of a training step (`TrainingSpec.batch_segments`) is part of what is learnt and the same on every machine.
What a machine decides is the micro-batch: in how many passes the gradient of that batch is summed up. Each part's loss
counts by its targets, so that the sum is the gradient of the whole batch whatever the split.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.jobs import JobStopped
from ml.arrays import FloatArray, IntArray
from ml.gpu_utils import release_memory

T = TypeVar("T")

# Measured on one thread of a CPU with 2 MB of second-level cache: 32 units were fastest with 8,192 bars per pass, 64
# with 4,096; four times as many were a third slower, four times fewer a third slower too.
_CPU_UNIT_BARS = 1 << 18
_CPU_GRU_ROWS = 128
_WORTH_DOUBLING = 1.05  # gain in throughput for which twice the memory is taken
_AS_GOOD = 0.97
# Errors that torch has no class for: of the CPU's allocator, MPS and the CUDA driver, cuDNN and cuBLAS.
_OUT_OF_MEMORY = re.compile(r"(can't\sallocate|not\senough|out\sof)\smemory|(CUDNN|CUBLAS)_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device or this machine has no memory left for what was tried."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def run_with_backoff(
    step: Callable[[int], T], rows: int, *, release: Callable[[], None], on_smaller: Callable[[int], None]
) -> T:
    """Call `step(rows)`, with half the rows again and again while memory runs out.

    Args:
        step: does the same work with any number of rows at once, from the beginning each time.
        rows: at once, at first.
        release: gives unused memory back before the next attempt.
        on_smaller: told the number of rows of the next attempt.

    Raises:
        UserError: not even one row fits.
    """
    while True:
        try:
            return step(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: the error holds the frames that hold the tensors.
        release()
        if rows <= 1:
            raise _nothing_fits()
        rows = (rows + 1) // 2
        on_smaller(rows)


class MicroBatcher:
    """Sums up the gradient of a batch in parts that fit into memory; smaller ones after each that did not.

    A run on the same machine with the same micro-batch gives the same model to the bit. The random numbers of dropout
    are set back before a batch is tried again in smaller parts, so that it does not matter how far the attempt came.

    Args:
        rows: segments at once, at first.
        device: where the network is.
        on_message: told one sentence where memory ran out.

    Attributes:
        rows: segments at once from now on.
    """

    def __init__(self, rows: int, device: torch.device, on_message: Callable[[str], None]) -> None:
        self.rows = rows
        self._device, self._on_message = device, on_message

    def backward(
        self,
        batch: IntArray,
        counted: FloatArray,
        loss: Callable[[IntArray], Tensor],
        zero_grad: Callable[[], None],
    ) -> Tensor:
        """Leave the gradient of a batch's mean loss in the parameters.

        Args:
            batch: indices of segments, shape (B,).
            counted: weight of the targets of each of them, shape (B,).
            loss: mean loss of some of them, weighted by their targets.
            zero_grad: clears the gradients; called before every attempt.

        Returns:
            The mean loss of the batch, detached.

        Raises:
            ValueError: no target counts.
            UserError: not even one segment fits into memory.
        """
        total = float(counted.sum())
        if total <= 0.0:
            raise ValueError("a batch without a target that counts")
        random = _random_state(self._device)

        def attempt(rows: int) -> Tensor:
            zero_grad()
            mean = torch.zeros((), device=self._device)
            for part in split(len(batch), rows):
                weight = float(counted[part].sum()) / total
                if weight > 0.0:  # the mean of nothing is not a number
                    scaled = loss(batch[part]) * weight
                    scaled.backward()  # type: ignore[no-untyped-call]  # torch's own stub lacks the types
                    mean += scaled.detach()
            return mean

        return self._run(attempt, len(batch), lambda: _set_random_state(self._device, random))

    def forward(self, batch: IntArray, counted: FloatArray, losses: Callable[[IntArray], Tensor]) -> FloatArray:
        """Return the sums over a batch's targets without gradients, shape (K,); arguments as `backward`.

        Args:
            losses: mean losses of some segments, weighted by their targets, shape (K,).
        """

        def attempt(rows: int) -> FloatArray:
            total: FloatArray = np.zeros(1)
            with torch.no_grad():
                for part in split(len(batch), rows):
                    weight = float(counted[part].sum())
                    if weight > 0.0:
                        total = total + losses(batch[part]).cpu().numpy().astype(np.float64) * weight
            return total

        return self._run(attempt, len(batch), lambda: None)

    def _run(self, attempt: Callable[[int], T], size: int, set_back: Callable[[], None]) -> T:
        def release() -> None:
            release_memory(self._device)
            set_back()

        return run_with_backoff(attempt, min(self.rows, size), release=release, on_smaller=self._shrink)

    def _shrink(self, rows: int) -> None:
        self.rows = rows
        self._on_message(f"The memory was not enough: the batch is computed in parts of {rows} segments.")


def split(size: int, rows: int) -> list[slice]:
    """Cut `size` rows into the fewest parts of at most `rows`, as equal as possible."""
    parts = -(-size // rows)
    borders = [size * index // parts for index in range(parts + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(borders)]


def cpu_rows(kind: str, hidden_size: int, segment_length: int) -> int:
    """Return how many segments at once a CPU computes fastest.

    Torch has a kernel of its own for an LSTM: as many as the caches hold. A GRU goes bar by bar, each step a call: the
    more at once, the better (measured with 64 units: 8 segments 87,000 targets/s, 128 segments 364,000).
    """
    if kind == "gru":
        return _CPU_GRU_ROWS
    return max(1, _CPU_UNIT_BARS // (hidden_size * segment_length))


@dataclass(frozen=True, slots=True)
class Probe:
    """What a number of rows took.

    Attributes:
        rows: at once.
        seconds: of one step.
        peak_bytes: most memory in use meanwhile.
        fits: whether the memory was enough; the others mean nothing where not.
    """

    rows: int
    seconds: float = 0.0
    peak_bytes: int = 0
    fits: bool = True

    @property
    def rows_per_s(self) -> float:
        """Throughput."""
        return self.rows / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class BatchFit:
    """The micro-batch that was found.

    Attributes:
        rows: segments at once.
        reason: one clause.
        probes: what was tried.
    """

    rows: int
    reason: str
    probes: tuple[Probe, ...]


def next_rows(probes: Sequence[Probe], start: int, limit: int, budget_bytes: int) -> tuple[int, str]:
    """Decide what to try next.

    Args:
        probes: what was tried, in order.
        start / limit: first and largest number of rows.
        budget_bytes: memory the run may take.

    Returns:
        The number of rows to try, or 0 and why the search is over.
    """
    if not probes:
        return min(start, limit), ""
    last = probes[-1]
    fitting = [probe for probe in probes if probe.fits]
    if not last.fits:
        return (0, "more do not fit into the memory") if fitting or last.rows == 1 else ((last.rows + 1) // 2, "")
    if len(fitting) < len(probes):  # came down to what fits
        return 0, "more do not fit into the memory"
    if last.rows >= limit:
        return 0, "the whole batch at once"
    if len(fitting) > 1 and last.rows_per_s < _WORTH_DOUBLING * fitting[-2].rows_per_s:
        return 0, "more are not faster"
    rows = min(limit, 2 * last.rows)
    if _expected_bytes(fitting, rows) > budget_bytes:
        return 0, "more do not fit into the memory"
    return rows, ""


def best_rows(probes: Sequence[Probe]) -> int:
    """Return the fewest rows that are as fast as any, 0 where nothing fits."""
    fitting = [probe for probe in probes if probe.fits]
    fastest = max((probe.rows_per_s for probe in fitting), default=0.0)
    return min((probe.rows for probe in fitting if probe.rows_per_s >= _AS_GOOD * fastest), default=0)


def fit_batch(
    step: Callable[[int], Probe],
    start: int,
    limit: int,
    should_stop: Callable[[], bool],
    *,
    budget_bytes: int,
    release: Callable[[], None],
) -> BatchFit:
    """Search the micro-batch by trying: doubled while it fits and is faster.

    Args:
        step: one forward and backward pass with so many rows, measured; see `measured_step`.
        start / limit: first and largest number of rows.
        should_stop: polled before each.
        budget_bytes: memory the run may take, from `ml.device_report.memory_budget`.
        release: gives unused memory back.

    Raises:
        JobStopped: `should_stop` returned true.
        UserError: not even one row fits.
    """
    probes: list[Probe] = []
    while True:
        rows, reason = next_rows(probes, start, limit, budget_bytes)
        if not rows:
            break
        if should_stop():
            raise JobStopped
        probes.append(_tried(step, rows))
        release()
    best = best_rows(probes)
    if not best:
        raise _nothing_fits()
    return BatchFit(best, reason, tuple(probes))


def measured_step(run: Callable[[int], None], device: torch.device) -> Callable[[int], Probe]:
    """Return `run` as a step for `fit_batch`: once to warm up, once measured.

    Args:
        run: one forward and backward pass with so many rows; changes no weight.
        device: where it computes. On a CPU, where `cpu_rows` decides, the memory is not measured.
    """

    def step(rows: int) -> Probe:
        run(rows)
        _wait(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        started = time.perf_counter()
        run(rows)
        _wait(device)
        return Probe(rows, time.perf_counter() - started, _peak_bytes(device))

    return step


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return torch.mps.driver_allocated_memory() if device.type == "mps" else 0


def _nothing_fits() -> UserError:
    return UserError(
        "The memory does not hold one segment of this network.",
        "Use a smaller network or a shorter segment, or train on the CPU.",
    )


def _tried(step: Callable[[int], Probe], rows: int) -> Probe:
    try:
        return step(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return Probe(rows, fits=False)


def _expected_bytes(fitting: Sequence[Probe], rows: int) -> float:
    """Extrapolate the peak in a straight line; from one probe alone as if everything grew with the rows."""
    last = fitting[-1]
    if len(fitting) == 1:
        return last.peak_bytes * rows / last.rows
    before = fitting[-2]
    slope = max(0.0, (last.peak_bytes - before.peak_bytes) / (last.rows - before.rows))
    return last.peak_bytes + slope * (rows - last.rows)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    on_device = None
    if device.type == "cuda":
        on_device = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        on_device = torch.mps.get_rng_state()
    return torch.get_rng_state(), on_device


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    host, on_device = state
    torch.set_rng_state(host)
    if on_device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(on_device, device)
    elif on_device is not None:
        torch.mps.set_rng_state(on_device)
