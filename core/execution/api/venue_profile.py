"""What distinguishes one venue from another: values and a small dialect. Pure, any thread.

Everything a gateway needs to know beyond ccxt's unified interface stands in a `VenueProfile`; the gateway itself names
no venue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from core.domain.candles import Timeframe
from core.domain.instruments import FeeRule, Instrument
from core.execution.api.gateway import OrderRequest, UserEvent
from core.execution.api.local_book import DepthEvent
from core.execution.api.rate_limiter import LimitUse, RequestLimit
from core.execution.api.trade_sequence import TradeEvent
from core.execution.error_handler import ErrorTable


@dataclass(frozen=True, slots=True)
class ClosedBar:
    """A raw message that says itself that its bar is closed."""

    venue_symbol: str
    timeframe: Timeframe
    open_time_ns: int


class VenueDialect(Protocol):
    """Pure translations between our values and what ccxt passes through unchanged."""

    def order_arguments(self, request: OrderRequest) -> tuple[str, dict[str, Any]]:
        """Return ccxt's order type and the extra parameters: own id, exact strings, time in force, expiry."""
        ...

    def client_order_id(self, info: Mapping[str, Any]) -> str:
        """Return our id from a raw order."""
        ...

    def closed_bar(self, message: Mapping[str, Any]) -> ClosedBar | None:
        """Return the bar a raw stream message closes, or None; ccxt drops that flag."""
        ...

    def user_events(
        self, message: Mapping[str, Any], venue: str, by_venue_symbol: Mapping[str, Instrument]
    ) -> Sequence[UserEvent] | None:
        """Return what a raw stream message says of the account; None where it ends the stream."""
        ...

    def limit_uses(self, headers: Mapping[str, str]) -> Sequence[LimitUse]:
        """Return what the headers of an answer say of the limits; header names in lower case."""
        ...

    def request_limits(self, url: str, body: str) -> Sequence[RequestLimit]:
        """Return the limits an answer states; empty for every answer but the one that does."""
        ...

    def depth_stream(self, venue_symbol: str) -> str:
        """Return the name of the stream of numbered changes of a book; "" where the venue numbers none."""
        ...

    def depth_event(self, message: Mapping[str, Any], venue_symbol: str) -> DepthEvent | None:
        """Return what a raw stream message changes in this market's book; None for all others, and cheaply."""
        ...

    def trade_stream(self, venue_symbol: str) -> str:
        """Return the name of the stream of trades whose ids REST knows as well; "" where there is none."""
        ...

    def trade_event(self, message: Mapping[str, Any], venue_symbol: str) -> TradeEvent | None:
        """Return the trade of this market in a raw stream message; None for all others, and cheaply."""
        ...

    def trades_from(self, first_id: int) -> Mapping[str, Any]:
        """Return the parameters that make `fetch_trades` begin at an id."""
        ...

    async def hold_stream(self, exchange: Any, name: str) -> None:
        """Subscribe to a stream unless that is done, and return or raise when its connection ends."""
        ...

    async def release_stream(self, exchange: Any, name: str) -> None:
        """Give a subscription up; whoever holds it is told that it ended."""
        ...

    async def subscribe_user(self, exchange: Any) -> str:
        """Subscribe to account events and return the address of the connection that carries them."""
        ...


@dataclass(frozen=True, slots=True)
class RequestWeights:
    """Cost of the calls we make, in the venue's own unit."""

    candles: float = 2
    trades: float = 4
    book: float = 5
    deep_book: float = 25
    ticker: float = 2
    account: float = 20
    order: float = 1
    query_order: float = 4
    open_orders: float = 6
    open_orders_all: float = 80
    own_trades: float = 20
    markets: float = 20
    time: float = 1


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the venue can do.

    Attributes:
        server_time: it tells its clock.
        dense_trade_ids: ids of public trades have no holes of their own, so a skipped one was lost.
    """

    server_time: bool = True
    dense_trade_ids: bool = True


@dataclass(frozen=True, slots=True)
class VenueProfile:
    """One venue as the gateway sees it.

    Attributes:
        ccxt_id: name of the ccxt class; also the venue id.
        dialect: translations ccxt does not make.
        limits: as the venue documents them; what it states when asked counts more.
        options: ccxt options, among them which market types are loaded.
        urls: replaces entries of ccxt's `urls["api"]`; empty for the venue's own addresses.
        fee_rule: in which currency the venue takes its fees.
        practice: the addresses lead to the practice exchange on this machine.
        recv_window_ms: how long after its timestamp the venue still accepts an order; None where it does not say.
        stream_silence_s: after how many wall seconds without a message REST takes over.
        errors: the venue's own codes.
        order_limit_codes: codes by which it says that an account, not an address, sent too much.
    """

    ccxt_id: str
    dialect: VenueDialect
    limits: tuple[RequestLimit, ...]
    fee_rule: FeeRule
    options: Mapping[str, Any] = field(default_factory=dict)
    urls: Mapping[str, Any] = field(default_factory=dict)
    practice: bool = False
    recv_window_ms: int | None = None
    request_timeout_ms: int = 10_000
    stream_silence_s: float = 15.0
    ping_interval_s: float = 10.0
    weights: RequestWeights = field(default_factory=RequestWeights)
    capabilities: Capabilities = field(default_factory=Capabilities)
    errors: ErrorTable = field(default_factory=ErrorTable)
    order_limit_codes: frozenset[str] = frozenset()

    @property
    def host(self) -> str:
        """Where redirected requests go, with the port; "" for the venue's own addresses."""
        return next((urlsplit(url).netloc for url in _leaves(self.urls)), "")

    def hosts(self) -> set[str]:
        """Return the host names of all redirected addresses."""
        return {urlsplit(url).hostname or "" for url in _leaves(self.urls)}


def _leaves(urls: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for value in urls.values():
        if isinstance(value, Mapping):
            found.extend(_leaves(value))
        else:
            found.append(str(value))
    return found
