"""Price history from other people's files: CSV, Feather and Parquet. Any thread; meant for a job child.

Columns are recognised by name (date, timestamp, open_time … open, high, low, close, volume) or, in a CSV without a
header, by position as exchanges publish them. Times may be epoch seconds to nanoseconds or ISO 8601. What cannot be
understood is refused with one sentence; market and bar length may be told from the file's name, and the result says so.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.clock import Clock, SystemClock, from_datetime, to_datetime
from core.data.arrow import to_numpy
from core.data.frame import PRICE_COLUMNS, CandleFrame, FloatArray, IntArray
from core.domain.candles import Timeframe
from core.errors import UserError
from core.user_path import user_path

SUFFIXES = (".csv", ".csv.gz", ".feather", ".parquet")

_TIME_NAMES = ("date", "timestamp", "open_time", "time", "datetime", "open time", "opentime", "unix")
_ALIASES = {
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "v", "vol", "volume_base", "base_volume"),
}
_MONEY = ("USDT", "FDUSD", "USDC", "BUSD", "TUSD", "KRW", "USD", "EUR")
_COINS = ("BTC", "ETH", "BNB")  # that others are priced in too
_VENUES = ("BINANCE", "UPBIT", "BITHUMB", "BYBIT", "OKX", "KRAKEN", "COINBASE", "BITFINEX")
_TIMEFRAME = re.compile(r"(?<![0-9A-Za-z])(\d{1,2}[mhdw])(?![0-9A-Za-z])")
_SYMBOL = re.compile(r"[0-9A-Z.\-]+/[0-9A-Z.\-]+(:[0-9A-Z.\-]+)?")
# Each unit's range covers the years 1990 to 2255; they do not overlap.
_UNITS = ((9_000_000_000, 1_000_000_000), (9_000_000_000_000, 1_000_000), (9_000_000_000_000_000, 1_000))


@dataclass(frozen=True, slots=True)
class ImportResult:
    """An imported file.

    Attributes:
        frame: its bars, sorted, each open time once.
        duplicates: rows dropped because a later row had the same open time.
        resorted: whether the file was not in order.
    """

    frame: CandleFrame
    duplicates: int
    resorted: bool


def import_candles(
    path: Path,
    *,
    symbol: str | None = None,
    timeframe: Timeframe | None = None,
    clock: Clock | None = None,
) -> ImportResult:
    """Read a file of candles.

    Args:
        path: the file.
        symbol: unified symbol; taken from the file's name where None ("BTC_USDT-1h.feather").
        timeframe: bar length; taken from the name, else from the spacing of the rows, where None.
        clock: says which bar is still unfinished; the system's clock where None.

    Raises:
        UserError: the file is missing, unreadable, not understood or holds impossible values.
    """
    table = read_table(path)
    columns = _find_columns(table, path)
    times = _times(table.column(columns["time"]), path)
    prices = {name: read_floats(table.column(columns[name]), name, path) for name in PRICE_COLUMNS}
    if not len(times):
        raise UserError(f"{path.name} holds no rows.", "Choose another file.")
    chosen = timeframe or guess_timeframe(path.name) or _timeframe_of(times, path)
    market = symbol or guess_symbol(path.name)
    if market is None:
        raise UserError(
            f"The market cannot be told from the name {path.name}.",
            "Name the file like BTC_USDT-1h.csv, or the market with --symbol, e.g. BTC/USDT.",
        )
    if not _SYMBOL.fullmatch(market):
        raise UserError(f"{market!r} is no market name.", "Write it like BTC/USDT.")
    _check_spacing(times, chosen, path)
    _check_values(times, prices, chosen, path)
    order = np.argsort(times, kind="stable")
    keep = order[np.append(np.diff(times[order]) != 0, True)]
    now_ns = (clock or SystemClock()).now_ns()
    columns_kept: dict[str, Any] = {name: values[keep] for name, values in prices.items()}
    frame = CandleFrame(
        time_ns=times[keep], **columns_kept, final=times[keep] + chosen.ns <= now_ns, symbol=market, timeframe=chosen
    )
    return ImportResult(frame, len(times) - len(keep), bool(np.any(np.diff(times) < 0)))


def guess_symbol(name: str) -> str | None:
    """Return the unified symbol a file name speaks of, e.g. "BTC/USDT" from "BTC_USDT-1h.feather", or None."""
    stem = name.split(".")[0].upper()
    words = [word for word in re.split(r"[^0-9A-Z]+", stem) if word and word not in _VENUES]
    # Money first: in "small-BTC_USDT" it is the bitcoin that has a price, not the word before it.
    for quotes in (_MONEY, _COINS):
        for base, quote, settle in zip(words, words[1:], [*words[2:], ""], strict=False):
            if quote in quotes and base not in _MONEY:
                return f"{base}/{quote}:{settle}" if settle == quote else f"{base}/{quote}"
    for word in words:
        for quote in (*_MONEY, *_COINS):
            if word.endswith(quote) and len(word) > len(quote) + 1:
                return f"{word.removesuffix(quote)}/{quote}"
    return None


def guess_timeframe(name: str) -> Timeframe | None:
    """Return the bar length a file name speaks of, e.g. 1h from "BTC_USDT-1h.feather", or None."""
    for match in _TIMEFRAME.finditer(name.replace("_", "-")):
        if match.group(1) in set(Timeframe):
            return Timeframe(match.group(1))
    return None


def read_table(path: Path) -> Any:
    """Return a CSV, Feather or Parquet file as an Arrow table.

    Raises:
        UserError: no such file, of another type, or damaged.
    """
    name = path.name.lower()
    if not user_path(path).is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    if not name.endswith(SUFFIXES):
        raise UserError(f"{path.name} is no file type that can be imported.", "Use CSV, Feather or Parquet.")
    import pyarrow as pa

    try:
        if name.endswith(".feather"):
            with pa.memory_map(str(path)) as source:
                return pa.ipc.open_file(source).read_all()
        if name.endswith(".parquet"):
            import pyarrow.parquet as pq

            return pq.ParquetFile(path).read()
        return _read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        reason = str(exc).splitlines()[0].rstrip(".") if str(exc) else type(exc).__name__
        raise UserError(f"{path.name} is damaged or not what its name says: {reason}.", "Get the file again.") from exc


def _read_csv(path: Path) -> Any:
    from pyarrow import csv

    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        first_line = file.readline(65_536).decode("utf-8-sig")
    delimiter = max(",;\t", key=first_line.count)
    cells = [cell.strip().strip('"') for cell in first_line.strip().split(delimiter)]
    headless = len(cells) >= 6 and all(re.fullmatch(r"[-+.\d:TZ eE]+", cell) for cell in cells[:6])
    names = [*(("open_time", *PRICE_COLUMNS)), *(f"extra{i}" for i in range(len(cells) - 6))] if headless else None
    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(column_names=names),
        parse_options=csv.ParseOptions(delimiter=delimiter),
    )


def _find_columns(table: Any, path: Path) -> dict[str, str]:
    by_name = {str(name).strip().lower(): name for name in table.column_names}
    found = {}
    for wanted, aliases in {"time": _TIME_NAMES, **_ALIASES}.items():
        name = next((by_name[alias] for alias in aliases if alias in by_name), None)
        if name is None:
            seen = ", ".join(str(n) for n in table.column_names[:8])
            raise UserError(
                f"{path.name} has no column for {wanted} (it has: {seen}).",
                "Rename the columns to date, open, high, low, close, volume.",
            )
        found[wanted] = name
    return found


def _times(column: Any, path: Path) -> IntArray:
    """Return open times as ns since the epoch, whatever the column's type."""
    import pyarrow as pa

    try:
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return to_numpy(column.cast(pa.timestamp("ns")).cast(pa.int64()), np.int64)
        if pa.types.is_integer(kind):
            return _epoch_to_ns(to_numpy(column.cast(pa.int64()), np.int64))
        if pa.types.is_floating(kind):
            return _epoch_to_ns(to_numpy(column.cast(pa.float64()), np.float64))
        return np.array([_parse_iso(value.as_py()) for chunk in column.chunks for value in chunk], np.int64)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as exc:
        raise UserError(
            f"The times of {path.name} cannot be read: {str(exc).splitlines()[0].rstrip('.')}.",
            "Use epoch seconds, milliseconds, microseconds or nanoseconds, or ISO 8601 in UTC.",
        ) from exc


