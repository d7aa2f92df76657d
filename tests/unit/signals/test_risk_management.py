"""Every risk rule: it denies with its own reason, it is needed, and what it does not concern passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_S
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TradingState
from core.signals.risk.context import BookView
from core.signals.risk.settings import UNITS
from core.signals.risk_management import RULES, Approved, Denied, ReasonCode, RiskContext, RiskManager, Rule
from tests.unit.execution.fake_venue import BTC
from tests.unit.signals.risk_kit import CASES, KILL, SELL, SETTINGS, D, code, context, intent, working


@pytest.mark.parametrize(("wish", "around", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rule(wish: Intent, around: RiskContext, expected: ReasonCode | None) -> None:
    assert code(wish, around) == expected


def test_every_code_is_a_rule_with_cases_or_comes_from_the_order_path() -> None:
    codes = {rule.code for rule in RULES}
    assert {case[3] for case in CASES} - {None} == codes
    assert set(ReasonCode) - codes == {
        ReasonCode.FENCED,
        ReasonCode.VENUE_REJECTED,
        ReasonCode.NOT_PROCESSED,
        ReasonCode.NEVER_ARRIVED,
        ReasonCode.DECLARED_GONE,
        ReasonCode.GONE_AT_VENUE,
    }


def test_a_market_buy_on_its_way_counts_at_the_market_price() -> None:
    on_its_way = Order("id", intent(), OrderState.SUBMITTED)
    assert code(intent(quantity="2"), context(free={"USDT": D(299)}, working=[on_its_way])) == "INSUFFICIENT_BALANCE"
    assert code(intent(quantity="2"), context(free={"USDT": D(300)}, working=[on_its_way])) is None


def test_settings_change_only_as_a_whole() -> None:
    manager = RiskManager(SETTINGS)
    manager.replace_settings(replace(SETTINGS, max_order_value=D(1)))
    assert isinstance(manager.check(intent(), context()), Denied)
    assert manager.settings.max_order_value == 1


# --- no rule may be missing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_without_any_one_rule_a_case_would_end_otherwise(rule: Rule) -> None:
    left = tuple(other for other in RULES if other is not rule)
    changed = [name for name, wish, around, verdict in CASES if code(wish, around, rules=left) != verdict]
    assert changed
    expected = {verdict for name, _, _, verdict in CASES if name in changed}
    assert expected == {rule.code}, "what is lost without the rule was its own"


def test_rules_are_named_apart() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_the_gate_begins_with_every_rule() -> None:
    assert RiskManager(SETTINGS)._rules is RULES


# --- an order in parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wish", "around", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_an_order_in_parts_is_judged_as_a_whole_first(
    wish: Intent, around: RiskContext, expected: ReasonCode | None
) -> None:
    of_parts = {ReasonCode.DUPLICATE_INTENT, ReasonCode.ORDER_RATE, ReasonCode.MAX_OPEN_ORDERS, ReasonCode.SLIPPAGE}
    denied = RiskManager(SETTINGS).check_parent(wish, around)
    assert (denied and denied.code) == (None if expected in of_parts else expected)


def test_the_whole_is_too_large_although_each_part_is_not() -> None:
    manager = RiskManager(SETTINGS)
    assert isinstance(manager.check(intent(quantity="9"), context()), Approved)
    denied = manager.check_parent(intent(quantity="18"), context())
    assert denied is not None
    assert denied.code is ReasonCode.MAX_ORDER_VALUE


# --- whatever happens ---------------------------------------------------------------------------------------------

quantities = st.decimals(min_value="0.00001", max_value="60", places=5)
amounts = st.decimals(-600, 600, places=2)
prices = st.decimals("0.01", 500, places=2)
counts = st.integers(0, 40)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    wish = intent(
        draw(st.sampled_from(Side)),
        str(draw(quantities)),
        str(draw(prices)),
        symbol=draw(st.sampled_from(["BTC/USDT", "ETH/USDT"])),
        owner=draw(st.sampled_from(["manual", "s1"])),
    )
    alive = [s for s in OrderState if not s.is_terminal and s is not OrderState.INITIALIZED]
    return Order("id", wish, draw(st.sampled_from(alive)))


@st.composite
def worlds(draw: st.DrawFn) -> RiskContext:
    held = draw(st.decimals(0, 60, places=5))
    shown = draw(st.none() | st.tuples(prices, prices, st.decimals(0, 60, places=5)))
    return context(
        trading_state=draw(st.sampled_from(TradingState)),
        instrument=draw(st.sampled_from([BTC, BTC, BTC, None])),
        mark_price=draw(st.none() | prices),
        mark_age_ns=draw(st.none() | st.integers(-60, 60).map(lambda s: s * NS_PER_S)),
        in_doubt=draw(st.booleans()),
        owner_quantity=held,
        account_quantity=draw(st.sampled_from([held, held * 2])),
        holdings=draw(st.sampled_from([held, held / 2])),
        free={"USDT": draw(st.decimals(0, 8_000, places=2)), "BTC": held},
        equity=draw(st.none() | st.decimals(0, 10_000, places=2)),
        working=draw(st.lists(orders(), max_size=4)),
        day_pnl=draw(amounts),
        drawdown=abs(draw(amounts)),
        orders_last_second=draw(st.integers(0, 6)),
        orders_last_minute=draw(counts),
        cancels_last_minute=draw(counts),
        book=None if shown is None else BookView(*shown),
        live=draw(st.booleans()),
        clock_skew_ns=draw(st.none() | st.integers(-2_000, 2_000).map(lambda ms: ms * 1_000_000)),
        symbol_owner_denies=draw(st.sampled_from(["", "", "a person trades it"])),
    )


@st.composite
def wishes(draw: st.DrawFn) -> Intent:
    source = draw(st.sampled_from([IntentSource.MANUAL, IntentSource.STRATEGY, IntentSource.KILL_SWITCH]))
    limit = draw(st.none() | prices)
    return intent(
        draw(st.sampled_from(Side)),
        str(draw(quantities)),
        None if limit is None else str(limit),
        source=source,
        owner=draw(st.sampled_from(["manual", "s1"])),
        reduce_only=source is IntentSource.KILL_SWITCH or draw(st.booleans()),
        reference_price=draw(st.none() | prices),
    )


def broken_limits(wish: Intent, around: RiskContext) -> Iterator[str]:
    """What an approved order breaks, written down once more and in other words than the rules."""
    limit, settings_ = wish.limit_price, SETTINGS
    mark = around.mark_price
    leaving = wish.reduce_only or wish.source is IntentSource.KILL_SWITCH
    under_way = sum(
        (o.remaining_quantity for o in around.working if o.intent.symbol == wish.symbol and o.intent.side is wish.side),
        start=D(0),
    )
    if around.instrument is None:
        yield "no market"
    elif around.instrument.rule_violation(wish.quantity, limit if limit is not None else mark):
        yield "venue's rules"
    if around.trading_state is TradingState.HALTED and wish.source is not IntentSource.KILL_SWITCH:
        yield "halted"
    if around.symbol_owner_denies and wish.source is not IntentSource.KILL_SWITCH:
        yield "ownership"
    if wish.reduce_only and (wish.side is Side.BUY or wish.quantity > around.owner_quantity):
        yield "reduce only"
    if limit is not None and (mark is None or (limit - mark) * wish.side.sign > mark * D("0.05")):
        yield "collar"
    if leaving:
        return
    if mark is None:
        yield "no price"
        return
    value = wish.quantity * (limit if limit is not None else mark)
    if value > settings_.max_order_value:
        yield "order value"
    if len(around.working) >= settings_.max_open_orders:
        yield "open orders"
    if around.orders_last_second >= 5 or around.orders_last_minute >= 20 or around.cancels_last_minute >= 30:
        yield "rate"
    if limit is None and around.book is not None:
        assert around.book.price is not None
        if (around.book.price - around.book.middle) * wish.side.sign > around.book.middle / 50:
            yield "slippage"
        if around.book.quantity < wish.quantity:
            yield "thin book"
    if around.mark_age_ns is not None and not 0 <= around.mark_age_ns <= 30 * NS_PER_S:
        yield "stale price"
    if wish.side is Side.SELL and wish.quantity + under_way <= max(around.owner_quantity, around.holdings):
        return
    if around.trading_state is not TradingState.ACTIVE or around.in_doubt:
        yield "state"
    if around.day_pnl <= -100 or around.drawdown >= 500:
        yield "losses"
    if around.live and (around.clock_skew_ns is None or abs(around.clock_skew_ns) > NS_PER_S):
        yield "clock"
    if around.equity is not None and value > around.equity / 2:
        yield "share"
    if any(o.state is OrderState.UNKNOWN and o.intent.symbol == wish.symbol for o in around.working):
        yield "unknown order"
    if wish.side is Side.BUY:
        if value > around.free["USDT"]:
            yield "balance"
        if (around.account_quantity + under_way + wish.quantity) * (value / wish.quantity) > 2_000 + D("1e-9"):
            yield "position"


@settings(max_examples=600, deadline=None)
@given(wishes(), worlds())
def test_what_is_approved_keeps_every_limit(wish: Intent, around: RiskContext) -> None:
    if code(wish, around) is None:
        assert list(broken_limits(wish, around)) == []


@settings(max_examples=200, deadline=None)
@given(wishes(), worlds())
def test_an_easy_world_lets_most_through(wish: Intent, around: RiskContext) -> None:
    """Else the property above would prove nothing: what is harmless passes, whatever the wish's own words are."""
    easy = context(owner_quantity=D(60), account_quantity=D(0), holdings=D(60), free={"USDT": D(9_000), "BTC": D(60)})
    harmless = replace(wish, side=Side.SELL, limit_price=None, order_type=OrderType.MARKET, reference_price=None)
    if harmless.quantity * 100 >= 5 and (harmless.quantity <= 10 or harmless.reduce_only):
        assert code(harmless, easy) is None


