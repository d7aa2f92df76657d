"""`main.py train`: train models in a child process, with progress and cancel. Qt-free and torch-free."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, emit, say
from core.config import DataPaths, data_paths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.job_supervisor import JobSupervisor
from core.jobs import JobCancelled, JobFailed, JobFinished, JobProgress
from ml.api import (
    CHECKPOINT_FILE,
    SPEC_FILE,
    STORE_SOURCE,
    TRAIN_FORECAST_JOB,
    DataRange,
    ForecastSpec,
    TrainingProgress,
    TrainingResult,
    forecast_job,
    log_training_progress,
    new_run_id,
    spec_from_mapping,
)

app = typer.Typer(help="Train models.", rich_markup_mode=None, no_args_is_help=True)

_POLL_SECONDS = 0.2


@app.callback()
def _group() -> None:
    """Train models."""


@app.command()
@command
def forecast(
    data: Annotated[Path | None, typer.Option(help="CSV, Feather or Parquet file instead of the candle store.")] = None,
    venue: Annotated[str | None, typer.Option(help="Whose bars of the candle store, as `data list` names it.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Market, e.g. BTC/USDT.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Bar length, e.g. 1h.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with sections data, features, model, …")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most passes over the training part.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and order.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 chooses.")] = None,
    resume: Annotated[str | None, typer.Option(help="Continue the cancelled run with this id.")] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Train an LSTM forecaster and store it as a model package. Ctrl-C cancels and keeps the checkpoint."""
    paths = data_paths(data_dir).create()
    run_id = resume or new_run_id()
    values = read_config(config)
    spec = _resumed_spec(paths, resume) if resume else spec_from_mapping(values)
    given = {"venue": venue, "symbol": symbol, "timeframe": timeframe}
    told = spec.data.to_json() if resume else values.get("data", {})
    spec = replace(spec, data=data_range(spec.data, data, told, given))
    if venue is None and "venue" not in told and spec.data.source == STORE_SOURCE:
        spec = replace(spec, data=replace(spec.data, venue=stored_origin(paths, spec.data)))
    spec = replace(
        spec,
        training=replace_given(spec.training, {"epochs": epochs, "seed": seed}),
        resources=replace_given(spec.resources, {"device": device, "threads": threads}),
    )
    job = forecast_job(
        spec,
        run_id=run_id,
        candles_dir=paths.candles,
        models_dir=paths.models,
        runs_dir=paths.runs,
        resume=resume is not None,
    )
    result = _run(run_id, job, spec)
    emit(result.to_json(), as_json=as_json, text=describe_result(result, spec.data.origin))


def describe_result(result: TrainingResult, origin: DataOrigin) -> str:
    """Return the outcome of a run on bars of `origin` for a person."""
    model = result.metrics.model
    lines = [
        f"Model {result.model_id} for {result.symbol} {result.timeframe}: {result.epochs_run} epochs "
        f"(best {result.best_epoch}) in {result.seconds:.1f} s, {result.targets_per_s:,.0f} targets/s, {result.device}",
        f"{'':12}{'MAE':>10}{'RMSE':>10}{'R²':>9}{'IC':>8}{'hits':>8}",
    ]
    for row in (model, *result.metrics.baselines):
        ic = f"{row.ic:+.3f}" if row.ic is not None else "–"
        hits = f"{row.hit_rate:.1%}" if row.hit_rate is not None else "–"
        lines.append(f"{row.name:12}{row.mae:10.6f}{row.rmse:10.6f}{row.r2:+9.2%}{ic:>8}{hits:>8}")
    lines.append(
        f"Pinball {result.metrics.pinball:.6f} (constant quantiles {result.metrics.pinball_baseline:.6f}); "
        f"{result.metrics.coverage:.1%} inside the {result.metrics.nominal_coverage:.0%} interval"
    )
    lines.append(with_caution(result.metrics.verdict, origin))
    return "\n".join(lines)


