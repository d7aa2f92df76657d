"""What other processes did to the orders is merged once, whatever state their files are in."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from core.config import DataPaths
from core.execution.foreign_kill import SENTINEL_PREFIX, ForeignJournal, KillJournal, import_kill_files, read_lines
from core.execution.journal import Journal


def commands(paths: DataPaths) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(paths.journal_db)) as connection:
        rows = connection.execute("SELECT kind, payload FROM commands ORDER BY rowid").fetchall()
    return [(kind, json.loads(payload)["kind"]) for kind, payload in rows]


def test_what_the_dead_man_switch_did_becomes_commands_of_its_own(paths: DataPaths, journal: Journal) -> None:
    KillJournal(paths.root, 7, 1).append("begin", {"epoch": 7})
    switch = ForeignJournal(paths.root / f"{SENTINEL_PREFIX}5.jsonl")
    switch.append("begin", {"time_ns": 1})
    switch.append("end", {"time_ns": 2, "cancelled": ["a"]})
    assert list(import_kill_files(paths.root, journal, 9)) == []
    assert commands(paths) == [("foreign_kill", "begin"), ("sentinel", "begin"), ("sentinel", "end")]
    assert list(import_kill_files(paths.root, journal, 9)) == []
    assert len(commands(paths)) == 3


def test_a_process_that_begins_its_merged_file_anew_loses_nothing(paths: DataPaths, journal: Journal) -> None:
    switch = ForeignJournal(paths.root / f"{SENTINEL_PREFIX}5.jsonl")
    for number in range(3):
        switch.append(f"line {number}", {})
        list(import_kill_files(paths.root, journal, 9))
    assert [kind for _, kind in commands(paths)] == ["line 0", "line 1", "line 2"]
    kept = {path.name for path in paths.root.glob(f"{SENTINEL_PREFIX}*")}
    assert kept == {f"{SENTINEL_PREFIX}5.jsonl{part}.merged" for part in ("", ".1", ".2")}


def test_a_torn_line_never_happened(tmp_path: Path) -> None:
    file = ForeignJournal(tmp_path / "f.jsonl")
    assert read_lines(file.path) == []
    file.append("begin", {})
    file.path.write_bytes(file.path.read_bytes() + b'{"kind": "canc')
    assert read_lines(file.path) == [{"kind": "begin"}]
