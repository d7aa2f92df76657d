"""What a search for settings says while it works and when it is done. Frozen values, any thread; without numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.api import TRIALS_FILE
from ml.jsonvalues import Json, JsonValue
from ml.search_spec import SearchSpec
from ml.spec import ForecastSpec

SEARCH_JOB = "ml.worker.search:run"
SEARCH_FILE = "search.json"  # in the folder of a search: its specification, what `--resume` continues with
STUDY_FILE = "search.sqlite"  # beside it, once the first trial has begun
WINNER_FILE = "winner.toml"  # beside it, when it is done


@dataclass(frozen=True, slots=True)
class SearchProgress(JsonValue):
    """One progress message of a search.

    Attributes:
        run_id: which search.
        phase: "loading", "searching", "finalists", "judging" or "done".
        trials: how many there will be; `done` of them have ended, `pruned` and `failed` among these.
        best: lowest CRPS so far, in units of the base configuration's volatility; None before the first trial's end.
        best_trial: its number.
        finalists / finalists_done: repetitions of the best with other seeds.
        eta_s: seconds to the end of the trials; None while unknown.
        scores: CRPS of every trial by number; None for those that have not finished.
        note: one sentence about what happened last.
    """

    run_id: str
    phase: str
    trials: int = 0
    done: int = 0
    pruned: int = 0
    failed: int = 0
    best: float | None = None
    best_trial: int | None = None
    finalists: int = 0
    finalists_done: int = 0
    eta_s: float | None = None
    scores: tuple[float | None, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class ParameterValue(JsonValue):
    """One setting of a trial, as text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SeedOutcome(JsonValue):
    """One network of a trial.

    Attributes:
        seed: its own.
        crps: of the validation part, in units of the base configuration's volatility, mean over horizons.
        valid_sharpe: per bar, of the forecast's sign before costs; None where it does not exist.
        epochs / best_epoch: of its training.
    """

    seed: int
    crps: float
    valid_sharpe: float | None
    epochs: int
    best_epoch: int


@dataclass(frozen=True, slots=True)
class TrialResult(JsonValue):
    """What came of one configuration.

    Attributes:
        number: from 0, in the order they were chosen.
        status: "finished", "pruned", "failed" or "cancelled".
        crps: mean over its seeds; None unless finished.
        seconds: it took.
        parameters: what was varied.
        seeds: one record per network that was measured.
        message: why it failed, or "".
    """

    number: int
    status: str
    crps: float | None
    seconds: float
    parameters: tuple[ParameterValue, ...]
    seeds: tuple[SeedOutcome, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class FinalistResult(JsonValue):
    """One of the best configurations, repeated with seeds the search had not seen.

    Attributes:
        number: of the trial.
        crps / crps_std: mean and deviation over the new seeds; what the winner is chosen by.
        seeds: one record per network.
    """

    number: int
    crps: float
    crps_std: float
    seeds: tuple[SeedOutcome, ...]


@dataclass(frozen=True, slots=True)
class ParameterImportance(JsonValue):
    """Share of the differences between trials that one setting explains; all shares sum to 1."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Overfitting(JsonValue):
    """Probability of backtest overfitting among the finished trials, see `ml.overfitting`."""

    pbo: float
    strategies: int
    blocks: int
    bars: int
    probability_of_loss: float


@dataclass(frozen=True, slots=True)
class SearchResult(JsonValue):
    """What a finished search returns; nothing in it has looked at the test part.

    Attributes:
        run_id: which search.
        symbol / timeframe: the market.
        trials: in the order they were chosen.
        finalists: best first.
        winner: number of the configuration to train.
        spec: that configuration.
        config_file: the same as a file for `train forecast --config`.
        importance: most important first; empty where too few trials finished.
        overfitting: None where fewer than two trials finished or the validation part is too short.
        seconds: of this and former sessions of the search.
    """

    run_id: str
    symbol: str
    timeframe: str
    trials: tuple[TrialResult, ...]
    finalists: tuple[FinalistResult, ...]
    winner: int
    spec: ForecastSpec
    config_file: str
    importance: tuple[ParameterImportance, ...]
    overfitting: Overfitting | None
    seconds: float


def is_search(spec: Mapping[str, Any]) -> bool:
    """Return whether a specification as JSON is that of a search, not of a run."""
    return "base" in spec


@dataclass(frozen=True, slots=True)
class SearchJob(JsonValue):
    """What the search child gets: the specification and the folders, by path."""

    run_id: str
    spec: SearchSpec
    candles_dir: str
    run_dir: str
    trials_file: str


def search_job(spec: SearchSpec, *, run_id: str, candles_dir: Path, runs_dir: Path) -> Json:
    """Return the JSON for `JobSupervisor.start(SEARCH_JOB, ...)`.

    Args:
        spec: validated here.
        run_id: from `ml.api.new_run_id`, or the id of a stopped search to go on with.
        candles_dir / runs_dir: the folders of `core.config.DataPaths`.

    Raises:
        UserError: the specification is not valid.
    """
    spec.validate()
    return SearchJob(
        run_id=run_id,
        spec=spec,
        candles_dir=str(candles_dir),
        run_dir=str(runs_dir / run_id),
        trials_file=str(runs_dir.parent / TRIALS_FILE),
    ).to_json()
