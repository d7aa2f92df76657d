"""Which schema the databases have, and bringing them to the newest one in a child process. Any process, any thread.

Alembic costs half a second of imports and must stay out of the window's process: `ensure_migrated` looks at the
version with plain sqlite3 and starts `python -m core.persistence.migrate` only where there is something to do.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from core.config import DataPaths
from core.errors import UserError
from core.persistence.engine import user_error

CHILD_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Database:
    """One migrated file.

    Attributes:
        name: folder of its migrations.
        revisions: every revision ever published, oldest first; the last one is the head.
    """

    name: str
    path: Path
    revisions: tuple[str, ...]

    @property
    def head(self) -> str:
        """The newest revision."""
        return self.revisions[-1]


def databases(paths: DataPaths) -> tuple[Database, ...]:
    """Return the databases of a data folder."""
    return (
        Database("journal", paths.journal_db, ("journal_0001", "journal_0002", "journal_0003", "journal_0004")),
        Database("store", paths.store_db, ("store_0001",)),
    )


def current_revision(path: Path) -> str | None:
    """Return the schema revision of a file, or None where it is missing, empty or unversioned.

    Raises:
        UserError: the file is damaged, locked or not a database.
    """
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=5.0)) as connection:
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    except sqlite3.DatabaseError as exc:
        translated = user_error(path, str(getattr(exc, "sqlite_errorname", "")))
        if translated is None:
            raise
        raise translated from exc
    return None if row is None else str(row[0])


def needs_migration(paths: DataPaths) -> bool:
    """Return whether any database is missing or old; costs about a millisecond.

    Raises:
        UserError: a file is damaged, or a newer version of the program wrote it.
    """
    old = False
    for database in databases(paths):
        revision = current_revision(database.path)
        if revision is not None and revision not in database.revisions:
            raise UserError(
                f"{database.path} was written by a newer version of this program.",
                "Update the program, or choose another folder with --data-dir.",
            )
        old = old or revision != database.head
    return old


def ensure_migrated(paths: DataPaths) -> None:
    """Create or upgrade both databases in a child process; at once done where they are current. Blocks.

    Raises:
        UserError: a database cannot be read, written or upgraded.
    """
    paths.create()
    if not needs_migration(paths):
        return
    root = Path(__file__).resolve().parents[2]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [environment.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "core.persistence.migrate", str(paths.root)],
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        env=environment,
        check=False,
    )
    if done.returncode == 2:
        failure = json.loads(done.stdout.splitlines()[-1])
        raise UserError(failure["error"], failure["remedy"])
    if done.returncode != 0:
        raise RuntimeError(f"the migration child failed with code {done.returncode}:\n{done.stderr}")
