from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flows.order_flow import (
    FlowState,
    OrderFlow,
    TicketContext,
    TicketInput,
    assess,
    estimate,
    quantity_for_share,
)
from app.flows.sample_session import sample_instruments
from app.services import OrderDraft
from core.clock import NS_PER_S, ManualClock
from core.domain.instruments import FeeRule
from core.domain.money import is_multiple
from core.domain.orders import (
    Intent,
    IntentSource,
    Order,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
    TradingState,
)
from core.domain.positions import Ownership
from core.events import DraftRefused, IntentDenied, OrderUpdated
from core.practice.ledger import Ledger
from core.practice.orders import Order as LedgerOrder
from core.practice.specs import UNITS, MarketSpec

BTC = sample_instruments()[0]
CONTEXT = TicketContext(
    instrument=BTC,
    last=Decimal("61200"),
    bid=Decimal("61199.99"),
    ask=Decimal("61200.01"),
    free_base=Decimal("0.5"),
    free_quote=Decimal("100000"),
    equity=Decimal("130600"),
    position=Decimal("0.5"),
    owned={"manual": Decimal("0.5")},
    online=True,
)
ENTRY = TicketInput(quantity=Decimal("0.01"), limit_price=Decimal("61200"))


def stop(side: Side, price: str) -> TicketInput:
    return replace(ENTRY, order_type=OrderType.STOP_LOSS_LIMIT, side=side, stop_price=Decimal(price))


class Ticket:
    def __init__(self, context: TicketContext = CONTEXT, entry: TicketInput = ENTRY) -> None:
        self.clock = ManualClock(1_000 * NS_PER_S)
        self.sent: list[OrderDraft] = []
        self.flow = OrderFlow(self.sent.append, self.clock.now_ns)
        self.flow.observe(context)
        self.flow.edit(entry)

    def wait(self, seconds: float) -> None:
        self.clock.advance(int(seconds * NS_PER_S))

    def send(self) -> None:
        assert self.flow.review()
        self.wait(1)
        assert self.flow.send()


def intent_of(draft: OrderDraft, number: int = 1, source: IntentSource = IntentSource.MANUAL) -> Intent:
    return Intent(
        intent_id=f"i{number}",
        source=source,
        owner=draft.owner,
        symbol=draft.symbol,
        side=draft.side,
        quantity=draft.quantity,
        order_type=draft.order_type,
        limit_price=draft.limit_price,
        stop_price=draft.stop_price,
        time_in_force=draft.time_in_force,
        reduce_only=draft.reduce_only,
    )


def update(draft: OrderDraft, state: OrderState, number: int = 1, **changes: object) -> OrderUpdated:
    order = Order(client_order_id=f"c{number}", intent=intent_of(draft, number), state=state)
    return OrderUpdated(replace(order, **changes))  # type: ignore[arg-type]


# -- figures ---------------------------------------------------------------------------------------------------------


def test_estimate_of_a_buy() -> None:
    figures = estimate(ENTRY, CONTEXT)
    assert figures is not None
    assert figures.value == figures.spent == Decimal("612.00")
    assert (figures.fee, figures.fee_currency) == (Decimal("0.00001"), "BTC")
    assert figures.received == Decimal("0.00999")
    assert figures.position == Decimal("0.50999")
    assert not figures.rounded


def test_a_venue_that_charges_in_quote_takes_the_fee_on_top_of_a_buy() -> None:
    context = replace(CONTEXT, instrument=replace(BTC, fee_rule=FeeRule.QUOTE))
    buy, sell = estimate(ENTRY, context), estimate(replace(ENTRY, side=Side.SELL), context)
    assert buy is not None
    assert sell is not None
    assert (buy.fee, buy.fee_currency, buy.spent) == (Decimal("0.612"), "USDT", Decimal("612.612"))
    assert (buy.received, buy.position) == (Decimal("0.01"), Decimal("0.51"))
    assert (sell.fee, sell.fee_currency, sell.received) == (Decimal("0.612"), "USDT", Decimal("611.388"))


