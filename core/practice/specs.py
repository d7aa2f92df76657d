"""Markets of the practice exchange and their integer scales. Pure values, any thread.

Prices are integer ticks, quantities integer lots and account amounts integer units of 1e-8, so that every sum of the
exchange is exact. Tick and lot are powers of ten and `tick * lot >= 1e-8`, hence a fill's value is a whole number of
units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

UNIT_DECIMALS = 8
UNITS = 10**UNIT_DECIMALS

QUOTES = ("USDT", "FDUSD", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "USD")


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """One market: names, scales and the size of its visible liquidity.

    Attributes:
        symbol: the venue's spelling, e.g. "BTCUSDT".
        price_decimals: the tick is 10 to the minus this.
        quantity_decimals: the lot is 10 to the minus this.
        level_lots: typical quantity of one book level, in lots.
        min_notional: smallest order value, quote currency.
    """

    symbol: str
    base: str
    quote: str
    price_decimals: int
    quantity_decimals: int
    level_lots: int
    min_notional: Decimal = Decimal(5)

    def __post_init__(self) -> None:
        if self.price_decimals + self.quantity_decimals > UNIT_DECIMALS:
            raise ValueError(f"{self.symbol}: tick times lot is finer than 1e-{UNIT_DECIMALS}")

    @property
    def value_scale(self) -> int:
        """Account units of one tick times one lot."""
        return int(10 ** (UNIT_DECIMALS - self.price_decimals - self.quantity_decimals))

    @property
    def lot_units(self) -> int:
        """Account units (1e-8 of the base currency) of one lot."""
        return int(10 ** (UNIT_DECIMALS - self.quantity_decimals))

    @property
    def unified(self) -> str:
        """The symbol as ccxt spells it."""
        return f"{self.base}/{self.quote}"

    def price_text(self, ticks: int) -> str:
        """Format a price with eight decimals, as the venue does."""
        return fixed_text(ticks, self.price_decimals)

    def quantity_text(self, lots: int) -> str:
        """Format a quantity with eight decimals."""
        return fixed_text(lots, self.quantity_decimals)

    def value_text(self, tick_lots: int) -> str:
        """Format a quote amount given in ticks times lots."""
        return fixed_text(tick_lots, self.price_decimals + self.quantity_decimals)


def fixed_text(value: int, decimals: int) -> str:
    """Format the integer `value * 10**-decimals` with eight decimals, exactly."""
    sign = "-" if value < 0 else ""
    digits = str(abs(value) * 10 ** (UNIT_DECIMALS - decimals)).rjust(UNIT_DECIMALS + 1, "0")
    return f"{sign}{digits[:-UNIT_DECIMALS]}.{digits[-UNIT_DECIMALS:]}"


def units_text(units: int) -> str:
    """Format an account amount."""
    return fixed_text(units, UNIT_DECIMALS)


# symbol -> (price decimals, quantity decimals), as the real venue lists them
_KNOWN_SCALES: dict[str, tuple[int, int]] = {
    "BTCUSDT": (2, 5),
    "ETHUSDT": (2, 4),
    "SOLUSDT": (2, 3),
    "BNBUSDT": (2, 3),
    "LTCUSDT": (2, 3),
    "XRPUSDT": (4, 1),
    "DOGEUSDT": (5, 0),
    "ETHBTC": (5, 3),
}


def known_scales(symbol: str) -> tuple[int, int] | None:
    """Return (price decimals, quantity decimals) of a listed market, or None."""
    return _KNOWN_SCALES.get(symbol)


def infer_scales(price: float) -> tuple[int, int]:
    """Choose scales for an unlisted market: about six digits of price, a lot worth well under a unit of quote."""
    magnitude = len(str(int(price))) if price >= 1 else -len(str(int(1 / max(price, 1e-7)))) + 1
    price_decimals = min(7, max(0, 6 - magnitude))
    return price_decimals, min(UNIT_DECIMALS - price_decimals, max(0, magnitude))


def split_symbol(text: str) -> tuple[str, str] | None:
    """Split "BTC_USDT", "BTC-USDT", "BTC/USDT" or "BTCUSDT" into base and quote; None where it is neither."""
    parts = re.split(r"[_/-]", text.upper())
    if len(parts) >= 2 and all(part.isalnum() for part in parts[:2]):
        return parts[0], parts[1]
    for quote in QUOTES:
        if text.upper().endswith(quote) and len(text) > len(quote):
            return text.upper()[: -len(quote)], quote
    return None
