"""The WebSocket API: request and answer over one socket, and the user-data subscription. Exchange's event loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from core.practice import auth
from core.practice.auth import ApiKeys
from core.practice.delivery import Connection
from core.practice.messages import Json
from core.practice.operations import OPERATIONS, USER_STREAM, USER_STREAM_END, Operation
from core.practice.orders import Rejection
from core.practice.requests import RequestDesk
from core.practice.rules import Params
from core.practice.streams import StreamHub


class WsApi:
    """Answers WebSocket API requests."""

    def __init__(
        self,
        desk: RequestDesk,
        hub: StreamHub,
        keys: Callable[[], ApiKeys],
        server_ms: Callable[[], int],
    ) -> None:
        self._desk = desk
        self._operations = {operation.ws: operation for operation in OPERATIONS if operation.ws}
        self._hub = hub
        self._keys = keys
        self._server_ms = server_ms

    async def answer(self, connection: Connection, text: str) -> Json:
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
            operation = self._operations.get(str(request.get("method")))
            if operation is None:
                raise Rejection(-1000, f"Unknown method: {request.get('method')}")
            result = await self._result(connection, operation, as_text(params))
        except Rejection as exc:
            return self._refusal(request_id, exc)
        counted = self._desk.limits.counted(orders=operation.places)
        return {"id": request_id, "status": 200, "result": result, "rateLimits": counted}

    def _refusal(self, request_id: Any, refusal: Rejection) -> Json:
        # There is no answer without JSON here: where REST would give only a status, the most general error stands in.
        error: Json = {"code": refusal.code or -1000, "msg": refusal.message}
        if refusal.retry_s is not None:
            now = self._server_ms()
            error["data"] = {"serverTime": now, "retryAfter": now + refusal.retry_s * 1_000}
        counted = self._desk.limits.counted(orders=False)
        return {"id": request_id, "status": refusal.status, "error": error, "rateLimits": counted}

    async def _result(self, connection: Connection, operation: Operation, params: Params) -> Any:

        def subscribe(params: Params) -> Json:
            return {"subscriptionId": self._hub.subscribe_user(connection)}

        def unsubscribe(params: Params) -> Json:
            self._hub.unsubscribe_user(connection)
            return {}

        run = {USER_STREAM: subscribe, USER_STREAM_END: unsubscribe}.get(operation.name)
        return await self._desk.answer(operation, params, lambda: self._prove(params), run)

    def _prove(self, params: Params) -> None:
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
