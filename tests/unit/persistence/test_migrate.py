"""Schema: migrations equal the models, run in a child, keep a backup, and say what is wrong with a file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from core.config import DataPaths
from core.errors import UserError
from core.persistence import migrate, schema
from core.persistence.engine import database_errors, open_engine, user_error
from core.persistence.models import JournalBase, StoreBase
from core.persistence.types import DecimalText

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return DataPaths(tmp_path / "50% data").create()


@pytest.fixture
def engines(paths: DataPaths) -> Iterator[dict[str, sa.Engine]]:
    for database in schema.databases(paths):
        migrate.migrate(database, NOW)
    opened = {d.name: open_engine(d.path, synchronous="FULL") for d in schema.databases(paths)}
    yield opened
    for engine in opened.values():
        engine.dispose()


def test_the_migrations_make_exactly_the_models(engines: dict[str, sa.Engine]) -> None:
    for name, base in (("journal", JournalBase), ("store", StoreBase)):
        with engines[name].connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, base.metadata) == []


def test_the_named_heads_are_the_real_ones(paths: DataPaths) -> None:
    for database in schema.databases(paths):
        config = Config()
        config.set_main_option("script_location", str(migrate.MIGRATIONS))
        config.set_main_option("version_locations", str(migrate.MIGRATIONS / database.name))
        config.set_main_option("path_separator", "newline")
        script = ScriptDirectory.from_config(config)
        assert script.get_current_head() == database.head
        assert {revision.revision for revision in script.walk_revisions()} == set(database.revisions)


def test_the_child_migrates_and_a_second_start_needs_none(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    assert schema.needs_migration(paths)
    schema.ensure_migrated(paths)
    assert not schema.needs_migration(paths)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("no child is needed"))
    schema.ensure_migrated(paths)


def test_alembic_stays_out_of_this_process(paths: DataPaths) -> None:
    code = (
        "import sys; from pathlib import Path; from core.config import DataPaths; from core.persistence import schema\n"
        "schema.ensure_migrated(DataPaths(Path(sys.argv[1]))); import core.execution.journal\n"
        "assert 'alembic' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(paths.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_existing_file_is_backed_up_before_it_is_changed(paths: DataPaths) -> None:
    with sqlite3.connect(paths.journal_db) as old:
        old.execute("CREATE TABLE remember (me TEXT)")
    old.close()
    journal = schema.databases(paths)[0]
    migrate.migrate(journal, NOW)
    backup = paths.root / "journal.sqlite.backup-20260102-030405"
    with sqlite3.connect(backup) as kept:
        assert kept.execute("SELECT count(*) FROM remember").fetchone() == (0,)
    kept.close()
    migrate.migrate(journal, NOW.replace(second=6))
    assert len(list(paths.root.glob("*.backup-*"))) == 1


def test_a_newer_file_is_not_touched(paths: DataPaths, engines: dict[str, sa.Engine]) -> None:
    with engines["journal"].begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'journal_9999'"))
    with pytest.raises(UserError, match="newer version of this program"):
        schema.ensure_migrated(paths)


@pytest.mark.parametrize(
    "content", [b"this is no database, however long it may be" * 50, b"SQLite format 3\0" + b"\xff" * 4_000]
)
def test_a_damaged_file_is_one_sentence(paths: DataPaths, content: bytes) -> None:
    paths.journal_db.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged|not a database"):
        schema.ensure_migrated(paths)
    assert paths.journal_db.read_bytes() == content


def test_the_childs_complaint_is_passed_on(paths: DataPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.store_db.write_bytes(b"not a database at all" * 100)
    assert migrate.main([str(paths.root)]) == 2
    assert "not a database" in capsys.readouterr().out


def test_a_child_that_breaks_is_a_bug(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = subprocess.CompletedProcess([], 1, "", "Traceback …")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: broken)
    with pytest.raises(RuntimeError, match="Traceback"):
        schema.ensure_migrated(paths)
    refused = subprocess.CompletedProcess([], 2, '{"error": "The disk is full.", "remedy": "Free some."}\n', "")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: refused)
    with pytest.raises(UserError, match="disk is full"):
        schema.ensure_migrated(paths)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SQLITE_FULL", "disk is full"),
        ("SQLITE_BUSY", "locked"),
        ("SQLITE_BUSY_SNAPSHOT", "locked"),
        ("SQLITE_CORRUPT", "damaged"),
        ("SQLITE_NOTADB", "not a database"),
        ("SQLITE_READONLY_DIRECTORY", "read-only"),
        ("SQLITE_CANTOPEN", "cannot be opened"),
        ("SQLITE_IOERR_WRITE", "failed"),
    ],
)
def test_sqlite_faults_have_sentences(name: str, words: str) -> None:
    error = user_error(Path("j.sqlite"), name)
    assert error is not None
    assert words in error.message
    assert error.remedy


def test_what_is_no_fault_of_the_environment_stays_a_bug(engines: dict[str, sa.Engine], paths: DataPaths) -> None:
    assert user_error(paths.journal_db, "SQLITE_ERROR") is None
    with (
        pytest.raises(sa.exc.OperationalError),
        database_errors(paths.journal_db),
        engines["journal"].connect() as connection,
    ):
        connection.execute(sa.text("SELECT nonsense"))


def test_the_journal_is_made_to_survive_a_power_cut(engines: dict[str, sa.Engine]) -> None:
    with engines["journal"].connect() as connection:
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1


@pytest.mark.parametrize("text", ["0.1", "1E-18", "123456789012345678.123456789012345678", "-0.00", "1.10"])
def test_decimals_come_back_exactly(text: str) -> None:
    kind = DecimalText()
    dialect = sa.create_engine("sqlite://").dialect
    stored = kind.process_bind_param(Decimal(text), dialect)
    assert isinstance(stored, str)
    assert kind.process_result_value(stored, dialect) == Decimal(text)
    assert kind.process_bind_param(None, dialect) is None
    assert kind.process_result_value(None, dialect) is None
    with pytest.raises(TypeError, match="float"):
        kind.process_bind_param(0.1, dialect)  # type: ignore[arg-type]
