"""Numbers as people type them into the training wizard, and the texts that read back as the same numbers.

Qt-free, pure, any thread.
"""

from __future__ import annotations

import itertools
import re
from decimal import Decimal

from app.flows.amount import parse_amount

_EXPONENT = re.compile(r"(\d+\.?\d*|\.\d+)[eE]([+-]?\d{1,2})")


def plain_text(value: float) -> str:
    """Return the shortest text that reads back as the same number, without exponent."""
    exact = Decimal(repr(value))
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent_text(share: float) -> str:
    """Return a share as percent ("72.5"); `share_of` gives the same share again."""
    text = f"{Decimal(repr(share)) * 100:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_number(text: str) -> Decimal | None:
    """Parse a number that is no amount of money: as `parse_amount` does, and with an exponent ("1e-3").

    Raises:
        AmountError: as `parse_amount`.
    """
    return Decimal(text.strip()) if _EXPONENT.fullmatch(text.strip()) else parse_amount(text)


def number_of(text: str) -> float:
    """Return the number of a text that was found right."""
    return float(parse_number(text) or 0)


def parse_signed(text: str) -> Decimal | None:
    """Parse a number that may be below 0 ("-1"): otherwise as `parse_number` does.

    Raises:
        AmountError: as `parse_amount`.
    """
    body = text.strip()
    if not body.startswith("-"):
        return parse_number(body)
    value = parse_number(body[1:])
    return None if value is None else -value


def signed_of(text: str) -> float:
    """Return the number of a text that was found right and may be below 0."""
    return float(parse_signed(text) or 0)


def share_of(text: str) -> float:
    """Return the share of a percentage that was found right."""
    return float((parse_number(text) or Decimal(0)) / 100)


def list_text(values: tuple[int, ...]) -> str:
    """Return bars as `parse_bars` reads them."""
    return ", ".join(str(value) for value in values)


def parse_bars(text: str, highest: int, most: int = 100) -> tuple[int, ...] | None:
    """Read at most `most` comma-separated ascending numbers of bars, None where the text is anything else."""
    words = [word.strip() for word in text.split(",")]
    if len(words) > most or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        return None
    values = tuple(int(word) for word in words)
    ascending = all(a < b for a, b in itertools.pairwise(values))
    return values if ascending and values[0] >= 1 and values[-1] <= highest else None
