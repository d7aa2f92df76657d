"""What a person enters about an agent: every configuration passes through unchanged, and no choice loses another."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.flows.agent_draft import (
    AGENT_ENTRIES,
    DEFAULT_AGENT,
    AgentDraft,
    Direction,
    Subject,
    agent_draft_of,
    algorithm_spec,
    default_of,
    environment_spec,
    parse_units,
    parse_whole,
    with_changes,
)
from app.flows.datasets import SourceKind
from app.flows.training_draft import DEFAULT_DRAFT, TrainingDraft
from app.flows.training_runs import bars_run, draft_of_run, run_of
from core.accounting.rules import CostRates
from ml.agents.environment_spec import ACTIONS, REWARDS, EnvironmentSpec
from ml.agents.run_spec import (
    ALGORITHMS,
    PPO,
    AgentEvaluationSpec,
    AgentSpec,
    AlgorithmSpec,
    EncoderSpec,
    agent_from_mapping,
)
from ml.agents.universe import FundingSource, InstrumentRules, UniverseSpec
from ml.api import DataRange, ModelSpec, TrainingSpec
from ml.spec_file import mapping_from_toml, spec_to_toml

DATA = DataRange(symbol="BTC/USDT", timeframe="1h")


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Return any number a file may hold between the limits; a denormal one is no setting that anybody has."""
    return st.floats(low, high, allow_nan=False, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-9 else 0.0)


@st.composite
def environments(draw: st.DrawFn) -> EnvironmentSpec:
    highest = draw(numbers(0.01, 5))
    lowest = draw(st.one_of(st.just(0.0), st.just(-highest), numbers(-5, 0)))
    costs = {each.name: draw(numbers(0, 0.5)) for each in dataclasses.fields(CostRates)}
    costs["maker_fee"] = draw(numbers(-0.01, 0.5))
    return EnvironmentSpec(
        window=draw(st.integers(1, 1_024)),
        actions=draw(st.sampled_from(ACTIONS)),
        levels=draw(st.integers(2, 1_001)),
        lowest=lowest,
        highest=highest,
        reward=draw(st.sampled_from(REWARDS)),
        reward_scale=draw(numbers(0, 1e6)),
        risk_aversion=draw(numbers(0, 1e6)),
        drawdown_penalty=draw(numbers(0, 1_000)),
        sharpe_decay=draw(numbers(1e-5, 0.5)),
        episode=draw(st.integers(2, 10_000_000)),
        start_weight=draw(st.sampled_from([0.0, lowest, highest])),
        random_position=draw(st.booleans()),
        cash=draw(numbers(1e-6, 1e12)),
        costs=CostRates(**costs),
        cost_jitter=draw(numbers(0, 4)),
        maintenance=draw(numbers(0, 0.05)),
        band=draw(numbers(0, 2)),
    )


@st.composite
def algorithms(draw: st.DrawFn) -> AlgorithmSpec:
    windows, n_steps = draw(st.integers(1, 512)), draw(st.integers(1, 64))
    kind = draw(st.sampled_from(ALGORITHMS))
    return AlgorithmSpec(
        kind=kind,
        steps=draw(st.integers(200_000, 10**12)),
        windows=windows,
        hidden=tuple(draw(st.lists(st.integers(2, 4_096), min_size=1, max_size=8))),
        learning_rate=draw(numbers(1e-7, 1)),
        schedule=draw(st.sampled_from(["constant", "linear"])),
        batch=draw(st.integers(2, max(2, windows * n_steps))) if windows * n_steps > 1 else 2,
        gamma=draw(numbers(0, 1)),
        n_steps=n_steps if windows * n_steps > 1 else 2,
        gae_lambda=draw(numbers(0, 1)),
        epochs=draw(st.integers(1, 1_000)),
        clip_range=draw(numbers(1e-3, 10)),
        entropy=draw(numbers(0, 10)),
        noise=draw(numbers(0.01, 2)),
        learning_starts=draw(st.integers(windows, 199_999)),
        gradient_steps=draw(st.integers(1, 100_000)),
        buffer=draw(st.integers(100_000, 100_000_000)),
        tau=draw(numbers(1e-6, 1)),
        seeds=draw(st.integers(1, 100)),
        seed=draw(st.integers(0, 1_000_000)),
        seeds_at_once=draw(st.integers(0, 100)),
        evaluations=draw(st.integers(1, 10_000)),
        patience=draw(st.integers(1, 10_000)),
    )


