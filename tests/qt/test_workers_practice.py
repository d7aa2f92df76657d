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


@pytest.fixture
def made() -> list[MortalProcess]:
    return []


@pytest.fixture
def mortal(made: list[MortalProcess], monkeypatch: pytest.MonkeyPatch) -> Iterator[PracticeHost]:
    """A host whose exchanges are ended by the test, in a time where everything goes faster."""

    def make(resume: PracticeEndpoints | None) -> MortalProcess:
        made.append(MortalProcess(resume))
        return made[-1]

    monkeypatch.setattr("app.workers.practice.WATCH_S", 0.01)
    monkeypatch.setattr("app.workers.practice.PAUSES_S", (0.01, 0.02))
    host = PracticeHost(make)  # type: ignore[arg-type]
    yield host
    assert host.stop(5)
    assert not made[-1].running


def test_an_exchange_that_ends_is_started_again_at_its_address(
    qtbot: QtBot, mortal: PracticeHost, made: list[MortalProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.practice.STEADY_S", 0.0)
    with qtbot.waitSignal(mortal.ready):
        mortal.start()
    for count in range(1, 6):  # as often as it takes: it lived long enough each time
        with qtbot.waitSignal(mortal.restarted):
            made[-1].running = False
        assert [process.resume for process in made] == [None, *[ENDPOINTS] * count]


def test_an_exchange_that_keeps_ending_is_given_up_until_a_person_asks_for_it(
    qtbot: QtBot, mortal: PracticeHost, made: list[MortalProcess]
) -> None:
    with qtbot.waitSignal(mortal.ready):
        mortal.start()
    for _ in range(2):
        for _ in range(2):
            with qtbot.waitSignal(mortal.restarted):
                made[-1].running = False
        with qtbot.waitSignal(mortal.died) as told:
            made[-1].running = False
        assert isinstance(told.args[0], UserError)
        qtbot.wait(50)
        count = len(made)
        with qtbot.waitSignal(mortal.restarted):
            mortal.revive()
        assert len(made) == count + 1


def test_one_that_was_given_up_does_not_hold_up_the_quit(
    qtbot: QtBot, mortal: PracticeHost, made: list[MortalProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.practice.PAUSES_S", ())
    with qtbot.waitSignal(mortal.ready):
        mortal.start()
    with qtbot.waitSignal(mortal.died):
        made[-1].running = False
    assert mortal.stop(5)
    assert len(made) == 1


def test_an_exchange_that_cannot_be_started_again_waits_for_a_person(
    qtbot: QtBot, mortal: PracticeHost, made: list[MortalProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    with qtbot.waitSignal(mortal.ready):
        mortal.start()

    def refuse(self: MortalProcess) -> PracticeEndpoints:
        raise UserError("Port 4711 is already in use.", "")

    with monkeypatch.context() as taken:
        taken.setattr(MortalProcess, "start", refuse)
        with qtbot.waitSignal(mortal.died) as told:
            made[-1].running = False
        assert "Port 4711" in told.args[0].message
        with qtbot.waitSignal(mortal.died):
            mortal.revive()
    with qtbot.waitSignal(mortal.restarted):
        mortal.revive()
