"""The state of the training wizard over made-up histories."""

from __future__ import annotations

from functools import cache

import numpy as np

from app.flows.datasets import Dataset, SeriesExtent, SourceKind, device_options
from app.flows.feature_catalogue import FeatureCatalogue, load_catalogue
from app.flows.training_flow import Step, TrainingFlow
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, DataOrigin, practice_origin

HOUR = Timeframe.H1.ns
PRACTICE = practice_origin("synthetic-1")
START = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC


def dataset(
    symbol: str = "BTC/USDT",
    timeframe: Timeframe = Timeframe.H1,
    bars: int = 8_000,
    kind: SourceKind = SourceKind.STORE,
    origin: DataOrigin = BINANCE,
    path: str = "",
) -> Dataset:
    return Dataset(kind, origin, symbol, timeframe, START, START + (bars - 1) * timeframe.ns, bars, path=path)


def extent(first_ns: int = START, days: int = 400) -> SeriesExtent:
    """Return the times of a series that is known every eight hours."""
    return SeriesExtent(first_ns + np.arange(3 * days, dtype=np.int64) * 8 * HOUR)


@cache
def catalogue() -> FeatureCatalogue:
    return load_catalogue()


def flow(*datasets: Dataset, **changes: object) -> TrainingFlow:
    built = TrainingFlow(datasets or (dataset(),), device_options([]), catalogue=catalogue())
    built.update(**changes)
    return built


def sentence(built: TrainingFlow, step: Step) -> str:
    problem = built.problem(step)
    return "" if problem is None else problem.text()
