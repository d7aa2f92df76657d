"""What NVIDIA's driver says about its cards, through NVML. Any thread; torch-free, the library is loaded on first use.

NVML counts every card of the machine; CUDA counts those it was allowed to see, in an order of its own. So a card is
found by its UUID wherever one is known.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ml.jsonvalues import JsonValue

T = TypeVar("T")

NO_LIBRARY = "the package nvidia-ml-py is missing"
NO_DRIVER = "no NVIDIA driver answers"
NO_SUCH_CARD = "the driver does not know this GPU"


@dataclass(frozen=True, slots=True)
class GpuSample(JsonValue):
    """What a card does at one moment; None where it does not tell.

    Attributes:
        utilisation_percent: share of the time in which something computed, since the driver's last look.
        memory_used / memory_total: bytes, of all programs.
        temperature_c: degrees Celsius.
        power_w: watts.
    """

    utilisation_percent: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True)
class GpuCard(JsonValue):
    """A card as the driver knows it.

    Attributes:
        uuid: identifies it on this machine.
        title: its name.
        memory_total / memory_free: bytes.
        capability: compute capability such as "9.0", or "".
        driver: version of the driver.
    """

    uuid: str
    title: str
    memory_total: int
    memory_free: int
    capability: str
    driver: str


class Nvml:
    """A started NVML. Close it, or let the process end.

    Args:
        library: the module `pynvml`, started.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def cards(self) -> tuple[GpuCard, ...]:
        """Return every card that answers."""
        count = self._ask(self._library.nvmlDeviceGetCount) or 0
        found = (self._card(index) for index in range(count))
        return tuple(card for card in found if card is not None)

    def handle(self, uuid: str) -> Any | None:
        """Return the driver's handle of a card, None where it knows no such card."""
        name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
        return self._ask(self._library.nvmlDeviceGetHandleByUUID, name)

    def sample(self, handle: Any) -> GpuSample:
        """Ask a card what it does now."""
        library = self._library
        rates = self._ask(library.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(library.nvmlDeviceGetMemoryInfo, handle)
        temperature = self._ask(library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU)
        milliwatts = self._ask(library.nvmlDeviceGetPowerUsage, handle)
        return GpuSample(
            utilisation_percent=None if rates is None else float(rates.gpu),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            temperature_c=None if temperature is None else float(temperature),
            power_w=None if milliwatts is None else milliwatts / 1_000.0,
        )

    def close(self) -> None:
        """Let go of the driver."""
        self._ask(self._library.nvmlShutdown)

    def _card(self, index: int) -> GpuCard | None:
        library = self._library
        handle = self._ask(library.nvmlDeviceGetHandleByIndex, index)
        memory = None if handle is None else self._ask(library.nvmlDeviceGetMemoryInfo, handle)
        if memory is None:
            return None
        capability = self._ask(library.nvmlDeviceGetCudaComputeCapability, handle)
        return GpuCard(
            uuid=str(self._ask(library.nvmlDeviceGetUUID, handle) or ""),
            title=str(self._ask(library.nvmlDeviceGetName, handle) or "GPU"),
            memory_total=int(memory.total),
            memory_free=int(memory.free),
            capability="" if capability is None else f"{capability[0]}.{capability[1]}",
            driver=str(self._ask(library.nvmlSystemGetDriverVersion) or ""),
        )

    def _ask(self, question: Callable[..., T], *arguments: Any) -> T | None:
        """Return the answer, None where the driver has none: every card leaves out something."""
        try:
            return question(*arguments)
        except self._library.NVMLError:
            return None


def open_nvml(load: Callable[[], Any] = lambda: importlib.import_module("pynvml")) -> tuple[Nvml | None, str]:
    """Start NVML.

    Args:
        load: returns the module; replaced in tests.

    Returns:
        NVML and "", or None and the reason.
    """
    try:
        library = load()
    except ImportError:
        return None, NO_LIBRARY
    try:
        library.nvmlInit()
    except library.NVMLError:
        return None, NO_DRIVER
    return Nvml(library), ""
