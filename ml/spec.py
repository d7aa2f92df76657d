"""What defines a training run: data, features, network, split, fitting, resources. Any thread; torch-free."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin
from core.errors import UserError
from ml.checks import in_range, one_of, require
from ml.feature_spec import (
    FeatureSpec,
    bars_per_longer,
    bound_columns,
    needed_markets,
    needed_series,
    with_parsed_columns,
)
from ml.jsonvalues import Json, JsonValue, decode, encode
from ml.model_tags import is_plain

STORE_SOURCE = "store"
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "tf32", "bf16")
MODEL_KINDS = ("lstm", "gru")
HEADS = ("quantile", "student_t", "classes")
SCHEDULES = ("one_cycle", "cosine", "constant")
MAX_SEEDS = 100
_LONGEST_NAME = 80  # bytes of a market's; the folder of its bars spells one in up to three, and 255 are possible
_NUMBERED_GPU = re.compile(r"cuda:\d{1,2}")


@dataclass(frozen=True, slots=True)
class SeriesSource(JsonValue):
    """Where a side series comes from.

    Attributes:
        name: what the feature columns call it, for example "funding".
        path: a CSV, Feather or Parquet file with the columns `known_at` (or `date`) and the one below.
        column: which column holds the values.
        delay_s: how long after the file's time a value became known, seconds; None where nobody said, which is enough
            for `known_at` and not for `date`: that may be the beginning of what was measured.
    """

    name: str
    path: str
    column: str = "value"
    delay_s: float | None = None

    def validate(self) -> None:
        """Raise `UserError` where the source cannot exist."""
        require(bool(self.name and self.path), "A series needs a name and a file.", "Name both.")
        in_range(self.delay_s or 0.0, 0.0, 366 * 86_400.0, "delay of a series", "s")


@dataclass(frozen=True, slots=True)
class DataRange(JsonValue):
    """Which bars to learn from.

    Attributes:
        venue: whose market, see `origin`; the name of the field is that of earlier versions' files.
        symbol / timeframe: the market, as ccxt spells it.
        start_ns / end_ns: first and one past the last bar's open time, ns UTC; None is unbounded.
        source: `"store"` for the candle store in the data folder, else the path of a CSV, Feather or Parquet file.
        markets: other markets of the same store and timeframe that feature columns look at.
        series: side series that feature columns look at.
    """

    venue: str = BINANCE
    symbol: str = "BTC/USDT"
    timeframe: str = "1h"
    start_ns: int | None = None
    end_ns: int | None = None
    source: str = STORE_SOURCE
    markets: tuple[str, ...] = ()
    series: tuple[SeriesSource, ...] = ()

    @property
    def origin(self) -> DataOrigin:
        """Whose market the bars are of: a real exchange's or one of the practice exchange's."""
        return DataOrigin(self.venue)

    def without_folders(self) -> Self:
        """Return the same range with the names of files only.

        Their folders say nothing on another machine and something about this one; hashes identify the content.
        """
        source = self.source if self.source == STORE_SOURCE else Path(self.source).name
        series = tuple(replace(each, path=Path(each.path).name) for each in self.series)
        return replace(self, source=source, series=series)

    def validate(self) -> None:
        """Raise `UserError` where the range cannot exist."""
        require(bool(self.venue), "A venue is needed.", "Choose where the data comes from.")
        require(bool(self.symbol), "A market is needed.", "Choose a symbol such as BTC/USDT.")
        for name in (self.venue, self.symbol, *self.markets):
            if not is_plain(name) or len(name.encode()) > _LONGEST_NAME:
                raise UserError(f"{name[:40]!r} is no name of a market or venue.", "Write a market like BTC/USDT.")
        if self.timeframe not in tuple(Timeframe):
            raise UserError(
                f"The timeframe {self.timeframe!r} is not known.", f"Use one of {', '.join(tuple(Timeframe))}."
            )
        if self.start_ns is not None and self.end_ns is not None and self.start_ns >= self.end_ns:
            raise UserError("The data range ends before it starts.", "Choose an end after the start.")
        require(bool(self.source), "No data source is named.", f"Use {STORE_SOURCE!r} or the path of a file.")
        if self.markets and self.source != STORE_SOURCE:
            raise UserError("Other markets are read from the candle store only.", "Import the files into the store.")
        for given in ((self.symbol, *self.markets), tuple(source.name for source in self.series)):
            if len(set(given)) < len(given):
                raise UserError(f"The data names something twice: {', '.join(given)}.", "Name each once.")
        for source in self.series:
            source.validate()


@dataclass(frozen=True, slots=True)
class ModelSpec(JsonValue):
    """The network.

    Attributes:
        kind: "lstm" or "gru".
        head: what it forecasts at each horizon: "quantile" (quantiles fitted directly), "student_t" (location and
            scale of a Student distribution whose degrees of freedom are fitted per horizon) or "classes" (the chances
            of down, flat and up).
        hidden_size / layers / dropout: shape of the recurrent part; dropout acts between layers and before the head.
        layer_norm: normalise the output of each recurrent layer.
        quantile_levels: forecast quantiles, ascending, symmetric around 0.5, which must be in the middle.
        horizons: how far ahead log returns are forecast, bars, ascending; the first is the one that trades.
        flat_band: half width of "flat" for the head of classes, in units of the target's standard deviation; 0.43
            makes the three equally likely for a normal variable.
    """

    kind: str = "lstm"
    head: str = "quantile"
    hidden_size: int = 32
    layers: int = 1
    dropout: float = 0.1
    layer_norm: bool = False
    quantile_levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    horizons: tuple[int, ...] = (1,)
    flat_band: float = 0.43

    @property
    def horizon_bars(self) -> int:
        """The horizon that trades: the first."""
        return self.horizons[0]

    @property
    def reach(self) -> int:
        """The longest horizon, bars: how far a target looks ahead."""
        return self.horizons[-1]

    def validate(self) -> None:
        """Raise `UserError` for a network that cannot be built."""
        one_of(self.kind, MODEL_KINDS, "model kind")
        one_of(self.head, HEADS, "head")
        in_range(self.hidden_size, 2, 1_024, "hidden size", "units")
        in_range(self.layers, 1, 8, "number of layers", "layers")
        in_range(self.dropout, 0.0, 0.9, "dropout", "")
        in_range(self.flat_band, 0.05, 3.0, "flat band", "standard deviations")
        for horizon in self.horizons:
            in_range(horizon, 1, 500, "forecast horizon", "bars")
        if not 1 <= len(self.horizons) <= 16 or any(a >= b for a, b in itertools.pairwise(self.horizons)):
            raise UserError("The forecast horizons must ascend; at most 16 are possible.", "Example: 1, 4, 24.")
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
        valid_from / test_from: borders by date (UTC, such as 2022-01-01) instead of fractions; both or none.
    """

    train_fraction: float = 0.7
    valid_fraction: float = 0.15
    purge_bars: int = 24
    valid_from: str = ""
    test_from: str = ""

    @property
    def borders_ns(self) -> tuple[int, int] | None:
        """First open time of validation and test part, ns UTC, where they are set by date."""
        if not self.valid_from and not self.test_from:
            return None
        if not self.valid_from or not self.test_from:
            raise UserError("Only one border of the split has a date.", "Give both dates or none.")
        return _date_ns(self.valid_from), _date_ns(self.test_from)

    def validate(self) -> None:
        """Raise `UserError` unless all three parts exist."""
        in_range(self.train_fraction, 0.2, 0.9, "training share", "")
        in_range(self.valid_fraction, 0.05, 0.5, "validation share", "")
        if self.train_fraction + self.valid_fraction > 0.96:
            raise UserError(
                "Training and validation leave nothing to test on.", "Keep at least 4 % of the bars for the test."
            )
        in_range(self.purge_bars, 0, 10_000, "purge", "bars")
        borders = self.borders_ns
        if borders is not None and borders[0] >= borders[1]:
            raise UserError("The test part would begin before the validation part.", "Exchange the two dates.")