@st.composite
def agents(draw: st.DrawFn) -> AgentSpec:
    algorithm = draw(algorithms())
    environment = draw(environments())
    if algorithm.is_off_policy:
        environment = dataclasses.replace(environment, actions="continuous")
    model = draw(st.sampled_from(["", "0123456789abcdef"]))
    embedding = draw(st.booleans())
    encoder = EncoderSpec(
        model=model,
        train_first=not model and draw(st.booleans()),
        seeds=draw(st.integers(1, 100)),
        embedding=embedding,
        quantiles=not embedding or draw(st.booleans()),
    )
    further = () if encoder.is_used else draw(st.sampled_from([(), ("ETH/USDT",), ("SOL/USDT", "ETH/USDT")]))
    known = draw(st.lists(st.sampled_from((DATA.symbol, *further)), unique=True, max_size=2))
    universe = UniverseSpec(
        symbols=further,
        rules=tuple(InstrumentRules(symbol, draw(numbers(0, 1)), draw(numbers(0, 1))) for symbol in known),
        funding=tuple(FundingSource(symbol, "rates.csv") for symbol in known),
    )
    return AgentSpec(
        data=DATA,
        universe=universe,
        encoder=encoder,
        forecaster=ModelSpec(kind=draw(st.sampled_from(["lstm", "gru"])), hidden_size=draw(st.integers(2, 64))),
        fitting=TrainingSpec(epochs=draw(st.integers(1, 100)), learning_rate=draw(numbers(1e-5, 0.1))),
        environment=environment,
        algorithm=algorithm,
        evaluation=AgentEvaluationSpec(draw(st.integers(100, 100_000)), draw(st.integers(39, 100_000))),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(agents())
def test_every_configuration_of_an_agent_passes_through_unchanged(spec: AgentSpec) -> None:
    assert spec.validate() == spec
    read = agent_from_mapping(mapping_from_toml(spec_to_toml(spec)))
    assert read == spec
    draft = draft_of_run(read, SourceKind.STORE, DEFAULT_DRAFT, whole_range=True)
    assert run_of(draft, DATA) == spec


@settings(max_examples=40, deadline=None)
@given(agents(), agents())
def test_what_was_entered_before_does_not_matter_to_a_loaded_configuration(first: AgentSpec, second: AgentSpec) -> None:
    draft = draft_of_run(first, SourceKind.STORE, DEFAULT_DRAFT, whole_range=True)
    assert run_of(draft_of_run(second, SourceKind.STORE, draft, whole_range=True), DATA) == second


@settings(max_examples=40, deadline=None)
@given(agents(), st.sampled_from(ALGORITHMS), st.sampled_from(list(Subject)))
def test_switching_there_and_back_loses_nothing(spec: AgentSpec, kind: str, subject: Subject) -> None:
    before = agent_draft_of(spec)
    away = with_changes(with_changes(before, algorithm=kind), subject=subject)
    back = with_changes(with_changes(away, algorithm=before.algorithm), subject=before.subject)
    assert dataclasses.replace(back, shelf=before.shelf) == before


def _fields() -> list[tuple[str, str]]:
    parts = {"environment": EnvironmentSpec, "algorithm": AlgorithmSpec, "evaluation": AgentEvaluationSpec}
    found = [(part, each.name) for part, kind in parts.items() for each in dataclasses.fields(kind)]
    return [*found, *(("encoder", name) for name in ("seeds", "embedding", "quantiles"))]


def _other(value: Any) -> Any:
    """Return another value of the same kind."""
    words = {"ppo": "sac", "linear": "constant", "continuous": "discrete", "log_return": "drawdown"}
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value / 2 + 0.01
        case str():
            return words[value]
        case tuple():
            return (8, 4)
        case CostRates():
            rates = {each.name: _other(getattr(value, each.name)) for each in dataclasses.fields(value)}
            return CostRates(**rates)
    raise AssertionError(f"say what else {value!r} may be")


@pytest.mark.parametrize(("part", "name"), [each for each in _fields() if each[1] != "close_out"])  # no market has it
def test_every_field_there_is_passes_through(part: str, name: str) -> None:
    """A field that is new in a specification and has no entry would be lost."""
    usual = AgentSpec(data=DATA, encoder=EncoderSpec(train_first=True))
    before = getattr(usual, part)
    spec = dataclasses.replace(usual, **{part: dataclasses.replace(before, **{name: _other(getattr(before, name))})})
    assert spec != usual
    assert run_of(draft_of_run(spec, SourceKind.STORE, DEFAULT_DRAFT, whole_range=True), DATA) == spec


def test_names_of_entries_are_unique_and_every_one_is_an_entry() -> None:
    assert AGENT_ENTRIES & {each.name for each in dataclasses.fields(TrainingDraft)} == set()
    unshown = {"spare", "shelf", "maker_fee", "rules", "funding"}
    assert {each.name for each in dataclasses.fields(AgentDraft)} - AGENT_ENTRIES == unshown


def test_the_wizard_begins_with_what_can_be_traded_on_a_spot_market() -> None:
    environment = environment_spec(DEFAULT_AGENT)
    assert (environment.lowest, environment.highest) == (0.0, 1.0)
    assert dataclasses.replace(environment, lowest=-1.0) == EnvironmentSpec()
    assert algorithm_spec(DEFAULT_AGENT) == AlgorithmSpec()


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_an_algorithm_brings_its_own_usual_values(kind: str) -> None:
    draft = with_changes(with_changes(DEFAULT_AGENT, agent_seeds=7), algorithm=kind)
    assert algorithm_spec(draft) == dataclasses.replace(AlgorithmSpec.of(kind), seeds=7)
    changed = [name for name in AGENT_ENTRIES if getattr(draft, name) != default_of(name, draft)]
    assert changed == ["agent_seeds"]


def test_an_algorithm_that_was_left_comes_back_with_its_entries() -> None:
    draft = with_changes(DEFAULT_AGENT, gamma="0,9", batch=512)
    draft = with_changes(draft, algorithm="sac")
    assert (draft.gamma, draft.batch) == ("0.95", 256)
    draft = with_changes(with_changes(draft, batch=64), algorithm=PPO)
    assert (draft.gamma, draft.batch) == ("0,9", 512)
    assert with_changes(draft, algorithm="sac").batch == 64


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, (0.0, 1.0)),
        ({"highest": "3"}, (0.0, 3.0)),
        ({"direction": Direction.BOTH, "highest": "0.5"}, (-0.5, 0.5)),
        ({"direction": Direction.OWN, "lowest": "-0.25"}, (-0.25, 1.0)),
        ({"direction": Direction.OWN, "lowest": "-1", "highest": "0"}, (-1.0, 0.0)),
    ],
)
def test_weights(changes: dict[str, Any], weights: tuple[float, float]) -> None:
    environment = environment_spec(with_changes(DEFAULT_AGENT, **changes))
    assert (environment.lowest, environment.highest) == weights


