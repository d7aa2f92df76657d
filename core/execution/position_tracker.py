"""Positions at average price, profit and fees. Pure functions; any thread.

Invariant, exact but for the rounding of the average price: for any sequence of fills and any price M,
`realised + unrealised(M) − fees = cash flow + quantity × M`, all in quote currency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.positions import Position

# Price of one unit of a currency in another one, or None where nobody knows it: (currency, quote) -> price.
Convert = Callable[[str, str], Decimal | None]


@dataclass(frozen=True, slots=True)
class Booking:
    """What one fill does to a position.

    Attributes:
        position: the position after it.
        fee_quote: the fee in quote currency; None where no price to convert it is known (then it is in no figure).
    """

    position: Position
    fee_quote: Decimal | None


def book_fill(position: Position, fill: Fill, instrument: Instrument, convert: Convert) -> Booking:
    """Apply one fill.

    A fee charged in the base currency leaves the holding: it is booked as selling that amount at the fill's own price
    and paying the proceeds as fee, which keeps the invariant.

    Args:
        position: holding of the fill's owner before it; same symbol.
        fill: the execution.
        instrument: names base and quote currency.
        convert: price of third currencies (BNB …) in quote currency.

    Raises:
        ValueError: the fill belongs to another market.
    """
    if fill.symbol != position.symbol or fill.symbol != instrument.symbol:
        raise ValueError(f"a fill in {fill.symbol} cannot change a position in {position.symbol}")
    after = trade(position, fill.quantity * fill.side.sign, fill.price)
    fee_quote = _fee_in_quote(fill, instrument, convert)
    if fill.fee_currency == instrument.base and fill.fee:
        after = trade(after, -fill.fee, fill.price)
    fees = after.fees if fee_quote is None else LEDGER_CONTEXT.add(after.fees, fee_quote)
    return Booking(replace(after, fees=fees, updated_ns=fill.time_ns), fee_quote)


def trade(position: Position, quantity: Decimal, price: Decimal) -> Position:
    """Change a position by a signed quantity at a price, through zero where it goes there.

    Growing averages the entry price; shrinking realises profit against it; what goes through zero opens at `price`.
    """
    context = LEDGER_CONTEXT
    held = position.quantity
    after = context.add(held, quantity)
    if held * quantity >= 0:
        cost = context.add(context.multiply(held, position.average_price), context.multiply(quantity, price))
        average = context.divide(cost, after) if after else ZERO
        return replace(position, quantity=after, average_price=average)
    closed = held if abs(quantity) >= abs(held) else -quantity
    profit = context.multiply(closed, context.subtract(price, position.average_price))
    if after == 0:
        average = ZERO
    elif after * held > 0:
        average = position.average_price
    else:
        average = price
    realised = context.add(position.realised_pnl, profit)
    return replace(position, quantity=after, average_price=average, realised_pnl=realised)


def net_pnl(position: Position, mark: Decimal | None) -> Decimal:
    """Return realised + unrealised − fees in quote currency; without a mark the open part counts as zero."""
    open_part = position.unrealised_pnl(mark) if mark is not None else ZERO
    return position.realised_pnl + open_part - position.fees


def _fee_in_quote(fill: Fill, instrument: Instrument, convert: Convert) -> Decimal | None:
    if not fill.fee or fill.fee_currency == instrument.quote:
        return fill.fee
    if fill.fee_currency == instrument.base:
        return LEDGER_CONTEXT.multiply(fill.fee, fill.price)
    rate = convert(fill.fee_currency, instrument.quote)
    return None if rate is None else LEDGER_CONTEXT.multiply(fill.fee, rate)
