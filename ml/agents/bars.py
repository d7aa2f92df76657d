"""From a history of bars to what an agent learns on: features, encoder, stretches of each part. Training child only.

The encoder is run as it will be when the agent trades, see `ml.agents.encoder`: where it says nothing yet, there is
nothing for an agent to see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.agents.encoder import encoder_names, encoder_row
from ml.agents.market_tensor import MarketTensor, Stretch, from_dataset, part_stretches
from ml.agents.run_spec import AgentSpec, EncoderSpec
from ml.arrays import BoolArray, Float32Array, FloatArray
from ml.dataset import ForecastDataset, Part, build_dataset, contiguous_stretches
from ml.features import MarketHistory, pipeline_for
from ml.inference import OnnxForecaster
from ml.model_storage import StoredModel

_ASKED_EVERY = 2_000  # bars


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What an encoder says of bars.

    Attributes:
        names: of its columns, E.
        columns: float32, shape (n, E); zero where not `known`.
        known: rows at which its state has built up, shape (n,).
        forecast: median log return over its first horizon, shape (n,); 0 where not `known`.
    """

    names: tuple[str, ...]
    columns: Float32Array
    known: BoolArray
    forecast: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class AgentBars:
    """Everything an agent learns on and is judged on.

    Attributes:
        data: features, scaler and split.
        frame: the bars.
        market: the same on tensors.
        train / valid / test: what may be walked through in each part.
        encoded: of the encoder; None without one.
    """

    data: ForecastDataset
    frame: CandleFrame
    market: MarketTensor
    train: tuple[Stretch, ...]
    valid: tuple[Stretch, ...]
    test: tuple[Stretch, ...]
    encoded: Encoded | None

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """Columns of the encoder."""
        return () if self.encoded is None else self.encoded.names


def agent_bars(
    history: MarketHistory,
    spec: AgentSpec,
    encoder: StoredModel | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> AgentBars:
    """Compute features and the encoder's columns, split, and scale.

    Args:
        history: bars, with other markets and series where features look at them.
        spec: of the run.
        encoder: the model that it names; None where it names none.
        check_stop: called now and then; raises to stop.

    Raises:
        UserError: too few bars in a part, or an encoder that does not fit, or that has seen what is judged.
    """
    data = build_dataset(history, spec.bars)
    encoded = None
    if encoder is not None:
        _require_fitting(encoder, spec, data)
        encoded = encode_bars(history, encoder, spec.encoder, check_stop)
    market = from_dataset(
        data,
        history.frame,
        columns=None if encoded is None else encoded.columns,
        column_names=() if encoded is None else encoded.names,
        known=None if encoded is None else encoded.known,
    )
    window = spec.environment.window

    def part(name: str, rows: Part) -> tuple[Stretch, ...]:
        found = tuple(s for s in part_stretches(market.stretches, rows) if len(s) > window)
        if not found:
            raise UserError(
                f"The {name} has no {window + 1:,} bars without a gap, which a decision needs.",
                "Use a shorter window, repair the gaps, or choose other borders.",
            )
        return found

    return AgentBars(
        data=data,
        frame=history.frame,
        market=market,
        train=part("training part", data.train),
        valid=part("validation part", data.valid),
        test=part("test part", data.test),
        encoded=encoded,
    )


def encode_bars(
    history: MarketHistory, encoder: StoredModel, spec: EncoderSpec, check_stop: Callable[[], None] = lambda: None
) -> Encoded:
    """Return what a forecaster says of every bar, as it would have said it live.

    Raises:
        UserError: its features or its network cannot be used, or it looks at a market or series that is not there.
    """
    model = encoder.spec.model
    pipeline = pipeline_for(encoder.spec.features, encoder.feature_digest, Timeframe(encoder.spec.data.timeframe))
    rows = pipeline.rows(history)
    inputs = encoder.scaling.inputs.transform(rows.matrix)
    unit = encoder.scaling.target.at(np.where(rows.complete, pipeline.volatility(rows.matrix), 1.0))
    forecaster, burn_in = OnnxForecaster(encoder.onnx), encoder.spec.training.burn_in
    size, names = len(history.frame), encoder_names(encoder, spec)
    columns = np.zeros((size, len(names)), np.float32)
    known, forecast = np.zeros(size, np.bool_), np.zeros(size)
    middle = len(model.quantile_levels) // 2
    for start, stop in contiguous_stretches(rows.complete):
        state = forecaster.initial_state()
        for row in range(start, stop):
            if row % _ASKED_EVERY == 0:
                check_stop()
            said, state = forecaster.run(inputs[row : row + 1], state)
            columns[row] = encoder_row(said, state, encoder, spec)
            forecast[row] = said.quantiles[0, 0, middle] * unit[row, 0]
        known[start + burn_in : stop] = True
    columns[~known], forecast[~known] = 0.0, 0.0
    if not (np.isfinite(columns).all() and np.isfinite(forecast).all()):
        raise UserError(f"The encoder {encoder.model_id} gives numbers that are not finite.", "Train it again.")
    return Encoded(names, columns, known, forecast)


def _require_fitting(encoder: StoredModel, spec: AgentSpec, data: ForecastDataset) -> None:
    """Raise `UserError` unless the encoder is of this market and has not seen what decides about the agent."""
    own, other = spec.data, encoder.spec.data
    if (own.venue, own.symbol, own.timeframe) != (other.venue, other.symbol, other.timeframe):
        raise UserError(
            f"The encoder {encoder.model_id} knows {other.symbol} {other.timeframe}, not {own.symbol} {own.timeframe}.",
            "Choose one that was trained on the same market and bar length.",
        )
    split = encoder.manifest["split"]
    ahead_ns = encoder.spec.model.reach * Timeframe(other.timeframe).ns  # targets look so far ahead
    learned, chosen = (int(split[name]["last_open_ns"]) + ahead_ns for name in ("train", "valid"))
    valid_ns, test_ns = int(data.time_ns[data.valid.start]), int(data.time_ns[data.test.start])
    if learned >= valid_ns or chosen >= test_ns:
        raise UserError(
            f"The encoder {encoder.model_id} has learned from bars that the agent is to be judged on.",
            "Train it on the same split, or choose later borders.",
        )
