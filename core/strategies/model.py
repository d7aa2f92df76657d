"""What core asks of every model, whether it forecasts or trades. Runs on the executor's thread.

ml implements it, the composition root injects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.domain.candles import Candle, Timeframe


class TrainedModel(Protocol):
    """A model bound to one market."""

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
        """Closed bars needed before it says something."""
        ...


class ChangeableModel(Protocol):
    """A model in whose place another one can be put, none of the bars missed."""

    @property
    def ready(self) -> str | None:
        """Id of the model that can take over now; None while there is none."""
        ...

    def prepare(self, model_id: str, history: Sequence[Candle]) -> None:
        """Load a model and warm it up while the former one goes on. Takes long: on a thread of its own.

        Args:
            model_id: the new model.
            history: closed bars, oldest first, as long as for a start.

        Raises:
            UserError: the model cannot be used here, or there are not enough bars; the former one goes on.
        """
        ...

    def give_up(self) -> None:
        """Forget a model that was prepared and shall not take over."""
        ...
