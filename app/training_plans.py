"""How the window's training runs and searches become jobs for their children. Any thread."""

from __future__ import annotations

from typing import Any

from app.workers.training import JobPlan
from core.config import DataPaths
from ml.api import TRAIN_FORECAST_JOB, ForecastSpec, forecast_job, new_run_id
from ml.search_results import SEARCH_JOB, search_job
from ml.search_spec import SearchSpec


def run_plan(paths: DataPaths) -> JobPlan:
    """Return how a training run becomes a job that works in these folders."""

    def make(run_id: str, spec: dict[str, Any], resume: bool) -> dict[str, Any]:
        return forecast_job(
            ForecastSpec.from_json(spec),
            run_id=run_id,
            candles_dir=paths.candles,
            models_dir=paths.models,
            runs_dir=paths.runs,
            resume=resume,
        )

    return JobPlan("forecast", TRAIN_FORECAST_JOB, new_run_id, make)


def search_plan(paths: DataPaths) -> JobPlan:
    """Return how a search for settings becomes a job; one that goes on finds its trials by its id."""

    def make(run_id: str, spec: dict[str, Any], _resume: bool) -> dict[str, Any]:
        search = SearchSpec.from_json(spec)
        return search_job(search, run_id=run_id, candles_dir=paths.candles, runs_dir=paths.runs)

    return JobPlan("search", SEARCH_JOB, new_run_id, make)
