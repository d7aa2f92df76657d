"""A market's order book, kept by ourselves from the venue's numbered changes. Runs on the gateway's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from core.clock import Clock
from core.domain.market import BookSnapshot
from core.execution.api.gateway import RetryableError
from core.execution.api.local_book import DepthEvent, LocalBook
from core.execution.api.raw_stream import RawStream
from core.execution.backoff import Backoff

FetchBook = Callable[[str, int], Awaitable[BookSnapshot]]

SNAPSHOT_DEPTH = 500
FIRST_CHANGE_S = 1.0  # a snapshot taken before the first change may be too old for it
MOST_ATTEMPTS = 8


class BookStream:
    """Serves the top of one book.

    Args:
        symbol: unified symbol.
        stream: the venue's changes.
        fetch: reads a snapshot by REST.
        silence_s: after how long without a change REST is asked whether the stream still lives.
        wall: stamps a book of which only the snapshot is known.
        backoff: pauses between snapshots that did not fit.
    """

    def __init__(
        self,
        symbol: str,
        stream: RawStream[DepthEvent],
        fetch: FetchBook,
        *,
        silence_s: float,
        wall: Clock,
        backoff: Backoff,
    ) -> None:
        self._symbol = symbol
        self._stream = stream
        self._fetch = fetch
        self._silence_s = silence_s
        self._wall = wall
        self._backoff = backoff
        self._book = LocalBook()

    async def run(self, depth: int) -> AsyncIterator[BookSnapshot]:
        """Yield the top of the book whenever it changes; changes that came together are served together.

        Raises:
            RetryableError: the stream ended or went silent while the book moved on, or no snapshot fits.
        """
        self._take(await self._stream.next(min(FIRST_CHANGE_S, self._silence_s)))
        while True:
            if self._book.needs_snapshot or self._book.is_short(depth):
                await self._synchronise()
                yield self._serve(depth)
                continue
            events = await self._stream.next(self._silence_s)
            changed = self._take(events) if events else await self._is_alive()
            if changed and not self._book.needs_snapshot:
                yield self._serve(depth)

    def _take(self, events: list[DepthEvent]) -> bool:
        """Apply changes in order; whether the book has changed."""
        changed = False
        for event in events:
            changed = self._book.offer(event) or changed
        return changed

    async def _synchronise(self) -> None:
        """Read snapshots until one fits the changes received.

        Raises:
            RetryableError: none did.
        """
        for attempt in range(MOST_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._backoff.next_s())
            fresh = await self._fetch(self._symbol, SNAPSHOT_DEPTH)
            self._take(self._stream.waiting())
            is_cut = max(len(fresh.bids), len(fresh.asks)) >= SNAPSHOT_DEPTH
            if self._book.start(fresh.sequence, fresh.bids, fresh.asks, is_cut=is_cut):
                self._backoff.reset()
                return
        await self._stream.release()
        raise RetryableError(f"the order book of {self._symbol} cannot be put together")

    async def _is_alive(self) -> bool:
        """Ask REST whether the silence is the market's; whether the book changed meanwhile.

        Raises:
            RetryableError: it is the stream's; it was given up so that the next one subscribes anew.
        """
        fresh = await self._fetch(self._symbol, SNAPSHOT_DEPTH)
        changed = self._take(self._stream.waiting())
        if self._book.needs_snapshot or self._book.sequence >= fresh.sequence:
            return changed
        late = await self._stream.next(FIRST_CHANGE_S)  # what REST knows already may still be on its way
        changed = self._take(late) or changed
        if not late:
            await self._stream.release()
            raise RetryableError(f"the order book of {self._symbol} went stale")
        return changed

    def _serve(self, depth: int) -> BookSnapshot:
        bids, asks = self._book.top(depth)
        time_ns = self._book.time_ns or self._wall.now_ns()
        return BookSnapshot(self._symbol, bids, asks, time_ns, self._book.sequence)
