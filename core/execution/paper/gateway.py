"""The gateway of a paper account: live market data in, simulated fills out. Runs on the event loop that connects it.

It holds a market gateway that has no keys and an account file, and nothing else: no request of it can reach an account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from core.clock import NS_PER_S, Clock, SystemClock
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import TradingMode
from core.domain.positions import Balance
from core.errors import UserError
from core.execution.api.gateway import (
    AmbiguousOutcome,
    BalanceReport,
    DefinitiveReject,
    FatalGatewayError,
    MarketGateway,
    OrderReport,
    OrderRequest,
    RetryableError,
    SendRevoked,
    UserEvent,
)
from core.execution.fill_values import FillRules, Latency
from core.execution.paper.account_file import AccountFile
from core.execution.paper.exchange import PaperExchange
from core.execution.paper.feed import PaperFeed

WATCH_FILE_S: Final = 0.5
RECV_WINDOW_MS: Final = 3_000

T = TypeVar("T")
_log = logging.getLogger(__name__)


class PublicMarket(MarketGateway, Protocol):
    """Market data of a venue, by a gateway that says whether it could do more."""

    @property
    def has_keys(self) -> bool:
        """Whether it could see or move an account."""
        ...


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """How the simulated venue behaves.

    Attributes:
        latency_s: what an order or question needs to the venue, the age of the data we see included; seconds.
        jitter_s: at most that much more, evenly drawn.
        seed: of the jitter.
        rules: of the fill model, where there is no book.
        fees_in: currency that pays fees as long as the account holds enough of it, such as BNB; "" for none.
    """

    latency_s: float = 0.05
    jitter_s: float = 0.02
    seed: int = 0
    rules: FillRules = field(default_factory=FillRules)
    fees_in: str = ""


class PaperGateway:
    """A paper account on one venue's live market; implements `ExchangeGateway`."""

    def __init__(
        self,
        market: PublicMarket,
        file: AccountFile,
        *,
        market_clock: Clock,
        wall_clock: Clock | None = None,
        options: PaperOptions | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Bind a paper account to a market; connects nothing yet.

        Args:
            market: without keys; closed by `close`.
            file: the account; closed by `close`.
            market_clock: the market's time.
            wall_clock: the paper venue's clock; the system's where None.
            options: the defaults where None.
            sleep: takes the latency.

        Raises:
            FatalGatewayError: the market gateway has keys or was made for real orders.
        """
        if market.has_keys or market.mode is TradingMode.LIVE:
            raise FatalGatewayError("a paper gateway takes no keys")
        chosen = options or PaperOptions()
        self._market = market
        self._file = file
        self._clock = market_clock
        self._wall = wall_clock or SystemClock()
        self._sleep = sleep
        self._latency = Latency(int(chosen.latency_s * NS_PER_S), int(chosen.jitter_s * NS_PER_S), chosen.seed)
        self._listeners: list[asyncio.Queue[UserEvent | BaseException]] = []
        self._fees_in = chosen.fees_in
        self._exchange = PaperExchange(file, market.venue, self._wall, chosen.rules, self._tell, fees_in=chosen.fees_in)
        self._feeds: dict[str, PaperFeed] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def venue(self) -> str:
        """Id of the venue whose market it is."""
        return self._market.venue

    @property
    def mode(self) -> TradingMode:
        """Always PAPER."""
        return TradingMode.PAPER

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Tradable markets by unified symbol; filled by `connect`."""
        return self._market.instruments

    @property
    def recv_window_ms(self) -> int | None:
        """As at a real venue; nothing travels on once its sender has ended."""
        return RECV_WINDOW_MS

    @property
    def account_id(self) -> str:
        """Names the account."""
        return self._file.account_id

    async def connect(self) -> None:
        """Connect the market data and match what is open; see `MarketGateway.connect`."""
        await self._market.connect()
        try:
            self._exchange.use_instruments(self._market.instruments)
        except UserError as exc:
            await self._market.close()
            raise FatalGatewayError(exc.message) from exc
        for symbol in sorted(self._exchange.symbols & set(self._market.instruments)):
            self._follow(symbol)
        self._watcher = self._watcher or asyncio.create_task(self._watch_file(), name="paper account")

    async def close(self) -> None:
        """Store where the orders stand and close everything; idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._watcher is not None:
                self._watcher.cancel()
                await asyncio.gather(self._watcher, return_exceptions=True)
            for feed in self._feeds.values():
                await feed.stop()
            with contextlib.suppress(UserError, RetryableError):  # a better place in the queue, no more
                self._exchange.remember()
        finally:
            self._exchange.close()
            await self._market.close()

    # --- market data ------------------------------------------------------------------------------------------

    def report_trouble(self, source: str, detail: str) -> None:
        """See `MarketGateway.report_trouble`."""
        self._market.report_trouble(source, detail)

    def clear_trouble(self, source: str) -> None:
        """See `MarketGateway.clear_trouble`."""
        self._market.clear_trouble(source)

    @property
    def clock_skew_ns(self) -> int | None:
        """Nothing: the paper venue's clock is ours."""
        return 0

    async def server_time_ns(self) -> int:
        """Return the paper venue's clock, which is ours; the market is asked so that a lost link is noticed."""
        await self._market.server_time_ns()
        return self._wall.now_ns()

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        """See `MarketGateway.fetch_candles`."""
        return await self._market.fetch_candles(symbol, timeframe, since_ns=since_ns, limit=limit)

    async def fetch_trades(self, symbol: str, *, since_ns: int | None = None, limit: int = 500) -> list[PublicTrade]:
        """See `MarketGateway.fetch_trades`."""
        return await self._market.fetch_trades(symbol, since_ns=since_ns, limit=limit)

    async def fetch_book(self, symbol: str, depth: int = 100) -> BookSnapshot:
        """See `MarketGateway.fetch_book`."""
        return await self._market.fetch_book(symbol, depth)

    async def fetch_ticker(self, symbol: str) -> Ticker:
        """See `MarketGateway.fetch_ticker`."""
        return await self._market.fetch_ticker(symbol)

    def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        """See `MarketGateway.watch_candles`."""
        return self._market.watch_candles(symbol, timeframe)

    def watch_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        """See `MarketGateway.watch_trades`."""
        return self._market.watch_trades(symbol)

    def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        """See `MarketGateway.watch_book`."""
        return self._market.watch_book(symbol, depth)

    def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        """See `MarketGateway.watch_ticker`."""
        return self._market.watch_ticker(symbol)

    # --- the account ------------------------------------------------------------------------------------------

    async def fetch_balances(self) -> tuple[Balance, ...]:
        """Return all non-zero balances."""
        return await self._ask(self._exchange.balances)

    async def submit_order(self, request: OrderRequest) -> OrderReport:
        """Let one order travel to the paper venue and match there; see `ExchangeGateway.submit_order`.

        It exists only once it has arrived and is stored: one that is on its way when the program ends never existed.
        """
        if self._watcher is None:
            raise RetryableError("the gateway is not connected")
        if request.symbol not in self._market.instruments:
            raise DefinitiveReject(f"{self.venue} has no market {request.symbol}")
        self._require_permission(request)
        feed, fees = self._follow(request.symbol), self._fee_market(request.symbol)
        await self._travel()
        try:
            if fees is not None:
                await fees.freshen()
            await feed.freshen()  # the book that holds on arrival, not the one of the decision
            # Asked again: another process that stops trading must find everything there is when it cancels.
            self._require_permission(request)
            return self._exchange.place(request, self._clock.now_ns())
        except UserError as exc:
            raise AmbiguousOutcome(exc.message) from exc  # what the disk took of it, only the file knows

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Cancel one order by our id; see `ExchangeGateway.cancel_order`."""
        return await self._ask(lambda: self._exchange.cancel(symbol, client_order_id))

    async def cancel_all_orders(self, symbol: str) -> list[OrderReport]:
        """Cancel every open order in one market; none is not an error."""
        return await self._ask(lambda: self._exchange.cancel_all(symbol))

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Return one order by our id; see `ExchangeGateway.fetch_order`."""
        return await self._ask(lambda: self._exchange.order(symbol, client_order_id))

    async def fetch_open_orders(self, symbol: str | None = None) -> list[OrderReport]:
        """Return all open orders, oldest first."""
        return await self._ask(lambda: self._exchange.open_orders(symbol))

    async def fetch_fills(self, symbol: str, *, since_ns: int | None = None) -> list[Fill]:
        """Return all own trades in one market, oldest first."""
        return await self._ask(lambda: self._exchange.fills(symbol, since_ns))

    async def watch_user(self) -> AsyncIterator[UserEvent]:
        """Yield account events, the balances first; nothing is lost on the way. A bug in a feed surfaces here."""
        queue: asyncio.Queue[UserEvent | BaseException] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            yield BalanceReport(self._guard(self._exchange.balances), self._wall.now_ns())
            while True:
                item = await queue.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._listeners.remove(queue)

    # --- inside -----------------------------------------------------------------------------------------------

    def _tell(self, event: UserEvent | BaseException) -> None:
        for queue in self._listeners:
            queue.put_nowait(event)

    def _require_permission(self, request: OrderRequest) -> None:
        if not request.may_send():
            raise SendRevoked("trading was stopped before the order was sent")

    def _follow(self, symbol: str) -> PaperFeed:
        if symbol not in self._feeds:
            self._feeds[symbol] = PaperFeed(self._market, self._exchange, symbol, self._clock, self._tell)
            self._feeds[symbol].start()
        return self._feeds[symbol]

    def _fee_market(self, symbol: str) -> PaperFeed | None:
        """Follow the market that prices the currency fees are paid in; None where fees are taken as usual."""
        market = f"{self._fees_in}/{self._market.instruments[symbol].quote}"
        return self._follow(market) if self._fees_in and market in self._market.instruments else None

    async def _travel(self) -> None:
        await self._sleep(self._latency.next_ns() / NS_PER_S)

    async def _ask(self, question: Callable[[], T]) -> T:
        await self._travel()
        return self._guard(question)

    def _guard(self, question: Callable[[], T]) -> T:
        """Answer; a file that cannot be read or written is a venue that cannot be reached now."""
        try:
            return question()
        except UserError as exc:
            raise RetryableError(exc.message) from exc

    async def _watch_file(self) -> None:
        """Notice what another process does to the account, also while the market is quiet."""
        while True:
            await asyncio.sleep(WATCH_FILE_S)
            try:
                self._exchange.follow_file()
            except UserError as exc:
                _log.warning("%s", exc.message)
