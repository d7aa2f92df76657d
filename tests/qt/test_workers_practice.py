from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot

from app.workers.practice import PracticeHost
from core.errors import UserError
from core.practice.control import PracticeEndpoints


class SlowProcess:
    """An exchange that never becomes ready by itself."""

    def __init__(self) -> None:
        self.starting, self.cancelled = threading.Event(), threading.Event()

    def start(self) -> PracticeEndpoints:
        self.starting.set()
        self.cancelled.wait(60)
        raise UserError("The practice exchange ended at once.", "")

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def process() -> SlowProcess:
    return SlowProcess()


@pytest.fixture
def host(process: SlowProcess) -> Iterator[PracticeHost]:
    host = PracticeHost(lambda resume: process)  # type: ignore[arg-type, return-value]
    yield host
    process.cancel()
    assert host.stop(5)


def test_a_start_that_lasts_does_not_hold_up_the_quit(qtbot: QtBot, host: PracticeHost, process: SlowProcess) -> None:
    failures: list[object] = []
    host.failed.connect(failures.append)
    host.start()
    assert process.starting.wait(5)
    assert host.stop(30), "it waited for the start instead of giving it up"
    assert host.endpoints.cancelled()
    qtbot.wait(1)
    assert failures == []


def test_a_start_that_fails_is_told_to_all_who_wait(qtbot: QtBot, host: PracticeHost, process: SlowProcess) -> None:
    process.cancelled.set()
    with qtbot.waitSignal(host.failed) as told:
        host.start()
    assert isinstance(told.args[0], UserError)
    assert host.endpoints.exception(5) is told.args[0]


class MortalProcess:
    """An exchange that runs until it is killed."""

    def __init__(self, resume: PracticeEndpoints | None) -> None:
        self.resume, self.running = resume, False

    def start(self) -> PracticeEndpoints:
        self.running = True
        return ENDPOINTS

    def cancel(self) -> None: ...

    def stop(self) -> None:
        self.running = False


ENDPOINTS = PracticeEndpoints(
    "http://127.0.0.1:4711", "ws://127.0.0.1:4711", "ws://127.0.0.1:4711", "http://127.0.0.1:4711/c", (), "t", "k", "s"
)


def test_an_exchange_that_ends_is_started_again_at_its_address_unless_it_ends_at_once(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[MortalProcess] = []

    def make(resume: PracticeEndpoints | None) -> MortalProcess:
        made.append(MortalProcess(resume))
        return made[-1]

    monkeypatch.setattr("app.workers.practice.WATCH_S", 0.01)
    monkeypatch.setattr("app.workers.practice.STEADY_S", 0.0)
    host = PracticeHost(make)  # type: ignore[arg-type]
    try:
        with qtbot.waitSignal(host.ready):
            host.start()
        with qtbot.waitSignal(host.restarted):
            made[0].running = False
        assert [process.resume for process in made] == [None, ENDPOINTS]
        monkeypatch.setattr("app.workers.practice.STEADY_S", 60.0)
        with qtbot.waitSignal(host.died) as told:
            made[1].running = False
        assert isinstance(told.args[0], UserError)
        assert len(made) == 2
    finally:
        assert host.stop(5)
    assert not made[-1].running
