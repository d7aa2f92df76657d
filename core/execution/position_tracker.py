"""Positions at average price and by lots, profit, fees, funding, transfers. Pure functions; any thread.

The books of an owner are a function of the facts, not of the order in which they were heard:

- Fills count in the order of their venue time, within one moment by trade id. One that is heard late (`is_late`) makes
  what follows it be booked anew (`core.execution.fill_booker`), so that incremental books always equal `replay`.
- A transfer closes a chapter. It moved the lots it names, so a fill heard after it counts after it, whatever its time.
- Funding and the conversion of fees add up in any order.

Lots are first in, first out: a fill that opens makes one, a fill that closes takes the oldest first, through zero it
opens in the other direction. A fee charged in the base currency leaves the holding. By lots it is withheld from what
the fill opened; what that does not cover, and at average price all of it, is booked as sold at the fill's own price
and paid as fee.

Invariant, for any facts and any price M, by either method, in quote currency:
`realised + unrealised(M) − fees + funding = cash flow + quantity × M`. By lots it is exact to the last digit (as far
as 38 digits hold the products); at average price it is exact but for the rounding of the average, half-even to 38
digits. Parts of a fee are rounded to 18 decimals and the last part takes the rest, so that they add up exactly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO, total
from core.domain.orders import Side
from core.domain.positions import (
    Cursor,
    FundingPayment,
    FundingShare,
    Lot,
    Position,
    Transfer,
    trade_order,
)

# Price of one unit of a currency in another one, or None where nobody knows it: (currency, quote) -> price.
Convert = Callable[[str, str], Decimal | None]

SHARE_STEP = Decimal("1e-18")


@dataclass(frozen=True, slots=True)
class ClosedLot:
    """An entry and the exit that closed it: a round trip by lots.

    Attributes:
        quantity: base currency; negative where a short was closed.
        fees: the parts of both fills' fees that belong to it, quote currency; unconverted ones are not in it.
    """

    symbol: str
    owner: str
    quantity: Decimal
    entry_id: str
    entry_price: Decimal
    opened_ns: int
    exit_id: str
    exit_price: Decimal
    closed_ns: int
    fees: Decimal

    @property
    def gross_pnl(self) -> Decimal:
        """Profit before fees, quote currency; exact."""
        return LEDGER_CONTEXT.multiply(self.quantity, LEDGER_CONTEXT.subtract(self.exit_price, self.entry_price))

    @property
    def pnl(self) -> Decimal:
        """Profit after fees, quote currency."""
        return LEDGER_CONTEXT.subtract(self.gross_pnl, self.fees)


@dataclass(frozen=True, slots=True)
class Booking:
    """What one fill does to a position.

    Attributes:
        position: the position after it.
        fee_quote: the fee in quote currency; None where no price to convert it is known (then it is in no figure).
        closed: the lots it closed, oldest first.
    """

    position: Position
    fee_quote: Decimal | None
    closed: tuple[ClosedLot, ...]


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A fill as it stands in the books.

    Attributes:
        fee_quote: its fee in quote currency; None while no price to convert it is known.
        chapter: chapter of the owner's books it belongs to (see `Cursor`).
    """

    fill: Fill
    fee_quote: Decimal | None
    chapter: int


@dataclass(frozen=True, slots=True)
class History:
    """All facts about one owner's position in one market.

    Attributes:
        fills: in any order.
        transfers: in and out, in the order in which they were booked.
        funding: in any order.
    """

    fills: Sequence[BookedFill] = ()
    transfers: Sequence[Transfer] = ()
    funding: Sequence[FundingShare] = ()


# --- fills ----------------------------------------------------------------------------------------------------------


