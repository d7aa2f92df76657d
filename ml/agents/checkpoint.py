"""Checkpoints of an agent's run: safetensors and JSON, never pickle. Runs in the training child (imports torch)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from core.errors import UserError
from ml.agents.fast_off_policy import LearnerState
from ml.agents.progress import ValidationRecord
from ml.api import CHECKPOINT_FILE
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
        seed: of the agent; a run with several trains one after the other.
        history: one record per pass over the validation part.
        best_step / best_return: of the best weights, which are stored beside the newest; None before the first pass.
        seconds: spent so far.
        numbers: of the learner; empty where the seed is done.
    """

    fingerprint: str
    seed: int
    history: tuple[ValidationRecord, ...]
    best_step: int
    best_return: float | None
    seconds: float = 0.0
    numbers: tuple[Number, ...] = ()


def save_agent_state(
    folder: Path, state: AgentState, best: dict[str, Tensor], learner: LearnerState | None = None
) -> None:
    """Write a checkpoint and remove the former one, or, without a learner, what is left of a seed that is done.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    tensors = {f"best.{name}": value for name, value in best.items()}
    if learner is None:
        write_tensors(folder, _member(state.seed), f"member-{state.seed}.safetensors", state, tensors)
        return
    tensors |= {f"learner.{name}": value for name, value in learner.tensors.items()}
    numbers = tuple(Number(name, value) for name, value in learner.numbers.items())
    file = f"checkpoint-{state.seed}-{len(state.history):06d}.safetensors"
    whole = AgentState(
        state.fingerprint, state.seed, state.history, state.best_step, state.best_return, state.seconds, numbers
    )
    write_tensors(folder, CHECKPOINT_FILE, file, whole, tensors)
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != file:
            old.unlink(missing_ok=True)


def load_agent_checkpoint(
    folder: Path, fingerprint: str, seed: int
) -> tuple[AgentState, LearnerState, dict[str, Tensor]] | None:
    """Return the state of a seed, of its learner, and its best weights.

    Returns:
        None where there is no checkpoint yet, or it is of another seed: this one has not begun.

    Raises:
        UserError: it is damaged, or belongs to another specification or other data.
    """
    if not (folder / CHECKPOINT_FILE).exists():
        return None
    state, tensors = _read(folder, CHECKPOINT_FILE, fingerprint)
    if state.seed != seed:
        return None
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
    """Return how long the seeds in checkpoint and finished ones have learned; damaged files count nothing."""
    seconds: dict[int, float] = {}
    for file in (folder / CHECKPOINT_FILE, *folder.glob("member-*.json")):  # the last seed may be in both
        try:
            state = _state(read_tensors(folder, file.name)[0])
        except UserError:
            continue
        seconds[state.seed] = state.seconds
    return sum(seconds.values())


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