@pytest.mark.parametrize("side", Side)
def test_the_preview_is_what_the_practice_exchange_does(side: Side) -> None:
    spec = MarketSpec("BTCUSDT", "BTC", "USDT", 2, 5, level_lots=1)
    price, lots = 6_120_000, 1_234
    ledger = Ledger({"USDT": (10_000 * UNITS, 0), "BTC": (UNITS, 0)})
    order = LedgerOrder(1, "c", "BTCUSDT", side.value.upper(), "MARKET", "GTC", 0, lots)
    fee, asset = ledger.settle(spec, order, price, lots)
    entry = TicketInput(side, OrderType.LIMIT, Decimal("0.01234"), Decimal("61200"))
    figures = estimate(entry, replace(CONTEXT, position=Decimal(1)))
    assert figures is not None
    assert (round(figures.fee * UNITS), figures.fee_currency) == (fee, asset)
    assert round(figures.position * UNITS) == ledger.free("BTC")
    spent, received = ("USDT", "BTC") if side is Side.BUY else ("BTC", "USDT")
    before = {"USDT": 10_000 * UNITS, "BTC": UNITS}
    assert round(figures.spent * UNITS) == before[spent] - ledger.free(spent)
    assert round(figures.received * UNITS) == ledger.free(received) - before[received]


def test_estimate_of_a_sell_takes_the_fee_off_and_a_maker_pays_the_maker_fee() -> None:
    context = replace(CONTEXT, instrument=replace(BTC, maker_fee=Decimal(0)))
    sell = estimate(replace(ENTRY, side=Side.SELL), context)
    maker = estimate(replace(ENTRY, order_type=OrderType.LIMIT_MAKER), context)
    assert sell is not None
    assert maker is not None
    assert (sell.spent, sell.fee_currency) == (Decimal("0.01"), "USDT")
    assert sell.received == Decimal("611.388")
    assert sell.position == Decimal("0.49")
    assert maker.fee == 0


def test_market_order_meets_the_other_side() -> None:
    buy = estimate(replace(ENTRY, order_type=OrderType.MARKET), CONTEXT)
    sell = estimate(replace(ENTRY, order_type=OrderType.MARKET, side=Side.SELL), CONTEXT)
    last = estimate(replace(ENTRY, order_type=OrderType.MARKET), replace(CONTEXT, ask=None))
    assert buy is not None
    assert sell is not None
    assert last is not None
    assert (buy.price, sell.price, last.price) == (Decimal("61200.01"), Decimal("61199.99"), Decimal("61200"))
    assert buy.limit_price is None


@pytest.mark.parametrize(
    "context",
    [replace(CONTEXT, instrument=None), replace(CONTEXT, last=None, bid=None, ask=None)],
    ids=["rules", "price"],
)
def test_no_figures_without_market_or_price(context: TicketContext) -> None:
    assert estimate(replace(ENTRY, order_type=OrderType.MARKET), context) is None


@given(
    quantity=st.decimals("0.00001", "100", places=9),
    price=st.decimals("1", "100000", places=7),
    side=st.sampled_from(Side),
)
def test_rounding_never_enlarges_nor_worsens(quantity: Decimal, price: Decimal, side: Side) -> None:
    figures = estimate(TicketInput(side=side, quantity=quantity, limit_price=price), CONTEXT)
    assert figures is not None
    assert figures.limit_price is not None
    assert is_multiple(figures.quantity, BTC.lot_size)
    assert is_multiple(figures.limit_price, BTC.tick_size)
    assert figures.quantity <= quantity
    assert figures.limit_price <= price if side is Side.BUY else figures.limit_price >= price
    assert figures.rounded == ((figures.quantity, figures.limit_price) != (quantity, price))


@given(
    share=st.decimals("0.01", "1", places=2),
    free=st.decimals("1", "100000", places=4),
    rule=st.sampled_from(FeeRule),
    kind=st.sampled_from(OrderType),
)
def test_share_of_the_balance_is_always_affordable(
    share: Decimal, free: Decimal, rule: FeeRule, kind: OrderType
) -> None:
    context = replace(CONTEXT, free_quote=free, instrument=replace(BTC, fee_rule=rule))
    entry = replace(ENTRY, order_type=kind)
    quantity = quantity_for_share(entry, context, share)
    assert quantity is not None
    figures = estimate(replace(entry, quantity=quantity), context)
    assert figures is not None
    assert figures.spent <= free * share


def test_everything_free_can_be_spent_and_not_a_lot_more() -> None:
    context = replace(CONTEXT, free_quote=Decimal("612"))
    assert quantity_for_share(ENTRY, context, Decimal(1)) == Decimal("0.01")
    assert assess(ENTRY, context).blocker is None
    assert assess(replace(ENTRY, quantity=Decimal("0.01001")), context).blocker is not None


