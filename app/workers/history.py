"""One download of past candles beside the window: a thread that lives as long as the download.

Objects live in the GUI thread; `serve` runs in the worker thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.workers.base import AsyncWorkerThread
from app.workers.market import MarketLink
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.domain.data_origin import DataOrigin

if TYPE_CHECKING:
    from pathlib import Path

    from app.workers.store import StoreWorker
    from core.data.frame import CandleFrame

WRITE_TIMEOUT_S = 60.0


OpenLink = Callable[[], Awaitable[MarketLink]]


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Which bars: `start_ns` <= open time < `end_ns`, ns UTC."""

    symbol: str
    timeframe: Timeframe
    start_ns: int
    end_ns: int


class _QueuedStore(CandleStore):
    """Reads files itself and writes through the store worker, the single writer."""

    def __init__(self, root: Path, writer: StoreWorker) -> None:
        super().__init__(root)
        self._writer = writer

    def write(self, origin: DataOrigin, frame: CandleFrame, source: str) -> int:
        """Hand the rows to the store worker and wait until they are on the disk."""
        self._writer.write_candles(origin, frame, source)
        self._writer.flush().result(WRITE_TIMEOUT_S)
        return len(frame)


class HistoryWorker(AsyncWorkerThread):
    """Downloads one range into the candle store.

    Signals:
        progressed(object): a `core.data.collector.FetchProgress`.
        completed(object): a `core.data.collector.FetchResult`; not emitted where it failed or was stopped.
    """

    progressed = Signal(object)
    completed = Signal(object)

    def __init__(
        self,
        open_link: OpenLink,
        request: HistoryRequest,
        candles_root: Path,
        writer: StoreWorker,
        parent: QObject | None = None,
    ) -> None:
        super().__init__("history", parent)
        self._open_link = open_link
        self._request = request
        self._store = _QueuedStore(candles_root, writer)

    async def serve(self) -> None:
        from core.data.collector import fetch_history

        wanted = self._request
        link = await self._open_link()
        try:
            result = await fetch_history(
                link.gateway,
                self._store,
                link.origin,
                wanted.symbol,
                wanted.timeframe,
                wanted.start_ns,
                wanted.end_ns,
                self.progressed.emit,
                lambda: self.stop_requested,
            )
        finally:
            await link.close()
        if result.complete:
            self.completed.emit(result)
