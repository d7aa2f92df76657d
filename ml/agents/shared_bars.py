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

import numpy as np
import torch
from torch import Tensor

from core.accounting.rules import MarketRules
from ml.agents.market_tensor import MarketTensor, Stretch
from ml.jsonvalues import JsonValue
from ml.telemetry import require_disk

_TENSORS = ("features", "prices", "volatility")
_INDEX = "bars.json"


@dataclass(frozen=True, slots=True, eq=False)
class LearningBars:
    """What a seed may know while it learns; the test part is not among it.

    Attributes:
        market: the bars.
        train / valid: what may be walked through in these parts.
    """

    market: MarketTensor
    train: tuple[Stretch, ...]
    valid: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class _Index(JsonValue):
    """All of them but the tensors."""

    stretches: tuple[Stretch, ...]
    names: tuple[str, ...]
    rules: MarketRules
    symbols: tuple[str, ...]
    train: tuple[Stretch, ...]
    valid: tuple[Stretch, ...]


@contextmanager
def shared(bars: LearningBars, folder: Path) -> Iterator[None]:
    """Keep bars in a folder of their own while the block runs.

    Raises:
        UserError: the disk has not enough left.
    """
    market = bars.market
    tensors = {name: getattr(market, name) for name in _TENSORS}
    _remove(folder)  # of a run that was killed
    require_disk(folder.parent, sum(each.numel() * each.element_size() for each in tensors.values()))
    folder.mkdir(parents=True)
    try:
        for name, tensor in tensors.items():
            np.save(folder / f"{name}.npy", tensor.numpy(), allow_pickle=False)
        index = _Index(market.stretches, market.names, market.rules, market.symbols, bars.train, bars.valid)
        (folder / _INDEX).write_text(json.dumps(index.to_json()), encoding="utf-8")
        yield
    finally:
        _remove(folder)


def shared_bars(folder: Path) -> LearningBars:
    """Return the bars that lie in a folder."""
    index = _Index.from_json(json.loads((folder / _INDEX).read_text(encoding="utf-8")))
    market = MarketTensor(
        **{name: _mapped(folder / f"{name}.npy") for name in _TENSORS},
        stretches=index.stretches,
        names=index.names,
        rules=index.rules,
        symbols=index.symbols,
    )
    return LearningBars(market, index.train, index.valid)


def _mapped(file: Path) -> Tensor:
    # Copy on write: torch wants memory that could be written to.
    return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
