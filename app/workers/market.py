"""Market data beside the window: one feed on its own thread and loop. `watch` belongs to the GUI thread.

Prices may be replaced by newer ones before they are shown; closed bars are not: a chart with a hole is wrong for good.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QObject, Signal, Slot

from app.workers.base import AsyncWorkerThread
from app.workers.retry import PAUSES_S, Retry
from app.workers.snapshot import SnapshotStore
from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.errors import UserError
from core.events import ConnectionStatus

if TYPE_CHECKING:
    from core.data.frame import CandleFrame

TRADES_KEPT = 200  # more than a tape shows
_CANDLES, _BOOK, _TICKER, _TRADES = "candles", "book", "ticker", "trades"
_INTERVALS_MS = {_CANDLES: 16, _BOOK: 80, _TICKER: 100, _TRADES: 100}


class MarketSink(Protocol):
    """Where a feed puts what it receives; called on the feed's loop, must not block."""

    def on_instruments(self, instruments: Sequence[Instrument]) -> None:
        """The markets on offer are known."""
        ...

    def on_history(self, frame: CandleFrame) -> None:
        """The past of the watched market."""
        ...

    def on_history_failed(self, error: UserError) -> None:
        """There is no past to show; the feed goes on."""
        ...

    def on_candle(self, candle: Candle) -> None:
        """A bar moved or closed."""
        ...

    def on_book(self, book: BookSnapshot) -> None:
        """The order book changed."""
        ...

    def on_ticker(self, ticker: Ticker) -> None:
        """The ticker changed."""
        ...

    def on_trades(self, trades: Sequence[PublicTrade]) -> None:
        """Public trades happened."""
        ...

    def on_connection(self, status: ConnectionStatus) -> None:
        """The link changed."""
        ...


class MarketSession(Protocol):
    """A feed with its gateway."""

    async def watch(self, symbol: str, timeframe: Timeframe) -> None:
        """Look at another market from now on."""
        ...

    async def run(self) -> None:
        """Receive until cancelled; raises UserError or GatewayError where it cannot go on."""
        ...

    async def close(self) -> None:
        """Close every socket."""
        ...


class CandleBooks(Protocol):
    """Where closed bars are kept; `app.workers.store.StoreWorker` is one."""

    def append_candles(self, venue: str, candles: Sequence[Candle]) -> bool:
        """Keep live candles."""
        ...


OpenMarket = Callable[[MarketSink], Awaitable[MarketSession]]


class MarketWorker(AsyncWorkerThread):
    """Runs the market feed; implements `app.services.MarketCommands` and `MarketSink`.

    Signals (all in the GUI thread, paced):
        instruments_loaded: tuple of `Instrument`.
        history_arrived: `CandleFrame` of the watched market.
        history_failed: message and remedy.
        candle_arrived: `Candle`; every closed bar once and in order, the forming one as it moves.
        book_changed: `BookSnapshot`.
        ticker_changed: `Ticker`.
        trades_arrived: tuple of `PublicTrade`, those since the last signal, oldest first; after a stall the newest.
        connection_changed: `ConnectionStatus`.
        trouble: `UserError`; the feed tries again by itself.
    """

    instruments_loaded = Signal(object)
    history_arrived = Signal(object)
    history_failed = Signal(str, str)
    candle_arrived = Signal(object)
    book_changed = Signal(object)
    ticker_changed = Signal(object)
    trades_arrived = Signal(object)
    connection_changed = Signal(object)
    trouble = Signal(object)

    def __init__(
        self,
        open_market: OpenMarket,
        symbol: str,
        timeframe: Timeframe,
        *,
        venue: str = "",
        books: CandleBooks | None = None,
        parent: QObject | None = None,
        retry_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        """Create it.

        Args:
            open_market: connects on the running loop; called again after trouble.
            symbol / timeframe: watched first.
            venue: id under which closed bars are kept.
            books: where; None keeps none.
            parent: Qt owner.
            retry_s: pauses before the next attempts, seconds.
        """
        super().__init__("market", parent)
        self._open_market = open_market
        self._venue = venue
        self._books = books
        self._retry_s = retry_s
        self._store = SnapshotStore(_INTERVALS_MS, parent=self)
        self._store.updated.connect(self._on_updated)
        self._lock = threading.Lock()  # guards the four below
        self._watched = (symbol, timeframe)
        self._closed_bars: list[Candle] = []
        self._forming: Candle | None = None
        self._trades: deque[PublicTrade] = deque(maxlen=TRADES_KEPT)
        self._session: MarketSession | None = None  # worker thread only, like the next
        self._retry: Retry | None = None

    # --- GUI thread -------------------------------------------------------------------------------------------

    def watch(self, symbol: str, timeframe: str) -> None:
        """Look at another market; what still arrives of the last one is dropped."""
        with self._lock:
            self._watched = (symbol, Timeframe(timeframe))
            self._closed_bars.clear()
            self._forming = None
            self._trades.clear()
        self._store.clear()
        self.submit(self._follow)

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
        self._retry = Retry(self._retry_s)
        await self._retry.run(self._receive, self.trouble.emit)

    async def _receive(self) -> None:
        session = await self._open_market(self)
        try:
            self._session = session
            await self._follow()
            if self._retry is not None:
                self._retry.succeeded()
            await session.run()
        finally:
            self._session = None
            await session.close()

    async def _follow(self) -> None:
        """Point the feed at the market watched now; without a feed the next one begins with it."""
        with self._lock:
            symbol, timeframe = self._watched
        if self._session is not None:
            await self._session.watch(symbol, timeframe)

    async def _try_now(self) -> None:
        if self._retry is not None:
            self._retry.now()

    def on_instruments(self, instruments: Sequence[Instrument]) -> None:
        """See `MarketSink`."""
        self.instruments_loaded.emit(tuple(instruments))

    def on_history(self, frame: CandleFrame) -> None:
        """See `MarketSink`."""
        if self._is_watched(frame.symbol, frame.timeframe):
            self.history_arrived.emit(frame)

    def on_history_failed(self, error: UserError) -> None:
        """See `MarketSink`."""
        self.history_failed.emit(error.message, error.remedy)

    def on_candle(self, candle: Candle) -> None:
        """See `MarketSink`."""
        with self._lock:
            if (candle.symbol, candle.timeframe) != self._watched:
                return
            if candle.final:
                self._closed_bars.append(candle)
                if self._forming is not None and self._forming.open_time_ns <= candle.open_time_ns:
                    self._forming = None
            else:
                self._forming = candle
        if candle.final and self._books is not None:
            self._books.append_candles(self._venue, (candle,))
        self._store.put(_CANDLES, candle.open_time_ns)

    def on_book(self, book: BookSnapshot) -> None:
        """See `MarketSink`."""
        if self._is_watched(book.symbol):
            self._store.put(_BOOK, book)

    def on_ticker(self, ticker: Ticker) -> None:
        """See `MarketSink`."""
        if self._is_watched(ticker.symbol):
            self._store.put(_TICKER, ticker)

    def on_trades(self, trades: Sequence[PublicTrade]) -> None:
        """See `MarketSink`."""
        with self._lock:
            fresh = [trade for trade in trades if trade.symbol == self._watched[0]]
            self._trades.extend(fresh)
        if fresh:
            self._store.put(_TRADES, len(fresh))

    def on_connection(self, status: ConnectionStatus) -> None:
        """See `MarketSink`."""
        self.connection_changed.emit(status)

    def _is_watched(self, symbol: str, timeframe: Timeframe | None = None) -> bool:
        with self._lock:
            return symbol == self._watched[0] and timeframe in (None, self._watched[1])
