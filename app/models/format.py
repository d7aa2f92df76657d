"""Cell texts beyond `app.i18n`: signs with marks, ages, the clipboard's spelling. Qt-free, any thread."""

from __future__ import annotations

from decimal import Decimal

from app.i18n import MINUS, MISSING, format_number, format_percent
from core.clock import NS_PER_S

NBSP = "\u00a0"
UP_MARK, DOWN_MARK = "▲", "▼"


def signed(value: Decimal | float | None, decimals: int = 2) -> str:
    """Write a profit or change with its sign and ▲ or ▼, so that colour is never the only cue."""
    return _marked(format_number(value, decimals, sign=True))


def signed_percent(fraction: Decimal | float | None, decimals: int = 2) -> str:
    """Write a fraction as signed per cent with ▲ or ▼ (0.01 gives "▲ +1.00 %")."""
    return _marked(format_percent(fraction, decimals, sign=True))


def milliseconds(value: float | None) -> str:
    """Write a latency: "12 ms", from ten seconds on "12 s"."""
    if value is None:
        return MISSING
    if abs(value) >= 10_000:
        return f"{format_number(value / 1000, 0)}{NBSP}s"
    return f"{format_number(value, 0)}{NBSP}ms"


def age(delta_ns: int) -> str:
    """Write the age of something in as few characters as a status bar has: "0.4 s", "12 s", "3 min"."""
    seconds = max(0, delta_ns) / NS_PER_S
    if seconds < 10:
        return f"{seconds:.1f}{NBSP}s"
    return f"{seconds:.0f}{NBSP}s" if seconds < 120 else f"{seconds / 60:.0f}{NBSP}min"


def machine(text: str) -> str:
    """Undo the screen's spelling of a number, for the clipboard: a spreadsheet must read it back."""
    for mark in (f"{UP_MARK} ", f"{DOWN_MARK} ", ",", "+"):
        text = text.replace(mark, "")
    return text.replace(MINUS, "-").replace(f"{NBSP}%", "%").replace(NBSP, " ")


def _marked(text: str) -> str:
    if text.startswith("+"):
        return f"{UP_MARK} {text}"
    return f"{DOWN_MARK} {text}" if text.startswith(MINUS) else text
