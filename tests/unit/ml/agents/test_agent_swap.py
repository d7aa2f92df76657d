"""A running agent is changed between two bars: from then on everything is as if the new one had always been there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from core.domain.candles import Candle, Timeframe
from core.errors import UserError
from core.strategies.agent_policy import AccountView
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.inference import OnnxAgent, load_policy
from ml.hot_swap import SwappableAgent, load_changeable_agent
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import small_spec
from tests.unit.ml.agents.trading_agents import store_loud_agent

START, HISTORY = 300, 200
GAP = 320  # row of a bar that is missing
HELD = AccountView(units=3.0, mark=100.0, entry_price=99.0, equity=1_000.0, peak=1_010.0, bars_since_change=4)


@pytest.fixture(scope="module")
def candles(trained: Trained) -> list[Candle]:
    bars = trained.frame.to_candles("test")[: START + 200]
    return bars[:GAP] + bars[GAP + 1 :]


@pytest.fixture(scope="module")
def stored(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """An agent without an encoder, and one with another window and the encoder of a forecaster."""
    models = tmp_path_factory.mktemp("agents")
    trained.copy_to(models)
    first, _ = store_loud_agent(models, small_spec())
    sighted = small_spec(encoder=True)
    sighted = replace(
        sighted,
        encoder=replace(sighted.encoder, model=trained.result.model_id),
        environment=EnvironmentSpec(window=4, lowest=0.0, highest=0.8, band=0.07),
    )
    second, _ = store_loud_agent(models, sighted)
    return models, first, second


def restarted(models: Path, model_id: str, history: Sequence[Candle]) -> OnnxAgent:
    agent = load_policy(models, model_id)
    agent.warm_up(history)
    return agent


def test_the_next_decision_is_the_new_agents(stored: tuple[Path, str, str], candles: list[Candle]) -> None:
    models, first, second = stored
    agent = load_changeable_agent(models, first)
    assert agent.warm_up(candles[START - HISTORY : START])
    before = (agent.lowest, agent.highest, agent.band)
    agent.prepare(second, candles[START - HISTORY : START])
    assert (agent.model_id, agent.ready) == (first, second)
    other = restarted(models, second, candles[START - HISTORY : START])
    for candle in candles[START : START + 5]:  # it keeps up while it stands by, and the former one decides
        assert agent.update(candle)
        other.update(candle)
        assert (agent.lowest, agent.highest, agent.band) == before
    told = agent.decide(HELD)
    agent.swap(second)
    assert (agent.model_id, agent.ready) == (second, None)
    assert (agent.lowest, agent.highest, agent.band) == (0.0, 0.8, 0.07)
    assert (agent.costs, agent.warm_up_bars) == (other.costs, other.warm_up_bars)
    assert agent.decide(HELD) == other.decide(HELD) != told
    wanted = []
    for candle in candles[START + 5 : START + 100]:  # over the gap, too
        is_warm = agent.update(candle)
        assert is_warm == other.update(candle)
        if is_warm:
            assert agent.decide(HELD) == other.decide(HELD)
            wanted.append(agent.decide(HELD).weight)
    assert 0 < len(wanted) < 95
    assert len(set(wanted)) > 10


def test_an_agent_that_a_gap_has_cooled_does_not_take_over(
    stored: tuple[Path, str, str], candles: list[Candle]
) -> None:
    models, first, second = stored
    agent = load_changeable_agent(models, first)
    agent.warm_up(candles[START - HISTORY : START])
    agent.prepare(second, candles[START - HISTORY : START])
    for candle in candles[START : GAP + 2]:
        agent.update(candle)
    assert agent.ready is None
    with pytest.raises(UserError, match="No model is ready"):
        agent.swap(second)
    assert agent.model_id == first


def test_too_little_history_is_no_takeover(stored: tuple[Path, str, str], candles: list[Candle]) -> None:
    models, first, second = stored
    agent = load_changeable_agent(models, first)
    agent.warm_up(candles[START - HISTORY : START])
    needed = load_policy(models, second).warm_up_bars
    with pytest.raises(UserError, match=f"needs {needed} closed bars"):
        agent.prepare(second, candles[START - 10 : START])
    assert agent.ready is None
    assert agent.update(candles[START])


def test_an_agent_for_another_market_is_refused(stored: tuple[Path, str, str], candles: list[Candle]) -> None:
    models, first, _ = stored
    spec = small_spec()
    other, _ = store_loud_agent(models, replace(spec, data=replace(spec.data, symbol="ETH/USDT")))
    load: Callable[[str], OnnxAgent] = partial(load_policy, models)
    agent = SwappableAgent(load(first), load)
    agent.warm_up(candles[START - HISTORY : START])
    with pytest.raises(UserError, match=r"trained on ETH/USDT 1h, not on BTC/USDT 1h"):
        agent.prepare(other, candles[START - HISTORY : START])
    assert (agent.model_id, agent.timeframe) == (first, Timeframe.H1)
