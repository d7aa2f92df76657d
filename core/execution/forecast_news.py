"""Lets a person see what the models of running strategies forecast. Runs on the executor's event loop.

It stands between a strategy and its model and changes nothing of what passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast
from core.events import EventSink, ForecastMade
from core.execution.order_manager import SHOWN_AFTER_S
from core.strategies.predictor import ChangeablePredictor, PredictorLoader


class TellingPredictor:
    """A predictor that tells each forecast as an event; implements `core.strategies.predictor.ChangeablePredictor`."""

    def __init__(self, predictor: ChangeablePredictor, sink: EventSink) -> None:
        self._predictor, self._sink = predictor, sink

    @property
    def model_id(self) -> str:
        """Content hash of the model package."""
        return self._predictor.model_id

    @property
    def symbol(self) -> str:
        """Market the model was trained on."""
        return self._predictor.symbol

    @property
    def timeframe(self) -> Timeframe:
        """Bar length the model was trained on."""
        return self._predictor.timeframe

    @property
    def warm_up_bars(self) -> int:
        """Closed bars needed before the first forecast."""
        return self._predictor.warm_up_bars

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        """Feed closed history and tell the forecast at its end."""
        forecast = self._predictor.warm_up(candles)
        if candles:
            self._tell(forecast, candles[-1])
        return forecast

    def update(self, candle: Candle) -> Forecast | None:
        """Feed the next closed bar and tell the forecast at its close."""
        forecast = self._predictor.update(candle)
        self._tell(forecast, candle)
        return forecast

    @property
    def ready(self) -> str | None:
        """Id of the model that can take over now; None while there is none."""
        return self._predictor.ready

    def prepare(self, model_id: str, history: Sequence[Candle]) -> None:
        """Warm another model up, which tells nothing before it takes over. Any thread."""
        self._predictor.prepare(model_id, history)

    def swap(self, model_id: str) -> str:
        """Let the prepared model answer from the next bar on."""
        return self._predictor.swap(model_id)

    def give_up(self) -> None:
        """Forget a prepared model."""
        self._predictor.give_up()

    def _tell(self, forecast: Forecast | None, candle: Candle) -> None:
        if forecast is not None:
            event = ForecastMade(forecast, candle.timeframe.value, candle.close)
            asyncio.get_running_loop().call_later(SHOWN_AFTER_S, self._sink, event)  # the order comes first


def telling(load: PredictorLoader, sink: EventSink) -> PredictorLoader:
    """Return a loader whose predictors tell their forecasts."""

    def load_telling(model_id: str) -> ChangeablePredictor:
        return TellingPredictor(load(model_id), sink)

    return load_telling
