"""Changing an order and deciding on one without an answer, before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.flows.order_care import (
    ChangeInput,
    ChangeJudgement,
    describe,
    is_changeable,
    is_unanswered,
    judge_change,
    outcome_of,
)
from app.flows.order_flow import TicketContext
from app.flows.sample_session import sample_instruments, sample_order
from core.domain.orders import (
    IntentSource,
    Order,
    OrderChange,
    OrderState,
    OrderType,
    Side,
    TradingState,
)

D = Decimal
BTC = sample_instruments()[0]
NOW = 1_780_000_000 * 10**9
WORLD = TicketContext(
    instrument=BTC, last=D(60_000), bid=D(59_990), ask=D(60_010), free_base=D(0), free_quote=D(0), online=True
)


def order(**named: Any) -> Order:
    return sample_order(1, NOW, quantity="0.10000", price="59000", **named)


def stop_order(side: Side, **named: Any) -> Order:
    plain = order(side=side, **named)
    intent = replace(plain.intent, order_type=OrderType.STOP_LOSS_LIMIT, stop_price=D(59_100))
    return replace(plain, intent=intent)


def blocked(judged: ChangeJudgement) -> str:
    assert judged.change is None
    assert judged.preview is None
    assert judged.blocker is not None
    return judged.blocker.text()


@pytest.mark.parametrize("state", list(OrderState))
def test_only_a_working_order_can_be_changed(state: OrderState) -> None:
    working = state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)
    assert is_changeable(order(state=state)) is working
    assert is_unanswered(order(state=state)) is (state is OrderState.UNKNOWN)
    if not working:
        judged = judge_change(order(state=state), ChangeInput(D("0.2"), D(58_000)), WORLD)
        assert blocked(judged) == "The order is not working any more; it cannot be changed."


def test_only_a_persons_own_order_can_be_changed() -> None:
    mine = order()
    assert not is_changeable(order(owner="robot"))
    assert not is_changeable(replace(mine, intent=replace(mine.intent, source=IntentSource.EXTERNAL)))
    assert not is_changeable(replace(mine, intent=replace(mine.intent, intent_id="plan:p1:stop:0")))
    assert not is_changeable(replace(mine, intent=replace(mine.intent, order_type=OrderType.MARKET)))


def test_a_change_is_judged_as_if_the_order_were_cancelled() -> None:
    """Nothing is free: what the order itself holds pays for the new one, and not a lot more."""
    judged = judge_change(order(), ChangeInput(D("0.1"), D(58_000)), WORLD)
    assert judged.change == OrderChange(D("0.1"), D(58_000), None)
    assert judged.preview is not None
    assert judged.preview.text() == "Then buys 0.1 BTC at 58,000.00 or below."
    assert blocked(judge_change(order(), ChangeInput(D("0.10001"), D(59_000)), WORLD)).startswith("Not enough balance")
    sale = order(side=Side.SELL)
    assert judge_change(sale, ChangeInput(D("0.05"), D(61_000)), WORLD).change == OrderChange(D("0.05"), D(61_000))
    assert blocked(judge_change(sale, ChangeInput(D("0.2"), D(61_000)), WORLD)).startswith("Not enough balance")
    unknown = replace(WORLD, free_base=None, free_quote=None)
    for side in Side:
        assert judge_change(order(side=side), ChangeInput(D(1), D(59_500)), unknown).change is not None


def test_what_is_filled_counts_for_the_total() -> None:
    part = order(state=OrderState.PARTIALLY_FILLED, filled="0.04000")
    judged = judge_change(part, ChangeInput(D("0.09"), D(59_000)), WORLD)
    assert judged.change == OrderChange(D("0.09"), D(59_000))
    assert judged.preview is not None
    assert judged.preview.text() == "Then buys 0.05 BTC at 59,000.00 or below; 0.04 is filled already."
    # The order it becomes is the core's own arithmetic.
    wish = judged.change.apply(part, "n", NOW)
    assert wish is not None
    assert wish.quantity == D("0.05")
    for total in ("0.04", "0.01"):
        text = blocked(judge_change(part, ChangeInput(D(total), D(59_000)), WORLD))
        assert text == "0.04 is filled already; the total must be larger."


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("filled", ["0", "0.04000"])
def test_a_stop_order_keeps_its_stop(side: Side, filled: str) -> None:
    state = OrderState.PARTIALLY_FILLED if D(filled) else OrderState.ACCEPTED
    stop = D(61_050) if side is Side.BUY else D(59_050)
    judged = judge_change(
        stop_order(side, state=state, filled=filled), ChangeInput(D("0.1"), D("58999.99"), stop), WORLD
    )
    assert judged.change == OrderChange(D("0.1"), D("58999.99"), stop)
    assert judged.preview is not None
    assert f"{stop:,.2f} is reached" in judged.preview.text()
    assert ("filled already" in judged.preview.text()) is bool(D(filled))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (ChangeInput(D("0.1"), D(59_000)), "Nothing is changed yet."),
        (ChangeInput(D("0.100009"), D("59000.009")), "Nothing is changed yet."),
        (ChangeInput(None, D(59_000)), "Enter a quantity."),
        (ChangeInput(D("0.1"), None), "Enter a price."),
        (ChangeInput(D("0.00001"), D(59_000)), "The smallest order value is 5 USDT."),
        (ChangeInput(D(0), D(59_000)), "Enter a quantity."),
    ],
)
def test_what_cannot_be_sent_is_refused_in_words(entry: ChangeInput, text: str) -> None:
    assert blocked(judge_change(order(), entry, WORLD)) == text


def test_nothing_is_changed_while_orders_cannot_be_sent() -> None:
    entry = ChangeInput(D("0.05"), D(58_000))
    assert "halted" in blocked(judge_change(order(), entry, replace(WORLD, trading_state=TradingState.HALTED)))
    assert "Offline" in blocked(judge_change(order(), entry, replace(WORLD, online=False)))
    assert "not known" in blocked(judge_change(order(), entry, replace(WORLD, instrument=None)))


def test_a_price_far_from_the_market_is_warned_about() -> None:
    judged = judge_change(order(), ChangeInput(D("0.05"), D(30_000)), WORLD)
    assert judged.warnings[0].text() == "The price is -50.0 % away from the market."


def test_an_order_in_one_line() -> None:
    assert describe(order().intent, BTC).text() == "Buy 0.1 BTC/USDT at 59,000.00"
    assert describe(order(side=Side.SELL).intent, None).text() == "Sell 0.1 BTC/USDT at 59,000"
    market = sample_order(1, NOW, price=None)
    assert describe(market.intent, BTC).text() == "Buy 0.01 BTC/USDT at the market price"
    sale = replace(market.intent, side=Side.SELL)
    assert describe(sale, BTC).text() == "Sell 0.01 BTC/USDT at the market price"


@pytest.mark.parametrize("state", list(OrderState))
def test_every_state_but_one_is_an_answer(state: OrderState) -> None:
    outcome = outcome_of(order(state=state))
    assert (outcome is None) is (state is OrderState.UNKNOWN)
    assert outcome is None or outcome.text()


def test_the_answer_is_said_in_a_sentence() -> None:
    def said(found: Order) -> str:
        outcome = outcome_of(found)
        assert outcome is not None
        return outcome.text()

    assert "filled the order (0.1)" in said(order(state=OrderState.FILLED, filled="0.1"))
    assert "has the order; 0 of 0.1" in said(order())
    assert "cancelled; 0.04 of 0.1" in said(order(state=OrderState.CANCELED, filled="0.04"))
    gone = replace(order(state=OrderState.EXPIRED), reason_code="DECLARED_GONE", message="")
    assert said(gone) == "You saw that the exchange does not have the order."
    assert said(order(state=OrderState.REJECTED, message="no")) == "no"
    assert said(order(state=OrderState.EXPIRED)) == "Decided: the order is over; nothing of it works any more."
