"""Validates the files of a model package that came from elsewhere, before anything uses them. Any thread; no torch.

Only numbers and text are looked at here, without opening the network: that happens in a child process, see
`ml.worker.check_model`. Everything a package says is checked for its meaning, not only its type, because what a foreign
package claims decides what is traded.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from core.domain.candles import Timeframe
from core.errors import UserError
from ml.agents.episode import MOST_EPISODE_BYTES, read_episode
from ml.agents.package import CONFIG_ENTRIES, ENCODER, StoredAgent
from ml.agents.results import AgentMetrics
from ml.agents.verdict import agent_standing
from ml.api import DataRange
from ml.arrays import Float32Array
from ml.features import Scaling, pipeline_for
from ml.jsonvalues import Json
from ml.metric_results import ForecastMetrics, HorizonMetrics
from ml.model_storage import (
    CONFIG,
    EPISODE,
    FILES,
    FURTHER,
    MANIFEST,
    METRICS,
    ONNX,
    SCALER,
    WEIGHTS,
    StoredModel,
    files_of,
    parse_any,
    read_manifest,
)
from ml.model_tags import is_plain
from ml.overfitting import is_possible
from ml.verdict import SIGNIFICANCE

# Largest sizes in bytes. The largest network a specification allows has 270 MB of weights.
MOST_BYTES = {
    MANIFEST: 1 << 20,
    CONFIG: 1 << 20,
    METRICS: 16 << 20,
    SCALER: 1 << 20,
    WEIGHTS: 512 << 20,
    ONNX: 512 << 20,
    EPISODE: MOST_EPISODE_BYTES,
}
MOST_BYTES_ALTOGETHER = 1 << 30

_JSON_FILES = (MANIFEST, CONFIG, METRICS, SCALER)
_CONFIG_ENTRIES = {"spec", "feature_names", "feature_digest"}
_MANIFEST_ENTRIES = {
    "format": int,
    "created_ns": int,
    "files": dict,
    "seed": int,
    "code_version": str,
    "libraries": dict,
    "data": dict,
    "split": dict,
}
_RANGE_ENTRIES = {"first_open_ns": int, "last_open_ns": int}
_DATA_ENTRIES = {"venue": str, "symbol": str, "timeframe": str, "bars": int, "sha256": str, **_RANGE_ENTRIES}
_PARTS = ("train", "valid", "test")
_PART_ENTRIES = {**_RANGE_ENTRIES, "targets": int}
_LARGEST_NUMBER = 1e15
_SHARE, _CORRELATION, _AMOUNT = (0.0, 1.0), (-1.0, 1.0), (0.0, 100.0)
# What a metric can be, by its name wherever it stands; amounts are log returns or parts of one.
_BOUNDS = {
    **dict.fromkeys(("coverage", "nominal_coverage", "split_coverage", "adaptive_coverage"), _SHARE),
    **dict.fromkeys(
        ("edge_p_value", "p_value", "p_better", "hit_rate", "hit_low", "hit_high", "accuracy", "still"), _SHARE
    ),
    **dict.fromkeys(("ic", "rank_ic", "mcc"), _CORRELATION),
    **dict.fromkeys(("skill", "r2", "crps_skill"), (-_LARGEST_NUMBER, 1.0)),
    **dict.fromkeys(("mae", "rmse", "pinball", "pinball_baseline", "crps", "crps_baseline"), _AMOUNT),
    **dict.fromkeys(("forecast_std", "target_std"), _AMOUNT),
    **dict.fromkeys(("targets", "effective_targets"), (0.0, 1e9)),
}
_ROUNDING = 1e-9
_SMALLEST_STD = 1e-9
_LONGEST_TEXT = 4_000
_LARGEST_NS = 1 << 62
_LONGEST_HEADER = 4 << 20
_MOST_ENCODER_COLUMNS = 300_000  # of the largest ensemble that a specification allows
_REMEDY = "Ask whoever gave it to you to export it again."


def refused(reason: str) -> UserError:
    """Return the sentence about a package that is not what it should be."""
    return UserError(f"The package was refused: {reason}.", _REMEDY)


def check_package(files: Mapping[str, bytes]) -> StoredModel | StoredAgent:
    """Validate everything but the network itself.

    Args:
        files: content by name.

    Returns:
        The model, whose network nobody has opened yet; it lies in no folder.

    Raises:
        UserError: one sentence naming the first thing that is wrong.
    """
    _check_names_and_sizes(files)
    contents = {name: strict_json(name, files[name]) for name in _JSON_FILES}
    manifest = contents[MANIFEST]
    read_manifest(files[MANIFEST])
    _check_manifest(manifest)
    named = files_of(manifest)
    for name in named:
        if name not in files or hashlib.sha256(files[name]).hexdigest() != manifest["files"].get(name):
            raise refused(f"{name} is not the file the manifest names")
    if not set(manifest["files"]) == set(named) == set(files) - {MANIFEST}:
        raise refused("the manifest names files that do not belong to a package")
    stored = parse_any(files, Path())
    if set(contents[CONFIG]) != (CONFIG_ENTRIES if isinstance(stored, StoredAgent) else _CONFIG_ENTRIES):
        raise refused(f"{CONFIG} has other entries than it should")
    stored.spec.validate()
    _check_paths(stored.spec.data)
    _check_metrics(contents[METRICS])
    if isinstance(stored, StoredAgent):
        _check_agent(stored, manifest)
        if EPISODE in files:
            _check_episode(stored, files[EPISODE])
    else:
        _check_config(stored, contents[CONFIG]["feature_names"])
        _check_lineage(stored.spec.data, stored.spec.training.seed, manifest)
        _check_claims(stored)
    read_weights(files[WEIGHTS])
    return stored


def strict_json(name: str, data: bytes) -> Json:
    """Parse a JSON object without what JSON does not know, names that come twice, or text that cannot be shown.

    Raises:
        UserError: it is no such object.
    """

    def refuse_constant(text: str) -> None:
        raise ValueError(text)

    def unique(pairs: list[tuple[str, Any]]) -> Json:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name twice")
        return dict(pairs)

    try:
        content = json.loads(data.decode("utf-8"), parse_constant=refuse_constant, object_pairs_hook=unique)
        sound = isinstance(content, dict) and all(_is_sound(value) for value in _scalars(content))
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise refused(f"{name} is no valid JSON, or holds numbers or text that make no sense")
    result: Json = content
    return result


def read_weights(data: bytes) -> dict[str, Float32Array]:
    """Read a safetensors file of finite 32-bit numbers, by name; the format has no room for code.

    Raises:
        UserError: header and content do not fit together.
    """
    header, start = _weights_header(data)
    tensors: dict[str, Float32Array] = {}
    covered: list[tuple[int, int]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, begin, end = _tensor_place(name, entry)
        if not 0 <= begin <= end <= len(data) - start or end - begin != 4 * math.prod(shape):
            raise refused(f"{WEIGHTS} has a tensor that does not fit into the file")
        covered.append((begin, end))
        values = np.frombuffer(data, "<f4", math.prod(shape), start + begin).reshape(shape)
        if not np.isfinite(values).all():
            raise refused(f"{WEIGHTS} holds numbers that are not finite")
        tensors[name] = values
    position = 0
    for begin, end in sorted(covered):
        if begin != position:
            raise refused(f"{WEIGHTS} has holes or tensors that overlap")
        position = end
    if not tensors or position != len(data) - start:
        raise refused(f"{WEIGHTS} holds something beside its tensors")
    return tensors


def _check_names_and_sizes(files: Mapping[str, bytes]) -> None:
    if not {MANIFEST, *FILES} <= set(files) <= {MANIFEST, *FILES, *FURTHER}:
        raise refused("it does not hold exactly the files of a package")
    for name, data in files.items():
        if len(data) > MOST_BYTES[name]:
            raise refused(f"{name} is larger than any model needs")


def _check_manifest(manifest: Json) -> None:
    _check_entries(manifest, _MANIFEST_ENTRIES)
    _check_entries(manifest["data"], _DATA_ENTRIES)
    for part in _PARTS:
        _check_entries(manifest["split"].get(part), _PART_ENTRIES)
    if not 0 < manifest["created_ns"] < _LARGEST_NS:
        raise refused("it says that it was made at a time that cannot be")
    # Nothing else of the run is read, and what an earlier version wrote may lack it.
    if "run" in manifest:
        _check_entries(manifest["run"], {"id": str})


def _check_entries(where: Any, entries: Mapping[str, type]) -> None:
    for name, kind in entries.items():
        if not isinstance(where, dict) or type(where.get(name)) is not kind:
            raise refused(f"the entry {name} of the manifest is missing or of the wrong kind")


def _check_paths(data: DataRange, *others: str) -> None:
    """Refuse what would have files of this computer read: a package names files without folders, on any system."""
    for path in (data.source, *(series.path for series in data.series), *others):
        if path == ".." or any(kind(path).name != path for kind in (PurePosixPath, PureWindowsPath)):
            raise refused("it names a file in a folder")


def _check_config(stored: StoredModel, feature_names: Any) -> None:
    spec = stored.spec
    names = pipeline_for(spec.features, stored.feature_digest, Timeframe(spec.data.timeframe)).names
    if feature_names != list(names):
        raise refused("its features are not those of its feature set")
    check_scaling(stored.scaling, names, spec.model.horizons)


def check_scaling(scaling: Scaling, names: tuple[str, ...], horizons: tuple[int, ...]) -> None:
    """Check that a scaler fits its features and keeps numbers finite.

    Raises:
        UserError: it does not.
    """
    inputs, target = scaling.inputs, scaling.target
    if inputs.names != names or not len(inputs.center) == len(inputs.scale) == len(names):
        raise refused("its scaler does not fit its features")
    if not all(1e-12 <= scale <= _LARGEST_NUMBER for scale in inputs.scale) or not 0.1 <= inputs.clip <= 1e3:
        raise refused("its scaler would give numbers that make no sense")
    if target.horizons != horizons or len(target.scales) != len(horizons):
        raise refused("its scaler is for other horizons")
    if not 0.0 < target.floor <= 1.0 or not all(0.0 < scale <= 1e3 for scale in target.scales):
        raise refused("the unit of its forecasts makes no sense")


def _check_agent(stored: StoredAgent, manifest: Json) -> None:
    """Check what is an agent's own."""
    spec = stored.spec
    names = pipeline_for(spec.features, stored.feature_digest, Timeframe(spec.data.timeframe)).names
    if stored.feature_names != names:
        raise refused("its features are not those of its feature set")
    check_scaling(stored.scaling, names, spec.bars.model.horizons)
    _check_paths(spec.data, *(source.path for source in spec.universe.funding))
    _check_lineage(spec.data, spec.algorithm.seed, manifest)
    if spec.encoder.is_used:
        _check_entries(manifest.get(ENCODER), {"model_id": str, "onnx_sha256": str})
        if manifest[ENCODER]["model_id"] != spec.encoder.model or spec.encoder.train_first:
            raise refused("the manifest names another encoder than the configuration")
    if spec.encoder.is_used != bool(stored.encoder_names) or len(stored.encoder_names) > _MOST_ENCODER_COLUMNS:
        raise refused("the columns of its encoder do not fit its configuration")
    _check_agent_claims(stored.metrics, spec.algorithm.seeds)
    judged = {each.symbol for each in stored.metrics.markets}
    if judged and judged != set(spec.universe.markets(spec.data)):
        raise refused("its metrics are of other markets than the configuration")


