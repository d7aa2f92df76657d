"""Speed of features, training and inference. Qt-free and torch-free; training runs in its child process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.benchmarks.data_bench import minutes_of_prices
from app.benchmarks.figures import Measurement, Peer
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.data_origin import DataOrigin
from core.job_supervisor import JobSupervisor
from core.jobs import JobFailed, JobFinished
from ml.api import (
    TRAIN_FORECAST_JOB,
    DataRange,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    TrainingResult,
    TrainingSpec,
    forecast_job,
    new_run_id,
)

_FEATURE_BARS = 1_000_000
_FEATURE_RUNS = 3
_TRAIN_BARS = 60_000
_LIVE_BARS = 8_000
_STEPS = 2_000
_EPOCHS = 8
_PEER_SECONDS = 4.0
_ENSEMBLE = 5
_GPU_BARS = 1_000_000
_GPU_EPOCHS = 8
_GPU_SEGMENTS = 256
_HIDDEN, _SEGMENT, _BURN_IN = 64, 512, 64
# With the last return, volatility and its ratio to the longer one these are 16 inputs.
_SIXTEEN = FeatureSpec("price", horizons=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96))
_DATA = DataRange(venue="bench", symbol="BTC/USDT", timeframe="1m")
_ORIGIN = DataOrigin("bench")
_THROUGHPUT_JOB = "app.benchmarks.training_job:throughput"
_GPU_JOB = "app.benchmarks.training_job:on_gpu"
_GPU_FIGURES = ("forecast.gpu_targets_per_s", "forecast.gpu_cudnn_share", "forecast.gpu_memory_mb")


def run_features(folder: Path) -> dict[str, Measurement]:
    """Measure the technical set over a million bars; the fastest of three, the others waited for something."""
    from ml.features import FeaturePipeline

    frame = minutes_of_prices(_FEATURE_BARS)
    pipeline = FeaturePipeline(FeatureSpec("technical"))
    runs = [_seconds(lambda: pipeline.compute(frame)) for _ in range(_FEATURE_RUNS)]
    return {"features.1m_bars_s": Measurement(min(runs))}


def run_training(folder: Path) -> dict[str, Measurement]:
    """Measure training beside the window loader, and single steps of the networks that come out."""
    bars = minutes_of_prices(_TRAIN_BARS)
    CandleStore(folder / "candles").write(_ORIGIN, bars, "import")
    spec = sixteen_to_64()
    job = {"spec": spec.to_json(), "folder": str(folder), "peer_s": _PEER_SECONDS, "ensemble": _ENSEMBLE}
    result = run_job(_THROUGHPUT_JOB, job, threads=1)
    ours, peers = result["ours"], result["peers"]
    by_cpu = tuple(Peer(name, row["cpu_per_s"]) for name, row in peers.items())
    by_clock = tuple(Peer(name, row["wall_per_s"]) for name, row in peers.items())
    return {
        "forecast.train_targets_per_s": Measurement(ours["cpu_per_s"], by_cpu),
        "forecast.train_ratio": Measurement(ours["cpu_per_s"] / max(peer.value for peer in by_cpu)),
        "forecast.train_wall_targets_per_s": Measurement(ours["wall_per_s"], by_clock),
        "forecast.inference_us_p50": Measurement(network_step_us(Path(result["networks"]["single"]))),
        "forecast.inference_ensemble_us_p50": Measurement(network_step_us(Path(result["networks"]["ensemble"]))),
    }


def run_live(folder: Path) -> dict[str, Measurement]:
    """Measure what a bar costs in live use, from its arrival to the forecast, with a model of the default settings."""
    from ml.inference import load_predictor

    bars = minutes_of_prices(_LIVE_BARS + _STEPS)
    CandleStore(folder / "candles").write(_ORIGIN, bars.slice(0, _LIVE_BARS), "import")
    spec = ForecastSpec(
        data=_DATA,
        training=TrainingSpec(epochs=1),
        evaluation=EvaluationSpec(boosting=False, permutation_repeats=0),
        resources=ResourceSpec(device="cpu", threads=1),
    )
    run_id, models = new_run_id(), folder / "models"
    job = forecast_job(spec, run_id=run_id, candles_dir=folder / "candles", models_dir=models, runs_dir=folder / "runs")
    model_id = TrainingResult.from_json(run_job(TRAIN_FORECAST_JOB, job, threads=1)).model_id
    candles = bars.to_candles("import")
    predictor = load_predictor(models, model_id)
    predictor.warm_up(candles[_LIVE_BARS - 500 : _LIVE_BARS])
    taken = [_seconds(partial(predictor.update, candle)) for candle in candles[_LIVE_BARS:]]
    return {"forecast.update_us_p50": Measurement(statistics.median(taken) * 1e6)}


def run_gpu(folder: Path) -> dict[str, Measurement]:
    """Measure training on a GPU, where there is one, beside the bare recurrent layer."""
    spec = replace(sixteen_to_64(), resources=ResourceSpec(device="cuda"))
    training = replace(spec.training, epochs=_GPU_EPOCHS, patience=_GPU_EPOCHS, batch_segments=_GPU_SEGMENTS)
    return measure_gpu(folder, replace(spec, training=training), minutes_of_prices(_GPU_BARS))


def measure_gpu(folder: Path, spec: ForecastSpec, bars: CandleFrame) -> dict[str, Measurement]:
    """Train as `spec` says on `bars`; the figures say why where its device cannot be used."""
    CandleStore(folder / "candles").write(_ORIGIN, bars, "import")
    result = run_job(_GPU_JOB, {"spec": spec.to_json(), "folder": str(folder)}, threads=0)
    if result["skipped"]:
        return dict.fromkeys(_GPU_FIGURES, Measurement(skipped=result["skipped"]))
    rate, bare, peak = result["targets_per_s"], result["bare_per_s"], result["peak_mb"]
    no_peak = "" if peak is not None else f"torch does not count the memory of {result['device']}"
    values = (
        Measurement(rate, (Peer("bare cuDNN layer, forward and backward", bare),)),
        Measurement(rate / bare),
        Measurement(peak, skipped=no_peak),
    )
    return dict(zip(_GPU_FIGURES, values, strict=True))


def sixteen_to_64() -> ForecastSpec:
    """Return the run behind the training figures: an LSTM of 64 units on 16 inputs, long segments, one thread.

    Without dropout, as the peer has none; the five quantiles stay.
    """
    return ForecastSpec(
        data=_DATA,
        features=_SIXTEEN,
        model=ModelSpec(hidden_size=_HIDDEN, dropout=0.0),
        training=TrainingSpec(epochs=_EPOCHS, patience=_EPOCHS, segment_length=_SEGMENT, burn_in=_BURN_IN),
        evaluation=EvaluationSpec(seeds=1),
        resources=ResourceSpec(device="cpu", threads=1),
    )


def network_step_us(file: Path) -> float:
    """Return the median time of one step with carried state of an exported network, microseconds."""
    from ml.inference import OnnxForecaster

    forecaster = OnnxForecaster(file.read_bytes())
    rows = np.random.default_rng(1).normal(size=(_STEPS, 1, forecaster.features)).astype(np.float32)
    state = forecaster.initial_state()
    taken = []
    for row in rows:
        began = time.perf_counter()
        _, state = forecaster.run(row, state)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def run_job(target: str, job: dict[str, Any], *, threads: int) -> dict[str, Any]:
    """Run a job in its child and return its result.

    Raises:
        RuntimeError: it failed.
    """
    with JobSupervisor() as supervisor:
        supervisor.start(new_run_id(), target, job, threads=threads)
        while True:
            for event in supervisor.poll(0.2):
                if isinstance(event, JobFinished):
                    return dict(event.result)
                if isinstance(event, JobFailed):
                    raise RuntimeError(f"a job failed: {event.message}\n{event.details}")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
