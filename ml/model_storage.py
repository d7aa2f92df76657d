"""Stored models: a folder of plain files with a manifest, never pickle. Any thread; no torch.

A package is named by the hash of its manifest, which holds the hash of every other file: a changed byte anywhere is
noticed when it is loaded. Folders appear and go by one rename, so a package is complete or absent. What people say
about a model may change and lies beside the packages: `ml.model_tags`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from core.clock import Clock
from core.data.atomic_file import write_atomically
from core.data.frame import CandleFrame
from core.errors import UserError
from ml.agents.episode import Episode, read_episode, write_episode
from ml.agents.package import AgentContent, StoredAgent, agent_of
from ml.agents.results import EDGE
from ml.api import ForecastMetrics, ForecastSpec, ModelSummary
from ml.feature_spec import needed_markets, needed_series
from ml.features import MarketHistory, Scaling
from ml.jsonvalues import Json

MANIFEST, CONFIG, METRICS, SCALER = "manifest.json", "config.json", "metrics.json", "scaler.json"
WEIGHTS, ONNX = "weights.safetensors", "model.onnx"
EPISODE = "episode.npz"
FILES = (CONFIG, METRICS, SCALER, WEIGHTS, ONNX)
FURTHER = (EPISODE,)  # of agents, where their manifest names them; packages of earlier versions have none
FORMAT = 2
AGENT_FORMAT = 3  # a version that knows no agents says that it does not know this format

FORECAST, AGENT = "forecast", "agent"  # kinds of packages; a manifest that names none is of a forecaster
_ID = re.compile(r"[0-9a-f]{16}")
_UNDER_WAY = ("incoming", "outgoing")  # beginnings of folders that exist for a moment, unless their process is killed
_LEFT = re.compile(rf"\.(?:{'|'.join(_UNDER_WAY)})-{_ID.pattern}-(\d{{1,9}})")
_AGENT_LIBRARIES = ("stable-baselines3", "gymnasium")
_LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "pyarrow")
_REMEDY = "Train it again or restore it from a backup."


@dataclass(frozen=True, slots=True, eq=False)
class PackageContent:
    """What goes into a package.

    Attributes:
        spec: of the run.
        feature_names / feature_digest: columns of the input, in order, and the identity of their computation.
        scaling: of inputs and outputs.
        weights / onnx: file contents.
        metrics: on the test part.
        lineage: data range and hash, split and run, see `data_lineage`.
    """

    spec: ForecastSpec
    feature_names: tuple[str, ...]
    feature_digest: str
    scaling: Scaling
    weights: bytes
    onnx: bytes
    metrics: ForecastMetrics
    lineage: Json


@dataclass(frozen=True, slots=True, eq=False)
class StoredModel:
    """A verified package, in memory.

    Attributes:
        model_id: content hash.
        folder: where it lies.
        manifest: parsed.
        spec / feature_digest / scaling / metrics: as stored.
        onnx: the very bytes that were verified.
    """

    model_id: str
    folder: Path
    manifest: Json
    spec: ForecastSpec
    feature_digest: str
    scaling: Scaling
    metrics: ForecastMetrics
    onnx: bytes


def data_lineage(frame: CandleFrame) -> Json:
    """Return range, size and hash of the bars a model was made from."""
    digest = hashlib.sha256()
    for column in (frame.time_ns, frame.open, frame.high, frame.low, frame.close, frame.volume):
        digest.update(np.ascontiguousarray(column).tobytes())
    return {
        "bars": len(frame),
        "first_open_ns": int(frame.time_ns[0]),
        "last_open_ns": int(frame.time_ns[-1]),
        "sha256": digest.hexdigest(),
    }


def history_lineage(history: MarketHistory) -> Json:
    """Return the lineage of the bars, and of the other markets and series that the features look at."""
    lineage = data_lineage(history.frame)
    if history.others:
        lineage["markets"] = {other.symbol: data_lineage(other) for other in history.others}
    if history.series:
        lineage["series"] = {
            points.name: {
                "points": len(points.value),
                "sha256": hashlib.sha256(points.known_ns.tobytes() + points.value.tobytes()).hexdigest(),
            }
            for points in history.series
        }
    return lineage


def code_version() -> str:
    """Return the program's version and a hash of the code that makes and feeds models."""
    try:
        version = importlib.metadata.version("maru-trader")
    except importlib.metadata.PackageNotFoundError:
        version = "source"
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted([*root.glob("*.py"), *(root.parent / "core" / "indicators").glob("*.py")]):
        digest.update(path.read_bytes())
    return f"{version}+{digest.hexdigest()[:12]}"


