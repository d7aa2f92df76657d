"""The ledger counts every trial once, forgets none and refuses to start over."""

from __future__ import annotations

import dataclasses
import itertools
import math
import multiprocessing
import sqlite3
import threading
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from core.config import DataPaths
from core.errors import UserError
from ml.trial_ledger import LedgerSummary, TrialLedger, TrialRecord, TrialScope

RECORD = TrialRecord(
    trial_id="a",
    created_ns=1_700_000_000_000_000_000,
    kind="training",
    venue="binance",
    symbol="BTC/USDT",
    timeframe="1h",
    data_hash="d1",
    spec_hash="s1",
    seed=1,
    status="finished",
    run_id="r1",
    valid_sharpe=0.02,
    test_sharpe=0.01,
    score=0.1234567890123456789,
    score_name="crps",
)


def record(trial_id: str, **changes: object) -> TrialRecord:
    return dataclasses.replace(RECORD, trial_id=trial_id, **changes)


@pytest.fixture
def ledger(tmp_path: Path) -> TrialLedger:
    return TrialLedger(DataPaths(tmp_path).trials)


def test_what_was_written_is_read(ledger: TrialLedger) -> None:
    bare = record("b", valid_sharpe=None, test_sharpe=None, score=None, score_name="", run_id="", status="failed")
    assert ledger.append(RECORD)
    assert ledger.append(bare)
    again = TrialLedger(ledger.path)
    assert again.records() == (RECORD, bare)
    assert again.count() == 2
    assert ledger.path.name == "trials.sqlite"


def test_appending_again_changes_nothing(ledger: TrialLedger) -> None:
    assert ledger.append(RECORD)
    assert not ledger.append(RECORD)
    assert not ledger.append(dataclasses.replace(RECORD, test_sharpe=9.0, created_ns=5)), "the first record stays"
    assert ledger.records() == (RECORD,)
    assert ledger.append_all([RECORD, record("b"), record("b")]) == 1


def test_an_interrupted_trial_counts_once_and_keeps_its_result(ledger: TrialLedger) -> None:
    for status in ("begun", "cancelled"):
        ledger.append(record("a", status=status, test_sharpe=None))
    ledger.append(record("a", test_sharpe=0.03))
    ledger.append(record("b", test_sharpe=0.05))
    assert ledger.count() == 2
    assert ledger.sharpes().tolist() == [0.03, 0.05]
    assert len(ledger.records()) == 4


def test_the_last_measured_ratio_of_a_trial_counts(ledger: TrialLedger) -> None:
    ledger.append(record("a", status="pruned", test_sharpe=0.09))
    ledger.append(record("a", status="finished", test_sharpe=0.03))
    ledger.append(record("a", status="failed", test_sharpe=None))
    assert ledger.sharpes().tolist() == [0.03]


def test_an_id_belongs_to_one_trial(ledger: TrialLedger) -> None:
    ledger.append(RECORD)
    for changes in ({"seed": 2}, {"spec_hash": "s2"}, {"kind": "search"}, {"symbol": "ETH/USDT"}):
        with pytest.raises(ValueError, match="is another one"):
            ledger.append(record("a", status="failed", **changes))
    with pytest.raises(ValueError, match="is another one"):
        ledger.append_all([record("new"), record("a", seed=2)])
    assert ledger.records() == (RECORD,), "all or none"


