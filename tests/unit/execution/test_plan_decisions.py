"""What order plans do next: single looks, and whole lives on random price paths."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_S
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState, parse_child
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TimeInForce
from core.execution.plan_decisions import (
    MOST_REFUSALS,
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
from tests.unit.execution.fake_venue import BTC

T0 = 1_700_000_000 * NS_PER_S


def exit_plan(
    stop: str | None = None, target: str | None = None, trail: str | None = None, quantity: str = "1"
) -> OrderPlan:
    rules = ExitRules(*(None if price is None else D(price) for price in (stop, target, trail)))
    draft = PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, D(quantity), exits=rules)
    return OrderPlan("p", draft, created_ns=T0, stop_price=rules.stop_price if trail is None else None)


def child(
    plan: OrderPlan, action: Place, state: OrderState, filled: str = "0", code: str = "", at_ns: int = T0
) -> Child:
    intent = Intent(
        plan.child_intent_id(action.role, action.number),
        IntentSource.MANUAL,
        "manual",
        "BTC/USDT",
        action.side,
        action.quantity,
        action.order_type,
        action.limit_price,
        action.stop_price,
        action.time_in_force,
        action.reduce_only,
    )
    key = f"{action.role}-{action.number}"
    order = Order(key, intent, state, filled_quantity=D(filled), reason_code=code, updated_ns=at_ns)
    return Child(action.role, action.number, order)


def look(plan: OrderPlan, price: str | None, *children: Child, held: str = "1", after_s: float = 10) -> Action | None:
    now = T0 + int(after_s * NS_PER_S)
    return decide(plan, PlanView(now, None if price is None else D(price), BTC, children, D(held)))


STOP_AT_90 = Place(
    "stop", 0, Side.SELL, D(1), OrderType.STOP_LOSS_LIMIT, D("89.55"), D(90), TimeInForce.GTC, reduce_only=True
)


def test_a_stop_rests_at_the_venue_and_only_reduces() -> None:
    assert look(exit_plan(stop="90"), "100") == STOP_AT_90


def test_nothing_is_done_without_a_price() -> None:
    assert look(exit_plan(stop="90"), None) is None


@pytest.mark.parametrize("state", [OrderState.SUBMITTED, OrderState.UNKNOWN, OrderState.PENDING_CANCEL])
def test_an_order_whose_fate_is_open_is_followed_by_none(state: OrderState) -> None:
    plan = exit_plan(stop="90")
    assert look(plan, "80", child(plan, STOP_AT_90, state)) is None


def test_fills_the_books_do_not_have_yet_are_waited_for() -> None:
    plan = exit_plan(stop="90")
    unbooked = replace(child(plan, STOP_AT_90, OrderState.FILLED, "1"), is_booked=False)
    assert look(plan, "100", unbooked, held="1") is None


def test_a_resting_stop_is_left_alone() -> None:
    plan = exit_plan(stop="90", target="120")
    assert look(plan, "100", child(plan, STOP_AT_90, OrderState.ACCEPTED)) is None


def test_the_target_takes_the_stop_back_first_and_then_sells_at_it_or_better() -> None:
    plan = exit_plan(stop="90", target="120")
    assert look(plan, "120", child(plan, STOP_AT_90, OrderState.ACCEPTED)) == CancelChild("stop-0")
    plan = replace(plan, cancelled=frozenset({"stop-0"}))
    sale = look(plan, "120", child(plan, STOP_AT_90, OrderState.CANCELED))
    assert sale == Place("target", 0, Side.SELL, D(1), OrderType.LIMIT, D(120), None, TimeInForce.IOC, reduce_only=True)


def test_what_the_target_did_not_sell_is_stopped_again_before_the_next_attempt() -> None:
    plan = replace(exit_plan(stop="90", target="120"), cancelled=frozenset({"stop-0"}))
    aim = Place("target", 0, Side.SELL, D(1), OrderType.LIMIT, D(120), None, TimeInForce.IOC, reduce_only=True)
    children = (child(plan, STOP_AT_90, OrderState.CANCELED), child(plan, aim, OrderState.EXPIRED, "0.4"))
    again = look(plan, "121", *children, held="0.6", after_s=1)
    assert isinstance(again, Place)
    assert (again.role, again.number, again.quantity) == ("stop", 1, D("0.6"))
    later = look(plan, "121", *children, held="0.6", after_s=3)
    assert isinstance(later, Place)
    assert (later.role, later.number) == ("target", 1)


def test_a_market_that_ran_through_the_limit_of_the_stop_is_sold_into() -> None:
    plan = exit_plan(stop="90")
    assert look(plan, "89", child(plan, STOP_AT_90, OrderState.ACCEPTED)) == CancelChild("stop-0")
    plan = replace(plan, cancelled=frozenset({"stop-0"}))
    assert look(plan, "89", child(plan, STOP_AT_90, OrderState.CANCELED)) == Place(
        "close", 0, Side.SELL, D(1), OrderType.MARKET, reduce_only=True
    )


def test_a_closing_sale_on_its_way_is_left_alone() -> None:
    plan = replace(exit_plan(stop="90"), cancelled=frozenset({"stop-0"}))
    sale = Place("close", 0, Side.SELL, D(1), OrderType.MARKET, reduce_only=True)
    children = (child(plan, STOP_AT_90, OrderState.CANCELED), child(plan, sale, OrderState.PARTIALLY_FILLED, "0.4"))
    assert look(plan, "89", *children, held="0.6") is None


def test_a_trailing_stop_follows_up_in_steps_and_never_back() -> None:
    plan = exit_plan(trail="10")
    assert look(plan, "100") == MoveStop(D(90))
    plan = replace(plan, stop_price=D(90))
    resting = child(plan, STOP_AT_90, OrderState.ACCEPTED)
    assert look(plan, "100.9", resting) is None  # less than a step
    assert look(plan, "95", resting) is None
    assert look(plan, "101", resting) == MoveStop(D(91))
    moved = replace(plan, stop_price=D(91))
    assert look(moved, "101", resting) == CancelChild("stop-0")


def test_a_stop_that_is_larger_than_the_position_is_replaced() -> None:
    plan = exit_plan(stop="90")
    assert look(plan, "100", child(plan, STOP_AT_90, OrderState.ACCEPTED), held="0.5") == CancelChild("stop-0")


def test_a_rest_too_small_for_an_order_of_its_own_stays_in_the_one_that_works() -> None:
    plan = exit_plan(stop="90")
    nearly = child(plan, STOP_AT_90, OrderState.PARTIALLY_FILLED, "0.98")
    assert look(plan, "89.8", nearly, held="0.02") is None
    assert look(plan, "80", nearly, held="0.02") is None
    assert look(plan, "80", nearly, held="0.01") == CancelChild("stop-0"), "it would sell what somebody else holds"
    over = replace(plan, cancelled=frozenset({"stop-0"}))
    ended = look(over, "80", child(over, STOP_AT_90, OrderState.CANCELED, "0.98"), held="0.02")
    assert ended == End(PlanState.DONE, "what is left is too small to be sold")


def test_a_position_sold_by_hand_ends_the_exit() -> None:
    plan = exit_plan(stop="90")
    resting = child(plan, STOP_AT_90, OrderState.ACCEPTED)
    assert look(plan, "100", resting, held="0") == CancelChild("stop-0")
    plan = replace(plan, cancelled=frozenset({"stop-0"}))
    ended = look(plan, "100", child(plan, STOP_AT_90, OrderState.CANCELED), held="0")
    assert ended == End(PlanState.DONE, "the position is closed")


def test_a_stop_cancelled_by_somebody_else_ends_the_plan() -> None:
    plan = exit_plan(stop="90")
    ended = look(plan, "100", child(plan, STOP_AT_90, OrderState.CANCELED))
    assert isinstance(ended, End)
    assert ended.state is PlanState.CANCELED


def test_refusals_are_repeated_more_and_more_slowly_and_then_given_up() -> None:
    plan = exit_plan(stop="90")
    one = child(plan, STOP_AT_90, OrderState.REJECTED)
    assert look(plan, "100", one, after_s=0.4) is None
    assert isinstance(look(plan, "100", one, after_s=0.6), Place)
    many = tuple(child(plan, replace(STOP_AT_90, number=n), OrderState.DENIED) for n in range(MOST_REFUSALS))
    ended = look(plan, "100", *many)
    assert isinstance(ended, End)
    assert ended.state is PlanState.FAILED


def test_a_stop_proven_never_to_have_arrived_is_placed_anew() -> None:
    plan = exit_plan(stop="90")
    lost = child(plan, STOP_AT_90, OrderState.EXPIRED, code="NEVER_ARRIVED")
    again = look(plan, "100", lost)
    assert isinstance(again, Place)
    assert again.number == 1


# --- bracket, TWAP, iceberg -----------------------------------------------------------------------------------


def bracket(limit: str | None = "100") -> OrderPlan:
    rules = ExitRules(D(90), D(120))
    price = None if limit is None else D(limit)
    return OrderPlan("p", PlanDraft(PlanKind.BRACKET, "BTC/USDT", Side.BUY, D(1), price, rules), created_ns=T0)


ENTER = Place("entry", 0, Side.BUY, D(1), OrderType.LIMIT, D(100))


def test_a_bracket_enters_then_protects_what_is_filled_so_far() -> None:
    plan = bracket()
    assert look(plan, "100", held="0") == ENTER
    assert look(plan, "100", child(plan, ENTER, OrderState.ACCEPTED), held="0") is None
    part = child(plan, ENTER, OrderState.PARTIALLY_FILLED, "0.3")
    assert look(plan, "100", part, held="0.3") == MoveStop(D(90))
    plan = replace(plan, stop_price=D(90))
    stop = look(plan, "100", part, held="0.3")
    assert isinstance(stop, Place)
    assert (stop.role, stop.quantity, stop.side) == ("stop", D("0.3"), Side.SELL)


def test_the_fee_in_coins_is_not_sold() -> None:
    plan = replace(bracket(), stop_price=D(90))
    entry = replace(child(plan, ENTER, OrderState.FILLED, "1"), fee_base=D("0.001"))
    stop = look(plan, "100", entry, held="5")  # the owner holds more than this bracket bought
    assert isinstance(stop, Place)
    assert stop.quantity == D("0.999")


def test_a_bracket_that_is_being_left_is_not_entered_any_further() -> None:
    plan = replace(bracket(), stop_price=D(90))
    stop = replace(STOP_AT_90, quantity=D("0.3"))
    children = (child(plan, ENTER, OrderState.PARTIALLY_FILLED, "0.3"), child(plan, stop, OrderState.FILLED, "0.3"))
    assert look(plan, "89.8", *children, held="0") == CancelChild("entry-0")


def test_an_entry_cancelled_by_hand_after_a_part_is_still_protected() -> None:
    plan = replace(bracket(), stop_price=D(90))
    stop = look(plan, "100", child(plan, ENTER, OrderState.CANCELED, "0.3"), held="0.3")
    assert isinstance(stop, Place)
    assert stop.role == "stop"


def test_an_entry_that_was_not_made_ends_the_bracket() -> None:
    plan = bracket(None)
    buy = Place("entry", 0, Side.BUY, D(1), OrderType.MARKET)
    ended = look(plan, "100", child(plan, buy, OrderState.REJECTED), held="0", after_s=60)
    assert isinstance(ended, End)
    assert ended.state is PlanState.FAILED


def test_missed_parts_of_a_twap_are_spread_not_caught_up() -> None:
    plan = OrderPlan("p", PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(4), slices=4, duration_s=40), created_ns=T0)
    first = look(plan, "100", after_s=0)
    assert first == Place("part", 0, Side.BUY, D(1), OrderType.MARKET)
    bought = child(plan, first, OrderState.FILLED, "1")
    assert look(plan, "100", bought, after_s=9) is None
    third = look(plan, "100", bought, after_s=25)  # the second slot passed while nothing ran
    assert third == Place("part", 2, Side.BUY, D("1.5"), OrderType.MARKET)


def test_a_twap_held_until_its_last_slot_goes_on_part_by_part_and_never_sends_all_at_once() -> None:
    plan = OrderPlan(
        "p", PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(10), slices=10, duration_s=100), created_ns=T0
    )
    children: list[Child] = []
    for slot in range(9, 18):
        part = look(plan, "100", *children, after_s=10 * slot)
        quantity = D(2) if slot == 9 else D(1)  # after the end no slot has a part of its own
        assert part == Place("part", slot, Side.BUY, quantity, OrderType.MARKET)
        children.append(child(plan, part, OrderState.FILLED, str(quantity)))
        if slot < 17:
            assert look(plan, "100", *children, after_s=10 * slot + 9) is None, "one part per slot"
    assert look(plan, "100", *children, after_s=180) == End(PlanState.DONE, "all parts are traded")


def test_a_twap_goes_on_after_its_end_for_as_long_again_at_most_and_waits_there_for_a_price() -> None:
    plan = OrderPlan("p", PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(4), slices=4, duration_s=40), created_ns=T0)
    assert look(plan, None, after_s=79) is None
    late = look(plan, "100", after_s=79)
    assert late == Place("part", 7, Side.BUY, D(1), OrderType.MARKET)
    for price in ("100", None):
        over = look(plan, price, child(plan, late, OrderState.FILLED, "1"), after_s=80)
        assert over == End(PlanState.DONE, "the time is over; 3 was not traded", is_complete=False)


def test_a_twap_whose_parts_found_no_counterpart_ends_when_its_time_is_over() -> None:
    draft = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(4), D(99), slices=4, duration_s=40)
    plan = OrderPlan("p", draft, created_ns=T0)
    children: list[Child] = []
    for slot, quantity in enumerate([D(1), D("1.33333"), D(2), D(2)]):
        part = look(plan, "100", *children, after_s=10 * slot)
        assert isinstance(part, Place)
        assert (part.number, part.quantity) == (slot, quantity)
        children.append(child(plan, part, OrderState.EXPIRED))
    over = look(plan, "100", *children, after_s=40)
    assert over == End(PlanState.DONE, "the time is over; 4 was not traded", is_complete=False)


def test_a_late_part_of_a_twap_takes_a_rest_too_small_to_be_sent_along() -> None:
    draft = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D("0.16"), slices=2, duration_s=20)
    plan = OrderPlan("p", draft, created_ns=T0)
    bought = child(plan, Place("part", 0, Side.BUY, D("0.06"), OrderType.MARKET), OrderState.FILLED, "0.06")
    late = look(plan, "100", bought, after_s=20)
    assert isinstance(late, Place)
    assert late.quantity == D("0.1"), "0.02 would stay, and 0.05 is the least"


def test_a_late_part_of_a_twap_is_larger_where_the_market_asks_for_it_and_it_ends_where_even_all_is_too_little() -> (
    None
):
    draft = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D("0.4"), slices=4, duration_s=40)
    plan = OrderPlan("p", draft, created_ns=T0)
    late = look(plan, "20", after_s=40)  # a quarter is worth 2 USDT now, and 5 is the least
    assert isinstance(late, Place)
    assert late.quantity == D("0.4"), "three quarters would leave too little"
    assert look(plan, "10", after_s=39) is None
    over = look(plan, "10", after_s=40)
    assert over == End(PlanState.DONE, "the time is over; 0.4 was not traded", is_complete=False)


def test_a_twap_is_done_with_the_last_part_and_a_restart_in_one_slot_adds_none() -> None:
    plan = OrderPlan("p", PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(1), slices=2, duration_s=20), created_ns=T0)
    first = look(plan, "100", after_s=1)
    assert first == Place("part", 0, Side.BUY, D("0.5"), OrderType.MARKET)
    bought = child(plan, first, OrderState.FILLED, "0.5")
    assert look(plan, "100", bought, after_s=5) is None  # this slot has had its part
    second = look(plan, "100", bought, after_s=11)
    assert second == Place("part", 1, Side.BUY, D("0.5"), OrderType.MARKET)
    whole = (bought, child(plan, second, OrderState.FILLED, "0.5"))
    assert look(plan, "100", *whole, after_s=11) == End(PlanState.DONE, "all parts are traded")


def test_a_part_of_a_twap_too_small_to_be_sent_waits_for_the_next_slot() -> None:
    draft = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D("0.16"), slices=4, duration_s=40)
    plan = OrderPlan("p", draft, created_ns=T0)
    assert look(plan, "100", after_s=1) is None  # a quarter would be worth 4 USDT, and 5 is the least
    together = look(plan, "100", after_s=11)
    assert isinstance(together, Place)
    assert together.quantity == D("0.05333")


def test_a_twap_with_a_limit_never_pays_more_and_leaves_nothing_resting() -> None:
    draft = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(1), D(99), slices=2, duration_s=20)
    part = look(OrderPlan("p", draft, created_ns=T0), "100", after_s=1)
    limit = Place("part", 0, Side.BUY, D("0.5"), OrderType.LIMIT, D(99), time_in_force=TimeInForce.IOC)
    assert part == limit


def test_an_iceberg_with_a_part_at_the_venue_shows_no_second_one() -> None:
    draft = PlanDraft(PlanKind.ICEBERG, "BTC/USDT", Side.BUY, D(1), D(100), visible=D("0.5"))
    plan = OrderPlan("p", draft, created_ns=T0)
    part = look(plan, "100")
    assert isinstance(part, Place)
    assert look(plan, "100", child(plan, part, OrderState.PARTIALLY_FILLED, "0.3")) is None


@pytest.mark.parametrize(
    ("filled", "reason"), [("1", "all parts are traded"), ("0.96", "what is left is too small to be traded")]
)
def test_an_iceberg_ends_with_what_can_be_traded(filled: str, reason: str) -> None:
    draft = PlanDraft(PlanKind.ICEBERG, "BTC/USDT", Side.BUY, D(1), D(100), visible=D("0.5"))
    plan = OrderPlan("p", draft, created_ns=T0)
    part = Place("part", 0, Side.BUY, D(filled), OrderType.LIMIT, D(100))
    assert look(plan, "100", child(plan, part, OrderState.FILLED, filled)) == End(PlanState.DONE, reason)


def test_an_entry_filled_by_less_than_the_venue_sells_waits_for_more_before_it_is_protected() -> None:
    draft = PlanDraft(PlanKind.BRACKET, "BTC/USDT", Side.BUY, D(1), D(100), ExitRules(D(90)))
    plan = OrderPlan("p", draft, created_ns=T0, stop_price=D(90))
    entry = Place("entry", 0, Side.BUY, D(1), OrderType.LIMIT, D(100))
    assert look(plan, "100", child(plan, entry, OrderState.PARTIALLY_FILLED, "0.04"), held="0.04") is None
    stop = look(plan, "100", child(plan, entry, OrderState.PARTIALLY_FILLED, "0.06"), held="0.06")
    assert isinstance(stop, Place)
    assert (stop.role, stop.quantity) == ("stop", D("0.06"))


def test_an_iceberg_shows_one_part_at_a_time_and_leaves_no_dust() -> None:
    draft = PlanDraft(PlanKind.ICEBERG, "BTC/USDT", Side.BUY, D("1.04"), D(100), visible=D("0.5"))
    plan = OrderPlan("p", draft, created_ns=T0)
    first = look(plan, "100")
    assert first == Place("part", 0, Side.BUY, D("0.5"), OrderType.LIMIT, D(100))
    assert look(plan, "100", child(plan, first, OrderState.PARTIALLY_FILLED, "0.2")) is None
    second = look(plan, "100", child(plan, first, OrderState.FILLED, "0.5"))
    assert second == replace(first, number=1, quantity=D("0.54"))  # 0.04 alone would be too small for the venue


def test_only_what_opens_a_position_waits_for_a_person_after_a_restart() -> None:
    plan = bracket()
    assert begins_exposure(plan, ())
    assert not begins_exposure(plan, (child(plan, ENTER, OrderState.ACCEPTED),))
    assert not begins_exposure(exit_plan(stop="90"), ())


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (lambda: ExitRules(), "needs a stop"),
        (lambda: ExitRules(D(-1)), "must be positive"),
        (lambda: PlanDraft(PlanKind.EXIT, "A/B", Side.SELL, D(1), exits=ExitRules(D(120), D(90))), "wrong sides"),
        (lambda: PlanDraft(PlanKind.EXIT, "A/B", Side.SELL, D(0), exits=ExitRules(D(9))), "quantity must be positive"),
        (lambda: PlanDraft(PlanKind.EXIT, "A/B", Side.SELL, D(1)), "needs a stop"),
        (lambda: PlanDraft(PlanKind.BRACKET, "A/B", Side.BUY, D(1), D(9), ExitRules(D(10))), "stop is on the wrong"),
        (
            lambda: PlanDraft(PlanKind.BRACKET, "A/B", Side.BUY, D(1), D(9), ExitRules(None, D(8))),
            "target is on the wrong",
        ),
        (lambda: PlanDraft(PlanKind.TWAP, "A/B", Side.BUY, D(1), slices=1, duration_s=9), "at least 2 parts"),
        (lambda: PlanDraft(PlanKind.ICEBERG, "A/B", Side.BUY, D(1)), "needs a limit price"),
        (lambda: PlanDraft(PlanKind.ICEBERG, "A/B", Side.BUY, D(1), D(9), visible=D(1)), "smaller than the whole"),
        (lambda: PlanDraft(PlanKind.TWAP, "A/B", Side.BUY, D(1), D(0), slices=2, duration_s=9), "limit price must be"),
    ],
)
def test_plans_that_make_no_sense_are_refused(draft: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draft()  # type: ignore[operator]


def test_only_children_have_the_intent_id_of_one() -> None:
    assert parse_child("plan:abc:stop:3") == ("abc", "stop", 3)
    with pytest.raises(ValueError, match="not the intent"):
        parse_child("manual:a:b:3")


# --- whole lives ----------------------------------------------------------------------------------------------


class Market:
    """A venue that fills at once what the price reaches, parts of it where told so, and refuses now and then."""

    def __init__(self, plan: OrderPlan, held: D, parts: list[int]) -> None:
        self.plan = plan
        self.held = held
        self.children: list[Child] = []
        self.now_ns = T0
        self.price = D(100)
        self.parts = parts
        self.sold = D(0)

    def view(self) -> PlanView:
        return PlanView(self.now_ns, self.price, BTC, tuple(self.children), self.held)

    def run(self) -> None:
        for _ in range(6):
            action = decide(self.plan, self.view())
            match action:
                case None:
                    return
                case Place():
                    assert [c for c in self.children if c.is_open] == [], "two closing orders at once"
                    assert action.quantity <= self.held
                    self.place(action)
                case CancelChild(key):
                    self.plan = replace(self.plan, cancelled=self.plan.cancelled | {key})
                    self.change(key, OrderState.CANCELED)
                case MoveStop(price):
                    self.plan = replace(self.plan, stop_price=price)
                case End(state, _):
                    self.plan = replace(self.plan, state=state)
                    return

    def place(self, action: Place) -> None:
        placed = child(self.plan, action, OrderState.ACCEPTED, at_ns=self.now_ns)
        self.children.append(placed)
        if action.role == "close":
            self.fill(placed, action.quantity)
        elif action.role == "target":
            assert action.limit_price is not None
            part = action.quantity * self.parts[len(self.children) % len(self.parts)] / 4
            self.fill(placed, BTC.round_quantity(part) if self.price >= action.limit_price else D(0))
            if self.children[-1].is_open:
                self.change(placed.order.client_order_id, OrderState.EXPIRED)

    def fill(self, target: Child, quantity: D) -> None:
        if quantity:
            self.held -= quantity
            self.sold += quantity
            filled = target.filled + quantity
            state = OrderState.FILLED if filled == target.order.intent.quantity else OrderState.PARTIALLY_FILLED
            self.change(target.order.client_order_id, state, filled)

    def change(self, key: str, state: OrderState, filled: D | None = None) -> None:
        for index, c in enumerate(self.children):
            if c.order.client_order_id == key:
                order = replace(c.order, state=state, updated_ns=self.now_ns)
                self.children[index] = replace(
                    c, order=order if filled is None else replace(order, filled_quantity=filled)
                )

    def step(self, price: D) -> None:
        self.now_ns += NS_PER_S
        self.price = price
        for c in [c for c in self.children if c.is_open and c.role == "stop"]:
            intent = c.order.intent
            assert intent.stop_price is not None
            assert intent.limit_price is not None
            if intent.limit_price <= price <= intent.stop_price:
                part = BTC.round_quantity(c.order.remaining_quantity * self.parts[0] / 4)
                self.fill(c, part)
        self.run()


@settings(max_examples=60, deadline=None)
@given(
    path=st.lists(st.integers(-300, 300), min_size=1, max_size=60),
    stop=st.sampled_from(["90", None]),
    target=st.sampled_from(["110", None]),
    trail=st.sampled_from(["5", None]),
    parts=st.lists(st.integers(0, 4), min_size=1, max_size=4),
)
def test_an_exit_never_sells_twice_and_always_gets_out_below_its_stop(
    path: list[int], stop: str | None, target: str | None, trail: str | None, parts: list[int]
) -> None:
    if stop is None and target is None and trail is None:
        return
    market = Market(exit_plan(stop, target, trail), D(1), parts)
    market.run()
    lowest_stop = D(0)
    for move in path:
        market.step(max(D(1), market.price + D(move) / 100))
        if market.plan.stop_price is not None:
            assert market.plan.stop_price >= lowest_stop, "a stop moved away from the market"
            lowest_stop = market.plan.stop_price
    assert market.sold + market.held == 1
    if stop is not None or trail is not None:
        for _ in range(4):
            market.step(D("50"))
        assert market.held == 0 or BTC.rule_violation(market.held, market.price) is not None
        if market.held == 0:
            assert market.plan.state is PlanState.DONE


# --- parts that never rest ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, "100"], ids=["market", "ioc"])
@pytest.mark.parametrize(
    ("state", "filled"), [(OrderState.ACCEPTED, "0"), (OrderState.PARTIALLY_FILLED, "0.2")], ids=["shown", "part"]
)
def test_a_part_that_never_rests_must_be_over_before_the_next(
    limit: str | None, state: OrderState, filled: str
) -> None:
    draft = PlanDraft(
        PlanKind.TWAP, "BTC/USDT", Side.BUY, D(1), None if limit is None else D(limit), slices=2, duration_s=4
    )
    plan = OrderPlan("p", draft, created_ns=T0)
    first = look(plan, "100", after_s=0)
    assert isinstance(first, Place)
    part = child(plan, first, state, filled)
    assert (part.is_booked, part.rests, part.is_open, part.is_decided) == (True, False, True, False)
    assert look(plan, "100", part, after_s=2) is None, "its next slot has come"
    assert look(plan, "100", part, after_s=99) is None, "its time is over"
    over = child(plan, first, OrderState.EXPIRED, filled)
    assert over.is_decided
    second = look(plan, "100", over, after_s=2)
    assert isinstance(second, Place)
    assert (second.number, second.quantity) == (1, D(1) - D(filled))


def test_a_part_of_an_iceberg_rests_and_the_next_follows_once_it_is_filled() -> None:
    draft = PlanDraft(PlanKind.ICEBERG, "BTC/USDT", Side.BUY, D(1), D(95), visible=D("0.5"))
    plan = OrderPlan("p", draft, created_ns=T0)
    first = look(plan, "100")
    assert isinstance(first, Place)
    for state, filled in ((OrderState.ACCEPTED, "0"), (OrderState.PARTIALLY_FILLED, "0.2")):
        part = child(plan, first, state, filled)
        assert (part.rests, part.is_decided) == (True, True)
        assert look(plan, "100", part) is None
    second = look(plan, "100", child(plan, first, OrderState.FILLED, "0.5"))
    assert isinstance(second, Place)
    assert (second.number, second.quantity) == (1, D("0.5"))


def test_a_stop_that_is_partly_filled_is_still_looked_after() -> None:
    plan = exit_plan(stop="90")
    part = child(plan, STOP_AT_90, OrderState.PARTIALLY_FILLED, "0.4")
    assert part.is_decided
    assert look(plan, "90", part, held="0.6") is None
    assert look(plan, "89", part, held="0.6") == CancelChild("stop-0"), "the market ran through its limit"
