"""Live market data of one chart: history, then streams, repaired and restarted. Runs on the gateway's event loop.

The feed talks to a sink on that same loop; the sink hands values on to other threads. Nothing here blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.execution.api.gateway import (
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    MarketGateway,
    RetryableError,
)
from core.jitter import new_jitter

T = TypeVar("T")
# Takes final candles for storage, must not block. Whose market they are of is known to whoever opened the gateway: its
# venue names the protocol only.
CandleAppender = Callable[[Sequence[Candle]], object]

HISTORY_BARS = 1_000
BOOK_DEPTH = 20
_STREAMS = _CANDLES, _BOOK, _TRADES, _TICKER = "candles", "book", "trades", "ticker"

_log = logging.getLogger(__name__)


class MarketSink(Protocol):
    """Receives what a feed reads; called on the feed's loop, must not block."""

    def on_history(self, frame: CandleFrame) -> None:
        """Take the last closed bars (and the forming one) of a newly chosen market; replaces what was shown."""
        ...

    def on_candle(self, candle: Candle) -> None:
        """Take a live bar: forming, or final exactly once."""
        ...

    def on_book(self, book: BookSnapshot) -> None:
        """Take the top of the book."""
        ...

    def on_trades(self, trades: Sequence[PublicTrade]) -> None:
        """Take public trades, oldest first."""
        ...

    def on_ticker(self, ticker: Ticker) -> None:
        """Take the ticker."""
        ...

    def on_failure(self, detail: str) -> None:
        """Take one sentence on why the market cannot be shown, or not now; the state of the link is not told here."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: doubling, bounded, spread so that streams do not return all at once."""

    first_s: float = 0.5
    most_s: float = 10.0
    spread: float = 0.3

    def pause_s(self, failures: int, random_unit: float) -> float:
        """Return the pause after the n-th failure in a row (from 1); `random_unit` lies in [0, 1)."""
        base = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 16))
        return base * (1 + self.spread * (2 * random_unit - 1))


