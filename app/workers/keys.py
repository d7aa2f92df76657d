"""API keys beside the window: a store may ask its person for a password, or hang. Methods belong to any thread.

Stores are called on threads of their own, so that a keyring that hangs holds up neither this worker nor the end of the
program.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import QObject, Signal

from app.flows.keys_flow import KeyDraft
from app.i18n import tr
from app.models.keys_model import KeyAnswer
from app.workers.base import AsyncWorkerThread
from core.errors import UserError
from core.secrets.keys import LoadedKey, PermissionNote
from core.secrets.stores import AskPassphrase

if TYPE_CHECKING:
    from core.secrets.book import KeyBook

T = TypeVar("T")
OpenBook = Callable[[AskPassphrase], "KeyBook"]
AskVenue = Callable[[LoadedKey], Awaitable[PermissionNote]]


class KeysWorker(AsyncWorkerThread):
    """Lists, adds, removes and checks keys; implements `app.models.keys_model.KeyCommands`.

    Signals:
        listed: a tuple of `KeyRecord`, after every command that changed it.
        answered: a `KeyAnswer`, once for every command, after the list.
    """

    listed = Signal(object)
    answered = Signal(object)

    def __init__(self, open_book: OpenBook, ask_venue: AskVenue, parent: QObject | None = None) -> None:
        """Create it.

        Args:
            open_book: opens the keys of the data folder; called on a thread that may block.
            ask_venue: asks what a key may do, on the worker's loop; raises UserError.
            parent: Qt owner.
        """
        super().__init__("keys", parent)
        self._open_book = open_book
        self._ask_venue = ask_venue

    def list_keys(self) -> None:
        """See `KeyCommands`."""
        self._start("", self._nothing)

    def add_key(self, draft: KeyDraft) -> None:
        """See `KeyCommands`."""

        async def add() -> None:
            await _apart(
                lambda: self._book(draft.passphrase).add(
                    draft.name, draft.venue, draft.pair, draft.store, withdrawals_unchecked=draft.withdrawals_unchecked
                )
            )

        self._start(draft.name, add)

    def remove_key(self, name: str, passphrase: str) -> None:
        """See `KeyCommands`."""

        async def remove() -> None:
            await _apart(lambda: self._book(passphrase).remove(name))

        self._start(name, remove)

    def check_key(self, name: str, passphrase: str) -> None:
        """See `KeyCommands`."""

        async def check() -> None:
            key = await _apart(lambda: self._book(passphrase).load(name))
            note = await self._ask_venue(key)
            await _apart(lambda: self._book("").note_permissions(key.record, note))

        self._start(name, check)

    async def serve(self) -> None:
        await asyncio.Event().wait()

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        if not self.submit(lambda: self._answer(name, work)):
            self.answered.emit(KeyAnswer(name, UserError(tr("The program is closing."))))

    async def _answer(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            error = None
        except UserError as exc:
            error = exc
        try:
            self.listed.emit(await _apart(lambda: self._book("").records()))
        except UserError as exc:
            error = error or exc
        self.answered.emit(KeyAnswer(name, error))

    async def _nothing(self) -> None:
        """The list is read after every command."""

    def _book(self, passphrase: str) -> KeyBook:
        return self._open_book(lambda new: passphrase)


async def _apart(work: Callable[[], T]) -> T:
    """Await blocking work on a daemon thread; who is cancelled leaves it behind."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: Any, error: Exception | None) -> None:
        if future.done():  # cancelled meanwhile
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def run() -> None:
        try:
            value, error = work(), None
        except Exception as exc:  # noqa: BLE001 - handed to who waits
            value, error = None, exc
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name="key-store", daemon=True).start()
    return await future
