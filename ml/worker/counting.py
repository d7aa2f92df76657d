"""Counts trials that do not end well, in the process that runs them. Any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.jobs import JobStopped
from ml.trial_ledger import CANCELLED, FAILED, TrialLedger, TrialRecord


@contextmanager
def counted(trials_file: Path, record: Callable[[int, str], TrialRecord]) -> Iterator[set[int]]:
    """Write down what was begun in the block where it is cancelled or fails; what ends well is the caller's to write.

    Args:
        trials_file: of the ledger.
        record: of the n-th seed with a status.

    Yields:
        A set to put the numbers of seeds into, counted from 0, once they have begun.
    """
    begun: set[int] = set()
    try:
        yield begun
    except BaseException as exc:
        status = CANCELLED if isinstance(exc, JobStopped) else FAILED
        TrialLedger(trials_file).append_all(record(index, status) for index in sorted(begun))
        raise
