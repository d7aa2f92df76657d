"""Checkpoints of an agent's run: safetensors and JSON, never pickle. Runs in the training child (imports torch).

Each seed has its own, so that several may learn at once and all go on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from core.errors import UserError
from ml.agents.fast_off_policy import LearnerState
from ml.agents.progress import ValidationRecord
from ml.checkpoint import read_tensors, require_same_run, under, write_tensors
from ml.jsonvalues import Json, JsonValue


@dataclass(frozen=True, slots=True)
class Number(JsonValue):
    """One of the numbers of a learner."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class AgentState(JsonValue):
    """The numbers of a checkpoint.

    Attributes:
        fingerprint: hash of specification and data; a run resumes only on its own.
        seed: of the agent.
        history: one record per pass over the validation part.
        best_step / best_return: of the best weights, which are stored beside the newest; None before the first pass.
        seconds: that this seed took so far.
        elapsed: seconds that the run took so far, with all seeds that learned before or meanwhile.
        numbers: of the learner; empty where the seed is done.
    """

    fingerprint: str
    seed: int
    history: tuple[ValidationRecord, ...]
    best_step: int
    best_return: float | None
    seconds: float = 0.0
    elapsed: float = 0.0
    numbers: tuple[Number, ...] = ()


def save_agent_state(
    folder: Path, state: AgentState, best: dict[str, Tensor], learner: LearnerState | None = None
) -> None:
    """Write a checkpoint in place of the former one, or, without a learner, what is left of a seed that is done.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    tensors = {f"best.{name}": value for name, value in best.items()}
    if learner is None:
        write_tensors(folder, _member(state.seed), f"member-{state.seed}.safetensors", state, tensors)
        (folder / _checkpoint(state.seed)).unlink(missing_ok=True)
        _remove_checkpoints(folder, state.seed)
        return
    tensors |= {f"learner.{name}": value for name, value in learner.tensors.items()}
    numbers = tuple(Number(name, value) for name, value in learner.numbers.items())
    file = f"checkpoint-{state.seed}-{len(state.history):06d}.safetensors"
    write_tensors(folder, _checkpoint(state.seed), file, replace(state, numbers=numbers), tensors)
    _remove_checkpoints(folder, state.seed, kept=file)


def load_agent_checkpoint(
    folder: Path, fingerprint: str, seed: int
) -> tuple[AgentState, LearnerState, dict[str, Tensor]] | None:
    """Return the state of a seed, of its learner, and its best weights.

    Returns:
        None where there is no checkpoint of this seed yet.

    Raises:
        UserError: it is damaged, or belongs to another specification or other data.
    """
    if not (folder / _checkpoint(seed)).exists():
        return None
    state, tensors = _read(folder, _checkpoint(seed), fingerprint)
    learner = LearnerState(under(tensors, "learner."), {number.name: number.value for number in state.numbers})
    return state, learner, under(tensors, "best.")


def load_agent_member(folder: Path, fingerprint: str, seed: int) -> tuple[AgentState, dict[str, Tensor]] | None:
    """Return a finished seed's state and best weights, or None where it is not finished.

    Raises:
        UserError: it is damaged, or belongs to another specification or other data.
    """
    if not (folder / _member(seed)).exists():
        return None
    state, tensors = _read(folder, _member(seed), fingerprint)
    return state, under(tensors, "best.")


def kept_agent_seconds(folder: Path) -> float:
    """Return how long a run has learned up to its last checkpoint; damaged files count nothing."""
    elapsed = [0.0]
    for file in (*folder.glob("checkpoint-*.json"), *folder.glob("member-*.json")):
        with suppress(UserError):
            elapsed.append(_state(read_tensors(folder, file.name)[0]).elapsed)
    return max(elapsed)


def _remove_checkpoints(folder: Path, seed: int, kept: str = "") -> None:
    for old in folder.glob(f"checkpoint-{seed}-*.safetensors"):
        if old.name != kept:
            old.unlink(missing_ok=True)


def _checkpoint(seed: int) -> str:
    return f"checkpoint-{seed}.json"


def _member(seed: int) -> str:
    return f"member-{seed}.json"


def _read(folder: Path, name: str, fingerprint: str) -> tuple[AgentState, dict[str, Tensor]]:
    found, tensors = read_tensors(folder, name)
    state = _state(found)
    require_same_run(state.fingerprint, fingerprint)
    return state, tensors


def _state(found: Json) -> AgentState:
    try:
        return AgentState.from_json(found)
    except UserError as exc:
        raise UserError("There is no usable checkpoint of this run.", "Start the training anew.") from exc
