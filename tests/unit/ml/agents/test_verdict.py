"""A verdict on an agent says what its figures allow, the strongest objection first, in both languages."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from app.flows.sentence_text import local_text
from app.i18n import Language, set_language
from ml.agents.results import EDGE, HOLD, NO_EDGE, UNTRAINED, AgentMetrics, MarketFigures
from ml.agents.verdict import agent_standing, agent_verdict
from ml.statistic_results import BootstrapInterval, DeflatedSharpe
from tests.unit.ml.agents.judged_world import judged, noise_market
from tests.unit.ml.agents.test_judge import noise_policy, skilled


@pytest.fixture(scope="module")
def skill() -> AgentMetrics:
    return judged(noise_market(6, bars_per_year=365.0), *[0.5 * skilled(6, 0.60, seed) for seed in range(5)])


@pytest.fixture(scope="module")
def noise() -> AgentMetrics:
    return judged(noise_market(1), *[noise_policy(seed) for seed in range(5)])


def interval(low: float, high: float) -> BootstrapInterval:
    return BootstrapInterval((low + high) / 2.0, low, high, 0.95, 0.5, 1.0, 200)


def deflated(probability: float, trials: float = 30.0) -> DeflatedSharpe:
    return DeflatedSharpe(trials, 0.03, 0.06, probability)


def settled(metrics: AgentMetrics, **changes: Any) -> AgentMetrics:
    """Return changed metrics with standing and verdict of their own."""
    changed = replace(metrics, **changes)
    standing = replace(changed, standing=agent_standing(changed))
    return replace(standing, verdict=agent_verdict(standing))


def test_what_it_made_where_it_trades_is_said_beside_all_markets(skill: AgentMetrics) -> None:
    own = MarketFigures(
        symbol="BTC/USDT",
        bars=800,
        log_return=-0.1,
        sharpe=-0.4,
        max_drawdown=0.2,
        turnover=30.0,
        exposure=0.5,
        paid=skill.ensemble.paid,
        liquidations=0,
        hold_log_return=0.2,
        hold_sharpe=0.7,
        hold_max_drawdown=0.1,
    )
    metrics = settled(skill, markets=(own, replace(own, symbol="ETH/USDT", log_return=0.9)))
    said = (
        "These figures are of 2 markets together; it trades BTC/USDT alone, where it made -9.5% net "
        "(Sharpe ratio -0.40 a year) and holding made +22.1%."
    )
    assert said in metrics.verdict
    assert "markets together" not in skill.verdict
    assert skill.standing == EDGE
    assert metrics.standing == NO_EDGE  # no other market makes up for what the one it trades has lost
    assert settled(skill, markets=(replace(own, log_return=0.1), own)).standing == EDGE
    set_language(Language.KOREAN)
    try:
        assert not re.search("[a-z]{3,}", local_text(said))
    finally:
        set_language(Language.ENGLISH)


def test_each_condition_of_an_edge_is_needed(skill: AgentMetrics) -> None:
    assert skill.standing == EDGE
    assert settled(skill, deflated=deflated(0.949)).standing == NO_EDGE
    assert settled(skill, deflated=None).standing == NO_EDGE
    assert settled(skill, hold_difference=interval(-0.01, 3.0)).standing == HOLD
    assert settled(skill, hold_difference=None).standing == HOLD
    assert settled(skill, timing=replace(skill.timing, p_value=0.05)).standing == NO_EDGE
    assert settled(skill, ensemble=replace(skill.ensemble, log_return=-0.1)).standing == NO_EDGE
    assert settled(skill, deflated_appraisal=deflated(0.974)).standing == NO_EDGE
    assert settled(skill, deflated_appraisal=None).standing == NO_EDGE
    untrained = replace(skill.diagnostics, ignores_market=True)
    assert settled(skill, diagnostics=untrained).standing == UNTRAINED


def test_no_edge_says_what_is_missing(noise: AgentMetrics, skill: AgentMetrics) -> None:
    assert noise.verdict.startswith("No evidence of an edge after costs (net return ")
    assert "999 unseen bars)." in noise.verdict
    tried = settled(skill, deflated=deflated(0.412)).verdict
    assert (
        "The best of 30 tried on this market looks as good by luck: the deflated Sharpe ratio gives 41.2%, 95% is "
        "needed." in tried
    )
    lucky = settled(skill, timing=replace(skill.timing, p_value=0.4, percentile=0.6)).verdict
    assert "Its positions at random times earn as much in 40.0% of draws." in lucky
    constant = settled(skill, deflated_appraisal=deflated(0.25)).verdict
    assert "A constant position explains what it earned: the deflated Sharpe ratio of the rest gives 25.0%." in constant
    assert "Buy and hold is significantly better" in settled(noise, hold_difference=interval(-3.0, -0.1)).verdict
    same = settled(noise, hold_difference=interval(-1.0, 2.0)).verdict
    assert "It is not distinguishable from buy and hold." in same
    assert "Its Sharpe ratio less that of holding: +0.50, 95% interval -1.00 … +2.00." in same


def test_what_only_costs_took_is_said(noise: AgentMetrics) -> None:
    free = next(point for point in noise.costs if (point.multiple, point.delay) == (0.0, 0))
    rich = replace(free, metrics=replace(free.metrics, total_return=0.25))
    rest = tuple(point for point in noise.costs if point is not free)
    poor = replace(noise.ensemble, log_return=-0.1)
    assert "Before costs it would have earned 25.0%." in settled(noise, costs=(rich, *rest), ensemble=poor).verdict


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sharpe": 5.1}, "A Sharpe ratio that high looks like a leak: check the features."),
        ({"twice": 0.0}, "At twice the costs nothing of it is left."),
        ({"late": 0.1}, "One bar later most of it is gone"),
    ],
)
def test_an_edge_comes_with_its_doubts(skill: AgentMetrics, changes: dict[str, float], words: str) -> None:
    sound = settled(skill, costs=_curve(skill, twice=0.2, late=1_000.0))
    assert words not in sound.verdict
    costs = _curve(skill, twice=changes.get("twice", 0.2), late=changes.get("late", 1_000.0))
    ratio = changes.get("sharpe", 4.0)
    ensemble = replace(skill.ensemble, trading=replace(skill.ensemble.trading, sharpe=ratio))
    assert words in settled(skill, costs=costs, ensemble=ensemble).verdict


def _curve(metrics: AgentMetrics, *, twice: float, late: float) -> tuple[Any, ...]:
    return tuple(
        replace(
            point,
            metrics=replace(
                point.metrics,
                total_return=twice if point.multiple == 2.0 else point.metrics.total_return,
                sharpe=late if point.delay else point.metrics.sharpe,
            ),
        )
        for point in metrics.costs
    )


def test_other_doubts(skill: AgentMetrics) -> None:
    losing = replace(skill.periods[1], log_return=-0.2)
    parts = settled(skill, periods=(replace(skill.periods[0], log_return=0.1), losing)).verdict
    assert "It loses in 1 of 2 parts of the time." in parts
    best = replace(skill.baselines[4].figures, trading=skill.ensemble.trading)
    rules = (*skill.baselines[:4], replace(skill.baselines[4], figures=best))
    assert "A simple rule does as well on the same bars." in settled(skill, baselines=rules).verdict
    disagree = replace(skill.pooled_return, iqm_low=-0.01)
    assert "Its networks disagree: trained once more it may lose." in settled(skill, pooled_return=disagree).verdict
    assert "That is 31.0% of what perfect foresight earns after costs." in settled(skill, hindsight_share=0.31).verdict


def test_returns_that_are_those_of_holding_are_told(noise: AgentMetrics) -> None:
    for likeness, words in (
        (0.991, "Its returns are those of buy and hold: their correlation is 0.991."),
        (-0.985, "Its returns are those of selling short and holding: their correlation with the market is -0.985."),
    ):
        alike = replace(noise.diagnostics, hold_correlation=likeness)
        assert words in settled(noise, diagnostics=alike).verdict
        assert "Its returns are" not in settled(noise, diagnostics=replace(alike, constant=True)).verdict
    other = replace(noise.diagnostics, hold_correlation=0.97)
    assert "Its returns are" not in settled(noise, diagnostics=other).verdict


def test_untrained_says_what_it_does(noise: AgentMetrics) -> None:
    for weight, words in (
        (1.0, "It buys and holds, with a weight of 1.00."),
        (-0.5, "It sells short and holds, with a weight of -0.50."),
        (0.0, "Holding nothing may be right here, but looks the same as having learned nothing."),
    ):
        found = replace(noise.diagnostics, constant=True, mode_share=0.997, mode_weight=weight)
        verdict = settled(noise, diagnostics=found).verdict
        assert verdict == f"Not trained: its target is nearly the same in 99.7% of the bars. {words}"


def test_results_and_verdicts_need_no_heavy_module() -> None:
    """The window shows them."""
    code = (
        "import sys, ml.agents.results, ml.agents.verdict; "
        "print(sorted({'numpy', 'numba', 'torch', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def _speaking_korean() -> None:
    set_language(Language.KOREAN)


@pytest.mark.usefixtures("_speaking_korean")
def test_every_verdict_is_translated_whole(skill: AgentMetrics, noise: AgentMetrics) -> None:
    few = skill.seeds[:1]
    gap = replace(skill.diagnostics, rewards_add_up=False)
    ruined = replace(noise.ensemble, liquidations=1)
    verdicts = [
        skill.verdict,
        noise.verdict,
        settled(skill, deflated=deflated(0.4), seeds=few).verdict,
        settled(skill, hold_difference=interval(-1.0, 2.0), seeds=skill.seeds[:3], diagnostics=gap).verdict,
        settled(skill, deflated_appraisal=deflated(0.4), timing=replace(skill.timing, p_value=0.4)).verdict,
        settled(skill, hindsight_share=0.3, costs=_curve(skill, twice=-0.1, late=0.0)).verdict,
        settled(noise, ensemble=ruined, hold_difference=interval(-3.0, -1.0)).verdict,
        settled(noise, diagnostics=replace(noise.diagnostics, constant=True)).verdict,
        settled(noise, diagnostics=replace(noise.diagnostics, hold_correlation=0.99)).verdict,
        settled(noise, diagnostics=replace(noise.diagnostics, hold_correlation=-0.99)).verdict,
        settled(noise, diagnostics=replace(noise.diagnostics, ignores_market=True)).verdict,
    ]
    for verdict in verdicts:
        assert re.search(r"[A-Za-z]{2,}", local_text(verdict)) is None, (verdict, local_text(verdict))