def _check_episode(stored: StoredAgent, data: bytes) -> None:
    """Refuse an episode that is not of this agent."""
    episode, spec = read_episode(data), stored.spec
    if (episode.symbol, episode.timeframe) != (spec.data.symbol, spec.data.timeframe):
        raise refused("its episode is of another market")
    if episode.seeds.shape[1] != spec.algorithm.seeds or len(episode.names) not in (0, stored.observed):
        raise refused("its episode is not of the networks it holds")


def _check_agent_claims(metrics: AgentMetrics, seeds: int) -> None:
    """Refuse metrics that contradict themselves."""
    if len(metrics.seeds) != seeds:
        raise refused("its metrics are not of the seeds it is made of")
    if metrics.standing != agent_standing(metrics):
        raise refused("its metrics claim an edge that they do not show")
    if metrics.sharpe is not None and not is_possible(metrics.sharpe):
        raise refused("its metrics cannot be: no returns have such a Sharpe ratio, skew and kurtosis")


def _check_lineage(spec: DataRange, seed: int, manifest: Json) -> None:
    data = manifest["data"]
    if (data["venue"], data["symbol"], data["timeframe"]) != (spec.venue, spec.symbol, spec.timeframe):
        raise refused("the manifest names another market than the configuration")
    if manifest["seed"] != seed:
        raise refused("the manifest names another seed than the configuration")
    for part in (data, *(manifest["split"][name] for name in _PARTS)):
        if not 0 <= part["first_open_ns"] <= part["last_open_ns"] < _LARGEST_NS or part.get("targets", 0) < 0:
            raise refused("the manifest names a range of bars that cannot be")
    if data["bars"] < 1:
        raise refused("the manifest names a range of bars that cannot be")


