"""Tells the rest of the program how one link to a venue is doing. Runs on the gateway's event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from core.domain.orders import TradingMode
from core.events import ConnectionState, ConnectionStatus

LATENCY_INTERVAL_S = 1.0


class ConnectionMonitor:
    """Collects the state of a link and reports every change; latency alone at most once a second.

    Several streams share one link: it is DEGRADED while any of them is.
    """

    def __init__(
        self, venue: str, link: str, mode: TradingMode, callback: Callable[[ConnectionStatus], None] | None
    ) -> None:
        self._status = ConnectionStatus(venue, link, mode, ConnectionState.OFFLINE)
        self._callback = callback
        self._troubles: dict[str, tuple[ConnectionState, str]] = {}
        self._latency_told = 0.0
        self._closed = True

    @property
    def status(self) -> ConnectionStatus:
        """Newest status."""
        return self._status

    def set_state(self, state: ConnectionState, detail: str = "") -> None:
        """Set the state of the link as a whole (connect, close); forgets the troubles of streams.

        Once the link is OFFLINE its streams have no say: they are only being taken down.
        """
        self._troubles.clear()
        self._closed = state is ConnectionState.OFFLINE
        self._publish(state, detail)

    def trouble(self, source: str, state: ConnectionState, detail: str) -> None:
        """Report that one stream is silent (DEGRADED) or cut off (OFFLINE)."""
        if not self._closed:
            self._troubles[source] = (state, detail)
            self._publish_worst()

    def has_trouble(self, source: str) -> bool:
        """Return whether a stream is known to be silent or cut off."""
        return source in self._troubles

    def recovered(self, source: str) -> None:
        """Report that a stream runs (again)."""
        if self._troubles.pop(source, None) is not None:
            self._publish_worst()

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

    def _publish_worst(self) -> None:
        order = (ConnectionState.OFFLINE, ConnectionState.DEGRADED)
        worst = min(self._troubles.values(), key=lambda t: order.index(t[0]), default=(ConnectionState.ONLINE, ""))
        self._publish(*worst)

    def _publish(self, state: ConnectionState, detail: str) -> None:
        if (state, detail) != (self._status.state, self._status.detail):
            self._status = replace(self._status, state=state, detail=detail)
            self._tell()

    def _tell(self) -> None:
        if self._callback is not None:
            self._callback(self._status)
