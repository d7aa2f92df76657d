"""What features are made of: bars of several markets and lengths, and side series with the time they became known.

Pure functions of numpy arrays and pyarrow at the file border; any thread. Nothing here looks ahead: a longer bar counts
once all its own bars have closed, another market's bar at its close, a point of a series from `known_ns` on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.clock import NS_PER_S, from_datetime
from core.data.arrow import to_numpy
from core.data.frame import CandleFrame
from core.data.importer import read_floats, read_table
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.arrays import BoolArray, FloatArray, IntArray

PRICE_COLUMNS = ("open", "high", "low", "close", "volume")
_KNOWN_NAME = "known_at"
_DATE_NAME = "date"


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


@dataclass(frozen=True, slots=True, eq=False)
class PointSeries:
    """Numbers that become known now and then: funding rates, on-chain metrics, book imbalance.

    Attributes:
        name: what columns call it, for example "funding" or "onchain:active_addresses".
        known_ns: when each became known, ns UTC, int64, strictly ascending, shape (m,).
        value: finite, float64, shape (m,).
    """

    name: str
    known_ns: IntArray
    value: FloatArray

    def __post_init__(self) -> None:
        if self.known_ns.dtype != np.int64 or self.value.dtype != np.float64 or self.known_ns.ndim != 1:
            raise ValueError(f"series {self.name}: int64 times and float64 values are needed")
        if self.known_ns.shape != self.value.shape:
            raise ValueError(f"series {self.name}: {len(self.known_ns)} times for {len(self.value)} values")
        if np.any(np.diff(self.known_ns) <= 0):
            raise ValueError(f"series {self.name}: the times do not ascend")
        if not np.isfinite(self.value).all():
            raise ValueError(f"series {self.name}: a value is not finite")


@dataclass(frozen=True, slots=True, eq=False)
class MarketHistory:
    """A market's closed bars with all that its features may look at beside them.

    Attributes:
        frame: the market's own bars.
        others: bars of other markets, of the same length.
        series: side series.
    """

    frame: CandleFrame
    others: tuple[CandleFrame, ...] = field(default=())
    series: tuple[PointSeries, ...] = field(default=())

    def __post_init__(self) -> None:
        for other in self.others:
            if other.timeframe is not self.frame.timeframe:
                raise ValueError(f"{other.symbol} has bars of {other.timeframe}, not of {self.frame.timeframe}")
        for names in ([other.symbol for other in self.others], [points.name for points in self.series]):
            if len(set(names)) < len(names):
                raise ValueError(f"given twice: {', '.join(sorted(names))}")

    def market(self, symbol: str) -> CandleFrame | None:
        """Return another market's bars, or None."""
        return next((other for other in self.others if other.symbol == symbol), None)

    def points(self, name: str) -> PointSeries | None:
        """Return a side series, or None."""
        return next((points for points in self.series if points.name == name), None)


def tail(bars: Bars, count: int) -> BarColumns:
    """Return the last `count` bars, or all if they are fewer, as views."""
    return cut_bars(bars, max(0, len(bars.close) - count), len(bars.close))


def cut_bars(bars: Bars, start: int, stop: int) -> BarColumns:
    """Return bars `start` to `stop` as views."""
    rows = slice(start, stop)
    return BarColumns(
        bars.time_ns[rows], bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows], bars.volume[rows]
    )


def bars_since_gap(time_ns: IntArray, step_ns: int) -> IntArray:
    """Return how many bars directly precede each bar without a gap, shape (n,)."""
    index = np.arange(len(time_ns))
    starts = np.concatenate([[True], np.diff(time_ns) != step_ns]) if len(time_ns) else np.zeros(0, np.bool_)
    run_start: IntArray = np.maximum.accumulate(np.where(starts, index, 0))
    return index - run_start


def floor_times(time_ns: IntArray, timeframe: Timeframe) -> IntArray:
    """Return the open times of the bars of `timeframe` that contain `time_ns`, same shape."""
    offset = timeframe.floor(0)  # weeks open on Mondays, the epoch was a Thursday
    floored: IntArray = (time_ns - offset) // timeframe.ns * timeframe.ns + offset
    return floored


