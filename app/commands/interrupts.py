"""Ctrl-C during long work of a subcommand. Main thread only; Qt-free."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Turn Ctrl-C into a flag: as an exception it could strike between two events and lose the second."""
    flag = threading.Event()
    former = signal.signal(signal.SIGINT, lambda *_: flag.set())
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, former)
