"""What the store's thread reads and writes for the training desk: stored bars, models, files. Any thread but the GUI's.

Heavy modules are imported where they are used, away from the start of the window.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.models.model_choice import ModelChoice
from app.workers.store import StoreBackend
from core.domain.data_origin import BINANCE, DataOrigin
from ml.api import ForecastSpec, SeriesSource

if TYPE_CHECKING:
    from app.flows.datasets import Dataset
    from app.flows.feature_catalogue import FeatureCatalogue


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


def model_choices(models: Path) -> tuple[ModelChoice, ...]:
    """Return the models a strategy can be made of, newest first."""
    from ml.model_storage import list_models

    rows = [row for row in list_models(models) if not row.problem]
    rows.sort(key=lambda row: row.created_ns, reverse=True)
    return tuple(
        ModelChoice(r.model_id, r.symbol, r.timeframe, r.verdict, r.created_ns, r.edge, DataOrigin(r.venue))
        for r in rows
    )


def gpus() -> list[str]:
    """Return the names of NVIDIA cards."""
    from core.diagnostics.probes import nvidia_gpus

    return nvidia_gpus()


def write_configuration(path: Path, spec: ForecastSpec) -> None:
    """Write a configuration that `train forecast --config` reads."""
    from ml.spec_file import write_spec

    write_spec(path, spec, full=True)


def read_series(source: SeriesSource) -> None:
    """Raise `UserError` where a file of a side series cannot be used."""
    from ml.feature_sources import load_point_series

    load_point_series(Path(source.path), source.name, source.column, source.delay_s)


def load_catalogue() -> FeatureCatalogue:
    """Return what columns of features there are."""
    from app.flows import feature_catalogue

    return feature_catalogue.load_catalogue()


def inspect(path: Path) -> Dataset:
    """Describe the bars of a file."""
    from app.flows.datasets import SourceKind, dataset_from_frame
    from core.data.importer import import_candles

    return dataset_from_frame(import_candles(path).frame, SourceKind.FILE, BINANCE, str(path))
