"""The queue of training runs: order, slots, pauses, and what a restart finds."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.flows.training_queue import MAX_SLOTS, QueuedRun, QueueState, TrainingQueue
from core.errors import UserError


def queued(run_id: str, after: str = "", *, resume: bool = False) -> QueuedRun:
    return QueuedRun(run_id, {"name": run_id}, 5, resume, after)


def queue_of(*run_ids: str, slots: int = 1) -> TrainingQueue:
    queue = TrainingQueue(slots=slots)
    for run_id in run_ids:
        queue = queue.add(queued(run_id))
    return queue


def order(queue: TrainingQueue) -> list[str]:
    return [run.run_id for run in queue.runs]


def state(queue: TrainingQueue, run_id: str) -> QueueState:
    run = queue.find(run_id)
    assert run is not None
    return run.state


def test_runs_start_in_order_and_one_that_ends_lets_the_next_one_start() -> None:
    queue = queue_of("a", "b", "c")
    assert queue.due() == ("a",)
    queue = queue.start("a")
    assert queue.due() == ()
    with pytest.raises(ValueError, match="not due"):
        queue.start("b")
    assert queue.end("a").due() == ("b",)
    assert queue.with_slots(3).due() == ("b", "c")
    assert queue.with_slots(0).slots == 1
    assert queue.with_slots(99).slots == MAX_SLOTS


def test_a_paused_run_keeps_its_place_and_a_held_one_lets_others_pass() -> None:
    queue = queue_of("a", "b", "c").start("a").pause("a")
    assert state(queue, "a") is QueueState.PAUSING
    queue = queue.note_paused("a")
    assert state(queue, "a") is QueueState.PAUSED
    assert queue.due() == ()
    queue = queue.pause("b").end("a")
    assert queue.due() == ("c",)
    queue = queue.resume("b")
    assert queue.due() == ("b",)


def test_a_pause_taken_back_before_it_came_about_stays_taken_back() -> None:
    queue = queue_of("a").start("a").pause("a").resume("a").note_paused("a")
    assert state(queue, "a") is QueueState.RUNNING


def test_cancelling_takes_a_waiting_run_out_and_stops_a_paused_one() -> None:
    queue = queue_of("a", "b").start("a").pause("a").note_paused("a").cancel("b").cancel("a")
    assert order(queue) == ["a"]
    assert state(queue, "a") is QueueState.STOPPING
    assert queue.pause("a") == queue.resume("a") == queue.cancel("a") == queue
    assert queue.cancel("unknown") == queue


def test_waiting_runs_are_moved_among_themselves_only() -> None:
    queue = queue_of("a", "b", "c", "d").start("a")
    assert not queue.can_move("a", 1)
    assert not queue.can_move("b", -1)
    assert order(queue.move("b", -1)) == ["a", "b", "c", "d"]
    assert order(queue.move("d", -1)) == ["a", "b", "d", "c"]
    assert order(queue.move("b", 2)) == ["a", "c", "d", "b"]


def test_a_run_that_follows_another_stands_behind_it_and_waits_for_its_end() -> None:
    queue = queue_of("a", "b", "c", slots=3).add(queued("a2", "a")).add(queued("a3", "a")).add(queued("b2", "b"))
    assert order(queue) == ["a", "a2", "a3", "b", "b2", "c"]
    assert queue.due() == ("a", "b", "c")
    queue = queue.start("a").end("a")
    assert queue.due() == ("a2", "a3", "b")
    assert order(queue.add(queued("late", "gone")))[-1] == "late"
    assert queue.add(queued("late", "gone")).find("late") == queued("late")
    assert queue.add(queued("b")) == queue  # twice is once


def test_a_run_moved_before_the_one_it_follows_follows_it_no_more() -> None:
    queue = queue_of("x", "a").add(queued("b", "a"))
    assert queue.move("b", -1).find("b") == queued("b")
    assert queue.move("a", 1).find("b") == queued("b")
    assert queue.move("b", 0) == queue
    assert queue.add(queued("c")).move("b", 1).find("b") == queued("b", "a")


def test_what_had_begun_is_not_in_the_queue_of_the_next_session() -> None:
    queue = queue_of("a", "b", "c", "d", slots=3)
    for run_id in ("a", "b", "c"):
        queue = queue.start(run_id)
    queue = queue.note_begun("a").cancel("b").pause("d").add(queued("e", "a")).add(queued("f", "d", resume=True))
    found = TrainingQueue.from_json(json.loads(json.dumps(queue.to_json())))
    # "c" was about to begin: nobody else knows of it.
    assert [(run.run_id, run.state) for run in found.runs] == [
        ("c", QueueState.WAITING),
        ("e", QueueState.WAITING),
        ("d", QueueState.HELD),
        ("f", QueueState.WAITING),
    ]
    assert [run.after for run in found.runs] == ["", "", "", "d"]
    assert [run.resume for run in found.runs] == [False, False, False, True]
    assert found.slots == 3
    assert order(queue_of("a", "n").start("a").in_front(found.runs)) == ["a", "c", "e", "d", "f", "n"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"slots": 0},
        {"slots": True},
        {"slots": 1_000},
        {"runs": [{}]},
        {"runs": "abc"},
        {"runs": [queue_of("a").to_json()["runs"][0] | {"state": "flying"}]},
        {"runs": [queue_of("a").to_json()["runs"][0] | {"spec": "text"}]},
        {"runs": [queue_of("a").to_json()["runs"][0] | {"run_id": ""}]},
        {"runs": [queue_of("a").to_json()["runs"][0] | {"run_id": ".."}]},
        {"runs": queue_of("a").to_json()["runs"] * 2},
    ],
)
def test_what_is_no_queue_is_refused_in_one_sentence(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="queue of training runs cannot be read"):
        TrainingQueue.from_json(queue_of("a").to_json() | change)
    with pytest.raises(UserError):
        TrainingQueue.from_json(["a"])


class Commands(RuleBasedStateMachine):
    """Any order of commands and events against a plain account of what was asked for."""

    @initialize(slots=st.integers(1, 4))
    def begin(self, slots: int) -> None:
        self.queue = TrainingQueue(slots=slots)
        self.most_slots = slots
        self.asked: list[str] = []
        self.started: list[str] = []
        self.ended: list[str] = []
        self.taken_out: list[str] = []

    def some(self, number: int) -> str:
        return self.asked[number % len(self.asked)] if self.asked else "nobody"

    @rule(follows=st.booleans(), number=st.integers(0, 50))
    def add(self, follows: bool, number: int) -> None:
        run_id = f"r{len(self.asked)}"
        self.queue = self.queue.add(queued(run_id, self.some(number) if follows else ""))
        self.asked.append(run_id)

    @rule(number=st.integers(0, 50))
    def add_again(self, number: int) -> None:
        run_id = self.some(number)
        if self.queue.find(run_id) is not None:
            assert self.queue.add(queued(run_id)) == self.queue

    @rule(number=st.integers(0, 50))
    def pause(self, number: int) -> None:
        self.queue = self.queue.pause(self.some(number))

    @rule(number=st.integers(0, 50))
    def resume(self, number: int) -> None:
        self.queue = self.queue.resume(self.some(number))

    @rule(number=st.integers(0, 50))
    def note_paused(self, number: int) -> None:
        self.queue = self.queue.note_paused(self.some(number))

    @rule(number=st.integers(0, 50))
    def cancel(self, number: int) -> None:
        run = self.queue.find(self.some(number))
        self.queue = self.queue.cancel(self.some(number))
        if run is not None and run.state.waits:
            self.taken_out.append(run.run_id)

    @rule(number=st.integers(0, 50), by=st.integers(-3, 3))
    def move(self, number: int, by: int) -> None:
        run_id = self.some(number)
        before = [run.run_id for run in self.queue.waiting if run.run_id != run_id]
        self.queue = self.queue.move(run_id, by)
        assert [run.run_id for run in self.queue.waiting if run.run_id != run_id] == before

    @rule(slots=st.integers(1, 4))
    def change_slots(self, slots: int) -> None:
        self.queue = self.queue.with_slots(slots)
        self.most_slots = max(self.most_slots, slots)

    @precondition(lambda self: bool(self.queue.due()))
    @rule()
    def start(self) -> None:
        free = self.queue.slots - len(self.queue.at_work)
        due = self.queue.due()
        assert 0 < len(due) <= free
        ready = [r.run_id for r in self.queue.waiting if r.state is QueueState.WAITING and not r.after]
        assert list(due) == ready[: len(due)]
        self.queue = self.queue.start(due[0])
        self.started.append(due[0])
        assert len(self.queue.at_work) <= self.queue.slots

    @precondition(lambda self: bool(self.queue.at_work))
    @rule(number=st.integers(0, 50))
    def end(self, number: int) -> None:
        run = self.queue.at_work[number % len(self.queue.at_work)]
        self.queue = self.queue.end(run.run_id)
        self.ended.append(run.run_id)

    @rule()
    def restart_after_a_crash(self) -> None:
        """What waits is there again, in its order; what was about to begin was known to nobody else."""
        found = TrainingQueue.from_json(json.loads(json.dumps(self.queue.to_json())))
        stopped = [run.run_id for run in self.queue.runs if run.state is QueueState.STOPPING]
        assert order(found) == [run_id for run_id in order(self.queue) if run_id not in stopped]
        assert not found.at_work
        self.ended += stopped
        for run in found.runs:
            if run.run_id in self.started:
                self.started.remove(run.run_id)
        self.queue = found

    @invariant()
    def nobody_is_lost_or_there_twice(self) -> None:
        gone = self.ended + self.taken_out
        assert sorted(order(self.queue) + gone) == sorted(self.asked)

    @invariant()
    def nobody_starts_twice(self) -> None:
        assert len(set(self.started)) == len(self.started)

    @invariant()
    def never_more_at_work_than_were_allowed(self) -> None:
        assert len(self.queue.at_work) <= self.most_slots

    @invariant()
    def those_at_work_stand_first_and_nobody_precedes_whom_it_follows(self) -> None:
        states = [run.state.waits for run in self.queue.runs]
        assert states == sorted(states)
        places = order(self.queue)
        for place, run in enumerate(self.queue.runs):
            assert not run.after or places.index(run.after) < place


TestCommands = Commands.TestCase


@given(st.integers(1, 6), st.integers(1, 4))
def test_every_run_has_its_turn_in_the_order_of_the_queue(count: int, slots: int) -> None:
    """Without anybody interfering, failures or not, all start, in order."""
    queue = queue_of(*(f"r{n}" for n in range(count)), slots=slots)
    started: list[str] = []
    while queue.runs:
        for run_id in queue.due():
            queue = queue.start(run_id)
            started.append(run_id)
        queue = queue.end(queue.at_work[0].run_id)
    assert started == [f"r{n}" for n in range(count)]
