"""Every risk rule: it denies with its own reason, it is needed, and what it does not concern passes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_S
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TradingState
from core.errors import UserError
from core.signals.risk_management import (
    Approved,
    Denied,
    ReasonCode,
    RiskContext,
    RiskManager,
    RiskSettings,
    increases_exposure,
)
from tests.unit.execution.fake_venue import BTC

D = Decimal
NOW = 1_000 * NS_PER_S
SETTINGS = RiskSettings(D(1_000), D(2_000), D(100), D("0.05"), 3, 2)


def intent(side: Side = Side.BUY, quantity: str = "1", limit: str | None = None, **changes: Any) -> Intent:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    made = Intent(
        "manual:1",
        IntentSource.MANUAL,
        "manual",
        "BTC/USDT",
        side,
        D(quantity),
        kind,
        limit_price=None if limit is None else D(limit),
        created_ns=NOW,
    )
    return replace(made, **changes)


def context(**changes: Any) -> RiskContext:
    base = RiskContext(
        NOW,
        TradingState.ACTIVE,
        BTC,
        D(100),
        owner_quantity=D(5),
        account_quantity=D(5),
        holdings=D(5),
        free={"USDT": D(10_000), "BTC": D(5)},
    )
    return replace(base, **changes)


def working(state: OrderState = OrderState.ACCEPTED, side: Side = Side.BUY, quantity: str = "1", **kw: Any) -> Order:
    return Order("id", intent(side, quantity, kw.pop("limit", "99"), **kw), state)


def code(wish: Intent, around: RiskContext, settings: RiskSettings = SETTINGS) -> ReasonCode | None:
    verdict = RiskManager(settings).check(wish, around)
    if isinstance(verdict, Approved):
        assert verdict.intent is wish
        return None
    assert verdict.message
    return verdict.code


KILL = {"source": IntentSource.KILL_SWITCH, "reduce_only": True}
HALTED, REDUCING = TradingState.HALTED, TradingState.REDUCING
SELL = Side.SELL

CASES: list[tuple[str, Intent, RiskContext, ReasonCode | None]] = [
    ("plain buy", intent(), context(), None),
    ("plain sell", intent(SELL), context(), None),
    ("halted", intent(), context(trading_state=HALTED), ReasonCode.TRADING_HALTED),
    ("halted, even selling", intent(SELL), context(trading_state=HALTED), ReasonCode.TRADING_HALTED),
    ("halted, kill switch closes", intent(SELL, **KILL), context(trading_state=HALTED), None),
    ("halted, kill switch must not open", intent(**KILL), context(trading_state=HALTED), ReasonCode.TRADING_HALTED),
    ("reducing, buy", intent(), context(trading_state=REDUCING), ReasonCode.TRADING_STATE_REDUCING),
    ("reducing, sell", intent(SELL), context(trading_state=REDUCING), None),
    ("reconciling, buy", intent(), context(in_doubt=True), ReasonCode.RECONCILING),
    ("reconciling, sell", intent(SELL), context(in_doubt=True), None),
    ("unknown order", intent(), context(working=[working(OrderState.UNKNOWN)]), ReasonCode.UNKNOWN_ORDER_LOCK),
    ("unknown order, sell", intent(SELL), context(working=[working(OrderState.UNKNOWN)]), None),
    ("unknown elsewhere", intent(), context(working=[working(OrderState.UNKNOWN, symbol="ETH/USDT")]), None),
    ("reduce only, too much", intent(SELL, "6", reduce_only=True), context(), ReasonCode.REDUCE_ONLY_WOULD_INCREASE),
    ("reduce only, exact", intent(SELL, "5", reduce_only=True), context(), None),
    (
        "reduce only, the rest is on its way out",
        intent(SELL, "3", reduce_only=True),
        context(holdings=D(50), working=[working(OrderState.UNKNOWN, SELL, "3")], free={"BTC": D(50)}),
        ReasonCode.REDUCE_ONLY_WOULD_INCREASE,
    ),
    (
        "reduce only beside another owner's sale",
        intent(SELL, "3", reduce_only=True),
        context(holdings=D(50), working=[working(side=SELL, quantity="3", owner="s1")], free={"BTC": D(50)}),
        None,
    ),
    ("reduce only buy of a long", intent(reduce_only=True), context(), ReasonCode.REDUCE_ONLY_WOULD_INCREASE),
    ("reduce only buy of a short", intent(reduce_only=True), context(owner_quantity=D(-1)), None),
    ("no such market", intent(), context(instrument=None), ReasonCode.UNKNOWN_SYMBOL),
    ("no price", intent(), context(mark_price=None), ReasonCode.NO_MARKET_PRICE),
    ("lot", intent(quantity="0.000001"), context(), ReasonCode.LOT_SIZE),
    ("tick", intent(limit="99.001"), context(), ReasonCode.TICK_SIZE),
    ("negative limit", intent(limit="-1"), context(), ReasonCode.TICK_SIZE),
    (
        "stop tick",
        intent(SELL, limit="90", order_type=OrderType.STOP_LOSS_LIMIT, stop_price=D("90.001")),
        context(),
        ReasonCode.TICK_SIZE,
    ),
    ("notional", intent(quantity="0.04"), context(), ReasonCode.NOTIONAL_BELOW_MINIMUM),
    ("notional at the limit price", intent(quantity="0.05", limit="99"), context(), ReasonCode.NOTIONAL_BELOW_MINIMUM),
    ("second click", intent(), context(recent_manual=[intent(created_ns=NOW - NS_PER_S)]), ReasonCode.DUPLICATE_INTENT),
    ("slow second click", intent(), context(recent_manual=[intent(created_ns=NOW - 2 * NS_PER_S)]), None),
    ("another order", intent(), context(recent_manual=[intent(quantity="2")]), None),
    ("strategies may repeat", intent(source=IntentSource.STRATEGY), context(recent_manual=[intent()]), None),
    ("collar above", intent(limit="105.01"), context(), ReasonCode.PRICE_COLLAR),
    ("collar edge", intent(limit="105"), context(), None),
    ("collar below", intent(SELL, limit="94.99"), context(), ReasonCode.PRICE_COLLAR),
    ("passive is no danger", intent(limit="10"), context(), None),
    (
        "collar of a stop",
        intent(SELL, limit="80", order_type=OrderType.STOP_LOSS_LIMIT, stop_price=D(90)),
        context(),
        ReasonCode.PRICE_COLLAR,
    ),
    (
        "stop near its trigger",
        intent(SELL, limit="89", order_type=OrderType.STOP_LOSS_LIMIT, stop_price=D(90)),
        context(),
        None,
    ),
    ("stale decision", intent(reference_price=D(106)), context(), ReasonCode.PRICE_COLLAR),
    ("fresh decision", intent(reference_price=D(104)), context(), None),
    ("order value", intent(quantity="10.1"), context(), ReasonCode.MAX_ORDER_VALUE),
    (
        "kill switch ignores size",
        intent(SELL, "50", **KILL),
        context(owner_quantity=D(50), holdings=D(50), free={"BTC": D(50)}),
        None,
    ),
    (
        "leaving ignores size and count",
        intent(SELL, "50", reduce_only=True),
        context(owner_quantity=D(50), holdings=D(50), free={"BTC": D(50)}, working=[working()] * 3),
        None,
    ),
    ("a clock set back is no second click", intent(), context(recent_manual=[intent(created_ns=NOW + NS_PER_S)]), None),
    ("open orders", intent(), context(working=[working()] * 3), ReasonCode.MAX_OPEN_ORDERS),
    ("position", intent(quantity="10"), context(account_quantity=D("10.1")), ReasonCode.MAX_POSITION),
    ("position with pending", intent(quantity="9"), context(working=[working(quantity="7")]), ReasonCode.MAX_POSITION),
    ("position, sell", intent(SELL), context(account_quantity=D(1_000)), None),
    ("daily loss", intent(), context(day_pnl=D(-100)), ReasonCode.DAILY_LOSS),
    ("daily loss, sell", intent(SELL), context(day_pnl=D(-100)), None),
    ("almost", intent(), context(day_pnl=D("-99.99")), None),
    ("no money", intent(quantity="2"), context(free={"USDT": D(199)}), ReasonCode.INSUFFICIENT_BALANCE),
    (
        "money promised",
        intent(quantity="2"),
        context(free={"USDT": D(250)}, working=[working(OrderState.SUBMITTED, symbol="ETH/USDT")]),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    ("resting orders are locked", intent(quantity="2"), context(free={"USDT": D(250)}, working=[working()]), None),
    ("nothing to sell", intent(SELL), context(free={}), ReasonCode.INSUFFICIENT_BALANCE),
    (
        "coins promised",
        intent(SELL, "4"),
        context(working=[working(OrderState.SUBMITTED, SELL, "2")], holdings=D(9)),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    (
        "other coins promised",
        intent(SELL, "4"),
        context(working=[working(OrderState.UNKNOWN, SELL, "2", symbol="ETH/USDT")]),
        None,
    ),
]


@pytest.mark.parametrize(("wish", "around", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rule(wish: Intent, around: RiskContext, expected: ReasonCode | None) -> None:
    assert code(wish, around) == expected


def test_every_rule_of_ours_has_a_case() -> None:
    ours = set(ReasonCode) - {
        ReasonCode.FENCED,
        ReasonCode.VENUE_REJECTED,
        ReasonCode.NOT_PROCESSED,
        ReasonCode.NEVER_ARRIVED,
        ReasonCode.GONE_AT_VENUE,
    }
    assert {case[3] for case in CASES} - {None} == ours


def test_a_market_buy_on_its_way_counts_at_the_market_price() -> None:
    on_its_way = Order("id", intent(), OrderState.SUBMITTED)
    assert code(intent(quantity="2"), context(free={"USDT": D(299)}, working=[on_its_way])) == "INSUFFICIENT_BALANCE"
    assert code(intent(quantity="2"), context(free={"USDT": D(300)}, working=[on_its_way])) is None


def test_settings_change_only_as_a_whole() -> None:
    manager = RiskManager(SETTINGS)
    manager.replace_settings(replace(SETTINGS, max_order_value=D(1)))
    assert isinstance(manager.check(intent(), context()), Denied)
    assert manager.settings.max_order_value == 1


def test_settings_survive_json() -> None:
    settings = RiskSettings(D("0.1"), D("1e5"), D(3), D("0.015"), 7, 0)
    assert RiskSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("bad", [{"max_order_value": D(-1)}, {"price_collar": D("NaN")}, {"max_open_orders": -1}])
def test_senseless_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((UserError, ArithmeticError)):
        RiskSettings(**bad)


quantities = st.decimals(min_value="0.00001", max_value="100", places=5)


@settings(max_examples=100, deadline=None)
@given(quantities, st.sampled_from(Side), st.sampled_from(TradingState), quantities, st.decimals(0, 500, places=2))
def test_what_is_approved_keeps_every_limit(
    quantity: Decimal, side: Side, state: TradingState, held: Decimal, mark: Decimal
) -> None:
    around = context(
        trading_state=state,
        mark_price=mark,
        owner_quantity=held,
        account_quantity=held,
        holdings=held,
        free={"USDT": D(5_000), "BTC": held},
    )
    wish = intent(side, str(quantity))
    if code(wish, around) is not None:
        return
    assert state is not TradingState.HALTED
    assert quantity * mark <= SETTINGS.max_order_value
    assert BTC.rule_violation(quantity, mark) is None
    if side is Side.BUY:
        assert state is TradingState.ACTIVE
        assert increases_exposure(wish, around)
        assert (held + quantity) * mark <= SETTINGS.max_position_value
        assert quantity * mark <= 5_000
    else:
        assert quantity <= held


def test_a_refused_closing_order_names_what_is_on_its_way_out() -> None:
    wish = intent(SELL, "3", reduce_only=True)
    around = context(working=[working(side=SELL, quantity="3.50")])
    check = RiskManager(SETTINGS).check
    verdicts = [check(wish, around), check(replace(wish, quantity=D(6)), context())]
    assert [v.message for v in verdicts if isinstance(v, Denied)] == [
        "the order may only reduce the position of 5, and 3.5 is on its way out already",
        "the order may only reduce the position of 5",
    ]
