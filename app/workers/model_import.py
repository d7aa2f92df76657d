"""One import of a model from elsewhere: a thread that lives as long as the check of its network. Worker thread.

The check runs in a child with limits and may take a minute; the store's queue must not wait for it.
"""

from __future__ import annotations

import functools
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.workers.base import WorkerThread
from core.clock import Clock


class ModelImportWorker(WorkerThread):
    """Validates a file and stores its model.

    Signals:
        imported(object): a `ml.model_exchange.Imported`.
    """

    imported = Signal(object)

    def __init__(self, models_dir: Path, source: Path, clock: Clock, parent: QObject | None = None) -> None:
        super().__init__("model-import", parent)
        self._models_dir, self._source, self._clock = models_dir, source, clock

    def work(self) -> None:
        from ml.model_exchange import import_model
        from ml.network_guard import check_in_child

        check = functools.partial(check_in_child, should_stop=lambda: self.stop_requested)
        self.imported.emit(import_model(self._models_dir, self._source, check, self._clock))
