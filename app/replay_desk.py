"""Replays of agents: reads an episode in the background and opens its window. GUI thread only."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from app.language import LanguageManager
from app.store_queries import StoreQueries
from app.theme import ThemeManager
from app.ui.dialogs.error_dialog import ErrorDialog
from app.workers.store import QueryAnswer, StoreWorker
from core.config import DataPaths

if TYPE_CHECKING:
    from app.ui.replay.window import ReplayWindow


class ReplayDesk(QObject):
    """Shows at most one window for each agent."""

    def __init__(
        self,
        paths: DataPaths,
        store: StoreWorker,
        theme: ThemeManager,
        language: LanguageManager,
        parent: QObject | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            paths: the data folder.
            store: a running worker.
            theme / language: for the windows.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._paths, self._theme, self._language = paths, theme, language
        self._queries = StoreQueries(store, self)
        self._windows: dict[str, ReplayWindow] = {}
        self._reading: set[str] = set()
        self.errors: ErrorDialog | None = None

    @property
    def windows(self) -> tuple[ReplayWindow, ...]:
        """The open ones."""
        return tuple(self._windows.values())

    def open(self, model_id: str, parent: QWidget | None = None) -> None:
        """Replay an agent; a window of it that is open comes to the front."""
        if (window := self._windows.get(model_id)) is not None:
            window.raise_()
            window.activateWindow()
        elif model_id not in self._reading:
            self._reading.add(model_id)
            paths = self._paths
            self._queries.ask(lambda _: _read(paths, model_id), functools.partial(self._take, model_id, parent))

    def close(self) -> None:
        """Close every window."""
        self._reading.clear()
        for window in self.windows:
            window.close()
        if self.errors is not None:
            self.errors.close()

    def _take(self, model_id: str, parent: QWidget | None, answer: QueryAnswer) -> None:
        if model_id not in self._reading:
            return  # the program is about to end
        self._reading.remove(model_id)
        if answer.error is not None:
            self._refuse(answer.error.message, answer.error.remedy, parent)
            return
        from app.ui.replay.window import ReplayWindow

        window = ReplayWindow(self._theme, self._language, parent)
        window.finished.connect(functools.partial(self._forget, model_id))
        self._windows[model_id] = window
        window.show()  # not modal: the kill switch must stay within reach
        window.show_replay(answer.value)

    def _refuse(self, message: str, remedy: str, parent: QWidget | None) -> None:
        if self.errors is None:
            self.errors = ErrorDialog(self._theme, parent)
        self.errors.retranslate()
        self.errors.show_error(message, remedy)

    def _forget(self, model_id: str, _result: int) -> None:
        self._windows.pop(model_id, None)


def _read(paths: DataPaths, model_id: str) -> Any:
    """Read on the store's thread; the modules load there, with the arrays' library."""
    from app.stored_episodes import read_replay

    return read_replay(paths, model_id)
