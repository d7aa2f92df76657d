"""Order plans at work: looks at each one, takes its next step, keeps it in the journal. Executor's event loop.

What to do is decided by `core.execution.plan_decisions`; every order goes through `OrderDesk.submit` like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_S, Clock
from core.domain.money import ZERO, plain
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState, parse_child
from core.domain.orders import Intent, IntentSource, OrderType, Side, TradingState
from core.errors import RiskRefused, UserError
from core.events import EventSink, Notice, PlanUpdated, Severity
from core.execution.api.gateway import ExchangeGateway
from core.execution.book_keeper import BookKeeper
from core.execution.journal import Journal
from core.execution.mark_watcher import MarkWatcher
from core.execution.marks import Marks
from core.execution.order_desk import NotWanted, OrderDesk
from core.execution.order_manager import OrderManager, ended_without_word
from core.execution.plan_decisions import (
    ENTRY,
    Action,
    CancelChild,
    Child,
    End,
    MoveStop,
    Place,
    PlanView,
    begins_exposure,
    decide,
)
from core.execution.records import OrderRecord
from core.execution.trading_control import DRAWDOWN_REASON, TradingControl
from core.signals.risk_management import ReasonCode

LOOK_S = 0.25
MOST_STEPS = 4  # per look: taking back, placing anew and a moved stop belong together
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # between two cancels of one order that does not end
ANNOUNCED = 200
OLDEST_PRICE_NS = 60 * NS_PER_S

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refused:
    """When a cancel that did not succeed is tried again, by the loop's clock, and after which pause."""

    pause_s: float
    again_at: float


