"""What must hold of order plans and changed orders at every moment, and when everything has recovered. World side."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any

from core.domain.order_plans import OrderPlan, PlanKind, PlanState, parse_child
from core.domain.orders import Intent, OrderState, Side, TradingState
from core.events import ExecutorEvent, PlanUpdated, TradingStateChanged
from core.execution.records import OrderRecord
from core.execution.trading_control import DRAWDOWN_REASON
from tests.chaos import invariants, wire

if TYPE_CHECKING:
    from tests.chaos.process import SimProcess
    from tests.chaos.world import World

Row = dict[str, Any]

_REFUSED = ("denied", "rejected", "expired")


class PlanWatch:
    """Sees every order as it is made and every change of the venue's open orders.

    Attributes:
        intents: client id -> what was wanted.
        plans: as they were told last, oldest first.
        totals: client id of a changed order -> the totals it was changed to.
        disturbed: whether anything but the steps "cancel" and "cancel_plan" may have cancelled a plan's order.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.intents: dict[str, Intent] = {}
        self.plans: dict[str, OrderPlan] = {}
        self.totals: dict[str, list[Decimal]] = {}
        self.successors: dict[str, list[str]] = defaultdict(list)
        self.disturbed = False
        self._told: set[str] = set()

    # --- as it happens ----------------------------------------------------------------------------------------

    def made(self, record: OrderRecord) -> None:
        """An order was written down."""
        intent = record.intent
        self.intents[record.key] = intent
        head, _, former = intent.reason.partition(" ")
        if head == "replaces":
            self.successors[former].append(record.key)
        plan = self.plans.get(intent.parent_id)
        if record.order.state is OrderState.SUBMITTED and plan is not None and plan.state.is_over:
            self._world.violate("plan-goes-on", f"{intent.intent_id} was made although its plan is {plan.state}")

    def heard(self, event: ExecutorEvent) -> None:
        """A program told its screen something."""
        if isinstance(event, PlanUpdated):
            self.plans[event.plan.plan_id] = event.plan
        elif isinstance(event, TradingStateChanged) and event.state is TradingState.HALTED:
            self.disturbed = True

    def look(self) -> None:
        """The venue's open orders changed: no wish works twice."""
        working: dict[str, list[str]] = defaultdict(list)
        keys = {order.client_id for order in self._world.sim.open_now()}
        for key in keys & self.intents.keys():
            intent = self.intents[key]
            if intent.parent_id and parse_child(intent.intent_id)[1] != "entry":
                working[f"plan {intent.parent_id}"].append(intent.intent_id)
        for former, others in self.successors.items():
            if len(both := keys & {former, *others}) > 1:
                working[f"order {former} and what replaced it"] += sorted(both)
        for what, those in working.items():
            if len(those) > 1 and what not in self._told:
                self._told.add(what)
                self._world.violate("works-twice", f"{what}: {sorted(those)} rest at the same time")

    def stopped(self, process: SimProcess) -> None:
        """STOP returned."""
        if process.executor.trading_state is TradingState.HALTED and process.executor.plans:
            ids = [plan.plan_id for plan in process.executor.plans]
            self._world.violate("plan-survives", f"STOP left plans {ids} under way")


def plan_problems(world: World) -> list[str]:
    """Return what is wrong with plans and changed orders now."""
    plans = invariants.rows(world.paths, "SELECT * FROM order_plans")
    children: dict[str, list[Row]] = defaultdict(list)
    query = (
        "SELECT o.*, i.quantity, i.side, i.order_type, i.stop_price FROM orders o JOIN intents i USING (intent_id)"
        " WHERE intent_id LIKE 'plan:%' ORDER BY i.created_ns, i.intent_id"
    )
    for row in invariants.rows(world.paths, query):
        plan_id, role, number = parse_child(row["intent_id"])
        children[plan_id].append({**row, "role": role, "number": number})
    problems = [*_replacement_problems(world), *_memory_problems(world, plans)]
    for plan in plans:
        problems += _problems_of(world, plan, json.loads(plan["draft"]), children[plan["plan_id"]])
    return problems


def _problems_of(world: World, plan: Row, draft: Row, children: list[Row]) -> list[str]:
    name, state = f"{draft['kind']} plan {plan['plan_id']}", PlanState(plan["state"])
    problems = _quantity_problems(world, name, draft, children)
    working = [row for row in children if not OrderState(row["state"]).is_terminal]
    if state.is_over:
        problems += [f"plan-orphan: {row['intent_id']} is {row['state']}, {name} is {state}" for row in working]
    by_hand = world.halted and world.life.executor.trading_record.reason != DRAWDOWN_REASON
    if not state.is_over and by_hand:
        problems.append(f"plan-survives: {name} is {state} although trading was stopped")
    if "one of its orders was cancelled by hand" in plan["reason"] and not world.watch.disturbed:
        noted = json.loads(plan["cancelled"])
        keys = {r["client_order_id"] for r in children if r["state"] == "canceled"} - {*noted}
        if not keys & world.cancels.keys():
            problems.append(f"plan-abandoned: {name} ended, nobody but itself cancelled {sorted(keys)}")
    if state is PlanState.WORKING and not world.halted:
        if draft["exits"] is not None:
            problems += _stop_problems(world, name, plan, draft, children)
        elif draft["kind"] == PlanKind.ICEBERG and not working and not _was_refused(children):
            problems.append(f"plan-stuck: {name} shows nothing, its orders were {[r['state'] for r in children]}")
    return problems


