"""What the rest of the program may know about learning: specifications and results. Any thread; torch-free.

The window, the command line and the training child talk about a run only through these values. They are frozen and
become JSON through `to_json` / `from_json`; nothing here imports torch, pandas or scikit-learn.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin
from core.errors import UserError
from ml.jsonvalues import Json, JsonValue, decode, encode

TRAIN_FORECAST_JOB = "ml.worker.forecast:run"
STORE_SOURCE = "store"
SPEC_FILE = "spec.json"  # in the folder of a run; what `train forecast --resume` continues with
CHECKPOINT_FILE = "checkpoint.json"  # beside it, once the first epoch has ended
DEVICES = ("auto", "cpu", "cuda")
MODEL_KINDS = ("lstm",)
TREND_FAST, TREND_SLOW = 12, 26  # look-backs of the windowed MACD, bars

# Measured with one thread at the default size on a quiet machine: 280,000 over 3,000 bars, 510,000 over 30,000;
# `estimate` scales it with the network's arithmetic.
REFERENCE_TARGETS_PER_S = 300_000.0
_REFERENCE_WORK = 4 * 32 * (32 + 24)
_FIXED_SECONDS = 6.0  # starting the child, importing torch, features, ONNX export, test metrics; measured: 5.6


@dataclass(frozen=True, slots=True)
class FeatureSetInfo:
    """One feature set a person can choose.

    Attributes:
        name / version: identity; a changed computation gets a new version.
        title / summary: for a person.
    """

    name: str
    version: int
    title: str
    summary: str


FEATURE_SETS: tuple[FeatureSetInfo, ...] = (
    FeatureSetInfo(
        "price",
        1,
        "Price only",
        "Log returns over several horizons in units of recent volatility, plus volatility itself.",
    ),
    FeatureSetInfo(
        "market",
        1,
        "Price, volume and time",
        "Price only, plus RSI, ATR and MACD in scale-free form, position in the recent range, volume z-score, "
        "and time of day and week.",
    ),
)


def feature_sets() -> tuple[FeatureSetInfo, ...]:
    """Return the feature sets a run can use."""
    return FEATURE_SETS


@dataclass(frozen=True, slots=True)
class DataRange(JsonValue):
    """Which bars to learn from.

    Attributes:
        venue: whose market, see `origin`; the name of the field is that of earlier versions' files.
        symbol / timeframe: the market, as ccxt spells it.
        start_ns / end_ns: first and one past the last bar's open time, ns UTC; None is unbounded.
        source: `"store"` for the candle store in the data folder, else the path of a CSV, Feather or Parquet file.
    """

    venue: str = BINANCE
    symbol: str = "BTC/USDT"
    timeframe: str = "1h"
    start_ns: int | None = None
    end_ns: int | None = None
    source: str = STORE_SOURCE

    @property
    def origin(self) -> DataOrigin:
        """Whose market the bars are of: a real exchange's or one of the practice exchange's."""
        return DataOrigin(self.venue)

    def validate(self) -> None:
        """Raise `UserError` where the range cannot exist."""
        _require(bool(self.venue), "A venue is needed.", "Choose where the data comes from.")
        _require(bool(self.symbol), "A market is needed.", "Choose a symbol such as BTC/USDT.")
        if self.timeframe not in tuple(Timeframe):
            raise UserError(
                f"The timeframe {self.timeframe!r} is not known.", f"Use one of {', '.join(tuple(Timeframe))}."
            )
        if self.start_ns is not None and self.end_ns is not None and self.start_ns >= self.end_ns:
            raise UserError("The data range ends before it starts.", "Choose an end after the start.")
        _require(bool(self.source), "No data source is named.", f"Use {STORE_SOURCE!r} or the path of a file.")


@dataclass(frozen=True, slots=True)
class FeatureSpec(JsonValue):
    """Which inputs the model sees.

    Attributes:
        name / version: one of `FEATURE_SETS`.
        horizons: look-backs of the return features, bars, ascending.
        window: look-back of volatility, range and volume features, bars.
    """

    name: str = "market"
    version: int = 1
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 24)
    window: int = 48

    def validate(self) -> None:
        """Raise `UserError` for an unknown set or useless look-backs."""
        known = {(info.name, info.version) for info in FEATURE_SETS}
        if (self.name, self.version) not in known:
            names = ", ".join(f"{name} (version {version})" for name, version in sorted(known))
            raise UserError(f"The feature set {self.name!r} version {self.version} is not known.", f"Use {names}.")
        ascending = all(a < b for a, b in itertools.pairwise(self.horizons))
        if not self.horizons or self.horizons[0] < 1 or self.horizons[-1] > 2_000 or not ascending:
            raise UserError(
                "The return horizons must be ascending whole numbers between 1 and 2,000 bars.",
                "Example: 1, 2, 4, 8, 16, 24.",
            )
        _range(self.window, 8, 2_000, "feature window", "bars")


@dataclass(frozen=True, slots=True)
class ModelSpec(JsonValue):
    """The network.

    Attributes:
        kind: "lstm".
        hidden_size / layers / dropout: shape of the recurrent part; dropout acts between layers and before the head.
        quantile_levels: forecast quantiles, ascending, symmetric around 0.5, which must be in the middle.
        horizon_bars: how far ahead the log return is forecast.
    """

    kind: str = "lstm"
    hidden_size: int = 32
    layers: int = 1
    dropout: float = 0.1
    quantile_levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    horizon_bars: int = 1

    def validate(self) -> None:
        """Raise `UserError` for a network that cannot be built."""
        _choice(self.kind, MODEL_KINDS, "model kind")
        _range(self.hidden_size, 2, 1_024, "hidden size", "units")
        _range(self.layers, 1, 8, "number of layers", "layers")
        _range(self.dropout, 0.0, 0.9, "dropout", "")
        _range(self.horizon_bars, 1, 500, "forecast horizon", "bars")
        levels = self.quantile_levels
        symmetric = all(abs(a + b - 1.0) < 1e-9 for a, b in zip(levels, reversed(levels), strict=True))
        ascending = all(a < b for a, b in itertools.pairwise(levels))
        inside = all(0.0 < level < 1.0 for level in levels)
        if len(levels) < 3 or len(levels) % 2 == 0 or not (symmetric and ascending and inside):
            raise UserError(
                "The quantile levels must ascend between 0 and 1, lie symmetric around 0.5 and contain it.",
                "Example: 0.05, 0.25, 0.5, 0.75, 0.95.",
            )


@dataclass(frozen=True, slots=True)
class SplitSpec(JsonValue):
    """How the bars are divided in time: train, purge, validation, purge, test.

    Attributes:
        train_fraction / valid_fraction: of the usable bars; the rest is the test part.
        purge_bars: bars dropped at each border beside the forecast horizon, which is always dropped.
    """

    train_fraction: float = 0.7
    valid_fraction: float = 0.15
    purge_bars: int = 24

    def validate(self) -> None:
        """Raise `UserError` unless all three parts exist."""
        _range(self.train_fraction, 0.2, 0.9, "training share", "")
        _range(self.valid_fraction, 0.05, 0.5, "validation share", "")
        if self.train_fraction + self.valid_fraction > 0.96:
            raise UserError(
                "Training and validation leave nothing to test on.", "Keep at least 4 % of the bars for the test."
            )
        _range(self.purge_bars, 0, 10_000, "purge", "bars")


@dataclass(frozen=True, slots=True)
class TrainingSpec(JsonValue):
    """How the network is fitted.

    Attributes:
        epochs: at most so many passes over the training part.
        learning_rate / weight_decay: of AdamW; the rate follows one cycle.
        batch_segments: contiguous segments per step.
        segment_length / burn_in: bars per segment; the loss skips the first `burn_in` of each.
        patience: epochs without a better validation loss before stopping.
        seed: of weights, order and dropout.
    """

    epochs: int = 20
    learning_rate: float = 3e-3
    batch_segments: int = 16
    segment_length: int = 256
    burn_in: int = 32
    patience: int = 6
    weight_decay: float = 1e-2
    seed: int = 1

    def validate(self) -> None:
        """Raise `UserError` for settings that cannot train."""
        _range(self.epochs, 1, 10_000, "number of epochs", "epochs")
        _range(self.learning_rate, 1e-6, 1.0, "learning rate", "")
        _range(self.batch_segments, 1, 4_096, "batch size", "segments")
        _range(self.segment_length, 16, 8_192, "segment length", "bars")
        _range(self.burn_in, 0, 4_096, "burn-in", "bars")
        if self.burn_in * 2 > self.segment_length:
            raise UserError(
                "The burn-in takes more than half of each segment.", "Use a longer segment or a shorter burn-in."
            )
        _range(self.patience, 1, 10_000, "patience", "epochs")
        _range(self.weight_decay, 0.0, 10.0, "weight decay", "")
        _range(self.seed, 0, 2**31 - 1, "seed", "")


@dataclass(frozen=True, slots=True)
class ResourceSpec(JsonValue):
    """What the run may use.

    Attributes:
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; 0 chooses by the size of the network (one for a small one).
    """

    device: str = "auto"
    threads: int = 0

    def validate(self) -> None:
        """Raise `UserError` for an unknown device or thread count."""
        _choice(self.device, DEVICES, "device")
        _range(self.threads, 0, 256, "number of threads", "threads")


@dataclass(frozen=True, slots=True)
class ForecastSpec(JsonValue):
    """Everything that defines a forecast training run."""

    data: DataRange = field(default_factory=DataRange)
    features: FeatureSpec = field(default_factory=FeatureSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    split: SplitSpec = field(default_factory=SplitSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    resources: ResourceSpec = field(default_factory=ResourceSpec)

    def validate(self) -> Self:
        """Check every part and return self.

        Raises:
            UserError: one sentence naming the first thing that is wrong.
        """
        for part in (self.data, self.features, self.model, self.split, self.training, self.resources):
            part.validate()
        return self


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """A rough forecast of the effort.

    Attributes:
        train_targets / valid_targets / test_targets: bars with a target in each part.
        seconds: duration from the start to the model if every epoch is used; most runs stop earlier.
        enough: whether there are bars enough to train at all.
    """

    train_targets: int
    valid_targets: int
    test_targets: int
    seconds: float
    enough: bool


def minimum_bars(spec: ForecastSpec) -> int:
    """Return the fewest bars a run of `spec` accepts: every part must hold a few hundred targets."""
    warm_up = warm_up_bars(spec.features)
    borders = 2 * (spec.split.purge_bars + spec.model.horizon_bars)
    smallest = min(spec.split.valid_fraction, 1.0 - spec.split.train_fraction - spec.split.valid_fraction)
    by_part = 100 / smallest
    by_segment = 2 * spec.training.segment_length / spec.split.train_fraction
    return int(warm_up + borders + max(by_part, by_segment)) + 1


def warm_up_bars(features: FeatureSpec) -> int:
    """Return how many closed bars must precede a bar before its feature row is complete."""
    longest = TREND_SLOW if features.name == "market" else 0
    return max(features.window, features.horizons[-1], longest)


def estimate(spec: ForecastSpec, bars: int) -> TrainingEstimate:
    """Estimate targets and duration of a run over `bars` bars from a measured throughput constant."""
    usable = max(0, bars - warm_up_bars(spec.features) - 2 * (spec.split.purge_bars + spec.model.horizon_bars))
    train = int(usable * spec.split.train_fraction)
    valid = int(usable * spec.split.valid_fraction)
    test = usable - train - valid
    hidden, layers = spec.model.hidden_size, spec.model.layers
    work = 4 * hidden * (hidden + 24) + (layers - 1) * 8 * hidden * hidden
    # Small networks are bound by calls rather than arithmetic, so the rate stops growing below the reference size.
    rate = REFERENCE_TARGETS_PER_S / max(0.7, work / _REFERENCE_WORK)
    overhead = spec.training.segment_length / max(1, spec.training.segment_length - spec.training.burn_in)
    seconds = _FIXED_SECONDS + spec.training.epochs * (train * overhead + 0.3 * valid) / rate
    return TrainingEstimate(train, valid, test, seconds, bars >= minimum_bars(spec))


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
class PointMetrics(JsonValue):
    """Errors of one forecaster on the test part; returns are log returns over the horizon.

    Attributes:
        name: "model", "persistence", "ridge" …
        mae / rmse: log return.
        skill: 1 − MAE / MAE of persistence.
        r2: out-of-sample R² against the zero forecast.
        ic / rank_ic: Pearson and Spearman correlation of forecast and outcome; None where a forecast is constant.
        hit_rate: share of right signs, hit_low / hit_high its 95 % interval; None where the forecast is zero.
    """

    name: str
    mae: float
    rmse: float
    skill: float
    r2: float
    ic: float | None = None
    rank_ic: float | None = None
    hit_rate: float | None = None
    hit_low: float | None = None
    hit_high: float | None = None


@dataclass(frozen=True, slots=True)
class ForecastMetrics(JsonValue):
    """Honest figures of a model on bars it never saw.

    Attributes:
        targets: test targets; effective_targets: how many count as independent given overlapping horizons.
        model / baselines: point errors of the median forecast and of the yardsticks on the same bars.
        pinball: mean pinball loss of the quantiles; pinball_baseline: that of the training quantiles held constant.
        coverage / nominal_coverage: share of outcomes inside the outer quantiles, and what it should be.
        edge_p_value: one-sided p-value that squared errors are smaller than those of persistence.
        edge: whether there is evidence of an edge over persistence.
        forecast_std: standard deviation of the validation medians; the unit of `Forecast.z_score`.
        target_std: standard deviation of the training targets.
        verdict: one sentence for a person.
    """

    targets: int
    effective_targets: int
    model: PointMetrics
    baselines: tuple[PointMetrics, ...]
    pinball: float
    pinball_baseline: float
    coverage: float
    nominal_coverage: float
    edge_p_value: float
    edge: bool
    forecast_std: float
    target_std: float
    verdict: str


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


@dataclass(frozen=True, slots=True)
class ForecastJob(JsonValue):
    """What the training child gets: the specification and the folders, by path."""

    run_id: str
    spec: ForecastSpec
    candles_dir: str
    models_dir: str
    run_dir: str
    resume: bool = False


def new_run_id() -> str:
    """Return a fresh run id that sorts by time."""
    return f"run-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def forecast_job(
    spec: ForecastSpec, *, run_id: str, candles_dir: Path, models_dir: Path, runs_dir: Path, resume: bool = False
) -> Json:
    """Return the JSON for `JobSupervisor.start(TRAIN_FORECAST_JOB, ...)`.

    Args:
        spec: validated here.
        run_id: from `new_run_id`, or the id of a cancelled run to `resume`.
        candles_dir / models_dir / runs_dir: the folders of `core.config.DataPaths`.

    Raises:
        UserError: the specification is not valid.
    """
    spec.validate()
    return ForecastJob(
        run_id=run_id,
        spec=spec,
        candles_dir=str(candles_dir),
        models_dir=str(models_dir),
        run_dir=str(runs_dir / run_id),
        resume=resume,
    ).to_json()


def spec_from_mapping(values: Mapping[str, Any], base: ForecastSpec | None = None) -> ForecastSpec:
    """Return `base` (or the defaults) overlaid with a partial nested mapping, as a TOML file gives it.

    Raises:
        UserError: an unknown key or a value of the wrong type.
    """
    merged = encode(base or ForecastSpec())
    for section, entries in values.items():
        if section not in merged or not isinstance(entries, Mapping):
            raise UserError(
                f"The section {section!r} is not part of a training configuration.",
                f"Known sections: {', '.join(merged)}.",
            )
        merged[section] = {**merged[section], **entries}
    return decode(ForecastSpec, merged)


def _require(condition: bool, message: str, remedy: str) -> None:
    if not condition:
        raise UserError(message, remedy)


def _range(value: float, low: float, high: float, what: str, unit: str) -> None:
    if not low <= value <= high:
        remedy = f"Choose {low:,g} to {high:,g} {unit}." if unit else f"Choose {low:,g} to {high:,g}."
        raise UserError(f"The {what} {value:g} is out of range.", remedy)


def _choice(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise UserError(f"The {what} {value!r} is not known.", f"Use one of {', '.join(allowed)}.")
