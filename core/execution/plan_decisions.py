"""What an order plan does next. Pure functions; any thread.

`decide` looks at a plan, its children and the market and returns the next action. Nothing else is remembered: after a
crash the same look leads to the same action, and because a child's intent id follows from its role and number, an
action taken twice is one order.

A stop rests at the venue (a stop limit order), where it works without this program; a target is watched here, because a
spot venue locks the same coins for only one of the two. When the target is reached the stop is taken back, confirmed,
and what the market then gives at the target or better is taken at once; what is left is stopped again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.domain.instruments import Instrument
from core.domain.money import ZERO
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState, trailing_stop
from core.domain.orders import Order, OrderState, OrderType, Side, TimeInForce

ENTRY, STOP, TARGET, CLOSE, PART = "entry", "stop", "target", "close", "part"
STOP_LIMIT_OFFSET = Decimal("0.005")  # how much worse than the stop its limit is: a gap wider than that is sold into
MOST_REFUSALS = 8
_CANCELLED_OUTSIDE = "one of its orders was cancelled by hand, by the venue or by the dead-man switch"
_REFUSED = (OrderState.DENIED, OrderState.REJECTED)
_UNDECIDED = (OrderState.SUBMITTED, OrderState.UNKNOWN, OrderState.PENDING_CANCEL)
_FIRST_PAUSE_NS = 500 * NS_PER_MS
_LONGEST_PAUSE_NS = 30 * NS_PER_S
_GROWTH_PAUSE_NS = NS_PER_S
_TARGET_PAUSE_NS = 2 * NS_PER_S  # between two attempts at the target; the stop rests meanwhile


@dataclass(frozen=True, slots=True)
class Child:
    """One order of a plan.

    Attributes:
        fee_base: fees charged in the base currency: what was bought is that much less.
        is_booked: every fill the venue spoke of is in the books, and so in the position.
    """

    role: str
    number: int
    order: Order
    fee_base: Decimal = ZERO
    is_booked: bool = True

    @property
    def is_open(self) -> bool:
        """Whether the venue may still execute it."""
        return not self.order.state.is_terminal

    @property
    def is_decided(self) -> bool:
        """Whether it is known what became of it so far; of one that never rests, that is what became of it."""
        return self.order.state not in _UNDECIDED and self.is_booked and (self.rests or not self.is_open)

    @property
    def rests(self) -> bool:
        """Whether it waits at the venue until it is filled or cancelled."""
        intent = self.order.intent
        return intent.order_type is not OrderType.MARKET and intent.time_in_force is TimeInForce.GTC

    @property
    def was_refused(self) -> bool:
        """Whether it had no effect because it was refused or never arrived; one that found no counterpart had."""
        order = self.order
        in_vain = order.state in _REFUSED or (order.state is OrderState.EXPIRED and bool(order.reason_code))
        return in_vain and not order.filled_quantity

    @property
    def filled(self) -> Decimal:
        """Base currency executed."""
        return self.order.filled_quantity


@dataclass(frozen=True, slots=True)
class PlanView:
    """What a plan looks at.

    Attributes:
        now_ns: wall time, ns UTC.
        last_price: None while unknown.
        children: all orders of the plan, in the order they were made.
        held: base currency its owner holds, negative is short.
    """

    now_ns: int
    last_price: Decimal | None
    instrument: Instrument
    children: tuple[Child, ...] = ()
    held: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Place:
    """Send one more child."""

    role: str
    number: int
    side: Side
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class CancelChild:
    """Take a child back."""

    client_order_id: str


@dataclass(frozen=True, slots=True)
class MoveStop:
    """Note a new place of the trailing stop."""

    stop_price: Decimal


@dataclass(frozen=True, slots=True)
class End:
    """The plan is over.

    Attributes:
        is_complete: it traded what it was to trade, as far as the market's rules let it.
    """

    state: PlanState
    reason: str
    is_complete: bool = True


Action = Place | CancelChild | MoveStop | End


def decide(plan: OrderPlan, view: PlanView) -> Action | None:
    """Return what a working plan does next; None where it waits."""
    if not all(child.is_decided for child in view.children):
        return None  # what an order became must be known before another one follows it
    stopped = _cancelled_outside(plan, view)
    if stopped is not None:
        return _wind_up(view, stopped)
    refused = _refused_too_often(view)
    if refused is not None:
        return _wind_up(view, refused)
    if _is_cooling_down(view):
        return None
    return _BY_KIND[plan.draft.kind](plan, view)


def begins_exposure(plan: OrderPlan, children: tuple[Child, ...]) -> bool:
    """Return whether going on could open or grow a position: such a plan does not go on by itself after a restart."""
    draft = plan.draft
    if draft.kind is PlanKind.EXIT or draft.reduce_only:
        return False
    if draft.kind is PlanKind.BRACKET:
        return not any(child.role == ENTRY for child in children)  # what was entered must be protected
    return True


def _wind_up(view: PlanView, end: End) -> Action:
    """End a plan, its open children first."""
    working = [child for child in view.children if child.is_open]
    return CancelChild(working[0].order.client_order_id) if working else end


def _cancelled_outside(plan: OrderPlan, view: PlanView) -> End | None:
    for child in view.children:
        order = child.order
        entered = child.role == ENTRY and child.filled > 0  # what was bought must be protected all the same
        outside = order.state is OrderState.CANCELED and order.client_order_id not in plan.cancelled
        if child.rests and outside and not entered:
            return End(PlanState.CANCELED, _CANCELLED_OUTSIDE)
    return None


def _refused_too_often(view: PlanView) -> End | None:
    """A wish refused again and again is a matter for a person."""
    row = _refusals(view)
    if row < MOST_REFUSALS:
        return None
    last = view.children[-1].order
    return End(PlanState.FAILED, f"its orders are refused: {last.message or last.reason_code}")


def _refusals(view: PlanView) -> int:
    """Return how many of the newest children were refused in a row."""
    count = 0
    for child in reversed(view.children):
        if not child.was_refused:
            break
        count += 1
    return count


def _is_cooling_down(view: PlanView) -> bool:
    row = _refusals(view)
    if row == 0:
        return False
    pause = min(_FIRST_PAUSE_NS << (row - 1), _LONGEST_PAUSE_NS)
    return view.now_ns - view.children[-1].order.updated_ns < pause


# --- exits ----------------------------------------------------------------------------------------------------


def _exit(plan: OrderPlan, view: PlanView, quantity: Decimal) -> Action | None:
    """Close up to `quantity` of what the owner holds."""
    rules, side = plan.draft.exits, plan.draft.closing_side
    assert rules is not None  # an exit has rules
    exits = [child for child in view.children if child.role != ENTRY]
    done = sum((child.filled for child in exits), start=ZERO)
    closable = max(ZERO, view.held * -side.sign)
    left = view.instrument.round_quantity(min(quantity - done, closable))
    working = [child for child in exits if child.is_open]
    if view.instrument.rule_violation(left, view.last_price) is not None:
        return _finish(working, left)
    last = view.last_price
    if last is None:
        return None
    stop = _stop_now(plan, rules, side, last, view.instrument)
    if stop is not None and stop != plan.stop_price and not _is_reached(stop, last, side):
        return MoveStop(stop)
    if working:
        return _tend(view, working[0], rules, left, stop, last, side)
    return _begin_exit(view, rules, left, stop, last, side)


def _finish(working: list[Child], left: Decimal) -> Action | None:
    """End where nothing is left that could be sold; a small rest of an order that works may still be filled."""
    if working:
        order = working[0].order
        return CancelChild(order.client_order_id) if left <= 0 or order.remaining_quantity > left else None
    return End(PlanState.DONE, "the position is closed" if left <= 0 else "what is left is too small to be sold")


def _tend(
    view: PlanView, child: Child, rules: ExitRules, left: Decimal, stop: Decimal | None, last: Decimal, side: Side
) -> Action | None:
    """Look after the stop at work; whatever is to be changed begins with taking it back."""
    order = child.order
    gapped = order.intent.limit_price is not None and (last - order.intent.limit_price) * side.sign > 0
    aimed = _is_target(rules, last, side) and _may_aim(view)
    too_large = order.remaining_quantity > left
    # An entry that fills in many small parts must not have its stop replaced at each of them.
    too_small = order.remaining_quantity < left and view.now_ns - order.updated_ns >= _GROWTH_PAUSE_NS
    if aimed or gapped or too_large or too_small or order.intent.stop_price != stop:
        return CancelChild(order.client_order_id)
    return None


def _begin_exit(
    view: PlanView, rules: ExitRules, left: Decimal, stop: Decimal | None, last: Decimal, side: Side
) -> Action | None:
    if stop is not None and _is_reached(stop, last, side):
        number = _next_number(view, CLOSE)
        return Place(CLOSE, number, side, left, OrderType.MARKET, reduce_only=True)
    if _is_target(rules, last, side) and _may_aim(view):
        number = _next_number(view, TARGET)
        return Place(
            TARGET,
            number,
            side,
            left,
            OrderType.LIMIT,
            limit_price=rules.target_price,
            time_in_force=TimeInForce.IOC,
            reduce_only=True,
        )
    if stop is None:
        return None
    beyond = stop * (1 + STOP_LIMIT_OFFSET * side.sign)
    instrument = view.instrument
    limit = instrument.floor_price(beyond) if side is Side.SELL else instrument.ceil_price(beyond)
    number = _next_number(view, STOP)
    return Place(STOP, number, side, left, OrderType.STOP_LOSS_LIMIT, limit, stop, reduce_only=True)


def _stop_now(plan: OrderPlan, rules: ExitRules, side: Side, last: Decimal, instrument: Instrument) -> Decimal | None:
    """Return where the stop belongs: fixed, or following the best price in steps, never back."""
    if rules.trail is None:
        return rules.stop_price
    known = plan.stop_price if plan.stop_price is not None else rules.stop_price
    return trailing_stop(known, rules.trail, last, side, instrument)


def _is_reached(stop: Decimal, last: Decimal, side: Side) -> bool:
    return (last - stop) * side.sign >= 0


def _may_aim(view: PlanView) -> bool:
    attempts = [child.order.updated_ns for child in view.children if child.role == TARGET]
    return not attempts or view.now_ns - attempts[-1] >= _TARGET_PAUSE_NS


def _is_target(rules: ExitRules, last: Decimal, side: Side) -> bool:
    return rules.target_price is not None and (rules.target_price - last) * side.sign >= 0


# --- entries and parts ----------------------------------------------------------------------------------------


def _bracket(plan: OrderPlan, view: PlanView) -> Action | None:
    draft = plan.draft
    entries = [child for child in view.children if child.role == ENTRY]
    if not entries:
        kind = OrderType.MARKET if draft.limit_price is None else OrderType.LIMIT
        return Place(ENTRY, 0, draft.side, draft.quantity, kind, draft.limit_price)
    entry = entries[0]
    entered = entry.filled - entry.fee_base
    if entry.filled == 0:
        return None if entry.is_open else End(PlanState.FAILED, f"the entry was not made: {entry.order.message}")
    if entry.is_open:
        leaving = any(child.role in (TARGET, CLOSE) or (child.role == STOP and child.filled) for child in view.children)
        if leaving:
            return CancelChild(entry.order.client_order_id)  # what is being left must not be entered any more
        if view.instrument.rule_violation(view.instrument.round_quantity(entered), view.last_price) is not None:
            return None  # too little yet for an order of its own
    return _exit(plan, view, entered)


def _twap(plan: OrderPlan, view: PlanView) -> Action | None:
    """Trade one part per slot; a slot that was missed is spread over those that remain, never caught up at once.

    Where too many were missed for that, parts go on after the planned end, for as long again at most. A part that the
    market did not fill was not missed.
    """
    draft = plan.draft
    interval_ns = draft.duration_s * NS_PER_S // draft.slices
    slot = max(0, view.now_ns - plan.created_ns) // interval_ns
    done = sum((child.filled for child in view.children), start=ZERO)
    left = view.instrument.round_quantity(draft.quantity - done)
    if left <= 0:
        return End(PlanState.DONE, "all parts are traded")
    tried = sum(not child.was_refused for child in view.children)
    is_late = slot >= draft.slices
    over = slot >= 2 * draft.slices or (is_late and tried >= draft.slices)
    price = view.last_price
    part = None if over or price is None else _twap_part(draft, view.instrument, left, slot, price)
    if over or (is_late and price is not None and part is None):
        return End(PlanState.DONE, f"the time is over; {left:f} was not traded", is_complete=False)
    if part is None or any(child.number == slot for child in view.children):
        return None  # too small alone: the next slot takes it along
    if draft.limit_price is None:
        return Place(PART, slot, draft.side, part, OrderType.MARKET, reduce_only=draft.reduce_only)
    return Place(
        PART,
        slot,
        draft.side,
        part,
        OrderType.LIMIT,
        limit_price=draft.limit_price,
        time_in_force=TimeInForce.IOC,
        reduce_only=draft.reduce_only,
    )


def _twap_part(draft: PlanDraft, instrument: Instrument, left: Decimal, slot: int, price: Decimal) -> Decimal | None:
    """Return what a slot trades: beside its own part at most one that was missed, unless the market's rules ask more.

    Returns:
        None where nothing of what the slot may trade can be sent.
    """
    even, remaining = draft.quantity / draft.slices, draft.slices - slot
    wanted = left / max(1, remaining)
    fewest = 2 if remaining > 0 else 1  # after the planned end no slot has a part of its own
    for parts in range(fewest, max(fewest, int(wanted / even) + 1) + 1):
        part = instrument.round_quantity(min(wanted, parts * even))
        if instrument.rule_violation(part, price) is None:
            # A rest too small for an order of its own goes along with the last one.
            alone = remaining > 1 or instrument.rule_violation(left - part, price) is None
            return part if alone else left
    return None


def _iceberg(plan: OrderPlan, view: PlanView) -> Action | None:
    draft = plan.draft
    assert draft.visible is not None  # an iceberg has a visible part
    if any(child.is_open for child in view.children):
        return None
    done = sum((child.filled for child in view.children), start=ZERO)
    left = view.instrument.round_quantity(draft.quantity - done)
    if view.instrument.rule_violation(left, draft.limit_price) is not None:
        reason = "all parts are traded" if left <= 0 else "what is left is too small to be traded"
        return End(PlanState.DONE, reason)
    part = min(view.instrument.round_quantity(draft.visible), left)
    if view.instrument.rule_violation(left - part, draft.limit_price) is not None and left != part:
        part = left  # a rest too small for an order of its own goes along with the last one
    return Place(
        PART,
        _next_number(view, PART),
        draft.side,
        part,
        OrderType.LIMIT,
        limit_price=draft.limit_price,
        reduce_only=draft.reduce_only,
    )


def _next_number(view: PlanView, role: str) -> int:
    return sum(child.role == role for child in view.children)


_BY_KIND: Mapping[PlanKind, Callable[[OrderPlan, PlanView], Action | None]] = {
    PlanKind.EXIT: lambda plan, view: _exit(plan, view, plan.draft.quantity),
    PlanKind.BRACKET: _bracket,
    PlanKind.TWAP: _twap,
    PlanKind.ICEBERG: _iceberg,
}
