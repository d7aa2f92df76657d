"""How core asks a model for a forecast. ml implements it, the composition root injects it.

Runs on the executor's thread; an implementation must answer within a few milliseconds and never block on I/O
after `warm_up`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast
from core.strategies.changeable import ChangeableModel


class Predictor(Protocol):
    """A trained forecaster bound to one market."""

    @property
    def model_id(self) -> str:
        """Content hash of the model package."""
        ...

    @property
    def symbol(self) -> str:
        """Market the model was trained on."""
        ...

    @property
    def timeframe(self) -> Timeframe:
        """Bar length the model was trained on."""
        ...

    @property
    def warm_up_bars(self) -> int:
        """Closed bars needed before the first forecast."""
        ...

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
