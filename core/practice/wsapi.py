"""The WebSocket API: request and answer over one socket, and the user-data subscription. Exchange's event loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from core.practice import auth
from core.practice.api import TradingApi
from core.practice.auth import ApiKeys
from core.practice.messages import Json
from core.practice.orders import Rejection
from core.practice.rules import Params
from core.practice.streams import Connection, StreamHub

Handler = Callable[[Params], Any]


class WsApi:
    """Answers WebSocket API requests."""

    def __init__(
        self, api: TradingApi, hub: StreamHub, keys: Callable[[], ApiKeys], server_ms: Callable[[], int]
    ) -> None:
        self._hub = hub
        self._keys = keys
        self._server_ms = server_ms
        self._public: Mapping[str, Handler] = {
            "ping": lambda params: {},
            "time": api.time,
            "exchangeInfo": api.exchange_info,
            "depth": api.depth,
            "trades.recent": api.trades,
            "trades.aggregate": api.aggregate_trades,
            "klines": api.klines,
            "ticker.24hr": api.day_ticker,
            "ticker.price": api.price_ticker,
            "ticker.book": api.book_ticker,
        }
        self._signed: Mapping[str, Handler] = {
            "account.status": api.account,
            "order.place": api.place_order,
            "order.test": api.test_order,
            "order.cancel": api.cancel_order,
            "order.status": api.query_order,
            "openOrders.status": api.open_orders,
            "openOrders.cancelAll": api.cancel_open_orders,
            "allOrders": api.all_orders,
            "myTrades": api.my_trades,
        }

    def answer(self, connection: Connection, text: str) -> Json:
        """Handle one request frame and return the answer frame."""
        request_id: Any = None
        try:
            try:
                request = json.loads(text)
            except ValueError as exc:
                raise Rejection(-1135, "Invalid JSON Request") from exc
            if not isinstance(request, dict):
                raise Rejection(-1135, "Invalid JSON Request")
            request_id = request.get("id")
            params = request.get("params") or {}
            if not isinstance(params, dict):
                raise Rejection(-1135, "Invalid JSON Request")
            result = self._result(connection, str(request.get("method")), as_text(params))
        except Rejection as exc:
            return {"id": request_id, "status": exc.status, "error": {"code": exc.code, "msg": exc.message}}
        return {"id": request_id, "status": 200, "result": result, "rateLimits": []}

    def _result(self, connection: Connection, method: str, params: Params) -> Any:
        if method in self._public:
            return self._public[method](params)
        if method == "userDataStream.subscribe.signature":
            self._check(params)
            return {"subscriptionId": self._hub.subscribe_user(connection)}
        if method == "userDataStream.unsubscribe":
            self._hub.unsubscribe_user(connection)
            return {}
        if method not in self._signed:
            raise Rejection(-1000, f"Unknown method: {method}")
        self._check(params)
        return self._signed[method](params)

    def _check(self, params: Params) -> None:
        payload = auth.message_payload(params)
        auth.check_signed(self._keys(), params.get("apiKey", ""), params, payload, self._server_ms())


def as_text(params: Mapping[str, Any]) -> dict[str, str]:
    """Return JSON parameters as the text that was signed; nulls are left out."""
    texts: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, list | dict):
            texts[name] = json.dumps(value, separators=(",", ":"))
        elif value is not None:
            texts[name] = str(value)
    return texts
