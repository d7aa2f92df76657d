"""What may be sent to a venue now: the limits of an address and of an account, shared by every link of this process.

Any thread: the links run on loops of different threads, and one lock guards the figures, held for microseconds and
never while waiting. Waiting happens on the caller's own loop.

Market data gives way first: each lane may use only its share of a limit, so that no chart can take the room that a
submit, an order query or a cancel needs. A venue that answers "too many requests" pauses the lane that was hit and
those below it; a ban of the address pauses everything.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

from core.clock import NS_PER_S, to_datetime
from core.execution.api.circuit_breaker import VenueBreaker
from core.execution.api.gateway import RetryableError
from core.execution.api.rate_limiter import LimitKind, LimitPool, LimitUse, RequestLimit


class Lane(IntEnum):
    """Who asks, least important first."""

    MARKET = 0  # public data
    SUBMIT = 1  # new orders
    QUERY = 2  # what became of orders; balances, own trades
    CANCEL = 3


SHARES: Mapping[Lane, float] = {Lane.MARKET: 0.7, Lane.SUBMIT: 0.85, Lane.QUERY: 0.95, Lane.CANCEL: 1.0}


class RequestBudget:
    """The limits of one address or of one account. Not made by hand: see `BudgetRegistry`."""

    def __init__(self, lock: threading.Lock, kinds: frozenset[LimitKind], now: Callable[[], float]) -> None:
        self._lock = lock
        self._kinds = kinds
        self._now = now
        self._pools: dict[tuple[LimitKind, float], LimitPool] = {}
        self._paused_until_s = dict.fromkeys(Lane, float("-inf"))
        self._banned_until_s = float("-inf")
        self._ban_end_ns = 0

    def configure(self, limits: Iterable[RequestLimit]) -> None:
        """Follow the venue's limits; a pool that stays keeps what was used of it."""
        wanted = {(limit.kind, limit.period_s): limit for limit in limits if limit.kind in self._kinds}
        with self._lock:
            kept = {key: pool for key, pool in self._pools.items() if key in wanted}
            for key, limit in wanted.items():
                if key in kept:
                    kept[key].resize(limit)
                else:
                    kept[key] = LimitPool(limit)
            self._pools = kept

    @property
    def is_configured(self) -> bool:
        """Whether any limit is known."""
        with self._lock:
            return bool(self._pools)

    def used(self, kind: LimitKind, period_s: float) -> float:
        """Return what counts as used of one limit; 0 where there is no such limit."""
        with self._lock:
            pool = self._pools.get((kind, period_s))
            return 0.0 if pool is None else pool.used(self._now())

    def told(self, uses: Iterable[LimitUse], venue_now_ns: int) -> None:
        """Take the venue's own figures.

        Args:
            uses: of its running windows.
            venue_now_ns: the venue's clock, by which it cuts them.
        """
        venue_now_s = venue_now_ns / NS_PER_S
        with self._lock:
            for use in uses:
                pool = self._pools.get((use.kind, use.period_s))
                if pool is not None:
                    pool.told(self._now(), use.used, use.period_s - venue_now_s % use.period_s)

    def pause(self, lane: Lane, seconds: float) -> None:
        """Let a lane and those below it rest: the venue asked for it."""
        with self._lock:
            until_s = self._now() + seconds
            for each in Lane:
                if each <= lane:
                    self._paused_until_s[each] = max(self._paused_until_s[each], until_s)

    def ban(self, seconds: float, end_ns: int) -> None:
        """Let nothing pass: the venue shut out the address.

        Args:
            seconds: from now.
            end_ns: the same moment for a person to read, ns UTC.
        """
        with self._lock:
            if self._now() + seconds > self._banned_until_s:
                self._banned_until_s, self._ban_end_ns = self._now() + seconds, end_ns

    @property
    def ban_left_s(self) -> float:
        """Seconds until the ban ends; 0.0 where there is none."""
        with self._lock:
            return max(0.0, self._banned_until_s - self._now())

    @property
    def ban_detail(self) -> str:
        """Until when the venue has shut out this address."""
        with self._lock:
            end = to_datetime(self._ban_end_ns)
        return f"the exchange has shut out this address until {end:%Y-%m-%d %H:%M:%S} UTC"

    # --- with the lock held -----------------------------------------------------------------------------------

    def _wait_s(self, lane: Lane, weight: float) -> float:
        now_s = self._now()
        wait_s = max(0.0, self._paused_until_s[lane] - now_s, self._banned_until_s - now_s)
        for (kind, _), pool in self._pools.items():
            share = 1.0 if kind is LimitKind.ORDERS else SHARES[lane]
            wait_s = max(wait_s, pool.wait_s(now_s, _cost(kind, weight), share))
        return wait_s

    def _take(self, weight: float) -> None:
        now_s = self._now()
        for (kind, _), pool in self._pools.items():
            pool.take(now_s, _cost(kind, weight))


