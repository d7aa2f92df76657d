"""Files that only their owner may read: written so, and refused where they are not. Any thread.

What is checked is the opened file itself, not its name: nobody can put another one in its place between check and read.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from core.errors import UserError
from core.private_file import write_private

MOST_BYTES = 1_000_000
# What a system lacks changes nothing there.
_BINARY, _NO_LINK, _NO_WAIT = (getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"))


def read_owned(path: Path) -> bytes | None:
    """Return the content of an owner-only file; None where there is none.

    Raises:
        UserError: others can read or replace it, it is a link, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _BINARY | _NO_LINK | _NO_WAIT)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if path.is_symlink():
            raise UserError(
                f"The key file {path} is a link to another place.", "Put the file itself there, not a link."
            ) from exc
        raise UserError(
            f"The key file {path} cannot be read: {exc.strerror or exc}.", "Check who owns it and its permissions."
        ) from exc
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(file.fileno()), path)
        return file.read(MOST_BYTES)


def write_owned(path: Path, data: bytes) -> None:
    """Replace an owner-only file at once: a crash leaves the old one, never half of one.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        write_private(path, data)
    except OSError as exc:
        raise UserError(
            f"The key file {path} cannot be written: {exc.strerror or exc}.",
            "Free some space or choose another folder with --data-dir.",
        ) from exc


def _check(facts: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(f"The key file {path} is no ordinary file.", "Put a file there.")
    if facts.st_size > MOST_BYTES:
        raise UserError(f"The key file {path} is far too large.", "Name the right file.")
    if sys.platform == "win32":
        return  # the profile's folders are the user's alone
    if facts.st_uid != os.getuid():
        raise UserError(
            f"The key file {path} belongs to another user.", "Make it your own: who owns it can replace it."
        )
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise UserError(f"Others can read the key file {path}.", f"Make it yours alone: chmod 600 {path}")
