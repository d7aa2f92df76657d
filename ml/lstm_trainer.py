"""Trains the LSTM forecaster. Runs in the training child only (imports torch).

Many-to-many on contiguous segments: every bar after the burn-in of a segment is a target, which is some thirty times
faster than one window per target. Each epoch is a pure function of (seed, epoch, state before it), so that resuming
from the checkpoint of a finished epoch gives exactly the uninterrupted run on the same machine.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import UserError
from core.jobs import JobStopped
from ml.api import EpochRecord, ForecastSpec, TrainingProgress
from ml.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from ml.dataset import ForecastDataset, Part, Segments, make_segments
from ml.gpu_utils import DeviceChoice, choose_device
from ml.lstm_model import LstmForecaster, one_cycle, pinball_loss

_CLIP_NORM = 1.0
_PROGRESS_SECONDS = 0.25
_EVALUATION_LENGTH = 512
_EVALUATION_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class TrainedForecaster:
    """The result of `train_lstm_model`.

    Attributes:
        network: with the best weights, in evaluation mode, on the CPU.
        history: one record per epoch.
        best_epoch: whose weights these are.
        stopped_early: whether patience ended the run.
        seconds / targets_per_s: of training alone, in this process.
        device: what computed.
    """

    network: LstmForecaster
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_early: bool
    seconds: float
    targets_per_s: float
    device: DeviceChoice


@dataclass(frozen=True, slots=True, eq=False)
class _Tensors:
    inputs: Tensor
    target: Tensor
    levels: Tensor
    device: torch.device


def train_lstm_model(
    data: ForecastDataset,
    spec: ForecastSpec,
    *,
    run_id: str,
    run_dir: Path,
    on_progress: Callable[[TrainingProgress], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    resume: bool = False,
) -> TrainedForecaster:
    """Fit the network with early stopping on the validation part.

    Args:
        data: from `build_dataset`.
        spec: the run.
        run_id: put into every progress message.
        run_dir: where checkpoints go.
        on_progress: called at most a few times per second and after each epoch.
        should_stop: polled before every batch; may wait.
        clock: seconds without such waits, for throughput and time left.
        resume: continue from the checkpoint in `run_dir`.

    Raises:
        JobStopped: `should_stop` returned true; the checkpoint of the last finished epoch stays.
        UserError: the loss diverged, the GPU cannot be used, or the checkpoint does not fit.
    """
    return _Trainer(data, spec, run_id, run_dir, on_progress, should_stop, clock).run(resume)


class _Trainer:
    """One run: owns network, optimiser and bookkeeping."""

    def __init__(
        self,
        data: ForecastDataset,
        spec: ForecastSpec,
        run_id: str,
        run_dir: Path,
        on_progress: Callable[[TrainingProgress], None],
        should_stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._data, self._spec, self._run_dir = data, spec, run_dir
        self._on_progress, self._should_stop, self._clock = on_progress, should_stop, clock
        self._choice = choose_device(spec.resources, spec.model.hidden_size)
        device = torch.device(self._choice.name)
        torch.manual_seed(spec.training.seed)
        self._network = LstmForecaster(data.inputs.shape[1], spec.model)
        train_targets = data.target[data.rows(data.train)].astype(np.float64)
        self._network.start_from(np.quantile(train_targets, spec.model.quantile_levels))
        self._network.to(device)
        self._optimizer = _optimizer(self._network, spec)
        self._tensors = _Tensors(
            torch.from_numpy(data.inputs).to(device),
            torch.from_numpy(data.target).to(device),
            torch.tensor(spec.model.quantile_levels, device=device),
            device,
        )
        self._validation = evaluation_segments(data, data.valid, spec)
        self._state = TrainingState(fingerprint(data, spec), (), 0, float("inf"))
        self._best = _copy(self._network)
        self._progress = TrainingProgress(run_id, "training", epochs=spec.training.epochs, device=self._choice.title)
        self._shown_at = 0.0
        self._seen, self._spent = 0.0, 0.0

    def run(self, resume: bool) -> TrainedForecaster:
        """Train to the end."""
        spec = self._spec.training
        if resume:
            self._state, self._best = load_checkpoint(
                self._run_dir, self._state.fingerprint, self._network, self._optimizer
            )
        else:
            loss = self._validation_loss()
            self._state = replace(self._state, best_loss=loss)
            save_checkpoint(self._run_dir, self._state, self._network, self._best, self._optimizer)
        stopped_early = self._out_of_patience()
        while len(self._state.history) < spec.epochs and not stopped_early:
            self._epoch(len(self._state.history) + 1)
            stopped_early = self._out_of_patience()
        self._network.load_state_dict(self._best)
        return TrainedForecaster(
            network=self._network.cpu().eval(),
            history=self._state.history,
            best_epoch=self._state.best_epoch,
            stopped_early=stopped_early and len(self._state.history) < spec.epochs,
            seconds=self._spent,
            targets_per_s=self._seen / self._spent if self._spent else 0.0,
            device=self._choice,
        )

    def _out_of_patience(self) -> bool:
        return len(self._state.history) - self._state.best_epoch >= self._spec.training.patience

    def _epoch(self, epoch: int) -> None:
        spec = self._spec.training
        started = self._clock()
        rng = np.random.default_rng((spec.seed, epoch))
        torch.manual_seed(int(rng.integers(2**62)))  # dropout
        offset = int(rng.integers(spec.segment_length - spec.burn_in))
        segments = make_segments(
            self._data, self._data.train, length=spec.segment_length, burn_in=spec.burn_in, offset=offset
        )
        order = rng.permutation(len(segments.rows))
        batches = [order[i : i + spec.batch_segments] for i in range(0, len(order), spec.batch_segments)]
        train_loss, seen = self._fit(epoch, segments, batches, started)
        valid_loss = self._validation_loss()
        self._spent += self._clock() - started
        self._seen += seen
        self._finish_epoch(EpochRecord(epoch, train_loss, valid_loss, self._clock() - started))

    def _fit(
        self, epoch: int, segments: Segments, batches: list[np.ndarray[tuple[int], np.dtype[np.int64]]], started: float
    ) -> tuple[float, float]:
        """Run the batches of one epoch; return the mean loss and the number of targets."""
        spec = self._spec.training
        self._network.train()
        total = torch.zeros((), device=self._tensors.device)
        seen = 0.0
        for number, batch in enumerate(batches):
            if self._should_stop():
                raise JobStopped
            rate = one_cycle((epoch - 1 + number / len(batches)) / spec.epochs, spec.learning_rate)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            counted = float(segments.weight[batch].sum())
            loss = self._loss(segments, batch)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub lacks the types
            nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP_NORM)
            self._optimizer.step()
            total += loss.detach() * counted
            seen += counted
            self._show(epoch, (number + 1) / len(batches), rate, seen, started)
        mean = float(total) / seen
        if not np.isfinite(mean):
            raise UserError(f"The loss diverged in epoch {epoch}.", "Use a lower learning rate.")
        return mean, seen

    def _loss(self, segments: Segments, batch: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
        tensors = self._tensors
        rows = torch.from_numpy(segments.rows[batch]).to(tensors.device)
        weight = torch.from_numpy(segments.weight[batch]).to(tensors.device)
        quantiles, _, _ = self._network(tensors.inputs[rows], *self._network.initial_state(len(batch), tensors.device))
        return pinball_loss(quantiles, tensors.target[rows], weight, tensors.levels)

    def _validation_loss(self) -> float:
        self._network.eval()
        total, seen = 0.0, 0.0
        with torch.no_grad():
            for start in range(0, len(self._validation.rows), _EVALUATION_BATCH):
                if self._should_stop():
                    raise JobStopped
                batch = np.arange(start, min(start + _EVALUATION_BATCH, len(self._validation.rows)))
                counted = float(self._validation.weight[batch].sum())
                total += float(self._loss(self._validation, batch)) * counted
                seen += counted
        return total / seen

    def _finish_epoch(self, record: EpochRecord) -> None:
        state = replace(self._state, history=(*self._state.history, record))
        if record.valid_loss < state.best_loss:
            state = replace(state, best_loss=record.valid_loss, best_epoch=record.epoch)
            self._best = _copy(self._network)
        self._state = state
        save_checkpoint(self._run_dir, state, self._network, self._best, self._optimizer)
        self._progress = replace(
            self._progress,
            epoch=record.epoch,
            train_loss=record.train_loss,
            valid_loss=record.valid_loss,
            best_epoch=state.best_epoch,
            targets_per_s=self._seen / max(self._spent, 1e-9),
            eta_s=(self._spec.training.epochs - record.epoch) * record.seconds,
        )
        self._on_progress(self._progress)

    def _show(self, epoch: int, share: float, rate: float, seen: float, started: float) -> None:
        """Report within an epoch, not too often."""
        now = self._clock()
        if now - self._shown_at < _PROGRESS_SECONDS:
            return
        self._shown_at = now
        took = now - started
        left = took / share * (1.0 - share + self._spec.training.epochs - epoch)
        self._progress = replace(self._progress, learning_rate=rate, targets_per_s=seen / max(took, 1e-9), eta_s=left)
        self._on_progress(self._progress)


def evaluation_segments(data: ForecastDataset, part: Part, spec: ForecastSpec) -> Segments:
    """Return long segments over a part, each led in by a generous burn-in."""
    burn_in = max(spec.training.burn_in, 1) * 2
    length = max(_EVALUATION_LENGTH, 4 * burn_in)
    return make_segments(data, part, length=length, burn_in=burn_in, lead_in=True)


def fingerprint(data: ForecastDataset, spec: ForecastSpec) -> str:
    """Return a hash of everything that determines a run apart from device and threads."""
    digest = hashlib.sha256(json.dumps(replace(spec, resources=type(spec.resources)()).to_json()).encode())
    for array in (data.inputs, data.target, data.has_target):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _optimizer(network: nn.Module, spec: ForecastSpec) -> torch.optim.Optimizer:
    """AdamW in its fused form; only matrices decay."""
    matrices = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": spec.training.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=spec.training.learning_rate,
        fused=True,
    )


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
