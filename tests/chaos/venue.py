"""The practice exchange behind a simulated network: arrival times, lagging views, account streams. World side.

Matching, filters, balances and error codes are those of `core.practice`; only sockets and the disk are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from core.practice import messages
from core.practice.api import TradingApi
from core.practice.exchange import Exchange
from core.practice.messages import Json
from core.practice.orders import Fill, Order, OrderEvent, Rejection
from core.practice.specs import UNITS, MarketSpec
from core.practice.tape import Print
from tests.chaos.faults import FaultPlan
from tests.chaos.market import START_MS, MemoryStore, walking_market

OPENING = {"USDT": 200_000 * UNITS, "BTC": 2 * UNITS, "ETH": 5 * UNITS}
AHEAD_MS = 1_000


class Session(Protocol):
    """A subscriber of the account stream."""

    def frame(self, payload: Json) -> None:
        """A frame arrived."""
        ...

    def ended(self) -> None:
        """The connection broke."""
        ...


class SimVenue:
    """One account at one exchange.

    Attributes:
        plan: faults; frames take theirs from the lane "stream".
        placed: client ids in the order in which the venue accepted them.
        on_change: called when orders or balances have changed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, market_seed: int, plan: FaultPlan) -> None:
        self._loop = loop
        self.plan = plan
        self.store = MemoryStore(OPENING)
        # Market time runs far ahead of no wall clock: it moves only when a schedule says so.
        self.exchange = Exchange(walking_market(market_seed), self.store, START_MS + 5_000)  # type: ignore[arg-type]
        self.exchange.listener = self
        self.api = TradingApi(self.exchange, self.server_ms, lambda operation, order_id: False, list)
        self._sessions: dict[Session, float] = {}  # arrival of the newest frame
        self._views: dict[int, list[tuple[int, Order]]] = {}
        self._ticker_waiters: set[asyncio.Future[None]] = set()
        self._unreachable_until = 0.0
        self._stream_down_until = 0.0
        self._muted_until = 0.0
        self.on_change: Callable[[], None] = lambda: None

    def server_ms(self) -> int:
        """Return the venue's clock, ms."""
        return START_MS + 5_000_000 + int(self._loop.time() * 1_000)

    def spec(self, symbol: str) -> MarketSpec:
        """Return a market by its unified name."""
        return self.exchange.specs[symbol.replace("/", "")]

    # --- the world's side -------------------------------------------------------------------------------------

    def move(self, seconds: float) -> None:
        """Let the market trade for a while."""
        self.exchange.advance(self.exchange.market_ms + int(seconds * 1_000), self.server_ms())
        self.tick()

    def tick(self) -> None:
        """Tell every subscriber the price."""
        waiters, self._ticker_waiters = self._ticker_waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def last_price(self, symbol: str) -> Decimal:
        """Return the last traded price."""
        spec = self.spec(symbol)
        return Decimal(self.exchange.last_price(spec.symbol)).scaleb(-spec.price_decimals)

    def outage(self, seconds: float) -> None:
        """Answer nothing and cut every stream for a while."""
        self._unreachable_until = self._loop.time() + seconds
        self.cut(seconds)

    def cut(self, seconds: float) -> None:
        """End every account stream and refuse new ones for a while."""
        self._stream_down_until = max(self._stream_down_until, self._loop.time() + seconds)
        sessions, self._sessions = list(self._sessions), {}
        for session in sessions:
            session.ended()

    def mute(self, seconds: float) -> None:
        """Let the account stream say nothing for a while, as a half-open connection does, then break it."""
        self._muted_until = self._loop.time() + seconds
        self._loop.call_later(seconds, self.cut, 0.0)

    def heal(self) -> None:
        """End outage and silence."""
        self._unreachable_until = self._stream_down_until = self._muted_until = 0.0

    @property
    def reachable(self) -> bool:
        """Whether requests are answered."""
        return self._loop.time() >= self._unreachable_until

    @property
    def streaming(self) -> bool:
        """Whether the account stream takes subscribers."""
        return self.reachable and self._loop.time() >= self._stream_down_until

    async def next_tick(self) -> None:
        """Wait until the market has moved."""
        waiter = self._loop.create_future()
        self._ticker_waiters.add(waiter)
        try:
            await waiter
        finally:
            self._ticker_waiters.discard(waiter)

    # --- requests, as they arrive -----------------------------------------------------------------------------

    def check_stamp(self, stamp_ms: int, window_ms: int) -> None:
        """Refuse a request that is too old or from the future, as `core.practice.auth.check_signed` does.

        Raises:
            Rejection: -1021.
        """
        now = self.server_ms()
        if stamp_ms >= now + AHEAD_MS:
            raise Rejection(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now - stamp_ms > window_ms:
            raise Rejection(-1021, "Timestamp for this request is outside of the recvWindow.")

    def query_order(self, params: Mapping[str, str]) -> Json:
        """Answer an order query from a view that may lag."""
        seconds = self.plan.lag_of("order")
        if not seconds:
            return self.api.query_order(params)
        for order_id in sorted(self._views, reverse=True):
            order = self._view(order_id, seconds)
            wanted = params.get("origClientOrderId") or params.get("orderId")
            if order and order.symbol == params["symbol"] and wanted in (order.client_id, str(order.order_id)):
                return messages.order_row(self.exchange.specs[order.symbol], order)
        raise Rejection(-2013, "Order does not exist.")

    def open_orders(self, params: Mapping[str, str]) -> list[Json]:
        """Answer the list of open orders from a view that may lag."""
        seconds = self.plan.lag_of("open")
        if not seconds:
            return self.api.open_orders(params)
        symbol = params.get("symbol")
        views = [self._view(order_id, seconds) for order_id in sorted(self._views)]
        return [
            messages.order_row(self.exchange.specs[o.symbol], o)
            for o in views
            if o is not None and o.is_open and symbol in (None, "", o.symbol)
        ]

    def my_trades(self, params: Mapping[str, str]) -> list[Json]:
        """Answer the list of own trades from a view that may lag."""
        rows = self.api.my_trades(params)
        before = self.server_ms() - int(self.plan.lag_of("trades") * 1_000)
        return [row for row in rows if row["time"] <= before]

    def _view(self, order_id: int, lag_s: float) -> Order | None:
        before = self.server_ms() - int(lag_s * 1_000)
        seen = [order for at_ms, order in self._views[order_id] if at_ms <= before]
        return seen[-1] if seen else None

    # --- account streams --------------------------------------------------------------------------------------

    def subscribe(self, session: Session) -> None:
        """Begin to send account frames."""
        self._sessions[session] = 0.0

    def forget(self, session: Session) -> None:
        """End a subscription."""
        self._sessions.pop(session, None)

    def wants_trades(self, symbol: str) -> bool:
        return False

    def traded(self, symbol: str, prints: Sequence[Print]) -> None:
        pass

    def bar_closed(self) -> None:
        pass

    def account_changed(self, events: Sequence[OrderEvent], balances: Mapping[str, tuple[int, int]]) -> None:
        now = self.server_ms()
        self.on_change()
        for event in events:
            self._views.setdefault(event.order.order_id, []).append((now, event.order))
        payloads = [messages.execution_report(self.exchange.specs[e.order.symbol], e, now) for e in events]
        if balances:
            payloads.append(messages.account_position(balances, now))
        for payload in payloads:
            fault = self.plan.take("stream")
            if self._loop.time() < self._muted_until or (fault is not None and fault.kind == "drop"):
                continue
            for session in list(self._sessions):
                self._send(session, payload, 0.0)
                if fault is not None and fault.kind == "twice":
                    self._send(session, payload, fault.seconds)

    def _send(self, session: Session, payload: Json, extra_s: float) -> None:
        """Deliver in order, as a connection does; a frame with extra delay falls out of the line."""
        arrival = self._loop.time() + self.plan.latency() + extra_s
        fault = self.plan.take("frame")
        if fault is not None:
            arrival += fault.seconds
        elif not extra_s:
            arrival = max(arrival, self._sessions[session])
            self._sessions[session] = arrival
        self._loop.call_at(arrival, self._deliver, session, payload)

    def _deliver(self, session: Session, payload: Json) -> None:
        if session in self._sessions:
            session.frame(payload)

    # --- what the invariants look at --------------------------------------------------------------------------

    def all_orders(self) -> list[Order]:
        """Return every order, oldest first."""
        return self.store.all_orders()

    def all_fills(self) -> list[Fill]:
        """Return every execution."""
        return self.store.all_fills()

    def open_now(self) -> list[Order]:
        """Return the orders that rest."""
        return self.exchange.open_orders()
