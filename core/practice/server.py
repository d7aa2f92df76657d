"""The practice exchange's server: one process, one event loop, loopback only.

Speaks the venue's REST API under `/api/v3`, market streams under `/stream`, the WebSocket API under `/ws-api/v3`, and
its own control interface under `/control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from core.errors import UserError
from core.practice import auth
from core.practice.account_store import AccountStore
from core.practice.api import TradingApi
from core.practice.auth import ApiKeys
from core.practice.bars import DAY_MS, INTERVALS, floor_open
from core.practice.control_routes import ControlInterface
from core.practice.exchange import Exchange
from core.practice.fault_rules import FaultSpec
from core.practice.faults import FaultPlan
from core.practice.limits import RequestLimits
from core.practice.market_source import MarketSource
from core.practice.operations import OPERATIONS, RESTRICTIONS, Operation
from core.practice.orders import Rejection
from core.practice.player import Player
from core.practice.requests import NoAnswer, RequestDesk
from core.practice.rules import Params
from core.practice.sockets import Sockets, drop
from core.practice.specs import UNITS
from core.practice.streams import StreamHub
from core.practice.wsapi import WsApi

HOST: Final = "127.0.0.1"
_MAX_BODY: Final = 1 << 20
_DEFAULT_PAST_MS: Final = 7 * DAY_MS

_compact = functools.partial(json.dumps, separators=(",", ":"))  # as the venue writes it

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class PracticeConfig:
    """How to run the exchange.

    Attributes:
        folder: where accounts and keys live.
        port: 0 lets the system choose.
        speed: market seconds per wall second; None is lockstep.
        start_ms: where market time begins, ms; None for the default of the source and speed.
        gate_ms: bar length of lockstep; None for the source's own.
        opening_quote: quote currency of a new account.
        new_account: set a stored account aside and begin a new one.
        token: opens the control interface; None makes one.
        faults: armed from the start.
        limits: factor of the venue's request limits; None enforces none.
    """

    folder: Path
    port: int = 0
    speed: float | None = 1.0
    start_ms: int | None = None
    gate_ms: int | None = None
    opening_quote: Decimal = Decimal(10_000)
    new_account: bool = False
    token: str | None = field(default=None, repr=False)
    faults: FaultSpec | None = None
    limits: float | None = 1.0


def wall_ms() -> int:
    """Return wall time, ms."""
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class PracticeServer:
    """Owns the exchange, its streams and its sockets."""

    def __init__(self, source: MarketSource, config: PracticeConfig) -> None:
        """Open the account and prepare the market.

        Raises:
            UserError: the account, the keys or the start time cannot be used.
        """
        self._config = config
        home = config.folder / source.source_id
        self._key_file = home / "keys.json"
        self.keys: ApiKeys = auth.load_or_make_keys(self._key_file)  # an account is known by its key
        self.token = config.token or secrets.token_urlsafe(24)
        self._quotes = {spec.quote for spec in source.specs.values()}
        opening = self._opening(config.opening_quote)
        self._store = AccountStore(home / "account.sqlite", opening)
        if config.new_account and not self._store.is_new:
            self.keys = auth.replace_keys(self._key_file)
            self._store.archive(opening)
        now = wall_ms()
        start = start_time(source, config, self._store.clock_ms(), now)
        self._plan = FaultPlan(_steady_ms)
        if config.faults is not None:
            self._plan.arm(config.faults)
        limits = RequestLimits(wall_ms, config.limits)
        self.exchange = Exchange(source, self._store, start, self._plan.fill_cap)
        self.exchange.observers.append(limits.orders_changed)
        api = TradingApi(self.exchange, self._server_ms, self._plan.hides, limits.announced)
        self._desk = RequestDesk(api, self._plan, limits, self._server_ms)
        self._hub = StreamHub(self.exchange, api, self._server_ms, wall_ms)
        wsapi = WsApi(self._desk, self._hub, lambda: self.keys, self._server_ms)
        self._sockets = Sockets(self._hub, wsapi, self._desk, self._fail)
        self.exchange.settle_gap(now)
        self.player = Player(self.exchange, self._hub, self._server_ms, wall_ms, config.speed, config.gate_ms)
        self._runner: web.AppRunner | None = None
        self._task: asyncio.Task[None] | None = None
        self._port = 0
        self._failure: BaseException | None = None
        self.stop_requested = asyncio.Event()
        self._control = ControlInterface(
            self.exchange,
            api,
            self.player,
            self._hub,
            self._desk,
            self._server_ms,
            self._new_account,
            self.stop_requested,
        )

    async def start(self) -> None:
        """Listen and begin to play.

        Raises:
            UserError: the port is taken.
        """
        app = web.Application(middlewares=[self._guard], client_max_size=_MAX_BODY)
        self._add_routes(app.router)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._config.port)
        try:
            await site.start()
        except OSError as exc:
            await self.stop()
            if exc.errno == errno.EADDRINUSE:
                raise UserError(
                    f"Port {self._config.port} is already in use.", "Choose another with --port, or 0 for any free one."
                ) from exc
            raise UserError(
                f"Port {self._config.port} cannot be opened: {exc.strerror or exc}.",
                "Choose another with --port, or 0 for any free one.",
            ) from exc
        self._port = int(self._runner.addresses[0][1])
        self._task = asyncio.get_running_loop().create_task(self.player.run())
        self._task.add_done_callback(lambda task: self.stop_requested.set())

    def ready_line(self) -> dict[str, Any]:
        """Return the addresses and secrets that a client needs."""
        host = f"{HOST}:{self._port}"
        return {
            "rest": f"http://{host}",
            "ws": f"ws://{host}/stream/ws",
            "ws_api": f"ws://{host}/ws-api/v3",
            "control": f"http://{host}/control",
            "token": self.token,
            "api_key": self.keys.api_key,
            "api_secret": self.keys.api_secret,
            "symbols": list(self.exchange.specs),
        }

    async def stop(self) -> None:
        """Close every socket, store the clock and release the account; idempotent.

        Raises:
            Exception: whatever ended the market's own task early.
        """
        if self._task is not None:
            if self._task.done() and not self._task.cancelled():
                self._failure = self._failure or self._task.exception()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({self._task})
            self._task = None
        await self._sockets.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            await self.player.close(save=self._failure is None)
        self._store.close()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _server_ms(self) -> int:
        """Return the server's clock: wall time, unless a fault shifts it."""
        return wall_ms() + self._plan.skew_ms()

    # --- safety and errors ------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse browsers and foreign host names, and turn rejections into the venue's error shape."""
        host = request.headers.get("Host", "")
        if host not in (f"{HOST}:{self._port}", f"localhost:{self._port}") or "Origin" in request.headers:
            return web.json_response({"code": -1002, "msg": "You are not authorized."}, status=403)
        if request.path.startswith("/control/"):
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
                return web.json_response({"error": "The control token is missing or wrong."}, status=401)
        try:
            return await handler(request)
        except Rejection as exc:
            return self._refusal(exc)
        except UserError as exc:  # the account cannot be stored: memory must not run ahead of the disk
            self._fail(exc)
            return web.json_response({"code": -1000, "msg": exc.message}, status=503, dumps=_compact)

    def _fail(self, error: UserError) -> None:
        self._failure = error
        self.stop_requested.set()

    # --- routes -----------------------------------------------------------------------------------------------

    def _add_routes(self, router: web.UrlDispatcher) -> None:
        for operation in OPERATIONS:
            if operation.path:
                router.add_route(operation.method, operation.path, self._rest(operation))
        self._sockets.add_routes(router)
        self._control.add_routes(router)

    def _rest(self, operation: Operation) -> Handler:
        run = self._restrictions if operation.name == RESTRICTIONS else None

        async def handle(request: web.Request) -> web.Response:
            query, body = request.rel_url.raw_query_string, ""
            if request.can_read_body:
                body = await request.text()
            params = dict(parse_qsl(query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True))

            def prove() -> None:
                key = request.headers.get("X-MBX-APIKEY", "")
                auth.check_signed(self.keys, key, params, auth.query_payload(query, body), self._server_ms())

            try:
                answer = await self._desk.answer(operation, params, prove, run)
            except NoAnswer as exc:
                await drop(request, exc.how)
                return web.Response()
            except Rejection as exc:
                return self._refusal(exc, self._desk.limits.headers(orders=False))
            headers = self._desk.limits.headers(orders=operation.places)
            return web.json_response(answer, dumps=_compact, headers=headers)

        return handle

    def _refusal(self, refusal: Rejection, headers: Mapping[str, str] = MappingProxyType({})) -> web.Response:
        """Return an error answer in the venue's shape; without a code it is what a server in front of it would say."""
        told = {**headers} | ({"Retry-After": str(refusal.retry_s)} if refusal.retry_s is not None else {})
        if refusal.code == 0:
            return web.Response(status=refusal.status, text=refusal.message, content_type="text/html", headers=told)
        body = {"code": refusal.code, "msg": refusal.message}
        return web.json_response(body, status=refusal.status, dumps=_compact, headers=told)

    # --- the account ------------------------------------------------------------------------------------------

    def _new_account(self, amount: Decimal | None) -> dict[str, Any]:
        # The key first: new keys over the old account would only be given another journal, while the old key over a
        # new account would let an executor take its books for this account's.
        self.keys = auth.replace_keys(self._key_file)
        archived = self.exchange.reset(self._opening(self._config.opening_quote if amount is None else amount))
        self._hub.account_replaced()
        self.player.rebase()
        return {"archived": archived, "api_key": self.keys.api_key, "api_secret": self.keys.api_secret}

    def _opening(self, amount: Decimal) -> dict[str, int]:
        return {quote: int(amount * UNITS) for quote in self._quotes}

    def _restrictions(self, params: Params) -> dict[str, Any]:
        return self._desk.rights.restrictions(auth.created_ms(self._key_file))


