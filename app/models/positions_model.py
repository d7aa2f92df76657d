"""Positions as a table, marked at the last price, with a total where several owners share a market. GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from PySide6.QtCore import QObject

from app.i18n import MISSING, format_exact, format_number, mark, tr
from app.models.format import signed, signed_percent
from app.models.owner_names import OwnerNames
from app.models.ownerships import Ownerships
from app.models.precision import Precision
from app.models.record_model import Column, RecordModel, Tone
from core.domain.money import ZERO, total
from core.domain.orders import MANUAL_OWNER
from core.domain.positions import AccountPosition, Ownership, Position, account_positions

ALL_OWNERS = ""  # "owner" of the row that adds up a market

OWNERSHIP_TITLE = {
    Ownership.SHARED: mark("Shared"),
    Ownership.BOT: mark("Strategies only"),
    Ownership.MANUAL: mark("Taken over"),
}


@dataclass(frozen=True, slots=True)
class PositionRow:
    """A position with the price it is marked at; None before the first price.

    Attributes:
        ownership: who may trade the market.
        account: what all owners hold together, in the row that adds them up; `position` then carries the same sums.
        held_owners: how many of them hold an open position.
        lots_cost: what the lots cost, quote currency; None where they do not make the position. Added up once: a
            position may have thousands of lots, and cells are written with every price.
    """

    position: Position
    mark: Decimal | None
    ownership: Ownership = Ownership.SHARED
    account: AccountPosition | None = None
    held_owners: int = 0
    lots_cost: Decimal | None = None

    @property
    def open_pnl(self) -> Decimal | None:
        """Unrealised profit at average price in quote currency, or None while unmarked."""
        return None if self.mark is None else (self.account or self.position).unrealised_pnl(self.mark)

    @property
    def fifo_open_pnl(self) -> Decimal | None:
        """Unrealised profit by lots in quote currency, or None while unmarked or without lots."""
        if self.mark is None or self.lots_cost is None:
            return None
        return self.mark * self.position.quantity - self.lots_cost

    @property
    def open_return(self) -> float | None:
        """Unrealised profit as a fraction of the entry value, or None."""
        entry = abs(self.position.quantity * self.position.average_price)
        return None if self.open_pnl is None or entry == 0 else float(self.open_pnl / entry)

    @property
    def total_pnl(self) -> Decimal:
        """Realised plus unrealised profit minus fees plus funding, quote currency."""
        position = self.position
        return total((position.realised_pnl, self.open_pnl or ZERO, -position.fees, position.funding))


def pnl_tone(value: Decimal | float | None) -> Tone | None:
    """Return the colour meaning of a profit."""
    if value is None or value == 0:
        return Tone.MUTED
    return Tone.UP if value > 0 else Tone.DOWN


class PositionsModel(RecordModel[PositionRow]):
    """One row per owner and market, and one per market that several owners hold.

    Attributes:
        ownerships: who may trade which market.
    """

    def __init__(
        self,
        precision: Precision,
        parent: QObject | None = None,
        names: OwnerNames | None = None,
        ownerships: Ownerships | None = None,
    ) -> None:
        self._precision = precision
        self._names = names or OwnerNames()
        self.ownerships = ownerships or Ownerships()
        super().__init__(
            (*self._holding_columns(), *self._owner_columns(), *_profit_columns()),
            lambda r: _key(r.position.owner, r.position.symbol),
            row_tone=lambda r: None if self.is_held(r) else Tone.MUTED,
            parent=parent,
        )
        self._marks: dict[str, Decimal] = {}

    def _holding_columns(self) -> tuple[Column[PositionRow], ...]:
        precision = self._precision
        return (
            Column[PositionRow]("symbol", mark("Symbol"), self._symbol_text, lambda r: r.position.symbol, width=15),
            _number("quantity", mark("Quantity"), self._quantity_text, lambda r: r.position.quantity),
            _number(
                "entry",
                mark("Entry price"),
                lambda r: precision.price(r.position.symbol, r.position.average_price if r.position.quantity else None),
                lambda r: r.position.average_price,
            ),
            _number("mark", mark("Price"), lambda r: precision.price(r.position.symbol, r.mark), lambda r: r.mark),
            _profit("open_pnl", mark("Open PnL"), lambda r: r.open_pnl),
            Column[PositionRow](
                "return",
                mark("Return"),
                lambda r: signed_percent(r.open_return),
                lambda r: r.open_return or 0.0,
                numeric=True,
                tone=lambda r: pnl_tone(r.open_return),
                width=11,
            ),
        )

    def _owner_columns(self) -> tuple[Column[PositionRow], ...]:
        return (
            Column[PositionRow](
                "owner",
                mark("Owner"),
                self._owner_text,
                lambda r: r.position.owner,
                tone=lambda r: Tone.WARNING if self.is_held(r) and r.position.owner == MANUAL_OWNER else None,
                width=18,
            ),
            Column[PositionRow](
                "ownership",
                mark("Ownership"),
                lambda r: tr(OWNERSHIP_TITLE[r.ownership]),
                lambda r: r.ownership.value,
                tone=lambda r: Tone.WARNING if r.ownership is Ownership.MANUAL else None,
                width=14,
            ),
        )

    def _symbol_text(self, row: PositionRow) -> str:
        symbol = row.position.symbol
        if row.account is not None:
            return tr("{symbol} · total", symbol=symbol)
        return tr("{symbol} · dust", symbol=symbol) if self.is_dust(row) else symbol

    def _quantity_text(self, row: PositionRow) -> str:
        held = row.position.quantity
        return format_exact(held) if self.is_dust(row) else self._precision.quantity(row.position.symbol, held)

    def _owner_text(self, row: PositionRow) -> str:
        if row.account is not None:
            return tr("All owners")
        return self.owner_title(row.position.owner)

    def owner_title(self, owner: str) -> str:
        """Return what an owner of positions is called."""
        return tr("Manual") if owner == MANUAL_OWNER else self._names.title(owner)

    def is_dust(self, row: PositionRow) -> bool:
        """Return whether a position is what a fee left of a lot: it is there, and nobody can close it."""
        return self._precision.is_dust(row.position.symbol, row.position.quantity)

    def is_held(self, row: PositionRow) -> bool:
        """Return whether a position counts as open: neither flat nor dust; a total, where it adds up several."""
        if row.account is not None:
            return row.held_owners > 1
        return row.position.quantity != 0 and not self.is_dust(row)

    def is_closable(self, row: PositionRow) -> bool:
        """Return whether one order can close the position: a total belongs to several owners."""
        return row.account is None and self.is_held(row)

    def owner_rows(self) -> list[PositionRow]:
        """Return the owners' positions, without the totals."""
        return [row for row in self.records() if row.account is None]

    def held(self) -> list[Position]:
        """Return the open positions."""
        return [row.position for row in self.owner_rows() if self.is_held(row)]

    def set_position(self, position: Position, mark: Decimal | None) -> None:
        """Stage a position; without a mark the last known price of its market is used."""
        symbol = position.symbol
        if mark is not None:
            self._marks[symbol] = mark
        cost = self._lots_cost(position)
        self.put(PositionRow(position, self._marks.get(symbol), self.ownerships.of(symbol), lots_cost=cost))
        self._add_up(symbol)

    def _lots_cost(self, position: Position) -> Decimal | None:
        """Return what the lots cost; None where they do not add up to the position."""
        row = self.record(_key(position.owner, position.symbol))
        if row is not None and row.position.lots is position.lots and row.position.quantity == position.quantity:
            return row.lots_cost
        if total(lot.quantity for lot in position.lots) != position.quantity:
            return None
        return total(lot.cost for lot in position.lots)

    def newest_price(self, symbol: str) -> Decimal | None:
        """Return the newest price known of a market, whoever told it."""
        return self._marks.get(symbol)

    def forget_prices(self) -> None:
        """Forget every price: those to come are another market's."""
        self._marks.clear()

    def set_mark(self, symbol: str, price: Decimal) -> None:
        """Mark every position of a market at a new price."""
        if self._marks.get(symbol) == price:
            return
        self._marks[symbol] = price
        for row in self.records():
            if row.position.symbol == symbol and (row.position.quantity or row.account is not None):
                self.put(replace(row, mark=price))

    def refresh_ownership(self, symbol: str) -> None:
        """Show who may trade a market now."""
        ownership = self.ownerships.of(symbol)
        for row in self.records():
            if row.position.symbol == symbol and row.ownership is not ownership:
                self.put(replace(row, ownership=ownership))

    def owned(self, symbol: str) -> dict[str, Decimal]:
        """Return the base currency of a market by owner."""
        return {r.position.owner: r.position.quantity for r in self.owner_rows() if r.position.symbol == symbol}

    def largest_value(self) -> Decimal | None:
        """Return the value of the largest holding in one market over all owners; None while a price is unknown."""
        symbols = {position.symbol for position in self.held()}
        if not symbols <= self._marks.keys():
            return None
        return max((abs(self.net_quantity(symbol)) * self._marks[symbol] for symbol in symbols), default=ZERO)

    def net_quantity(self, symbol: str) -> Decimal:
        """Return the base currency held in a market over all owners."""
        return total(self.owned(symbol).values())

    def _add_up(self, symbol: str) -> None:
        """Stage the total of a market that more than one owner has traded."""
        rows = [row for row in self.owner_rows() if row.position.symbol == symbol]
        if len(rows) < 2:
            return
        account = account_positions(row.position for row in rows)[symbol]
        summed = Position(
            rows[0].position.venue,
            symbol,
            ALL_OWNERS,
            account.quantity,
            account.average_price,
            account.realised_pnl,
            account.fees,
            max(row.position.updated_ns for row in rows),
            account.fifo_pnl,
            account.funding,
            account.unpriced,
        )
        held = sum(self.is_held(row) for row in rows)
        costs = [row.lots_cost for row in rows if row.lots_cost is not None]
        cost = total(costs) if len(costs) == len(rows) else None
        self.put(PositionRow(summed, self._marks.get(symbol), self.ownerships.of(symbol), account, held, cost))