def _parse_iso(text: str) -> int:
    moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _epoch_to_ns(values: NDArray[Any]) -> IntArray:
    if not len(values):
        return values.astype(np.int64)
    if not np.isfinite(values).all() or values.min() <= 0:
        raise ValueError("they are not positive numbers")
    highest = float(values.max())
    for limit, factor in _UNITS:
        if highest < limit:
            if values.dtype.kind == "f":
                return np.round(values * (factor / 1_000)).astype(np.int64) * 1_000
            return values.astype(np.int64) * factor
    return values.astype(np.int64)


def read_floats(column: Any, name: str, path: Path) -> FloatArray:
    """Return an Arrow column as numbers; an empty cell becomes NaN.

    Raises:
        UserError: a cell is no number.
    """
    import pyarrow as pa

    try:
        numbers = column.cast(pa.float64())
        return to_numpy(numbers.fill_null(float("nan")) if numbers.null_count else numbers, np.float64)
    except (pa.ArrowException, ValueError) as exc:
        raise UserError(
            f"Column {name} of {path.name} holds something that is no number: {str(exc).splitlines()[0].rstrip('.')}.",
            "Repair the file.",
        ) from exc


def _timeframe_of(times: IntArray, path: Path) -> Timeframe:
    steps, counts = np.unique(np.diff(np.unique(times)), return_counts=True)
    common = int(steps[counts.argmax()]) if len(steps) else 0
    for timeframe in Timeframe:
        if timeframe.ns == common:
            return timeframe
    raise UserError(
        f"The bar length of {path.name} cannot be told from its rows.", "Name it with --timeframe, e.g. 1h."
    )


