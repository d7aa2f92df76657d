"""Positions, their lots, funding, transfers and balances. Pure values, any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from core.domain.money import LEDGER_CONTEXT, ZERO, total


class Ownership(StrEnum):
    """Who may trade a market: its strategies alone, the person alone, or both side by side with books of their own."""

    SHARED = "shared"
    BOT = "bot"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Lot:
    """What is left of one opening fill.

    Attributes:
        trade_id: the fill that opened it.
        opened_ns: venue time of that fill, ns UTC.
        quantity: base currency left; negative is short.
        price: price of the fill, quote currency.
        fee: what is left of the fill's fee, quote currency; zero where it could not be converted, or stayed with the
            owner who paid it (see `Transfer`).
    """

    trade_id: str
    opened_ns: int
    quantity: Decimal
    price: Decimal
    fee: Decimal = ZERO

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key, see `trade_order`."""
        return trade_order(self.opened_ns, self.trade_id)

    @property
    def cost(self) -> Decimal:
        """Signed value at its own price, quote currency; exact."""
        return LEDGER_CONTEXT.multiply(self.quantity, self.price)


def trade_order(time_ns: int, trade_id: str) -> tuple[int, int, str]:
    """Order of trades: venue time, and within one moment the venue's own counting (numbers by size, not by letter)."""
    return time_ns, len(trade_id), trade_id


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the books of a position have come.

    Attributes:
        chapter: transfers in or out so far. A transfer closes the chapter before it: a fill heard later belongs to the
            new one, whatever its time.
        time_ns / trade_id: newest fill of the chapter; zero and "" before its first.
    """

    chapter: int = 0
    time_ns: int = 0
    trade_id: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """Net holding of one owner in one market, by two methods at once: average price, and lots (first in, first out).

    Attributes:
        owner: strategy id, or "manual".
        quantity: base currency; negative is short. The lots always add up to it.
        average_price: average entry price of `quantity`, quote currency, rounded half-even to 38 digits; zero if flat.
        realised_pnl: by average price, quote currency, before fees.
        fees: fees paid, converted to quote currency.
        updated_ns: ns UTC.
        fifo_pnl: realised by lots, quote currency, before fees; exact.
        funding: funding received less funding paid, converted to quote currency.
        unpriced: fees and fundings nobody could convert yet; they are in no figure.
        lots: oldest first, all of one sign.
    """

    venue: str
    symbol: str
    owner: str
    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    updated_ns: int = 0
    fifo_pnl: Decimal = ZERO
    funding: Decimal = ZERO
    unpriced: int = 0
    lots: tuple[Lot, ...] = ()
    cursor: Cursor = Cursor()

    def unrealised_pnl(self, price: Decimal) -> Decimal:
        """Return the open profit in quote currency if marked at `price`, by average price, before exit fees."""
        return LEDGER_CONTEXT.multiply(LEDGER_CONTEXT.subtract(price, self.average_price), self.quantity)

    def fifo_unrealised_pnl(self, price: Decimal) -> Decimal:
        """Return the open profit in quote currency if marked at `price`, by lots, before exit fees."""
        worth = LEDGER_CONTEXT.multiply(self.quantity, price)
        return LEDGER_CONTEXT.subtract(worth, total(lot.cost for lot in self.lots))


@dataclass(frozen=True, slots=True)
class AccountPosition:
    """What all owners together hold in one market.

    Attributes:
        quantity, realised_pnl, fifo_pnl, fees, funding, unpriced: sums over the owners.
        cost: sum of quantity × average price over the owners.
        lots_cost: the same by lots.
    """

    symbol: str
    quantity: Decimal
    cost: Decimal
    lots_cost: Decimal
    realised_pnl: Decimal
    fifo_pnl: Decimal
    fees: Decimal
    funding: Decimal
    unpriced: int

    @property
    def average_price(self) -> Decimal:
        """Price at which the open part is worth what it cost; zero when flat.

        Where owners stand on opposite sides it may lie outside of the prices paid: their profit against each other is
        open as well.
        """
        return LEDGER_CONTEXT.divide(self.cost, self.quantity) if self.quantity else ZERO

    def unrealised_pnl(self, price: Decimal) -> Decimal:
        """Return the open profit at `price` by average prices: what the owners' open profits add up to."""
        return LEDGER_CONTEXT.subtract(LEDGER_CONTEXT.multiply(self.quantity, price), self.cost)

    def fifo_unrealised_pnl(self, price: Decimal) -> Decimal:
        """Return the open profit at `price` by lots."""
        return LEDGER_CONTEXT.subtract(LEDGER_CONTEXT.multiply(self.quantity, price), self.lots_cost)


def account_positions(positions: Iterable[Position]) -> dict[str, AccountPosition]:
    """Add up the owners' positions, market by market."""
    by_symbol: dict[str, list[Position]] = {}
    for position in positions:
        by_symbol.setdefault(position.symbol, []).append(position)
    return {
        symbol: AccountPosition(
            symbol=symbol,
            quantity=total(p.quantity for p in owned),
            cost=total(LEDGER_CONTEXT.multiply(p.quantity, p.average_price) for p in owned),
            lots_cost=total(lot.cost for p in owned for lot in p.lots),
            realised_pnl=total(p.realised_pnl for p in owned),
            fifo_pnl=total(p.fifo_pnl for p in owned),
            fees=total(p.fees for p in owned),
            funding=total(p.funding for p in owned),
            unpriced=sum(p.unpriced for p in owned),
        )
        for symbol, owned in by_symbol.items()
    }


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """What a perpetual market paid to the account or took from it for holding a position.

    Attributes:
        payment_id: the venue's id; (venue, symbol, payment id) identifies a payment, whatever channel brought it.
        amount: in `currency`; positive was received.
        time_ns: venue time, ns UTC.
    """

    venue: str
    symbol: str
    payment_id: str
    amount: Decimal
    currency: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class FundingShare:
    """One owner's part of a funding payment.

    Attributes:
        amount: in the payment's currency.
        amount_quote: the same in quote currency; None where no price to convert it is known.
    """

    payment: FundingPayment
    owner: str
    amount: Decimal
    amount_quote: Decimal | None


@dataclass(frozen=True, slots=True)
class Transfer:
    """All that one owner held going to another at what it cost: no trade, no profit, nothing the venue knows of.

    What was realised and the fees paid stay with the owner who made them.

    Attributes:
        average_price: price by which the quantity moves in the books at average price: the giver's.
        lots: what moved; their fees are zero.
        reason: one sentence for the journal and the screen.
    """

    venue: str
    symbol: str
    from_owner: str
    to_owner: str
    average_price: Decimal
    lots: tuple[Lot, ...]
    reason: str
    time_ns: int

    @property
    def quantity(self) -> Decimal:
        """Base currency moved; negative is short."""
        return total(lot.quantity for lot in self.lots)


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
