"""The forecast training job: runs in a spawned child under `core.job_supervisor` (imports torch).

Bars come by path, the model goes to disk, only numbers travel over the pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from core.clock import SystemClock
from core.data.frame import CandleFrame
from core.jobs import JobChannel, Json, stop_if_asked
from ml.api import ForecastJob, ForecastMetrics, TrainingProgress, TrainingResult, spec_hash
from ml.arrays import Float32Array
from ml.checkpoint import kept_seconds
from ml.dataset import ForecastDataset, build_dataset
from ml.features import MarketHistory
from ml.inference import Forecasts, OnnxForecaster, RecurrentState
from ml.judge import SeedForecaster, count_trials, judge
from ml.lstm_trainer import TrainedForecaster, train_lstm_model
from ml.model_storage import PackageContent, data_lineage, history_lineage, save_model
from ml.onnx_export import export_onnx
from ml.recurrent import RecurrentForecaster
from ml.trial_ledger import TRAINING, TrialLedger, TrialRecord, trial_record
from ml.worker.counting import counted
from ml.worker.pinned_bars import load_pinned_history
from ml.worker.run_parts import report, run_at_work, run_lineage


def run(spec: Json, channel: JobChannel) -> Json:
    """Train, judge and store a forecaster.

    Args:
        spec: `ml.api.ForecastJob` as JSON.
        channel: progress goes out as `ml.api.TrainingProgress` as JSON.

    Returns:
        `ml.api.TrainingResult` as JSON.

    Raises:
        JobStopped: asked to stop; the checkpoint of the last finished epoch stays.
        UserError: unusable data or settings, a full disk, a run that has ended or that another process is at.
    """
    job = ForecastJob.from_json(spec)
    with run_at_work(job, job.spec, channel, kept_seconds) as seconds:
        return _run(job, channel, seconds)


def _run(job: ForecastJob, channel: JobChannel, seconds: Callable[[], float]) -> Json:
    _phase(job, channel, "loading")
    history = load_pinned_history(job.spec.data, Path(job.candles_dir), Path(job.run_dir), anew=not job.resume)
    _phase(job, channel, "features")
    data = build_dataset(history, job.spec)
    with counted(Path(job.trials_file), partial(_trial, job, history.frame)) as begin:
        _phase(job, channel, "training")
        trained = train_lstm_model(
            data,
            job.spec,
            run_id=job.run_id,
            run_dir=Path(job.run_dir),
            on_progress=lambda progress: report(channel, progress, begin),
            should_stop=channel.should_stop,
            clock=channel.clock,
            resume=job.resume,
        )
        _phase(job, channel, "exporting", trained)
        onnx = export_onnx(trained.network)
        _phase(job, channel, "testing", trained)
        metrics = _judge(data, job, history.frame, trained, onnx, channel)
    channel.log("INFO", metrics.verdict)
    model_id = save_model(Path(job.models_dir), _package(job, history, data, trained, onnx, metrics), SystemClock())
    report(channel, replace(_summary(job, trained, "done"), eta_s=0.0))
    return TrainingResult(
        run_id=job.run_id,
        model_id=model_id,
        symbol=job.spec.data.symbol,
        timeframe=job.spec.data.timeframe,
        epochs_run=len(trained.states[0].history),
        best_epoch=trained.best_epoch,
        stopped_early=trained.stopped_early,
        seconds=trained.seconds,
        targets_per_s=trained.targets_per_s,
        device=trained.device.description,
        history=trained.history,
        metrics=metrics,
        total_s=seconds(),
    ).to_json()


def _phase(job: ForecastJob, channel: JobChannel, name: str, trained: TrainedForecaster | None = None) -> None:
    """Announce a phase, or stop before it."""
    stop_if_asked(channel)
    progress = TrainingProgress(job.run_id, name, epochs=job.spec.training.epochs)
    report(channel, _summary(job, trained, name) if trained else progress)


def _summary(job: ForecastJob, trained: TrainedForecaster, phase: str) -> TrainingProgress:
    last = trained.history[-1]
    return TrainingProgress(
        run_id=job.run_id,
        phase=phase,
        epoch=last.epoch,
        epochs=job.spec.training.epochs,
        train_loss=last.train_loss,
        valid_loss=last.valid_loss,
        best_epoch=trained.best_epoch,
        targets_per_s=trained.targets_per_s,
        device=trained.device.title,
    )


def _trial(job: ForecastJob, frame: CandleFrame, index: int, status: str) -> TrialRecord:
    seed = job.spec.training.seed + index
    return trial_record(TRAINING, job.spec, job.run_id, _hashes(job, frame), seed, status, SystemClock().now_ns())


def _hashes(job: ForecastJob, frame: CandleFrame) -> tuple[str, str]:
    return data_lineage(frame)["sha256"], spec_hash(job.spec)


class NetworkForecaster:
    """The network of one seed, run as the exported one is."""

    def __init__(self, network: RecurrentForecaster) -> None:
        self._network = network

    def initial_state(self) -> RecurrentState:
        """Return the zero state."""
        return tuple(part.numpy() for part in self._network.initial_state(1, torch.device("cpu")))

    def run(self, inputs: Float32Array, state: RecurrentState) -> tuple[Forecasts, RecurrentState]:
        """Forecast contiguous bars."""
        with torch.no_grad():
            raw, after = self._network.raw(torch.from_numpy(inputs[None]), [torch.from_numpy(part) for part in state])
            chances = self._network.head.probabilities(raw)
            quantiles = self._network.head.quantiles(raw)[0].double().numpy()
        forecasts = Forecasts(
            np.maximum.accumulate(quantiles, axis=-1), None if chances is None else chances[0].double().numpy()
        )
        return forecasts, tuple(part.numpy() for part in after)


def _judge(
    data: ForecastDataset,
    job: ForecastJob,
    frame: CandleFrame,
    trained: TrainedForecaster,
    onnx: bytes,
    channel: JobChannel,
) -> ForecastMetrics:
    """Judge the exported network, the very thing that will trade, as it will be run live."""
    seeds = [
        SeedForecaster(state.seed, len(state.history), state.best_epoch, state.best_loss, NetworkForecaster(member))
        for member, state in zip(trained.members, trained.states, strict=True)
    ]
    metrics = judge(
        data,
        job.spec,
        frame,
        OnnxForecaster(onnx),
        seeds,
        check_stop=partial(stop_if_asked, channel),
    )
    return count_trials(
        TrialLedger(Path(job.trials_file)), metrics, job.spec, job.run_id, _hashes(job, frame), SystemClock().now_ns()
    )


def _package(
    job: ForecastJob,
    history: MarketHistory,
    data: ForecastDataset,
    trained: TrainedForecaster,
    onnx: bytes,
    metrics: ForecastMetrics,
) -> PackageContent:
    parts = (("train", data.train), ("valid", data.valid), ("test", data.test))
    seeds = [
        {"seed": state.seed, "epochs": len(state.history), "best_epoch": state.best_epoch} for state in trained.states
    ]
    return PackageContent(
        spec=replace(job.spec, data=job.spec.data.without_folders()),
        feature_names=data.pipeline.names,
        feature_digest=data.pipeline.digest,
        scaling=data.scaling,
        weights=safetensors.torch.save(trained.network.state_dict()),
        onnx=onnx,
        metrics=metrics,
        lineage=run_lineage(
            job,
            job.spec.data,
            history.frame.time_ns,
            history_lineage(history),
            {name: (part, len(data.rows(part))) for name, part in parts},
            seeds,
        ),
    )
