"""One stored model that looks at the chart's market: a thread that lives as long as it is looked at. Nothing trades.

`begin` and `update` belong to any thread; the model to the worker thread. It keeps out of the way of orders: it waits
a moment after a bar has closed, for that is when strategies send theirs, and between two bars it lets others go first.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.workers.base import WorkerThread
from core.domain.candles import Candle
from core.domain.data_origin import DataOrigin
from core.errors import UserError

if TYPE_CHECKING:  # arrays and the network load with the worker, not with the window
    from core.data.frame import CandleFrame
    from ml.agents.onlooker import AgentOnlooker
    from ml.onlooker import Onlooker
    from ml.outlook import Outlook

AFTER_ORDERS_S = 0.1
BETWEEN_BARS_S = 0.001
_WAITING_MOST = 5_000  # bars; more than close while a history is read


class OnlookerWorker(WorkerThread):
    """Feeds one model with the closed bars of a chart.

    Signals:
        opened(object): the model was read and verified; carries a `ml.outlook.LookedAt`. Where it cannot be used,
            `failed` carries a `UserError` instead.
        answered(object): the newest `ml.outlook.Outlook`, or the `UserError` that ended its forecasts until the next
            history. Older ones are left out where bars close faster.
    """

    opened = Signal(object)
    answered = Signal(object)

    def __init__(self, models_dir: Path, candles_root: Path, model_id: str, parent: QObject | None = None) -> None:
        super().__init__("onlooker", parent)
        self._models_dir, self._candles_root, self.model_id = models_dir, candles_root, model_id
        self._changed = threading.Condition()  # guards the two below
        self._history: tuple[DataOrigin | None, CandleFrame] | None = None
        self._bars: deque[Candle] = deque(maxlen=_WAITING_MOST)
        self._feeding = False  # worker thread only: it has begun with a history and did not fail since

    def begin(self, origin: DataOrigin | None, frame: CandleFrame) -> None:
        """Start anew from the past of the chart; bars given before stay only where they are newer.

        Args:
            origin: whose bars these are; None where that is not known, then no stored ones are put before them.
            frame: of the model's market, oldest first.
        """
        with self._changed:
            self._history = (origin, frame)
            self._changed.notify()

    def update(self, candle: Candle) -> None:
        """Take the next closed bar of the model's market."""
        with self._changed:
            self._bars.append(candle)
            self._changed.notify()

    def work(self) -> None:
        from ml.onlooker import open_onlooker

        onlooker = open_onlooker(self._models_dir, self.model_id)
        self.opened.emit(onlooker.about)
        while self._wait():
            try:
                self._feed(onlooker)
            except UserError as exc:
                self._feeding = False
                self.answered.emit(exc)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _wait(self) -> bool:
        """Wait until there is something to feed; False where the worker is to stop."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.stop_requested or self._history is not None or (self._feeding and bool(self._bars))
            )
        return not self._stop_requested.wait(AFTER_ORDERS_S)

    def _feed(self, onlooker: Onlooker | AgentOnlooker) -> None:
        with self._changed:
            history, self._history = self._history, None
            bars = list(self._bars)
            self._bars.clear()
        outlook = None
        if history is not None:
            outlook = self._begin(onlooker, *history)
        for candle in bars:
            if self._rest():
                return
            if onlooker.newest_ns is None or candle.open_time_ns > onlooker.newest_ns:
                outlook = onlooker.update(candle)
        if outlook is not None:
            self.answered.emit(outlook)

    def _begin(
        self, onlooker: Onlooker | AgentOnlooker, origin: DataOrigin | None, frame: CandleFrame
    ) -> Outlook | None:
        from ml.onlooker import PAST_BARS, longer_history

        history = frame.finals()
        if origin is not None:
            history = longer_history(self._candles_root, origin, frame, onlooker.needed + PAST_BARS)
        self._feeding = True
        return onlooker.begin(history.to_candles("chart"), self._rest)

    def _rest(self) -> bool:
        return self._stop_requested.wait(BETWEEN_BARS_S)
