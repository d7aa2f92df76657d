"""From a history of bars to what an agent learns on: features, encoder, stretches of each part. Training child only.

Several markets are scaled alike, by what all their training bars together are like: one network sees all of them. They
are split at the same times, so that no market's training bars know what another's judged ones bring. A stretch is of
one market.

The encoder is run as it will be when the agent trades, see `ml.agents.encoder`: where it says nothing yet, there is
nothing for an agent to see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.accounting.rules import MarketRules
from core.clock import to_datetime
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.agents.encoder import encoder_names, encoder_row
from ml.agents.market_tensor import MarketTensor, Stretch, from_dataset, joined, moved, part_stretches
from ml.agents.run_spec import AgentSpec, EncoderSpec
from ml.arrays import BoolArray, Float32Array, FloatArray, IntArray
from ml.dataset import ForecastDataset, Part, PreparedBars, contiguous_stretches, divide_bars, joint_scaling
from ml.features import MarketHistory, PointSeries, pipeline_for
from ml.inference import OnnxForecaster
from ml.model_storage import StoredModel

_ASKED_EVERY = 2_000  # bars
_PART_NAMES = ("training part", "validation part", "test part")
_LONGEST_FUNDING_NS = 8 * 3_600 * 10**9
_FUNDING_LATE_NS = 30 * 10**9  # venues date a payment some milliseconds after the full hour


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
class MarketInput:
    """What is known of a market before anything is computed.

    Attributes:
        history: its bars, with other markets and series where features look at them.
        funding: rates when they are due; None where there are none.
        rules: how it rounds, and its smallest order.
    """

    history: MarketHistory
    funding: PointSeries | None = None
    rules: MarketRules | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MarketBars:
    """One market of a run.

    Attributes:
        data: features and split; the scaler is that of all markets.
        frame: the bars.
        first_row: of them among those of all markets.
    """

    data: ForecastDataset
    frame: CandleFrame
    first_row: int


@dataclass(frozen=True, slots=True, eq=False)
class AgentBars:
    """Everything an agent learns on and is judged on.

    Attributes:
        markets: that of the specification first.
        market: all of them on tensors, one behind the other.
        train / valid / test: what may be walked through in each part.
        encoded: of the encoder; None without one.
    """

    markets: tuple[MarketBars, ...]
    market: MarketTensor
    train: tuple[Stretch, ...]
    valid: tuple[Stretch, ...]
    test: tuple[Stretch, ...]
    encoded: Encoded | None

    @property
    def data(self) -> ForecastDataset:
        """Features, scaler and split of the specification's market."""
        return self.markets[0].data

    @property
    def frame(self) -> CandleFrame:
        """Bars of the specification's market."""
        return self.markets[0].frame

    @property
    def time_ns(self) -> IntArray:
        """Open time of the bar of each row of all markets, ns UTC."""
        return np.concatenate([each.frame.time_ns for each in self.markets])

    @property
    def spans_ns(self) -> dict[str, tuple[int, int]]:
        """Open times of the first and the last bar of each part in any of the markets, ns UTC.

        They are split at the same times, but where one of them lacks bars, its part begins later or ends earlier.
        """
        found = {}
        for name in ("train", "valid", "test"):
            parts = [(each.frame.time_ns, getattr(each.data, name)) for each in self.markets]
            first = min(int(times[part.start]) for times, part in parts)
            found[name] = (first, max(int(times[part.stop - 1]) for times, part in parts))
        return found

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
    """Return `universe_bars` of one market."""
    return universe_bars([MarketInput(history)], spec, encoder, check_stop)


