"""`main.py selftest`: learn processes whose optimum is known, in a child process. Qt-free and torch-free.

Exit 0 when every task was passed, 1 when one failed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Annotated, NoReturn

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from app.commands.interrupts import interrupts
from core.config import data_paths
from core.errors import UserError
from core.job_supervisor import JobSupervisor
from core.jobs import JobCancelled, JobFailed, JobFinished, JobProgress
from ml.selftest import (
    FEWEST_SEEDS,
    SELFTEST_JOB,
    TASKS,
    SelftestJob,
    SelftestProgress,
    SelftestResult,
    TaskResult,
    choose_tasks,
)

app = typer.Typer(
    help="Test what learns on processes with a known optimum.", rich_markup_mode=None, no_args_is_help=True
)

_POLL_SECONDS = 0.2
_SHOW_SECONDS = 5.0  # between two progress lines that go to a file


@app.callback()
def _group() -> None:
    """Test what learns on processes with a known optimum."""


@app.command()
@command
def forecast(
    tasks: Annotated[
        list[str] | None, typer.Argument(help=f"Letters: {', '.join(task.task for task in TASKS)}; all by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter series and fewer networks; asks for less.")] = False,
    seeds: Annotated[
        int, typer.Option(help=f"Runs of the noise task, at least {FEWEST_SEEDS}; 0 for the usual number.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of all series and networks.")] = 1,
    kind: Annotated[str, typer.Option(help="lstm or gru.")] = "lstm",
    device: Annotated[str, typer.Option(help="cpu, auto, cuda, cuda:N or mps.")] = "cpu",
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Train forecasters on series whose best forecast is known and print the share of the optimum reached."""
    letters = choose_tasks(tasks or ())
    above = None if data_dir is None else data_paths(data_dir).create().runs
    with tempfile.TemporaryDirectory(prefix="maru-selftest-", dir=above) as folder:
        job = SelftestJob(letters, folder, quick=quick, seeds=seeds, seed=seed, kind=kind, device=device)
        job.validate()
        result = _run(job, _ProgressLine(as_json=as_json))
    if as_json:
        emit(result.to_json(), as_json=True)
    if not result.ok:
        raise CommandFailed


def _run(job: SelftestJob, progress: _ProgressLine) -> SelftestResult:
    """Run the job to its end.

    Raises:
        UserError: it failed for a reason the user can repair.
        CommandFailed: it was cancelled, or failed by a bug whose traceback was printed.
    """
    with JobSupervisor() as supervisor, progress as line, interrupts() as interrupted:
        supervisor.start("selftest", SELFTEST_JOB, job.to_json(), threads=job.threads)
        told = False
        while True:
            for event in supervisor.poll(_POLL_SECONDS):
                if isinstance(event, JobProgress):
                    line.show(SelftestProgress.from_json(event.payload))
                elif isinstance(event, JobFinished):
                    return SelftestResult.from_json(event.result)
                elif isinstance(event, JobCancelled | JobFailed):
                    line.finish()
                    _explain(event)
            if interrupted.is_set() and not told:
                line.finish()
                say("Stopping …")
                supervisor.request_stop()
                told = True


def _explain(event: JobCancelled | JobFailed) -> NoReturn:
    """Say how a run ended without a result."""
    if isinstance(event, JobFailed) and event.user_error:
        raise UserError(event.message, event.remedy)
    if isinstance(event, JobFailed):
        say(event.details)
        raise CommandFailed(f"The self-test broke off: {event.message}", event.remedy)
    raise CommandFailed("The self-test was cancelled.")


class _ProgressLine:
    """One line on standard error that is rewritten on a terminal and printed now and then elsewhere.

    The results of tasks are printed as they come: on standard output, unless that is kept for JSON.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._terminal = sys.stderr.isatty()
        self._open = False
        self._written = float("-inf")

    def __enter__(self) -> _ProgressLine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.finish()

    def show(self, progress: SelftestProgress) -> None:
        """Show the newest progress, and the result of a task that has ended."""
        if progress.finished is not None:
            self.finish()
            row = _row(progress.finished)
            if self._as_json:
                say(row)
            else:
                emit({}, as_json=False, text=row)
            return
        now = time.monotonic()
        if now - self._written < (0.1 if self._terminal else _SHOW_SECONDS):
            return
        self._written = now
        left = "" if progress.eta_s is None else f" · {progress.eta_s:.0f} s left"
        text = f"{progress.done:4.0%} · task {progress.task}: {progress.step}{left}"
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._open = True
        else:
            say(text)

    def finish(self) -> None:
        """End the line."""
        if self._open:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._open = False


def _row(task: TaskResult) -> str:
    """Return the outcome of a task for a person."""
    share = f"{task.reached if task.share is None else task.share:7.1%} of {task.required:.1%} needed"
    mark = "ok    " if task.ok else "FAILED"
    return (
        f"{task.task}  {mark}  {task.title:28}{task.reached:10.6f} of {task.optimum:10.6f}  {share}  "
        f"{task.seconds:6.1f} s  {task.note}"
    )
