"""The control interface: what only a holder of the control token may ask. Event-loop thread of the exchange."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from aiohttp import web

from core.errors import UserError
from core.practice.api import TradingApi
from core.practice.bars import interval_name
from core.practice.exchange import Exchange
from core.practice.fault_rules import faults_from_json
from core.practice.limits import parse_limits
from core.practice.orders import Rejection
from core.practice.permissions import KeyRights
from core.practice.player import Player, parse_speed
from core.practice.requests import RequestDesk
from core.practice.streams import StreamHub

MOST_QUOTE: Final = 10**9
_FOREIGN_ID: Final = "web_"  # how the venue's own page names its orders


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
    api: TradingApi
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
        router.add_get("/control/limits", self._limits)
        router.add_post("/control/limits", self._set_limits)
        router.add_get("/control/faults", self._faults)
        router.add_post("/control/faults", self._arm)
        router.add_delete("/control/faults", self._disarm)
        router.add_post("/control/disconnect", self._disconnect)
        router.add_post("/control/order", self._foreign_order)
        router.add_post("/control/cancel", self._foreign_cancel)
        router.add_post("/control/trade", self._trade)

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

    async def _limits(self, request: web.Request) -> web.Response:
        limits = self.desk.limits
        until = limits.banned_until_ms or None
        factor = "off" if limits.factor is None else limits.factor
        return web.json_response({"limits": factor, "used": limits.counted(orders=True), "banned_until_ms": until})

    async def _set_limits(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        try:
            self.desk.limits.set_factor(parse_limits(str(body.get("limits", ""))))
        except UserError as exc:
            raise _refused(exc) from exc
        return await self._limits(request)

    # --- faults -----------------------------------------------------------------------------------------------

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response(self.desk.plan.to_json())

    async def _arm(self, request: web.Request) -> web.Response:
        try:
            self.desk.plan.arm(faults_from_json(await _json_body(request)))
        except UserError as exc:
            raise _refused(exc) from exc
        return await self._faults(request)

    async def _disarm(self, request: web.Request) -> web.Response:
        number = request.query.get("id")
        if number is not None and not number.isdecimal():
            raise _bad_request("The id of a fault is a whole number.")
        if not self.desk.plan.clear(None if number is None else int(number)) and number is not None:
            raise _bad_request(f"There is no fault with the id {number}.")
        return await self._faults(request)

    async def _disconnect(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        targets, how = body.get("targets", ["*"]), body.get("how", "cut")
        if not isinstance(targets, list) or how not in ("cut", "close"):
            raise _bad_request("A disconnection needs a list of targets, and cut or close.")
        struck = [each for each in self.hub.connections if any(each.matches(str(target)) for target in targets)]
        for connection in struck:
            connection.cut() if how == "cut" else connection.close(1001, b"Server shutdown")
        return web.json_response({"disconnected": len(struck)})

    # --- what others do on the account ------------------------------------------------------------------------

    async def _foreign_order(self, request: web.Request) -> web.Response:
        params = {name: str(value) for name, value in (await _json_body(request)).items()}
        params.setdefault("newClientOrderId", f"{_FOREIGN_ID}{secrets.token_hex(11)}")
        return web.json_response(_carried_out(lambda: self.api.place_order({"newOrderRespType": "FULL", **params})))

    async def _foreign_cancel(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        return web.json_response(_carried_out(lambda: self.api.cancel_order(_named(body))))

    async def _trade(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        quantity = body.get("quantity")
        params = _named(body) | ({} if quantity is None else {"quantity": str(quantity)})
        return web.json_response(_carried_out(lambda: self.api.trade_against(params)))


def _named(body: dict[str, Any]) -> dict[str, str]:
    """Return the venue's parameters that name an order."""
    names = {"symbol": "symbol", "order_id": "orderId", "client_id": "origClientOrderId"}
    return {names[name]: str(value) for name, value in body.items() if name in names}


def _carried_out(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return action()
    except Rejection as exc:
        raise _bad_request(f"The exchange refuses it: {exc.message} ({exc.code})") from exc


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
