"""The compiled kernel against the reference."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounting import fast
from core.accounting.fast import BarArrays, TargetRun, run_targets
from core.accounting.reference import (
    AccountState,
    BarPrices,
    Step,
    Target,
    close_out,
    equity_of,
    open_account,
    step,
)
from core.accounting.rules import CostRates, MarketRules
from tests.unit.accounting import markets

CASH = 10_000.0
COSTS = ("fee", "spread", "slippage", "impact", "funding", "borrow")


def walk(
    state: AccountState, weights: Sequence[float], bars: Sequence[BarPrices], costs: CostRates, rules: MarketRules
) -> list[Step]:
    """Return what the reference does."""
    steps = []
    for weight, bar in zip(weights, bars, strict=True):
        steps.append(step(state, Target(weight), bar, costs, rules))
        state = steps[-1].state
    return steps


def same(actual: float, expected: float, scale: float = 1.0) -> bool:
    return math.isclose(actual, expected, rel_tol=1e-9, abs_tol=1e-9 * scale)


@settings(max_examples=150, deadline=None)
@given(st.data(), markets.paths, markets.costs, markets.rules())
def test_a_run_equals_the_reference(
    data: st.DataObject, bars: tuple[BarPrices, ...], costs: CostRates, rules: MarketRules
) -> None:
    weights = data.draw(st.lists(markets.weights, min_size=len(bars), max_size=len(bars)))
    steps = walk(open_account(CASH, markets.START), weights, bars, costs, rules)
    run = run_targets(np.array(weights), markets.arrays(bars), costs, rules, cash=CASH)
    assert run.equity[0] == CASH
    closed = [row for row, done in enumerate(steps, 1) if done.state.liquidated]
    assert run.liquidated_at == (closed[0] if closed else -1)
    for row, done in enumerate(steps, 1):
        compare(run, row, done, rules)


def compare(run: TargetRun, row: int, done: Step, rules: MarketRules) -> None:
    scale = CASH * max(1.0, *(abs(getattr(done.costs, name)) / CASH for name in COSTS))
    assert same(run.equity[row], equity_of(done.state, rules), CASH)
    assert same(run.lots[row], done.state.lots)
    assert same(run.log_return[row], done.log_return)
    for name in COSTS:
        assert same(getattr(run, name)[row], getattr(done.costs, name), scale), name
    decided = [fill for fill in done.fills if not fill.is_forced]
    lots, price = (decided[0].lots, decided[0].price) if decided else (0.0, 0.0)
    assert (run.fill_lots[row], run.fill_price[row]) == pytest.approx((lots, price), rel=1e-9, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(st.data(), markets.paths, markets.costs, markets.rules())
def test_closing_out_equals_the_reference(
    data: st.DataObject, bars: tuple[BarPrices, ...], costs: CostRates, rules: MarketRules
) -> None:
    weights = data.draw(st.lists(markets.weights, min_size=len(bars), max_size=len(bars)))
    done = walk(open_account(CASH, markets.START), weights, bars, costs, rules)[-1]
    end = close_out(done.state, bars[-1].volume, costs, rules)
    run = run_targets(np.array(weights), markets.arrays(bars), costs, rules, cash=CASH, close_out=True)
    assert same(run.equity[-1], equity_of(end.state, rules), CASH)
    assert run.lots[-1] == 0
    assert same(run.log_return[-1], done.log_return + end.log_return)
    for name in COSTS:
        both = getattr(done.costs, name) + getattr(end.costs, name)
        assert same(getattr(run, name)[-1], both, CASH + abs(both))
    sold = [fill for fill in end.fills if not fill.is_forced]
    assert run.close_out_lots == pytest.approx(sold[0].lots if sold else 0.0, rel=1e-9)
    assert run.close_out_price == pytest.approx(sold[0].price if sold else 0.0, rel=1e-9)
    assert (run.liquidated_at >= 0) == end.state.liquidated


def path(count: int, seed: int = 5) -> BarArrays:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, count)))
    opening = np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0, 0.001, count))
    high, low = np.maximum(opening, close) * 1.01, np.minimum(opening, close) * 0.99
    return BarArrays(opening, high, low, close, np.full(count, 1e6), np.zeros(count))


def test_equity_and_log_returns_tell_the_same_story() -> None:
    bars, weights = path(500), np.random.default_rng(1).uniform(-1, 1, 499)
    run = run_targets(weights, bars, CostRates(), MarketRules(), close_out=True)
    assert np.log(run.equity[-1] / run.equity[0]) == pytest.approx(run.log_return.sum(), abs=1e-9)


def test_a_run_can_be_continued() -> None:
    bars, weights, rules = path(101), np.random.default_rng(2).uniform(-1, 1, 100), MarketRules(max_leverage=2.0)
    whole = run_targets(weights, bars, CostRates(), rules, cash=50.0)
    columns = {name: getattr(bars, name) for name in BarArrays.__slots__}
    head, tail = (
        BarArrays(**{name: column[part] for name, column in columns.items()}) for part in (slice(41), slice(40, 101))
    )
    first = run_targets(weights[:40], head, CostRates(), rules, cash=50.0)
    cash = first.equity[-1] - first.lots[-1] * head.close[-1]
    start = AccountState(cash, float(first.lots[-1]), float(head.close[-1]), entry_price=1.0)
    second = run_targets(weights[40:], tail, CostRates(), rules, start=start)
    np.testing.assert_allclose(second.equity, whole.equity[40:], rtol=1e-9)
    np.testing.assert_array_equal(second.fee[0], 0.0)


def test_a_later_bar_changes_nothing_before_it() -> None:
    bars, weights = path(60), np.random.default_rng(3).uniform(-1, 1, 59)
    columns = {name: getattr(bars, name).copy() for name in BarArrays.__slots__}
    for name in ("open", "high", "low", "close"):
        columns[name][40:] *= 3.0
    first = run_targets(weights, bars, CostRates(), MarketRules())
    second = run_targets(weights, BarArrays(**columns), CostRates(), MarketRules())
    np.testing.assert_array_equal(first.equity[:40], second.equity[:40])
    assert (first.equity[40:] != second.equity[40:]).any()


def test_an_account_closed_by_force_stays_closed() -> None:
    bars = path(5)
    start = AccountState(10.0, 0.0, 100.0, liquidated=True)
    run = run_targets(np.ones(4), bars, CostRates(), MarketRules(), start=start)
    assert (run.equity == 10.0).all()
    assert not run.fill_lots.any()


@pytest.mark.parametrize(
    ("name", "value"), [("open", 0.0), ("close", np.nan), ("low", -1.0), ("volume", np.nan), ("funding_rate", np.inf)]
)
def test_bars_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    bars = path(5)
    column = getattr(bars, name).copy()
    column[3] = value
    with pytest.raises(ValueError, match="numbers"):
        run_targets(np.ones(4), replace(bars, **{name: column}), CostRates(), MarketRules())


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        run_targets(np.ones(5), path(5), CostRates(), MarketRules())
    with pytest.raises(ValueError, match="finite"):
        run_targets(np.array([0.0, np.nan, 0.0, 0.0]), path(5), CostRates(), MarketRules())


def test_without_a_place_for_compiled_code_it_is_compiled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    original = fast.numba.njit

    def refusing(*args: object, **options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return original(*args, **options)

    monkeypatch.setattr(fast.numba, "njit", refusing)

    twice = doubling(fast.__name__)
    assert fast.compiled(twice)(4.0) == 8.0


def test_only_the_kernel_itself_is_kept_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(fast.numba, "njit", lambda *_, cache=False: kept.append(cache) or (lambda function: function))
    for module in (fast.__name__, "ml.agents.hindsight"):
        fast.compiled(doubling(module))
    assert kept == [True, False]


def doubling(module: str) -> Callable[[float], float]:
    def twice(number: float) -> float:
        return 2.0 * number

    twice.__module__ = module
    return twice