def test_share_of_a_sale_is_a_share_of_the_base() -> None:
    assert quantity_for_share(replace(ENTRY, side=Side.SELL), CONTEXT, Decimal("0.25")) == Decimal("0.125")
    assert quantity_for_share(replace(ENTRY, side=Side.SELL), replace(CONTEXT, free_base=None), Decimal(1)) is None
    assert quantity_for_share(ENTRY, replace(CONTEXT, instrument=None), Decimal(1)) is None
    assert quantity_for_share(ENTRY, replace(CONTEXT, free_quote=None), Decimal(1)) is None


# -- judgement -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "entry", "word"),
    [
        (replace(CONTEXT, trading_state=TradingState.HALTED), ENTRY, "halted"),
        (replace(CONTEXT, online=False), ENTRY, "Offline"),
        (replace(CONTEXT, instrument=None), ENTRY, "rules of this market"),
        (replace(CONTEXT, trading_state=TradingState.REDUCING), ENTRY, "reduce the position"),
        (CONTEXT, replace(ENTRY, quantity=None), "quantity"),
        (CONTEXT, replace(ENTRY, quantity=Decimal(0)), "quantity"),
        (CONTEXT, replace(ENTRY, limit_price=None), "price"),
        (CONTEXT, replace(ENTRY, order_type=OrderType.STOP_LOSS_LIMIT), "stop price"),
        (CONTEXT, stop(Side.BUY, "61200"), "A stop that buys must be above the last price of 61,200.00."),
        (CONTEXT, stop(Side.BUY, "61200.004"), "A stop that buys must be above the last price of 61,200.00."),
        (CONTEXT, stop(Side.BUY, "60000"), "A stop that buys must be above the last price of 61,200.00."),
        (CONTEXT, stop(Side.SELL, "61200"), "A stop that sells must be below the last price of 61,200.00."),
        (CONTEXT, stop(Side.SELL, "62000"), "A stop that sells must be below the last price of 61,200.00."),
        (replace(CONTEXT, last=None, ask=None), replace(ENTRY, order_type=OrderType.MARKET), "market price"),
        (CONTEXT, replace(ENTRY, quantity=Decimal("0.000001")), "smallest quantity"),
        (CONTEXT, replace(ENTRY, quantity=Decimal("99999999")), "largest quantity"),
        (CONTEXT, replace(ENTRY, quantity=Decimal("0.00001")), "smallest order value"),
        (CONTEXT, replace(ENTRY, reduce_only=True), "Reduce-only"),
        (CONTEXT, replace(ENTRY, side=Side.SELL, reduce_only=True, quantity=Decimal("0.6")), "Reduce-only"),
        (
            replace(CONTEXT, owned={}),
            replace(ENTRY, side=Side.SELL, reduce_only=True),
            "would not shrink",
        ),
        (
            replace(CONTEXT, owned={"s1": Decimal("0.5")}, titles={"s1": "Trend"}, trading=frozenset({"s1"})),
            replace(ENTRY, side=Side.SELL, reduce_only=True),
            "belongs to the strategy Trend. Press Take over",
        ),
        (
            replace(CONTEXT, owned={"s1": Decimal("0.2"), "s2": Decimal("0.3")}, titles={"s1": "Trend"}),
            replace(ENTRY, side=Side.SELL, reduce_only=True),
            "several strategies: Trend, s2",
        ),
        (replace(CONTEXT, ownership=Ownership.BOT), ENTRY, "left to its strategies"),
        (replace(CONTEXT, free_quote=Decimal(1)), ENTRY, "Not enough balance: 1 USDT"),
        (CONTEXT, replace(ENTRY, side=Side.SELL, quantity=Decimal("0.51")), "Not enough balance: 0.5 BTC"),
    ],
)
def test_what_forbids_an_order_is_said(context: TicketContext, entry: TicketInput, word: str) -> None:
    blocker = assess(entry, context).blocker
    assert blocker is not None
    assert word in blocker.text()
    ticket = Ticket(context, entry)
    assert not ticket.flow.review()
    assert ticket.flow.state is FlowState.EDIT


def test_a_market_left_to_its_strategies_lets_positions_be_reduced() -> None:
    context = replace(CONTEXT, ownership=Ownership.BOT)
    assert assess(replace(ENTRY, side=Side.SELL, reduce_only=True, quantity=Decimal("0.1")), context).blocker is None


