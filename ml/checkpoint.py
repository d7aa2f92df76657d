"""Checkpoints of a training run: safetensors and JSON, never pickle. Runs in the training child (imports torch).

The JSON file names the tensor file it belongs to and is replaced atomically, so that a crash between the two leaves
the former pair. Tensors are stored per parameter name; the optimiser's moments travel along, which makes a resumed run
equal to an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from core.data.atomic_file import write_atomically
from core.errors import UserError
from ml.api import CHECKPOINT_FILE, EpochRecord
from ml.jsonvalues import Json, JsonValue

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, slots=True)
class TrainingState(JsonValue):
    """The numbers of a checkpoint.

    Attributes:
        fingerprint: hash of specification and data; a run resumes only on its own.
        seed: of the network; a run with several seeds trains one network after the other.
        history: one record per finished epoch.
        best_epoch / best_loss: of the best weights, which are stored beside the newest.
        seconds / targets: spent and seen so far.
        arithmetic: how it was computed, see `ml.run_resources.arithmetic`; a run resumes only in its own.
    """

    fingerprint: str
    seed: int
    history: tuple[EpochRecord, ...]
    best_epoch: int
    best_loss: float
    seconds: float = 0.0
    targets: float = 0.0
    arithmetic: str = ""


@dataclass(frozen=True, slots=True)
class _Index(JsonValue):
    tensors: str
    sha256: str


def save_checkpoint(
    folder: Path, state: TrainingState, network: nn.Module, best: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> None:
    """Write a checkpoint of a finished epoch and remove the former one.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for name, parameter in network.named_parameters():
        moments = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{name}.{key}": moments[key] for key in _MOMENTS if key in moments}
    file = f"checkpoint-{state.seed}-{len(state.history):06d}.safetensors"
    write_tensors(folder, CHECKPOINT_FILE, file, state, tensors)
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != file:
            old.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, fingerprint: str, seed: int, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor]] | None:
    """Restore network and optimiser in place and return the state and the best weights.

    Returns:
        None where the checkpoint is of another seed: this one has not begun.

    Raises:
        UserError: there is none, it is damaged, or it belongs to another specification or other data.
    """
    state, tensors = _read(folder, CHECKPOINT_FILE, fingerprint)
    if state.seed != seed:
        return None
    network.load_state_dict(under(tensors, "network."))
    parameters = dict(network.named_parameters())
    for name, value in under(tensors, "optimizer.").items():
        owner, _, key = name.rpartition(".")
        # The step counter of the fused optimiser lives beside its parameter.
        optimizer.state[parameters[owner]][key] = value.to(parameters[owner].device)
    return state, under(tensors, "best.")


def save_member(folder: Path, state: TrainingState, best: dict[str, Tensor]) -> None:
    """Write the best weights of a seed that is done.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    write_tensors(folder, f"member-{state.seed}.json", f"member-{state.seed}.safetensors", state, best)


def load_member(folder: Path, fingerprint: str, seed: int) -> tuple[TrainingState, dict[str, Tensor]] | None:
    """Return a finished seed's state and weights, or None where it is not finished.

    Raises:
        UserError: it is damaged, or belongs to another specification or other data.
    """
    name = f"member-{seed}.json"
    return _read(folder, name, fingerprint) if (folder / name).exists() else None


def kept_seconds(folder: Path) -> float:
    """Return how long the networks in checkpoint and finished seeds were trained; damaged files count nothing."""
    seconds: dict[int, float] = {}
    for file in (folder / CHECKPOINT_FILE, *folder.glob("member-*.json")):  # the last seed may be in both
        try:
            state = TrainingState.from_json(json.loads(file.read_bytes())["state"])
        except (OSError, ValueError, KeyError, TypeError, UserError):
            continue
        seconds[state.seed] = state.seconds
    return sum(seconds.values())


def write_tensors(folder: Path, index_name: str, file: str, state: JsonValue, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, then the JSON file that names them; a crash in between leaves the former pair.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    # Clones: safetensors refuses tensors that share memory, as best and newest may.
    data = safetensors.torch.save({name: value.detach().cpu().clone() for name, value in tensors.items()})
    write_atomically(folder / file, data)
    index = {**_Index(file, hashlib.sha256(data).hexdigest()).to_json(), "state": state.to_json()}
    write_atomically(folder / index_name, json.dumps(index, indent=1).encode())


def read_tensors(folder: Path, index_name: str) -> tuple[Json, dict[str, Tensor]]:
    """Return the state as JSON, and the tensors beside it.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        content = json.loads((folder / index_name).read_bytes())
        state: Json = content.pop("state")
        index = _Index.from_json(content)
        data = (folder / Path(index.tensors).name).read_bytes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as exc:
        raise UserError("There is no usable checkpoint of this run.", "Start the training anew.") from exc
    if hashlib.sha256(data).hexdigest() != index.sha256:
        raise UserError("The checkpoint of this run is damaged.", "Start the training anew.")
    return state, safetensors.torch.load(data)


def require_same_run(found: str, fingerprint: str) -> None:
    """Raise `UserError` unless a checkpoint is of this specification and these data."""
    if found != fingerprint:
        raise UserError(
            "The checkpoint belongs to another configuration or to other data.", "Resume with the same ones."
        )


def _read(folder: Path, index_name: str, fingerprint: str) -> tuple[TrainingState, dict[str, Tensor]]:
    found, tensors = read_tensors(folder, index_name)
    try:
        state = TrainingState.from_json(found)
    except UserError as exc:
        raise UserError("There is no usable checkpoint of this run.", "Start the training anew.") from exc
    require_same_run(state.fingerprint, fingerprint)
    return state, tensors


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin like this, without the beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
