"""Steps beyond placing and cancelling: changed orders, order plans, ownership, a person's word, loss limits.

`WishSteps` is a part of `World`, kept apart from it. A plan's prices are distances from the market when the step comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from core.domain.order_plans import ExitRules, PlanDraft, PlanKind
from core.domain.orders import IntentSource, OrderChange, OrderState, Side
from core.domain.positions import Ownership
from tests.chaos import invariants
from tests.chaos.plan_watch import PlanWatch

if TYPE_CHECKING:
    from tests.chaos.process import SimProcess
    from tests.chaos.venue import SimVenue
    from tests.chaos.world import SkewedClock


class WishSteps:
    """What a person asks of a running program besides orders and STOP."""

    clock: SkewedClock
    sim: SimVenue
    watch: PlanWatch
    sources: dict[str, IntentSource]
    limited: bool
    _ask: Callable[[str, Callable[[SimProcess], Awaitable[Any]]], None]

    # --- changed orders ---------------------------------------------------------------------------------------

    def _do_replace(self, step: dict[str, Any]) -> None:
        """Change the quantity, the price or both of a resting order; `times` is how often, each time by a bit more."""
        resting = [order.client_id for order in self.sim.open_now() if order.client_id in self.watch.intents]
        if len(resting) <= step["nth"]:
            return
        key = resting[-1 - step["nth"]]
        intent = self.watch.intents[key]
        spec = self.sim.spec(intent.symbol)
        lot, tick = Decimal(1).scaleb(-spec.quantity_decimals), Decimal(1).scaleb(-spec.price_decimals)
        quantity = (intent.quantity * Decimal(step.get("factor", "1"))).quantize(lot)
        for again in range(step.get("times", 1)):
            shift = 1 + Decimal(step.get("shift_bp", 0) + again) / 10_000
            change = OrderChange(
                quantity=quantity if quantity > 0 else None,
                limit_price=None if intent.limit_price is None else (intent.limit_price * shift).quantize(tick),
                stop_price=None if intent.stop_price is None else (intent.stop_price * shift).quantize(tick),
            )
            self.watch.totals.setdefault(key, []).append(change.quantity or intent.quantity)
            self._ask("replacing an order", partial(self._replaced, key, change))

    async def _replaced(self, key: str, change: OrderChange, process: SimProcess) -> None:
        await process.executor.replace_order(key, change)

    def _key(self, nth: int) -> str | None:
        """Return the client id of the n-th newest order that a person could touch."""
        keys = [key for key, source in self.sources.items() if source is not IntentSource.KILL_SWITCH]
        return keys[-1 - nth] if len(keys) > nth else None

    # --- plans ------------------------------------------------------------------------------------------------

    def _do_plan(self, step: dict[str, Any]) -> None:
        async def work(process: SimProcess) -> None:
            with contextlib.suppress(ValueError):  # a draft that the ticket does not let through
                draft = self._draft(process, step)
                await process.executor.create_plan(draft)

        self._ask("creating a plan", work)

    def _draft(self, process: SimProcess, step: dict[str, Any]) -> PlanDraft:
        symbol, kind, owner = step["symbol"], PlanKind(step["kind"]), step["owner"]
        last, spec = self.sim.last_price(symbol), self.sim.spec(symbol)
        lot, tick = Decimal(1).scaleb(-spec.quantity_decimals), Decimal(1).scaleb(-spec.price_decimals)
        side = Side(step["side"])
        quantity = (Decimal(step["value"]) / last).quantize(lot)
        if kind is PlanKind.EXIT:
            held = process.executor.position(symbol, owner).quantity
            side = Side.BUY if held < 0 else Side.SELL
            quantity = (abs(held) * Decimal(step["part"])).quantize(lot, ROUND_DOWN)
        limit = None
        if step.get("away_bp") is not None and kind is not PlanKind.EXIT:
            limit = (last * (1 - side.sign * Decimal(step["away_bp"]) / 10_000)).quantize(tick)
        draft = PlanDraft(kind, symbol, side, quantity, limit, owner=owner, **self._terms(kind, step, quantity, lot))
        if kind not in (PlanKind.EXIT, PlanKind.BRACKET):
            return draft
        sign = draft.closing_side.sign

        def away(name: str, direction: int) -> Decimal | None:
            distance = step.get(name)
            return None if distance is None else (last * (1 + direction * Decimal(distance) / 10_000)).quantize(tick)

        trail = step.get("trail_bp")
        rules = ExitRules(
            stop_price=away("stop_bp", sign),
            target_price=away("target_bp", -sign),
            trail=None if trail is None else (last * Decimal(trail) / 10_000).quantize(tick),
        )
        return replace(draft, exits=rules)

    def _terms(self, kind: PlanKind, step: dict[str, Any], quantity: Decimal, lot: Decimal) -> dict[str, Any]:
        if kind is PlanKind.TWAP:
            return {"slices": step["slices"], "duration_s": step["duration"], "reduce_only": step.get("reduce", False)}
        if kind is PlanKind.ICEBERG:
            visible = (quantity / step["slices"]).quantize(lot)
            return {"visible": visible, "reduce_only": step.get("reduce", False)}
        return {"exits": ExitRules(target_price=quantity)}  # stands in until the side that closes is known

    def _do_cancel_plan(self, step: dict[str, Any]) -> None:
        if (plan_id := self._plan_id(step["nth"])) is not None:
            self._ask("cancelling a plan", lambda process: process.executor.cancel_plan(plan_id))

    def _do_resume_plan(self, step: dict[str, Any]) -> None:
        if (plan_id := self._plan_id(step["nth"])) is not None:
            self._ask("resuming a plan", lambda process: process.executor.resume_plan(plan_id))

    def _plan_id(self, nth: int) -> str | None:
        ids = list(self.watch.plans)
        return ids[-1 - nth] if len(ids) > nth else None

    # --- ownership --------------------------------------------------------------------------------------------

    def _do_take_over(self, step: dict[str, Any]) -> None:
        self.watch.disturbed = True  # orders that strategies sent are cancelled
        self._ask("taking a market over", lambda process: process.executor.take_over(step["symbol"], move=step["move"]))

    def _do_hand_back(self, step: dict[str, Any]) -> None:
        to, heir = Ownership(step["to"]), step.get("move_to", "")

        async def work(process: SimProcess) -> None:  # at the desk: the heirs trade here without being registered
            await process.executor._ownership.hand_back(step["symbol"], to, move_to=heir)

        self._ask("handing a market back", work)

    # --- a person's word --------------------------------------------------------------------------------------

    def _do_ask_about(self, step: dict[str, Any]) -> None:
        if (key := self._key(step["nth"])) is not None:
            self._ask("asking about an order", lambda process: process.executor.ask_about(key))

    def _do_declare_gone(self, step: dict[str, Any]) -> None:
        """A person looks at the venue's own page and says so only where the order is not there."""

        async def work(process: SimProcess) -> None:
            there = {order.client_id for order in self.sim.all_orders()}
            for order in process.executor.working_orders:
                if order.state is OrderState.UNKNOWN and order.client_order_id not in there:
                    await process.executor.declare_gone(order.client_order_id)
                    return

        self._ask("declaring an order gone", work)

    # --- loss limits ------------------------------------------------------------------------------------------

    def _do_limits(self, step: dict[str, Any]) -> None:
        self.limited = True

        async def work(process: SimProcess) -> None:
            changed = process.executor.risk_settings.changed("max_drawdown", str(step["drawdown"]))
            await process.executor.change_risk_settings(changed)

        self._ask("changing the limits", work)


def probe_source(world: Any, symbol: str) -> IntentSource:
    """Return who may buy in a market after all that happened to its ownership."""
    for row in invariants.rows(world.paths, "SELECT symbol, ownership FROM ownership"):
        if row["symbol"] == symbol and row["ownership"] == Ownership.MANUAL.value:
            return IntentSource.MANUAL
    return IntentSource.STRATEGY
