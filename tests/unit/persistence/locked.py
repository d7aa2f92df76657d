"""A database that another program locks, as a backup or a database browser does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def locked_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold SQLite's write lock over a file while the block runs; whoever reads may go on reading.

    Closing the connection that is yielded gives the lock back early.
    """
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.0, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
