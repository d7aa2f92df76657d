"""The boundary to a venue: what every gateway offers and how it fails. Runs on the event loop of its owner.

A gateway is bound to one loop and one trading mode for life. Nothing above it can turn PRACTICE into LIVE.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import OrderState, OrderType, Side, TimeInForce, TradingMode
from core.domain.positions import Balance


class GatewayError(Exception):
    """A venue call failed. The subclass says what may be done about it; `code` is the venue's own code if any."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class DefinitiveReject(GatewayError):
    """The venue answered and refused; the order does not exist there. Sending it again would be refused again."""


class OrderUnknown(GatewayError):
    """The venue does not know the order asked about (or not yet: order queries may lag)."""


class AmbiguousOutcome(GatewayError):
    """No answer, or none that decides: the order may or may not exist. Must never be sent again."""


class RetryableError(GatewayError):
    """The call had no effect and may be repeated after `retry_after_s` seconds."""

    def __init__(self, message: str, code: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, code)
        self.retry_after_s = retry_after_s


class NoAnswer(RetryableError):
    """Nothing came back: the venue is out of reach, or the way to it is broken."""


class FatalGatewayError(GatewayError):
    """Repeating cannot help: wrong key, missing permission, unsupported venue."""


class SendRevoked(GatewayError):
    """The permission to send was withdrawn while the request waited for its turn; nothing was sent."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What goes on the wire: already rounded to tick and lot, already approved, already in the journal.

    Attributes:
        may_send: asked by the gateway as the last thing before the wire, after any wait for a request limit.
    """

    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    may_send: Callable[[], bool] = field(default=_always, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What the venue says of one order, by stream, by query or as the answer to a request.

    Attributes:
        client_order_id: "" or a foreign id where the order is not ours.
        state: ACCEPTED, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED or REJECTED.
        fills: fills carried by this very message; may be empty although `filled_quantity` is not.
        time_ns: venue time of the state, ns UTC.
    """

    symbol: str
    client_order_id: str
    venue_order_id: str
    state: OrderState
    side: Side
    order_type: OrderType
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None
    average_price: Decimal | None
    time_ns: int
    fills: tuple[Fill, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class BalanceReport:
    """The venue says what the account holds (all currencies it names; others are unchanged)."""

    balances: tuple[Balance, ...]
    time_ns: int


UserEvent = OrderReport | BalanceReport


class MarketGateway(Protocol):
    """Public data of one venue."""

    @property
    def venue(self) -> str:
        """Venue id as ccxt spells it."""
        ...

    @property
    def mode(self) -> TradingMode:
        """Fixed at construction."""
        ...

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Tradable markets by unified symbol; filled by `connect`."""
        ...

    @property
    def clock_skew_ns(self) -> int | None:
        """The venue's clock minus this machine's, ns, as it is now: a clock that somebody sets shows at once.

        None where nobody knows: not measured yet, or the venue does not tell its time.
        """
        ...

    async def connect(self) -> None:
        """Load instruments and measure the clock offset.

        Raises:
            GatewayError: the venue cannot be reached or refuses.
        """
        ...

    async def close(self) -> None:
        """Close every socket within 3 s; idempotent."""
        ...

    async def server_time_ns(self) -> int:
        """Return the venue's wall clock, ns UTC."""
        ...

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        """Return up to `limit` candles, oldest first; the last one may be unfinished (`final=False`)."""
        ...

    async def fetch_trades(self, symbol: str, *, since_ns: int | None = None, limit: int = 500) -> list[PublicTrade]:
        """Return recent public trades, oldest first."""
        ...

    async def fetch_book(self, symbol: str, depth: int = 100) -> BookSnapshot:
        """Return the order book."""
        ...

    async def fetch_ticker(self, symbol: str) -> Ticker:
        """Return the ticker."""
        ...

    def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        """Yield live candles: the forming bar as it moves (`final=False`) and each bar once with `final=True`.

        Every bar between the first and the last is delivered final exactly once and in order; after a gap the
        missing bars are re-read by REST. Falls back to REST polling while the stream is silent.
        """
        ...

    def watch_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        """Yield batches of public trades."""
        ...

    def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        """Yield the top of the book whenever it changes (the caller coalesces)."""
        ...

    def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        """Yield the ticker whenever it changes."""
        ...

    def report_trouble(self, source: str, detail: str) -> None:
        """Tell the link that something a caller does over it fails, such as a stream it has to open again.

        The gateway alone decides what state that makes the link. Candles tell for themselves.
        """
        ...

    def clear_trouble(self, source: str) -> None:
        """Tell the link that it works again, or is no longer wanted."""
        ...


class ExchangeGateway(MarketGateway, Protocol):
    """A venue with an account."""

    @property
    def recv_window_ms(self) -> int | None:
        """How long after its timestamp the venue still accepts an order; None where it never refuses a late one."""
        ...

    async def fetch_balances(self) -> tuple[Balance, ...]:
        """Return all non-zero balances."""
        ...

    async def submit_order(self, request: OrderRequest) -> OrderReport:
        """Send one order, exactly once; never retried inside.

        Raises:
            DefinitiveReject: refused, the order does not exist.
            AmbiguousOutcome: it may exist.
            RetryableError: surely not processed (rate limit, stale timestamp).
            FatalGatewayError: key or permission.
        """
        ...

    async def cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Cancel one order by our id.

        Raises:
            OrderUnknown: the venue has no such open order.
            GatewayError: as above.
        """
        ...

    async def cancel_all_orders(self, symbol: str) -> list[OrderReport]:
        """Cancel every open order of the account in one market; an empty book of orders is not an error."""
        ...

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """Return one order by our id.

        Raises:
            OrderUnknown: the venue does not know it (or not yet).
        """
        ...

    async def fetch_open_orders(self, symbol: str | None = None) -> list[OrderReport]:
        """Return all working orders of the account, ours or not."""
        ...

    async def fetch_fills(self, symbol: str, *, since_ns: int | None = None) -> list[Fill]:
        """Return all own trades in one market since `since_ns`, oldest first, complete (pages are followed)."""
        ...

    def watch_user(self) -> AsyncIterator[UserEvent]:
        """Yield order and balance reports of the account.

        Streams drop messages: the caller reconciles by query and deduplicates by trade id. Ends with
        `GatewayError` when the stream cannot be kept up; the caller reconnects.
        """
        ...
