from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.accounting.rules import CostRates
from core.errors import UserError
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.job import is_agent
from ml.agents.run_spec import (
    ALGORITHMS,
    AgentSpec,
    AlgorithmSpec,
    EncoderSpec,
    agent_from_mapping,
    agent_hash,
)
from ml.agents.spec_comments import AGENT_COMMENTS
from ml.agents.universe import FundingSource, InstrumentRules, UniverseSpec
from ml.api import DataRange, FeatureSpec, ForecastSpec, ResourceSpec, SeriesSource, SplitSpec
from ml.feature_columns import parse_column
from ml.search_spec import SearchSpec
from ml.spec_file import mapping_from_toml, read_mapping, spec_to_toml, write_spec

ROOT = Path(__file__).parents[4]
ID = "0123456789abcdef"


SEVERAL = UniverseSpec(
    symbols=("ETH/USDT", "SOL/USDT"),
    rules=(InstrumentRules("SOL/USDT", tick_size=0.01, lot_size=0.001, min_notional=5.0),),
    funding=(FundingSource("BTC/USDT", "rates/btc.feather"),),
)


def everything(kind: str) -> AgentSpec:
    """Return a run that differs from the defaults of its algorithm in every section."""
    return AgentSpec(
        data=DataRange("binance", "ETH/USDT", "4h", start_ns=0, series=(SeriesSource("funding", "f.csv"),)),
        features=FeatureSpec("price", columns=(parse_column("funding"),)),
        split=SplitSpec(valid_from="2022-01-01", test_from="2023-01-01"),
        encoder=EncoderSpec(ID, quantiles=False),
        environment=EnvironmentSpec(window=4, lowest=0.0, costs=CostRates(taker_fee=0.0004, half_spread=1e-05)),
        algorithm=replace(AlgorithmSpec.of(kind), hidden=(32,), gamma=0.9, seeds=2),
        resources=ResourceSpec(device="cpu"),
    )


@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("full", [True, False])
def test_a_file_says_the_same_run(kind: str, full: bool) -> None:
    plain = AgentSpec(algorithm=AlgorithmSpec.of(kind))
    for spec in (everything(kind), plain, replace(plain, universe=SEVERAL)):
        spec.validate()
        text = spec_to_toml(spec, full=full)
        assert agent_from_mapping(mapping_from_toml(text)) == spec
        assert f'kind = "{kind}"' in text
        assert AgentSpec.from_json(spec.to_json()) == spec


def test_a_file_holds_what_differs_from_the_defaults_of_its_algorithm(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    write_spec(path, AgentSpec(algorithm=replace(AlgorithmSpec.of("td3"), noise=0.2)))
    assert read_mapping(path)["algorithm"] == {"kind": "td3", "noise": 0.2}


def test_every_key_has_a_comment() -> None:
    sections = {field.name: getattr(AgentSpec(), field.name) for field in dataclasses.fields(AgentSpec)}
    assert {name: set(comments) for name, comments in AGENT_COMMENTS.items()} == {
        name: {field.name for field in dataclasses.fields(section)} for name, section in sections.items()
    }


@pytest.mark.parametrize("path", sorted((ROOT / "resources" / "configs").glob("*ppo*.toml")), ids=lambda p: p.stem)
def test_the_examples_are_valid(path: Path) -> None:
    spec = agent_from_mapping(read_mapping(path)).validate()
    assert spec.environment.costs.taker_fee == 0.001
    assert spec.environment.costs.maker_fee == CostRates().maker_fee


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"algorithm": {"kind": "dqn"}}, "algorithm 'dqn' is not known"),
    ({"algorithm": {"kind": 7}}, "must be text"),
    ({"algorithm": 7}, "section 'algorithm'"),
    ({"model": {"kind": "gru"}}, "section 'model' is not part of this"),
    ({"algorithm": {"step": 7}}, "algorithm.step is not known"),
    ({"algorithm": {"hidden": []}}, "1 to 8 hidden layers"),
    ({"algorithm": {"hidden": [1]}}, "hidden layer"),
    ({"algorithm": {"batch": 10_000_000}}, "at least a batch"),
    ({"algorithm": {"steps": 5_000}}, "at most the 5,000 steps"),
    ({"algorithm": {"kind": "ddpg", "learning_starts": 3}}, "at least one of each window"),
    ({"algorithm": {"kind": "sac", "steps": 4_000}}, "fewer than all steps"),
    ({"algorithm": {"gamma": 1.5}}, "discount 1.5"),
    ({"algorithm": {"patience": 0}}, "patience"),
    ({"algorithm": {"schedule": "one_cycle"}}, "schedule"),
    ({"algorithm": {"kind": "ddpg"}, "environment": {"actions": "discrete"}}, "knows no discrete actions"),
    ({"environment": {"close_out": True}}, "no end at which everything is sold"),
    ({"environment": {"costs": {"taker_fee": 2.0}}}, "taker fee is out of range"),
    ({"environment": {"costs": {"fee": 0.1}}}, "costs.fee is not known"),
    ({"environment": {"lowest": 2.0}}, "lowest weight"),
    ({"encoder": {"model": "../secret"}}, "no stored model"),
    ({"encoder": {"model": ID, "train_first": True}}, "one is to be trained first"),
    ({"encoder": {"train_first": True}, "forecaster": {"kind": "cnn"}}, "model kind"),
    ({"encoder": {"model": ID, "embedding": False, "quantiles": False}}, "Nothing of the encoder"),
    ({"evaluation": {"draws": 3}}, "random timings"),
    ({"split": {"valid_from": "2022-01-01"}}, "border"),
    ({"universe": {"symbols": ["BTC/USDT"]}}, "something twice"),
    ({"universe": {"symbols": ["ETH/USDT", "ETH/USDT"]}}, "something twice"),
    ({"universe": {"symbols": ["E\u200bTH"]}}, "no name of a market"),
    ({"universe": {"symbols": [f"A{index}/B" for index in range(64)]}}, "65 markets in one run"),
    ({"universe": {"symbols": ["ETH/USDT"]}, "data": {"source": "bars.csv"}}, "candle store only"),
    ({"universe": {"symbols": ["ETH/USDT"]}, "data": {"markets": ["ETH/USDT"]}}, "its own other market"),
    ({"universe": {"symbols": ["ETH/USDT"]}, "encoder": {"train_first": True}}, "An encoder knows one market"),
    ({"universe": {"rules": [{"symbol": "ETH/USDT"}]}}, "not a market of this run"),
    ({"universe": {"rules": [{"symbol": "BTC/USDT"}, {"symbol": "BTC/USDT"}]}}, "name a market twice"),
    ({"universe": {"rules": [{"symbol": "BTC/USDT", "lot_size": -1.0}]}}, "quantity step is out of range"),
    ({"universe": {"funding": [{"symbol": "BTC/USDT", "path": ""}]}}, "needs a file"),
    ({"universe": {"funding": [{"symbol": "BTC/USDT"}]}}, "path is missing"),
    ({"features": {"columns": ["log_return@ETH/USDT"]}}, "ETH/USDT"),
]


