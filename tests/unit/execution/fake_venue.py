"""An in-memory venue for tests of the order path, with faults that can be ordered one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from core.clock import NS_PER_S, ManualClock
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import OrderState, OrderType, Side, TradingMode
from core.domain.positions import Balance
from core.events import ConnectionState, ConnectionStatus
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import (
    AmbiguousOutcome,
    BalanceReport,
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    NoAnswer,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
    UserEvent,
)

BTC = Instrument(
    "fake",
    "BTC/USDT",
    "BTCUSDT",
    "BTC",
    "USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    min_quantity=Decimal("0.00001"),
    min_notional=Decimal(5),
)
ETH = replace(BTC, symbol="ETH/USDT", venue_symbol="ETHUSDT", base="ETH")
START_NS = 1_700_000_000 * NS_PER_S


@dataclass
class VenueOrder:
    """An order as the venue keeps it."""

    request: OrderRequest
    venue_order_id: str
    state: OrderState
    filled: Decimal = Decimal(0)
    fills: list[Fill] = field(default_factory=list)


class FakeVenue:
    """Implements `ExchangeGateway` over a dictionary.

    Faults: `submit_faults` holds what the next submits do ("rest", "reject", "retry", "fatal", "lost_before",
    "lost_after", "bug"); `lag` makes the next n order queries answer "unknown"; `silent` keeps the stream quiet;
    `duplicate` sends every stream message twice; `fills_in_reports` leaves trades out of reports where
    False, `hide_trades` out of the list of own trades, which holds none from before `trades_from_ns`;
    `skew_ns` is how far its clock is ahead of ours; `recv_window_ms` is None where it refuses no request as too old;
    `die` and `revive` take the whole venue away and bring it back. How the link does is told to `on_connection`.
    """

    venue = "fake"
    mode = TradingMode.PRACTICE

    def __init__(self) -> None:
        self.clock = ManualClock(START_NS)
        self.on_connection: Callable[[ConnectionStatus], None] = lambda _: None
        self.monitor = ConnectionMonitor(self.venue, "orders", self.mode, lambda status: self.on_connection(status))
        self.dead = False
        self.stream_dead = False
        self.instruments: Mapping[str, Instrument] = {}
        self.prices = {"BTC/USDT": Decimal(100), "ETH/USDT": Decimal(10)}
        self.free = {"USDT": Decimal(10_000)}
        self.locked: dict[str, Decimal] = {}
        self.orders: dict[str, VenueOrder] = {}
        self.fee_rate = Decimal("0.001")
        self.fee_currency: str | None = None
        self.submit_faults: deque[str] = deque()
        self.cancel_faults: deque[GatewayError] = deque()
        self.query_faults: deque[GatewayError] = deque()
        self.list_faults: deque[GatewayError] = deque()
        self.balance_faults: deque[str] = deque()
        self.lag = 0
        self.silent = False
        self.duplicate = False
        self.fills_in_reports = True
        self.hide_trades = False
        self.trades_from_ns = 0
        self.skew_ns = 0
        self.recv_window_ms: int | None = 3_000
        self.connect_error: GatewayError | None = None
        self.ticker_error: GatewayError | None = None
        self.calls: list[str] = []
        self.sent: list[OrderRequest] = []
        self.candles: list[Candle] = []
        self.candle_queues: list[asyncio.Queue[Candle | GatewayError]] = []
        self.ticker_queues: list[asyncio.Queue[str]] = []
        self.user_queues: list[asyncio.Queue[UserEvent | GatewayError]] = []
        self.closed = False
        self._next_id = 1

    # --- driving it -------------------------------------------------------------------------------------------

    def open_orders(self) -> list[VenueOrder]:
        return [o for o in self.orders.values() if not o.state.is_terminal]

    def fill(self, client_id: str, quantity: Decimal, price: Decimal | None = None) -> Fill:
        """Execute part of a resting order."""
        order = self.orders[client_id]
        request = order.request
        price = price or request.limit_price or self.prices[request.symbol]
        base, quote = request.symbol.split("/")
        fee_currency = self.fee_currency or (base if request.side is Side.BUY else quote)
        fee = quantity * self.fee_rate * (Decimal(1) if fee_currency == base else price)
        if fee_currency not in (base, quote):
            fee = self.fee_rate
        got = Fill(
            self.venue,
            request.symbol,
            str(self._take_id()),
            order.venue_order_id,
            "",
            request.side,
            price,
            quantity,
            fee,
            fee_currency,
            Liquidity.TAKER,
            self._now_ns(),
        )
        self._add(base, quantity * request.side.sign)
        self._add(quote, -quantity * price * request.side.sign)
        self._add(fee_currency, -fee)
        order.fills.append(got)
        order.filled += quantity
        order.state = OrderState.FILLED if order.filled >= request.quantity else OrderState.PARTIALLY_FILLED
        self.push(self.report(order, fills=(got,)))
        return got

    def place_foreign(
        self, symbol: str, side: Side, quantity: Decimal, price: Decimal, client_id: str = ""
    ) -> VenueOrder:
        """Somebody else places a limit order on the account."""
        request = OrderRequest(client_id or f"web_{self._take_id()}", symbol, side, OrderType.LIMIT, quantity, price)
        return self._accept(request)

    def die(self) -> None:
        """Answer nothing any more, and cut every stream; the gateway's probe finds out at once."""
        self.dead = True
        self.push(NoAnswer("no connection"))
        self.monitor.rest(ConnectionState.OFFLINE, "no connection")

    def revive(self) -> None:
        """Answer again; the gateway's probe finds out at once."""
        self.dead = False
        self.monitor.rest(ConnectionState.ONLINE)

    def _answer(self) -> None:
        if self.dead:
            raise NoAnswer("no connection")
        self.monitor.rest(ConnectionState.ONLINE)

    def report_trouble(self, source: str, detail: str) -> None:
        self.monitor.trouble(source, detail)

    def clear_trouble(self, source: str) -> None:
        self.monitor.recovered(source)

    def push(self, event: UserEvent | GatewayError) -> None:
        if self.silent and not isinstance(event, GatewayError):
            return
        for queue in self.user_queues:
            queue.put_nowait(event)
            if self.duplicate:
                queue.put_nowait(event)

    def push_candle(self, candle: Candle | GatewayError) -> None:
        if isinstance(candle, Candle) and candle.final:
            self.candles.append(candle)
            self.prices[candle.symbol] = Decimal(repr(candle.close))
        for queue in self.candle_queues:
            queue.put_nowait(candle)

    def report(self, order: VenueOrder, fills: tuple[Fill, ...] = ()) -> OrderReport:
        request = order.request
        value = sum((f.price * f.quantity for f in order.fills), start=Decimal(0))
        return OrderReport(
            request.symbol,
            request.client_order_id,
            order.venue_order_id,
            order.state,
            request.side,
            request.order_type,
            request.quantity,
            order.filled,
            request.limit_price,
            value / order.filled if order.filled else None,
            self._now_ns(),
            fills if self.fills_in_reports else (),
        )

    # --- MarketGateway ----------------------------------------------------------------------------------------

    async def connect(self) -> None:
        self.monitor.connecting()
        if self.connect_error is not None:
            self.monitor.closed(self.connect_error.message)
            raise self.connect_error
        self.instruments = {"BTC/USDT": BTC, "ETH/USDT": ETH}
        self.monitor.opened()

    async def close(self) -> None:
        self.closed = True
        self.monitor.closed()

    @property
    def clock_skew_ns(self) -> int | None:
        return self.skew_ns

    async def server_time_ns(self) -> int:
        self._answer()
        return self._now_ns()

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        found = [c for c in self.candles if c.symbol == symbol and (since_ns is None or c.open_time_ns >= since_ns)]
        return sorted(found, key=lambda c: c.open_time_ns)[:limit]

    async def fetch_trades(self, symbol: str, *, since_ns: int | None = None, limit: int = 500) -> list[PublicTrade]:
        return []

    async def fetch_book(self, symbol: str, depth: int = 100) -> BookSnapshot:
        return BookSnapshot(symbol, (), (), self.clock.now_ns())

    async def fetch_ticker(self, symbol: str) -> Ticker:
        if self.ticker_error is not None:
            raise self.ticker_error
        return Ticker(symbol, float(self.prices[symbol]), None, None, None, None, self.clock.now_ns())

    async def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        queue: asyncio.Queue[Candle | GatewayError] = asyncio.Queue()
        self.candle_queues.append(queue)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, GatewayError):
                    raise item
                if item.symbol == symbol:
                    yield item
        finally:
            self.candle_queues.remove(queue)

    async def watch_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        await asyncio.Event().wait()
        yield []

    async def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        await asyncio.Event().wait()
        yield await self.fetch_book(symbol)

    async def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self.ticker_queues.append(queue)
        try:
            yield await self.fetch_ticker(symbol)
            while True:
                if await queue.get() == symbol:
                    yield await self.fetch_ticker(symbol)
        finally:
            self.ticker_queues.remove(queue)

    def tick(self, symbol: str, price: Decimal) -> None:
        """Let the market be at `price`, and say so."""
        self.prices[symbol] = price
        for queue in self.ticker_queues:
            queue.put_nowait(symbol)

    # --- ExchangeGateway --------------------------------------------------------------------------------------

    async def fetch_balances(self) -> tuple[Balance, ...]:
        if self.balance_faults:
            raise RetryableError(self.balance_faults.popleft())
        return self._balances()

    async def submit_order(self, request: OrderRequest) -> OrderReport:
        self.calls.append("submit")
        self.sent.append(request)
        fault = self.submit_faults.popleft() if self.submit_faults else "ok"
        await asyncio.sleep(0)
        match fault:
            case "reject":
                raise DefinitiveReject("Filter failure: LOT_SIZE", "-1013")
            case "retry":
                raise RetryableError("Too many requests", "429")
            case "fatal":
                raise FatalGatewayError("Invalid API-key", "-2015")
            case "lost_before":
                raise AmbiguousOutcome("timed out")
            case "bug":
                raise ZeroDivisionError("a bug")
        order = self._accept(request)
        report = self.report(order)
        if order.request.order_type is OrderType.MARKET and fault != "rest":
            self.fill(request.client_order_id, request.quantity)
            report = self.report(order, tuple(order.fills))
        await asyncio.sleep(0)
        if fault == "lost_after":
            raise AmbiguousOutcome("connection reset")
        return report

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        self.calls.append("cancel")
        if self.cancel_faults:
            raise self.cancel_faults.popleft()
        order = self.orders.get(client_order_id)
        if order is None or order.state.is_terminal:
            raise OrderUnknown("Unknown order sent.", "-2011")
        order.state = OrderState.CANCELED
        self.push(self.report(order))
        return self.report(order)

    async def cancel_all_orders(self, symbol: str) -> list[OrderReport]:
        self.calls.append("cancel_all")
        if self.cancel_faults:
            raise self.cancel_faults.popleft()
        found = [o for o in self.open_orders() if o.request.symbol == symbol]
        for order in found:
            order.state = OrderState.CANCELED
        return [self.report(order) for order in found]

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        self.calls.append("query")
        if self.query_faults:
            raise self.query_faults.popleft()
        order = self.orders.get(client_order_id)
        if self.lag:
            self.lag -= 1
            order = None
        if order is None:
            raise OrderUnknown("Order does not exist.", "-2013")
        return self.report(order)

    async def fetch_open_orders(self, symbol: str | None = None) -> list[OrderReport]:
        self._answer()
        if self.list_faults:
            raise self.list_faults.popleft()
        return [self.report(o) for o in self.open_orders() if symbol in (None, o.request.symbol)]

    async def fetch_fills(self, symbol: str, *, since_ns: int | None = None) -> list[Fill]:
        if self.hide_trades:
            return []
        fills = [f for o in self.orders.values() for f in o.fills if f.symbol == symbol]
        return sorted(
            (f for f in fills if f.time_ns >= max(since_ns or 0, self.trades_from_ns)), key=lambda f: int(f.trade_id)
        )

    async def watch_user(self) -> AsyncIterator[UserEvent]:
        if self.dead or self.stream_dead:
            raise NoAnswer("no connection")
        queue: asyncio.Queue[UserEvent | GatewayError] = asyncio.Queue()
        self.user_queues.append(queue)
        yield BalanceReport(self._balances(), self.clock.now_ns())
        try:
            while True:
                item = await queue.get()
                if isinstance(item, GatewayError):
                    raise item
                yield item
        finally:
            self.user_queues.remove(queue)

    # --- inside -----------------------------------------------------------------------------------------------

    def _accept(self, request: OrderRequest) -> VenueOrder:
        if request.client_order_id in {o.request.client_order_id for o in self.open_orders()}:
            raise DefinitiveReject("Duplicate order sent.", "-2010")
        order = VenueOrder(request, f"v{self._take_id()}", OrderState.ACCEPTED)
        self.orders[request.client_order_id] = order
        self.push(self.report(order))
        return order

    def _now_ns(self) -> int:
        return self.clock.now_ns() + self.skew_ns

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _add(self, currency: str, amount: Decimal) -> None:
        self.free[currency] = self.free.get(currency, Decimal(0)) + amount

    def _balances(self) -> tuple[Balance, ...]:
        return tuple(Balance(c, amount, Decimal(0)) for c, amount in sorted(self.free.items()) if amount)
