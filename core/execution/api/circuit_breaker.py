"""Stops asking a venue that does not answer: one breaker for all links of this process to a venue's host.

Every call to a dead venue costs its whole timeout, and everybody who waits for one is late for what still works. After
some failures in a row the breaker opens: queries fail at once, new orders are refused before they are sent – surely not
processed, where a timeout would leave them ambiguous – and cancels always go through, because the one that arrives is
worth all that do not. The probes of the links try again; the first answer to any of them closes the breaker.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from enum import StrEnum

from core.execution.api.gateway import NoAnswer, RetryableError
from core.execution.error_handler import Operation

FAILURES_TO_OPEN = 5


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"  # a probe is on its way; everybody else still waits for what it finds


_CLOSED = frozenset({BreakerState.CLOSED})
_PROBED = frozenset({BreakerState.HALF_OPEN})
_NOT_CLOSED = frozenset({BreakerState.OPEN, BreakerState.HALF_OPEN})


class VenueBreaker:
    """Whether calls to one host of a venue pass, for all links of this process to it.

    Any thread: links run on loops of different threads. One lock guards the state, and nobody is told while it is held:
    a link is told on its own loop, and looks then what holds, so that news which overtake each other do no harm.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[CircuitBreaker, asyncio.AbstractEventLoop] = {}
        self.state = BreakerState.CLOSED

    def join(self, link: CircuitBreaker) -> None:
        """Tell a link on its running loop from now on. The first one begins closed: no probe is left to close it."""
        with self._lock:
            if not self._links:
                self.state = BreakerState.CLOSED
            self._links[link] = asyncio.get_running_loop()

    def leave(self, link: CircuitBreaker) -> None:
        """Tell a link nothing any more; idempotent."""
        with self._lock:
            self._links.pop(link, None)

    def turn(self, before: frozenset[BreakerState], after: BreakerState, by: CircuitBreaker) -> bool:
        """Change the state where it is one of `before`, and tell everybody whether calls pass, `by` at once.

        Returns:
            Whether it was.
        """
        with self._lock:
            if self.state not in before:
                return False
            is_news = (self.state is BreakerState.CLOSED) is not (after is BreakerState.CLOSED)
            self.state = after
            others = [(link, loop) for link, loop in self._links.items() if link is not by]
        if is_news:
            by.hear()
            for link, loop in others:
                with contextlib.suppress(RuntimeError):  # its loop has ended without closing the link
                    loop.call_soon_threadsafe(link.hear)
        return True


class CircuitBreaker:
    """One link's part: counts its failures in a row, no answer at all or HTTP 5xx. Runs on the link's event loop.

    Each link counts for itself, because charts that are served say nothing of orders that are not; where one has
    seen enough, all hold back.

    Args:
        on_change: told True when it opens and False when it closes.
        venue: shared with the other links to the venue; one of its own where None.
        failures_to_open: in a row.
    """

    def __init__(
        self,
        on_change: Callable[[bool], None],
        venue: VenueBreaker | None = None,
        *,
        failures_to_open: int = FAILURES_TO_OPEN,
    ) -> None:
        self._on_change = on_change
        self._venue = venue or VenueBreaker()
        self._failures_to_open = failures_to_open
        self._failures = 0

    @property
    def state(self) -> BreakerState:
        """Whether calls to the venue pass."""
        return self._venue.state

    def join(self) -> None:
        """Begin to be told: the link is being opened."""
        self._failures = 0
        self._venue.join(self)

    def leave(self) -> None:
        """Cease to be told: the link is closed; idempotent."""
        self._venue.leave(self)

    def admit(self, operation: Operation, *, is_probe: bool = False) -> None:
        """Let a call through, or refuse it before anything is sent.

        Raises:
            NoAnswer: a query; the venue would not answer it either.
            RetryableError: a submit; surely not processed.
        """
        if self.state is BreakerState.CLOSED or operation is Operation.CANCEL:
            return
        if is_probe:
            self._venue.turn(_NOT_CLOSED, BreakerState.HALF_OPEN, self)
        elif operation is Operation.SUBMIT:
            raise RetryableError("the exchange does not answer; the order was not sent")
        else:
            raise NoAnswer("the exchange does not answer")

    def succeeded(self) -> None:
        """Note an answer, whatever it said."""
        self._failures = 0
        self._venue.turn(_NOT_CLOSED, BreakerState.CLOSED, self)

    def failed(self) -> None:
        """Note a call without an answer, or one that only says that the venue is in trouble."""
        self._failures += 1
        if not self._venue.turn(_PROBED, BreakerState.OPEN, self) and self._failures >= self._failures_to_open:
            self._venue.turn(_CLOSED, BreakerState.OPEN, self)

    def hear(self) -> None:
        """Pass on what holds for the venue now."""
        is_open = self.state is not BreakerState.CLOSED
        if not is_open:
            self._failures = 0
        self._on_change(is_open)
