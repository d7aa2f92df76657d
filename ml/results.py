"""What a run says while it works and when it is done. Frozen values, any thread; torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from ml.jsonvalues import JsonValue
from ml.metric_results import ForecastMetrics


@dataclass(frozen=True, slots=True)
class TrainingProgress(JsonValue):
    """One progress message of a run.

    Attributes:
        run_id: which run.
        phase: "loading", "features", "training", "testing", "exporting" or "done".
        epoch / epochs: finished and planned epochs.
        train_loss / valid_loss: pinball loss in units of volatility; None before the first epoch's end.
        best_epoch: epoch of the lowest validation loss so far, 0 before the first.
        learning_rate: current.
        targets_per_s: throughput of the current epoch.
        eta_s: seconds to the end if every epoch is used; None while unknown.
        device: what computes, for a person.
    """

    run_id: str
    phase: str
    epoch: int = 0
    epochs: int = 0
    train_loss: float | None = None
    valid_loss: float | None = None
    best_epoch: int = 0
    learning_rate: float = 0.0
    targets_per_s: float = 0.0
    eta_s: float | None = None
    device: str = ""


def log_training_progress(progress: TrainingProgress) -> str:
    """Return one line for a person: epoch, losses, speed and time left."""
    if progress.phase != "training":
        return f"{progress.phase} …"
    parts = [f"epoch {progress.epoch}/{progress.epochs}"]
    if progress.train_loss is not None and progress.valid_loss is not None:
        parts.append(f"loss {progress.train_loss:.4f}, validation {progress.valid_loss:.4f}")
    if progress.best_epoch:
        parts.append(f"best {progress.best_epoch}")
    if progress.targets_per_s:
        parts.append(f"{progress.targets_per_s:,.0f} targets/s on {progress.device}")
    if progress.eta_s is not None:
        parts.append(f"{progress.eta_s:.0f} s left")
    return " · ".join(parts)


@dataclass(frozen=True, slots=True)
class EpochRecord(JsonValue):
    """Losses of one finished epoch, in units of volatility."""

    epoch: int
    train_loss: float
    valid_loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainingResult(JsonValue):
    """What a finished run returns.

    Attributes:
        run_id / model_id: the run and the content hash of the package it wrote.
        symbol / timeframe: the market.
        epochs_run / best_epoch / stopped_early: how training ended.
        seconds: wall time of training alone.
        targets_per_s: training throughput.
        device: what computed, with the reason.
        history: one record per epoch.
        metrics: on the test part.
    """

    run_id: str
    model_id: str
    symbol: str
    timeframe: str
    epochs_run: int
    best_epoch: int
    stopped_early: bool
    seconds: float
    targets_per_s: float
    device: str
    history: tuple[EpochRecord, ...]
    metrics: ForecastMetrics


@dataclass(frozen=True, slots=True)
class ModelSummary(JsonValue):
    """One row of a list of stored models.

    Attributes:
        model_id: content hash, also the folder's name.
        created_ns: ns UTC.
        kind / venue / symbol / timeframe / horizon_bars / features: what it is; `venue` as in `DataRange`.
        edge / r2 / verdict: how it did on the test part.
        size_bytes: of the package.
        problem: empty, or one sentence saying why the package cannot be used.
    """

    model_id: str
    created_ns: int
    kind: str
    venue: str
    symbol: str
    timeframe: str
    horizon_bars: int
    features: str
    edge: bool
    r2: float
    verdict: str
    size_bytes: int
    problem: str = ""
