"""What becomes of what goes on when the program ends: the lines of the question before quitting. GUI thread only."""

from __future__ import annotations

from collections.abc import Sequence

from app.i18n import format_exact, tr, tr_count
from app.models.hub import WindowModels
from app.models.orders_model import side_text

MAX_NAMED = 4  # more would make the question longer than the screen


def closing_stakes(models: WindowModels) -> tuple[str, ...]:
    """Return a translated line about strategies, positions and orders, each where there are any."""
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
    if orders := [order.intent for order in models.orders.open_orders()]:
        lines.append(
            tr_count(
                "{n} order ({names}) stays at the exchange and may still be filled.",
                "{n} orders ({names}) stay at the exchange and may still be filled.",
                len(orders),
                names=_listed([f"{side_text(o.side)} {format_exact(o.quantity)} {o.symbol}" for o in orders]),
            )
        )
    return tuple(lines)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMED
    shown = ", ".join(names[:MAX_NAMED])
    return shown if rest <= 0 else tr("{names} and {n} more", names=shown, n=rest)
