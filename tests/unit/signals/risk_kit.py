"""Intents, contexts and the fixed table of cases that every rule of the risk gate has to answer to."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_MS, NS_PER_S
from core.domain.orders import Evidence, Intent, IntentSource, Order, OrderState, OrderType, Side, TradingState
from core.signals.risk.context import BookView
from core.signals.risk_management import RULES as ALL_RULES
from core.signals.risk_management import Approved, ReasonCode, RiskContext, RiskManager, RiskSettings, Rule
from tests.unit.execution.fake_venue import BTC

D = Decimal
NOW = 1_000 * NS_PER_S
SETTINGS = RiskSettings(
    max_order_value=D(1_000),
    max_position_value=D(2_000),
    max_daily_loss=D(100),
    price_collar=D("0.05"),
    max_open_orders=3,
    duplicate_window_s=2,
    max_drawdown=D(500),
    max_order_share=D("0.5"),
    max_quantity_multiple=D(10),
    max_slippage=D("0.02"),
    max_orders_per_second=5,
    max_orders_per_minute=20,
    max_cancels_per_minute=30,
    max_price_age_s=30,
    max_clock_skew_ms=1_000,
)


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


def code(
    wish: Intent, around: RiskContext, settings: RiskSettings = SETTINGS, rules: tuple[Rule, ...] = ALL_RULES
) -> ReasonCode | None:
    verdict = RiskManager(settings, rules).check(wish, around)
    if isinstance(verdict, Approved):
        assert verdict.intent is wish
        return None
    assert verdict.message
    return verdict.code


KILL = {"source": IntentSource.KILL_SWITCH, "reduce_only": True}
SENT = OrderState.SUBMITTED
HALTED, REDUCING = TradingState.HALTED, TradingState.REDUCING
SELL = Side.SELL
STRATEGY = {"source": IntentSource.STRATEGY, "owner": "s1", "intent_id": "s1:1"}
BIG = {"owner_quantity": D(50), "account_quantity": D(50), "holdings": D(50), "free": {"BTC": D(50)}}
HABIT = tuple(D(n) for n in ("0.2", "0.1", "5", "0.1", "0.05"))  # the median is 0.1, the mean is not


def book(price: str | None = "100", quantity: str = "50", middle: str = "100") -> BookView:
    return BookView(D(middle), None if price is None else D(price), D(quantity))


def on_bar(bar: int, **changes: Any) -> Intent:
    return intent(**{**STRATEGY, "evidence": Evidence(bar_open_ns=bar), **changes})


CASES: list[tuple[str, Intent, RiskContext, ReasonCode | None]] = [
    ("plain buy", intent(), context(), None),
    ("plain sell", intent(SELL), context(), None),
    ("halted", intent(), context(trading_state=HALTED), ReasonCode.TRADING_HALTED),
    ("halted, even selling", intent(SELL), context(trading_state=HALTED), ReasonCode.TRADING_HALTED),
    ("halted, kill switch closes", intent(SELL, **KILL), context(trading_state=HALTED), None),
    (
        "halted, STOP closes what another sale of it left",
        intent(SELL, "3", **KILL, owner="s1"),
        context(trading_state=HALTED, owner_quantity=D(3), holdings=D(3), working=[working(SENT, SELL, "3")]),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    (
        "reducing, two owners leave although the balance shows less already",
        intent(SELL, "3", reduce_only=True, owner="s1"),
        context(
            trading_state=REDUCING,
            owner_quantity=D(3),
            holdings=D(4),
            free={"BTC": D(3)},
            working=[working(OrderState.ACCEPTED, SELL, "3", owner="s2")],
        ),
        None,
    ),
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
        "halted by a loss: protection goes on",
        intent(SELL, "5", reduce_only=True),
        context(trading_state=HALTED, keeps_protection=True),
        None,
    ),
    (
        "halted by a loss: nothing else does",
        intent(SELL),
        context(trading_state=HALTED, keeps_protection=True),
        ReasonCode.TRADING_HALTED,
    ),
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
    (
        "sale beside a reduce-only one that takes the rest",
        intent(SELL, "3"),
        context(holdings=D(50), working=[working(SENT, SELL, "3", reduce_only=True)], free={"BTC": D(50)}),
        ReasonCode.REDUCE_ONLY_WOULD_INCREASE,
    ),
    (
        "sale beside a reduce-only one and another sale",
        intent(SELL, "2", limit="100"),
        context(
            holdings=D(50),
            working=[working(side=SELL, quantity="3", reduce_only=True), working(side=SELL, quantity="1")],
            free={"BTC": D(50)},
        ),
        ReasonCode.REDUCE_ONLY_WOULD_INCREASE,
    ),
    (
        "sale of what a reduce-only one leaves",
        intent(SELL, "2"),
        context(holdings=D(50), working=[working(side=SELL, quantity="3", reduce_only=True)], free={"BTC": D(50)}),
        None,
    ),
    (
        "reduce only, filled already though no trade is listed",
        intent(SELL, "3", reduce_only=True),
        context(holdings=D(50), free={"BTC": D(50)}, unbooked=[(intent(SELL, "3"), D(3))]),
        ReasonCode.REDUCE_ONLY_WOULD_INCREASE,
    ),
    (
        "reduce only beside another owner's unlisted trades",
        intent(SELL, "3", reduce_only=True),
        context(holdings=D(50), free={"BTC": D(50)}, unbooked=[(intent(SELL, "3", owner="s1"), D(3))]),
        None,
    ),
    (
        "position, bought already though no trade is listed",
        intent(quantity="9"),
        context(unbooked=[(intent(quantity="7"), D(7))], book=None),
        ReasonCode.MAX_POSITION,
    ),
    ("position, without it", intent(quantity="9"), context(book=None), None),
    (
        "sale beside another owner's reduce-only one",
        intent(SELL, "5"),
        context(holdings=D(50), working=[working(side=SELL, quantity="3", reduce_only=True, owner="s1")]),
        None,
    ),
    ("reduce only buy of a long", intent(reduce_only=True), context(), ReasonCode.REDUCE_ONLY_WOULD_INCREASE),
    ("reduce only buy of a short", intent(reduce_only=True), context(owner_quantity=D(-1)), None),
    ("no such market", intent(), context(instrument=None), ReasonCode.UNKNOWN_SYMBOL),
    ("no price", intent(), context(mark_price=None), ReasonCode.NO_MARKET_PRICE),
    ("no price, limit", intent(limit="100"), context(mark_price=None), ReasonCode.NO_MARKET_PRICE),
    ("no price, STOP closes all the same", intent(SELL, **KILL), context(mark_price=None), None),
    ("no price, leaving at the market", intent(SELL, reduce_only=True), context(mark_price=None), None),
    (
        "no price, leaving at a limit that nobody can judge",
        intent(SELL, limit="1", reduce_only=True),
        context(mark_price=None),
        ReasonCode.NO_MARKET_PRICE,
    ),
    (
        "no price, closing a short at the market",
        intent(reduce_only=True),
        context(mark_price=None, owner_quantity=D(-1), free={}),
        None,
    ),
    ("stale price", intent(), context(mark_age_ns=30 * NS_PER_S + 1), ReasonCode.STALE_PRICE),
    ("price just fresh", intent(), context(mark_age_ns=30 * NS_PER_S), None),
    ("a price from the future", intent(), context(mark_age_ns=-NS_PER_S), ReasonCode.STALE_PRICE),
    ("stale price, selling", intent(SELL), context(mark_age_ns=31 * NS_PER_S), ReasonCode.STALE_PRICE),
    ("stale price, leaving", intent(SELL, reduce_only=True), context(mark_age_ns=31 * NS_PER_S), None),
    ("foreign owner", intent(), context(symbol_owner_denies="a person trades it"), ReasonCode.OWNERSHIP),
    (
        "foreign owner, even reducing",
        intent(SELL, reduce_only=True),
        context(symbol_owner_denies="a person trades it"),
        ReasonCode.OWNERSHIP,
    ),
    ("foreign owner, STOP", intent(SELL, **KILL), context(symbol_owner_denies="a person trades it"), None),
    ("clock off", intent(), context(live=True, clock_skew_ns=1_001 * NS_PER_MS), ReasonCode.CLOCK_SKEW),
    ("clock off, slow", intent(), context(live=True, clock_skew_ns=-1_001 * NS_PER_MS), ReasonCode.CLOCK_SKEW),
    ("clock almost off", intent(), context(live=True, clock_skew_ns=-1_000 * NS_PER_MS), None),
    ("clock never measured", intent(), context(live=True), ReasonCode.CLOCK_SKEW),
    ("clock off, practice", intent(), context(clock_skew_ns=60 * NS_PER_S), None),
    ("clock off, selling", intent(SELL), context(live=True, clock_skew_ns=60 * NS_PER_S), None),
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
    ("second click", intent(), context(recent=[intent(created_ns=NOW - NS_PER_S)]), ReasonCode.DUPLICATE_INTENT),
    ("slow second click", intent(), context(recent=[intent(created_ns=NOW - 2 * NS_PER_S)]), None),
    ("another order", intent(), context(recent=[intent(quantity="2")]), None),
    ("somebody else wants the same", intent(**STRATEGY), context(recent=[intent()]), None),
    ("a loop", on_bar(1, intent_id="s1:2"), context(recent=[on_bar(1)]), ReasonCode.DUPLICATE_INTENT),
    ("a loop without a bar", intent(**STRATEGY), context(recent=[intent(**STRATEGY)]), ReasonCode.DUPLICATE_INTENT),
    (
        "equal parts of one plan, one after the other",
        intent(intent_id="plan:p1:slice:2"),
        context(recent=[intent(intent_id="plan:p1:slice:1")]),
        None,
    ),
    (
        "parts of two plans",
        intent(intent_id="plan:p2:slice:1"),
        context(recent=[intent(intent_id="plan:p1:slice:1")]),
        None,
    ),
    ("the next bar", on_bar(2, intent_id="s1:2"), context(recent=[on_bar(1)]), None),
    ("the same wish of another strategy", on_bar(1, owner="s2"), context(recent=[on_bar(1)]), None),
    (
        "the same position of another owner",
        intent(SELL, reduce_only=True, owner="s2"),
        context(recent=[intent(SELL, reduce_only=True, owner="s1")]),
        None,
    ),
    (
        "STOP repeats what a person just did",
        intent(SELL, **KILL),
        context(recent=[intent(SELL, **KILL), intent(SELL)]),
        None,
    ),
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
    (
        "stale decision to leave",
        intent(SELL, reference_price=D(106), reduce_only=True, **STRATEGY),
        context(),
        None,
    ),
    ("fresh decision", intent(reference_price=D(104)), context(), None),
    ("order value", intent(quantity="10.1"), context(), ReasonCode.MAX_ORDER_VALUE),
    (
        "kill switch ignores size",
        intent(SELL, "50", **KILL),
        context(**BIG),
        None,
    ),
    (
        "leaving ignores size and count",
        intent(SELL, "50", reduce_only=True),
        context(**BIG, working=[working()] * 3),
        None,
    ),
    ("a clock set back is no second click", intent(), context(recent=[intent(created_ns=NOW + NS_PER_S)]), None),
    ("whole account", intent(quantity="6"), context(equity=D(1_000)), ReasonCode.FAT_FINGER),
    ("half the account", intent(quantity="5"), context(equity=D(1_000)), None),
    ("half the account, selling more", intent(SELL, "5"), context(equity=D(600)), None),
    ("a slipped zero", intent(quantity="1"), context(usual_quantities=HABIT), ReasonCode.FAT_FINGER),
    ("nine times the usual", intent(quantity="0.9"), context(usual_quantities=HABIT), None),
    ("no habit yet", intent(quantity="1"), context(usual_quantities=HABIT[:4]), None),
    ("small all the same", intent(quantity="1"), context(usual_quantities=HABIT, equity=D(2_001)), None),
    (
        "a slipped zero worth a twentieth",
        intent(quantity="1"),
        context(usual_quantities=HABIT, equity=D(2_000)),
        ReasonCode.FAT_FINGER,
    ),
    ("selling what was gathered", intent(SELL, "5"), context(usual_quantities=HABIT), None),
    ("a forecaster's slip", intent(**STRATEGY), context(usual_quantities=HABIT), ReasonCode.FAT_FINGER),
    ("an agent within its account", intent(**STRATEGY), context(usual_quantities=HABIT, own_equity=D(600)), None),
    (
        "an agent beyond its account",
        intent(**STRATEGY),
        context(usual_quantities=HABIT, own_equity=D("599.99")),
        ReasonCode.FAT_FINGER,
    ),
    (
        "an agent beyond its account with what it ordered before",
        intent(**STRATEGY),
        context(usual_quantities=HABIT, own_equity=D(600), unbooked=[(intent(**STRATEGY), D("0.01"))]),
        ReasonCode.FAT_FINGER,
    ),
    (
        "an agent within its account, and what another one ordered",
        intent(**STRATEGY),
        context(usual_quantities=HABIT, own_equity=D(600), unbooked=[(intent(), D(1))]),
        None,
    ),
    (
        "an agent's account is no excuse for more than the whole account's share",
        intent(**STRATEGY, quantity="6"),
        context(equity=D(1_000), own_equity=D(5_000)),
        ReasonCode.FAT_FINGER,
    ),
    ("5 orders a second", intent(), context(orders_last_second=5), ReasonCode.ORDER_RATE),
    ("4 orders a second", intent(), context(orders_last_second=4), None),
    ("5 orders a second, selling", intent(SELL), context(orders_last_second=5), ReasonCode.ORDER_RATE),
    ("20 orders a minute", intent(), context(orders_last_minute=20), ReasonCode.ORDER_RATE),
    ("19 orders a minute", intent(), context(orders_last_minute=19), None),
    ("30 cancels a minute", intent(), context(cancels_last_minute=30), ReasonCode.ORDER_RATE),
    ("29 cancels a minute", intent(), context(cancels_last_minute=29), None),
    (
        "leaving ignores rates",
        intent(SELL, reduce_only=True),
        context(orders_last_second=99, orders_last_minute=99, cancels_last_minute=99),
        None,
    ),
    (
        "STOP ignores rates",
        intent(SELL, **KILL),
        context(orders_last_second=99, orders_last_minute=99, cancels_last_minute=99),
        None,
    ),
    ("book too thin", intent(quantity="2"), context(book=book(quantity="1.9")), ReasonCode.SLIPPAGE),
    ("nobody sells", intent(), context(book=book(None, "0")), ReasonCode.SLIPPAGE),
    ("book just deep enough", intent(quantity="2"), context(book=book(quantity="2")), None),
    ("book too dear", intent(), context(book=book("102.01")), ReasonCode.SLIPPAGE),
    ("book dear", intent(), context(book=book("102")), None),
    ("book too cheap to sell", intent(SELL), context(book=book("97.99")), ReasonCode.SLIPPAGE),
    ("book better than its middle", intent(SELL), context(book=book("110")), None),
    ("a limit order waits", intent(limit="100"), context(book=book("102.01", "0.1")), None),
    ("leaving takes what there is", intent(SELL, reduce_only=True), context(book=book("50", "0.1")), None),
    ("leaving an empty book", intent(SELL, **KILL), context(book=book(None, "0")), None),
    ("open orders", intent(), context(working=[working()] * 3), ReasonCode.MAX_OPEN_ORDERS),
    ("position", intent(quantity="10"), context(account_quantity=D("10.1")), ReasonCode.MAX_POSITION),
    ("position with pending", intent(quantity="9"), context(working=[working(quantity="7")]), ReasonCode.MAX_POSITION),
    ("position, sell", intent(SELL), context(account_quantity=D(1_000)), None),
    ("daily loss", intent(), context(day_pnl=D(-100)), ReasonCode.DAILY_LOSS),
    ("daily loss, sell", intent(SELL), context(day_pnl=D(-100)), None),
    ("without a loss there is no daily loss", intent(), context(day_pnl=D(0)), None),
    ("drawdown", intent(), context(drawdown=D(500)), ReasonCode.DRAWDOWN),
    ("almost a drawdown", intent(), context(drawdown=D("499.99")), None),
    ("drawdown, sell", intent(SELL), context(drawdown=D(500)), None),
    ("almost", intent(), context(day_pnl=D("-99.99")), None),
    ("no money", intent(quantity="2"), context(free={"USDT": D(199)}), ReasonCode.INSUFFICIENT_BALANCE),
    (
        "money promised in a dearer market",
        intent(quantity="2"),
        context(
            free={"USDT": D(250)}, marks={"ETH/USDT": D(51)}, working=[Order("i", intent(symbol="ETH/USDT"), SENT)]
        ),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    (
        "money promised in a cheaper market",
        intent(quantity="2"),
        context(
            free={"USDT": D(250)}, marks={"ETH/USDT": D(50)}, working=[Order("i", intent(symbol="ETH/USDT"), SENT)]
        ),
        None,
    ),
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
