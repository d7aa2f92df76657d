"""Candles on disk: Parquet, one file per origin, symbol, timeframe and month. Any thread.

Files are replaced atomically, so a reader sees either the old or the new month; a lock file keeps writers of one
series apart. Live candles are collected in memory and merged in batches. pyarrow is imported on first use: the window
shows before that.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from core.data.arrow import strings_to_arrow, strings_to_numpy, to_arrow, to_numpy
from core.data.atomic_file import exclusive_lock, flush_folder, write_atomically
from core.data.frame import COLUMNS, PRICE_COLUMNS, CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import DataOrigin
from core.errors import UserError

STREAM_SOURCE = "stream"
FLUSH_ROWS = 256  # live rows of one series kept in memory at most

_MONTH_FILE = re.compile(r"\d{4}-\d{2}\.parquet")


class Series(NamedTuple):
    """Names one price history."""

    origin: DataOrigin
    symbol: str
    timeframe: Timeframe


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """What is on disk of one price history.

    Attributes:
        rows: stored bars of the readable months.
        first_ns / last_ns: open times of the first and the last of them, ns UTC; None where there are none.
        months: number of files.
        size_bytes: their size.
        damaged: files that cannot be read.
    """

    origin: DataOrigin
    symbol: str
    timeframe: Timeframe
    rows: int
    first_ns: int | None
    last_ns: int | None
    months: int
    size_bytes: int
    damaged: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """A frame with the source of every row."""

    frame: CandleFrame
    sources: NDArray[np.str_]


class CandleStore:
    """Price history of all markets under one folder."""

    def __init__(self, root: Path) -> None:
        """Use `root` (created on the first write)."""
        self._root = root
        self._lock = threading.Lock()
        self._pending: dict[Series, list[Candle]] = {}

    def write(self, origin: DataOrigin, frame: CandleFrame, source: str) -> int:
        """Merge `frame` into the store and return how many rows are new or changed.

        For each bar the last written version wins, but a final bar is never replaced by an unfinished one and a
        streamed bar never replaces one that was read by REST or imported.

        Args:
            origin: whose market the bars are of.
            frame: rows in any order; of several rows with one open time the last counts.
            source: where all rows come from.

        Raises:
            UserError: the disk is full, or a file to be merged with is damaged.
        """
        return self._merge(Series(origin, frame.symbol, frame.timeframe), _uniform(frame, source))

    def append(self, origin: DataOrigin, candles: Sequence[Candle]) -> None:
        """Take live candles; they are readable at once and reach the disk with `flush` or in batches.

        Raises:
            UserError: a full batch could not be written; the candles stay in memory.
        """
        full: set[Series] = set()
        with self._lock:
            for candle in candles:
                key = Series(origin, candle.symbol, candle.timeframe)
                rows = self._pending.setdefault(key, [])
                if rows and rows[-1].open_time_ns == candle.open_time_ns and not rows[-1].final:
                    rows[-1] = candle  # the forming bar moved
                else:
                    rows.append(candle)
                if len(rows) >= FLUSH_ROWS:
                    full.add(key)
        for key in full:
            self._flush_series(key)

    def flush(self) -> None:
        """Write all candles kept in memory.

        Raises:
            UserError: they could not be written; they stay in memory.
        """
        with self._lock:
            keys = list(self._pending)
        for key in keys:
            self._flush_series(key)

    def read(
        self,
        origin: DataOrigin,
        symbol: str,
        timeframe: Timeframe,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> CandleFrame:
        """Return the stored bars with `start_ns` <= open time < `end_ns`, oldest first, live ones included.

        Raises:
            UserError: a file of the range is damaged; the message names it.
        """
        key = Series(origin, symbol, timeframe)
        paths = self._month_files(key)
        wanted = [path for path in paths if _overlaps(path, timeframe, start_ns, end_ns)]
        frame = CandleFrame.concat([_read_frame(path, key) for path in wanted], symbol, timeframe)
        frame = frame.between(start_ns, end_ns)
        with self._lock:
            live = list(self._pending.get(key, ()))
        if not live:
            return frame
        fresh = _from_candles(live, key)
        merged, _ = _merge_rows(_uniform(frame, "rest"), fresh)
        return merged.frame.between(start_ns, end_ns)

    def list_series(self) -> list[StoredSeries]:
        """Return what is on disk, sorted by origin, symbol and timeframe."""
        found = []
        for folder in sorted(self._root.glob("*/*/*")):
            if not folder.is_dir() or folder.name not in set(Timeframe):
                continue
            origin = DataOrigin(unquote(folder.parent.parent.name))
            key = Series(origin, _decode_symbol(folder.parent.name), Timeframe(folder.name))
            found.append(self.describe(*key))
        return sorted(found, key=lambda s: (s.origin, s.symbol, s.timeframe.seconds))

    def describe(self, origin: DataOrigin, symbol: str, timeframe: Timeframe) -> StoredSeries:
        """Return what is on disk of one series; damaged files are listed, not raised."""
        key = Series(origin, symbol, timeframe)
        paths = self._month_files(key)
        rows, damaged = 0, []
        readable: list[Path] = []
        for path in paths:
            try:
                rows += _row_count(path)
                readable.append(path)
            except UserError:
                damaged.append(path)  # reported to the caller as a value
        first = int(_read_frame(readable[0], key).time_ns[0]) if readable else None
        last = int(_read_frame(readable[-1], key).time_ns[-1]) if readable else None
        size = sum(path.stat().st_size for path in paths)
        return StoredSeries(origin, symbol, timeframe, rows, first, last, len(paths), size, tuple(damaged))

    def _flush_series(self, key: Series) -> None:
        with self._lock:
            candles = list(self._pending.get(key, ()))
        if candles:
            self._merge(key, _from_candles(candles, key))
        with self._lock:
            written = {id(candle) for candle in candles}  # the forming bar may have been replaced meanwhile
            rest = [candle for candle in self._pending.get(key, ()) if id(candle) not in written]
            if rest:
                self._pending[key] = rest
            else:
                self._pending.pop(key, None)

    def _merge(self, key: Series, fresh: _Rows) -> int:
        if not len(fresh.frame):
            return 0
        months = _month_numbers(fresh.frame.time_ns)
        changed = 0
        with exclusive_lock(self._folder(key) / ".lock"):
            for month in np.unique(months).tolist():
                mask = months == month
                part = _Rows(fresh.frame.select(mask), fresh.sources[mask])
                path = self._folder(key) / f"{np.datetime64(month, 'M')}.parquet"
                stored = _read_rows(path, key) if path.exists() else None
                merged, count = _merge_rows(stored, part)
                if count:
                    write_atomically(path, _encode(merged), sync_folder=False)
                changed += count
            if changed:
                flush_folder(self._folder(key))
        return changed

    def _folder(self, key: Series) -> Path:
        return self._root / quote(key.origin, safe="") / _encode_symbol(key.symbol) / key.timeframe.value

    def _month_files(self, key: Series) -> list[Path]:
        folder = self._folder(key)
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if _MONTH_FILE.fullmatch(path.name))


def _encode_symbol(symbol: str) -> str:
    """Spell a unified symbol as a folder name, reversibly: "BTC/USDT:USDT" becomes "BTC_USDT-USDT"."""
    escaped = quote(symbol, safe="/:").replace("_", "%5F").replace("-", "%2D")
    return escaped.replace("/", "_").replace(":", "-")


def _decode_symbol(name: str) -> str:
    return unquote(name.replace("_", "/").replace("-", ":"))


def _month_numbers(time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return months since January 1970, UTC."""
    return time_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)


