"""Stops asking a venue that does not answer. Runs on the gateway's event loop.

Every call to a dead venue costs its whole timeout, and everybody who waits for one is late for what still works. After
some failures in a row the breaker opens: queries fail at once, new orders are refused before they are sent – surely not
processed, where a timeout would leave them ambiguous – and cancels always go through, because the one that arrives is
worth all that do not. The probe of the link tries again; its first answer closes the breaker.
"""

from __future__ import annotations

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


class CircuitBreaker:
    """Counts failures in a row: no answer at all, or HTTP 5xx.

    Args:
        on_change: told True when it opens and False when it closes.
        failures_to_open: in a row.
    """

    def __init__(self, on_change: Callable[[bool], None], *, failures_to_open: int = FAILURES_TO_OPEN) -> None:
        self._on_change = on_change
        self._failures_to_open = failures_to_open
        self._failures = 0
        self.state = BreakerState.CLOSED

    def admit(self, operation: Operation, *, is_probe: bool = False) -> None:
        """Let a call through, or refuse it before anything is sent.

        Raises:
            NoAnswer: a query; the venue would not answer it either.
            RetryableError: a submit; surely not processed.
        """
        if self.state is BreakerState.CLOSED or operation is Operation.CANCEL:
            return
        if is_probe:
            self.state = BreakerState.HALF_OPEN
        elif operation is Operation.SUBMIT:
            raise RetryableError("the exchange does not answer; the order was not sent")
        else:
            raise NoAnswer("the exchange does not answer")

    def succeeded(self) -> None:
        """Note an answer, whatever it said."""
        self._failures = 0
        if self.state is not BreakerState.CLOSED:
            self.state = BreakerState.CLOSED
            self._on_change(False)

    def failed(self) -> None:
        """Note a call without an answer, or one that only says that the venue is in trouble."""
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
        elif self.state is BreakerState.CLOSED and self._failures >= self._failures_to_open:
            self.state = BreakerState.OPEN
            self._on_change(True)

    def reset(self) -> None:
        """Forget everything: the link is being opened anew."""
        self._failures = 0
        self.state = BreakerState.CLOSED
