"""The episode in the package of an agent: verified like the rest, given away with it, and not needed by anything."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.clock import ManualClock
from core.errors import UserError
from ml.agents.episode import write_episode
from ml.model_exchange import archive, export_model, import_model, read_archive
from ml.model_storage import (
    EPISODE,
    MANIFEST,
    list_models,
    load_agent,
    load_episode,
    package_files,
)
from ml.network_guard import check_in_child
from ml.package_check import check_package
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import content_of, episode_of, small_spec, store_agent
from tests.unit.ml.agents.episodes_kit import random_episode
from tests.unit.ml.agents.test_episode import same
from tests.unit.ml.packages import forged


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one agent; never written to."""
    folder = tmp_path_factory.mktemp("episodes")
    store_agent(folder, episode=60)
    return folder


@pytest.fixture(scope="module")
def agent(models: Path) -> str:
    (row,) = list_models(models)
    return row.model_id


@pytest.fixture(scope="module")
def files(models: Path, agent: str) -> dict[str, bytes]:
    return package_files(models, agent)


def test_it_is_read_as_it_was_stored(models: Path, agent: str) -> None:
    found = load_episode(models, agent)
    assert found is not None
    assert same(found, episode_of(content_of(small_spec())))
    manifest = json.loads((models / agent / MANIFEST).read_bytes())
    assert EPISODE in manifest["files"]


def test_packages_without_one_stay_readable(tmp_path: Path, trained: Trained) -> None:
    agent = store_agent(tmp_path)
    trained.copy_to(tmp_path)
    assert load_episode(tmp_path, agent) is None
    assert load_episode(tmp_path, trained.result.model_id) is None
    assert load_agent(tmp_path, agent).model_id == agent
    check_package(package_files(tmp_path, agent))


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_one_is_noticed_where_it_is_read(models: Path, agent: str, tmp_path: Path, damage: str) -> None:
    shutil.copytree(models / agent, tmp_path / agent)
    path = tmp_path / agent / EPISODE
    if damage == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[-500] ^= 1
        path.write_bytes(data)
    # It can still trade: what trades does not look at it.
    assert load_agent(tmp_path, agent).model_id == agent
    for read in (load_episode, package_files):
        with pytest.raises(UserError, match=r"episode\.npz"):
            read(tmp_path, agent)


def test_it_goes_along(models: Path, agent: str, tmp_path: Path) -> None:
    exported = export_model(models, agent, tmp_path)
    done = import_model(tmp_path / "models", exported, check_in_child, ManualClock(9))
    assert done.model_id == agent
    there, here = load_episode(tmp_path / "models", agent), load_episode(models, agent)
    assert there is not None
    assert here is not None
    assert same(there, here)


def test_an_archive_holds_it_or_not_and_nothing_in_between(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(archive(files))
    assert read_archive(path) == files
    plain = {name: data for name, data in files.items() if name != EPISODE}
    path.write_bytes(archive(plain))
    assert read_archive(path) == plain
    # The manifest still names it: a package that was robbed of it is none.
    with pytest.raises(UserError, match="is not the file the manifest names"):
        check_package(read_archive(path))
    path.write_bytes(archive(files)[:-30])
    with pytest.raises(UserError, match="refused"):
        read_archive(path)


def test_one_that_no_manifest_names_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    agent = store_agent(tmp_path)
    other = package_files(tmp_path, agent)
    with pytest.raises(UserError, match="files that do not belong to a package"):
        check_package({**other, EPISODE: files[EPISODE]})


FOREIGN = {
    "another market": (replace(random_episode(), symbol="ETH/USDT"), "of another market"),
    "another bar length": (replace(random_episode(), timeframe="4h"), "of another market"),
    "more seeds": (random_episode(seeds=5), "not of the networks"),
    "other observations": (random_episode(), "not of the networks"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_one_of_another_agent_is_refused(files: dict[str, bytes], kind: str) -> None:
    episode, sentence = FOREIGN[kind]
    check_package(files)
    with pytest.raises(UserError, match=sentence):
        check_package(forged(files, episode=write_episode(episode)))


def test_what_is_none_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match="damaged or was written by another version"):
        check_package(forged(files, episode=b"PK\3\4"))


def test_one_in_the_package_of_a_forecaster_is_refused(trained: Trained, files: dict[str, bytes]) -> None:
    model = package_files(trained.models_dir, trained.result.model_id)
    check_package(model)
    with pytest.raises(UserError, match="refused"):
        check_package(forged({**model, EPISODE: b""}, episode=files[EPISODE]))
