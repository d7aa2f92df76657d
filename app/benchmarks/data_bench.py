"""Speed of the candle store and the importer. Qt-free; main thread."""

from __future__ import annotations

import csv
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.benchmarks.figures import Measurement
from core.clock import NS_PER_S
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.data.importer import import_candles
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin

_ORIGIN = DataOrigin("bench")
_ROWS_LOADED = 2_600_000
_ROWS_WRITTEN = 1_000_000


def minutes_of_prices(rows: int, seed: int = 7) -> CandleFrame:
    """Return `rows` one-minute bars of a seeded random walk with consistent open, high, low and close."""
    rng = np.random.default_rng(seed)
    close = 30_000.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, rows)))
    opened = np.concatenate([[30_000.0], close[:-1]])
    spread = close * np.abs(rng.normal(0.0, 3e-4, rows))
    start = int(datetime(2019, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S
    return CandleFrame(
        time_ns=start + np.arange(rows, dtype=np.int64) * Timeframe.M1.ns,
        open=opened,
        high=np.maximum(opened, close) + spread,
        low=np.minimum(opened, close) - spread,
        close=close,
        volume=rng.gamma(2.0, 3.0, rows),
        final=np.ones(rows, np.bool_),
        symbol="BTC/USDT",
        timeframe=Timeframe.M1,
    )


def run(folder: Path) -> dict[str, Measurement]:
    """Measure writing, loading and importing in `folder`."""
    frame = minutes_of_prices(_ROWS_LOADED)
    store = CandleStore(folder / "write")
    started = time.perf_counter()
    store.write(_ORIGIN, frame.slice(0, _ROWS_WRITTEN), "import")
    written_s = time.perf_counter() - started

    store = CandleStore(folder / "load")
    store.write(_ORIGIN, frame, "import")
    loads = []
    for _ in range(3):
        started = time.perf_counter()
        loaded = CandleStore(folder / "load").read(_ORIGIN, "BTC/USDT", Timeframe.M1)
        loads.append((time.perf_counter() - started) * 1_000)
    if len(loaded) != _ROWS_LOADED:
        raise RuntimeError(f"the store returned {len(loaded)} of {_ROWS_LOADED} rows")

    path = folder / "BTC_USDT-1m.csv"
    _write_csv(path, frame.slice(0, _ROWS_WRITTEN))
    started = time.perf_counter()
    imported = import_candles(path)
    imported_s = time.perf_counter() - started
    if len(imported.frame) != _ROWS_WRITTEN:
        raise RuntimeError(f"the importer returned {len(imported.frame)} of {_ROWS_WRITTEN} rows")
    return {
        "data.write_1m_rows_s": Measurement(written_s),
        "data.load_2600k_rows_ms": Measurement(min(loads)),
        "data.import_csv_1m_s": Measurement(imported_s),
    }


def _write_csv(path: Path, frame: CandleFrame) -> None:
    columns = [frame.time_ns // 1_000_000, frame.open, frame.high, frame.low, frame.close, frame.volume]
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "open", "high", "low", "close", "volume"])
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
