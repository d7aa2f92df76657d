"""Positions and balances. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.domain.money import ZERO


@dataclass(frozen=True, slots=True)
class Position:
    """Net holding of one owner in one market, at average price.

    Attributes:
        owner: strategy id, or "manual".
        quantity: base currency; negative is short.
        average_price: average entry price of `quantity`, quote currency; zero when flat.
        realised_pnl: quote currency, before fees.
        fees: fees paid, converted to quote currency.
        updated_ns: ns UTC.
    """

    venue: str
    symbol: str
    owner: str
    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    updated_ns: int = 0

    def unrealised_pnl(self, price: Decimal) -> Decimal:
        """Return the open profit in quote currency if marked at `price`, before exit fees."""
        return (price - self.average_price) * self.quantity


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds of one currency."""

    currency: str
    free: Decimal
    locked: Decimal

    @property
    def total(self) -> Decimal:
        """Free plus locked."""
        return self.free + self.locked
