"""A venue behind ccxt: account and market data by REST, streams by ccxt.pro. Runs on the event loop that connects it.

The trading mode is fixed at construction. A PRACTICE gateway takes practice addresses only, and its connector refuses
every address but loopback; PAPER takes no keys; LIVE takes no practice addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from core.clock import NS_PER_MS, Clock, SystemClock
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.money import plain
from core.domain.orders import OrderType, TradingMode
from core.domain.positions import Balance
from core.events import ConnectionStatus
from core.execution.api.ccxt_client import CcxtClient
from core.execution.api.ccxt_exchange import Credentials
from core.execution.api.ccxt_parse import (
    parse_balances,
    parse_book,
    parse_candles,
    parse_fill,
    parse_instrument,
    parse_order,
    parse_public_trade,
    parse_ticker,
)
from core.execution.api.ccxt_streams import VenueStreams
from core.execution.api.clock_sync import ClockSync
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import (
    AmbiguousOutcome,
    BalanceReport,
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
    SendRevoked,
    UserEvent,
)
from core.execution.api.key_permissions import KeyGuard
from core.execution.api.link_probe import LinkProbe
from core.execution.api.loopback import is_loopback
from core.execution.api.request_budget import BudgetRegistry, Lane
from core.execution.api.trade_sequence import TradeEvent
from core.execution.api.trade_stream import PAGE
from core.execution.api.venue_clock import VenueClock
from core.execution.api.venue_profile import VenueProfile
from core.execution.error_handler import Operation
from core.jitter import new_jitter

STALE_TIMESTAMP_CODES = frozenset({"-1021"})
TRADES_PER_PAGE = 1_000
SHALLOW_DEPTH = 100
CANCEL_PATIENCE_S = 2.0
SUBMIT_WAIT_S = 2.0  # an order that has to wait longer for its turn is not sent at all

__all__ = ["CcxtGateway", "Credentials"]


class CcxtGateway:
    """One account, or the public data, of one venue; implements `ExchangeGateway`."""

    def __init__(
        self,
        profile: VenueProfile,
        mode: TradingMode,
        credentials: Credentials | None,
        *,
        market_clock: Clock,
        wall_clock: Clock | None = None,
        on_connection: Callable[[ConnectionStatus], None] | None = None,
        link: str = "orders",
        budgets: BudgetRegistry | None = None,
        seed: int | None = None,
        key_guard: KeyGuard | None = None,
    ) -> None:
        """Bind a gateway to a venue and a mode; connects nothing yet.

        Args:
            profile: the venue.
            mode: fixed for life.
            credentials: keys; None for public data only.
            market_clock: says which bars are closed.
            wall_clock: this machine's clock, watched for steps; the system's where None.
            on_connection: told about every change of the link, on the gateway's thread.
            link: "orders" or "market".
            budgets: what may be sent, shared with the other links of this process; one of its own where None.
            seed: of the jitter of pauses; None draws one.
            key_guard: asked before the key is used; a LIVE gateway with keys needs one.

        Raises:
            FatalGatewayError: mode, addresses and keys do not go together.
        """
        _check_mode(profile, mode, credentials)
        if mode is TradingMode.LIVE and credentials is not None and key_guard is None:
            raise FatalGatewayError("a live gateway asks what its key may do")
        self._key_guard = key_guard
        self._profile = profile
        self._mode = mode
        self._credentials = credentials
        self._market_clock = market_clock
        self._wall_clock = wall_clock or SystemClock()
        self._clock = VenueClock(self._wall_clock)
        self._instruments: dict[str, Instrument] = {}
        self._by_venue_symbol: dict[str, Instrument] = {}
        self._client_ids: dict[str, str] = {}  # venue order id -> our id
        self._monitor = ConnectionMonitor(profile.ccxt_id, link, mode, on_connection)
        self._client = CcxtClient(profile, credentials, self._clock, self._monitor, budgets or BudgetRegistry())
        asks = profile.capabilities.server_time
        self._sync = ClockSync(self._clock, self._monitor, self._ask_time if asks else None)
        source = new_jitter(seed)
        self._probe = LinkProbe(self._monitor, self._ask, source)
        self._streams = VenueStreams(
            self._client,
            profile,
            self._monitor,
            market_now_ns=self._market_now_ns,
            wall_clock=self._wall_clock,
            fetch_candles=lambda symbol, tf, since, limit: self.fetch_candles(symbol, tf, since_ns=since, limit=limit),
            fetch_book=self.fetch_book,
            fetch_trades_from=self._fetch_trades_from,
            source=source,
        )

    @property
    def venue(self) -> str:
        """Venue id as ccxt spells it."""
        return self._profile.ccxt_id

    @property
    def mode(self) -> TradingMode:
        """Fixed at construction."""
        return self._mode

    @property
    def has_keys(self) -> bool:
        """Whether it can see and move an account."""
        return self._credentials is not None

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Tradable markets by unified symbol; filled by `connect`."""
        return MappingProxyType(self._instruments)

    @property
    def connection(self) -> ConnectionStatus:
        """Newest state of the link."""
        return self._monitor.status

    @property
    def recv_window_ms(self) -> int | None:
        """How long after its timestamp the venue still accepts an order; None where it never refuses a late one."""
        return self._profile.recv_window_ms

    @property
    def clock_skew_ns(self) -> int | None:
        """The venue's clock minus this machine's, ns, as it is now; None where nobody knows."""
        return self._clock.skew_ns if self._clock.is_measured else None

    async def connect(self) -> None:
        """Load instruments, measure the clock offset and, with keys, prove that the account answers.

        Raises:
            FatalGatewayError: wrong key, unsupported venue.
            RetryableError: the venue cannot be reached now.
        """
        self._monitor.connecting()
        try:
            if self._client.exchange is None:
                await self._client.open()
            # First of all, as it tells the limits: what the venue says was used means nothing beside outdated ones.
            weights = self._profile.weights
            markets = await self._client.call(Operation.QUERY, weights.markets, lambda e: e.load_markets(True))
            await self._sync.measure()
            found = [parse_instrument(market, self.venue, self._profile.fee_rule) for market in markets.values()]
            self._instruments = {i.symbol: i for i in found if i is not None}
            self._by_venue_symbol = {i.venue_symbol: i for i in self._instruments.values()}
            if self._credentials is not None:
                if self._key_guard is not None:
                    await self._key_guard.admit(self._client, self.venue)
                await self.fetch_balances()
        except BaseException as exc:  # also when cancelled: no session may stay open
            await self._shut()
            self._monitor.closed(exc.message if isinstance(exc, GatewayError) else type(exc).__name__)
            raise
        self._monitor.opened()
        self._sync.tell()
        self._probe.start()
        self._client.tell_breaker()  # while the link was being opened nobody could be told

    async def close(self) -> None:
        """Close every socket within 3 s; idempotent."""
        self._monitor.closed()
        await self._shut()

    def report_trouble(self, source: str, detail: str) -> None:
        """Tell the link that something a caller does over it fails; see `MarketGateway.report_trouble`."""
        self._monitor.trouble(source, detail)

    def clear_trouble(self, source: str) -> None:
        """Tell the link that it works again, or is no longer wanted."""
        self._monitor.recovered(source)

    async def server_time_ns(self) -> int:
        """Return the venue's wall clock, ns UTC; our own, corrected, where the venue tells no time."""
        return await self._sync.sample()

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        """Return up to `limit` candles, oldest first; the last one may be unfinished."""
        self._instrument(symbol)
        since_ms = None if since_ns is None else -(-since_ns // NS_PER_MS)
        rows = await self._query(
            self._profile.weights.candles, lambda e: e.fetch_ohlcv(symbol, timeframe.value, since_ms, limit)
        )
        closed_before_ns = self._market_now_ns()
        return parse_candles(rows, symbol, timeframe, closed_before_ns=closed_before_ns, source="rest")

    async def fetch_trades(self, symbol: str, *, since_ns: int | None = None, limit: int = 500) -> list[PublicTrade]:
        """Return recent public trades, oldest first."""
        self._instrument(symbol)
        since_ms = None if since_ns is None else -(-since_ns // NS_PER_MS)
        rows = await self._query(self._profile.weights.trades, lambda e: e.fetch_trades(symbol, since_ms, limit))
        return [parse_public_trade(row, symbol) for row in rows]

    async def fetch_book(self, symbol: str, depth: int = 100) -> BookSnapshot:
        """Return the order book."""
        self._instrument(symbol)
        weight = self._profile.weights.book if depth <= SHALLOW_DEPTH else self._profile.weights.deep_book
        book = await self._query(weight, lambda e: e.fetch_order_book(symbol, depth))
        return parse_book(book, symbol, depth, self._wall_clock.now_ns())

    async def fetch_ticker(self, symbol: str) -> Ticker:
        """Return the ticker."""
        self._instrument(symbol)
        weight = self._profile.weights.ticker  # orders are decided by it: no chart may take the room for it
        ticker = await self._query(weight, lambda e: e.fetch_ticker(symbol), lane=Lane.SUBMIT)
        return parse_ticker(ticker, symbol, self._wall_clock.now_ns())

    def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        """Yield live candles; see `MarketGateway.watch_candles`."""
        return self._streams.candles(self._instrument(symbol), timeframe)

    def watch_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        """Yield batches of public trades; ends with `GatewayError`."""
        return self._streams.trades(self._instrument(symbol))

    def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        """Yield the top of the book; ends with `GatewayError`."""
        return self._streams.book(self._instrument(symbol), depth)

    def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        """Yield the ticker; ends with `GatewayError`."""
        return self._streams.ticker(self._instrument(symbol).symbol)

    async def fetch_balances(self) -> tuple[Balance, ...]:
        """Return all non-zero balances."""
        self._require_keys()
        weight = self._profile.weights.account
        return parse_balances(await self._query(weight, lambda e: e.fetch_balance(), lane=Lane.QUERY))

    async def submit_order(self, request: OrderRequest) -> OrderReport:
        """Send one order, exactly once; never retried inside.

        Raises:
            DefinitiveReject: refused, the order does not exist.
            AmbiguousOutcome: it may exist.
            RetryableError: surely not processed.
            SendRevoked: `request.may_send` said no after the wait for the request limit; nothing was sent.
            FatalGatewayError: key or permission.
        """
        self._require_keys()
        self._check_exact(request)
        kind, params = self._profile.dialect.order_arguments(request)
        # With a price ccxt would turn a market order into one by value.
        limit = None if request.order_type is OrderType.MARKET else request.limit_price
        price = None if limit is None else plain(limit)
        await self._sync.follow_step()

        def create(exchange: Any) -> Awaitable[Any]:
            if not request.may_send():
                raise SendRevoked("trading was stopped before the order was sent")
            if self._clock.has_stepped:  # its timestamp would be wrong: nothing may be sent that is not understood
                raise RetryableError("this computer's clock was set; the order was not sent")
            created: Awaitable[Any] = exchange.create_order(
                request.symbol, kind, request.side.value, plain(request.quantity), price, params
            )
            return created

        seen = self._sync.measurements
        try:
            order = await self._client.call(
                Operation.SUBMIT, self._profile.weights.order, create, lane=Lane.SUBMIT, max_wait_s=SUBMIT_WAIT_S
            )
        except RetryableError as exc:
            if exc.code in STALE_TIMESTAMP_CODES:
                await self._sync.renew(seen)  # for the next order; this one was refused and is never sent again
            raise
        try:
            return self._report(order, request.client_order_id)
        except (ValueError, KeyError) as exc:
            raise AmbiguousOutcome(f"the answer to the order was not understood: {exc}") from exc

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Cancel one order by our id.

        Raises:
            OrderUnknown: the venue has no such open order.
            GatewayError: as for every call.
        """
        self._require_keys()
        self._instrument(symbol)
        order = await self._ask_venue(
            Operation.CANCEL,
            self._profile.weights.order,
            lambda e: e.cancel_order("", symbol, {"clientOrderId": client_order_id}),
            Lane.CANCEL,
        )
        return self._report(order, client_order_id)

    async def cancel_all_orders(self, symbol: str) -> list[OrderReport]:
        """Cancel every open order of the account in one market; an empty book of orders is not an error."""
        self._require_keys()
        self._instrument(symbol)
        try:
            orders = await self._ask_venue(
                Operation.CANCEL, self._profile.weights.order, lambda e: e.cancel_all_orders(symbol), Lane.CANCEL
            )
        except OrderUnknown:
            return []
        return [self._report(order) for order in orders]

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Return one order by our id.

        Raises:
            OrderUnknown: the venue does not know it (or not yet).
        """
        self._require_keys()
        self._instrument(symbol)
        order = await self._query(
            self._profile.weights.query_order,
            lambda e: e.fetch_order("", symbol, {"clientOrderId": client_order_id}),
            lane=Lane.QUERY,
        )
        return self._report(order, client_order_id)

    async def fetch_open_orders(self, symbol: str | None = None) -> list[OrderReport]:
        """Return all working orders of the account, ours or not."""
        self._require_keys()
        weights = self._profile.weights
        weight = weights.open_orders_all if symbol is None else weights.open_orders
        orders = await self._query(weight, lambda e: e.fetch_open_orders(symbol), lane=Lane.QUERY)
        return [self._report(order) for order in orders if order["symbol"] in self._instruments]

    async def fetch_fills(self, symbol: str, *, since_ns: int | None = None) -> list[Fill]:
        """Return all own trades in one market since `since_ns`, oldest first, complete (pages are followed)."""
        self._require_keys()
        self._instrument(symbol)
        trades: dict[str, Any] = {}
        since_ms = None if since_ns is None else since_ns // NS_PER_MS
        params: dict[str, Any] = {"fromId": 0} if since_ms is None else {}
        while True:
            read_page = partial(_own_trades, symbol=symbol, since_ms=since_ms, params=params)
            page = await self._query(self._profile.weights.own_trades, read_page, lane=Lane.QUERY)
            fresh = [trade for trade in page if str(trade["id"]) not in trades]
            trades.update((str(trade["id"]), trade) for trade in fresh)
            if len(page) < TRADES_PER_PAGE or not fresh:
                break
            since_ms, params = None, {"fromId": max(int(trade["id"]) for trade in fresh) + 1}
        ordered = sorted(trades.values(), key=lambda trade: (int(trade["timestamp"]), int(trade["id"])))
        fills = []
        for trade in ordered:
            fill = parse_fill(trade, symbol, await self._client_id_of(str(trade["order"]), symbol), self.venue)
            if since_ns is None or fill.time_ns >= since_ns // NS_PER_MS * NS_PER_MS:
                fills.append(fill)
        return fills

    def watch_user(self) -> AsyncIterator[UserEvent]:
        """Yield account events; the first one is a `BalanceReport` that tells that the subscription holds."""
        self._require_keys()
        return self._streams.user(self.venue, self._by_venue_symbol, self._balance_snapshot, self._remember)

    async def _fetch_trades_from(self, symbol: str, first_id: int) -> list[TradeEvent]:
        """Read public trades from an id on, oldest first."""
        params = dict(self._profile.dialect.trades_from(first_id))
        rows = await self._query(self._profile.weights.trades, lambda e: e.fetch_trades(symbol, None, PAGE, params))
        trades = [parse_public_trade(row, symbol) for row in rows]
        return [TradeEvent(int(t.trade_id), t.price, t.quantity, t.side, t.time_ns) for t in trades]

    async def _balance_snapshot(self) -> UserEvent:
        return BalanceReport(await self.fetch_balances(), self._clock.now_ns())

    async def _query(self, weight: float, request: Callable[[Any], Any], *, lane: Lane = Lane.MARKET) -> Any:
        return await self._ask_venue(Operation.QUERY, weight, request, lane)

    async def _ask_venue(
        self, operation: Operation, weight: float, request: Callable[[Any], Any], lane: Lane = Lane.QUERY
    ) -> Any:
        """Make a call that may be repeated; once more where only its timestamp was wrong."""
        with contextlib.suppress(TimeoutError):  # a cancel waits for nothing that may not come
            async with asyncio.timeout(CANCEL_PATIENCE_S if operation is Operation.CANCEL else None):
                await self._sync.follow_step()
        seen = self._sync.measurements
        try:
            return await self._client.call(operation, weight, request, lane=lane)
        except RetryableError as exc:
            if exc.code not in STALE_TIMESTAMP_CODES or not await self._sync.renew(seen):
                raise
        return await self._client.call(operation, weight, request, lane=lane)

    async def _shut(self) -> None:
        try:
            await self._probe.stop()
        finally:
            await self._client.close()

    async def _ask(self) -> None:
        """Ask the cheapest question there is; a venue without a clock is asked for a ticker instead."""
        weights = self._profile.weights
        if self._profile.capabilities.server_time:
            weight, request = weights.time, _server_time
        else:
            weight, request = weights.ticker, partial(_ticker, symbol=next(iter(self._instruments)))
        await self._client.call(Operation.QUERY, weight, request, lane=Lane.QUERY, max_wait_s=0.0, is_probe=True)

    async def _ask_time(self) -> int:
        weight = self._profile.weights.time
        return int(await self._client.call(Operation.QUERY, weight, _server_time, lane=Lane.QUERY)) * NS_PER_MS

    def _market_now_ns(self) -> int:
        """Return market time; where the market runs on wall time, corrected to the venue's clock."""
        same = self._market_clock is self._wall_clock or isinstance(self._market_clock, SystemClock)
        return self._clock.now_ns() if same else self._market_clock.now_ns()

    def _report(self, order: Mapping[str, Any], client_order_id: str = "") -> OrderReport:
        client_id = client_order_id or self._profile.dialect.client_order_id(order.get("info") or {})
        report = parse_order(order, client_id, self.venue, self._wall_clock.now_ns())
        self._remember(report)
        return report

    def _remember(self, report: OrderReport) -> None:
        if report.venue_order_id and report.client_order_id:
            self._client_ids[report.venue_order_id] = report.client_order_id

    async def _client_id_of(self, venue_order_id: str, symbol: str) -> str:
        """Return our id of an order known by the venue's; own trades carry only the latter."""
        known = self._client_ids.get(venue_order_id)
        if known is None:
            try:
                order = await self._query(
                    self._profile.weights.query_order, lambda e: e.fetch_order(venue_order_id, symbol), lane=Lane.QUERY
                )
                known = self._profile.dialect.client_order_id(order.get("info") or {})
            except OrderUnknown:
                known = ""  # archived by the venue: long past, surely not one of this session's
            self._client_ids[venue_order_id] = known
        return known

    def _instrument(self, symbol: str) -> Instrument:
        try:
            return self._instruments[symbol]
        except KeyError:
            if not self._instruments:
                raise RetryableError("the gateway is not connected") from None
            raise DefinitiveReject(f"{self.venue} has no market {symbol}") from None

    def _require_keys(self) -> None:
        if self._credentials is None:
            raise FatalGatewayError("this gateway has no keys; it reads public data only")

    def _check_exact(self, request: OrderRequest) -> None:
        """Refuse what ccxt or the venue would have to round: what is sent must be what was approved."""
        instrument = self._instrument(request.symbol)
        problem = instrument.rule_violation(request.quantity, None)
        for price in (request.limit_price, request.stop_price):
            if problem is None and price is not None and instrument.round_price(price) != price:
                problem = f"price {price} is not a multiple of the tick size {instrument.tick_size}"
        if problem is None and request.order_type is not OrderType.MARKET and request.limit_price is None:
            problem = "a limit order needs a price"
        if problem is not None:
            raise DefinitiveReject(f"{request.symbol}: {problem}")


async def _server_time(exchange: Any) -> Any:
    return await exchange.fetch_time()


async def _ticker(exchange: Any, *, symbol: str) -> Any:
    return await exchange.fetch_ticker(symbol)


async def _own_trades(exchange: Any, *, symbol: str, since_ms: int | None, params: Mapping[str, Any]) -> Any:
    return await exchange.fetch_my_trades(symbol, since_ms, TRADES_PER_PAGE, dict(params))


def _check_mode(profile: VenueProfile, mode: TradingMode, credentials: Credentials | None) -> None:
    if mode is TradingMode.PRACTICE:
        away = [host for host in profile.hosts() if not is_loopback(host)]
        if not profile.practice or not profile.urls or away:
            target = away[0] if away else profile.ccxt_id
            raise FatalGatewayError(f"a practice gateway connects to this machine only, not to {target}")
    elif profile.practice:
        raise FatalGatewayError(f"the practice exchange cannot be used in {mode.value} mode")
    if mode is TradingMode.PAPER and credentials is not None:
        raise FatalGatewayError("a paper gateway takes no keys")