@pytest.mark.parametrize(("values", "sentence"), WRONG)
def test_what_makes_no_sense_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        agent_from_mapping(values).validate()


def test_the_identity_of_a_trial_is_what_is_tried() -> None:
    spec = everything("ppo")
    seeded = replace(spec, algorithm=replace(spec.algorithm, seed=9), resources=ResourceSpec(threads=2))
    moved = replace(spec, data=replace(spec.data, series=(SeriesSource("funding", "/elsewhere/f.csv"),)))
    assert agent_hash(spec) == agent_hash(seeded) == agent_hash(moved)
    assert agent_hash(spec) != agent_hash(replace(spec, encoder=EncoderSpec()))


def test_further_markets_make_another_trial_and_none_leave_it_as_it_was() -> None:
    spec, several = AgentSpec(), AgentSpec(universe=SEVERAL).validate()
    moved = replace(SEVERAL, funding=(FundingSource("BTC/USDT", "/elsewhere/btc.feather"),))
    assert agent_hash(several) == agent_hash(replace(spec, universe=moved))
    assert agent_hash(several) != agent_hash(replace(spec, universe=replace(SEVERAL, rules=()))) != agent_hash(spec)
    old = {name: value for name, value in spec.to_json().items() if name != "universe"}  # written by an earlier version
    assert AgentSpec.from_json(old) == spec
    assert several.universe.markets(several.data) == ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    assert several.ranges == tuple(replace(several.data, symbol=f"{base}/USDT") for base in ("BTC", "ETH", "SOL"))
    assert several.universe.rules_of("SOL/USDT").lot_size == 0.001
    assert several.universe.rules_of("ETH/USDT").lot_size == 0.0
    assert several.universe.funding_of("SOL/USDT") is None


def test_a_run_that_trains_its_encoder_first_says_how() -> None:
    values = {"encoder": {"train_first": True, "seeds": 2}, "forecaster": {"kind": "gru"}, "fitting": {"epochs": 3}}
    spec = agent_from_mapping(values).validate()
    run = spec.encoder_run.validate()
    assert (run.model.kind, run.training.epochs, run.evaluation.seeds) == ("gru", 3, 2)
    assert (run.data, run.features, run.split) == (spec.data, spec.features, spec.split)
    done = spec.with_encoder(ID).validate()
    assert done == AgentSpec(encoder=EncoderSpec(ID, seeds=2))
    assert agent_from_mapping(mapping_from_toml(spec_to_toml(spec))) == spec


def test_a_specification_needs_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; import ml.agents.run_spec, ml.agents.job, ml.agents.progress, ml.spec_file; "
        "print(sorted({'numpy', 'torch', 'stable_baselines3', 'gymnasium', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_specification_of_an_agent_is_told_from_the_others() -> None:
    assert is_agent(AgentSpec().to_json())
    assert not is_agent(ForecastSpec().to_json())
    assert not is_agent(SearchSpec().to_json())
