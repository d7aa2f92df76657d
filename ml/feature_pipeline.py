"""From bars to feature rows, over a whole history at once. Any thread; numpy and TA-Lib only.

Columns are grouped by what they are made of: the own bars, bars of a longer timeframe, bars of another market. Each
group is computed on its own bars without a hole in them and then joined to the own bars by time, so that a missing bar
elsewhere makes a row incomplete instead of being filled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.domain.candles import Timeframe
from core.errors import UserError
from core.indicators import indicators as ind
from core.indicators.rolling import rolling_zscore
from ml.arrays import BoolArray, FloatArray, IntArray
from ml.column_kinds import VOLATILITY_FLOOR, BarKind, BoundColumn, Outputs, SeriesKind, realised
from ml.feature_sources import (
    Bars,
    MarketHistory,
    aggregate_bars,
    bars_since_gap,
    cut_bars,
    last_closed,
    match_times,
    sample_points,
    tail,
)
from ml.feature_spec import (
    TREND_FAST,
    TREND_SLOW,
    VOLATILITY,
    FeatureSpec,
    base_names,
    base_warm_up,
    bound_columns,
    warm_up_bars,
)

_Identity = tuple[str, tuple[tuple[str, float], ...]]  # kind and parameters of a column

# Bars computed at once: small enough for the processor's cache, and for arrays below the 128 KiB from which on the C
# library asks the kernel for fresh pages each time (the technical set over 1 M bars: 0.55 s of processor, else 0.8 s).
_BLOCK = 16_000
_SHORT_WINDOW = 12
_OSCILLATOR_WINDOW = 14


@dataclass(frozen=True, slots=True)
class SourceKey:
    """Whose bars a group of columns is made of; empty texts mean the model's own."""

    symbol: str
    timeframe: str


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which side series a column samples, and how old a sample may be."""

    name: str
    max_age_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class PlacedColumn:
    """A column and where its outputs stand in a feature row."""

    bound: BoundColumn
    start: int


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """Features of a history.

    Attributes:
        matrix: unscaled, float64, shape (n, F).
        complete: rows in which nothing is missing, shape (n,).
    """

    matrix: FloatArray
    complete: BoolArray


class FeaturePipeline:
    """One feature set with its look-backs and further columns.

    Attributes:
        spec: what it was built from.
        timeframe: length of own bars; None where no column needs to know.
        names: one name per column.
        warm_up: own bars that must precede a complete row.
        markets / series: other markets and side series it needs, sorted.
        sources / samples: columns made of other bars than the own ones, and of side series.
        own_window: own bars that must precede a value of the columns made of own bars and of side series.
        foreign_positions: columns that can be missing in a row that is warmed up.
        digest: hash of the specification, the column names and the version of each computation; a model is used only
            with the digest it was trained with.
    """

    def __init__(self, spec: FeatureSpec, timeframe: Timeframe | None = None) -> None:
        """Look every column up.

        Raises:
            UserError: there is no such set or column.
        """
        spec.validate()
        self.spec = spec
        self.timeframe = timeframe
        self._base = base_names(spec)
        columns = bound_columns(spec)
        self.names = (*self._base, *(name for bound in columns for name in bound.names))
        self.warm_up = warm_up_bars(spec, timeframe)
        placed_columns = _placed(columns, len(self._base))
        self._own = [placed for placed in placed_columns if placed.bound.is_own]
        self._foreign = [placed for placed in placed_columns if not placed.bound.is_own]
        if timeframe is None and self._foreign:
            raise ValueError("columns of other markets, lengths or series need to know the length of own bars")
        self.foreign_positions = [p.start + i for p in self._foreign for i in range(len(p.bound.outputs))]
        self.sources = _by_source(self._foreign)
        self.samples = _by_sample(self._foreign, timeframe.ns if timeframe else 0)
        sampled = [placed for group in self.samples.values() for placed in group]
        self._base_window = base_warm_up(spec)
        self.own_window = max([self._base_window, *(placed.bound.warm_up for placed in [*self._own, *sampled])])
        self.markets = tuple(sorted({key.symbol for key in self.sources} - {""}))
        self.series = tuple(sorted({key.name for key in self.samples}))
        versions = {bound.column.name: bound.kind.version for bound in columns}
        step = timeframe.value if timeframe is not None and self._foreign else ""
        identity = json.dumps([spec.to_json(), list(self.names), versions, step], sort_keys=True)
        self.digest = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def compute(self, bars: Bars | MarketHistory) -> FloatArray:
        """Return features of shape (n, len(names)), float64; the first `warm_up` rows hold NaN.

        So do values whose other market, longer bar or series is missing. Gaps in the own bars are not looked at here:
        see `rows`.

        Raises:
            UserError: a market or series it needs is not there.
        """
        history = bars if isinstance(bars, MarketHistory) else None
        own: Bars = bars.frame if isinstance(bars, MarketHistory) else bars
        size = len(own.close)
        if size <= self.warm_up:
            return np.full((size, len(self.names)), np.nan)
        matrix = np.empty((size, len(self.names)))
        samples = {key: self._sample(key, own, history) for key in self.samples}
        reach = self.own_window
        block = max(_BLOCK - reach, 4 * reach)
        # Columns are written one after the other, and turned into rows while they are in the cache. Those made of other
        # bars stay NaN until they are joined.
        columns = np.full((len(self.names), min(block, size)), np.nan)
        for start in range(reach, size, block):
            end = min(start + block, size)
            part = {key: values[start - reach : end] for key, values in samples.items()}
            rows = columns[:, : end - start].T
            self.fill_own(rows, cut_bars(own, start - reach, end), part)
            matrix[start:end] = rows
        for key, group in self.sources.items():
            self._join(matrix, own, key, group, history)
        matrix[: self.warm_up] = np.nan
        return matrix

    def rows(self, history: MarketHistory) -> FeatureRows:
        """Return features and which rows are complete: warmed up, without a missing bar, nothing missing elsewhere.

        Raises:
            UserError: a market or series it needs is not there.
        """
        matrix = self.compute(history)
        complete = self.complete_rows(history.frame.time_ns, history.frame.timeframe.ns)
        for position in self.foreign_positions:
            complete &= ~np.isnan(matrix[:, position])
        return FeatureRows(matrix, complete)

    def volatility(self, matrix: FloatArray) -> FloatArray:
        """Return the realised volatility behind unscaled feature rows (n, F), log return per bar, shape (n,)."""
        volatility: FloatArray = np.exp(matrix[:, self.names.index(VOLATILITY)])
        return volatility

    def complete_rows(self, time_ns: IntArray, step_ns: int) -> BoolArray:
        """Return which rows have `warm_up` predecessors without a missing own bar, shape (n,)."""
        complete: BoolArray = bars_since_gap(time_ns, step_ns) >= self.warm_up
        return complete

    def fill_own(self, matrix: FloatArray, bars: Bars, samples: Mapping[SampleKey, FloatArray]) -> None:
        """Write the columns made of own bars and of sampled series at the last bars.

        Args:
            matrix: rows of the last bars, shape (m, F).
            bars: `own_window` bars, then those of the rows.
            samples: of the same bars.
        """
        rows = len(matrix)
        base = tail(bars, rows + self._base_window)
        for position, values in enumerate(_base_columns(base, self.spec)):
            matrix[:, position] = values[-rows:]
        fill_group(matrix, self._own, bars)
        for key, group in self.samples.items():
            for placed in group:
                assert isinstance(placed.bound.kind, SeriesKind)
                reach = rows + placed.bound.warm_up
                _write(matrix, placed, placed.bound.kind.compute(samples[key][-reach:], placed.bound.values))

    def _sample(self, key: SampleKey, own: Bars, history: MarketHistory | None) -> FloatArray:
        points = history.points(key.name) if history else None
        if points is None:
            raise UserError(
                f"The features need the series {key.name!r}, which is not there.", "Name its file in the configuration."
            )
        assert self.timeframe is not None
        return sample_points(points, own.time_ns + self.timeframe.ns, key.max_age_ns)

    def _join(
        self,
        matrix: FloatArray,
        own: Bars,
        key: SourceKey,
        group: list[PlacedColumn],
        history: MarketHistory | None,
    ) -> None:
        assert self.timeframe is not None
        step = self.timeframe.ns
        bars: Bars | None = own if not key.symbol else history.market(key.symbol) if history else None
        if bars is None:
            raise UserError(
                f"The features need the bars of {key.symbol}, which are not there.",
                "Name the market in the configuration.",
            )
        wanted, length = own.time_ns, step
        if key.timeframe:
            longer = Timeframe(key.timeframe)
            wanted, length = last_closed(own.time_ns, step, longer), longer.ns
            bars = aggregate_bars(bars, step, longer)
        index, found = match_times(wanted, bars.time_ns)
        if not found.any():
            return
        since = bars_since_gap(bars.time_ns, length)
        known: dict[_Identity, Outputs] = {}
        for placed in group:
            warm = found & (since[index] >= placed.bound.warm_up)
            outputs = _computed(placed.bound, bars, known)
            for offset, output in enumerate(placed.bound.outputs):
                matrix[:, placed.start + offset] = np.where(warm, outputs[output][index], np.nan)


def fill_group(matrix: FloatArray, group: list[PlacedColumn], bars: Bars) -> None:
    """Write columns at the last bars into their rows, shape (m, F); none looks further back than it must."""
    known: dict[_Identity, Outputs] = {}
    for placed in group:
        _write(matrix, placed, _computed(placed.bound, tail(bars, len(matrix) + placed.bound.warm_up), known))


def _computed(bound: BoundColumn, bars: Bars, known: dict[_Identity, Outputs]) -> Outputs:
    """Return a column's outputs; one indicator with several columns is computed only once."""
    assert isinstance(bound.kind, BarKind)
    identity = (bound.kind.name, tuple(bound.values.items()))
    if identity not in known:
        known[identity] = bound.kind.compute(bars, bound.values)
    return known[identity]


