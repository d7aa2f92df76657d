"""Which processor trains, in which precision and with how much of it. Runs in the training child only (imports torch).

Names follow the founding plan: `configure_gpu_memory_growth` keeps a training run from seizing a whole card.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from core.diagnostics.probes import memory_bytes
from core.errors import UserError
from core.job_child import thread_count
from ml import device_report
from ml.api import ResourceSpec
from ml.device_report import CPU, MPS, DeviceReport, judge, memory_budget
from ml.telemetry import TorchMemory

_SMALL_NETWORK = 128  # hidden units
# Measured on an H200: below these, converting costs more than the faster arithmetic gives.
_TF32_UNITS, _BF16_UNITS = 256, 128
_TENSOR_CORES = (8, 0)  # compute capability with TF32 and bf16
_CPU_ONLY_BUILD = "this build of torch knows no GPU"


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What computes and why.

    Attributes:
        name: "cpu", "cuda:0" or "mps".
        title: for a person.
        reason: one clause.
        threads: CPU threads in use.
        uuid: of the GPU, for its telemetry; "" elsewhere.
        reports: every device with the reason why it was or was not chosen.
    """

    name: str
    title: str
    reason: str
    threads: int
    uuid: str = ""
    reports: tuple[DeviceReport, ...] = ()

    @property
    def description(self) -> str:
        """Title and reason in one line."""
        return f"{self.title} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Precision:
    """How the network is computed in training; weights, loss and every evaluation stay float32.

    Attributes:
        name: "float32", "tf32" or "bf16".
        reason: one clause.
    """

    name: str
    reason: str

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which a training step runs the network; the loss comes after it, in float32."""
        if self.name != "bf16":
            return nullcontext()
        # Without the cache of converted weights: a recorded step must convert them anew in every replay.
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def configure_gpu_memory_growth(fraction: float = 0.8, index: int | None = None) -> bool:
    """Let GPU memory grow on demand, up to a share of the card; without a card, do nothing.

    Args:
        fraction: largest share of the card's memory this process may take, 0 … 1; less where others hold some of it.
        index: which card; None for all.

    Returns:
        Whether there is a card.
    """
    _let_segments_grow()
    if not torch.cuda.is_available():
        return False
    for card in range(torch.cuda.device_count()) if index is None else (index,):
        free, total = torch.cuda.mem_get_info(card)
        torch.cuda.set_per_process_memory_fraction(memory_budget(total, free, fraction) / total, card)
    return True


def find_cpu() -> tuple[DeviceReport, ...]:
    """Return the CPU alone: looking for GPUs takes a piece of the memory of each."""
    return (DeviceReport(CPU, "CPU", *(memory_bytes() or (None, None))),)


def find_devices() -> tuple[DeviceReport, ...]:
    """Return every device torch can name, GPUs first, the CPU last."""
    found: list[DeviceReport] = []
    if torch.cuda.is_available():
        found += [_gpu(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        free = total - torch.mps.driver_allocated_memory()
        found.append(DeviceReport(MPS, "Apple MPS", total, free))
    return (*found, *find_cpu())


def choose_device(
    resources: ResourceSpec, hidden_size: int, find: Callable[[], tuple[DeviceReport, ...]] = find_devices
) -> DeviceChoice:
    """Pick the processor for a run, set torch's thread count and keep the run within its share of a GPU.

    Args:
        resources: what the person asked for; 0 threads means one for a small network, whose steps are too short to
            share (measured: two threads on two busy cores are six times slower than one), and up to four for a large.
        hidden_size: of the network.
        find: looks for the devices; replaced in tests.

    Raises:
        UserError: a device was demanded and cannot be used.
    """
    automatic = 1 if hidden_size <= _SMALL_NETWORK else min(4, thread_count(0))
    threads = resources.threads or automatic
    torch.set_num_threads(threads)
    _let_segments_grow()
    reports = judge(find(), resources.device, _gpu_absence())
    chosen = next(report for report in reports if report.chosen)
    title, uuid = chosen.title, ""
    if chosen.name == CPU:
        title = f"CPU, {threads} threads" if threads > 1 else "CPU, 1 thread"
    elif chosen.is_gpu:
        device = torch.device(chosen.name)
        configure_gpu_memory_growth(resources.memory_share, device.index)
        torch.cuda.set_device(device)
        uuid = str(torch.cuda.get_device_properties(device).uuid)
    return DeviceChoice(chosen.name, title, chosen.reason, threads, uuid, reports)


def gpu_budget(choice: DeviceChoice, resources: ResourceSpec) -> int | None:
    """Return how many bytes of its memory a run may take on the GPU that was chosen; None on other devices."""
    report = next((report for report in choice.reports if report.chosen), None)
    if report is None or not report.is_gpu or report.memory_total is None or report.memory_free is None:
        return None
    return memory_budget(report.memory_total, report.memory_free, resources.memory_share)


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def choose_precision(device: DeviceReport, hidden_size: int, resources: ResourceSpec) -> Precision:
    """Pick the arithmetic of training.

    Args:
        device: the chosen one.
        hidden_size: of the network.
        resources: what the person asked for.

    Raises:
        UserError: a precision was demanded that the device does not have.
    """
    has_cores = device.is_gpu and torch.version.hip is None and _version(device.capability) >= _TENSOR_CORES
    if resources.precision == "float32":
        return Precision("float32", device_report.AS_ASKED)
    if resources.precision != "auto":
        if not has_cores:
            raise UserError(
                f"The precision {resources.precision} needs an NVIDIA GPU of compute capability 8.0 or newer.",
                "Choose the precision auto or float32.",
            )
        return Precision(resources.precision, device_report.AS_ASKED)
    if not has_cores:
        return Precision("float32", "the device has no faster one")
    if hidden_size < _BF16_UNITS:
        return Precision("float32", "a faster one does not pay for a network of this size")
    return Precision("bf16", "faster for a network of this size")


def apply_precision(precision: Precision, hidden_size: int) -> None:
    """Switch TF32 for matrix products and recurrent layers on an NVIDIA GPU; elsewhere the switches do nothing.

    Torch itself lets cuDNN's recurrent layers use TF32 from the start: float32 has to be asked for. The older names of
    the switches are used on purpose: once the newer ones (`fp32_precision`) are set, torch 2.13 refuses to read the
    older, and its own export to ONNX reads them.

    Args:
        precision: the chosen one; beside bf16, products that stay float32 use TF32 where that pays.
        hidden_size: of the network.
    """
    tf32 = precision.name == "tf32" or (precision.name == "bf16" and hidden_size >= _TF32_UNITS)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def memory_reader(device: torch.device) -> Callable[[], TorchMemory] | None:
    """Return what reads torch's own bookkeeping of a GPU's memory, None on a device without one."""
    if device.type != "cuda":
        return None

    def read() -> TorchMemory:
        return TorchMemory(
            allocated=torch.cuda.memory_allocated(device),
            reserved=torch.cuda.memory_reserved(device),
            peak=torch.cuda.max_memory_allocated(device),
        )

    return read


def release_memory(device: torch.device) -> None:
    """Give memory that torch keeps for later back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _let_segments_grow() -> None:
    """Set the allocator, which reads this when CUDA starts: segments that grow lose less memory to fragmentation."""
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:  # the name of former versions, which a person may have set
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


def _gpu(index: int) -> DeviceReport:
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    capability = (properties.major, properties.minor)
    problem = device_report.build_problem(capability, torch.cuda.get_arch_list())
    return DeviceReport(
        name=f"cuda:{index}",
        title=properties.name,
        memory_total=total,
        memory_free=free,
        capability=f"{capability[0]}.{capability[1]}",
        problem=problem or device_report.free_memory_problem(free),
    )


def _gpu_absence() -> str:
    """Return why no GPU was found."""
    if torch.version.cuda is None and torch.version.hip is None:
        return _CPU_ONLY_BUILD
    return device_report.NO_GPU


def _version(capability: str) -> tuple[int, int]:
    major, _, minor = capability.partition(".")
    return (int(major), int(minor)) if minor else (0, 0)
