"""Market data beside the window: one feed on its own thread and loop. `watch` belongs to the GUI thread.

Prices may be replaced by newer ones before they are shown; closed bars are not: a chart with a hole is wrong for good.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QObject, Signal, Slot

from app.i18n import tr
from app.workers.base import AsyncWorkerThread
from app.workers.retry import PAUSES_S, Retry
from app.workers.snapshot import SnapshotStore
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import DataOrigin
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import ConnectionState, ConnectionStatus
from core.execution.api.gateway import MarketGateway

if TYPE_CHECKING:
    from core.data.frame import CandleFrame
    from core.data.real_time_collector import CandleAppender, MarketSink

TRADES_KEPT = 200  # more than a tape shows
_CANDLES, _BOOK, _TICKER, _TRADES = "candles", "book", "ticker", "trades"
_INTERVALS_MS = {_CANDLES: 16, _BOOK: 80, _TICKER: 100, _TRADES: 100}


class MarketLink(Protocol):
    """What the worker needs of `app.runtime.PracticeLink` and its like."""

    @property
    def gateway(self) -> MarketGateway:
        """Connected, bound to the running loop."""
        ...

    @property
    def origin(self) -> DataOrigin:
        """Whose market the gateway's bars are of."""
        ...

    async def close(self) -> None:
        """Close every socket."""
        ...


class Feed(Protocol):
    """What the worker needs of `core.data.real_time_collector.MarketFeed`."""

    async def run(self) -> None:
        """Receive until cancelled; raises GatewayError where it cannot go on."""
        ...


class CandleBooks(Protocol):
    """Where closed bars are kept; `app.workers.store.StoreWorker` is one."""

    def append_candles(self, origin: DataOrigin, candles: Sequence[Candle]) -> bool:
        """Keep live candles."""
        ...


ConnectionSink = Callable[[ConnectionStatus], None]
OpenLink = Callable[[ConnectionSink], Awaitable[MarketLink]]
MakeFeed = Callable[[MarketGateway, str, Timeframe, "MarketSink", "CandleAppender | None"], Feed]


def make_market_feed(
    gateway: MarketGateway, symbol: str, timeframe: Timeframe, sink: MarketSink, append: CandleAppender | None
) -> Feed:
    """Return the feed of one market."""
    from core.data.real_time_collector import MarketFeed  # brings numpy, which the first window does not wait for

    return MarketFeed(gateway, symbol, timeframe, sink, append=append)


