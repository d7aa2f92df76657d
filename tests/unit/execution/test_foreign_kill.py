"""What other processes did to the orders is merged once, whatever state their files are in."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from core.config import DataPaths
from core.domain.orders import Intent, IntentSource, OrderType, Side
from core.execution.foreign_kill import (
    LOCK,
    SENTINEL_PREFIX,
    ForeignJournal,
    KillJournal,
    import_kill_files,
    read_lines,
)
from core.execution.journal import Journal
from core.execution.process_lock import exclusive


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


def test_a_line_written_while_the_file_is_merged_is_merged_next(paths: DataPaths, journal: Journal) -> None:
    diary = KillJournal(paths.root, 3, 1)
    first, second = (sale(symbol) for symbol in ("ETH/USDT", "BTC/USDT"))
    diary.append_intent(first)
    merging = import_kill_files(paths.root, journal, 9)
    assert next(merging)[0] == first
    writer = threading.Thread(target=diary.append_intent, args=(second,))
    writer.start()  # the file is read already and not yet renamed
    writer.join(0.2)
    assert writer.is_alive(), "it waits"
    assert list(merging) == []
    writer.join(5)
    assert [intent for intent, _ in import_kill_files(paths.root, journal, 9)] == [second]
    assert list(paths.root.glob("kill-journal-*.jsonl")) == []


def test_a_reader_that_hangs_holds_up_no_kill_and_a_writer_that_hangs_no_start(
    paths: DataPaths, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.execution.foreign_kill.PATIENCE_S", 0.05)
    diary = KillJournal(paths.root, 3, 1)
    with exclusive(paths.root / LOCK, 1.0):
        diary.append_intent(sale("ETH/USDT"))
        assert [intent for intent, _ in import_kill_files(paths.root, journal, 9)] == [sale("ETH/USDT")]
        assert diary.path.exists(), "who did not let go may still write"
        assert commands(paths) == []
    assert [intent for intent, _ in import_kill_files(paths.root, journal, 9)] == [sale("ETH/USDT")]
    assert not diary.path.exists()
    assert commands(paths) == [("foreign_kill", "intent")], "once, however often it was read"


def test_whoever_hangs_over_the_files_holds_up_no_event_loop(paths: DataPaths, journal: Journal) -> None:
    KillJournal(paths.root, 3, 1).append_intent(sale("ETH/USDT"))
    with exclusive(paths.root / LOCK, 0.0):
        began = time.monotonic()
        assert [intent for intent, _ in import_kill_files(paths.root, journal, 9)] == [sale("ETH/USDT")]
        assert time.monotonic() - began < 0.5


def sale(symbol: str) -> Intent:
    return Intent(
        f"kill:outside-3:{symbol}:manual",
        IntentSource.KILL_SWITCH,
        "manual",
        symbol,
        Side.SELL,
        Decimal(1),
        OrderType.MARKET,
        reduce_only=True,
        reason="STOP: close the position",
        created_ns=5,
    )


def test_a_line_after_one_that_a_full_disk_took_half_of_is_whole(paths: DataPaths, journal: Journal) -> None:
    kill = KillJournal(paths.root, 3, 9)
    kill.path.write_bytes(b'{"kind": "begin", "epo')
    kill.append_intent(sale("BTC/USDT"))
    kill.append("end", {})
    assert [line["kind"] for line in read_lines(kill.path)] == ["intent", "end"]
    assert [intent for intent, _ in import_kill_files(paths.root, journal, 9)] == [sale("BTC/USDT")]
