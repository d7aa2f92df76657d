"""Named, versioned feature sets: candles in, scale-free causal numbers out. Any thread; no torch, no pandas.

One function serves training, backtest and live trading: the batch computes it over the whole history, the stream over
a buffer just long enough, and both give the same numbers because every indicator has a finite window. Rows whose
window would cross a missing bar are not complete and are masked out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import FeatureSpec
from ml.arrays import Float32Array, FloatArray
from ml.feature_pipeline import FeaturePipeline
from ml.feature_sources import MarketHistory, PointSeries, bars_since_gap, load_point_series
from ml.feature_stream import StreamingFeatures
from ml.jsonvalues import JsonValue

__all__ = [
    "FeaturePipeline",
    "MarketHistory",
    "PointSeries",
    "RobustScaler",
    "Scaling",
    "StreamingFeatures",
    "TargetUnit",
    "bars_since_gap",
    "load_point_series",
    "pipeline_for",
    "row_hash",
]


@dataclass(frozen=True, slots=True)
class RobustScaler(JsonValue):
    """Centres by the median, scales by the interquartile range, clips; fitted on the training part only.

    Attributes:
        names: columns it was fitted on.
        center / scale: one number per column.
        clip: largest absolute value let through.
    """

    names: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    clip: float = 6.0

    @classmethod
    def fit(cls, matrix: FloatArray, names: tuple[str, ...]) -> Self:
        """Fit on complete rows, shape (n, len(names)).

        Raises:
            ValueError: the rows are empty or not finite.
        """
        if not len(matrix) or not np.isfinite(matrix).all():
            raise ValueError("a scaler is fitted on complete, finite rows")
        low, middle, high = np.quantile(matrix, (0.25, 0.5, 0.75), axis=0)
        spread = (high - low) / 1.349  # equals the standard deviation of a normal variable
        spread = np.where(spread > 1e-9, spread, matrix.std(axis=0))
        spread = np.where(spread > 1e-9, spread, 1.0)  # a constant column stays constant
        return cls(names, tuple(middle.tolist()), tuple(spread.tolist()))

    def transform(self, matrix: FloatArray) -> Float32Array:
        """Return scaled rows, float32, same shape; incomplete rows (NaN) become zero rows."""
        scaled = (matrix - np.asarray(self.center)) / np.asarray(self.scale)
        filled: Float32Array = np.nan_to_num(np.clip(scaled, -self.clip, self.clip), nan=0.0).astype(np.float32)
        return filled


def row_hash(row: Float32Array) -> str:
    """Return a short hash of one scaled feature row: the evidence kept with each forecast."""
    return hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest()


def pipeline_for(spec: FeatureSpec, digest: str, timeframe: Timeframe | None = None) -> FeaturePipeline:
    """Build the pipeline a model was trained with.

    Raises:
        UserError: this version of the program computes that feature set differently.
    """
    pipeline = FeaturePipeline(spec, timeframe)
    if pipeline.digest != digest:
        raise UserError(
            f"The model was trained with another form of the feature set {spec.name!r}.",
            "Train it again with this version of the program.",
        )
    return pipeline


@dataclass(frozen=True, slots=True)
class TargetUnit(JsonValue):
    """The unit of the network's outputs at each bar: recent volatility over the horizon, with a floor.

    A network that learns in these units carries over from wild years to calm ones.

    Attributes:
        horizons: bars ahead, ascending.
        floor: smallest volatility used, log return per bar; a share of the training part's median.
        scales: standard deviation of the training targets in units of volatility, one per horizon.
    """

    horizons: tuple[int, ...]
    floor: float
    scales: tuple[float, ...]

    def at(self, volatility: FloatArray) -> FloatArray:
        """Return the unit in log return over each horizon for realised volatilities (n,), shape (n, H)."""
        factors = np.asarray(self.scales) * np.sqrt(np.asarray(self.horizons, np.float64))
        unit: FloatArray = np.maximum(volatility, self.floor)[:, None] * factors
        return unit


@dataclass(frozen=True, slots=True)
class Scaling(JsonValue):
    """Content of scaler.json: how numbers enter the network and what its outputs mean."""

    inputs: RobustScaler
    target: TargetUnit
