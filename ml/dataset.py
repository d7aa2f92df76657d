"""From candles to training tensors: targets, chronological split, contiguous segments. Any thread; numpy only.

Targets at bar t are the log returns from its close to the closes some horizons later, in units of the volatility known
at t times a constant of the training part. Neither a feature window nor a target nor a segment ever crosses a missing
bar, and between the parts lie at least the longest horizon and the purge.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.clock import to_datetime
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.data.importer import import_candles
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.api import STORE_SOURCE, DataRange, ForecastSpec, SplitSpec, minimum_bars
from ml.arrays import BoolArray, Float32Array, FloatArray, IntArray
from ml.feature_sources import sample_points
from ml.features import (
    FeaturePipeline,
    MarketHistory,
    RobustScaler,
    Scaling,
    TargetUnit,
    bars_since_gap,
    load_point_series,
)
from ml.held_moves import HeldMoves

_FLOOR_SHARE = 0.1  # of the median volatility: below it a bar would weigh more than ten ordinary ones
_STILL = 1e-7  # log return per bar
_FEWEST = 30  # bars that a part must be able to use


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `start` <= t < `stop` whose targets belong to one part of the split.

    Attributes:
        start / stop: of the rows.
        left_out: half-open intervals of rows within them that belong to another part or to none, ascending.
    """

    start: int
    stop: int
    left_out: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, intervals: Sequence[tuple[int, int]]) -> Part:
        """Return the part made of these half-open intervals of rows, ascending, at least one."""
        holes = tuple((before[1], after[0]) for before, after in itertools.pairwise(intervals))
        return cls(intervals[0][0], intervals[-1][1], tuple(hole for hole in holes if hole[0] < hole[1]))

    def mask(self, size: int) -> BoolArray:
        """Return membership, shape (size,)."""
        inside = np.zeros(size, np.bool_)
        inside[self.start : self.stop] = True
        for start, stop in self.left_out:
            inside[start:stop] = False
        return inside


@dataclass(frozen=True, slots=True, eq=False)
class ForecastDataset:
    """Everything a trainer or an evaluator reads; rows are bars.

    Attributes:
        inputs: scaled features, float32, shape (n, F); zero rows where not `has_input`.
        has_input: complete feature rows, shape (n,).
        has_target: complete rows whose targets all exist, shape (n,).
        log_return: targets, log return over each horizon, float64, shape (n, H), 0 where there is none.
        unit: of the network's outputs at each bar, log return, float64, shape (n, H).
        target: `log_return` / `unit`, float32, shape (n, H): what the network learns.
        log_close: logarithm of each close, shape (n,); time_ns: open time of each bar, ns UTC, shape (n,).
        volatility: realised, log return per bar, float64, shape (n,), 1 where not `has_input`.
        train / valid / test: the split.
        scaling: of inputs and targets, fitted on the training part.
        pipeline: what computed the features.
        horizons: bars ahead, ascending.
    """

    inputs: Float32Array
    has_input: BoolArray
    has_target: BoolArray
    log_return: FloatArray
    unit: FloatArray
    target: Float32Array
    log_close: FloatArray
    time_ns: IntArray
    volatility: FloatArray
    train: Part
    valid: Part
    test: Part
    scaling: Scaling
    pipeline: FeaturePipeline
    horizons: tuple[int, ...]

    def rows(self, part: Part) -> IntArray:
        """Return the rows of a part that have a target."""
        return np.flatnonzero(self.has_target & part.mask(len(self.has_target)))

    @property
    def still(self) -> float:
        """Return the share of the training targets that are exactly 0, at the horizon where that is most."""
        return float((self.log_return[self.rows(self.train)] == 0.0).mean(axis=0).max())

    def held(self, rows: IntArray, part: Part) -> HeldMoves:
        """Return what the price does while what is decided at judged rows of a part is held."""
        return HeldMoves.between(self.log_close, self.time_ns, rows, part.left_out)


