"""Positions as a table, marked at the last price. GUI thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from PySide6.QtCore import QObject

from app.i18n import MISSING, format_exact, format_number, mark, tr
from app.models.format import signed, signed_percent
from app.models.owner_names import OwnerNames
from app.models.precision import Precision
from app.models.record_model import Column, RecordModel, Tone
from core.domain.money import ZERO
from core.domain.orders import MANUAL_OWNER
from core.domain.positions import Position


@dataclass(frozen=True, slots=True)
class PositionRow:
    """A position with the price it is marked at; None before the first price."""

    position: Position
    mark: Decimal | None

    @property
    def open_pnl(self) -> Decimal | None:
        """Unrealised profit in quote currency, or None while unmarked."""
        return None if self.mark is None else self.position.unrealised_pnl(self.mark)

    @property
    def open_return(self) -> float | None:
        """Unrealised profit as a fraction of the entry value, or None."""
        entry = abs(self.position.quantity * self.position.average_price)
        return None if self.open_pnl is None or entry == 0 else float(self.open_pnl / entry)

    @property
    def total_pnl(self) -> Decimal:
        """Realised plus unrealised profit minus fees, quote currency."""
        return self.position.realised_pnl + (self.open_pnl or ZERO) - self.position.fees


def pnl_tone(value: Decimal | float | None) -> Tone | None:
    """Return the colour meaning of a profit."""
    if value is None or value == 0:
        return Tone.MUTED
    return Tone.UP if value > 0 else Tone.DOWN


class PositionsModel(RecordModel[PositionRow]):
    """One row per owner and market."""

    def __init__(self, precision: Precision, parent: QObject | None = None, names: OwnerNames | None = None) -> None:
        shown_names = names or OwnerNames()
        self._precision = precision

        def symbol(row: PositionRow) -> str:
            name = row.position.symbol
            return tr("{symbol} · dust", symbol=name) if self.is_dust(row) else name

        def quantity(row: PositionRow) -> str:
            held = row.position.quantity
            return format_exact(held) if self.is_dust(row) else precision.quantity(row.position.symbol, held)

        columns = (
            Column[PositionRow]("symbol", mark("Symbol"), symbol, lambda r: r.position.symbol, width=15),
            Column[PositionRow](
                "quantity",
                mark("Quantity"),
                quantity,
                lambda r: float(r.position.quantity),
                numeric=True,
                width=11,
            ),
            Column[PositionRow](
                "entry",
                mark("Entry price"),
                lambda r: precision.price(r.position.symbol, r.position.average_price if r.position.quantity else None),
                lambda r: float(r.position.average_price),
                numeric=True,
                width=11,
            ),
            Column[PositionRow](
                "mark",
                mark("Price"),
                lambda r: precision.price(r.position.symbol, r.mark),
                lambda r: float(r.mark or 0),
                numeric=True,
                width=11,
            ),
            Column[PositionRow](
                "open_pnl",
                mark("Open PnL"),
                lambda r: signed(r.open_pnl),
                lambda r: float(r.open_pnl or 0),
                numeric=True,
                tone=lambda r: pnl_tone(r.open_pnl),
                width=12,
            ),
            Column[PositionRow](
                "return",
                mark("Return"),
                lambda r: signed_percent(r.open_return),
                lambda r: r.open_return or 0.0,
                numeric=True,
                tone=lambda r: pnl_tone(r.open_return),
                width=11,
            ),
            Column[PositionRow](
                "owner",
                mark("Owner"),
                lambda r: tr("Manual") if r.position.owner == MANUAL_OWNER else shown_names.title(r.position.owner),
                lambda r: r.position.owner,
                tone=lambda r: Tone.WARNING if self.is_held(r) and r.position.owner == MANUAL_OWNER else None,
                width=18,
            ),
            Column[PositionRow](
                "value",
                mark("Value"),
                lambda r: MISSING if r.mark is None else format_number(r.mark * r.position.quantity, 2),
                lambda r: float((r.mark or ZERO) * r.position.quantity),
                numeric=True,
                width=11,
            ),
            Column[PositionRow](
                "realised",
                mark("Realised"),
                lambda r: signed(r.position.realised_pnl),
                lambda r: float(r.position.realised_pnl),
                numeric=True,
                tone=lambda r: pnl_tone(r.position.realised_pnl),
                width=12,
            ),
            Column[PositionRow](
                "fees",
                mark("Fees"),
                lambda r: format_number(r.position.fees, 2),
                lambda r: float(r.position.fees),
                numeric=True,
                width=10,
            ),
            Column[PositionRow](
                "total",
                mark("Total PnL"),
                lambda r: signed(r.total_pnl),
                lambda r: float(r.total_pnl),
                numeric=True,
                tone=lambda r: pnl_tone(r.total_pnl),
                width=12,
            ),
        )
        super().__init__(
            columns,
            lambda r: f"{r.position.owner}\n{r.position.symbol}",
            row_tone=lambda r: None if self.is_held(r) else Tone.MUTED,
            parent=parent,
        )
        self._marks: dict[str, Decimal] = {}

    def is_dust(self, row: PositionRow) -> bool:
        """Return whether a position is what a fee left of a lot: it is there, and nobody can close it."""
        return self._precision.is_dust(row.position.symbol, row.position.quantity)

    def is_held(self, row: PositionRow) -> bool:
        """Return whether a position counts as open: neither flat nor dust."""
        return row.position.quantity != 0 and not self.is_dust(row)

    def held(self) -> list[Position]:
        """Return the open positions."""
        return [row.position for row in self.records() if self.is_held(row)]

    def set_position(self, position: Position, mark: Decimal | None) -> None:
        """Stage a position; without a mark the last known price of its market is used."""
        if mark is not None:
            self._marks[position.symbol] = mark
        self.put(PositionRow(position, self._marks.get(position.symbol)))

    def newest_price(self, symbol: str) -> Decimal | None:
        """Return the newest price known of a market, whoever told it."""
        return self._marks.get(symbol)

    def set_mark(self, symbol: str, price: Decimal) -> None:
        """Mark every position of a market at a new price."""
        if self._marks.get(symbol) == price:
            return
        self._marks[symbol] = price
        for row in self.records():
            if row.position.symbol == symbol and row.position.quantity:
                self.put(replace(row, mark=price))

    def owned(self, symbol: str) -> dict[str, Decimal]:
        """Return the base currency of a market by owner."""
        return {r.position.owner: r.position.quantity for r in self.records() if r.position.symbol == symbol}

    def largest_value(self) -> Decimal | None:
        """Return the value of the largest holding in one market over all owners; None while a price is unknown."""
        symbols = {position.symbol for position in self.held()}
        if not symbols <= self._marks.keys():
            return None
        return max((abs(self.net_quantity(symbol)) * self._marks[symbol] for symbol in symbols), default=ZERO)

    def net_quantity(self, symbol: str) -> Decimal:
        """Return the base currency held in a market over all owners."""
        return sum((r.position.quantity for r in self.records() if r.position.symbol == symbol), ZERO)
