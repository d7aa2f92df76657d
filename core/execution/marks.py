"""Last known market prices: what positions are marked at and fees are converted with. Executor's thread."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.clock import Clock
from core.domain.money import LEDGER_CONTEXT


@dataclass(frozen=True, slots=True)
class Mark:
    """A price and when we heard it (wall time, ns UTC)."""

    price: Decimal
    heard_ns: int


class Marks:
    """The newest price of each market."""

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._marks: dict[str, Mark] = {}

    def update(self, symbol: str, price: float | Decimal) -> None:
        """Note a price; a float is taken at its shortest decimal reading, which is how venues write prices."""
        value = price if isinstance(price, Decimal) else Decimal(repr(float(price)))
        if value.is_finite() and value > 0:
            self._marks[symbol] = Mark(value, self._wall.now_ns())

    def forget(self, symbol: str) -> None:
        """Drop a price that is too old to rely on."""
        self._marks.pop(symbol, None)

    def price(self, symbol: str) -> Decimal | None:
        """Return the newest price, or None before the first."""
        mark = self._marks.get(symbol)
        return mark.price if mark else None

    def age_ns(self, symbol: str) -> int | None:
        """Return how long ago the newest price was heard, ns."""
        mark = self._marks.get(symbol)
        return self._wall.now_ns() - mark.heard_ns if mark else None

    def convert(self, currency: str, quote: str) -> Decimal | None:
        """Return the price of one unit of `currency` in `quote`, from either direction of their market."""
        if currency == quote:
            return Decimal(1)
        direct = self.price(f"{currency}/{quote}")
        if direct is not None:
            return direct
        inverse = self.price(f"{quote}/{currency}")
        return LEDGER_CONTEXT.divide(Decimal(1), inverse) if inverse is not None else None
