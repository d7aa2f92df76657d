"""The armed faults of the practice exchange: which of them strike now. Event-loop thread of the exchange; no I/O.

Chance is seeded: the same rules, seed and sequence of occasions give the same faults. Every rule draws from a generator
of its own, so that another rule beside it changes nothing; only windows of time depend on the clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final

from core.practice.fault_rules import Aim, FaultRule, FaultSpec

USER_PREFIX: Final = "user@"
_FATES: Final = ("drop", "duplicate", "reorder", "late", "cut")
_FOREVER_S: Final = 120


class Lost(Enum):
    """How an answer fails to come."""

    CUT = "cut"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens to one request at one point of its way.

    Attributes:
        delay_ms: wait so long first.
        error: the rule whose error is the answer.
        lost: no answer comes.
    """

    delay_ms: int = 0
    error: FaultRule | None = None
    lost: Lost | None = None


@dataclass(frozen=True, slots=True)
class Closure:
    """The whole server refuses: banned (418) or under maintenance (503), for so many seconds more."""

    status: int
    retry_s: int


NO_STRIKE: Final = Strike()


@dataclass(slots=True)
class _Armed:
    """A rule at work: its number, its chance, and how often it met an occasion and fired."""

    number: int
    rule: FaultRule
    since_ms: int
    chance: random.Random
    met: int = 0
    fired: int = 0

    def active(self, now_ms: int) -> bool:
        """Whether its window of time is open."""
        age = now_ms - self.since_ms - self.rule.starts_ms
        return age >= 0 and (self.rule.lasts_ms is None or age < self.rule.lasts_ms)

    def left_ms(self, now_ms: int) -> int | None:
        """Return how long its window stays open."""
        rule = self.rule
        return None if rule.lasts_ms is None else self.since_ms + rule.starts_ms + rule.lasts_ms - now_ms

    def spent(self) -> bool:
        """Whether it has fired as often as it may."""
        return self.rule.times is not None and self.fired >= self.rule.times

    def fires(self, now_ms: int) -> bool:
        """Meet one occasion."""
        if not self.active(now_ms) or self.spent():
            return False
        self.met += 1
        if self.met <= self.rule.skip:
            return False
        if self.rule.probability < 1 and self.chance.random() >= self.rule.probability:
            return False
        self.fired += 1
        return True

    def to_json(self, now_ms: int) -> dict[str, Any]:
        """Return the rule with its counters."""
        state = {"active": self.active(now_ms) and not self.spent(), "met": self.met, "fired": self.fired}
        return {"id": self.number, "spec": self.rule.text(), **self.rule.to_json(), **state}


