"""Trains LSTM and GRU forecasters. Runs in the training child only (imports torch).

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
from ml.arrays import IntArray
from ml.checkpoint import TrainingState, load_checkpoint, load_member, save_checkpoint, save_member
from ml.dataset import ForecastDataset, Part, Segments, evaluation_lead_in, make_segments
from ml.gpu_utils import DeviceChoice, Precision
from ml.recurrent import EnsembleForecaster, RecurrentForecaster, learning_rate, mean_pinball, weighted_mean
from ml.run_resources import RunResources

_PROGRESS_SECONDS = 0.25
_EVALUATION_LENGTH = 512
_EVALUATION_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class TrainedForecaster:
    """The result of `train_lstm_model`.

    Attributes:
        network: all seeds as one, each with its best weights, in evaluation mode, on the CPU.
        states: how the training of each seed went.
        stopped_early: whether patience ended the first seed's training.
        device / precision: what computed, and how.
    """

    network: EnsembleForecaster
    states: tuple[TrainingState, ...]
    stopped_early: bool
    device: DeviceChoice
    precision: Precision

    @property
    def members(self) -> tuple[RecurrentForecaster, ...]:
        """The networks, one per seed."""
        return tuple(member for member in self.network.members if isinstance(member, RecurrentForecaster))

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """All epochs of all seeds."""
        return tuple(record for state in self.states for record in state.history)

    @property
    def best_epoch(self) -> int:
        """Whose weights the first seed has."""
        return self.states[0].best_epoch

    @property
    def seconds(self) -> float:
        """Spent on training."""
        return sum(state.seconds for state in self.states)

    @property
    def targets_per_s(self) -> float:
        """Training throughput."""
        return sum(state.targets for state in self.states) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class RunHooks:
    """How a run speaks to its surroundings.

    Attributes:
        on_progress: called before a seed learns anything (its checkpoint is there by then), at most a few times per
            second, and after each epoch.
        should_stop: polled before every batch; may wait inside while the run is paused.
        clock: seconds without such waits, for throughput and time left.
    """

    on_progress: Callable[[TrainingProgress], None]
    should_stop: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, eq=False)
class _Tensors:
    inputs: Tensor
    target: Tensor
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
    """Fit one network per seed, each with early stopping on the validation part.

    Args:
        data: from `build_dataset`.
        spec: the run.
        run_id: put into every progress message.
        run_dir: where checkpoints go.
        on_progress / should_stop / clock: see `RunHooks`.
        resume: continue from the checkpoint in `run_dir`.

    Raises:
        JobStopped: `should_stop` returned true; finished seeds and the last finished epoch stay.
        UserError: the loss diverged, the GPU cannot be used, or the checkpoint does not fit.
    """
    machine = RunResources(spec, run_dir, evaluation_rows=_EVALUATION_BATCH)
    identity = fingerprint(data, spec)
    hooks = RunHooks(on_progress, should_stop, clock)
    progress = TrainingProgress(
        run_id, "training", epochs=spec.training.epochs, device=machine.choice.title, seeds=spec.evaluation.seeds
    )
    members, states = [], []
    try:
        for index in range(spec.evaluation.seeds):
            seed = spec.training.seed + index
            own = replace(progress, seed_index=index)
            member, state = _Trainer(data, spec, seed, machine, run_dir, identity, hooks, own).run(resume)
            members.append(member)
            states.append(state)
    finally:
        machine.close()
    return TrainedForecaster(
        network=EnsembleForecaster(members).eval(),
        states=tuple(states),
        stopped_early=len(states[0].history) < spec.training.epochs,
        device=machine.choice,
        precision=machine.precision,
    )


class _Trainer:
    """One seed: owns network, optimiser and bookkeeping."""

    def __init__(
        self,
        data: ForecastDataset,
        spec: ForecastSpec,
        seed: int,
        machine: RunResources,
        run_dir: Path,
        identity: str,
        hooks: RunHooks,
        progress: TrainingProgress,
    ) -> None:
        self._data, self._spec, self._run_dir = data, spec, run_dir
        self._hooks, self._progress, self._machine = hooks, progress, machine
        device = machine.device
        torch.manual_seed(seed)
        self._network = RecurrentForecaster(data.inputs.shape[1], spec.model)
        self._network.start_from(data.target[data.rows(data.train)].astype(np.float64))
        self._network.to(device)
        self._network.flatten()
        self._optimizer = _optimizer(self._network, spec)
        self._tensors = _Tensors(
            torch.from_numpy(data.inputs).to(device), torch.from_numpy(data.target).to(device), device
        )
        self._validation = evaluation_segments(data, data.valid, spec)
        self._state = TrainingState(identity, seed, (), 0, float("inf"), arithmetic=machine.arithmetic)
        self._best = _copy(self._network)
        self._shown_at = 0.0

    def run(self, resume: bool) -> tuple[RecurrentForecaster, TrainingState]:
        """Train to the end; return the network with its best weights, on the CPU, and how it went."""
        spec = self._spec.training
        if resume and (done := load_member(self._run_dir, self._state.fingerprint, self._state.seed)) is not None:
            self._go_on_from(*done)
            return self._finished()
        found = None
        if resume:
            found = load_checkpoint(
                self._run_dir, self._state.fingerprint, self._state.seed, self._network, self._optimizer
            )
        if found is not None:
            self._go_on_from(*found)
        else:
            loss, _ = self._validation_loss()
            self._state = replace(self._state, best_loss=loss)
            self._save()
        self._tell()
        self._machine.fit(self._try_out, self._hooks.should_stop)
        while len(self._state.history) < spec.epochs and not self._out_of_patience():
            self._epoch(len(self._state.history) + 1)
        save_member(self._run_dir, self._state, self._best)
        return self._finished()

    def _go_on_from(self, state: TrainingState, best: dict[str, Tensor]) -> None:
        if state.arithmetic != self._state.arithmetic:
            raise UserError(
                "The checkpoint was made in another precision or batch size than this machine would use.",
                "Choose the same device and precision, or start the training anew.",
            )
        self._state, self._best = state, best

    def _try_out(self, rows: int) -> None:
        """Compute the gradient of so many segments for nothing."""
        spec = self._spec.training
        segments = make_segments(self._data, self._data.train, length=spec.segment_length, burn_in=spec.burn_in)
        self._network.train()
        self._loss(segments, np.arange(rows) % len(segments.rows)).backward()  # type: ignore[no-untyped-call]
        self._optimizer.zero_grad()

    def _save(self) -> None:
        self._machine.require_disk(self._network)
        save_checkpoint(self._run_dir, self._state, self._network, self._best, self._optimizer)

    def _finished(self) -> tuple[RecurrentForecaster, TrainingState]:
        self._network.load_state_dict(self._best)
        network = self._network.cpu().eval()
        network.settle()
        return network, self._state

    def _out_of_patience(self) -> bool:
        return len(self._state.history) - self._state.best_epoch >= self._spec.training.patience

    def _epoch(self, epoch: int) -> None:
        spec = self._spec.training
        started = self._hooks.clock()
        rng = np.random.default_rng((self._state.seed, epoch))
        torch.manual_seed(int(rng.integers(2**62)))  # dropout
        offset = int(rng.integers(spec.segment_length - spec.burn_in))
        segments = make_segments(
            self._data, self._data.train, length=spec.segment_length, burn_in=spec.burn_in, offset=offset
        )
        order = rng.permutation(len(segments.rows))
        size = self._machine.batch_segments
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        train_loss, seen = self._fit(epoch, segments, batches, started)
        fitted = self._hooks.clock() - started
        valid_loss, crps = self._validation_loss()
        record = EpochRecord(
            epoch,
            train_loss,
            valid_loss,
            seconds=self._hooks.clock() - started,
            learning_rate=self._progress.learning_rate,
            crps=crps,
            targets_per_s=seen / max(fitted, 1e-9),
            seed=self._state.seed,
        )
        self._finish_epoch(record, seen)

    def _fit(self, epoch: int, segments: Segments, batches: list[IntArray], started: float) -> tuple[float, float]:
        """Run the batches of one epoch; return the mean loss and the number of targets."""
        spec = self._spec.training
        self._network.train()
        total = torch.zeros((), device=self._tensors.device)
        seen = 0.0
        for number, batch in enumerate(batches):
            if self._hooks.should_stop():
                raise JobStopped
            rate = learning_rate(spec.schedule, (epoch - 1 + number / len(batches)) / spec.epochs, spec.learning_rate)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            counted = segments.weight[batch].sum(axis=1, dtype=np.float64)
            loss = self._machine.training.backward(
                batch, counted, lambda part: self._loss(segments, part), self._optimizer.zero_grad
            )
            nn.utils.clip_grad_norm_(self._network.parameters(), spec.clip_norm)
            self._optimizer.step()
            total += loss * float(counted.sum())
            seen += float(counted.sum())
            self._show(epoch, (number + 1) / len(batches), rate, seen, started)
        mean = float(total) / seen
        if not np.isfinite(mean):
            raise UserError(f"The loss diverged in epoch {epoch}.", "Use a lower learning rate.")
        return mean, seen

    def _loss(self, segments: Segments, batch: IntArray) -> Tensor:
        with self._machine.precision.autocast(self._tensors.device):
            raw, target, weight = self._forward(segments, batch)
        return weighted_mean(self._network.head.loss(raw.float(), target), weight)

    def _forward(self, segments: Segments, batch: IntArray) -> tuple[Tensor, Tensor, Tensor]:
        tensors = self._tensors
        rows = torch.from_numpy(segments.rows[batch]).to(tensors.device)
        weight = torch.from_numpy(segments.weight[batch]).to(tensors.device)
        raw, _ = self._network.raw(tensors.inputs[rows], self._network.initial_state(len(batch), tensors.device))
        return raw, tensors.target[rows], weight

    def _validation_loss(self) -> tuple[float, float]:
        """Return the loss and the CRPS over the validation part, both means over horizons.

        CRPS is twice the mean pinball loss over the quantile levels: the same scale for every head.
        """
        self._network.eval()
        self._network.settle()
        head, segments = self._network.head, self._validation

        def losses(part: IntArray) -> Tensor:
            raw, target, weight = self._forward(segments, part)
            crps = 2.0 * mean_pinball(head.quantiles(raw), target, weight, head.levels)
            return torch.stack([weighted_mean(head.loss(raw, target), weight), crps])

        sums, seen = np.zeros(2), 0.0
        for start in range(0, len(segments.rows), _EVALUATION_BATCH):
            if self._hooks.should_stop():
                raise JobStopped
            batch = np.arange(start, min(start + _EVALUATION_BATCH, len(segments.rows)))
            counted = segments.weight[batch].sum(axis=1, dtype=np.float64)
            sums += self._machine.evaluation.forward(batch, counted, losses)
            seen += float(counted.sum())
        loss, crps = (sums / seen).tolist()
        return loss, crps

    def _finish_epoch(self, record: EpochRecord, seen: float) -> None:
        state = replace(
            self._state,
            history=(*self._state.history, record),
            seconds=self._state.seconds + record.seconds,
            targets=self._state.targets + seen,
        )
        if record.valid_loss < state.best_loss:
            state = replace(state, best_loss=record.valid_loss, best_epoch=record.epoch)
            self._best = _copy(self._network)
        self._state = state
        self._save()
        self._progress = replace(
            self._progress,
            epoch=record.epoch,
            train_loss=record.train_loss,
            valid_loss=record.valid_loss,
            crps=record.crps,
            best_epoch=state.best_epoch,
            targets_per_s=record.targets_per_s,
            eta_s=self._seconds_left(record.epoch, record.seconds),
        )
        self._tell()

    def _seconds_left(self, epochs_done: float, seconds_per_epoch: float) -> float:
        """Return the time to the end if every epoch of every seed is used."""
        seeds_left = self._progress.seeds - self._progress.seed_index - 1
        return seconds_per_epoch * (self._spec.training.epochs * (1 + seeds_left) - epochs_done)

    def _show(self, epoch: int, share: float, rate: float, seen: float, started: float) -> None:
        """Report within an epoch, not too often."""
        now = self._hooks.clock()
        self._progress = replace(self._progress, learning_rate=rate)
        if now - self._shown_at < _PROGRESS_SECONDS:
            return
        self._shown_at = now
        took = now - started
        left = self._seconds_left(epoch - 1 + share, took / share)
        self._progress = replace(self._progress, targets_per_s=seen / max(took, 1e-9), eta_s=left)
        self._tell()

    def _tell(self) -> None:
        self._hooks.on_progress(self._machine.stamp(self._progress))


def evaluation_segments(data: ForecastDataset, part: Part, spec: ForecastSpec) -> Segments:
    """Return long segments over a part, each led in by a generous burn-in."""
    burn_in = evaluation_lead_in(spec.training.burn_in)
    length = max(_EVALUATION_LENGTH, 4 * burn_in)
    return make_segments(data, part, length=length, burn_in=burn_in, lead_in=True)


def fingerprint(data: ForecastDataset, spec: ForecastSpec) -> str:
    """Return a hash of what determines a run apart from the machine, for which `ml.run_resources.arithmetic` stands."""
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
