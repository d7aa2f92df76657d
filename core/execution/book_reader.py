"""What the order book offers a market order. Executor's event loop.

Asking the venue takes longer than everything else before an order is sent, so the books of markets where that was
asked once are followed by stream. Until the stream has spoken, and where it has fallen silent, the venue is asked, and
its answer is remembered for a moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_MS, NS_PER_S
from core.domain.market import BookSnapshot
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.orders import Intent, IntentSource, OrderType, Side
from core.execution.api.gateway import ExchangeGateway, GatewayError
from core.execution.backoff import Backoff
from core.execution.marks import Marks
from core.execution.order_flow import Moment, OrderFlow
from core.signals.risk.context import BookView
from core.signals.risk_management import RiskManager

BOOK_DEPTH = 100
BOOK_PATIENCE_S = 1.0
# A book read a moment ago is the book. An older one still tells a small order what it meets, while the price stays.
BOOK_SHARED_NS = NS_PER_S
BOOK_REMEMBERED_NS = 10 * NS_PER_S
SMALL_SHARE = Decimal("0.05")  # of what a book offers
NEAR_SHARE = Decimal("0.25")  # of the slippage allowed: how far the price may have gone from a remembered book
# A book on its way to us may have been cut before an order of ours that we had sent by the time it arrived.
ON_THE_WAY_NS = 500 * NS_PER_MS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A book, when it was heard of, and since when orders may be missing in it."""

    book: BookSnapshot
    heard: Moment
    whole_until: Moment


class BookReader:
    """Reads books for the risk gate.

    Args:
        spawn: runs what follows a book, until the executor ends.
        backoff: pauses before a broken stream is opened again; one for each market.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        risk: RiskManager,
        marks: Marks,
        flow: OrderFlow,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        backoff: Callable[[], Backoff],
    ) -> None:
        self._gateway = gateway
        self._risk = risk
        self._marks = marks
        self._flow = flow
        self._spawn = spawn
        self._backoff = backoff
        self._readings: dict[str, _Reading] = {}
        self._followed: set[str] = set()

    async def look(self, intent: Intent) -> BookView | None:
        """Tell what the book offers where the gate judges an intent by it; None where the venue does not tell in time.

        What was ordered since a book was cut is gone from it. Its age counts in market time as well: a replay runs
        ahead of the wall.
        """
        closes = intent.reduce_only or intent.source is IntentSource.KILL_SWITCH
        if closes or intent.order_type is not OrderType.MARKET or intent.symbol not in self._gateway.instruments:
            return None
        remembered = self._readings.get(intent.symbol)
        if remembered is not None and (view := self._remembered(intent, remembered)) is not None:
            return view
        begun = self._flow.now()
        try:
            async with asyncio.timeout(BOOK_PATIENCE_S):
                snapshot = await self._gateway.fetch_book(intent.symbol, BOOK_DEPTH)
        except (GatewayError, TimeoutError) as exc:
            _log.info("no book of %s for a market order: %s", intent.symbol, exc)
            heard = self._readings.get(intent.symbol)
            if heard is not remembered and heard is not None:  # the stream spoke meanwhile
                return self._view(intent, heard)
            self._readings.pop(intent.symbol, None)
            return None
        reading = _Reading(snapshot, begun, begun)
        if self._readings.get(intent.symbol) is remembered:
            self._readings[intent.symbol] = reading
        return self._view(intent, reading)

    def follow(self, symbol: str) -> None:
        """Keep a market's book at hand from now on; unknown markets are ignored."""
        if symbol not in self._followed and symbol in self._gateway.instruments:
            self._followed.add(symbol)
            self._spawn(self._follow(symbol))

    async def _follow(self, symbol: str) -> None:
        backoff, source = self._backoff(), f"book:{symbol}"
        while True:
            try:
                async for book in self._gateway.watch_book(symbol, BOOK_DEPTH):
                    backoff.reset()
                    self._gateway.clear_trouble(source)
                    self._hear(book)
            except GatewayError as exc:
                _log.warning("%s stopped: %s", source, exc.message)
                self._gateway.report_trouble(source, exc.message)
            await asyncio.sleep(backoff.next_s())

    def _hear(self, book: BookSnapshot) -> None:
        wall_ns, market_ns = self._flow.now()
        late_ns = wall_ns + (self._gateway.clock_skew_ns or 0) - book.time_ns
        if late_ns < BOOK_SHARED_NS:  # what waited for longer in a queue is no book of now
            since = (wall_ns - ON_THE_WAY_NS, market_ns - ON_THE_WAY_NS)
            self._readings[book.symbol] = _Reading(book, (wall_ns, market_ns), since)

    def _remembered(self, intent: Intent, reading: _Reading) -> BookView | None:
        """Return what an earlier reading says of an intent; None where it does not count any more.

        One that may or may not show an order of ours does not count either: it would be taken off twice or not at all.
        """
        if self._gone(intent, reading.whole_until) != self._gone(intent, reading.heard):
            return None
        view, age_ns = self._view(intent, reading), self._flow.passed_ns(reading.heard)
        mark = self._marks.price(intent.symbol)
        if view is None or mark is None or not 0 <= age_ns < BOOK_REMEMBERED_NS:
            return None
        near = abs(mark - view.middle) <= NEAR_SHARE * self._risk.settings.max_slippage * view.middle
        small = intent.quantity <= SMALL_SHARE * view.quantity
        return view if near and (small or age_ns < BOOK_SHARED_NS) else None

    def _view(self, intent: Intent, reading: _Reading) -> BookView | None:
        return book_view(reading.book, intent.side, intent.quantity, self._gone(intent, reading.whole_until))

    def _gone(self, intent: Intent, moment: Moment) -> Decimal:
        return self._flow.quantity_since(intent.symbol, intent.side, moment)


def book_view(book: BookSnapshot, side: Side, quantity: Decimal, gone: Decimal = ZERO) -> BookView | None:
    """Return what a book offers a market order; None where it shows nothing at all.

    Args:
        gone: so much of the best offers is taken already.
    """
    bids, asks = _exact(book.bids), _exact(book.asks)
    best = [levels[0][0] for levels in (bids, asks) if levels]
    if not best:
        return None
    offered = paid = taken = ZERO
    for price, size in asks if side is Side.BUY else bids:
        skipped = min(size, gone)
        gone -= skipped
        part = min(size - skipped, quantity - taken)
        paid = LEDGER_CONTEXT.add(paid, LEDGER_CONTEXT.multiply(part, price))
        taken += part
        offered += size - skipped
    average = LEDGER_CONTEXT.divide(paid, taken) if taken else None
    return BookView(LEDGER_CONTEXT.divide(sum(best, start=ZERO), Decimal(len(best))), average, offered)


def _exact(levels: Iterable[tuple[float, float]]) -> list[tuple[Decimal, Decimal]]:
    # repr gives the shortest decimal that is this float: the number the venue wrote.
    return [(Decimal(repr(price)), Decimal(repr(size))) for price, size in levels]
