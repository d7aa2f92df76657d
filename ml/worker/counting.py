"""Counts trials from the moment they begin, in the process that runs them. Any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.clock import SystemClock
from core.jobs import JobStopped
from ml.api import ForecastSpec, spec_hash
from ml.trial_ledger import BEGUN, CANCELLED, FAILED, SEARCH, TrialLedger, TrialRecord, trial_record


class Beginnings:
    """Writes a seed down before it is trained: a process that is killed can no longer do so."""

    def __init__(self, trials_file: Path, record: Callable[[int, str], TrialRecord]) -> None:
        """Open the ledger.

        Args:
            trials_file: of the ledger.
            record: of the n-th seed, counted from 0, with a status.
        """
        self._ledger, self._record = TrialLedger(trials_file), record
        self._begun: set[int] = set()

    def __call__(self, index: int) -> None:
        """Write down that a seed begins; durable on return. Saying so again changes nothing."""
        if index not in self._begun:
            self._ledger.append(self._record(index, BEGUN))
            self._begun.add(index)

    def end(self, status: str) -> None:
        """Write down what came of everything begun."""
        self._ledger.append_all(self._record(index, status) for index in sorted(self._begun))


@contextmanager
def counted(trials_file: Path, record: Callable[[int, str], TrialRecord]) -> Iterator[Beginnings]:
    """Write down what is begun in the block and is cancelled or fails; what ends well is the caller's to write.

    Args:
        trials_file / record: see `Beginnings`.

    Yields:
        To be called with the number of a seed before it is trained.
    """
    begin = Beginnings(trials_file, record)
    try:
        yield begin
    except BaseException as exc:
        begin.end(CANCELLED if isinstance(exc, JobStopped) else FAILED)
        raise


def search_record(run_id: str, key: str, spec: ForecastSpec, data_hash: str, seed: int, status: str) -> TrialRecord:
    """Return the record of one network of a search's trial, without figures."""
    hashes = data_hash, spec_hash(spec)
    return trial_record(SEARCH, spec, run_id, hashes, seed, status, SystemClock().now_ns(), part=key)
