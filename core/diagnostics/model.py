"""The result of a check. Pure values, any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a check went: fine, usable with a limitation, or something must be repaired."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of this machine.

    Attributes:
        name: stable machine-readable name, e.g. "keyring".
        detail: what was found, one line.
        remedy: one sentence saying what to do; empty where nothing needs doing.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ChildReport:
    """What a probing child process said.

    Attributes:
        ok: the child ended normally and reported facts.
        facts: its report; empty where it failed.
        error: one line saying why it failed, else "".
    """

    ok: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def ok(name: str, detail: str) -> Check:
    """Return a passed check."""
    return Check(name, Status.OK, detail)


def warn(name: str, detail: str, remedy: str) -> Check:
    """Return a check that found a limitation."""
    return Check(name, Status.WARN, detail, remedy)


def fail(name: str, detail: str, remedy: str) -> Check:
    """Return a check that found something to repair."""
    return Check(name, Status.FAIL, detail, remedy)


def is_healthy(checks: Sequence[Check]) -> bool:
    """Return whether nothing failed; warnings are allowed."""
    return all(check.status is not Status.FAIL for check in checks)


def to_json(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the machine-readable contract `{"checks": [{"name", "status", "detail", "remedy"}…], "ok"}`."""
    return {
        "checks": [
            {"name": check.name, "status": check.status.value, "detail": check.detail, "remedy": check.remedy}
            for check in checks
        ],
        "ok": is_healthy(checks),
    }