def start_time(source: MarketSource, config: PracticeConfig, stored_ms: int | None, now_ms: int) -> int:
    """Return where market time begins.

    Raises:
        UserError: the wanted start lies outside the market or before what the account has already lived through.
    """
    last = min(now_ms, source.end_ms - 1) if source.end_ms is not None else now_ms
    if config.start_ms is not None:
        if not source.first_ms <= config.start_ms <= last:
            raise UserError("The start lies outside the market's data.", "Choose a later or earlier --start.")
        if stored_ms is not None and config.start_ms < stored_ms:
            raise UserError(
                "The account has already traded later than the wanted start.",
                "Leave out --start to continue, reset the account, or choose another folder with --data-dir.",
            )
        return config.start_ms
    if source.end_ms is not None:
        default = source.first_ms + (source.end_ms - source.first_ms) // 2
    elif config.speed == 1.0:
        return now_ms
    else:
        default = now_ms - _DEFAULT_PAST_MS
    floor = source.next_open(floor_open(default, config.gate_ms or source.base_ms))
    return min(last, max(floor if floor is not None else default, stored_ms or 0))


def gate_of(name: str | None, base_ms: int) -> int | None:
    """Read the lockstep bar length.

    Raises:
        UserError: it is no interval, or shorter than the market's own bars.
    """
    if name is None:
        return None
    if name not in INTERVALS or INTERVALS[name] < base_ms:
        raise UserError(f"{name!r} is not a bar length of this market.", "Choose one such as 1h, 4h or 1d.")
    return INTERVALS[name]
