"""`main.py evaluate`: judge a stored model on other bars, or a configuration in many folds. Qt-free and torch-free."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.agent_text import agent_lines
from app.commands.cli import DataDirOption, JsonOption, command, emit, say
from app.commands.data import parse_time
from app.commands.forecast_text import figure_text, metrics_lines, summary_text
from app.commands.job_run import ProgressLine, job_result, run_folder
from app.commands.models import find_model
from app.commands.train_options import data_range, replace_given
from core.clock import SystemClock, to_datetime
from core.config import DataPaths, data_paths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.jobs import Json
from ml.agents.package import StoredAgent
from ml.api import SPEC_FILE, DataRange, ForecastSpec, new_run_id, spec_from_mapping
from ml.evaluation_plan import (
    EVALUATE_FOLDS_JOB,
    EVALUATE_MODEL_JOB,
    PLAN_FILE,
    AgentEvaluation,
    EvaluationPlan,
    EvaluationProgress,
    FoldScore,
    FoldsResult,
    JudgedRange,
    ModelJob,
    ModelResult,
    PathScore,
    folds_job,
)
from ml.evaluation_records import save_evaluation
from ml.model_storage import StoredModel, load_any
from ml.spec_file import read_mapping

app = typer.Typer(rich_markup_mode=None)


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
    asked = _Asked(
        file=data,
        market={"venue": venue, "symbol": symbol, "timeframe": timeframe},
        span={"start_ns": _time_ns(start), "end_ns": _time_ns(end)},
        included={"include_training": include_training, "include_earlier": include_earlier},
        plan={
            "scheme": scheme,
            "folds": folds,
            "mode": mode,
            "train_share": train_share,
            "groups": groups,
            "test_groups": test_groups,
            "embargo": embargo,
        },
        runs={"seeds": seeds, "epochs": epochs},
    )
    if sum(given is not None for given in (model, config, resume)) != 1:
        raise UserError("Say what to evaluate.", "Name a stored model, or --config with a file, or --resume.")
    if model is not None:
        _judge_model(paths, model, asked, save=save, as_json=as_json)
    else:
        _refuse({name: given or None for name, given in {**asked.included, "save": save}.items()}, "a stored model")
        _judge_folds(paths, config, resume, asked, as_json=as_json)


def _time_ns(text: str | None) -> int | None:
    return None if text is None else parse_time(text)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the options said; None where one was not given.

    Attributes:
        file: to read the bars from instead of the store.
        market / span: which bars.
        included: which of a stored model's bars are judged all the same.
        plan: how a configuration is divided into folds.
        runs: how it is trained in each.
    """

    file: Path | None
    market: dict[str, str | None]
    span: dict[str, int | None]
    included: dict[str, bool]
    plan: dict[str, Any]
    runs: dict[str, int | None]


def _judge_model(paths: DataPaths, beginning: str, asked: _Asked, *, save: bool, as_json: bool) -> None:
    """Judge a stored model and say how it did."""
    _refuse({**asked.plan, **asked.runs}, "a configuration")
    stored = load_any(paths.models, find_model(paths.models, beginning))
    if isinstance(stored, StoredAgent):
        _refuse({name: given or None for name, given in {**asked.included, "save": save}.items()}, "a forecaster")
        judged = AgentEvaluation.from_json(_evaluate_model(paths, stored, asked))
        emit(judged.to_json(), as_json=as_json, text=_agent_text(judged))
        return
    result = ModelResult.from_json(_evaluate_model(paths, stored, asked))
    _tell_model(result, save_evaluation(paths.models, result, SystemClock()) if save else None, as_json=as_json)


def _judge_folds(paths: DataPaths, config: Path | None, resume: str | None, asked: _Asked, *, as_json: bool) -> None:
    """Judge a configuration, or go on with one, and say how it did."""
    if resume is not None:
        run_id, spec, plan = _resumed(paths, resume)
        _refuse({**asked.plan, **asked.market, **asked.span, "data": asked.file, **asked.runs}, "a new evaluation")
    else:
        assert config is not None
        run_id, plan = new_run_id().replace("run-", "evaluation-", 1), replace_given(EvaluationPlan(), asked.plan)
        spec = _configured(paths, read_mapping(config), asked).with_used_data()
    result = _evaluate_folds(paths, run_id, spec, plan)
    emit(result.to_json(), as_json=as_json, text=_folds_text(result))


def _evaluate_model(paths: DataPaths, stored: StoredModel | StoredAgent, asked: _Asked) -> Json:
    own = stored.spec.with_used_data().data
    base = DataRange(own.venue, own.symbol, own.timeframe, markets=own.markets, series=own.series)
    # A file says itself what it holds; bars of the store are the model's own market's unless another is named.
    data = data_range(paths, base, asked.file, own.to_json() if asked.file is None else {}, asked.market)
    data = replace(data, markets=() if asked.file is not None else data.markets)
    data = replace(data, start_ns=asked.span["start_ns"], end_ns=asked.span["end_ns"])
    if data.symbol in data.markets:
        raise UserError(
            f"The model looks at {data.symbol} beside its own market: it cannot be judged on that one.",
            "Name another market.",
        )
    data.validate()
    if (data.venue, data.symbol) != (own.venue, own.symbol):
        say(f"ANOTHER MARKET: the model was trained on {own.venue} {own.symbol}, not on {data.venue} {data.symbol}.")
    job = ModelJob(
        model_id=stored.model_id,
        data=data,
        include_training=asked.included["include_training"],
        include_earlier=asked.included["include_earlier"],
        candles_dir=str(paths.candles),
        models_dir=str(paths.models),
        trials_file=str(paths.create().trials),
    )
    return job_result("evaluation", EVALUATE_MODEL_JOB, job.to_json(), _show, what="evaluation")


