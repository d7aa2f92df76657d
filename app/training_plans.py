"""How the window's training runs, searches and agents become jobs for their children. Any thread."""

from __future__ import annotations

from typing import Any

from app.flows.training_kind import TrainingKind
from app.workers.training import JobPlan, agent_stage
from core.config import DataPaths
from ml.agents.job import TRAIN_AGENT_JOB, agent_job, new_agent_run_id
from ml.agents.run_spec import AgentSpec
from ml.api import TRAIN_FORECAST_JOB, ForecastSpec, forecast_job, new_run_id
from ml.search_results import SEARCH_JOB, search_job
from ml.search_spec import SearchSpec


def training_plans(paths: DataPaths) -> dict[TrainingKind, JobPlan]:
    """Return how each kind of run becomes a job that works in these folders."""
    folders = {"candles_dir": paths.candles, "models_dir": paths.models, "runs_dir": paths.runs}

    def forecast(run_id: str, spec: dict[str, Any], resume: bool) -> dict[str, Any]:
        return forecast_job(ForecastSpec.from_json(spec), run_id=run_id, resume=resume, **folders)

    def agent(run_id: str, spec: dict[str, Any], resume: bool) -> dict[str, Any]:
        return agent_job(AgentSpec.from_json(spec), run_id=run_id, resume=resume, **folders)

    def search(run_id: str, spec: dict[str, Any], _resume: bool) -> dict[str, Any]:
        """One that goes on finds its trials by its id."""
        wanted = SearchSpec.from_json(spec)
        return search_job(wanted, run_id=run_id, candles_dir=paths.candles, runs_dir=paths.runs)

    return {
        TrainingKind.FORECAST: JobPlan(TRAIN_FORECAST_JOB, new_run_id, forecast),
        TrainingKind.SEARCH: JobPlan(SEARCH_JOB, new_run_id, search),
        TrainingKind.AGENT: JobPlan(TRAIN_AGENT_JOB, new_agent_run_id, agent, agent_stage),
    }
