"""`main.py evaluate`: judge a stored model on other bars, or a configuration in many folds. Qt-free and torch-free."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.cli import DataDirOption, JsonOption, command, emit, say
from app.commands.data import parse_time
from app.commands.forecast_text import metrics_lines, summary_text
from app.commands.job_run import ProgressLine, explain_end, run_folder, run_job
from app.commands.models import find_model
from app.commands.train import data_range
from core.clock import SystemClock, to_datetime
from core.config import DataPaths, data_paths
from core.data.atomic_file import write_atomically
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.jobs import JobFinished, Json
from ml.api import SPEC_FILE, DataRange, ForecastSpec, new_run_id, spec_from_mapping
from ml.evaluation_plan import (
    EVALUATE_FOLDS_JOB,
    EVALUATE_MODEL_JOB,
    EVALUATIONS_FOLDER,
    PLAN_FILE,
    EvaluationPlan,
    EvaluationProgress,
    FoldScore,
    FoldsResult,
    ModelJob,
    ModelResult,
    PathScore,
    folds_job,
)
from ml.model_storage import load_model
from ml.spec_file import read_mapping

app = typer.Typer(rich_markup_mode=None)

_RECORD_FORMAT = 1


@app.command()
@command
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="Id of a stored model, or its first characters.", show_default=False)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="CSV, Feather or Parquet file instead of the candle store.")] = None,
    venue: Annotated[str | None, typer.Option(help="Whose bars of the candle store, as `data list` names it.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Market, e.g. BTC/USDT.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Bar length, e.g. 1h.")] = None,
    start: Annotated[str | None, typer.Option(help="First bar to judge, ISO date or time, UTC.")] = None,
    end: Annotated[str | None, typer.Option(help="Judge no bar from this time on.")] = None,
    include_training: Annotated[
        bool, typer.Option("--include-training", help="Judge bars the model was trained on too.")
    ] = False,
    include_earlier: Annotated[
        bool, typer.Option("--include-earlier", help="Judge bars before the model's training too.")
    ] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep the result beside the stored models.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML configuration to train in every fold.")] = None,
    scheme: Annotated[str | None, typer.Option(help="walk-forward or combinatorial.")] = None,
    folds: Annotated[int | None, typer.Option(help="Walk-forward folds.")] = None,
    mode: Annotated[str | None, typer.Option(help="expanding or rolling.")] = None,
    train_share: Annotated[float | None, typer.Option(help="Share of the bars before the first test.")] = None,
    groups: Annotated[int | None, typer.Option(help="Combinatorial groups.")] = None,
    test_groups: Annotated[int | None, typer.Option(help="Groups held out at once.")] = None,
    embargo: Annotated[float | None, typer.Option(help="Share of the bars kept free behind a test.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Networks per fold.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most passes over the training part.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with the cancelled evaluation with this id.")] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Judge a stored MODEL on what came after its training, or a configuration by training it anew in every fold."""
    paths = data_paths(data_dir)
    options = {"venue": venue, "symbol": symbol, "timeframe": timeframe}
    plan = {
        "scheme": scheme,
        "folds": folds,
        "mode": mode,
        "train_share": train_share,
        "groups": groups,
        "test_groups": test_groups,
        "embargo": embargo,
    }
    span = {
        "start_ns": None if start is None else parse_time(start),
        "end_ns": None if end is None else parse_time(end),
    }
    if sum(given is not None for given in (model, config, resume)) != 1:
        raise UserError("Say what to evaluate.", "Name a stored model, or --config with a file, or --resume.")
    if model is not None:
        _refuse({**plan, "seeds": seeds, "epochs": epochs}, "a configuration")
        included = {"include_training": include_training, "include_earlier": include_earlier}
        result = _evaluate_model(paths, model, data, options, span, included)
        _tell_model(result, _save(paths, result) if save else None, as_json=as_json)
        return
    of_model = {"include_training": include_training, "include_earlier": include_earlier, "save": save}
    _refuse({name: given or None for name, given in of_model.items()}, "a stored model")
    run_id, spec, chosen = _resumed(paths, resume) if resume is not None else ("", ForecastSpec(), EvaluationPlan())
    if resume is not None:
        _refuse({**plan, **options, **span, "data": data, "seeds": seeds, "epochs": epochs}, "a new evaluation")
    elif config is not None:
        run_id, chosen = new_run_id().replace("run-", "evaluation-", 1), replace(EvaluationPlan(), **_given(plan))
        spec = _configured(paths, read_mapping(config), data, options, span, {"seeds": seeds}, {"epochs": epochs})
        spec = spec.with_used_data()
    outcome = _evaluate_folds(paths, run_id, spec, chosen)
    emit(outcome.to_json(), as_json=as_json, text=_folds_text(outcome))


