"""Where the market comes from: the protocol of synthetic and replayed markets. Any thread, but one at a time.

A source is read-only and deterministic: the same question has the same answer for ever. What our own orders do to
the market is kept elsewhere (`core.practice.tape`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from core.practice.bars import Ints
from core.practice.paths import Trades
from core.practice.specs import MarketSpec


class MarketSource(Protocol):
    """A market's past and future, addressed by base bar (cell)."""

    @property
    def source_id(self) -> str:
        """Stable name of this very market, usable as a folder name (see `core.domain.data_origin.practice_origin`)."""
        ...

    @property
    def base_ms(self) -> int:
        """Length of a base bar, ms."""
        ...

    @property
    def specs(self) -> Mapping[str, MarketSpec]:
        """Markets by symbol."""
        ...

    @property
    def first_ms(self) -> int:
        """Open time of the first base bar."""
        ...

    @property
    def end_ms(self) -> int | None:
        """End of the last base bar, or None where the market never ends."""
        ...

    def next_open(self, time_ms: int) -> int | None:
        """Return the open time of the first base bar of any market at or after `time_ms`; None past the end."""
        ...

    def trades(self, symbol: str, open_ms: int) -> Trades:
        """Return the trades of one base bar; empty where there is no such bar."""
        ...

    def klines(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Ints:
        """Return the bars of `interval_ms` (a multiple of the base) that open in [start_ms, end_ms)."""
        ...

    def warm(self, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Iterator[None]:
        """Prepare `klines` of the same range in steps of a few milliseconds, so that a server can breathe between."""
        ...

    def span(self, symbol: str, interval_ms: int, start_ms: int | None, end_ms: int, limit: int) -> tuple[int, int]:
        """Return [start, end) open times that hold `limit` bars.

        They are the first `limit` bars from `start_ms` on, or the last `limit` before `end_ms` where it is None.
        """
        ...
