"""Where the self-test learns: the product's own way from bars to judged forecasts. Training child only (torch).

Nothing here knows an optimum. What prepares and what trains is handed in, so that tests can put something broken there
and see the self-test fail.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from core.jobs import JobStopped
from ml.api import (
    DataRange,
    EvaluationSpec,
    ForecastMetrics,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    TrainingProgress,
    TrainingSpec,
)
from ml.arrays import FloatArray, IntArray
from ml.dataset import ForecastDataset, build_dataset
from ml.feature_sources import MarketHistory
from ml.inference import OnnxForecaster
from ml.judge import PartForecasts, judge, part_forecasts
from ml.lstm_trainer import TrainedForecaster, train_lstm_model
from ml.onnx_export import export_onnx
from ml.selftest import SelftestJob

_TRAINED, _EXPORTED = 0.6, 0.9  # shares of the time of one run


class Prepare(Protocol):
    """What makes a dataset, as `ml.dataset.build_dataset` does."""

    def __call__(self, bars: MarketHistory, spec: ForecastSpec, /) -> ForecastDataset:
        """Return features and targets."""
        ...


class Train(Protocol):
    """What fits networks, as `ml.lstm_trainer.train_lstm_model` does."""

    def __call__(
        self,
        data: ForecastDataset,
        spec: ForecastSpec,
        /,
        *,
        run_id: str,
        run_dir: Path,
        on_progress: Callable[[TrainingProgress], None],
        should_stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> TrainedForecaster:
        """Return the fitted networks."""
        ...


@dataclass(frozen=True, slots=True)
class LabHooks:
    """How the laboratory speaks to its surroundings.

    Attributes:
        on_step: gets what is done and the share of the task that is through.
        should_stop: polled often; may wait inside while the run is paused.
        clock: seconds without such waits.
    """

    on_step: Callable[[str, float], None]
    should_stop: Callable[[], bool]
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A judged forecaster.

    Attributes:
        data: it learnt from.
        network: as exported.
        test: its forecasts of the test part.
        metrics: the judgement.
    """

    data: ForecastDataset
    network: OnnxForecaster
    test: PartForecasts
    metrics: ForecastMetrics

    @property
    def rows(self) -> IntArray:
        """The bars that were forecast from, shape (n,)."""
        return self.test.rows

    @property
    def outcome(self) -> FloatArray:
        """The returns that came, shape (n,)."""
        return self.data.held(self.test.rows, self.data.test).log_return

    @property
    def median(self) -> FloatArray:
        """The point forecast, shape (n,)."""
        return self.test.median


class Lab:
    """Learns one series after the other.

    Args:
        job: its settings.
        hooks: to its surroundings.
        prepare / train: the product's own unless a test says otherwise.
    """

    def __init__(
        self, job: SelftestJob, hooks: LabHooks, prepare: Prepare = build_dataset, train: Train = train_lstm_model
    ) -> None:
        self.job = job
        self._hooks, self._prepare, self._train = hooks, prepare, train
        self._steps, self._step = 1, 0

    def expect(self, steps: int) -> None:
        """Announce how many series the coming task learns."""
        self._steps, self._step = steps, 0

    def seed(self, number: int) -> int:
        """Return a seed of a series of its own for each number below 1,000."""
        return self.job.seed * 1_000 + number

    def spec(
        self,
        *,
        networks: int,
        model: ModelSpec | None = None,
        training: TrainingSpec | None = None,
        data: DataRange | None = None,
    ) -> ForecastSpec:
        """Return the product's default settings with what a task asks for; costs nothing that says nothing here."""
        return ForecastSpec(
            data=data or DataRange(symbol="TEST/USDT"),
            model=replace(model or ModelSpec(), kind=self.job.kind),
            training=replace(training or TrainingSpec(), seed=self.job.seed),
            evaluation=EvaluationSpec(seeds=networks, boosting=False, permutation_repeats=0),
            resources=ResourceSpec(device=self.job.device, threads=self.job.threads),
        )

    def learn(
        self, name: str, history: MarketHistory, spec: ForecastSpec, shuffled: np.random.Generator | None = None
    ) -> Learned:
        """Go the whole way from bars to a judged forecaster.

        Args:
            name: of the series, for the progress.
            history / spec: of the run.
            shuffled: permutes the outcomes among the bars before anything is learnt.

        Raises:
            JobStopped: asked to stop.
        """
        spec.validate()
        self._tell(name, 0.0)
        data = self._prepare(history, spec)
        if shuffled is not None:
            data = shuffle_outcomes(data, shuffled)
        with tempfile.TemporaryDirectory(dir=self.job.work_dir) as folder:
            trained = self._train(
                data,
                spec,
                run_id=name,
                run_dir=Path(folder),
                on_progress=lambda progress: self._tell(name, _TRAINED * _share(progress)),
                should_stop=self._hooks.should_stop,
                clock=self._hooks.clock,
            )
        self._tell(f"{name}: export", _TRAINED)
        network = OnnxForecaster(export_onnx(trained.network))
        self._tell(f"{name}: test", _EXPORTED)
        metrics = judge(data, spec, history.frame, network, [], check_stop=self.check_stop)
        self._step += 1
        return Learned(data, network, part_forecasts(network, data, data.test, spec.training.burn_in), metrics)

    def check_stop(self) -> None:
        """Raise `JobStopped` where the run shall stop."""
        if self._hooks.should_stop():
            raise JobStopped

    def _tell(self, what: str, share: float) -> None:
        self.check_stop()
        self._hooks.on_step(what, (self._step + share) / self._steps)


def shuffle_outcomes(data: ForecastDataset, rng: np.random.Generator) -> ForecastDataset:
    """Return the dataset with the outcomes permuted among its bars: nothing any more depends on the features."""
    rows = np.flatnonzero(data.has_target)
    log_return, moves = data.log_return.copy(), np.diff(data.log_close)
    source = rng.permutation(rows)
    log_return[rows], moves[rows] = data.log_return[source], moves[source]
    log_close = data.log_close[0] + np.concatenate([[0.0], np.cumsum(moves)])
    return replace(data, log_return=log_return, log_close=log_close, target=(log_return / data.unit).astype(np.float32))


def _share(progress: TrainingProgress) -> float:
    """Return how much of the training of all seeds is through at most."""
    return (progress.seed_index + progress.epoch / max(1, progress.epochs)) / max(1, progress.seeds)
