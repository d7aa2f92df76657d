"""Paths that people name: on a command line, in a configuration, in the environment. Any thread."""

from __future__ import annotations

from pathlib import Path

from core.errors import UserError

_SHOWN = 100  # characters of a path that cannot be


def user_path(path: Path) -> Path:
    """Return a path that a person named as an absolute one, with ~ for a home folder.

    Raises:
        UserError: there can be no such path: it is too long, holds a zero, or names a user who does not exist.
    """
    try:
        found = path.expanduser().resolve()
        found.exists()  # the system knows which names are too long
    except (OSError, RuntimeError, ValueError) as exc:
        text = str(path)
        shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc).rstrip(".")
        raise UserError(f"The path {shown} cannot be used: {reason}.", "Check the path.") from exc
    return found
