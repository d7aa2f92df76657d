"""Opening SQLite and saying what is wrong with it. Each engine belongs to the one thread that writes its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.errors import UserError

BUSY_TIMEOUT_MS = 5_000
HURRIED_MS = 50

# SQLite's own error names (PEP 249 classes are too coarse) -> what a person reads and does.
_SENTENCES: dict[str, tuple[str, str]] = {
    "SQLITE_FULL": (
        "The disk is full: {path} could not be written.",
        "Free some space and start again; nothing confirmed was lost.",
    ),
    "SQLITE_BUSY": (
        "{path} is locked by another program.",
        "Close the other program that uses this data folder, then start again.",
    ),
    "SQLITE_CORRUPT": ("{path} is damaged.", "Restore the newest backup beside it, or move it away to begin anew."),
    "SQLITE_NOTADB": ("{path} is not a database.", "Restore the newest backup beside it, or move it away."),
    "SQLITE_READONLY": ("{path} is read-only.", "Give yourself write permission or choose another data folder."),
    "SQLITE_CANTOPEN": ("{path} cannot be opened.", "Check that the data folder exists and that you may write to it."),
    "SQLITE_IOERR": ("Reading or writing {path} failed.", "Check the disk, then start again."),
}


def user_error(path: Path, error_name: str) -> UserError | None:
    """Translate SQLite's error name; None where it is no fault of the environment."""
    for name, (message, remedy) in _SENTENCES.items():
        if error_name == name or error_name.startswith(name + "_"):
            return UserError(message.format(path=path), remedy)
    return None


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn what the environment did to the file into `UserError`; bugs pass through unchanged."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as exc:
        translated = user_error(path, str(getattr(exc.orig, "sqlite_errorname", "")))
        if translated is None:
            raise
        raise translated from exc


def replacing(row: type[Any], *keys: str) -> sa.Executable:
    """Return the statement that inserts a row of a table, or replaces the one with the same keys.

    To be made once and executed with all columns of the table: building it takes longer than executing it.
    """
    statement = insert(row)
    changed = {column.name: column for column in statement.excluded if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


class Patience:
    """How long an engine's statements wait for a lock of somebody else; a statement blocks its whole thread."""

    def __init__(self) -> None:
        self._hurried: list[int] = []

    @property
    def ms(self) -> int:
        """Milliseconds, now."""
        return min(self._hurried, default=BUSY_TIMEOUT_MS)

    @contextmanager
    def hurry(self, ms: int) -> Iterator[None]:
        """Wait no longer than this while the block runs; blocks may overlap in any order, the shortest wait counts."""
        self._hurried.append(ms)
        try:
            yield
        finally:
            self._hurried.remove(ms)


def open_engine(path: Path, *, synchronous: Literal["FULL", "NORMAL"], patience: Patience | None = None) -> sa.Engine:
    """Open a SQLite file in WAL mode.

    Args:
        path: the file; its folder must exist.
        synchronous: FULL makes every commit survive a power cut, NORMAL every crash of the process.
        patience: asked whenever a connection is used; without one it is `BUSY_TIMEOUT_MS`.
    """
    engine = sa.create_engine(f"sqlite+pysqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_MS / 1_000})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    if patience is not None:

        @event.listens_for(engine, "checkout")
        def _hurry(connection: Any, record: Any, _proxy: Any) -> None:
            ms = patience.ms
            if record.info.get("busy_ms", BUSY_TIMEOUT_MS) != ms:
                connection.execute(f"PRAGMA busy_timeout={ms}")
                record.info["busy_ms"] = ms

    return engine
