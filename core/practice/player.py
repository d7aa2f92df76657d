"""Market time: how it follows wall time, and the lockstep that lets a client set the pace. Exchange's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from core.errors import UserError
from core.practice.bars import floor_open, interval_name
from core.practice.exchange import Exchange
from core.practice.streams import StreamHub

_PERIOD_S: Final = 0.05
_SAVE_MS: Final = 5_000
_BURST_PERIOD_S: Final = 0.01


class Timeline:
    """Market time as a function of wall time: `speed` market seconds per wall second, never ahead of the wall."""

    def __init__(self, market_ms: int, wall_ms: int, speed: float) -> None:
        self._market_ms = market_ms
        self._wall_ms = wall_ms
        self._speed = speed

    @property
    def speed(self) -> float:
        """Market seconds per wall second."""
        return self._speed

    def at(self, wall_ms: int) -> int:
        """Return the market time at a wall time."""
        return min(wall_ms, self._market_ms + int((wall_ms - self._wall_ms) * self._speed))

    def set_speed(self, speed: float, market_ms: int, wall_ms: int) -> None:
        """Go on from `market_ms` at another speed."""
        self._market_ms, self._wall_ms, self._speed = market_ms, wall_ms, speed


def parse_speed(text: str) -> float | None:
    """Read a speed: a positive factor, or "max" (None) for lockstep.

    Raises:
        UserError: it is neither.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1_000_000:
        raise UserError(f"The speed {text!r} is not understood.", "Give a factor such as 1 or 60, or max for lockstep.")
    return speed


class Player:
    """Drives the exchange through market time."""

    def __init__(
        self,
        exchange: Exchange,
        hub: StreamHub,
        server_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        speed: float | None,
        gate_ms: int | None = None,
    ) -> None:
        """Prepare to play from the exchange's market time.

        Args:
            exchange: the market.
            hub: sends what is due.
            server_ms: the server's clock, stamped on what happens.
            wall_ms: wall time, which market time follows; the two differ where a fault shifts the server's clock.
            speed: market seconds per wall second; None for lockstep.
            gate_ms: length of the bar at whose close lockstep waits; the source's own by default.
        """
        self._exchange = exchange
        self._hub = hub
        self._server_ms = server_ms
        self._wall_ms = wall_ms
        self._gate_ms = gate_ms or exchange.source.base_ms
        self._timeline = Timeline(exchange.market_ms, wall_ms(), speed or 1.0)
        self.lockstep = speed is None
        self._saved_ms = wall_ms()
        self._bursts: set[asyncio.Task[None]] = set()

    @property
    def speed(self) -> float:
        """Market seconds per wall second; infinite in lockstep is reported as 0."""
        return 0.0 if self.lockstep else self._timeline.speed

    @property
    def gate_ms(self) -> int:
        """Length of the lockstep bar."""
        return self._gate_ms

    @property
    def last_closed_ms(self) -> int | None:
        """Open time of the last closed lockstep bar; None before the first."""
        open_ms = floor_open(self._exchange.cell_open_ms, self._gate_ms)
        symbol = next(iter(self._exchange.specs))
        rows = self._exchange.klines(symbol, self._gate_ms, None, open_ms - 1, 1)
        return int(rows[-1, 0]) if len(rows) else None

    def acknowledge(self, symbol: str, interval: str, open_ms: int) -> bool:
        """Play the next bar; a stale or foreign acknowledgement changes nothing and returns False."""
        fits = symbol in self._exchange.specs and interval == interval_name(self._gate_ms)
        if not (self.lockstep and fits and open_ms == self.last_closed_ms) or self._exchange.finished:
            return False
        self._play_bar(self._server_ms())
        return True

    def set_speed(self, speed: float | None) -> None:
        """Change the pace; None means lockstep."""
        self.lockstep = speed is None
        self._timeline.set_speed(speed or 1.0, self._exchange.market_ms, self._wall_ms())

    def rebase(self) -> None:
        """Continue from the exchange's own market time."""
        self.set_speed(None if self.lockstep else self._timeline.speed)

    def step(self) -> None:
        """Advance the market to where it should be now and send what is due."""
        now = self._wall_ms()
        if not self.lockstep:
            self._exchange.advance(self._timeline.at(now), self._server_ms())
        self._hub.tick()
        if now - self._saved_ms >= _SAVE_MS:
            self._saved_ms = now
            self._exchange.save_clock()

    async def run(self) -> None:
        """Play until cancelled."""
        while True:
            self.step()
            for task in [task for task in self._bursts if task.done()]:
                self._bursts.discard(task)
                task.result()  # a burst that failed ends the market as a failed step does
            await asyncio.sleep(_PERIOD_S)

    def burst(self, symbol: str, rate: float, seconds: float) -> None:
        """Add `rate` market trades per wall second for `seconds`."""
        self._bursts.add(asyncio.get_running_loop().create_task(self._burst(symbol, rate, seconds)))

    async def close(self, *, save: bool = True) -> None:
        """Stop bursts and, unless storing has failed before, store the clock."""
        for task in list(self._bursts):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if save:
            self._exchange.save_clock()

    async def _burst(self, symbol: str, rate: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        start, sent, total = loop.time(), 0, int(rate * seconds)
        while sent < total:
            due = min(total, int((loop.time() - start) * rate) + 1)
            for number in range(sent, due):
                self._exchange.extra_trade(symbol, number % 2 == 0, 1 + number % 7, self._server_ms())
            sent = due
            await asyncio.sleep(_BURST_PERIOD_S)

    def _play_bar(self, now: int) -> None:
        """Play the rest of the bar, close it and stop at the opening trade of the next one."""
        opened = floor_open(self._exchange.cell_open_ms, self._gate_ms)
        while not self._exchange.finished and floor_open(self._exchange.cell_open_ms, self._gate_ms) == opened:
            self._exchange.close_bar(now)
        self._hub.tick(force_bars=True)
