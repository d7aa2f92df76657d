"""Candles and timeframes. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.clock import NS_PER_S


class Timeframe(StrEnum):
    """Length of a bar, spelled as ccxt and the venues spell it. Bars open at multiples since the epoch, UTC.

    Weekly bars open on Monday 00:00 UTC.
    """

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    W1 = "1w"

    @property
    def seconds(self) -> int:
        """Length in seconds."""
        unit = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}[self.value[-1]]
        return int(self.value[:-1]) * unit

    @property
    def ns(self) -> int:
        """Length in nanoseconds."""
        return self.seconds * NS_PER_S

    @property
    def ms(self) -> int:
        """Length in milliseconds."""
        return self.seconds * 1_000

    def floor(self, time_ns: int) -> int:
        """Return the open time of the bar that contains `time_ns` (ns since the epoch, UTC)."""
        if self is Timeframe.W1:
            monday = 4 * 86_400 * NS_PER_S  # the epoch was a Thursday; the first Monday came four days later
            return (time_ns - monday) // self.ns * self.ns + monday
        return time_ns // self.ns * self.ns


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar of one market.

    Attributes:
        symbol: unified symbol.
        timeframe: bar length.
        open_time_ns: open time, ns since the epoch, UTC.
        open, high, low, close: prices in quote currency, float64 (analytics; the ledger never uses them).
        volume: base currency traded.
        final: whether the bar is closed and will not change any more.
        source: where it came from ("stream", "rest", "import", "practice" …).
    """

    symbol: str
    timeframe: Timeframe
    open_time_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    final: bool
    source: str = "rest"

    @property
    def close_time_ns(self) -> int:
        """First instant after the bar, ns since the epoch, UTC."""
        return self.open_time_ns + self.timeframe.ns
