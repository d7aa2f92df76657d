"""Values of the fill model, and the small exact rules beside it. Pure, any thread."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum

from core.domain.candles import Candle
from core.domain.fills import Liquidity
from core.domain.instruments import FeeRule, Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.orders import OrderType, Side, TimeInForce

FEE_STEP = Decimal("0.00000001")

Level = tuple[Decimal, Decimal]  # price, quantity


class DataLevel(StrEnum):
    """What is known of the market."""

    BOOK = "book"  # and the trades
    TRADES = "trades"
    BARS = "bars"


class Refusal(StrEnum):
    """Why a market refuses an order on arrival, in the words of the venue modelled."""

    WOULD_TAKE = "Order would immediately match and take."
    WOULD_TRIGGER = "Stop price would trigger immediately."


@dataclass(frozen=True, slots=True)
class FillRules:
    """What no data tell.

    Attributes:
        half_spread: fraction of the price between the last price and the side taken from; TRADES and BARS.
        slippage: further fraction lost by taking; TRADES and BARS.
        touch_fraction: share of a trade at the price (TRADES), or of what remains (BARS), that fills a resting order.
        participation: largest share of a trade or bar that is ours; TRADES and BARS.
    """

    half_spread: Decimal = Decimal("0.0001")
    slippage: Decimal = Decimal("0.0002")
    touch_fraction: Decimal = ZERO
    participation: Decimal = Decimal("0.25")

    def __post_init__(self) -> None:
        if min(self.half_spread, self.slippage) < 0:
            raise ValueError("half the spread and the slippage must not be negative")
        if not (0 <= self.touch_fraction <= 1 and 0 < self.participation <= 1):
            raise ValueError("fractions must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class ExactBar:
    """A bar in exact numbers."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(slots=True)
class SimOrder:
    """An order in the model.

    Attributes:
        key: unique among the orders of this market.
        remaining: not filled yet, base currency.
        ahead: quantity assumed in front of it at its price; None while its price has not been in sight.
        waiting: a stop that has not been triggered.
        arriving: it takes at the next trade or bar (TRADES and BARS).
    """

    key: str
    side: Side
    order_type: OrderType
    remaining: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    ahead: Decimal | None = None
    waiting: bool = False
    arriving: bool = False

    @property
    def is_resting(self) -> bool:
        """Whether it lies in the book."""
        return not self.waiting and not self.arriving

    def within_limit(self, price: Decimal) -> bool:
        """Whether it may fill at `price`."""
        if self.limit_price is None:
            return True
        return price <= self.limit_price if self.side is Side.BUY else price >= self.limit_price


@dataclass(frozen=True, slots=True)
class Execution:
    """Part or all of an order fills."""

    key: str
    price: Decimal
    quantity: Decimal
    liquidity: Liquidity


@dataclass(frozen=True, slots=True)
class Triggered:
    """A stop's price was reached; it is a limit order from now on."""

    key: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An order is over although not filled: its time in force, an empty book, or an own order it would have met."""

    key: str
    reason: str


Happening = Execution | Triggered | Ended


class Latency:
    """How long messages take to the venue: a base and an even jitter, drawn from a seed."""

    def __init__(self, base_ns: int, jitter_ns: int, seed: int) -> None:
        if min(base_ns, jitter_ns) < 0:
            raise ValueError("latency must not be negative")
        self._base_ns = base_ns
        self._jitter_ns = jitter_ns
        self._random = random.Random(seed)

    def next_ns(self) -> int:
        """Return the delay of the next message, ns."""
        return self._base_ns + self._random.randint(0, self._jitter_ns)


def exact(value: float) -> Decimal:
    """Return a market float as the decimal number the venue wrote: its shortest reading."""
    return Decimal(repr(float(value)))


def exact_levels(instrument: Instrument, levels: Iterable[tuple[float, float]]) -> list[Level]:
    """Return displayed levels in whole ticks and lots, order kept; what is less than a lot is left out."""
    found: list[Level] = []
    for price, quantity in levels:
        lots = instrument.round_quantity(exact(quantity))
        if lots > 0:
            found.append((instrument.round_price(exact(price)), lots))
    return found


def exact_bar(instrument: Instrument, bar: Candle) -> ExactBar:
    """Return a bar in whole ticks and lots."""
    open_, high, low, close = (instrument.round_price(exact(p)) for p in (bar.open, bar.high, bar.low, bar.close))
    return ExactBar(open_, high, low, close, instrument.round_quantity(exact(bar.volume)))


def fee_of(
    instrument: Instrument,
    side: Side,
    price: Decimal,
    quantity: Decimal,
    liquidity: Liquidity,
    *,
    third: tuple[str, Decimal] | None = None,
) -> tuple[Decimal, str]:
    """Return (fee, currency) of one fill; what is finer than eight decimals is not charged.

    Args:
        third: currency that pays the fees instead, and its price in the instrument's quote currency.
    """
    rate = instrument.maker_fee if liquidity is Liquidity.MAKER else instrument.taker_fee
    value = LEDGER_CONTEXT.multiply(price, quantity)
    if third is not None:
        currency, in_quote = third
        return _round_fee(LEDGER_CONTEXT.divide(LEDGER_CONTEXT.multiply(value, rate), in_quote)), currency
    if instrument.fee_rule is FeeRule.RECEIVED and side is Side.BUY:
        return _round_fee(LEDGER_CONTEXT.multiply(quantity, rate)), instrument.base
    return _round_fee(LEDGER_CONTEXT.multiply(value, rate)), instrument.quote


def _round_fee(fee: Decimal) -> Decimal:
    return fee.quantize(FEE_STEP, rounding=ROUND_DOWN, context=LEDGER_CONTEXT)
