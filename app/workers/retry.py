"""Trying again after trouble that can pass. Runs on a worker's loop.

What a venue refuses for good, such as a wrong key, does not pass: asking on would only get the address banned. There a
person has to act, and says when to try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from core.errors import UserError
from core.execution.api.gateway import FatalGatewayError, GatewayError

log = logging.getLogger(__name__)

PAUSES_S = (2.0, 5.0, 10.0, 30.0)  # the last one repeats


def needs_person(trouble: BaseException) -> bool:
    """Return whether a venue refused for good, itself or as the cause of what was said."""
    current: BaseException | None = trouble
    while current is not None:
        if isinstance(current, FatalGatewayError):
            return True
        current = current.__cause__
    return False


def _as_user_error(error: GatewayError) -> UserError:
    told = UserError(error.message)
    told.__cause__ = error
    return told


class Retry:
    """Repeats an attempt until it ends by itself, with growing pauses after trouble a person or time can repair.

    Args:
        pauses_s: seconds before the second attempt, the third …; the last one repeats.
        waits_for_person: whether to wait for `now` after a refusal for good, however long that takes.
    """

    def __init__(self, pauses_s: tuple[float, ...] = PAUSES_S, *, waits_for_person: bool = False) -> None:
        self._pauses = pauses_s
        self._waits_for_person = waits_for_person
        self._number = 0
        self._told = ""
        self._now = asyncio.Event()

    def succeeded(self) -> None:
        """Begin again with the shortest pause and tell the next trouble even if it is the same."""
        self._number, self._told = 0, ""

    def now(self) -> None:
        """Try now instead of after the pause, or at last where a person was waited for."""
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
                trouble = exc if isinstance(exc, UserError) else _as_user_error(exc)
                waits = self._waits_for_person and needs_person(exc)
            log.warning("%s: %s", "waiting for a person" if waits else "trying again", trouble)
            if waits:
                self._told = ""  # a person who tries in vain is told so, each time
            if str(trouble) != self._told:
                self._told = str(trouble)
                tell(trouble)
            pause = None if waits else self._pauses[min(self._number, len(self._pauses) - 1)]
            self._number += 1
            self._now.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), pause)