@dataclass(frozen=True, slots=True)
class TrainingSpec(JsonValue):
    """How the network is fitted.

    Attributes:
        epochs: at most so many passes over the training part.
        learning_rate / weight_decay: of AdamW.
        schedule: of the learning rate: "one_cycle" (up, then down), "cosine" (down) or "constant".
        clip_norm: largest norm of the gradient.
        batch_segments: contiguous segments per step; 0 chooses by device.
        segment_length / burn_in: bars per segment; the loss skips the first `burn_in` of each.
        patience: epochs without a better validation loss before stopping.
        seed: of weights, order and dropout; further seeds of the same run count up from it.
    """

    epochs: int = 20
    learning_rate: float = 3e-3
    schedule: str = "one_cycle"
    clip_norm: float = 1.0
    batch_segments: int = 16
    segment_length: int = 256
    burn_in: int = 32
    patience: int = 6
    weight_decay: float = 1e-2
    seed: int = 1

    def validate(self) -> None:
        """Raise `UserError` for settings that cannot train."""
        in_range(self.epochs, 1, 10_000, "number of epochs", "epochs")
        in_range(self.learning_rate, 1e-6, 1.0, "learning rate", "")
        one_of(self.schedule, SCHEDULES, "learning rate schedule")
        in_range(self.clip_norm, 1e-3, 1e3, "largest gradient norm", "")
        in_range(self.batch_segments, 0, 4_096, "batch size", "segments")
        in_range(self.segment_length, 16, 8_192, "segment length", "bars")
        in_range(self.burn_in, 0, 4_096, "burn-in", "bars")
        if self.burn_in * 2 > self.segment_length:
            raise UserError(
                "The burn-in takes more than half of each segment.", "Use a longer segment or a shorter burn-in."
            )
        in_range(self.patience, 1, 10_000, "patience", "epochs")
        in_range(self.weight_decay, 0.0, 10.0, "weight decay", "")
        in_range(self.seed, 0, 2**31 - 1 - MAX_SEEDS, "seed", "")


