"""How core asks a model for a forecast. ml implements it, the composition root injects it.

Runs on the executor's thread; an implementation must answer within a few milliseconds and never block on I/O
after `warm_up`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.domain.candles import Candle
from core.domain.signals import Forecast
from core.strategies.model import ChangeableModel, TrainedModel


class Predictor(TrainedModel, Protocol):
    """A trained forecaster bound to one market."""

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        """Reset the state and feed closed history, oldest first.

        Returns:
            The forecast at the last bar, or None while there are too few bars.
        """
        ...

    def update(self, candle: Candle) -> Forecast | None:
        """Feed the next closed bar.

        Returns:
            The forecast at its close, or None while warming up.

        Raises:
            ValueError: the bar is not final or does not follow the last one.
        """
        ...


class ChangeablePredictor(Predictor, ChangeableModel, Protocol):
    """A predictor whose model can be changed between two bars, none missed."""

    def swap(self, model_id: str) -> Forecast:
        """Let the prepared model answer from the next bar on and return what it forecasts at the newest one.

        Raises:
            UserError: it is not ready; nothing was changed.
        """
        ...


class PredictorLoader(Protocol):
    """Builds a predictor from a stored model."""

    def __call__(self, model_id: str) -> ChangeablePredictor:
        """Load the model.

        Raises:
            UserError: no such model, or the package is damaged.
        """
        ...
