"""What the window reads of a stored agent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.models.agent_card import AgentCard, SeedSteps
from app.models.model_card import CardProblem
from app.stored_agents import _learned, agent_of_today
from app.stored_models import compared_models, model_card
from core.config import DataPaths
from ml.agents.universe import UniverseSpec
from ml.model_storage import EPISODE, MANIFEST, load_agent
from ml.trial_ledger import FINISHED, SEARCH, TrialLedger, TrialRecord
from tests.unit.ml.agents.agent_packages import small_spec, store_agent


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return DataPaths(tmp_path).create()


def tried(paths: DataPaths, symbol: str, count: int) -> None:
    data = small_spec().data
    record = TrialRecord("t", 1, SEARCH, data.venue, symbol, data.timeframe, "b", "s", 1, FINISHED)
    TrialLedger(paths.trials).append_all(replace(record, trial_id=f"{symbol}{number}") for number in range(count))


def test_tries_after_the_training_count_on_the_card(paths: DataPaths) -> None:
    model_id = store_agent(paths.models)
    before = load_agent(paths.models, model_id).metrics
    assert before.deflated is not None
    assert getattr(model_card(paths, model_id), "metrics", None) == before
    tried(paths, small_spec().data.symbol, 500)
    found = model_card(paths, model_id)
    assert isinstance(found, AgentCard)
    assert found.metrics.deflated is not None
    assert found.metrics.deflated.trials == 500
    assert found.metrics.deflated.probability < before.deflated.probability
    compared = dict(compared_models(paths, [model_id, model_id]).metrics)
    assert compared["deflated.probability"] == (found.metrics.deflated.probability,) * 2


def test_tries_on_any_of_its_markets_count(paths: DataPaths) -> None:
    stored = load_agent(paths.models, store_agent(paths.models))
    wide = replace(stored, spec=replace(stored.spec, universe=UniverseSpec(symbols=("ETH/USDT",))))
    tried(paths, "ETH/USDT", 70)
    assert stored.metrics.deflated is not None
    assert agent_of_today(paths, stored).metrics.deflated == stored.metrics.deflated
    today = agent_of_today(paths, wide).metrics.deflated
    assert today is not None
    assert today.trials == 70


def test_a_damaged_pass_is_a_problem_with_a_remedy(paths: DataPaths) -> None:
    model_id = store_agent(paths.models, episode=60)
    assert isinstance(model_card(paths, model_id), AgentCard)
    file = paths.models / model_id / EPISODE
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found = model_card(paths, model_id)
    assert isinstance(found, CardProblem)
    assert EPISODE in found.message
    assert found.remedy


def test_short_passes_are_drawn_whole(paths: DataPaths) -> None:
    found = model_card(paths, store_agent(paths.models, episode=60))
    assert isinstance(found, AgentCard)
    assert found.curves is not None
    assert len(found.curves.time_ns) == len(found.curves.agent) == found.curves.bars == 60
    assert all(len(values) == 60 for _, values in found.curves.rules)


@pytest.mark.parametrize(
    "seeds",
    [
        None,
        "many",
        [1, 2],
        [{"seed": 1, "steps": 10}],
        [{"seed": 1, "steps": 10, "best_step": 11}],
        [{"seed": 1, "steps": None, "best_step": 1}],
        [{"seed": 1, "steps": float("inf"), "best_step": 1}],
    ],
)
def test_what_a_foreign_manifest_says_of_its_networks_is_left_out_where_it_is_nonsense(seeds: object) -> None:
    assert _learned({"run": {"seeds": seeds}}) == ()
    assert _learned({"run": seeds}) == ()
    assert _learned({}) == ()


def test_what_the_networks_learned_from_is_read_from_the_manifest(paths: DataPaths) -> None:
    manifest = json.loads((paths.models / store_agent(paths.models) / MANIFEST).read_bytes())
    manifest["run"]["seeds"] = [{"seed": 1, "steps": 200, "best_step": 120}, {"seed": 2, "steps": 90, "best_step": 0}]
    assert _learned(manifest) == (SeedSteps(1, 200, 120), SeedSteps(2, 90, 0))
