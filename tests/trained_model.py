"""One small trained and stored model, made once per run of the tests, in whichever process they run."""

from __future__ import annotations

import json
import os
import shutil
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
)
from tests.job_kit import RecordingChannel, training_job
from tests.unit.ml.helpers import ar1_returns, frame_from_returns


@dataclass(frozen=True)
class Trained:
    """A stored model with everything around it; never write into its folder, others read it."""

    spec: ForecastSpec
    frame: CandleFrame
    models_dir: Path
    result: TrainingResult
    messages: tuple[Json, ...]
    logs: tuple[str, ...]

    def copy_to(self, models_dir: Path) -> None:
        """Put the package into another folder of models."""
        shutil.copytree(self.models_dir / self.result.model_id, models_dir / self.result.model_id)


def train(spec: ForecastSpec, folder: Path) -> dict[str, Json]:
    """Train in this process on what the candle store in a folder holds, and return the result and what was told."""
    from ml.worker.forecast import run  # torch

    channel = RecordingChannel()
    return {"result": run(training_job(folder, spec), channel), "messages": channel.messages, "logs": channel.logs}


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
            CandleStore(folder / "candles").write("binance", frame, "import")
            told.write_text(json.dumps(train(spec, folder)), encoding="utf-8")
    content = json.loads(told.read_text(encoding="utf-8"))
    result = TrainingResult.from_json(content["result"])
    return Trained(spec, frame, folder / "models", result, tuple(content["messages"]), tuple(content["logs"]))
