"""`main.py selftest`: learn processes whose optimum is known, in a child process. Qt-free and torch-free.

Exit 0 when every task was passed, 1 when one failed.
"""

from __future__ import annotations

import tempfile
import time
from typing import Annotated

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from app.commands.job_run import ProgressLine, job_result
from core.config import data_paths
from core.jobs import Json
from ml.selftest import (
    FEWEST_SEEDS,
    FORECASTING,
    SELFTEST_JOB,
    TRADING,
    Catalogue,
    SelftestJob,
    SelftestProgress,
    SelftestResult,
    TaskResult,
)

app = typer.Typer(
    help="Test what learns on processes with a known optimum.", rich_markup_mode=None, no_args_is_help=True
)

_SHOW_SECONDS = 5.0  # between two progress lines that go to a file


def _letters(catalogue: Catalogue) -> str:
    return f"Letters: {', '.join(task.task for task in catalogue.tasks)}; all by default."


_SeedOption = Annotated[int, typer.Option(help="Seed of all series and networks.")]


@app.callback()
def _group() -> None:
    """Test what learns on processes with a known optimum."""


@app.command()
@command
def forecast(
    tasks: Annotated[list[str] | None, typer.Argument(help=_letters(FORECASTING))] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter series and fewer networks; asks for less.")] = False,
    seeds: Annotated[
        int, typer.Option(help=f"Runs of the noise task, at least {FEWEST_SEEDS}; 0 for the usual number.")
    ] = 0,
    seed: _SeedOption = 1,
    kind: Annotated[str, typer.Option(help="lstm or gru.")] = "lstm",
    device: Annotated[str, typer.Option(help="cpu, auto, cuda, cuda:N or mps.")] = "cpu",
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Train forecasters on series whose best forecast is known and print the share of the optimum reached."""
    letters = FORECASTING.choose(tasks or ())
    above = None if data_dir is None else data_paths(data_dir).create().runs
    if above is not None:
        above.mkdir(exist_ok=True)  # a new data folder has none yet
    with tempfile.TemporaryDirectory(prefix="maru-selftest-", dir=above) as folder:
        job = SelftestJob(letters, folder, quick=quick, seeds=seeds, seed=seed, kind=kind, device=device)
        _carry_out(job, as_json=as_json)


@app.command()
@command
def rl(
    tasks: Annotated[list[str] | None, typer.Argument(help=_letters(TRADING))] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter series and fewer agents; asks for less.")] = False,
    seed: _SeedOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Train agents on markets whose best policy is known and print the share of the optimum reached."""
    job = SelftestJob(TRADING.choose(tasks or ()), catalogue=TRADING.name, quick=quick, seed=seed)
    _carry_out(job, as_json=as_json)


def _carry_out(job: SelftestJob, *, as_json: bool) -> None:
    """Run a self-test and print what came of it; raise `CommandFailed` where a task failed."""
    job.validate()
    result = _run(job, as_json=as_json)
    if as_json:
        emit(result.to_json(), as_json=True)
    if not result.ok:
        raise CommandFailed


def _run(job: SelftestJob, *, as_json: bool) -> SelftestResult:
    """Run the job to its end; results are printed as they come: on standard output, unless that is kept for JSON."""

    def show(line: ProgressLine, payload: Json) -> None:
        progress = SelftestProgress.from_json(payload)
        if progress.finished is not None:
            line.finish()
            row = _row(progress.finished)
            say(row) if as_json else emit({}, as_json=False, text=row)
            return
        left = "" if progress.eta_s is None else f" · {progress.eta_s:.0f} s left"
        text = f"{progress.done:4.0%} · task {progress.task}: {progress.step}{left}"
        line.show(text, int(time.monotonic() / _SHOW_SECONDS))

    done = job_result("selftest", SELFTEST_JOB, job.to_json(), show, what="self-test", threads=job.threads)
    return SelftestResult.from_json(done)


def _row(task: TaskResult) -> str:
    """Return the outcome of a task for a person."""
    share = f"{task.reached if task.share is None else task.share:7.1%} of {task.required:.1%} needed"
    mark = "ok    " if task.ok else "FAILED"
    return (
        f"{task.task}  {mark}  {task.title:28}{task.reached:10.6f} of {task.optimum:10.6f}  {share}  "
        f"{task.seconds:6.1f} s  {task.note}"
    )
