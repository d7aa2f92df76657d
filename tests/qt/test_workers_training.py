"""Training runs in children: order, progress, cancellation, shutdown."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from PySide6.QtCore import QObject, Slot
from pytestqt.qtbot import QtBot

from app.workers.training import JobPlan, TrainingWorker
from core.errors import UserError
from core.jobs import JobCancelled, JobFailed, JobFinished, JobProgress, JobStarted

TARGETS = "tests.qt.training_jobs"
LIMIT = 30_000


class Books:
    """Records what a store would."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    def begin_run(self, run_id: str, kind: str, spec: dict[str, Any]) -> bool:
        self.entries.append((run_id, "begun"))
        return True

    def finish_run(self, run_id: str, state: str, *, result: dict[str, Any] | None = None, message: str = "") -> bool:
        self.entries.append((run_id, state))
        return True

    def flush(self) -> Future[None]:
        future: Future[None] = Future()
        future.set_result(None)
        return future


class Panel(QObject):
    def __init__(self, worker: TrainingWorker) -> None:
        super().__init__()
        self.events: list[Any] = []
        for signal in (
            worker.run_started,
            worker.run_progressed,
            worker.run_logged,
            worker.run_finished,
            worker.run_failed,
            worker.run_cancelled,
        ):
            signal.connect(self.take)

    @Slot(object)
    def take(self, event: Any) -> None:
        self.events.append(event)

    def ended(self) -> list[str]:
        return [e.job_id for e in self.events if isinstance(e, JobFinished | JobFailed | JobCancelled)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def make_worker(target: str, books: Books | None = None) -> TrainingWorker:
    numbers = iter(range(100))

    def make(run_id: str, spec: dict[str, Any], resume: bool) -> dict[str, Any]:
        if spec.get("bad"):
            raise UserError("The specification is not valid.", "Repair it.")
        return {"run_id": run_id, "resume": resume, **spec}

    return TrainingWorker(JobPlan("test", f"{TARGETS}:{target}", lambda: f"run-{next(numbers)}", make), books)


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def counting(qapp: object, books: Books) -> Iterator[TrainingWorker]:
    worker = make_worker("counts", books)
    yield worker
    assert worker.stop(10)


@pytest.fixture
def waiting(qapp: object, books: Books) -> Iterator[TrainingWorker]:
    worker = make_worker("waits", books)
    yield worker
    assert worker.stop(10)


def test_runs_take_turns_and_are_booked(qtbot: QtBot, counting: TrainingWorker, books: Books) -> None:
    panel = Panel(counting)
    counting.start()
    first = counting.start_training({"steps": 400})
    second = counting.start_training({"steps": 3})
    assert (first, second) == ("run-0", "run-1")
    qtbot.waitUntil(lambda: panel.ended() == [first, second], timeout=LIMIT)
    assert [event.result for event in panel.of(JobFinished)] == [
        {"steps": 400, "resume": False},
        {"steps": 3, "resume": False},
    ]
    progress = [event for event in panel.of(JobProgress) if event.job_id == first]
    assert progress[-1].payload == {"step": 400}  # the last one always comes
    assert len(progress) < 100  # of 400
    assert books.entries == [(first, "begun"), (first, "finished"), (second, "begun"), (second, "finished")]
    assert counting.active_runs() == ()


def test_cancelling_the_running_and_the_waiting_run(qtbot: QtBot, waiting: TrainingWorker, books: Books) -> None:
    panel = Panel(waiting)
    waiting.start()
    running, queued = waiting.start_training({}), waiting.start_training({})
    qtbot.waitUntil(lambda: len(panel.of(JobProgress)) > 0, timeout=LIMIT)
    assert waiting.active_runs() == (running, queued)
    waiting.cancel_training(queued)
    waiting.cancel_training(running)
    qtbot.waitUntil(lambda: panel.ended() == [queued, running], timeout=LIMIT)
    assert books.entries == [(running, "begun"), (running, "cancelled")]
    waiting.cancel_training(running)
    waiting.cancel_training("unknown")


def test_a_run_goes_on_under_its_own_id_and_only_once(qtbot: QtBot, counting: TrainingWorker, books: Books) -> None:
    panel = Panel(counting)
    counting.resume_training("early", {"steps": 2})
    counting.resume_training("early", {"steps": 2})
    assert counting.active_runs() == ("early",)
    counting.start()
    qtbot.waitUntil(lambda: panel.ended() == ["early"], timeout=LIMIT)
    assert [event.result for event in panel.of(JobFinished)] == [{"steps": 2, "resume": True}]
    assert books.entries == [("early", "begun"), ("early", "finished")]


def test_cancelling_at_once_never_leaves_a_child(qtbot: QtBot, waiting: TrainingWorker) -> None:
    panel = Panel(waiting)
    waiting.start()
    for _ in range(3):
        waiting.cancel_training(waiting.start_training({}))
    qtbot.waitUntil(lambda: len(panel.ended()) == 3, timeout=LIMIT)
    assert len(panel.of(JobCancelled)) == 3


def test_failed_run_says_why(qtbot: QtBot, qapp: object, books: Books) -> None:
    worker = make_worker("fails", books)
    panel = Panel(worker)
    worker.start()
    worker.start_training({})
    qtbot.waitUntil(lambda: len(panel.of(JobFailed)) == 1, timeout=LIMIT)
    failure = panel.of(JobFailed)[0]
    assert (failure.message, failure.remedy, failure.user_error) == ("There are no bars.", "Fetch some.", True)
    assert books.entries[-1] == ("run-0", "failed")
    assert worker.stop(10)


def test_invalid_specification_is_refused_at_once(counting: TrainingWorker) -> None:
    with pytest.raises(UserError, match="not valid"):
        counting.start_training({"bad": True})
    assert counting.active_runs() == ()


def test_stop_ends_the_child_and_cancels_the_queue(qtbot: QtBot, waiting: TrainingWorker) -> None:
    panel = Panel(waiting)
    waiting.start()
    running, queued = waiting.start_training({}), waiting.start_training({})
    qtbot.waitUntil(lambda: len(panel.of(JobStarted)) == 1, timeout=LIMIT)
    assert waiting.stop(10)
    qtbot.waitUntil(lambda: panel.ended() == [running, queued], timeout=LIMIT)


def test_stop_before_start(qapp: object) -> None:
    worker = make_worker("counts")
    worker.start_training({"steps": 1})
    assert worker.stop(5)
    worker.start()
    assert worker.join(5)


def test_child_that_cannot_be_started_is_a_failed_run(
    qtbot: QtBot, counting: TrainingWorker, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("core.job_supervisor.JobSupervisor.start", full)
    panel = Panel(counting)
    counting.start()
    counting.start_training({"steps": 1})
    qtbot.waitUntil(lambda: len(panel.of(JobFailed)) == 1, timeout=LIMIT)
    assert "Resource temporarily unavailable" in panel.of(JobFailed)[0].message
    assert books.entries[-1] == ("run-0", "failed")
