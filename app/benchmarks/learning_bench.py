"""Speed of features, training and inference. Qt-free and torch-free; training runs in its child process."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from app.benchmarks.data_bench import minutes_of_prices
from app.benchmarks.figures import Measurement
from core.data.data_storage import CandleStore
from core.domain.candles import Candle
from core.domain.data_origin import DataOrigin
from core.job_supervisor import JobSupervisor
from core.jobs import JobFailed, JobFinished
from ml.api import (
    TRAIN_FORECAST_JOB,
    DataRange,
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ResourceSpec,
    TrainingResult,
    TrainingSpec,
    forecast_job,
    new_run_id,
)

_FEATURE_BARS = 1_000_000
_TRAIN_BARS = 60_000
_STEPS = 2_000
_ORIGIN = DataOrigin("bench")


def run(folder: Path) -> dict[str, Measurement]:
    """Measure features over a million bars, a training run and single steps of the model it made."""
    from ml.features import FeaturePipeline

    frame = minutes_of_prices(_FEATURE_BARS)
    pipeline = FeaturePipeline(FeatureSpec("technical"))
    began = time.perf_counter()
    pipeline.compute(frame)
    features_s = time.perf_counter() - began

    bars = frame.slice(0, _TRAIN_BARS + _STEPS)
    CandleStore(folder / "candles").write(_ORIGIN, bars.slice(0, _TRAIN_BARS), "import")
    result = _train(folder)
    steps = _steps(folder / "models", result.model_id, bars.to_candles("import"))
    return {
        "features.1m_bars_s": Measurement(features_s),
        "forecast.train_targets_per_s": Measurement(result.targets_per_s),
        "forecast.inference_us_p50": Measurement(statistics.median(steps)),
    }


def _train(folder: Path) -> TrainingResult:
    data = DataRange(venue=_ORIGIN, symbol="BTC/USDT", timeframe="1m")
    spec = ForecastSpec(
        data=data,
        training=TrainingSpec(epochs=5, patience=5),
        evaluation=EvaluationSpec(seeds=1, boosting=False),
        resources=ResourceSpec(threads=1),
    )
    run_id = new_run_id()
    job = forecast_job(
        spec, run_id=run_id, candles_dir=folder / "candles", models_dir=folder / "models", runs_dir=folder / "runs"
    )
    with JobSupervisor() as supervisor:
        supervisor.start(run_id, TRAIN_FORECAST_JOB, job, threads=1)
        while True:
            for event in supervisor.poll(0.2):
                if isinstance(event, JobFinished):
                    return TrainingResult.from_json(event.result)
                if isinstance(event, JobFailed):
                    raise RuntimeError(f"training failed: {event.message}\n{event.details}")


def _steps(models: Path, model_id: str, candles: list[Candle]) -> list[float]:
    """Return the time of each single step, microseconds."""
    from ml.inference import load_predictor

    predictor = load_predictor(models, model_id)
    predictor.warm_up(candles[_TRAIN_BARS - 500 : _TRAIN_BARS])
    taken = []
    for candle in candles[_TRAIN_BARS:]:
        began = time.perf_counter()
        predictor.update(candle)
        taken.append((time.perf_counter() - began) * 1e6)
    return taken