def _overlaps(path: Path, timeframe: Timeframe, start_ns: int | None, end_ns: int | None) -> bool:
    month = np.datetime64(path.stem, "M")
    first = int(month.astype("datetime64[ns]").astype(np.int64))
    after = int((month + 1).astype("datetime64[ns]").astype(np.int64))
    return (start_ns is None or after > start_ns) and (end_ns is None or first < end_ns)


def _uniform(frame: CandleFrame, source: str) -> _Rows:
    return _Rows(frame, np.full(len(frame), source))


def _from_candles(candles: Iterable[Candle], key: Series) -> _Rows:
    rows = list(candles)
    return _Rows(CandleFrame.from_candles(rows, key.symbol, key.timeframe), np.array([c.source for c in rows]))


def _merge_rows(stored: _Rows | None, fresh: _Rows) -> tuple[_Rows, int]:
    """Merge by open time after the rule of `CandleStore.write`; also return how many rows changed."""
    if stored is None:
        stored = _Rows(fresh.frame.slice(0, 0), fresh.sources[:0])
    frame = CandleFrame.concat([stored.frame, fresh.frame], fresh.frame.symbol, fresh.frame.timeframe)
    sources = np.concatenate([stored.sources, fresh.sources])
    # Among rows of one bar the highest rank wins and, within a rank, the one written last.
    rank = frame.final.astype(np.int8) * 2 + (sources != STREAM_SOURCE)
    order = np.lexsort((np.arange(len(frame)), rank, frame.time_ns))
    times = frame.time_ns[order]
    last_of_bar = np.append(times[1:] != times[:-1], True)
    keep = order[last_of_bar]
    taken = keep[keep >= len(stored.frame)]
    changed = len(taken) - _unchanged(stored.frame, frame.select(taken))
    return _Rows(frame.select(keep), sources[keep]), changed


