"""What starts the run of an agent in a child process. Values, any thread; torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.agents.run_spec import AgentSpec
from ml.api import TRIALS_FILE, new_run_id
from ml.jsonvalues import Json, JsonValue

TRAIN_AGENT_JOB = "ml.worker.agent:run"
AGENT_RUN = "agent"  # the beginning of a run's id


@dataclass(frozen=True, slots=True)
class AgentJob(JsonValue):
    """What the training child gets: the specification and the folders, by path."""

    run_id: str
    spec: AgentSpec
    candles_dir: str
    models_dir: str
    run_dir: str
    trials_file: str
    resume: bool = False


def new_agent_run_id() -> str:
    """Return a fresh id of the run of an agent that sorts by time."""
    return new_run_id().replace("run-", f"{AGENT_RUN}-", 1)


def is_agent(spec: Mapping[str, Any]) -> bool:
    """Return whether a specification in JSON form is of an agent's run: those of a forecast and of a search are not."""
    return "algorithm" in spec and "environment" in spec


def agent_job(
    spec: AgentSpec, *, run_id: str, candles_dir: Path, models_dir: Path, runs_dir: Path, resume: bool = False
) -> Json:
    """Return the JSON for `JobSupervisor.start(TRAIN_AGENT_JOB, ...)`.

    Args:
        spec: validated here.
        run_id: from `new_agent_run_id`, or the id of a cancelled run to `resume`.
        candles_dir / models_dir / runs_dir: the folders of `core.config.DataPaths`.

    Raises:
        UserError: the specification is not valid.
    """
    spec.validate()
    return AgentJob(
        run_id=run_id,
        spec=spec,
        candles_dir=str(candles_dir),
        models_dir=str(models_dir),
        run_dir=str(runs_dir / run_id),
        trials_file=str(runs_dir.parent / TRIALS_FILE),
        resume=resume,
    ).to_json()