def _key(owner: str, symbol: str) -> str:
    return f"{owner}\n{symbol}"


def _profit_columns() -> tuple[Column[PositionRow], ...]:
    return (
        _number(
            "value",
            mark("Value"),
            lambda r: MISSING if r.mark is None else format_number(r.mark * r.position.quantity, 2),
            lambda r: (r.mark or ZERO) * r.position.quantity,
        ),
        _profit("realised", mark("Realised"), lambda r: r.position.realised_pnl),
        _profit("fifo_open", mark("Open PnL (FIFO)"), lambda r: r.fifo_open_pnl),
        _profit("fifo_realised", mark("Realised (FIFO)"), lambda r: r.position.fifo_pnl),
        _number("fees", mark("Fees"), _fees_text, lambda r: r.position.fees),
        _profit("funding", mark("Funding"), lambda r: r.position.funding),
        _profit("total", mark("Total PnL"), lambda r: r.total_pnl),
    )


def _fees_text(row: PositionRow) -> str:
    fees = format_number(row.position.fees, 2)
    # What nobody could convert yet is in no figure: the sum must not look complete.
    return (
        tr("{amount} + {count} unpriced", amount=fees, count=row.position.unpriced) if row.position.unpriced else fees
    )


def _number(
    key: str, title: str, text: Callable[[PositionRow], str], value: Callable[[PositionRow], Decimal | None]
) -> Column[PositionRow]:
    return Column[PositionRow](key, title, text, lambda r: float(value(r) or 0), numeric=True, width=11)


def _profit(key: str, title: str, value: Callable[[PositionRow], Decimal | None]) -> Column[PositionRow]:
    return Column[PositionRow](
        key,
        title,
        lambda r: signed(value(r)),
        lambda r: float(value(r) or 0),
        numeric=True,
        tone=lambda r: pnl_tone(value(r)),
        width=12,
    )
