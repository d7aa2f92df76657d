"""The features of `ml.feature_pipeline` bar by bar with bounded buffers. One thread at a time.

Every group of columns keeps just as many bars as its values look back at, so one row costs the same after a year as
after a day. Longer bars are put together from own bars as they close, and their columns are computed when one closes.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from core.domain.candles import Candle, Timeframe
from ml.arrays import FloatArray
from ml.feature_pipeline import FeaturePipeline, PlacedColumn, SourceKey, fill_group
from ml.feature_sources import PRICE_COLUMNS, BarColumns

_Prices = tuple[float, float, float, float, float]  # as `PRICE_COLUMNS`


class _BarBuffer:
    """The last `length` contiguous bars, with extra numbers beside the prices of each."""

    def __init__(self, step_ns: int, length: int, extra: int = 0) -> None:
        self._step_ns = step_ns
        self._length = length
        # Twice the length, so that rows move only once per `length` bars.
        self._values = np.empty((len(PRICE_COLUMNS) + extra, 2 * length))
        self._times = np.empty(2 * length, np.int64)
        self._filled = 0

    @property
    def last_time_ns(self) -> int | None:
        """Open time of the newest bar, or None."""
        return int(self._times[self._filled - 1]) if self._filled else None

    @property
    def is_full(self) -> bool:
        """Whether `length` bars are there."""
        return self._filled >= self._length

    def clear(self) -> None:
        """Forget every bar."""
        self._filled = 0

    def push(self, time_ns: int, values: tuple[float, ...]) -> bool:
        """Add a bar; a missing one before it empties the buffer first. Returns whether it followed without a gap."""
        last = self.last_time_ns
        follows = last is not None and time_ns == last + self._step_ns
        if not follows:
            self.clear()
        if self._filled == len(self._times):
            keep = self._length - 1
            self._values[:, :keep] = self._values[:, self._filled - keep : self._filled]
            self._times[:keep] = self._times[self._filled - keep : self._filled]
            self._filled = keep
        self._values[:, self._filled] = values
        self._times[self._filled] = time_ns
        self._filled += 1
        return follows

    def window(self) -> tuple[BarColumns, FloatArray]:
        """Return the last `length` bars, and their extra numbers, shape (extra, length)."""
        window = slice(self._filled - self._length, self._filled)
        prices = self._values[: len(PRICE_COLUMNS), window]
        return BarColumns(self._times[window], *prices), self._values[len(PRICE_COLUMNS) :, window]


class _Aggregator:
    """Puts bars of a longer timeframe together; one with a missing own bar never comes out."""

    def __init__(self, step_ns: int, timeframe: Timeframe) -> None:
        self._timeframe = timeframe
        self._needed = timeframe.ns // step_ns
        self._open_ns = -1
        self._count = 0
        self._prices: _Prices = (0.0, 0.0, 0.0, 0.0, 0.0)

    def push(self, time_ns: int, prices: _Prices) -> tuple[int, _Prices] | None:
        """Add an own bar and return the longer bar it completes, if it does."""
        opened = self._timeframe.floor(time_ns)
        if opened != self._open_ns:
            self._open_ns, self._count, self._prices = opened, 0, prices
        else:
            open_, high, low, _, volume = self._prices
            self._prices = (open_, max(high, prices[1]), min(low, prices[2]), prices[3], volume + prices[4])
        self._count += 1
        return (opened, self._prices) if self._count == self._needed else None


class _Source:
    """One group of columns made of other bars than the own ones."""

    def __init__(self, key: SourceKey, group: list[PlacedColumn], width: int, step_ns: int) -> None:
        longer = Timeframe(key.timeframe) if key.timeframe else None
        self.symbol = key.symbol
        self._group, self._step_ns, self._longer = group, step_ns, longer
        self._positions = [p.start + i for p in group for i in range(len(p.bound.outputs))]
        length = max(placed.bound.warm_up for placed in group) + 1
        self._buffer = _BarBuffer(longer.ns if longer else step_ns, length)
        self._aggregator = _Aggregator(step_ns, longer) if longer else None
        self._values = np.full(width, np.nan)
        self._computed_ns: int | None = None

    def push(self, time_ns: int, prices: _Prices) -> None:
        """Add a bar of the own length."""
        made = self._aggregator.push(time_ns, prices) if self._aggregator else (time_ns, prices)
        if made is not None:
            self._buffer.push(*made)

    def fill(self, row: FloatArray, time_ns: int) -> bool:
        """Write its values at the close of the own bar that opened at `time_ns`; returns whether they are there."""
        longer = self._longer
        wanted = longer.floor(time_ns + self._step_ns) - longer.ns if longer else time_ns
        if self._buffer.last_time_ns != wanted or not self._buffer.is_full:
            return False
        if self._computed_ns != wanted:
            fill_group(self._values[None], self._group, self._buffer.window()[0])
            self._computed_ns = wanted
        row[self._positions] = self._values[self._positions]
        return True


class _Points:
    """What has become known of one side series."""

    def __init__(self) -> None:
        self._pending: deque[tuple[int, float]] = deque()
        self._known: tuple[int, float] | None = None

    @property
    def newest_ns(self) -> int | None:
        """When the newest point became or becomes known, or None."""
        newest = self._pending[-1] if self._pending else self._known
        return newest[0] if newest else None

    def push(self, known_ns: int, value: float) -> None:
        """Add a point; it counts from the first bar that closes at `known_ns` or later."""
        self._pending.append((known_ns, value))

    def advance(self, close_ns: int) -> None:
        """Take over what is known at a close."""
        while self._pending and self._pending[0][0] <= close_ns:
            self._known = self._pending.popleft()

    def sample(self, close_ns: int, max_age_ns: int) -> float:
        """Return the newest value known at a close, NaN where there is none or it is too old."""
        fresh = self._known is not None and close_ns - self._known[0] <= max_age_ns
        return self._known[1] if self._known is not None and fresh else np.nan


class StreamingFeatures:
    """The same features bar by bar.

    A missing own bar makes the next complete row wait for `warm_up` new bars. Where columns look at other markets or
    side series, `push_other` and `push_point` bring what is known by the close of an own bar before `push` brings that.
    """

    def __init__(self, pipeline: FeaturePipeline, step_ns: int) -> None:
        self._pipeline = pipeline
        self._step_ns = step_ns
        self._samples = tuple(pipeline.samples)
        self.reset()

    @property
    def last_time_ns(self) -> int | None:
        """Open time of the newest own bar, or None."""
        return self._own.last_time_ns

    def reset(self) -> None:
        """Forget everything."""
        pipeline, step = self._pipeline, self._step_ns
        self._own = _BarBuffer(step, pipeline.own_window + 1, len(self._samples))
        self._bars_in_a_row = 0
        width = len(pipeline.names)
        self._sources = [_Source(key, group, width, step) for key, group in pipeline.sources.items()]
        self._pending: dict[str, deque[tuple[int, _Prices]]] = {symbol: deque() for symbol in pipeline.markets}
        self._last_other: dict[str, int] = {}
        self._points = {name: _Points() for name in pipeline.series}

    def push_other(self, symbol: str, candle: Candle) -> None:
        """Add the next closed bar of another market; before the own bar of the same time.

        Raises:
            ValueError: no column looks at that market, or the bar is not final or not newer than the last one.
        """
        if symbol not in self._pending:
            raise ValueError(f"no feature looks at {symbol}")
        _check_next(candle, self._last_other.get(symbol))
        self._last_other[symbol] = candle.open_time_ns
        self._pending[symbol].append((candle.open_time_ns, _prices(candle)))

    def push_point(self, name: str, known_ns: int, value: float) -> None:
        """Add the next point of a side series; before the own bar that closes after it became known.

        Raises:
            ValueError: no column looks at that series, the value is not finite, the point is not newer than the last
                one, or a bar that closed after it is in already: its row did not know the point.
        """
        points = self._points.get(name)
        if points is None:
            raise ValueError(f"no feature looks at the series {name}")
        if not np.isfinite(value):
            raise ValueError(f"{value} in the series {name} is not finite")
        last = self.last_time_ns
        if points.newest_ns is not None and known_ns <= points.newest_ns:
            raise ValueError(f"point {known_ns} of {name} does not follow {points.newest_ns}")
        if last is not None and known_ns <= last + self._step_ns:
            raise ValueError(f"point {known_ns} of {name} comes after the bar that should have known it")
        points.push(known_ns, value)

    def push(self, candle: Candle) -> FloatArray | None:
        """Add the next closed own bar and return its row, shape (F,), float64, or None while anything is missing.

        Raises:
            ValueError: the bar is not final or not newer than the last one.
        """
        _check_next(candle, self.last_time_ns)
        time_ns, prices = candle.open_time_ns, _prices(candle)
        close_ns = time_ns + self._step_ns
        for points in self._points.values():
            points.advance(close_ns)
        sampled = [self._points[key.name].sample(close_ns, key.max_age_ns) for key in self._samples]
        follows = self._own.push(time_ns, (*prices, *sampled))
        self._bars_in_a_row = self._bars_in_a_row + 1 if follows else 1
        self._feed_sources(time_ns, prices)
        if self._bars_in_a_row <= self._pipeline.warm_up:
            return None
        return self._row(time_ns)

    def _feed_sources(self, time_ns: int, prices: _Prices) -> None:
        for source in self._sources:
            if not source.symbol:
                source.push(time_ns, prices)
        for symbol, pending in self._pending.items():
            while pending and pending[0][0] <= time_ns:
                bar = pending.popleft()
                for source in self._sources:
                    if source.symbol == symbol:
                        source.push(*bar)

    def _row(self, time_ns: int) -> FloatArray | None:
        bars, sampled = self._own.window()
        row: FloatArray = np.full(len(self._pipeline.names), np.nan)
        self._pipeline.fill_own(row[None], bars, dict(zip(self._samples, sampled, strict=True)))
        if not all(source.fill(row, time_ns) for source in self._sources):
            return None
        return None if np.isnan(row[self._pipeline.foreign_positions]).any() else row


def _check_next(candle: Candle, last: int | None) -> None:
    if not candle.final:
        raise ValueError("features are made of closed bars only")
    if last is not None and candle.open_time_ns <= last:
        raise ValueError(f"bar {candle.open_time_ns} does not follow {last}")


def _prices(candle: Candle) -> _Prices:
    return (candle.open, candle.high, candle.low, candle.close, candle.volume)
