"""Named, versioned feature sets: candles in, scale-free causal numbers out. Any thread; numpy only.

One function serves training, backtest and live trading: the batch computes it over the whole history, the stream over
a buffer just long enough, and both give the same numbers because every indicator has a finite window. Rows whose
window would cross a missing bar are not complete and are masked out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from core.domain.candles import Candle
from core.errors import UserError
from core.indicators import indicators as ind
from core.indicators.rolling import rolling_zscore
from ml.api import TREND_FAST, TREND_SLOW, FeatureSpec, warm_up_bars
from ml.arrays import BoolArray, Float32Array, FloatArray, IntArray
from ml.jsonvalues import JsonValue

_VOLATILITY = "volatility"  # the column that sets the unit of targets
_VOLATILITY_FLOOR = 1e-8  # log return per bar; a market that stands still has no scale of its own
_SHORT_WINDOW = 12
_OSCILLATOR_WINDOW = 14
_COLUMNS = ("open", "high", "low", "close", "volume")


class Bars(Protocol):
    """Columns of one market, oldest first, shapes (n,); `core.data.frame.CandleFrame` is one."""

    @property
    def time_ns(self) -> IntArray:
        """Open times, ns UTC."""
        ...

    @property
    def open(self) -> FloatArray:
        """Opening prices."""
        ...

    @property
    def high(self) -> FloatArray:
        """Highest prices."""
        ...

    @property
    def low(self) -> FloatArray:
        """Lowest prices."""
        ...

    @property
    def close(self) -> FloatArray:
        """Closing prices."""
        ...

    @property
    def volume(self) -> FloatArray:
        """Base currency traded."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class BarColumns:
    """Plain columns, where no `CandleFrame` is at hand."""

    time_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray


