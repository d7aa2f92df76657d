"""The WebSocket endpoints: streams of the market, and the WebSocket API. Event-loop thread of the exchange."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Final

from aiohttp import WSMsgType, web

from core.errors import UserError
from core.practice.delivery import Connection
from core.practice.faults import Lost
from core.practice.orders import Rejection
from core.practice.requests import NoAnswer, RequestDesk
from core.practice.streams import StreamHub
from core.practice.wsapi import WsApi

_PING_S: Final = 20.0
_MAX_MESSAGE: Final = 1 << 20
_GONE_POLL_S: Final = 0.1
_CONNECTING_WEIGHT: Final = 2


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def drop(request: web.Request, how: Lost) -> None:
    """Give a request no answer: cut its connection, or let the client wait until it has had enough."""
    silent = how is Lost.SILENT
    # A handler is told in no other way that its client has gone.
    while silent and request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_GONE_POLL_S)
    _cut(request)


class Sockets:
    """Owns every open WebSocket."""

    def __init__(self, hub: StreamHub, wsapi: WsApi, desk: RequestDesk, failed: Callable[[UserError], None]) -> None:
        """Serve sockets.

        Args:
            hub: distributes events.
            wsapi: answers requests.
            desk: says whether anybody may connect.
            failed: is told when the account could not be stored.
        """
        self._hub = hub
        self._wsapi = wsapi
        self._desk = desk
        self._failed = failed
        self._open: set[web.WebSocketResponse] = set()
        self._requests: set[asyncio.Task[None]] = set()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the addresses."""
        router.add_get("/stream", self._stream_socket)
        router.add_get("/stream/ws", self._stream_socket)
        router.add_get("/stream/ws/{name}", self._stream_socket)
        router.add_get("/ws-api/v3", self._api_socket)

    async def close(self) -> None:
        """Close every socket and give up what is still being answered."""
        for task in list(self._requests):
            task.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        for socket in list(self._open):
            with contextlib.suppress(asyncio.TimeoutError, ConnectionError):
                await asyncio.wait_for(socket.close(code=1001, message=b"Server shutdown"), 0.5)

    def _admit(self, *, user: bool) -> None:
        self._desk.check_open()
        self._desk.limits.check_ban()
        if self._desk.plan.refuses_socket(user=user):
            raise Rejection(0, "Service Unavailable", 503)
        if user:
            self._desk.limits.charge(_CONNECTING_WEIGHT)

    async def _stream_socket(self, request: web.Request) -> web.StreamResponse:
        self._admit(user=False)
        names = [name for name in request.query.get("streams", "").split("/") if name]
        named = request.match_info.get("name", "")
        if "@" in named:
            names.append(named)
        connection = self._connection(request, combined=request.path == "/stream")
        if names:
            self._hub.subscribe(connection, names)

        def answer(text: str) -> None:
            connection.reply(self._subscription(connection, text))

        return await self._serve(request, connection, answer)

    def _subscription(self, connection: Connection, text: str) -> dict[str, Any]:
        request_id: Any = None
        try:
            request = json.loads(text)
            request_id = request.get("id")
            method, names = request.get("method"), request.get("params") or []
        except (ValueError, AttributeError):
            return {"error": {"code": 3, "msg": "Invalid JSON"}, "id": None}
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return {
                "error": {"code": 2, "msg": "Invalid request: params must be an array of strings"},
                "id": request_id,
            }
        try:
            if method == "SUBSCRIBE":
                self._hub.subscribe(connection, names)
            elif method == "UNSUBSCRIBE":
                self._hub.unsubscribe(connection, names)
            elif method == "LIST_SUBSCRIPTIONS":
                return {"result": list(connection.streams), "id": request_id}
            else:
                return {"error": {"code": 2, "msg": f"Invalid request: unknown method {method}"}, "id": request_id}
        except Rejection as exc:
            return {"error": {"code": 2, "msg": exc.message}, "id": request_id}
        return {"result": None, "id": request_id}

    async def _api_socket(self, request: web.Request) -> web.StreamResponse:
        self._admit(user=True)
        connection = self._connection(request, user=True)

        def answer(text: str) -> None:
            # Each in a task of its own: one that a fault delays holds up no other, and goes on without its socket.
            task = asyncio.get_running_loop().create_task(self._answer(connection, text))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

        return await self._serve(request, connection, answer)

    async def _answer(self, connection: Connection, text: str) -> None:
        try:
            connection.reply(await self._wsapi.answer(connection, text))
        except NoAnswer as exc:
            if exc.how is Lost.CUT:
                connection.cut()
        except UserError as exc:  # the account cannot be stored
            self._failed(exc)
        except BaseException:
            connection.cut()  # a bug, or the end: nobody shall wait for the answer
            raise

    def _connection(self, request: web.Request, *, combined: bool = False, user: bool = False) -> Connection:
        socket = web.WebSocketResponse(autoping=False, heartbeat=_PING_S, max_msg_size=_MAX_MESSAGE, compress=False)
        return Connection(socket, self._desk.plan, lambda: _cut(request), combined=combined, user=user)

    async def _serve(
        self, request: web.Request, connection: Connection, answer: Callable[[str], None]
    ) -> web.StreamResponse:
        socket = connection.socket
        await socket.prepare(request)
        self._open.add(socket)
        self._hub.connections.add(connection)
        pump = asyncio.get_running_loop().create_task(connection.pump())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    answer(message.data)
                elif message.type is WSMsgType.PING:
                    await connection.pong(message.data)
        finally:
            self._hub.forget(connection)
            self._open.discard(socket)
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({pump})
        return socket
