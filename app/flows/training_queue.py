"""The queue of training runs: who may start, who waits, in which order. Pure values; Qt-free, any thread.

Runs at work stand first, in the order they started; those that wait follow in the order they will start. A paused run
keeps its memory and therefore its place among those at work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from app.i18n import tr
from core.errors import UserError

Json = dict[str, Any]

FORMAT = 1
MAX_SLOTS = 8


class QueueState(StrEnum):
    """Life of a run while it is in the queue; it leaves the queue when it ends."""

    WAITING = "waiting"
    HELD = "held"  # not started until it is told to go on
    RUNNING = "running"
    PAUSING = "pausing"  # told to pause; still on its way to a point where it can
    PAUSED = "paused"
    STOPPING = "stopping"

    @property
    def waits(self) -> bool:
        """Whether the run has not started."""
        return self in (QueueState.WAITING, QueueState.HELD)


@dataclass(frozen=True, slots=True)
class QueuedRun:
    """One run.

    Attributes:
        run_id: identity.
        spec: what was asked for.
        queued_ns: when, ns UTC.
        resume: it goes on from its checkpoint.
        after: the run that must have left the queue before this one starts; "" where there is none.
        state: see `QueueState`.
        begun: its start is in the books, which tell a later session what became of it.
    """

    run_id: str
    spec: Json
    queued_ns: int
    resume: bool = False
    after: str = ""
    state: QueueState = QueueState.WAITING
    begun: bool = False


@dataclass(frozen=True, slots=True)
class TrainingQueue:
    """All runs that have not ended; every change returns another queue.

    Attributes:
        runs: see the module.
        slots: how many may be at work at a time.
    """

    runs: tuple[QueuedRun, ...] = ()
    slots: int = 1

    # --- questions --------------------------------------------------------------------------------------------

    def find(self, run_id: str) -> QueuedRun | None:
        """Return a run, None where it is not in the queue."""
        return next((run for run in self.runs if run.run_id == run_id), None)

    @property
    def at_work(self) -> tuple[QueuedRun, ...]:
        """The runs that have started, the paused ones too."""
        return tuple(run for run in self.runs if not run.state.waits)

    @property
    def waiting(self) -> tuple[QueuedRun, ...]:
        """The runs that have not started, next one first."""
        return tuple(run for run in self.runs if run.state.waits)

    def due(self) -> tuple[str, ...]:
        """Return the runs that may start now, in order."""
        free = self.slots - len(self.at_work)
        ready = [run.run_id for run in self.waiting if run.state is QueueState.WAITING and not run.after]
        return tuple(ready[: max(0, free)])

    def can_move(self, run_id: str, by: int) -> bool:
        """Return whether a waiting run has so many places above (below 0) or below it."""
        order = [run.run_id for run in self.waiting]
        return run_id in order and by != 0 and 0 <= order.index(run_id) + by < len(order)

    # --- changes by a person ----------------------------------------------------------------------------------

    def add(self, run: QueuedRun) -> TrainingQueue:
        """Append a run; one that is already there is left alone.

        A run that shall follow another one stands right behind it and those that follow it already; where that one is
        not in the queue, the run comes last and waits for nobody.
        """
        if self.find(run.run_id) is not None:
            return self
        waits = replace(run, state=QueueState.HELD if run.state is QueueState.HELD else QueueState.WAITING, begun=False)
        if self.find(run.after) is None:
            return replace(self, runs=(*self.runs, replace(waits, after="")))
        kin = {run.after}
        place = 0
        for number, other in enumerate(self.runs, start=1):
            if other.run_id == run.after or other.after in kin:
                kin.add(other.run_id)
                place = number
        place = max(place, len(self.at_work))
        return replace(self, runs=(*self.runs[:place], waits, *self.runs[place:]))

    def pause(self, run_id: str) -> TrainingQueue:
        """Let a run at work pause; one that waits is not started until it is told to go on."""
        return self._change(run_id, {QueueState.WAITING: QueueState.HELD, QueueState.RUNNING: QueueState.PAUSING})

    def resume(self, run_id: str) -> TrainingQueue:
        """Take a pause back."""
        running = QueueState.RUNNING
        return self._change(
            run_id,
            {QueueState.HELD: QueueState.WAITING, QueueState.PAUSING: running, QueueState.PAUSED: running},
        )

    def cancel(self, run_id: str) -> TrainingQueue:
        """Take a waiting run out; one at work is told to stop and stays until it has."""
        run = self.find(run_id)
        if run is not None and run.state.waits:
            return self.end(run_id)
        at_work = (QueueState.RUNNING, QueueState.PAUSING, QueueState.PAUSED)
        return self._change(run_id, dict.fromkeys(at_work, QueueState.STOPPING))

    def move(self, run_id: str, by: int) -> TrainingQueue:
        """Move a waiting run among those that wait; nothing happens where it cannot go so far.

        A run moved in front of the one it was to follow follows it no more.
        """
        if not self.can_move(run_id, by):
            return self
        order = list(self.waiting)
        place = next(number for number, run in enumerate(order) if run.run_id == run_id)
        order.insert(place + by, order.pop(place))
        seen = {run.run_id for run in self.at_work}
        kept: list[QueuedRun] = []
        for run in order:
            kept.append(run if run.after in seen else replace(run, after=""))
            seen.add(run.run_id)
        return replace(self, runs=(*self.at_work, *kept))

    def with_slots(self, slots: int) -> TrainingQueue:
        """Let so many run at a time; those at work beyond that number are not disturbed."""
        return replace(self, slots=min(MAX_SLOTS, max(1, slots)))

    # --- what happened ----------------------------------------------------------------------------------------

    def start(self, run_id: str) -> TrainingQueue:
        """Put a run that is due to work.

        Raises:
            ValueError: it is not due.
        """
        if run_id not in self.due():
            raise ValueError(f"{run_id} is not due")
        run = replace(self._get(run_id), state=QueueState.RUNNING)
        rest = tuple(other for other in self.waiting if other.run_id != run_id)
        return replace(self, runs=(*self.at_work, run, *rest))

    def note_begun(self, run_id: str) -> TrainingQueue:
        """Take note that the books know of a run's start."""
        return self._put(replace(self._get(run_id), begun=True))

    def note_paused(self, run_id: str) -> TrainingQueue:
        """Take note that a run stands still; a pause taken back meanwhile stays taken back."""
        return self._change(run_id, {QueueState.PAUSING: QueueState.PAUSED})

    def end(self, run_id: str) -> TrainingQueue:
        """Take out a run that has ended in whatever way; what was to follow it may start."""
        rest = (run for run in self.runs if run.run_id != run_id)
        return replace(self, runs=tuple(replace(run, after="") if run.after == run_id else run for run in rest))

    def in_front(self, earlier: Iterable[QueuedRun]) -> TrainingQueue:
        """Put the waiting runs of an earlier session before those that wait already."""
        known = {run.run_id for run in self.runs}
        old = tuple(run for run in earlier if run.run_id not in known)
        return replace(self, runs=(*self.at_work, *old, *self.waiting))

    # --- JSON -------------------------------------------------------------------------------------------------

    def to_json(self) -> Json:
        """Return what a later session needs."""
        runs = [
            {
                "run_id": run.run_id,
                "spec": run.spec,
                "queued_ns": run.queued_ns,
                "resume": run.resume,
                "after": run.after,
                "state": run.state.value,
                "begun": run.begun,
            }
            for run in self.runs
        ]
        return {"format": FORMAT, "slots": self.slots, "runs": runs}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Return the queue as a new session finds it: what had begun, or was being stopped, is not in it any more.

        Raises:
            UserError: the data is not a queue of this version.
        """
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}")
            found = [_run_from_json(item) for item in data["runs"]]
            slots = data["slots"]
            if type(slots) is not int or not 1 <= slots <= MAX_SLOTS:
                raise ValueError(f"{slots} slots")
            if len({run.run_id for run in found}) < len(found):
                raise ValueError("a run is there twice")
        except (KeyError, TypeError, ValueError) as exc:
            raise UserError(tr("The queue of training runs cannot be read.")) from exc
        queue = cls((), slots)
        for run in found:
            if not run.begun and run.state is not QueueState.STOPPING:
                queue = cls((*queue.runs, queue._as_waiting(run)), slots)
        return queue

    # --- inside -----------------------------------------------------------------------------------------------

    def _get(self, run_id: str) -> QueuedRun:
        run = self.find(run_id)
        if run is None:
            raise ValueError(f"{run_id} is not in the queue")
        return run

    def _put(self, run: QueuedRun) -> TrainingQueue:
        return replace(self, runs=tuple(run if other.run_id == run.run_id else other for other in self.runs))

    def _change(self, run_id: str, moves: dict[QueueState, QueueState]) -> TrainingQueue:
        run = self.find(run_id)
        if run is None or run.state not in moves:
            return self
        return self._put(replace(run, state=moves[run.state]))

    def _as_waiting(self, run: QueuedRun) -> QueuedRun:
        state = QueueState.HELD if run.state is QueueState.HELD else QueueState.WAITING
        after = run.after if self.find(run.after) is not None else ""
        return replace(run, state=state, after=after)


def _run_from_json(item: Json) -> QueuedRun:
    run = QueuedRun(
        run_id=item["run_id"],
        spec=item["spec"],
        queued_ns=item["queued_ns"],
        resume=item["resume"],
        after=item["after"],
        state=QueueState(item["state"]),
        begun=item["begun"],
    )
    kinds = (
        (run.run_id, str),
        (run.spec, dict),
        (run.queued_ns, int),
        (run.resume, bool),
        (run.after, str),
        (run.begun, bool),
    )
    if any(type(value) is not kind for value, kind in kinds):
        raise ValueError("an entry of the wrong kind")
    if not is_run_id(run.run_id):
        raise ValueError(run.run_id)
    return run


def is_run_id(text: str) -> bool:
    """Return whether a text can be the id of a run, which is also the name of its folder."""
    return re.fullmatch(r"[A-Za-z0-9_-]+", text) is not None
