"""Live forecasts from a stored model. Runs on the executor's thread; ONNX Runtime, no torch and no pandas.

The recurrent state is carried from bar to bar, so one step costs one cell evaluation. Features come from the same
pipeline as in training, fed bar by bar. After a missing bar the state starts anew: the model never saw such a jump.
A predictor may be fed from any thread: bars take their turns, so that no state ever mixes two of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.signals import Forecast, HorizonRange
from core.errors import UserError
from core.strategies.predictor import Predictor
from ml.arrays import Float32Array, FloatArray, IntArray
from ml.dataset import ForecastDataset, contiguous_stretches
from ml.features import bars_since_gap, row_hash
from ml.live_features import LiveFeatures
from ml.model_storage import StoredModel, load_model

# Bars given to a network at once, and to nothing but these: what a foreign network was seen to need for so many bars
# is what it will ever need. Larger pieces are no faster.
PIECES = (256, 16, 1)

_SMALLEST_STD = 1e-12
_CANNOT_BE_RUN = ("The network of this model cannot be run.", "Train it again.")


RecurrentState = tuple[Float32Array, ...]  # h, and for an LSTM c: float32, shapes (members x layers, 1, hidden)


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """What a network says about contiguous bars.

    Attributes:
        quantiles: shape (T, H, Q); in units of `TargetUnit` or log return, as the function that gives it says.
        probabilities: chances of down, flat and up, shape (T, H, 3); None where the network has no such head.
    """

    quantiles: FloatArray
    probabilities: FloatArray | None


def open_session(onnx: bytes) -> Any:
    """Return an `onnxruntime.InferenceSession` with one thread.

    Raises:
        UserError: the bytes are no model this program can run.
    """
    import onnxruntime  # 0.1 s and 20 MB: only where a model is used

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as exc:
        # The runtime has a dozen exception types without a common public base; all mean the same here.
        raise UserError(*_CANNOT_BE_RUN) from exc


def pieces(bars: int) -> Iterator[tuple[int, int]]:
    """Yield first and one past the last bar of each piece that a network is given at once."""
    start = 0
    for size in PIECES:
        while bars - start >= size:
            yield start, start + size
            start += size


def _joined(parts: Sequence[Forecasts]) -> Forecasts:
    if len(parts) == 1:  # as for every bar of live trading
        return parts[0]
    chances = [part.probabilities for part in parts if part.probabilities is not None]
    return Forecasts(np.concatenate([part.quantiles for part in parts]), np.concatenate(chances) if chances else None)


class OnnxForecaster:
    """An exported network in ONNX Runtime with one thread."""

    def __init__(self, onnx: bytes) -> None:
        """Open the model.

        Raises:
            UserError: the bytes are no model this program can run.
        """
        self._session = open_session(onnx)
        try:
            shapes = {value.name: value.shape for value in self._session.get_inputs()}
            self._outputs = [value.name for value in self._session.get_outputs()]
            self._state_names = [name for name in ("h0", "c0") if name in shapes]
            self._state_shape = (int(shapes["h0"][0]), 1, int(shapes["h0"][2]))
            self._has_probabilities = "probabilities" in self._outputs
            self.features = int(shapes["x"][2])
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise UserError(*_CANNOT_BE_RUN) from exc

    def initial_state(self) -> RecurrentState:
        """Return the zero state."""
        return tuple(np.zeros(self._state_shape, np.float32) for _ in self._state_names)

    def run(self, inputs: Float32Array, state: RecurrentState) -> tuple[Forecasts, RecurrentState]:
        """Forecast contiguous bars, in `PIECES` with the state carried.

        Args:
            inputs: scaled features, shape (T, F), at least one bar.
            state: before the first of them.

        Returns:
            Forecasts in units of `TargetUnit`, and the state after the last bar.
        """
        parts: list[Forecasts] = []
        for start, stop in pieces(len(inputs)):
            part, state = self._run_piece(inputs[start:stop], state)
            parts.append(part)
        return _joined(parts), state

    def _run_piece(self, inputs: Float32Array, state: RecurrentState) -> tuple[Forecasts, RecurrentState]:
        given = {"x": inputs[None], **dict(zip(self._state_names, state, strict=True))}
        results = self._session.run(self._outputs, given)
        forecasts = 2 if self._has_probabilities else 1
        chances = results[1][0].astype(np.float64) if self._has_probabilities else None
        # Rounding in the mean of several networks must not let neighbours cross.
        quantiles = np.maximum.accumulate(results[0][0].astype(np.float64), axis=-1)
        return Forecasts(quantiles, chances), tuple(results[forecasts:])


class SequenceForecaster(Protocol):
    """What can forecast contiguous bars with a carried state."""

    def initial_state(self) -> RecurrentState:
        """Return the zero state."""
        ...

    def run(self, inputs: Float32Array, state: RecurrentState) -> tuple[Forecasts, RecurrentState]:
        """Forecast contiguous bars, as `OnnxForecaster.run` does."""
        ...


def forecast_rows(
    forecaster: SequenceForecaster, data: ForecastDataset, start: int, stop: int, burn_in: int
) -> tuple[IntArray, Forecasts]:
    """Forecast rows of a dataset as live trading would: state carried, started anew after each gap.

    Returns:
        The rows with a forecast and a target, shape (n,), and log return quantiles and chances of these rows.
    """
    usable = data.has_input.copy()
    usable[:start] = False
    usable[stop:] = False
    rows, quantiles, chances = [np.zeros(0, np.int64)], [], []
    for begin, end in contiguous_stretches(usable):
        result, _ = forecaster.run(data.inputs[begin:end], forecaster.initial_state())
        index = np.arange(begin + burn_in, end)
        index = index[data.has_target[index]]
        rows.append(index)
        quantiles.append(result.quantiles[index - begin] * data.unit[index, :, None])
        if result.probabilities is not None:
            chances.append(result.probabilities[index - begin])
    return np.concatenate(rows), Forecasts(np.concatenate(quantiles), np.concatenate(chances) if chances else None)


class OnnxPredictor:
    """A stored model bound to its market; implements `core.strategies.predictor.Predictor`."""

    def __init__(self, stored: StoredModel) -> None:
        """Prepare features and network.

        Raises:
            UserError: this program computes the model's features differently, or cannot run its network.
        """
        spec = stored.spec
        self._stored = stored
        self._features = LiveFeatures(stored.model_id, spec.data, spec.features, stored.feature_digest)
        self._pipeline, self._timeframe = self._features.pipeline, self._features.timeframe
        missing = self._features.other_inputs
        if missing:
            raise UserError(
                f"The model also looks at {', '.join(missing)}, which strategies do not receive.",
                "Use a model whose features are made of its own market's bars.",
            )
        self._forecaster = OnnxForecaster(stored.onnx)
        self._state = self._forecaster.initial_state()
        self._rows_seen = 0
        self._turn = threading.RLock()  # one bar at a time, with everything it changes

    @property
    def model_id(self) -> str:
        """Content hash of the model package."""
        return self._stored.model_id

    @property
    def symbol(self) -> str:
        """Market the model was trained on."""
        return self._stored.spec.data.symbol

    @property
    def timeframe(self) -> Timeframe:
        """Bar length the model was trained on."""
        return self._timeframe

    @property
    def warm_up_bars(self) -> int:
        """Closed bars needed before the first forecast: feature windows, then the burn-in of the state."""
        return self._pipeline.warm_up + self._stored.spec.training.burn_in + 1

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        """Reset the state and feed closed history, oldest first; bars before the last gap are ignored.

        Returns:
            The forecast at the last bar, or None while there are too few bars.

        Raises:
            ValueError: a bar is not final, of another market, or out of order.
        """
        with self._turn:
            return self._warm_up(candles)

    def _warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        self._reset()
        for candle in candles:
            self._features.check(candle)
        frame = CandleFrame.from_candles(candles, self.symbol, self._timeframe)
        if not len(frame):
            return None
        if np.any(np.diff(frame.time_ns) <= 0):
            raise ValueError("the history is not in ascending order")
        run = int(bars_since_gap(frame.time_ns, self._timeframe.ns)[-1]) + 1
        frame = frame.slice(len(frame) - run)
        # All but the newest bar at once; the newest takes the live path.
        matrix = self._pipeline.compute(frame)[self._pipeline.warm_up : -1]
        if len(matrix):
            _, self._state = self._forecaster.run(self._stored.scaling.inputs.transform(matrix), self._state)
            self._rows_seen = len(matrix)
        recent = candles[-min(run, self._pipeline.warm_up + 1) :]
        for candle in recent[:-1]:
            self._features.keep(candle)
        return self.update(recent[-1])

    def update(self, candle: Candle) -> Forecast | None:
        """Feed the next closed bar.

        Returns:
            The forecast at its close, or None while warming up, also after a gap.

        Raises:
            ValueError: the bar is not final, of another market, or does not follow the last one.
        """
        with self._turn:
            return self._update(candle)

    def _update(self, candle: Candle) -> Forecast | None:
        self._features.check(candle)
        if self._features.leaves_gap(candle):
            self._reset()
        row = self._features.push(candle)
        if row is None:
            return None
        inputs = self._stored.scaling.inputs.transform(row[None])
        forecasts, self._state = self._forecaster.run(inputs, self._state)
        if not np.isfinite(forecasts.quantiles).all():
            raise ValueError(f"bar {candle.open_time_ns} gives forecasts that are not finite")
        self._rows_seen += 1
        if self._rows_seen <= self._stored.spec.training.burn_in:
            return None
        unit = self._stored.scaling.target.at(self._pipeline.volatility(row[None]))[0]
        return self._forecast(candle, inputs[0], forecasts.quantiles[0] * unit[:, None])

    def _forecast(self, candle: Candle, inputs: Float32Array, quantiles: FloatArray) -> Forecast:
        """Return the forecast of the horizon that trades; quantiles in log return, shape (H, Q)."""
        spec = self._stored.spec.model
        values = tuple(quantiles[0].tolist())
        ranges = zip(spec.horizons, quantiles.tolist(), strict=True)
        spread = self._stored.metrics.forecast_std
        return Forecast(
            symbol=self.symbol,
            bar_open_ns=candle.open_time_ns,
            horizon_bars=spec.horizon_bars,
            quantile_levels=spec.quantile_levels,
            quantiles=values,
            # A model whose forecasts never moved has no view of any strength.
            z_score=values[len(values) // 2] / spread if spread > _SMALLEST_STD else 0.0,
            model_id=self.model_id,
            feature_hash=row_hash(inputs),
            fan=tuple(HorizonRange(bars, tuple(row)) for bars, row in ranges),
        )

    def _reset(self) -> None:
        self._features.reset()
        self._state = self._forecaster.initial_state()
        self._rows_seen = 0


def load_predictor(models_dir: Path, model_id: str) -> Predictor:
    """Load and verify a stored model; with `functools.partial` over the folder it is a `PredictorLoader`.

    Raises:
        UserError: no such model, or the package is damaged or does not fit this program.
    """
    return OnnxPredictor(load_model(models_dir, model_id))
