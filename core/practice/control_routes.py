"""The control interface: what only a holder of the control token may ask. Event-loop thread of the exchange."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from aiohttp import web

from core.errors import UserError
from core.practice.bars import interval_name
from core.practice.exchange import Exchange
from core.practice.permissions import KeyRights
from core.practice.player import Player, parse_speed
from core.practice.requests import RequestDesk
from core.practice.streams import StreamHub

MOST_QUOTE: Final = 10**9


def opening_balance(text: str) -> Decimal:
    """Return the amount a new account begins with.

    Raises:
        UserError: not an amount of money.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= MOST_QUOTE:
        raise UserError(f"The balance {text!r} is not an amount of money.", "Give a number such as 10000.")
    return amount


@dataclass(frozen=True, slots=True)
class ControlInterface:
    """Answers requests below `/control`.

    Attributes:
        server_ms: the server's clock.
        new_account: begins a new account with so much quote currency (None: as configured) and describes it.
        stop: ends the process when set.
    """

    exchange: Exchange
    player: Player
    hub: StreamHub
    desk: RequestDesk
    server_ms: Callable[[], int]
    new_account: Callable[[Decimal | None], dict[str, Any]]
    stop: asyncio.Event

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register every request."""
        router.add_get("/control/state", self._state)
        router.add_post("/control/ack", self._ack)
        router.add_post("/control/speed", self._speed)
        router.add_post("/control/reset", self._reset)
        router.add_post("/control/burst", self._burst)
        router.add_post("/control/shutdown", self._shutdown)
        router.add_get("/control/permissions", self._permissions)
        router.add_post("/control/permissions", self._permit)

    async def _state(self, request: web.Request) -> web.Response:
        player = self.player
        return web.json_response(
            {
                "market": self.exchange.source.source_id,
                "market_time_ms": self.exchange.market_ms,
                "server_time_ms": self.server_ms(),
                "speed": "max" if player.lockstep else player.speed,
                "lockstep": player.lockstep,
                "finished": self.exchange.finished,
                "last_closed": {"interval": interval_name(player.gate_ms), "open_time": player.last_closed_ms},
                "symbols": list(self.exchange.specs),
            }
        )

    async def _ack(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        open_ms = body.get("open_time")
        if not isinstance(open_ms, int):
            raise _bad_request("open_time must be milliseconds since the epoch.")
        released = self.player.acknowledge(str(body.get("symbol")), str(body.get("interval")), open_ms)
        return web.json_response({"released": released})

    async def _speed(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        try:
            self.player.set_speed(parse_speed(str(body.get("speed"))))
        except UserError as exc:
            raise _refused(exc) from exc
        return await self._state(request)

    async def _reset(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        amount = None
        if "balance" in body:
            try:
                amount = opening_balance(str(body["balance"]))
            except UserError as exc:
                raise _refused(exc) from exc
        self.desk.rights = KeyRights()
        return web.json_response(self.new_account(amount))

    async def _burst(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        symbol = str(body.get("symbol") or next(iter(self.exchange.specs)))
        rate, seconds = body.get("rate"), body.get("seconds", 1)
        if (
            symbol not in self.exchange.specs
            or not isinstance(rate, int | float)
            or not isinstance(seconds, int | float)
            or not (0 < rate <= 50_000 and 0 < seconds <= 3_600)
        ):
            raise _bad_request("A burst needs a known symbol, a rate and seconds.")
        self.player.burst(symbol, float(rate), float(seconds))
        return web.json_response({"symbol": symbol, "messages": int(rate * seconds)})

    async def _shutdown(self, request: web.Request) -> web.Response:
        self.stop.set()
        return web.json_response({})

    async def _permissions(self, request: web.Request) -> web.Response:
        return web.json_response(self.desk.rights.to_json())

    async def _permit(self, request: web.Request) -> web.Response:
        try:
            self.desk.rights = self.desk.rights.changed(await _json_body(request))
        except UserError as exc:
            raise _refused(exc) from exc
        if self.desk.rights.revoked or not self.desk.rights.reading:
            self.hub.end_user_streams()
        return await self._permissions(request)


def _bad_request(message: str, remedy: str = "") -> web.HTTPBadRequest:
    """Return a refusal in the shape of the control interface."""
    body = {"error": message} | ({"remedy": remedy} if remedy else {})
    return web.HTTPBadRequest(text=json.dumps(body), content_type="application/json")


def _refused(error: UserError) -> web.HTTPBadRequest:
    return _bad_request(error.message, error.remedy)


async def _json_body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text())
    except ValueError as exc:
        raise _bad_request("The body must be JSON.") from exc
    if not isinstance(body, dict):
        raise _bad_request("The body must be a JSON object.")
    return body