@dataclass(frozen=True, slots=True)
class EvaluationSpec(JsonValue):
    """How the result is judged.

    Attributes:
        seeds: networks trained from different seeds; their mean forecast is what is stored and trades, and their
            spread is shown.
        boosting: compare with gradient boosting beside the cheap baselines.
        permutation_repeats: shuffles per feature for its importance; 0 leaves it out.
        cost: of changing the position by its whole size, as a share of the price; for the figures after costs.
    """

    seeds: int = 5
    boosting: bool = True
    permutation_repeats: int = 3
    cost: float = 0.001

    def validate(self) -> None:
        """Raise `UserError` for settings that cannot be run."""
        in_range(self.seeds, 1, MAX_SEEDS, "number of seeds", "seeds")
        in_range(self.permutation_repeats, 0, 100, "number of shuffles", "")
        in_range(self.cost, 0.0, 0.1, "cost", "")


@dataclass(frozen=True, slots=True)
class ResourceSpec(JsonValue):
    """What the run may use.

    Attributes:
        device: "auto", "cpu", "cuda" (the GPU with the most free memory), "cuda:1" (that one) or "mps".
        threads: CPU threads; 0 chooses by the size of the network (one for a small one).
        precision: of training on an NVIDIA GPU: "auto", "float32", "tf32" or "bf16"; a CPU computes in float32.
        memory_share: largest share of a GPU's memory the run may take.
    """

    device: str = "auto"
    threads: int = 0
    precision: str = "auto"
    memory_share: float = 0.8

    def validate(self) -> None:
        """Raise `UserError` for an unknown device or precision and for amounts that no machine has."""
        one_of("cuda" if _NUMBERED_GPU.fullmatch(self.device) else self.device, DEVICES, "device")
        in_range(self.threads, 0, 256, "number of threads", "threads")
        one_of(self.precision, PRECISIONS, "precision")
        in_range(self.memory_share, 0.05, 0.95, "share of the GPU's memory", "")


