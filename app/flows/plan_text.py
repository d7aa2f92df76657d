"""What order plans are called on screen. Qt-free, pure, any thread."""

from __future__ import annotations

from app.i18n import mark, tr
from core.domain.order_plans import PlanKind, PlanState

KIND_TEXT = {
    PlanKind.EXIT: mark("Exit"),
    PlanKind.BRACKET: mark("Bracket"),
    PlanKind.TWAP: mark("TWAP"),
    PlanKind.ICEBERG: mark("Iceberg"),
}
KIND_MEANING = {
    PlanKind.EXIT: mark("Sells what you hold at a stop, a trailing stop or a target; whichever comes first."),
    PlanKind.BRACKET: mark("Buys, then sells what was bought at a stop, a trailing stop or a target."),
    PlanKind.TWAP: mark("Spreads an order over time in equal parts."),
    PlanKind.ICEBERG: mark("A limit order of which only a part is shown in the order book at a time."),
}
STATE_TEXT = {
    PlanState.WORKING: mark("At work"),
    PlanState.PAUSED: mark("Paused"),
    PlanState.DONE: mark("Done"),
    PlanState.CANCELED: mark("Cancelled"),
    PlanState.FAILED: mark("Failed"),
}
# By the role in a child's intent id.
ROLE_TEXT = {
    "entry": mark("entry"),
    "stop": mark("stop"),
    "target": mark("target"),
    "close": mark("market exit"),
    "part": mark("part"),
}


def child_text(kind: PlanKind | None, role: str) -> str:
    """Return which part of which plan an order is ("Bracket · stop"); `kind` is None while the plan is not known."""
    title = tr("Order plan") if kind is None else tr(KIND_TEXT[kind])
    return f"{title} · {tr(ROLE_TEXT.get(role, role))}"
