"""One job in a child process for a command: progress on standard error, Ctrl-C cancels. Qt-free; the main thread."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.commands.cli import CommandFailed, say
from app.flows.training_queue import is_run_id
from core.errors import UserError
from core.job_supervisor import JobSupervisor
from core.jobs import JobCancelled, JobFailed, JobFinished, JobLog, JobProgress, Json

FORECAST_RUN = "run"  # the beginning of the id of a forecaster's run and of a search

_POLL_SECONDS = 0.2

JobEnd = JobFinished | JobCancelled | JobFailed


def run_job(
    job_id: str,
    target: str,
    job: dict[str, Any],
    show: Callable[[Json], None],
    line: ProgressLine,
    on_warning: Callable[[str], None] = lambda _: None,
    threads: int = 0,
) -> JobEnd:
    """Run a job to its end.

    Args:
        job_id / target / job / threads: see `core.job_supervisor.JobSupervisor.start`.
        show: called with every progress message.
        line: ended before anything else is said.
        on_warning: called with what the job says at the level of a warning.
    """
    with JobSupervisor() as supervisor, _interrupts() as interrupted:
        supervisor.start(job_id, target, job, threads=threads)
        told = False
        while True:
            for event in supervisor.poll(_POLL_SECONDS):
                if isinstance(event, JobProgress):
                    show(event.payload)
                elif isinstance(event, JobLog) and event.level == "WARNING":
                    line.finish()
                    on_warning(event.message)
                elif isinstance(event, JobFinished | JobCancelled | JobFailed):
                    line.finish()
                    return event
            if interrupted.is_set() and not told:
                line.finish()
                say("Stopping …")
                supervisor.request_stop()
                told = True


def run_folder(runs_dir: Path, run_id: str, kind: str = FORECAST_RUN) -> Path:
    """Return the folder of a run whose id somebody typed.

    Raises:
        ValueError: that is no id of such a run, but a path perhaps.
    """
    if not is_run_id(run_id) or not run_id.startswith(f"{kind}-"):
        raise ValueError(run_id)
    return runs_dir / run_id


def job_result(
    job_id: str,
    target: str,
    job: dict[str, Any],
    show: Callable[[ProgressLine, Json], None],
    *,
    what: str,
    continue_with: str = "",
    kept: Path | None = None,
    threads: int = 0,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Json:
    """Run a job to its end with a line that says how far it is, and return its result.

    Args:
        job_id / target / job / threads: see `core.job_supervisor.JobSupervisor.start`.
        show: called with the line and every progress message.
        what: it does, such as "training".
        continue_with: the command that goes on where it is cancelled; empty where nothing is kept.
        kept: the file without which nothing goes on; its name may be a pattern.
        on_warning: called with what the job says at the level of a warning.

    Raises:
        UserError: it failed for a reason the user can repair.
        CommandFailed: it was cancelled, or failed by a bug whose traceback was printed.
    """
    with ProgressLine() as line:
        end = run_job(job_id, target, job, lambda payload: show(line, payload), line, on_warning, threads)
    if isinstance(end, JobFinished):
        return end.result
    if isinstance(end, JobFailed) and end.user_error:
        raise UserError(end.message, end.remedy)
    if isinstance(end, JobFailed):
        say(end.details)
        raise CommandFailed(f"The {what} failed: {end.message}", end.remedy)
    goes_on = continue_with and (kept is None or any(kept.parent.glob(kept.name)))
    raise CommandFailed(f"The {what} was cancelled.", f"Continue with: {continue_with}" if goes_on else "")


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn Ctrl-C into a flag: as an exception it could strike between two events and lose the second."""
    flag = threading.Event()
    former = signal.signal(signal.SIGINT, lambda *_: flag.set())
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, former)


class ProgressLine:
    """One line on standard error that is rewritten on a terminal and printed per step elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._open = False
        self._last: object = None
        self._written = 0.0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.finish()

    def show(self, text: str, key: object) -> None:
        """Show the newest progress; `key` changes with each step that deserves a line of its own."""
        if self._terminal:
            now = time.monotonic()
            if key != self._last or now - self._written > 0.1:
                sys.stderr.write(f"\r\x1b[K{text}")
                sys.stderr.flush()
                self._written = now
            self._open = True
        elif key != self._last:
            say(text)
        self._last = key

    def finish(self) -> None:
        """End the line."""
        if self._open:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._open = False