@dataclass(frozen=True, slots=True)
class ForecastSpec(JsonValue):
    """Everything that defines a forecast training run."""

    data: DataRange = field(default_factory=DataRange)
    features: FeatureSpec = field(default_factory=FeatureSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    split: SplitSpec = field(default_factory=SplitSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    resources: ResourceSpec = field(default_factory=ResourceSpec)

    def validate(self) -> Self:
        """Check every part and return self.

        Raises:
            UserError: one sentence naming the first thing that is wrong.
        """
        parts = (self.data, self.features, self.model, self.split, self.training, self.evaluation, self.resources)
        for part in parts:
            part.validate()
        self._check_columns()
        return self

    def unused_data(self) -> tuple[str, ...]:
        """Return the other markets and side series that no feature column looks at."""
        used = self.with_used_data().data
        named, kept = ((*data.markets, *(each.name for each in data.series)) for data in (self.data, used))
        return tuple(name for name in named if name not in kept)

    def with_used_data(self) -> Self:
        """Return the same run without what `unused_data` names, which would have to be there wherever the model is."""
        columns = self.features.columns
        symbols, names = {column.symbol for column in columns}, {column.name for column in columns}
        markets = tuple(symbol for symbol in self.data.markets if symbol in symbols)
        series = tuple(source for source in self.data.series if source.name in names)
        return replace(self, data=replace(self.data, markets=markets, series=series))

    def _check_columns(self) -> None:
        """Raise `UserError` where a feature column looks at something the data does not hold."""
        own = Timeframe(self.data.timeframe)
        for bound in bound_columns(self.features):
            if bound.column.timeframe:
                bars_per_longer(own, Timeframe(bound.column.timeframe))
        for symbol in needed_markets(self.features):
            if symbol not in self.data.markets:
                raise UserError(
                    f"The features look at {symbol}, which the data does not name.", "Add it to markets in [data]."
                )
        given = {source.name for source in self.data.series}
        for name in needed_series(self.features):
            if name not in given:
                raise UserError(
                    f"The features look at the series {name!r}, which the data does not name.",
                    "Add it to series in [data].",
                )


def spec_from_mapping(values: Mapping[str, Any], base: ForecastSpec | None = None) -> ForecastSpec:
    """Return `base` (or the defaults) overlaid with a partial nested mapping, as a TOML file gives it.

    Raises:
        UserError: an unknown key or a value of the wrong type.
    """
    return decode(ForecastSpec, overlaid(encode(base or ForecastSpec()), values))


def overlaid(base: Json, values: Mapping[str, Any]) -> Json:
    """Return an encoded specification with what a partial nested mapping says of it.

    Raises:
        UserError: an unknown section, or feature columns that cannot be read.
    """
    merged = dict(base)
    for section, entries in values.items():
        if section not in merged or not isinstance(entries, Mapping):
            raise UserError(
                f"The section {section!r} is not part of this configuration.", f"Known sections: {', '.join(merged)}."
            )
        former = merged[section]
        given = dict(with_parsed_columns(entries) if section == "features" else entries)
        for key, value in given.items():
            if isinstance(value, Mapping) and isinstance(former.get(key), Mapping):  # as the costs of an environment
                given[key] = {**former[key], **value}
        merged[section] = {**former, **given}
    return merged


def _date_ns(text: str) -> int:
    """Return the instant of a date such as 2022-01-01 or 2022-01-01T12:00, UTC, in ns.

    Raises:
        UserError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise UserError(f"{text!r} is no date.", "Write it as 2022-01-01.") from exc
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1_000
