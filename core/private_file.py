"""Small files that only their owner may read, replaced at once. Any thread."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from core.errors import UserError


def write_private_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file owner-only, its folder included, replacing an old one at once.

    Raises:
        UserError: the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, path)
    except OSError as exc:
        raise UserError(
            f"{path} cannot be written: {exc.strerror or exc}.", "Free some space or choose another data folder."
        ) from exc
