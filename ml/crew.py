"""Processes that a job starts for parts of its work, each a job as well. The job's main thread; torch-free.

They die with the job, however it ends, and each is given one task after the other. What is said while they are at work
is the caller's business; here they are started, told, paused and ended.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from core.job_supervisor import JobSupervisor
from core.jobs import JobCancelled, JobFailed, JobFinished, JobLog, JobProgress, JobStarted
from ml.jsonvalues import Json, JsonValue

Task = TypeVar("Task", bound=JsonValue)
CrewEvent = JobProgress | JobFailed | JobCancelled | JobFinished


@contextmanager
def children_allowed() -> Iterator[None]:
    """Let a job have children: it may not because they would outlive it, but those of a crew are jobs, which do not."""
    process = multiprocessing.current_process()
    before, process.daemon = process.daemon, False
    try:
        yield
    finally:
        process.daemon = before


class Crew(Generic[Task]):
    """Processes for tasks of one kind; each starts with its first task."""

    def __init__(
        self, name: str, target: str, job: Json, count: int, log: Callable[[str, str], None], *, threads: int = 1
    ) -> None:
        """Plan the processes.

        Args:
            name: of the run.
            target: "module:function" of the job that takes the tasks.
            job: what each process gets when it starts.
            count: of processes.
            log: gets level and text of what they log.
            threads: for the numerical libraries of each.
        """
        self._name, self._target, self._job, self._log, self._threads = name, target, job, log, threads
        self._supervisors = [JobSupervisor() for _ in range(count)]
        self._busy: dict[int, Task] = {}
        self._pids: dict[int, int] = {}

    def close(self) -> None:
        """End them at once: whatever they are at is begun anew later, or gone on with from what they saved."""
        for supervisor in self._supervisors:
            supervisor.close()

    @property
    def free(self) -> bool:
        """Whether one waits for work."""
        return len(self._busy) < len(self._supervisors)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What they are at."""
        return tuple(self._busy.values())

    @property
    def pids(self) -> tuple[int, ...]:
        """Those that are up."""
        return tuple(self._pids.values())

    def submit(self, task: Task) -> None:
        """Give a task to a free one."""
        index = next(index for index in range(len(self._supervisors)) if index not in self._busy)
        supervisor = self._supervisors[index]
        if not supervisor.running:
            supervisor.start(f"{self._name}-{index}", self._target, self._job, threads=self._threads)
        self._busy[index] = task
        supervisor.tell(task.to_json())

    def tell(self, task: Task, message: JsonValue) -> None:
        """Send a message to whoever is at a task; to nobody where it has ended."""
        for index, each in self._busy.items():
            if each is task:
                self._supervisors[index].tell(message.to_json())

    def release(self, task: Task) -> None:
        """Take note that a task is done."""
        self._busy = {index: each for index, each in self._busy.items() if each is not task}

    def pause(self) -> None:
        """Let all wait where they next look whether to stop."""
        for supervisor in self._supervisors:
            supervisor.pause()

    def resume(self) -> None:
        """Let all go on."""
        for supervisor in self._supervisors:
            supervisor.resume()

    def events(self, wait_s: float) -> Iterator[tuple[Task | None, CrewEvent]]:
        """Yield what was said since the last call, with the task it is about; a process that ended has none any more.

        Args:
            wait_s: for each process at work that has nothing to say.
        """
        for index, supervisor in enumerate(self._supervisors):
            for event in supervisor.poll(wait_s if index in self._busy else 0.0):
                if isinstance(event, JobStarted):
                    self._pids[index] = event.pid
                elif isinstance(event, JobLog):
                    self._log(event.level, event.message)
                elif isinstance(event, JobProgress):
                    yield self._busy.get(index), event
                elif isinstance(event, JobFailed | JobCancelled | JobFinished):
                    self._pids.pop(index, None)
                    yield self._busy.pop(index, None), event