def test_reducing_lets_a_sale_of_the_position_pass() -> None:
    context = replace(CONTEXT, trading_state=TradingState.REDUCING)
    assert assess(replace(ENTRY, side=Side.SELL, reduce_only=True), context).blocker is None


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (replace(ENTRY, limit_price=Decimal("6120")), "-90.0 %"),
        (replace(ENTRY, limit_price=Decimal("70000")), "+14.4 %"),
        (replace(ENTRY, quantity=Decimal("1.5")), "% of the account"),
        (replace(ENTRY, quantity=Decimal("0.010001")), "Rounded"),
        (replace(ENTRY, order_type=OrderType.LIMIT_MAKER, limit_price=Decimal("61300")), "would be rejected"),
    ],
)
def test_fat_fingers_are_warned_about(entry: TicketInput, word: str) -> None:
    judged = assess(entry, CONTEXT)
    assert judged.blocker is None
    assert any(word in warning.text() for warning in judged.warnings)


def test_the_share_of_the_account_counts_what_open_orders_hold() -> None:
    entry = replace(ENTRY, quantity=Decimal("1.067"))
    context = replace(CONTEXT, free_quote=Decimal("0.22"))
    assert "This order is 50 % of the account." in [warning.text() for warning in assess(entry, context).warnings]
    unknown = replace(context, equity=None)
    assert not any("of the account" in warning.text() for warning in assess(entry, unknown).warnings)


def test_an_ordinary_order_has_no_warning() -> None:
    assert assess(ENTRY, CONTEXT).warnings == ()


# -- states ----------------------------------------------------------------------------------------------------------


def test_review_then_send_sends_once() -> None:
    ticket = Ticket()
    ticket.send()
    assert ticket.flow.state is FlowState.SENDING
    assert not ticket.flow.send()
    assert not ticket.flow.review()
    assert len(ticket.sent) == 1
    assert ticket.sent[0] == OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.01"), Decimal("61200.00"))


def test_sends_the_rounded_figures() -> None:
    entry = TicketInput(
        order_type=OrderType.STOP_LOSS_LIMIT,
        side=Side.SELL,
        quantity=Decimal("0.0100049"),
        limit_price=Decimal("60000.001"),
        stop_price=Decimal("60100.004"),
        time_in_force=TimeInForce.FOK,
    )
    ticket = Ticket(entry=entry)
    ticket.send()
    draft = ticket.sent[0]
    assert (draft.quantity, draft.limit_price, draft.stop_price) == (
        Decimal("0.01"),
        Decimal("60000.01"),
        Decimal("60100.00"),
    )
    assert draft.time_in_force is TimeInForce.FOK


@pytest.mark.parametrize(
    ("context", "entry"),
    [
        (CONTEXT, stop(Side.BUY, "61200.01")),
        (CONTEXT, stop(Side.SELL, "61199.99")),
        (replace(CONTEXT, last=None), stop(Side.BUY, "60000")),  # the exchange knows it
        (CONTEXT, replace(stop(Side.BUY, "60000"), order_type=OrderType.LIMIT)),  # left over from another type
    ],
)
def test_a_stop_the_market_has_still_to_reach_may_be_sent(context: TicketContext, entry: TicketInput) -> None:
    assert assess(entry, context).blocker is None


def test_a_stop_the_market_reaches_during_the_review_is_not_sent() -> None:
    ticket = Ticket(entry=stop(Side.SELL, "61100"))
    assert ticket.flow.review()
    ticket.flow.observe(replace(CONTEXT, last=Decimal(61_100)))
    assert ticket.flow.state is FlowState.EDIT
    ticket.wait(1)
    assert not ticket.flow.send()
    assert ticket.sent == []


def test_a_double_click_does_not_confirm_its_own_review() -> None:
    ticket = Ticket()
    assert ticket.flow.review()
    ticket.wait(0.2)
    assert not ticket.flow.send()
    assert ticket.sent == []
    ticket.wait(0.3)
    assert ticket.flow.send()


def test_one_click_skips_the_review_but_not_a_warning() -> None:
    ticket = Ticket()
    ticket.flow.one_click = True
    assert ticket.flow.review()
    assert ticket.flow.state is FlowState.SENDING
    ticket = Ticket(entry=replace(ENTRY, limit_price=Decimal("70000")))
    ticket.flow.one_click = True
    assert ticket.flow.review()
    assert ticket.flow.state is FlowState.REVIEW
    assert ticket.sent == []


def test_the_same_order_again_within_two_seconds_is_warned_about() -> None:
    ticket = Ticket()
    ticket.send()
    ticket.flow.on_event(update(ticket.sent[0], OrderState.ACCEPTED))
    ticket.flow.edit(ENTRY)
    assert any("2 seconds" in w.text() for w in ticket.flow.assessment().warnings)
    ticket.wait(2)
    assert ticket.flow.assessment().warnings == ()


