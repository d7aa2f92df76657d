"""Fills as a table. GUI thread."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject

from app.i18n import MISSING, format_number, format_time, mark, tr
from app.models.orders_model import owner_text, side_text, side_tone
from app.models.owner_names import OwnerNames
from app.models.precision import Precision
from app.models.record_model import Column, RecordModel, Tone
from core.domain.fills import Fill, Liquidity
from core.domain.orders import Order

HISTORY_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class FillRow:
    """A fill and the order it belongs to, if that is known."""

    fill: Fill
    order: Order | None

    def owner(self, names: OwnerNames) -> str:
        """Return who wanted it, as shown."""
        return MISSING if self.order is None else owner_text(self.order.intent.source, self.order.intent.owner, names)


class FillsModel(RecordModel[FillRow]):
    """Every fill booked, newest last."""

    def __init__(self, precision: Precision, parent: QObject | None = None, names: OwnerNames | None = None) -> None:
        shown_names = names or OwnerNames()
        columns = (
            Column[FillRow](
                "time", mark("Time"), lambda r: format_time(r.fill.time_ns), lambda r: r.fill.time_ns, width=14
            ),
            Column[FillRow]("symbol", mark("Symbol"), lambda r: r.fill.symbol, lambda r: r.fill.symbol, width=11),
            Column[FillRow](
                "side",
                mark("Side"),
                lambda r: side_text(r.fill.side),
                lambda r: r.fill.side.value,
                tone=lambda r: side_tone(r.fill.side),
                width=8,
            ),
            Column[FillRow](
                "price",
                mark("Price"),
                lambda r: precision.price(r.fill.symbol, r.fill.price),
                lambda r: float(r.fill.price),
                numeric=True,
                width=11,
            ),
            Column[FillRow](
                "quantity",
                mark("Quantity"),
                lambda r: precision.quantity(r.fill.symbol, r.fill.quantity),
                lambda r: float(r.fill.quantity),
                numeric=True,
                width=11,
            ),
            Column[FillRow](
                "value",
                mark("Value"),
                lambda r: format_number(r.fill.value, 2),
                lambda r: float(r.fill.value),
                numeric=True,
                width=11,
            ),
            Column[FillRow](
                "fee",
                mark("Fee"),
                lambda r: f"{format_number(r.fill.fee)} {r.fill.fee_currency}",
                lambda r: float(r.fill.fee),
                numeric=True,
                width=15,
            ),
            Column[FillRow](
                "liquidity",
                mark("Role"),
                lambda r: tr("Maker") if r.fill.liquidity is Liquidity.MAKER else tr("Taker"),
                lambda r: r.fill.liquidity.value,
                tone=lambda r: Tone.MUTED,
                width=8,
            ),
            Column[FillRow](
                "owner", mark("From"), lambda r: r.owner(shown_names), lambda r: r.owner(shown_names), width=18
            ),
        )
        super().__init__(columns, lambda r: f"{r.fill.symbol}\n{r.fill.trade_id}", limit=HISTORY_LIMIT, parent=parent)