def _quantity_problems(world: World, name: str, draft: Row, children: list[Row]) -> list[str]:
    """A plan trades no more than was asked for, and leaves no more than it entered: as it happened at the venue."""
    filled = {"entry": Decimal(0), "": Decimal(0)}
    keys = {row["client_order_id"]: row["role"] for row in children}
    ids = {order.order_id: keys[order.client_id] for order in world.sim.all_orders() if order.client_id in keys}
    for fill in world.sim.all_fills():
        if (role := ids.get(fill.order_id)) is not None:
            spec = world.sim.exchange.specs[fill.symbol]
            quantity = Decimal(spec.quantity_text(fill.quantity))
            if role == "entry" and fill.fee_asset == spec.base:
                filled["fee"] = filled.get("fee", Decimal(0)) + wire.units(fill.fee)
            filled["entry" if role == "entry" else ""] += quantity
    wanted = Decimal(draft["quantity"])
    most = filled["entry"] - filled.get("fee", Decimal(0)) if draft["kind"] == PlanKind.BRACKET else wanted
    problems = []
    if filled["entry"] > wanted:
        problems.append(f"plan-too-much: {name} entered {filled['entry']} of {wanted}")
    if filled[""] > most:
        problems.append(f"plan-too-much: {name} traded {filled['']} of {most}")
    return problems


def _stop_problems(world: World, name: str, plan: Row, draft: Row, children: list[Row]) -> list[str]:
    """What a working plan protects has exactly one resting stop, or there is a visible reason why not."""
    exits, spec = draft["exits"], world.sim.spec(draft["symbol"])
    bracket = draft["kind"] == PlanKind.BRACKET
    side = Side(draft["side"]).opposite if bracket else Side(draft["side"])
    instrument, last = wire.instrument_of(spec), world.sim.last_price(draft["symbol"])
    entries = [row for row in children if row["role"] == "entry"]
    if bracket and not entries:
        return [f"plan-stuck: {name} has not entered"]
    covered = Decimal(draft["quantity"])
    if bracket:
        keys = f"SELECT fee, fee_currency FROM fills WHERE client_order_id = '{entries[0]['client_order_id']}'"
        fees = [Decimal(r["fee"]) for r in invariants.rows(world.paths, keys) if r["fee_currency"] == spec.base]
        covered = Decimal(entries[0]["filled_quantity"]) - sum(fees)
    closings = [row for row in children if row["role"] != "entry"]
    held = world.life.executor.position(draft["symbol"], draft["owner"]).quantity * -side.sign
    done = sum((Decimal(row["filled_quantity"]) for row in closings), start=Decimal(0))
    lot = Decimal(1).scaleb(-spec.quantity_decimals)
    left = max(Decimal(0), min(covered - done, held)).quantize(lot, ROUND_DOWN)
    text = plan["stop_price"] if exits["trail"] is not None else exits["stop_price"]
    resting = [row for row in closings if not OrderState(row["state"]).is_terminal]
    if instrument.rule_violation(left, last) is not None:
        return []  # too small for an order of its own
    if text is None and exits["trail"] is None:
        return []
    rest = [(row["role"], Decimal(row["quantity"]) - Decimal(row["filled_quantity"])) for row in resting]
    if rest == [("stop", left)] or _has_reason(world, draft, exits, text, last, side, children):
        return []
    return [f"unprotected: {name} is to protect {left} at {text}, {rest} rests, the market is at {last}"]


def _has_reason(
    world: World, draft: Row, exits: Row, stop: str | None, last: Decimal, side: Side, children: list[Row]
) -> bool:
    target = exits["target_price"]
    reached = target is not None and (Decimal(target) - last) * side.sign >= 0
    beyond = stop is not None and (last - Decimal(stop)) * side.sign >= 0
    return reached or beyond or _was_refused(children)


def _was_refused(children: list[Row]) -> bool:
    """Whether the newest order of a plan had no effect because it was refused: the plan waits, then tries again."""
    return bool(children) and children[-1]["state"] in _REFUSED and not Decimal(children[-1]["filled_quantity"])


def _memory_problems(world: World, plans: list[Row]) -> list[str]:
    disk = {row["plan_id"]: row["state"] for row in plans if not PlanState(row["state"]).is_over}
    memory = {plan.plan_id: plan.state.value for plan in world.life.executor.plans}
    problems = [] if disk == memory else [f"memory: plans {memory} in memory, {disk} on disk"]
    told = {}
    for event in world.life.events:
        if isinstance(event, PlanUpdated):
            told[event.plan.plan_id] = event.plan.state.value
    states = {row["plan_id"]: row["state"] for row in plans}
    problems += [
        f"screen: plan {key} was told as {value}, is {states.get(key)}"
        for key, value in told.items()
        if states.get(key) != value
    ]
    return problems


def _replacement_problems(world: World) -> list[str]:
    """A changed order and what took its place trade no more than the changed total."""
    by_key: dict[str, Decimal] = defaultdict(Decimal)
    for order in world.sim.all_orders():
        by_key[order.client_id] += Decimal(world.sim.exchange.specs[order.symbol].quantity_text(order.executed))
    problems = []
    for former, others in world.watch.successors.items():
        most = max(world.watch.totals.get(former, [Decimal(0)]))
        filled = by_key[former] + sum((by_key[key] for key in others), start=Decimal(0))
        if filled > most:
            problems.append(f"replaced-too-much: {former} and {others} traded {filled} of {most}")
    return problems