def _evaluate_model(
    paths: DataPaths,
    beginning: str,
    file: Path | None,
    options: dict[str, str | None],
    span: dict[str, int | None],
    included: dict[str, bool],
) -> ModelResult:
    stored = load_model(paths.models, find_model(paths.models, beginning))
    own = stored.spec.with_used_data().data
    base = DataRange(own.venue, own.symbol, own.timeframe, markets=own.markets, series=own.series)
    # A file says itself what it holds; bars of the store are the model's own market's unless another is named.
    data = data_range(paths, base, file, own.to_json() if file is None else {}, options)
    data = replace(data, markets=() if file is not None else data.markets)
    data = replace(data, start_ns=span["start_ns"], end_ns=span["end_ns"])
    if data.symbol in data.markets:
        raise UserError(
            f"The model looks at {data.symbol} beside the market it forecasts: it cannot be judged on that market.",
            "Name another market.",
        )
    data.validate()
    if (data.venue, data.symbol) != (own.venue, own.symbol):
        say(f"ANOTHER MARKET: the model was trained on {own.venue} {own.symbol}, not on {data.venue} {data.symbol}.")
    job = ModelJob(
        model_id=stored.model_id,
        data=data,
        include_training=included["include_training"],
        include_earlier=included["include_earlier"],
        candles_dir=str(paths.candles),
        models_dir=str(paths.models),
        trials_file=str(paths.create().trials),
    )
    return ModelResult.from_json(_run("evaluation", EVALUATE_MODEL_JOB, job.to_json(), continue_with=""))


def _evaluate_folds(paths: DataPaths, run_id: str, spec: ForecastSpec, plan: EvaluationPlan) -> FoldsResult:
    paths.create()
    job = folds_job(spec, plan, run_id=run_id, candles_dir=paths.candles, runs_dir=paths.runs)
    say(f"Evaluating {spec.data.symbol} {spec.data.timeframe} as {run_id} …")
    return FoldsResult.from_json(_run(run_id, EVALUATE_FOLDS_JOB, job, continue_with=f"evaluate --resume {run_id}"))


def _run(job_id: str, target: str, job: Json, *, continue_with: str) -> Json:
    with ProgressLine() as line:

        def show(payload: Json) -> None:
            progress = EvaluationProgress.from_json(payload)
            line.show(progress_text(progress), (progress.phase, progress.fold, progress.seed_index))

        last = run_job(job_id, target, job, show, line)
    if isinstance(last, JobFinished):
        return last.result
    explain_end(last, "evaluation", continue_with)


def progress_text(progress: EvaluationProgress) -> str:
    """Return one line for a person."""
    if not progress.fold:
        return f"{progress.phase} …"
    parts = [f"fold {progress.fold}/{progress.folds}"]
    if progress.seeds > 1 and progress.epochs:
        parts.append(f"seed {progress.seed_index + 1}/{progress.seeds}")
    parts.append(f"epoch {progress.epoch}/{progress.epochs}" if progress.epochs else progress.phase)
    if progress.eta_s is not None:
        parts.append(f"{progress.eta_s:.0f} s left")
    return " · ".join(parts)


def _configured(
    paths: DataPaths,
    values: dict[str, Any],
    file: Path | None,
    options: dict[str, str | None],
    span: dict[str, int | None],
    evaluation: dict[str, Any],
    training: dict[str, Any],
) -> ForecastSpec:
    """Return the configuration with the options that override it."""
    spec = spec_from_mapping(values)
    data = data_range(paths, spec.data, file, values.get("data", {}), options)
    return replace(
        spec,
        data=replace(data, **_given(span)),
        evaluation=replace(spec.evaluation, **_given(evaluation)),
        training=replace(spec.training, **_given(training)),
    )


def _resumed(paths: DataPaths, run_id: str) -> tuple[str, ForecastSpec, EvaluationPlan]:
    try:
        folder = run_folder(paths.runs, run_id, "evaluation")
        spec = ForecastSpec.from_json(json.loads((folder / SPEC_FILE).read_bytes()))
        plan = EvaluationPlan.from_json(json.loads((folder / PLAN_FILE).read_bytes()))
    except (OSError, ValueError) as exc:
        raise UserError(f"There is no evaluation {run_id!r} to go on with.", "Start a new one.") from exc
    return run_id, spec, plan