def _check_metrics(metrics: Json) -> None:
    for name, value in _named(metrics):
        low, high = _BOUNDS.get(name, (-_LARGEST_NUMBER, _LARGEST_NUMBER))
        if isinstance(value, int | float) and not low - _ROUNDING <= value <= high + _ROUNDING:
            raise refused(f"its metrics cannot be: {name} is {value:g}")


def _check_claims(stored: StoredModel) -> None:
    """Refuse metrics that contradict the network's specification or themselves."""
    metrics, model = stored.metrics, stored.spec.model
    # The unit of a signal's strength: a tiny one would turn every forecast into the strongest of signals.
    if 0.0 < metrics.forecast_std < _SMALLEST_STD:
        raise refused("its metrics cannot be: forecast_std is too small to be one")
    pairs = len(model.quantile_levels) // 2
    horizons = [report.horizon for report in metrics.conformal]
    if [report.horizon for report in metrics.horizons] != list(model.horizons):
        raise refused("its metrics are not of the horizons it forecasts")
    if horizons and (horizons != list(model.horizons) or any(len(r.offsets) != pairs for r in metrics.conformal)):
        raise refused("its measured intervals are not those it forecasts")
    claims: tuple[ForecastMetrics | HorizonMetrics, ...] = (metrics, *metrics.horizons)
    if any(claim.edge and claim.edge_p_value >= SIGNIFICANCE for claim in claims):
        raise refused("its metrics claim an edge that they do not show")
    if metrics.sharpe is not None and not is_possible(metrics.sharpe):
        raise refused("its metrics cannot be: no returns have such a Sharpe ratio, skew and kurtosis")


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value in parsed JSON under the last name on the way to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _named(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, name)
    else:
        yield name, value


def _weights_header(data: bytes) -> tuple[Json, int]:
    if len(data) < 8:
        raise refused(f"{WEIGHTS} is no safetensors file")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_LONGEST_HEADER, len(data) - 8):
        raise refused(f"{WEIGHTS} is no safetensors file")
    return strict_json(WEIGHTS, data[8 : 8 + length]), 8 + length


def _tensor_place(name: str, entry: Any) -> tuple[tuple[int, ...], int, int]:
    try:
        shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, begin, end)
        fits = set(entry) == {"dtype", "shape", "data_offsets"} and entry["dtype"] == "F32" and len(shape) <= 4
        fits = fits and all(type(number) is int and 0 <= number < 1 << 40 for number in numbers)
    except (TypeError, KeyError, ValueError):
        fits = False
    if not fits or not is_plain(name):
        raise refused(f"{WEIGHTS} describes a tensor that is none")
    return shape, begin, end


def _scalars(value: Any) -> Iterator[Any]:
    """Yield every name and every single value in parsed JSON."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    else:
        yield value


def _is_sound(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT and is_plain(value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) <= _LARGEST_NUMBER
    return not isinstance(value, int) or abs(value) < _LARGEST_NS * 2