class MarketWorker(AsyncWorkerThread):
    """Runs the market feed; implements `app.services.MarketCommands` and the feed's `MarketSink`.

    Signals (all in the GUI thread, paced):
        instruments_loaded: tuple of `Instrument`.
        history_arrived: `CandleFrame` of the watched market; after a reconnection again.
        history_failed: message and remedy: there is nothing to draw yet.
        candle_arrived: `Candle`; every closed bar once and in order, the forming one as it moves.
        book_changed: `BookSnapshot`.
        ticker_changed: `Ticker`.
        trades_arrived: tuple of `PublicTrade`, those since the last signal, oldest first; after a stall the newest.
        connection_changed: `ConnectionStatus`.
    """

    instruments_loaded = Signal(object)
    history_arrived = Signal(object)
    history_failed = Signal(str, str)
    candle_arrived = Signal(object)
    book_changed = Signal(object)
    ticker_changed = Signal(object)
    trades_arrived = Signal(object)
    connection_changed = Signal(object)

    def __init__(
        self,
        open_link: OpenLink,
        symbol: str,
        timeframe: Timeframe,
        *,
        venue: str,
        mode: TradingMode,
        books: CandleBooks | None = None,
        make_feed: MakeFeed = make_market_feed,
        parent: QObject | None = None,
        retry_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        """Create it.

        Args:
            open_link: connects on the running loop; called again after trouble.
            symbol / timeframe: watched first.
            venue / mode: for connection events, also while there is no gateway.
            books: keeps closed bars; None keeps none.
            make_feed: makes the feed over a gateway.
            parent: Qt owner.
            retry_s: pauses before the next attempts, seconds.
        """
        super().__init__("market", parent)
        self._open_link = open_link
        self._venue = venue
        self._mode = mode
        self._books = books
        self._make_feed = make_feed
        self._retry_s = retry_s
        self._origin: DataOrigin | None = None
        self._store = SnapshotStore(_INTERVALS_MS, parent=self)
        self._store.updated.connect(self._on_updated)
        self._lock = threading.Lock()  # guards the five below
        self._watched = (symbol, timeframe)
        self._has_history = False
        self._closed_bars: list[Candle] = []
        self._forming: Candle | None = None
        self._trades: deque[PublicTrade] = deque(maxlen=TRADES_KEPT)
        self._switched: asyncio.Event | None = None  # worker thread only, like the next
        self._retry: Retry | None = None
        self._outdated = False  # the link is that of a mode left meanwhile

    # --- GUI thread -------------------------------------------------------------------------------------------

    @property
    def origin(self) -> DataOrigin | None:
        """Whose market it shows; None before the first connection, known when `instruments_loaded` is emitted."""
        return self._origin

    def watch(self, symbol: str, timeframe: str) -> None:
        """Look at a market from its history on; what still arrives of the last one is dropped."""
        with self._lock:
            self._watched = (symbol, Timeframe(timeframe))
            self._has_history = False
            self._closed_bars.clear()
            self._forming = None
            self._trades.clear()
        self._store.clear()
        self.submit(self._follow)

    def reopen(self, mode: TradingMode) -> None:
        """Close the link and open the one that holds now: the market of another mode."""
        self._mode = mode
        self.submit(self._renew)

    def reconnect(self) -> None:
        """Try to connect now instead of after the pause."""
        self.submit(self._try_now)

    @Slot(object)
    def _on_updated(self, changes: Any) -> None:
        if _CANDLES in changes:
            self._deliver_candles()
        if _BOOK in changes:
            self.book_changed.emit(changes[_BOOK])
        if _TICKER in changes:
            self.ticker_changed.emit(changes[_TICKER])
        if _TRADES in changes:
            with self._lock:
                trades = tuple(self._trades)
                self._trades.clear()
            if trades:
                self.trades_arrived.emit(trades)

    def _deliver_candles(self) -> None:
        """Hand over all bars closed meanwhile, then the forming one: taken together, so that their order holds."""
        with self._lock:
            closed, self._closed_bars = self._closed_bars, []
            forming, self._forming = self._forming, None
        for candle in closed:
            self.candle_arrived.emit(candle)
        if forming is not None:
            self.candle_arrived.emit(forming)

    # --- worker thread ----------------------------------------------------------------------------------------

    async def serve(self) -> None:
        self._switched = asyncio.Event()
        self._retry = Retry(self._retry_s)
        await self._retry.run(self._receive_always, self._tell_trouble)

    async def _receive_always(self) -> None:
        """Stream over one link after the other."""
        while True:
            await self._receive()

    async def _receive(self) -> None:
        """Connect and stream, one feed per watched market, until trouble comes or another link is wanted."""
        assert self._switched is not None
        assert self._retry is not None
        self._outdated = False
        link = await self._open_link(self.connection_changed.emit)
        try:
            self._retry.succeeded()
            self._origin = link.origin
            self.instruments_loaded.emit(tuple(link.gateway.instruments.values()))
            append = None if self._books is None else partial(self._books.append_candles, link.origin)
            while not self._outdated:
                self._switched.clear()
                with self._lock:
                    symbol, timeframe = self._watched
                feed = self._make_feed(link.gateway, symbol, timeframe, self, append)
                await _first_to_end(feed.run(), self._switched.wait())
        finally:
            await link.close()

    async def _follow(self) -> None:
        if self._switched is not None:
            self._switched.set()

    async def _renew(self) -> None:
        self._outdated = True
        await self._follow()
        await self._try_now()

    async def _try_now(self) -> None:
        if self._retry is not None:
            self._retry.now()

    def _tell_trouble(self, trouble: UserError) -> None:
        # There is no gateway while this is told; as long as there is one, it alone says how the link is.
        status = ConnectionStatus(self._venue, "market", self._mode, ConnectionState.OFFLINE, str(trouble))
        self.connection_changed.emit(status)
        self.on_failure(str(trouble))

    def on_history(self, frame: CandleFrame) -> None:
        """Take the past of the watched market. Worker thread, like the rest of the sink."""
        if self._is_watched(frame.symbol, frame.timeframe):
            with self._lock:
                self._has_history = True
                self._closed_bars.clear()  # it contains them
            self.history_arrived.emit(frame)

    def on_candle(self, candle: Candle) -> None:
        """Take a bar that moved or closed."""
        with self._lock:
            if (candle.symbol, candle.timeframe) != self._watched:
                return
            if candle.final:
                self._closed_bars.append(candle)
                if self._forming is not None and self._forming.open_time_ns <= candle.open_time_ns:
                    self._forming = None
            else:
                self._forming = candle
        self._store.put(_CANDLES, candle.open_time_ns)

    def on_book(self, book: BookSnapshot) -> None:
        """Take the top of the book."""
        if self._is_watched(book.symbol):
            self._store.put(_BOOK, book)

    def on_ticker(self, ticker: Ticker) -> None:
        """Take the ticker."""
        if self._is_watched(ticker.symbol):
            self._store.put(_TICKER, ticker)

    def on_trades(self, trades: Sequence[PublicTrade]) -> None:
        """Take public trades, oldest first."""
        with self._lock:
            fresh = [trade for trade in trades if trade.symbol == self._watched[0]]
            self._trades.extend(fresh)
        if fresh:
            self._store.put(_TRADES, len(fresh))

    def on_failure(self, detail: str) -> None:
        """Take why the watched market cannot be shown; what is drawn already stays."""
        with self._lock:
            empty = not self._has_history
        if empty:
            self.history_failed.emit(detail, tr("Choose another market, or wait for the connection."))

    def _is_watched(self, symbol: str, timeframe: Timeframe | None = None) -> bool:
        with self._lock:
            return symbol == self._watched[0] and timeframe in (None, self._watched[1])


async def _first_to_end(*works: Coroutine[Any, Any, Any]) -> None:
    """Run until the first of `works` ends, end the others, and raise what went wrong."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
