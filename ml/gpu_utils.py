"""Which processor trains, and with how much of it. Runs in the training child only (imports torch).

Names follow the founding plan: `configure_gpu_memory_growth` keeps a training run from seizing a whole card.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from core.errors import UserError
from core.job_child import thread_count
from ml.api import ResourceSpec

_SMALLEST_GPU_BYTES = 1 << 30
_SMALL_NETWORK = 128  # hidden units


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What computes and why.

    Attributes:
        name: "cpu" or "cuda".
        title: for a person.
        reason: one clause.
        threads: CPU threads in use.
    """

    name: str
    title: str
    reason: str
    threads: int

    @property
    def description(self) -> str:
        """Title and reason in one line."""
        return f"{self.title} ({self.reason})"


def configure_gpu_memory_growth(fraction: float = 0.8) -> bool:
    """Let GPU memory grow on demand, up to a share of the card; without a card, do nothing.

    Args:
        fraction: largest share of the card's memory this process may take, 0 … 1.

    Returns:
        Whether there is a card.
    """
    # Read when CUDA starts: segments that grow leave less memory lost to fragmentation.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    if not torch.cuda.is_available():
        return False
    for index in range(torch.cuda.device_count()):
        torch.cuda.set_per_process_memory_fraction(fraction, index)
    return True


def choose_device(resources: ResourceSpec, hidden_size: int) -> DeviceChoice:
    """Pick the processor for a run and set torch's thread count.

    Args:
        resources: what the person asked for; 0 threads means one for a small network, whose steps are too short to
            share (measured: two threads on two busy cores are six times slower than one), and up to four for a large.
        hidden_size: of the network.

    Raises:
        UserError: a GPU was demanded and cannot be used.
    """
    automatic = 1 if hidden_size <= _SMALL_NETWORK else min(4, thread_count(0))
    threads = resources.threads or automatic
    torch.set_num_threads(threads)
    if resources.device == "cpu":
        return _cpu(threads, "as asked")
    problem = _gpu_problem()
    if problem and resources.device == "cuda":
        raise UserError(f"The GPU cannot be used: {problem}.", "Choose the device auto or cpu.")
    if problem:
        return _cpu(threads, problem)
    configure_gpu_memory_growth()
    return DeviceChoice("cuda", torch.cuda.get_device_name(0), "found a usable GPU", threads)


def _cpu(threads: int, reason: str) -> DeviceChoice:
    title = f"CPU, {threads} threads" if threads > 1 else "CPU, 1 thread"
    return DeviceChoice("cpu", title, reason, threads)


def _gpu_problem() -> str:
    """Return why no GPU can be used, or an empty string."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this build of torch knows no GPU"
    if not torch.cuda.is_available():
        return "no GPU or no driver was found"
    free, _ = torch.cuda.mem_get_info(0)
    if free < _SMALLEST_GPU_BYTES:
        return f"only {free / 2**30:.1f} GiB of its memory are free"
    return ""
