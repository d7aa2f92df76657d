"""The window's API keys as a state machine: what is listed, what is going on, what came of it. Qt-free; GUI thread.

The secret itself passes through in a `KeyDraft` once, on its way to the store, and is never shown again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from app.flows.sentence_text import local_text
from app.i18n import MISSING, format_moment, mark, tr
from core.errors import UserError
from core.secrets.keys import KeyPair, KeyRecord, StoreKind, check_name, check_pair, unchecked_phrase

# What a person can choose in the window; the environment is set outside, and a plain file is for servers.
STORES = (StoreKind.KEYRING, StoreKind.ENCRYPTED_FILE)
SHORTEST_PASSPHRASE = 10

STORE_TITLES = {
    StoreKind.KEYRING: mark("Keyring of this system"),
    StoreKind.ENCRYPTED_FILE: mark("File encrypted by a passphrase"),
    StoreKind.OWNER_FILE: mark("File readable by you only"),
    StoreKind.ENVIRONMENT: mark("Environment of the program"),
}


@dataclass(frozen=True, slots=True)
class KeyDraft:
    """A key as it was entered.

    Attributes:
        passphrase: of the encrypted file; "" for other stores.
        withdrawals_unchecked: the typed word that it cannot withdraw, where the venue cannot be asked.
    """

    name: str
    venue: str
    pair: KeyPair
    store: StoreKind
    passphrase: str = field(default="", repr=False)
    withdrawals_unchecked: bool = False


@dataclass(frozen=True, slots=True)
class KeyForm:
    """What stands in the fields of the form.

    Attributes:
        repeated: the passphrase once more, where it is a new one.
        typed: the word that the key cannot withdraw.
    """

    name: str
    venue: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    store: StoreKind
    passphrase: str = field(default="", repr=False)
    repeated: str = field(default="", repr=False)
    typed: str = ""


def store_title(kind: StoreKind) -> str:
    """Return the name of a store."""
    return tr(STORE_TITLES[kind])


def key_ending(record: KeyRecord) -> str:
    """Return what tells a key from another without showing it."""
    return f"…{record.last4}"


def permission_text(record: KeyRecord) -> str:
    """Return in a few words what the venue said of a key."""
    note = record.permissions
    if note is None:
        return tr("Not asked yet")
    if not note.allowed:
        return tr("Refused: {why}", why=local_text(note.lines[0]) if note.lines else MISSING)
    if record.withdrawals_unchecked:
        return tr("Confirmed by you")
    return tr("Reads and trades, cannot withdraw")


def permission_details(record: KeyRecord) -> str:
    """Return everything the venue said of a key, and when."""
    note = record.permissions
    if note is None:
        return tr("Test the key to see what it may do. It is asked again before it trades.")
    when = tr("Asked on {when}.", when=format_moment(note.read_ns, "%Y-%m-%d %H:%M"))
    return "\n".join(
        (permission_text(record), *(local_text(line) for line in note.lines[0 if note.allowed else 1 :]), when)
    )


class KeysFlow:
    """The list and the one thing that is being done.

    Attributes:
        records: what is listed; None before the list was read.
        busy: what is going on, in words; "" where nothing is.
        told: what came of the last thing; "" where nothing did.
        is_trouble: whether it failed.
    """

    def __init__(self, asked: Collection[str]) -> None:
        """Begin without a list.

        Args:
            asked: venues that say what a key may do.
        """
        self.records: tuple[KeyRecord, ...] | None = None
        self.busy = ""
        self.told = ""
        self.is_trouble = False
        self._asked = frozenset(asked)

    def begin(self, what: str) -> bool:
        """Begin something; False while something else is going on."""
        if self.busy:
            return False
        self.busy, self.told, self.is_trouble = what, "", False
        return True

    def listed(self, records: tuple[KeyRecord, ...]) -> None:
        """Take the list."""
        self.records = records

    def ended(self, text: str) -> None:
        """Take that it went well."""
        self.busy, self.told, self.is_trouble = "", text, False

    def failed(self, error: UserError) -> None:
        """Take why it failed."""
        self.busy, self.told, self.is_trouble = "", local_text(str(error)), True

    def record(self, name: str) -> KeyRecord | None:
        """Return a listed key."""
        return next((record for record in self.records or () if record.name == name), None)

    def needs_passphrase(self, store: StoreKind) -> bool:
        """Whether using a store takes the passphrase."""
        return store is StoreKind.ENCRYPTED_FILE

    def chooses_passphrase(self, store: StoreKind) -> bool:
        """Whether a new passphrase is being chosen: nothing is in the encrypted file yet."""
        return self.needs_passphrase(store) and all(r.store is not store for r in self.records or ())

    def needs_word(self, venue: str) -> bool:
        """Whether a person has to confirm that a key of this venue cannot withdraw."""
        return venue not in self._asked

    def word(self, name: str) -> str:
        """Return what is typed to confirm it."""
        return unchecked_phrase(name)

    def complaint(self, form: KeyForm) -> str:
        """Return what is still missing or wrong; "" where the key can be added."""
        try:
            check_name(form.name)
            if self.record(form.name) is not None:
                return tr("There is a key of this name already.")
            check_pair(KeyPair(form.api_key, form.api_secret))
        except UserError as exc:
            return local_text(exc.message)
        if self.needs_passphrase(form.store):
            new = self.chooses_passphrase(form.store)
            if not form.passphrase:
                return tr("Enter the passphrase.")
            if new and len(form.passphrase) < SHORTEST_PASSPHRASE:
                return tr("A passphrase needs at least 10 characters.")
            if new and form.passphrase != form.repeated:
                return tr("The two passphrases differ.")
        if self.needs_word(form.venue) and form.typed.strip() != self.word(form.name):
            return tr("Look the rights up on the venue's page, then type: {word}", word=self.word(form.name))
        return ""

    def draft(self, form: KeyForm) -> KeyDraft | None:
        """Return the key to add; None while there is a complaint."""
        if self.complaint(form):
            return None
        return KeyDraft(
            form.name,
            form.venue,
            KeyPair(form.api_key, form.api_secret),
            form.store,
            form.passphrase if self.needs_passphrase(form.store) else "",
            self.needs_word(form.venue),
        )
