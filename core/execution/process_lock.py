"""One executor per key: a lock file in the user's runtime folder. Any thread.

The operating system releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from core.errors import UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def runtime_folder() -> Path:
    """Return the folder of the user's lock files: `MARU_RUNTIME_DIR`, else the platform's own place."""
    override = os.environ.get("MARU_RUNTIME_DIR")
    if override:
        return Path(override)
    if sys.platform.startswith("linux") and not os.environ.get("XDG_RUNTIME_DIR"):
        # Containers and cron have no session folder; the lock must still be one per user.
        return Path(tempfile.gettempdir()) / f"maru-runtime-{os.getuid()}"
    from platformdirs import user_runtime_path

    return user_runtime_path("maru", appauthor=False)


class ExecutorLock:
    """Held by the one executor that trades with a key.

    Args:
        fingerprint: hash of the key and venue; never the key itself.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / f"executor-{fingerprint}.lock"
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            UserError: another executor holds it, or the folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._path.open("a+b")
        except OSError as exc:
            raise UserError(
                f"The lock file {self._path} cannot be written: {exc.strerror or exc}.",
                "Name a writable folder in MARU_RUNTIME_DIR.",
            ) from exc
        if not _try_lock(file):
            holder = _holder(self._path)
            file.close()
            raise UserError(
                f"Another program is already trading with this key{holder}.",
                "Close it first: two executors on one key would work against each other.",
            )
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid()}).encode())
        file.flush()
        self._file = file

    def is_free(self) -> bool:
        """Return whether no executor holds the lock, without keeping it."""
        if not self._path.exists():
            return True
        with self._path.open("a+b") as file:
            if not _try_lock(file):
                return False
            _unlock(file)
            return True

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._file is not None:
            _unlock(self._file)
            self._file.close()
            self._file = None


def _holder(path: Path) -> str:
    try:
        return f" (process {int(json.loads(path.read_bytes())['pid'])})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # a Windows lock hides the content


if sys.platform == "win32":

    def _try_lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
