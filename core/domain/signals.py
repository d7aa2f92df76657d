"""Forecasts and signals: what a model expects and what a strategy wants. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HorizonRange:
    """Log returns a model expects over `horizon_bars` bars, one at each of its quantile levels."""

    horizon_bars: int
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """A model's view of the next `horizon_bars` bars, made at the close of one bar.

    Attributes:
        symbol: unified symbol.
        bar_open_ns: open time of the last (closed) bar seen, ns UTC.
        horizon_bars: bars ahead.
        quantile_levels: e.g. (0.1, 0.5, 0.9), ascending.
        quantiles: log return at each level over the horizon.
        z_score: median divided by the standard deviation of the model's validation forecasts: strength of the view.
        model_id: content hash of the model package.
        feature_hash: hash of the feature row the model saw.
        fan: the same for every horizon of the model, the nearest first; for the eye only, empty where it is not known.
    """

    symbol: str
    bar_open_ns: int
    horizon_bars: int
    quantile_levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    z_score: float
    model_id: str
    feature_hash: str
    fan: tuple[HorizonRange, ...] = ()

    @property
    def median(self) -> float:
        """Median log return over the horizon."""
        return self.quantiles[len(self.quantiles) // 2]


@dataclass(frozen=True, slots=True)
class Signal:
    """What a strategy wants to hold.

    Attributes:
        owner: strategy id.
        target_weight: fraction of the strategy's capital to hold in the base currency, 0…1 on spot.
        reference_price: close the decision was made at.
        reason: one sentence.
    """

    owner: str
    symbol: str
    target_weight: float
    reference_price: float
    bar_open_ns: int
    reason: str
    model_id: str = ""
    feature_hash: str = ""
    forecast: float | None = None
