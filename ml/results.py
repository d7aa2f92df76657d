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
        seed_index / seeds: which of how many repetitions with other seeds this is, counted from 0.
        crps: of the validation part, in units of volatility; None where it is not measured.
        cpu_percent: of one core, so that four busy cores are 400; None while unknown, as all that follow.
        rss_bytes: memory of the run's process.
        gpu_percent / gpu_memory_bytes: load and used memory of the device, for every program on it.
        paused: the run waits where it is.
        note: one sentence for a person about what the run just did by itself, such as taking a smaller batch.
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
    seed_index: int = 0
    seeds: int = 1
    crps: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    paused: bool = False
    note: str = ""


def log_training_progress(progress: TrainingProgress) -> str:
    """Return one line for a person: epoch, losses, speed and time left."""
    if progress.phase != "training":
        return f"{progress.phase} …"
    parts = [f"epoch {progress.epoch}/{progress.epochs}"]
    if progress.seeds > 1:
        parts.insert(0, f"seed {progress.seed_index + 1}/{progress.seeds}")
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
    """What one finished epoch was like; losses are in units of volatility.

    Attributes:
        epoch: number, from 1.
        train_loss / valid_loss: see `TrainingProgress`.
        seconds: wall time, less the time the run was paused.
        learning_rate: at the epoch's end; 0 where it was not written down.
        crps: of the validation part; None where it is not measured.
        targets_per_s: throughput of the epoch; 0 where it was not written down.
        seed: of the network it belongs to.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    seconds: float
    learning_rate: float = 0.0
    crps: float | None = None
    targets_per_s: float = 0.0
    seed: int = 0


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
        history: one record per epoch of every network, one network after the other.
        metrics: on the test part.
        total_s: from the start of the process to the result, less pauses; of earlier sessions of a run that went on
            only the training counts. 0 where it was not written down.
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
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelSummary(JsonValue):
    """One row of a list of stored models.

    Attributes:
        model_id: content hash, also the folder's name.
        created_ns: ns UTC.
        kind / venue / symbol / timeframe / horizon_bars / features: what it is; `venue` as in `DataRange`.
        edge / r2 / verdict: how it did on the test part; an agent has no R².
        size_bytes: of the package.
        problem: empty, or one sentence saying why the package cannot be used.
        other_inputs: markets and series it looks at beside its own market, which strategies do not receive.
        family: "forecast" or "agent".
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
    r2: float | None
    verdict: str
    size_bytes: int
    problem: str = ""
    other_inputs: tuple[str, ...] = ()
    family: str = "forecast"

    @property
    def forecasts(self) -> bool:
        """Whether it forecasts prices; an agent says only what it would hold."""
        return self.family == "forecast"
