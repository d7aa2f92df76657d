"""`main.py models`: list, show, compare, tag, give away and take in stored models. Qt-free and torch-free."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.agent_text import agent_lines, agent_lines_of_spec
from app.commands.cli import CommandFailed, DataDirOption, JsonOption, command, counted, emit, say
from app.stored_models import any_as_of_today, require_unused
from core.clock import SystemClock, to_datetime
from core.config import DataPaths, data_paths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from core.user_path import user_path
from ml.agents.package import StoredAgent
from ml.api import ModelSummary, PointMetrics
from ml.model_compare import Comparison, compare_models
from ml.model_exchange import export_model, import_model
from ml.model_storage import AGENT, StoredModel, list_models, load_any, remove_files, stored_ids
from ml.model_tags import NO_MARKS, ModelMarks, ModelTags

app = typer.Typer(
    help="List, show, compare, tag, export and import stored models.", rich_markup_mode=None, no_args_is_help=True
)

ModelArgument = Annotated[str, typer.Argument(help="Id of the model, or its first characters.", show_default=False)]


_SHOWN = ("model", "baselines", "ensemble")  # of the metrics that have parts; all of them are in the JSON


class Sorting(StrEnum):
    """By what a list is sorted."""

    CREATED = "created"
    R2 = "r2"
    SYMBOL = "symbol"
    SIZE = "size"


@app.command("list")
@command
def list_command(
    tag: Annotated[str | None, typer.Option(help="Only models with this tag.", show_default=False)] = None,
    sort: Annotated[Sorting, typer.Option(help="created (newest first), r2, symbol or size.")] = Sorting.CREATED,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """List the stored models."""
    folder = data_paths(data_dir).models
    marks = ModelTags(folder).read()
    models = _sorted(list_models(folder), sort)
    if tag is not None:
        wanted = tag.strip().casefold()
        models = [m for m in models if wanted in (t.casefold() for t in marks.get(m.model_id, NO_MARKS).tags)]
    rows = [(model, marks.get(model.model_id, NO_MARKS)) for model in models]
    nothing = "No models are stored yet. Train one with `train forecast` or `train agent`."
    text = "\n".join(_row(model, mark) for model, mark in rows)
    emit(
        {"models": [{**model.to_json(), **_marks_json(mark)} for model, mark in rows]},
        as_json=as_json,
        text=text or (nothing if tag is None else f"No model has the tag {tag!r}."),
    )


@app.command()
@command
def show(model_id: ModelArgument, as_json: JsonOption = False, data_dir: DataDirOption = None) -> None:
    """Verify a model and show what it was made from and how it did."""
    folder = data_paths(data_dir).models
    stored = load_any(folder, find_model(folder, model_id))
    marks = ModelTags(folder).of(stored.model_id)
    result = {
        "model_id": stored.model_id,
        "manifest": stored.manifest,
        "spec": stored.spec.to_json(),
        "metrics": stored.metrics.to_json(),
        **_marks_json(marks),
    }
    emit(result, as_json=as_json, text=_page(stored, marks))


@app.command()
@command
def compare(
    model_ids: Annotated[list[str], typer.Argument(help="Two or more models.", show_default=False)],
    sort: Annotated[
        str | None,
        typer.Option(help="Metric by which the best comes first, such as pinball or r2.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Show models side by side: how they were made and how they did."""
    paths = data_paths(data_dir)
    folder = paths.models
    found = list(dict.fromkeys(find_model(folder, beginning) for beginning in model_ids))
    if len(found) < 2:
        raise UserError("One model alone cannot be compared.", "Name two or more.")
    models = [load_any(folder, model_id) for model_id in found]
    comparison = compare_models([any_as_of_today(paths, model) for model in models], sort)
    result = {
        "models": list(comparison.model_ids),
        "differences": {name: list(row) for name, row in comparison.differences.items()},
        "metrics": {name: list(row) for name, row in comparison.metrics.items()},
        "not_comparable": list(comparison.not_comparable),
    }
    emit(result, as_json=as_json, text=_table(comparison))


