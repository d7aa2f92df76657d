"""A tiny venue on loopback that answers like Binance spot and misbehaves on command; records what reaches it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from core.execution.api.binance_api import binance_practice_profile
from core.execution.api.venue_profile import VenueProfile

KEY, SECRET = "test-key", "test-secret"
MINUTE_MS = 60_000
T0_MS = 1_704_067_200_000

EXCHANGE_INFO = {
    "timezone": "UTC",
    "rateLimits": [],
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT"],
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "permissions": ["SPOT"],
            "permissionSets": [["SPOT"]],
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01000000"},
                {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001000"},
                {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
            ],
        }
    ],
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class VenueDouble:
    """The server; `failures` overrides the next answers of a route ("POST /api/v3/order"), `always` all of them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.failures: dict[str, list[Handler]] = {}
        self.always: dict[str, Handler] = {}
        self.headers: dict[str, str] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.klines: list[list[Any]] = []
        self.trades: list[dict[str, Any]] = []
        self.tape: list[dict[str, Any]] = [tape_row(7)]
        self.sockets: list[tuple[str, web.WebSocketResponse]] = []
        self.subscriptions: list[str] = []
        self.last_price = "100"
        self.time_skew_ms = 0
        self.answer_streams = True
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_route("*", "/api/v3/{name:.*}", self._rest)
        app.router.add_get("/stream/ws/{tail:.*}", self._stream)
        app.router.add_get("/ws-api/v3", self._ws_api)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        await self.drop_streams()
        if self._runner is not None:
            await self._runner.cleanup()

    def profile(self) -> VenueProfile:
        base = f"127.0.0.1:{self.port}"
        return binance_practice_profile(
            rest=f"http://{base}", ws=f"ws://{base}/stream/ws", ws_api=f"ws://{base}/ws-api/v3"
        )

    def sent(self, route: str) -> list[dict[str, str]]:
        return [params for name, params in self.requests if name == route]

    def fail_next(self, route: str, *handlers: Handler) -> None:
        self.failures.setdefault(route, []).extend(handlers)

    async def publish(self, message: dict[str, Any], *, user: bool = False) -> None:
        kind = "user" if user else "market"
        for name, socket in self.sockets:
            if name == kind and not socket.closed:
                await socket.send_json({"subscriptionId": 0, "event": message} if user else message)

    async def drop_streams(self) -> None:
        for _, socket in self.sockets:
            if not socket.closed:
                await socket.close(code=1012)
        self.sockets.clear()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        params = dict(parse_qsl(body or request.query_string, keep_blank_values=True))
        route = f"{request.method} {request.path}"
        self.requests.append((route, params))
        if self.failures.get(route):
            return await self.failures[route].pop(0)(request)
        if route in self.always:
            return await self.always[route](request)
        if "signature" in params:
            signed = (body or request.query_string).rpartition("&signature=")[0]
            expected = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
            if request.headers.get("X-MBX-APIKEY") != KEY:
                return reply(-2015, "Invalid API-key, IP, or permissions for action.", 401)
            if expected != params["signature"]:
                return reply(-1022, "Signature for this request is not valid.")
        answer = getattr(self, "_" + route.replace(" /api/v3/", "_").replace("/", "_").lower(), None)
        return web.json_response(answer(params), headers=self.headers) if answer else reply(-1020, f"no {route}", 404)

    def _get_time(self, _: dict[str, str]) -> Any:
        return {"serverTime": int(time.time() * 1000) + self.time_skew_ms}

    def _get_exchangeinfo(self, _: dict[str, str]) -> Any:
        return EXCHANGE_INFO

    def _get_account(self, _: dict[str, str]) -> Any:
        rows = [("BTC", "0.12345678", "0"), ("USDT", "1000.10", "20.5"), ("ETH", "0.000", "0")]
        return {"balances": [{"asset": a, "free": f, "locked": k} for a, f, k in rows], "updateTime": T0_MS}

    def _get_klines(self, params: dict[str, str]) -> Any:
        start = int(params.get("startTime", 0))
        rows = [row for row in self.klines if row[0] >= start]
        limit = int(params["limit"])
        return rows[:limit] if "startTime" in params else rows[-limit:]

    def _get_depth(self, _: dict[str, str]) -> Any:
        return {"lastUpdateId": 100, "bids": [["99.00", "1"], ["98.00", "2"]], "asks": [["101.00", "3"]]}

    def _get_ticker_24hr(self, _: dict[str, str]) -> Any:
        return {"symbol": "BTCUSDT", "lastPrice": self.last_price, "openPrice": "80", "closeTime": T0_MS, "volume": "5"}

    def _get_aggtrades(self, params: dict[str, str]) -> Any:
        first, limit = int(params.get("fromId", 0)), int(params.get("limit", 500))
        return [row for row in self.tape if row["a"] >= first][:limit]

    def _post_order(self, params: dict[str, str]) -> Any:
        order = raw_order(params, order_id=len(self.orders) + 1)
        self.orders[params["newClientOrderId"]] = order
        return {**order, "transactTime": order["time"]}

    def _get_order(self, params: dict[str, str]) -> Any:
        return self._find(params)

    def _delete_order(self, params: dict[str, str]) -> Any:
        order = self._find(params)
        if "code" in order:
            return {"code": -2011, "msg": "Unknown order sent."}
        order["status"] = "CANCELED"
        return {**order, "origClientOrderId": order["clientOrderId"], "clientOrderId": "cancel-request"}

    def _get_openorders(self, _: dict[str, str]) -> Any:
        return [order for order in self.orders.values() if order["status"] == "NEW"]

    def _delete_openorders(self, _: dict[str, str]) -> Any:
        working = [order for order in self.orders.values() if order["status"] == "NEW"]
        for order in working:
            order["status"] = "CANCELED"
        if not working:
            return {"code": -2011, "msg": "Unknown order sent."}
        return [{**o, "origClientOrderId": o["clientOrderId"], "clientOrderId": "x"} for o in working]

    def _get_mytrades(self, params: dict[str, str]) -> Any:
        if "fromId" in params:
            rows = [t for t in self.trades if t["id"] >= int(params["fromId"])]
        else:
            rows = [t for t in self.trades if t["time"] >= int(params.get("startTime", 0))]
        return rows[: int(params.get("limit", 500))]

    def _find(self, params: dict[str, str]) -> dict[str, Any]:
        for order in self.orders.values():
            if params.get("origClientOrderId") == order["clientOrderId"] or params.get("orderId") == str(
                order["orderId"]
            ):
                return order
        return {"code": -2013, "msg": "Order does not exist."}

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(("market", socket))
        async for message in socket:
            if message.type is WSMsgType.TEXT and self.answer_streams:
                ask = json.loads(message.data)
                if ask["method"] == "SUBSCRIBE":
                    self.subscriptions.extend(ask["params"])
                else:
                    self.subscriptions = [s for s in self.subscriptions if s not in ask["params"]]
                await socket.send_json({"result": None, "id": ask["id"]})
        return socket

    async def _ws_api(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                ask = json.loads(message.data)
                if ask["params"]["apiKey"] != KEY:
                    error = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
                    await socket.send_json({"id": ask["id"], "status": 401, "error": error})
                    continue
                self.sockets.append(("user", socket))
                await socket.send_json({"id": ask["id"], "status": 200, "result": {"subscriptionId": 0}})
        return socket


def reply(code: int, message: str, status: int = 400, **headers: str) -> web.Response:
    return web.json_response({"code": code, "msg": message}, status=status, headers=headers)


def refusing(code: int, message: str, status: int = 400, **headers: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return reply(code, message, status, **headers)

    return handle


def raw_order(params: dict[str, str], order_id: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "orderId": order_id,
        "clientOrderId": params["newClientOrderId"],
        "price": params.get("price", "0.00000000"),
        "origQty": params["quantity"],
        "executedQty": "0.00000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "NEW",
        "timeInForce": params.get("timeInForce", "GTC"),
        "type": params["type"],
        "side": params["side"],
        "stopPrice": params.get("stopPrice", "0.00000000"),
        "time": T0_MS,
        "updateTime": T0_MS,
    }


def tape_row(trade_id: int) -> dict[str, Any]:
    ids = {"a": trade_id, "f": trade_id * 10, "l": trade_id * 10 + 3}  # single trades count apart
    return {**ids, "p": "100.5", "q": "0.1", "T": T0_MS + trade_id, "m": True, "M": True}


def trade_frame(trade_id: int) -> dict[str, Any]:
    return {"e": "aggTrade", "E": T0_MS, "s": "BTCUSDT", **tape_row(trade_id)}


def depth_frame(first: int, last: int, bids: list[list[str]], asks: list[list[str]] | None = None) -> dict[str, Any]:
    return {"e": "depthUpdate", "E": T0_MS, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks or []}


def kline(index: int, close: float = 100.0) -> list[Any]:
    opened = T0_MS + index * MINUTE_MS
    return [opened, "100", "110", "90", str(close), "5", opened + MINUTE_MS - 1, "500", 3, "1", "1", "0"]


def kline_event(index: int, close: float, *, closed: bool) -> dict[str, Any]:
    opened = T0_MS + index * MINUTE_MS
    bar = {"t": opened, "T": opened + MINUTE_MS - 1, "s": "BTCUSDT", "i": "1m", "o": "100", "c": str(close)}
    return {"e": "kline", "E": opened, "s": "BTCUSDT", "k": {**bar, "h": "110", "l": "90", "v": "5", "x": closed}}
