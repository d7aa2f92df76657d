"""The API keys as the window sees them: commands go out, answers come in, one signal tells that something changed.

GUI thread.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from PySide6.QtCore import QObject, Signal, Slot

from app.flows.keys_flow import KeyDraft, KeysFlow
from app.i18n import tr
from core.errors import UserError


class KeyCommands(Protocol):
    """What is done beside the window, where a store may take its time; every call returns at once."""

    def list_keys(self) -> None:
        """Read the list."""
        ...

    def add_key(self, draft: KeyDraft) -> None:
        """Keep a key."""
        ...

    def remove_key(self, name: str, passphrase: str) -> None:
        """Forget a key."""
        ...

    def check_key(self, name: str, passphrase: str) -> None:
        """Ask the venue what a key may do."""
        ...


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """How a command ended.

    Attributes:
        name: of the key; "" for the list.
        error: why it failed, None where it did not.
    """

    name: str
    error: UserError | None = None


class KeysModel(QObject):
    """Drives a `KeysFlow`.

    Attributes:
        flow: what to show.
        venues: venues that keys can be added for.

    Signals:
        changed: look at the flow again.
    """

    changed = Signal()

    def __init__(
        self, commands: KeyCommands, venues: tuple[str, ...], asked: Collection[str], parent: QObject | None = None
    ) -> None:
        """Create it.

        Args:
            venues: venues that keys can be added for.
            asked: those of them that say what a key may do.
        """
        super().__init__(parent)
        self.flow = KeysFlow(asked)
        self.venues = venues
        self._commands = commands
        self._done = ""

    def refresh(self) -> None:
        """Read the list again."""
        if self._begin(tr("Reading the list of keys…"), ""):
            self._commands.list_keys()

    def add(self, draft: KeyDraft) -> None:
        """Keep a key."""
        if self._begin(tr("Storing the key…"), tr("The key {name} was stored.", name=draft.name)):
            self._commands.add_key(draft)

    def remove(self, name: str, passphrase: str) -> None:
        """Forget a key."""
        if self._begin(tr("Removing the key…"), tr("The key {name} was removed here.", name=name)):
            self._commands.remove_key(name, passphrase)

    def check(self, name: str, passphrase: str) -> None:
        """Ask the venue what a key may do."""
        if self._begin(tr("Asking the venue…"), tr("The venue has answered about {name}.", name=name)):
            self._commands.check_key(name, passphrase)

    @Slot(object)
    def on_listed(self, records: object) -> None:
        """Take the list."""
        assert isinstance(records, tuple)
        self.flow.listed(records)
        self.changed.emit()

    @Slot(object)
    def on_answered(self, answer: KeyAnswer) -> None:
        """Take how a command ended."""
        if answer.error is None:
            self.flow.ended(self._done)
        else:
            self.flow.failed(answer.error)
        self.changed.emit()

    def _begin(self, what: str, done: str) -> bool:
        began = self.flow.begin(what)
        if began:
            self._done = done
            self.changed.emit()
        return began
