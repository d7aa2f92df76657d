"""Order plans as a table. GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from PySide6.QtCore import QObject

from app.flows.plan_text import KIND_TEXT, STATE_TEXT
from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_duration, format_time, mark, tr
from app.models.orders_model import side_text, side_tone
from app.models.precision import Precision
from app.models.record_model import Column, RecordModel, Tone
from core.domain.order_plans import OrderPlan, PlanKind, PlanState

HISTORY_LIMIT = 1_000
_STATE_TONE = {
    PlanState.WORKING: Tone.ACCENT,
    PlanState.PAUSED: Tone.WARNING,
    PlanState.DONE: Tone.SUCCESS,
    PlanState.CANCELED: Tone.MUTED,
    PlanState.FAILED: Tone.DANGER,
}


def is_under_way(plan: OrderPlan) -> bool:
    """Whether something may still come of a plan."""
    return not plan.state.is_over


def stop_of(plan: OrderPlan) -> Decimal | None:
    """Return where the stop of a plan stands now."""
    exits = plan.draft.exits
    if plan.stop_price is not None:
        return plan.stop_price
    return None if exits is None else exits.stop_price


class PlansModel(RecordModel[OrderPlan]):
    """Every order plan known, by its id."""

    def __init__(self, precision: Precision, parent: QObject | None = None) -> None:
        self._precision = precision
        super().__init__(
            (*self._what(), *self._prices(), *_standing()),
            lambda p: p.plan_id,
            limit=HISTORY_LIMIT,
            row_tone=lambda p: None if is_under_way(p) else Tone.MUTED,
            parent=parent,
        )

    def kind_of(self, plan_id: str) -> PlanKind | None:
        """Return what a plan is; None where it is not known."""
        plan = self.record(plan_id)
        return None if plan is None else plan.draft.kind

    def under_way(self) -> list[OrderPlan]:
        """Return the plans that are not over."""
        return [plan for plan in self.records() if is_under_way(plan)]

    def _what(self) -> tuple[Column[OrderPlan], ...]:
        precision = self._precision
        return (
            Column[OrderPlan](
                "created", mark("Created"), lambda p: format_time(p.created_ns), lambda p: p.created_ns, width=14
            ),
            Column[OrderPlan]("symbol", mark("Symbol"), lambda p: p.draft.symbol, lambda p: p.draft.symbol, width=11),
            Column[OrderPlan](
                "kind", mark("Kind"), lambda p: tr(KIND_TEXT[p.draft.kind]), lambda p: p.draft.kind.value, width=10
            ),
            Column[OrderPlan](
                "state",
                mark("State"),
                lambda p: tr(STATE_TEXT[p.state]),
                lambda p: p.state.value,
                tone=lambda p: _STATE_TONE[p.state],
                width=11,
            ),
            Column[OrderPlan](
                "side",
                mark("Side"),
                lambda p: side_text(p.draft.side),
                lambda p: p.draft.side.value,
                tone=lambda p: side_tone(p.draft.side) if is_under_way(p) else None,
                width=8,
            ),
            Column[OrderPlan](
                "quantity",
                mark("Quantity"),
                lambda p: precision.quantity(p.draft.symbol, p.draft.quantity),
                lambda p: float(p.draft.quantity),
                numeric=True,
                width=10,
            ),
        )

    def _prices(self) -> tuple[Column[OrderPlan], ...]:
        return (
            Column[OrderPlan](
                "price",
                mark("Price"),
                self._price_text,
                lambda p: float(p.draft.limit_price or 0),
                numeric=True,
                width=11,
            ),
            self._price("stop", mark("Stop price"), stop_of),
            self._price("trail", mark("Trailing distance"), lambda p: p.draft.exits.trail if p.draft.exits else None),
            self._price(
                "target", mark("Target price"), lambda p: p.draft.exits.target_price if p.draft.exits else None
            ),
            Column[OrderPlan]("parts", mark("Parts"), self._parts_text, lambda p: p.draft.slices, width=16),
        )

    def _price(self, key: str, title: str, value: Callable[[OrderPlan], Decimal | None]) -> Column[OrderPlan]:
        return Column[OrderPlan](
            key,
            title,
            lambda p: self._precision.price(p.draft.symbol, value(p)),
            lambda p: float(value(p) or 0),
            numeric=True,
            width=11,
        )

    def _price_text(self, plan: OrderPlan) -> str:
        """Write at what price it enters or trades; an exit does neither."""
        draft = plan.draft
        if draft.limit_price is None and draft.kind is not PlanKind.EXIT:
            return tr("market price")
        return self._precision.price(draft.symbol, draft.limit_price)

    def _parts_text(self, plan: OrderPlan) -> str:
        draft = plan.draft
        if draft.kind is PlanKind.TWAP:
            return tr("{n} in {time}", n=draft.slices, time=format_duration(draft.duration_s))
        if draft.visible is not None:
            return tr("{quantity} shown", quantity=self._precision.quantity(draft.symbol, draft.visible))
        return MISSING


def _standing() -> tuple[Column[OrderPlan], ...]:
    return (
        Column[OrderPlan](
            "updated", mark("Updated"), lambda p: format_time(p.updated_ns), lambda p: p.updated_ns, width=14
        ),
        Column[OrderPlan](
            "reason",
            mark("Note"),
            lambda p: local_text(p.reason) or MISSING,
            lambda p: p.reason,
            tone=lambda p: Tone.MUTED,
            width=36,
        ),
    )
