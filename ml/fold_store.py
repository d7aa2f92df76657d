"""What the networks of one fold said, kept so that an evaluation goes on where it stopped. Any thread; no torch.

One file of arrays per fold, without pickle, and a record that names its hash and is written last: a fold is there as a
whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.atomic_file import write_atomically
from core.errors import UserError
from ml.arrays import FloatArray
from ml.baselines import BASELINES, BaselineForecast
from ml.evaluators import HorizonForecast
from ml.held_moves import HeldMoves
from ml.jsonvalues import JsonValue
from ml.metrics.regimes import RegimeCodes

_RECORD, _ARRAYS = "fold.json", "fold.npz"
_OF_FORECAST = ("quantiles", "outcome", "probabilities", "classes", "time_ns")
_OF_BASELINE = ("point", "quantiles", "probabilities")

Pair = tuple[HorizonForecast, tuple[BaselineForecast, ...]]


@dataclass(frozen=True, slots=True)
class SeedRecord(JsonValue):
    """How the training of one seed in a fold went; see `ml.metric_results.SeedScore`."""

    seed: int
    epochs: int
    best_epoch: int
    valid_loss: float
    valid_sharpe: float | None


@dataclass(frozen=True, slots=True)
class FoldRecord(JsonValue):
    """The numbers of a finished fold.

    Attributes:
        fingerprint: of specification, plan and bars; a fold counts only for its own.
        arrays_sha256: of the file of arrays.
        train_from_ns / train_to_ns: open times of the first and last training bar.
        train_targets / valid_targets: how many.
        forecast_std / target_std / still: as in `ForecastMetrics`.
        seeds: one record each.
        seconds: the fold took.
    """

    fingerprint: str
    arrays_sha256: str
    train_from_ns: int
    train_to_ns: int
    train_targets: int
    valid_targets: int
    forecast_std: float
    target_std: float
    seeds: tuple[SeedRecord, ...]
    seconds: float
    still: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What was said about one stretch of bars in time order, and what came.

    Attributes:
        pairs: for every horizon the model's forecasts and the baselines'.
        held: what the price does while what is decided at each bar is held.
        seed_quantiles: of each network alone at the first horizon, shape (S, n, Q).
    """

    pairs: tuple[Pair, ...]
    held: HeldMoves
    seed_quantiles: FloatArray

    @property
    def first(self) -> HorizonForecast:
        """The forecasts that trade."""
        return self.pairs[0][0]


@dataclass(frozen=True, slots=True, eq=False)
class FoldOutcome:
    """A finished fold: its record, and one block per test interval."""

    record: FoldRecord
    blocks: tuple[Block, ...]


def joined(blocks: Sequence[Block], hold: Callable[[Sequence[HeldMoves]], HeldMoves]) -> Block:
    """Return blocks in time order as one; `hold` says whether a position is held from one to the next."""
    pairs = []
    for parts in zip(*(block.pairs for block in blocks), strict=True):
        forecasts, known = [part[0] for part in parts], [{row.name: row for row in part[1]} for part in parts]
        # One that could not be fitted somewhere says nothing about the whole.
        names = [name for name in BASELINES if all(name in rows for rows in known)]
        pairs.append((_joined_forecast(forecasts), tuple(_joined_baseline([r[name] for r in known]) for name in names)))
    return Block(
        tuple(pairs),
        hold([block.held for block in blocks]),
        np.concatenate([block.seed_quantiles for block in blocks], axis=1),
    )


