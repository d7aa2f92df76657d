"""The judgement of an agent as a person reads it in a terminal."""

from __future__ import annotations

import math
from dataclasses import replace

from app.commands.agent_text import agent_lines, agent_lines_of_spec
from ml.agents.results import CostShares, MarketFigures
from ml.agents.run_spec import AgentSpec
from ml.agents.universe import UniverseSpec
from tests.unit.ml.agents.judged_world import TEST, judged, moves, noise_market

PAID = CostShares(fee=0.02, spread=0.01, slippage=0.0, impact=0.0, funding=-0.005, borrow=0.0)
ETHER = MarketFigures(
    symbol="ETH/USDT",
    bars=TEST[1] - TEST[0] - 1,
    log_return=math.log(1.1),
    sharpe=None,
    max_drawdown=0.2,
    turnover=1_234.0,
    exposure=0.5,
    paid=PAID,
    liquidations=0,
    hold_log_return=math.log(0.75),
    hold_sharpe=-1.5,
    hold_max_drawdown=0.3,
)


def test_each_of_several_markets_has_its_line() -> None:
    market = noise_market(3)
    metrics = judged(market, 0.1 * moves(market) / 0.01)
    assert not any("markets; each alone" in line for line in agent_lines(metrics))
    lines = agent_lines(replace(metrics, markets=(replace(ETHER, symbol="BTC/USDT"), ETHER)))
    assert any("spread evenly over 2 markets" in line for line in lines)
    (line,) = [line for line in lines if "ETH/USDT" in line]
    assert line.split() == ["ETH/USDT", "+10.0%", "–", "20.0%", "1,234", "50.0%", "2.5%", "-25.0%", "-1.50"]


def test_a_specification_says_which_markets_it_learned_on() -> None:
    several = AgentSpec(universe=UniverseSpec(("ETH/USDT", "SOL/USDT")))
    assert agent_lines_of_spec(several, 9)[0] == "learned   on ETH/USDT, SOL/USDT too; it trades BTC/USDT"
    assert not any("learned" in line for line in agent_lines_of_spec(AgentSpec(), 9))
