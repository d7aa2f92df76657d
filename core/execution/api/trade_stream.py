"""A market's public trades without holes, doubles or disorder. Runs on the gateway's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from core.domain.market import PublicTrade
from core.execution.api.gateway import RetryableError
from core.execution.api.raw_stream import RawStream
from core.execution.api.trade_sequence import TradeEvent, TradeSequence
from core.execution.backoff import Backoff

FetchTradesFrom = Callable[[int], Awaitable[list[TradeEvent]]]

PAGE = 1_000
FIRST_TRADE_S = 1.0
MOST_ATTEMPTS = 8


class TradeStream:
    """Serves the trades of one market.

    Args:
        symbol: unified symbol.
        stream: the venue's trades.
        fetch_from: reads up to `PAGE` trades from an id on, oldest first.
        sequence: knows what was passed on before, where the stream is a continuation.
        silence_s: after how long without a trade REST is asked whether the stream still lives.
        backoff: pauses while reading again lags behind the stream.
    """

    def __init__(
        self,
        symbol: str,
        stream: RawStream[TradeEvent],
        fetch_from: FetchTradesFrom,
        sequence: TradeSequence,
        *,
        silence_s: float,
        backoff: Backoff,
    ) -> None:
        self._symbol = symbol
        self._stream = stream
        self._fetch_from = fetch_from
        self._sequence = sequence
        self._silence_s = silence_s
        self._backoff = backoff

    async def run(self) -> AsyncIterator[Sequence[PublicTrade]]:
        """Yield batches of trades not yielded before, oldest first.

        Raises:
            RetryableError: the stream ended, went silent while trades were made, or what was missed cannot be read.
        """
        if self._sequence.missing_from is not None:  # reading before the subscription holds would leave a hole
            self._sequence.offer(await self._stream.next(min(FIRST_TRADE_S, self._silence_s)))
        while True:
            while self._sequence.missing_from is not None:
                ready = await self._read_missing(self._sequence.missing_from)
                if ready:
                    yield self._public(ready)
            events = await self._stream.next(self._silence_s)
            missed: list[TradeEvent] = []
            if not events and self._sequence.last_id is not None:
                missed = await self._fetch_from(self._sequence.last_id + 1)
                events = self._stream.waiting()  # where there are any, it was the market that was silent
            ready = self._sequence.offer(events or missed)
            if ready:
                yield self._public(ready)
            if missed and not events:
                await self._stream.release()
                raise RetryableError(f"the trades of {self._symbol} went silent")

    async def _read_missing(self, first_id: int) -> list[TradeEvent]:
        """Read one page of what is missing.

        Raises:
            RetryableError: the venue does not tell it although its stream went on.
        """
        page = await self._fetch_from(first_id)
        self._sequence.offer(self._stream.waiting())
        ready = self._sequence.refill(page, is_full_page=len(page) >= PAGE)
        if ready or self._sequence.missing_from is None:
            self._backoff.reset()
        elif self._backoff.failures >= MOST_ATTEMPTS:
            raise RetryableError(f"trades of {self._symbol} are missing")
        else:
            await asyncio.sleep(self._backoff.next_s())
        return ready

    def _public(self, trades: Sequence[TradeEvent]) -> tuple[PublicTrade, ...]:
        return tuple(PublicTrade(self._symbol, str(t.trade_id), t.price, t.quantity, t.side, t.time_ns) for t in trades)
