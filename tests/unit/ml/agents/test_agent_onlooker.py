"""An agent that is looked at decides as one that trades, for an account that the kernel moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.accounting.fast import BarArrays, run_targets
from core.data.frame import CandleFrame
from core.domain.candles import Candle
from core.errors import UserError
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.inference import load_policy
from ml.agents.onlooker import PAST_DECISIONS, AgentOnlooker
from ml.onlooker import Onlooker, open_onlooker
from ml.outlook import Outlook
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import small_spec, store_agent


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, EnvironmentSpec]:
    folder, spec = tmp_path_factory.mktemp("agents"), small_spec()
    return folder, store_agent(folder, spec), spec.environment


@pytest.fixture
def looker(stored: tuple[Path, str, EnvironmentSpec]) -> AgentOnlooker:
    opened = open_onlooker(stored[0], stored[1])
    assert isinstance(opened, AgentOnlooker)
    return opened


def bars(trained: Trained, start: int, stop: int) -> tuple[CandleFrame, list[Candle]]:
    frame = trained.frame.slice(start, stop)
    return frame, frame.to_candles("test")


def go_on() -> bool:
    return False


def test_it_is_told_from_a_forecaster(looker: AgentOnlooker, trained: Trained) -> None:
    assert looker.about.agent
    assert (looker.about.symbol, looker.about.timeframe) == ("BTC/USDT", "1h")
    forecaster = open_onlooker(trained.models_dir, trained.result.model_id)
    assert isinstance(forecaster, Onlooker)
    assert not forecaster.about.agent


def test_the_account_is_what_the_kernel_makes_of_its_targets(
    looker: AgentOnlooker, stored: tuple[Path, str, EnvironmentSpec], trained: Trained
) -> None:
    frame, candles = bars(trained, 0, 3_000)
    outlook = looker.begin(candles, go_on)
    assert outlook is not None
    weights = outlook.weights
    assert weights is not None
    assert outlook.speaks
    assert outlook.forecast is None
    size = len(weights.time_ns)
    assert size == PAST_DECISIONS
    assert weights.time_ns == tuple(frame.time_ns[-size:].tolist())
    environment = stored[2]
    last = slice(len(frame) - size, len(frame))
    columns = {name: getattr(frame, name)[last] for name in ("open", "high", "low", "close", "volume")}
    run = run_targets(
        np.array(weights.target[:-1]),
        BarArrays(**columns, funding_rate=np.zeros(size)),
        environment.costs,
        environment.rules(),
        cash=environment.cash,
    )
    held = run.lots * environment.rules().unit * columns["close"] / run.equity
    np.testing.assert_allclose(weights.held, held, atol=1e-9)
    assert weights.held[0] == 0.0
    assert weights.age == size - 1
    # Live it goes on: the oldest leave, the account stays.
    later = looker.update(bars(trained, 3_000, 3_001)[1][0]).weights
    assert later is not None
    assert (later.time_ns[:-1], later.age) == (weights.time_ns[1:], size)
    assert len(set(weights.target)) > 10


def test_it_decides_as_the_agent_of_a_strategy(
    looker: AgentOnlooker, stored: tuple[Path, str, EnvironmentSpec], trained: Trained
) -> None:
    """At the first bar the account is empty for both, and they see the same."""
    from core.strategies.agent_policy import AccountView

    _, candles = bars(trained, 0, looker.needed)
    outlook = looker.begin(candles, go_on)
    assert outlook is not None
    assert outlook.weights is not None
    agent, cash = load_policy(stored[0], stored[1]), stored[2].cash
    assert agent.warm_up(candles)
    wanted = agent.decide(AccountView(0.0, candles[-1].close, 0.0, cash, cash, 0)).weight
    assert outlook.weights.target == (wanted,)
    assert outlook.weights.held == (0.0,)


def test_bar_by_bar_it_says_what_it_says_at_once(looker: AgentOnlooker, trained: Trained) -> None:
    _, candles = bars(trained, 0, looker.needed + 60)
    at_once = looker.begin(candles, go_on)
    assert at_once is not None
    first = looker.begin(candles[: looker.needed + 10], go_on)
    assert first is not None
    assert first.weights is not None
    assert len(first.weights.target) == 11
    outlook: Outlook | None = None
    for candle in candles[looker.needed + 10 :]:
        outlook = looker.update(candle)
    assert outlook == at_once


def test_too_few_bars_and_a_gap_say_how_many_it_needs(looker: AgentOnlooker, trained: Trained) -> None:
    _, candles = bars(trained, 0, looker.needed + 5)
    early = looker.begin(candles[: looker.needed - 1], go_on)
    assert early is not None
    assert (early.weights, early.speaks, early.bars, early.needed) == (None, False, looker.needed - 1, looker.needed)
    assert looker.begin(candles, go_on) is not None
    after = looker.update(replace(candles[-1], open_time_ns=candles[-1].open_time_ns + 5 * 3_600 * 10**9))
    assert (after.weights, after.bars) == (None, 1)
    assert looker.begin([], go_on) is None
    assert looker.begin(candles, lambda: True) is None


def test_a_bar_it_cannot_take_is_a_sentence(looker: AgentOnlooker, trained: Trained) -> None:
    _, candles = bars(trained, 0, looker.needed + 5)
    looker.begin(candles, go_on)
    with pytest.raises(UserError, match="failed on a bar of the chart"):
        looker.update(candles[0])
    assert looker.begin(candles, go_on) is not None
