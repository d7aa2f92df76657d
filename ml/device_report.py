"""Which of the devices a run should compute on, and why not the others. Pure functions, any thread; torch-free.

The GPU is taken wherever one can be used: measured on the default network of 32 units it is half again as fast as one
CPU thread (Docs/benchmarks.md), so there is no size below which the CPU would be chosen. MPS is taken only where it is
asked for: torch's LSTM is slower there than on the same machine's CPU and has leaked memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.diagnostics.checks_software import SMALLEST_GPU_BYTES
from core.errors import UserError
from ml.jsonvalues import JsonValue

CPU, MPS = "cpu", "mps"
RESERVE_BYTES = 512 << 20  # of a GPU's free memory, for the desktop that draws with it and for CUDA's own needs

AS_ASKED = "as asked"
NO_GPU = "no GPU or no driver was found"
NOT_ASKED = "another device was asked for"
BETTER_GPU = "another GPU has more free memory"
GPU_FOUND = "found a usable GPU"
GPU_INSTEAD = "a GPU is faster"
MPS_ONLY_ASKED = "recurrent networks run faster on the CPU; it is used only when asked for"


@dataclass(frozen=True, slots=True)
class DeviceReport(JsonValue):
    """A device of this machine.

    Attributes:
        name: "cpu", "cuda:0" or "mps".
        title: for a person.
        memory_total / memory_free: bytes; None where the device does not tell.
        capability: compute capability such as "9.0", or "".
        problem: why it cannot be used, or "".
        chosen: whether the run computes on it.
        reason: why it was or was not chosen.
    """

    name: str
    title: str
    memory_total: int | None = None
    memory_free: int | None = None
    capability: str = ""
    problem: str = ""
    chosen: bool = False
    reason: str = ""

    @property
    def is_gpu(self) -> bool:
        """Whether it is a card that CUDA (or ROCm under that name) reaches."""
        return self.name.startswith("cuda")


def judge(found: Sequence[DeviceReport], wanted: str, gpu_absence: str = NO_GPU) -> tuple[DeviceReport, ...]:
    """Choose one device and say of each why.

    Args:
        found: every device, the CPU among them.
        wanted: as `ml.api.ResourceSpec.device`.
        gpu_absence: why there is none, where `found` has no GPU.

    Raises:
        UserError: a device was demanded that is not there or cannot be used.
    """
    usable = [report for report in found if report.is_gpu and not report.problem]
    best = max(usable, key=lambda report: report.memory_free or 0, default=None)  # the first of equals
    if wanted == "auto":
        if best is not None:
            return _marked(found, best.name, GPU_FOUND, lambda report: BETTER_GPU if report.is_gpu else GPU_INSTEAD)
        problems = [report.problem for report in found if report.is_gpu]
        return _marked(found, CPU, problems[0] if problems else gpu_absence, lambda _: MPS_ONLY_ASKED)
    if wanted == "cuda":
        if best is None:
            problems = [report.problem for report in found if report.is_gpu]
            raise _unusable(problems[0] if problems else gpu_absence)
        return _marked(found, best.name, AS_ASKED, lambda report: BETTER_GPU if report.is_gpu else NOT_ASKED)
    asked = next((report for report in found if report.name == wanted), None)
    if asked is None:
        raise _unusable(f"there is no device {wanted}")
    if asked.problem:
        raise _unusable(asked.problem)
    return _marked(found, wanted, AS_ASKED, lambda _: NOT_ASKED)


def free_memory_problem(free: int) -> str:
    """Return why a GPU with so much free memory cannot be used, or ""."""
    return "" if free >= SMALLEST_GPU_BYTES else f"only {free / 2**30:.1f} GiB of its memory are free"


def build_problem(capability: tuple[int, int], built_for: Sequence[str]) -> str:
    """Return why a build of torch cannot run on a card, or "".

    Args:
        capability: compute capability (major, minor).
        built_for: as `torch.cuda.get_arch_list()`: machine code such as "sm_90" runs on cards of the same major and at
            least that minor version; "compute_90" is translated for every newer card.
    """
    versions = [(kind, _version(number)) for kind, _, number in (name.partition("_") for name in built_for)]
    known = [(kind, version) for kind, version in versions if version is not None]
    if not known:  # ROCm names its cards otherwise
        return ""
    runs = any(
        (kind == "sm" and version[0] == capability[0] and version <= capability)
        or (kind == "compute" and version <= capability)
        for kind, version in known
    )
    return "" if runs else f"this build of torch does not support compute capability {capability[0]}.{capability[1]}"


def memory_budget(total: int, free: int, share: float) -> int:
    """Return how many bytes of a GPU a run may take: a share of the card, and never what others have or need."""
    return max(0, min(int(total * share), free - RESERVE_BYTES))


def _version(number: str) -> tuple[int, int] | None:
    digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")  # "90a": with instructions of that very card
    return (int(digits[:-1]), int(digits[-1])) if len(digits) >= 2 and digits.isdigit() else None


def _marked(
    found: Sequence[DeviceReport], name: str, reason: str, others: Callable[[DeviceReport], str]
) -> tuple[DeviceReport, ...]:
    return tuple(
        replace(report, chosen=True, reason=reason)
        if report.name == name
        else replace(report, chosen=False, reason=report.problem or others(report))
        for report in found
    )


def _unusable(problem: str) -> UserError:
    return UserError(f"The GPU cannot be used: {problem}.", "Choose the device auto or cpu.")
