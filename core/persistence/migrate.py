"""The migration itself: the main module of a child process, the only place that imports Alembic.

`core.persistence.schema.ensure_migrated` starts it where there is something to do.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from core.config import DataPaths
from core.errors import UserError
from core.execution.process_lock import exclusive
from core.persistence.engine import database_errors, open_engine
from core.persistence.schema import Database, current_revision, databases

LOCK_TIMEOUT_S = 120.0
MIGRATIONS = Path(__file__).parent / "migrations"

_log = logging.getLogger(__name__)


def back_up(path: Path, now: datetime) -> Path:
    """Copy a database beside itself, dated, through SQLite's own backup (safe with a write-ahead log)."""
    target = path.with_name(f"{path.name}.backup-{now:%Y%m%d-%H%M%S}")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


def migrate(database: Database, now: datetime) -> None:
    """Upgrade one database in this process (imports Alembic); an existing file is backed up first.

    Raises:
        UserError: the file cannot be read or written.
    """
    from alembic import command
    from alembic.config import Config

    if current_revision(database.path) == database.head:
        return
    if database.path.exists() and database.path.stat().st_size:
        back_up(database.path, now)
    config = Config()
    # ConfigParser reads % as interpolation; a folder may well contain one.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("version_locations", str(MIGRATIONS / database.name).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    engine = open_engine(database.path, synchronous="FULL")
    try:
        with database_errors(database.path), engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()
    _log.info("%s is at revision %s", database.path.name, database.head)


def main(arguments: list[str]) -> int:
    """Entry of the child: migrate the data folder named by the one argument."""
    try:
        paths = DataPaths(Path(arguments[0]))
        # Two programs may open one folder for the first time at the same moment.
        with exclusive(paths.root / "migrate.lock", LOCK_TIMEOUT_S):
            for database in databases(paths):
                migrate(database, datetime.now(UTC))
    except UserError as exc:
        sys.stdout.write(json.dumps({"error": exc.message, "remedy": exc.remedy}) + "\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
