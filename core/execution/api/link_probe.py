"""Finds out whether a venue answers at all, for as long as that is in doubt. Runs on the gateway's event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from core.events import ConnectionState
from core.execution.api.connection_monitor import ConnectionMonitor
from core.execution.api.gateway import GatewayError, NoAnswer
from core.execution.backoff import Backoff

PROBE_TIMEOUT_S = 3.0
PROBE_PAUSE_S = 1.0
PAUSE_GROWTH = 5.0
CANCEL_AGAIN_S = 0.5


class LinkProbe:
    """Asks a venue the cheapest question, from the first doubt until REST works.

    A link recovers by this alone: its users may have nothing to ask, or pause for long.

    Args:
        monitor: wakes this by its doubts and is told what comes of them. That an answer came is told by the client.
        ask: makes one cheap REST call.
        source: of the jitter of pauses.
        timeout_s: a venue that takes longer does not answer.
        pause_s: between two questions at first; it grows with a venue that stays away.
    """

    def __init__(
        self,
        monitor: ConnectionMonitor,
        ask: Callable[[], Awaitable[object]],
        source: random.Random,
        *,
        timeout_s: float = PROBE_TIMEOUT_S,
        pause_s: float = PROBE_PAUSE_S,
    ) -> None:
        self._monitor = monitor
        self._ask = ask
        self._timeout_s = timeout_s
        self._backoff = Backoff(source, first_s=pause_s, most_s=PAUSE_GROWTH * pause_s)
        self._doubted = asyncio.Event()
        monitor.on_doubt = self._doubted.set
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the monitor's doubts; a second call changes nothing."""
        if self._task is None:
            self._doubted.clear()
            self._task = asyncio.create_task(self._run(), name="link-probe")

    async def stop(self) -> None:
        """End it; a bug it died of surfaces here. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            while not task.done():
                task.cancel()
                # A cancel of the caller, unlike the task's own, goes through. The latter is repeated: where a request
                # times out in the same moment, the HTTP library takes back one cancel more than it made.
                await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
            if not task.cancelled():
                task.result()

    async def _run(self) -> None:
        while True:
            await self._doubted.wait()
            await self._find_out()
            self._backoff.reset()
            while not self._monitor.rest_works:
                await asyncio.sleep(self._backoff.next_s())
                await self._find_out()
            self._doubted.clear()  # the answer is newer than every doubt

    async def _find_out(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ask()
        except TimeoutError:
            self._monitor.rest(ConnectionState.OFFLINE, "the exchange does not answer")
        except NoAnswer as exc:
            self._monitor.rest(ConnectionState.OFFLINE, exc.message)
        except GatewayError:
            pass  # an answer, if an unfriendly one, or a request limit that forbids to ask now: decides nothing
