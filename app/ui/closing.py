"""What becomes of what goes on when the program ends: the lines of the question before quitting. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence

from app.flows.plan_flow import WITH_EXITS
from app.flows.plan_text import KIND_TEXT
from app.i18n import format_exact, tr, tr_count
from app.models.hub import WindowModels
from app.models.orders_model import side_text
from core.domain.order_plans import OrderPlan
from core.domain.orders import Order, OrderState

_UNANSWERED = (OrderState.SUBMITTED, OrderState.UNKNOWN)
MAX_NAMED = 4  # more would make the question longer than the screen


def closing_stakes(models: WindowModels) -> tuple[str, ...]:
    """Return a translated line about strategies, positions, orders and order plans, each where there are any."""
    lines: list[str] = []
    if running := [status.title for status in models.strategies.active()]:
        lines.append(
            tr_count(
                "{n} strategy ({names}) stops with the program and waits at the next start until you start it.",
                "{n} strategies ({names}) stop with the program and wait at the next start until you start them.",
                len(running),
                names=_listed(running),
            )
        )
    if held := models.positions.held():
        lines.append(
            tr_count(
                "{n} position ({names}) stays open, and nobody watches over it meanwhile.",
                "{n} positions ({names}) stay open, and nobody watches over them meanwhile.",
                len(held),
                names=_listed([f"{format_exact(p.quantity)} {p.symbol}" for p in held]),
            )
        )
    return (*lines, *_order_lines(models.orders.open_orders()), *_plan_lines(models.plans.under_way()))


def _order_lines(orders: Sequence[Order]) -> tuple[str, ...]:
    lines: list[str] = []
    if doubtful := [_order_name(order) for order in orders if order.state in _UNANSWERED]:
        lines.append(
            tr_count(
                "{n} order ({names}) has no answer yet: whether the exchange has it is found out at the next start. "
                "It may be filled meanwhile.",
                "{n} orders ({names}) have no answer yet: whether the exchange has them is found out at the next "
                "start. They may be filled meanwhile.",
                len(doubtful),
                names=_listed(doubtful),
            )
        )
    if resting := [_order_name(order) for order in orders if order.state not in _UNANSWERED]:
        lines.append(
            tr_count(
                "{n} order ({names}) stays at the exchange and may still be filled.",
                "{n} orders ({names}) stay at the exchange and may still be filled.",
                len(resting),
                names=_listed(resting),
            )
        )
    return tuple(lines)


def _order_name(order: Order) -> str:
    intent = order.intent
    return f"{side_text(intent.side)} {format_exact(intent.quantity)} {intent.symbol}"


def _plan_lines(plans: Sequence[OrderPlan]) -> tuple[str, ...]:
    lines: list[str] = []
    if exits := [_plan_name(plan) for plan in plans if plan.draft.kind in WITH_EXITS]:
        lines.append(
            tr_count(
                "{n} order plan ({names}) sleeps meanwhile: a stop rests at the exchange, a target and a trailing "
                "stop are watched only while the program runs.",
                "{n} order plans ({names}) sleep meanwhile: a stop rests at the exchange, a target and a trailing "
                "stop are watched only while the program runs.",
                len(exits),
                names=_listed(exits),
            )
        )
    if parts := [_plan_name(plan) for plan in plans if plan.draft.kind not in WITH_EXITS]:
        lines.append(
            tr_count(
                "{n} order plan ({names}) places nothing more until the next start; one that would grow a position "
                "waits there until you resume it.",
                "{n} order plans ({names}) place nothing more until the next start; those that would grow a position "
                "wait there until you resume them.",
                len(parts),
                names=_listed(parts),
            )
        )
    return tuple(lines)


def _plan_name(plan: OrderPlan) -> str:
    return f"{tr(KIND_TEXT[plan.draft.kind])} {format_exact(plan.draft.quantity)} {plan.draft.symbol}"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMED
    shown = ", ".join(names[:MAX_NAMED])
    return shown if rest <= 0 else tr("{names} and {n} more", names=shown, n=rest)
