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
    """

    model_id: str
    symbol: str
    timeframe: str
    origin: DataOrigin
    foreign: bool


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
class Outlook:
    """What a model says at the close of one bar.

    Attributes:
        bar_open_ns: open time of the newest closed bar, ns UTC.
        close: its price, quote currency.
        forecast: None while there are too few bars.
        bars: closed bars without a gap that it has seen, no more than `needed` are counted.
        needed: how many it takes for a forecast.
        outcomes: of past forecasts; None before the first that counts.
    """

    bar_open_ns: int
    close: float
    forecast: Forecast | None
    bars: int
    needed: int
    outcomes: Outcomes | None = None
