"""Live streams of one venue over ccxt.pro, with REST where a stream is silent. Runs on the gateway's event loop.

Candles repair themselves and go on as long as the venue can be reached at all; trades, book, ticker and account events
end with a `GatewayError` and are restarted by the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.execution.api.candle_sequence import CandleSequence
from core.execution.api.ccxt_client import CcxtClient
from core.execution.api.ccxt_parse import parse_book, parse_public_trade, parse_ticker
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import FatalGatewayError, GatewayError, OrderReport, RetryableError, UserEvent
from core.execution.api.venue_profile import VenueProfile
from core.execution.error_handler import Operation

T = TypeVar("T")
FetchCandles = Callable[[str, Timeframe, int | None, int], Awaitable[list[Candle]]]
FetchBook = Callable[[str, int], Awaitable[BookSnapshot]]

TICK_S = 1.0  # how often silence and the market clock are looked at
CLOSE_GRACE_NS = 2 * NS_PER_S  # market time a stream may need to report a close
REFILL_ATTEMPTS = 5
REFILL_PAUSE_S = 0.3
RECONNECT_PAUSE_S = (0.5, 1.0, 2.0, 5.0)
UNSUBSCRIBE_TIMEOUT_S = 1.0


class VenueStreams:
    """The streams of one gateway."""

    def __init__(
        self,
        client: CcxtClient,
        profile: VenueProfile,
        monitor: ConnectionMonitor,
        *,
        market_now_ns: Callable[[], int],
        wall_clock: Clock,
        fetch_candles: FetchCandles,
        fetch_book: FetchBook,
    ) -> None:
        """Use REST reads of the gateway for repair; `market_now_ns` says which bars are closed."""
        self._client = client
        self._profile = profile
        self._monitor = monitor
        self._market_now_ns = market_now_ns
        self._wall_clock = wall_clock
        self._fetch_candles = fetch_candles
        self._fetch_book = fetch_book
        self._watchers: Counter[tuple[str, ...]] = Counter()

    async def candles(self, instrument: Instrument, timeframe: Timeframe) -> AsyncIterator[Candle]:
        """Yield forming and final bars as `MarketGateway.watch_candles` promises.

        Raises:
            FatalGatewayError: the venue refuses for good.
        """
        symbol, source = instrument.symbol, f"candles {instrument.symbol} {timeframe}"
        sequence, closed = CandleSequence(timeframe), set[int]()

        def note_closed(message: Mapping[str, Any]) -> None:
            bar = self._profile.dialect.closed_bar(message)
            if bar is not None and bar.venue_symbol == instrument.venue_symbol and bar.timeframe is timeframe:
                closed.add(bar.open_time_ns)

        queue: asyncio.Queue[list[Any] | GatewayError] = asyncio.Queue()
        self._client.add_raw_handler(note_closed)
        pump = asyncio.create_task(self._pump_candles(symbol, timeframe, queue), name=source)
        clock = asyncio.get_running_loop().time
        heard = polled = clock()
        try:
            async with self._watching("ohlcv", symbol, timeframe.value):
                while True:
                    rows = await _next_or_none(queue, TICK_S)
                    if isinstance(rows, GatewayError):
                        raise rows
                    if rows is not None:
                        heard = clock()
                        self._monitor.recovered(source)
                        for candle in _stream_candles(rows, symbol, timeframe, closed):
                            for ready in sequence.offer(candle):
                                yield ready
                        if sequence.expected_ns is not None:
                            closed = {time_ns for time_ns in closed if time_ns >= sequence.expected_ns}
                    if sequence.missing_from_ns is not None:
                        for ready in await self._refill(sequence, symbol, timeframe):
                            yield ready
                    silent = clock() - heard > self._profile.stream_silence_s
                    if (silent or self._is_overdue(sequence, timeframe)) and clock() - polled >= 2 * TICK_S:
                        polled = clock()
                        for ready in await self._poll(sequence, symbol, timeframe, source, silent=silent):
                            yield ready
        finally:
            self._client.remove_raw_handler(note_closed)
            await _stop(pump)
            if not self._watchers["ohlcv", symbol, timeframe.value]:
                self._monitor.recovered(source)  # nobody misses it any more

    async def trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        """Yield batches of trades not yielded before, oldest first."""
        last_id: str | None = None
        async with self._watching("trades", symbol):
            while True:
                raw = await self._guard(self._client.live.watch_trades(symbol))
                fresh: list[PublicTrade] = []
                for trade in reversed(raw):
                    if str(trade["id"]) == last_id:
                        break
                    fresh.append(parse_public_trade(trade, symbol))
                if fresh:
                    fresh.reverse()
                    last_id = fresh[-1].trade_id
                    yield tuple(fresh)

    async def book(self, symbol: str, depth: int) -> AsyncIterator[BookSnapshot]:
        """Yield the top of the book; a silent or impossible book is checked against REST.

        Raises:
            RetryableError: the streamed book no longer agrees with the venue's.
        """
        async with self._watching("order_book", symbol):
            last: BookSnapshot | None = None
            while True:
                raw = await self._guard_within(self._client.live.watch_order_book(symbol))
                if raw is None:
                    fresh = await self._fetch_book(symbol, depth)
                    if last is not None and last.sequence < fresh.sequence and _tops(last) != _tops(fresh):
                        self._client.live.orderbooks.pop(symbol, None)
                        raise RetryableError(f"the order book of {symbol} went stale")
                    last = fresh
                else:
                    last = parse_book(raw, symbol, depth, self._wall_clock.now_ns())
                    if last.bids and last.asks and last.bids[0][0] >= last.asks[0][0]:
                        self._client.live.orderbooks.pop(symbol, None)
                        raise RetryableError(f"the order book of {symbol} is crossed")
                yield last

    async def ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        """Yield the ticker whenever it changes; while the stream is silent REST is asked."""
        async with self._watching("ticker", symbol):
            while True:
                raw: Any = await self._guard_within(self._client.live.watch_ticker(symbol))
                if raw is None:
                    raw = await self._client.call(
                        Operation.QUERY, self._profile.weights.ticker, lambda exchange: exchange.fetch_ticker(symbol)
                    )
                yield parse_ticker(raw, symbol, self._wall_clock.now_ns())

    async def user(
        self,
        venue: str,
        by_venue_symbol: Mapping[str, Instrument],
        snapshot: Callable[[], Awaitable[UserEvent]],
        seen: Callable[[OrderReport], None],
    ) -> AsyncIterator[UserEvent]:
        """Yield account events: first the balances, as a sign that the subscription holds, then what happens.

        Args:
            venue: venue id for fills.
            by_venue_symbol: instruments by the venue's spelling.
            snapshot: reads the balances by REST.
            seen: is shown every order report.

        Raises:
            GatewayError: the stream ended or was replaced; events may be missing from here on.
        """
        queue: asyncio.Queue[UserEvent | GatewayError] = asyncio.Queue()

        def take(message: Mapping[str, Any]) -> None:
            events = self._profile.dialect.user_events(message, venue, by_venue_symbol)
            if events is None:
                queue.put_nowait(RetryableError("the venue ended the account stream"))
            for event in events or ():
                queue.put_nowait(event)

        self._client.add_raw_handler(take)
        exchange = self._client.live
        pump: asyncio.Task[None] | None = None
        try:
            address = await self._guard(self._profile.dialect.subscribe_user(exchange))
            pump = asyncio.create_task(self._pump_user(exchange, address, queue), name="account events")
            yield await snapshot()
            while True:
                item = await queue.get()
                if isinstance(item, GatewayError):
                    raise item
                if isinstance(item, OrderReport):
                    seen(item)
                yield item
        finally:
            self._client.remove_raw_handler(take)
            if pump is not None:
                await _stop(pump)

    async def _pump_candles(
        self, symbol: str, timeframe: Timeframe, queue: asyncio.Queue[list[Any] | GatewayError]
    ) -> None:
        """Keep the candle stream subscribed; failures only lengthen the silence that the reader notices."""
        since_ms: int | None = None
        failures = 0
        while True:
            try:
                rows = await self._guard(self._client.live.watch_ohlcv(symbol, timeframe.value, since_ms))
            except FatalGatewayError as exc:
                queue.put_nowait(exc)
                return
            except GatewayError as exc:
                pause = RECONNECT_PAUSE_S[min(failures, len(RECONNECT_PAUSE_S) - 1)]
                failures += 1
                source = f"candles {symbol} {timeframe}"
                self._monitor.trouble(source, exc.message)
                await asyncio.sleep(pause)
                continue
            failures = 0
            if rows:
                since_ms = int(rows[-1][0])
                queue.put_nowait(rows)

    async def _pump_user(self, exchange: Any, address: str, queue: asyncio.Queue[UserEvent | GatewayError]) -> None:
        """Hold the account subscription and notice when ccxt silently replaced its connection."""
        connection = exchange.clients.get(address)
        while True:
            try:
                await self._guard(exchange.watch_orders())
            except GatewayError as exc:
                queue.put_nowait(exc)
                return
            if exchange.clients.get(address) is not connection:
                queue.put_nowait(RetryableError("the account stream was reconnected; events may be missing"))
                return

    def _is_overdue(self, sequence: CandleSequence, timeframe: Timeframe) -> bool:
        expected_ns = sequence.expected_ns
        return expected_ns is not None and self._market_now_ns() >= expected_ns + timeframe.ns + CLOSE_GRACE_NS

    async def _refill(self, sequence: CandleSequence, symbol: str, timeframe: Timeframe) -> list[Candle]:
        """Re-read missed bars; REST may lag behind the stream for a moment."""
        out: list[Candle] = []
        for attempt in range(REFILL_ATTEMPTS):
            since_ns = sequence.missing_from_ns
            if since_ns is None:
                return out
            if attempt:
                await asyncio.sleep(REFILL_PAUSE_S * attempt)
            with contextlib.suppress(RetryableError):  # the next attempt, then the stream's own values
                out.extend(sequence.refill(await self._fetch_candles(symbol, timeframe, since_ns, 1_000)))
        return out + sequence.give_up()

    async def _poll(
        self, sequence: CandleSequence, symbol: str, timeframe: Timeframe, source: str, *, silent: bool
    ) -> list[Candle]:
        limit = 2 if sequence.expected_ns is None else 1_000
        if silent:
            self._monitor.trouble(source, "the candle stream is silent; reading by REST")
        try:
            return sequence.refill(await self._fetch_candles(symbol, timeframe, sequence.expected_ns, limit))
        except RetryableError:
            return []  # asked again soon; that REST fails is seen where it is called

    async def _guard(self, awaitable: Awaitable[T]) -> T:
        """Await a stream and classify its failure.

        ccxt cancels the futures it handed out when it closes; that must not look like the cancellation of our task.
        """
        try:
            return await awaitable
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise RetryableError("the connection was closed") from None
        except Exception as exc:
            error = self._client.translate(exc, Operation.QUERY)
            if error is None:
                raise
            raise error from exc

    async def _guard_within(self, awaitable: Awaitable[T]) -> T | None:
        """Like `_guard`, but None where the stream stays silent."""
        try:
            async with asyncio.timeout(self._profile.stream_silence_s):
                return await self._guard(awaitable)
        except TimeoutError:
            return None

    @contextlib.asynccontextmanager
    async def _watching(self, kind: str, *key: str) -> AsyncIterator[None]:
        """Unsubscribe when the last reader of a stream leaves."""
        name = (kind, *key)
        self._watchers[name] += 1
        try:
            yield
        finally:
            self._watchers[name] -= 1
            exchange = self._client.exchange
            if exchange is not None and self._watchers[name] == 0:
                # Best effort: a connection that is gone carries no subscription either.
                with contextlib.suppress(TimeoutError, GatewayError):
                    async with asyncio.timeout(UNSUBSCRIBE_TIMEOUT_S):
                        await self._guard(getattr(exchange, f"un_watch_{kind}")(*key))


def _stream_candles(rows: list[Any], symbol: str, timeframe: Timeframe, closed: set[int]) -> list[Candle]:
    candles = []
    for row in rows:
        time_ns = int(row[0]) * NS_PER_MS
        prices = (float(row[1]), float(row[2]), float(row[3]), float(row[4]))
        candles.append(Candle(symbol, timeframe, time_ns, *prices, float(row[5]), time_ns in closed, "stream"))
    return candles


def _tops(book: BookSnapshot) -> tuple[float | None, float | None]:
    return (book.bids[0][0] if book.bids else None, book.asks[0][0] if book.asks else None)


async def _next_or_none(queue: asyncio.Queue[T], timeout_s: float) -> T | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await queue.get()
    except TimeoutError:
        return None


async def _stop(task: asyncio.Task[None]) -> None:
    """Cancel a helper task; an error it died of was either delivered already or is a bug and surfaces here."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