def save_model(models_dir: Path, content: PackageContent, clock: Clock) -> str:
    """Write a package and return its id.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    config = {
        "spec": content.spec.to_json(),
        "feature_names": list(content.feature_names),
        "feature_digest": content.feature_digest,
    }
    files = {
        CONFIG: _to_bytes(config),
        METRICS: _to_bytes(content.metrics.to_json()),
        SCALER: _to_bytes(content.scaling.to_json()),
        WEIGHTS: content.weights,
        ONNX: content.onnx,
    }
    head = {"format": FORMAT, "created_ns": clock.now_ns()}
    return _save(models_dir, files, head, content.spec.training.seed, content.lineage, _LIBRARIES)


def save_agent(models_dir: Path, content: AgentContent, clock: Clock) -> str:
    """Write the package of an agent and return its id.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    files = {
        CONFIG: _to_bytes(content.config),
        METRICS: _to_bytes(content.metrics.to_json()),
        SCALER: _to_bytes(content.scaling.to_json()),
        WEIGHTS: content.weights,
        ONNX: content.onnx,
    }
    if content.episode is not None:
        files[EPISODE] = write_episode(content.episode)
    head = {"format": AGENT_FORMAT, "kind": AGENT, "created_ns": clock.now_ns()}
    libraries = (*_LIBRARIES, *_AGENT_LIBRARIES)
    return _save(models_dir, files, head, content.spec.algorithm.seed, content.lineage, libraries)


def _save(
    models_dir: Path, files: Mapping[str, bytes], head: Json, seed: int, lineage: Json, libraries: tuple[str, ...]
) -> str:
    manifest = _to_bytes(
        {
            **head,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "seed": seed,
            "code_version": code_version(),
            "libraries": {name: importlib.metadata.version(name) for name in libraries},
            **lineage,
        }
    )
    return store_files(models_dir, {**files, MANIFEST: manifest})


