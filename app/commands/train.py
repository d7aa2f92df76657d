"""`main.py train`: train models in a child process, with progress and cancel. Qt-free and torch-free."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.cli import DataDirOption, JsonOption, command, emit, say
from app.commands.forecast_text import metrics_lines
from app.commands.job_run import ProgressLine, job_result
from app.commands.train_options import (
    DataFileOption,
    DeviceOption,
    ResumeOption,
    SymbolOption,
    ThreadsOption,
    TimeframeOption,
    VenueOption,
    WriteConfigOption,
    folders_of,
    replace_given,
    resumed_spec,
    with_market,
    write_settings,
)
from core.config import data_paths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.jobs import Json
from ml.api import (
    CHECKPOINT_FILE,
    TRAIN_FORECAST_JOB,
    ForecastSpec,
    TrainingProgress,
    TrainingResult,
    forecast_job,
    log_training_progress,
    new_run_id,
    spec_from_mapping,
)
from ml.spec_file import read_mapping
from ml.verdict import idle_sentence

app = typer.Typer(help="Train models.", rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train models."""


@app.command()
@command
def forecast(
    data: DataFileOption = None,
    venue: VenueOption = None,
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with sections data, features, model, …")] = None,
    write_config: WriteConfigOption = None,
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
    device: DeviceOption = None,
    precision: Annotated[str | None, typer.Option(help="On an NVIDIA GPU: auto, float32, tf32 or bf16.")] = None,
    threads: ThreadsOption = None,
    resume: ResumeOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Train an LSTM or GRU forecaster and store it as a model package. Ctrl-C cancels and keeps the checkpoint."""
    paths = data_paths(data_dir).create()
    run_id = resume if resume is not None else new_run_id()
    values = read_mapping(config) if config is not None else {}
    base = (
        resumed_spec(paths, resume, ForecastSpec, {"config": config})
        if resume is not None
        else spec_from_mapping(values)
    )
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
    given = {"venue": venue, "symbol": symbol, "timeframe": timeframe}
    spec = with_market(paths, spec, values, data, given, resumed=resume is not None)
    if write_config is not None:
        write_settings(write_config, spec, data, base, as_json=as_json)
        return
    if resume is None and (unused := spec.unused_data()):
        say(f"Left out, because no feature column looks at it: {', '.join(unused)}.")
        spec = spec.with_used_data()
    job = forecast_job(spec, **folders_of(paths, run_id, resumed=resume is not None))
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


from app.commands import train_agent as _agent  # noqa: E402, F401  # adds its command to the group above
from app.commands import train_search as _search  # noqa: E402, F401  # as above
