"""A lock that is only looked at must not keep anybody from trading."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from core.execution import process_lock
from core.execution.process_lock import ExecutorLock, ExecutorRuns


def test_who_only_looks_does_not_keep_an_executor_from_starting(tmp_path: Path) -> None:
    lock, looker = ExecutorLock(tmp_path, "abc"), ExecutorLock(tmp_path, "abc")
    looker.acquire()  # as `is_free` does, only slower
    leaving = threading.Timer(process_lock._LOCK_POLL_S, looker.release)
    leaving.start()
    lock.acquire()
    leaving.join()
    assert not looker.is_free()
    lock.release()
    assert looker.is_free()


def test_a_lock_that_is_held_is_refused_soon(tmp_path: Path) -> None:
    first, second = ExecutorLock(tmp_path, "abc"), ExecutorLock(tmp_path, "abc")
    first.acquire()
    began = time.monotonic()
    with pytest.raises(ExecutorRuns, match="with this key"):
        second.acquire()
    assert time.monotonic() - began < 10 * process_lock._LOCK_POLL_S
    first.release()
    second.acquire()
    second.release()