def store_files(models_dir: Path, files: Mapping[str, bytes], *, instead: bool = False) -> str:
    """Write the files of a whole package, manifest included, and return its id.

    Args:
        instead: of a damaged package of this id, which goes.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    model_id = model_id_of(files[MANIFEST])
    incoming, outgoing = (models_dir / f".{kind}-{model_id}-{os.getpid()}" for kind in _UNDER_WAY)
    try:
        for name, data in files.items():
            write_atomically(incoming / name, data)
        try:
            if instead:
                (models_dir / model_id).rename(outgoing)
            incoming.rename(models_dir / model_id)
        except OSError as exc:
            raise UserError(
                f"The model could not be stored in {models_dir}: {exc.strerror or exc}.", "Check the folder."
            ) from exc
    finally:
        for left in (incoming, outgoing):
            if left.exists():
                shutil.rmtree(left)
    return model_id


def model_id_of(manifest: bytes) -> str:
    """Return the id of the package with this manifest."""
    return hashlib.sha256(manifest).hexdigest()[:16]


def load_model(models_dir: Path, model_id: str) -> StoredModel:
    """Read the package of a forecaster and verify every file against the manifest, and the manifest against its name.

    Raises:
        UserError: no such model, a missing or changed file, a package of another format, or an agent.
    """
    return parse_package(_verified(models_dir, model_id, FILES), models_dir / model_id)


def load_agent(models_dir: Path, model_id: str) -> StoredAgent:
    """Read and verify the package of an agent, as `load_model` does for a forecaster.

    Raises:
        UserError: no such model, a missing or changed file, a package of another format, or a forecaster.
    """
    return parse_agent(_verified(models_dir, model_id, FILES), models_dir / model_id)


def load_any(models_dir: Path, model_id: str) -> StoredModel | StoredAgent:
    """Read and verify a package of either kind.

    Raises:
        UserError: no such model, a missing or changed file, or a package of another format.
    """
    return parse_any(_verified(models_dir, model_id, FILES), models_dir / model_id)


def load_episode(models_dir: Path, model_id: str) -> Episode | None:
    """Read the judged pass of a stored agent; None where its package keeps none.

    Raises:
        UserError: no such model, or its manifest or its episode is damaged.
    """
    files = _verified(models_dir, model_id, (EPISODE,))
    return read_episode(files[EPISODE]) if EPISODE in files else None


def package_files(models_dir: Path, model_id: str) -> dict[str, bytes]:
    """Return the files of a package by name, manifest first, each of them verified.

    Raises:
        UserError: no such model, a missing or changed file, or a package of another format.
    """
    return _verified(models_dir, model_id, (*FILES, *FURTHER))


def files_of(manifest: Json) -> tuple[str, ...]:
    """Return the names of the files that a package has beside its manifest, in order."""
    further = FURTHER if kind_of(manifest) == AGENT else ()
    return (*FILES, *(name for name in further if name in manifest["files"]))


def _verified(models_dir: Path, model_id: str, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """Return the manifest and those of some files that there are."""
    folder = models_dir / model_id
    if not _ID.fullmatch(model_id) or not folder.is_dir():
        raise UserError(f"There is no model {model_id!r}.", "List the stored ones with `models list`.")
    files = {MANIFEST: _read(folder, MANIFEST)}
    if model_id_of(files[MANIFEST]) != model_id:
        raise UserError(f"The manifest of model {model_id} was changed.", _REMEDY)
    manifest = read_manifest(files[MANIFEST])
    for name in (name for name in files_of(manifest) if name in wanted):
        files[name] = _read(folder, name)
        if hashlib.sha256(files[name]).hexdigest() != manifest["files"].get(name):
            raise UserError(f"The file {name} of model {model_id} is damaged.", _REMEDY)
    return files


def read_manifest(data: bytes) -> Json:
    """Parse a manifest as far as every package needs it: its format and the hashes of its files.

    Raises:
        UserError: it is none, or of a format this version does not know.
    """
    model_id = model_id_of(data)
    try:
        manifest: Json = json.loads(data)
        version, files, created = manifest["format"], manifest["files"], manifest["created_ns"]
        fits = type(version) is int and type(created) is int and isinstance(files, dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        fits = False
    if not fits or version < FORMAT:
        raise _of_another_version(model_id)
    if version > AGENT_FORMAT:
        raise UserError(f"Model {model_id} has a format this version does not know.", "Update the program.")
    if kind_of(manifest) != (AGENT if version == AGENT_FORMAT else FORECAST):
        raise _of_another_version(model_id)
    return manifest


def kind_of(manifest: Json) -> str:
    """Return what a package is, `FORECAST` or `AGENT` in a manifest that `read_manifest` gave."""
    return str(manifest.get("kind", FORECAST))


def run_of(manifest: Json) -> str:
    """Return the id of the run that made a package; empty where the manifest, which may be foreign, names none."""
    run = manifest.get("run")
    return str(run.get("id", "")) if isinstance(run, dict) else ""


def parse_package(files: Mapping[str, bytes], folder: Path) -> StoredModel:
    """Build a forecaster from the verified files of its package.

    Raises:
        UserError: what they hold was written by another version of the program, or is an agent.
    """
    stored = parse_any(files, folder)
    if isinstance(stored, StoredAgent):
        raise UserError(f"Model {stored.model_id} is an agent, not a forecaster.", "Choose a forecaster.")
    return stored


def parse_agent(files: Mapping[str, bytes], folder: Path) -> StoredAgent:
    """Build an agent from the verified files of its package.

    Raises:
        UserError: what they hold was written by another version of the program, or is a forecaster.
    """
    stored = parse_any(files, folder)
    if isinstance(stored, StoredModel):
        raise UserError(f"Model {stored.model_id} is a forecaster, not an agent.", "Choose an agent.")
    return stored


def parse_any(files: Mapping[str, bytes], folder: Path) -> StoredModel | StoredAgent:
    """Build a model of either kind from the verified files of its package.

    Raises:
        UserError: what they hold was written by another version of the program.
    """
    model_id = model_id_of(files[MANIFEST])
    manifest = read_manifest(files[MANIFEST])
    try:
        config, scaler, metrics = (json.loads(files[name]) for name in (CONFIG, SCALER, METRICS))
        if kind_of(manifest) == AGENT:
            return agent_of(model_id, folder, manifest, config, scaler, metrics, files[ONNX])
        return StoredModel(
            model_id=model_id,
            folder=folder,
            manifest=manifest,
            spec=ForecastSpec.from_json(config["spec"]),
            feature_digest=config["feature_digest"],
            scaling=Scaling.from_json(scaler),
            metrics=ForecastMetrics.from_json(metrics),
            onnx=files[ONNX],
        )
    except (KeyError, ValueError, TypeError, RecursionError, UserError) as exc:
        raise _of_another_version(model_id) from exc


def _of_another_version(model_id: str) -> UserError:
    return UserError(
        f"Model {model_id} was made by another version of the program.", "Train it again with this version."
    )


def remove_files(models_dir: Path, model_id: str) -> None:
    """Delete a package, damaged or not; it is gone with one rename.

    Raises:
        UserError: no such model, or the folder cannot be changed.
    """
    folder = models_dir / model_id
    if not _ID.fullmatch(model_id) or not folder.is_dir():
        raise UserError(f"There is no model {model_id!r}.", "List the stored ones with `models list`.")
    outgoing = models_dir / f".outgoing-{model_id}-{os.getpid()}"
    try:
        folder.rename(outgoing)
        shutil.rmtree(outgoing)
    except OSError as exc:
        raise UserError(f"The model could not be removed: {exc.strerror or exc}.", "Check the folder.") from exc


def stored_ids(models_dir: Path) -> tuple[str, ...]:
    """Return the ids of all stored packages, damaged ones as well, in order."""
    if not models_dir.is_dir():
        return ()
    return tuple(sorted(path.name for path in models_dir.iterdir() if path.is_dir() and _ID.fullmatch(path.name)))


def require_unfinished(models_dir: Path, run_id: str) -> None:
    """Raise `UserError` where a run has become a model: going on with it would store another."""
    if (model_id := model_of_run(models_dir, run_id)) is not None:
        raise UserError(f"The run {run_id} has ended: it became model {model_id}.", "Start the training anew.")


def model_of_run(models_dir: Path, run_id: str) -> str | None:
    """Return the id of the model that a run became; None where it has become none."""
    for model_id in stored_ids(models_dir):
        try:
            run = run_of(read_manifest((models_dir / model_id / MANIFEST).read_bytes()))
        except (OSError, UserError):  # a damaged one says nothing about runs
            continue
        if run == run_id:
            return model_id
    return None


def list_models(models_dir: Path) -> tuple[ModelSummary, ...]:
    """Return every stored model, newest first; damaged ones carry the reason in `problem`.

    What a process that was killed left half written or half removed goes.
    """
    _sweep(models_dir)
    rows = (summarise(models_dir, model_id) for model_id in stored_ids(models_dir))
    return tuple(sorted(rows, key=lambda m: -m.created_ns))


def _sweep(models_dir: Path) -> None:
    """Remove what processes that are gone left; where that fails it only takes space."""
    if not models_dir.is_dir():
        return
    for path in models_dir.iterdir():
        left = _LEFT.fullmatch(path.name)
        if left and not psutil.pid_exists(int(left[1])):
            shutil.rmtree(path, ignore_errors=True)


def summarise(models_dir: Path, model_id: str) -> ModelSummary:
    """Return one row of the list of models; a damaged package gives a row that says so."""
    folder = models_dir / model_id
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0
    try:
        stored = load_any(models_dir, model_id)
        others = (*needed_markets(stored.spec.features), *needed_series(stored.spec.features))
    except UserError as exc:
        return ModelSummary(model_id, 0, "", "", "", "", 0, "", False, None, "", size, problem=exc.message)
    if isinstance(stored, StoredAgent):
        family, kind, horizon = AGENT, stored.spec.algorithm.kind, 1
        edge, r2 = stored.metrics.standing == EDGE, None
    else:
        family, kind, horizon = FORECAST, stored.spec.model.kind, stored.spec.model.horizon_bars
        edge, r2 = stored.metrics.edge, stored.metrics.model.r2
    data, features = stored.spec.data, stored.spec.features
    return ModelSummary(
        model_id=model_id,
        created_ns=int(stored.manifest["created_ns"]),
        kind=kind,
        venue=data.venue,
        symbol=data.symbol,
        timeframe=data.timeframe,
        horizon_bars=horizon,
        features=f"{features.name} {features.version}",
        edge=edge,
        r2=r2,
        verdict=stored.metrics.verdict,
        size_bytes=size,
        other_inputs=others,
        family=family,
    )


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as exc:
        raise UserError(f"The file {name} of model {folder.name} cannot be read.", _REMEDY) from exc


def _to_bytes(value: Json) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
