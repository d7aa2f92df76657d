"""Market data values: book, public trades, ticker. Pure values, any thread. Prices are float64: analytics only."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.orders import Side


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """The visible order book at one moment.

    Attributes:
        bids: (price, quantity) pairs, best (highest) first.
        asks: (price, quantity) pairs, best (lowest) first.
        time_ns: venue time where the venue sends one, else receive time, ns UTC.
        sequence: the venue's update id; 0 where it has none.
    """

    symbol: str
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    time_ns: int
    sequence: int = 0

    @property
    def mid(self) -> float | None:
        """Mid price, or None while one side is empty."""
        if not self.bids or not self.asks:
            return None
        return (self.bids[0][0] + self.asks[0][0]) / 2


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """A trade of the market. `side` is the aggressor's."""

    symbol: str
    trade_id: str
    price: float
    quantity: float
    side: Side
    time_ns: int


@dataclass(frozen=True, slots=True)
class Ticker:
    """Best prices and the last trade; `change_24h` is a fraction (0.01 = +1 %)."""

    symbol: str
    last: float
    bid: float | None
    ask: float | None
    change_24h: float | None
    volume_24h: float | None
    time_ns: int
