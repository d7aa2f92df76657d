"""Two files that keep keys: one encrypted by a passphrase, one readable by its owner only. Any thread; calls may block.

The encrypted file is scrypt and AES-256-GCM of the library `cryptography`. Every write takes a new salt and so a new
key; what describes the encryption is authenticated along with the content.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.data.atomic_file import exclusive_lock
from core.errors import UserError
from core.secrets.keys import KeyPair, StoreKind
from core.secrets.owned_file import read_owned, write_owned
from core.secrets.stores import AskPassphrase

FORMAT = "maru-keys-1"
# 128 MiB and about half a second for each guess; see the password storage guidance of OWASP.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
MOST_SCRYPT_N = 2**20
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 16, 12, 32
SHORTEST_PASSPHRASE = 10

Content = dict[str, KeyPair]


class OwnerFileStore:
    """Keys in the clear in a file that nobody but its owner can read; for servers, where nobody types a passphrase.

    Args:
        path: the file.
    """

    kind = StoreKind.OWNER_FILE

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, entry: str) -> KeyPair | None:
        """See `SecretStore.get`."""
        return self._read().get(entry)

    def put(self, entry: str, pair: KeyPair) -> None:
        """See `SecretStore.put`."""
        with _changing(self._path):
            self._write({**self._read(), entry: pair})

    def remove(self, entry: str) -> None:
        """See `SecretStore.remove`."""
        with _changing(self._path):
            content = self._read()
            if content.pop(entry, None) is not None:
                self._write(content)

    def _read(self) -> Content:
        if sys.platform == "win32":
            raise UserError(
                "A plain key file cannot be protected on this system.",
                "Use the system's keyring or the encrypted file.",
            )
        data = read_owned(self._path)
        return {} if data is None else _parse(data, self._path)

    def _write(self, content: Content) -> None:
        write_owned(self._path, _render(content))


class EncryptedFileStore:
    """Keys in a file encrypted by a passphrase.

    Args:
        path: the file.
        ask: returns the passphrase; asked again for every call, nothing is kept.
        scrypt_n: cost of a guess for files written from now on.
    """

    kind = StoreKind.ENCRYPTED_FILE

    def __init__(self, path: Path, ask: AskPassphrase, scrypt_n: int = SCRYPT_N) -> None:
        self._path = path
        self._ask = ask
        self._scrypt_n = scrypt_n

    def get(self, entry: str) -> KeyPair | None:
        """See `SecretStore.get`."""
        data = read_owned(self._path)
        return None if data is None else self._open(data, self._ask(False)).get(entry)

    def put(self, entry: str, pair: KeyPair) -> None:
        """See `SecretStore.put`."""
        with _changing(self._path):
            data = read_owned(self._path)
            passphrase = self._ask(data is None)
            if data is None and len(passphrase) < SHORTEST_PASSPHRASE:
                raise UserError(
                    f"A passphrase needs at least {SHORTEST_PASSPHRASE} characters.",
                    "Several words are easiest to keep.",
                )
            content = {} if data is None else self._open(data, passphrase)
            self._write({**content, entry: pair}, passphrase)

    def remove(self, entry: str) -> None:
        """See `SecretStore.remove`."""
        with _changing(self._path):
            data = read_owned(self._path)
            if data is None:
                return
            passphrase = self._ask(False)
            content = self._open(data, passphrase)
            if content.pop(entry, None) is None:
                return
            if content:
                self._write(content, passphrase)
            else:
                self._path.unlink(missing_ok=True)  # the next key may have another passphrase

    def _write(self, content: Content, passphrase: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        header: dict[str, Any] = {
            "format": FORMAT,
            "kdf": {"name": "scrypt", "n": self._scrypt_n, "r": SCRYPT_R, "p": SCRYPT_P, "salt": _text(SALT_BYTES)},
            "cipher": {"name": "AES-256-GCM", "nonce": _text(NONCE_BYTES)},
        }
        key = _derive(passphrase, header["kdf"])
        sealed = AESGCM(key).encrypt(_bytes(header["cipher"]["nonce"]), _render(content), _header_bytes(header))
        body = {**header, "sealed": base64.b64encode(sealed).decode()}
        write_owned(self._path, json.dumps(body).encode())

    def _open(self, data: bytes, passphrase: str) -> Content:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            body = json.loads(data)
            sealed = base64.b64decode(body.pop("sealed"), validate=True)
            if body["format"] != FORMAT or body["cipher"]["name"] != "AES-256-GCM":
                raise ValueError("another format")
            nonce, kdf = _bytes(body["cipher"]["nonce"]), _checked_kdf(body["kdf"])
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise UserError(
                f"The encrypted key file {self._path} is damaged.",
                "Restore it from a copy, or remove it and add the keys.",
            ) from exc
        try:
            plain = AESGCM(_derive(passphrase, kdf)).decrypt(nonce, sealed, _header_bytes(body))
        except InvalidTag:
            raise UserError(
                "The passphrase is wrong, or the encrypted key file was changed.", "Type the passphrase again."
            ) from None
        return _parse(plain, self._path)


def _derive(passphrase: str, kdf: dict[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    scrypt = Scrypt(salt=_bytes(kdf["salt"]), length=KEY_BYTES, n=kdf["n"], r=kdf["r"], p=kdf["p"])
    return scrypt.derive(passphrase.encode())


def _checked_kdf(kdf: dict[str, Any]) -> dict[str, Any]:
    """Refuse a file that would make every guess cheap, or take all memory."""
    n, r, p, salt = int(kdf["n"]), int(kdf["r"]), int(kdf["p"]), _bytes(kdf["salt"])
    if kdf["name"] != "scrypt" or n > MOST_SCRYPT_N or n & (n - 1) or (r, p) != (SCRYPT_R, SCRYPT_P):
        raise ValueError("another way to derive the key")
    if n < 2 or len(salt) != SALT_BYTES:
        raise ValueError("not a way to derive a key")
    return kdf


def _header_bytes(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _text(count: int) -> str:
    return base64.b64encode(os.urandom(count)).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _render(content: Content) -> bytes:
    keys = {name: {"api_key": pair.api_key, "api_secret": pair.api_secret} for name, pair in content.items()}
    return json.dumps({"format": FORMAT, "keys": keys}).encode()


def _parse(data: bytes, path: Path) -> Content:
    try:
        keys = json.loads(data)["keys"]
        return {str(name): KeyPair(str(pair["api_key"]), str(pair["api_secret"])) for name, pair in keys.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not chained: the cause would carry the keys.
        raise UserError(
            f"The key file {path} is damaged.", "Restore it from a copy, or remove it and add the keys."
        ) from None


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Keep two programs from losing each other's keys."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with exclusive_lock(path.with_name(f".{path.name}.lock")):
        yield
