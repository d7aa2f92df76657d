"""Client of the practice exchange's control interface, and its market clock. Runs on the caller's event loop."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from core.clock import NS_PER_MS
from core.errors import UserError
from core.execution.api.loopback import open_session

_TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class PracticeEndpoints:
    """Where a practice exchange listens and what opens it; secrets never show in a representation."""

    rest: str
    ws: str
    ws_api: str
    control: str
    symbols: tuple[str, ...]
    token: str = field(repr=False)
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> PracticeEndpoints:
        """Read the exchange's ready line.

        Raises:
            KeyError: a field is missing.
        """
        texts = {name: str(line[name]) for name in cls.__slots__ if name != "symbols"}
        return cls(symbols=tuple(line["symbols"]), **texts)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What a reset made.

    Attributes:
        archived: name of the file that holds the former account.
        api_key / api_secret: of the new account.
    """

    archived: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PracticeState:
    """State of the exchange.

    Attributes:
        market: name of the market it has; another seed or other replayed files are another one.
        market_time_ms / server_time_ms: the two clocks, ms UTC.
        speed: market seconds per wall second; None in lockstep.
        finished: a replay has reached the end of its data.
        gate_interval: bar length at whose close lockstep waits.
        last_closed_ms: open time of the last such bar closed; None before the first.
    """

    market: str
    market_time_ms: int
    server_time_ms: int
    speed: float | None
    lockstep: bool
    finished: bool
    gate_interval: str
    last_closed_ms: int | None
    symbols: tuple[str, ...]