def book_fill(position: Position, fill: Fill, instrument: Instrument, convert: Convert) -> Booking:
    """Apply one fill after all those before it.

    Args:
        position: holding of the fill's owner before it; same symbol.
        fill: the execution.
        instrument: names base and quote currency.
        convert: price of third currencies (BNB …) in quote currency.

    Raises:
        ValueError: the fill belongs to another market.
    """
    return _apply_fill(position, fill, instrument, fee_in_quote(fill, instrument, convert))


def is_late(position: Position, fill: Fill) -> bool:
    """Return whether a fill belongs before one that is booked already, or is that one."""
    cursor = position.cursor
    return trade_order(fill.time_ns, fill.trade_id) <= trade_order(cursor.time_ns, cursor.trade_id)


def book_again(position: Position, booked: BookedFill, instrument: Instrument) -> Booking:
    """Apply a fill whose fee in quote currency is in the books already, after all those before it."""
    return _apply_fill(position, booked.fill, instrument, booked.fee_quote)


def in_order(fills: Iterable[BookedFill], chapter: int) -> list[BookedFill]:
    """Return the fills of one chapter in the order in which they count."""
    found = [booked for booked in fills if booked.chapter == chapter]
    return sorted(found, key=lambda booked: trade_order(booked.fill.time_ns, booked.fill.trade_id))


def fee_in_quote(fill: Fill, instrument: Instrument, convert: Convert) -> Decimal | None:
    """Return a fill's fee in quote currency; None where no price to convert it is known."""
    if fill.fee_currency == instrument.base:
        return LEDGER_CONTEXT.multiply(fill.fee, fill.price)
    return in_quote(fill.fee, fill.fee_currency, instrument.quote, convert)


def in_quote(amount: Decimal, currency: str, quote: str, convert: Convert) -> Decimal | None:
    """Return an amount in quote currency; None where no price to convert it is known."""
    if not amount or currency == quote:
        return amount
    rate = convert(currency, quote)
    return None if rate is None else LEDGER_CONTEXT.multiply(amount, rate)


def replay(flat: Position, history: History, instrument: Instrument) -> tuple[Position, tuple[ClosedLot, ...]]:
    """Build a position from all facts.

    Args:
        flat: names venue, market and owner.

    Returns:
        The position, and every lot that was closed, in order.

    Raises:
        ValueError: the facts contradict each other.
    """
    position = flat
    closed: list[ClosedLot] = []
    for chapter in range(len(history.transfers) + 1):
        for booked in in_order(history.fills, chapter):
            booking = book_again(position, booked, instrument)
            position = booking.position
            closed += booking.closed
        if chapter < len(history.transfers):
            position = apply_transfer(position, history.transfers[chapter])
    for share in history.funding:
        position = book_funding(position, share)
    return position, tuple(closed)


def trade(position: Position, quantity: Decimal, price: Decimal) -> Position:
    """Change a position at average price by a signed quantity, through zero where it goes there.

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
    """Return realised + unrealised − fees + funding in quote currency; without a mark the open part counts as zero."""
    open_part = position.unrealised_pnl(mark) if mark is not None else ZERO
    return total((position.realised_pnl, open_part, -position.fees, position.funding))


# --- funding --------------------------------------------------------------------------------------------------------


def share_funding(
    payment: FundingPayment, holders: Iterable[Position], nobody: str, quote: str, convert: Convert
) -> tuple[FundingShare, ...]:
    """Divide a payment among the owners by what they hold now: the venue pays for the sum of it.

    Args:
        holders: the owners' positions in the payment's market.
        nobody: owner of a payment where nobody holds anything (any more).
        quote: quote currency of the market.
        convert: price of the payment's currency in quote currency.
    """
    held = sorted((p for p in holders if p.quantity), key=lambda p: (abs(p.quantity), p.owner))
    net = total(p.quantity for p in held)
    rest, amounts = payment.amount, []
    for position in held[:-1] if net else ():
        part = _share(payment.amount, position.quantity, net)
        rest = LEDGER_CONTEXT.subtract(rest, part)
        amounts.append((position.owner, part))
    amounts.append((held[-1].owner if net else nobody, rest))
    return tuple(
        FundingShare(payment, owner, amount, in_quote(amount, payment.currency, quote, convert))
        for owner, amount in amounts
    )


def book_funding(position: Position, share: FundingShare) -> Position:
    """Add an owner's part of a payment; one that nobody can convert yet is only counted."""
    updated = max(position.updated_ns, share.payment.time_ns)
    if share.amount_quote is None:
        return replace(position, unpriced=position.unpriced + 1, updated_ns=updated)
    funding = LEDGER_CONTEXT.add(position.funding, share.amount_quote)
    return replace(position, funding=funding, updated_ns=updated)


