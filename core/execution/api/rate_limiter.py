"""Keeps a venue's request limits: weighted token buckets. Runs on one event loop; not thread-safe.

A share of the budget is kept for urgent calls, so that a busy chart can never delay a cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.execution.api.gateway import RetryableError


class RateLimiter:
    """A bucket of `capacity` tokens refilled evenly over `period_s`.

    Attributes:
        available: tokens now.
    """

    def __init__(
        self,
        capacity: float,
        period_s: float,
        *,
        reserve: float = 0.0,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Start full.

        Args:
            capacity: tokens per period.
            period_s: seconds in which an empty bucket fills.
            reserve: tokens only urgent calls may use.
            now: monotonic seconds; the running loop's clock where None.
        """
        if capacity <= 0 or period_s <= 0 or not 0 <= reserve < capacity:
            raise ValueError(f"invalid limit: {capacity} per {period_s} s, reserve {reserve}")
        self._capacity = capacity
        self._rate = capacity / period_s
        self._reserve = reserve
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._tokens = capacity
        self._updated: float | None = None
        self._paused_until = 0.0
        self._turn = asyncio.Lock()

    @property
    def available(self) -> float:
        """Tokens now."""
        self._refill()
        return self._tokens

    async def acquire(self, weight: float, *, urgent: bool = False, max_wait_s: float = 30.0) -> None:
        """Take `weight` tokens, waiting for them in order of arrival; urgent calls do not queue behind others.

        Raises:
            RetryableError: the wait would exceed `max_wait_s`; nothing was taken.
        """
        if urgent:
            await self._take(weight, 0.0, max_wait_s)
            return
        async with self._turn:
            await self._take(weight, self._reserve, max_wait_s)

    def pause(self, seconds: float) -> None:
        """Let nothing pass for `seconds`: the venue asked for it."""
        self._paused_until = max(self._paused_until, self._now() + seconds)

    async def _take(self, weight: float, floor: float, max_wait_s: float) -> None:
        need = min(weight, self._capacity - floor)  # a single call above the whole budget waits for a full bucket
        deadline = self._now() + max_wait_s
        while (wait := self._wait_s(need, floor)) > 0:
            if self._now() + wait > deadline:
                raise RetryableError(f"request limit reached; next free in {wait:.1f} s", retry_after_s=wait)
            await asyncio.sleep(wait)
        self._tokens -= need

    def _wait_s(self, need: float, floor: float) -> float:
        self._refill()
        paused = self._paused_until - self._now()
        missing = need + floor - self._tokens
        return max(paused, missing / self._rate if missing > 1e-9 else 0.0)

    def _refill(self) -> None:
        now = self._now()
        if self._updated is not None:
            self._tokens = min(self._capacity, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
