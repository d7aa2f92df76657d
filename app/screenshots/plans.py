"""The order plans of the pictures. Qt-free, pure, any thread."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from core.clock import NS_PER_S
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState
from core.domain.orders import Side

BRACKET_ID = "p0004"  # its stop is among the orders of the pictures
_OWNER = "ethusdt-15m-1b7e55d2"
_BTC, _ETH, _SOL = "BTC/USDT", "ETH/USDT", "SOL/USDT"
# The sentences are the core's own, word for word.
_WAITS = "waits for you after the restart"
_CLOSED = "the position is closed"


def picture_plans(price: Callable[[str, float], Decimal], now_ns: int) -> tuple[OrderPlan, ...]:
    """Return one plan of every kind and in every state, oldest first.

    Args:
        price: returns a share of the last price of a market, on its steps.
    """

    def plan(
        number: int, age_s: int, draft: PlanDraft, state: PlanState = PlanState.WORKING, reason: str = ""
    ) -> OrderPlan:
        made = now_ns - age_s * NS_PER_S
        return OrderPlan(f"p{number:04d}", draft, state=state, reason=reason, created_ns=made, updated_ns=made)

    trailing = ExitRules(trail=price(_ETH, 0.02), target_price=price(_ETH, 1.04))
    bracket = ExitRules(stop_price=price(_BTC, 0.982), target_price=price(_BTC, 1.035))
    return (
        plan(
            1,
            7_320,
            PlanDraft(PlanKind.EXIT, _ETH, Side.SELL, Decimal("0.2500"), exits=trailing),
            PlanState.DONE,
            _CLOSED,
        ),
        plan(
            2,
            5_410,
            PlanDraft(PlanKind.TWAP, _ETH, Side.BUY, Decimal("0.6000"), slices=12, duration_s=3_600),
            PlanState.PAUSED,
            _WAITS,
        ),
        plan(
            3,
            1_940,
            PlanDraft(
                PlanKind.ICEBERG, _SOL, Side.BUY, Decimal("60.000"), price(_SOL, 0.985), visible=Decimal("8.000")
            ),
        ),
        plan(4, 409, PlanDraft(PlanKind.BRACKET, _BTC, Side.BUY, Decimal("0.00500"), exits=bracket)),
        plan(5, 120, PlanDraft(PlanKind.EXIT, _ETH, Side.SELL, Decimal("0.5000"), exits=trailing, owner=_OWNER)),
    )
