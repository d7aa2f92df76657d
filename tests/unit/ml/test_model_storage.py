from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors

from core.clock import ManualClock
from core.data import atomic_file
from core.errors import UserError
from ml.api import SPEC_FILE, ForecastSpec
from ml.model_storage import (
    FILES,
    FORMAT,
    MANIFEST,
    PackageContent,
    list_models,
    load_model,
    remove_files,
    run_of,
    save_model,
    stored_ids,
    summarise,
)
from tests.trained_model import Trained


def test_the_job_reports_every_phase_and_stores_a_whole_package(trained: Trained) -> None:
    phases = [message["phase"] for message in trained.messages]
    assert list(dict.fromkeys(phases)) == ["loading", "features", "training", "exporting", "testing", "done"]
    assert trained.logs == (trained.result.metrics.verdict,)
    folder = trained.models_dir / trained.result.model_id
    assert {path.name for path in folder.iterdir()} == {*FILES, MANIFEST}
    assert not list(trained.models_dir.glob(".incoming*"))
    with safetensors.safe_open(folder / "weights.safetensors", "numpy") as weights:
        assert "members.1.layers.0.weight_ih_l0" in weights.keys()  # noqa: SIM118  # not a dict


def test_a_loaded_model_is_what_was_stored(trained: Trained) -> None:
    stored = load_model(trained.models_dir, trained.result.model_id)
    assert stored.spec == trained.spec
    assert stored.metrics == trained.result.metrics
    manifest = stored.manifest
    assert manifest["data"]["bars"] == len(trained.frame)
    assert manifest["data"]["symbol"] == "BTC/USDT"
    assert manifest["split"]["train"]["last_open_ns"] < manifest["split"]["valid"]["first_open_ns"]
    assert manifest["libraries"]["torch"].startswith("2.")
    assert manifest["seed"] == 1
    assert "+" in manifest["code_version"]


def test_the_list_shows_it(trained: Trained) -> None:
    (row,) = list_models(trained.models_dir)
    assert (row.model_id, row.symbol, row.timeframe, row.problem) == (trained.result.model_id, "BTC/USDT", "1h", "")
    assert row.size_bytes > 10_000
    assert row.verdict == trained.result.metrics.verdict
    assert list_models(trained.models_dir / "nowhere") == ()


@pytest.fixture
def package(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.models_dir / trained.result.model_id, tmp_path / trained.result.model_id))


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("damage", [flip, lambda data: data[:-1], lambda data: b""], ids=["flip", "cut", "empty"])
def test_any_damage_is_one_sentence(package: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    (package / name).write_bytes(damage((package / name).read_bytes()))
    with pytest.raises(UserError, match=r"damaged|changed"):
        load_model(package.parent, package.name)
    assert summarise(package.parent, package.name).problem


def test_a_missing_file_and_a_foreign_name(package: Path) -> None:
    (package / "model.onnx").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_model(package.parent, package.name)
    renamed = package.rename(package.with_name("0" * 16))
    with pytest.raises(UserError, match="changed"):
        load_model(renamed.parent, renamed.name)
    for name in ("../secret", "", "zz", "f" * 16):
        with pytest.raises(UserError, match="no model"):
            load_model(package.parent, name)


def rewrite_manifest(package: Path, **changes: object) -> Path:
    manifest = json.loads((package / MANIFEST).read_bytes()) | changes
    data = json.dumps(manifest).encode()
    (package / MANIFEST).write_bytes(data)
    return package.rename(package.with_name(hashlib.sha256(data).hexdigest()[:16]))


def test_packages_of_other_versions_are_refused_in_words(package: Path) -> None:
    newer = rewrite_manifest(package, format=99)
    with pytest.raises(UserError, match="format"):
        load_model(newer.parent, newer.name)
    config = json.dumps({"spec": {"model": {"experts": 8}}}).encode()
    (newer / "config.json").write_bytes(config)
    files = json.loads((newer / MANIFEST).read_bytes())["files"]
    foreign = rewrite_manifest(newer, format=FORMAT, files=files | {"config.json": hashlib.sha256(config).hexdigest()})
    with pytest.raises(UserError, match="another version"):
        load_model(foreign.parent, foreign.name)


@pytest.mark.parametrize("version", [1, 0, -3, "2", 2.0, None, True])
def test_older_packages_are_to_be_trained_again(package: Path, version: object) -> None:
    older = rewrite_manifest(package, format=version)
    with pytest.raises(UserError, match="another version") as caught:
        load_model(older.parent, older.name)
    assert "Train it again" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 2}'])
def test_a_manifest_that_is_none_is_one_sentence(package: Path, content: bytes) -> None:
    (package / MANIFEST).write_bytes(content)
    named = package.rename(package.with_name(hashlib.sha256(content).hexdigest()[:16]))
    assert "another version" in summarise(named.parent, named.name).problem


def test_removing_leaves_nothing_and_damaged_ones_can_go(package: Path) -> None:
    (package / "model.onnx").unlink()
    assert stored_ids(package.parent) == (package.name,)
    remove_files(package.parent, package.name)
    assert list(package.parent.iterdir()) == []
    for name in (package.name, "../secret", ""):
        with pytest.raises(UserError, match="no model"):
            remove_files(package.parent, name)


def test_what_a_killed_process_left_behind_goes(package: Path) -> None:
    """A process that works now keeps what it writes."""
    models = package.parent
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, alive = int(process.stdout), os.getppid()
    for kind in ("incoming", "outgoing"):
        for pid in (dead, alive, os.getpid()):
            (models / f".{kind}-{package.name}-{pid}").mkdir()
            (models / f".{kind}-{package.name}-{pid}" / "model.onnx").write_bytes(b"x")
    (models / f".incoming-note-{dead}").mkdir()
    (models / ".incoming-x").write_bytes(b"")
    list_models(models)
    left = {path.name for path in models.iterdir()} - {package.name, f".incoming-note-{dead}", ".incoming-x"}
    assert left == {f".{kind}-{package.name}-{p}" for kind in ("incoming", "outgoing") for p in (alive, os.getpid())}


def content_of(trained: Trained) -> PackageContent:
    stored = load_model(trained.models_dir, trained.result.model_id)
    return PackageContent(
        stored.spec, ("a",), stored.feature_digest, stored.scaling, b"w", b"o", stored.metrics, {"data": {"bars": 1}}
    )


def test_equal_content_has_an_equal_id_and_any_difference_another(trained: Trained, tmp_path: Path) -> None:
    content = content_of(trained)
    first = save_model(tmp_path / "a", content, ManualClock(5))
    assert save_model(tmp_path / "b", content, ManualClock(5)) == first
    assert save_model(tmp_path / "c", content, ManualClock(6)) != first


def test_a_full_disk_leaves_nothing_behind(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = atomic_file.os.fsync
    calls = 0

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(atomic_file.os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        save_model(tmp_path, content_of(trained), ManualClock(5))
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_what_it_takes_to_resume_it(trained: Trained) -> None:
    kept = trained.models_dir.parent / "runs" / "run-1" / SPEC_FILE
    assert ForecastSpec.from_json(json.loads(kept.read_bytes())) == trained.spec


@pytest.mark.parametrize(
    ("manifest", "run"), [({"run": {"id": "r-1"}}, "r-1"), ({}, ""), ({"run": "x"}, ""), ({"run": None}, "")]
)
def test_the_run_that_a_manifest_names(manifest: dict[str, object], run: str) -> None:
    assert run_of(manifest) == run
