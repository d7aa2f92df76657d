"""One process at a time works on a run. In the job's child; any thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.data.atomic_file import exclusive_lock
from core.errors import UserError

LOCK_FILE = ".run.lock"  # in the folder of a run

_LOCK_S = 0.5


@contextmanager
def run_lock(run_dir: Path, run_id: str) -> Iterator[None]:
    """Hold a run against other processes: two that write its checkpoints would destroy them.

    Raises:
        UserError: another process, in the window or of a command, is at it, be it paused; or the folder cannot be used.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(run_dir / LOCK_FILE, _LOCK_S))
        except UserError as exc:
            if isinstance(exc.__cause__, OSError):  # the file cannot be created
                raise
            raise UserError(f"The run {run_id} is at work already.", "Wait until it has ended.") from exc
        yield
