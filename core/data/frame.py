"""Candles as columns: the one shape in which storage, features, backtest and chart pass price history. Any thread.

Arrays are never written to after construction; slices are views, so passing a frame costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain.candles import Candle, Timeframe

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_Rows = slice  # the class below has a method of that name

PRICE_COLUMNS = ("open", "high", "low", "close", "volume")
COLUMNS = ("time_ns", *PRICE_COLUMNS, "final")


@dataclass(frozen=True, slots=True, eq=False)
class CandleFrame:
    """Bars of one market in columns, oldest first, open times strictly ascending unless a check says otherwise.

    Attributes:
        time_ns: open times, ns since the epoch UTC, int64, shape (n,).
        open, high, low, close: prices in quote currency, float64, shape (n,).
        volume: base currency traded, float64, shape (n,).
        final: whether the bar is closed, bool, shape (n,).
        symbol: unified symbol.
        timeframe: bar length.
    """

    time_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    final: BoolArray
    symbol: str
    timeframe: Timeframe

    def __post_init__(self) -> None:
        size = len(self.time_ns)
        for name in COLUMNS:
            column = getattr(self, name)
            expected = np.int64 if name == "time_ns" else np.bool_ if name == "final" else np.float64
            if column.dtype != expected or column.shape != (size,):
                raise ValueError(f"{name}: expected {size} x {np.dtype(expected)}, got {column.dtype} {column.shape}")

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def empty(cls, symbol: str, timeframe: Timeframe) -> CandleFrame:
        """Return a frame without rows."""
        return cls.from_candles((), symbol, timeframe)

    @classmethod
    def from_candles(cls, candles: Sequence[Candle], symbol: str, timeframe: Timeframe) -> CandleFrame:
        """Turn candles of one market into columns, in the order given."""
        return cls(
            np.array([c.open_time_ns for c in candles], np.int64),
            np.array([c.open for c in candles], np.float64),
            np.array([c.high for c in candles], np.float64),
            np.array([c.low for c in candles], np.float64),
            np.array([c.close for c in candles], np.float64),
            np.array([c.volume for c in candles], np.float64),
            np.array([c.final for c in candles], np.bool_),
            symbol,
            timeframe,
        )

    @classmethod
    def concat(cls, frames: Sequence[CandleFrame], symbol: str, timeframe: Timeframe) -> CandleFrame:
        """Join frames of one market in the order given; no row is dropped or moved."""
        if not frames:
            return cls.empty(symbol, timeframe)
        if len(frames) == 1:
            return frames[0]
        columns: list[Any] = [np.concatenate([getattr(frame, name) for frame in frames]) for name in COLUMNS]
        return cls(**dict(zip(COLUMNS, columns, strict=True)), symbol=symbol, timeframe=timeframe)

    def to_candles(self, source: str) -> list[Candle]:
        """Return the rows as values; `source` says where they come from."""
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        return [
            Candle(self.symbol, self.timeframe, time_ns, open_, high, low, close, volume, final, source)
            for time_ns, open_, high, low, close, volume, final in zip(*columns, strict=True)
        ]

    def slice(self, start: int | None = None, stop: int | None = None) -> CandleFrame:
        """Return rows `start` to `stop` (Python slice rules) as a view."""
        return self._take(_Rows(start, stop))

    def select(self, mask: BoolArray | IntArray) -> CandleFrame:
        """Return the rows a boolean mask or an index array picks, as a copy."""
        return self._take(mask)

    def between(self, start_ns: int | None = None, end_ns: int | None = None) -> CandleFrame:
        """Return the bars with `start_ns` <= open time < `end_ns` as a view; needs ascending times."""
        start = 0 if start_ns is None else int(np.searchsorted(self.time_ns, start_ns))
        stop = len(self) if end_ns is None else int(np.searchsorted(self.time_ns, end_ns))
        return self.slice(start, max(start, stop))

    def finals(self) -> CandleFrame:
        """Return the closed bars only."""
        return self if bool(self.final.all()) else self.select(self.final)

    def equals(self, other: CandleFrame) -> bool:
        """Return whether both frames hold the same market and, bit for bit, the same rows."""
        return (
            self.symbol == other.symbol
            and self.timeframe is other.timeframe
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in COLUMNS)
        )

    def _take(self, key: _Rows | BoolArray | IntArray) -> CandleFrame:
        columns: dict[str, Any] = {name: getattr(self, name)[key] for name in COLUMNS}
        return CandleFrame(**columns, symbol=self.symbol, timeframe=self.timeframe)
