"""What is written down of a pass is what is judged, of one market and of the first of several, with every rounding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.accounting.rules import CostRates, MarketRules
from core.data.frame import CandleFrame
from ml.agents.bars import MarketInput, universe_bars
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.export import AgentNetwork, WeightRange, export_agent
from ml.agents.run_spec import PPO, AgentEvaluationSpec, AgentSpec, AlgorithmSpec
from ml.agents.trial import AgentTrial, judge_agent
from ml.agents.universe import UniverseSpec
from ml.api import FeatureSpec
from ml.features import MarketHistory
from tests.unit.ml.agents.agent_packages import _policy
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

RULES = MarketRules(lot_size=0.01, min_quantity=0.01, min_notional=5.0)


def frame(seed: int, symbol: str) -> CandleFrame:
    return replace(frame_from_returns(ar1_returns(900, 0.3, seed), missing=(700, 800)), symbol=symbol)


def tried(*symbols: str, window: int = 2) -> AgentTrial:
    """Judge networks that learned nothing, on bars with gaps, where orders are rounded."""
    spec = AgentSpec(
        features=FeatureSpec("price", 1, horizons=(1, 4), window=24),
        universe=UniverseSpec(symbols=symbols[1:]),
        environment=EnvironmentSpec(
            window=window,
            costs=CostRates(taker_fee=0.0005, borrow_quote=1e-5, borrow_base=1e-5),
            cash=500.0,
        ),
        algorithm=replace(AlgorithmSpec.of(PPO), hidden=(8,), seeds=3),
        evaluation=AgentEvaluationSpec(resamples=100, draws=39),
    )
    inputs = [
        MarketInput(MarketHistory(frame(number, symbol)), rules=RULES if number == 1 else None)
        for number, symbol in enumerate(symbols, start=1)
    ]
    bars = universe_bars(inputs, spec)
    observed = window * bars.market.features.shape[1] + 5
    torch.manual_seed(0)
    weights = WeightRange(spec.environment.lowest, spec.environment.highest, 0)
    network = AgentNetwork([_policy(spec, observed, seed) for seed in (1, 2, 3)], weights)
    for member in network.members:  # untrained ones want next to nothing
        member.layers[-1].weight.data *= 100.0
    return judge_agent(bars, spec, network, export_agent(network), lambda: None)


@pytest.fixture(scope="module")
def alone() -> AgentTrial:
    return tried("BTC/USDT")


@pytest.fixture(scope="module")
def several() -> AgentTrial:
    return tried("BTC/USDT", "ETH/USDT")


def test_it_is_the_pass_that_is_judged(alone: AgentTrial) -> None:
    episode, metrics = alone.episode, alone.metrics
    assert math.log(episode.equity[-1]) == pytest.approx(metrics.ensemble.log_return, abs=1e-12)
    assert metrics.ensemble.log_return != 0.0
    for row in metrics.baselines:
        assert math.log(episode.rules[row.figures.name][-1]) == pytest.approx(row.figures.log_return, abs=1e-12)
    paid = metrics.ensemble.paid
    parts = (paid.fee, paid.spread, paid.slippage, paid.impact, paid.funding, paid.borrow)
    assert float(episode.cost.sum()) == pytest.approx(sum(parts), abs=1e-12)
    assert paid.borrow > 0.0


def test_each_stretch_begins_with_nothing_and_is_sold_at_its_end(alone: AgentTrial) -> None:
    episode = alone.episode
    steps = np.diff(episode.time_ns)
    assert episode.starts.tolist() == [0, *(1 + np.flatnonzero(steps > steps.min())).tolist()]
    assert len(episode.starts) > 1
    assert not episode.held[episode.starts].any()
    assert not episode.traded[episode.starts].any()
    ends = np.flatnonzero(~episode.decided)
    assert not episode.target[ends].any()
    # Nothing is earned between two stretches.
    np.testing.assert_array_equal(episode.equity[episode.starts[1:]], episode.equity[ends[:-1]])


def test_what_is_held_follows_from_what_is_traded(alone: AgentTrial) -> None:
    """Equity before and after a bar differs by what was held over it and what was paid."""
    episode = alone.episode
    for row in np.flatnonzero(episode.decided).tolist():
        if not episode.decided[row + 1]:
            continue  # there is a sale at the close as well
        after = row + 1
        gained = episode.equity[after] / episode.equity[row] - 1.0
        kept = episode.held[row] * (episode.close[after] / episode.close[row] - 1.0)
        new = episode.traded[after] * (episode.close[after] / episode.open[after] - 1.0)
        # What is paid beside the opening price is in the value traded: an error of the second order.
        assert gained == pytest.approx(kept + new - episode.cost[after], abs=1e-4)
    assert np.abs(episode.traded).max() > 0.05


def test_what_it_saw_is_what_the_network_was_given(alone: AgentTrial) -> None:
    episode = alone.episode
    decided = episode.decided
    np.testing.assert_allclose(episode.seeds.mean(axis=1)[decided], episode.target[decided], atol=1e-5)
    names = episode.names
    columns = len([name for name in names if name.endswith("[-1]")])
    assert names[:columns] == tuple(f"{name}[-1]" for name in names[columns : 2 * columns])
    # The window moves on by one bar at a time.
    for row in range(1, 40):
        np.testing.assert_array_equal(episode.observed[row, :columns], episode.observed[row - 1, columns : 2 * columns])
    np.testing.assert_allclose(episode.observed[decided][:, 2 * columns], episode.held[decided], atol=1e-5)


def test_of_several_markets_the_own_one_is_written_down(several: AgentTrial) -> None:
    episode, (own, other) = several.episode, several.metrics.markets
    assert (episode.symbol, own.symbol, other.symbol) == ("BTC/USDT", "BTC/USDT", "ETH/USDT")
    assert int(episode.decided.sum()) == own.bars
    assert math.log(episode.equity[-1]) == pytest.approx(own.log_return, abs=1e-12)
    assert math.log(episode.rules["hold"][-1]) == pytest.approx(own.hold_log_return, abs=1e-12)
    assert own.log_return != pytest.approx(other.log_return, abs=1e-6)
    assert set(episode.close.tolist()) <= set(frame(1, "BTC/USDT").close.tolist())
