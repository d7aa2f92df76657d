"""The training wizard's way to an agent, without a window."""

from __future__ import annotations

import dataclasses

import pytest

from app.flows.agent_draft import Direction, Subject
from app.flows.agent_review import decisions_text, memory_text, passes_text, spot_warning
from app.flows.datasets import SourceKind, StoredForecaster
from app.flows.run_review import review
from app.flows.training_flow import STEPS, Step, TrainingFlow
from core.domain.data_origin import BINANCE
from core.errors import UserError
from ml.agents.run_spec import AgentSpec, EncoderSpec
from ml.agents.universe import FundingSource, InstrumentRules, UniverseSpec
from ml.api import ForecastSpec, ModelSpec, TrainingSpec
from tests.unit.flows.training_kit import HOUR, PRACTICE, START, dataset, flow, sentence

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"


def stored(model_id: str = FIRST, symbol: str = "BTC/USDT", timeframe: str = "1h", known: int = 0) -> StoredForecaster:
    return StoredForecaster(model_id, BINANCE, symbol, timeframe, "gru", (1, 24), START, known, known)


def agent(built: TrainingFlow) -> AgentSpec:
    spec = built.spec()
    assert isinstance(spec, AgentSpec)
    return spec


def value(built: TrainingFlow, title: str, label: str) -> str:
    group = next(group for group in review(built) if group.title == title)
    return dict(group.lines)[label]


@pytest.mark.parametrize(
    ("subject", "left_out"),
    [
        (Subject.FORECASTER, {Step.ENVIRONMENT, Step.ALGORITHM}),
        (Subject.AGENT, {Step.MODEL, Step.TRAINING}),
        (Subject.ON_STORED, {Step.MODEL, Step.TRAINING}),
        (Subject.BOTH, set()),
    ],
)
def test_the_choice_decides_which_steps_come(subject: Subject, left_out: set[Step]) -> None:
    built = flow(subject=subject)
    built.set_forecasters((stored(),))
    assert set(Step) - set(built.steps) == left_out
    walked = [built.step]
    while built.step is not Step.REVIEW:
        assert built.next() is None
        walked.append(built.step)
    assert tuple(walked) == built.steps
    while built.step is not Step.DATA:
        built.back()
    assert isinstance(built.spec(), ForecastSpec if subject is Subject.FORECASTER else AgentSpec)


def test_the_defaults_of_an_agent_are_those_of_the_program_but_for_weights_of_a_spot_market() -> None:
    spec, usual = agent(flow(subject=Subject.AGENT)), AgentSpec()
    environment = dataclasses.replace(usual.environment, lowest=0.0)
    assert spec == dataclasses.replace(usual, data=spec.data, environment=environment)


def test_an_agent_after_a_forecaster_of_the_same_run() -> None:
    spec = agent(flow(subject=Subject.BOTH, hidden_size=48, epochs=7, encoder_seeds=2, encoder_embedding=False))
    assert spec.encoder == EncoderSpec(train_first=True, seeds=2, embedding=False)
    assert (spec.forecaster.hidden_size, spec.fitting.epochs) == (48, 7)


def test_steps_that_are_left_out_hinder_nobody_and_are_kept() -> None:
    built = flow(dropout="x", epochs=0, cost_percent="x")
    assert sentence(built, Step.REVIEW) != ""
    built.update(subject=Subject.AGENT)
    spec = agent(built)
    assert (spec.forecaster, spec.fitting, spec.encoder) == (ModelSpec(), TrainingSpec(), EncoderSpec())
    assert built.split()[0].share == pytest.approx(0.7)
    built.update(subject=Subject.BOTH)
    assert "not part of a number" in sentence(built, Step.MODEL)
    built.update(subject=Subject.AGENT, gamma="x")
    built.update(subject=Subject.FORECASTER, dropout="0.1", epochs=5, cost_percent="0.1")
    assert isinstance(built.spec(), ForecastSpec)
    built.update(subject=Subject.AGENT)
    assert built.problem(Step.ALGORITHM) is not None


def test_a_stored_forecaster_of_the_same_market_is_chosen_and_others_are_not_offered() -> None:
    built = flow(dataset(), dataset("ETH/USDT"), subject=Subject.ON_STORED)
    waiting = built.problem(Step.DATA)
    assert waiting is not None
    assert waiting.passing
    built.set_forecasters((stored(SECOND), stored(), stored("1" * 16, "ETH/USDT"), stored("2" * 16, timeframe="4h")))
    assert [item.model_id for item in built.forecasters()] == [SECOND, FIRST]
    assert agent(built).encoder.model == SECOND
    built.update(encoder_model=FIRST)
    assert agent(built).encoder == EncoderSpec(model=FIRST)
    built.update(symbol="ETH/USDT")
    assert agent(built).encoder.model == "1" * 16
    built.set_forecasters(UserError("tags.json is damaged."))
    assert "damaged" in sentence(built, Step.DATA)
    built.update(subject=Subject.AGENT)
    assert agent(built).encoder == EncoderSpec()


def test_a_loaded_forecaster_that_is_gone_is_named_and_kept() -> None:
    spec = dataclasses.replace(agent(flow(subject=Subject.AGENT)), encoder=EncoderSpec(model=SECOND))
    built = flow()
    built.set_forecasters((stored(),))
    built.load(spec)
    assert "Choose the stored forecaster" in sentence(built, Step.DATA)
    assert built.draft.agent.encoder_model == SECOND