class MarketFeed:
    """Streams one market at a time into a sink; the market can be switched while running."""

    def __init__(
        self,
        gateway: MarketGateway,
        symbol: str,
        timeframe: Timeframe,
        sink: MarketSink,
        *,
        append: CandleAppender | None = None,
        history_bars: int = HISTORY_BARS,
        backoff: Backoff | None = None,
        seed: int | None = None,
    ) -> None:
        """Prepare a feed; `run` starts it.

        Args:
            gateway: connected gateway.
            symbol: market shown first.
            timeframe: bar length shown first.
            sink: receives everything.
            append: takes history and final candles for storage.
            history_bars: bars loaded before streaming.
            backoff: pauses between attempts.
            seed: of the spread of the pauses; None draws one.
        """
        self._gateway = gateway
        self._market = (symbol, timeframe)
        self._sink = sink
        self._append = append
        self._history_bars = history_bars
        self._backoff = backoff or Backoff()
        self._random = new_jitter(seed)
        self._switched = asyncio.Event()

    @property
    def market(self) -> tuple[str, Timeframe]:
        """Market shown now."""
        return self._market

    def switch(self, symbol: str, timeframe: Timeframe) -> None:
        """Show another market; to be called on the feed's loop."""
        if (symbol, timeframe) != self._market:
            self._market = (symbol, timeframe)
            self._switched.set()

    async def run(self) -> None:
        """Stream until cancelled; a market the venue does not have is reported, and `switch` chooses another.

        Raises:
            FatalGatewayError: the venue refuses for good.
        """
        while True:
            self._switched.clear()
            try:
                await self._run_market(*self._market)
            except* FatalGatewayError as group:
                raise group.exceptions[0] from None
            finally:
                for name in _STREAMS:
                    self._gateway.clear_trouble(name)  # of a market nobody looks at any more

    async def _run_market(self, symbol: str, timeframe: Timeframe) -> None:
        """Stream one market until `switch` is called."""
        watch_book = partial(self._gateway.watch_book, symbol, BOOK_DEPTH)
        watch_trades = partial(self._gateway.watch_trades, symbol)
        watch_ticker = partial(self._gateway.watch_ticker, symbol)
        async with asyncio.TaskGroup() as group:
            streams = [
                group.create_task(self._candles(symbol, timeframe), name="feed candles"),
                group.create_task(self._keep(_BOOK, watch_book, self._sink.on_book), name="feed book"),
                group.create_task(self._keep(_TRADES, watch_trades, self._sink.on_trades), name="feed trades"),
                group.create_task(self._keep(_TICKER, watch_ticker, self._sink.on_ticker), name="feed ticker"),
            ]
            await self._switched.wait()
            for stream in streams:
                stream.cancel()

    async def _candles(self, symbol: str, timeframe: Timeframe) -> None:
        """Load history, then stream; a restart of the stream loads again, so no bar is missing in between."""
        failures = 0
        newest_final_ns = -1
        while True:
            try:
                history = await self._gateway.fetch_candles(symbol, timeframe, limit=self._history_bars)
                if newest_final_ns < 0:
                    self._sink.on_history(CandleFrame.from_candles(history, symbol, timeframe))
                newest_final_ns = self._take(history, newest_final_ns, show=newest_final_ns >= 0)
                self._gateway.clear_trouble(_CANDLES)
                async with _closing(self._gateway.watch_candles(symbol, timeframe)) as stream:
                    async for candle in stream:
                        failures = 0
                        if newest_final_ns >= 0 and candle.open_time_ns > newest_final_ns + timeframe.ns:
                            missed = await self._gateway.fetch_candles(
                                symbol, timeframe, since_ns=newest_final_ns + timeframe.ns
                            )
                            between = [c for c in missed if c.final and c.open_time_ns < candle.open_time_ns]
                            newest_final_ns = self._take(between, newest_final_ns, show=True)
                            # Bars the venue does not have must not be asked for again with every update.
                            newest_final_ns = max(newest_final_ns, candle.open_time_ns - timeframe.ns)
                        newest_final_ns = self._take([candle], newest_final_ns, show=True)
                return
            except GatewayError as exc:
                failures += 1
                if newest_final_ns < 0:
                    self._sink.on_failure(exc.message)
                if not await self._pause_after(_CANDLES, exc, failures):
                    return

    def _take(self, candles: Sequence[Candle], newest_final_ns: int, *, show: bool) -> int:
        """Pass on what is newer than the last final bar; return the new last final bar."""
        fresh = [c for c in candles if c.open_time_ns > newest_final_ns]
        if show:
            for candle in fresh:
                self._sink.on_candle(candle)
        final = [c for c in fresh if c.final]
        if final and self._append is not None:
            self._append(final)
        return final[-1].open_time_ns if final else newest_final_ns

    async def _keep(self, name: str, open_stream: Callable[[], AsyncIterator[T]], deliver: Callable[[T], None]) -> None:
        """Hold one stream, with a pause after each failure."""
        failures = 0
        while True:
            try:
                async with _closing(open_stream()) as stream:
                    async for item in stream:
                        failures = 0
                        self._gateway.clear_trouble(name)
                        deliver(item)
                return
            except GatewayError as exc:
                failures += 1
                if not await self._pause_after(name, exc, failures):
                    return

    async def _pause_after(self, name: str, exc: GatewayError, failures: int) -> bool:
        """Report a failure and wait; False where this market cannot be had at all.

        Raises:
            FatalGatewayError: `exc` is one.
        """
        if isinstance(exc, FatalGatewayError):
            raise exc
        if isinstance(exc, DefinitiveReject):  # of this market, no trouble of the link
            _log.warning("there are no %s: %s", name, exc.message)
            return False
        self._gateway.report_trouble(name, f"{name}: {exc.message}")
        pause_s = self._backoff.pause_s(failures, self._random.random())
        if isinstance(exc, RetryableError) and exc.retry_after_s > 1.0:
            pause_s = max(pause_s, exc.retry_after_s)
        await asyncio.sleep(pause_s)
        return True


async def collect_realtime_data(
    gateway: MarketGateway,
    symbol: str,
    timeframe: Timeframe,
    sink: MarketSink,
    *,
    append: CandleAppender | None = None,
) -> None:
    """Stream one market into a sink until cancelled; see `MarketFeed` for switching markets."""
    await MarketFeed(gateway, symbol, timeframe, sink, append=append).run()


@contextlib.asynccontextmanager
async def _closing(stream: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close an asynchronous generator at once instead of when it is collected."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