@settings(max_examples=400, deadline=None)
@given(wishes(), worlds(), st.fractions(0, 1))
def test_less_of_a_closing_order_is_never_denied_where_more_passes(
    wish: Intent, around: RiskContext, part: Fraction
) -> None:
    wish = replace(wish, side=Side.SELL, reduce_only=True)
    around = replace(around, trading_state=TradingState.REDUCING, symbol_owner_denies="")
    smaller = BTC.round_quantity(wish.quantity * part.numerator / part.denominator)
    price = wish.limit_price if wish.limit_price is not None else around.mark_price
    if smaller and BTC.rule_violation(smaller, price) is None and code(wish, around) is None:
        assert code(replace(wish, quantity=smaller), around) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(quantities, min_size=1, max_size=4), worlds())
def test_stop_closes_every_position_in_any_world(holdings: list[Decimal], around: RiskContext) -> None:
    """Whatever entry limit is broken: each owner's sale passes, beside the sales of the others under way."""
    around = replace(around, instrument=BTC, trading_state=TradingState.HALTED, working=(), free={"BTC": D(240)})
    for number, held in enumerate(holdings):
        sale = intent(SELL, str(held), owner=f"s{number}", **KILL)
        around = replace(around, owner_quantity=held, holdings=D(0))
        if BTC.rule_violation(held, around.mark_price) is None:
            assert code(sale, around) is None
            around = replace(around, working=[*around.working, Order("id", sale, OrderState.ACCEPTED)])


@settings(max_examples=300, deadline=None)
@given(quantities, st.sampled_from([k for k in UNITS if k not in ("duplicate_window_s",)]), worlds())
def test_a_tighter_limit_never_lets_more_through(quantity: Decimal, name: str, around: RiskContext) -> None:
    wish = intent(quantity=str(quantity))
    tighter = replace(SETTINGS, **{name: type(getattr(SETTINGS, name))(0)})
    if code(wish, around, tighter) is None:
        assert code(wish, around) is None


def test_a_refused_closing_order_names_what_is_on_its_way_out() -> None:
    wish = intent(SELL, "3", reduce_only=True)
    around = context(working=[working(side=SELL, quantity="3.50")])
    check = RiskManager(SETTINGS).check
    verdicts = [check(wish, around), check(replace(wish, quantity=D(6)), context())]
    assert [v.message for v in verdicts if isinstance(v, Denied)] == [
        "the order may only reduce the position of 5, and 3.5 is on its way out already",
        "the order may only reduce the position of 5",
    ]
