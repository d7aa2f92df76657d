"""What the accounting kernel is told about costs and markets. Pure values, any thread."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Self

from core.domain.instruments import Instrument
from core.errors import UserError

_NAMES = {
    "taker_fee": "taker fee",
    "maker_fee": "maker fee",
    "half_spread": "half spread",
    "slippage": "slippage",
    "impact_exponent": "exponent of the impact",
    "borrow_base": "interest on borrowed coins",
    "borrow_quote": "interest on borrowed money",
    "liquidation_fee": "fee of a forced sale",
    "tick_size": "price step",
    "lot_size": "quantity step",
    "min_quantity": "smallest order quantity",
    "min_notional": "smallest order value",
    "band": "rebalancing band",
}


@dataclass(frozen=True, slots=True)
class CostRates:
    """What trading and holding cost, as shares of the value traded or held.

    Attributes:
        taker_fee: of the value of a fill that takes.
        maker_fee: of the value of a fill that rested before.
        half_spread: between the middle of the market and the price taken.
        slippage: the price moves so much further against whoever takes.
        impact: the price moves by `impact * participation ** impact_exponent` against whoever takes; participation is
            the quantity over the volume of the bar. An exponent of 0.5 is the square-root law.
        impact_exponent: see `impact`.
        borrow_base: each bar, of the value of coins owed.
        borrow_quote: each bar, of quote currency owed.
        liquidation_fee: of the value of a position that is closed by force, beside the taker fee.
    """

    taker_fee: float = 0.001
    maker_fee: float = 0.001
    half_spread: float = 0.0
    slippage: float = 0.0
    impact: float = 0.0
    impact_exponent: float = 0.5
    borrow_base: float = 0.0
    borrow_quote: float = 0.0
    liquidation_fee: float = 0.0

    def validate(self) -> None:
        """Raise `UserError` for a rate that no market has."""
        for field in fields(self):
            value = getattr(self, field.name)
            lowest = -0.01 if field.name == "maker_fee" else 0.0  # some venues pay for resting orders
            highest = 2.0 if field.name == "impact_exponent" else 1.0
            if field.name != "impact" and not lowest <= value < highest:
                name = _NAMES[field.name]
                raise UserError(f"The {name} is out of range.", f"Choose a share of at least {lowest} below {highest}.")
        if not (math.isfinite(self.impact) and self.impact >= 0):
            raise UserError("The market impact is out of range.", "Choose a number of at least 0.")

    def times(self, factor: float) -> Self:
        """Return the costs of trading so many times as high; what holding costs stays."""
        return replace(
            self,
            taker_fee=self.taker_fee * factor,
            maker_fee=self.maker_fee * factor,
            half_spread=self.half_spread * factor,
            slippage=self.slippage * factor,
            impact=self.impact * factor,
        )


@dataclass(frozen=True, slots=True)
class MarketRules:
    """What a market lets an account do.

    Attributes:
        tick_size: step of prices, in quote currency; 0 where prices are not rounded.
        lot_size: step of quantities, in base currency; 0 where quantities are not rounded.
        min_quantity: smallest order, in base currency.
        min_notional: smallest value of an order, in quote currency.
        max_leverage: largest value of a position over the equity.
        maintenance: share of a position's value that the equity must exceed; below it the position is closed by force.
        allows_short: whether a position may be below 0.
        band: a target is not followed while the weight is nearer to it than this.
    """

    tick_size: float = 0.0
    lot_size: float = 0.0
    min_quantity: float = 0.0
    min_notional: float = 0.0
    max_leverage: float = 1.0
    maintenance: float = 0.0
    allows_short: bool = True
    band: float = 0.0

    def validate(self) -> None:
        """Raise `UserError` for rules that contradict themselves."""
        for name in ("tick_size", "lot_size", "min_quantity", "min_notional", "band"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"The {_NAMES[name]} is out of range.", "Choose a number of at least 0.")
        if not 0 < self.max_leverage <= 125:
            raise UserError("The leverage is out of range.", "Choose one above 0 and at most 125.")
        if not 0 <= self.maintenance < min(1.0, 1 / self.max_leverage):
            raise UserError(
                f"A maintenance margin of {self.maintenance:g} leaves no room for leverage {self.max_leverage:g}.",
                "Choose a smaller margin or a smaller leverage.",
            )

    @property
    def unit(self) -> float:
        """Quantity of one lot, in base currency; 1 where quantities are not rounded."""
        return self.lot_size if self.lot_size > 0 else 1.0


def spot_rules(instrument: Instrument) -> MarketRules:
    """Return the rules of a spot market: no debts, no shorts."""
    return MarketRules(
        tick_size=float(instrument.tick_size),
        lot_size=float(instrument.lot_size),
        min_quantity=float(instrument.min_quantity),
        min_notional=float(instrument.min_notional),
        allows_short=False,
    )
