"""What a run takes of its machine: processor, memory, disk and GPU. Torch-free; sampled from the loop that works.

There is no thread here: the training loop asks between two batches and gets a sample at most once per second, so that
a figure never comes from a moment in which something else computed. A sample costs a fraction of a millisecond.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.diagnostics.probes import existing_parent, memory_bytes
from core.errors import UserError
from ml.jsonvalues import JsonValue
from ml.nvml import NO_SUCH_CARD, GpuSample, open_nvml

SAMPLE_SECONDS = 1.0
CHECKPOINT_COPIES = 2  # the new checkpoint is written whole before the old one goes
DISK_RESERVE_BYTES = 64 << 20  # for the databases and logs beside it


@dataclass(frozen=True, slots=True)
class TorchMemory(JsonValue):
    """Bytes torch holds on its device: in tensors, reserved for more, and the most that tensors ever took."""

    allocated: int
    reserved: int
    peak: int


@dataclass(frozen=True, slots=True)
class ResourceSample(JsonValue):
    """What was in use at one moment.

    Attributes:
        time_ns: ns UTC.
        cpu_percent: of this process, and others of the run, since the last sample; 100 is one core.
        machine_cpu_percent: of all cores together; 100 is all of them.
        rss_bytes: main memory of this process and of others of the run, whose shared pages count once where known.
        ram_available / ram_total: bytes, inside a container its limit.
        disk_free: bytes left where the run's files go.
        gpu: the card that computes; None on a CPU or where NVML does not tell.
        gpu_note: why there is no `gpu`, or "".
        torch_memory: of torch on its device; None on a CPU.
    """

    time_ns: int
    cpu_percent: float
    machine_cpu_percent: float
    rss_bytes: int
    ram_available: int
    ram_total: int
    disk_free: int
    gpu: GpuSample | None = None
    gpu_note: str = ""
    torch_memory: TorchMemory | None = None


class ResourceMonitor:
    """Samples this process and its machine, at most once per second.

    Args:
        folder: where the run writes; need not exist yet.
        gpu_uuid: the card that computes, "" on a CPU.
        torch_memory: reads torch's own bookkeeping, see `ml.gpu_utils.memory_reader`; None on a CPU.
        others: ids of further processes of the run that are up.
        wall_ns / clock: UTC in ns, and seconds of a clock that only goes forward.
        nvml: starts NVML; replaced in tests.

    Attributes:
        latest: the last sample, None before the first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        gpu_uuid: str = "",
        torch_memory: Callable[[], TorchMemory] | None = None,
        others: Callable[[], Iterable[int]] = tuple,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        nvml: Callable[[], tuple[Any, str]] = open_nvml,
    ) -> None:
        import psutil

        self.latest: ResourceSample | None = None
        self._folder, self._torch_memory = existing_parent(folder), torch_memory
        self._wall_ns, self._clock = wall_ns, clock
        self._psutil, self._process = psutil, psutil.Process()
        self._others, self._known = others, dict[int, Any]()
        self._nvml, self._handle, self._note = None, None, ""
        if gpu_uuid:
            self._nvml, self._note = nvml()
            self._handle = None if self._nvml is None else self._nvml.handle(gpu_uuid)
            if self._nvml is not None and self._handle is None:
                self._note = NO_SUCH_CARD
        # A share of the processor is one since the last question: the first would be since the machine's start.
        self._process.cpu_percent(None)
        psutil.cpu_percent(None)
        self._asked_at = clock()

    def sample(self) -> ResourceSample | None:
        """Return a new sample, None where the last one (or the start) is less than a second old."""
        now = self._clock()
        if now - self._asked_at < SAMPLE_SECONDS:
            return None
        self._asked_at = now
        memory = memory_bytes()
        assert memory is not None  # only where psutil is missing
        more_percent, more_bytes = self._of_others()
        self.latest = ResourceSample(
            time_ns=self._wall_ns(),
            cpu_percent=float(self._process.cpu_percent(None)) + more_percent,
            machine_cpu_percent=float(self._psutil.cpu_percent(None)),
            rss_bytes=int(self._process.memory_info().rss) + more_bytes,
            ram_available=memory[1],
            ram_total=memory[0],
            disk_free=shutil.disk_usage(self._folder).free,
            gpu=None if self._nvml is None or self._handle is None else self._nvml.sample(self._handle),
            gpu_note=self._note,
            torch_memory=None if self._torch_memory is None else self._torch_memory(),
        )
        return self.latest

    def _of_others(self) -> tuple[float, int]:
        """Return the load and memory of the other processes; one that has just ended has none."""
        pids = set(self._others())
        percent, size = 0.0, 0
        known = {}
        for pid in pids:
            try:
                process = self._known.get(pid) or self._psutil.Process(pid)
                percent += process.cpu_percent(None)  # 0 when it is asked for the first time
                memory = process.memory_full_info()
                size += int(getattr(memory, "pss", memory.rss))
            except self._psutil.Error:
                continue
            known[pid] = process
        self._known = known
        return percent, size

    def close(self) -> None:
        """Let go of the driver."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml, self._handle = None, None


def require_disk(folder: Path, checkpoint_bytes: int, free_bytes: Callable[[Path], int] | None = None) -> None:
    """Check that a checkpoint can be replaced where the run writes: before the run, and before each is saved.

    Args:
        folder: of the run; need not exist yet.
        checkpoint_bytes: size of one checkpoint.
        free_bytes: what is left on the disk of a folder; the system's word by default.

    Raises:
        UserError: the disk has not enough left.
    """
    needed = CHECKPOINT_COPIES * checkpoint_bytes + DISK_RESERVE_BYTES
    place = existing_parent(folder)
    free = free_bytes(place) if free_bytes is not None else shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"The disk of {place} has {_mebibytes(free)} MiB left, and the run's checkpoints need"
            f" {_mebibytes(needed, up=True)} MiB.",
            "Free some space, then go on with the run.",
        )


def _mebibytes(size: int, *, up: bool = False) -> str:
    return f"{-(-size >> 20) if up else size >> 20:,}"
