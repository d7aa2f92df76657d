"""Binance spot: profile, redirect to the practice exchange, and what ccxt does not translate. Pure, any thread.

Three traps shape the redirect: the spot stream address must contain `/stream` (otherwise streams hang); ccxt applies
the spot error table only on the real host, so our own table of codes decides; and ccxt sends its own order id and a
rounded price unless told otherwise, so both are given as exact strings.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from core.clock import NS_PER_MS
from core.domain.candles import Timeframe
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import FeeRule, Instrument
from core.domain.money import ZERO, parse_decimal, plain
from core.domain.orders import OrderState, OrderType, Side
from core.domain.positions import Balance
from core.execution.api.gateway import BalanceReport, OrderReport, OrderRequest, UserEvent
from core.execution.api.local_book import DepthEvent
from core.execution.api.rate_limiter import LimitKind, LimitUse, RequestLimit
from core.execution.api.trade_sequence import TradeEvent
from core.execution.api.venue_profile import Capabilities, ClosedBar, VenueProfile
from core.execution.error_handler import ErrorTable, Outcome

RECV_WINDOW_MS = 3_000

# "The request is malformed": it never reached the matching engine.
_MALFORMED = (
    *(1013, 1014, 1100, 1101, 1102, 1103, 1104, 1105, 1106, 1108, 1111, 1112, 1114, 1115, 1116, 1117, 1118, 1119),
    *(1120, 1121, 1122, 1125, 1127, 1128, 1130, 1131, 1134, 1135, 1139, 1145, 1151, 1152, 1153, 1155, 1158, 1160),
    *(1161, 1165, 1166, 1168, 1182, 1194, 1196, 1197, 1198, 1199),
)

BINANCE_ERRORS = ErrorTable(
    venue="binance",
    codes={
        **{f"-{code}": Outcome.REFUSED for code in _MALFORMED},
        "-1000": Outcome.UNDECIDED,  # unknown error while processing
        "-1001": Outcome.UNDECIDED,  # internal error; unable to process
        "-1002": Outcome.FATAL,  # unauthorised
        "-1003": Outcome.NOT_PROCESSED,  # too many requests
        "-1004": Outcome.UNDECIDED,  # server busy; nothing says that it did nothing
        "-1006": Outcome.UNDECIDED,  # unexpected response; execution status unknown
        "-1007": Outcome.UNDECIDED,  # timeout at the matching engine; execution status unknown
        "-1008": Outcome.NOT_PROCESSED,  # throttled by system protection
        "-1010": Outcome.REFUSED,  # the matching engine's own refusal; its words say why
        "-1015": Outcome.NOT_PROCESSED,  # too many new orders
        "-1016": Outcome.UNDECIDED,  # service shutting down
        "-1020": Outcome.FATAL,  # unsupported operation
        "-1021": Outcome.NOT_PROCESSED,  # timestamp outside recvWindow
        "-1022": Outcome.FATAL,  # bad signature
        "-1034": Outcome.NOT_PROCESSED,  # too many connections
        "-1099": Outcome.FATAL,
        "-1181": Outcome.NOT_PROCESSED,  # too many messages
        "-1191": Outcome.REFUSED,  # too many subscriptions
        "-2008": Outcome.FATAL,  # bad key id
        "-2010": Outcome.REFUSED,  # new order rejected
        # A refused cancel proves nothing about the order: only the phrase below says that it is not there.
        "-2011": Outcome.REFUSED,
        "-2013": Outcome.ORDER_UNKNOWN,
        "-2014": Outcome.FATAL,  # key format
        "-2015": Outcome.FATAL,  # key, address or permission
        "-2016": Outcome.REFUSED,
        "-2021": Outcome.UNDECIDED,  # cancel and replace: one of both failed
        "-2022": Outcome.REFUSED,  # cancel and replace: both failed
        "-2026": Outcome.ORDER_UNKNOWN,  # archived
    },
    phrases={
        # Sent under -2010, yet it proves that an order of that id is there.
        "Duplicate order sent": Outcome.UNDECIDED,
        "Unknown order sent": Outcome.ORDER_UNKNOWN,
    },
)

# As documented; exchangeInfo tells what holds now.
BINANCE_LIMITS = (
    RequestLimit(LimitKind.WEIGHT, 6_000, 60.0),
    RequestLimit(LimitKind.RAW, 61_000, 300.0),
    RequestLimit(LimitKind.ORDERS, 100, 10.0),
    RequestLimit(LimitKind.ORDERS, 200_000, 86_400.0),
)
BINANCE_ORDER_LIMIT_CODES = frozenset({"-1015"})
# Fees paid in BNB are off unless the account asks for them; what a fill really cost stands in the fill.
BINANCE_FEE_RULE = FeeRule.RECEIVED

_OPTIONS: Mapping[str, Any] = {
    "defaultType": "spot",
    "fetchMarkets": {"types": ["spot"]},
    "fetchMargins": False,
    "fetchCurrencies": False,
    "warnOnFetchOpenOrdersWithoutSymbol": False,
    "recvWindow": RECV_WINDOW_MS,
    "maxRetriesOnFailure": 0,
    # One connection carries many streams: each new market would otherwise open its own and leave it behind.
    "streamLimits": {"spot": 4},
    # The balance snapshot is read by the gateway itself.
    "watchBalance": {"fetchBalanceSnapshot": False, "awaitBalanceSnapshot": False},
}

_LIMIT_KINDS = {
    "REQUEST_WEIGHT": LimitKind.WEIGHT,
    "RAW_REQUESTS": LimitKind.RAW,
    "ORDERS": LimitKind.ORDERS,
}
_INTERVALS_S = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3_600.0, "DAY": 86_400.0}
_USE_HEADER = re.compile(r"x-mbx-(used-weight|order-count)-(\d+)([smhd])")
_LIMITS_IN_BODY = re.compile(r'"rateLimits"\s*:\s*(\[[^\]]*\])')  # the body is 15 MB: only this part is decoded

_STATES = {
    "NEW": OrderState.ACCEPTED,
    "PENDING_NEW": OrderState.ACCEPTED,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELED,
    "PENDING_CANCEL": OrderState.ACCEPTED,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
}
_TYPES = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT_MAKER,
    "STOP_LOSS_LIMIT": OrderType.STOP_LOSS_LIMIT,
}


class BinanceDialect:
    """Binance's own spellings."""

    def order_arguments(self, request: OrderRequest) -> tuple[str, dict[str, Any]]:
        """Return ccxt's order type and parameters that overrule what ccxt would compute."""
        params: dict[str, Any] = {
            "newClientOrderId": request.client_order_id,
            "quantity": plain(request.quantity),
            "recvWindow": RECV_WINDOW_MS,
        }
        kind = request.order_type
        if request.limit_price is not None and kind is not OrderType.MARKET:
            params["price"] = plain(request.limit_price)
        if kind is OrderType.STOP_LOSS_LIMIT and request.stop_price is not None:
            params["stopPrice"] = plain(request.stop_price)
        if kind in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT):
            params["timeInForce"] = request.time_in_force.value
        ccxt_type = {OrderType.MARKET: "market", OrderType.LIMIT_MAKER: "LIMIT_MAKER"}.get(kind, "limit")
        return ccxt_type, params

    def client_order_id(self, info: Mapping[str, Any]) -> str:
        """Return our id; a cancelled order carries it as the original one."""
        return str(info.get("origClientOrderId") or info.get("clientOrderId") or "")

    def closed_bar(self, message: Mapping[str, Any]) -> ClosedBar | None:
        """Return the bar a `kline` event with its closed flag set speaks of."""
        if message.get("e") != "kline":
            return None
        kline = message["k"]
        if not kline.get("x"):
            return None
        return ClosedBar(str(kline["s"]), Timeframe(kline["i"]), int(kline["t"]) * NS_PER_MS)

    def user_events(
        self, message: Mapping[str, Any], venue: str, by_venue_symbol: Mapping[str, Instrument]
    ) -> Sequence[UserEvent] | None:
        """Translate `executionReport` and `outboundAccountPosition`."""
        event = message.get("event")
        if not isinstance(event, Mapping):
            return ()
        kind = event.get("e")
        if kind == "executionReport":
            instrument = by_venue_symbol.get(str(event["s"]))
            return (_order_report(event, venue, instrument),) if instrument is not None else ()
        if kind == "outboundAccountPosition":
            return (_balance_report(event),)
        return None if kind == "eventStreamTerminated" else ()

    def limit_uses(self, headers: Mapping[str, str]) -> Sequence[LimitUse]:
        """Read e.g. `X-MBX-USED-WEIGHT-1M` and `X-MBX-ORDER-COUNT-10S`."""
        found = []
        for name, value in headers.items():
            match = _USE_HEADER.fullmatch(name)
            if match is not None and value.isdecimal():
                kind = LimitKind.WEIGHT if match.group(1) == "used-weight" else LimitKind.ORDERS
                unit = next(seconds for word, seconds in _INTERVALS_S.items() if word[0].lower() == match.group(3))
                found.append(LimitUse(kind, int(match.group(2)) * unit, float(value)))
        return found

    def request_limits(self, url: str, body: str) -> Sequence[RequestLimit]:
        """Read `rateLimits` of exchangeInfo; kinds and intervals we do not know are left out."""
        match = _LIMITS_IN_BODY.search(body) if urlsplit(url).path.endswith("/exchangeInfo") else None
        rows = json.loads(match.group(1)) if match is not None else []
        return [
            RequestLimit(_LIMIT_KINDS[kind], float(row["limit"]), int(row["intervalNum"]) * _INTERVALS_S[interval])
            for row in rows
            if (kind := row["rateLimitType"]) in _LIMIT_KINDS and (interval := row["interval"]) in _INTERVALS_S
        ]

    def depth_stream(self, venue_symbol: str) -> str:
        """Return the stream of numbered changes."""
        return f"{venue_symbol.lower()}@depth@100ms"

    def depth_event(self, message: Mapping[str, Any], venue_symbol: str) -> DepthEvent | None:
        """Translate `depthUpdate`."""
        if message.get("e") != "depthUpdate" or message["s"] != venue_symbol:
            return None
        bids, asks = (tuple((float(price), float(size)) for price, size in message[side]) for side in ("b", "a"))
        time_ns = int(message["E"]) * NS_PER_MS
        return DepthEvent(int(message["U"]), int(message["u"]), bids, asks, time_ns)

    def trade_stream(self, venue_symbol: str) -> str:
        """Return the stream of aggregate trades: REST reads by their ids, and by those of single trades it does not."""
        return f"{venue_symbol.lower()}@aggTrade"

    def trade_event(self, message: Mapping[str, Any], venue_symbol: str) -> TradeEvent | None:
        """Translate `aggTrade`."""
        if message.get("e") != "aggTrade" or message["s"] != venue_symbol:
            return None
        return TradeEvent(
            int(message["a"]),
            float(message["p"]),
            float(message["q"]),
            Side.SELL if message["m"] else Side.BUY,  # the maker bought: somebody sold into the book
            int(message["T"]) * NS_PER_MS,
        )

    def trades_from(self, first_id: int) -> Mapping[str, Any]:
        """Read aggregate trades by id."""
        return {"fromId": first_id}

    async def hold_stream(self, exchange: Any, name: str) -> None:
        """Subscribe past ccxt's caches; its future is never answered and fails when the connection does."""
        url, key = _stream_place(exchange, name)
        number = exchange.request_id(url)
        ask = {"method": "SUBSCRIBE", "params": [name], "id": number}
        # Shielded: two readers of one stream wait for one future, and one that leaves must not take it along.
        await asyncio.shield(exchange.watch(url, key, ask, key, {"id": str(number)}))

    async def release_stream(self, exchange: Any, name: str) -> None:
        """Unsubscribe and forget the subscription."""
        url, key = _stream_place(exchange, name)
        connection = exchange.clients.get(url) if exchange.clients else None
        if connection is None or connection.subscriptions.pop(key, None) is None:
            return
        held = connection.futures.pop(key, None)
        if held is not None:
            held.cancel()
        if not connection.closed():
            await connection.send({"method": "UNSUBSCRIBE", "params": [name], "id": exchange.request_id(url)})

    async def subscribe_user(self, exchange: Any) -> str:
        """Subscribe by signature on the WebSocket API; no listen key exists any more."""
        # ccxt makes this entry only when orders are watched; a balance that comes before would end its reading loop.
        exchange.balance.setdefault("spot", {})
        try:
            await exchange.authenticate()
        except KeyError as exc:  # ccxt stumbles while cleaning up after a refusal; the refusal is what counts
            raise exc.__context__ or exc from None
        return str(exchange.urls["api"]["ws"]["ws-api"]["spot"])


