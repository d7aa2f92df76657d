"""What the tests of the secrets share: a keyring that works, and a book over a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.clock import ManualClock
from core.secrets.book import KeyBook
from core.secrets.environment import EnvironmentKeys
from core.secrets.file_stores import EncryptedFileStore, OwnerFileStore
from core.secrets.index import KeyIndex
from core.secrets.keys import KeyPair
from core.secrets.os_keyring import KeyringStore

PAIR = KeyPair("public-half-of-a-key-1234", "private-half-of-a-key-9876")
OTHER = KeyPair("public-half-of-other-5678", "private-half-of-other-5432")
PASSPHRASE = "four words nobody guesses"
CHEAP = 2**4  # the tests guess no passphrase


class MemoryKeyring:
    """A backend of the library, as far as it is used."""

    priority = 5.0

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class Bench:
    """A key book over a folder, with a keyring and an environment of its own."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.keyring: Any = MemoryKeyring()
        self.hidden: list[str] = []
        self.passphrase = PASSPHRASE
        stores = (
            KeyringStore(lambda: self.keyring, limit_s=5.0),
            EncryptedFileStore(folder / "encrypted.json", lambda new: self.passphrase, CHEAP),
            OwnerFileStore(folder / "owner.json"),
        )
        self.book = KeyBook(
            KeyIndex(folder / "keys.json"),
            {store.kind: store for store in stores},
            EnvironmentKeys(variables),
            lambda *texts: self.hidden.extend(texts),
            wall=ManualClock(7),
        )
