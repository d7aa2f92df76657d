"""What the process of an agent's run and those that train its seeds tell each other, and how many there are.

Frozen values and pure functions, any thread; torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml.agents.progress import AgentProgress
from ml.agents.run_spec import AgentSpec, AlgorithmSpec
from ml.jsonvalues import JsonValue

SEED_JOB = "ml.worker.agent_seed:run"

# On one core a process takes about as long to start as this many decisions take to learn from.
_WORTHWHILE_STEPS = 100_000
_BASE_BYTES = 450 << 20  # torch and its like, as far as processes do not share them
_ROLLOUT_BYTES, _REPLAY_BYTES = 200, 80  # of a decision
_REPLAY_COPIES = 3  # a checkpoint holds all of it, and is built in memory
_BATCH_COPIES = 6  # of the observations in a batch, with what the networks make of them
_GPU_CONTEXT_BYTES = 600 << 20
_MOST_OF_MEMORY = 0.8  # of what is available


@dataclass(frozen=True, slots=True)
class SeedJob(JsonValue):
    """What a process that trains seeds gets when it starts.

    Attributes:
        run_id / run_dir: of the run.
        spec: with the device, threads and share of memory of one process.
        identity: of the run, see `ml.rl_trainer.agent_fingerprint`.
        bars_dir: of the shared bars.
        resume: go on from the checkpoints in `run_dir`.
    """

    run_id: str
    run_dir: str
    spec: AgentSpec
    identity: str
    bars_dir: str
    resume: bool


@dataclass(frozen=True, slots=True)
class SeedTask(JsonValue):
    """One seed to train.

    Attributes:
        index: counted from 0.
        elapsed: seconds that the run has learned before, without pauses.
    """

    index: int
    elapsed: float


@dataclass(frozen=True, slots=True)
class SeedReport(JsonValue):
    """What a process says of its seed: how far it is, or, without that, that it is done and saved."""

    index: int
    progress: AgentProgress | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What the processes of a run may take.

    Attributes:
        cores: of the processor.
        threads: that each process computes with.
        memory: main memory that is available, bytes; None where nobody knows.
        gpu_memory: bytes that the run may take on the GPU; None on a CPU.
    """

    cores: int
    threads: int
    memory: int | None
    gpu_memory: int | None = None


def seeds_at_once(spec: AlgorithmSpec, seeds: int, room: Room, *, observed: int, bars_bytes: int) -> int:
    """Return how many seeds learn at the same time; what they learn does not depend on it.

    A GPU computes for one process after the other, so a further one gains only where the first leaves it idle, and
    takes memory for CUDA itself and for the bars: there it is one unless a person asks for more.

    Args:
        spec: of the algorithm.
        seeds: that are left.
        room: of the machine.
        observed: numbers in an observation.
        bars_bytes: of the market.
    """
    each = process_bytes(spec, observed)
    if room.gpu_memory is not None:
        fit = room.gpu_memory // (_GPU_CONTEXT_BYTES + bars_bytes + each - _BASE_BYTES)
        return max(1, min(spec.seeds_at_once or 1, seeds, fit))
    if spec.seeds_at_once:
        return max(1, min(spec.seeds_at_once, seeds))
    if spec.steps < _WORTHWHILE_STEPS:
        return 1
    most = min(seeds, room.cores // max(1, room.threads))
    if room.memory is not None:
        most = min(most, int(_MOST_OF_MEMORY * room.memory) // each)
    return max(1, most)


def process_bytes(spec: AlgorithmSpec, observed: int) -> int:
    """Return about how much memory of its own a process takes that trains one seed."""
    width = observed + 2 * sum(spec.hidden)
    remembered = (
        _REPLAY_COPIES * _REPLAY_BYTES * spec.buffer
        if spec.is_off_policy
        else _ROLLOUT_BYTES * spec.windows * spec.n_steps
    )
    return _BASE_BYTES + remembered + 4 * _BATCH_COPIES * width * max(spec.batch, spec.windows)
