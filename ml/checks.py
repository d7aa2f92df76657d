"""Checks of what a person set: each raises one sentence with a remedy. Pure functions, any thread."""

from __future__ import annotations

from core.errors import UserError


def require(condition: bool, message: str, remedy: str) -> None:
    """Raise `UserError` unless the condition holds."""
    if not condition:
        raise UserError(message, remedy)


def in_range(value: float, low: float, high: float, what: str, unit: str) -> None:
    """Raise `UserError` unless `low` <= value <= `high`."""
    if not low <= value <= high:
        remedy = f"Choose {low:,g} to {high:,g} {unit}." if unit else f"Choose {low:,g} to {high:,g}."
        raise UserError(f"The {what} {value:g} is out of range.", remedy)


def one_of(value: str, allowed: tuple[str, ...], what: str) -> None:
    """Raise `UserError` unless the value is one of those allowed."""
    if value not in allowed:
        raise UserError(f"The {what} {value!r} is not known.", f"Use one of {', '.join(allowed)}.")