def aggregate_bars(bars: Bars, step_ns: int, timeframe: Timeframe) -> BarColumns:
    """Return the bars of a longer `timeframe`, only those of which no bar of `step_ns` is missing."""
    opens = floor_times(bars.time_ns, timeframe)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(opens) != 0])) if len(opens) else np.zeros(0, np.int64)
    counts = np.diff(np.append(starts, len(opens)))
    whole = counts == timeframe.ns // step_ns
    if not len(starts):
        return BarColumns(bars.time_ns, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return BarColumns(
        opens[starts][whole],
        bars.open[starts][whole],
        np.maximum.reduceat(bars.high, starts)[whole],
        np.minimum.reduceat(bars.low, starts)[whole],
        bars.close[starts + counts - 1][whole],
        np.add.reduceat(bars.volume, starts)[whole],
    )


def last_closed(time_ns: IntArray, step_ns: int, timeframe: Timeframe) -> IntArray:
    """Return the open time of the last bar of `timeframe` that has closed by the close of each own bar, shape (n,)."""
    return floor_times(time_ns + step_ns, timeframe) - timeframe.ns


def match_times(wanted_ns: IntArray, time_ns: IntArray) -> tuple[IntArray, BoolArray]:
    """Return where each wanted time stands in ascending `time_ns`, and whether it is there at all, same shape."""
    if not len(time_ns):
        return np.zeros(len(wanted_ns), np.int64), np.zeros(len(wanted_ns), np.bool_)
    index = np.minimum(np.searchsorted(time_ns, wanted_ns), len(time_ns) - 1)
    return index, time_ns[index] == wanted_ns


def sample_points(points: PointSeries, close_ns: IntArray, max_age_ns: int) -> FloatArray:
    """Return the newest value known at each close, NaN where there is none or it is older than `max_age_ns`."""
    index = np.searchsorted(points.known_ns, close_ns, side="right") - 1
    if not len(points.known_ns):
        return np.full(len(close_ns), np.nan)
    fresh = (index >= 0) & (close_ns - points.known_ns[index] <= max_age_ns)
    return np.where(fresh, points.value[index], np.nan)


def load_point_series(path: Path, name: str, column: str = "value", delay_s: float | None = None) -> PointSeries:
    """Read a side series from a CSV, Feather or Parquet file.

    Args:
        path: the file; its times stand in a column `known_at`, or `date` where a delay is told, with a zone.
        name: of the series.
        column: which column holds the values.
        delay_s: how long after the file's time a value became known; None where nobody said.

    Raises:
        UserError: the file is missing or damaged, its times are without a zone, not ascending or not unique, or they
            are no times of knowing.
    """
    table = read_table(path)
    by_name = {str(found).strip().lower(): found for found in table.column_names}
    known = by_name.get(_KNOWN_NAME, by_name.get(_DATE_NAME))
    value = by_name.get(column.lower())
    if known is None or value is None:
        raise UserError(
            f"{path.name} needs the columns known_at and {column}; it has {', '.join(by_name) or 'none'}.",
            "Rename the columns, or name the column of the values.",
        )
    if _KNOWN_NAME not in by_name and delay_s is None:
        # Candles and funding rates are dated by their beginning: read as known, they would tell the future.
        raise UserError(
            f"The column date of {path.name} does not say when its values became known.",
            "Give a column known_at, or say how many seconds after date a value was known (delay_s; 0 for at once).",
        )
    times = _known_times(table.column(known), path) + round((delay_s or 0.0) * NS_PER_S)
    steps = np.diff(times)
    if np.any(steps <= 0):
        row = int(np.argmax(steps <= 0)) + 2
        raise UserError(
            f"Row {row} of {path.name} is not newer than the row before.", "Sort the rows by time, each time once."
        )
    return PointSeries(name, times, _finite_values(table.column(value), column, path))


def _known_times(column: Any, path: Path) -> IntArray:
    import pyarrow as pa

    naive = UserError(
        f"The times of {path.name} have no time zone.", "Write them in UTC, for example 2024-01-01T00:00:00Z."
    )
    try:
        if pa.types.is_timestamp(column.type):
            if column.type.tz is None:
                raise naive
            times: IntArray = to_numpy(column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64()), np.int64)
            return times
        if pa.types.is_date(column.type):
            raise naive
        moments = [_parse_moment(value.as_py()) for chunk in column.chunks for value in chunk]
    except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise UserError(
            f"The times of {path.name} cannot be read: {str(exc).splitlines()[0].rstrip('.')}.",
            "Write them as ISO 8601 in UTC, for example 2024-01-01T00:00:00Z.",
        ) from exc
    if None in moments:
        raise naive
    return np.array(moments, np.int64)


def _parse_moment(text: str) -> int | None:
    """Return ns since the epoch, or None for a time without a zone."""
    moment = datetime.fromisoformat(text.strip())
    return from_datetime(moment) if moment.tzinfo else None


def _finite_values(column: Any, name: str, path: Path) -> FloatArray:
    values = read_floats(column, name, path)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values))) + 1
        raise UserError(f"Row {row} of {path.name} has no valid {name}.", "Repair the file.")
    return values
