"""What the strip above the chart says of a model that is looked at."""

from __future__ import annotations

from dataclasses import replace

from app.flows.look_words import look_cautions, look_facts, look_state, look_title
from app.models.model_look import ModelLook
from core.domain.data_origin import BINANCE, DataOrigin
from core.domain.signals import Forecast
from core.errors import UserError
from ml.outlook import AgentWeights, LookedAt, Outcomes, Outlook

INVENTED = DataOrigin("practice-synthetic-1")
FORECAST = Forecast("BTC/USDT", 0, 4, (0.05, 0.5, 0.95), (-0.02, 0.0, 0.02), 0.0, "0123456789abcdef", "f")
LOOK = ModelLook(LookedAt("0123456789abcdef", "BTC/USDT", "1h", BINANCE, foreign=False), here=True, origin=BINANCE)
OUTLOOK = Outlook(0, 100.0, FORECAST, 35, 35)


def test_the_title_says_whether_anything_trades_with_it() -> None:
    assert look_title(LOOK, traded=False) == "Only looking at model 0123456789: nothing trades with it"
    assert look_title(LOOK, traded=True) == "Model 0123456789: a running strategy trades with it"


def test_one_sentence_says_how_far_it_is() -> None:
    assert look_state(replace(LOOK, here=False)) == "It waits: its market is BTC/USDT 1h."
    assert look_state(LOOK) == "Waiting for the bars of the chart …"
    early = replace(LOOK, outlook=replace(OUTLOOK, forecast=None, bars=1_000, needed=1_467))
    assert look_state(early) == "No forecast yet: it needs 1,467 closed bars without a gap, and there are 1,000."
    assert look_state(replace(early, loading=True)) == "Loading history: it needs 1,467 closed bars …"
    assert look_state(replace(LOOK, outlook=OUTLOOK)) == "A new forecast follows each closed bar."
    problem = replace(LOOK, problem=UserError("Model x failed on a bar of the chart.", "The log says how."))
    assert look_state(problem) == "Model x failed on a bar of the chart."


def test_an_agent_says_what_it_wants_to_hold() -> None:
    agent = replace(LOOK, model=replace(LOOK.model, agent=True))
    early = replace(agent, outlook=replace(OUTLOOK, forecast=None, bars=10, needed=35))
    assert look_state(early) == "No decision yet: it needs 35 closed bars without a gap, and there are 10."
    weights = AgentWeights((0, 1), (0.1, -0.42), (0.0, 0.1), 7)
    said = replace(agent, outlook=replace(OUTLOOK, forecast=None, weights=weights))
    assert look_state(said) == (
        "It wants to hold −⁠0.42 of its account and held +0.10, beginning with nothing 7 bars ago."
    ).replace("⁠", "")
    assert "nothing is bought or sold" in look_facts(said)[1]
    assert said.weights is weights
    assert replace(said, here=False).weights is None
    assert said.forecast is None


def test_outcomes_are_counted_beside_what_was_promised() -> None:
    look = replace(LOOK, outlook=replace(OUTLOOK, outcomes=Outcomes(150, 129, 0.9, 4)))
    assert look_state(look) == (
        "Of its last 150 forecasts of 4 bars ahead 129 ended in their range (86\u00a0%; it promises 90\u00a0%)."
    )
    assert "Only bars that came after everything the model was made from are counted." in look_facts(look)
    next_bar = replace(LOOK, outlook=replace(OUTLOOK, outcomes=Outcomes(2, 2, 0.9, 1)))
    assert look_state(next_bar).startswith("Of its last 2 forecasts of the next bar 2 ended in their range")


def test_where_its_figures_mean_less_it_is_said() -> None:
    assert look_cautions(LOOK) == []
    assert look_cautions(replace(LOOK, origin=None)) == []
    other = replace(LOOK, origin=INVENTED, model=replace(LOOK.model, foreign=True))
    assert look_cautions(other) == [
        "It learned from other bars: binance, not practice market.",
        "Made elsewhere: its figures are its maker's word and were not measured here.",
    ]
    problem = replace(LOOK, problem=UserError("It failed.", "The log says how."))
    assert look_cautions(problem) == ["The log says how."]
    assert look_cautions(replace(problem, here=False)) == []


def test_the_drawn_forecast_starts_from_the_close_it_was_made_at() -> None:
    assert LOOK.forecast is None
    assert replace(LOOK, outlook=replace(OUTLOOK, forecast=None)).forecast is None
    made = replace(LOOK, outlook=OUTLOOK).forecast
    assert made is not None
    assert (made.forecast, made.timeframe, made.close) == (FORECAST, "1h", 100.0)
