"""The machine's side of a run, on this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import UserError
from ml.api import ForecastSpec, ModelSpec, ResourceSpec, TrainingProgress, TrainingSpec
from ml.batch_size import Probe
from ml.device_report import RESERVE_BYTES, DeviceReport
from ml.run_resources import RunResources
from ml.telemetry import ResourceSample

PROGRESS = TrainingProgress("run", "training", epoch=3, train_loss=0.5)


def resources(folder: Path, batch: int = 16, hidden: int = 64, **settings: object) -> RunResources:
    spec = ForecastSpec(
        model=ModelSpec(hidden_size=hidden),
        training=TrainingSpec(batch_segments=batch, segment_length=256),
        resources=ResourceSpec(**{"device": "cpu", "threads": 1, **settings}),  # type: ignore[arg-type]
    )
    return RunResources(spec, folder, evaluation_rows=64)


@pytest.mark.parametrize(("batch", "hidden", "rows"), [(8, 64, 8), (128, 64, 16), (128, 32, 32), (16, 32, 16)])
def test_a_cpu_starts_with_what_its_caches_hold(batch: int, hidden: int, rows: int, tmp_path: Path) -> None:
    made = resources(tmp_path, batch, hidden)
    assert made.training.rows == rows
    assert made.evaluation.rows == 64
    made.fit(lambda tried: pytest.fail("a CPU is not tried out"), lambda: False)
    assert made.training.rows == rows
    assert (made.device.type, made.precision.name) == ("cpu", "float32")


def on_a_card(made: RunResources, monkeypatch: pytest.MonkeyPatch, free: int) -> list[int]:
    """Pretend that the run computes on a GPU whose time does not depend on the rows; return what is tried."""
    tried: list[int] = []

    def measured(run: Callable[[int], None], device: torch.device) -> Callable[[int], Probe]:
        def step(rows: int) -> Probe:
            run(rows)
            return Probe(rows, 1.0, rows << 20)

        return step

    made.device = torch.device("cuda", 0)
    monkeypatch.setattr("ml.run_resources.measured_step", measured)
    monkeypatch.setattr("ml.run_resources.release_memory", lambda device: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 34))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1 << 20)
    made.fit(tried.append, lambda: False)
    return tried


@pytest.mark.parametrize(
    ("batch", "free", "tried", "rows"),
    [
        (64, 1 << 33, [], 64),
        (1_000, 1 << 33, [64, 128, 256, 512, 1_000], 1_000),
        # 256 MiB beside the reserve: 512 segments would take twice that.
        (1_000, RESERVE_BYTES + (255 << 20), [64, 128, 256], 256),
    ],
)
def test_a_large_batch_is_tried_out_on_a_gpu(
    batch: int, free: int, tried: list[int], rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = resources(tmp_path, batch)
    made.training.rows = batch
    assert on_a_card(made, monkeypatch, free) == tried
    assert made.training.rows == rows
    if tried:
        made.fit(lambda rows: pytest.fail("the next seed takes what was found"), lambda: False)


def test_memory_that_ran_out_is_told_in_every_message_after_it(tmp_path: Path) -> None:
    made = resources(tmp_path)
    assert made.stamp(PROGRESS).note == ""
    weight = torch.ones(1, requires_grad=True)

    def loss(part: np.ndarray) -> torch.Tensor:
        if len(part) > 4:
            raise torch.OutOfMemoryError
        return weight.sum()

    made.training.backward(np.arange(8), np.ones(8), loss, lambda: None)
    for _ in range(2):
        stamped = made.stamp(PROGRESS)
        assert stamped.note == "The memory was not enough: the batch is computed in parts of 4 segments."
        assert (stamped.epoch, stamped.train_loss) == (3, 0.5)


def test_messages_carry_the_last_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = resources(tmp_path)
    assert made.stamp(PROGRESS).rss_bytes is None
    sample = ResourceSample(1, 97.5, 50.0, 123, 1, 2, 3)
    monkeypatch.setattr("ml.telemetry.ResourceMonitor.sample", lambda monitor: setattr(monitor, "latest", sample))
    stamped = made.stamp(PROGRESS)
    assert (stamped.cpu_percent, stamped.rss_bytes, stamped.gpu_percent) == (97.5, 123, None)
    assert TrainingProgress.from_json(stamped.to_json()) == stamped
    made.close()


def test_a_disk_too_small_for_four_copies_of_the_weights_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = resources(tmp_path)
    made.require_disk(nn.Linear(10, 10))
    asked: list[int] = []
    monkeypatch.setattr("ml.run_resources.require_disk", lambda folder, size: asked.append(size))
    made.require_disk(nn.Linear(10, 10))
    assert asked == [4 * 4 * 110]


def test_a_precision_the_cpu_lacks_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The precision bf16 needs an NVIDIA GPU"):
        resources(tmp_path, precision="bf16")


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    spec = ForecastSpec(resources=ResourceSpec(device="cuda:3"))
    with pytest.raises(UserError, match="there is no device cuda:3"):
        RunResources(spec, tmp_path, evaluation_rows=64, find=lambda: (DeviceReport("cpu", "CPU"),))
