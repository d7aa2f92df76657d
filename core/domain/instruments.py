"""What can be traded and by which rules. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from core.domain.money import ZERO, ceil_to_step, floor_to_step, is_multiple, nearest_step, truncate_to_step


class FeeRule(StrEnum):
    """In which currency a venue takes its fee."""

    RECEIVED = "received"  # out of what is received: base currency on a buy, quote currency on a sell
    QUOTE = "quote"  # on top of what a buy costs, out of what a sell brings


@dataclass(frozen=True, slots=True)
class Instrument:
    """A spot market on one venue with the venue's own trading rules.

    Attributes:
        venue: venue id as ccxt spells it, e.g. "binance".
        symbol: unified symbol, e.g. "BTC/USDT".
        venue_symbol: the venue's own spelling, e.g. "BTCUSDT".
        base: currency bought or sold.
        quote: currency paid with.
        tick_size: smallest price step, in quote currency.
        lot_size: smallest quantity step, in base currency.
        min_quantity: smallest order quantity, in base currency.
        max_quantity: largest order quantity, in base currency.
        min_notional: smallest order value, in quote currency.
        maker_fee: fee rate of a resting fill (0.001 = 0.1 %).
        taker_fee: fee rate of an aggressive fill.
        fee_rule: in which currency the fee is taken.
    """

    venue: str
    symbol: str
    venue_symbol: str
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal = ZERO
    max_quantity: Decimal = Decimal("9000000")
    min_notional: Decimal = ZERO
    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    fee_rule: FeeRule = FeeRule.RECEIVED

    def __post_init__(self) -> None:
        if self.tick_size <= 0 or self.lot_size <= 0:
            raise ValueError(f"{self.symbol}: tick and lot size must be positive")

    @property
    def price_decimals(self) -> int:
        """Number of decimals a price is shown with."""
        return _decimals(self.tick_size)

    @property
    def quantity_decimals(self) -> int:
        """Number of decimals a quantity is shown with."""
        return _decimals(self.lot_size)

    def round_price(self, price: Decimal) -> Decimal:
        """Return the nearest valid price."""
        return nearest_step(price, self.tick_size)

    def floor_price(self, price: Decimal) -> Decimal:
        """Return the highest valid price not above `price`."""
        return floor_to_step(price, self.tick_size)

    def ceil_price(self, price: Decimal) -> Decimal:
        """Return the lowest valid price not below `price`."""
        return ceil_to_step(price, self.tick_size)

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Return the largest valid quantity not above `quantity`; rounding never makes an order larger."""
        return truncate_to_step(quantity, self.lot_size)

    def is_dust(self, quantity: Decimal) -> bool:
        """Return whether a holding is less than one lot, so that nobody can sell it; nothing at all is no dust."""
        return 0 < abs(quantity) < self.lot_size

    def rule_violation(self, quantity: Decimal, price: Decimal | None) -> str | None:
        """Check an order against the venue's rules.

        Args:
            quantity: order quantity in base currency.
            price: limit price, or the reference price of a market order; None skips price and notional checks.

        Returns:
            One sentence naming the first rule broken, or None where the order is valid.
        """
        if not is_multiple(quantity, self.lot_size):
            return f"quantity {quantity} is not a multiple of the lot size {self.lot_size}"
        if quantity < self.min_quantity or quantity <= 0:
            return f"quantity {quantity} is below the minimum {self.min_quantity}"
        if quantity > self.max_quantity:
            return f"quantity {quantity} is above the maximum {self.max_quantity}"
        if price is None:
            return None
        if price <= 0:
            return f"price {price} is not positive"
        if quantity * price < self.min_notional:
            return f"order value {quantity * price} is below the minimum {self.min_notional} {self.quote}"
        return None


def _decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent))
