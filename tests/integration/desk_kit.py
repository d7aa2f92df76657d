"""The training desk over real workers, as one start of the program has it; several follow each other on one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QListWidget, QPushButton

from app.language import LanguageManager
from app.theme import ThemeManager
from app.training_desk import TrainingDesk
from app.training_plans import training_plans
from app.ui.docks.training_dock import TrainingDock
from app.workers.history import OpenLink
from app.workers.queue_file import QUEUE_FILE
from app.workers.store import StoreBackend, StoreWorker
from app.workers.training import TrainingWorker
from core.clock import SystemClock
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.events import Notice
from core.persistence.schema import ensure_migrated
from core.persistence.store import Store
from tests.trained_model import Trained


class Heard(QObject):
    """What the desk told."""

    def __init__(self, desk: TrainingDesk) -> None:
        super().__init__()
        self.wanted: list[str] = []
        self.notices: list[Notice] = []
        self.models: list[tuple[Any, ...]] = []
        desk.strategy_wanted.connect(self.on_wanted)
        desk.noticed.connect(self.on_notice)
        desk.models_changed.connect(self.on_models)

    @Slot(str)
    def on_wanted(self, model_id: str) -> None:
        self.wanted.append(model_id)

    @Slot(object)
    def on_notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    @Slot(object)
    def on_models(self, choices: tuple[Any, ...]) -> None:
        self.models.append(choices)


@dataclass
class Session:
    """One start of the program, as far as training goes."""

    desk: TrainingDesk
    dock: TrainingDock
    store: StoreWorker
    heard: Heard

    def rows(self) -> list[str]:
        runs = self.dock.findChild(QListWidget, "training_runs")
        return [runs.item(row).text() for row in range(runs.count())]

    def button(self, name: str) -> QPushButton:
        return self.dock.findChild(QPushButton, name)


Start = Callable[..., AbstractContextManager[Session]]


def folder_with_bars(paths: DataPaths, trained: Trained) -> DataPaths:
    """Make a data folder with the bars that the stored model was made of."""
    made = paths.create()
    ensure_migrated(made)
    CandleStore(made.candles).write("binance", trained.frame, "import")
    return made


def sessions(paths: DataPaths, theme: ThemeManager, language: LanguageManager) -> Start:
    """Return what starts the program on a data folder; `open_link` downloads histories."""

    def open_store() -> StoreBackend:
        store = Store(paths.store_db)
        store.interrupt_runs(1)
        return StoreBackend(store, CandleStore(paths.candles))

    async def no_link() -> Any:
        raise AssertionError("nothing is downloaded here")

    @contextmanager
    def start(open_link: OpenLink = no_link) -> Iterator[Session]:
        store = StoreWorker(open_store, SystemClock())
        training = TrainingWorker(training_plans(paths), paths.runs / QUEUE_FILE, store)
        desk = TrainingDesk(paths, training, store, open_link, theme, language, lambda: 0)
        dock = TrainingDock(desk, theme)
        dock.resize(500, 700)
        dock.show()
        desk.attach_dock(dock)
        store.start()
        training.start()
        desk.restore_runs()
        try:
            yield Session(desk, dock, store, Heard(desk))
        finally:
            for download in desk.workers():
                assert download.stop(20)
            assert training.stop(20)
            assert store.stop(20)
            dock.close()
            dock.deleteLater()

    return start
