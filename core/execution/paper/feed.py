"""What a paper account hears of one market: its book and its trades, live, and after a gap by REST. Gateway's loop.

Trades that passed while nobody listened – the program was off, or the stream was down – are read again as far as they
can be had: whole hours and minutes as bars, the rest as trades, both without the book of their time. What cannot be had
fills nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from core.clock import NS_PER_S, Clock
from core.domain.candles import Timeframe
from core.domain.market import BookSnapshot
from core.errors import UserError
from core.execution.api.gateway import GatewayError, MarketGateway
from core.execution.backoff import Backoff
from core.execution.fill_values import DataLevel
from core.execution.paper.exchange import PaperExchange

BOOK_DEPTH: Final = 100
BOOK_MAX_AGE_S: Final = 2.0  # an older book is read again before an order meets it
LAST_MAX_AGE_S: Final = 5.0
REMEMBER_S: Final = 30.0
BACKOFF_S: Final = 0.5
BACKOFF_MAX_S: Final = 15.0
PAGE: Final = 1_000
MOST_PAGES: Final = 60
# A gap longer than this is bridged by bars of the length beside it.
BRIDGES: Final = ((3 * 86_400 * NS_PER_S, Timeframe.H1), (600 * NS_PER_S, Timeframe.M1))

_log = logging.getLogger(__name__)


class PaperFeed:
    """Follows one market for a paper account."""

    def __init__(
        self,
        market: MarketGateway,
        exchange: PaperExchange,
        symbol: str,
        market_clock: Clock,
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._market = market
        self._exchange = exchange
        self._symbol = symbol
        self._clock = market_clock
        self._on_bug = on_bug
        self._book: BookSnapshot | None = None
        self._is_book_applied = False
        self._book_heard = self._last_heard = self._remembered = float("-inf")  # loop time, seconds
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow."""
        for what, follow in (("book", self._follow_book), ("trades", self._follow_trades)):
            task = asyncio.create_task(self._keep(what, follow), name=f"paper {what} {self._symbol}")
            task.add_done_callback(self._on_done)
            self._tasks.append(task)

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        exception = None if task.cancelled() else task.exception()
        if exception is not None:  # orders would rest for ever, and nobody would know
            self._on_bug(exception)

    async def freshen(self) -> None:
        """Make sure that the account knows the book and the last price of now.

        Raises:
            GatewayError: the market does not tell them.
        """
        known = not self._is_book_applied or self._exchange.knows_book(self._symbol)
        if not known or self._now() - self._book_heard > BOOK_MAX_AGE_S:
            self._hear_book(await self._market.fetch_book(self._symbol, BOOK_DEPTH))
        if self._now() - self._last_heard > LAST_MAX_AGE_S:
            self._exchange.on_last_price(self._symbol, (await self._market.fetch_ticker(self._symbol)).last)
            self._last_heard = self._now()
        if self._book is not None and not self._is_book_applied:
            self._is_book_applied = True
            self._exchange.on_book(self._book)

    async def _keep(self, what: str, follow: Callable[[str], Awaitable[None]]) -> None:
        """Follow again whenever it ends."""
        source = f"paper {what} {self._symbol}"
        backoff = Backoff(random.Random(source), first_s=BACKOFF_S, most_s=BACKOFF_MAX_S)
        while True:
            started = self._now()
            try:
                await follow(source)
            except (GatewayError, UserError) as exc:
                _log.warning("%s stopped: %s", source, exc.message)
                self._market.report_trouble(source, exc.message)
            if self._now() - started > BACKOFF_MAX_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _follow_book(self, source: str) -> None:
        async for book in self._market.watch_book(self._symbol, BOOK_DEPTH):
            self._market.clear_trouble(source)
            self._hear_book(book)
            if self._exchange.needs_books(self._symbol):
                self._is_book_applied = True
                self._exchange.on_book(book)

    def _hear_book(self, book: BookSnapshot) -> None:
        self._book, self._is_book_applied, self._book_heard = book, False, self._now()

    async def _follow_trades(self, source: str) -> None:
        await self._catch_up(None)
        covered: int | None = None  # market time up to which the trades have been read by REST
        async for batch in self._market.watch_trades(self._symbol):
            self._market.clear_trouble(source)
            if covered is None and batch:
                await self._catch_up(batch[0].time_ns)
                covered = self._exchange.seen_ns(self._symbol) or 0
            # A stream that was resumed tells again, in any number of batches, what it missed.
            fresh = [trade for trade in batch if covered is None or trade.time_ns > covered]
            self._exchange.on_trades(self._symbol, fresh)
            self._last_heard = self._now()
            if self._now() - self._remembered > REMEMBER_S:
                self._remembered = self._now()
                self._exchange.remember()

    async def _catch_up(self, until_ns: int | None) -> None:
        """Match open orders against what happened since the market was last seen.

        Args:
            until_ns: market time of the first trade that the stream has told; None for all there is.
        """
        if self._exchange.seen_ns(self._symbol) is None:
            return
        for gap_ns, timeframe in BRIDGES:
            await self._bridge(gap_ns, timeframe)
        await self._read_trades(until_ns)

    async def _bridge(self, gap_ns: int, timeframe: Timeframe) -> None:
        for _ in range(MOST_PAGES):
            seen = self._exchange.seen_ns(self._symbol)
            if seen is None or self._clock.now_ns() - seen <= gap_ns:
                return
            since = timeframe.floor(seen) + timeframe.ns  # the bar it stands in has partly been seen
            page = await self._market.fetch_candles(self._symbol, timeframe, since_ns=since, limit=PAGE)
            bars = [bar for bar in page if bar.final and bar.open_time_ns >= since]
            if not bars:
                return
            self._exchange.on_bars(self._symbol, bars)

    async def _read_trades(self, until_ns: int | None) -> None:
        for _ in range(MOST_PAGES):
            seen = self._exchange.seen_ns(self._symbol)
            if seen is None:
                return
            page = await self._market.fetch_trades(self._symbol, since_ns=seen + 1, limit=PAGE)
            fresh = [t for t in page if t.time_ns > seen and (until_ns is None or t.time_ns < until_ns)]
            self._exchange.on_trades(self._symbol, fresh, level=DataLevel.TRADES)
            if len(page) < PAGE or len(fresh) < len(page):
                return

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
