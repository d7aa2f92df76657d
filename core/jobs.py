"""Protocol between a supervisor and a job child, and the job messages. Any thread; Qt-free and torch-free.

A job is a function `run(spec: dict, channel: JobChannel) -> dict` in an importable module, named by its dotted path
("ml.worker.forecast:run"), run in a spawned and niced child. Both ends exchange JSON objects over a pipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


class JobStopped(Exception):
    """Raised by a job that stops because it was asked to; whatever it saved stays."""


class JobChannel(Protocol):
    """The child's side of the pipe."""

    def progress(self, payload: Mapping[str, Any]) -> None:
        """Report progress; may be coalesced by the receiver."""
        ...

    def log(self, level: str, message: str) -> None:
        """Report a log line (level as in `logging`)."""
        ...

    def should_stop(self) -> bool:
        """Return whether the supervisor asked to stop; polled at least every 0.5 s by a well-behaved job.

        While the job is paused the call waits, and returns once it goes on or shall stop: whatever is polled between
        two steps of work can be paused there, and continues as if nothing had been.
        """
        ...

    def clock(self) -> float:
        """Return seconds, as `time.monotonic` does, that stand still during pauses; for throughput and time left."""
        ...


def stop_if_asked(channel: JobChannel) -> None:
    """Raise `JobStopped` where the job was asked to stop; waits while it is paused."""
    if channel.should_stop():
        raise JobStopped


class TaskChannel(JobChannel, Protocol):
    """The channel of a job that is given its work piece by piece."""

    def receive(self, timeout_s: float) -> Json | None:
        """Return the next message the supervisor sent with `tell`, waiting for it; None where none came."""
        ...


@dataclass(frozen=True, slots=True)
class JobStarted:
    """The child is up."""

    job_id: str
    pid: int


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Newest progress of a job; keys depend on the kind of job."""

    job_id: str
    payload: Json


@dataclass(frozen=True, slots=True)
class JobPaused:
    """The job has reached a point where it waits; it keeps its memory."""

    job_id: str


@dataclass(frozen=True, slots=True)
class JobResumed:
    """The job goes on where it waited."""

    job_id: str


@dataclass(frozen=True, slots=True)
class JobLog:
    """A log line of a job."""

    job_id: str
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The job returned `result`."""

    job_id: str
    result: Json


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job ended without a result.

    Attributes:
        message / remedy: for a person.
        user_error: the job raised `UserError`; otherwise it is a bug and `details` holds the traceback.
    """

    job_id: str
    message: str
    remedy: str = ""
    user_error: bool = False
    details: str = ""


@dataclass(frozen=True, slots=True)
class JobCancelled:
    """The job stopped because it was told to, gently or by force."""

    job_id: str
    forced: bool


JobEvent = JobStarted | JobProgress | JobPaused | JobResumed | JobLog | JobFinished | JobFailed | JobCancelled
