"""Questions to the thread of the store, each answer to whoever asked. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Slot

from app.workers.store import QueryAnswer, StoreBackend, StoreWorker


class StoreQueries(QObject):
    """Asks a running worker and keeps who waits for what."""

    def __init__(self, store: StoreWorker, parent: QObject) -> None:
        super().__init__(parent)
        self._store = store
        self._waiting: dict[int, Callable[[QueryAnswer], None]] = {}
        store.answered.connect(self._on_answered)

    def ask(self, read: Callable[[StoreBackend], Any], take: Callable[[QueryAnswer], None]) -> None:
        """Have something read in the store's thread and the answer handed over in this one."""
        self._waiting[self._store.query(read)] = take

    @Slot(object)
    def _on_answered(self, answer: QueryAnswer) -> None:
        take = self._waiting.pop(answer.number, None)
        if take is not None:
            take(answer)
