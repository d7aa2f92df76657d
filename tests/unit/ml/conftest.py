"""One small trained and stored model for the tests of storage and inference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.jobs import Json
from ml.api import FeatureSpec, ForecastSpec, ModelSpec, ResourceSpec, TrainingResult, TrainingSpec, forecast_job
from ml.worker.forecast import run
from tests.unit.ml.helpers import ar1_returns, frame_from_returns


class RecordingChannel:
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


@dataclass(frozen=True)
class Trained:
    """A stored model with everything around it."""

    spec: ForecastSpec
    frame: CandleFrame
    models_dir: Path
    result: TrainingResult
    channel: RecordingChannel


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    frame = frame_from_returns(ar1_returns(4_000, 0.3, 1), missing=(3_700,))
    CandleStore(folder / "candles").write("binance", frame, "import")
    spec = ForecastSpec(
        features=FeatureSpec("market", 1, horizons=(1, 4), window=24),
        model=ModelSpec(hidden_size=8),
        training=TrainingSpec(epochs=4, segment_length=64, burn_in=8, batch_segments=4),
        resources=ResourceSpec(device="cpu", threads=1),
    )
    channel = RecordingChannel()
    job = forecast_job(
        spec,
        run_id="run-1",
        candles_dir=folder / "candles",
        models_dir=folder / "models",
        runs_dir=folder / "runs",
    )
    result = TrainingResult.from_json(run(job, channel))
    return Trained(spec, frame, folder / "models", result, channel)