def _save(paths: DataPaths, result: ModelResult) -> Path:
    """Write the result beside the packages, which never change."""
    now = SystemClock().now_ns()
    stamp = to_datetime(now).strftime("%Y%m%d-%H%M%S")
    path = paths.models / EVALUATIONS_FOLDER / f"{result.model_id}-{stamp}-{result.data_sha256[:6]}.json"
    record = {"format": _RECORD_FORMAT, "created_ns": now, **result.to_json()}
    write_atomically(path, (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return path


def _tell_model(result: ModelResult, saved: Path | None, *, as_json: bool) -> None:
    text = _model_text(result) + (f"\nKept as {saved}." if saved is not None else "")
    emit({**result.to_json(), "saved": None if saved is None else str(saved)}, as_json=as_json, text=text)


def _model_text(result: ModelResult) -> str:
    lines = [
        f"Model {result.model_id} on {result.judged:,} bars of {result.venue} {result.symbol} {result.timeframe}, "
        f"{_day(result.first_ns)} to {_day(result.last_ns)}",
        *(f"! {note}" for note in result.notes),
        *metrics_lines(result.metrics),
        with_caution(result.metrics.verdict, DataOrigin(result.venue)),
    ]
    return "\n".join(lines)


def _folds_text(result: FoldsResult) -> str:
    plan = result.plan
    what = (
        f"{len(result.folds)} folds, {plan.mode}"
        if not result.paths
        else f"{plan.groups} groups, {plan.test_groups} held out"
    )
    lines = [
        f"{plan.scheme} evaluation {result.run_id} of {result.symbol} {result.timeframe}: {what}, "
        f"{result.seconds:.0f} s",
        f"  {'fold':>4}  {'test':24}{'targets':>9}{'trained':>9}{'epochs':>8}{_FIGURES}{'inside':>8}",
        *(_fold_row(fold) for fold in result.folds),
    ]
    if result.paths:
        lines += [
            f"  {'path':>4}  {'':24}{'targets':>9}{'':17}{_FIGURES}{'p':>8}",
            *(_path_row(path) for path in result.paths),
        ]
    spread = result.spread
    for name, summary, form in (
        ("CRPS skill", spread.crps_skill, "+.2%"),
        ("R²", spread.r2, "+.2%"),
        ("Sharpe", spread.sharpe, "+.2f"),
    ):
        if summary is not None:
            lines.append(f"  {name:12}{summary_text(summary, form)}{_OVER_PATHS if result.paths else ''}")
    if spread.probability_of_loss is not None:
        lines.append(
            f"  lose money after costs: {spread.probability_of_loss:.0%} of the {'paths' if result.paths else 'folds'}"
        )
    if result.metrics is not None:
        lines += ["All tests as one series:", *metrics_lines(result.metrics)]
    return "\n".join([*lines, with_caution(result.verdict, DataOrigin(result.venue))])


_OVER_PATHS = " (spread over paths, no confidence interval)"
_FIGURES = f"{'skill':>9}{'R²':>9}{'IC':>8}{'Sharpe':>8}{'net':>9}"


def _fold_row(fold: FoldScore) -> str:
    test = f"{_day(fold.test_from_ns)} – {_day(fold.test_to_ns)}"
    return (
        f"  {fold.fold:4}  {test:24}{fold.targets:9,}{fold.train_targets:9,}{fold.epochs:8.1f}{_figures(fold)}"
        f"{fold.coverage:8.1%}"
    )


def _path_row(path: PathScore) -> str:
    return f"  {path.path:4}  {'':24}{path.targets:9,}{'':17}{_figures(path)}{path.edge_p_value:8.3f}"


def _figures(row: FoldScore | PathScore) -> str:
    ic, sharpe, net = (_or_none(row.ic, "+.3f"), _or_none(row.sharpe, "+.2f"), _or_none(row.net_return, "+.1%"))
    return f"{row.crps_skill:+9.2%}{row.r2:+9.2%}{ic:>8}{sharpe:>8}{net:>9}"


def _or_none(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


def _day(time_ns: int) -> str:
    moment: datetime = to_datetime(time_ns)
    return f"{moment:%Y-%m-%d}"


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _refuse(options: dict[str, Any], what: str) -> None:
    """Raise `UserError` for options that mean nothing here."""
    for name in _given(options):
        shown = name.removesuffix("_ns").replace("_", "-")
        raise UserError(f"--{shown} belongs to the evaluation of {what}.", "Leave it out.")
