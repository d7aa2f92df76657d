"""One ccxt exchange object, how it is opened, called and closed. Runs on one event loop.

Every call passes through `CcxtClient.call`: circuit breaker, request limits, round-trip time, and the one
classification of errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from core.clock import NS_PER_S
from core.events import ConnectionState
from core.execution.api.ccxt_exchange import Credentials, build_exchange
from core.execution.api.ccxt_loader import load_exchange_class
from core.execution.api.circuit_breaker import BreakerState, CircuitBreaker
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import AmbiguousOutcome, GatewayError, NoAnswer, RetryableError
from core.execution.api.loopback import open_session
from core.execution.api.request_budget import BudgetRegistry, Lane, RateLimiter
from core.execution.api.venue_clock import VenueClock
from core.execution.api.venue_profile import VenueProfile
from core.execution.error_handler import (
    DEFAULT_RETRY_AFTER_S,
    NO_ANSWER,
    HttpFacts,
    Operation,
    classify,
    retry_after_s,
    venue_code,
)

T = TypeVar("T")
RawHandler = Callable[[dict[str, Any]], bool]

CLOSE_TIMEOUT_S = 2.0
LIMITED, BANNED = 429, 418
BUSY_STATUSES = frozenset({403, LIMITED})  # a firewall or a limit spoke: answered, but not served


class CcxtClient:
    """A ccxt exchange with our own session, limits and error handling.

    Attributes:
        exchange: the ccxt object; None before `open` and after `close`.
    """

    def __init__(
        self,
        profile: VenueProfile,
        credentials: Credentials | None,
        clock: VenueClock,
        monitor: ConnectionMonitor,
        budgets: BudgetRegistry,
    ) -> None:
        """Prepare a client; `open` loads the venue.

        Args:
            profile: the venue.
            credentials: keys; None for public data only.
            clock: the venue's time, signed into requests.
            monitor: is told how REST does.
            budgets: shared by all links of this process.
        """
        self.exchange: Any = None
        self._profile = profile
        self._credentials = credentials
        self._clock = clock
        self._monitor = monitor
        self._session: Any = None
        self._facts: ContextVar[HttpFacts] = ContextVar("facts")
        self._raw_handlers: list[RawHandler] = []
        self.breaker = CircuitBreaker(self._on_breaker, budgets.breaker(profile.ccxt_id, profile.host))
        address = budgets.address(profile.ccxt_id, profile.host)
        owner = "" if credentials is None else hashlib.sha256(credentials.api_key.encode()).hexdigest()[:16]
        self.limiter = RateLimiter(budgets, address, budgets.account(profile.ccxt_id, profile.host, owner))
        for budget in (self.limiter.address, self.limiter.account):
            if not budget.is_configured:  # another link may know better already
                budget.configure(profile.limits)

    async def open(self) -> None:
        """Load the venue's ccxt modules in a worker thread and build the exchange object and its session.

        Raises:
            FatalGatewayError: ccxt does not know the venue.
        """
        base = await asyncio.get_running_loop().run_in_executor(None, load_exchange_class, self._profile.ccxt_id)
        self._session = open_session(loopback_only=self._profile.practice)
        self.breaker.join()
        self.exchange = build_exchange(base, self._profile, self._credentials, self._session, self)

    async def close(self) -> None:
        """Close streams and session within `CLOSE_TIMEOUT_S` each, also where a cancel arrives; idempotent."""
        exchange, self.exchange = self.exchange, None
        session, self._session = self._session, None
        self.breaker.leave()
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
        """Call `handler` with every decoded stream message; ccxt sees only those that no handler takes for itself."""
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
        lane: Lane = Lane.MARKET,
        max_wait_s: float = 30.0,
        is_probe: bool = False,
    ) -> T:
        """Make one REST call.

        Args:
            operation: decides what an unanswered call means.
            weight: its cost in the venue's unit.
            request: takes the exchange object and returns the awaitable.
            lane: which share of the request limits it may use.
            max_wait_s: longest wait for the request limit.
            is_probe: it finds out whether the venue answers again, so it passes an open circuit breaker.

        Raises:
            GatewayError: classified failure.
        """
        self.breaker.admit(operation, is_probe=is_probe)
        try:
            await self.limiter.acquire(lane, weight, max_wait_s=max_wait_s)
        except RetryableError:
            self._tell_ban()
            raise
        if operation is Operation.SUBMIT:  # it may have opened while the order waited for its turn
            self.breaker.admit(operation)
        exchange = self.live
        self._facts.set(HttpFacts())
        started = time.perf_counter()
        try:
            result = await request(exchange)
        except GatewayError:
            raise  # decided before anything was sent
        except Exception as exc:
            facts = self._facts.get()
            error = self.translate(exc, operation, facts)
            if error is None:
                raise  # a bug, not a failure of the venue
            self._note_failure(error, facts, lane)
            raise error from exc
        self._monitor.measured(latency_ms=(time.perf_counter() - started) * 1_000)
        return result

    def translate(self, exc: BaseException, operation: Operation, facts: HttpFacts = NO_ANSWER) -> GatewayError | None:
        """Classify what a call or a stream raised."""
        return classify(exc, operation, facts, self._profile.errors)

    # --- what the exchange object shows us ----------------------------------------------------------------------

    def venue_now_ns(self) -> int:
        """Return the time to sign with."""
        return self._clock.now_ns()

    def on_answer(self, status: int, url: str, headers: Mapping[str, str], body: str) -> None:
        """Keep what the answer says of the call that is being made, of the limits and of REST as a whole."""
        dialect, now_ns = self._profile.dialect, self._clock.now_ns()
        uses = dialect.limit_uses(headers)
        for budget in (self.limiter.address, self.limiter.account):
            budget.told(uses, now_ns)
        if status < 400:
            limits = dialect.request_limits(url, body)
            if limits:
                self.limiter.address.configure(limits)
                self.limiter.account.configure(limits)
            self._facts.set(HttpFacts(status))
        else:
            away_s = retry_after_s(headers.get("retry-after"), body, now_ns)
            self._facts.set(HttpFacts(status, away_s, venue_code(body, self._profile.errors)))
            if status == BANNED:
                away_s = DEFAULT_RETRY_AFTER_S[BANNED] if away_s is None else away_s
                self.limiter.address.ban(away_s, now_ns + int(away_s * NS_PER_S))
        if status >= 500:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        if status == BANNED:
            self._tell_ban()
        elif status >= 500 or status in BUSY_STATUSES:
            self._monitor.rest(ConnectionState.DEGRADED, f"the exchange answers with HTTP {status}")
            self._monitor.doubt()  # somebody has to notice when that is over
        else:
            self._monitor.rest(ConnectionState.ONLINE)

    def on_stream_message(self, message: dict[str, Any]) -> bool:
        """Pass a message on to whoever asked for it."""
        taken = False
        for handler in list(self._raw_handlers):
            taken = handler(message) or taken
        return taken

    def dial_pause_s(self) -> float:
        """Return how long no connection may be opened: as long as the address is shut out."""
        return self.limiter.address.ban_left_s

    def _note_failure(self, error: GatewayError, facts: HttpFacts, lane: Lane) -> None:
        """Draw the consequences of a failed call for those that follow."""
        if isinstance(error, RetryableError) and facts.status == LIMITED:
            if error.code in self._profile.order_limit_codes:
                self.limiter.account.pause(Lane.SUBMIT, error.retry_after_s)
            else:
                self.limiter.address.pause(lane, error.retry_after_s)
        if isinstance(error, NoAnswer | AmbiguousOutcome):
            if facts.status is None:
                self.breaker.failed()
            self._monitor.doubt()

    def _tell_ban(self) -> None:
        """Tell everybody that the address is shut out and until when; the probe finds out when it is over."""
        if self.limiter.address.ban_left_s > 0:
            self._monitor.rest(ConnectionState.DEGRADED, self.limiter.address.ban_detail)
            self._monitor.doubt()

    def tell_breaker(self) -> None:
        """Tell the monitor where calls are held back already: another link to the venue saw it fail."""
        if self.breaker.state is not BreakerState.CLOSED:
            self._on_breaker(True)

    def _on_breaker(self, is_open: bool) -> None:
        self._monitor.hold(is_open)
        if is_open:
            self._monitor.doubt()
