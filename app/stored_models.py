"""Reads and changes stored models for the window. Qt-free; runs on a worker's thread.

The window itself may not import the storage: what it shows comes as `app.models.model_card` values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.flows.origin_text import market_title
from app.i18n import MISSING, format_moment
from app.models.agent_card import AgentCard
from app.models.model_card import CardProblem, ComparedModels, ModelCard, ModelLineage, ModelRow, PartRange
from app.stored_agents import agent_card, agent_of_today
from core.config import DataPaths
from core.errors import UserError
from core.strategies.spec import StrategyKind, StrategySpec
from ml.agents.package import StoredAgent
from ml.evaluation_records import saved_evaluations
from ml.model_compare import compare_models
from ml.model_storage import StoredModel, list_models, load_agent, load_any, remove_files, run_of
from ml.model_tags import NO_MARKS, ModelMarks, ModelTags
from ml.overfitting import sharpe_probability
from ml.trial_claims import with_todays_trials


def model_rows(models_dir: Path) -> tuple[ModelRow, ...]:
    """Return every stored model, damaged ones too, newest first.

    Raises:
        UserError: the file of tags is damaged.
    """
    marks = ModelTags(models_dir).read()
    return tuple(ModelRow(row, marks.get(row.model_id, NO_MARKS)) for row in list_models(models_dir))


def model_card(paths: DataPaths, model_id: str) -> ModelCard | AgentCard | CardProblem:
    """Verify a model and return all about it, or why it cannot be shown."""
    try:
        found = load_any(paths.models, model_id)
        lineage, marks = _lineage(found.manifest), ModelTags(paths.models).of(model_id)
        if isinstance(found, StoredAgent):
            return agent_card(paths, found, lineage, marks, users_of(paths, model_id))
        stored = as_of_today(paths, found)
        return ModelCard(
            model_id=model_id,
            created_ns=int(stored.manifest["created_ns"]),
            size_bytes=sum(path.stat().st_size for path in stored.folder.iterdir() if path.is_file()),
            spec=stored.spec,
            metrics=stored.metrics,
            lineage=lineage,
            marks=marks,
            sharpe_probability=sharpe_probability(stored.metrics.sharpe),
            used_by=users_of(paths, model_id),
            evaluations=saved_evaluations(paths.models, model_id),
        )
    except UserError as exc:
        return CardProblem(model_id, exc.message, exc.remedy)


def compared_models(paths: DataPaths, model_ids: Sequence[str]) -> ComparedModels:
    """Put models side by side.

    Raises:
        UserError: one of them cannot be read, or only some of them are agents.
    """
    models = [any_as_of_today(paths, load_any(paths.models, model_id)) for model_id in model_ids]
    table = compare_models(models)
    return ComparedModels(
        model_ids=table.model_ids,
        titles=tuple(_title(model) for model in models),
        metrics=tuple(table.metrics.items()),
        differences=tuple(
            (name, tuple(_word(name, value) for value in row)) for name, row in table.differences.items()
        ),
        not_comparable=table.not_comparable,
        standings=tuple(model.metrics.standing for model in models if isinstance(model, StoredAgent)),
    )


def change_marks(models_dir: Path, model_id: str, tags: Sequence[str], note: str) -> ModelMarks:
    """Set tags and note of a model to exactly these; where one of them cannot be kept, nothing is changed.

    Raises:
        UserError: a tag or the note cannot be kept, or the file cannot be written.
    """
    return ModelTags(models_dir).set_marks(model_id, tags, note)


def remove_model(paths: DataPaths, model_id: str) -> None:
    """Delete a model for good.

    Raises:
        UserError: its tag or a strategy protects it, or the folder cannot be changed.
    """
    tags = ModelTags(paths.models)
    tags.require_removable(model_id)
    require_unused(paths, model_id)
    with tags.removing(model_id):
        remove_files(paths.models, model_id)


def require_unused(paths: DataPaths, model_id: str) -> None:
    """Raise `UserError` where a strategy uses a model; the journal must have the form of this version."""
    users = users_of(paths, model_id)
    if users:
        raise UserError(f"The strategy {users[0]!r} uses model {model_id}.", "Remove the strategy first.")


def users_of(paths: DataPaths, model_id: str) -> tuple[str, ...]:
    """Return the titles of the strategies that need a model, also as the encoder of an agent: none starts without it.

    The journal must have the form of this version.
    """
    if not paths.journal_db.exists():
        return ()
    from core.execution.journal import Journal

    with closing(Journal(paths.journal_db)) as journal:
        specs = [record.spec for record in journal.strategies()]
    return tuple(spec.title for spec in specs if model_id in (spec.model_id, _encoder_of(paths, spec)))


def _encoder_of(paths: DataPaths, spec: StrategySpec) -> str:
    """Return the forecaster that a strategy's agent sees through; "" for none."""
    if spec.kind is not StrategyKind.AGENT:
        return ""
    try:
        return load_agent(paths.models, spec.model_id).encoder_id
    except UserError:  # the strategy cannot start any more, with or without an encoder
        return ""


def as_of_today(paths: DataPaths, stored: StoredModel) -> StoredModel:
    """Return the model with what is left of its earnings after all trials up to now, so that two of them compare."""
    return replace(stored, metrics=with_todays_trials(stored.metrics, stored.spec.data, paths.trials))


def any_as_of_today(paths: DataPaths, stored: StoredModel | StoredAgent) -> StoredModel | StoredAgent:
    """Return `as_of_today` of a forecaster, or what may be claimed of an agent today."""
    return agent_of_today(paths, stored) if isinstance(stored, StoredAgent) else as_of_today(paths, stored)


def _lineage(manifest: dict[str, Any]) -> ModelLineage:
    data, split = manifest["data"], manifest["split"]
    return ModelLineage(
        bars=int(data["bars"]),
        first_ns=int(data["first_open_ns"]),
        last_ns=int(data["last_open_ns"]),
        data_sha256=str(data["sha256"]),
        train=_part(split["train"]),
        valid=_part(split["valid"]),
        test=_part(split["test"]),
        code_version=str(manifest["code_version"]),
        run_id=run_of(manifest),
    )


def _part(part: dict[str, Any]) -> PartRange:
    return PartRange(int(part["first_open_ns"]), int(part["last_open_ns"]), int(part["targets"]))


def _title(model: StoredModel | StoredAgent) -> str:
    data = model.spec.data
    return f"{market_title(data.symbol, data.timeframe, data.origin)} · {model.model_id[:8]}"


def _word(name: str, value: Any) -> str:
    """Return a value of a specification as a person reads it."""
    if value is None or value in ([], ""):
        return MISSING
    if name.endswith("_ns"):
        return format_moment(int(value), "%Y-%m-%d %H:%M")
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(str(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
