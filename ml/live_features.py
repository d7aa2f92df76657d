"""The features of a stored model's market bar by bar, as live trading meets them. One thread at a time; no torch."""

from __future__ import annotations

import numpy as np

from core.domain.candles import Candle, Timeframe
from ml.api import DataRange, FeatureSpec
from ml.arrays import FloatArray
from ml.features import StreamingFeatures, pipeline_for


class LiveFeatures:
    """Features of one market.

    Attributes:
        timeframe: of its bars.
        pipeline: that computes them.
    """

    def __init__(self, model_id: str, data: DataRange, features: FeatureSpec, digest: str) -> None:
        """Prepare the pipeline.

        Args:
            model_id: of the model they are for.
            data: what it was trained on.
            features / digest: what it sees of a bar, and the identity of that computation.

        Raises:
            UserError: this program computes the features differently.
        """
        self._model_id, self._symbol = model_id, data.symbol
        self.timeframe = Timeframe(data.timeframe)
        self.pipeline = pipeline_for(features, digest, self.timeframe)
        self._stream = StreamingFeatures(self.pipeline, self.timeframe.ns)

    @property
    def other_inputs(self) -> tuple[str, ...]:
        """Markets and series that the features look at beside the market's own bars."""
        return (*self.pipeline.markets, *self.pipeline.series)

    def reset(self) -> None:
        """Forget every bar."""
        self._stream.reset()

    def check(self, candle: Candle) -> None:
        """Raise `ValueError` for a bar that is not final, or of another market."""
        if not candle.final:
            raise ValueError("a model sees closed bars only")
        if candle.symbol != self._symbol or candle.timeframe is not self.timeframe:
            raise ValueError(
                f"model {self._model_id} knows {self._symbol} {self.timeframe.value}, "
                f"not {candle.symbol} {candle.timeframe.value}"
            )

    def leaves_gap(self, candle: Candle) -> bool:
        """Return whether bars are missing between the last one and this."""
        last = self._stream.last_time_ns
        return last is not None and candle.open_time_ns > last + self.timeframe.ns

    def keep(self, candle: Candle) -> None:
        """Feed a bar whose features nobody asks for."""
        self._stream.push(candle)

    def push(self, candle: Candle) -> FloatArray | None:
        """Feed the next closed bar and return its features, or None while there are too few bars.

        Raises:
            ValueError: the bar does not follow the last one, or its features are no numbers.
        """
        row = self._stream.push(candle)
        if row is not None and not np.isfinite(row).all():
            raise ValueError(f"bar {candle.open_time_ns} gives features that are not finite")
        return row
