"""A market replayed from stored bars. Pure reading and arithmetic; one thread at a time.

Each bar's trades are derived from its open, high, low, close and volume by the same closed form as the synthetic
market's, seeded by the bar's time, and aggregate to it exactly (rounded to tick and lot). Missing bars stay missing:
the market was silent, and klines skip them as the venue's own do after an outage.
"""

from __future__ import annotations

import csv
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from core.practice import paths
from core.practice.bars import INTERVALS, MINUTE_MS, TIME, Ints, aggregate, floor_open
from core.practice.paths import RECIPE_COLUMNS, Trades
from core.practice.specs import MarketSpec, infer_scales, known_scales, split_symbol

Floats = npt.NDArray[np.float64]

_COLUMNS: Final = ("open", "high", "low", "close", "volume")
_PAIRS_PER_MINUTE: Final = 12
_MAX_PAIRS: Final = 240
_TIME_UNITS: Final = {"s": 1_000, "ms": 1, "us": 1e-3, "ns": 1e-6}


class ReplayMarket:
    """`MarketSource` of stored bars, one market per file; all files share one bar length."""

    def __init__(self, source_id: str, base_ms: int, markets: Mapping[str, tuple[MarketSpec, Ints]]) -> None:
        """Take markets as (spec, recipes); recipes are (RECIPE_COLUMNS, n), sorted by time."""
        self._source_id = source_id
        self._base_ms = base_ms
        self._specs = {symbol: spec for symbol, (spec, _) in markets.items()}
        self._recipes = {symbol: recipe for symbol, (_, recipe) in markets.items()}
        self._bars = {(symbol, base_ms): paths.bars_of(recipe) for symbol, recipe in self._recipes.items()}
        self._opens: Ints = np.unique(np.concatenate([recipe[paths.R_TIME] for recipe in self._recipes.values()]))

    @classmethod
    def from_files(cls, files: Sequence[Path]) -> ReplayMarket:
        """Read bars from Feather, Parquet or CSV; a file's name begins with its symbol, e.g. BTC_USDT-1h.feather.

        Raises:
            UserError: a file is missing, unreadable or no table of bars, or the files do not fit together.
        """
        digest = hashlib.sha256()
        markets: dict[str, tuple[MarketSpec, Ints]] = {}
        lengths: dict[int, str] = {}
        for file in files:
            times, values = read_bars(file)
            base, quote = _symbol_of(file)
            lengths[bar_length(times, file)] = file.name
            spec, recipe = to_recipes(base, quote, times, values, min(lengths))
            if spec.symbol in markets:
                raise UserError(f"{spec.symbol} is given twice.", "Replay each market from one file.")
            markets[spec.symbol] = (spec, recipe)
            digest.update(spec.symbol.encode() + times.tobytes() + values.tobytes())
        if len(lengths) != 1:
            names = " and ".join(lengths.values())
            raise UserError(f"{names} have bars of different length.", "Replay files of one bar length together.")
        return cls(f"replay-{digest.hexdigest()[:12]}", next(iter(lengths)), markets)

    @property
    def source_id(self) -> str:
        """Stable name: a hash of the data."""
        return self._source_id

    @property
    def base_ms(self) -> int:
        """Length of the stored bars."""
        return self._base_ms

    @property
    def specs(self) -> Mapping[str, MarketSpec]:
        """Markets by symbol."""
        return self._specs

    @property
    def first_ms(self) -> int:
        """Open time of the first bar."""
        return int(self._opens[0])

    @property
    def end_ms(self) -> int | None:
        """End of the last bar."""
        return int(self._opens[-1]) + self._base_ms

    def next_open(self, time_ms: int) -> int | None:
        """Return the open time of the first bar at or after `time_ms`."""
        place = int(np.searchsorted(self._opens, time_ms))
        return int(self._opens[place]) if place < len(self._opens) else None

    def trades(self, symbol: str, open_ms: int) -> Trades:
        """Return the trades of one bar."""
        recipe = self._recipes[symbol]
        place = int(np.searchsorted(recipe[paths.R_TIME], open_ms))
        if place == recipe.shape[1] or recipe[paths.R_TIME, place] != open_ms:
            return paths.no_trades()
        entropy = (zlib.crc32(symbol.encode()), open_ms)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
        return paths.trades_of(recipe[:, place], self._base_ms, rng)

    def klines(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        """Return the bars that open in [start_ms, end_ms)."""
        rows = self._rows(symbol, interval_ms)
        first, last = np.searchsorted(rows[:, TIME], (start_ms, end_ms))
        return rows[first:last]

    def warm(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Iterator[None]:
        """Stored bars need no preparation."""
        return iter(())

    def span(self, symbol: str, interval_ms: int, start_ms: int | None, end_ms: int, limit: int) -> tuple[int, int]:
        """Return the range of open times that holds `limit` bars (see `MarketSource.span`)."""
        opens = self._rows(symbol, interval_ms)[:, TIME]
        end = int(np.searchsorted(opens, end_ms))
        if start_ms is None:
            return (int(opens[max(0, end - limit)]), end_ms) if end else (end_ms, end_ms)
        after = int(np.searchsorted(opens, start_ms)) + limit
        return start_ms, (min(end_ms, int(opens[after])) if after < len(opens) else end_ms)

    def _rows(self, symbol: str, interval_ms: int) -> Ints:
        key = (symbol, interval_ms)
        if key not in self._bars:
            self._bars[key] = aggregate(self._bars[symbol, self._base_ms], interval_ms)
        return self._bars[key]


def read_bars(file: Path) -> tuple[Ints, Floats]:
    """Read a table of bars.

    Returns:
        Open times in ms (n,), strictly increasing, and open, high, low, close, volume (n, 5).

    Raises:
        UserError: the file is missing, unreadable or no table of bars.
    """
    if not file.is_file():
        raise UserError(f"There is no file {file}.", "Check the path given to --replay.")
    try:
        times, values = _read_csv(file) if file.suffix.lower() == ".csv" else _read_arrow(file)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as exc:  # Arrow's errors derive from these
        reason = str(exc).strip().splitlines()[0][:120] if str(exc).strip() else type(exc).__name__
        raise UserError(
            f"{file.name} cannot be read as bars: {reason}.",
            "Give a Feather, Parquet or CSV file with the columns date, open, high, low, close, volume.",
        ) from exc
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    sound = np.isfinite(values).all() and (values[:, :4] > 0).all() and (values[:, 4] >= 0).all()
    inside = (values[:, 1] >= values[:, :4].max(axis=1)) & (values[:, 2] <= values[:, :4].min(axis=1))
    if len(times) < 2 or not sound or not inside.all() or (np.diff(times) == 0).any():
        raise UserError(
            f"{file.name} does not hold usable bars: it needs at least two, with positive prices inside high and low, "
            "and no time twice.",
            "Repair the file or choose another.",
        )
    return times, values


def _read_arrow(file: Path) -> tuple[Ints, Floats]:
    import pyarrow as pa

    if file.suffix.lower() in (".feather", ".arrow", ".ipc"):
        from pyarrow import feather

        table = feather.read_table(file, memory_map=False)
    elif file.suffix.lower() in (".parquet", ".pq"):
        from pyarrow import parquet

        table = parquet.read_table(file)
    else:
        raise ValueError("its type is unknown")
    date = table.column("date")
    if pa.types.is_timestamp(date.type):
        raw = date.cast(pa.int64()).to_numpy().astype(np.float64) * _TIME_UNITS[date.type.unit]
        times = np.rint(raw).astype(np.int64)
    elif pa.types.is_integer(date.type):
        times = _times_of([float(value) for value in date.to_pylist()])
    else:
        times = _times_of(date.to_pylist())
    values = np.column_stack([table.column(name).to_numpy().astype(np.float64) for name in _COLUMNS])
    return times, values


def _read_csv(file: Path) -> tuple[Ints, Floats]:
    with file.open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    if not rows:
        raise ValueError("it is empty")
    times = _times_of([row["date"] for row in rows])
    return times, np.array([[float(row[name]) for name in _COLUMNS] for row in rows], np.float64)


def _times_of(values: Sequence[str | float]) -> Ints:
    """Read times given as epoch seconds, epoch milliseconds or ISO text (UTC where no zone is given)."""
    times = []
    for value in values:
        try:
            number = float(value)
            times.append(int(number * 1000) if number < 1e11 else int(number))
        except ValueError:
            moment = datetime.fromisoformat(str(value))
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            times.append(round(moment.timestamp() * 1000))
    return np.array(times, np.int64)


def bar_length(times: Ints, file: Path) -> int:
    """Return the length of the bars: their smallest distance.

    Raises:
        UserError: the distance is no bar length of the venue, or the bars do not open on its multiples.
    """
    length = int(np.diff(times).min())
    if length not in INTERVALS.values() or any(
        floor_open(int(t), length) != t for t in times[:: max(1, len(times) // 50)]
    ):
        raise UserError(
            f"The bars of {file.name} are not of a length the exchange serves.",
            "Use bars of 1m, 5m, 1h, 1d or the like.",
        )
    return length


def to_recipes(base: str, quote: str, times: Ints, values: Floats, base_ms: int) -> tuple[MarketSpec, Ints]:
    """Turn bars into recipes of trades, rounded to tick and lot."""
    symbol = base + quote
    price_decimals, quantity_decimals = known_scales(symbol) or infer_scales(float(np.median(values[:, 3])))
    prices = np.maximum(1, np.rint(values[:, :4] * 10.0**price_decimals)).astype(np.int64)
    volume = np.rint(values[:, 4] * 10.0**quantity_decimals).astype(np.int64)
    # A bar needs one lot for each of its four corners, unless nothing traded at all.
    volume = np.where(volume > 0, np.maximum(volume, paths.MIN_VOLUME), 0)
    minutes = max(1, base_ms // MINUTE_MS)
    wanted = min(_MAX_PAIRS, _PAIRS_PER_MINUTE * minutes)
    recipe = np.empty((RECIPE_COLUMNS, len(times)), np.int64)
    recipe[paths.R_TIME] = times
    recipe[paths.R_OPEN : paths.R_CLOSE + 1] = prices.T
    recipe[paths.R_VOLUME] = volume
    recipe[paths.R_PAIRS] = np.clip((volume - paths.MIN_VOLUME) // 4, 0, wanted)
    rising = prices[:, 3] >= prices[:, 0]
    scatter = (times // base_ms * 2654435761 >> 7) % 61
    recipe[paths.R_BUY] = np.where(rising, 128, 88) + scatter % 41
    recipe[paths.R_HIGH_FIRST] = np.where(scatter % 10 < 3, rising, ~rising)
    silent = volume == 0
    if silent.any():  # nothing traded: the bar is flat whatever its columns say
        recipe[paths.R_OPEN : paths.R_CLOSE + 1, silent] = recipe[paths.R_CLOSE, silent]
    traded = volume[volume > 0]
    per_minute = float(np.median(traded)) / minutes if len(traded) else 100.0
    spec = MarketSpec(symbol, base, quote, price_decimals, quantity_decimals, max(10, int(per_minute / 12)))
    return spec, recipe


def _symbol_of(file: Path) -> tuple[str, str]:
    stem = re.split(r"[-.]", file.name)[0] if "_" in file.name else file.stem
    pair = split_symbol(stem) or split_symbol(re.split(r"[-_.]", file.name)[0])
    if pair is None:
        raise UserError(
            f"The market of {file.name} is not clear from its name.", "Name the file like BTC_USDT-1h.feather."
        )
    return pair