@dataclass(slots=True)
class FaultPlan:
    """Every armed fault.

    Attributes:
        now_ms: a clock that never jumps, ms.
    """

    now_ms: Callable[[], int]
    _armed: list[_Armed] = field(default_factory=list)
    _next: int = 1
    _hidden: dict[tuple[str, int], int] = field(default_factory=dict)
    _frames: bool = False
    _skews: bool = False

    def arm(self, spec: FaultSpec) -> None:
        """Add faults to those armed already."""
        now = self.now_ms()
        for rule in spec.rules:
            chance = random.Random(f"{spec.seed}/{self._next}/{rule.text()}")
            self._armed.append(_Armed(self._next, rule, now, chance))
            self._next += 1
        self._sort()

    def clear(self, number: int | None = None) -> bool:
        """Disarm one fault or all; returns whether there was one. After all are gone numbers begin anew."""
        before = len(self._armed)
        self._armed = [armed for armed in self._armed if number is not None and armed.number != number]
        if number is None:
            self._next = 1
            self._hidden.clear()
        self._sort()
        return len(self._armed) < before

    def _sort(self) -> None:
        """Note what the busiest paths need to know."""
        self._frames = any(armed.rule.aim is Aim.FRAMES for armed in self._armed)
        self._skews = any(armed.rule.kind == "skew" for armed in self._armed)

    def to_json(self) -> dict[str, Any]:
        """Return what is armed and how often each fired."""
        now = self.now_ms()
        return {"faults": [armed.to_json(now) for armed in self._armed], "skew_ms": self.skew_ms()}

    # --- the server -------------------------------------------------------------------------------------------

    def skew_ms(self) -> int:
        """Return by how much the server's clock is wrong."""
        if not self._skews:
            return 0
        now = self.now_ms()
        return sum(armed.rule.ms for armed in self._of("skew") if armed.active(now))

    def closure(self) -> Closure | None:
        """Return why the server serves nobody now, if it does not; counts one refusal."""
        now = self.now_ms()
        for kind, status in (("ban", 418), ("maintenance", 503)):
            for armed in self._of(kind):
                if armed.active(now):
                    armed.met += 1
                    armed.fired += 1
                    left = armed.left_ms(now)
                    return Closure(status, _FOREVER_S if left is None else max(1, -(-left // 1_000)))
        return None

    # --- requests ---------------------------------------------------------------------------------------------

    def before(self, operation: str) -> Strike:
        """Return what happens to a request before it is carried out."""
        return self._strike(operation, after=False)

    def after(self, operation: str) -> Strike:
        """Return what happens to the answer of a request that was carried out."""
        return self._strike(operation, after=True)

    def _strike(self, operation: str, *, after: bool) -> Strike:
        now, delay = self.now_ms(), 0
        for armed in self._of("delay", "lost-ack" if after else "lost", "error"):
            rule = armed.rule
            if (rule.kind in ("delay", "error") and rule.after != after) or not _named(rule, operation):
                continue
            if not armed.fires(now):
                continue
            if rule.kind == "delay":
                delay += rule.ms
            elif rule.kind == "error":
                return Strike(delay, error=rule)
            else:
                return Strike(delay, lost=Lost.SILENT if rule.silent else Lost.CUT)
        return Strike(delay) if delay else NO_STRIKE

    def accepted(self, order_id: int) -> None:
        """Decide from which queries an order just accepted stays hidden, and for how long."""
        now = self.now_ms()
        self._hidden = {key: until for key, until in self._hidden.items() if until > now}
        for armed in self._of("lag"):
            if armed.fires(now):
                for operation in armed.rule.targets:
                    key = (operation, order_id)
                    self._hidden[key] = max(self._hidden.get(key, 0), now + armed.rule.ms)

    def hides(self, operation: str, order_id: int) -> bool:
        """Return whether a query does not know an order yet."""
        if not self._hidden:
            return False
        until = max(self._hidden.get((operation, order_id), 0), self._hidden.get(("*", order_id), 0))
        return until > self.now_ms()

    # --- frames -----------------------------------------------------------------------------------------------

    def frame(self, name: str) -> FaultRule | None:
        """Return what befalls a frame: the first rule that fires, or None."""
        if not self._frames:
            return None
        now = self.now_ms()
        for armed in self._of(*_FATES):
            if _matches(armed.rule, name) and armed.fires(now):
                return armed.rule
        return None

    def overflows(self, name: str, queued: int) -> bool:
        """Return whether a send queue is full although it need not be."""
        if not self._frames:
            return False
        now = self.now_ms()
        for armed in self._of("slow"):
            if _matches(armed.rule, name) and armed.active(now) and queued >= armed.rule.size:
                armed.met += 1
                armed.fired += 1
                return True
        return False

    def stalled(self, meant: Callable[[str], bool], *, count: bool) -> bool:
        """Return whether nothing may be written to a connection now.

        Args:
            meant: tells whether a target of frames means the connection.
            count: this is a new occasion, and not the same one asked about again.
        """
        if not self._frames:
            return False
        now = self.now_ms()
        for armed in self._of("stall"):
            if armed.active(now) and any(map(meant, armed.rule.targets)):
                armed.met += count
                armed.fired += count
                return True
        return False

    def refuses_socket(self, *, user: bool) -> bool:
        """Return whether a new socket is refused: that of the account's events, or one of the market's."""
        now, name = self.now_ms(), USER_PREFIX if user else ""
        return any(_matches(armed.rule, name) and armed.fires(now) for armed in self._of("refuse"))

    # --- matching ---------------------------------------------------------------------------------------------

    def fill_cap(self, symbol: str) -> int | None:
        """Return how many lots an order may get at once now; None without bound."""
        if not self._armed:
            return None
        now = self.now_ms()
        for armed in self._of("partial"):
            if _named(armed.rule, symbol) and armed.fires(now):
                return armed.rule.size
        return None

    def _of(self, *kinds: str) -> Iterator[_Armed]:
        return (armed for armed in self._armed if armed.rule.kind in kinds)


def _named(rule: FaultRule, name: str) -> bool:
    return "*" in rule.targets or name in rule.targets


def frame_matches(target: str, name: str) -> bool:
    """Return whether a target of frames means the frame of this name: "market", "user", or a pattern."""
    if target in ("market", "user"):
        return name.startswith(USER_PREFIX) == (target == "user")
    return fnmatchcase(name, target)


def _matches(rule: FaultRule, name: str) -> bool:
    return any(frame_matches(target, name) for target in rule.targets)
