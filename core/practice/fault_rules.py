"""Faults as they are asked for: values, their compact text and their JSON form. Pure, any thread.

SPEC = RULE { ";" RULE }        RULE = KIND [":" TARGET { "+" TARGET }] { "," NAME "=" VALUE }  |  "seed=" N
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final

from core.errors import UserError
from core.practice.operations import OPERATION_NAMES

LAGGING: Final = ("query", "openOrders", "allOrders", "myTrades")
_CHANCE: Final = ("p", "next", "skip")
_WINDOW: Final = ("in", "for")


class Aim(Enum):
    """What a kind of fault strikes, hence what its targets name."""

    FRAMES = "frames"  # "market", "user", or a pattern of stream names
    SOCKETS = "sockets"  # "market" or "user"
    REQUESTS = "requests"  # operations
    QUERIES = "queries"  # operations that read orders
    MARKETS = "markets"  # symbols
    SERVER = "server"  # nothing to name


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: what it strikes, which options it takes and which of them it needs."""

    aim: Aim
    options: tuple[str, ...]
    needs: tuple[str, ...] = ()


KINDS: Final[Mapping[str, Kind]] = {
    "drop": Kind(Aim.FRAMES, (*_CHANCE, *_WINDOW)),
    "duplicate": Kind(Aim.FRAMES, (*_CHANCE, *_WINDOW)),
    "reorder": Kind(Aim.FRAMES, (*_CHANCE, *_WINDOW, "ms")),
    "late": Kind(Aim.FRAMES, (*_CHANCE, *_WINDOW, "ms"), ("ms",)),
    "cut": Kind(Aim.FRAMES, (*_CHANCE, *_WINDOW)),
    "stall": Kind(Aim.FRAMES, _WINDOW),
    "slow": Kind(Aim.FRAMES, (*_WINDOW, "size"), ("size",)),
    "refuse": Kind(Aim.SOCKETS, (*_CHANCE, *_WINDOW)),
    "lost": Kind(Aim.REQUESTS, (*_CHANCE, *_WINDOW, "how")),
    "lost-ack": Kind(Aim.REQUESTS, (*_CHANCE, *_WINDOW, "how")),
    "error": Kind(Aim.REQUESTS, (*_CHANCE, *_WINDOW, "status", "code", "msg", "retry", "when")),
    "delay": Kind(Aim.REQUESTS, (*_CHANCE, *_WINDOW, "ms", "when"), ("ms",)),
    "lag": Kind(Aim.QUERIES, (*_CHANCE, *_WINDOW, "ms"), ("ms",)),
    "partial": Kind(Aim.MARKETS, (*_CHANCE, *_WINDOW, "lots"), ("lots",)),
    "ban": Kind(Aim.SERVER, _WINDOW, ("for",)),
    "maintenance": Kind(Aim.SERVER, _WINDOW),
    "skew": Kind(Aim.SERVER, (*_WINDOW, "ms"), ("ms",)),
}