def _check_spacing(times: IntArray, timeframe: Timeframe, path: Path) -> None:
    """Refuse bars that are all further apart than their alleged length: a wrong label would look like gaps for ever."""
    steps = np.diff(np.unique(times))
    if len(steps) >= 2 and int(steps.min()) > timeframe.ns:
        apart = next((t.value for t in Timeframe if t.ns == int(steps.min())), f"{int(steps.min()) / 1e9:g} s")
        raise UserError(
            f"The bars of {path.name} are {apart} apart, not {timeframe.value}.", "Give the right --timeframe."
        )


def _check_values(times: IntArray, prices: dict[str, FloatArray], timeframe: Timeframe, path: Path) -> None:
    def refuse(bad: NDArray[np.bool_], what: str, remedy: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            when = to_datetime(int(times[row])).strftime("%Y-%m-%d %H:%M")
            raise UserError(f"Row {row + 1} of {path.name} ({when} UTC) {what}.", remedy)

    offset = (times - timeframe.floor(0)) % timeframe.ns
    refuse(offset != 0, f"does not open on a multiple of {timeframe.value}", "Give the right --timeframe.")
    for name in ("open", "high", "low", "close"):
        refuse(~(np.isfinite(prices[name]) & (prices[name] > 0)), f"has no valid {name} price", "Repair the file.")
    volume = prices["volume"]
    refuse(~(np.isfinite(volume) & (volume >= 0)), "has no valid volume", "Repair the file.")
    refuse(prices["high"] < prices["low"], "has a high below its low", "Repair the file.")
