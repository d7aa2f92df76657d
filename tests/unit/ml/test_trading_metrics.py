"""Trading metrics equal empyrical-reloaded and scipy, and what a forecast earns is worked out by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from core.domain.candles import Timeframe
from ml.trading_metrics import (
    ForecastEarnings,
    TradingMetrics,
    bars_per_year,
    drawdowns,
    forecast_earnings,
    forecast_strategy_returns,
    longest_drawdown,
    position_metrics,
    relative_metrics,
    sharpe_interval,
    sharpe_per_bar,
    simple_from_log,
    trading_metrics,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical

HOURLY = bars_per_year(1, Timeframe.H1.ns)
RNG = np.random.default_rng(11)
HOLD = RNG.standard_t(4, 5_000) * 0.004 + 0.0001
RETURNS = 0.4 * HOLD + RNG.standard_t(4, 5_000) * 0.003
TIGHT = {"rel": 1e-9, "abs": 1e-12}


def test_a_year_has_365_days() -> None:
    assert bars_per_year(1, Timeframe.D1.ns) == 365
    assert HOURLY == 8_760
    assert bars_per_year(1, Timeframe.M1.ns) == 525_600


@pytest.mark.parametrize("returns", [RETURNS, -RETURNS, RETURNS[:37], HOLD[:2], np.full(50, 0.001)])
def test_metrics_equal_empyrical(returns: np.ndarray) -> None:
    found = trading_metrics(returns, bars_per_year=HOURLY)
    year = {"annualization": HOURLY}
    pairs = {
        "total_return": empyrical.cum_returns_final(returns),
        "cagr": empyrical.annual_return(returns, **year),
        "volatility": empyrical.annual_volatility(returns, **year),
        "sharpe": empyrical.sharpe_ratio(returns, **year),
        "sortino": empyrical.sortino_ratio(returns, **year),
        "calmar": empyrical.calmar_ratio(returns, **year),
        "max_drawdown": -empyrical.max_drawdown(returns),
        "value_at_risk": empyrical.value_at_risk(returns),
        "conditional_value_at_risk": empyrical.conditional_value_at_risk(returns),
        "tail_ratio": empyrical.tail_ratio(returns),
    }
    for name, wanted in pairs.items():
        value = getattr(found, name)
        if value is None:
            assert not np.isfinite(wanted), name
        else:
            assert value == pytest.approx(wanted, **TIGHT), name


def test_relative_metrics_equal_empyrical() -> None:
    found = relative_metrics(RETURNS, HOLD, bars_per_year=HOURLY)
    assert found.beta == pytest.approx(empyrical.beta(RETURNS, HOLD), **TIGHT)
    assert found.alpha == pytest.approx(empyrical.alpha(RETURNS, HOLD, annualization=HOURLY), **TIGHT)
    excess = empyrical.excess_sharpe(RETURNS, HOLD)
    assert found.information_ratio == pytest.approx(excess * math.sqrt(HOURLY), **TIGHT)
    assert found.correlation == pytest.approx(stats.pearsonr(RETURNS, HOLD).statistic, **TIGHT)
    still = relative_metrics(RETURNS, np.zeros(5_000), bars_per_year=HOURLY)
    assert (still.alpha, still.beta, still.correlation) == (None, None, None)
    same = relative_metrics(HOLD, HOLD, bars_per_year=HOURLY)
    assert (same.beta, same.information_ratio) == (pytest.approx(1.0), None)
    assert relative_metrics(np.zeros(5_000), HOLD, bars_per_year=HOURLY).correlation is None
    for own, market in ((RETURNS, HOLD[:-1]), (RETURNS[:1], HOLD[:1])):
        with pytest.raises(ValueError, match="two series"):
            relative_metrics(own, market, bars_per_year=HOURLY)


def test_moments_equal_scipy() -> None:
    found = trading_metrics(RETURNS, bars_per_year=HOURLY)
    assert found.skew == pytest.approx(stats.skew(RETURNS), **TIGHT)
    assert found.kurtosis == pytest.approx(stats.kurtosis(RETURNS, fisher=False), **TIGHT)


def test_figures_worked_out_by_hand() -> None:
    """Wealth: 1.1, 0.88, 0.968, 1.21, 1.21, 1.1495."""
    returns = np.array([0.1, -0.2, 0.1, 0.25, 0.0, -0.05])
    np.testing.assert_allclose(drawdowns(returns), [0, 0.2, 0.12, 0, 0, 0.05], atol=1e-12)
    found = trading_metrics(returns, bars_per_year=6.0)
    assert found.total_return == pytest.approx(0.1495)
    assert found.cagr == pytest.approx(0.1495)
    assert found.max_drawdown == pytest.approx(0.2)
    assert found.drawdown_bars == 2
    assert found.ulcer == pytest.approx(math.sqrt((0.04 + 0.0144 + 0.0025) / 6))
    assert found.hit_rate == 3 / 5
    assert found.profit_factor == pytest.approx(0.45 / 0.25)
    assert found.average_gain == pytest.approx(0.15)
    assert found.average_loss == pytest.approx(0.125)
    assert longest_drawdown(np.array([0, 0.1, 0.1, 0, 0.2, 0.2, 0.2])) == 3, "not yet over"
    assert longest_drawdown(np.zeros(4)) == 0


def test_the_start_counts_as_a_high() -> None:
    assert trading_metrics(np.array([-0.1, 0.05]), bars_per_year=365).max_drawdown == pytest.approx(0.1)


def test_a_total_loss_and_gains_beyond_numbers() -> None:
    lost = trading_metrics(np.array([0.5, -1.0, 0.2]), bars_per_year=HOURLY)
    assert (lost.total_return, lost.cagr, lost.max_drawdown) == (-1.0, -1.0, 1.0)
    leak = trading_metrics(np.random.default_rng(15).normal(0.01, 0.001, 200_000), bars_per_year=525_600.0)
    assert (leak.total_return, leak.cagr, leak.calmar) == (None, None, None)
    assert leak.max_drawdown == 0.0
    for metrics in (lost, leak):
        assert TradingMetrics.from_json(metrics.to_json()) == metrics
    with pytest.raises(ValueError, match="below -1"):
        trading_metrics(np.array([0.5, -1.1, 0.2]), bars_per_year=HOURLY)


def test_constant_returns_have_no_ratio() -> None:
    for value in (0.0, 0.001, -0.001):
        found = trading_metrics(np.full(30, value), bars_per_year=HOURLY, bootstrap_seed=1)
        assert (found.sharpe, found.sharpe_low, found.skew, found.sharpe_bootstrap) == (None, None, None, None)
    nothing = trading_metrics(np.zeros(30), bars_per_year=HOURLY)
    assert (nothing.hit_rate, nothing.profit_factor, nothing.sortino, nothing.calmar) == (None, None, None, None)
    assert nothing.tail_ratio is None
    assert sharpe_per_bar(np.array([0.1])) is None
    for wrong in (np.array([0.1]), np.empty(0)):
        with pytest.raises(ValueError, match="two returns"):
            trading_metrics(wrong, bars_per_year=HOURLY)
    with pytest.raises(ValueError, match="finite"):
        trading_metrics(np.array([0.1, math.nan]), bars_per_year=HOURLY)


def test_sharpe_intervals_cover() -> None:
    rng = np.random.default_rng(12)
    covered = boot = 0
    for seed in range(200):
        returns = rng.normal(0.001, 0.01, 400)
        found = trading_metrics(returns, bars_per_year=365.0, bootstrap_seed=seed, resamples=300)
        true = 0.1 * math.sqrt(365)
        assert found.sharpe_low is not None
        assert found.sharpe_high is not None
        assert found.sharpe_bootstrap is not None
        assert found.sharpe_bootstrap.estimate == pytest.approx(found.sharpe)
        covered += found.sharpe_low <= true <= found.sharpe_high
        boot += found.sharpe_bootstrap.low <= true <= found.sharpe_bootstrap.high
    assert covered / 200 == pytest.approx(0.95, abs=0.04)
    assert boot / 200 == pytest.approx(0.95, abs=0.05)
    low, high = sharpe_interval(0.1, 400)
    assert (high - low) / 2 == pytest.approx(1.959964 * math.sqrt((1 + 0.005) / 400), rel=1e-6)


def test_positions_worked_out_by_hand() -> None:
    found = position_metrics(np.array([0.0, 1.0, 1.0, -1.0, -1.0, -1.0, 0.0, 0.5]), bars_per_year=80.0)
    assert found.turnover == pytest.approx((1 + 2 + 1 + 0.5 + 0.5) / 8 * 80)
    assert found.exposure == pytest.approx(5.5 / 8)
    assert (found.long_share, found.short_share, found.flat_share) == (3 / 8, 3 / 8, 2 / 8)
    assert (found.trades, found.holding_bars) == (3, 2.0)
    flat = position_metrics(np.zeros(5), bars_per_year=80.0)
    assert (flat.turnover, flat.holding_bars, flat.trades) == (0.0, None, 0)
    with pytest.raises(ValueError, match="one position"):
        position_metrics(np.empty(0), bars_per_year=80.0)


def test_a_forecast_earns_what_it_says() -> None:
    median = np.array([0.2, 0.1, -0.3, 0.0])
    outcome = np.log([1.1, 0.9, 0.8, 1.5])
    free = forecast_strategy_returns(median, outcome)
    assert free.positions.tolist() == [1, 1, -1, 0]
    np.testing.assert_allclose(free.returns, [0.1, -0.1, 0.2, 0.0], atol=1e-12)
    paid = forecast_strategy_returns(median, outcome, cost=0.01)
    np.testing.assert_allclose(paid.returns, [0.1 - 0.01, -0.1, 0.2 - 0.02, -0.01], atol=1e-12)
    late = forecast_strategy_returns(median, outcome, cost=0.01, delay=1)
    assert late.positions.tolist() == [0, 1, 1, -1]
    np.testing.assert_allclose(late.returns, [0.0, -0.1 - 0.01, -0.2, -0.5 - 0.02 - 0.01], atol=1e-12)
    assert forecast_strategy_returns(median, outcome, delay=9).positions.tolist() == [0, 0, 0, 0]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.floats(0, 0.01), st.integers(0, 3))
def test_costs_are_the_turnover_times_the_cost(seed: int, size: int, cost: float, delay: int) -> None:
    rng = np.random.default_rng(seed)
    median, outcome = rng.normal(0, 1, size), rng.normal(0, 0.01, size)
    free, paid = (forecast_strategy_returns(median, outcome, c, delay) for c in (0.0, cost))
    turnover = position_metrics(paid.positions, bars_per_year=float(size)).turnover
    assert (free.returns - paid.returns).sum() == pytest.approx(turnover * cost, abs=1e-9)
    held = slice(delay, None)
    earned = np.sign(median[: max(0, size - delay)]) * simple_from_log(outcome)[held]
    np.testing.assert_allclose(free.returns[held], earned, atol=1e-12)


def test_the_last_forecast_never_sees_its_outcome() -> None:
    """Changing what happens after a bar changes no position up to it."""
    rng = np.random.default_rng(14)
    median, outcome = rng.normal(0, 1, 50), rng.normal(0, 0.01, 50)
    before = forecast_strategy_returns(median, outcome, 0.001, 1)
    changed_median, changed = median.copy(), outcome.copy()
    changed_median[30:] *= -1
    changed[31:] = 0.5
    after = forecast_strategy_returns(changed_median, changed, 0.001, 1)
    np.testing.assert_array_equal(before.positions[:31], after.positions[:31])
    np.testing.assert_array_equal(before.returns[:31], after.returns[:31])


def test_earnings_of_a_good_forecast() -> None:
    rng = np.random.default_rng(13)
    outcome = rng.normal(0, 0.01, 3_000)
    median = outcome + rng.normal(0, 0.02, 3_000)
    found = forecast_earnings(median, outcome, cost=0.001, bars_per_year=HOURLY, bootstrap_seed=1)
    at_once = [point for point in found.points if point.delay == 0]
    assert [(point.multiple, point.delay) for point in found.points] == [(m, d) for d in (0, 1) for m in range(4)]
    sharpes = [point.metrics.sharpe or 0.0 for point in at_once]
    assert sharpes == sorted(sharpes, reverse=True)
    assert sharpes[0] > 10
    assert abs(found.points[4].metrics.sharpe or 0.0) < 6, "a bar late nothing is left"
    assert found.positions.exposure == 1.0
    held = np.exp(outcome)
    held[[0, -1]] -= 0.001
    assert found.hold.total_return == pytest.approx(held.prod() - 1, rel=1e-9)
    assert found.points[0].metrics.sharpe_bootstrap is not None
    assert ForecastEarnings.from_json(found.to_json()) == found


def test_a_short_that_loses_more_than_everything_ends_at_nothing() -> None:
    found = forecast_earnings(np.array([-1.0, -1.0, -1.0]), np.log([1.1, 2.5, 1.1]), cost=0.0, bars_per_year=365.0)
    assert found.points[0].metrics.total_return == -1.0


@pytest.mark.parametrize(
    ("median", "outcome", "cost", "delay"),
    [
        (np.zeros(3), np.zeros(4), 0.0, 0),
        (np.empty(0), np.empty(0), 0.0, 0),
        (np.zeros(3), np.zeros(3), -0.1, 0),
        (np.zeros(3), np.zeros(3), math.nan, 0),
        (np.zeros(3), np.zeros(3), 0.0, -1),
        (np.array([0.0, math.nan]), np.zeros(2), 0.0, 0),
        (np.zeros(2), np.array([0.0, math.inf]), 0.0, 0),
    ],
)
def test_wrong_forecasts(median: np.ndarray, outcome: np.ndarray, cost: float, delay: int) -> None:
    with pytest.raises(ValueError, match=r"one outcome|no negative|finite"):
        forecast_strategy_returns(median, outcome, cost, delay)


def test_wrong_earnings() -> None:
    for size, cost in ((1, 0.0), (5, 0.4)):
        with pytest.raises(ValueError, match="leaves something"):
            forecast_earnings(np.ones(size), np.ones(size), cost=cost, bars_per_year=365.0)