def _write(matrix: FloatArray, placed: PlacedColumn, outputs: Outputs) -> None:
    for offset, output in enumerate(placed.bound.outputs):
        matrix[:, placed.start + offset] = outputs[output][-len(matrix) :]


def _placed(columns: tuple[BoundColumn, ...], start: int) -> list[PlacedColumn]:
    placed = []
    for bound in columns:
        placed.append(PlacedColumn(bound, start))
        start += len(bound.outputs)
    return placed


def _by_source(columns: list[PlacedColumn]) -> dict[SourceKey, list[PlacedColumn]]:
    groups: dict[SourceKey, list[PlacedColumn]] = {}
    for placed in columns:
        if isinstance(placed.bound.kind, BarKind):
            column = placed.bound.column
            groups.setdefault(SourceKey(column.symbol, column.timeframe), []).append(placed)
    return groups


def _by_sample(columns: list[PlacedColumn], step_ns: int) -> dict[SampleKey, list[PlacedColumn]]:
    groups: dict[SampleKey, list[PlacedColumn]] = {}
    for placed in columns:
        if isinstance(placed.bound.kind, SeriesKind):
            key = SampleKey(placed.bound.column.name, placed.bound.max_age_ns(step_ns))
            groups.setdefault(key, []).append(placed)
    return groups


