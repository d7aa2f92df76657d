"""Agents lie beside forecasters, and neither is taken for the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.commands.root import run_cli
from app.models.agent_card import AgentCard, AgentEncoder
from app.stored_models import model_card
from app.training_reads import model_offer
from core.clock import ManualClock
from core.config import DataPaths
from core.errors import UserError
from ml.agents.package import StoredAgent
from ml.agents.run_spec import DDPG
from ml.model_compare import compare_models
from ml.model_exchange import export_model, import_model
from ml.model_storage import (
    AGENT,
    AGENT_FORMAT,
    FORECAST,
    FORMAT,
    MANIFEST,
    list_models,
    load_agent,
    load_any,
    load_model,
    package_files,
    save_agent,
    summarise,
)
from ml.network_guard import check_in_child
from ml.package_check import check_package
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import ENCODER, content_of, small_spec, store_agent
from tests.unit.ml.packages import edited, forged
from tests.unit.ml.test_model_storage import rewrite_manifest

KINDS = {
    "ppo": small_spec(),
    "discrete": small_spec(discrete=True),
    "ddpg": small_spec(DDPG),
    "encoder": small_spec(encoder=True),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Path:
    """A folder with one forecaster and the agents; never written to."""
    folder = tmp_path_factory.mktemp("agents")
    trained.copy_to(folder)
    for number, spec in enumerate(KINDS.values()):
        store_agent(folder, spec, clock=ManualClock(10**18 + number))
    return folder


@pytest.fixture(scope="module")
def ids(models: Path) -> dict[str, str]:
    agents = sorted((row for row in list_models(models) if row.family == AGENT), key=lambda row: row.created_ns)
    return dict(zip(KINDS, (row.model_id for row in agents), strict=True))


@pytest.fixture(scope="module")
def files(models: Path, ids: dict[str, str]) -> dict[str, bytes]:
    return package_files(models, ids["ppo"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_agent_is_what_was_stored(models: Path, ids: dict[str, str], kind: str) -> None:
    stored, content = load_agent(models, ids[kind]), content_of(KINDS[kind])
    assert (stored.spec, stored.metrics, stored.onnx) == (KINDS[kind], content.metrics, content.onnx)
    assert (stored.feature_names, stored.scaling) == (content.feature_names, content.scaling)
    columns = len(content.feature_names) + (2 if kind == "encoder" else 0)
    assert stored.observed == 2 * columns + 5
    assert stored.encoder_id == (ENCODER if kind == "encoder" else "")
    assert stored.manifest["libraries"]["stable-baselines3"].startswith("2.")


def test_neither_kind_is_taken_for_the_other(models: Path, ids: dict[str, str], trained: Trained) -> None:
    with pytest.raises(UserError, match="is an agent, not a forecaster"):
        load_model(models, ids["ppo"])
    with pytest.raises(UserError, match="is a forecaster, not an agent"):
        load_agent(models, trained.result.model_id)
    assert isinstance(load_any(models, ids["ppo"]), StoredAgent)
    assert load_any(models, trained.result.model_id).spec == trained.spec


def test_forecasters_keep_the_format_that_earlier_versions_read(trained: Trained, ids: dict[str, str]) -> None:
    manifest = load_model(trained.models_dir, trained.result.model_id).manifest
    assert (manifest["format"], "kind" in manifest) == (FORMAT, False)


@pytest.mark.parametrize("changes", [{"format": FORMAT}, {"kind": FORECAST}, {"kind": "oracle"}, {"kind": 7}])
def test_a_manifest_that_contradicts_itself_is_refused(
    models: Path, ids: dict[str, str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    package = tmp_path / ids["ppo"]
    package.mkdir()
    for name, data in package_files(models, ids["ppo"]).items():
        (package / name).write_bytes(data)
    changed = rewrite_manifest(package, **changes)
    with pytest.raises(UserError, match="another version"):
        load_any(changed.parent, changed.name)


def test_the_list_tells_them_apart(models: Path, ids: dict[str, str], trained: Trained) -> None:
    row = summarise(models, ids["ddpg"])
    assert (row.family, row.kind, row.r2, row.problem) == (AGENT, "ddpg", None, "")
    assert row.verdict == load_agent(models, ids["ddpg"]).metrics.verdict
    forecaster = summarise(models, trained.result.model_id)
    assert (forecaster.family, forecaster.kind) == (FORECAST, trained.spec.model.kind)


def test_no_strategy_is_offered_an_agent_that_cannot_trade(models: Path, ids: dict[str, str], trained: Trained) -> None:
    for kind, why in (("ppo", "a spot market allows none below 0"), ("encoder", "which is not stored")):
        offer = model_offer(models, wanted=ids[kind])
        assert [choice.model_id for choice in offer.choices] == [trained.result.model_id]
        assert offer.refusal is not None
        assert why in offer.refusal[1]


def test_strategies_are_offered_an_agent_of_spot(models: Path, trained: Trained, tmp_path: Path) -> None:
    spec = small_spec()
    agent = store_agent(tmp_path, replace(spec, environment=replace(spec.environment, lowest=0.0)))
    trained.copy_to(tmp_path)
    offer = model_offer(tmp_path, wanted=agent)
    assert offer.refusal is None
    assert {choice.model_id: choice.agent for choice in offer.choices} == {agent: True, trained.result.model_id: False}


def test_the_window_shows_its_card(models: Path, ids: dict[str, str]) -> None:
    paths = replace_models(DataPaths(models.parent / "none"), models)
    found, stored = model_card(paths, ids["encoder"]), load_agent(models, ids["encoder"])
    assert isinstance(found, AgentCard)
    assert (found.metrics, found.spec, found.observed) == (stored.metrics, stored.spec, stored.observed)
    assert found.lineage.run_id == "run-20260101-000000-abcdef"
    assert found.encoder == AgentEncoder(ENCODER, stored=False)
    assert "which is not stored" in found.refusal
    assert not found.is_tradable
    assert "allows none below 0" in getattr(model_card(paths, ids["ppo"]), "refusal", "")


def replace_models(paths: DataPaths, models: Path) -> DataPaths:
    (paths.root).mkdir(exist_ok=True)
    if not paths.models.exists():
        paths.models.symlink_to(models)
    return paths


def ask(capsys: pytest.CaptureFixture[str], models: Path, *words: str, code: int = 0) -> dict[str, Any]:
    root = replace_models(DataPaths(models.parent / "none"), models).root
    assert run_cli(["models", *words, "--data-dir", str(root), "--json"]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def read(capsys: pytest.CaptureFixture[str], models: Path, *words: str) -> str:
    root = replace_models(DataPaths(models.parent / "none"), models).root
    assert run_cli(["models", *words, "--data-dir", str(root)]) == 0
    return capsys.readouterr().out


def test_the_commands_know_them(models: Path, ids: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["family"] for row in ask(capsys, models, "list", "--sort", "r2")["models"]} == {AGENT, FORECAST}
    assert f"{ids['ppo']}" in read(capsys, models, "list")
    assert "agent ppo binance BTC/USDT 1h  price 1" in read(capsys, models, "list")
    page = read(capsys, models, "show", ids["encoder"])
    assert "agent     ppo, 8, 2 seeds from 1, any weight from -0.5 to 1" in page
    assert f"encoder {ENCODER}" in page
    assert load_agent(models, ids["encoder"]).metrics.verdict in page
    shown = ask(capsys, models, "show", ids["ppo"])
    assert shown["spec"]["algorithm"]["kind"] == "ppo"


def test_agents_are_compared_with_agents(
    models: Path, ids: dict[str, str], trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ask(capsys, models, "compare", ids["ppo"], ids["ddpg"], "--sort", "log_return")
    assert found["not_comparable"] == []
    assert "algorithm.kind" in found["differences"]
    earned = found["metrics"]["ensemble.log_return"]
    assert earned[0] >= earned[1]
    mixed = ask(capsys, models, "compare", ids["ppo"], trained.result.model_id, code=2)
    assert "not measured alike" in mixed["error"]
    costs = small_spec().environment
    dearer = replace(small_spec(), environment=replace(costs, costs=replace(costs.costs, taker_fee=0.002)))
    other = replace(load_agent(models, ids["ppo"]), spec=dearer)
    assert compare_models([load_agent(models, ids["ppo"]), other]).not_comparable == (
        "not comparable: they were charged different costs.",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(models: Path, ids: dict[str, str], kind: str, tmp_path: Path) -> None:
    exported = export_model(models, ids[kind], tmp_path)
    done = import_model(tmp_path / "models", exported, check_in_child, ManualClock(9))
    assert (done.model_id, done.already_here) == (ids[kind], False)
    assert load_agent(tmp_path / "models", ids[kind]).onnx == load_agent(models, ids[kind]).onnx


Edit = Callable[[dict[str, Any]], object]
FORGERIES: dict[str, tuple[str, Edit, str]] = {
    "account": ("config", lambda c: c["account_names"].pop(), "another version"),
    "features": ("config", lambda c: c["feature_names"].reverse(), "features are not those"),
    "digest": ("config", lambda c: c.update(feature_digest="0" * 16), "another form"),
    "entries": ("config", lambda c: c.update(code="import os"), "other entries"),
    "folder": ("config", lambda c: c["spec"]["data"].update(source="../secret.csv"), "file in a folder"),
    "seed": ("config", lambda c: c["spec"]["algorithm"].update(seed=7), "another seed"),
    "seeds": ("config", lambda c: c["spec"]["algorithm"].update(seeds=3), "seeds it is made of"),
    "market": ("config", lambda c: c["spec"]["data"].update(symbol="ETH/USDT"), "another market"),
    "encoder": ("config", lambda c: c["encoder_names"].append("state_0"), "columns of its encoder"),
    "range": ("config", lambda c: c["spec"]["environment"].update(lowest=5.0), "lowest weight"),
    "edge": ("metrics", lambda m: m.update(standing="edge"), "claim an edge"),
    "p_value": ("metrics", lambda m: m["timing"].update(p_value=-1.0), "metrics cannot be"),
    "scaler": ("scaler", lambda s: s["inputs"]["scale"].__setitem__(0, 0.0), "make no sense"),
    "kind": ("manifest", lambda m: m.update(kind="oracle"), "another version"),
    "data": ("manifest", lambda m: m["data"].update(bars=0), "cannot be"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_agent_is_refused(files: dict[str, bytes], name: str) -> None:
    key, change, sentence = FORGERIES[name]
    check_package(files)
    with pytest.raises(UserError, match=sentence):
        check_package(edited(files, key, change))


def test_an_encoder_is_named_alike_in_both_places(models: Path, ids: dict[str, str]) -> None:
    files = package_files(models, ids["encoder"])
    check_package(files)
    for change in (lambda m: m["encoder"].update(model_id="f" * 16), lambda m: m.pop("encoder")):
        with pytest.raises(UserError, match=r"encoder|model_id"):
            check_package(edited(files, "manifest", change))


def test_a_network_of_another_agent_is_refused_in_the_child(
    models: Path, ids: dict[str, str], files: dict[str, bytes], tmp_path: Path
) -> None:
    other = package_files(models, ids["encoder"])
    forgery = forged(files, model=other["model.onnx"])
    check_package(forgery)
    for name, data in forgery.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match="do not fit its configuration"):
        check_in_child(tmp_path)


def test_weights_outside_its_range_are_refused_in_the_child(files: dict[str, bytes], tmp_path: Path) -> None:
    narrow = edited(files, "config", lambda c: c["spec"]["environment"].update(highest=0.0))
    check_package(narrow)
    for name, data in narrow.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match="outside the range"):
        check_in_child(tmp_path)


def test_the_same_content_has_the_same_id(tmp_path: Path) -> None:
    content = content_of(small_spec())
    first, second = (save_agent(tmp_path / name, content, ManualClock(5)) for name in ("a", "b"))
    assert first == second
    manifest = json.loads((tmp_path / "a" / first / MANIFEST).read_bytes())
    assert (manifest["format"], manifest["kind"]) == (AGENT_FORMAT, AGENT)
