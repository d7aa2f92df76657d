"""`main.py risk`: shows and sets the limits of a folder over which nothing trades, in one sentence where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.commands.root import run_cli
from core.config import DataPaths
from core.execution.journal import Journal
from core.execution.process_lock import ExecutorLock
from core.persistence.schema import ensure_migrated
from core.signals.risk.settings import UNITS
from core.signals.risk_management import RiskSettings


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paths = DataPaths(tmp_path_factory.mktemp("risk"))
    ensure_migrated(paths)
    return paths.root


@pytest.fixture
def folder(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(migrated / "locks"))
    return migrated


def ask(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    code = run_cli(["risk", *words, "--data-dir", str(folder), "--json"])
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    answer: dict[str, Any] = json.loads(output)
    return code, answer


def test_the_clock_limit_cannot_be_switched_off(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = ask(capsys, folder, "set", "max_clock_skew_ms=100000000")
    assert code == 2
    assert answer["error"] == "The risk setting max_clock_skew_ms must not be 100000000."
    assert answer["remedy"] == "Give at most 1000: a clock that is further off always stops live trading."


def test_limits_are_shown_set_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, folder, "show") == (0, {"settings": RiskSettings().to_json()})
    code, answer = ask(capsys, folder, "set", "max_daily_loss=500", "max_open_orders=60", "duplicate_window_s=2")
    assert code == 0
    assert answer["changed"] == {
        "max_daily_loss": {"before": "5000", "after": "500"},
        "max_open_orders": {"before": "50", "after": "60"},
    }
    assert answer["loosened"] == ["max_open_orders"]
    assert (answer["settings"]["max_daily_loss"], answer["settings"]["max_open_orders"]) == ("500", 60)
    assert ask(capsys, folder, "show") == (0, {"settings": answer["settings"]})
    journal = Journal(DataPaths(folder).journal_db)
    try:
        assert [command.payload for command in journal.commands("risk_settings")] == [answer["settings"]]
        assert ask(capsys, folder, "set", "max_daily_loss=500.0")[1]["changed"] == {}
        assert len(journal.commands("risk_settings")) == 1, "what changes nothing is no command"
    finally:
        journal.close()


def test_people_get_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["risk", "show", "--data-dir", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(UNITS)
    assert run_cli(["risk", "set", "max_order_value=30000", "max_drawdown=9", "--data-dir", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "max_order_value: 25000 → 30000 (lets more through)",
        "max_drawdown: 10000 → 9",
    ]
    assert run_cli(["risk", "set", "max_order_value=30000", "--data-dir", str(folder)]) == 0
    assert capsys.readouterr().out == "Nothing was changed.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("max_hope=1",), "There is no risk setting max_hope."),
        (("max_order_value=5", "max_open_orders=2.5"), "The risk setting max_open_orders must not be 2.5."),
        (("max_order_value=nan",), "The risk setting max_order_value must not be nan."),
        (("max_order_value=-1",), "The risk setting max_order_value must not be -1."),
        (("max_order_value",), "'max_order_value' is no NAME=VALUE."),
        (("max_order_value=",), "'max_order_value=' is no NAME=VALUE."),
        (("max_order_value=1", "max_order_value=2"), "max_order_value is given twice."),
    ],
)
def test_nonsense_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    before = ask(capsys, folder, "show")
    code, answer = ask(capsys, folder, "set", *words)
    assert (code, answer["error"]) == (2, said)
    assert answer["remedy"]
    assert ask(capsys, folder, "show") == before


def test_a_running_program_keeps_its_limits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = ExecutorLock(folder / "locks", "key", folder)
    lock.acquire()
    try:
        for words in (("show",), ("set", "max_daily_loss=1")):
            code, answer = ask(capsys, folder, *words)
            assert code == 2
            assert "already trading" in answer["error"]
            assert "in its window" in answer["remedy"]
    finally:
        lock.release()


def test_a_mistyped_folder_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = ask(capsys, tmp_path / "no", "show")
    assert (code, answer["error"]) == (2, f"There is no data folder {tmp_path / 'no'}.")
    assert not (tmp_path / "no").exists()
