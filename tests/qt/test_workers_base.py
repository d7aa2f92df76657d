"""Worker threads: every order of start and stop, errors, submitted work, many cycles."""

from __future__ import annotations

import asyncio
import threading

import pytest
from PySide6.QtCore import QObject, QThread, Slot
from pytestqt.qtbot import QtBot

from app.workers.base import AsyncWorkerThread, WorkerThread


class Echo(AsyncWorkerThread):
    """Serves until stopped and notes its clean-up."""

    def __init__(self, *, raises: Exception | None = None, returns: bool = False) -> None:
        super().__init__("echo")
        self.raises, self.returns = raises, returns
        self.served = self.cleaned = False
        self.errors: list[Exception] = []

    async def serve(self) -> None:
        self.served = True
        if self.raises is not None:
            raise self.raises
        if self.returns:
            return
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            self.cleaned = True


class Sleeper(WorkerThread):
    """A plain worker that waits for its wake-up."""

    def __init__(self, *, raises: Exception | None = None) -> None:
        super().__init__("sleeper")
        self.raises = raises
        self._woken = threading.Event()

    def work(self) -> None:
        if self.raises is not None:
            raise self.raises
        self._woken.wait(10)

    def _wake(self) -> None:
        self._woken.set()


class Catcher(QObject):
    """Collects failures in the GUI thread."""

    def __init__(self) -> None:
        super().__init__()
        self.caught: list[Exception] = []
        self.threads: list[QThread] = []

    @Slot(object)
    def take(self, error: Exception) -> None:
        self.caught.append(error)
        self.threads.append(QThread.currentThread())


@pytest.mark.parametrize("make", [Echo, Sleeper])
def test_start_stop(make: type[WorkerThread]) -> None:
    worker = make()  # type: ignore[call-arg]
    worker.start()
    assert worker.stop(5)
    assert not worker.isRunning()
    assert worker.stop(1)  # again, after the end


@pytest.mark.parametrize("make", [Echo, Sleeper])
def test_stop_before_start_does_nothing_and_does_not_hang(make: type[WorkerThread]) -> None:
    worker = make()  # type: ignore[call-arg]
    assert worker.stop(60)
    worker.start()
    assert worker.join(60)
    assert not getattr(worker, "served", False)


def test_clean_up_always_runs(qtbot: QtBot) -> None:
    worker = Echo()
    worker.start()
    qtbot.waitUntil(lambda: worker.served, timeout=5000)
    assert worker.stop(5)
    assert worker.cleaned


def test_many_quick_cycles_leave_nothing() -> None:
    before = threading.active_count()
    for number in range(150):
        worker = Echo()
        worker.start()
        if number % 3 == 0:
            worker.submit(lambda: asyncio.sleep(0))
        if number % 5 == 0:
            QThread.msleep(1)
        assert worker.stop(5), number
    assert threading.active_count() <= before + 150  # dummies are reused by identity, real threads are gone
    assert not worker.isRunning()


@pytest.mark.parametrize("make", [Echo, Sleeper])
def test_failure_arrives_in_the_gui_thread(qtbot: QtBot, make: type[WorkerThread]) -> None:
    error = ValueError("broken")
    worker = make(raises=error)  # type: ignore[call-arg]
    catcher = Catcher()
    worker.failed.connect(catcher.take)
    worker.start()
    qtbot.waitUntil(lambda: catcher.caught == [error], timeout=5000)
    assert catcher.threads == [catcher.thread()]
    assert worker.stop(5)


def test_serve_that_returns_ends_the_thread() -> None:
    worker = Echo(returns=True)
    worker.start()
    assert worker.join(5)
    assert not worker.submit(lambda: asyncio.sleep(0))


def test_submitted_work_runs_also_when_given_before_the_start(qtbot: QtBot) -> None:
    worker, done = Echo(), []

    async def job(number: int) -> None:
        done.append(number)

    assert worker.submit(lambda: job(1))
    worker.start()
    assert worker.submit(lambda: job(2))
    qtbot.waitUntil(lambda: done == [1, 2], timeout=5000)
    assert worker.stop(5)
    assert not worker.submit(lambda: job(3))
    assert done == [1, 2]


def test_error_of_submitted_work_is_reported_and_the_worker_goes_on(qtbot: QtBot) -> None:
    worker, catcher, done = Echo(), Catcher(), []
    worker.failed.connect(catcher.take)

    async def bad() -> None:
        raise KeyError("lost")

    async def good() -> None:
        done.append(1)

    worker.start()
    worker.submit(bad)
    worker.submit(good)
    qtbot.waitUntil(lambda: done == [1] and len(catcher.caught) == 1, timeout=5000)
    assert isinstance(catcher.caught[0], KeyError)
    assert worker.stop(5)


def test_submitted_work_under_way_is_cancelled_with_its_clean_up(qtbot: QtBot) -> None:
    worker, steps = Echo(), []

    async def slow() -> None:
        steps.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cleaned")

    worker.start()
    worker.submit(slow)
    qtbot.waitUntil(lambda: steps == ["began"], timeout=5000)
    assert worker.stop(5)
    assert steps == ["began", "cleaned"]


def test_task_nobody_awaits_reaches_the_crash_handler(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[BaseException] = []
    monkeypatch.setattr("sys.excepthook", lambda _kind, error, _trace: seen.append(error))

    async def careless() -> None:
        async def fails() -> None:
            raise RuntimeError("nobody looked")

        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0.01)
        del task

    worker = Echo()
    worker.start()
    worker.submit(careless)
    qtbot.waitUntil(lambda: len(seen) == 1, timeout=5000)
    assert worker.stop(5)
    assert "nobody looked" in str(seen[0])
