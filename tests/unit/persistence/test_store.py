"""The store keeps training runs and notices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.config import DataPaths
from core.errors import UserError
from core.events import Notice, Severity
from core.persistence import migrate, schema
from core.persistence.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    paths = DataPaths(tmp_path)
    migrate.migrate(schema.databases(paths)[1], datetime.now(UTC))
    opened = Store(paths.store_db)
    yield opened
    opened.close()


def test_a_run_is_kept_from_start_to_end(store: Store) -> None:
    store.begin_run("r1", "forecast", {"epochs": 3}, 10)
    store.begin_run("r2", "forecast", {}, 20)
    store.finish_run("r1", "finished", 30, result={"loss": 0.5})
    newest, first = store.runs()
    assert (newest.run_id, newest.state, newest.finished_ns) == ("r2", "running", None)
    assert (first.spec, first.result, first.state, first.finished_ns) == ({"epochs": 3}, {"loss": 0.5}, "finished", 30)
    assert [run.run_id for run in store.runs(limit=1)] == ["r2"]
    store.finish_run("r2", "failed", 40, message="out of memory")
    assert store.runs()[0].message == "out of memory"


def test_a_run_that_goes_on_is_the_newest_again_and_keeps_its_one_row(store: Store) -> None:
    store.begin_run("r1", "forecast", {"epochs": 3}, 10)
    store.finish_run("r1", "failed", 20, message="the disk was full")
    store.begin_run("r2", "forecast", {}, 30)
    store.begin_run("r1", "forecast", {"epochs": 3}, 40)
    newest = store.runs()[0]
    assert (newest.run_id, newest.state, newest.message, newest.started_ns) == ("r1", "running", "", 40)
    assert newest.finished_ns is None
    assert len(store.runs()) == 2


def test_runs_cut_off_are_marked_once(store: Store) -> None:
    store.begin_run("done", "forecast", {}, 1)
    store.finish_run("done", "finished", 2)
    store.begin_run("cut", "forecast", {}, 3)
    assert store.interrupt_runs(9) == 1
    assert [(run.run_id, run.state, run.finished_ns) for run in store.runs()] == [
        ("cut", "interrupted", 9),
        ("done", "finished", 2),
    ]
    assert store.interrupt_runs(10) == 0


def test_ending_an_unknown_run_is_a_bug(store: Store) -> None:
    with pytest.raises(KeyError):
        store.finish_run("nobody", "failed", 1)


def test_notices_come_newest_first(store: Store) -> None:
    store.add_notice(Notice(Severity.INFO, "one"), 1)
    store.add_notice(Notice(Severity.ERROR, "two", "text"), 2)
    assert store.notices() == [(2, Notice(Severity.ERROR, "two", "text")), (1, Notice(Severity.INFO, "one"))]


def test_a_full_disk_is_one_sentence_and_loses_nothing(store: Store) -> None:
    store.add_notice(Notice(Severity.INFO, "kept"), 1)
    with store._engine.connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar()
        connection.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(UserError, match="The disk is full"):
        store.add_notice(Notice(Severity.INFO, "x" * 200_000), 2)
    assert [notice.title for _, notice in store.notices()] == ["kept"]
