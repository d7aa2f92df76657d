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
    host = PracticeHost(lambda: process)  # type: ignore[arg-type, return-value]
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