class FeaturePipeline:
    """One feature set with its look-backs.

    Attributes:
        spec: what it was built from.
        names: one name per column.
        warm_up: bars that must precede a complete row.
        digest: hash of name, version, look-backs and column names; a model is used only with the digest it was
            trained with.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        spec.validate()
        self.spec = spec
        self.names = _column_names(spec)
        self.warm_up = warm_up_bars(spec)
        identity = json.dumps([spec.to_json(), list(self.names)], sort_keys=True)
        self.digest = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def compute(self, bars: Bars) -> FloatArray:
        """Return features of shape (n, len(names)), float64; the first `warm_up` rows hold NaN.

        Gaps in time are not looked at here: see `complete_rows`.
        """
        size = len(bars.close)
        if size <= self.warm_up:
            return np.full((size, len(self.names)), np.nan)
        columns = _price_columns(bars, self.spec)
        if self.spec.name == "market":
            columns += _market_columns(bars, self.spec)
        matrix = np.column_stack(columns)
        matrix[: self.warm_up] = np.nan
        return matrix

    def volatility(self, matrix: FloatArray) -> FloatArray:
        """Return the realised volatility behind unscaled feature rows (n, F), log return per bar, shape (n,)."""
        volatility: FloatArray = np.exp(matrix[:, self.names.index(_VOLATILITY)])
        return volatility

    def complete_rows(self, time_ns: IntArray, step_ns: int) -> BoolArray:
        """Return which rows have `warm_up` predecessors without a missing bar, shape (n,)."""
        complete: BoolArray = bars_since_gap(time_ns, step_ns) >= self.warm_up
        return complete


def bars_since_gap(time_ns: IntArray, step_ns: int) -> IntArray:
    """Return how many bars directly precede each bar without a gap, shape (n,)."""
    index = np.arange(len(time_ns))
    starts = np.concatenate([[True], np.diff(time_ns) != step_ns]) if len(time_ns) else np.zeros(0, np.bool_)
    run_start: IntArray = np.maximum.accumulate(np.where(starts, index, 0))
    return index - run_start


def _column_names(spec: FeatureSpec) -> tuple[str, ...]:
    names = ["log_return", *(f"return_{horizon}" for horizon in spec.horizons), _VOLATILITY, "volatility_ratio"]
    if spec.name == "market":
        names += ["rsi", "atr", "macd", "range_position", "body", "volume_z"]
        names += ["day_sin", "day_cos", "week_sin", "week_cos"]
    return tuple(names)


def _volatility(bars: Bars, window: int) -> FloatArray:
    return np.maximum(ind.realised_volatility(bars.close, window), _VOLATILITY_FLOOR)


def _price_columns(bars: Bars, spec: FeatureSpec) -> list[FloatArray]:
    slow = _volatility(bars, spec.window)
    fast = _volatility(bars, min(_SHORT_WINDOW, spec.window))
    returns = [ind.log_returns(bars.close, horizon) / (slow * np.sqrt(horizon)) for horizon in spec.horizons]
    return [ind.log_returns(bars.close), *returns, np.log(slow), np.log(fast / slow)]


def _market_columns(bars: Bars, spec: FeatureSpec) -> list[FloatArray]:
    volatility = _volatility(bars, spec.window)
    spread = ind.average_true_range(bars.high, bars.low, bars.close, _OSCILLATOR_WINDOW)
    return [
        ind.relative_strength(bars.close, _OSCILLATOR_WINDOW),
        np.log(np.maximum(spread, _VOLATILITY_FLOOR) / volatility),
        ind.trend(bars.close, TREND_FAST, TREND_SLOW) / (volatility * np.sqrt(TREND_SLOW)),
        ind.range_position(bars.high, bars.low, bars.close, spec.window),
        ind.body(bars.open, bars.high, bars.low, bars.close),
        rolling_zscore(bars.volume, spec.window),
        *ind.time_of_day(bars.time_ns),
        *ind.time_of_week(bars.time_ns),
    ]


@dataclass(frozen=True, slots=True)
class RobustScaler(JsonValue):
    """Centres by the median, scales by the interquartile range, clips; fitted on the training part only.

    Attributes:
        names: columns it was fitted on.
        center / scale: one number per column.
        clip: largest absolute value let through.
    """

    names: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    clip: float = 6.0

    @classmethod
    def fit(cls, matrix: FloatArray, names: tuple[str, ...]) -> Self:
        """Fit on complete rows, shape (n, len(names)).

        Raises:
            ValueError: the rows are empty or not finite.
        """
        if not len(matrix) or not np.isfinite(matrix).all():
            raise ValueError("a scaler is fitted on complete, finite rows")
        low, middle, high = np.quantile(matrix, (0.25, 0.5, 0.75), axis=0)
        spread = (high - low) / 1.349  # equals the standard deviation of a normal variable
        spread = np.where(spread > 1e-9, spread, matrix.std(axis=0))
        spread = np.where(spread > 1e-9, spread, 1.0)  # a constant column stays constant
        return cls(names, tuple(middle.tolist()), tuple(spread.tolist()))

    def transform(self, matrix: FloatArray) -> Float32Array:
        """Return scaled rows, float32, same shape; incomplete rows (NaN) become zero rows."""
        scaled = (matrix - np.asarray(self.center)) / np.asarray(self.scale)
        filled: Float32Array = np.nan_to_num(np.clip(scaled, -self.clip, self.clip), nan=0.0).astype(np.float32)
        return filled


class StreamingFeatures:
    """The same features bar by bar with a bounded buffer.

    A missing bar empties the buffer: the next complete row needs `warm_up` new bars.
    """

    def __init__(self, pipeline: FeaturePipeline, step_ns: int) -> None:
        self._pipeline = pipeline
        self._step_ns = step_ns
        self._length = pipeline.warm_up + 1
        # Twice the length, so that rows move only once per `length` bars.
        self._values = np.empty((len(_COLUMNS), 2 * self._length))
        self._times = np.empty(2 * self._length, np.int64)
        self._filled = 0

    @property
    def last_time_ns(self) -> int | None:
        """Open time of the newest bar, or None."""
        return int(self._times[self._filled - 1]) if self._filled else None

    def reset(self) -> None:
        """Forget every bar."""
        self._filled = 0

    def push(self, candle: Candle) -> FloatArray | None:
        """Add the next closed bar and return its row, shape (F,), float64, or None while warming up.

        Raises:
            ValueError: the bar is not final or not newer than the last one.
        """
        last = self.last_time_ns
        if not candle.final:
            raise ValueError("features are made of closed bars only")
        if last is not None and candle.open_time_ns <= last:
            raise ValueError(f"bar {candle.open_time_ns} does not follow {last}")
        if last is not None and candle.open_time_ns != last + self._step_ns:
            self.reset()
        self._append(candle)
        if self._filled < self._length:
            return None
        window = slice(self._filled - self._length, self._filled)
        bars = BarColumns(self._times[window], *(column[window] for column in self._values))
        row: FloatArray = self._pipeline.compute(bars)[-1]
        return row

    def _append(self, candle: Candle) -> None:
        if self._filled == len(self._times):
            keep = self._length - 1
            self._values[:, :keep] = self._values[:, -keep:]
            self._times[:keep] = self._times[-keep:]
            self._filled = keep
        self._values[:, self._filled] = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        self._times[self._filled] = candle.open_time_ns
        self._filled += 1


def row_hash(row: Float32Array) -> str:
    """Return a short hash of one scaled feature row: the evidence kept with each forecast."""
    return hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest()


def pipeline_for(spec: FeatureSpec, digest: str) -> FeaturePipeline:
    """Build the pipeline a model was trained with.

    Raises:
        UserError: this version of the program computes that feature set differently.
    """
    pipeline = FeaturePipeline(spec)
    if pipeline.digest != digest:
        raise UserError(
            f"The model was trained with another form of the feature set {spec.name!r}.",
            "Train it again with this version of the program.",
        )
    return pipeline


@dataclass(frozen=True, slots=True)
class TargetUnit(JsonValue):
    """The unit of the network's outputs at each bar: recent volatility over the horizon, with a floor.

    A network that learns in these units carries over from wild years to calm ones.

    Attributes:
        horizons: bars ahead, ascending.
        floor: smallest volatility used, log return per bar; a share of the training part's median.
        scales: standard deviation of the training targets in units of volatility, one per horizon.
    """

    horizons: tuple[int, ...]
    floor: float
    scales: tuple[float, ...]

    def at(self, volatility: FloatArray) -> FloatArray:
        """Return the unit in log return over each horizon for realised volatilities (n,), shape (n, H)."""
        factors = np.asarray(self.scales) * np.sqrt(np.asarray(self.horizons, np.float64))
        unit: FloatArray = np.maximum(volatility, self.floor)[:, None] * factors
        return unit


@dataclass(frozen=True, slots=True)
class Scaling(JsonValue):
    """Content of scaler.json: how numbers enter the network and what its outputs mean."""

    inputs: RobustScaler
    target: TargetUnit
