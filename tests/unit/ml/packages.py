"""Packages that somebody made on purpose: every hash is right, and something else is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from ml.model_storage import MANIFEST

Json = dict[str, Any]


def forged(files: dict[str, bytes], **changes: bytes) -> dict[str, bytes]:
    """Return a package with some files replaced, named by the part before the dot, and a manifest that fits them."""
    result = dict(files)
    for key, data in changes.items():
        (name,) = [name for name in result if name.partition(".")[0] == key]
        result[name] = data
    if "manifest" not in changes:
        manifest = json.loads(files[MANIFEST])
        manifest["files"] = {name: hashlib.sha256(result[name]).hexdigest() for name in result if name != MANIFEST}
        result[MANIFEST] = json.dumps(manifest).encode()
    return result


def edited(files: dict[str, bytes], key: str, change: Callable[[Json], object]) -> dict[str, bytes]:
    """Return a package whose JSON file of that name went through `change`."""
    (name,) = [name for name in files if name.partition(".")[0] == key]
    content = json.loads(files[name])
    change(content)
    return forged(files, **{key: json.dumps(content).encode()})
