"""Agents and their figures in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.flows.agent_words import (
    Tone,
    beside_holding,
    costs_text,
    diagnostic_findings,
    figure_row,
    market_row,
    paid_in_all,
    paid_text,
    robustness_findings,
    sees_text,
    timing_rows,
    trained_text,
    tried_name,
    weights_text,
)
from app.screenshots.agents import agent_card, idle_agent_card, wide_agent_card
from core.accounting.rules import CostRates
from ml.agents.environment_spec import DISCRETE, EnvironmentSpec
from ml.agents.results import AgentMetrics, CostShares
from ml.agents.run_spec import EncoderSpec
from ml.statistic_results import BootstrapInterval, DeflatedSharpe

NBSP = "\u00a0"


def tones(metrics: AgentMetrics) -> dict[str, Tone]:
    return {each.title: each.tone for each in (*robustness_findings(metrics), *diagnostic_findings(metrics))}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (EnvironmentSpec(lowest=0.0), f"long only, from 0{NBSP}% to 100{NBSP}% of its account, any weight"),
        (
            EnvironmentSpec(lowest=-0.125, highest=2.0, actions=DISCRETE, levels=5),
            f"long and short, from −12.5{NBSP}% to 200{NBSP}% of its account, one of 5 weights",
        ),
    ],
)
def test_what_it_may_hold(spec: EnvironmentSpec, text: str) -> None:
    assert weights_text(spec) == text


def test_what_it_sees_names_what_the_forecaster_gives() -> None:
    card = agent_card()
    for encoder, end in (
        (EncoderSpec(), "its own account"),
        (EncoderSpec(model="9f41", embedding=True, quantiles=False), "its own account; the forecaster's memory"),
        (EncoderSpec(model="9f41"), "the forecaster's memory; the forecaster's quantiles"),
    ):
        assert sees_text(replace(card, spec=replace(card.spec, encoder=encoder))).endswith(end)


def test_costs_name_what_is_charged_and_leave_out_what_is_not() -> None:
    assert costs_text(CostRates(taker_fee=0.0), 0.0) == "none"
    said = costs_text(CostRates(taker_fee=0.00075, impact=0.2, borrow_quote=0.0001), 1.0, funding=True)
    assert said.startswith(f"taker fee 0.075{NBSP}%, borrowed money 0.010{NBSP}% per bar, market impact 0.200, funding")
    assert "up to 2.00 times more or less" in said
    assert "slippage" not in said


def test_all_costs_are_added_up_and_what_was_received_is_taken_off() -> None:
    paid = CostShares(0.05, 0.01, 0.02, 0.03, -0.04, 0.005)
    assert paid_in_all(paid) == pytest.approx(0.075)
    assert "funding −4.00" in paid_text(paid)
    assert paid_text(CostShares(*(0.0,) * 6)) == "It paid nothing."


def test_rules_that_look_back_say_how_far() -> None:
    assert tried_name("momentum", 96.0) == "Momentum, 96 bars"
    assert tried_name("mean_reversion", 1.0) == "Mean reversion, 1 bar"
    assert tried_name("volatility_target", 0.0061) == tried_name("volatility_target")
    assert tried_name("seed_3") == "Seed 3"
    assert tried_name("something_new") == "something_new"


def test_returns_and_log_returns_are_told_apart() -> None:
    metrics = agent_card().metrics
    row = figure_row(metrics.ensemble)
    assert (row[1], row[2]) == (f"+97.6{NBSP}%", "+0.681")
    high, median, low = timing_rows(metrics)
    assert (high[1], high[2]) == (f"+125.2{NBSP}%", "+0.812")
    assert median[2] == "+0.655"
    assert low[3:] == ("—",) * 5
    losing = market_row(wide_agent_card().metrics.markets[2])
    assert (losing[1], losing[2]) == (f"−27.2{NBSP}%", "−0.318")


def test_an_interval_around_nothing_speaks_against_it() -> None:
    metrics = agent_card().metrics
    title = "Sharpe ratio less that of holding"
    assert tones(metrics)[title] is Tone.BAD
    better = BootstrapInterval(0.9, 0.2, 1.6, 0.95, 0.99, 9.0, 2_000)
    assert tones(replace(metrics, hold_difference=better))[title] is Tone.GOOD
    assert tones(replace(metrics, hold_difference=None))[title] is Tone.NEUTRAL


def test_what_no_constant_position_explains_has_the_higher_bar() -> None:
    probable = DeflatedSharpe(23, 0.01, 0.02, 0.96)  # above 95 %, below 97.5 %
    found = tones(replace(agent_card().metrics, deflated=probable, deflated_appraisal=probable))
    assert found["The same after all tries"] is Tone.GOOD
    assert found["The same without what the market gave"] is Tone.BAD


def test_timing_counts_below_its_limit_only() -> None:
    metrics = agent_card().metrics
    assert tones(metrics)["Timing, p-value"] is Tone.BAD
    assert tones(replace(metrics, timing=replace(metrics.timing, p_value=0.049)))["Timing, p-value"] is Tone.GOOD
    assert tones(replace(metrics, timing=replace(metrics.timing, p_value=0.05)))["Timing, p-value"] is Tone.BAD


@pytest.mark.parametrize(
    ("likeness", "tone"), [(0.97, Tone.NEUTRAL), (0.98, Tone.BAD), (-0.98, Tone.BAD), (None, Tone.NEUTRAL)]
)
def test_whoever_only_holds_is_recognised(likeness: float | None, tone: Tone) -> None:
    metrics = agent_card().metrics
    found = replace(metrics, diagnostics=replace(metrics.diagnostics, hold_correlation=likeness))
    assert tones(found)["Buy-and-hold fingerprint"] is tone


def test_what_learned_nothing_is_said_in_words() -> None:
    idle = idle_agent_card().metrics.diagnostics
    assert trained_text(idle).startswith("Not trained: it does nearly the same")
    assert "hardly moves" in trained_text(replace(idle, constant=False))
    assert "That alone earns nothing" in trained_text(agent_card().metrics.diagnostics)


def test_an_agent_that_never_moved_has_no_beta() -> None:
    ensemble = agent_card().metrics.ensemble
    assert "beta +0.47" in beside_holding(ensemble)
    assert "cannot be said" in beside_holding(replace(ensemble, relative=None))
