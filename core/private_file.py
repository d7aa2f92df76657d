"""Small files that only their owner may read, replaced at once. Any thread."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import UserError

_BINARY = getattr(os, "O_BINARY", 0)


def write_private(path: Path, data: bytes) -> None:
    """Replace an owner-only file at once and durably: a crash leaves the old one, never half of one.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_private_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file owner-only, its folder included, replacing an old one at once.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        write_private(path, json.dumps(content).encode())
    except OSError as exc:
        raise UserError(
            f"{path} cannot be written: {exc.strerror or exc}.", "Free some space or choose another data folder."
        ) from exc
