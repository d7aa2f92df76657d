"""What the process of a search and those that train its trials tell each other. Frozen values, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml.jsonvalues import JsonValue
from ml.search_results import SeedOutcome
from ml.spec import ForecastSpec

TRIAL_JOB = "ml.worker.search_trial:run"
EPOCH, ENDED = "epoch", "ended"

RowIntervals = tuple[tuple[int, int], ...]  # half-open, ascending


@dataclass(frozen=True, slots=True)
class TrialWorkerJob(JsonValue):
    """What a process that trains trials gets when it starts.

    Attributes:
        base: the run the search starts from, with fixed bars and borders; its volatility is the unit of every score.
        candles_dir / run_dir / trials_file: of the store, of the search and of the ledger.
        run_id: of the search.
        data_hash: of the bars.
        judged: rows of the validation part that every trial is judged on.
    """

    base: ForecastSpec
    candles_dir: str
    run_dir: str
    trials_file: str
    run_id: str
    data_hash: str
    judged: RowIntervals


@dataclass(frozen=True, slots=True)
class TrialTask(JsonValue):
    """One configuration to train.

    Attributes:
        key: of the trial; names its files.
        spec: of the run.
        watched: after each epoch of the first network an answer is awaited.
    """

    key: str
    spec: ForecastSpec
    watched: bool


@dataclass(frozen=True, slots=True)
class EpochAnswer(JsonValue):
    """Whether to give the trial up after the epoch just reported."""

    key: str
    prune: bool


@dataclass(frozen=True, slots=True)
class TrialReport(JsonValue):
    """What a process says about its trial.

    Attributes:
        kind: "epoch" or "ended".
        key: of the trial.
        epoch / crps: just finished, and its score.
        status: how it ended: "finished", "pruned" or "failed".
        seeds: its networks.
        seconds: it took.
        message: why it failed.
    """

    kind: str
    key: str
    epoch: int = 0
    crps: float | None = None
    status: str = ""
    seeds: tuple[SeedOutcome, ...] = ()
    seconds: float = 0.0
    message: str = ""


def returns_file(run_dir: Path, key: str) -> Path:
    """Return where the returns per bar of a finished trial lie."""
    return run_dir / "returns" / f"{key}.npz"
