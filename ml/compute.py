"""What a training run computes with: device, precision, micro-batch and the watch over them. Training child only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ml.api import ForecastSpec, TrainingProgress
from ml.batch_size import BatchFit, MicroBatcher, cpu_rows, fit_batch, measured_step
from ml.device_report import memory_budget
from ml.gpu_utils import (
    DeviceChoice,
    Precision,
    apply_precision,
    choose_device,
    choose_precision,
    memory_reader,
    release_memory,
)
from ml.telemetry import ResourceMonitor

_AUTOMATIC_BATCH = {"cpu": 16, "mps": 32, "cuda": 64}  # segments per step; small ones leave a GPU idle
_FIRST_ROWS = 8


@dataclass(slots=True, eq=False)
class Compute:
    """One run's device and everything that depends on it.

    Attributes:
        choice: the device, with the reason.
        device: the same for torch.
        precision: of the recurrent part in training.
        batch_segments: per step of the optimiser.
        micro: how many of them at once.
        monitor: load and memory.
        note: the last thing that was decided on the way, for a person.
    """

    choice: DeviceChoice
    device: torch.device
    precision: Precision
    batch_segments: int
    micro: MicroBatcher
    monitor: ResourceMonitor
    note: str = ""

    @classmethod
    def prepare(cls, spec: ForecastSpec, run_dir: Path) -> Compute:
        """Choose the device and set torch up for it.

        Raises:
            UserError: what was asked for cannot be had.
        """
        hidden = spec.model.hidden_size
        choice = choose_device(spec.resources, hidden)
        report = next(report for report in choice.reports if report.chosen)
        precision = choose_precision(report, hidden, spec.resources)
        apply_precision(precision, hidden)
        device = torch.device(choice.name)
        batch = spec.training.batch_segments or _AUTOMATIC_BATCH[device.type]
        rows = cpu_rows(hidden, spec.training.segment_length) if device.type == "cpu" else batch
        monitor = ResourceMonitor(run_dir, gpu_uuid=choice.uuid, torch_memory=memory_reader(device))
        compute = cls(choice, device, precision, batch, MicroBatcher(rows, device, lambda _: None), monitor)
        compute.micro = MicroBatcher(rows, device, compute._tell)
        return compute

    def fit(self, run: Callable[[int], None], spec: ForecastSpec, should_stop: Callable[[], bool]) -> BatchFit | None:
        """On a GPU, find by trying how many segments at once are fastest and fit into its memory.

        Args:
            run: one forward and backward pass with so many segments; changes no weight.
            spec: of the run.
            should_stop: polled between the attempts.
        """
        if self.device.type != "cuda":
            return None
        free, total = torch.cuda.mem_get_info(self.device)
        fitted = fit_batch(
            measured_step(run, self.device),
            min(_FIRST_ROWS, self.batch_segments),
            self.batch_segments,
            should_stop,
            budget_bytes=memory_budget(total, free, spec.resources.memory_share),
            release=lambda: release_memory(self.device),
        )
        self.micro.rows = fitted.rows
        return fitted

    def watched(self, progress: TrainingProgress) -> TrainingProgress:
        """Return the progress with load and memory as last sampled."""
        self.monitor.sample()
        sample = self.monitor.latest
        if sample is None:
            return replace(progress, note=self.note)
        return replace(
            progress,
            note=self.note,
            cpu_percent=sample.cpu_percent,
            rss_bytes=sample.rss_bytes,
            gpu_percent=None if sample.gpu is None else sample.gpu.utilisation_percent,
            gpu_memory_bytes=None if sample.gpu is None else sample.gpu.memory_used,
        )

    def _tell(self, message: str) -> None:
        self.note = message