@pytest.mark.parametrize(
    ("state", "changes", "result", "word"),
    [
        (OrderState.ACCEPTED, {}, FlowState.DONE, "on the book"),
        (OrderState.PARTIALLY_FILLED, {"filled_quantity": Decimal("0.001")}, FlowState.DONE, "on the book"),
        (
            OrderState.FILLED,
            {"filled_quantity": Decimal("0.01"), "average_price": Decimal("61199.5")},
            FlowState.DONE,
            "Filled 0.01 @ 61,199.5",
        ),
        (OrderState.REJECTED, {"message": "Filter failure: NOTIONAL"}, FlowState.DENIED, "NOTIONAL"),
        (OrderState.DENIED, {"reason_code": "MAX_POSITION"}, FlowState.DENIED, "above the limit"),
        (OrderState.EXPIRED, {}, FlowState.DENIED, "expired"),
        (OrderState.UNKNOWN, {}, FlowState.UNKNOWN, "reconciled"),
    ],
)
def test_answers(state: OrderState, changes: dict[str, object], result: FlowState, word: str) -> None:
    ticket = Ticket()
    ticket.send()
    draft = ticket.sent[0]
    assert not ticket.flow.on_event(update(draft, OrderState.SUBMITTED))
    assert ticket.flow.on_event(update(draft, state, **changes))
    assert ticket.flow.state is result
    assert ticket.flow.outcome is not None
    assert word in ticket.flow.outcome.text()


def test_denial_by_risk() -> None:
    ticket = Ticket()
    ticket.send()
    strategy = intent_of(ticket.sent[0], source=IntentSource.STRATEGY)
    assert not ticket.flow.on_event(IntentDenied(strategy, "X", "someone else's"))
    assert ticket.flow.on_event(IntentDenied(intent_of(ticket.sent[0]), "MAX_ORDER_VALUE", "too large"))
    assert ticket.flow.state is FlowState.DENIED


def test_silence_becomes_unknown_and_evidence_ends_it_without_a_second_send() -> None:
    ticket = Ticket()
    ticket.send()
    ticket.wait(9.9)
    assert not ticket.flow.tick()
    ticket.wait(0.2)
    assert ticket.flow.tick()
    assert ticket.flow.state is FlowState.UNKNOWN
    assert not ticket.flow.send()
    assert ticket.flow.on_event(update(ticket.sent[0], OrderState.ACCEPTED))
    assert ticket.flow.state is FlowState.DONE
    assert len(ticket.sent) == 1


def test_an_older_manual_order_of_the_same_shape_is_not_the_answer() -> None:
    ticket = Ticket()
    draft = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.01"), Decimal("61200"))
    ticket.flow.on_event(update(draft, OrderState.ACCEPTED, number=7))
    ticket.send()
    assert not ticket.flow.on_event(update(draft, OrderState.CANCELED, number=7))
    assert ticket.flow.state is FlowState.SENDING
    assert ticket.flow.on_event(update(draft, OrderState.ACCEPTED, number=8))


def test_fields_are_frozen_in_flight() -> None:
    ticket = Ticket()
    ticket.send()
    ticket.flow.edit(replace(ENTRY, quantity=Decimal(9)))
    assert ticket.flow.entry == ENTRY
    assert ticket.flow.state is FlowState.SENDING


def test_a_review_that_became_impossible_falls_back() -> None:
    ticket = Ticket()
    assert ticket.flow.review()
    ticket.flow.observe(replace(CONTEXT, trading_state=TradingState.HALTED))
    assert ticket.flow.state is FlowState.EDIT
    ticket.wait(1)
    assert not ticket.flow.send()
    assert ticket.sent == []


def test_a_refusal_before_there_is_an_order_is_a_denial_at_once() -> None:
    ticket = Ticket()
    ticket.send()
    other = replace(ticket.sent[0], quantity=Decimal("0.02"))
    assert not ticket.flow.on_event(DraftRefused(other, "not this one"))
    assert ticket.flow.on_event(DraftRefused(ticket.sent[0], "The disk is full."))
    assert ticket.flow.state is FlowState.DENIED
    assert ticket.flow.outcome is not None
    assert ticket.flow.outcome.text() == "Denied, nothing was sent: The disk is full."


def test_a_refusal_of_an_order_that_exists_is_not_believed() -> None:
    ticket = Ticket()
    ticket.send()
    sent = Order("c1", intent_of(ticket.sent[0]), OrderState.SUBMITTED)
    ticket.flow.on_event(OrderUpdated(sent))
    assert not ticket.flow.on_event(DraftRefused(ticket.sent[0], "The disk is full."))
    assert ticket.flow.in_flight
