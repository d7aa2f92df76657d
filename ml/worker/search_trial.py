"""Trains the trials of a search, one after the other. Runs in a child of the search's own process (imports torch).

Bars are read once; the inputs of each choice of features are computed once and kept. Scores are those of the validation
part: this process never forecasts a bar of the test part.
"""

from __future__ import annotations

import shutil
import traceback
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from core.errors import UserError
from core.jobs import JobStopped, Json, TaskChannel
from ml.api import ForecastSpec, TrainingProgress
from ml.arrays import FloatArray, IntArray
from ml.checkpoint import TrainingState, load_checkpoint
from ml.dataset import ForecastDataset, build_dataset, load_history, require_bars
from ml.feature_spec import FeatureSpec
from ml.judge import PartForecasts, part_forecasts
from ml.lstm_trainer import fingerprint, train_lstm_model
from ml.metrics.quantile import pinball_losses
from ml.recurrent import RecurrentForecaster
from ml.search_results import SeedOutcome
from ml.search_tasks import ENDED, EPOCH, EpochAnswer, TrialReport, TrialTask, TrialWorkerJob, returns_file
from ml.trading_metrics import forecast_strategy_returns, sharpe_per_bar
from ml.trial_ledger import FAILED, FINISHED, PRUNED, TrialRecord
from ml.worker.counting import Beginnings, search_record
from ml.worker.forecast import NetworkForecaster

_KEPT = 8  # datasets
_WAIT_SECONDS = 0.1


def run(spec: Json, channel: TaskChannel) -> Json:
    """Train what the search asks for until it asks to stop.

    Args:
        spec: `TrialWorkerJob` as JSON.
        channel: tasks and answers come in; `TrialReport` as JSON goes out.

    Raises:
        JobStopped: asked to stop.
        UserError: the bars cannot be read.
    """
    torch.set_num_threads(1)
    bench = _Bench(TrialWorkerJob.from_json(spec), channel)
    while not channel.should_stop():
        message = channel.receive(_WAIT_SECONDS)
        if message is not None:
            channel.progress(bench.run(TrialTask.from_json(message)).to_json())
    raise JobStopped


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    outcome: SeedOutcome
    forecasts: PartForecasts


class _Watch:
    """A training's view of the search: says when an epoch is over, and waits to hear whether to go on."""

    def __init__(self, task: TrialTask, channel: TaskChannel, unit: float, begin: Beginnings) -> None:
        self._task, self._channel, self._unit, self._begin = task, channel, unit, begin
        self._epoch = 0
        self.pruned = False

    def on_progress(self, progress: TrainingProgress) -> None:
        """Count a network that begins; report a finished epoch of the first."""
        self._begin(progress.seed_index)
        fresh = progress.seed_index == 0 and progress.epoch > self._epoch and progress.crps is not None
        if not self._task.watched or not fresh or progress.crps is None:
            return
        self._epoch = progress.epoch
        report = TrialReport(EPOCH, self._task.key, epoch=progress.epoch, crps=progress.crps * self._unit)
        self._channel.progress(report.to_json())
        answer = None
        while answer is None and not self._channel.should_stop():
            answer = self._channel.receive(_WAIT_SECONDS)
        self.pruned = answer is not None and EpochAnswer.from_json(answer).prune

    def should_stop(self) -> bool:
        """Return whether the trial was given up or the search stops."""
        return self.pruned or self._channel.should_stop()


