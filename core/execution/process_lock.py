"""One executor per key: a lock file in the user's runtime folder. Any thread.

The operating system releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import pwd

_LOCK_POLL_S = 0.05
_LOCK_TRIES = 4
_HOME = ("Library", "Application Support") if sys.platform == "darwin" else (".local", "state")
_SHARED = "/tmp"  # not tempfile's, which follows TMPDIR; `_require_own` refuses what others put there


def runtime_folder() -> Path:
    """Return the folder of the user's lock files: `MARU_RUNTIME_DIR`, else one that only the user decides about.

    Never a session's own (`XDG_RUNTIME_DIR`, `TMPDIR`, `HOME`): a service, a cron job or a remote shell has others than
    the desktop, and two locks keep nobody from trading twice. Nor the shared folder of temporary files where there is
    a home: services are given one of their own, and it is cleaned.
    """
    override = os.environ.get("MARU_RUNTIME_DIR")
    if override:
        return Path(override)
    if sys.platform == "win32":
        from platformdirs import user_data_path

        return user_data_path("maru", appauthor=False) / "locks"
    home = _home_of(os.getuid())
    if home is None:  # as in a container that runs under a bare number
        return Path(_SHARED) / f"maru-runtime-{os.getuid()}"
    return home.joinpath(*_HOME, "maru", "locks")


class ExecutorRuns(UserError):
    """Another executor holds the lock."""


class ExecutorLock:
    """Held by the one executor that trades with a key, and over a data folder.

    Args:
        folder: the user's runtime folder, the same for every data folder.
        fingerprint: hash of the key and venue, never the key itself; None for who writes the journal and sends nothing.
        data_folder: locked as well: one journal has one writer, whatever key it trades with.
    """

    def __init__(self, folder: Path, fingerprint: str | None, data_folder: Path | None = None) -> None:
        self._folder = folder
        self._places: list[tuple[Path, str]] = []
        if data_folder is not None:
            self._places.append((data_folder / "executor.lock", "over this data folder"))
        if fingerprint is not None:
            self._places.append((folder / f"executor-{fingerprint}.lock", "with this key"))
        self._files: list[IO[bytes]] = []

    def acquire(self) -> None:
        """Take the lock; a lock already held is kept.

        Raises:
            ExecutorRuns: another executor holds it.
            UserError: a folder cannot be written or belongs to somebody else.
        """
        if self._files:
            return
        try:
            for path, what in self._places:
                self._files.append(self._take(path, what))
        except BaseException:
            self.release()
            raise

    def _take(self, path: Path, what: str) -> IO[bytes]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.parent == self._folder:
                _require_own(self._folder)
            file = path.open("a+b")
        except OSError as exc:
            raise UserError(
                f"The lock file {path} cannot be written: {exc.strerror or exc}.",
                "Name a writable folder in MARU_RUNTIME_DIR.",
            ) from exc
        if not _lock_soon(file):
            holder = _holder(path)
            file.close()
            trouble = f"Another program is already trading {what}."
            if holder is not None:
                trouble = f"Another program is already trading {what} (process {holder})."
            raise ExecutorRuns(trouble, "Close it first: two executors would work against each other.")
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid()}).encode())
        file.flush()
        return file

    def is_free(self) -> bool:
        """Return whether no executor holds any part of the lock, without keeping it."""
        return all(_is_free(path) for path, _ in self._places)

    def release(self) -> None:
        """Give the lock back; idempotent."""
        for file in self._files:
            _unlock(file)
            file.close()
        self._files = []


@contextmanager
def exclusive(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a file's lock while the block runs, waiting for whoever has it.

    Raises:
        UserError: somebody else holds it for longer than `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    with path.open("a+b") as file:
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise UserError(f"{path} is locked by another program.", "Wait until it has ended, or end it.")
            time.sleep(_LOCK_POLL_S)
        try:
            yield
        finally:
            _unlock(file)


def _lock_soon(file: IO[bytes]) -> bool:
    """Take a lock. Who only looks whether it is free holds it for a moment; that must keep nobody from trading."""
    for _ in range(_LOCK_TRIES):
        if _try_lock(file):
            return True
        time.sleep(_LOCK_POLL_S)
    return _try_lock(file)


def _is_free(path: Path) -> bool:
    try:
        if not path.exists():
            return True
        file = path.open("a+b")
    except OSError:
        return False  # who may not look cannot know that nobody trades
    with file:
        if not _try_lock(file):
            return False
        _unlock(file)
        return True


def _require_own(folder: Path) -> None:
    """Refuse a runtime folder that somebody else could have put there: whoever owns it can take our locks.

    Raises:
        PermissionError: it is a link, belongs to another user, or cannot be made owner-only.
    """
    if sys.platform == "win32":
        return  # the profile's folders are the user's alone
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "the folder belongs to somebody else")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        folder.chmod(0o700)


def _holder(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_bytes())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a Windows lock hides the content


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

    def _home_of(user_id: int) -> Path | None:
        """Return a user's home as the system knows it, whatever the environment says; None where it knows none."""
        try:
            return Path(pwd.getpwuid(user_id).pw_dir)
        except KeyError:
            return None

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