def universe_bars(
    inputs: Sequence[MarketInput],
    spec: AgentSpec,
    encoder: StoredModel | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> AgentBars:
    """Compute features and the encoder's columns, split, and scale.

    Args:
        inputs: the markets, that of the specification first.
        spec: of the run.
        encoder: the model that it names; None where it names none, as where there are several markets.
        check_stop: called now and then; raises to stop.

    Raises:
        UserError: too few bars in a part, funding that is not known for all bars, or an encoder that does not fit, or
            that has seen what is judged.
    """
    datasets = _divided(inputs, spec, check_stop)
    encoded = None
    if encoder is not None:
        _require_fitting(encoder, spec, datasets[0])
        encoded = encode_bars(inputs[0].history, encoder, spec.encoder, check_stop)
    tensors, markets = list[MarketTensor](), list[MarketBars]()
    parts: tuple[list[Stretch], ...] = ([], [], [])
    first_row = 0
    for index, (each, data) in enumerate(zip(inputs, datasets, strict=True)):
        tensor = _tensor(each, data, encoded)
        for part, rows, name in zip(parts, (data.train, data.valid, data.test), _PART_NAMES, strict=True):
            found = usable_stretches(tensor, rows, name, spec.environment.window)
            part += moved(found, first_row, index)
        tensors.append(tensor)
        markets.append(MarketBars(data, each.history.frame, first_row))
        first_row += len(tensor)
    train, valid, test = (tuple(part) for part in parts)
    return AgentBars(tuple(markets), joined(tensors), train, valid, test, encoded)


def _divided(
    inputs: Sequence[MarketInput], spec: AgentSpec, check_stop: Callable[[], None]
) -> tuple[ForecastDataset, ...]:
    """Return the features of each market, split at the same times and scaled alike."""
    asked, found = spec.bars, list[tuple[PreparedBars, tuple[Part, Part, Part]]]()
    for each in inputs:
        check_stop()
        try:
            prepared, parts = divide_bars(each.history, asked)
        except UserError as exc:
            if len(inputs) == 1:
                raise
            raise UserError(f"The bars of {each.history.frame.symbol} do not fit this run.", exc.message) from exc
        if asked.split.borders_ns is None:
            borders = [to_datetime(int(each.history.frame.time_ns[part.start])).isoformat() for part in parts[1:]]
            asked = replace(asked, split=replace(asked.split, valid_from=borders[0], test_from=borders[1]))
        found.append((prepared, parts))
    scaling = joint_scaling([(prepared, parts[0]) for prepared, parts in found])
    return tuple(prepared.divided(*parts, scaling) for prepared, parts in found)


def _tensor(each: MarketInput, data: ForecastDataset, encoded: Encoded | None) -> MarketTensor:
    frame = each.history.frame
    return from_dataset(
        data,
        frame,
        columns=None if encoded is None else encoded.columns,
        column_names=() if encoded is None else encoded.names,
        known=None if encoded is None else encoded.known,
        funding_rate=None if each.funding is None else funding_of_bars(each.funding, frame),
        rules=each.rules,
    )


def usable_stretches(market: MarketTensor, rows: Part, name: str, window: int) -> tuple[Stretch, ...]:
    """Return what of a market may be walked through in a part.

    Raises:
        UserError: nothing.
    """
    found = tuple(s for s in part_stretches(market.stretches, rows) if len(s) > window)
    if not found:
        raise UserError(
            f"The {name} has no {window + 1:,} bars without a gap, which a decision needs.",
            "Use a shorter window, repair the gaps, or choose other borders.",
        )
    return found


def funding_of_bars(rates: PointSeries, frame: CandleFrame) -> FloatArray:
    """Return the rate that each bar's opening brings to who holds a position then, shape (n,).

    What falls due between two openings is paid at the second of them, by the position that was held meanwhile.

    Raises:
        UserError: the rates do not cover the bars: what nobody knows is not free.
    """
    due, last = rates.known_ns, int(frame.time_ns[-1])
    _require_covered(due, int(frame.time_ns[0]), last, frame.symbol)
    bar = np.searchsorted(frame.time_ns, due - _FUNDING_LATE_NS)
    inside = (bar < len(frame)) & (due >= frame.time_ns[0])
    return np.bincount(bar[inside], weights=rates.value[inside], minlength=len(frame)).astype(np.float64)


def _require_covered(due: IntArray, first: int, last: int, symbol: str) -> None:
    """Raise `UserError` where a rate may be missing between two times, ns UTC."""
    apart = np.diff(due)
    usual = int(np.median(apart)) + _FUNDING_LATE_NS if len(apart) else 0
    touched = (due[:-1] < last) & (due[1:] > first)
    gap = int(apart[touched].max()) if touched.any() else 0
    ends = len(apart) > 0 and due[0] - first <= usual and last - due[-1] <= usual
    if not ends or gap > max(2 * usual, _LONGEST_FUNDING_NS):
        told = " to ".join(f"{to_datetime(int(time)):%Y-%m-%d}" for time in (first, last))
        raise UserError(
            f"The funding rates of {symbol} do not cover all its bars, {told}.",
            "Choose a range that they cover, or another file.",
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
