"""What is known of an API key, with and without its secret. Values and pure checks, any thread.

A `KeyRecord` may be shown, written and logged; a `KeyPair` may not, and hides itself from every representation.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum

from core.errors import UserError

ENVIRONMENT_PREFIX = "env-"  # names of keys that come from the environment; nobody can add one
SHORTEST = 8  # a shorter text could not be hidden in logs without hiding ordinary words

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_VENUE = re.compile(r"[a-z][a-z0-9]{1,19}")
_PRINTABLE = re.compile(r"[!-~]+")


class StoreKind(StrEnum):
    """Where a key's secret is kept; the most protected first."""

    KEYRING = "keyring"
    ENCRYPTED_FILE = "encrypted-file"
    OWNER_FILE = "owner-file"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The two halves of an API key."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PermissionNote:
    """What a venue said of a key when it was last asked.

    Attributes:
        allowed: whether it may trade here.
        lines: why not, or what to mind; English sentences.
        read_ns: when, ns UTC.
    """

    allowed: bool
    lines: tuple[str, ...]
    read_ns: int


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Everything about a key that may be seen.

    Attributes:
        name: chosen by its person, unique in a data folder.
        venue: venue id as ccxt spells it.
        last4: the end of the API key (not of the secret), to recognise it on the venue's page.
        fingerprint: see `key_fingerprint`.
        store: the only place its secret is asked from.
        entry: what it is called there.
        added_ns: when it was added, ns UTC; 0 for a key of the environment.
        withdrawals_unchecked: its person confirmed that it cannot withdraw, where the venue cannot be asked.
        permissions: None where the venue was never asked.
    """

    name: str
    venue: str
    last4: str
    fingerprint: str
    store: StoreKind
    entry: str
    added_ns: int
    withdrawals_unchecked: bool = False
    permissions: PermissionNote | None = None


@dataclass(frozen=True, slots=True)
class LoadedKey:
    """A key with its secret, for who opens a gateway."""

    record: KeyRecord
    pair: KeyPair = field(repr=False)


def key_fingerprint(venue: str, api_key: str) -> str:
    """Name a key without showing it: 16 hex digits."""
    return hashlib.sha256(f"{venue}:{api_key}".encode()).hexdigest()[:16]


def unchecked_phrase(name: str) -> str:
    """Return what a person types who looked up the rights of a key where the program cannot."""
    return f"{name} CANNOT WITHDRAW"


def check_name(name: str) -> str:
    """Return a name that may be given to a key.

    Raises:
        UserError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            "This is no name for a key.",
            'Use up to 40 letters, digits, ".", "_" and "-", beginning with a letter or a digit.',
        )
    if name.startswith(ENVIRONMENT_PREFIX):
        raise UserError(
            f"Names that begin with {ENVIRONMENT_PREFIX} belong to keys of the environment.", "Choose another name."
        )
    return name


def check_venue(venue: str) -> str:
    """Return a venue id.

    Raises:
        UserError: no venue is spelled like this.
    """
    if not _VENUE.fullmatch(venue):
        raise UserError("This is no name of a venue.", "Write it in small letters, such as binance.")
    return venue


def check_pair(pair: KeyPair) -> KeyPair:
    """Return a key pair that can be one; its text is never repeated in an error.

    Raises:
        UserError: something is missing or was not copied whole.
    """
    for text in (pair.api_key, pair.api_secret):
        if not text:
            raise UserError("The API key or its secret is missing.", "Copy both from the venue's page.")
        if not _PRINTABLE.fullmatch(text):
            raise UserError("The API key or its secret holds a space or a character that none has.", "Copy both again.")
        if len(text) < SHORTEST:
            raise UserError("The API key or its secret is too short to be one.", "Copy the whole of both.")
    if pair.api_key == pair.api_secret:
        raise UserError("The API key and the API secret are the same.", "Copy both from the venue's page.")
    return pair