def _stream_place(exchange: Any, name: str) -> tuple[str, str]:
    """Return the address of the connection that carries a stream, and ccxt's key of the subscription."""
    return f"{exchange.get_ws_url('spot', '')}/{exchange.stream('spot', name)}", f"raw::{name}"


def binance_profile() -> VenueProfile:
    """Return Binance spot at its own addresses."""
    return VenueProfile(
        "binance",
        BinanceDialect(),
        BINANCE_LIMITS,
        BINANCE_FEE_RULE,
        options=_OPTIONS,
        recv_window_ms=RECV_WINDOW_MS,
        errors=BINANCE_ERRORS,
        order_limit_codes=BINANCE_ORDER_LIMIT_CODES,
    )


def binance_practice_profile(rest: str, ws: str, ws_api: str) -> VenueProfile:
    """Return Binance spot redirected to a practice exchange.

    Args:
        rest: e.g. "http://127.0.0.1:8123", without a path.
        ws: e.g. "ws://127.0.0.1:8123/stream/ws"; must contain "/stream".
        ws_api: e.g. "ws://127.0.0.1:8123/ws-api/v3".

    Raises:
        ValueError: `ws` would let streams hang.
    """
    if "/stream" not in ws:
        raise ValueError(f"the stream address must contain /stream: {ws}")
    base = rest.rstrip("/")
    spot = f"{base}/api/v3"
    keys = ("fapiPublic", "fapiPrivate", "dapiPublic", "dapiPrivate")
    urls: dict[str, Any] = {key: f"{base}/{key}" for key in keys}
    urls |= {"sapi": f"{base}/sapi/v1", **{f"sapiV{number}": f"{base}/sapi/v{number}" for number in (2, 3, 4)}}
    urls |= {"public": spot, "private": spot, "v1": f"{base}/api/v1"}
    streams = dict.fromkeys(("spot", "margin", "linear", "inverse"), ws)
    urls["ws"] = {**streams, "ws-api": {"spot": ws_api}}
    return VenueProfile(
        "binance",
        BinanceDialect(),
        BINANCE_LIMITS,
        BINANCE_FEE_RULE,
        options=_OPTIONS,
        recv_window_ms=RECV_WINDOW_MS,
        urls=urls,
        practice=True,
        capabilities=Capabilities(dense_trade_ids=False),  # ids there count within each bar
        errors=BINANCE_ERRORS,
        order_limit_codes=BINANCE_ORDER_LIMIT_CODES,
    )


