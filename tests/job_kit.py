"""Jobs in tests: one in a folder of its own, and the child's side of the pipe where it runs in the test's process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.jobs import Json
from ml.api import ForecastSpec, forecast_job


def training_job(folder: Path, spec: ForecastSpec, run_id: str = "run-1", *, resume: bool = False) -> Json:
    """Return the job of a training run that has everything below one folder."""
    return forecast_job(
        spec,
        run_id=run_id,
        candles_dir=folder / "candles",
        models_dir=folder / "models",
        runs_dir=folder / "runs",
        resume=resume,
    )


class RecordingChannel:
    """A job channel that keeps what it is told and asks to stop once `stop` says so of a message."""

    def __init__(self, stop: Callable[[Json], bool] = lambda _: False) -> None:
        self.messages: list[Json] = []
        self.logs: list[str] = []
        self._stop, self._stopping = stop, False

    def progress(self, payload: Mapping[str, Any]) -> None:
        self.messages.append(dict(payload))
        self._stopping = self._stopping or self._stop(self.messages[-1])

    def log(self, level: str, message: str) -> None:
        assert level == "INFO", message
        self.logs.append(message)

    def should_stop(self) -> bool:
        return self._stopping

    def clock(self) -> float:
        return time.monotonic()
