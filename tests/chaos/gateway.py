"""`ExchangeGateway` over the simulated venue: what `CcxtGateway` does, without sockets. The executor's end of the wire.

A request travels in callbacks of the world's loop, so it arrives (or not) whatever becomes of its sender. Errors pass
through the product's own classification.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from core.clock import NS_PER_MS, Clock
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import TradingMode
from core.domain.positions import Balance
from core.execution.api.binance_api import BINANCE_ERRORS, RECV_WINDOW_MS, BinanceDialect
from core.execution.api.gateway import (
    BalanceReport,
    GatewayError,
    NoAnswer,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
    SendRevoked,
    UserEvent,
)
from core.execution.error_handler import HttpFacts, Operation, classify
from core.practice.messages import Json
from core.practice.orders import Rejection
from tests.chaos import wire
from tests.chaos.faults import Fault
from tests.chaos.venue import SimVenue

TIMEOUT_S = 10.0
BOOK_ON_THE_WAY_S = 0.2
_REFUSALS: dict[str, tuple[int, str, int]] = {
    "busy": (-1003, "Too many requests.", 429),
    "stale": (-1021, "Timestamp for this request is outside of the recvWindow.", 400),
    "reject": (-2010, "Account has insufficient balance for requested action.", 400),
    "fatal": (-2015, "Invalid API-key, IP, or permissions for action.", 401),
}


class VenueAnswer(Exception):
    """An error answer of the venue, as ccxt would raise it."""


class SimGateway:
    """One client of the simulated venue.

    Attributes:
        on_wire: told of every placement that really goes out.
        troubles: what the program says does not work, by source.
    """

    venue = wire.VENUE
    mode = TradingMode.PRACTICE
    recv_window_ms: int | None = RECV_WINDOW_MS

    def __init__(
        self,
        sim: SimVenue,
        wall: Clock,
        guard: Callable[[], None],
        on_wire: Callable[[OrderRequest], None],
    ) -> None:
        """Bind a client to the venue.

        Args:
            wall: its clock; may be wrong.
            guard: raises where the client's process is dead.
        """
        self._sim = sim
        self._wall = wall
        self._guard = guard
        self.on_wire = on_wire
        self.troubles: dict[str, str] = {}
        self._instruments: dict[str, Instrument] = {}
        self._by_venue_symbol: dict[str, Instrument] = {}
        self._client_ids: dict[str, str] = {}
        self._offset_ns = 0
        self._dialect = BinanceDialect()
        self._sessions: list[_Session] = []
        self._pending: set[asyncio.Future[Any]] = set()
        self._closed = False

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return MappingProxyType(self._instruments)

    # --- life -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        await self._measure_clock()
        found = [wire.instrument_of(spec) for spec in self._sim.exchange.specs.values()]
        self._instruments = {i.symbol: i for i in found}
        self._by_venue_symbol = {i.venue_symbol: i for i in found}
        await self.fetch_balances()

    async def close(self) -> None:
        self._closed = True
        for answer in list(self._pending):
            if not answer.done():
                answer.set_exception(ConnectionResetError("the connection was closed"))
        for session in list(self._sessions):
            session.ended()
            self._sim.forget(session)

    def lose_sessions(self) -> None:
        """The process died: its sockets close."""
        for session in self._sessions:
            self._sim.forget(session)

    def report_trouble(self, source: str, detail: str) -> None:
        self.troubles[source] = detail

    def clear_trouble(self, source: str) -> None:
        self.troubles.pop(source, None)

    # --- requests ---------------------------------------------------------------------------------------------

    async def server_time_ns(self) -> int:
        answer = await self._query("time", lambda: self._sim.api.time({}), signed=False)
        return int(answer["serverTime"]) * NS_PER_MS

    async def _measure_clock(self) -> None:
        before = self._wall.now_ns()
        time_ns = await self.server_time_ns()
        self._offset_ns = time_ns - (before + self._wall.now_ns()) // 2

    @property
    def clock_skew_ns(self) -> int | None:
        return self._offset_ns

    async def fetch_ticker(self, symbol: str) -> Ticker:
        price = await self._query("ticker", lambda: self._sim.last_price(symbol), signed=False)
        return Ticker(symbol, float(price), None, None, None, None, self._wall.now_ns())

    async def fetch_book(self, symbol: str, depth: int = 100) -> BookSnapshot:
        params = {"symbol": symbol.replace("/", ""), "limit": str(depth)}
        return self._book(symbol, await self._query("book", lambda: self._sim.api.depth(params), signed=False))

    def _book(self, symbol: str, rows: Json) -> BookSnapshot:
        bids, asks = (tuple((float(p), float(q)) for p, q in rows[side]) for side in ("bids", "asks"))
        return BookSnapshot(symbol, bids, asks, self._wall.now_ns() + self._offset_ns, rows["lastUpdateId"])

    async def fetch_balances(self) -> tuple[Balance, ...]:
        ledger = self._sim.exchange.ledger
        return wire.balances_of(await self._query("balances", ledger.balances))

    async def submit_order(self, request: OrderRequest) -> OrderReport:
        params = wire.order_params(request)

        def leave() -> None:
            if not request.may_send():
                raise SendRevoked("trading was stopped before the order was sent")
            self.on_wire(request)

        def place() -> Any:
            return self._sim.api.place_order(params)

        row = await self._call("submit", Operation.SUBMIT, place, leave=leave)
        return self._seen(wire.report_of(row, request.symbol, request.client_order_id))

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        params = {"symbol": symbol.replace("/", ""), "origClientOrderId": client_order_id}
        row = await self._call("cancel", Operation.CANCEL, lambda: self._sim.api.cancel_order(params))
        return self._seen(wire.report_of(row, symbol, client_order_id))

    async def cancel_all_orders(self, symbol: str) -> list[OrderReport]:
        params = {"symbol": symbol.replace("/", "")}
        try:
            rows = await self._call("cancel_all", Operation.CANCEL, lambda: self._sim.api.cancel_open_orders(params))
        except OrderUnknown:
            return []
        return [self._seen(wire.report_of(row, symbol)) for row in rows]

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        params = {"symbol": symbol.replace("/", ""), "origClientOrderId": client_order_id}
        row = await self._query("order", lambda: self._sim.query_order(params))
        return self._seen(wire.report_of(row, symbol, client_order_id))

    async def fetch_open_orders(self, symbol: str | None = None) -> list[OrderReport]:
        params = {"symbol": symbol.replace("/", "")} if symbol else {}
        rows = await self._query("open", lambda: self._sim.open_orders(params))
        return [self._seen(wire.report_of(row, self._by_venue_symbol[row["symbol"]].symbol)) for row in rows]

    async def fetch_fills(self, symbol: str, *, since_ns: int | None = None) -> list[Fill]:
        params = {"symbol": symbol.replace("/", ""), "limit": "1000"}
        params |= {"fromId": "0"} if since_ns is None else {"startTime": str(since_ns // NS_PER_MS)}
        rows = await self._query("trades", lambda: self._sim.my_trades(params))
        fills = []
        for row in sorted(rows, key=lambda row: (row["time"], row["id"])):
            fills.append(wire.fill_of(row, symbol, await self._client_id_of(str(row["orderId"]), symbol)))
        return fills

    async def _client_id_of(self, venue_order_id: str, symbol: str) -> str:
        known = self._client_ids.get(venue_order_id)
        if known is None:
            params = {"symbol": symbol.replace("/", ""), "orderId": venue_order_id}
            try:
                row = await self._query("order", lambda: self._sim.query_order(params))
                known = str(row["clientOrderId"])
            except OrderUnknown:
                known = ""
            self._client_ids[venue_order_id] = known
        return known

    def _seen(self, report: OrderReport) -> OrderReport:
        self._client_ids[report.venue_order_id] = report.client_order_id
        return report

    async def _query(self, lane: str, process: Callable[[], Any], *, signed: bool = True) -> Any:
        return await self._call(lane, Operation.QUERY, process, signed=signed)

    async def _call(
        self,
        lane: str,
        operation: Operation,
        process: Callable[[], Any],
        *,
        signed: bool = True,
        leave: Callable[[], None] = lambda: None,
    ) -> Any:
        """Send one request and wait for what comes back; a stale timestamp measures the clock anew, as the client does.

        Args:
            process: what the venue does when it arrives.
            leave: called as the last thing before the wire.
        """
        try:
            return await self._exchange(lane, operation, process, signed, leave)
        except RetryableError as exc:
            if exc.code == "-1021" and lane != "time":
                with contextlib.suppress(GatewayError):
                    await self._measure_clock()
            raise

    async def _exchange(
        self, lane: str, operation: Operation, process: Callable[[], Any], signed: bool, leave: Callable[[], None]
    ) -> Any:
        self._guard()
        self._require_open()
        plan, loop = self._sim.plan, asyncio.get_running_loop()
        fault = plan.take(lane) or Fault("")
        up, down = plan.latency(), plan.latency()
        if fault.kind == "throttled":
            await asyncio.sleep(fault.seconds)
            self._guard()
            self._require_open()
        leave()
        if fault.kind == "refused":
            await asyncio.sleep(0.001)
            raise self._error(ConnectionRefusedError("connection refused"), operation, HttpFacts())
        answer: asyncio.Future[Any] = loop.create_future()
        self._pending.add(answer)
        answer.add_done_callback(self._pending.discard)
        stamp_ms = (self._wall.now_ns() + self._offset_ns) // NS_PER_MS if signed else None
        if fault.kind == "slow":
            up += fault.seconds
        if fault.kind == "late":
            up = max(fault.arrives_s, fault.seconds)
        if fault.kind != "lost":
            loop.call_later(up, self._arrive, process, stamp_ms, fault.kind, answer, down)
        patience = fault.seconds if fault.kind in ("lost", "ack_lost", "late") else TIMEOUT_S
        try:
            async with asyncio.timeout(patience):
                result = await answer
        except (TimeoutError, ConnectionResetError) as exc:
            self._guard()
            raise self._error(exc, operation, HttpFacts()) from None
        except Rejection as exc:
            self._guard()
            text = f'{self.venue} {{"code":{exc.code},"msg":"{exc.message}"}}'
            code = str(exc.code) if exc.code else ""
            raise self._error(VenueAnswer(text), operation, HttpFacts(exc.status, None, code)) from None
        self._guard()
        return result

    def _require_open(self) -> None:
        if self._closed:
            raise RetryableError("the gateway is not connected")

    def _arrive(
        self,
        process: Callable[[], Any],
        stamp_ms: int | None,
        kind: str,
        answer: asyncio.Future[Any],
        down: float,
    ) -> None:
        """The request reaches the venue."""
        if not self._sim.reachable:
            return
        outcome: Any
        try:
            if kind in _REFUSALS:
                raise Rejection(*_REFUSALS[kind])
            if kind == "error":
                raise Rejection(0, "Service Unavailable", 503)
            if stamp_ms is not None:
                self._sim.check_stamp(stamp_ms, wire.RECV_WINDOW_MS)
            outcome = process()
            if kind == "error_done":
                raise Rejection(0, "Gateway Timeout", 504)
        except Rejection as exc:
            outcome = exc
        if kind not in ("ack_lost", "late"):
            asyncio.get_running_loop().call_later(down, _resolve, answer, outcome)

    def _error(self, exc: Exception, operation: Operation, facts: HttpFacts) -> GatewayError:
        error = classify(exc, operation, facts, BINANCE_ERRORS)
        assert error is not None, exc
        return error

    # --- streams ----------------------------------------------------------------------------------------------

    async def watch_user(self) -> AsyncIterator[UserEvent]:
        session = _Session()
        self._sessions.append(session)

        def subscribe() -> None:
            if not self._sim.streaming:
                raise Rejection(0, "Service Unavailable", 503)
            self._sim.subscribe(session)

        try:
            await self._query("subscribe", subscribe)
            yield BalanceReport(await self.fetch_balances(), self._wall.now_ns() + self._offset_ns)
            while True:
                frame = await session.queue.get()
                self._guard()
                if frame is None:
                    raise RetryableError("the account stream was reconnected; events may be missing")
                for event in self._dialect.user_events({"event": frame}, self.venue, self._by_venue_symbol) or ():
                    if isinstance(event, OrderReport):
                        self._seen(event)
                    yield event
        finally:
            self._sessions.remove(session)
            self._sim.forget(session)

    async def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        yield await self.fetch_ticker(symbol)
        while True:
            await self._sim.next_tick()
            self._guard()
            if not self._sim.streaming:
                raise NoAnswer("the connection was closed")
            price = float(self._sim.last_price(symbol))
            yield Ticker(symbol, price, None, None, None, None, self._wall.now_ns())

    async def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        while True:
            await self._sim.next_tick()
            self._guard()
            if not self._sim.streaming:
                raise NoAnswer("the connection was closed")
            book = self._book(symbol, self._sim.api.depth({"symbol": symbol.replace("/", ""), "limit": str(depth)}))
            await asyncio.sleep(BOOK_ON_THE_WAY_S)  # an order may leave meanwhile that it does not know of
            yield book

    # --- market data that no schedule uses --------------------------------------------------------------------

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        raise NotImplementedError

    async def fetch_trades(self, symbol: str, *, since_ns: int | None = None, limit: int = 500) -> list[PublicTrade]:
        raise NotImplementedError

    def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        raise NotImplementedError

    def watch_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        raise NotImplementedError


class _Session:
    """The client's end of an account stream."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Json | None] = asyncio.Queue()

    def frame(self, payload: Json) -> None:
        self.queue.put_nowait(payload)

    def ended(self) -> None:
        self.queue.put_nowait(None)


def _resolve(answer: asyncio.Future[Any], outcome: Any) -> None:
    if answer.done():
        return
    if isinstance(outcome, Rejection):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