class PracticeControl:
    """Talks to the control interface of one practice exchange."""

    def __init__(self, endpoints: PracticeEndpoints) -> None:
        self._url = endpoints.control
        self._headers = {"Authorization": f"Bearer {endpoints.token}"}
        self._session: aiohttp.ClientSession | None = None

    async def state(self) -> PracticeState:
        """Return clocks, pace and progress.

        Raises:
            UserError: the exchange does not answer.
        """
        return _state(await self._call("GET", "state"))

    async def ack(self, symbol: str, interval: str, open_time_ms: int) -> bool:
        """Release the next bar in lockstep; False where the acknowledgement was not the awaited one."""
        body = {"symbol": symbol, "interval": interval, "open_time": open_time_ms}
        return bool((await self._call("POST", "ack", body))["released"])

    async def set_speed(self, speed: float | None) -> PracticeState:
        """Change the pace; None is lockstep."""
        return _state(await self._call("POST", "speed", {"speed": "max" if speed is None else speed}))

    async def reset(self, balance: Decimal | None = None) -> NewAccount:
        """Begin a new account with keys of its own; the old keys open nothing any more.

        Args:
            balance: quote currency it begins with; None leaves that to the exchange.

        Raises:
            UserError: the exchange does not answer or refuses.
        """
        body = {} if balance is None else {"balance": format(balance, "f")}
        answer = await self._call("POST", "reset", body)
        return NewAccount(str(answer["archived"]), str(answer["api_key"]), str(answer["api_secret"]))

    async def burst(self, rate: float, seconds: float = 1.0, symbol: str | None = None) -> int:
        """Publish `rate` extra market trades per second for `seconds`; returns how many there will be."""
        body = {"rate": rate, "seconds": seconds, "symbol": symbol}
        return int((await self._call("POST", "burst", body))["messages"])

    async def permissions(self, **rights: bool) -> dict[str, bool]:
        """Set rights of the account's key (reading, trading, withdrawals, ip_restrict, revoked) and return them all.

        Raises:
            UserError: there is no such right, or the exchange does not answer.
        """
        answer = await (self._call("POST", "permissions", dict(rights)) if rights else self._call("GET", "permissions"))
        return {name: bool(value) for name, value in answer.items()}

    async def limits(self, limits: float | str | None = None) -> dict[str, Any]:
        """Return the request limits in force and what is used of them; a factor or "off" sets them and lifts a ban."""
        return await (
            self._call("GET", "limits") if limits is None else self._call("POST", "limits", {"limits": limits})
        )

    async def faults(self) -> dict[str, Any]:
        """Return the armed faults with their counters (`faults`) and the shift of the clock (`skew_ms`)."""
        return await self._call("GET", "faults")

    async def arm_faults(self, spec: str) -> dict[str, Any]:
        """Add faults to those armed.

        Raises:
            UserError: the specification is not understood, or the exchange does not answer.
        """
        return await self._call("POST", "faults", {"spec": spec})

    async def clear_faults(self, number: int | None = None) -> None:
        """Disarm one fault by its id, or all."""
        await self._call("DELETE", "faults" if number is None else f"faults?id={number}")

    async def disconnect(self, *targets: str, how: str = "cut") -> int:
        """End connections now ("market", "user", or patterns of stream names); returns how many there were.

        Args:
            targets: whose; all by default.
            how: "cut" the TCP connection, or "close" the WebSocket properly.
        """
        body = {"targets": list(targets) or ["*"], "how": how}
        return int((await self._call("POST", "disconnect", body))["disconnected"])

    async def place_foreign(self, **params: str) -> dict[str, Any]:
        """Place an order as somebody else on the same account; parameters and answer are the venue's."""
        return await self._call("POST", "order", params)

    async def cancel_foreign(
        self, symbol: str, *, order_id: int | None = None, client_id: str | None = None
    ) -> dict[str, Any]:
        """Cancel an open order as somebody else on the same account."""
        return await self._call("POST", "cancel", _order_name(symbol, order_id, client_id))

    async def trade_against(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        client_id: str | None = None,
        quantity: Decimal | None = None,
    ) -> dict[str, Any]:
        """Let the market trade against an order that rests, all of it by default; returns the order as queries do."""
        amount = {} if quantity is None else {"quantity": format(quantity, "f")}
        return await self._call("POST", "trade", _order_name(symbol, order_id, client_id) | amount)

    async def shutdown(self) -> None:
        """Ask the exchange to end."""
        await self._call("POST", "shutdown", {})

    async def close(self) -> None:
        """Close the connection; idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        try:
            async with self._session.request(method, f"{self._url}/{path}", json=body) as response:
                answer: dict[str, Any] = await response.json() if response.status in (200, 400, 401) else {}
                if response.status != 200:
                    refusal = answer.get("error", f"HTTP {response.status}")
                    raise UserError(f"The practice exchange refused {path}: {refusal}", answer.get("remedy", ""))
                return answer
        except (aiohttp.ClientConnectionError, TimeoutError) as exc:
            raise UserError("The practice exchange does not answer.", "Start it again.") from exc


def _order_name(symbol: str, order_id: int | None, client_id: str | None) -> dict[str, Any]:
    names = {"symbol": symbol, "order_id": order_id, "client_id": client_id}
    return {name: value for name, value in names.items() if value is not None}


def _state(answer: dict[str, Any]) -> PracticeState:
    closed = answer["last_closed"]
    return PracticeState(
        market=answer["market"],
        market_time_ms=answer["market_time_ms"],
        server_time_ms=answer["server_time_ms"],
        speed=None if answer["lockstep"] else float(answer["speed"]),
        lockstep=answer["lockstep"],
        finished=answer["finished"],
        gate_interval=closed["interval"],
        last_closed_ms=closed["open_time"],
        symbols=tuple(answer["symbols"]),
    )


async def ask_market(rest: str) -> str:
    """Return the name of the market behind a practice exchange's REST address, without a token; "" if it tells none.

    Raises:
        UserError: nothing answers there.
    """
    try:
        async with (
            open_session(loopback_only=True) as session,
            session.get(f"{rest}/api/v3/exchangeInfo", timeout=_TIMEOUT) as response,
        ):
            answer = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise UserError("The practice exchange does not answer.", "Start it again.") from exc
    return str(answer.get("practiceMarket", ""))


class PracticeMarketClock:
    """Market time of a practice exchange between two samples of its state.

    At a constant speed the time since the sample is scaled; in lockstep it stands at the last sample. It never runs
    backwards and never ahead of the wall.
    """

    def __init__(self, state: PracticeState) -> None:
        self._last_ns = 0
        self.update(state)

    def update(self, state: PracticeState) -> None:
        """Take a fresh sample."""
        self._market_ns = state.market_time_ms * NS_PER_MS
        self._speed = 0.0 if state.speed is None or state.finished else state.speed
        self._sampled_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Return market time, ns UTC."""
        elapsed = time.monotonic_ns() - self._sampled_ns
        estimate = min(time.time_ns(), self._market_ns + int(elapsed * self._speed))
        self._last_ns = max(self._last_ns, estimate)
        return self._last_ns


async def follow_clock(control: PracticeControl, clock: PracticeMarketClock, period_s: float = 0.5) -> None:
    """Keep a clock fresh until cancelled or the exchange ends.

    Raises:
        UserError: the exchange stopped answering.
    """
    while True:
        clock.update(await control.state())
        await asyncio.sleep(period_s)
