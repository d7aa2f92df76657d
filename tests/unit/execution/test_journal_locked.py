"""A journal locked by another program: whoever is in a hurry is not held up, everybody else waits as ever."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest

from core.config import DataPaths
from core.domain.orders import TradingState
from core.errors import UserError
from core.execution.journal import Journal
from core.execution.records import TradingStateRecord
from core.persistence.engine import BUSY_TIMEOUT_MS
from tests.unit.persistence.locked import locked_database

HALT = TradingStateRecord(TradingState.HALTED, "kill switch", 1, 1)


def seconds_of_a_refused_write(journal: Journal) -> float:
    began = time.perf_counter()
    with pytest.raises(UserError, match="locked by another program"):
        journal.set_trading_state(HALT)
    return time.perf_counter() - began


def timeout_ms(journal: Journal) -> int:
    with journal._engine.connect() as connection:
        return int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())


def test_who_is_in_a_hurry_is_refused_at_once(journal: Journal, paths: DataPaths) -> None:
    journal.set_meta("a", "1")
    with locked_database(paths.journal_db), journal.hurry():
        assert seconds_of_a_refused_write(journal) < 0.5  # of 5 seconds
        assert journal.meta("a") == "1"  # reading goes on
        with journal.hurry(0):
            assert seconds_of_a_refused_write(journal) < 0.5
    journal.set_trading_state(HALT)  # and nothing of the refused ones stays in its way
    assert journal.trading_state() == HALT
    assert len(journal.commands("trading_state")) == 1


def test_a_journal_that_was_never_used_hurries_too(paths: DataPaths) -> None:
    journal = Journal(paths.journal_db)
    with locked_database(paths.journal_db), journal.hurry():
        assert seconds_of_a_refused_write(journal) < 0.5
    journal.close()


def test_afterwards_a_write_waits_for_the_other_program_again(journal: Journal, paths: DataPaths) -> None:
    with locked_database(paths.journal_db), pytest.raises(UserError), journal.hurry():
        journal.set_trading_state(HALT)
    assert timeout_ms(journal) == BUSY_TIMEOUT_MS
    with locked_database(paths.journal_db) as other:
        threading.Timer(0.3, other.close).start()
        began = time.perf_counter()
        journal.set_trading_state(HALT)
        assert time.perf_counter() - began > 0.2
    assert journal.trading_state() == HALT


def test_hurries_may_overlap_in_any_order(journal: Journal) -> None:
    with journal.hurry():
        assert timeout_ms(journal) == 50
    first, second = journal.hurry(40), journal.hurry(60)
    first.__enter__()
    second.__enter__()
    assert timeout_ms(journal) == 40
    first.__exit__(None, None, None)
    assert timeout_ms(journal) == 60
    second.__exit__(None, None, None)
    assert timeout_ms(journal) == BUSY_TIMEOUT_MS


def test_the_lock_is_a_real_one(journal: Journal, paths: DataPaths) -> None:
    with locked_database(paths.journal_db):
        other = sqlite3.connect(paths.journal_db, timeout=0.0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("DELETE FROM meta")
        other.close()
    journal.set_meta("free", "1")
