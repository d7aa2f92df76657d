"""What every store of secrets offers. Protocols only; calls may block and belong on no window's thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

from core.errors import UserError
from core.secrets.keys import KeyPair, StoreKind

# Returns the passphrase of the encrypted file; the argument says whether a new one is being chosen.
AskPassphrase = Callable[[bool], str]


class SecretStore(Protocol):
    """Keeps the secrets of keys by entry name."""

    @property
    def kind(self) -> StoreKind:
        """Which store it is."""
        ...

    def get(self, entry: str) -> KeyPair | None:
        """Return a key; None where it is not there.

        Raises:
            UserError: the store cannot be used.
        """
        ...

    def put(self, entry: str, pair: KeyPair) -> None:
        """Keep a key.

        Raises:
            UserError: the store cannot be used; the key is not kept.
        """
        ...

    def remove(self, entry: str) -> None:
        """Forget a key; one that is not there is no error.

        Raises:
            UserError: the store cannot be used.
        """
        ...


def pair_to_text(pair: KeyPair) -> str:
    """Write a key for the keyring, which keeps texts."""
    return json.dumps({"api_key": pair.api_key, "api_secret": pair.api_secret})


def pair_from_text(text: str) -> KeyPair:
    """Read what `pair_to_text` wrote.

    Raises:
        UserError: it is something else; the text itself is not repeated.
    """
    try:
        content = json.loads(text)
        return KeyPair(str(content["api_key"]), str(content["api_secret"]))
    except (ValueError, KeyError, TypeError):
        # Not chained: the cause would carry the text.
        raise UserError("What the keyring holds for this key is damaged.", "Remove the key and add it again.") from None
