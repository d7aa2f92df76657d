"""A desk of stored models over a real folder, as the window has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytestqt.qtbot import QtBot

from app.language import LanguageManager
from app.model_desk import ModelDesk
from app.runtime import prepare_data
from app.theme import ThemeManager
from app.ui.dialogs.models_dialog import ModelsDialog
from app.workers.store import StoreBackend, StoreWorker
from core.clock import ManualClock, SystemClock
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.persistence.store import Store
from tests.trained_model import Trained

NOW_NS = 1_700_000_000_000_000_000


def folder_with_a_model(root: Path, trained: Trained) -> DataPaths:
    paths = DataPaths(root).create()
    prepare_data(paths.root)
    trained.copy_to(paths.models)
    return paths


@contextmanager
def running_store(paths: DataPaths) -> Iterator[StoreWorker]:
    store = StoreWorker(lambda: StoreBackend(Store(paths.store_db), CandleStore(paths.candles)), SystemClock())
    store.start()
    yield store
    assert store.stop(20)


@contextmanager
def running_desk(
    paths: DataPaths, store: StoreWorker, theme: ThemeManager, language: LanguageManager
) -> Iterator[ModelDesk]:
    desk = ModelDesk(paths, store, theme, language, ManualClock(NOW_NS))
    yield desk
    for worker in desk.workers():
        assert worker.stop(20)
    desk.close()


def opened(desk: ModelDesk, qtbot: QtBot) -> ModelsDialog:
    desk.show()
    dialog = desk.dialog
    assert dialog is not None
    qtbot.waitUntil(lambda: dialog.stack.currentWidget() is dialog.card, timeout=10_000)
    return dialog