class _Bench:
    """Bars, inputs and the yardstick of one search."""

    def __init__(self, job: TrialWorkerJob, channel: TaskChannel) -> None:
        self._job, self._channel, self._run_dir = job, channel, Path(job.run_dir)
        self._history = load_history(job.base.data, Path(job.candles_dir))
        self._judged = np.zeros(len(self._history.frame), np.bool_)
        for start, stop in job.judged:
            self._judged[start:stop] = True
        self._datasets: OrderedDict[FeatureSpec, ForecastDataset] = OrderedDict()
        self._base = self._dataset(job.base)

    def run(self, task: TrialTask) -> TrialReport:
        """Train one configuration and say what came of it.

        Raises:
            JobStopped: the search stops.
        """
        folder = self._run_dir / "trials" / task.key
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
        begun = self._channel.clock()
        try:
            status, seeds = self._train(task, folder)
            message = ""
        except UserError as exc:
            status, seeds, message = FAILED, (), exc.message
        except (MemoryError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as exc:
            # One configuration that does not work must not end the search of a night.
            self._channel.log("ERROR", "".join(traceback.format_exception(exc)))
            status, seeds, message = FAILED, (), f"{type(exc).__name__}: {exc}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return TrialReport(
            ENDED, task.key, status=status, seeds=seeds, seconds=self._channel.clock() - begun, message=message
        )

    def _train(self, task: TrialTask, folder: Path) -> tuple[str, tuple[SeedOutcome, ...]]:
        spec = task.spec.validate()
        data = self._dataset(spec)
        begin = Beginnings(Path(self._job.trials_file), partial(self._record, task))
        watch = _Watch(task, self._channel, self._relative_unit(data), begin)
        try:
            trained = train_lstm_model(
                data,
                spec,
                run_id=task.key,
                run_dir=folder,
                on_progress=watch.on_progress,
                should_stop=watch.should_stop,
                clock=self._channel.clock,
            )
        except JobStopped:
            if not watch.pruned:
                raise
            return PRUNED, (self._measure(data, spec, *_best_so_far(data, spec, folder)).outcome,)
        members = [
            self._measure(data, spec, member, state)
            for member, state in zip(trained.members, trained.states, strict=True)
        ]
        self._keep_returns(task, data, members)
        return FINISHED, tuple(member.outcome for member in members)

    def _record(self, task: TrialTask, index: int, status: str) -> TrialRecord:
        job, seed = self._job, task.spec.training.seed + index
        return search_record(job.run_id, task.key, task.spec, job.data_hash, seed, status)

    def _dataset(self, spec: ForecastSpec) -> ForecastDataset:
        require_bars(self._history.frame, spec)
        data = self._datasets.pop(spec.features, None)
        if data is None:
            data = self._same_rows(build_dataset(self._history, spec))
        self._datasets[spec.features] = data
        while len(self._datasets) > _KEPT:
            self._datasets.popitem(last=False)
        return data

    def _same_rows(self, data: ForecastDataset) -> ForecastDataset:
        """Leave only those targets of the validation part that all trials are judged on, after each epoch, too."""
        return replace(data, has_target=data.has_target & (self._judged | ~data.valid.mask(len(self._judged))))

    def _relative_unit(self, data: ForecastDataset) -> float:
        """Return what a loss in the unit of these features' volatility is in that of the base."""
        rows = data.rows(data.valid)
        return float((data.unit[rows] / self._base.unit[rows]).mean())

    def _measure(
        self, data: ForecastDataset, spec: ForecastSpec, network: RecurrentForecaster, state: TrainingState
    ) -> _Measured:
        """Score one network on the validation part: CRPS as the trainer has it, in the unit of the base.

        Raises:
            UserError: its forecasts are no numbers.
            ValueError: it has not forecast the rows that all are judged on.
        """
        part = part_forecasts(NetworkForecaster(network), data, data.valid, spec.training.burn_in)
        rows, quantiles = part.rows, part.forecasts.quantiles
        if not np.array_equal(rows, np.flatnonzero(self._judged)):
            raise ValueError(f"{len(rows)} of {np.count_nonzero(self._judged)} rows")
        losses = [
            2.0
            * pinball_losses(quantiles[:, column], data.log_return[rows, column], spec.model.quantile_levels).mean(1)
            / self._base.unit[rows, column]
            for column in range(len(data.horizons))
        ]
        crps = float(np.mean(losses))
        if not np.isfinite(crps):
            raise UserError("The network forecasts no numbers.", "Use a lower learning rate.")
        sharpe = sharpe_per_bar(_returns(data, part.rows, part.median))
        return _Measured(SeedOutcome(state.seed, crps, sharpe, len(state.history), state.best_epoch), part)

    def _keep_returns(self, task: TrialTask, data: ForecastDataset, members: list[_Measured]) -> None:
        """Write down what the sign of the mean forecast earned per bar."""
        rows = members[0].forecasts.rows
        median = np.mean([member.forecasts.median for member in members], axis=0)
        file = returns_file(self._run_dir, task.key)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, rows=rows.astype(np.int32), returns=_returns(data, rows, median).astype(np.float32))


def _returns(data: ForecastDataset, rows: IntArray, median: FloatArray) -> FloatArray:
    return forecast_strategy_returns(median, data.held(rows, data.valid).log_return).returns


def _best_so_far(data: ForecastDataset, spec: ForecastSpec, folder: Path) -> tuple[RecurrentForecaster, TrainingState]:
    """Return the network a training had when it was given up, with its best weights."""
    network = RecurrentForecaster(data.inputs.shape[1], spec.model)
    found = load_checkpoint(
        folder, fingerprint(data, spec), spec.training.seed, network, torch.optim.AdamW(network.parameters())
    )
    assert found is not None  # only the first network is ever given up
    state, best = found
    network.load_state_dict(best)
    network.eval()
    network.settle()
    return network, state
