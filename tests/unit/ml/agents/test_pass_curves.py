"""The curves of passes over the validation part: the agent's own figures, and rules followed with the same costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.agents.accounts import JudgedPart, log_returns
from ml.agents.bars import AgentBars, MarketInput, agent_bars, universe_bars
from ml.agents.evaluation import judged_market, judged_rows
from ml.agents.pass_curves import ValidationRules
from ml.agents.progress import CURVES_FILE, MOST_POINTS, AgentProgress, PassCurves
from ml.agents.run_spec import PPO
from ml.agents.shared_bars import LearningBars
from ml.agents.walks import test_environment as judging_environment
from ml.features import MarketHistory
from ml.rl_trainer import train_rl_model
from tests.unit.ml.agents.agent_runs import short_spec
from tests.unit.ml.helpers import ar1_returns, frame_from_returns

SPEC = short_spec(PPO)


@pytest.fixture(scope="module")
def bars() -> AgentBars:
    return agent_bars(MarketHistory(frame_from_returns(ar1_returns(2_500, 0.3, 1), missing=(1_000, 2_100))), SPEC)


@pytest.fixture(scope="module")
def part(bars: AgentBars) -> JudgedPart:
    env = judging_environment(bars, SPEC.environment)
    market = judged_market(env, bars_per_year=8_760.0, time_ns=bars.frame.time_ns)
    return JudgedPart.of(market, judged_rows(env, bars.valid))


def test_every_pass_is_told_once_with_its_curves_and_the_newest_is_kept(bars: AgentBars, tmp_path: Path) -> None:
    seen: list[AgentProgress] = []
    trained = train_rl_model(
        bars, SPEC, run_id="a", run_dir=tmp_path, on_progress=seen.append, should_stop=lambda: False
    )
    curves = [message.curves for message in seen if message.curves is not None]
    assert [(each.seed, each.step) for each in curves] == [(record.seed, record.step) for record in trained.history]
    for each, record in zip(curves, trained.history, strict=True):
        assert each.equity[0] == 1.0
        assert each.equity[-1] == pytest.approx(np.exp(record.log_return), rel=1e-5)
    assert PassCurves.from_json(json.loads((tmp_path / CURVES_FILE).read_bytes())) == curves[-1]
    assert AgentProgress.from_json(json.loads(json.dumps(seen[-1].to_json()))) == seen[-1]


def test_several_markets_are_chosen_by_what_they_come_to_together(tmp_path: Path) -> None:
    frames = [
        replace(frame_from_returns(ar1_returns(2_500, 0.3, seed), seed), symbol=symbol)
        for seed, symbol in ((1, "BTC/USDT"), (2, "ETH/USDT"))
    ]
    both = universe_bars([MarketInput(MarketHistory(frame)) for frame in frames], SPEC)
    seen: list[AgentProgress] = []
    one = replace(SPEC, algorithm=replace(SPEC.algorithm, seeds=1, steps=4_096, evaluations=1))
    trained = train_rl_model(
        both, one, run_id="a", run_dir=tmp_path, on_progress=seen.append, should_stop=lambda: False
    )
    (curves,) = [message.curves for message in seen if message.curves is not None]
    (record,) = trained.history
    assert record.log_return == pytest.approx(np.log(curves.equity[-1]), abs=1e-5)
    assert trained.states[0].best_return == record.log_return


def test_rules_pay_what_the_agent_pays(bars: AgentBars, part: JudgedPart) -> None:
    rules = ValidationRules(LearningBars.of(bars), judging_environment(bars, SPEC.environment))
    held = np.ones(len(part.rows))
    paid = log_returns(held, part, close_out=False)
    found = rules.curves(3, 500, paid)
    curves = {rule.name: rule.equity for rule in found.rules}
    assert (found.seed, found.step) == (3, 500)
    assert list(curves) == ["hold", "short", "volatility_target", "momentum", "mean_reversion"]
    assert curves["hold"] == found.equity  # an agent that holds is holding
    assert curves["hold"][-1] == pytest.approx(np.exp(paid.sum()), rel=1e-5)
    free = log_returns(held, part.at_costs(0.0), close_out=False)
    assert curves["hold"][-1] < np.exp(free.sum())
    assert curves["momentum"][-1] > curves["mean_reversion"][-1]  # the market goes on as it began


def test_moments_are_closes_of_the_part_and_few(bars: AgentBars, part: JudgedPart) -> None:
    rules = ValidationRules(LearningBars.of(bars), judging_environment(bars, SPEC.environment))
    found = rules.curves(1, 1, np.zeros(len(part.rows)))
    assert len(found.time_ns) == MOST_POINTS < len(part.rows)
    assert {len(rule.equity) for rule in found.rules} == {len(found.equity)} == {MOST_POINTS}
    assert list(found.time_ns) == sorted(set(found.time_ns))
    bar_ns = bars.frame.timeframe.ns
    first, last = bars.valid[0].start, bars.valid[-1].stop - 1
    closes = bars.frame.time_ns[[first, last]] + bar_ns
    assert [found.time_ns[0], found.time_ns[-1]] == closes.tolist()
