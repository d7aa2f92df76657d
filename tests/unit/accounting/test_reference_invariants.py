"""What holds for every market, rule, cost and decision."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounting.reference import (
    AccountState,
    BarPrices,
    Fill,
    LimitOrder,
    MarketOrder,
    Step,
    Target,
    close_out,
    equity_of,
    open_account,
    step,
    weight_of,
)
from core.accounting.rules import CostRates, MarketRules
from tests.unit.accounting import markets

CASH = 10_000.0


def walk(draw: st.DrawFn, bars: tuple[BarPrices, ...], costs: CostRates, rules: MarketRules) -> list[tuple]:
    """Return (state before, decision, bar, step) of a run with any decisions."""
    state, run = open_account(CASH, markets.START), []
    for bar in bars:
        decision = draw(markets.decisions(near=bar.open))
        done = step(state, decision, bar, costs, rules)
        run.append((state, decision, bar, done))
        state = done.state
    return run


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[tuple], CostRates, MarketRules]:
    bars, costs, rules = draw(markets.paths), draw(markets.costs), draw(markets.rules())
    return walk(draw, bars, costs, rules), costs, rules


def position_pnl(before: AccountState, bar: BarPrices, fills: tuple[Fill, ...], unit: float) -> float:
    """Return what the position earned by prices alone: from the last close over the opening to the close."""
    lots, price = before.lots, bar.open
    pnl = lots * unit * (bar.open - before.mark)
    for fill in fills:
        if fill.is_maker or fill.is_forced:  # at a price of its own, not the opening's
            pnl += lots * unit * (fill.price - price)
            price = fill.price
        lots += fill.lots
    return pnl + lots * unit * (bar.close - price)


def scale_of(before: AccountState, bar: BarPrices, done: Step, unit: float) -> float:
    """Return how large the numbers are that were added up."""
    most = max(abs(before.lots), abs(done.state.lots), *(abs(fill.lots) for fill in done.fills), 0.0)
    return abs(before.cash) + CASH + most * unit * max(bar.high, before.mark)


def paid_of(done: Step) -> float:
    costs = done.costs
    return costs.fee + costs.spread + costs.slippage + costs.impact + costs.funding + costs.borrow


@settings(max_examples=100, deadline=None)
@given(runs())
def test_equity_changes_by_what_the_position_earned_less_all_costs(run: tuple) -> None:
    steps, _, rules = run
    for before, _, bar, done in steps:
        expected = equity_of(before, rules) + position_pnl(before, bar, done.fills, rules.unit) - paid_of(done)
        if before.liquidated:
            assert done.fills == ()
            assert paid_of(done) == 0
            assert done.log_return == 0
            expected = equity_of(before, rules)
        slack = 1e-9 * scale_of(before, bar, done, rules.unit)
        if done.state.liquidated:
            expected = max(expected, 0.0)  # the rest is the venue's loss
        assert equity_of(done.state, rules) == pytest.approx(expected, abs=slack)


@settings(max_examples=100, deadline=None)
@given(runs())
def test_cash_is_what_fills_and_costs_leave(run: tuple) -> None:
    steps, _, rules = run
    for before, _, bar, done in steps:
        spent = sum(fill.lots * rules.unit * fill.price + fill.fee for fill in done.fills)
        cash = before.cash - spent - done.costs.funding - done.costs.borrow
        slack = 1e-9 * scale_of(before, bar, done, rules.unit)
        assert done.state.cash == pytest.approx(max(cash, 0.0) if done.state.liquidated else cash, abs=slack)
        assert done.state.lots == pytest.approx(before.lots + sum(fill.lots for fill in done.fills), abs=1e-9)
        assert done.costs.fee == pytest.approx(sum(fill.fee for fill in done.fills), abs=slack)


@settings(max_examples=100, deadline=None)
@given(runs())
def test_an_account_is_worth_something_or_is_closed(run: tuple) -> None:
    steps, _, rules = run
    for before, _, _, done in steps:
        state = done.state
        assert state.liquidated == (before.liquidated or equity_of(state, rules) <= 0 or forced_in(done))
        assert equity_of(state, rules) >= 0
        assert math.isfinite(done.log_return)
        assert not state.liquidated or (state.lots == 0 and state.entry_price == 0)
        assert state.entry_price == 0 or state.lots != 0
        if not before.liquidated and equity_of(state, rules) > 1e-5 * equity_of(before, rules):
            ratio = equity_of(state, rules) / equity_of(before, rules)
            assert done.log_return == pytest.approx(math.log(ratio), abs=1e-12)


def forced_in(done: Step) -> bool:
    return any(fill.is_forced for fill in done.fills)


@settings(max_examples=100, deadline=None)
@given(runs())
def test_fills_keep_the_rules_of_the_market(run: tuple) -> None:
    steps, costs, rules = run
    for before, decision, bar, done in steps:
        for fill in done.fills:
            if rules.lot_size > 0:
                assert fill.lots == round(fill.lots)
            if rules.tick_size > 0:
                assert fill.price == round(fill.price / rules.tick_size) * rules.tick_size
            if fill.is_forced:
                assert done.state.liquidated
                assert fill is done.fills[-1]
                continue
            size = abs(fill.lots) * rules.unit
            assert size >= rules.min_quantity * (1 - 1e-9)
            assert size * fill.price >= rules.min_notional * (1 - 1e-9)
            if isinstance(decision, LimitOrder):
                assert math.copysign(1, fill.lots) * (decision.price - fill.price) >= -1e-9 * fill.price
                # Prices of a bar are of the middle: an order that rests within the spread may be filled beside them.
                beside = costs.half_spread
                assert bar.low * (1 - beside) <= fill.price <= bar.high * (1 + beside) or not fill.is_maker
            elif fill.lots > 0:
                assert fill.price >= bar.open * (1 - 1e-9)
            else:
                assert 0 <= fill.price <= bar.open * (1 + 1e-9)
        if not rules.allows_short:
            assert done.state.lots >= 0 or before.lots < 0


@settings(max_examples=100, deadline=None)
@given(
    runs(),
    st.sampled_from((0.0, 0.001)),
    st.floats(-60, 60) | st.integers(-5000, 5000).map(float),
    st.floats(-0.2, 0.2),
)
def test_a_fill_that_grows_stays_within_the_leverage(run: tuple, fee: float, lots: float, gap: float) -> None:
    steps, costs, rules = run
    state, costs = steps[-1][3].state, replace(costs, borrow_base=0.0, borrow_quote=0.0, taker_fee=fee)
    if state.liquidated:
        return
    price = state.mark * math.exp(gap)
    still = BarPrices(price, price, price, price)
    done = step(state, MarketOrder(lots), still, costs, rules)
    if done.fills and not forced_in(done) and abs(done.state.lots) > abs(state.lots):
        assert abs(weight_of(done.state, rules)) <= rules.max_leverage * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(markets.rules(rounded=False), markets.costs, st.floats(0.05, 0.95), st.booleans(), st.floats(-0.5, 0.5))
def test_what_reduces_is_never_refused_for_the_leverage(
    rules: MarketRules, costs: CostRates, share: float, is_long: bool, gap: float
) -> None:
    rules = replace(rules, min_quantity=0.0, min_notional=0.0)
    lots = 1000.0 if is_long else -1000.0  # far beyond any leverage
    state = AccountState(cash=CASH - lots * 100.0, lots=lots, mark=100.0, entry_price=100.0)
    price = 100.0 * math.exp(gap)
    done = step(state, MarketOrder(-lots * share), BarPrices(price, price, price, price), costs, rules)
    assert forced_in(done) or done.fills[0].lots == pytest.approx(-lots * share)


@settings(max_examples=100, deadline=None)
@given(runs(), st.sampled_from((0.0, 5.0, math.inf)))
def test_closing_out_leaves_cash(run: tuple, volume: float) -> None:
    steps, costs, rules = run
    state = steps[-1][3].state
    done = close_out(state, volume, costs, rules)
    assert done.state.lots == 0
    assert done.state.mark == state.mark
    assert equity_of(done.state, rules) <= equity_of(state, rules) * (1 + 1e-12)
    if state.lots != 0:
        assert [fill.lots for fill in done.fills] == [-state.lots]
        value = done.fills[0].price * abs(state.lots) * rules.unit
        assert forced_in(done) or done.fills[0].fee == pytest.approx(value * costs.taker_fee, rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(runs(), markets.weights)
def test_nothing_of_a_bar_but_its_opening_decides_what_is_traded(run: tuple, weight: float) -> None:
    steps, costs, rules = run
    before, _, bar, _ = steps[-1]
    other = BarPrices(bar.open, bar.open * 1.01, bar.open * 0.99, bar.open, bar.volume, bar.funding_rate)
    first, second = (step(before, Target(weight), each, costs, rules) for each in (bar, other))
    traded = [[fill for fill in done.fills if not fill.is_forced] for done in (first, second)]
    assert traded[0] == traded[1]
