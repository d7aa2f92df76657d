"""Files that are either the old or the new version, never half of one, and a lock between processes. Any thread."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import UserError

LOCK_TIMEOUT_S = 10.0


def write_atomically(path: Path, data: bytes | memoryview, *, sync_folder: bool = True) -> None:
    """Replace `path` by `data` so that a crash or a full disk leaves the old file untouched.

    Args:
        path: the file.
        data: its new content.
        sync_folder: make the rename durable at once; False where the caller syncs the folder after several files.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if sync_folder:
            flush_folder(path.parent)
    except OSError as exc:
        with suppress(OSError):  # where there is no folder there is nothing to remove
            temporary.unlink(missing_ok=True)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The disk is full: {path.name} could not be saved to {path.parent}.",
                "Free some space and try again; what was stored before is intact.",
            ) from exc
        raise UserError(
            f"{path} cannot be written: {exc.strerror or exc}.",
            "Check the permissions of the folder or choose another one with --data-dir.",
        ) from exc


@contextmanager
def exclusive_lock(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock file `path` against other processes (and other holders in this one).

    The operating system releases it when the holder dies, so no stale lock can remain.

    Raises:
        UserError: another process keeps the lock longer than `timeout_s`, or the file cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise UserError(f"{path} cannot be created: {exc.strerror or exc}.", "Check the folder's permissions.") from exc
    try:
        deadline = time.monotonic() + timeout_s
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                raise UserError(
                    f"Another program keeps writing to {path.parent}.", "Wait until it has finished and try again."
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def flush_folder(folder: Path) -> None:
    """Make renames in a folder durable; Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
