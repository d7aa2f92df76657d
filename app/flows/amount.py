"""Reading amounts as people type them. Qt-free, pure, any thread.

One rule: a number is digits with at most one ".". Everything else is refused with a sentence instead of being
interpreted: "0,001" read as 1 has bought a thousand times too much in more than one program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from app.i18n import mark, tr

_ASCII_DIGITS = frozenset("0123456789")
_SPACES = frozenset(" \t\u00a0\u2009\u202f\u3000")
_MAX_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence for the screen: an English template and the values to put into it.

    Attributes:
        template: English source text with `{name}` places; the key of the translation table.
        values: what stands in the places.
    """

    template: str
    values: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the sentence in the present language."""
        return tr(self.template, **self.values)


class AmountError(ValueError):
    """Text that is not, unambiguously, an amount.

    Attributes:
        sentence: why, and what to write instead.
    """

    def __init__(self, template: str, **values: str) -> None:
        self.sentence = Sentence(template, values)
        super().__init__(self.sentence.text())


def parse_amount(text: str) -> Decimal | None:
    """Parse a non-negative amount typed or pasted by a person.

    Args:
        text: e.g. "0.001", ".5", "61200". White space around the number is ignored.

    Returns:
        The exact value, or None where nothing was written.

    Raises:
        AmountError: the text has another reading or none; the sentence says which character is at fault.
    """
    body = text.strip()
    if not body:
        return None
    if len(body) > _MAX_LENGTH:
        raise AmountError(mark("This number is too long."))
    if "," in body:
        raise AmountError(mark('"{text}" is ambiguous: use "." for decimals and no thousands separator.'), text=body)
    if any(char in _SPACES for char in body):
        raise AmountError(mark('"{text}" is ambiguous: write the number without spaces.'), text=body)
    if body[0] in "+-":
        raise AmountError(mark("Write the amount without a sign."))
    if body[0] in _ASCII_DIGITS | {"."} and ("e" in body or "E" in body):
        raise AmountError(mark("Write the number in full, without an exponent."))
    wrong = next((char for char in body if char not in _ASCII_DIGITS and char != "."), None)
    if wrong is not None:
        raise AmountError(mark('"{char}" is not part of a number: use the digits 0–9 and ".".'), char=wrong)
    if body.count(".") > 1:
        raise AmountError(mark('"{text}" is ambiguous: a number has one decimal point.'), text=body)
    if body == ".":
        raise AmountError(mark("Write at least one digit."))
    return Decimal(body)
