"""Where a data folder trades, for other processes of the same user: mode, venue and name of the key, never a secret.

`main.py kill` must find the account without asking the program it is to stop. Written by whoever holds the executor's
lock. Any thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from core.config import DataPaths
from core.domain.orders import TradingMode
from core.errors import UserError
from core.secrets.owned_file import write_owned


@dataclass(frozen=True, slots=True)
class TradingPlace:
    """What a folder trades with.

    Attributes:
        mode: PRACTICE, PAPER or LIVE.
        venue: venue id as ccxt spells it.
        key: name of the key; "" where none of a person's keys is used.
        fingerprint: of the key, see `core.secrets.keys.key_fingerprint`; "" likewise.
    """

    mode: TradingMode
    venue: str
    key: str = ""
    fingerprint: str = ""


def place_path(paths: DataPaths) -> Path:
    """Return the file of a data folder."""
    return paths.root / "trading.json"


def publish_place(paths: DataPaths, place: TradingPlace) -> None:
    """Write it, replacing an old one at once.

    Raises:
        UserError: the folder cannot be written.
    """
    content = {"mode": place.mode.value, "venue": place.venue, "key": place.key, "fingerprint": place.fingerprint}
    write_owned(place_path(paths), json.dumps(content).encode())


def read_place(paths: DataPaths) -> TradingPlace | None:
    """Return where the folder trades or last traded; None where nothing ever did.

    Raises:
        UserError: the file is damaged or cannot be read.
    """
    try:
        # Whatever its permissions have become: it holds no secret, and a kill needs it.
        content = json.loads(place_path(paths).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise _unreadable(paths) from exc
    try:
        return TradingPlace(
            TradingMode(content["mode"]), str(content["venue"]), str(content["key"]), str(content["fingerprint"])
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise _unreadable(paths) from exc


def _unreadable(paths: DataPaths) -> UserError:
    return UserError(
        f"The file {place_path(paths)} does not say where this folder trades.",
        "Cancel the orders on the venue's page; the next start writes the file anew.",
    )
