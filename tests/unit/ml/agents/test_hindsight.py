"""The bound against every path there is, carried out by the reference of the kernel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounting.fast import BarArrays, run_targets
from core.accounting.reference import BarPrices, Target, equity_of, open_account, step
from core.accounting.rules import CostRates, MarketRules
from ml.agents.hindsight import hindsight_bound
from ml.arrays import FloatArray

COSTS = CostRates(
    taker_fee=0.002, half_spread=0.001, slippage=0.0005, borrow_base=1e-4, borrow_quote=2e-4, liquidation_fee=0.01
)
GRID = np.array([-1.0, 0.0, 1.0])


def _bars(count: int, seed: int, volatility: float = 0.03) -> BarArrays:
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, volatility, count)))
    opened = np.concatenate([[50.0], close[:-1]]) * np.exp(rng.normal(0.0, 0.1 * volatility, count))
    return BarArrays(
        open=opened,
        high=np.maximum(opened, close) * (1.0 + np.abs(rng.normal(0.0, 0.2 * volatility, count))),
        low=np.minimum(opened, close) * (1.0 - np.abs(rng.normal(0.0, 0.2 * volatility, count))),
        close=close,
        volume=np.full(count, 1e6),
        funding_rate=rng.normal(0.0, 1e-3, count),
    )


def _earned(bars: BarArrays, weights: FloatArray, costs: CostRates, rules: MarketRules, *, close_out: bool) -> float:
    """Log return of a path by the reference."""
    account = open_account(1.0, float(bars.close[0]))
    for row, weight in enumerate(weights, start=1):
        columns = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.funding_rate)
        account = step(account, Target(float(weight)), BarPrices(*(float(c[row]) for c in columns)), costs, rules).state
    if close_out:
        price = float(bars.close[-1])
        account = step(account, Target(0.0), BarPrices(price, price, price, price), costs, rules).state
    equity = equity_of(account, rules)
    return float(np.log(equity)) if equity > 0 else -np.inf


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.booleans(), st.sampled_from([1.0, 3.0]))
def test_the_bound_is_the_best_of_all_paths(seed: int, close_out: bool, leverage: float) -> None:
    bars, rules = _bars(6, seed), MarketRules(max_leverage=leverage, maintenance=0.01)
    grid = GRID * leverage
    found = hindsight_bound(bars, COSTS, rules, grid, close_out=close_out)
    paths = itertools.product(grid, repeat=5)
    best = max(_earned(bars, np.array(path), COSTS, rules, close_out=close_out) for path in paths)
    assert _earned(bars, found.weights, COSTS, rules, close_out=close_out) == pytest.approx(found.log_return, abs=1e-12)
    assert found.log_return <= best + 1e-12
    assert found.log_return >= best - 1e-4  # a cost of a cost: 0.0035² · leverage²


def test_without_costs_every_move_is_caught() -> None:
    bars = _bars(2_000, 1)
    flush = BarArrays(
        np.concatenate([bars.open[:1], bars.close[:-1]]),
        bars.high * 1.1,
        bars.low * 0.9,
        bars.close,
        bars.volume,
        np.zeros(2_000),
    )
    free = CostRates(taker_fee=0.0, maker_fee=0.0)
    moves = np.diff(flush.close) / flush.close[:-1]
    both = hindsight_bound(flush, free, MarketRules(), GRID)
    assert both.log_return == pytest.approx(np.log1p(np.abs(moves)).sum(), abs=1e-9)
    assert both.weights.tolist() == np.sign(moves).tolist()
    long_only = hindsight_bound(flush, free, MarketRules(allows_short=False), np.array([0.0, 0.5, 1.0]))
    assert long_only.log_return == pytest.approx(np.log1p(np.maximum(moves, 0.0)).sum(), abs=1e-9)


def test_a_long_path_is_worth_what_the_kernel_says_and_no_other_earns_more() -> None:
    bars = _bars(20_000, 2, 0.01)
    found = hindsight_bound(bars, COSTS, MarketRules(), np.linspace(-1.0, 1.0, 5))
    run = run_targets(found.weights, bars, COSTS, MarketRules())
    assert run.log_return.sum() == pytest.approx(found.log_return, abs=1e-8)
    assert run.liquidated_at == -1
    knowing = np.sign(np.diff(bars.close))
    rng = np.random.default_rng(3)
    for weights in (knowing, np.roll(found.weights, 1), rng.choice(GRID, 19_999), np.ones(19_999), 0.9 * found.weights):
        assert run_targets(weights, bars, COSTS, MarketRules()).log_return.sum() < found.log_return
    dearer = hindsight_bound(bars, COSTS.times(2.0), MarketRules(), np.linspace(-1.0, 1.0, 5))
    assert 0.0 < dearer.log_return < found.log_return
    wider = hindsight_bound(bars, COSTS, MarketRules(), np.linspace(-1.0, 1.0, 9))
    assert wider.log_return >= found.log_return - 1e-6


def test_impact_and_rounding_only_take_away() -> None:
    bars = _bars(500, 4)
    rough = MarketRules(tick_size=0.01, lot_size=1e-4, min_notional=0.01)
    dear = CostRates(taker_fee=0.001, impact=0.5)
    found = hindsight_bound(bars, dear, rough, GRID)
    assert found.log_return == hindsight_bound(bars, CostRates(taker_fee=0.001), MarketRules(), GRID).log_return
    assert run_targets(found.weights, bars, dear, rough).log_return.sum() < found.log_return


def test_costs_beyond_every_move_leave_nothing_to_do() -> None:
    found = hindsight_bound(_bars(200, 5, 1e-4), CostRates(taker_fee=0.2), MarketRules(), GRID)
    assert found.log_return == 0.0
    assert not found.weights.any()
    assert found.share(0.1) is None


def test_share_of_the_bound() -> None:
    found = hindsight_bound(_bars(200, 6), COSTS, MarketRules(), GRID)
    assert found.share(0.25 * found.log_return) == pytest.approx(0.25)
    assert found.share(-found.log_return) == pytest.approx(-1.0)


def test_the_path_never_loses_everything_by_leverage() -> None:
    bars = _bars(300, 7, 0.15)
    rules = MarketRules(max_leverage=10.0, maintenance=0.05)
    found = hindsight_bound(bars, COSTS, rules, np.linspace(-10.0, 10.0, 21))
    run = run_targets(found.weights, bars, COSTS, rules)
    assert run.liquidated_at == -1
    assert run.log_return.sum() == pytest.approx(found.log_return, abs=1e-8)
    assert found.log_return > 0


@pytest.mark.parametrize(
    "grid", [np.array([-1.0, 1.0]), np.array([1.0, 0.0]), np.linspace(-1.0, 1.0, 23), np.array([])]
)
def test_grids_that_cannot_be_searched_are_refused(grid: FloatArray) -> None:
    with pytest.raises(ValueError, match="rising positions"):
        hindsight_bound(_bars(10, 8), COSTS, MarketRules(), grid)


def test_one_bar_has_no_decision() -> None:
    with pytest.raises(ValueError, match="two bars"):
        hindsight_bound(_bars(1, 9), COSTS, MarketRules(), GRID)
