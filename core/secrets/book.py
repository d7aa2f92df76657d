"""The keys of a data folder: added to a store that was chosen, read from that store and no other. Any thread.

Order of lookup: a name that begins with "env-" is a key of the environment; every other name stands in the list, and
the list names the one store that is asked. Nothing falls back to another store. Calls may block: keep them off the
window's thread.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from core.clock import Clock, SystemClock
from core.config import DataPaths
from core.errors import UserError
from core.secrets.environment import EnvironmentKeys, seal_environment
from core.secrets.file_stores import EncryptedFileStore, OwnerFileStore
from core.secrets.index import KeyIndex, Records
from core.secrets.keys import (
    KeyPair,
    KeyRecord,
    LoadedKey,
    PermissionNote,
    StoreKind,
    check_name,
    check_pair,
    check_venue,
    key_fingerprint,
)
from core.secrets.os_keyring import KeyringStore
from core.secrets.process import forbid_core_dumps
from core.secrets.stores import AskPassphrase, SecretStore

Hide = Callable[..., None]


class KeyBook:
    """Adds, lists, reads and removes keys.

    Args:
        index: the list.
        stores: the stores that can be chosen.
        environment: the keys of the environment.
        hide: takes secrets that no log or report may show; called before anything else sees them.
        wall: stamps what is added.
        new_id: makes the name of an entry unique over all data folders of a user.
    """

    def __init__(
        self,
        index: KeyIndex,
        stores: Mapping[StoreKind, SecretStore],
        environment: EnvironmentKeys,
        hide: Hide,
        *,
        wall: Clock,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:12],
    ) -> None:
        self._index = index
        self._stores = {**stores, StoreKind.ENVIRONMENT: environment}
        self._environment = environment
        self._hide = hide
        self._wall = wall
        self._new_id = new_id

    def records(self) -> tuple[KeyRecord, ...]:
        """Return what may be seen of all keys, by name.

        Raises:
            UserError: the list is damaged, or the environment gives half of a key.
        """
        known = self._index.records()
        given = {record.name: _with_notes(record, known) for record in self._environment.records()}
        stored = {name: record for name, record in known.items() if record.store is not StoreKind.ENVIRONMENT}
        return tuple(sorted({**stored, **given}.values(), key=lambda record: record.name))

    def record(self, name: str) -> KeyRecord:
        """Return what may be seen of one key.

        Raises:
            UserError: there is none of that name.
        """
        found = next((record for record in self.records() if record.name == name), None)
        if found is None:
            raise UserError(f"There is no key named {name!r}.", "Add it first, or choose one that is listed.")
        return found

    def add(
        self, name: str, venue: str, pair: KeyPair, store: StoreKind, *, withdrawals_unchecked: bool = False
    ) -> KeyRecord:
        """Keep a new key.

        Args:
            withdrawals_unchecked: its person confirmed that it cannot withdraw; for venues that cannot be asked.

        Raises:
            UserError: the name is taken, the key cannot be one, or the store cannot be used; nothing is kept.
        """
        self._hide(pair.api_key, pair.api_secret)
        check_pair(pair)
        record = KeyRecord(
            name=check_name(name),
            venue=check_venue(venue),
            last4=pair.api_key[-4:],
            fingerprint=key_fingerprint(venue, pair.api_key),
            store=store,
            entry=f"{venue}-{name}-{self._new_id()}",
            added_ns=self._wall.now_ns(),
            withdrawals_unchecked=withdrawals_unchecked,
        )
        _refuse_taken(self._index.records(), record)
        keeper = self._store(store)
        keeper.put(record.entry, pair)

        def enter(records: Records) -> None:
            _refuse_taken(records, record)  # another program may have been faster
            records[name] = record

        try:
            self._index.change(enter)
        except BaseException:
            with suppress(UserError):
                keeper.remove(record.entry)
            raise
        return record

    def remove(self, name: str) -> KeyRecord:
        """Forget a key in its store, then in the list.

        Raises:
            UserError: there is none, or its store cannot be used; the key stays.
        """
        record = self.record(name)
        self._store(record.store).remove(record.entry)

        def leave_out(records: Records) -> None:
            records.pop(name, None)

        self._index.change(leave_out)
        return record

    def load(self, name: str) -> LoadedKey:
        """Return a key with its secret.

        Raises:
            UserError: there is none, its store cannot be used, or holds another key than the list says.
        """
        record = self.record(name)
        pair = self._store(record.store).get(record.entry)
        if pair is None:
            raise UserError(
                f"The key {name} is not in its store any more ({record.store.value}).", "Remove it and add it again."
            )
        self._hide(pair.api_key, pair.api_secret)
        if key_fingerprint(record.venue, pair.api_key) != record.fingerprint:
            raise UserError(
                f"The store ({record.store.value}) holds another key than the one named {name}.",
                "Remove it and add it again.",
            )
        return LoadedKey(record, pair)

    def note_permissions(self, record: KeyRecord, note: PermissionNote) -> None:
        """Keep what the venue said of a key, for whoever lists it.

        Raises:
            UserError: the list cannot be written.
        """
        self._edit(record, lambda known: replace(known, permissions=note))

    def confirm_unchecked(self, record: KeyRecord) -> None:
        """Keep that a person confirmed what the venue cannot be asked; it holds for this very key only.

        Raises:
            UserError: the list cannot be written.
        """
        self._edit(record, lambda known: replace(known, withdrawals_unchecked=True))

    def _edit(self, record: KeyRecord, edit: Callable[[KeyRecord], KeyRecord]) -> None:
        def write(records: Records) -> None:
            known = records.get(record.name)
            if known is not None and known.fingerprint == record.fingerprint:
                records[record.name] = edit(known)
            elif record.store is StoreKind.ENVIRONMENT:
                records[record.name] = edit(record)

        self._index.change(write)

    def _store(self, kind: StoreKind) -> SecretStore:
        return self._stores[kind]


def open_key_book(
    paths: DataPaths, hide: Hide, ask_passphrase: AskPassphrase, *, keyring: SecretStore | None = None
) -> KeyBook:
    """Open the keys of a data folder; reads nothing yet, but takes the keys out of the environment.

    Args:
        hide: see `KeyBook`.
        ask_passphrase: asked where a key of the encrypted file is read or written.
        keyring: the keyring; the operating system's where None.
    """
    forbid_core_dumps()
    encrypted = EncryptedFileStore(paths.keys / "encrypted.json", ask_passphrase)
    stores = (keyring or KeyringStore(), encrypted, OwnerFileStore(paths.keys / "owner.json"))
    variables = seal_environment()
    hide(*variables.values())
    return KeyBook(
        KeyIndex(paths.keys / "keys.json"),
        {store.kind: store for store in stores},
        EnvironmentKeys(variables),
        hide,
        wall=SystemClock(),
    )


def _refuse_taken(records: Records, fresh: KeyRecord) -> None:
    if fresh.name in records:
        raise UserError(f"There is a key named {fresh.name} already.", "Choose another name, or remove that one first.")
    twin = next((known for known in records.values() if known.fingerprint == fresh.fingerprint), None)
    if twin is not None and twin.store is not StoreKind.ENVIRONMENT:
        raise UserError(f"This key is here already, under the name {twin.name}.", "Use that one, or remove it first.")


def _with_notes(given: KeyRecord, known: Records) -> KeyRecord:
    """Add what was noted of a key of the environment; another key in the same variable begins anew."""
    noted = known.get(given.name)
    if noted is None or noted.fingerprint != given.fingerprint:
        return given
    return replace(given, withdrawals_unchecked=noted.withdrawals_unchecked, permissions=noted.permissions)
