"""The rules an agent is measured against know nothing of the future, and random timing keeps all but the timing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.accounting.rules import CostRates, MarketRules
from ml.agents.accounts import JudgedMarket, JudgedPart, MarketRows, bars_between, log_returns
from ml.agents.baselines import LOOKBACKS, Rule, baseline_rules, past_return, random_timing
from tests.unit.ml.agents.judged_world import TEST, TRAIN, market_of, moves, noise_market


def rules_of(market: JudgedMarket, forecast: np.ndarray | None = None) -> dict[str, Rule]:
    """Return the rules on the judged bars by name."""
    parts = JudgedPart.of(market, (TRAIN,)), JudgedPart.of(market, (TEST,))
    return {rule.name: rule for rule in baseline_rules(*parts, forecast)}


def autoregressive(phi: float, seed: int = 2) -> JudgedMarket:
    noise, moved = np.random.default_rng(seed).normal(0.0, 0.01, 1_600), np.zeros(1_600)
    for row in range(1, 1_600):
        moved[row] = phi * moved[row - 1] + noise[row]
    return market_of(moved)


def test_all_rules_are_there() -> None:
    market = noise_market(1)
    assert list(rules_of(market)) == ["flat", "hold", "short", "volatility_target", "momentum", "mean_reversion"]
    assert list(rules_of(market, np.zeros(1_600)))[-1] == "forecast_sign"
    long_only = replace(market, lowest=0.0, rules=MarketRules(allows_short=False))
    assert "short" not in rules_of(long_only)
    assert min(rule.weights.min() for rule in rules_of(long_only).values()) == 0.0


def test_what_comes_later_changes_no_weight() -> None:
    market, cut = noise_market(2), 1_100
    rng = np.random.default_rng(9)
    other = replace(
        market,
        bars=replace(market.bars, close=np.where(np.arange(1_600) > cut, market.bars.close * 1.3, market.bars.close)),
        volatility=np.where(np.arange(1_600) > cut, rng.uniform(0.001, 0.1, 1_600), market.volatility),
    )
    forecast = rng.normal(size=1_600)
    changed = np.where(np.arange(1_600) > cut, -forecast, forecast)
    known = cut - TEST[0] + 1
    for name, rule in rules_of(market, forecast).items():
        later = rules_of(other, changed)[name]
        assert rule.parameter == later.parameter, name
        np.testing.assert_array_equal(rule.weights[:known], later.weights[:known], err_msg=name)
    assert (rules_of(market, forecast)["momentum"].weights != rules_of(other, changed)["momentum"].weights).any()


def test_parameters_come_from_training_bars() -> None:
    """The same training bars with other bars to judge give the same parameters."""
    first, second = noise_market(3), noise_market(4)
    columns = ("open", "high", "low", "close")
    mixed = {
        name: np.concatenate([getattr(first.bars, name)[: TRAIN[1]], getattr(second.bars, name)[TRAIN[1] :]])
        for name in columns
    }
    other = replace(first, bars=replace(first.bars, **mixed))
    assert {name: rule.parameter for name, rule in rules_of(first).items()} == {
        name: rule.parameter for name, rule in rules_of(other).items()
    }


def test_trends_are_for_momentum_and_swings_for_reversion() -> None:
    for phi, better, worse in ((0.5, "momentum", "mean_reversion"), (-0.5, "mean_reversion", "momentum")):
        market = autoregressive(phi)
        rules, part = rules_of(market), JudgedPart.of(market, (TEST,))
        gained, lost = (float(log_returns(rules[name].weights, part).sum()) for name in (better, worse))
        assert gained > lost
        assert rules[better].parameter == LOOKBACKS[0]


def test_lookbacks_do_not_cross_a_gap() -> None:
    market = replace(noise_market(5), runs=((0, 700), (700, 1_600)))
    moved, close = past_return(market, 24), np.log(market.bars.close)
    assert (moved[:24] == 0.0).all()
    assert (moved[700:724] == 0.0).all()
    assert moved[699] == close[699] - close[675]
    assert moved[724] == close[724] - close[700]
    assert (past_return(replace(market, runs=((0, 20), (20, 1_600))), 24)[:44] == 0.0).all()


def test_the_volatility_target_holds_less_where_it_is_wilder() -> None:
    market = noise_market(6)
    calm = np.where(np.arange(1_600) < 1_000, 0.01, 0.04)
    rule = rules_of(replace(market, volatility=calm))["volatility_target"]
    assert rule.parameter == 0.01
    np.testing.assert_allclose(rule.weights[:400], 1.0)
    np.testing.assert_allclose(rule.weights[400:], 0.25)


def test_the_forecast_is_followed_by_its_sign() -> None:
    market = noise_market(7)
    forecast = np.resize([1e-9, -2.0, 0.0], 1_600)
    weights = rules_of(market, forecast)["forecast_sign"].weights
    np.testing.assert_array_equal(weights, np.resize([1.0, -1.0, 0.0], 999))


def test_random_timing_is_a_yardstick_for_timing_alone() -> None:
    market = noise_market(8)
    part = JudgedPart.of(market, (TEST,))
    sighted = random_timing(np.sign(moves(market)), part, draws=99, seed=1)
    assert sighted.percentile == 1.0
    assert sighted.p_value == 0.01
    assert sighted.low <= sighted.median <= sighted.high
    assert random_timing(np.sign(moves(market)), part, draws=99, seed=1) == sighted
    constant = random_timing(np.ones(999), part, draws=99, seed=1)
    assert constant.percentile == 0.0
    assert constant.p_value == 1.0
    values = [
        random_timing(np.random.default_rng(seed).choice([-1.0, 1.0], 999), part, draws=99, seed=seed).p_value
        for seed in range(40)
    ]
    assert 0.3 < float(np.mean(values)) < 0.7, "worthless timing lies anywhere among the draws"


def test_random_timing_moves_all_markets_together() -> None:
    """What is long in one market and short in its twin at the same time earns nothing at any time."""
    size = 800
    once = np.random.default_rng(10).normal(0.0, 0.01, size)
    runs = ((0, size), (size, 2 * size))
    rows = tuple(MarketRows(symbol, start, MarketRules()) for symbol, (start, _) in zip("AB", runs, strict=True))
    market = market_of(np.tile(once, 2), runs=runs, markets=rows, costs=CostRates(taker_fee=0.0))
    market = replace(market, time_ns=np.tile(np.arange(size, dtype=np.int64) * 3_600_000_000_000, 2))
    side = np.repeat(np.random.default_rng(11).choice([-0.2, 0.2], size // 10), 10)[: size - 1]
    part = JudgedPart.of(market, runs)
    apart = random_timing(np.concatenate([side, side]), part, draws=99, seed=1)
    hedged = random_timing(np.concatenate([side, -side]), part, draws=99, seed=1)
    assert hedged.high - hedged.low < 0.1 * (apart.high - apart.low)


def test_bars_in_between_are_a_view() -> None:
    market = noise_market(9)
    part = bars_between(market.bars, 10, 20)
    assert len(part.close) == 10
    assert np.shares_memory(part.close, market.bars.close)


def test_a_part_needs_decisions() -> None:
    with pytest.raises(ValueError, match="at least one stretch"):
        JudgedPart.of(noise_market(1), ())