def test_a_forecaster_must_not_know_what_the_agent_is_judged_on() -> None:
    known = START + 24 * HOUR * 250
    built = flow(subject=Subject.ON_STORED)
    built.set_forecasters((stored(known=known),))
    built.update(by_date=True, valid_from="2024-08-01", test_from="2024-10-01")
    problem = built.problem(Step.EVALUATION)
    assert problem is not None
    assert (problem.field, "2024-09-07" in problem.text()) == ("valid_from", True)
    built.update(valid_from="2024-09-08")
    assert built.problem(Step.EVALUATION) is None


def test_further_markets_are_learned_on_where_they_are_stored() -> None:
    built = flow(dataset(), dataset("ETH/USDT"), dataset("SOL/USDT"), subject=Subject.AGENT)
    alone = passes_text(built)
    built.update(further_markets=("ETH/USDT",))
    assert agent(built).universe == UniverseSpec(("ETH/USDT",))
    assert value(built, "Environment", "Learns on too") == "ETH/USDT"
    assert alone != passes_text(built)
    built.update(columns=("log_return@ETH/USDT",), markets=("ETH/USDT",))
    problem = built.problem(Step.DATA)
    assert problem is not None
    assert problem.field == "further_markets"
    built.update(columns=(), markets=(), further_markets=("XRP/USDT",))
    assert "No 1h bars of XRP/USDT" in sentence(built, Step.DATA)
    built.update(subject=Subject.BOTH)
    assert agent(built).universe == UniverseSpec()


def test_rules_and_funding_of_a_configuration_are_kept_for_the_markets_that_are_used() -> None:
    rules = (InstrumentRules("BTC/USDT", 0.1), InstrumentRules("ETH/USDT", 0.01))
    universe = UniverseSpec(("ETH/USDT",), rules, (FundingSource("ETH/USDT", "rates.csv"),))
    built = flow(dataset(), dataset("ETH/USDT"), subject=Subject.AGENT)
    spec = dataclasses.replace(agent(built), universe=universe)
    built.load(spec)
    assert agent(built) == spec
    assert value(built, "Environment", "Also changed") == "rules of BTC/USDT, ETH/USDT, funding of ETH/USDT"
    built.update(further_markets=())
    assert agent(built).universe == UniverseSpec((), rules[:1])
    built.update(further_markets=("ETH/USDT",))
    assert agent(built) == spec


def test_practice_history_is_named_exactly_for_agents_too() -> None:
    practice = dataset(kind=SourceKind.PRACTICE, origin=PRACTICE)
    built = flow(dataset(), practice, source=SourceKind.PRACTICE, subject=Subject.AGENT)
    data = agent(built).data
    assert (data.origin, data.start_ns, data.end_ns) == (PRACTICE, practice.first_ns, practice.last_ns + HOUR)
    again = flow(dataset(), practice)
    again.load(agent(built))
    assert again.draft.source is SourceKind.PRACTICE
    assert agent(again) == agent(built)


def test_loading_a_forecaster_keeps_what_was_entered_about_an_agent() -> None:
    forecast = flow(hidden_size=48).spec()
    built = flow(subject=Subject.AGENT, gamma="0.9", seeds=3)
    other = agent(built)
    built.load(forecast)
    assert built.spec() == forecast
    built.update(subject=Subject.AGENT)
    assert agent(built).algorithm.gamma == 0.9
    built.update(subject=Subject.FORECASTER, seeds=4)
    built.load(other)
    assert agent(built) == other
    assert built.draft.seeds == 4


def test_bars_are_counted_for_the_run_that_needs_them() -> None:
    short = dataset(bars=1_000)
    built = flow(short, horizons="1, 300")
    assert "at least" in sentence(built, Step.EVALUATION)
    built.update(subject=Subject.AGENT)
    assert sentence(built, Step.REVIEW) == ""
    built.update(subject=Subject.BOTH)
    assert "at least" in sentence(built, Step.EVALUATION)


def test_the_review_tells_what_is_unusual_and_what_it_takes() -> None:
    built = flow(subject=Subject.AGENT)
    assert [group.title for group in review(built)] == [
        "Data",
        "Features",
        "Environment",
        "Algorithm",
        "Evaluation",
        "Resources",
    ]
    assert value(built, "Environment", "Also changed") == "none"
    assert value(built, "Algorithm", "Decisions") == "at most 3,000,000 × 5 networks" == decisions_text(built)
    assert value(built, "Algorithm", "Meets") == passes_text(built) == "each training bar about 542 times"
    assert spot_warning(built.draft.agent) == ""
    built.update(gamma="0.9", impact="0.1", direction=Direction.BOTH, tau="0.1", cost_jitter="1")
    assert value(built, "Environment", "Also changed") == "Market impact 0.1"
    assert value(built, "Environment", "Costs in training") == "drawn, jitter 1"
    assert value(built, "Environment", "Weights") == "Long and short, from -1 to 1"
    assert value(built, "Algorithm", "Also changed") == "Discount 0.9"  # that of others is not in use
    assert "cannot be traded on a spot market" in spot_warning(built.draft.agent)
    built.update(algorithm="ddpg")
    assert value(built, "Resources", "Data in memory") == memory_text(built) == "about 67 MB"
    built.update(subject=Subject.BOTH)
    assert [group.title for group in review(built)][2:4] == ["Model", "Training"]
    built.update(steps="x")
    assert (decisions_text(built), passes_text(built)) == ("—", "—")


def test_the_steps_of_a_forecaster_are_as_ever() -> None:
    assert flow().steps == STEPS
    assert len(review(flow())) == 6
