"""`main.py train search`: search for settings in child processes, with progress and cancel. Qt-free and torch-free."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app.commands.cli import DataDirOption, JsonOption, command, emit, say
from app.commands.forecast_text import figure_text
from app.commands.job_run import ProgressLine, job_result, run_folder
from app.commands.train import app
from app.commands.train_options import DataFileOption, data_range, replace_given
from core.config import DataPaths, data_paths
from core.domain.data_origin import with_caution
from core.errors import UserError
from core.jobs import Json
from ml.api import new_run_id
from ml.search_results import (
    SEARCH_FILE,
    SEARCH_JOB,
    STUDY_FILE,
    SearchProgress,
    SearchResult,
    TrialResult,
    search_job,
)
from ml.search_spec import SearchSpec, search_from_mapping
from ml.spec_file import read_mapping

_SHOWN = 10
_BAR = 30


@app.command()
@command
def search(
    config: Annotated[Path | None, typer.Option(help="TOML file: sections of `train forecast`, and search.")] = None,
    data: DataFileOption = None,
    trials: Annotated[int | None, typer.Option(help="How many configurations to try.")] = None,
    processes: Annotated[int | None, typer.Option(help="How many at the same time, with one thread each.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Minutes after which no further trial begins.")] = None,
    resume: Annotated[str | None, typer.Option(help="Continue the stopped search with this id.")] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Search for the settings of `train forecast`. Ctrl-C stops and keeps every trial that ended."""
    paths = data_paths(data_dir).create()
    if resume is not None and (config is not None or data is not None):
        raise UserError("A search continues with its own settings and data.", "Leave out --config and --data.")
    spec = _resumed(paths, resume) if resume is not None else _fresh(paths, config, data)
    spec = replace_given(spec, {"trials": trials, "processes": processes, "timeout_min": timeout})
    run_id = resume if resume is not None else new_run_id()
    job = search_job(spec, run_id=run_id, candles_dir=paths.candles, runs_dir=paths.runs)
    market = spec.base.data
    say(f"Searching settings for {market.symbol} {market.timeframe} as {run_id} …")
    done = job_result(
        run_id,
        SEARCH_JOB,
        job,
        _show,
        what="search",
        continue_with=f"train search --resume {run_id}",
        kept=Path(job["run_dir"]) / STUDY_FILE,
        threads=1,
        on_warning=say,
    )
    result = SearchResult.from_json(done)
    emit(result.to_json(), as_json=as_json, text=with_caution(describe_search(result), market.origin))


def describe_search(result: SearchResult) -> str:
    """Return the outcome of a search for a person, who counts trials from one."""
    count = len(result.trials)
    lines = [
        f"{count} trials for {result.symbol} {result.timeframe} in {result.seconds:.0f} s; the best {_SHOWN}, "
        "by CRPS on the validation part:",
        f"{'trial':>6}{'CRPS':>10}{'Sharpe/bar':>12}{'epochs':>8}  settings",
    ]
    finished = sorted((t for t in result.trials if t.crps is not None), key=lambda t: (t.crps, t.number))
    lines += [_trial_line(trial) for trial in finished[:_SHOWN]]
    ended = [trial.status for trial in result.trials]
    others = [f"{ended.count(status)} {status}" for status in ("pruned", "failed", "cancelled") if status in ended]
    if others:
        lines.append(f"Not listed: {', '.join(others)}.")
    lines.append("The best again, with other seeds:")
    for finalist in result.finalists:
        lines.append(
            f"{finalist.number + 1:6d}{finalist.crps:10.5f} ± {finalist.crps_std:.5f}  ({len(finalist.seeds)} seeds)"
        )
    if result.importance:
        lines.append("What made the difference:")
        widest = max(len(entry.name) for entry in result.importance)
        for entry in result.importance:
            lines.append(f"  {entry.name:{widest}} {entry.share:6.1%} {'█' * round(entry.share * _BAR)}".rstrip())
    if result.overfitting is not None:
        found = result.overfitting
        lines.append(
            f"Probability of backtest overfitting: {found.pbo:.0%} ({found.strategies} trials, {found.bars} bars of "
            f"the validation part); the best by returns loses money out of sample in {found.probability_of_loss:.0%}."
        )
    lines.append(f"Train the winner, trial {result.winner + 1}: train forecast --config {result.config_file}")
    return "\n".join(lines)


def _progress_line(progress: SearchProgress) -> str:
    """Return one line for a person."""
    if progress.phase == "finalists":
        return f"finalists {progress.finalists_done}/{progress.finalists} with other seeds"
    if progress.phase != "searching":
        return f"{progress.phase} …"
    parts = [f"trial {progress.done}/{progress.trials}"]
    parts += [f"{count} {word}" for count, word in ((progress.pruned, "pruned"), (progress.failed, "failed")) if count]
    if progress.best is not None:
        parts.append(f"best CRPS {progress.best:.5f} (trial {(progress.best_trial or 0) + 1})")
    if progress.eta_s is not None:
        parts.append(f"{progress.eta_s:.0f} s left")
    return " · ".join(parts)


def _trial_line(trial: TrialResult) -> str:
    sharpes = [seed.valid_sharpe for seed in trial.seeds if seed.valid_sharpe is not None]
    sharpe = figure_text(sum(sharpes) / len(sharpes) if sharpes else None, "+.4f")
    epochs = "/".join(str(seed.epochs) for seed in trial.seeds)
    values = " ".join(f"{entry.name.partition('.')[2]}={_short(entry.value)}" for entry in trial.parameters)
    return f"{trial.number + 1:6d}{trial.crps:10.5f}{sharpe:>12}{epochs:>8}  {values}"


def _short(value: str) -> str:
    """Shorten a number with many digits."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _show(line: ProgressLine, payload: Json) -> None:
    progress = SearchProgress.from_json(payload)
    line.show(_progress_line(progress), (progress.phase, progress.done, progress.finalists_done))


def _fresh(paths: DataPaths, config: Path | None, file: Path | None) -> SearchSpec:
    values = read_mapping(config) if config is not None else {}
    spec = search_from_mapping(values)
    data = data_range(paths, spec.base.data, file, values.get("data", {}), {})
    return replace(spec, base=replace(spec.base, data=data))


def _resumed(paths: DataPaths, run_id: str) -> SearchSpec:
    try:
        file = run_folder(paths.runs, run_id) / SEARCH_FILE
        return SearchSpec.from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError) as exc:
        raise UserError(f"There is no search {run_id!r} to continue.", "Start a new one.") from exc