# --- transfers ------------------------------------------------------------------------------------------------------


def plan_transfer(giver: Position, receiver: Position, reason: str, now_ns: int) -> Transfer:
    """Say how everything the giver holds moves to the receiver at what it cost.

    Raises:
        ValueError: there is nothing to move, or the receiver stands on the other side: that would close, not move.
    """
    if not giver.lots:
        raise ValueError("there is nothing to move")
    if giver.quantity * receiver.quantity < 0:
        raise ValueError("the two positions stand on opposite sides")
    lots = tuple(replace(lot, fee=ZERO) for lot in giver.lots)
    return Transfer(giver.venue, giver.symbol, giver.owner, receiver.owner, giver.average_price, lots, reason, now_ns)


def apply_transfer(position: Position, transfer: Transfer) -> Position:
    """Move lots out of the giver's position or into the receiver's.

    Raises:
        ValueError: the transfer is none of this position, or what it names is not there.
    """
    if position.symbol != transfer.symbol or position.owner not in (transfer.from_owner, transfer.to_owner):
        raise ValueError(f"the transfer is none of {position.owner} in {position.symbol}")
    if position.owner == transfer.from_owner:
        if tuple(replace(lot, fee=ZERO) for lot in position.lots) != transfer.lots:
            raise ValueError(f"{position.owner} does not hold what the transfer names")
        after = replace(position, quantity=ZERO, average_price=ZERO, lots=())
    else:
        if position.quantity * transfer.quantity < 0:
            raise ValueError("the two positions stand on opposite sides")
        lots = position.lots
        for lot in transfer.lots:
            lots = _insert(lots, lot)
        after = replace(trade(position, transfer.quantity, transfer.average_price), lots=lots)
    cursor = Cursor(position.cursor.chapter + 1)
    return replace(after, cursor=cursor, updated_ns=max(position.updated_ns, transfer.time_ns))


# --- inside ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Deal:
    """A signed quantity at a price, on its way through the lots.

    Attributes:
        fee: quote currency; what is left of it goes to the lot that is opened.
    """

    owner: str
    fill: Fill
    quantity: Decimal
    fee: Decimal
    profit: Decimal = ZERO
    closed: list[ClosedLot] = field(default_factory=list)

    def close(self, lot: Lot) -> Lot | None:
        """Close a lot as far as the deal reaches; return what is left of it."""
        context = LEDGER_CONTEXT
        part = lot.quantity if abs(lot.quantity) <= abs(self.quantity) else -self.quantity
        entry_fee = _share(lot.fee, part, lot.quantity)
        exit_fee = _share(self.fee, part, -self.quantity)
        done = ClosedLot(
            symbol=self.fill.symbol,
            owner=self.owner,
            quantity=part,
            entry_id=lot.trade_id,
            entry_price=lot.price,
            opened_ns=lot.opened_ns,
            exit_id=self.fill.trade_id,
            exit_price=self.fill.price,
            closed_ns=self.fill.time_ns,
            fees=context.add(entry_fee, exit_fee),
        )
        self.closed.append(done)
        self.profit = context.add(self.profit, done.gross_pnl)
        self.quantity = context.add(self.quantity, part)
        self.fee = context.subtract(self.fee, exit_fee)
        if part == lot.quantity:
            return None
        left = context.subtract(lot.quantity, part)
        return replace(lot, quantity=left, fee=context.subtract(lot.fee, entry_fee))


