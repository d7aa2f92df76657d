"""Keys given by the environment: MARU_API_KEY_BINANCE and MARU_API_SECRET_BINANCE. Any thread.

Every child process inherits the environment, strategies' and training's among them. So the variables are taken out of
it before the first child is started, and live on in this module alone: like the environment itself, once per process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, MutableMapping

from core.errors import UserError
from core.secrets.keys import ENVIRONMENT_PREFIX, KeyPair, KeyRecord, StoreKind, check_pair, key_fingerprint

PREFIX = "MARU_API_"
KEY, SECRET = f"{PREFIX}KEY_", f"{PREFIX}SECRET_"
PASSPHRASE = f"{PREFIX}PASSPHRASE"

_lock = threading.Lock()
_taken: dict[str, str] = {}


def seal_environment(environment: MutableMapping[str, str] | None = None) -> Mapping[str, str]:
    """Take every MARU_API_ variable out of the environment; return all that were ever taken. Idempotent.

    Args:
        environment: the process's own where None.
    """
    source = os.environ if environment is None else environment
    with _lock:
        for name in [name for name in source if name.startswith(PREFIX)]:
            _taken[name] = source.pop(name)
        return dict(_taken)


class EnvironmentKeys:
    """The keys of the environment, read-only.

    Args:
        variables: what `seal_environment` returned.
    """

    kind = StoreKind.ENVIRONMENT

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name.upper(): value.strip() for name, value in variables.items() if value.strip()}

    def records(self) -> list[KeyRecord]:
        """Return the keys that are given completely.

        Raises:
            UserError: one half of a key is missing, or it cannot be one.
        """
        halves = {
            name.removeprefix(prefix) for prefix in (KEY, SECRET) for name in self._variables if name.startswith(prefix)
        }
        return [self._record(venue.lower()) for venue in sorted(halves)]

    def get(self, entry: str) -> KeyPair | None:
        """Return the key of a venue.

        Raises:
            UserError: one half of it is missing, or it cannot be one.
        """
        names = (f"{KEY}{entry.upper()}", f"{SECRET}{entry.upper()}")
        halves = [self._variables.get(name, "") for name in names]
        if not any(halves):
            return None
        for name, half in zip(names, halves, strict=True):
            if not half:
                raise UserError(f"The environment gives half of a key: {name} is missing.", "Set both variables.")
        return check_pair(KeyPair(*halves))

    def put(self, entry: str, pair: KeyPair) -> None:
        """Refuse: the environment belongs to whoever starts the program.

        Raises:
            UserError: always.
        """
        raise UserError("A key of the environment cannot be stored by the program.", "Set the variables instead.")

    def remove(self, entry: str) -> None:
        """Refuse, as `put`.

        Raises:
            UserError: always.
        """
        raise UserError("A key of the environment cannot be removed by the program.", "Unset its variables.")

    def _record(self, venue: str) -> KeyRecord:
        pair = self.get(venue)
        assert pair is not None  # one half at least is there, and half a key raises
        return KeyRecord(
            name=f"{ENVIRONMENT_PREFIX}{venue}",
            venue=venue,
            last4=pair.api_key[-4:],
            fingerprint=key_fingerprint(venue, pair.api_key),
            store=StoreKind.ENVIRONMENT,
            entry=venue,
            added_ns=0,
        )
