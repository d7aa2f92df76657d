"""Fills: what was really bought or sold. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from core.domain.orders import Side


class Liquidity(StrEnum):
    """Whether a fill added or removed liquidity."""

    MAKER = "maker"
    TAKER = "taker"


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of one of our orders.

    Attributes:
        trade_id: the venue's trade id; (venue, symbol, trade_id) identifies a fill, whatever channel brought it.
        client_order_id: our order; "" where the order is not ours.
        fee: amount charged, in `fee_currency`; positive is a cost.
        time_ns: venue time, ns UTC.
    """

    venue: str
    symbol: str
    trade_id: str
    venue_order_id: str
    client_order_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity
    time_ns: int

    @property
    def value(self) -> Decimal:
        """Quote currency exchanged, before fees."""
        return self.price * self.quantity