def _unchanged(stored: CandleFrame, taken: CandleFrame) -> int:
    """Count the rows of `taken` that `stored` holds already, value for value."""
    if not len(stored) or not len(taken):
        return 0
    at = np.minimum(np.searchsorted(stored.time_ns, taken.time_ns), len(stored) - 1)
    same = np.logical_and.reduce([getattr(stored, name)[at] == getattr(taken, name) for name in COLUMNS])
    return int(np.count_nonzero(same))


def _encode(rows: _Rows) -> memoryview:
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = rows.frame
    columns: dict[str, Any] = {"time": to_arrow(frame.time_ns, pa.timestamp("ns", tz="UTC"))}
    columns |= {name: to_arrow(getattr(frame, name)) for name in PRICE_COLUMNS}
    columns["final"] = to_arrow(frame.final)
    columns["source"] = strings_to_arrow(rows.sources)
    sink = pa.BufferOutputStream()
    # Prices hardly repeat: dictionaries would only cost time.
    pq.write_table(pa.table(columns), sink, compression="lz4", use_dictionary=["source"], write_statistics=["time"])
    return memoryview(sink.getvalue())


def _load(path: Path, columns: Sequence[str]) -> Any:
    """Read a Parquet file of ours and check that it holds what it should."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.py_buffer(path.read_bytes()))
        table = file.read(columns=list(columns), use_threads=False)
        if table.num_columns != len(columns) or table.num_rows == 0:
            raise pa.ArrowInvalid("columns or rows are missing")
    except (pa.ArrowException, OSError) as exc:
        raise _damaged(path) from exc
    return table


def _damaged(path: Path) -> UserError:
    return UserError(f"The candle file {path} is damaged.", "Delete this file and fetch or import that month again.")


def _row_count(path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as exc:
        raise _damaged(path) from exc


def _read_frame(path: Path, key: Series) -> CandleFrame:
    return _to_frame(_load(path, ("time", *PRICE_COLUMNS, "final")), key, path)


def _read_rows(path: Path, key: Series) -> _Rows:
    table = _load(path, ("time", *PRICE_COLUMNS, "final", "source"))
    return _Rows(_to_frame(table, key, path), strings_to_numpy(table.column("source")))


def _to_frame(table: Any, key: Series, path: Path) -> CandleFrame:
    try:
        columns: dict[str, Any] = {name: to_numpy(table.column(name), np.float64) for name in PRICE_COLUMNS}
        columns["time_ns"] = to_numpy(table.column("time"), np.int64)
        columns["final"] = to_numpy(table.column("final"), np.bool_)
        return CandleFrame(**columns, symbol=key.symbol, timeframe=key.timeframe)
    except ValueError as exc:
        raise _damaged(path) from exc