def _evaluate_folds(paths: DataPaths, run_id: str, spec: ForecastSpec, plan: EvaluationPlan) -> FoldsResult:
    paths.create()
    job = folds_job(spec, plan, run_id=run_id, candles_dir=paths.candles, runs_dir=paths.runs)
    say(f"Evaluating {spec.data.symbol} {spec.data.timeframe} as {run_id} …")
    continue_with = f"evaluate --resume {run_id}"
    done = job_result(run_id, EVALUATE_FOLDS_JOB, job, _show, what="evaluation", continue_with=continue_with)
    return FoldsResult.from_json(done)


def _show(line: ProgressLine, payload: Json) -> None:
    progress = EvaluationProgress.from_json(payload)
    line.show(progress_text(progress), (progress.phase, progress.fold, progress.seed_index))


def progress_text(progress: EvaluationProgress) -> str:
    """Return one line for a person."""
    if not progress.fold:
        left = "" if progress.eta_s is None else f" · {progress.eta_s:.0f} s left"
        return f"{progress.phase} …{left}"
    parts = [f"fold {progress.fold}/{progress.folds}"]
    if progress.seeds > 1 and progress.epochs:
        parts.append(f"seed {progress.seed_index + 1}/{progress.seeds}")
    parts.append(f"epoch {progress.epoch}/{progress.epochs}" if progress.epochs else progress.phase)
    if progress.eta_s is not None:
        parts.append(f"{progress.eta_s:.0f} s left")
    return " · ".join(parts)


def _configured(paths: DataPaths, values: dict[str, Any], asked: _Asked) -> ForecastSpec:
    """Return the configuration with the options that override it."""
    spec = spec_from_mapping(values)
    data = data_range(paths, spec.data, asked.file, values.get("data", {}), asked.market)
    return replace(
        spec,
        data=replace_given(data, asked.span),
        evaluation=replace_given(spec.evaluation, {"seeds": asked.runs["seeds"]}),
        training=replace_given(spec.training, {"epochs": asked.runs["epochs"]}),
    )


def _resumed(paths: DataPaths, run_id: str) -> tuple[str, ForecastSpec, EvaluationPlan]:
    try:
        folder = run_folder(paths.runs, run_id, "evaluation")
        spec = ForecastSpec.from_json(json.loads((folder / SPEC_FILE).read_bytes()))
        plan = EvaluationPlan.from_json(json.loads((folder / PLAN_FILE).read_bytes()))
    except (OSError, ValueError) as exc:
        raise UserError(f"There is no evaluation {run_id!r} to go on with.", "Start a new one.") from exc
    return run_id, spec, plan


def _tell_model(result: ModelResult, saved: Path | None, *, as_json: bool) -> None:
    text = _model_text(result) + (f"\nKept as {saved}." if saved is not None else "")
    emit({**result.to_json(), "saved": None if saved is None else str(saved)}, as_json=as_json, text=text)


def _model_text(result: ModelResult) -> str:
    return _judged_text("Model", result, metrics_lines(result.metrics), result.metrics.verdict)


def _agent_text(result: AgentEvaluation) -> str:
    return _judged_text("Agent", result, agent_lines(result.metrics), result.metrics.verdict)


def _judged_text(kind: str, result: JudgedRange, figures: list[str], verdict: str) -> str:
    lines = [
        f"{kind} {result.model_id} on {result.judged:,} bars of {result.venue} {result.symbol} {result.timeframe}, "
        f"{_day(result.first_ns)} to {_day(result.last_ns)}",
        *(f"! {note}" for note in result.notes),
        *figures,
        with_caution(verdict, DataOrigin(result.venue)),
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
    ic, sharpe, net = (
        figure_text(value, form) for value, form in ((row.ic, "+.3f"), (row.sharpe, "+.2f"), (row.net_return, "+.1%"))
    )
    return f"{row.crps_skill:+9.2%}{row.r2:+9.2%}{ic:>8}{sharpe:>8}{net:>9}"


def _day(time_ns: int) -> str:
    moment: datetime = to_datetime(time_ns)
    return f"{moment:%Y-%m-%d}"


def _refuse(options: dict[str, Any], what: str) -> None:
    """Raise `UserError` for options that mean nothing here."""
    for name in (name for name, given in options.items() if given is not None):
        shown = name.removesuffix("_ns").replace("_", "-")
        raise UserError(f"--{shown} belongs to the evaluation of {what}.", "Leave it out.")
