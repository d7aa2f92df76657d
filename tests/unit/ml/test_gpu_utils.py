"""Device, precision and memory settings of a run, as far as a machine without a GPU can show them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from core.errors import UserError
from ml.api import ResourceSpec
from ml.device_report import DeviceReport
from ml.gpu_utils import (
    Precision,
    apply_precision,
    choose_device,
    choose_precision,
    configure_gpu_memory_growth,
    find_devices,
    memory_reader,
    release_memory,
)

CPU = DeviceReport("cpu", "CPU")
MPS = DeviceReport("mps", "Apple MPS")
AMPERE = DeviceReport("cuda:0", "Card", 1 << 34, 1 << 34, "8.0")
TURING = DeviceReport("cuda:0", "Card", 1 << 34, 1 << 34, "7.5")


@pytest.fixture(autouse=True)
def _settings_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before, threads = [switch.allow_tf32 for switch in switches], torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for switch, mode in zip(switches, before, strict=True):
        switch.allow_tf32 = mode


def test_device_choice_gives_its_reason() -> None:
    asked = choose_device(ResourceSpec(device="cpu"), 32)
    assert (asked.name, asked.threads, asked.reason) == ("cpu", 1, "as asked")
    assert asked.description == "CPU, 1 thread (as asked)"
    assert [report.name for report in asked.reports if report.chosen] == ["cpu"]
    automatic = choose_device(ResourceSpec(), 32)
    if torch.cuda.is_available():
        assert automatic.name.startswith("cuda:")
        assert automatic.uuid
        assert configure_gpu_memory_growth()
    else:
        assert automatic.name in ("cpu", "mps")
        assert not configure_gpu_memory_growth()
        with pytest.raises(UserError, match="GPU cannot be used"):
            choose_device(ResourceSpec(device="cuda"), 32)


def test_a_small_network_gets_one_thread_and_a_large_one_more() -> None:
    assert choose_device(ResourceSpec(device="cpu"), 128).threads == 1
    large = choose_device(ResourceSpec(device="cpu"), 512)
    assert 1 <= large.threads <= 4
    asked = choose_device(ResourceSpec(device="cpu", threads=2), 32)
    assert (asked.title, torch.get_num_threads()) == ("CPU, 2 threads", 2)


def test_the_cpu_is_always_found_with_its_memory() -> None:
    cpu = find_devices()[-1]
    assert cpu.name == "cpu"
    assert cpu.memory_total is not None
    assert cpu.memory_free is not None
    assert 0 < cpu.memory_free <= cpu.memory_total


def test_a_persons_own_allocator_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delitem(os.environ, name, raising=False)
    choose_device(ResourceSpec(device="cpu"), 32)
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    del os.environ["PYTORCH_ALLOC_CONF"]
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:128"
    choose_device(ResourceSpec(device="cpu"), 32)
    assert "PYTORCH_ALLOC_CONF" not in os.environ


@pytest.mark.parametrize(
    ("device", "hidden", "name"),
    [
        (CPU, 512, "float32"),
        (MPS, 512, "float32"),
        (TURING, 512, "float32"),
        (AMPERE, 127, "float32"),
        (AMPERE, 128, "bf16"),
        (AMPERE, 512, "bf16"),
    ],
)
def test_a_faster_precision_is_chosen_where_it_pays(device: DeviceReport, hidden: int, name: str) -> None:
    precision = choose_precision(device, hidden, ResourceSpec())
    assert precision.name == name
    assert precision.reason


@pytest.mark.parametrize("name", ["tf32", "bf16"])
def test_a_precision_is_as_asked_or_refused(name: str) -> None:
    wanted = ResourceSpec(precision=name)
    assert choose_precision(AMPERE, 16, wanted) == Precision(name, "as asked")
    for device in (CPU, MPS, TURING):
        with pytest.raises(UserError, match=f"The precision {name} needs an NVIDIA GPU"):
            choose_precision(device, 512, wanted)
    assert choose_precision(AMPERE, 512, ResourceSpec(precision="float32")).name == "float32"


@pytest.mark.parametrize(
    ("name", "hidden", "tf32"),
    [("float32", 512, False), ("tf32", 16, True), ("bf16", 128, False), ("bf16", 256, True)],
)
def test_the_switches_are_set_without_a_warning_and_a_network_can_still_be_exported(
    name: str, hidden: int, tf32: bool
) -> None:
    apply_precision(Precision(name, ""), hidden)
    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert (torch.backends.cudnn.rnn.fp32_precision == "tf32") is tf32
    assert torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)).graph is not None


def test_only_bf16_changes_the_type_of_a_product() -> None:
    a = torch.ones(4, 4)
    cpu = torch.device("cpu")
    with Precision("float32", "").autocast(cpu):
        assert (a @ a).dtype == torch.float32
    with Precision("bf16", "").autocast(cpu):
        assert (a @ a).dtype == torch.bfloat16


def test_a_cpu_has_no_bookkeeping_of_its_own() -> None:
    assert memory_reader(torch.device("cpu")) is None
    release_memory(torch.device("cpu"))


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_known_devices_are_accepted(device: str) -> None:
    ResourceSpec(device=device).validate()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ResourceSpec(device="gpu"), "The device 'gpu' is not known"),
        (ResourceSpec(device="cuda:x"), "is not known"),
        (ResourceSpec(precision="fp8"), "The precision 'fp8' is not known"),
        (ResourceSpec(memory_share=1.0), "The share of the GPU's memory 1 is out of range"),
        (ResourceSpec(threads=-1), "The number of threads -1 is out of range"),
    ],
)
def test_settings_no_machine_has_are_refused(spec: ResourceSpec, words: str) -> None:
    with pytest.raises(UserError, match=words):
        spec.validate()
