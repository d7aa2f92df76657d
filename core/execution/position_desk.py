"""What changes a position beside fills: funding, fees priced late, transfers. Runs on the executor's event loop.

Like fills, everything is journalled first and announced second.
"""

from __future__ import annotations

from dataclasses import replace

from core.clock import Clock
from core.domain.positions import FundingPayment, FundingShare, Position, Transfer
from core.errors import UserError
from core.execution.api.gateway import MarketGateway
from core.execution.journal import Journal
from core.execution.marks import Marks
from core.execution.order_manager import OrderManager
from core.execution.position_tracker import (
    BookedFill,
    History,
    apply_transfer,
    book_funding,
    fee_in_quote,
    in_quote,
    plan_transfer,
    replay,
    share_funding,
)
from core.execution.records import EXTERNAL_OWNER


class PositionDesk:
    """Books funding and transfers of one account, and prices what could not be priced when it was booked."""

    def __init__(
        self,
        journal: Journal,
        manager: OrderManager,
        marks: Marks,
        gateway: MarketGateway,
        wall: Clock,
    ) -> None:
        self._journal = journal
        self._manager = manager
        self._marks = marks
        self._gateway = gateway
        self._wall = wall
        # Unpriced amounts looked at before: how many there were and in which (currency, quote), so that their facts are
        # read again only when there are new ones or a price has come.
        self._waiting: dict[tuple[str, str], tuple[int, frozenset[tuple[str, str]]]] = {}

    def book_funding(self, payment: FundingPayment) -> bool:
        """Book a funding payment, divided by what the owners hold now. Heard twice, it counts once.

        Returns:
            Whether it was new.
        """
        quote = self._gateway.instruments[payment.symbol].quote
        holders = [p for p in self._manager.positions if p.symbol == payment.symbol]
        shares = share_funding(payment, holders, EXTERNAL_OWNER, quote, self._marks.convert)
        after = [book_funding(self._manager.position(payment.symbol, share.owner), share) for share in shares]
        if not self._journal.book_funding(shares, after, self._wall.now_ns()):
            return False
        for position in after:
            self._manager.take_position(position)
        if any(share.amount_quote is None for share in shares):
            self._manager.on_unpriced(payment.currency, quote)
        return True

    def price_open_amounts(self) -> None:
        """Convert the fees and payments whose price was not known when they were booked, at the price known now.

        Cheap where there is nothing to do. What still has no price is asked for again: after a restart nobody follows
        the market that tells it.
        """
        for position in self._manager.positions:
            if position.unpriced and position.symbol in self._gateway.instruments:
                count, pairs = self._waiting.get((position.symbol, position.owner), (0, frozenset()))
                if count != position.unpriced or any(self._marks.convert(*pair) is not None for pair in pairs):
                    self._price(position)

    def _price(self, position: Position) -> None:
        instrument, convert = self._gateway.instruments[position.symbol], self._marks.convert
        history = self._journal.history(position.symbol, position.owner)
        fills = [
            replace(booked, fee_quote=fee_in_quote(booked.fill, instrument, convert))
            for booked in history.fills
            if booked.fee_quote is None
        ]
        funding = [
            replace(share, amount_quote=in_quote(share.amount, share.payment.currency, instrument.quote, convert))
            for share in history.funding
            if share.amount_quote is None
        ]
        missing = {b.fill.fee_currency for b in fills if b.fee_quote is None}
        missing |= {s.payment.currency for s in funding if s.amount_quote is None}
        for currency in sorted(missing):
            self._manager.on_unpriced(currency, instrument.quote)
        priced = History(
            fills=[b for b in fills if b.fee_quote is not None],
            funding=[s for s in funding if s.amount_quote is not None],
        )
        after = position
        if priced.fills or priced.funding:
            flat = Position(position.venue, position.symbol, position.owner)
            after, _ = replay(flat, _with(history, priced), instrument)
            self._journal.set_prices(priced, after)
            self._manager.take_position(after)
        pairs = frozenset((currency, instrument.quote) for currency in missing)
        self._waiting[(position.symbol, position.owner)] = (after.unpriced, pairs)

    def transfer(self, symbol: str, from_owner: str, to_owner: str, reason: str) -> Transfer:
        """Move everything one owner holds in a market to another one, at what it cost.

        Raises:
            UserError: it cannot be moved now, or the journal cannot be written; nothing has changed.
        """
        if from_owner == to_owner:
            raise UserError(f"The position in {symbol} belongs to {to_owner} already.")
        if any(r.intent.symbol == symbol and r.intent.owner == from_owner for r in self._manager.unsettled):
            raise UserError(
                f"The position of {from_owner} in {symbol} cannot be moved while orders of it work.",
                "Cancel them or wait until they are over.",
            )
        giver, receiver = self._manager.position(symbol, from_owner), self._manager.position(symbol, to_owner)
        if not giver.lots:
            raise UserError(f"{from_owner} holds nothing in {symbol}.")
        if giver.quantity * receiver.quantity < 0:
            raise UserError(
                f"The positions of {from_owner} and {to_owner} in {symbol} stand on opposite sides.",
                "Close one of them first.",
            )
        moved = plan_transfer(giver, receiver, reason, self._wall.now_ns())
        after = [apply_transfer(giver, moved), apply_transfer(receiver, moved)]
        self._journal.book_transfer(moved, after)
        for position in after:
            self._manager.take_position(position)
        return moved


def _with(history: History, priced: History) -> History:
    """Return a history with the priced facts in place of the same ones without a price."""
    fills: dict[str, BookedFill] = {b.fill.trade_id: b for b in (*history.fills, *priced.fills)}
    funding: dict[str, FundingShare] = {s.payment.payment_id: s for s in (*history.funding, *priced.funding)}
    return replace(history, fills=tuple(fills.values()), funding=tuple(funding.values()))
