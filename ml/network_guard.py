"""Has a foreign network checked in a child process with limits. Synchronous: command line or a worker thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from core.errors import UserError
from core.job_supervisor import JobSupervisor
from core.jobs import JobFailed, JobFinished, JobStarted
from ml.model_storage import MANIFEST, model_id_of
from ml.model_tags import is_plain
from ml.package_check import refused

CHECK_MODEL_JOB = "ml.worker.check_model:run"
TIME_LIMIT_S = 90.0
MEMORY_LIMIT_BYTES = 2 << 30  # resident

_POLL_S = 0.1
_ANOTHER = "Do not use it."


def check_in_child(
    folder: Path,
    *,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit: int = MEMORY_LIMIT_BYTES,
    job: str = CHECK_MODEL_JOB,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Open and run the network of the package in `folder` in a child of its own.

    Args:
        should_stop: asked ten times a second; where it says so, the child ends.

    Raises:
        UserError: the network must not be used, crashed the child, or took too long or too much memory; or the check
            was stopped.
    """
    model_id = model_id_of((folder / MANIFEST).read_bytes())
    with JobSupervisor() as supervisor:
        supervisor.start(f"check-{model_id}", job, {"folder": str(folder), "model_id": model_id}, threads=1)
        _follow(supervisor, time.monotonic() + time_limit_s, memory_limit, should_stop)


def _follow(supervisor: JobSupervisor, deadline: float, memory_limit: int, should_stop: Callable[[], bool]) -> None:
    pid: int | None = None
    while True:
        if should_stop():
            raise UserError("The check of the model was stopped.", "Import it again.")
        for event in supervisor.poll(_POLL_S):
            if isinstance(event, JobStarted):
                pid = event.pid
            elif isinstance(event, JobFinished):
                return
            elif isinstance(event, JobFailed) and event.user_error:
                raise UserError(event.message, event.remedy)
            elif isinstance(event, JobFailed):
                raise UserError(f"The package was refused: its network broke the check ({_short(event)}).", _ANOTHER)
        if time.monotonic() > deadline:
            raise refused("the check of its network took too long")
        if pid is not None and _memory_of(pid) > memory_limit:
            raise refused("its network needs more memory than any model")


def _short(event: JobFailed) -> str:
    """Return what ended the check in one line: a library's words may be many."""
    first = event.message.strip().partition("\n")[0]
    return first[:200].rstrip(".") if is_plain(first) else "no reason"


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0  # it has ended; its last message says how