def _run(run_id: str, job: dict[str, Any], spec: ForecastSpec) -> TrainingResult:
    """Run the job to its end.

    Raises:
        UserError: the run failed for a reason the user can repair.
        CommandFailed: it was cancelled, or failed by a bug whose traceback was printed.
    """
    say(f"Training {spec.data.symbol} {spec.data.timeframe} as {run_id} …")
    with JobSupervisor() as supervisor, ProgressLine() as line, interrupts() as interrupted:
        supervisor.start(run_id, TRAIN_FORECAST_JOB, job)
        told = False
        while True:
            for event in supervisor.poll(_POLL_SECONDS):
                if isinstance(event, JobProgress):
                    progress = TrainingProgress.from_json(event.payload)
                    line.show(log_training_progress(progress), (progress.phase, progress.epoch))
                elif isinstance(event, JobFinished):
                    return TrainingResult.from_json(event.result)
                elif isinstance(event, JobCancelled | JobFailed):
                    line.finish()
                    _explain(event, Path(job["run_dir"]))
            if interrupted.is_set() and not told:
                line.finish()
                say("Stopping …")
                supervisor.request_stop()
                told = True


def _explain(event: JobCancelled | JobFailed, run_dir: Path) -> NoReturn:
    """Say how a run ended without a result."""
    if isinstance(event, JobFailed) and event.user_error:
        raise UserError(event.message, event.remedy)
    if isinstance(event, JobFailed):
        say(f"The training failed: {event.message} {event.remedy}".strip())
        say(event.details)
    else:
        kept = (run_dir / CHECKPOINT_FILE).exists()
        say("Cancelled." + (f" Continue with: train forecast --resume {event.job_id}" if kept else ""))
    raise CommandFailed


@contextmanager
def interrupts() -> Iterator[threading.Event]:
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
        self._last: tuple[str | int, ...] = ()
        self._written = 0.0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.finish()

    def show(self, text: str, key: tuple[str | int, ...]) -> None:
        """Show the newest progress; `key` names the step it belongs to."""
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


def read_config(config: Path | None) -> dict[str, Any]:
    """Return what a configuration file says; nothing where there is none."""
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as exc:
        raise UserError(f"{config} cannot be read: {exc.strerror or exc}.", "Check the path.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UserError(f"{config.name} is no valid TOML: {exc}.", "Repair the file.") from exc


def data_range(base: DataRange, file: Path | None, told: dict[str, Any], options: dict[str, str | None]) -> DataRange:
    """Apply the options that name the data.

    For a file, market and bar length come from the options, else the configuration, else the file's name: never from
    the defaults, which would put a wrong label on somebody's bars.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if file is None and base.source == STORE_SOURCE:
        return replace(base, **given)
    from core.data.importer import guess_symbol, guess_timeframe

    path = (file if file is not None else Path(base.source)).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    guesses = {"symbol": guess_symbol(path.name), "timeframe": guess_timeframe(path.name)}
    for key, guess in guesses.items():
        if key in given or key in told:
            continue
        if guess is None:
            raise UserError(f"The {key} cannot be told from the name {path.name}.", f"Name it with --{key}.")
        given[key] = str(guess)
    return replace(base, source=str(path), **given)


def stored_origin(paths: DataPaths, wanted: DataRange) -> DataOrigin:
    """Return whose bars to take where nobody says: real ones where there are any, else the only ones there are.

    Raises:
        UserError: there are several and none of them real.
    """
    from core.data.data_storage import CandleStore

    stored = CandleStore(paths.candles).list_series()
    fitting = [s.origin for s in stored if (s.symbol, s.timeframe) == (wanted.symbol, wanted.timeframe) and s.rows]
    if wanted.origin in fitting or not fitting:
        return wanted.origin
    if len(fitting) > 1:
        raise UserError(
            f"Bars of {wanted.symbol} {wanted.timeframe} are stored for several markets: {', '.join(fitting)}.",
            "Name one of them with --venue.",
        )
    say(f"Training on the bars of {fitting[0]}, the only ones stored of {wanted.symbol} {wanted.timeframe}.")
    return fitting[0]


def replace_given(part: Any, given: dict[str, Any]) -> Any:
    """Replace what is not None."""
    return replace(part, **{key: value for key, value in given.items() if value is not None})


def _resumed_spec(paths: DataPaths, run_id: str) -> ForecastSpec:
    file = paths.runs / Path(run_id).name / SPEC_FILE
    try:
        return ForecastSpec.from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError) as exc:
        raise UserError(f"There is no run {run_id!r} to resume.", "Start a new one.") from exc


from app.commands import train_search as _search  # noqa: E402, F401  # adds its command to the group above
