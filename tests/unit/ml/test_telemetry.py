"""Samples of this very machine, and of cards that a fake driver has."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from core.errors import UserError
from ml.nvml import NO_DRIVER, NO_LIBRARY, NO_SUCH_CARD, GpuSample, Nvml, open_nvml
from ml.telemetry import DISK_RESERVE_BYTES, ResourceMonitor, ResourceSample, TorchMemory, require_disk

MIB = 1 << 20


class FakeDriver:
    """The part of pynvml in use, for two cards of which the second answers hardly anything."""

    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    class NVMLError(Exception):
        pass

    def __init__(self, *, starts: bool = True) -> None:
        self.starts, self.ended = starts, 0

    def nvmlInit(self) -> None:
        if not self.starts:
            raise self.NVMLError

    def nvmlShutdown(self) -> None:
        self.ended += 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid not in ("GPU-a", "GPU-b"):
            raise self.NVMLError
        return "ab".index(uuid[-1])

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{'ab'[handle]}"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"Card {'AB'[handle]}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=8_000 * MIB, used=3_000 * MIB, free=5_000 * MIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return (9, 0)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        self._only_first(handle)
        return SimpleNamespace(gpu=87, memory=20)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._only_first(handle)
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._only_first(handle)
        return 312_500

    def _only_first(self, handle: int) -> None:
        if handle:
            raise self.NVMLError


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_fake_driver_asks_what_the_real_library_answers() -> None:
    for name in vars(FakeDriver):
        if not name.startswith("_"):
            assert hasattr(pynvml, name), name


def test_a_sample_is_taken_at_most_once_per_second(tmp_path: Path) -> None:
    clock = Seconds()
    monitor = ResourceMonitor(tmp_path / "not" / "yet", clock=clock, wall_ns=itertools.count(42).__next__)
    assert monitor.sample() is None
    clock.now += 0.99
    assert monitor.sample() is None
    assert monitor.latest is None
    clock.now += 0.02
    sample = monitor.sample()
    assert sample is not None
    assert monitor.latest is sample
    assert monitor.sample() is None
    clock.now += 1.0
    later = monitor.sample()
    assert later is not None
    assert (sample.time_ns, later.time_ns) == (42, 43)


def test_a_sample_tells_of_this_process_and_its_machine(tmp_path: Path) -> None:
    monitor = ResourceMonitor(tmp_path)
    until = time.monotonic() + 1.05
    while time.monotonic() < until:
        pass
    sample = monitor.sample()
    assert sample is not None
    assert sample.cpu_percent > 5  # it has been busy for all of that second
    assert 0 <= sample.machine_cpu_percent <= 100
    assert 10 * MIB < sample.rss_bytes < sample.ram_total
    assert 0 < sample.ram_available <= sample.ram_total
    assert sample.disk_free > 0
    assert abs(sample.time_ns - time.time_ns()) < 60e9
    assert (sample.gpu, sample.gpu_note, sample.torch_memory) == (None, "", None)
    assert ResourceSample.from_json(sample.to_json()) == sample


def sample_with(driver: FakeDriver, uuid: str, folder: Path) -> tuple[ResourceSample, ResourceMonitor]:
    clock = Seconds()
    monitor = ResourceMonitor(
        folder,
        gpu_uuid=uuid,
        torch_memory=lambda: TorchMemory(1, 2, 3),
        clock=clock,
        nvml=lambda: open_nvml(lambda: driver),
    )
    clock.now += 1.0
    sample = monitor.sample()
    assert sample is not None
    return sample, monitor


def test_the_card_that_computes_is_sampled(tmp_path: Path) -> None:
    driver = FakeDriver()
    sample, monitor = sample_with(driver, "a", tmp_path)
    assert sample.gpu == GpuSample(87.0, 3_000 * MIB, 8_000 * MIB, 61.0, 312.5)
    assert sample.torch_memory == TorchMemory(1, 2, 3)
    assert sample.gpu_note == ""
    assert ResourceSample.from_json(sample.to_json()) == sample
    monitor.close()
    monitor.close()
    assert driver.ended == 1


def test_what_a_card_does_not_tell_is_left_out(tmp_path: Path) -> None:
    sample, _ = sample_with(FakeDriver(), "GPU-b", tmp_path)
    assert sample.gpu == GpuSample(None, 3_000 * MIB, 8_000 * MIB, None, None)


@pytest.mark.parametrize(
    ("driver", "uuid", "note"), [(FakeDriver(starts=False), "a", NO_DRIVER), (FakeDriver(), "c", NO_SUCH_CARD)]
)
def test_without_a_driver_or_card_the_reason_stands_in_its_place(
    driver: FakeDriver, uuid: str, note: str, tmp_path: Path
) -> None:
    sample, _ = sample_with(driver, uuid, tmp_path)
    assert (sample.gpu, sample.gpu_note) == (None, note)


def test_a_missing_library_is_a_reason() -> None:
    def load() -> None:
        raise ImportError

    assert open_nvml(load) == (None, NO_LIBRARY)


def test_the_real_library_starts_or_says_why_not() -> None:
    nvml, reason = open_nvml()
    assert (nvml is None) == bool(reason)
    if nvml is not None:
        assert all(card.memory_total > 0 for card in nvml.cards())
        nvml.close()


def test_cards_are_listed_with_what_the_driver_knows() -> None:
    first, second = Nvml(FakeDriver()).cards()
    assert (first.title, first.capability, first.driver, first.uuid) == ("Card A", "9.0", "580.1", "GPU-a")
    assert second.memory_free == 5_000 * MIB


def test_a_disk_that_cannot_hold_two_checkpoints_is_told_before(tmp_path: Path) -> None:
    need = 2 * 100 * MIB + DISK_RESERVE_BYTES
    require_disk(tmp_path / "run-1", 100 * MIB, lambda folder: need)
    with pytest.raises(UserError, match=r"has 263 MiB left, and the run's checkpoints need 264 MiB"):
        require_disk(tmp_path / "run-1", 100 * MIB, lambda folder: need - 1)
    require_disk(tmp_path, 1)
    with pytest.raises(UserError, match="checkpoints need"):
        require_disk(tmp_path, 1 << 60)
