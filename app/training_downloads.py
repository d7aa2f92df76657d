"""Practice histories for training: which there are, and their downloads before a run. GUI thread only."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from app.workers.store import StoreWorker
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from ml.api import ForecastSpec, TrainingProgress

if TYPE_CHECKING:
    from app.flows.datasets import Dataset
    from app.ui.docks.training_dock import TrainingDock
    from app.workers.history import HistoryWorker, OpenLink
    from core.data.collector import FetchProgress
    from ml.agents.run_spec import AgentSpec

PRACTICE_TIMEFRAMES = (Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
PRACTICE_BARS = 30_000
PRACTICE_MOST_NS = 5 * 365 * Timeframe.D1.ns


def practice_datasets(symbols: Sequence[str], origin: DataOrigin | None, now_ns: int) -> list[Dataset]:
    """Return the histories the practice exchange offers up to a moment; none while its market is not known."""
    from app.flows.datasets import Dataset, SourceKind

    offered: list[Dataset] = []
    if origin is None:
        return offered
    for symbol in symbols:
        for timeframe in PRACTICE_TIMEFRAMES:
            last_ns = timeframe.floor(now_ns) - timeframe.ns
            bars = min(PRACTICE_BARS, PRACTICE_MOST_NS // timeframe.ns)
            first_ns = last_ns - (bars - 1) * timeframe.ns
            offered.append(Dataset(SourceKind.PRACTICE, origin, symbol, timeframe, first_ns, last_ns, bars))
    return offered


class PracticeDownloads(QObject):
    """Downloads of practice histories, each followed by a run that its end asks for.

    Signals:
        downloaded(object, str): the specification whose bars are there now, and the run it shall follow.
        failed(str): why there are no bars.
    """

    downloaded = Signal(object, str)
    failed = Signal(str)

    def __init__(
        self,
        candles: Path,
        store: StoreWorker,
        open_link: OpenLink,
        now_ns: Callable[[], int],
        parent: QObject,
    ) -> None:
        """Prepare.

        Args:
            candles: folder of the candle store.
            store: running worker, which writes the bars.
            open_link: opens a market link, on the loop that calls it.
            now_ns: market time, ns UTC.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._candles, self._store, self._open_link, self._now_ns = candles, store, open_link, now_ns
        self._dock: TrainingDock | None = None
        self._active: dict[str, tuple[HistoryWorker, ForecastSpec | AgentSpec, str]] = {}

    def attach_dock(self, dock: TrainingDock) -> None:
        """Show downloads on this panel's list."""
        self._dock = dock

    def __len__(self) -> int:
        return len(self._active)

    @property
    def workers(self) -> list[HistoryWorker]:
        """The downloads under way, for the shutdown."""
        return [worker for worker, _, _ in self._active.values()]

    def start(self, spec: ForecastSpec | AgentSpec, after: str) -> None:
        """Download the range of a specification; the run that it asks for shall follow `after`, "" for none."""
        from app.workers.history import HistoryRequest, HistoryWorker

        data, timeframe = spec.data, Timeframe(spec.data.timeframe)
        end_ns = timeframe.floor(self._now_ns()) if data.end_ns is None else data.end_ns
        start_ns = end_ns - PRACTICE_BARS * timeframe.ns if data.start_ns is None else data.start_ns
        request = HistoryRequest(data.symbol, timeframe, start_ns, end_ns)
        worker = HistoryWorker(self._open_link, request, self._candles, self._store, self)
        key = f"download-{uuid.uuid4().hex[:8]}"
        worker.setProperty("key", key)
        self._active[key] = (worker, spec, after)
        worker.progressed.connect(self._on_part)
        worker.completed.connect(self._on_completed)
        worker.failed.connect(self._on_failed)
        worker.finished.connect(self._on_ended)
        if self._dock is not None:
            self._dock.on_run_queued(key, data, time.time_ns())
        worker.start()

    def cancel(self, key: str) -> bool:
        """Stop a download; return whether there is one of that name."""
        if key not in self._active:
            return False
        self._active[key][0].request_stop()
        return True

    @Slot(object)
    def _on_part(self, part: FetchProgress) -> None:
        key = self.sender().property("key")
        if self._dock is not None:
            self._dock.on_progress(
                TrainingProgress(key, "loading", epoch=part.done, epochs=part.total, eta_s=part.eta_s)
            )

    @Slot(object)
    def _on_completed(self, _result: object) -> None:
        key = self.sender().property("key")
        worker, spec, after = self._active[key]
        if worker.stop_requested:
            return  # cancelled while the last page was on its way; `_on_ended` says so
        if self._dock is not None:
            self._dock.remove_run(key)
        self.downloaded.emit(spec, after)

    @Slot(object)
    def _on_failed(self, error: Exception) -> None:
        key = self.sender().property("key")
        message, remedy = (error.message, error.remedy) if isinstance(error, UserError) else (str(error), "")
        if self._dock is not None:
            self._dock.on_failed(key, message, remedy)
        self.failed.emit(f"{message} {remedy}".strip())

    @Slot()
    def _on_ended(self) -> None:
        key = self.sender().property("key")
        worker, _, _ = self._active.pop(key)
        worker.join(1.0)
        if worker.stop_requested and self._dock is not None:
            self._dock.on_cancelled(key)
