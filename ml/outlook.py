"""What a stored model says of a market that nobody trades with it. Values, any thread; no numpy."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.data_origin import DataOrigin
from core.domain.signals import Forecast


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A model that is looked at.

    Attributes:
        model_id: content hash of its package.
        symbol / timeframe: the market it knows.
        origin: whose bars it learned from.
        foreign: whether it was made elsewhere.
        agent: whether it says what to hold instead of what to expect.
    """

    model_id: str
    symbol: str
    timeframe: str
    origin: DataOrigin
    foreign: bool
    agent: bool = False


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the last forecasts over the horizon that trades turned out.

    Only forecasts made on bars that came after everything the model was made from are counted.

    Attributes:
        judged: forecasts whose time is over.
        held: how many of these ended within their outer range.
        share: of outcomes that the outer range promises to hold.
        horizon_bars: how far ahead they were.
    """

    judged: int
    held: int
    share: float
    horizon_bars: int


@dataclass(frozen=True, slots=True)
class AgentWeights:
    """What an agent wanted to hold at the last bars, and what an account that follows it held.

    The account is made up: it began with nothing, and pays what the agent learned that trading costs.

    Attributes:
        time_ns: open times of the bars, ns UTC, ascending, at least one.
        target: weights chosen at their closes, share of the equity.
        held: until then.
        age: bars since the account began.
    """

    time_ns: tuple[int, ...]
    target: tuple[float, ...]
    held: tuple[float, ...]
    age: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a model says at the close of one bar.

    Attributes:
        bar_open_ns: open time of the newest closed bar, ns UTC.
        close: its price, quote currency.
        forecast: None while there are too few bars, and of an agent.
        bars: closed bars without a gap that it has seen, no more than `needed` are counted.
        needed: how many it takes for a forecast or a decision.
        outcomes: of past forecasts; None before the first that counts.
        weights: of an agent; None while there are too few bars.
    """

    bar_open_ns: int
    close: float
    forecast: Forecast | None
    bars: int
    needed: int
    outcomes: Outcomes | None = None
    weights: AgentWeights | None = None

    @property
    def speaks(self) -> bool:
        """Whether there were enough bars for it to say something."""
        return self.forecast is not None or self.weights is not None
