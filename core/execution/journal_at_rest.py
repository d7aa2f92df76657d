"""The journal of a data folder over which nothing trades, for commands that change what the next executor finds.

Any thread; the folder's lock is held while it is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.config import DataPaths
from core.errors import UserError
from core.execution.journal import Journal
from core.execution.process_lock import ExecutorLock, ExecutorRuns


@contextmanager
def journal_at_rest(paths: DataPaths, lock: ExecutorLock, remedy: str) -> Iterator[Journal]:
    """Open the journal, which must be migrated, under the folder's lock.

    Args:
        lock: that of the data folder, without a key.
        remedy: what to do where an executor runs.

    Raises:
        UserError: an executor runs, or the journal cannot be opened.
    """
    try:
        lock.acquire()
    except ExecutorRuns as exc:
        raise UserError(exc.message, remedy) from exc
    try:
        journal = Journal(paths.journal_db)
        try:
            yield journal
        finally:
            journal.close()
    finally:
        lock.release()
