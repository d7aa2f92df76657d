"""What the store's thread reads and writes for the training desk: stored bars, models, files. Any thread but the GUI's.

Heavy modules are imported where they are used, away from the start of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.flows.sentence_text import local_text
from app.i18n import tr
from app.models.model_choice import ModelChoice
from app.workers.store import StoreBackend
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin
from core.errors import UserError
from ml.api import SeriesSource

if TYPE_CHECKING:
    from app.flows.datasets import Dataset, SeriesExtent, StoredForecaster
    from app.flows.feature_catalogue import FeatureCatalogue
    from app.flows.training_runs import Run


def describe_stored(backend: StoreBackend) -> tuple[Dataset, ...]:
    """Describe every stored series; damaged ones are left out here and named by `main.py data check`."""
    from app.flows.datasets import SourceKind, dataset_from_frame

    found = []
    for series in backend.candles.list_series():
        if not series.rows or series.damaged or series.last_ns is None:
            continue
        frame = backend.candles.read(series.origin, series.symbol, series.timeframe).finals()
        if len(frame):
            found.append(dataset_from_frame(frame, SourceKind.STORE, series.origin))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """What strategies can be made of.

    Attributes:
        choices: models, newest first.
        refusal: title and text of why the wanted model is not among them; None where it is, or none was wanted.
    """

    choices: tuple[ModelChoice, ...]
    refusal: tuple[str, str] | None = None


def model_offer(models: Path, wanted: str = "") -> ModelOffer:
    """Return the models a strategy can be made of, and why not of `wanted`, where one is named.

    Raises:
        UserError: the file that says which models were made elsewhere is damaged.
    """
    from app.stored_agents import agent_trouble
    from ml.model_storage import AGENT, list_models
    from ml.model_tags import NO_MARKS, ModelTags

    marks = ModelTags(models).read()
    rows = [row for row in list_models(models) if not row.problem]
    refused = {row.model_id: agent_trouble(models, row.model_id) for row in rows if row.family == AGENT}
    choices = tuple(
        ModelChoice(
            model_id=row.model_id,
            symbol=row.symbol,
            timeframe=row.timeframe,
            verdict=row.verdict,
            created_ns=row.created_ns,
            edge=row.edge,
            origin=DataOrigin(row.venue),
            foreign=marks.get(row.model_id, NO_MARKS).foreign,
            kind=row.kind,
            tags=tuple(marks.get(row.model_id, NO_MARKS).tags),
            agent=row.family == AGENT,
        )
        for row in rows
        if not row.other_inputs and not refused.get(row.model_id)
    )
    if not wanted or any(choice.model_id == wanted for choice in choices):
        return ModelOffer(choices)
    row = next((row for row in rows if row.model_id == wanted), None)
    if row is None:
        return ModelOffer(
            choices, (tr("This model is no longer stored"), tr("Train it again, or choose another model."))
        )
    title = tr("No strategy can be made of this model")
    if refused.get(wanted):
        return ModelOffer(choices, (title, local_text(refused[wanted])))
    text = tr("It also looks at {inputs}, which strategies do not receive.", inputs=", ".join(row.other_inputs))
    return ModelOffer(choices, (title, text))


def stored_forecasters(models: Path) -> tuple[StoredForecaster, ...]:
    """Return the forecasters an agent may see through, newest first: those that look at their own market alone."""
    from app.flows.datasets import StoredForecaster
    from ml.model_storage import FORECAST, list_models, load_model

    found = []
    for row in list_models(models):
        if row.problem or row.family != FORECAST or row.other_inputs:
            continue
        try:
            stored = load_model(models, row.model_id)
        except UserError:
            continue  # a damaged one is told of in the window of models, and hides no other
        ahead_ns = stored.spec.model.reach * Timeframe(row.timeframe).ns
        split = stored.manifest["split"]
        learned, chosen = (int(split[part]["last_open_ns"]) + ahead_ns for part in ("train", "valid"))
        found.append(
            StoredForecaster(
                model_id=row.model_id,
                origin=DataOrigin(row.venue),
                symbol=row.symbol,
                timeframe=row.timeframe,
                kind=row.kind,
                horizons=stored.spec.model.horizons,
                created_ns=row.created_ns,
                learned_ns=learned,
                chosen_ns=chosen,
            )
        )
    return tuple(found)


def gpus() -> list[str]:
    """Return the names of NVIDIA cards."""
    from core.diagnostics.probes import nvidia_gpus

    return nvidia_gpus()


def write_configuration(path: Path, spec: Run) -> None:
    """Write a configuration that `train forecast --config` or `train agent --config` reads."""
    from ml.spec_file import write_spec

    write_spec(path, spec, full=True)


def read_configuration(path: Path) -> Run:
    """Read a configuration of either kind and check it.

    Raises:
        UserError: it cannot be read, or is not valid.
    """
    from ml.spec_file import read_run_spec

    return read_run_spec(path).validate()


def read_series(source: SeriesSource) -> SeriesExtent:
    """Return when the values of a side series became known.

    Raises:
        UserError: its file cannot be used.
    """
    from app.flows.datasets import SeriesExtent
    from ml.feature_sources import load_point_series

    path = Path(source.path)
    known_ns = load_point_series(path, source.name, source.column, source.delay_s).known_ns
    if not len(known_ns):
        raise UserError(f"{path.name} holds no rows.", "Choose another file.")
    return SeriesExtent(known_ns)


def load_catalogue() -> FeatureCatalogue:
    """Return what columns of features there are."""
    from app.flows import feature_catalogue

    return feature_catalogue.load_catalogue()


def inspect(path: Path) -> Dataset:
    """Describe the bars of a file."""
    from app.flows.datasets import SourceKind, dataset_from_frame
    from core.data.importer import import_candles

    return dataset_from_frame(import_candles(path).frame, SourceKind.FILE, BINANCE, str(path))