class PlanRunner:
    """Every order plan of one account."""

    def __init__(
        self,
        gateway: ExchangeGateway,
        journal: Journal,
        manager: OrderManager,
        desk: OrderDesk,
        keeper: BookKeeper,
        control: TradingControl,
        marks: Marks,
        watcher: MarkWatcher,
        sink: EventSink,
        wall: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        new_id: Callable[[], str],
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._manager = manager
        self._desk = desk
        self._keeper = keeper
        self._control = control
        self._marks = marks
        self._mark_watcher = watcher
        self._sink = sink
        self._wall = wall
        self._spawn = spawn
        self._new_id = new_id
        self._plans: dict[str, OrderPlan] = {}
        self._looking: set[str] = set()
        self._disowned: set[str] = set()
        self._refused: dict[str, _Refused] = {}  # children that could not be cancelled
        self._unwritten: dict[str, OrderPlan] = {}  # over or paused, and the journal does not know yet
        self._read: dict[str, tuple[int, tuple[Child, ...]]] = {}  # children, and as of which change

    @property
    def under_way(self) -> tuple[OrderPlan, ...]:
        """Plans that are not over, oldest first."""
        return tuple(self._plans.values())

    # --- life -------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take up the plans of the journal; where a person stopped trading they are over."""
        for plan in self._journal.plans(limit=ANNOUNCED):
            self._sink(PlanUpdated(plan))
        self._plans = {plan.plan_id: plan for plan in self._journal.plans_under_way()}
        for plan in self.under_way:
            if plan.draft.symbol in self._gateway.instruments:
                self._mark_watcher.watch(plan.draft.symbol)
            else:
                self._end(plan, End(PlanState.FAILED, "the venue does not trade this market any more"))
        if self._control.state is not TradingState.HALTED:
            return
        # Where a limit halted trading their stops still rest, and must be moved and taken back by somebody.
        keeps = self._control.keeps_protection
        for error in self.hold(DRAWDOWN_REASON) if keeps else self.end_all("trading was halted"):
            self._sink(Notice(Severity.ERROR, "The halt could not be written down", error))

    def hold(self, reason: str = "waits for you after the restart") -> list[str]:
        """Pause what would open or grow a position: after a restart beside a window a person says that it goes on.

        Returns:
            What could not be written, one sentence each; all pause all the same, and `write_rest` makes up for it.
        """
        errors: list[str] = []
        for plan in self.under_way:
            if plan.state is PlanState.WORKING and begins_exposure(plan, self._children(plan)):
                errors += self._put(replace(plan, state=PlanState.PAUSED, reason=reason))
        return errors

    def end_all(self, reason: str) -> list[str]:
        """End every plan at once; their orders are the caller's business.

        Returns:
            What could not be written, one sentence each; they are over all the same, and `write_rest` makes up for it.
        """
        errors: list[str] = []
        for plan in self.under_way:
            errors += self._put(replace(plan, state=PlanState.CANCELED, reason=reason))
        return errors

    def write_rest(self) -> None:
        """Write down what the journal refused: plans that are over or paused must not go on after a restart.

        Raises:
            UserError: the journal still cannot be written.
        """
        for plan in list(self._unwritten.values()):
            self._save(plan)

    def denies(self, intent: Intent) -> str:
        """Return why a plan's order must not go out any more, one sentence, or "": it may have waited for a price."""
        plan = self._plans.get(intent.parent_id)
        works = not intent.parent_id or (plan is not None and plan.state is PlanState.WORKING)
        return "" if works else "its order plan does not work any more"

    async def round(self) -> None:
        """Let every plan take its next steps; a slow one delays no other. What plans left that are over is unwanted."""
        self._desk.unwant(self._orphans())
        for plan_id in list(self._plans):
            if plan_id not in self._looking:
                self._looking.add(plan_id)
                self._spawn(self._look(plan_id))

    # --- commands ---------------------------------------------------------------------------------------------

    async def create(self, draft: PlanDraft, source: IntentSource = IntentSource.MANUAL) -> OrderPlan:
        """Take a plan into the books and begin it.

        Raises:
            UserError: it cannot work, trading is halted, or the journal cannot be written; nothing was sent.
        """
        halts = self._control.halts
        self._mark_watcher.watch(draft.symbol)
        await self._mark_watcher.freshen(draft.symbol)
        # Only now: whoever stops trading while the price is asked for must not meet this plan when re-arming.
        if self._control.state is TradingState.HALTED:
            raise RiskRefused("Trading is halted.", "Re-arm trading first.", ReasonCode.TRADING_HALTED.value)
        if self._control.halts != halts:
            sentence = "Trading was stopped before the plan began."
            raise RiskRefused(sentence, "Make it again if you still want it.", ReasonCode.TRADING_HALTED.value)
        self._check(draft)
        if draft.kind is not PlanKind.EXIT and (denied := self._desk.check_parent(_whole(draft, source))) is not None:
            sentence = f"The plan would be refused: {denied.message}."
            raise RiskRefused(sentence, "Choose a smaller quantity, or wait.", denied.code.value)
        now = self._wall.now_ns()
        plan = OrderPlan(self._new_id(), draft, source, created_ns=now, updated_ns=now)
        self._journal.add_command("create_plan", {"plan_id": plan.plan_id, "kind": draft.kind.value}, now)
        self._save(plan)
        await self._look(plan.plan_id, claim=True)
        return self._plans.get(plan.plan_id, plan)

    async def cancel(self, plan_id: str) -> None:
        """End a plan and cancel its orders; what it traded stays.

        Raises:
            UserError: there is no such plan under way.
        """
        plan = self._known(plan_id)
        self._journal.add_command("cancel_plan", {"plan_id": plan_id}, self._wall.now_ns())
        self._save(replace(plan, state=PlanState.CANCELED, reason="cancelled by hand"))
        for child in self._children(plan):
            if child.is_open:
                await self._desk.cancel_order(child.order.client_order_id)

    async def resume(self, plan_id: str) -> None:
        """Let a paused plan go on.

        Raises:
            UserError: there is no such plan under way, or trading is halted.
        """
        plan = self._known(plan_id)
        if self._control.state is TradingState.HALTED:
            raise UserError("Trading is halted.", "Re-arm trading first.")
        if plan.state is PlanState.PAUSED:
            self._journal.add_command("resume_plan", {"plan_id": plan_id}, self._wall.now_ns())
            self._save(replace(plan, state=PlanState.WORKING, reason=""))

    # --- inside -----------------------------------------------------------------------------------------------

    def _orphans(self) -> list[str]:
        """Return orders at work whose plan was ended while they could not be cancelled; each once as long as it works.

        A plan that failed cancels first what can be; what it left, such as a stop in a market that the venue has
        suspended, still protects somebody.
        """
        found = []
        working = self._manager.working
        keys = {order.client_order_id for order in working}
        self._disowned &= keys  # one that shows again is looked at again
        self._refused = {key: refused for key, refused in self._refused.items() if key in keys}
        for order in working:
            key, parent = order.client_order_id, order.intent.parent_id
            if not parent or parent in self._plans or key in self._disowned:
                continue
            self._disowned.add(key)
            if self._journal.plan_state(parent) in (PlanState.CANCELED, PlanState.DONE):
                found.append(key)
        return found

    def _known(self, plan_id: str) -> OrderPlan:
        try:
            return self._plans[plan_id]
        except KeyError:
            raise UserError("There is no such order plan under way.", "Look at the list of plans.") from None

    def _check(self, draft: PlanDraft) -> None:
        """Refuse what could only fail later.

        Raises:
            UserError: it cannot work.
        """
        instrument = self._gateway.instruments.get(draft.symbol)
        last = self._marks.price(draft.symbol)
        price = last if draft.kind is PlanKind.EXIT else draft.limit_price or last
        if instrument is None:
            raise UserError(f"{draft.symbol} is not traded at this venue.", "Choose another market.")
        if price is None:
            raise UserError(f"No market price of {draft.symbol} is known.", "Try again in a moment.")
        exits = draft.exits
        prices = [draft.limit_price] + ([exits.stop_price, exits.target_price] if exits else [])
        for wrong in (p for p in prices if p is not None and instrument.round_price(p) != p):
            raise UserError(
                f"The price {wrong:f} is not a multiple of the tick size {instrument.tick_size:f}.", "Round the price."
            )
        parts = {PlanKind.TWAP: draft.quantity / max(1, draft.slices), PlanKind.ICEBERG: draft.visible}
        part = instrument.round_quantity(parts.get(draft.kind) or draft.quantity)
        for quantity in (draft.quantity, part):
            if (violation := instrument.rule_violation(quantity, price)) is not None:
                raise UserError(f"The plan's orders would be refused: {violation}.", "Choose a larger quantity.")
        if exits is not None:
            # A limit beyond the market is filled at the market.
            best = min if draft.side is Side.BUY else max
            _check_exits(exits, draft.closing_side, price if last is None else best(price, last))
        if draft.kind is PlanKind.EXIT:
            self._check_covered(draft)

    def _check_covered(self, draft: PlanDraft) -> None:
        held = self._manager.position(draft.symbol, draft.owner).quantity * -draft.side.sign
        place = (draft.symbol, draft.owner, draft.side)
        others = sum(
            (
                self._protected(plan)
                for plan in self.under_way
                if (plan.draft.symbol, plan.draft.owner, plan.draft.closing_side) == place
            ),
            start=ZERO,
        )
        if draft.quantity + others > held:
            raise UserError(
                f"An exit closes at most the position of {max(held, ZERO):f}, and {others:f} has an exit already.",
                "Choose a smaller quantity, or cancel the other exit.",
            )

    def _protected(self, plan: OrderPlan) -> Decimal:
        """Return how much of the position a plan closes."""
        if plan.draft.kind is PlanKind.EXIT:
            return plan.draft.quantity
        return sum((child.filled for child in self._children(plan) if child.role == ENTRY), start=ZERO)

    async def _look(self, plan_id: str, *, claim: bool = False) -> None:
        if claim:
            self._looking.add(plan_id)
        try:
            for _ in range(MOST_STEPS):
                plan = self._plans.get(plan_id)
                if plan is None or plan.state is not PlanState.WORKING or self._stands_still():
                    return
                action = decide(plan, self._view(plan))
                if action is None or not await self._take(plan, action):
                    return
        finally:
            self._looking.discard(plan_id)

    def _stands_still(self) -> bool:
        """Whether nobody may act now; a loss limit that halted trading wants positions protected all the same."""
        return self._control.state is TradingState.HALTED and not self._control.keeps_protection

    def _view(self, plan: OrderPlan) -> PlanView:
        draft = plan.draft
        return PlanView(
            self._wall.now_ns(),
            self._fresh_price(draft.symbol),
            self._gateway.instruments[draft.symbol],
            self._children(plan),
            self._manager.position(draft.symbol, draft.owner).quantity,
        )

    def _fresh_price(self, symbol: str) -> Decimal | None:
        """Return the last price; one too old to act on is none, and the stop rests at the venue meanwhile."""
        age = self._marks.age_ns(symbol)
        return self._marks.price(symbol) if age is not None and age < OLDEST_PRICE_NS else None

    def _children(self, plan: OrderPlan) -> tuple[Child, ...]:
        base = self._gateway.instruments[plan.draft.symbol].base
        read_at, children = self._read.get(plan.plan_id, (-1, ()))
        if read_at != self._journal.order_changes:  # four looks a second must not read hundreds of parts each
            read_at, fees = self._journal.order_changes, self._journal.child_fees(plan.plan_id, base)
            records = self._journal.children(plan.plan_id)
            children = tuple(_child(record, fees.get(record.key, ZERO)) for record in records)
            self._read[plan.plan_id] = read_at, children
        return children

    async def _take(self, plan: OrderPlan, action: Action) -> bool:
        """Take one step; returns whether another one may follow at once."""
        match action:
            case Place():
                await self._place(plan, action)
            case CancelChild(client_order_id):
                return await self._take_back(plan, client_order_id)
            case MoveStop(stop_price):
                self._save(replace(plan, stop_price=stop_price))
            case End():
                self._end(plan, action)
        return True

    async def _take_back(self, plan: OrderPlan, client_order_id: str) -> bool:
        """Cancel a child; returns whether it is over. One that the venue refuses to cancel is asked for more rarely."""
        loop, known = asyncio.get_running_loop(), self._refused.get(client_order_id)
        if known is not None and loop.time() < known.again_at:
            return False
        if client_order_id not in plan.cancelled:
            # Known as ours before it is sent: after a crash it must not look like somebody else's wish.
            self._save(replace(plan, cancelled=plan.cancelled | {client_order_id}))
        order = await self._desk.cancel_order(client_order_id, anew=False)
        if not order.state.is_terminal:
            pause = FIRST_PAUSE_S if known is None else min(2 * known.pause_s, LONGEST_PAUSE_S)
            self._refused[client_order_id] = _Refused(pause, loop.time() + pause)
            return False
        self._refused.pop(client_order_id, None)
        await self._keeper.refresh_balances()  # what it had locked is free for the next one
        return True

    async def _place(self, plan: OrderPlan, action: Place) -> None:
        draft = plan.draft
        earlier = [record.intent.created_ns for record in self._journal.children(plan.plan_id)]
        intent = Intent(
            intent_id=plan.child_intent_id(action.role, action.number),
            source=plan.source,
            owner=draft.owner,
            symbol=draft.symbol,
            side=action.side,
            quantity=action.quantity,
            order_type=action.order_type,
            limit_price=action.limit_price,
            stop_price=action.stop_price,
            time_in_force=action.time_in_force,
            reduce_only=action.reduce_only,
            reason=f"{draft.kind} plan: {action.role}",
            reference_price=self._marks.price(draft.symbol) if action.order_type is OrderType.MARKET else None,
            # The order of the children is read from their times.
            created_ns=max([self._wall.now_ns(), *(made + 1 for made in earlier)]),
        )
        try:
            order = await self._desk.submit(intent, is_wanted=lambda: self._is_working(plan.plan_id))
        except NotWanted:
            return  # the plan ended or was paused while the price was asked for
        if plan.plan_id not in self._plans and not order.state.is_terminal:
            await self._desk.cancel_order(order.client_order_id)  # the plan ended while this one was on its way

    def _is_working(self, plan_id: str) -> bool:
        plan = self._plans.get(plan_id)
        return plan is not None and plan.state is PlanState.WORKING

    def _end(self, plan: OrderPlan, end: End) -> None:
        self._save(replace(plan, state=end.state, reason=end.reason))
        self._tell_end(plan, end)

    def _tell_end(self, plan: OrderPlan, end: End) -> None:
        what = f"{plan.draft.kind.value} {plan.draft.symbol}: {end.reason}."
        if end.state is PlanState.DONE and end.is_complete:
            self._sink(Notice(Severity.SUCCESS, "An order plan is done", what))
        elif end.state is PlanState.DONE:
            self._sink(Notice(Severity.WARNING, "An order plan did not trade everything", what))
        elif self._leaves_unprotected(plan):
            self._sink(Notice(Severity.ERROR, "A position is not protected any more", what))
        else:
            self._sink(Notice(Severity.WARNING, "An order plan ended early", what))

    def _leaves_unprotected(self, plan: OrderPlan) -> bool:
        """Whether something is held that the plan was to close; where its entry bought nothing there is none."""
        draft = plan.draft
        if (
            draft.exits is None
            or self._manager.position(draft.symbol, draft.owner).quantity * draft.closing_side.sign >= 0
        ):
            return False
        orders = [record.order for record in self._journal.children(plan.plan_id)]
        entered = [o for o in orders if o.filled_quantity and parse_child(o.intent.intent_id)[1] == ENTRY]
        return draft.kind is PlanKind.EXIT or bool(entered)

    def _put(self, plan: OrderPlan) -> list[str]:
        """Save a plan that goes no further, and stop it also where it cannot be saved; returns what went wrong."""
        try:
            self._save(plan)
        except UserError as exc:
            self._unwritten[plan.plan_id] = plan
            if plan.state.is_over:
                del self._plans[plan.plan_id]
            else:
                self._plans[plan.plan_id] = plan
            self._sink(PlanUpdated(plan))
            return [exc.message]
        return []

    def _save(self, plan: OrderPlan) -> None:
        plan = replace(plan, updated_ns=self._wall.now_ns())
        self._journal.save_plan(plan)
        self._unwritten.pop(plan.plan_id, None)
        if plan.state.is_over:
            # One whose answer is still out may show long after: nobody would look after it any more.
            fails = plan.state is PlanState.FAILED
            self._desk.unwant(r.key for r in self._journal.children(plan.plan_id) if _is_unwanted(r, fails))
            self._plans.pop(plan.plan_id, None)
            self._read.pop(plan.plan_id, None)
        else:
            self._plans[plan.plan_id] = plan
        self._sink(PlanUpdated(plan))


def _is_unwanted(child: OrderRecord, fails: bool) -> bool:
    """Whether nobody wants an order any more whose plan is over.

    What a plan that failed leaves only where it could not go on still protects somebody; nobody looks for what else it
    sent, also where that was given up. What other plans left is looked for as long as it works.
    """
    if child.order.state.is_terminal:
        return fails and not child.intent.reduce_only and ended_without_word(child.order)
    return not (fails and child.intent.reduce_only)


def _child(record: OrderRecord, fee_base: Decimal) -> Child:
    _, role, number = parse_child(record.intent.intent_id)
    return Child(role, number, record.order, fee_base, record.fills_complete)


def _check_exits(exits: ExitRules, side: Side, price: Decimal) -> None:
    """Refuse an exit that would happen the moment it begins.

    Args:
        side: of the orders that close.
        price: at which the position is held or will be entered.

    Raises:
        UserError: it would, or its trailing stop would have no price at all.
    """
    stop, target, sells, now = exits.stop_price, exits.target_price, side is Side.SELL, plain(price)
    if stop is not None and (stop - price) * side.sign <= 0:
        if sells:
            raise UserError(f"The stop {plain(stop)} must be below {now}, or it would sell at once.", "Lower the stop.")
        raise UserError(f"The stop {plain(stop)} must be above {now}, or it would buy at once.", "Raise the stop.")
    if exits.trail is not None and sells and exits.trail >= price:
        raise UserError(
            f"The trailing distance {plain(exits.trail)} must be smaller than the price of {now}.",
            "Choose a smaller one.",
        )
    if target is not None and (price - target) * side.sign <= 0:
        if sells:
            raise UserError(
                f"The target {plain(target)} must be above {now}, or it would sell at once.", "Raise the target."
            )
        raise UserError(
            f"The target {plain(target)} must be below {now}, or it would buy at once.", "Lower the target."
        )


def _whole(draft: PlanDraft, source: IntentSource) -> Intent:
    """Return what a plan enters with in all, for the risk gate to judge; it is never sent."""
    return Intent(
        intent_id="whole",  # no child of any plan
        source=source,
        owner=draft.owner,
        symbol=draft.symbol,
        side=draft.side,
        quantity=draft.quantity,
        order_type=OrderType.MARKET if draft.limit_price is None else OrderType.LIMIT,
        limit_price=draft.limit_price,
        reduce_only=draft.reduce_only,
    )
