"""Leak fixtures of the Qt tests: what a test starts, it ends.

Each test fails if it leaves a running thread, an active timer or a top-level widget behind; the message says where the
thread or timer was started.
"""

from __future__ import annotations

import gc
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QThread, QThreadPool, QTimer
from PySide6.QtWidgets import QApplication, QWidget
from shiboken6 import isValid


def settle() -> None:
    """Run everything that waits in the event queue, deferred deletions too, and collect garbage."""
    for _ in range(3):
        QCoreApplication.sendPostedEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QCoreApplication.processEvents()
    gc.collect()


class _Recorder:
    """Notes which threads and timers a test starts, and where."""

    def __init__(self) -> None:
        self.started: list[tuple[weakref.ref[Any], str]] = []

    def note(self, thing: QObject) -> None:
        stack = "".join(traceback.format_stack(limit=8)[:-2])
        self.started.append((weakref.ref(thing), stack))

    def living(self) -> Iterator[tuple[Any, str]]:
        for reference, stack in self.started:
            thing = reference()
            if thing is not None and isValid(thing):
                yield thing, stack


def _wrap(monkeypatch: pytest.MonkeyPatch, kind: type, recorder: _Recorder) -> None:
    original = kind.start  # type: ignore[attr-defined]

    def start(self: QObject, *args: Any, **kwargs: Any) -> None:
        recorder.note(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "start", start)


def _threads() -> set[threading.Thread]:
    # Foreign threads (QThreads) stay listed as dummies after their end; QThreads are checked as such.
    return {t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)}


@pytest.fixture(scope="session", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Exempt what is imported already from the collection after every test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _nothing_left_behind(qapp: QApplication) -> Iterator[None]:
    """Fail the test that leaves something running. Before every other fixture, so that it looks last."""
    threads, timers = _Recorder(), _Recorder()
    python_threads = _threads()
    windows = set(QApplication.topLevelWidgets())
    # Its own patcher: the shared `monkeypatch` would be undone before the check.
    with pytest.MonkeyPatch.context() as patch:
        _wrap(patch, QThread, threads)
        _wrap(patch, QTimer, timers)
        gc.disable()  # a collection in a worker thread would destroy objects of the GUI thread there
        yield
    gc.enable()
    settle()
    QThreadPool.globalInstance().waitForDone(1000)
    deadline = time.monotonic() + 2  # executors of asyncio loops end a moment after their loop
    while (extra := _threads() - python_threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    complaints = [f"Python thread {t.name} still runs" for t in extra]
    for thread, stack in threads.living():
        if thread.isRunning():
            complaints.append(f"{thread!r} still runs, started\n{stack}")
            thread.requestInterruption()
            if not thread.wait(2000):
                thread.terminate()  # a living thread would crash the tests after this one
                thread.wait(1000)
    for timer, stack in timers.living():
        if timer.isActive():
            complaints.append(f"{timer!r} is still active, started\n{stack}")
            timer.stop()
    for widget in QApplication.topLevelWidgets():
        if widget not in windows:
            complaints.append(f"top-level widget left: {widget!r} {widget.objectName()!r}")
            widget.close()
            widget.deleteLater()
    if complaints:
        settle()
        pytest.fail("the test left things behind:\n" + "\n".join(complaints), pytrace=False)


@pytest.fixture
def assert_collected() -> Callable[[Callable[[], QObject]], None]:
    """Return a check that an object and its Python wrapper vanish after `close` and `deleteLater`."""

    def check(make: Callable[[], QObject]) -> None:
        thing = make()
        reference = weakref.ref(thing)
        if isinstance(thing, QWidget):
            thing.close()
        thing.deleteLater()
        del thing
        settle()
        alive = reference()
        assert alive is None, (
            f"leaked: {object.__repr__(alive)}, held by {[type(r) for r in gc.get_referrers(alive)][:5]}"
        )

    return check