def save_fold(folder: Path, record: FoldRecord, blocks: Sequence[Block]) -> FoldOutcome:
    """Write a finished fold; `record.arrays_sha256` is filled in.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **_to_arrays(blocks))
    data = buffer.getvalue()
    complete = FoldRecord.from_json({**record.to_json(), "arrays_sha256": hashlib.sha256(data).hexdigest()})
    write_atomically(folder / _ARRAYS, data)
    write_atomically(folder / _RECORD, json.dumps(complete.to_json(), indent=1).encode())
    return FoldOutcome(complete, tuple(blocks))


def load_fold(folder: Path, fingerprint: str, levels: tuple[float, ...]) -> FoldOutcome | None:
    """Return a finished fold, None where there is none.

    Raises:
        UserError: it is damaged, or of another specification, plan or other bars.
    """
    if not (folder / _RECORD).exists():
        return None
    try:
        record = FoldRecord.from_json(json.loads((folder / _RECORD).read_bytes()))
        data = (folder / _ARRAYS).read_bytes()
    except (OSError, ValueError, UserError) as exc:
        raise UserError(f"The result in {folder.name} cannot be read.", "Start the evaluation anew.") from exc
    if hashlib.sha256(data).hexdigest() != record.arrays_sha256:
        raise UserError(f"The result in {folder.name} is damaged.", "Start the evaluation anew.")
    if record.fingerprint != fingerprint:
        raise UserError(
            f"The result in {folder.name} belongs to another configuration or to other data.",
            "Resume with the same ones.",
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        try:
            return FoldOutcome(record, _from_arrays(dict(arrays), levels))
        except KeyError as exc:  # of a version that kept something else
            raise UserError(f"The result in {folder.name} cannot be read.", "Start the evaluation anew.") from exc


def _to_arrays(blocks: Sequence[Block]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        arrays |= {
            f"{number}/held_log_close": block.held.log_close,
            f"{number}/held_time_ns": block.held.time_ns,
            f"{number}/seed_quantiles": block.seed_quantiles,
        }
        for forecast, baselines in block.pairs:
            place = f"{number}/{forecast.horizon}"
            arrays |= {f"{place}/model/{name}": getattr(forecast, name) for name in _OF_FORECAST}
            for regimes in forecast.regimes:
                arrays[f"{place}/regime/{regimes.grouping}/{','.join(regimes.names)}"] = regimes.codes
            for row in baselines:
                arrays |= {f"{place}/{row.name}/{name}": getattr(row, name) for name in _OF_BASELINE}
    return {name: value for name, value in arrays.items() if value is not None}


def _from_arrays(arrays: Mapping[str, Any], levels: tuple[float, ...]) -> tuple[Block, ...]:
    tree: dict[str, Any] = {}
    for name, value in arrays.items():
        *folders, leaf = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    blocks = []
    for number in sorted(tree, key=int):
        block = tree[number]
        horizons = sorted((key for key in block if key.isdigit()), key=int)
        pairs = tuple(_pair(int(horizon), block[horizon], levels) for horizon in horizons)
        held = HeldMoves(block["held_log_close"], block["held_time_ns"])
        blocks.append(Block(pairs, held, block["seed_quantiles"]))
    return tuple(blocks)


def _pair(horizon: int, found: dict[str, Any], levels: tuple[float, ...]) -> Pair:
    regimes = tuple(
        RegimeCodes(grouping, tuple(names.split(",")), codes)
        for grouping, entries in found["regime"].items()
        for names, codes in entries.items()
    )
    baselines = tuple(BaselineForecast(name, **found[name]) for name in BASELINES if name in found)
    return HorizonForecast(horizon=horizon, levels=levels, regimes=regimes, **found["model"]), baselines


def _joined_forecast(parts: Sequence[HorizonForecast]) -> HorizonForecast:
    regimes = tuple(
        RegimeCodes(same[0].grouping, same[0].names, np.concatenate([one.codes for one in same]))
        for same in zip(*(part.regimes for part in parts), strict=True)
    )
    values = {name: _together([getattr(part, name) for part in parts]) for name in _OF_FORECAST}
    return HorizonForecast(horizon=parts[0].horizon, levels=parts[0].levels, regimes=regimes, **values)


def _joined_baseline(parts: Sequence[BaselineForecast]) -> BaselineForecast:
    (name,) = {part.name for part in parts}
    return BaselineForecast(name, **{key: _together([getattr(part, key) for part in parts]) for key in _OF_BASELINE})


def _together(values: Sequence[Any]) -> Any:
    return None if any(value is None for value in values) else np.concatenate(values)
