"""What the child of every training run gets besides its specification. Values, any thread; torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from ml.jsonvalues import JsonValue

TRIALS_FILE = "trials.sqlite"  # in the data folder, beside the folder of runs


class RunFolders(TypedDict):
    """Which run is meant and where it works, as whoever starts it says.

    Attributes:
        run_id: a fresh one, or the id of a cancelled run to `resume`.
        candles_dir / models_dir / runs_dir: the folders of `core.config.DataPaths`.
    """

    run_id: str
    candles_dir: Path
    models_dir: Path
    runs_dir: Path
    resume: NotRequired[bool]


class JobFolders(TypedDict):
    """The same as a `RunJob` holds it."""

    run_id: str
    candles_dir: str
    models_dir: str
    run_dir: str
    trials_file: str
    resume: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob(JsonValue):
    """A run and its folders, by path; each kind of run adds its specification."""

    run_id: str
    candles_dir: str
    models_dir: str
    run_dir: str
    trials_file: str
    resume: bool = False


def job_folders(where: RunFolders) -> JobFolders:
    """Return where a run works."""
    run_id, runs = where["run_id"], where["runs_dir"]
    return JobFolders(
        run_id=run_id,
        candles_dir=str(where["candles_dir"]),
        models_dir=str(where["models_dir"]),
        run_dir=str(runs / run_id),
        trials_file=str(runs.parent / TRIALS_FILE),
        resume=where.get("resume", False),
    )
