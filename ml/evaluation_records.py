"""Evaluations of stored models that somebody kept: one file each, beside the packages. Any thread; no numpy, no torch.

A record is written once and names the hash of what it holds, so that a changed figure is noticed. It outlives its
model: the same package taken in again finds what was found out about it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock, to_datetime
from core.data.atomic_file import write_atomically
from core.errors import UserError
from ml.evaluation_plan import ModelResult
from ml.jsonvalues import Json

EVALUATIONS_FOLDER = "evaluations"  # in the models folder

_FORMAT = 2
_SUFFIX = ".json"
_HASH_LENGTH = 6  # in the file's name
_REMEDY = "Judge the model again, or restore the file from a backup."


@dataclass(frozen=True, slots=True)
class SavedEvaluation:
    """An evaluation whose record is sound.

    Attributes:
        file: its name in the folder of evaluations.
        created_ns: when it was kept, ns UTC.
        result: what it found.
    """

    file: str
    created_ns: int
    result: ModelResult


@dataclass(frozen=True, slots=True)
class DamagedEvaluation:
    """A record that cannot be used.

    Attributes:
        file: its name in the folder of evaluations.
        message / remedy: why, and what helps.
    """

    file: str
    message: str
    remedy: str


def save_evaluation(models_dir: Path, result: ModelResult, clock: Clock) -> Path:
    """Write a record and return its file; what was found just so before has one already.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    for kept in saved_evaluations(models_dir, result.model_id):
        if isinstance(kept, SavedEvaluation) and kept.result == result:
            return models_dir / EVALUATIONS_FOLDER / kept.file
    now_ns = clock.now_ns()
    content: Json = {"created_ns": now_ns, **result.to_json()}
    digest = _digest(content)
    stamp = to_datetime(now_ns).strftime("%Y%m%d-%H%M%S")
    path = models_dir / EVALUATIONS_FOLDER / f"{result.model_id}-{stamp}-{digest[:_HASH_LENGTH]}{_SUFFIX}"
    record = {"format": _FORMAT, "sha256": digest, **content}
    write_atomically(path, (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return path


def saved_evaluations(models_dir: Path, model_id: str) -> tuple[SavedEvaluation | DamagedEvaluation, ...]:
    """Return what was kept about a model: first what cannot be used, then the newest evaluation and older ones."""
    folder = models_dir / EVALUATIONS_FOLDER
    try:
        names = sorted(path.name for path in folder.iterdir() if _is_of(path.name, model_id))
    except FileNotFoundError:
        return ()
    except OSError as exc:
        message = f"{folder} cannot be read: {exc.strerror or exc}."
        return (DamagedEvaluation(EVALUATIONS_FOLDER, message, "Check the permissions."),)
    found = [_read(folder / name, model_id) for name in names]
    sound = [record for record in found if isinstance(record, SavedEvaluation)]
    damaged = [record for record in found if isinstance(record, DamagedEvaluation)]
    return (*damaged, *sorted(sound, key=lambda record: record.created_ns, reverse=True))


def _is_of(name: str, model_id: str) -> bool:
    return name.startswith(f"{model_id}-") and name.endswith(_SUFFIX)


def _read(path: Path, model_id: str) -> SavedEvaluation | DamagedEvaluation:
    try:
        content: Json = json.loads(path.read_bytes())
        version, digest = content.pop("format"), content.pop("sha256", "")
        if version != _FORMAT:
            return _of_another_version(path)
        if digest != _digest(content):
            raise ValueError(digest)
        created_ns = content.pop("created_ns")
    except OSError as exc:
        message = f"{path.name} cannot be read: {exc.strerror or exc}."
        return DamagedEvaluation(path.name, message, "Check the permissions.")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return DamagedEvaluation(path.name, f"The evaluation {path.name} is damaged.", _REMEDY)
    try:
        result = ModelResult.from_json(content)
    except UserError:  # figures that another version of the program measured
        return _of_another_version(path)
    if result.model_id != model_id or type(created_ns) is not int:
        return DamagedEvaluation(path.name, f"The evaluation {path.name} is damaged.", _REMEDY)
    return SavedEvaluation(path.name, created_ns, result)


def _of_another_version(path: Path) -> DamagedEvaluation:
    message = f"The evaluation {path.name} was kept by another version of the program."
    return DamagedEvaluation(path.name, message, "Judge the model again with this version.")


def _digest(content: Json) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