def load_bars(data: DataRange, candles_dir: Path) -> CandleFrame:
    """Read the closed bars a run asks for, from the candle store or a file.

    Raises:
        UserError: no such file or series, a damaged file, or nothing in the range.
    """
    timeframe = Timeframe(data.timeframe)
    if data.source == STORE_SOURCE:
        frame = CandleStore(candles_dir).read(data.origin, data.symbol, timeframe, data.start_ns, data.end_ns)
    else:
        imported = import_candles(Path(data.source), symbol=data.symbol, timeframe=timeframe)
        frame = imported.frame.between(data.start_ns, data.end_ns)
    frame = frame.finals()
    if not len(frame):
        raise UserError(
            f"There are no closed {data.timeframe} bars of {data.symbol} in that range.",
            "Import or fetch them, or choose another market or range.",
        )
    return frame


def load_history(data: DataRange, candles_dir: Path) -> MarketHistory:
    """Read the closed bars a run asks for with those of the other markets and the side series.

    Raises:
        UserError: as `load_bars`, for any of the markets, or a series that cannot be read.
    """
    return load_side_data(load_bars(data, candles_dir), data, candles_dir)


def load_side_data(frame: CandleFrame, data: DataRange, candles_dir: Path) -> MarketHistory:
    """Read what `load_history` returns beside the market's own bars.

    Raises:
        UserError: as `load_history`.
    """
    return MarketHistory(
        frame,
        tuple(load_bars(replace(data, symbol=symbol), candles_dir) for symbol in data.markets),
        tuple(load_point_series(Path(s.path), s.name, s.column, s.delay_s) for s in data.series),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedBars:
    """Features and targets before anything was fitted; rows are bars.

    Attributes:
        frame: the bars.
        matrix: unscaled features, float64, shape (n, F); not a number where not `has_input`.
        has_input / has_target / log_return / volatility / pipeline / horizons: as in `ForecastDataset`.
    """

    frame: CandleFrame
    matrix: FloatArray
    has_input: BoolArray
    has_target: BoolArray
    log_return: FloatArray
    volatility: FloatArray
    pipeline: FeaturePipeline
    horizons: tuple[int, ...]

    def target_rows(self) -> IntArray:
        """Return the rows that have a target, ascending."""
        return np.flatnonzero(self.has_target)

    def scaling(self, train: Part) -> Scaling:
        """Fit scaler and unit on the training part, and on nothing else.

        Raises:
            UserError: the price never moves there, or always alike.
        """
        return joint_scaling([(self, train)])

    def led_in_rows(self, part: Part, burn_in: int, before: int = 0) -> IntArray:
        """Return the rows of a part that have a target, and the burn-in's bars without a gap before them.

        Args:
            part: which targets count.
            burn_in: bars that only build up the state.
            before: so many of them may lie before the part.
        """
        inside = replace(part, start=max(0, part.start - before)).mask(len(self.frame))
        ready = np.zeros(len(self.frame), np.bool_)
        for begin, end in contiguous_stretches(self.has_input & inside):
            ready[max(begin + burn_in, part.start) : end] = True
        return np.flatnonzero(ready & self.has_target)

    def require_led_in(self, train: Part, valid: Part, tests: Sequence[Part], burn_in: int) -> None:
        """Refuse parts that could not be trained on, stopped by or judged for want of bars without a gap.

        Raises:
            UserError: one of them holds hardly any such bars.
        """
        lead_in = evaluation_lead_in(burn_in)
        wanted = [(train, burn_in, 0), (valid, lead_in, lead_in), *((test, burn_in, 4 * burn_in) for test in tests)]
        for part, bars, before in wanted:
            usable = len(self.led_in_rows(part, bars, before))
            if usable < _FEWEST:
                ends = (to_datetime(int(self.frame.time_ns[row])) for row in (part.start, part.stop - 1))
                first, last = (f"{end:%Y-%m-%d %H:%M}" for end in ends)
                raise UserError(
                    f"The part of the split from {first} to {last} UTC has only {usable:,} "
                    f"bars that follow {bars:,} complete bars without a gap, as the burn-in wants; it needs {_FEWEST}.",
                    "Use a shorter burn-in, repair the gaps, or choose other borders.",
                )

    def divided(self, train: Part, valid: Part, test: Part, scaling: Scaling) -> ForecastDataset:
        """Return the dataset of a split, scaled."""
        unit = scaling.target.at(self.volatility)
        return ForecastDataset(
            inputs=scaling.inputs.transform(self.matrix),
            has_input=self.has_input,
            has_target=self.has_target,
            log_return=self.log_return,
            unit=unit,
            target=(self.log_return / unit).astype(np.float32),
            log_close=np.log(self.frame.close),
            time_ns=self.frame.time_ns,
            volatility=self.volatility,
            train=train,
            valid=valid,
            test=test,
            scaling=scaling,
            pipeline=self.pipeline,
            horizons=self.horizons,
        )


def joint_scaling(markets: Sequence[tuple[PreparedBars, Part]]) -> Scaling:
    """Fit scaler and unit on the training parts of markets with the same features together, and on nothing else.

    Raises:
        UserError: the price never moves there, or always alike.
    """
    (first, _), rows = markets[0], [train.mask(len(bars.frame)) for bars, train in markets]
    inputs = [bars.matrix[bars.has_input & inside] for (bars, _), inside in zip(markets, rows, strict=True)]
    fitted = [bars.has_target & inside for (bars, _), inside in zip(markets, rows, strict=True)]
    volatility = [bars.volatility[rows] for (bars, _), rows in zip(markets, fitted, strict=True)]
    log_return = [bars.log_return[rows] for (bars, _), rows in zip(markets, fitted, strict=True)]
    unit = _target_unit(np.concatenate(volatility), np.concatenate(log_return), first.horizons)
    return Scaling(RobustScaler.fit(np.concatenate(inputs), first.pipeline.names), unit)


def prepare_bars(bars: CandleFrame | MarketHistory, spec: ForecastSpec) -> PreparedBars:
    """Compute features and targets.

    Args:
        bars: the market's own, with other markets and series where the features look at them.
        spec: the run.

    Raises:
        UserError: values that are no prices or volumes, or a series or another market that no bar has.
    """
    history = bars if isinstance(bars, MarketHistory) else MarketHistory(bars)
    frame = history.frame
    pipeline, horizons = FeaturePipeline(spec.features, frame.timeframe), spec.model.horizons
    rows = pipeline.rows(history)
    matrix, has_input = rows.matrix, rows.complete
    log_return, known = _targets(frame, horizons)
    if not np.isfinite(matrix[has_input]).all():
        raise UserError("The bars hold values that are no valid prices or volumes.", "Check them with `data check`.")
    if not (has_input & known).any():
        _require_side_data(history, pipeline)
    volatility = np.where(has_input, pipeline.volatility(matrix), 1.0)
    matrix[~has_input] = np.nan
    return PreparedBars(frame, matrix, has_input, has_input & known, log_return, volatility, pipeline, horizons)


def _require_side_data(history: MarketHistory, pipeline: FeaturePipeline) -> None:
    """Raise `UserError` where a series or another market is not there at the times of most bars."""
    frame = history.frame
    closes = frame.time_ns + frame.timeframe.ns
    for key in pipeline.samples:
        points = history.points(key.name)
        known = 0 if points is None else np.count_nonzero(np.isfinite(sample_points(points, closes, key.max_age_ns)))
        if points is not None and 2 * known < len(frame):
            remedy = "Choose a range that the series covers, or another file."
            if not len(points.known_ns):  # or cut off at the last bar
                raise UserError(
                    f"No value of the series {key.name!r} was known by {_day(int(closes[-1]))}, the end of the bars.",
                    remedy,
                )
            first, last = _day(int(points.known_ns[0])), _day(int(points.known_ns[-1]))
            raise UserError(
                f"The series {key.name!r} is known from {first} to {last}: "
                f"only {known:,} of the {len(frame):,} bars have a value of it.",
                remedy,
            )
    for symbol in pipeline.markets:
        other = history.market(symbol)
        shared = 0 if other is None else np.count_nonzero(np.isin(frame.time_ns, other.time_ns))
        if other is not None and 2 * shared < len(frame):
            raise UserError(
                f"The bars of {symbol} are of {_day(int(other.time_ns[0]))} to {_day(int(other.time_ns[-1]))}: "
                f"only {shared:,} of the {len(frame):,} bars have one beside them.",
                "Choose a range that both markets have.",
            )


def build_dataset(bars: CandleFrame | MarketHistory, spec: ForecastSpec) -> ForecastDataset:
    """Compute features and targets, split, and scale.

    Args:
        bars: the market's own, with other markets and series where the features look at them.
        spec: the run.

    Raises:
        UserError: too few bars, also between the gaps, or prices that never move.
    """
    prepared, (train, valid, test) = divide_bars(bars, spec)
    return prepared.divided(train, valid, test, prepared.scaling(train))


def divide_bars(bars: CandleFrame | MarketHistory, spec: ForecastSpec) -> tuple[PreparedBars, tuple[Part, Part, Part]]:
    """Compute features and targets, and split; see `build_dataset`."""
    history = bars if isinstance(bars, MarketHistory) else MarketHistory(bars)
    require_bars(history.frame, spec)
    prepared = prepare_bars(history, spec)
    try:
        train, valid, test = split_rows(prepared.target_rows(), spec.split, spec.model.reach, history.frame.time_ns)
        prepared.require_led_in(train, valid, (test,), spec.training.burn_in)
    except UserError:
        _require_side_data(history, prepared.pipeline)  # what is missing says more than that too little is left
        raise
    return prepared, (train, valid, test)


def require_bars(frame: CandleFrame, spec: ForecastSpec) -> None:
    """Raise `UserError` where there are too few bars for a run."""
    needed = minimum_bars(spec)
    if len(frame) < needed:
        raise UserError(
            f"{len(frame):,} bars are too few: this configuration needs at least {needed:,}.",
            "Choose a longer range, a shorter timeframe or shorter segments.",
        )


def _day(time_ns: int) -> str:
    return to_datetime(time_ns).date().isoformat()


def _target_unit(volatility: FloatArray, log_return: FloatArray, horizons: tuple[int, ...]) -> TargetUnit:
    """Fit the unit on training rows, shapes (n,) and (n, H).

    Raises:
        UserError: the price never moves, or always alike.
    """
    floor = _FLOOR_SHARE * float(np.median(volatility))
    if floor < _STILL:
        raise UserError("The price hardly moves in the training part.", "Choose another market or range.")
    walk = np.maximum(volatility, floor)[:, None] * np.sqrt(np.asarray(horizons, np.float64))
    scales = np.std(log_return / walk, axis=0)
    if scales.min() < _STILL:
        same = horizons[int((scales < _STILL).argmax())]
        raise UserError(
            f"At the horizon of {same:,} all price changes of the training part are the same: nothing to learn.",
            "Choose another market, range or horizon.",
        )
    return TargetUnit(horizons, floor, tuple(scales.tolist()))


def _targets(frame: CandleFrame, horizons: tuple[int, ...]) -> tuple[FloatArray, BoolArray]:
    """Return log returns over the next bars, shape (n, H), and whether all of them exist, shape (n,)."""
    size = len(frame)
    values, known = np.zeros((size, len(horizons))), np.zeros(size, np.bool_)
    logs = np.log(frame.close)
    for column, horizon in enumerate(horizons):
        values[:-horizon, column] = logs[horizon:] - logs[:-horizon]
    reach = horizons[-1]
    if size > reach:
        known[:-reach] = bars_since_gap(frame.time_ns, frame.timeframe.ns)[reach:] >= reach
    return np.where(known[:, None], values, 0.0), known


def split_rows(rows: IntArray, split: SplitSpec, horizon: int, time_ns: IntArray) -> tuple[Part, Part, Part]:
    """Divide target rows in time: train, purge, validation, purge, test.

    Args:
        rows: ascending row numbers with targets.
        split: shares or dates, and purge.
        horizon: bars a target reaches ahead.
        time_ns: open times of all bars, for borders set by date.

    Raises:
        UserError: a part would be (nearly) empty.
    """
    count = len(rows)
    if (borders := split.borders_ns) is not None:
        first, second = (int(np.searchsorted(time_ns[rows], border)) for border in borders)
    else:
        first = int(count * split.train_fraction)
        second = int(count * (split.train_fraction + split.valid_fraction))
    gap = split.purge_bars + horizon
    if min(first, second - first, count - second) < _FEWEST:
        if borders is not None and count >= 90:
            raise UserError(
                f"The split at {split.valid_from} and {split.test_from} leaves a part with fewer than 30 bars.",
                "Choose dates inside the data and further apart.",
            )
        raise UserError(
            f"Only {count:,} bars have complete features and a target; too few to split.",
            "Choose a longer range or data with fewer gaps.",
        )
    valid_start, test_start = int(rows[first]), int(rows[second])
    parts = (
        Part(int(rows[0]), valid_start - gap),
        Part(valid_start, test_start - gap),
        Part(test_start, int(rows[-1]) + 1),
    )
    if any(np.count_nonzero((rows >= part.start) & (rows < part.stop)) < _FEWEST for part in parts):
        raise UserError("The purge leaves too few bars in a part.", "Choose a shorter purge or a longer range.")
    return parts


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Contiguous stretches for many-to-many training.

    Attributes:
        rows: row numbers, int64, shape (S, L); short stretches repeat their last row with weight 0.
        weight: 1 where the loss counts, float32, shape (S, L); each target counts at most once.
    """

    rows: IntArray
    weight: Float32Array


def contiguous_stretches(flags: BoolArray) -> list[tuple[int, int]]:
    """Return the half-open intervals in which `flags` holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def make_segments(
    data: ForecastDataset, part: Part, *, length: int, burn_in: int, offset: int = 0, lead_in: bool = False
) -> Segments:
    """Cut a part into overlapping segments whose counted targets do not overlap.

    Args:
        data: the dataset.
        part: which targets count.
        length / burn_in: bars per segment, and how many at its start only build up the state.
        offset: shifts all but the first cut of each stretch, so that every epoch sees other borders.
        lead_in: start up to `burn_in` bars before the part (inputs only, for evaluation).
    """
    reach = max(0, part.start - burn_in) if lead_in else part.start
    usable = data.has_input & replace(part, start=reach).mask(len(data.has_input))
    stride = length - burn_in
    rows, weights = [], []
    for begin, end in contiguous_stretches(usable):
        covered = max(begin + burn_in, part.start)
        starts = [begin, *range(begin + (offset % stride or stride), end - burn_in, stride)]
        for start in starts:
            index = start + np.arange(length)
            counted = (index >= max(start + burn_in, covered)) & (index < end)
            index = np.minimum(index, end - 1)
            counted &= data.has_target[index]
            covered = max(covered, min(start + length, end))
            if counted.any():
                rows.append(index)
                weights.append(counted)
    if not rows:
        raise UserError(
            f"No stretch without a gap is longer than the burn-in of {burn_in} bars.",
            "Use a shorter burn-in or repair the gaps.",
        )
    return Segments(np.array(rows, np.int64), np.array(weights, np.float32))


def evaluation_lead_in(burn_in: int) -> int:
    """Return how many bars build up the state where a loss is measured on the way: more generously than in training."""
    return max(burn_in, 1) * 2
