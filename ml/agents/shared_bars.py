"""The bars that the seeds of a run learn from, one copy for all of its processes. Job children only (imports torch).

They lie in files that every process maps into its memory: the pages are those of the system's cache, so that a further
process takes none of its own. Nothing is pickled; nobody writes to them, and whoever did would get a page of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from core.accounting.rules import MarketRules
from ml.agents.bars import AgentBars
from ml.agents.market_tensor import MarketTensor, Stretch
from ml.arrays import FloatArray, IntArray
from ml.jsonvalues import JsonValue
from ml.telemetry import require_disk

_TENSORS = ("features", "prices", "volatility")
_TIME, _FORECAST = "time_ns", "forecast"
_INDEX = "bars.json"


@dataclass(frozen=True, slots=True, eq=False)
class LearningBars:
    """What a seed may know while it learns; the test part is not among it.

    Attributes:
        market: the bars.
        train / valid: what may be walked through in these parts.
        time_ns: open time of the bar of each row, ns UTC.
        bar_ns: length of a bar.
        forecast: of the encoder for each row, see `ml.agents.bars.Encoded`; None without one.
    """

    market: MarketTensor
    train: tuple[Stretch, ...]
    valid: tuple[Stretch, ...]
    time_ns: IntArray
    bar_ns: int
    forecast: FloatArray | None

    @classmethod
    def of(cls, bars: AgentBars) -> Self:
        """Return what of a run's bars its seeds learn from."""
        return cls(
            market=bars.market,
            train=bars.train,
            valid=bars.valid,
            time_ns=bars.time_ns,
            bar_ns=bars.frame.timeframe.ns,
            forecast=None if bars.encoded is None else bars.encoded.forecast,
        )

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything with a value for each row, by name."""
        found: dict[str, NDArray[Any]] = {name: getattr(self.market, name).numpy() for name in _TENSORS}
        found[_TIME] = self.time_ns
        return found if self.forecast is None else {**found, _FORECAST: self.forecast}


@dataclass(frozen=True, slots=True)
class _Index(JsonValue):
    """All of them but what has a value for each row."""

    stretches: tuple[Stretch, ...]
    names: tuple[str, ...]
    symbols: tuple[str, ...]
    rules: tuple[MarketRules, ...]
    train: tuple[Stretch, ...]
    valid: tuple[Stretch, ...]
    bar_ns: int
    has_forecast: bool


@contextmanager
def shared(bars: LearningBars, folder: Path) -> Iterator[None]:
    """Keep bars in a folder of their own while the block runs.

    Raises:
        UserError: the disk has not enough left.
    """
    remove_shared(folder)
    require_disk(folder.parent, sum(each.nbytes for each in bars.arrays.values()))
    folder.mkdir(parents=True)
    market = bars.market
    index = _Index(
        stretches=market.stretches,
        names=market.names,
        symbols=market.symbols,
        rules=market.rules,
        train=bars.train,
        valid=bars.valid,
        bar_ns=bars.bar_ns,
        has_forecast=bars.forecast is not None,
    )
    try:
        for name, values in bars.arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        (folder / _INDEX).write_text(json.dumps(index.to_json()), encoding="utf-8")
        yield
    finally:
        remove_shared(folder)


def shared_bars(folder: Path) -> LearningBars:
    """Return the bars that lie in a folder."""
    index = _Index.from_json(json.loads((folder / _INDEX).read_text(encoding="utf-8")))
    market = MarketTensor(
        **{name: torch.from_numpy(_mapped(folder, name)) for name in _TENSORS},
        stretches=index.stretches,
        names=index.names,
        symbols=index.symbols,
        rules=index.rules,
    )
    return LearningBars(
        market=market,
        train=index.train,
        valid=index.valid,
        time_ns=_mapped(folder, _TIME),
        bar_ns=index.bar_ns,
        forecast=_mapped(folder, _FORECAST) if index.has_forecast else None,
    )


def remove_shared(folder: Path) -> None:
    """Remove what a run that was killed left behind."""
    shutil.rmtree(folder, ignore_errors=True)


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    # Copy on write: torch wants memory that could be written to.
    values: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
    return values
