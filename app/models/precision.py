"""How many decimals a market's prices and quantities have on screen. GUI thread."""

from __future__ import annotations

from decimal import Decimal

from app.i18n import MISSING, format_price, format_quantity
from core.domain.instruments import Instrument


class Precision:
    """Formats prices and quantities by the tick and lot size of their market, as soon as the venue told them."""

    def __init__(self) -> None:
        self._markets: dict[str, Instrument] = {}

    def learn(self, instrument: Instrument) -> None:
        """Remember the rules of a market."""
        self._markets[instrument.symbol] = instrument

    def is_dust(self, symbol: str, quantity: Decimal) -> bool:
        """Return whether a holding is too small to be sold; False while the market is not known."""
        market = self._markets.get(symbol)
        return market is not None and market.is_dust(quantity)

    def price(self, symbol: str, value: Decimal | float | None) -> str:
        """Write a price; None gives a dash."""
        if value is None:
            return MISSING
        market = self._markets.get(symbol)
        return format_price(value, None if market is None else market.tick_size)

    def quantity(self, symbol: str, value: Decimal | None) -> str:
        """Write a quantity; None gives a dash."""
        if value is None:
            return MISSING
        market = self._markets.get(symbol)
        return format_quantity(value, None if market is None else market.lot_size)
