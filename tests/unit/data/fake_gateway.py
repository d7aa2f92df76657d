"""A market gateway made of lists: history by REST, streams fed by the test, failures on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from core.domain.candles import Candle, Timeframe
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import Side
from core.execution.api.gateway import GatewayError

STEP = Timeframe.M1.ns


def candle(index: int, *, final: bool = True, close: float = 1.0) -> Candle:
    return Candle("BTC/USDT", Timeframe.M1, index * STEP, 1.0, 1.0, 1.0, close, 1.0, final)


def book() -> BookSnapshot:
    return BookSnapshot("BTC/USDT", ((1.0, 1.0),), ((2.0, 1.0),), 0)


def trade(index: int) -> PublicTrade:
    return PublicTrade("BTC/USDT", str(index), 1.0, 1.0, Side.BUY, index)


def ticker() -> Ticker:
    return Ticker("BTC/USDT", 1.0, None, None, None, None, 0)


class FakeGateway:
    venue = "binance"

    def __init__(self, bars: int = 0, *, missing: frozenset[int] = frozenset()) -> None:
        self.history = [candle(i) for i in range(bars) if i not in missing]
        self.asked: list[tuple[int | None, int]] = []
        self.failures: list[GatewayError] = []
        self.opened: list[str] = []
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        self.troubles: dict[str, str] = {}
        self.past_troubles: list[str] = []

    def queue(self, name: str) -> asyncio.Queue[Any]:
        return self.queues.setdefault(name, asyncio.Queue())

    def report_trouble(self, source: str, detail: str) -> None:
        self.troubles[source] = detail
        self.past_troubles.append(detail)

    def clear_trouble(self, source: str) -> None:
        self.troubles.pop(source, None)

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        self.asked.append((since_ns, limit))
        if self.failures:
            raise self.failures.pop(0)
        if since_ns is None:
            return self.history[-limit:]
        return [c for c in self.history if c.open_time_ns >= since_ns][:limit]

    def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        return self._stream(f"candles {symbol} {timeframe}")

    def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        return self._stream(f"book {symbol}")

    def watch_trades(self, symbol: str) -> AsyncIterator[Any]:
        return self._stream(f"trades {symbol}")

    def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        return self._stream(f"ticker {symbol}")

    async def _stream(self, name: str) -> AsyncIterator[Any]:
        self.opened.append(name)
        while True:
            item = await self.queue(name).get()
            if isinstance(item, GatewayError):
                raise item
            yield item
