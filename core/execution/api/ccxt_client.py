"""One ccxt exchange object, how it is built, called and closed. Runs on one event loop.

Every call passes through `CcxtClient.call`: request limit, round-trip time, and the one classification of errors. The
library is configured and subclassed, never patched.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from core.clock import NS_PER_MS, Clock
from core.events import ConnectionState
from core.execution.api.ccxt_loader import load_exchange_class
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import AmbiguousOutcome, GatewayError, NoAnswer, RetryableError
from core.execution.api.loopback import open_session
from core.execution.api.rate_limiter import RateLimiter
from core.execution.api.venue_profile import VenueProfile
from core.execution.error_handler import NO_ANSWER, HttpFacts, Operation, classify, venue_code

T = TypeVar("T")
RawHandler = Callable[[dict[str, Any]], None]

CLOSE_TIMEOUT_S = 2.0
BUSY_STATUSES = frozenset({403, 418, 429})  # a firewall or a limit spoke: answered, but not served
MOST_DIAL_DELAY_S = 2.0  # the readers of the streams have their own growing pauses

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of an account; never shown in representations, logs or reports."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


class CcxtClient:
    """A ccxt exchange with our own session, limits and error handling.

    Attributes:
        exchange: the ccxt object; None before `open` and after `close`.
    """

    def __init__(
        self, profile: VenueProfile, credentials: Credentials | None, wall_clock: Clock, monitor: ConnectionMonitor
    ) -> None:
        self.exchange: Any = None
        self._profile = profile
        self._credentials = credentials
        self._wall_clock = wall_clock
        self._monitor = monitor
        self._session: Any = None
        self._facts: ContextVar[HttpFacts] = ContextVar("facts")
        self._raw_handlers: list[RawHandler] = []
        limits = profile.limits
        self.requests = RateLimiter(limits.weight, limits.weight_period_s, reserve=limits.weight * 0.1)
        self.orders = RateLimiter(limits.orders, limits.orders_period_s)

    async def open(self) -> None:
        """Load the venue's ccxt modules in a worker thread and build the exchange object and its session.

        Raises:
            FatalGatewayError: ccxt does not know the venue.
        """
        base = await asyncio.get_running_loop().run_in_executor(None, load_exchange_class, self._profile.ccxt_id)
        self._session = open_session(loopback_only=self._profile.practice)
        self.exchange = self._build(base)

    async def close(self) -> None:
        """Close streams and session within `CLOSE_TIMEOUT_S` each, also where a cancel arrives; idempotent."""
        exchange, self.exchange = self.exchange, None
        session, self._session = self._session, None
        try:
            if exchange is not None:
                exchange.timeout_on_exit = 0
                with contextlib.suppress(TimeoutError):  # a peer that does not answer the close handshake
                    async with asyncio.timeout(CLOSE_TIMEOUT_S):
                        await exchange.close()
        finally:
            if exchange is not None:
                exchange.session = None
            if session is not None:
                await session.close()
                await asyncio.sleep(0)  # lets transports finish closing before the loop does

    @property
    def live(self) -> Any:
        """The exchange object.

        Raises:
            RetryableError: the gateway is not connected.
        """
        if self.exchange is None:
            raise RetryableError("the gateway is not connected")
        return self.exchange

    def add_raw_handler(self, handler: RawHandler) -> None:
        """Call `handler` with every decoded stream message, before ccxt sees it."""
        self._raw_handlers.append(handler)

    def remove_raw_handler(self, handler: RawHandler) -> None:
        """Undo `add_raw_handler`."""
        self._raw_handlers.remove(handler)

    async def call(
        self,
        operation: Operation,
        weight: float,
        request: Callable[[Any], Awaitable[T]],
        *,
        urgent: bool = False,
        max_wait_s: float = 30.0,
    ) -> T:
        """Make one REST call.

        Args:
            operation: decides what an unanswered call means.
            weight: its cost in the venue's unit.
            request: takes the exchange object and returns the awaitable.
            urgent: may use the reserved part of the budget.
            max_wait_s: longest wait for the request limit.

        Raises:
            GatewayError: classified failure.
        """
        await self.requests.acquire(weight, urgent=urgent, max_wait_s=max_wait_s)
        exchange = self.live
        self._facts.set(HttpFacts())
        started = time.perf_counter()
        try:
            result = await request(exchange)
        except GatewayError:
            raise  # decided before anything was sent
        except Exception as exc:
            error = self.translate(exc, operation, self._facts.get())
            if error is None:
                raise  # a bug, not a failure of the venue
            if isinstance(error, NoAnswer | AmbiguousOutcome):
                self._monitor.doubt()
            raise error from exc
        self._monitor.measured(latency_ms=(time.perf_counter() - started) * 1_000)
        return result

    def translate(self, exc: BaseException, operation: Operation, facts: HttpFacts = NO_ANSWER) -> GatewayError | None:
        """Classify what a call or a stream raised; a limit the venue named is kept from now on."""
        error = classify(exc, operation, facts, self._profile.errors)
        if isinstance(error, RetryableError) and facts.status in (418, 429):
            self.requests.pause(error.retry_after_s)
        return error

    def set_clock_offset(self, offset_ns: int) -> None:
        """Tell ccxt how far the venue's clock is ahead of ours."""
        self.live.options["timeDifference"] = -(offset_ns // NS_PER_MS)

    def _note_answer(self, status: int) -> None:
        """Tell the monitor what an HTTP answer says of REST as a whole; of the call it is classified elsewhere."""
        if status >= 500 or status in BUSY_STATUSES:
            self._monitor.rest(ConnectionState.DEGRADED, f"the exchange answers with HTTP {status}")
            self._monitor.doubt()  # somebody has to notice when that is over
        else:
            self._monitor.rest(ConnectionState.ONLINE)

    def _build(self, base: type[Any]) -> Any:
        client = self

        class VenueExchange(base):  # type: ignore[misc]
            """The venue's ccxt class with three observation points and one bound."""

            number = str  # amounts stay the text the venue sent; also for what ccxt itself states, such as fees

            def milliseconds(self) -> int:
                """Return the injected wall clock, ms UTC; request timestamps derive from it."""
                return client._wall_clock.now_ns() // NS_PER_MS

            def on_rest_response(
                self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *request: Any
            ) -> str:
                """Keep status and Retry-After of the answer for the call that is being made; and that there was one."""
                own_code = venue_code(body) if code >= 400 else ""
                client._note_answer(code)
                client._facts.set(HttpFacts(code, _seconds(headers.get("Retry-After")), own_code))
                return str(super().on_rest_response(code, reason, url, method, headers, body, *request))

            def ws_dial_delay(self, url: str) -> float:
                """Bound ccxt's pause before a dial: its counter is shared by all streams and soon says 30 s."""
                return min(float(super().ws_dial_delay(url)), MOST_DIAL_DELAY_S)

            def handle_message(self, stream: Any, message: Any) -> None:
                """Show raw messages to the gateway: ccxt drops fields and merges updates.

                A message that is not understood ends the connection with an error: ccxt would stop reading and say
                nothing, and everybody would wait for messages that never come.
                """
                try:
                    if isinstance(message, dict):
                        for handler in list(client._raw_handlers):
                            handler(message)
                    super().handle_message(stream, message)
                except Exception as exc:  # noqa: BLE001 - whatever it is, it must not pass in silence
                    _log.exception("a stream message was not understood")
                    stream.on_error(ConnectionError(f"a stream message was not understood: {exc!r}"))

        VenueExchange.__name__ = base.__name__
        config: dict[str, Any] = {
            "session": self._session,
            "asyncio_loop": asyncio.get_running_loop(),
            "enableRateLimit": False,
            "timeout": self._profile.request_timeout_ms,
            "options": dict(copy.deepcopy(self._profile.options)),
            "newUpdates": False,
        }
        if self._credentials is not None:
            config |= {"apiKey": self._credentials.api_key, "secret": self._credentials.api_secret}
        exchange = VenueExchange(config)
        exchange.streaming = {**exchange.streaming, "keepAlive": int(self._profile.ping_interval_s * 1_000)}
        if self._profile.urls:
            exchange.urls["api"] = {**exchange.urls["api"], **copy.deepcopy(dict(self._profile.urls))}
        return exchange


def _seconds(header: str | None) -> float | None:
    try:
        return float(header) if header is not None else None
    except ValueError:
        return None