@app.command()
@command
def tag(
    model_id: ModelArgument,
    tags: Annotated[list[str] | None, typer.Argument(help="Tags to add; none shows them.", show_default=False)] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Add tags to a model, or show them. The tag "keep" protects it from being removed."""
    folder = data_paths(data_dir).models
    found, store = find_model(folder, model_id), ModelTags(folder)
    _tell_marks(found, store.add_tags(found, *tags) if tags else store.of(found), as_json=as_json)


@app.command()
@command
def untag(
    model_id: ModelArgument,
    tags: Annotated[list[str], typer.Argument(help="Tags to take away.", show_default=False)],
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Take tags away from a model."""
    folder = data_paths(data_dir).models
    found = find_model(folder, model_id)
    _tell_marks(found, ModelTags(folder).remove_tags(found, *tags), as_json=as_json)


@app.command()
@command
def note(
    model_id: ModelArgument,
    text: Annotated[str, typer.Argument(help="The note; an empty one removes it.", show_default=False)],
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Write a note on a model."""
    folder = data_paths(data_dir).models
    found = find_model(folder, model_id)
    _tell_marks(found, ModelTags(folder).set_note(found, text), as_json=as_json)


@app.command()
@command
def export(
    model_id: ModelArgument,
    target: Annotated[
        Path | None, typer.Argument(help="File to write, or a folder; the current one.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Write a model as one file to give away. It holds no tags, notes, keys or paths."""
    folder = data_paths(data_dir).models
    found = find_model(folder, model_id)
    path = export_model(folder, found, user_path(target or Path()))
    result = {"model_id": found, "file": str(path), "size_bytes": path.stat().st_size}
    emit(result, as_json=as_json, text=f"Model {found} was written to {path}.")


@app.command("import")
@command
def import_command(
    source: Annotated[Path, typer.Argument(help="File that `models export` wrote.", show_default=False)],
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Validate a model from elsewhere, network included, and store it."""
    from ml.network_guard import check_in_child

    paths = data_paths(data_dir).create()
    say("Checking the package …")
    done = import_model(paths.models, user_path(source), check_in_child, SystemClock())
    result = {"model_id": done.model_id, "already_here": done.already_here}
    told = f"Model {done.model_id} is already here." if done.already_here else f"Model {done.model_id} was imported."
    emit(result, as_json=as_json, text=told)


@app.command()
@command
def remove(
    model_id: ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Delete a model for good. Refused while the tag "keep" or a strategy protects it."""
    paths = data_paths(data_dir)
    found = find_model(paths.models, model_id)
    tags = ModelTags(paths.models)
    tags.require_removable(found)
    _refuse_if_used(paths, found)
    if not yes:
        _ask(found)
    with tags.removing(found):
        remove_files(paths.models, found)
    emit({"model_id": found, "removed": True}, as_json=as_json, text=f"Model {found} was removed.")


def find_model(models_dir: Path, beginning: str) -> str:
    """Return the id of the one stored model, damaged or not, that begins like this."""
    matches = [model_id for model_id in stored_ids(models_dir) if beginning and model_id.startswith(beginning)]
    if len(matches) > 1:
        raise UserError(f"{len(matches)} models begin with {beginning!r}.", "Give more of the id.")
    if not matches:
        raise UserError(f"There is no model {beginning!r}.", "List the stored ones with `models list`.")
    return matches[0]


def _refuse_if_used(paths: DataPaths, model_id: str) -> None:
    """Keep the model of a strategy: without it the strategy could not start again and close what it holds."""
    if not paths.journal_db.exists():
        return
    from app.runtime import prepare_data

    prepare_data(paths.root)
    require_unused(paths, model_id)


def _ask(model_id: str) -> None:
    """Have a person type the beginning of the id.

    Raises:
        UserError: nobody is there to ask.
        CommandFailed: it was not typed.
    """
    if not sys.stdin.isatty():
        raise UserError("Removing a model needs a confirmation.", "Add --yes.")
    word = model_id[:4]
    say(f"Model {model_id} will be deleted for good. Type {word} to go on:")
    if sys.stdin.readline().strip() != word:
        raise CommandFailed("Nothing was removed.")


def _sorted(models: tuple[ModelSummary, ...], sort: Sorting) -> list[ModelSummary]:
    """Sort a list that comes newest first; what cannot be used goes last."""
    keys = {
        Sorting.CREATED: lambda m: 0,
        Sorting.R2: lambda m: math.inf if m.r2 is None else -m.r2,  # agents have none
        Sorting.SYMBOL: lambda m: (m.symbol, m.timeframe),
        Sorting.SIZE: lambda m: -m.size_bytes,
    }
    usable, others = [m for m in models if not m.problem], [m for m in models if m.problem]
    return [*sorted(usable, key=keys[sort]), *others]


def _marks_json(marks: ModelMarks) -> dict[str, Any]:
    return {**marks.to_json(), "foreign": marks.foreign}


def _tell_marks(model_id: str, marks: ModelMarks, *, as_json: bool) -> None:
    text = f"{model_id}{_marks_text(marks)}" if marks != NO_MARKS else f"Model {model_id} has no tags and no note."
    emit({"model_id": model_id, **_marks_json(marks)}, as_json=as_json, text=text)


def _marks_text(marks: ModelMarks) -> str:
    parts = ["foreign"] if marks.foreign else []
    parts += [f"[{', '.join(marks.tags)}]"] if marks.tags else []
    parts += [marks.note] if marks.note else []
    return "".join(f"  {part}" for part in parts)


def _row(model: ModelSummary, marks: ModelMarks) -> str:
    if model.problem:
        return f"{model.model_id}  unusable: {model.problem}{_marks_text(marks)}"
    when = to_datetime(model.created_ns).strftime("%Y-%m-%d %H:%M UTC")
    what, ahead = ("agent ", "") if model.family == AGENT else ("", f" +{model.horizon_bars}")
    return (
        f"{model.model_id}  {when}  {what}{model.kind} {model.venue} {model.symbol} {model.timeframe}{ahead}  "
        f"{model.features}  {model.size_bytes / 1024:,.0f} kB  "
        f"{with_caution(model.verdict, DataOrigin(model.venue))}{_marks_text(marks)}"
    )


def _page(stored: StoredModel | StoredAgent, marks: ModelMarks) -> str:
    manifest = stored.manifest
    data = manifest["data"]
    lines = [
        f"Model {stored.model_id}, all files verified",
        f"made      {to_datetime(int(manifest['created_ns'])):%Y-%m-%d %H:%M UTC} by {manifest['code_version']}",
        *_marks_lines(marks),
        f"market    {data['venue']} {data['symbol']} {data['timeframe']}, {data['bars']:,} bars "
        f"{to_datetime(int(data['first_open_ns'])):%Y-%m-%d} to {to_datetime(int(data['last_open_ns'])):%Y-%m-%d}",
    ]
    if isinstance(stored, StoredAgent):
        lines += [*agent_lines_of_spec(stored.spec, stored.observed), *agent_lines(stored.metrics)]
    else:
        lines += _forecaster_lines(stored)
    return "\n".join([*lines, with_caution(stored.metrics.verdict, stored.spec.data.origin)])


def _forecaster_lines(stored: StoredModel) -> list[str]:
    spec, metrics = stored.spec, stored.metrics
    return [
        f"network   {spec.model.kind}, {spec.model.layers} x {spec.model.hidden_size}, "
        f"{_ahead(spec.model.horizons)} ahead, features {spec.features.name} (version {spec.features.version}), "
        f"seed {spec.training.seed}",
        f"test      {metrics.targets:,} targets, pinball {metrics.pinball:.6f} against {metrics.pinball_baseline:.6f}, "
        f"coverage {metrics.coverage:.1%} of {metrics.nominal_coverage:.0%}",
        *(_metrics_row(row) for row in (metrics.model, *metrics.baselines)),
    ]


def _ahead(horizons: tuple[int, ...]) -> str:
    return counted(horizons[0], "bar") if len(horizons) == 1 else f"{', '.join(map(str, horizons))} bars"


def _marks_lines(marks: ModelMarks) -> list[str]:
    lines = []
    if marks.imported_ns is not None:
        when = f"{to_datetime(marks.imported_ns):%Y-%m-%d %H:%M UTC}"
        lines.append(f"foreign   imported {when} from {marks.imported_from}; its metrics are its maker's word")
    if marks.tags:
        lines.append(f"tags      {', '.join(marks.tags)}")
    if marks.note:
        lines.append(f"note      {marks.note}")
    return lines


def _metrics_row(row: PointMetrics) -> str:
    ic = f", IC {row.ic:+.3f}" if row.ic is not None else ""
    hits = f", hits {row.hit_rate:.1%}" if row.hit_rate is not None else ""
    return f"  {row.name:12} MAE {row.mae:.6f}, RMSE {row.rmse:.6f}, R² {row.r2:+.2%}{ic}{hits}"


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.6g}"


def _table(comparison: Comparison) -> str:
    count = len(comparison.model_ids)
    rows: list[tuple[str, tuple[str, ...]]] = [("", comparison.model_ids)]
    rows += [(name, tuple(map(str, row))) for name, row in comparison.differences.items()]
    metrics = [
        (name, row) for name, row in comparison.metrics.items() if name.partition(".")[0] in _SHOWN or "." not in name
    ]
    rows += [(name, tuple(map(_cell, row))) for name, row in metrics]
    widths = [max(len(row[1][column]) for row in rows) for column in range(count)]
    first = max(len(name) for name, _ in rows)
    lines = [
        f"{name:{first}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for name, row in rows
    ]
    if not comparison.differences:
        lines.append(f"The {counted(count, 'model')} were made in the same way.")
    return "\n".join([*lines, *comparison.not_comparable])
