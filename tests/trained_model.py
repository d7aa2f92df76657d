"""One small trained and stored model, made once per run of the tests, in whichever process they run."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.jobs import Json
from ml.api import (
    EvaluationSpec,
    FeatureSpec,
    ForecastSpec,
    ModelSpec,
    ResourceSpec,
    TrainingResult,
    TrainingSpec,
    forecast_job,
)
from tests.unit.ml.helpers import ar1_returns, frame_from_returns


class _RecordingChannel:
    """A job channel that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        self.logs: list[str] = []

    def progress(self, payload: Json) -> None:
        self.messages.append(dict(payload))

    def log(self, level: str, message: str) -> None:
        self.logs.append(message)

    def should_stop(self) -> bool:
        return False

    def clock(self) -> float:
        return time.monotonic()


@dataclass(frozen=True)
class Trained:
    """A stored model with everything around it; never write into its folder, others read it."""

    spec: ForecastSpec
    frame: CandleFrame
    models_dir: Path
    result: TrainingResult
    messages: tuple[Json, ...]
    logs: tuple[str, ...]


def train_into(spec: ForecastSpec, frame: CandleFrame, folder: Path) -> dict[str, object]:
    """Train a model in this process, in a data folder of its own."""
    from ml.worker.forecast import run  # torch

    CandleStore(folder / "candles").write("binance", frame, "import")
    channel = _RecordingChannel()
    job = forecast_job(
        spec,
        run_id="run-1",
        candles_dir=folder / "candles",
        models_dir=folder / "models",
        runs_dir=folder / "runs",
    )
    return {"result": run(job, channel), "messages": channel.messages, "logs": channel.logs}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    base = tmp_path_factory.getbasetemp()
    # The workers of one run share the folder above their own.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained-model"
    folder.mkdir(exist_ok=True)
    frame = frame_from_returns(ar1_returns(4_000, 0.3, 1), missing=(3_700,))
    spec = ForecastSpec(
        features=FeatureSpec("market", 1, horizons=(1, 4), window=24),
        model=ModelSpec(hidden_size=8),
        training=TrainingSpec(epochs=4, segment_length=64, burn_in=8, batch_segments=4),
        evaluation=EvaluationSpec(seeds=2),
        resources=ResourceSpec(device="cpu", threads=1),
    )
    told = folder / "told.json"
    with FileLock(folder / "lock"):
        if not told.exists():
            told.write_text(json.dumps(train_into(spec, frame, folder)), encoding="utf-8")
    content = json.loads(told.read_text(encoding="utf-8"))
    result = TrainingResult.from_json(content["result"])
    return Trained(spec, frame, folder / "models", result, tuple(content["messages"]), tuple(content["logs"]))