def _cost(kind: LimitKind, weight: float) -> float:
    return weight if kind is LimitKind.WEIGHT else 1.0


class BudgetRegistry:
    """What all links of this process share: budgets, by venue and address or account, and the circuit breakers.

    Make one, hand it to every gateway.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Start without budgets.

        Args:
            now: monotonic seconds, the same for all threads.
        """
        self._now = now
        self._lock = threading.Lock()
        self._made_lock = threading.Lock()
        self._made: dict[tuple[str, ...], RequestBudget] = {}
        self._breakers: dict[tuple[str, str], VenueBreaker] = {}

    def address(self, venue: str, host: str) -> RequestBudget:
        """Return the budget of requests from this machine to one host of a venue."""
        return self._get(("address", venue, host), frozenset({LimitKind.WEIGHT, LimitKind.RAW}))

    def account(self, venue: str, host: str, fingerprint: str) -> RequestBudget:
        """Return the budget of new orders of one account; "" where there is none."""
        return self._get(("account", venue, host, fingerprint), frozenset({LimitKind.ORDERS}))

    def breaker(self, venue: str, host: str) -> VenueBreaker:
        """Return the circuit breaker of one host of a venue."""
        with self._made_lock:
            return self._breakers.setdefault((venue, host), VenueBreaker())

    def take(self, lane: Lane, weight: float, address: RequestBudget, account: RequestBudget | None) -> float:
        """Book a request on all its budgets or on none.

        Returns:
            0.0 where it may be sent now, else after how many seconds to try again.
        """
        with self._lock:
            wait_s = address._wait_s(lane, weight)
            if account is not None:
                wait_s = max(wait_s, account._wait_s(lane, weight))
            if wait_s <= 0:
                address._take(weight)
                if account is not None:
                    account._take(weight)
            return wait_s

    def _get(self, key: tuple[str, ...], kinds: frozenset[LimitKind]) -> RequestBudget:
        with self._made_lock:
            return self._made.setdefault(key, RequestBudget(self._lock, kinds, self._now))


class RateLimiter:
    """The way of one link to its budgets. Runs on the link's event loop."""

    def __init__(self, registry: BudgetRegistry, address: RequestBudget, account: RequestBudget) -> None:
        """Use the budgets of `registry`; new orders are booked on `account` as well."""
        self.address = address
        self.account = account
        self._registry = registry
        self._turns = {lane: asyncio.Lock() for lane in Lane}

    async def acquire(self, lane: Lane, weight: float, *, max_wait_s: float) -> None:
        """Wait until a request may be sent, in order of arrival within its lane, and book it.

        Raises:
            RetryableError: the wait would exceed `max_wait_s`; nothing was booked.
        """
        account = self.account if lane is Lane.SUBMIT else None
        deadline_s = time.monotonic() + max_wait_s
        turn = self._turns[lane]
        try:
            async with asyncio.timeout(max_wait_s):
                await turn.acquire()
        except TimeoutError:
            raise self.refusal(max_wait_s) from None
        try:
            while (wait_s := self._registry.take(lane, weight, self.address, account)) > 0:
                if time.monotonic() + wait_s > deadline_s:
                    raise self.refusal(wait_s)
                await asyncio.sleep(wait_s)
        finally:
            turn.release()

    def refusal(self, wait_s: float) -> RetryableError:
        """Return the error that tells why nothing can be sent for `wait_s` seconds."""
        ban_left_s = self.address.ban_left_s
        if ban_left_s > 0:
            return RetryableError(self.address.ban_detail, retry_after_s=ban_left_s)
        return RetryableError(f"request limit reached; next free in {wait_s:.1f} s", retry_after_s=wait_s)