def test_limits_of_ones_own_begin_with_what_the_choice_before_meant() -> None:
    draft = with_changes(DEFAULT_AGENT, direction=Direction.BOTH, highest="0.5")
    assert with_changes(draft, direction=Direction.OWN).lowest == "-0.5"
    wrong = with_changes(draft, highest="x")
    assert with_changes(wrong, direction=Direction.OWN).lowest == wrong.lowest


@pytest.mark.parametrize(
    ("changes", "borrows"),
    [
        ({}, False),
        ({"highest": "1.01"}, True),
        ({"direction": Direction.BOTH}, True),
        ({"direction": Direction.OWN, "lowest": "0.1"}, False),
        ({"highest": "1,0"}, True),
    ],
)
def test_only_weights_from_nothing_to_everything_need_no_debt(changes: dict[str, Any], borrows: bool) -> None:
    assert with_changes(DEFAULT_AGENT, **changes).borrows is borrows


def test_lists_and_whole_numbers() -> None:
    assert parse_units("64, 32") == (64, 32)
    for wrong in ("", "64,", "6.4", "-3", "٣", "1" * 10):
        assert parse_units(wrong) is None
    assert parse_whole(" 3000000 ") == 3_000_000
    for wrong in ("", "3,000", "3_000", "1e6", "-1", "1.0", "1" * 16, "٣"):
        assert parse_whole(wrong) is None


def test_bars_are_those_of_the_run() -> None:
    agent = with_changes(DEFAULT_AGENT, subject=Subject.BOTH, encoder_seeds=4)
    draft = dataclasses.replace(DEFAULT_DRAFT, agent=agent, horizons="1, 24", hidden_size=16)
    run = run_of(draft, DATA)
    assert isinstance(run, AgentSpec)
    assert bars_run(draft, DATA) == run.encoder_run
    alone = dataclasses.replace(draft, agent=with_changes(agent, subject=Subject.AGENT))
    run = run_of(alone, DATA)
    assert isinstance(run, AgentSpec)
    assert (run.forecaster, run.fitting, run.encoder) == (ModelSpec(), TrainingSpec(), EncoderSpec())
    bars = bars_run(alone, DATA)
    assert (bars.model, bars.training.burn_in) == (run.bars.model, run.bars.training.burn_in)