def _decimal(value: Any) -> Decimal:
    return parse_decimal(str(value))


def _order_report(event: Mapping[str, Any], venue: str, instrument: Instrument) -> OrderReport:
    kind = _TYPES.get(str(event["o"]), OrderType.LIMIT)
    side = Side(str(event["S"]).lower())
    filled = _decimal(event["z"])
    # On a cancel, "c" is the id of the cancel request and "C" the order's own.
    client_id = str(event.get("C") or event["c"])
    fill = _fill(event, venue, instrument, side, client_id) if event.get("x") == "TRADE" else None
    reason = str(event.get("r", "NONE"))
    return OrderReport(
        symbol=instrument.symbol,
        client_order_id=client_id,
        venue_order_id=str(event["i"]),
        state=_STATES[str(event["X"])],
        side=side,
        order_type=kind,
        quantity=_decimal(event["q"]),
        filled_quantity=filled,
        limit_price=None if kind is OrderType.MARKET else _decimal(event["p"]),
        average_price=_decimal(event["Z"]) / filled if filled > 0 else None,
        time_ns=int(event["T"]) * NS_PER_MS,
        fills=(fill,) if fill else (),
        message="" if reason == "NONE" else reason,
    )


def _fill(event: Mapping[str, Any], venue: str, instrument: Instrument, side: Side, client_id: str) -> Fill:
    return Fill(
        venue=venue,
        symbol=instrument.symbol,
        trade_id=str(event["t"]),
        venue_order_id=str(event["i"]),
        client_order_id=client_id,
        side=side,
        price=_decimal(event["L"]),
        quantity=_decimal(event["l"]),
        fee=_decimal(event["n"]) if event.get("n") is not None else ZERO,
        fee_currency=str(event.get("N") or instrument.quote),
        liquidity=Liquidity.MAKER if event.get("m") else Liquidity.TAKER,
        time_ns=int(event["T"]) * NS_PER_MS,
    )


def _balance_report(event: Mapping[str, Any]) -> BalanceReport:
    balances = tuple(Balance(str(row["a"]), _decimal(row["f"]), _decimal(row["l"])) for row in event["B"])
    return BalanceReport(balances, int(event["E"]) * NS_PER_MS)
