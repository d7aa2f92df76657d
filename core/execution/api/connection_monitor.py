"""Decides how one link to a venue is doing. Runs on the gateway's event loop.

Others report facts – REST answers or not, a stream runs or not – and nobody but this decides what they amount to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from core.domain.orders import TradingMode
from core.events import ConnectionState, ConnectionStatus

LATENCY_INTERVAL_S = 1.0
SILENT = "the exchange does not answer"


class ConnectionMonitor:
    """Makes the state of a link out of facts and reports every change; latency alone at most once a second.

    OFFLINE while nothing reaches the venue: the link is closed, or REST is not answered. DEGRADED while REST answers
    but anything else is in trouble. ONLINE while neither is the case.

    Attributes:
        on_doubt: called whenever something hints that REST might not answer any more; whoever finds out tells `rest`.
    """

    def __init__(
        self, venue: str, link: str, mode: TradingMode, callback: Callable[[ConnectionStatus], None] | None
    ) -> None:
        self._status = ConnectionStatus(venue, link, mode, ConnectionState.OFFLINE)
        self._callback = callback
        self.on_doubt: Callable[[], None] = _nobody_asks
        self._open = False
        self._is_held = False
        self._rest = (ConnectionState.ONLINE, "")
        self._troubles: dict[str, str] = {}
        self._latency_told = 0.0

    @property
    def status(self) -> ConnectionStatus:
        """Newest status."""
        return self._status

    @property
    def rest_works(self) -> bool:
        """Whether REST is not known to fail and nothing is held back until it answers."""
        return self._rest[0] is ConnectionState.ONLINE and not self._is_held

    def connecting(self) -> None:
        """Report that the link is being opened; what was known of it no longer counts."""
        self._forget(is_open=False)
        self._publish(ConnectionState.CONNECTING, "")

    def opened(self) -> None:
        """Report that the link is open; from now on facts count."""
        self._forget(is_open=True)
        self._decide()

    def closed(self, detail: str = "") -> None:
        """Report that the link is closed or could not be opened; its streams are only being taken down."""
        self._forget(is_open=False)
        self._publish(ConnectionState.OFFLINE, detail)

    def rest(self, state: ConnectionState, detail: str = "") -> None:
        """Report how REST does: ONLINE, OFFLINE (no answer at all) or DEGRADED (answers, but serves nobody)."""
        if self._open:
            self._rest = (state, detail)
            self._decide()

    def doubt(self) -> None:
        """Report that a request was not answered. One may be lost by chance, so this alone decides nothing."""
        if self._open:
            self.on_doubt()

    def trouble(self, source: str, detail: str) -> None:
        """Report that something over the link does not work, such as a stream. Its first detail is kept."""
        if self._open:
            self._troubles.setdefault(source, detail)
            self._decide()
            self.on_doubt()  # what took the stream down may have taken the venue

    def recovered(self, source: str) -> None:
        """Report that a troubled source works again, or is no longer wanted."""
        if self._troubles.pop(source, None) is not None:
            self._decide()

    def hold(self, is_held: bool) -> None:
        """Report that calls are held back until the venue answers again (the circuit breaker is open), or not."""
        self._is_held = is_held
        if self._open:
            self._decide()

    def measured(self, *, latency_ms: float | None = None, clock_offset_ms: float | None = None) -> None:
        """Take a round-trip time or a clock offset."""
        if latency_ms is not None:
            self._status = replace(self._status, latency_ms=latency_ms)
        if clock_offset_ms is not None:
            self._status = replace(self._status, clock_offset_ms=clock_offset_ms)
        now = time.monotonic()
        if clock_offset_ms is not None or now - self._latency_told >= LATENCY_INTERVAL_S:
            self._latency_told = now
            self._tell()

    def _forget(self, *, is_open: bool) -> None:
        self._open = is_open
        self._is_held = False
        self._rest = (ConnectionState.ONLINE, "")
        self._troubles.clear()

    def _decide(self) -> None:
        rest, detail = self._rest
        if rest is ConnectionState.ONLINE and self._troubles:
            rest, detail = ConnectionState.DEGRADED, next(iter(self._troubles.values()))
        if self._is_held:
            rest = ConnectionState.DEGRADED if rest is ConnectionState.ONLINE else rest
            detail = f"{detail or SILENT}; no new order is sent until it answers"
        self._publish(rest, detail)

    def _publish(self, state: ConnectionState, detail: str) -> None:
        if (state, detail) != (self._status.state, self._status.detail):
            self._status = replace(self._status, state=state, detail=detail)
            self._tell()

    def _tell(self) -> None:
        if self._callback is not None:
            self._callback(self._status)


def _nobody_asks() -> None:
    """Stand in until somebody can find out."""
