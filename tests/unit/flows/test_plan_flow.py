"""A new order plan before it is sent: what forbids it, and that what is said is what is sent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flows.order_flow import TicketContext
from app.flows.plan_flow import PlanContext, PlanInput, PlanJudgement, judge
from app.flows.plan_text import ROLE_TEXT, child_text
from app.flows.sample_session import sample_instruments
from core.domain.order_plans import ExitRules, PlanDraft, PlanKind
from core.domain.orders import Side, TradingState
from core.execution import plan_decisions

D = Decimal
BTC = sample_instruments()[0]
TICKET = TicketContext(
    instrument=BTC,
    last=D(60_000),
    bid=D(59_990),
    ask=D(60_010),
    free_base=D("0.5"),
    free_quote=D(50_000),
    position=D("0.5"),
    owned={"manual": D("0.5"), "robot": D("0.2")},
    online=True,
)
WORLD = PlanContext(TICKET)
BRACKET = PlanInput(PlanKind.BRACKET, quantity=D("0.1"), stop_price=D(58_000), target_price=D(66_000))
EXIT = PlanInput(PlanKind.EXIT, quantity=D("0.3"), stop_price=D(58_000))
TWAP = PlanInput(PlanKind.TWAP, quantity=D("0.1"), parts=D(10), minutes=D("1.5"))
ICEBERG = PlanInput(PlanKind.ICEBERG, quantity=D("0.1"), limit_price=D(59_000), visible=D("0.02"))


def world(**changes: object) -> PlanContext:
    return PlanContext(replace(TICKET, **changes))  # type: ignore[arg-type]


def said(judged: PlanJudgement) -> list[str]:
    assert judged.blocker is None, judged.blocker.text()
    return [sentence.text() for sentence in judged.preview]


def blocked(entry: PlanInput, context: PlanContext = WORLD) -> str:
    judged = judge(entry, context)
    assert judged.draft is None
    assert judged.preview == ()
    assert judged.blocker is not None
    return judged.blocker.text()


# --- what is sent -------------------------------------------------------------------------------------------------


def test_a_bracket_at_the_market() -> None:
    judged = judge(BRACKET, WORLD)
    rules = ExitRules(D(58_000), D(66_000))
    assert judged.draft == PlanDraft(PlanKind.BRACKET, "BTC/USDT", Side.BUY, D("0.1"), exits=rules)
    # 0.1 × (60,010 − 58,000) and 0.1 % of both 6,001 and 5,800.
    assert said(judged) == [
        "Buys 0.1 BTC at the market price, for about 6,001.00 USDT.",
        "Sells it once the price falls to 58,000.00: worst loss about 212.80 USDT, fees included.",
        "Or sells it at 66,000.00 or above: gain about 586.40 USDT, fees included.",
    ]
    assert [warning.text() for warning in judged.warnings] == ["The target is watched only while this program runs."]


def test_a_bracket_with_a_limit_and_a_target_alone() -> None:
    judged = judge(replace(BRACKET, limit_price=D(59_000), stop_price=None), WORLD)
    assert judged.draft is not None
    assert judged.draft.limit_price == D(59_000)
    assert said(judged) == [
        "Buys 0.1 BTC at 59,000.00 or below, for at most 5,900.00 USDT.",
        "Sells it at 66,000.00 or above: gain about 687.50 USDT, fees included.",
    ]
    assert "Without a stop the loss is not limited." in [warning.text() for warning in judged.warnings]


@pytest.mark.parametrize(("stop", "first"), [(None, "59,010.00"), (D(58_500), "59,010.00"), (D(58_950), "58,950.00")])
def test_a_trailing_stop_says_where_it_begins(stop: Decimal | None, first: str) -> None:
    judged = judge(replace(BRACKET, stop_price=stop, trail=D(1_000), target_price=None), WORLD)
    assert judged.draft is not None
    assert judged.draft.exits == ExitRules(stop, None, D(1_000))
    assert said(judged)[1].startswith(
        f"Sells it once the price falls 1,000.00 below the best one reached, at first {first}"
    )
    assert "The stop follows the price only while this program runs." in [w.text() for w in judged.warnings]


def test_an_exit_sells_what_is_held() -> None:
    judged = judge(replace(EXIT, side=Side.BUY, target_price=D(66_000), limit_price=D(1)), WORLD)
    rules = ExitRules(D(58_000), D(66_000))
    assert judged.draft == PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, D("0.3"), exits=rules)
    assert said(judged) == [
        "Sells 0.3 BTC once the price falls to 58,000.00: brings about 17,382.60 USDT after fees.",
        "Or sells at 66,000.00 or above: brings at least 19,780.20 USDT after fees.",
    ]
    alone = said(judge(replace(EXIT, stop_price=None, target_price=D(66_000)), WORLD))
    assert alone == ["Sells 0.3 BTC at 66,000.00 or above: brings at least 19,780.20 USDT after fees."]
    trailing = said(judge(replace(EXIT, stop_price=None, trail=D(990)), WORLD))
    assert trailing[0].startswith(
        "Sells 0.3 BTC once the price falls 990.00 below the best one reached, at first 59,000.00"
    )


def test_an_exit_of_a_strategy_is_made_in_its_name() -> None:
    judged = judge(replace(EXIT, owner="robot", quantity=D("0.2")), WORLD)
    assert judged.draft is not None
    assert judged.draft.owner == "robot"
    assert blocked(replace(EXIT, owner="robot")) == "The position is 0.2 BTC; no more can be closed."


@pytest.mark.parametrize("side", list(Side))
def test_a_twap(side: Side) -> None:
    word = "Buys" if side is Side.BUY else "Sells"
    judged = judge(replace(TWAP, side=side), WORLD)
    assert judged.draft == PlanDraft(PlanKind.TWAP, "BTC/USDT", side, D("0.1"), slices=10, duration_s=90)
    assert said(judged) == [f"{word} 0.1 BTC at the market price in 10 parts of about 0.01 BTC, one every 9 s."]
    limited = judge(replace(TWAP, side=side, limit_price=D(60_000)), WORLD)
    assert limited.draft is not None
    assert limited.draft.limit_price == D(60_000)
    assert said(limited)[0].startswith(f"{word} 0.1 BTC at 60,000.00 or ")


@pytest.mark.parametrize("side", list(Side))
def test_an_iceberg(side: Side) -> None:
    judged = judge(replace(ICEBERG, side=side, reduce_only=side is Side.SELL), WORLD)
    assert judged.draft == PlanDraft(
        PlanKind.ICEBERG,
        "BTC/USDT",
        side,
        D("0.1"),
        D(59_000),
        visible=D("0.02"),
        reduce_only=side is Side.SELL,
    )
    assert said(judged)[0].endswith("; the order book shows 0.02 BTC at a time.")


def test_everything_is_sent_on_the_steps_of_the_market() -> None:
    entry = replace(BRACKET, quantity=D("0.123456789"), stop_price=D("58000.004"), trail=D("500.006"))
    draft = judge(entry, WORLD).draft
    assert draft is not None
    assert draft.quantity == D("0.12345")
    assert draft.exits == ExitRules(D("58000.00"), D(66_000), D("500.01"))
    shown = judge(replace(ICEBERG, visible=D("0.0200009")), WORLD).draft
    assert shown is not None
    assert shown.visible == D("0.02")


# --- what forbids it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [BRACKET, EXIT, TWAP, ICEBERG], ids=lambda entry: entry.kind.value)
def test_nothing_begins_while_orders_cannot_be_sent(entry: PlanInput) -> None:
    assert judge(entry, WORLD).draft is not None
    assert "halted" in blocked(entry, world(trading_state=TradingState.HALTED, owned={}))
    assert "Offline" in blocked(entry, world(online=False, owned={}))
    assert "not known" in blocked(entry, world(instrument=None))
    assert blocked(replace(entry, quantity=None)) == "Enter a quantity."
    reducing = judge(entry, world(trading_state=TradingState.REDUCING))
    assert (reducing.draft is not None) is (entry.kind is PlanKind.EXIT)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (replace(BRACKET, stop_price=None, target_price=None), "Enter a stop, a trailing distance or a target."),
        (replace(EXIT, stop_price=None), "Enter a stop, a trailing distance or a target."),
        (replace(BRACKET, stop_price=D("0.001")), "Prices must be above zero."),
        (replace(TWAP, parts=D(1)), "A TWAP order needs at least 2 parts, and at least 2 seconds for each."),
        (replace(TWAP, parts=None), "A TWAP order needs at least 2 parts, and at least 2 seconds for each."),
        (replace(TWAP, minutes=D("0.3")), "A TWAP order needs at least 2 parts, and at least 2 seconds for each."),
        (replace(TWAP, minutes=None), "A TWAP order needs at least 2 parts, and at least 2 seconds for each."),
        (replace(ICEBERG, visible=None), "The visible part must be smaller than the whole order."),
        (replace(ICEBERG, visible=D("0.1")), "The visible part must be smaller than the whole order."),
        (replace(ICEBERG, limit_price=None), "Enter a price."),
        (replace(BRACKET, limit_price=D(0)), "Enter a price."),
        (replace(BRACKET, stop_price=D(60_010)), "The stop must be below 60,010.00, or it would sell at once."),
        (replace(EXIT, stop_price=D(59_990)), "The stop must be below 59,990.00, or it would sell at once."),
        (replace(BRACKET, limit_price=D(57_000)), "The stop must be below 57,000.00, or it would sell at once."),
        (replace(BRACKET, target_price=D(60_010)), "The target must be above 60,010.00, or it would sell at once."),
        (replace(EXIT, trail=D(59_990)), "The trailing distance must be smaller than the price of 59,990.00."),
        (
            replace(TWAP, parts=D(2_000), minutes=D(900)),
            "One part would be 0.00005 BTC. The smallest order value is 5 USDT.",
        ),
        (replace(ICEBERG, visible=D("0.00001")), "One part would be 0.00001 BTC. The smallest order value is 5 USDT."),
        (replace(BRACKET, quantity=D(1)), "Not enough balance: 50000 USDT free."),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(entry: PlanInput, text: str) -> None:
    assert blocked(entry) == text


def test_an_exit_covers_no_more_than_is_held_and_has_no_exit_yet() -> None:
    protected = PlanContext(TICKET, D("0.3"))
    assert blocked(EXIT, protected) == "The position is 0.5 BTC, and 0.3 BTC of it has an exit already."
    assert judge(replace(EXIT, quantity=D("0.2")), protected).draft is not None
    assert blocked(replace(EXIT, quantity=D("0.6"))) == "The position is 0.5 BTC; no more can be closed."
    assert blocked(EXIT, world(owned={})) == "There is no position here that could be closed."
    assert blocked(EXIT, world(owned={"manual": D("-0.5")})) == "There is no position here that could be closed."


def test_a_reduce_only_twap_never_closes_what_a_strategy_holds() -> None:
    selling = replace(TWAP, side=Side.SELL, reduce_only=True)
    assert judge(selling, WORLD).draft is not None
    assert blocked(selling, world(owned={"robot": D(1)})) == "There is no position here that could be closed."
    # What other plans protect may be sold by hand all the same.
    assert judge(selling, PlanContext(TICKET, D("0.5"))).draft is not None
    # A bracket never reduces, whatever the hidden box says.
    bracket = judge(replace(BRACKET, reduce_only=True), world(owned={})).draft
    assert bracket is not None
    assert not bracket.reduce_only


PRICES = st.decimals(D(1), D(200_000), places=3)


@given(
    stop=st.none() | PRICES,
    trail=st.none() | PRICES,
    target=st.none() | PRICES,
    limit=st.none() | PRICES,
    quantity=st.decimals(D("0.0001"), D(1), places=7),
)
def test_what_can_be_begun_sells_below_and_aims_above_the_entry(
    stop: Decimal | None, trail: Decimal | None, target: Decimal | None, limit: Decimal | None, quantity: Decimal
) -> None:
    entry = PlanInput(PlanKind.BRACKET, Side.BUY, quantity, limit, stop, trail, target)
    draft = judge(entry, WORLD).draft
    if draft is None:
        return
    assert draft.exits is not None
    reference = draft.limit_price or D(60_010)
    assert draft.quantity <= quantity
    assert BTC.rule_violation(draft.quantity, reference) is None
    assert draft.exits.stop_price is None or draft.exits.stop_price < reference
    assert draft.exits.target_price is None or draft.exits.target_price > reference
    assert draft.quantity * reference <= D(50_000)


# --- words --------------------------------------------------------------------------------------------------------


def test_every_role_of_a_child_has_a_word() -> None:
    roles = {getattr(plan_decisions, name) for name in ("ENTRY", "STOP", "TARGET", "CLOSE", "PART")}
    assert set(ROLE_TEXT) == roles
    assert child_text(PlanKind.BRACKET, "stop") == "Bracket · stop"
    assert child_text(None, "entry") == "Order plan · entry"
    assert child_text(PlanKind.TWAP, "later") == "TWAP · later"
