"""A stored model over the chart that nobody has to trade: what the window knows of it. Values, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.data_origin import DataOrigin
from core.errors import UserError
from core.events import ForecastMade
from ml.outlook import AgentWeights, LookedAt, Outlook


@dataclass(frozen=True, slots=True)
class ModelLook:
    """A model that is looked at, and what it says.

    Attributes:
        model: which one.
        here: whether the chart shows its market; elsewhere it waits.
        origin: whose bars the chart shows; None where that is not known yet.
        outlook: its newest word; None before the first, and while it waits.
        problem: why it says no more; the next history of the chart starts it anew.
        loading: whether the bars it lacks are being downloaded.
    """

    model: LookedAt
    here: bool = False
    origin: DataOrigin | None = None
    outlook: Outlook | None = None
    problem: UserError | None = None
    loading: bool = False

    @property
    def forecast(self) -> ForecastMade | None:
        """What is drawn; the same value as a strategy's forecast, and no event of the executor."""
        outlook = self.outlook
        if outlook is None or outlook.forecast is None:
            return None
        return ForecastMade(outlook.forecast, self.model.timeframe, outlook.close)

    @property
    def weights(self) -> AgentWeights | None:
        """What an agent wanted to hold at the last bars; None of a forecaster."""
        return None if self.outlook is None or not self.here else self.outlook.weights
