"""What the dead-man switch decides, and what it and the trading program say to each other. Pure; any thread or process.

The program beats once a second from its executor's event loop, over a pipe. When it falls silent, a child process of
its own cancels every order but those that can only reduce a position. It may cancel, never open.

Who is responsible for the orders of a key stands in its claim: a word in a file, replaced by every executor that has
begun to trade with the key. A switch whose program is gone stands down where the claim names another one, whether that
one still runs or has ended in peace. One that only starts is waited for: it takes the orders over, or it fails.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from core.domain.orders import Intent, OrderType, Side
from core.execution.api.gateway import OrderReport

# What the program says, and what it hears.
START, BEAT, BYE = "start", "beat", "bye"
READY, SEEN = "ready", "seen"
END = "end"  # the last line that an action writes into its file

SILENCE_S = 15.0
LEAST_SILENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class SentinelRules:
    """Patience of the switch, seconds.

    Attributes:
        silence_s: without a beat, after which it acts.
        beat_s: between two beats.
        tick_s: between two looks of the switch.
        gap_s: a longer gap between two looks means that the switch slept as well, with the machine: it cannot say who
            was silent, so the silence counts anew and the program has the whole time to beat.
        backoff_s / backoff_max_s: pauses between attempts at a venue that does not answer.
        patience_s: how long such attempts go on; None as long as it takes.
    """

    silence_s: float = SILENCE_S
    beat_s: float = 1.0
    tick_s: float = 0.25
    gap_s: float = 5.0
    backoff_s: float = 1.0
    backoff_max_s: float = 30.0
    patience_s: float | None = None

    def __post_init__(self) -> None:
        if self.silence_s < LEAST_SILENCE_S:
            raise ValueError(f"a dead-man switch waits at least {LEAST_SILENCE_S} s, not {self.silence_s}")


@dataclass(frozen=True, slots=True)
class SentinelStart:
    """The first message: all that the switch knows. It goes over the pipe only, for it holds the keys.

    Attributes:
        mode: a `TradingMode` value, "practice" or "live".
        venue: ccxt's id.
        urls: addresses of the practice exchange by name; empty for a venue's own.
        journal: file of its own that it writes when it acts.
        runtime_folder / fingerprint: where the executor's lock and the claim are; see `ExecutorLock`.
        claim: the program's own word.
        claim_before: the word before, "" for none.
        own_prefix: what client order ids of this program begin with.
    """

    mode: str
    venue: str
    urls: Mapping[str, str]
    journal: str
    runtime_folder: str
    fingerprint: str
    claim: str
    claim_before: str
    own_prefix: str
    rules: SentinelRules
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the message."""
        return {"kind": START, **asdict(self)}

    @classmethod
    def from_json(cls, message: Mapping[str, Any]) -> SentinelStart:
        """Read the message.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        values = {name: message[name] for name in cls.__slots__}
        return cls(**{**values, "rules": SentinelRules(**message["rules"])})


class Outcome(StrEnum):
    """How the switch's action ended; the last line of its file says it."""

    CONFIRMED = "confirmed"  # the venue itself says that nothing but protective orders is open
    CAME_BACK = "came_back"  # the program beats again
    TAKEN_OVER = "taken_over"  # another executor has the orders, or starts
    REFUSED = "refused"  # the key opens nothing (any more)
    INCOMPLETE = "incomplete"  # what is left carries no client order id, so it cannot be named
    GAVE_UP = "gave_up"  # the venue did not answer for too long
    FAILED = "failed"  # a bug


class Action(StrEnum):
    """What the switch is to do now."""

    WATCH = "watch"
    CANCEL = "cancel"
    LEAVE = "leave"


class Successor(Protocol):
    """Who may have the orders of a program that is gone."""

    def has_claimed(self) -> bool:
        """Whether another executor answers for the orders since."""
        ...

    def is_starting(self) -> bool:
        """Whether somebody holds the executor's lock; asking disturbs who would take it, so it is asked last."""
        ...


class SentinelPolicy:
    """Turns beats, their absence and the clock into one action; does nothing itself.

    Args:
        now_s: a clock that only ever runs forward, seconds.

    Attributes:
        protective: client order ids that the newest beat named as reducing only.
    """

    def __init__(self, rules: SentinelRules, now_s: float) -> None:
        self._rules = rules
        self._heard_s = self._looked_s = now_s
        self._gone = self._dismissed = self._done = False
        self.protective: frozenset[str] = frozenset()

    @property
    def is_alone(self) -> bool:
        """Whether the program's end of the pipe is closed."""
        return self._gone

    def beat(self, now_s: float, protective: Collection[str]) -> None:
        """Take a sign of life in; after an action the switch is armed again."""
        self._heard_s = now_s
        self._done = False
        self.protective = frozenset(protective)

    def program_gone(self) -> None:
        """Take the end of the pipe in: no beat will come, but a new program may."""
        self._gone = True

    def dismiss(self) -> None:
        """Take the program's goodbye in: its orders stay."""
        self._dismissed = True

    def acted(self) -> None:
        """Note that what there was to do is done."""
        self._done = True

    def tick(self, now_s: float) -> None:
        """Notice a gap: whoever was stopped with the whole machine does not know who was silent."""
        if now_s - self._looked_s > self._rules.gap_s:
            self._heard_s = now_s
        self._looked_s = now_s

    def decide(self, now_s: float, successor: Successor) -> Action:
        """Return what to do.

        Args:
            successor: asked only where it matters: when the program is gone.
        """
        self.tick(now_s)
        if self._dismissed or (self._gone and successor.has_claimed()):
            return Action.LEAVE
        if now_s - self._heard_s < self._rules.silence_s:
            return Action.WATCH
        if self._gone:
            if self._done:
                return Action.LEAVE
            if successor.is_starting():  # it takes the orders over, or it fails
                return Action.WATCH
        return Action.WATCH if self._done else Action.CANCEL


def reduces_only(intent: Intent) -> bool:
    """Return whether an order protects: it can only shrink a position. On a spot account a stop that sells does."""
    return intent.reduce_only or (intent.order_type is OrderType.STOP_LOSS_LIMIT and intent.side is Side.SELL)


def is_protective(order: OrderReport, named: Collection[str], own_prefix: str) -> bool:
    """Return whether the switch leaves an open order alone.

    Args:
        named: what the program named in its newest beat.
        own_prefix: an own stop that sells protects although it was sent after that beat.
    """
    if order.client_order_id in named:
        return True
    is_stop = order.order_type is OrderType.STOP_LOSS_LIMIT and order.side is Side.SELL
    return is_stop and order.client_order_id.startswith(own_prefix)


class Claim:
    """The file that says which executor's orders a key's are. Never held open, never locked.

    Args:
        folder: the user's runtime folder.
        fingerprint: see `core.execution.assembly.key_fingerprint`.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / f"sentinel-{fingerprint}.claim"

    def read(self) -> str:
        """Return the word in force; "" where there is none."""
        try:
            return str(json.loads(self._path.read_bytes())["claim"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def write(self, word: str) -> None:
        """Replace the word at once. Only for who holds the executor's lock.

        Raises:
            OSError: the folder cannot be written.
        """
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"claim": word}), encoding="utf-8")
        os.replace(temporary, self._path)