def _apply_fill(position: Position, fill: Fill, instrument: Instrument, fee_quote: Decimal | None) -> Booking:
    if fill.symbol != position.symbol or fill.symbol != instrument.symbol:
        raise ValueError(f"a fill in {fill.symbol} cannot change a position in {position.symbol}")
    context = LEDGER_CONTEXT
    signed = fill.quantity * fill.side.sign
    base_fee = fill.fee if fill.fee_currency == instrument.base else ZERO
    after = trade(position, signed, fill.price)
    if base_fee:
        after = trade(after, -base_fee, fill.price)
    withheld = _withheld(position.quantity, fill, base_fee)
    deal = _Deal(position.owner, fill, context.subtract(signed, withheld), fee_quote or ZERO)
    lots = _through(position.lots, deal)
    uncovered = _Deal(position.owner, fill, context.subtract(withheld, base_fee), ZERO)
    lots = _through(lots, uncovered)
    return Booking(
        replace(
            after,
            fees=context.add(after.fees, fee_quote or ZERO),
            unpriced=after.unpriced + (fee_quote is None),
            fifo_pnl=total((after.fifo_pnl, deal.profit, uncovered.profit)),
            lots=lots,
            cursor=Cursor(position.cursor.chapter, fill.time_ns, fill.trade_id),
            updated_ns=max(position.updated_ns, fill.time_ns),
        ),
        fee_quote,
        (*deal.closed, *uncovered.closed),
    )


def _withheld(held: Decimal, fill: Fill, base_fee: Decimal) -> Decimal:
    """Part of a fee in base currency that is kept back from what the fill opens."""
    if fill.side is not Side.BUY or base_fee <= 0:
        return ZERO
    opened = LEDGER_CONTEXT.subtract(max(ZERO, LEDGER_CONTEXT.add(held, fill.quantity)), max(ZERO, held))
    return min(opened, base_fee)


def _through(lots: tuple[Lot, ...], deal: _Deal) -> tuple[Lot, ...]:
    """Close the oldest lots of the other direction, then open one with what is left of the deal."""
    done = 0
    rest: Lot | None = None
    while deal.quantity and done < len(lots) and lots[done].quantity * deal.quantity < 0:
        rest = deal.close(lots[done])
        done += 1
    kept = lots[done:] if rest is None else (rest, *lots[done:])
    if not deal.quantity:
        return kept
    return _insert(kept, Lot(deal.fill.trade_id, deal.fill.time_ns, deal.quantity, deal.fill.price, deal.fee))


def _insert(lots: tuple[Lot, ...], lot: Lot) -> tuple[Lot, ...]:
    """Put a lot where its time belongs; parts of one fill become one lot again."""
    place = bisect_left(lots, lot.order, key=lambda each: each.order)
    if place < len(lots) and lots[place].order == lot.order:
        same = lots[place]
        quantity, fee = LEDGER_CONTEXT.add(same.quantity, lot.quantity), LEDGER_CONTEXT.add(same.fee, lot.fee)
        return (*lots[:place], replace(same, quantity=quantity, fee=fee), *lots[place + 1 :])
    return (*lots[:place], lot, *lots[place:])


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return the part of an amount, rounded to 18 decimals; the whole of it is exact."""
    if part == whole:
        return amount
    share = LEDGER_CONTEXT.divide(LEDGER_CONTEXT.multiply(amount, part), whole)
    return share.quantize(SHARE_STEP, context=LEDGER_CONTEXT)


def holds(position: Position, instrument: Instrument) -> bool:
    """Return whether a position is large enough for anything to be done with it: at least a lot."""
    return bool(position.quantity) and not instrument.is_dust(position.quantity)
