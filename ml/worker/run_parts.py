"""What the children that train forecasters and agents have in common. In the job's child; any thread."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil

from core.data.atomic_file import write_atomically
from core.jobs import JobChannel, Json
from ml.api import SPEC_FILE, DataRange
from ml.arrays import IntArray
from ml.dataset import Part
from ml.jsonvalues import JsonValue
from ml.model_storage import require_unfinished
from ml.run_job import RunJob
from ml.worker.run_lock import run_lock


class SeedProgress(Protocol):
    """Progress of a run that trains one seed after the other."""

    @property
    def seed_index(self) -> int:
        """Which one, counted from 0."""
        ...

    def to_json(self) -> Json:
        """Return plain JSON types."""
        ...


@contextmanager
def run_at_work(
    job: RunJob, spec: JsonValue, channel: JobChannel, kept_seconds: Callable[[Path], float]
) -> Iterator[Callable[[], float]]:
    """Hold a run against other processes and write down what it is about, or see that it has not ended.

    Args:
        kept_seconds: says how long the run had taken when the checkpoint in its folder was written.

    Yields:
        A clock of the seconds the run has taken, those before it was cancelled included.

    Raises:
        UserError: the run has ended, another process is at it, or the disk is full.
    """
    run_dir = Path(job.run_dir)
    with run_lock(run_dir, job.run_id):
        age_s = time.time() - psutil.Process().create_time()  # importing torch takes longer than a short training
        started = channel.clock() - age_s
        if job.resume:
            require_unfinished(Path(job.models_dir), job.run_id)
            started -= kept_seconds(run_dir)
        else:
            write_atomically(run_dir / SPEC_FILE, json.dumps(spec.to_json(), indent=1).encode())
        yield lambda: channel.clock() - started


def report(channel: JobChannel, progress: SeedProgress, begin: Callable[[int], None] | None = None) -> None:
    """Send progress out; a seed that begins is counted before anything is said of it."""
    if begin is not None:
        begin(progress.seed_index)
    channel.progress(progress.to_json())


def run_lineage(
    job: RunJob,
    data: DataRange,
    time_ns: IntArray,
    bars: Json,
    parts: Mapping[str, tuple[Part, int]],
    seeds: Sequence[Json],
) -> Json:
    """Return where a model comes from: its bars, how they were divided and its run.

    Args:
        time_ns: opening times of the bars, shape (n,).
        bars: what they and all beside them are, see `ml.model_storage.history_lineage`.
        parts: rows of each part and how many of them are learned from or judged.
        seeds: what is told of each seed.
    """
    split = {
        name: {
            "first_open_ns": int(time_ns[part.start]),
            "last_open_ns": int(time_ns[part.stop - 1]),
            "targets": targets,
        }
        for name, (part, targets) in parts.items()
    }
    market = {"venue": data.venue, "symbol": data.symbol, "timeframe": data.timeframe}
    return {
        "data": {**market, **bars},
        "split": split,
        "run": {"id": job.run_id, "seeds": list(seeds)},
    }