# HTTP status and words of the venue's errors; without an entry a code needs a status of its own.
VENUE_ERRORS: Final[Mapping[int, tuple[int, str]]] = {
    -1000: (503, "An unknown error occurred while processing the request."),
    -1001: (503, "Internal error; unable to process your request. Please try again."),
    -1003: (429, "Too many requests; please use the websocket for live updates."),
    -1006: (503, "An unexpected response was received from the message bus. Execution status unknown."),
    -1007: (503, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
    -1008: (503, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    -1015: (429, "Too many new orders; please use fewer."),
    -1021: (400, "Timestamp for this request is outside of the recvWindow."),
    -2010: (400, "Account has insufficient balance for requested action."),
    -2011: (400, "Unknown order sent."),
    -2013: (400, "Order does not exist."),
    -2015: (401, "Invalid API-key, IP, or permissions for action."),
}


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault to arm.

    Attributes:
        kind: a key of `KINDS`.
        targets: what it strikes; see `Aim`.
        probability: of firing each time it could.
        times: fires at most so often; None without bound.
        skip: lets the first so many occasions pass.
        starts_ms / lasts_ms: begins so long after it was armed and lasts so long; None until cleared.
        ms: how much, of kinds that delay or shift; may be negative for a skew.
        size: frames a send queue holds, or lots an order gets at once.
        status / code / message / retry_s: the error answer; code 0 has no JSON body.
        after: strikes after the request was carried out, not before.
        silent: leaves the client waiting instead of cutting its connection.
    """

    kind: str
    targets: tuple[str, ...] = ("*",)
    probability: float = 1.0
    times: int | None = None
    skip: int = 0
    starts_ms: int = 0
    lasts_ms: int | None = None
    ms: int = 0
    size: int = 0
    status: int = 0
    code: int = 0
    message: str = ""
    retry_s: int | None = None
    after: bool = False
    silent: bool = False

    @property
    def aim(self) -> Aim:
        """What it strikes."""
        return KINDS[self.kind].aim

    def text(self) -> str:
        """Return the rule as it is written in a specification."""
        targets = "" if self.targets == ("*",) else ":" + "+".join(self.targets)
        options = "".join(f",{name}={value}" for name, value in self._written().items())
        return f"{self.kind}{targets}{options}"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as the control interface shows and takes it."""
        return {"kind": self.kind, "targets": list(self.targets), **self._written()}

    def _written(self) -> dict[str, Any]:
        """Return the options that say more than the kind itself does, by name."""
        usual = {**_DEFAULTS, "after": self.kind == "delay"}
        if self.code in VENUE_ERRORS:
            usual["status"], usual["message"] = VENUE_ERRORS[self.code]
        found: dict[str, Any] = {}
        for name in KINDS[self.kind].options:
            field, _, write = _OPTIONS[name]
            value = getattr(self, field)
            if value != usual[field]:
                found[name] = write(value)
        return found


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """Rules and the seed of their chance."""

    rules: tuple[FaultRule, ...]
    seed: int = 1

    def text(self) -> str:
        """Return it as it is written on a command line."""
        return ";".join([f"seed={self.seed}", *(rule.text() for rule in self.rules)])


def parse_faults(text: str) -> FaultSpec:
    """Read a specification.

    Raises:
        UserError: it is not understood; the message names the part.
    """
    rules: list[FaultRule] = []
    seed = 1
    for part in (piece.strip() for piece in re.split(r"[;\n]", text)):
        if part.startswith("seed="):
            seed = _whole(part.removeprefix("seed="), "seed", 0)
        elif part:
            head, *options = (piece.strip() for piece in part.split(","))
            kind, _, targets = head.partition(":")
            rules.append(_rule(kind, targets.split("+") if targets else [], _pairs(options, part)))
    if not rules:
        raise UserError("There is no fault in the specification.", _HOW)
    return FaultSpec(tuple(rules), seed)


def faults_from_json(body: Mapping[str, Any]) -> FaultSpec:
    """Read `{"spec": TEXT}` or `{"rules": [{"kind", "targets", option: value, …}, …], "seed": N}`.

    Raises:
        UserError: it is not understood.
    """
    if isinstance(body.get("spec"), str):
        return parse_faults(body["spec"])
    rules = body.get("rules")
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, dict) for rule in rules):
        raise UserError("Faults need a specification or a list of rules.", 'Send {"spec": TEXT} or {"rules": [...]}.')
    return FaultSpec(tuple(map(_rule_from_json, rules)), _whole(str(body.get("seed", 1)), "seed", 0))


def _rule_from_json(rule: Mapping[str, Any]) -> FaultRule:
    targets = rule.get("targets", [])
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise UserError("The targets of a fault must be a list of names.", _HOW)
    options = {str(name): str(value) for name, value in rule.items() if name not in ("kind", "targets")}
    return _rule(str(rule.get("kind")), targets, options)


