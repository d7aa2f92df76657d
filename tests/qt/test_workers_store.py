"""The single writer: order, answers, what waits at the end, disks that refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Slot
from pytestqt.qtbot import QtBot

from app.models.notifications_model import NotificationsModel
from app.past_notices import PastNotices
from app.workers.store import QueryAnswer, StoreBackend, StoreWorker
from core.clock import ManualClock
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.domain.candles import Candle, Timeframe
from core.errors import UserError
from core.events import Notice, Severity
from core.persistence.schema import ensure_migrated
from core.persistence.store import Store


class Window(QObject):
    def __init__(self, worker: StoreWorker) -> None:
        super().__init__()
        self.answers: list[QueryAnswer] = []
        self.notices: list[Notice] = []
        self.failures: list[Exception] = []
        worker.answered.connect(self.on_answer)
        worker.noticed.connect(self.on_notice)
        worker.failed.connect(self.on_failure)

    @Slot(object)
    def on_answer(self, answer: QueryAnswer) -> None:
        self.answers.append(answer)

    @Slot(object)
    def on_notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    @Slot(object)
    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    paths = DataPaths(tmp_path_factory.mktemp("store"))
    ensure_migrated(paths)
    return paths


@pytest.fixture
def backend_factory(migrated: DataPaths, tmp_path: Path) -> Callable[[], StoreBackend]:
    target = tmp_path / "store.sqlite"
    target.write_bytes(migrated.store_db.read_bytes())
    return lambda: StoreBackend(Store(target), CandleStore(tmp_path / "candles"))


@pytest.fixture
def worker(qapp: object, backend_factory: Callable[[], StoreBackend]) -> Iterator[StoreWorker]:
    made = StoreWorker(backend_factory, ManualClock(1_000))
    yield made
    assert made.stop(10)


def candle(number: int, final: bool = True) -> Candle:
    return Candle("BTC/USDT", Timeframe.M1, number * 60_000_000_000, 1, 2, 0.5, 1.5, 3, final, "stream")


def test_runs_and_notices_are_written_in_order(qtbot: QtBot, worker: StoreWorker) -> None:
    window = Window(worker)
    assert worker.begin_run("a", "forecast", {"x": 1})  # before the start: waits
    worker.start()
    assert worker.finish_run("a", "finished", result={"r2": 0.1})
    assert worker.add_notice(Notice(Severity.INFO, "hello"))
    number = worker.query(lambda backend: (backend.store.runs(), backend.store.notices()))
    qtbot.waitUntil(lambda: len(window.answers) == 1, timeout=10_000)
    answer = window.answers[0]
    runs, notices = answer.value
    assert answer.number == number
    assert answer.error is None
    assert [(run.run_id, run.state, run.result) for run in runs] == [("a", "finished", {"r2": 0.1})]
    assert notices == [(1_000, Notice(Severity.INFO, "hello"))]


def test_what_waits_at_the_end_is_written(worker: StoreWorker, backend_factory: Callable[[], StoreBackend]) -> None:
    worker.start()
    for number in range(300):
        assert worker.append_candles("binance", [candle(number)])
    worker.add_notice(Notice(Severity.INFO, "last"))
    assert worker.stop(10)
    assert not worker.append_candles("binance", [candle(999)])
    after = backend_factory()
    assert len(after.candles.read("binance", "BTC/USDT", Timeframe.M1)) == 300
    assert [notice.title for _, notice in after.store.notices()] == ["last"]
    after.store.close()


def test_flush_tells_when_it_is_done(
    qtbot: QtBot, worker: StoreWorker, backend_factory: Callable[[], StoreBackend]
) -> None:
    worker.start()
    worker.append_candles("binance", [candle(1)])
    worker.flush().result(10)
    assert len(backend_factory().candles.read("binance", "BTC/USDT", Timeframe.M1)) == 1
    assert worker.stop(10)
    with pytest.raises(UserError):
        worker.flush().result(1)


def test_notices_of_earlier_sessions_come_back_once(
    qtbot: QtBot, worker: StoreWorker, backend_factory: Callable[[], StoreBackend]
) -> None:
    before = backend_factory()
    for number in range(3):
        before.store.add_notice(Notice(Severity.INFO, f"then {number}"), 100 + number)
    before.store.close()
    model = NotificationsModel()
    past = PastNotices(worker, model, ManualClock(500))
    worker.add_notice(Notice(Severity.INFO, "now"))  # at 1,000, of this session
    worker.start()
    past.load()
    worker.query(lambda backend: None)  # an answer for somebody else
    qtbot.waitUntil(lambda: model.flush() or model.rowCount() > 0, timeout=10_000)
    assert [(row.time_ns, row.notice.title) for row in model.records()] == [
        (100, "then 0"),
        (101, "then 1"),
        (102, "then 2"),
    ]


def test_disk_that_refuses_is_told_and_the_writer_goes_on(
    qtbot: QtBot, worker: StoreWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Window(worker)

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise UserError("The disk is full.", "Free some space.")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "begin_run", full)
        patch.setattr(Store, "add_notice", full)
        worker.start()
        worker.begin_run("a", "forecast", {})
        worker.add_notice(Notice(Severity.INFO, "not kept"))  # its own failure must not make another notice
        failing = worker.query(lambda backend: full())
        qtbot.waitUntil(lambda: len(window.answers) == 1, timeout=10_000)
    assert window.answers[0].number == failing
    assert isinstance(window.answers[0].error, UserError)
    assert [notice.text for notice in window.notices] == ["The disk is full. Free some space."]
    worker.begin_run("b", "forecast", {})
    worker.query(lambda backend: [run.run_id for run in backend.store.runs()])
    qtbot.waitUntil(lambda: len(window.answers) == 2, timeout=10_000)
    assert window.answers[1].value == ["b"]


def test_bug_in_a_job_reaches_the_crash_handler_and_the_writer_goes_on(
    qtbot: QtBot, worker: StoreWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BaseException] = []
    monkeypatch.setattr("sys.excepthook", lambda _kind, error, _trace: seen.append(error))
    window = Window(worker)
    worker.start()
    worker.finish_run("no such run", "finished")
    worker.query(lambda backend: 1)
    qtbot.waitUntil(lambda: [answer.value for answer in window.answers] == [1], timeout=10_000)
    assert [type(error) for error in seen] == [KeyError]


def test_file_that_cannot_be_opened_fails_the_worker_and_everything_given_to_it(qtbot: QtBot) -> None:
    def broken() -> StoreBackend:
        raise UserError("The database is damaged.", "Restore a backup.")

    worker = StoreWorker(broken, ManualClock())
    window = Window(worker)
    future = worker.flush()
    worker.start()
    qtbot.waitUntil(lambda: len(window.failures) == 1, timeout=10_000)
    assert isinstance(window.failures[0], UserError)
    with pytest.raises(UserError):
        future.result(5)
    assert not worker.add_notice(Notice(Severity.INFO, "x"))
    assert worker.stop(5)


def test_stop_that_overtakes_the_start_loses_nothing(
    worker: StoreWorker, backend_factory: Callable[[], StoreBackend]
) -> None:
    worker.add_notice(Notice(Severity.INFO, "kept"))
    worker.request_stop()
    worker.start()
    assert worker.join(10)
    after = backend_factory()
    assert [notice.title for _, notice in after.store.notices()] == ["kept"]
    after.store.close()


def test_worker_never_started_opens_nothing(qapp: object) -> None:
    opened = threading.Event()

    def open_backend() -> StoreBackend:
        opened.set()
        raise AssertionError("must not open")

    worker = StoreWorker(open_backend, ManualClock())
    assert worker.stop(5)
    assert not opened.is_set()
