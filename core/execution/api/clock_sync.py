"""Keeps the venue's clock measured, and says aloud when ours is wrong. Runs on the gateway's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.clock import NS_PER_MS
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import GatewayError
from core.execution.api.venue_clock import ALARM_SKEW_NS, SAMPLES, VenueClock

UNKNOWN, SKEW = "clock", "clock-skew"  # what is in trouble


class ClockSync:
    """Asks the venue for its time whenever what is known of it may be wrong.

    Args:
        clock: takes the answers.
        monitor: is told offset and alarms.
        ask: reads the venue's clock once, ns UTC; None where the venue does not tell it.
    """

    def __init__(self, clock: VenueClock, monitor: ConnectionMonitor, ask: Callable[[], Awaitable[int]] | None) -> None:
        self._clock = clock
        self._monitor = monitor
        self._ask = ask
        self._turn = asyncio.Lock()
        self._measurements = 0

    @property
    def measurements(self) -> int:
        """How many measurements were completed; to be handed to `renew`."""
        return self._measurements

    async def measure(self) -> None:
        """Ask several times.

        Raises:
            GatewayError: the venue did not answer; what was known before stays.
        """
        async with self._turn:
            await self._measure()

    async def renew(self, seen: int) -> bool:
        """Measure once more because an answer said that the time was wrong.

        Args:
            seen: `measurements` when the call was made that was refused; a later measurement is good enough.

        Returns:
            Whether the time is known now.
        """
        async with self._turn:
            if self._measurements > seen:
                return True
            self._clock.forget()
            return await self._try()

    async def follow_step(self) -> bool:
        """Measure again where the wall clock was set or the machine slept; whether the time is known then."""
        if not self._clock.has_stepped:
            return True
        if self._ask is None:
            self._clock.follow_wall()
            return True
        async with self._turn:
            return not self._clock.has_stepped or await self._try()

    async def sample(self) -> int:
        """Ask once and return the venue's time, ns UTC; where it tells none, ours.

        Raises:
            GatewayError: the venue did not answer.
        """
        if self._ask is None:
            return self._clock.now_ns()
        started_ns = self._clock.start_trip()
        venue_ns = await self._ask()
        self._clock.sample(started_ns, venue_ns)
        self.tell()
        return venue_ns

    def tell(self) -> None:
        """Publish the offset, and raise or take back the alarm."""
        if not self._clock.is_measured:
            return
        skew_ns = self._clock.skew_ns
        self._monitor.measured(clock_offset_ms=skew_ns / NS_PER_MS)
        if abs(skew_ns) > ALARM_SKEW_NS:
            off_ms = abs(skew_ns) // NS_PER_MS
            self._monitor.trouble(SKEW, f"this computer's clock is {off_ms} ms off the exchange's")
        else:
            self._monitor.recovered(SKEW)

    async def _try(self) -> bool:
        try:
            await self._measure()
        except GatewayError as exc:
            self._monitor.trouble(UNKNOWN, f"the clock offset is unknown: {exc.message}")
            return False
        self._monitor.recovered(UNKNOWN)
        return True

    async def _measure(self) -> None:
        if self._ask is None:
            return
        for _ in range(SAMPLES):
            await self.sample()
        self._measurements += 1
