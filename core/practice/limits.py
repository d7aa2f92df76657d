"""The request limits that `exchangeInfo` announces, counted and enforced. Event-loop thread of the exchange; no I/O.

Intervals are those of the clock: a minute, ten seconds, a day in UTC. An order counts until it first trades.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.errors import UserError
from core.practice.orders import OrderEvent, Rejection

_PATIENCE: Final = 20  # refusals in one interval that a client may ignore before it is banned
_SHORTEST_BAN_MS: Final = 120_000
_LONGEST_BAN_MS: Final = 3 * 86_400_000
_MAKER_CREDIT: Final = 5  # the venue takes back more for an order that waited before it traded


@dataclass(slots=True)
class _Window:
    """One announced limit and what was used of it in the present interval."""

    kind: str
    interval: str
    number: int
    length_ms: int
    base: int
    header: str
    limit: int = 0
    used: int = 0
    begun_ms: int = 0

    def at(self, now_ms: int) -> _Window:
        """Begin a new interval where the old one is over."""
        begun = now_ms - now_ms % self.length_ms
        if begun != self.begun_ms:
            self.begun_ms, self.used = begun, 0
        return self

    def left_s(self, now_ms: int) -> int:
        """Return the seconds until the interval ends, rounded up."""
        return max(1, math.ceil((self.begun_ms + self.length_ms - now_ms) / 1_000))

    def row(self) -> dict[str, Any]:
        """Return the limit as `exchangeInfo` announces it."""
        return {
            "rateLimitType": self.kind,
            "interval": self.interval,
            "intervalNum": self.number,
            "limit": self.limit,
        }


def parse_limits(text: str) -> float | None:
    """Read a factor of the venue's limits; "off" is None.

    Raises:
        UserError: it is neither.
    """
    if text == "off":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0.0001 <= factor <= 1_000_000:
        raise UserError(f"The limits {text!r} are not understood.", "Give a factor such as 1 or 100, or off.")
    return factor


class RequestLimits:
    """Counts what one client uses; every client of this machine is the same one."""

    def __init__(self, now_ms: Callable[[], int], factor: float | None = 1.0) -> None:
        """Begin to count.

        Args:
            now_ms: wall time.
            factor: of the venue's own limits; None enforces none.
        """
        self._now_ms = now_ms
        self._weight = _Window("REQUEST_WEIGHT", "MINUTE", 1, 60_000, 6_000, "X-MBX-USED-WEIGHT-1M")
        self._orders = (
            _Window("ORDERS", "SECOND", 10, 10_000, 100, "X-MBX-ORDER-COUNT-10S"),
            _Window("ORDERS", "DAY", 1, 86_400_000, 200_000, "X-MBX-ORDER-COUNT-1D"),
        )
        self._ignored = 0
        self._refused_ms = 0
        self._ban_ms = _SHORTEST_BAN_MS
        self.set_factor(factor)

    def set_factor(self, factor: float | None) -> None:
        """Change the limits, forget what was used and lift a ban."""
        self.factor = factor
        for window in self._windows:
            window.limit = max(1, int(window.base * (1.0 if factor is None else factor)))
            window.used = 0
        self.banned_until_ms = 0
        self._ignored = 0

    @property
    def _windows(self) -> tuple[_Window, ...]:
        return (self._weight, *self._orders)

    def announced(self) -> list[dict[str, Any]]:
        """Return what is in force, in the shape of `exchangeInfo`."""
        return [] if self.factor is None else [window.row() for window in self._windows]

    def counted(self, *, orders: bool) -> list[dict[str, Any]]:
        """Return what is in force with what was used of it, as the WebSocket API tells it with every answer."""
        if self.factor is None:
            return []
        now = self._now_ms()
        chosen = self._windows if orders else (self._weight,)
        return [{**window.row(), "count": window.at(now).used} for window in chosen]

    def headers(self, *, orders: bool) -> dict[str, str]:
        """Return what was used, as REST tells it with every answer; nothing where nothing is limited."""
        if self.factor is None:
            return {}
        now = self._now_ms()
        chosen = self._windows if orders else (self._weight,)
        return {window.header: str(window.at(now).used) for window in chosen}

    def charge(self, weight: int) -> None:
        """Count a request.

        Raises:
            Rejection: too many (429), or banned for going on regardless (418).
        """
        now = self._now_ms()
        if self.factor is None:
            self._weight.at(now).used += weight
            return
        self.check_ban()
        window = self._weight.at(now)
        window.used += weight
        if window.used > window.limit:
            words = f"current limit is {window.limit} request weight per 1 MINUTE"
            self._refuse(-1003, f"Too much request weight used; {words}. Please use WebSocket Streams.", window, now)

    def check_ban(self) -> None:
        """Refuse everything while banned.

        Raises:
            Rejection: 418.
        """
        now = self._now_ms()
        if now < self.banned_until_ms:
            raise self._banned(now)

    def admit_order(self) -> None:
        """Check that one more order may be placed.

        Raises:
            Rejection: -1015.
        """
        now = self._now_ms()
        for window in self._orders:
            if self.factor is not None and window.at(now).used >= window.limit:
                words = f"current limit is {window.limit} orders per {window.number} {window.interval}"
                self._refuse(-1015, f"Too many new orders; {words}.", window, now)

    def order_placed(self) -> None:
        """Count an order."""
        self._count_orders(1)

    def order_refused(self) -> None:
        """Take back an order that was counted and not accepted."""
        self._count_orders(-1)

    def _count_orders(self, number: int) -> None:
        now = self._now_ms()
        for window in self._orders:
            window.at(now).used = max(0, window.used + number)

    def orders_changed(self, events: Sequence[OrderEvent]) -> None:
        """Take back orders that traded for the first time."""
        for event in events:
            if event.fill is not None and event.order.executed == event.fill.quantity:
                self._count_orders(-_MAKER_CREDIT if event.fill.is_maker else -1)

    def _refuse(self, code: int, message: str, window: _Window, now: int) -> None:
        """Refuse with 429; who goes on regardless is banned, each time twice as long."""
        if self._refused_ms != window.begun_ms:
            self._refused_ms, self._ignored = window.begun_ms, 0
        self._ignored += 1
        if self._ignored > _PATIENCE:
            self._ignored = 0
            self.banned_until_ms = now + self._ban_ms
            self._ban_ms = min(2 * self._ban_ms, _LONGEST_BAN_MS)
            raise self._banned(now)
        raise Rejection(code, message, 429, window.left_s(now))

    def _banned(self, now: int) -> Rejection:
        return banned(self.banned_until_ms, max(1, math.ceil((self.banned_until_ms - now) / 1_000)))


def banned(until_ms: int, retry_s: int) -> Rejection:
    """Return the venue's refusal of a client that went too far."""
    words = f"Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams."
    return Rejection(-1003, words, 418, retry_s)