def _base_columns(bars: Bars, spec: FeatureSpec) -> list[FloatArray]:
    market = _market_columns(bars, spec) if spec.name == "market" else []
    return [*_price_columns(bars, spec), *market]


def _price_columns(bars: Bars, spec: FeatureSpec) -> list[FloatArray]:
    slow = realised(bars, spec.window)
    if spec.name == "custom":
        return [ind.log_returns(bars.close), np.log(slow)]
    fast = realised(bars, min(_SHORT_WINDOW, spec.window))
    returns = [ind.log_returns(bars.close, horizon) / (slow * np.sqrt(horizon)) for horizon in spec.horizons]
    return [ind.log_returns(bars.close), *returns, np.log(slow), np.log(fast / slow)]


def _market_columns(bars: Bars, spec: FeatureSpec) -> list[FloatArray]:
    volatility = realised(bars, spec.window)
    spread = ind.average_true_range(bars.high, bars.low, bars.close, _OSCILLATOR_WINDOW)
    return [
        ind.relative_strength(bars.close, _OSCILLATOR_WINDOW),
        np.log(np.maximum(spread, VOLATILITY_FLOOR) / volatility),
        ind.trend(bars.close, TREND_FAST, TREND_SLOW) / (volatility * np.sqrt(TREND_SLOW)),
        ind.range_position(bars.high, bars.low, bars.close, spec.window),
        ind.body(bars.open, bars.high, bars.low, bars.close),
        rolling_zscore(bars.volume, spec.window),
        *ind.time_of_day(bars.time_ns),
        *ind.time_of_week(bars.time_ns),
    ]
