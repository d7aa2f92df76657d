"""Decimal arithmetic for prices, quantities and cash. Runs on any thread.

Ledger amounts are `Decimal` end to end. Floats are accepted nowhere in this module: converting one silently is how
0.1 becomes 0.1000000000000000055.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

ZERO = Decimal(0)

# 38 digits hold every product of an 18-digit quantity and an 18-digit price exactly; averages are rounded half-even.
LEDGER_CONTEXT = Context(prec=38, rounding=ROUND_HALF_EVEN)


def parse_decimal(text: str) -> Decimal:
    """Parse a machine-written decimal such as an exchange sends.

    Raises:
        ValueError: `text` is not a finite decimal number.
    """
    try:
        value = Decimal(text)
    except InvalidOperation as exc:
        raise ValueError(f"not a decimal number: {text!r}") from exc
    if not value.is_finite():
        raise ValueError(f"not a finite number: {text!r}")
    return value


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Sum amounts in the ledger's context: exact up to 38 digits."""
    result = ZERO
    for amount in amounts:
        result = LEDGER_CONTEXT.add(result, amount)
    return result


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Round `value` down (towards minus infinity) to a multiple of `step`."""
    return _to_step(value, step, ROUND_FLOOR)


def ceil_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Round `value` up (towards plus infinity) to a multiple of `step`."""
    return _to_step(value, step, ROUND_CEILING)


def truncate_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Round `value` towards zero to a multiple of `step`; a quantity must never grow by rounding."""
    return _to_step(value, step, ROUND_DOWN)


def nearest_step(value: Decimal, step: Decimal) -> Decimal:
    """Round `value` to the nearest multiple of `step`, ties to even."""
    return _to_step(value, step, ROUND_HALF_EVEN)


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Return whether `value` is an exact multiple of `step`."""
    return LEDGER_CONTEXT.remainder(value, step) == 0


def plain(value: Decimal) -> str:
    """Format without exponent and without trailing zeros, as exchanges expect ("0.00001", not "1E-5")."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _to_step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if step <= 0:
        raise ValueError(f"step must be positive, got {step}")
    steps = LEDGER_CONTEXT.divide(value, step).to_integral_value(rounding=rounding)
    return LEDGER_CONTEXT.multiply(steps, step)
