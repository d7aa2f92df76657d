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
from ml.selftest_steps import LabHooks, Steps

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


class Lab(Steps):
    """Learns one series after the other.

    Args:
        job: its settings.
        hooks: to its surroundings.
        prepare / train: the product's own unless a test says otherwise.
    """

    def __init__(
        self, job: SelftestJob, hooks: LabHooks, prepare: Prepare = build_dataset, train: Train = train_lstm_model
    ) -> None:
        super().__init__(job, hooks)
        self._prepare, self._train = prepare, train

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
