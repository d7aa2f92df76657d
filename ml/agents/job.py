"""What starts the run of an agent in a child process. Values, any thread; torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from ml.agents.run_spec import AgentSpec
from ml.api import new_run_id
from ml.jsonvalues import Json
from ml.run_job import RunFolders, RunJob, job_folders

TRAIN_AGENT_JOB = "ml.worker.agent:run"
AGENT_RUN = "agent"  # the beginning of a run's id
KEPT_SEEDS = "*-*.json"  # in the folder of a run: of each seed that is done, or that has a checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentJob(RunJob):
    """What the training child gets."""

    spec: AgentSpec


def new_agent_run_id() -> str:
    """Return a fresh id of the run of an agent that sorts by time."""
    return new_run_id().replace("run-", f"{AGENT_RUN}-", 1)


def is_agent(spec: Mapping[str, Any]) -> bool:
    """Return whether a specification in JSON form is of an agent's run: those of a forecast and of a search are not."""
    return "algorithm" in spec and "environment" in spec


def agent_job(spec: AgentSpec, **where: Unpack[RunFolders]) -> Json:
    """Return the JSON for `JobSupervisor.start(TRAIN_AGENT_JOB, ...)`.

    Args:
        spec: validated here.

    Raises:
        UserError: the specification is not valid.
    """
    return AgentJob(spec=spec.validate(), **job_folders(where)).to_json()
