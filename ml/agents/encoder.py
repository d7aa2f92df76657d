"""What the encoder of an agent says of each bar: columns beside the features. Any thread; numpy, no torch.

An encoder is a stored forecaster. It is run as when it trades: the exported network, bar by bar, with its state carried
and begun anew after each gap. Until that state has built up it says nothing.
"""

from __future__ import annotations

import numpy as np

from core.domain.candles import Candle, Timeframe
from ml.agents.run_spec import EncoderSpec
from ml.arrays import Float32Array
from ml.features import StreamingFeatures, pipeline_for
from ml.inference import Forecasts, OnnxForecaster, RecurrentState
from ml.model_storage import StoredModel


def encoder_names(encoder: StoredModel, spec: EncoderSpec) -> tuple[str, ...]:
    """Return the names of the columns that an encoder adds."""
    model = encoder.spec.model
    members, units = range(encoder.spec.evaluation.seeds), range(model.hidden_size)
    names = [f"state_{member}_{unit}" for member in members for unit in units] if spec.embedding else []
    if spec.quantiles:
        names += [f"quantile_{horizon}_{level:g}" for horizon in model.horizons for level in model.quantile_levels]
    return tuple(names)


def encoder_row(said: Forecasts, state: RecurrentState, encoder: StoredModel, spec: EncoderSpec) -> Float32Array:
    """Return an encoder's columns of one bar, shape (E,).

    Args:
        said: of that bar alone, in units of recent volatility.
        state: after it; the last layer's of each member is the embedding.
    """
    layers = state[0].shape[0] // encoder.spec.evaluation.seeds
    seen = [state[0][layers - 1 :: layers, 0].ravel()] if spec.embedding else []
    seen += [said.quantiles[0].ravel()] if spec.quantiles else []
    return np.concatenate(seen).astype(np.float32)


class StreamingEncoder:
    """The columns bar by bar. One thread at a time.

    Attributes:
        names: of the columns.
        other_inputs: markets and series that the forecaster looks at beside its own bars.
        warm_up: bars before the first that it says something of.
    """

    def __init__(self, encoder: StoredModel, spec: EncoderSpec) -> None:
        """Prepare features and network.

        Raises:
            UserError: this program computes the forecaster's features differently, or cannot run its network.
        """
        timeframe = Timeframe(encoder.spec.data.timeframe)
        pipeline = pipeline_for(encoder.spec.features, encoder.feature_digest, timeframe)
        self.names = encoder_names(encoder, spec)
        self.other_inputs = (*pipeline.markets, *pipeline.series)
        self._burn_in = encoder.spec.training.burn_in
        self.warm_up = pipeline.warm_up + self._burn_in
        self._encoder, self._spec = encoder, spec
        self._stream = StreamingFeatures(pipeline, timeframe.ns)
        self._forecaster = OnnxForecaster(encoder.onnx)
        self._state: RecurrentState = self._forecaster.initial_state()
        self._rows_seen = 0

    def reset(self) -> None:
        """Forget every bar."""
        self._stream.reset()
        self._begin_anew()

    def push(self, candle: Candle) -> Float32Array | None:
        """Feed the next closed bar and return its columns, shape (E,), or None while it says nothing.

        Raises:
            ValueError: the bar is not final or not newer than the last one, or the network gives no numbers.
        """
        row = self._stream.push(candle)
        if row is None:
            self._begin_anew()
            return None
        inputs = self._encoder.scaling.inputs.transform(row[None])
        said, self._state = self._forecaster.run(inputs, self._state)
        self._rows_seen += 1
        columns = encoder_row(said, self._state, self._encoder, self._spec)
        if not np.isfinite(columns).all():
            raise ValueError(f"the encoder says of bar {candle.open_time_ns} what is not finite")
        return columns if self._rows_seen > self._burn_in else None

    def _begin_anew(self) -> None:
        self._state = self._forecaster.initial_state()
        self._rows_seen = 0
