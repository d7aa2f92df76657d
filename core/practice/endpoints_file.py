"""Where the practice exchange of a data folder listens, for other processes of the same user. Any thread.

`main.py kill` must find the exchange without asking the program it is to stop. The file holds practice keys, so it is
owner-only; keys of real venues are never written like this.
"""

from __future__ import annotations

import json
from pathlib import Path

from core.config import DataPaths
from core.errors import UserError
from core.practice.control import PracticeEndpoints
from core.private_file import write_private_json


def endpoints_path(paths: DataPaths) -> Path:
    """Return the file of a data folder."""
    return paths.practice / "endpoints.json"


def publish_endpoints(paths: DataPaths, endpoints: PracticeEndpoints) -> Path:
    """Write the file, replacing an old one at once.

    Raises:
        UserError: the folder cannot be written.
    """
    path = endpoints_path(paths)
    write_private_json(path, {name: getattr(endpoints, name) for name in PracticeEndpoints.__slots__})
    return path


def read_endpoints(path: Path) -> PracticeEndpoints:
    """Read a file written by `publish_endpoints`, or the exchange's ready line saved by hand.

    Raises:
        UserError: there is no such file, or it says something else.
    """
    try:
        return PracticeEndpoints.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise UserError(
            f"The endpoints file {path} cannot be read: {exc.strerror or exc}.",
            "Start the practice exchange, or name its file with --endpoints.",
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise UserError(
            f"{path} does not describe a practice exchange.", "Save the line that practice-exchange --json prints."
        ) from exc
