"""What one training run computes with and how much of it: device, precision, micro-batches, telemetry. Training child.

The one place where a trainer meets the machine: it asks for the gradient of a batch and gets it, whatever had to be
done for it, and every progress message is stamped with what the run takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ml.api import ForecastSpec, TrainingProgress
from ml.batch_size import MicroBatcher, cpu_rows, fit_batch, measured_step
from ml.device_report import DeviceReport, memory_budget
from ml.gpu_utils import (
    DeviceChoice,
    Precision,
    apply_precision,
    choose_device,
    choose_precision,
    find_devices,
    memory_reader,
    release_memory,
)
from ml.telemetry import ResourceMonitor, require_disk

_PARAMETER_COPIES = 4  # in a checkpoint: weights, best weights and the two moments of the optimiser
# Up to here a GPU computes the whole batch at once, so that two runs are split alike and give the same to the bit; what
# is fastest above depends on timings.
_WHOLE_BATCH = 64
_AUTOMATIC_BATCH = {"cpu": 16, "mps": 32, "cuda": 64}


def arithmetic(spec: ForecastSpec) -> str:
    """Return what of this machine decides the numbers a run would give beyond rounding.

    That is precision and batch, both of which may be chosen by device; float32 on a CPU and on a GPU are the same here.

    Raises:
        UserError: a device or precision was demanded that cannot be used.
    """
    choice = choose_device(spec.resources, spec.model.hidden_size)
    chosen = next(report for report in choice.reports if report.chosen)
    precision = choose_precision(chosen, spec.model.hidden_size, spec.resources)
    return _arithmetic(precision, _batch_segments(spec, torch.device(choice.name)))


class RunResources:
    """The machine's side of a run; settles torch's threads, memory and precision when it is made.

    Args:
        spec: the run.
        run_dir: where its checkpoints go.
        evaluation_rows: segments at once where no gradient is needed.
        find: looks for the devices; replaced in tests.

    Attributes:
        choice: what computes and why.
        device: the same for torch.
        batch_segments: per step of the optimiser; small ones would leave a GPU idle.
        precision: of training.
        training: sums up gradients.
        evaluation: sums up losses.
        note: what was done about memory that ran out, or "".

    Raises:
        UserError: a device or precision was demanded that cannot be used.
    """

    def __init__(
        self,
        spec: ForecastSpec,
        run_dir: Path,
        *,
        evaluation_rows: int,
        find: Callable[[], tuple[DeviceReport, ...]] = find_devices,
    ) -> None:
        hidden = spec.model.hidden_size
        self._run_dir, self._share = run_dir, spec.resources.memory_share
        self.choice: DeviceChoice = choose_device(spec.resources, hidden, find)
        self.device = torch.device(self.choice.name)
        self.batch_segments = batch = _batch_segments(spec, self.device)
        chosen = next(report for report in self.choice.reports if report.chosen)
        self.precision = choose_precision(chosen, hidden, spec.resources)
        apply_precision(self.precision, hidden)
        on_cpu = self.device.type == "cpu"
        rows = min(batch, cpu_rows(spec.model.kind, hidden, spec.training.segment_length)) if on_cpu else batch
        self.training = MicroBatcher(rows, self.device, self._tell)
        self.evaluation = MicroBatcher(evaluation_rows, self.device, self._tell)
        self.note = ""
        self._fitted = False
        self._monitor = ResourceMonitor(run_dir, gpu_uuid=self.choice.uuid, torch_memory=memory_reader(self.device))

    @property
    def arithmetic(self) -> str:
        """What of this machine decides the numbers, see the function of this name."""
        return _arithmetic(self.precision, self.batch_segments)

    def fit(self, run: Callable[[int], None], should_stop: Callable[[], bool]) -> None:
        """Search the fastest micro-batch of a large batch on a GPU by trying; on a CPU the measured rule stays.

        Args:
            run: one forward and backward pass with so many segments; changes no weight. Called for the first seed only.
            should_stop: polled between two tries.

        Raises:
            JobStopped: `should_stop` returned true.
            UserError: not even one segment fits into memory.
        """
        if self.device.type != "cuda" or self.batch_segments <= _WHOLE_BATCH or self._fitted:
            return
        self._fitted = True
        free, total = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device)  # what is ours already: a peak counts it too
        found = fit_batch(
            measured_step(run, self.device),
            _WHOLE_BATCH,
            self.batch_segments,
            should_stop,
            budget_bytes=memory_budget(total, free, self._share),
            release=lambda: release_memory(self.device),
        )
        self.training.rows = found.rows

    def require_disk(self, network: nn.Module) -> None:
        """Check that a checkpoint of this network can be saved.

        Raises:
            UserError: the disk has not enough left.
        """
        size = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
        require_disk(self._run_dir, _PARAMETER_COPIES * size)

    def stamp(self, progress: TrainingProgress) -> TrainingProgress:
        """Return the message with what the run takes now."""
        self._monitor.sample()
        sample = self._monitor.latest
        if sample is None:
            return replace(progress, note=self.note)
        gpu = sample.gpu
        return replace(
            progress,
            note=self.note,
            cpu_percent=sample.cpu_percent,
            rss_bytes=sample.rss_bytes,
            gpu_percent=None if gpu is None else gpu.utilisation_percent,
            gpu_memory_bytes=None if gpu is None else gpu.memory_used,
        )

    def close(self) -> None:
        """Let go of the driver."""
        self._monitor.close()

    def _tell(self, message: str) -> None:
        self.note = message


def _batch_segments(spec: ForecastSpec, device: torch.device) -> int:
    return spec.training.batch_segments or _AUTOMATIC_BATCH[device.type]


def _arithmetic(precision: Precision, batch_segments: int) -> str:
    return f"{precision.name}/{batch_segments}"
