"""Live streams of one venue over ccxt.pro, with REST where a stream is silent. Runs on the gateway's event loop.

Candles repair themselves and go on as long as the venue can be reached at all; trades, book, ticker and account events
end with a `GatewayError` and are restarted by the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.execution.api.book_stream import BookStream, FetchBook
from core.execution.api.candle_sequence import CandleSequence
from core.execution.api.ccxt_client import CcxtClient
from core.execution.api.ccxt_parse import parse_book, parse_public_trade, parse_ticker
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import FatalGatewayError, GatewayError, OrderReport, RetryableError, UserEvent
from core.execution.api.raw_stream import guard, open_raw, stop_task
from core.execution.api.trade_sequence import TradeEvent, TradeSequence
from core.execution.api.trade_stream import TradeStream
from core.execution.api.venue_profile import VenueProfile
from core.execution.backoff import Backoff
from core.execution.error_handler import Operation

T = TypeVar("T")
FetchCandles = Callable[[str, Timeframe, int | None, int], Awaitable[list[Candle]]]
FetchTradesFrom = Callable[[str, int], Awaitable[list[TradeEvent]]]

TICK_S = 1.0  # how often silence and the market clock are looked at
CLOSE_GRACE_NS = 2 * NS_PER_S  # market time a stream may need to report a close
REFILL_ATTEMPTS = 5
RESUME_S = 600.0  # trades missed for longer are history, not a gap of the tape
UNSUBSCRIBE_TIMEOUT_S = 1.0
USER_TICK_S = 1.0
SILENT_PINGS = 2.5  # an account stream without even a pong for so many pings is dead


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
        fetch_trades_from: FetchTradesFrom,
        source: random.Random,
    ) -> None:
        """Use REST reads of the gateway for repair.

        Args:
            client: connections.
            profile: the venue.
            monitor: is told what does not work.
            market_now_ns: says which bars are closed.
            wall_clock: stamps what the venue does not.
            fetch_candles / fetch_book / fetch_trades_from: REST reads.
            source: of the jitter of pauses.
        """
        self._client = client
        self._profile = profile
        self._monitor = monitor
        self._market_now_ns = market_now_ns
        self._wall_clock = wall_clock
        self._fetch_candles = fetch_candles
        self._fetch_book = fetch_book
        self._fetch_trades_from = fetch_trades_from
        self._source = source
        self._lost_trades: dict[str, tuple[int, float]] = {}  # symbol -> last id passed on, loop time of the loss
        self._watchers: Counter[tuple[str, ...]] = Counter()

    async def candles(self, instrument: Instrument, timeframe: Timeframe) -> AsyncIterator[Candle]:
        """Yield forming and final bars as `MarketGateway.watch_candles` promises.

        Raises:
            FatalGatewayError: the venue refuses for good.
        """
        symbol, source = instrument.symbol, f"candles {instrument.symbol} {timeframe}"
        sequence, closed = CandleSequence(timeframe), set[int]()

        def note_closed(message: Mapping[str, Any]) -> bool:
            bar = self._profile.dialect.closed_bar(message)
            if bar is not None and bar.venue_symbol == instrument.venue_symbol and bar.timeframe is timeframe:
                closed.add(bar.open_time_ns)
            return False

        queue: asyncio.Queue[list[Any] | GatewayError] = asyncio.Queue()
        self._client.add_raw_handler(note_closed)
        pump = asyncio.create_task(self._pump_candles(symbol, timeframe, queue), name=source)
        clock = asyncio.get_running_loop().time
        heard = polled = dialed = clock()
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
                        missed = await self._poll(sequence, symbol, timeframe, source, silent=silent)
                        for ready in missed:
                            yield ready
                        if silent and missed and polled - dialed > self._profile.stream_silence_s:
                            dialed = polled  # the market moves, the stream does not: subscribe anew
                            await stop_task(pump)
                            await self._un_watch("ohlcv", symbol, timeframe.value)
                            pump = asyncio.create_task(self._pump_candles(symbol, timeframe, queue), name=source)
        finally:
            self._client.remove_raw_handler(note_closed)
            await stop_task(pump)
            if not self._watchers["ohlcv", symbol, timeframe.value]:
                self._monitor.recovered(source)  # nobody misses it any more

    async def trades(self, instrument: Instrument) -> AsyncIterator[Sequence[PublicTrade]]:
        """Yield batches of trades not yielded before, oldest first; after a loss it goes on where it ended.

        Raises:
            GatewayError: the stream ended; opened again, it reads what was missed.
        """
        symbol, dialect = instrument.symbol, self._profile.dialect
        name = dialect.trade_stream(instrument.venue_symbol)
        if not name:
            async for batch in self._library_trades(symbol):
                yield batch
            return
        clock = asyncio.get_running_loop().time
        last_id, lost = self._lost_trades.pop(symbol, (None, 0.0))
        resumed = last_id if clock() - lost < RESUME_S else None
        sequence = TradeSequence(resumed, is_dense=self._profile.capabilities.dense_trade_ids)

        decode = partial(dialect.trade_event, venue_symbol=instrument.venue_symbol)
        async with (
            open_raw(self._client, dialect, name, decode) as stream,
            self._holding(stream.release, "trades", symbol),
        ):
            trades = TradeStream(
                symbol,
                stream,
                lambda first_id: self._fetch_trades_from(symbol, first_id),
                sequence,
                silence_s=self._profile.stream_silence_s,
                backoff=self._backoff(),
            )
            try:
                async for batch in trades.run():
                    yield batch
            except GatewayError:
                if sequence.last_id is not None:
                    self._lost_trades[symbol] = (sequence.last_id, clock())
                raise

    async def _library_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        """Read trades out of ccxt's cache: for venues whose own messages we do not read."""
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

    async def book(self, instrument: Instrument, depth: int) -> AsyncIterator[BookSnapshot]:
        """Yield the top of the book: our own, kept from numbered changes, wherever the venue numbers them.

        Raises:
            RetryableError: the streamed book no longer agrees with the venue's.
        """
        symbol, dialect = instrument.symbol, self._profile.dialect
        name = dialect.depth_stream(instrument.venue_symbol)
        if not name:
            async for snapshot in self._library_book(symbol, depth):
                yield snapshot
            return
        decode = partial(dialect.depth_event, venue_symbol=instrument.venue_symbol)
        async with (
            open_raw(self._client, dialect, name, decode) as stream,
            self._holding(stream.release, "order_book", symbol),
        ):
            book = BookStream(
                symbol,
                stream,
                self._fetch_book,
                silence_s=self._profile.stream_silence_s,
                wall=self._wall_clock,
                backoff=self._backoff(),
            )
            async for snapshot in book.run(depth):
                yield snapshot

    async def _library_book(self, symbol: str, depth: int) -> AsyncIterator[BookSnapshot]:
        """Read ccxt's book; a silent or impossible one is checked against REST."""
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
        """Yield the ticker whenever it changes; while the stream is silent REST is asked.

        Raises:
            RetryableError: the stream is silent although the ticker moves.
        """
        async with self._watching("ticker", symbol):
            last: Ticker | None = None
            while True:
                raw: Any = await self._guard_within(self._client.live.watch_ticker(symbol))
                is_live = raw is not None
                if raw is None:
                    raw = await self._client.call(
                        Operation.QUERY, self._profile.weights.ticker, lambda exchange: exchange.fetch_ticker(symbol)
                    )
                fresh = parse_ticker(raw, symbol, self._wall_clock.now_ns())
                yield fresh
                if not is_live and last is not None and fresh.last != last.last:
                    raise RetryableError(f"the ticker of {symbol} went silent")
                last = fresh

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

        def take(message: Mapping[str, Any]) -> bool:
            events = self._profile.dialect.user_events(message, venue, by_venue_symbol)
            if events is None:
                queue.put_nowait(RetryableError("the venue ended the account stream"))
            for event in events or ():
                queue.put_nowait(event)
            return False

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
                await stop_task(pump)

    async def _pump_candles(
        self, symbol: str, timeframe: Timeframe, queue: asyncio.Queue[list[Any] | GatewayError]
    ) -> None:
        """Keep the candle stream subscribed; failures only lengthen the silence that the reader notices."""
        since_ms: int | None = None
        backoff = self._backoff()
        while True:
            try:
                rows = await self._guard(self._client.live.watch_ohlcv(symbol, timeframe.value, since_ms))
            except FatalGatewayError as exc:
                queue.put_nowait(exc)
                return
            except GatewayError as exc:
                source = f"candles {symbol} {timeframe}"
                self._monitor.trouble(source, exc.message)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if rows:
                since_ms = int(rows[-1][0])
                queue.put_nowait(rows)

    async def _pump_user(self, exchange: Any, address: str, queue: asyncio.Queue[UserEvent | GatewayError]) -> None:
        """Hold the account subscription and notice when ccxt silently replaced its connection."""
        connection = exchange.clients.get(address)
        clock = asyncio.get_running_loop().time
        heard, stamp = clock(), None
        watch = asyncio.ensure_future(self._guard(exchange.watch_orders()))
        try:
            while True:
                await asyncio.wait({watch}, timeout=USER_TICK_S)
                if watch.done():
                    watch.result()
                if connection is None or exchange.clients.get(address) is not connection:
                    raise RetryableError("the account stream was reconnected; events may be missing")
                if watch.done():
                    watch = asyncio.ensure_future(self._guard(exchange.watch_orders()))
                if (
                    connection.last_message_at != stamp
                ):  # any frame, a pong as well; ccxt's own watch trusts the wall clock
                    heard, stamp = clock(), connection.last_message_at
                elif clock() - heard > SILENT_PINGS * self._profile.ping_interval_s:
                    connection.on_error(ConnectionError("silent"))  # whoever subscribes next dials anew
                    raise RetryableError("the account stream is silent; events may be missing")
        except GatewayError as exc:
            queue.put_nowait(exc)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _is_overdue(self, sequence: CandleSequence, timeframe: Timeframe) -> bool:
        expected_ns = sequence.expected_ns
        return expected_ns is not None and self._market_now_ns() >= expected_ns + timeframe.ns + CLOSE_GRACE_NS

    async def _refill(self, sequence: CandleSequence, symbol: str, timeframe: Timeframe) -> list[Candle]:
        """Re-read missed bars; REST may lag behind the stream for a moment."""
        out: list[Candle] = []
        backoff = self._backoff()
        for attempt in range(REFILL_ATTEMPTS):
            since_ns = sequence.missing_from_ns
            if since_ns is None:
                return out
            if attempt:
                await asyncio.sleep(backoff.next_s())
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
        return await guard(self._client, awaitable)

    def _backoff(self) -> Backoff:
        return Backoff(self._source, first_s=0.5, most_s=5.0)

    async def _guard_within(self, awaitable: Awaitable[T]) -> T | None:
        """Like `_guard`, but None where the stream stays silent."""
        try:
            async with asyncio.timeout(self._profile.stream_silence_s):
                return await self._guard(awaitable)
        except TimeoutError:
            return None

    @contextlib.asynccontextmanager
    async def _watching(self, kind: str, *key: str) -> AsyncIterator[None]:
        """Unsubscribe ccxt's own stream when its last reader leaves."""

        async with self._holding(partial(self._un_watch, kind, *key), kind, *key):
            yield

    async def _un_watch(self, kind: str, *key: str) -> None:
        """Give up one of ccxt's own streams; best effort: a connection that is gone carries none either."""
        exchange = self._client.exchange
        if exchange is not None:
            with contextlib.suppress(TimeoutError, GatewayError):
                async with asyncio.timeout(UNSUBSCRIBE_TIMEOUT_S):
                    await self._guard(getattr(exchange, f"un_watch_{kind}")(*key))

    @contextlib.asynccontextmanager
    async def _holding(self, release: Callable[[], Awaitable[None]], *name: str) -> AsyncIterator[None]:
        """Count the readers of a stream and release it after the last."""
        self._watchers[name] += 1
        try:
            yield
        finally:
            self._watchers[name] -= 1
            if self._watchers[name] == 0:
                await release()


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
