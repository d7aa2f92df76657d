"""Trying again after trouble that can pass. Runs on a worker's loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from core.errors import UserError
from core.execution.api.gateway import GatewayError

log = logging.getLogger(__name__)

PAUSES_S = (2.0, 5.0, 10.0, 30.0)  # the last one repeats


class Retry:
    """Repeats an attempt until it ends by itself, with growing pauses after trouble a person or time can repair.

    Args:
        pauses_s: seconds before the second attempt, the third …; the last one repeats.
    """

    def __init__(self, pauses_s: tuple[float, ...] = PAUSES_S) -> None:
        self._pauses = pauses_s
        self._number = 0
        self._told = ""
        self._now = asyncio.Event()

    def succeeded(self) -> None:
        """Begin again with the shortest pause and tell the next trouble even if it is the same."""
        self._number, self._told = 0, ""

    def now(self) -> None:
        """Try now instead of after the pause."""
        self._now.set()

    async def run(self, attempt: Callable[[], Awaitable[None]], tell: Callable[[UserError], None]) -> None:
        """Run `attempt` until it returns.

        Args:
            attempt: calls `succeeded` once things work.
            tell: told of trouble; the same trouble again is no news.

        Raises:
            Exception: whatever else `attempt` raises is a bug.
        """
        while True:
            try:
                await attempt()
                return
            except (UserError, GatewayError) as exc:
                trouble = exc if isinstance(exc, UserError) else UserError(exc.message)
            log.warning("trying again: %s", trouble)
            if str(trouble) != self._told:
                self._told = str(trouble)
                tell(trouble)
            pause = self._pauses[min(self._number, len(self._pauses) - 1)]
            self._number += 1
            self._now.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), pause)
