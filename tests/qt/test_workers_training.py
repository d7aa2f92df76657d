"""Training runs in children: order, progress, pauses, cancellation, shutdown, and what a restart finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Slot
from pytestqt.qtbot import QtBot

from app.flows.training_kind import TrainingKind
from app.flows.training_queue import QueueState
from app.workers.training import JobPlan, TrainingWorker, agent_stage
from core.errors import UserError
from core.jobs import JobCancelled, JobFailed, JobFinished, JobPaused, JobProgress, JobResumed, JobStarted

TARGETS = "tests.qt.training_jobs"
LIMIT = 30_000


class Books:
    """Records what a store would."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.kinds: dict[str, str] = {}

    def begin_run(self, run_id: str, kind: str, spec: dict[str, Any]) -> bool:
        self.kinds[run_id] = kind
        self.entries.append((run_id, "begun"))
        return True

    def finish_run(self, run_id: str, state: str, *, result: dict[str, Any] | None = None, message: str = "") -> bool:
        self.entries.append((run_id, state))
        return True

    def flush(self) -> Future[None]:
        future: Future[None] = Future()
        future.set_result(None)
        return future


class SlowBooks(Books):
    """Whose disk takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Future[None]] = []

    def flush(self) -> Future[None]:
        self.pending.append(Future())
        return self.pending[-1]


class Panel(QObject):
    def __init__(self, worker: TrainingWorker) -> None:
        super().__init__()
        self.events: list[Any] = []
        for signal in (
            worker.run_started,
            worker.run_progressed,
            worker.run_paused,
            worker.run_resumed,
            worker.run_logged,
            worker.run_finished,
            worker.run_failed,
            worker.run_cancelled,
        ):
            signal.connect(self.take)
        self.troubles: list[str] = []
        worker.queue_failed.connect(self.take_trouble)

    @Slot(object)
    def take_trouble(self, error: UserError) -> None:
        self.troubles.append(str(error))

    @Slot(object)
    def take(self, event: Any) -> None:
        self.events.append(event)

    def ended(self) -> list[str]:
        return [e.job_id for e in self.events if isinstance(e, JobFinished | JobFailed | JobCancelled)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


Make = Callable[..., TrainingWorker]


@pytest.fixture
def queue_file(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "queue.json"


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def make(qapp: object, books: Books, queue_file: Path) -> Iterator[Make]:
    numbers = iter(range(100))
    made: list[TrainingWorker] = []

    def job(run_id: str, spec: dict[str, Any], resume: bool) -> dict[str, Any]:
        if spec.get("bad"):
            raise UserError("The specification is not valid.", "Repair it.")
        return {"run_id": run_id, "resume": resume, **spec}

    def build(target: str, kept: Books | None = None) -> TrainingWorker:
        plan = JobPlan(f"{TARGETS}:{target}", lambda: f"run-{next(numbers)}", job)
        agents = replace(plan, stage=agent_stage)
        made.append(
            TrainingWorker({TrainingKind.FORECAST: plan, TrainingKind.AGENT: agents}, queue_file, kept or books)
        )
        return made[-1]

    yield build
    for worker in made:
        assert worker.stop(10)


@pytest.fixture
def counting(make: Make) -> TrainingWorker:
    return make("counts")


@pytest.fixture
def waiting(make: Make) -> TrainingWorker:
    return make("waits")


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


def test_the_last_message_of_every_epoch_is_heard_however_fast_they_are(qtbot: QtBot, make: Make) -> None:
    worker = make("learns")
    panel = Panel(worker)
    worker.start()
    run_id = worker.start_training({"epochs": 20})
    qtbot.waitUntil(lambda: panel.ended() == [run_id], timeout=LIMIT)
    heard = [event.payload for event in panel.of(JobProgress)]
    ends = [(said["seed_index"], said["epoch"]) for said in heard if said["batch"] == 4]
    assert ends == [(index, epoch) for index in range(3) for epoch in range(21)]
    assert len(heard) < 2 * len(ends)  # of five times as many


def test_what_a_child_printed_before_it_died_is_in_the_folder_of_its_run(
    qtbot: QtBot, make: Make, queue_file: Path
) -> None:
    worker = make("dies")
    panel = Panel(worker)
    worker.start()
    run_id = worker.start_training({})
    qtbot.waitUntil(lambda: panel.ended() == [run_id], timeout=LIMIT)
    (failed,) = panel.of(JobFailed)
    output = queue_file.parent / run_id / "output.txt"
    assert failed.remedy == f"What it printed last is in {output}."
    assert output.read_text() == "cannot go on\n"
    assert failed.details == "exit code 9\ncannot go on"


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


def test_failed_run_says_why_and_the_next_one_has_its_turn(qtbot: QtBot, make: Make, books: Books) -> None:
    worker = make("odd_or_even")
    panel = Panel(worker)
    worker.start()
    first, second = worker.start_training({"fail": True}), worker.start_training({})
    qtbot.waitUntil(lambda: panel.ended() == [first, second], timeout=LIMIT)
    failure = panel.of(JobFailed)[0]
    assert (failure.message, failure.remedy, failure.user_error) == ("There are no bars.", "Fetch some.", True)
    assert books.entries == [(first, "begun"), (first, "failed"), (second, "begun"), (second, "finished")]


def test_invalid_specification_is_refused_at_once(counting: TrainingWorker) -> None:
    with pytest.raises(UserError, match="not valid"):
        counting.start_training({"bad": True})
    assert counting.active_runs() == ()


def steps(panel: Panel, run_id: str) -> list[int]:
    return [event.payload["step"] for event in panel.of(JobProgress) if event.job_id == run_id]


def test_a_paused_run_stands_still_goes_on_and_can_be_cancelled(qtbot: QtBot, make: Make) -> None:
    worker = make("ticks")
    panel = Panel(worker)
    worker.start()
    run_id = worker.start_training({})
    while not worker.queue.at_work:
        qtbot.wait(1)
    worker.pause_training(run_id)  # there may be no child yet
    qtbot.waitUntil(lambda: len(panel.of(JobPaused)) == 1, timeout=LIMIT)
    assert worker.queue.runs[0].state is QueueState.PAUSED
    before = steps(panel, run_id)
    qtbot.wait(500)
    assert steps(panel, run_id) == before
    worker.continue_training(run_id)
    qtbot.waitUntil(lambda: len(steps(panel, run_id)) > len(before) + 1, timeout=LIMIT)
    assert panel.of(JobResumed) == [JobResumed(run_id)]
    worker.pause_training(run_id)
    qtbot.waitUntil(lambda: len(panel.of(JobPaused)) == 2, timeout=LIMIT)
    worker.cancel_training(run_id)
    qtbot.waitUntil(lambda: panel.of(JobCancelled) == [JobCancelled(run_id, forced=False)], timeout=LIMIT)


def test_two_runs_at_a_time_and_a_held_one_lets_the_next_pass(qtbot: QtBot, make: Make) -> None:
    worker = make("ticks")
    panel = Panel(worker)
    first, second, third, last = (worker.start_training({}) for _ in range(4))
    worker.pause_training(second)
    worker.move_training(last, -1)
    worker.start()
    qtbot.waitUntil(lambda: [event.job_id for event in panel.of(JobStarted)] == [first], timeout=LIMIT)
    worker.set_slots(2)
    qtbot.waitUntil(lambda: [event.job_id for event in panel.of(JobStarted)] == [first, last], timeout=LIMIT)
    qtbot.waitUntil(lambda: bool(steps(panel, first)) and bool(steps(panel, last)), timeout=LIMIT)
    assert worker.active_runs() == (first, last, second, third)
    assert len({event.pid for event in panel.of(JobStarted)}) == 2
    worker.cancel_training(first)
    qtbot.waitUntil(lambda: len(panel.of(JobStarted)) == 3, timeout=LIMIT)
    assert panel.of(JobStarted)[-1].job_id == third


def test_a_run_set_up_to_follow_another_one_starts_after_its_end(qtbot: QtBot, make: Make) -> None:
    worker = make("ticks")
    panel = Panel(worker)
    worker.set_slots(3)
    first = worker.start_training({})
    follower = worker.start_training({}, after=first)
    other = worker.start_training({})
    worker.start()
    qtbot.waitUntil(lambda: {event.job_id for event in panel.of(JobStarted)} == {first, other}, timeout=LIMIT)
    worker.cancel_training(first)
    qtbot.waitUntil(lambda: len(panel.of(JobStarted)) == 3, timeout=LIMIT)
    assert panel.of(JobStarted)[-1].job_id == follower


def test_what_waits_at_the_end_of_the_program_waits_again_and_has_its_turn(
    qtbot: QtBot, make: Make, books: Books, queue_file: Path
) -> None:
    worker = make("waits")
    panel = Panel(worker)
    worker.start()
    running, held, queued = (worker.start_training({"steps": 2}) for _ in range(3))
    worker.pause_training(held)
    qtbot.waitUntil(lambda: len(panel.of(JobProgress)) == 1, timeout=LIMIT)
    assert worker.stop(10)
    qtbot.waitUntil(lambda: panel.ended() == [running], timeout=LIMIT)
    assert books.entries == [(running, "begun"), (running, "cancelled")]

    again = make("counts")
    heard = Panel(again)
    fresh = again.start_training({"steps": 2})
    again.start()
    qtbot.waitUntil(lambda: heard.ended() == [queued, fresh], timeout=LIMIT)
    assert [run.run_id for run in again.queue.runs] == [held]
    again.continue_training(held)
    qtbot.waitUntil(lambda: heard.ended() == [queued, fresh, held], timeout=LIMIT)
    qtbot.waitUntil(lambda: json.loads(queue_file.read_bytes())["runs"] == [], timeout=LIMIT)


def test_a_run_is_out_of_the_queue_on_disk_before_its_child_starts_and_not_before_the_books_have_it(
    qtbot: QtBot, make: Make, queue_file: Path
) -> None:
    slow = SlowBooks()
    worker = make("waits", slow)
    panel = Panel(worker)
    worker.start()
    first = worker.start_training({})
    qtbot.waitUntil(lambda: bool(slow.pending), timeout=LIMIT)
    qtbot.waitUntil(lambda: queue_file.exists(), timeout=LIMIT)

    def begun() -> list[bool]:
        return [run["begun"] for run in json.loads(queue_file.read_bytes())["runs"]]

    qtbot.wait(300)
    assert begun() == [False]  # a crash now: the next session finds it waiting
    assert panel.of(JobStarted) == []
    slow.pending[0].set_result(None)
    qtbot.waitUntil(lambda: len(panel.of(JobStarted)) == 1, timeout=LIMIT)
    assert begun() == [True]  # a crash now: the books call it interrupted
    second = worker.start_training({})
    worker.cancel_training(first)
    qtbot.waitUntil(lambda: len(slow.pending) == 2, timeout=LIMIT)
    worker.cancel_training(second)  # while the disk takes its time
    qtbot.waitUntil(lambda: panel.ended() == [first, second], timeout=LIMIT)
    assert len(panel.of(JobStarted)) == 1
    assert slow.entries[-1] == (second, "cancelled")
    third = worker.start_training({})
    qtbot.waitUntil(lambda: len(slow.pending) == 3, timeout=LIMIT)
    assert worker.stop(10)
    assert [run["run_id"] for run in json.loads(queue_file.read_bytes())["runs"]] == [third]


def test_a_damaged_queue_is_put_aside_and_said(qtbot: QtBot, make: Make, queue_file: Path) -> None:
    queue_file.parent.mkdir()
    queue_file.write_text('{"format": 1, "runs": [')
    worker = make("counts")
    panel = Panel(worker)
    worker.start()
    run_id = worker.start_training({"steps": 1})
    qtbot.waitUntil(lambda: panel.ended() == [run_id], timeout=LIMIT)
    assert panel.troubles == [
        "The queue of training runs cannot be read. It was put aside as queue.json.damaged; set the runs up anew."
    ]
    assert queue_file.with_name("queue.json.damaged").read_text() == '{"format": 1, "runs": ['


def test_a_disk_that_refuses_the_queue_is_said_once_and_stops_nothing(
    qtbot: QtBot, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise UserError("The disk is full.", "Free some space.")

    monkeypatch.setattr("app.workers.queue_file.write_atomically", full)
    worker = make("counts")
    panel = Panel(worker)
    worker.start()
    first, second = worker.start_training({"steps": 1}), worker.start_training({"steps": 1})
    qtbot.waitUntil(lambda: panel.ended() == [first, second], timeout=LIMIT)
    assert panel.troubles == ["The disk is full. Free some space."]


def test_a_waiting_run_this_version_does_not_understand_fails_and_the_next_one_runs(
    qtbot: QtBot, make: Make, queue_file: Path
) -> None:
    before = make("counts")
    odd, good = before.start_training({"steps": 1}), before.start_training({"steps": 1})
    before.stop(5)
    before.start()
    assert before.join(5)
    kept = json.loads(queue_file.read_bytes())
    kept["runs"][0]["spec"] = {"bad": True}
    queue_file.write_text(json.dumps(kept))
    worker = make("counts")
    panel = Panel(worker)
    worker.start()
    qtbot.waitUntil(lambda: panel.ended() == [odd, good], timeout=LIMIT)
    assert panel.of(JobFailed) == [JobFailed(odd, "The specification is not valid.", "Repair it.", user_error=True)]


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


def test_no_pass_of_seeds_that_learn_side_by_side_is_skipped(qtbot: QtBot, make: Make, books: Books) -> None:
    worker = make("learns_side_by_side")
    panel = Panel(worker)
    worker.start()
    spec = {"algorithm": {}, "environment": {}, "passes": 12}
    run_id = worker.start_training(spec)
    qtbot.waitUntil(lambda: panel.ended() == [run_id], timeout=LIMIT)
    assert books.kinds == {run_id: "agent"}
    payloads = [event.payload for event in panel.of(JobProgress)]
    drawn = [(told["seed_index"], told["last"]["step"]) for told in payloads if told["curves"]]
    assert sorted(drawn) == [(index, step) for index in range(3) for step in range(1, 13)]
    assert [told["step"] for told in payloads if told["seed_index"] == 1][-1] == 12.3
    assert len(payloads) < 12 * 3 * 5  # the rest is left out where the window could not show it
    for index in range(3):
        steps = [told["step"] for told in payloads if told["seed_index"] == index]
        assert steps == sorted(steps)
