"""A stored model that forecasts on the chart while nobody trades with it. GUI thread only.

It joins the chart, the market's bars and the thread that asks the model. The chart's own feed brings the bars: while it
shows another market the model waits, and begins anew from the history when its market comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from app.models.model_look import ModelLook
from app.ui.layouts import DockName
from app.workers.base import WorkerThread
from app.workers.onlooker import OnlookerWorker
from core.config import DataPaths
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from ml.outlook import LookedAt, Outlook

if TYPE_CHECKING:
    from app.training_desk import TrainingDesk
    from app.ui.docks.chart_dock import ChartDock
    from app.ui.main_window import MainWindow
    from app.workers.history import HistoryRequest, HistoryWorker
    from app.workers.market import MarketWorker
    from core.data.frame import CandleFrame

JOIN_S = 1.0
_SPARE_BARS = 210  # beyond what a forecast needs: bars a venue has none for, and past forecasts to be judged


class LookDesk(QObject):
    """Shows at most one model.

    Signals:
        changed(object): the `ModelLook`; None where no model is looked at any more.
        market_wanted(str, str): the chart shall show this symbol and bar length.
        began: a model was read and goes to the chart.
        refused(object): the `UserError` why a model cannot be shown; the former one stays.
    """

    changed = Signal(object)
    market_wanted = Signal(str, str)
    began = Signal()
    refused = Signal(object)

    def __init__(
        self,
        paths: DataPaths,
        markets: Callable[[], Collection[str]],
        origin: Callable[[], DataOrigin | None],
        download: Callable[[HistoryRequest], HistoryWorker],
        parent: QObject | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            paths: the data folder.
            markets: symbols there are; empty before the first connection.
            origin: whose bars the chart shows; None before the first connection.
            download: makes a thread that brings past bars of the market shown into the store.
            parent: Qt owner.
        """
        super().__init__(parent)
        self._paths, self._markets, self._origin, self._download = paths, markets, origin, download
        self._look: ModelLook | None = None
        self._worker: OnlookerWorker | None = None  # of the model that is shown
        self._opening: OnlookerWorker | None = None  # of one that is being read
        self._loader: HistoryWorker | None = None  # of bars that the chart and the store lack
        self._loaded: set[DataOrigin] = set()  # where that was tried for the model that is shown
        self._workers: list[WorkerThread] = []  # all that have not ended
        self._history = (0, 0)  # opening of the first closed bar of the chart's history, ns UTC, and how many there are

    @property
    def look(self) -> ModelLook | None:
        """What is looked at."""
        return self._look

    def workers(self) -> list[WorkerThread]:
        """Return the threads that have not ended, for the shutdown."""
        return list(self._workers)

    # --- wishes -----------------------------------------------------------------------------------------------

    @Slot(str)
    def look_at(self, model_id: str) -> None:
        """Read a model and show it; one that is being read makes way."""
        if self._opening is not None:
            self._opening.request_stop()
        worker = OnlookerWorker(self._paths.models, self._paths.candles, model_id, self)
        worker.opened.connect(self._on_opened)
        worker.answered.connect(self._on_answered)
        worker.failed.connect(self._on_failed)
        worker.finished.connect(self._on_ended)
        self._opening = worker
        self._workers.append(worker)
        worker.start()

    @Slot()
    def end(self) -> None:
        """Take the model off the chart."""
        for worker in self._workers:
            worker.request_stop()
        self._worker = self._opening = self._loader = None
        self._show(None)

    @Slot()
    def show_market(self) -> None:
        """Have the chart show the market of the model again."""
        if self._look is not None:
            self.market_wanted.emit(self._look.model.symbol, self._look.model.timeframe)

    # --- the chart --------------------------------------------------------------------------------------------

    @Slot(str, str)
    def on_market(self, symbol: str, timeframe: str) -> None:
        """Learn what the chart shows from now on; its bars follow, from the history on."""
        if self._look is not None:
            here = self._is_of(self._look.model, symbol, timeframe)
            self._show(ModelLook(self._look.model, here, loading=self._loader is not None))

    @Slot(object)
    def on_history(self, frame: CandleFrame) -> None:
        """Begin anew from the past of the chart."""
        look = self._look
        if look is not None and self._worker is not None and self._is_of(look.model, frame.symbol, frame.timeframe):
            origin, closed = self._origin(), frame.finals()
            self._history = (int(closed.time_ns[0]), len(closed)) if len(closed) else (0, 0)
            self._worker.begin(origin, frame)
            self._show(replace(look, origin=origin, problem=None))

    @Slot(object)
    def on_candle(self, candle: Candle) -> None:
        """Take a bar of the chart; the forming one says nothing yet."""
        look, worker = self._look, self._worker
        if look is None or worker is None or not self._is_of(look.model, candle.symbol, candle.timeframe):
            return
        if candle.final:
            worker.update(candle)

    # --- the model --------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_opened(self, model: LookedAt) -> None:
        worker = self.sender()
        if worker is not self._opening or self._opening is None:
            return
        self._opening = None
        markets = self._markets()
        if markets and model.symbol not in markets:
            worker.request_stop()
            self.refused.emit(
                UserError(
                    f"The model knows {model.symbol}, which is not traded here.",
                    "Choose a model of one of the markets in the list above the chart.",
                )
            )
            return
        for former in (self._worker, self._loader):
            if former is not None:
                former.request_stop()
        self._worker, self._loader = worker, None
        self._loaded.clear()
        self._show(ModelLook(model))
        self.began.emit()
        self.show_market()

    @Slot(object)
    def _on_answered(self, answer: Outlook | UserError) -> None:
        look = self._look
        if self.sender() is not self._worker or look is None or not look.here:
            return
        if isinstance(answer, UserError):
            self._show(replace(look, outlook=None, problem=answer))
        else:
            self._show(replace(look, outlook=answer, problem=None))
            self._load_more(look.model, answer)

    def _load_more(self, model: LookedAt, outlook: Outlook) -> None:
        """Download what is missing before the bars of the chart, once; a gap among them it cannot mend."""
        from app.workers.history import HistoryRequest

        origin, (first_ns, bars) = self._origin(), self._history
        if outlook.speaks or origin is None or origin in self._loaded or not bars or outlook.bars < bars:
            return
        self._loaded.add(origin)
        timeframe = Timeframe(model.timeframe)
        start_ns = outlook.bar_open_ns - (outlook.needed + _SPARE_BARS) * timeframe.ns
        loader = self._download(
            HistoryRequest(model.symbol, timeframe, min(start_ns, first_ns - timeframe.ns), first_ns)
        )
        loader.completed.connect(self._on_loaded)
        loader.failed.connect(self._on_load_failed)
        loader.finished.connect(self._on_ended)
        self._loader = loader
        self._workers.append(loader)
        self._set_loading(True)
        loader.start()

    @Slot(object)
    def _on_loaded(self, _result: object) -> None:
        if self.sender() is self._loader:
            self._loader = None
            self._set_loading(False)
            if self._look is not None and self._look.here:
                self.show_market()  # the chart's history comes again, and the stored bars before it are read

    @Slot(object)
    def _on_load_failed(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error  # a bug: the crash handler shows it
        if self.sender() is self._loader and self._look is not None:
            self._show(replace(self._look, problem=error))

    def _set_loading(self, loading: bool) -> None:
        if self._look is not None:
            self._show(replace(self._look, loading=loading))

    @Slot(object)
    def _on_failed(self, error: Exception) -> None:
        worker = self.sender()
        wanted = worker in (self._worker, self._opening)  # another one made way meanwhile
        if worker is self._opening:
            self._opening = None
        elif wanted:
            self.end()
        if not isinstance(error, UserError):
            raise error  # a bug: the crash handler shows it
        if wanted:
            self.refused.emit(error)

    @Slot()
    def _on_ended(self) -> None:
        worker = self.sender()
        assert isinstance(worker, WorkerThread)
        worker.join(JOIN_S)
        self._workers.remove(worker)
        if worker is self._loader:
            self._loader = None
            self._set_loading(False)

    @staticmethod
    def _is_of(model: LookedAt, symbol: str, timeframe: str) -> bool:
        return (model.symbol, model.timeframe) == (symbol, timeframe)

    def _show(self, look: ModelLook | None) -> None:
        if look != self._look:
            self._look = look
            self.changed.emit(look)


def connect_look(
    look: LookDesk, chart: ChartDock, market: MarketWorker, training: TrainingDesk, window: MainWindow
) -> None:
    """Let the window of models begin a look and the chart show and end it."""

    def bring_up() -> None:
        training.models.close()  # it would cover the chart
        window.layouts.show(DockName.CHART)

    def refuse(error: UserError) -> None:
        training.models.refuse_look(error)

    training.look_wanted.connect(look.look_at)
    look.began.connect(bring_up)
    look.refused.connect(refuse)
    look.changed.connect(chart.show_look)
    look.market_wanted.connect(chart.show_market)
    chart.market_changed.connect(look.on_market)
    chart.look.market_wanted.connect(look.show_market)
    chart.look.card_wanted.connect(training.open_model)
    chart.look.ended.connect(look.end)
    market.history_arrived.connect(look.on_history)
    market.candle_arrived.connect(look.on_candle)