def _pairs(options: Sequence[str], part: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or name in found:
            raise UserError(f"The fault {part!r} has an option that is not understood: {option!r}.", _HOW)
        found[name] = value
    return found


def _rule(name: str, targets: Sequence[str], options: Mapping[str, str]) -> FaultRule:
    kind = KINDS.get(name)
    if kind is None:
        raise UserError(f"There is no fault named {name!r}.", f"There are: {', '.join(KINDS)}.")
    for option in options:
        if option not in kind.options:
            raise UserError(f"The fault {name!r} has no option {option!r}.", f"It has: {', '.join(kind.options)}.")
    for option in kind.needs:
        if option not in options:
            raise UserError(f"The fault {name!r} needs {option}.", f"Write for example {_EXAMPLES[option]}.")
    values = {_OPTIONS[option][0]: _OPTIONS[option][1](text, option) for option, text in options.items()}
    if name == "delay":
        values.setdefault("after", True)
    if name not in ("skew", "reorder") and "ms" in values and values["ms"] <= 0:
        raise UserError(f"The time of the fault {name!r} must be above 0 ms.", f"Write for example {_EXAMPLES['ms']}.")
    if name == "error":
        _complete_error(values)
    return FaultRule(name, _targets(kind.aim, name, targets), **values)


def _complete_error(values: dict[str, Any]) -> None:
    """Fill in status and words of a venue's error that is named by its code alone."""
    code = values.get("code", 0)
    status, words = VENUE_ERRORS.get(code, (0, "")) if code else (0, "")
    values.setdefault("status", status)
    values.setdefault("message", words)
    if not 400 <= values["status"] <= 599:
        raise UserError("The fault 'error' needs a code that is known, or a status.", "Write code=-1007 or status=503.")


def _targets(aim: Aim, name: str, targets: Sequence[str]) -> tuple[str, ...]:
    if any(not re.fullmatch(r"[\w@*?\[\]!.-]+", target) for target in targets):
        raise UserError(f"The fault {name!r} names a target that is not understood.", _HOW)
    known = _TARGETS.get(aim)
    for target in targets:
        if known is not None and target != "*" and target not in known:
            there = f"There are: {', '.join(known)}." if known else "Leave it out."
            raise UserError(f"The fault {name!r} cannot strike {target!r}.", there)
    return tuple(targets) or ("*",)


_TARGETS: Final[Mapping[Aim, tuple[str, ...]]] = {
    Aim.SOCKETS: ("market", "user"),
    Aim.REQUESTS: OPERATION_NAMES,
    Aim.QUERIES: LAGGING,
    Aim.SERVER: (),
}

# --- options ------------------------------------------------------------------------------------------------------

_HOW: Final = "Write for example lost-ack:order,next=1 or drop:user,for=10s; several are separated by semicolons."


def _whole(text: str, name: str, least: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,12}", text) or int(text) < least:
        raise UserError(f"The option {name}={text} of a fault is no whole number from {least} on.", _HOW)
    return int(text)


def _count(text: str, name: str) -> int:
    return _whole(text, name, 1)


def _signed(text: str, name: str) -> int:
    return _whole(text, name, -(10**12))


def _chance(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise UserError(f"The option {name}={text} of a fault is no probability above 0.", f"Write {_EXAMPLES[name]}.")
    return value


def _duration(text: str, name: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)?", text)
    if match is None or not float(match[1]):
        raise UserError(f"The option {name}={text} of a fault is no duration.", "Write for example 500ms, 10s or 2m.")
    return int(float(match[1]) * {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}[match[2] or "s"])


def _seconds(text: str, name: str) -> int:
    return max(1, -(-_duration(text, name) // 1_000))


def _choice(false: str, true: str) -> Callable[[str, str], bool]:
    def read(text: str, name: str) -> bool:
        if text not in (false, true):
            raise UserError(f"The option {name}={text} of a fault is not known.", f"Write {false} or {true}.")
        return text == true

    return read


def _text(text: str, name: str) -> str:
    if re.search(r"[,;\n]", text):
        raise UserError(
            f"The option {name} of a fault holds a comma, a semicolon or a line break.", "Write it without."
        )
    return text


def _span(value: int) -> str:
    return f"{value}ms" if value % 1_000 else f"{value // 1_000}s"


def _same(value: Any) -> Any:
    return value


# Option -> (attribute of the rule, reader, writer).
_OPTIONS: Final[Mapping[str, tuple[str, Callable[[str, str], Any], Callable[[Any], Any]]]] = {
    "p": ("probability", _chance, _same),
    "next": ("times", _count, _same),
    "skip": ("skip", _count, _same),
    "in": ("starts_ms", _duration, _span),
    "for": ("lasts_ms", _duration, _span),
    "ms": ("ms", _signed, _same),
    "size": ("size", _count, _same),
    "lots": ("size", _count, _same),
    "status": ("status", _count, _same),
    "code": ("code", _signed, _same),
    "msg": ("message", _text, _same),
    "retry": ("retry_s", _seconds, lambda value: f"{value}s"),
    "when": ("after", _choice("before", "after"), lambda value: "after" if value else "before"),
    "how": ("silent", _choice("cut", "silent"), lambda value: "silent" if value else "cut"),
}
_EXAMPLES: Final = {"ms": "ms=500", "size": "size=10", "lots": "lots=5", "for": "for=30s", "p": "p=0.1"}
_DEFAULTS: Final = {field.name: field.default for field in fields(FaultRule)}
