"""Orders as a table. GUI thread."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject

from app.flows.plan_text import child_text
from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_time, mark, tr
from app.models.owner_names import OwnerNames
from app.models.precision import Precision
from app.models.record_model import Column, RecordModel, Tone
from core.domain.order_plans import PlanKind, parse_child
from core.domain.orders import IntentSource, Order, OrderState, OrderType, Side

HISTORY_LIMIT = 2_000

SIDE_TEXT = {Side.BUY: mark("Buy"), Side.SELL: mark("Sell")}
TYPE_TEXT = {
    OrderType.MARKET: mark("Market order"),
    OrderType.LIMIT: mark("Limit order"),
    OrderType.LIMIT_MAKER: mark("Limit-maker order"),
    OrderType.STOP_LOSS_LIMIT: mark("Stop-limit order"),
}
STATE_TEXT = {
    OrderState.INITIALIZED: mark("New"),
    OrderState.DENIED: mark("Denied"),
    OrderState.SUBMITTED: mark("Submitted"),
    OrderState.ACCEPTED: mark("Working"),
    OrderState.PARTIALLY_FILLED: mark("Partly filled"),
    OrderState.FILLED: mark("Filled"),
    OrderState.PENDING_CANCEL: mark("Cancelling"),
    OrderState.CANCELED: mark("Cancelled"),
    OrderState.EXPIRED: mark("Expired"),
    OrderState.REJECTED: mark("Rejected"),
    OrderState.UNKNOWN: mark("Unknown"),
}
_STATE_TONE = {
    OrderState.DENIED: Tone.DANGER,
    OrderState.REJECTED: Tone.DANGER,
    OrderState.UNKNOWN: Tone.WARNING,
    OrderState.PENDING_CANCEL: Tone.WARNING,
    OrderState.FILLED: Tone.SUCCESS,
    OrderState.CANCELED: Tone.MUTED,
    OrderState.EXPIRED: Tone.MUTED,
    OrderState.ACCEPTED: Tone.ACCENT,
    OrderState.PARTIALLY_FILLED: Tone.ACCENT,
}


def side_tone(side: Side) -> Tone:
    """Return the colour meaning of a side."""
    return Tone.UP if side is Side.BUY else Tone.DOWN


def side_text(side: Side) -> str:
    """Write a side with its mark, so that colour is not the only cue."""
    return f"{'▲' if side is Side.BUY else '▼'} {tr(SIDE_TEXT[side])}"


def owner_text(source: IntentSource, owner: str, names: OwnerNames) -> str:
    """Write who wants an order."""
    if source is IntentSource.MANUAL:
        return tr("Manual")
    return tr("Stop trading") if source is IntentSource.KILL_SWITCH else names.title(owner)


def _no_plans(_plan_id: str) -> PlanKind | None:
    return None


def is_open(order: Order) -> bool:
    """Whether an order may still trade."""
    return not order.state.is_terminal


class OrdersModel(RecordModel[Order]):
    """Every order known, by client order id.

    Args:
        kind_of: what the order plan with an id is; parts of plans are called after it.
    """

    def __init__(
        self,
        precision: Precision,
        parent: QObject | None = None,
        names: OwnerNames | None = None,
        kind_of: Callable[[str], PlanKind | None] = _no_plans,
    ) -> None:
        shown_names = names or OwnerNames()

        def wanted_by(order: Order) -> str:
            intent = order.intent
            if not intent.parent_id:
                return owner_text(intent.source, intent.owner, shown_names)
            plan_id, role, _ = parse_child(intent.intent_id)
            return child_text(kind_of(plan_id), role)

        def price(order: Order) -> str:
            limit = order.intent.limit_price
            return tr("market price") if limit is None else precision.price(order.intent.symbol, limit)

        columns = (
            Column[Order]("time", mark("Time"), lambda o: format_time(_created(o)), _created, width=14),
            Column[Order]("symbol", mark("Symbol"), lambda o: o.intent.symbol, lambda o: o.intent.symbol, width=11),
            Column[Order](
                "side",
                mark("Side"),
                lambda o: side_text(o.intent.side),
                lambda o: o.intent.side.value,
                tone=lambda o: side_tone(o.intent.side) if is_open(o) else None,
                width=8,
            ),
            Column[Order](
                "state",
                mark("State"),
                lambda o: tr(STATE_TEXT[o.state]),
                lambda o: o.state.value,
                tone=lambda o: _STATE_TONE.get(o.state),
                width=11,
            ),
            Column[Order](
                "type",
                mark("Type"),
                lambda o: tr(TYPE_TEXT[o.intent.order_type]),
                lambda o: o.intent.order_type.value,
                width=13,
            ),
            Column[Order](
                "price", mark("Price"), price, lambda o: float(o.intent.limit_price or 0), numeric=True, width=11
            ),
            Column[Order](
                "stop",
                mark("Stop price"),
                lambda o: precision.price(o.intent.symbol, o.intent.stop_price),
                lambda o: float(o.intent.stop_price or 0),
                numeric=True,
                width=10,
            ),
            Column[Order](
                "quantity",
                mark("Quantity"),
                lambda o: precision.quantity(o.intent.symbol, o.intent.quantity),
                lambda o: float(o.intent.quantity),
                numeric=True,
                width=10,
            ),
            Column[Order](
                "filled",
                mark("Filled"),
                lambda o: precision.quantity(o.intent.symbol, o.filled_quantity),
                lambda o: float(o.filled_quantity),
                numeric=True,
                width=10,
            ),
            Column[Order](
                "average",
                mark("Avg. price"),
                lambda o: precision.price(o.intent.symbol, o.average_price),
                lambda o: float(o.average_price or 0),
                numeric=True,
                width=11,
            ),
            Column[Order](
                "owner",
                mark("From"),
                wanted_by,
                lambda o: o.intent.owner,
                tone=lambda o: Tone.WARNING if is_open(o) and o.intent.source is IntentSource.MANUAL else None,
                width=17,
            ),
            Column[Order]("updated", mark("Updated"), lambda o: format_time(_updated(o)), _updated, width=14),
            Column[Order](
                "message",
                mark("Note"),
                lambda o: local_text(o.message or o.intent.reason) or MISSING,
                lambda o: o.message or o.intent.reason,
                tone=lambda o: Tone.MUTED,
                width=36,
            ),
        )
        super().__init__(
            columns,
            lambda o: o.client_order_id,
            limit=HISTORY_LIMIT,
            row_tone=lambda o: None if is_open(o) else Tone.MUTED,
            parent=parent,
        )

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Return the orders that may still trade, of one market or all."""
        return [o for o in self.records() if is_open(o) and symbol in (None, o.intent.symbol)]


def _created(order: Order) -> int:
    return order.intent.created_ns or order.submitted_ns or order.updated_ns


def _updated(order: Order) -> int:
    return order.updated_ns or _created(order)
