"""A market without an account whose book, trades and bars a test writes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal

from core.clock import NS_PER_S, ManualClock
from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import Side, TradingMode
from core.execution.api.gateway import GatewayError, NoAnswer
from tests.unit.execution.fake_venue import BTC, ETH, START_NS

Levels = tuple[tuple[float, float], ...]
SYMBOL = "BTC/USDT"


class MarketDouble:
    """Implements `PublicMarket`.

    `set_book` and `trade` reach the streams at once; `past_trades` and `bars` are what REST tells of. `dead` answers
    nothing, `cut` breaks every stream.
    """

    venue = "fake"

    def __init__(self, *, has_keys: bool = False, mode: TradingMode = TradingMode.PAPER) -> None:
        self.has_keys = has_keys
        self.mode = mode
        self.clock = ManualClock(START_NS)
        self.instruments: Mapping[str, Instrument] = {}
        self.books: dict[str, BookSnapshot] = {}
        self.last = {SYMBOL: 100.0, "ETH/USDT": 10.0}
        self.past_trades: list[PublicTrade] = []
        self.bars: list[Candle] = []
        self.dead = False
        self.closed = 0
        self.asked: list[str] = []
        self.troubles: dict[str, str] = {}
        self.waiting: dict[tuple[str, str], list[asyncio.Queue]] = defaultdict(list)
        self._next_trade = 0
        self.set_book(((99.0, 1.0), (98.0, 2.0)), ((100.0, 1.0), (101.0, 2.0)))
        self.set_book(((9.9, 50.0),), ((10.0, 50.0),), "ETH/USDT")

    # --- driving it -------------------------------------------------------------------------------------------

    def set_book(self, bids: Levels, asks: Levels, symbol: str = SYMBOL) -> None:
        self.books[symbol] = BookSnapshot(symbol, bids, asks, self.clock.now_ns())
        self._push("book", symbol, self.books[symbol])

    def trade(self, price: float, quantity: float, side: Side, symbol: str = SYMBOL) -> None:
        self.clock.advance(1_000_000)
        self.last[symbol] = price
        self._push("trades", symbol, (self.make_trade(price, quantity, side, symbol),))

    def make_trade(self, price: float, quantity: float, side: Side, symbol: str = SYMBOL) -> PublicTrade:
        self._next_trade += 1
        trade = PublicTrade(symbol, str(self._next_trade), price, quantity, side, self.clock.now_ns())
        self.past_trades.append(trade)
        return trade

    def add_bar(self, open_ns: int, low: float, high: float, volume: float = 100.0) -> None:
        middle = (low + high) / 2
        self.bars.append(Candle(SYMBOL, Timeframe.M1, open_ns, middle, high, low, middle, volume, final=True))

    def cut(self, error: GatewayError | None = None) -> None:
        for key in list(self.waiting):
            self._push(*key, error or NoAnswer("no connection"))

    def listeners(self, kind: str, symbol: str = SYMBOL) -> int:
        return len(self.waiting[kind, symbol])

    def _push(self, kind: str, symbol: str, item: object) -> None:
        for queue in self.waiting[kind, symbol]:
            queue.put_nowait(item)

    # --- PublicMarket -----------------------------------------------------------------------------------------

    async def connect(self) -> None:
        self._answer("connect")
        self.instruments = {SYMBOL: BTC, "ETH/USDT": ETH}

    async def close(self) -> None:
        self.closed += 1

    def report_trouble(self, source: str, detail: str) -> None:
        self.troubles[source] = detail

    def clear_trouble(self, source: str) -> None:
        self.troubles.pop(source, None)

    async def server_time_ns(self) -> int:
        self._answer("time")
        return self.clock.now_ns() + 3_600 * NS_PER_S  # a venue whose clock is an hour ahead

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        self._answer(f"candles {timeframe}")
        if timeframe is not Timeframe.M1:
            return []
        return [c for c in self.bars if c.symbol == symbol and c.open_time_ns >= (since_ns or 0)][:limit]

    async def fetch_trades(self, symbol: str, *, since_ns: int | None = None, limit: int = 500) -> list[PublicTrade]:
        self._answer("trades")
        return [t for t in self.past_trades if t.symbol == symbol and t.time_ns >= (since_ns or 0)][:limit]

    async def fetch_book(self, symbol: str, depth: int = 100) -> BookSnapshot:
        self._answer("book")
        return self.books[symbol]

    async def fetch_ticker(self, symbol: str) -> Ticker:
        self._answer("ticker")
        return Ticker(symbol, self.last[symbol], None, None, None, None, self.clock.now_ns())

    async def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        async for candle in self._stream("candles", symbol):
            yield candle

    async def watch_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        async for batch in self._stream("trades", symbol):
            yield batch

    async def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        async for book in self._stream("book", symbol):
            yield book

    async def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        yield await self.fetch_ticker(symbol)
        async for ticker in self._stream("ticker", symbol):
            yield ticker

    # --- inside -----------------------------------------------------------------------------------------------

    def _answer(self, question: str) -> None:
        self.asked.append(question)
        if self.dead:
            raise NoAnswer("no connection")

    async def _stream(self, kind: str, symbol: str) -> AsyncIterator:
        self._answer(f"watch {kind}")
        queue: asyncio.Queue = asyncio.Queue()
        self.waiting[kind, symbol].append(queue)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, GatewayError):
                    raise item
                yield item
        finally:
            self.waiting[kind, symbol].remove(queue)


def dec(value: float | str) -> Decimal:
    return Decimal(str(value))
