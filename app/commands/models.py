"""`main.py models`: list and show stored models. Qt-free and torch-free."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.cli import DataDirOption, JsonOption, command, emit
from core.clock import to_datetime
from core.config import data_paths
from core.domain.data_origin import DataOrigin, with_caution
from core.errors import UserError
from ml.api import ModelSummary, PointMetrics
from ml.model_storage import StoredModel, list_models, load_model

app = typer.Typer(help="List and show stored models.", rich_markup_mode=None, no_args_is_help=True)


@app.command("list")
@command
def list_command(as_json: JsonOption = False, data_dir: DataDirOption = None) -> None:
    """List the stored models, newest first."""
    models = list_models(data_paths(data_dir).models)
    text = "\n".join(_row(model) for model in models) or "No models are stored yet. Train one with `train forecast`."
    emit({"models": [model.to_json() for model in models]}, as_json=as_json, text=text)


@app.command()
@command
def show(
    model_id: Annotated[str, typer.Argument(help="Id of the model, or its first characters.")],
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Verify a model and show what it was made from and how it did."""
    folder = data_paths(data_dir).models
    matches = [model.model_id for model in list_models(folder) if model.model_id.startswith(model_id)]
    if len(matches) > 1:
        raise UserError(f"{len(matches)} models begin with {model_id!r}.", "Give more of the id.")
    stored = load_model(folder, matches[0] if matches else model_id)
    result = {
        "model_id": stored.model_id,
        "manifest": stored.manifest,
        "spec": stored.spec.to_json(),
        "metrics": stored.metrics.to_json(),
    }
    emit(result, as_json=as_json, text=_page(stored))


def _row(model: ModelSummary) -> str:
    if model.problem:
        return f"{model.model_id}  unusable: {model.problem}"
    when = to_datetime(model.created_ns).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{model.model_id}  {when}  {model.kind} {model.venue} {model.symbol} {model.timeframe} +{model.horizon_bars}  "
        f"{model.features}  {model.size_bytes / 1024:,.0f} kB  "
        f"{with_caution(model.verdict, DataOrigin(model.venue))}"
    )


def _page(stored: StoredModel) -> str:
    manifest, spec, metrics = stored.manifest, stored.spec, stored.metrics
    data = manifest["data"]
    lines = [
        f"Model {stored.model_id}, all files verified",
        f"made      {to_datetime(int(manifest['created_ns'])):%Y-%m-%d %H:%M UTC} by {manifest['code_version']}",
        f"market    {data['venue']} {data['symbol']} {data['timeframe']}, {data['bars']:,} bars "
        f"{to_datetime(int(data['first_open_ns'])):%Y-%m-%d} to {to_datetime(int(data['last_open_ns'])):%Y-%m-%d}",
        f"network   {spec.model.kind}, {spec.model.layers} x {spec.model.hidden_size}, "
        f"{spec.model.horizon_bars} bar(s) ahead, features {spec.features.name} {spec.features.version}, "
        f"seed {spec.training.seed}",
        f"test      {metrics.targets:,} targets, pinball {metrics.pinball:.6f} against {metrics.pinball_baseline:.6f}, "
        f"coverage {metrics.coverage:.1%} of {metrics.nominal_coverage:.0%}",
        *(_metrics_row(row) for row in (metrics.model, *metrics.baselines)),
        with_caution(metrics.verdict, spec.data.origin),
    ]
    return "\n".join(lines)


def _metrics_row(row: PointMetrics) -> str:
    ic = f", IC {row.ic:+.3f}" if row.ic is not None else ""
    hits = f", hits {row.hit_rate:.1%}" if row.hit_rate is not None else ""
    return f"  {row.name:12} MAE {row.mae:.6f}, RMSE {row.rmse:.6f}, R² {row.r2:+.2%}{ic}{hits}"