def test_scopes_variance_and_summary(ledger: TrialLedger) -> None:
    ledger.append_all(
        [
            record("a", test_sharpe=0.01, created_ns=10),
            record("b", test_sharpe=0.05, created_ns=30, spec_hash="s2", seed=2),
            record("c", test_sharpe=None, created_ns=20, status="pruned", kind="search"),
            record("d", test_sharpe=-0.02, created_ns=40, symbol="ETH/USDT", data_hash="d2"),
        ]
    )
    btc = TrialScope(venue="binance", symbol="BTC/USDT", timeframe="1h")
    assert (ledger.count(), ledger.count(btc), ledger.count(TrialScope(kind="search"))) == (4, 3, 1)
    assert ledger.count(TrialScope(data_hash="d2")) == ledger.count(TrialScope(symbol="ETH/USDT")) == 1
    assert ledger.count(TrialScope(spec_hash="s2", run_id="r1")) == 1
    assert ledger.count(TrialScope(symbol="x' OR 1=1 --")) == 0
    assert ledger.sharpe_variance(btc) == pytest.approx(np.var([0.01, 0.05], ddof=1))
    assert ledger.sharpe_variance(btc, "valid") == 0.0
    assert ledger.sharpe_variance(TrialScope(symbol="ETH/USDT")) is None
    with pytest.raises(ValueError, match="no part"):
        ledger.sharpes(part="train")
    assert ledger.summary() == (
        LedgerSummary("binance", "BTC/USDT", "1h", 3, 2, 2, 10, 30, 0.05),
        LedgerSummary("binance", "ETH/USDT", "1h", 1, 1, 1, 40, 40, -0.02),
    )


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "guess"}, {"status": "running"}, {"trial_id": ""}, {"test_sharpe": math.nan}, {"score": math.inf}],
)
def test_wrong_records_are_refused(ledger: TrialLedger, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no such trial|no JSON form"):
        ledger.append(dataclasses.replace(RECORD, **wrong))
    assert ledger.count() == 0


@pytest.mark.parametrize(
    "statement", ["DELETE FROM trials", "UPDATE trials SET test_sharpe = 9", "REPLACE INTO trials SELECT * FROM trials"]
)
def test_the_file_itself_refuses_to_forget(ledger: TrialLedger, statement: str) -> None:
    ledger.append(RECORD)
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute("PRAGMA recursive_triggers=ON")
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            connection.execute(statement)
    assert ledger.records() == (RECORD,)
    assert not [name for name in dir(TrialLedger) if "delete" in name or "remove" in name or "clear" in name]


def append_many(path: Path, worker: int, count: int) -> None:
    """Run in a child: open as a first start would, append own trials and one that all share."""
    ledger = TrialLedger(path)
    for number in range(count):
        ledger.append(record(f"{worker}-{number}", seed=worker))
        ledger.append(record(f"shared-{number}", seed=99))


def test_processes_append_at_once(tmp_path: Path) -> None:
    """Four start together where there is no file yet: nothing is lost and nothing is counted twice."""
    path = tmp_path / "new" / "trials.sqlite"
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=append_many, args=(path, worker, 25)) for worker in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    ledger = TrialLedger(path)
    assert ledger.count() == len(ledger.records()) == 4 * 25 + 25


def append_for_ever(path: Path, written: Connection) -> None:
    """Run in a child: say what was appended, until killed."""
    ledger = TrialLedger(path)
    for number in itertools.count():
        ledger.append(record(str(number)))
        written.send(number)


@pytest.mark.parametrize("before", [1, 7, 40])
def test_what_was_appended_survives_a_kill(tmp_path: Path, before: int) -> None:
    path = tmp_path / "trials.sqlite"
    context = multiprocessing.get_context("spawn")
    written, sender = context.Pipe(duplex=False)
    child = context.Process(target=append_for_ever, args=(path, sender))
    child.start()
    sender.close()
    last = 0
    while last < before:
        last = written.recv()
    child.kill()
    with suppress(EOFError):
        while True:
            last = written.recv()
    child.join(60)
    written.close()
    found = [int(row.trial_id) for row in TrialLedger(path).records()]
    assert found == list(range(len(found)))
    assert len(found) in (last + 1, last + 2), "the one being written may be there or not"


def test_threads_append_at_once(ledger: TrialLedger) -> None:
    threads = [threading.Thread(target=append_many, args=(ledger.path, worker, 10)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ledger.count() == 4 * 10 + 10


def damage_header(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 300)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5_000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scramble_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4_096:] = bytes(byte ^ 0x5A for byte in data[4_096:])
    path.write_bytes(bytes(data))


def another_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.commit()


def lose_the_main_file(path: Path) -> None:
    path.unlink()
    path.with_name(path.name + "-wal").write_bytes(b"x" * 100)


@pytest.mark.parametrize(
    "damage", [damage_header, truncate, empty, scramble_pages, another_database, lose_the_main_file]
)
def test_a_damaged_file_is_refused_and_left_as_it_is(ledger: TrialLedger, damage: object) -> None:
    ledger.append_all([record(str(number)) for number in range(300)])
    assert callable(damage)
    damage(ledger.path)
    before = ledger.path.read_bytes() if ledger.path.exists() else None
    for _ in range(2):
        with pytest.raises(UserError, match="is damaged") as caught:
            TrialLedger(ledger.path)
        assert "backup" in caught.value.remedy
        assert (ledger.path.read_bytes() if ledger.path.exists() else None) == before


def test_a_file_that_vanishes_meanwhile_is_not_made_anew(ledger: TrialLedger) -> None:
    ledger.append(RECORD)
    ledger.path.unlink()
    with pytest.raises(UserError, match="cannot be opened"):
        ledger.append(record("b"))
    assert not ledger.path.exists()


def test_a_newer_version_is_refused(ledger: TrialLedger) -> None:
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(UserError, match="newer version"):
        TrialLedger(ledger.path)


def test_what_an_interrupted_creation_left_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    path.with_name(".trials.sqlite.new").write_bytes(b"half")
    assert TrialLedger(path).count() == 0
