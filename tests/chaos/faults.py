"""What goes wrong on the way: one-shot faults per kind of request, lags, and latencies. World side of the simulation.

Every fault is armed by a step of the schedule and taken by the next request of its lane, so a schedule that loses a
step keeps the meaning of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

# Lanes of requests; "stream" are single frames of the account stream, "commit" the journal's commits.
LANES = ("submit", "cancel", "cancel_all", "order", "open", "trades", "balances", "time", "ticker", "subscribe")
LAGGING = ("order", "open", "trades")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong once.

    Attributes:
        kind: refused (never sent), lost, ack_lost, late, slow, throttled, busy, stale, reject, fatal, error (5xx before
            processing), error_done (5xx after it); on the stream: drop, twice, delay.
        seconds: when the client notices (lost, ack_lost, late), or how long it takes (slow, throttled, delay).
        arrives_s: when a late request reaches the venue.
    """

    kind: str
    seconds: float = 0.0
    arrives_s: float = 0.0


@dataclass(slots=True)
class FaultPlan:
    """Armed faults and lags.

    Attributes:
        now: the world's time, seconds.
        jitter: seed of the latencies; 0 makes them constant.
    """

    now: Callable[[], float]
    jitter: int = 0
    _armed: dict[str, deque[Fault]] = field(default_factory=dict)
    _lags: dict[str, tuple[float, float]] = field(default_factory=dict)  # lane -> (seconds, until)
    _drawn: int = 0

    def arm(self, lane: str, fault: Fault, count: int = 1) -> None:
        """Let the next `count` requests of a lane meet a fault."""
        self._armed.setdefault(lane, deque()).extend([fault] * count)

    def take(self, lane: str) -> Fault | None:
        """Return the fault that this request meets."""
        armed = self._armed.get(lane)
        return armed.popleft() if armed else None

    def lag(self, lane: str, seconds: float, for_s: float) -> None:
        """Let the answers of a lane be `seconds` old for the next `for_s`."""
        self._lags[lane] = (seconds, self.now() + for_s)

    def lag_of(self, lane: str) -> float:
        """Return how old the answers of a lane are now."""
        seconds, until = self._lags.get(lane, (0.0, 0.0))
        return seconds if self.now() < until else 0.0

    def latency(self) -> float:
        """Return the next one-way latency, seconds."""
        if not self.jitter:
            return 0.01
        self._drawn += 1
        mixed = (self._drawn * 0x9E3779B97F4A7C15 + self.jitter * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 31)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        share = (mixed >> 40) / (1 << 24)
        return 0.001 + 0.25 * share**3

    def clear(self) -> None:
        """Let everything work from now on."""
        self._armed.clear()
        self._lags.clear()
