"""`main.py train`: train models in a child process, with progress and cancel. Qt-free and torch-free."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.cli import DataDirOption, JsonOption, command, emit, say
from app.commands.forecast_text import metrics_lines
from app.commands.job_run import ProgressLine, job_result, run_folder
from core.config import DataPaths, data_paths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.jobs import Json
from core.user_path import user_path
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
from ml.spec_file import read_mapping, write_spec
from ml.verdict import idle_sentence

app = typer.Typer(help="Train models.", rich_markup_mode=None, no_args_is_help=True)


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
    write_config: Annotated[
        Path | None, typer.Option(help="Write the settings in force to this TOML file and end.", show_default=False)
    ] = None,
    features: Annotated[str | None, typer.Option(help="price, market, technical or custom.")] = None,
    kind: Annotated[str | None, typer.Option(help="lstm or gru.")] = None,
    head: Annotated[str | None, typer.Option(help="quantile, student_t or classes.")] = None,
    horizons: Annotated[str | None, typer.Option(help="Bars ahead, e.g. 1,4,24; the first one trades.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Units of each recurrent layer.")] = None,
    layers: Annotated[int | None, typer.Option(help="Recurrent layers.")] = None,
    valid_from: Annotated[str | None, typer.Option(help="Validation from this date on, e.g. 2022-01-01.")] = None,
    test_from: Annotated[str | None, typer.Option(help="Test from this date on, e.g. 2023-01-01.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most passes over the training part.")] = None,
    schedule: Annotated[str | None, typer.Option(help="one_cycle, cosine or constant.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and order; further ones count up from it.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Networks from different seeds; their mean is stored.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="On an NVIDIA GPU: auto, float32, tf32 or bf16.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 chooses.")] = None,
    resume: Annotated[str | None, typer.Option(help="Continue the cancelled run with this id.")] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Train an LSTM or GRU forecaster and store it as a model package. Ctrl-C cancels and keeps the checkpoint."""
    paths = data_paths(data_dir).create()
    run_id = resume if resume is not None else new_run_id()
    values = read_mapping(config) if config is not None else {}
    base = _resumed_spec(paths, resume) if resume is not None else spec_from_mapping(values)
    ahead = _whole_numbers(horizons)
    options: dict[str, dict[str, Any]] = {
        "features": {"name": features},
        "model": {"kind": kind, "head": head, "hidden_size": hidden, "layers": layers, "horizons": ahead},
        "split": {"valid_from": valid_from, "test_from": test_from},
        "training": {"epochs": epochs, "schedule": schedule, "seed": seed},
        "evaluation": {"seeds": seeds},
        "resources": {"device": device, "precision": precision, "threads": threads},
    }
    spec = replace(base, **{name: replace_given(getattr(base, name), given) for name, given in options.items()})
    told = spec.data.to_json() if resume is not None else values.get("data", {})
    given = {"venue": venue, "symbol": symbol, "timeframe": timeframe}
    spec = replace(spec, data=data_range(paths, spec.data, data, told, given))
    if write_config is not None:
        _write_config(write_config, spec, data, base, as_json=as_json)
        return
    if resume is None and (unused := spec.unused_data()):
        say(f"Left out, because no feature column looks at it: {', '.join(unused)}.")
        spec = spec.with_used_data()
    job = forecast_job(
        spec,
        run_id=run_id,
        candles_dir=paths.candles,
        models_dir=paths.models,
        runs_dir=paths.runs,
        resume=resume is not None,
    )
    say(f"Training {spec.data.symbol} {spec.data.timeframe} as {run_id} …")
    result = _run(run_id, job)
    emit(result.to_json(), as_json=as_json, text=describe_result(result, spec.data.origin))


def describe_result(result: TrainingResult, origin: DataOrigin) -> str:
    """Return the outcome of a run on bars of `origin` for a person."""
    lines = [
        f"Model {result.model_id} for {result.symbol} {result.timeframe}: {result.epochs_run} epochs "
        f"(best {result.best_epoch}) in {result.seconds:.1f} s, {result.targets_per_s:,.0f} targets/s, {result.device}",
        *metrics_lines(result.metrics),
        with_caution(result.metrics.verdict, origin),
        idle_sentence(result.metrics.seeds),
    ]
    return "\n".join(filter(None, lines))


def _write_config(path: Path, spec: ForecastSpec, file: Path | None, told: ForecastSpec, *, as_json: bool) -> None:
    """Write the settings in force; a data file under the name it was given, which may hold on another machine too."""
    spec.validate()
    if spec.data.source != STORE_SOURCE:
        spec = replace(spec, data=replace(spec.data, source=str(file) if file is not None else told.data.source))
    write_spec(path, spec)
    emit({"config": str(path), "spec": spec.to_json()}, as_json=as_json, text=f"Written to {path}.")


def _whole_numbers(text: str | None) -> tuple[int, ...] | None:
    """Read whole numbers with commas between them."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as exc:
        raise UserError(f"{text!r} is no list of horizons.", "Write them like 1,4,24.") from exc


def _run(run_id: str, job: Json) -> TrainingResult:
    done = job_result(
        run_id,
        TRAIN_FORECAST_JOB,
        job,
        _show,
        what="training",
        continue_with=f"train forecast --resume {run_id}",
        kept=Path(job["run_dir"]) / CHECKPOINT_FILE,
    )
    return TrainingResult.from_json(done)


def _show(line: ProgressLine, payload: Json) -> None:
    progress = TrainingProgress.from_json(payload)
    line.show(log_training_progress(progress), (progress.phase, progress.seed_index, progress.epoch))


def data_range(
    paths: DataPaths, base: DataRange, file: Path | None, told: dict[str, Any], options: dict[str, str | None]
) -> DataRange:
    """Apply the options that name the data.

    For a file, market and bar length come from the options, else the configuration, else the file's name: never from
    the defaults, which would put a wrong label on somebody's bars.

    Raises:
        UserError: there is no such file, or it is not said which market is meant.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if file is None and base.source == STORE_SOURCE:
        wanted = replace(base, **given)
        _require_market(wanted.symbol)
        if "venue" in given or "venue" in told:
            return wanted
        return replace(wanted, venue=_stored_origin(paths, wanted))
    from core.data.importer import guess_symbol, guess_timeframe

    path = user_path(file if file is not None else Path(base.source))
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    guesses = {"symbol": guess_symbol(path.name), "timeframe": guess_timeframe(path.name)}
    for key, guess in guesses.items():
        if key in given or key in told:
            continue
        if guess is None:
            raise UserError(f"The {key} cannot be told from the name {path.name}.", f"Name it with --{key}.")
        given[key] = str(guess)
    wanted = replace(base, source=str(path), **given)
    _require_market(wanted.symbol)
    return wanted


def _require_market(symbol: str) -> None:
    """Raise `UserError` for a name without its currency set apart: bars are kept and asked for under the other."""
    if "/" in symbol:
        return
    from core.data.importer import guess_symbol

    meant = guess_symbol(symbol)
    remedy = f"{meant} is meant: write it like that." if meant else "Write it like BTC/USDT."
    raise UserError(f"{symbol[:40]!r} is no market.", remedy)


def _stored_origin(paths: DataPaths, wanted: DataRange) -> DataOrigin:
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
    try:
        file = run_folder(paths.runs, run_id) / SPEC_FILE
        return ForecastSpec.from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError) as exc:
        raise UserError(f"There is no run {run_id!r} to resume.", "Start a new one.") from exc


from app.commands import train_agent as _agent  # noqa: E402, F401  # adds its command to the group above
from app.commands import train_search as _search  # noqa: E402, F401  # as above
