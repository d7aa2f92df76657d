"""Notices of earlier sessions in the list of notifications; they are not announced again. GUI thread only."""

from __future__ import annotations

import logging

from PySide6.QtCore import QObject, Slot

from app.models.notifications_model import NotificationsModel
from app.workers.store import QueryAnswer, StoreWorker
from core.clock import Clock

MOST_NOTICES = 200

_log = logging.getLogger(__name__)


class PastNotices(QObject):
    """Reads the stored notices once and lists those that came before this session."""

    def __init__(
        self, store: StoreWorker, model: NotificationsModel, clock: Clock, parent: QObject | None = None
    ) -> None:
        """Create it; what is told from now on belongs to this session."""
        super().__init__(parent)
        self._store = store
        self._model = model
        self._began_ns = clock.now_ns()
        self._number = 0
        store.answered.connect(self._on_answered)

    def load(self) -> None:
        """Ask for them in the background."""
        before_ns = self._began_ns
        self._number = self._store.query(
            lambda backend: [row for row in backend.store.notices(MOST_NOTICES) if row[0] < before_ns]
        )

    @Slot(object)
    def _on_answered(self, answer: QueryAnswer) -> None:
        if answer.number != self._number:
            return
        if answer.error is not None:
            _log.warning("earlier notices cannot be read: %s", answer.error)
            return
        self._model.restore(reversed(answer.value))
