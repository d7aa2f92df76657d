"""`main.py models`: what a person gets to see, and one sentence where it does not go."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import onnx
import pytest

from app.commands import models
from app.commands.root import run_cli
from app.stored_models import users_of
from core.config import DataPaths
from core.execution.journal import Journal
from core.execution.records import StrategyRecord
from core.persistence.schema import ensure_migrated
from core.strategies.spec import StrategyKind, StrategySpec
from ml.model_exchange import archive
from ml.model_storage import load_model, package_files, stored_ids
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import small_spec, store_agent
from tests.unit.ml.packages import forged
from tests.unit.ml.test_model_storage import rewrite_manifest


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    """A data folder with two models, one of them the other's twin by another seed in its manifest."""
    root = tmp_path / "data"
    first = root / "models" / trained.result.model_id
    shutil.copytree(trained.models_dir / first.name, first)
    twin = shutil.copytree(first, root / "models" / "twin")
    rewrite_manifest(Path(twin), created_ns=1)
    return root


@pytest.fixture
def model_id(trained: Trained) -> str:
    return trained.result.model_id


def ask(capsys: pytest.CaptureFixture[str], folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    assert run_cli(["models", *words, "--data-dir", str(folder), "--json"]) == code
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "Traceback" not in captured.err
    answer: dict[str, Any] = json.loads(captured.out)
    assert ("error" in answer) == (code != 0)
    return answer


def read(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    assert run_cli(["models", *words, "--data-dir", str(folder)]) == 0
    return capsys.readouterr().out


def test_tags_and_notes(folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, folder, "tag", model_id[:6])["tags"] == []
    assert ask(capsys, folder, "tag", model_id[:6], "shadow", "for btc")["tags"] == ["shadow", "for btc"]
    assert ask(capsys, folder, "note", model_id, "the good one")["note"] == "the good one"
    rows = ask(capsys, folder, "list", "--tag", "SHADOW")["models"]
    assert [(row["model_id"], row["tags"], row["foreign"]) for row in rows] == [
        (model_id, ["shadow", "for btc"], False)
    ]
    assert "[shadow, for btc]  the good one" in read(capsys, folder, "list")
    assert "note      the good one" in read(capsys, folder, "show", model_id)
    assert "1 bar ahead, features market (version 1), seed 1" in read(capsys, folder, "show", model_id)
    assert ask(capsys, folder, "untag", model_id, "shadow")["tags"] == ["for btc"]
    assert ask(capsys, folder, "list", "--tag", "shadow")["models"] == []
    assert "is no tag" in ask(capsys, folder, "tag", model_id, "keep", "a/b", code=2)["error"]
    assert "no tag" in ask(capsys, folder, "untag", model_id, "for btc", "never", code=2)["error"]
    assert ask(capsys, folder, "tag", model_id)["tags"] == ["for btc"]
    assert "no model" in ask(capsys, folder, "tag", "ffff", "a", code=2)["error"]


def test_a_place_that_cannot_be(folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("~no-such-user/x", "a" * 5_000):
        assert "cannot be used" in ask(capsys, folder, "export", model_id, target, code=2)["error"]


def test_the_list_can_be_sorted(folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    newest = [row["model_id"] for row in ask(capsys, folder, "list")["models"]]
    assert newest[0] == model_id
    for sort in ("created", "r2", "symbol", "size"):
        assert len(ask(capsys, folder, "list", "--sort", sort)["models"]) == 2
    (folder / "models" / newest[1] / "scaler.json").write_bytes(b"")
    rows = ask(capsys, folder, "list", "--sort", "size")["models"]
    assert [bool(row["problem"]) for row in rows] == [False, True]
    assert run_cli(["models", "list", "--sort", "colour", "--data-dir", str(folder)]) == 2


def test_there_and_back(folder: Path, model_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "model.maru-model"
    assert ask(capsys, folder, "export", model_id, str(target)) == {
        "model_id": model_id,
        "file": str(target),
        "size_bytes": target.stat().st_size,
    }
    assert "exists already" in ask(capsys, folder, "export", model_id, str(target), code=2)["error"]
    other = tmp_path / "other"
    assert ask(capsys, other, "import", str(target)) == {"model_id": model_id, "already_here": False}
    assert ask(capsys, other, "import", str(target)) == {"model_id": model_id, "already_here": True}
    (row,) = ask(capsys, other, "list")["models"]
    assert (row["foreign"], row["imported_from"]) == (True, "model.maru-model")
    assert "  foreign" in read(capsys, other, "list")
    assert "its metrics are its maker's word" in read(capsys, other, "show", model_id)


def test_a_spoiled_file_is_one_sentence(
    folder: Path, model_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "model.maru-model"
    ask(capsys, folder, "export", model_id, str(target))
    target.write_bytes(target.read_bytes()[:-1])
    other = tmp_path / "other"
    assert "refused" in ask(capsys, other, "import", str(target), code=2)["error"]
    assert "cannot be read" in ask(capsys, other, "import", str(tmp_path / "nowhere"), code=2)["error"]
    assert stored_ids(other / "models") == ()


def test_a_package_made_on_purpose_is_one_sentence(
    folder: Path, model_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every hash is right, and the network would read a file of this computer."""
    files = package_files(folder / "models", model_id)
    network = onnx.load_from_string(files["model.onnx"])
    tensor = network.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    source = tmp_path / "gift.maru-model"
    source.write_bytes(archive(forged(files, model=network.SerializeToString())))
    other = tmp_path / "other"
    assert "refers to another file" in ask(capsys, other, "import", str(source), code=2)["error"]
    assert not (other / "models").exists()


def test_models_side_by_side(folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    twin = next(name for name in stored_ids(folder / "models") if name != model_id)
    table = ask(capsys, folder, "compare", model_id, twin)
    assert (table["models"], table["differences"], table["not_comparable"]) == ([model_id, twin], {}, [])
    r2 = load_model(folder / "models", model_id).metrics.model.r2
    assert table["metrics"]["model.r2"] == [r2, r2]
    assert re.search(r"^edge +(yes|no) +(yes|no)$", read(capsys, folder, "compare", model_id, twin), re.MULTILINE)
    assert "were made in the same way" in read(capsys, folder, "compare", model_id, twin, "--sort", "r2")
    assert "no metric" in ask(capsys, folder, "compare", model_id, twin, "--sort", "luck", code=2)["error"]
    assert "cannot be compared" in ask(capsys, folder, "compare", model_id, model_id[:5], code=2)["error"]


def test_removing(folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "confirmation" in ask(capsys, folder, "remove", model_id, code=2)["error"]
    ask(capsys, folder, "tag", model_id, "Keep")
    assert "protected" in ask(capsys, folder, "remove", model_id, "--yes", code=2)["error"]
    ask(capsys, folder, "untag", model_id, "keep")
    ask(capsys, folder, "note", model_id, "gone soon")
    assert ask(capsys, folder, "remove", model_id, "--yes") == {"model_id": model_id, "removed": True}
    assert model_id not in stored_ids(folder / "models")
    assert "no model" in ask(capsys, folder, "remove", model_id, "--yes", code=2)["error"]


class _Typed:
    """A person at a terminal."""

    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._text


def test_removing_asks(
    folder: Path, model_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models.sys, "stdin", _Typed("no\n"))
    assert "Nothing was removed" in ask(capsys, folder, "remove", model_id, code=1)["error"]
    assert model_id in stored_ids(folder / "models")
    monkeypatch.setattr(models.sys, "stdin", _Typed(f"{model_id[:4]}\n"))
    assert ask(capsys, folder, "remove", model_id)["removed"]


def test_the_model_of_a_strategy_stays(folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths = DataPaths(folder)
    ensure_migrated(paths)
    journal = Journal(paths.journal_db)
    try:
        spec = StrategySpec("s-1", "Night watch", "BTC/USDT", "1h", model_id, Decimal(1_000))
        journal.save_strategy(StrategyRecord(spec))
    finally:
        journal.close()
    error = ask(capsys, folder, "remove", model_id, "--yes", code=2)["error"]
    assert "Night watch" in error
    assert model_id in stored_ids(folder / "models")


def test_the_encoder_of_a_strategys_agent_stays(
    folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = small_spec(encoder=True)
    agent = store_agent(folder / "models", replace(spec, encoder=replace(spec.encoder, model=model_id)))
    paths = DataPaths(folder)
    ensure_migrated(paths)
    journal = Journal(paths.journal_db)
    try:
        for name, used in (("Night watch", agent), ("Gone", "0" * 16)):
            strategy = StrategySpec(name, name, "BTC/USDT", "1h", used, Decimal(1_000), kind=StrategyKind.AGENT)
            journal.save_strategy(StrategyRecord(strategy))
    finally:
        journal.close()
    assert users_of(paths, model_id) == users_of(paths, agent) == ("Night watch",)
    assert "Night watch" in ask(capsys, folder, "remove", model_id, "--yes", code=2)["error"]


def test_a_damaged_tags_file_is_one_sentence(folder: Path, model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "models" / "tags.json").write_bytes(b"{")
    for words in (("list",), ("show", model_id), ("tag", model_id, "a"), ("remove", model_id, "--yes")):
        assert "damaged" in ask(capsys, folder, *words, code=2)["error"]


def test_how_far_ahead_a_model_looks() -> None:
    assert [models._ahead(horizons) for horizons in ((1,), (4,), (1, 4, 24))] == ["1 bar", "4 bars", "1, 4, 24 bars"]
