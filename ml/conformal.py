"""Intervals that keep their promise: split-conformal quantiles, and adaptive ones while the market changes.

Any thread; numpy only. Conformalised quantile regression (Romano, Patterson & Candès 2019) measures how far outcomes of
calibration bars lie outside the forecast's interval, in units of the volatility known at the forecast, and moves both
ends by a quantile of that. It holds where calibration and later bars are exchangeable; overlapping outcomes and
changing markets are not, hence the adaptive form (Gibbs & Candès 2021), whose long-run coverage holds for any sequence.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from ml.arrays import BoolArray, FloatArray
from ml.jsonvalues import JsonValue
from ml.statistic_results import ConformalOffset

GAMMA = 0.005
WINDOW = 1_000


@dataclass(frozen=True, slots=True)
class AdaptiveOptions(JsonValue):
    """How an adaptive interval learns.

    Attributes:
        alpha: share of outcomes that may lie outside in the long run.
        gamma: step of the level per outcome; higher follows changes faster and wavers more.
        window: the last scores that are kept.
        horizon: bars until the outcome of a forecast is known.
    """

    alpha: float = 0.1
    gamma: float = GAMMA
    window: int = WINDOW
    horizon: int = 1

    def validate(self) -> None:
        """Raise `ValueError` for options that cannot work."""
        if not 0.0 < self.alpha < 1.0 or not 0.0 < self.gamma <= 1.0 or self.window < 1 or self.horizon < 1:
            raise ValueError(f"options of an adaptive interval out of range: {self}")


@dataclass(frozen=True, slots=True)
class PendingForecast(JsonValue):
    """A forecast whose outcome is not known yet.

    Attributes:
        lower / upper / unit: as they were forecast.
        offset: by which the interval was moved; not used where `covers` says the answer.
        covers: True for the whole line, False for the empty interval, None where the outcome decides.
    """

    lower: float
    upper: float
    unit: float
    offset: float
    covers: bool | None


@dataclass(frozen=True, slots=True)
class AdaptiveState(JsonValue):
    """Everything an adaptive interval has learned.

    Attributes:
        options: of it.
        level: the current α.
        scores: the last ones, oldest first.
        pending: forecasts without an outcome, oldest first.
        observed / missed: outcomes so far, and how many of them lay outside.
    """

    options: AdaptiveOptions
    level: float
    scores: tuple[float, ...]
    pending: tuple[PendingForecast, ...] = ()
    observed: int = 0
    missed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveIntervals:
    """What an adaptive interval would have said bar by bar.

    Attributes:
        lower / upper: moved ends, shape (n,); infinite where only the whole line would do.
        level: α at each bar, shape (n,).
        covered: whether the outcome lay inside, shape (n,); False where `known` is.
        known: whether there was an outcome, shape (n,).
        state: after the last bar.
    """

    lower: FloatArray
    upper: FloatArray
    level: FloatArray
    covered: BoolArray
    known: BoolArray
    state: AdaptiveState


def conformal_rank(count: int, alpha: float) -> int:
    """Return which of `count` ordered scores an interval takes: ⌈(count + 1)(1 − α)⌉; above `count` none suffices."""
    # What is a whole number on paper is often a hair above it in binary.
    return math.ceil((count + 1) * (1.0 - alpha) - 1e-9)


def conformity_scores(lower: FloatArray, upper: FloatArray, outcome: FloatArray, unit: FloatArray) -> FloatArray:
    """Return how far outcomes lie outside, in units of volatility, negative inside; any one shape.

    Raises:
        ValueError: a unit that is not positive, or values that are not finite.
    """
    score = np.maximum(lower - outcome, outcome - upper) / _checked_unit(unit)
    if not np.isfinite(score).all():
        raise ValueError("a forecast or an outcome is not finite")
    return np.asarray(score, np.float64)


def calibrate(
    lower: FloatArray, upper: FloatArray, outcome: FloatArray, unit: FloatArray, alpha: float
) -> ConformalOffset:
    """Measure the offset of one interval on bars the model was not fitted on.

    Args:
        lower / upper: forecast ends, shape (n,).
        outcome: shape (n,).
        unit: volatility known at the forecast, positive, shape (n,).
        alpha: share of outcomes that may lie outside, 0 < α < 1.

    Raises:
        ValueError: no bars, or values out of range.
    """
    if not len(outcome) or not 0.0 < alpha < 1.0:
        raise ValueError("at least one outcome, and a share between 0 and 1")
    scores = conformity_scores(lower, upper, outcome, unit)
    rank = conformal_rank(len(scores), alpha)
    offset = float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else None
    return ConformalOffset(alpha, len(scores), offset)


def calibrate_quantiles(
    quantiles: FloatArray, levels: tuple[float, ...], outcome: FloatArray, unit: FloatArray
) -> tuple[ConformalOffset, ...]:
    """Measure the offset of every symmetric pair of quantiles, the outermost first.

    Args:
        quantiles: one horizon's, shape (n, Q).
        levels: ascending, symmetric around the median in the middle, length Q.
        outcome / unit: shape (n,).
    """
    if quantiles.shape[1] != len(levels) or len(levels) % 2 == 0:
        raise ValueError("an odd number of levels, one for each quantile")
    return tuple(
        calibrate(quantiles[:, pair], quantiles[:, -1 - pair], outcome, unit, 1.0 - (levels[-1 - pair] - levels[pair]))
        for pair in range(len(levels) // 2)
    )


def calibrate_horizons(
    quantiles: FloatArray, levels: tuple[float, ...], outcome: FloatArray, unit: FloatArray
) -> tuple[tuple[ConformalOffset, ...], ...]:
    """Measure the offsets of each horizon; outcomes that do not exist are not a number and left out.

    Args:
        quantiles: shape (n, H, Q).
        levels: as in `calibrate_quantiles`.
        outcome / unit: shape (n, H).
    """
    result = []
    for horizon in range(quantiles.shape[1]):
        known = ~np.isnan(outcome[:, horizon])
        result.append(
            calibrate_quantiles(quantiles[known, horizon], levels, outcome[known, horizon], unit[known, horizon])
        )
    return tuple(result)


def conformal_quantiles(quantiles: FloatArray, unit: FloatArray, offsets: tuple[ConformalOffset, ...]) -> FloatArray:
    """Move quantiles by their offsets; the median stays, and no interval is narrower than the one inside it.

    Args:
        quantiles: shape (..., Q).
        unit: shape (...).
        offsets: of `calibrate_quantiles`.

    Returns:
        Shape (..., Q); infinite where an offset is None.
    """
    moved = np.array(quantiles, np.float64)
    if moved.shape[-1] != 2 * len(offsets) + 1:
        raise ValueError("one offset for each pair of quantiles")
    inner_low = inner_high = moved[..., len(offsets)]
    for pair in reversed(range(len(offsets))):
        step = _or_infinite(offsets[pair].offset) * _checked_unit(unit)
        inner_low = np.minimum(moved[..., pair] - step, inner_low)
        inner_high = np.maximum(moved[..., -1 - pair] + step, inner_high)
        moved[..., pair], moved[..., -1 - pair] = inner_low, inner_high
    return moved


class AdaptiveConformal:
    """An interval whose level follows its own misses: α ← α + γ (α* − miss), miss being 1 or 0.

    Once per bar: `observe` the outcome of the forecast made `horizon` bars ago, then `forecast`. Belongs to one thread.
    The level may leave (0, 1): at or below 0 the interval is the whole line, at or above 1 it is empty, which is what
    the guarantee needs; the misses' share then differs from α* by at most (1 + γ) / (γ · outcomes) for horizon 1.
    """

    def __init__(self, state: AdaptiveState) -> None:
        """Go on from a state.

        Raises:
            ValueError: a state that cannot be.
        """
        state.options.validate()
        if not all(math.isfinite(score) for score in (*state.scores, state.level)):
            raise ValueError("a score is not finite")
        if len(state.pending) > state.options.horizon:
            raise ValueError("more forecasts wait than the horizon is long")
        self._options = state.options
        self._level = state.level
        self._scores = deque(state.scores[-state.options.window :])
        self._ordered = sorted(self._scores)
        self._pending = deque(state.pending)
        self._observed, self._missed = state.observed, state.missed

    @classmethod
    def start(cls, options: AdaptiveOptions, calibration: FloatArray) -> AdaptiveConformal:
        """Begin with the scores of calibration bars, oldest first, shape (n,); they may be none."""
        return cls(AdaptiveState(options, options.alpha, tuple(calibration.tolist())))

    @property
    def level(self) -> float:
        """The current α."""
        return self._level

    def forecast(self, lower: float, upper: float, unit: float) -> tuple[float, float]:
        """Return the moved ends of a forecast and wait for its outcome; infinite ends where only the line would do.

        Raises:
            ValueError: the outcome of an earlier forecast is due, or values that are not finite.
        """
        if len(self._pending) >= self._options.horizon:
            raise ValueError("the outcome of an earlier forecast is due first")
        if not (math.isfinite(lower) and math.isfinite(upper) and math.isfinite(unit) and unit > 0.0):
            raise ValueError("a forecast is not finite or its unit not positive")
        count = len(self._ordered)
        rank = conformal_rank(count, self._level)
        if rank > count:
            self._pending.append(PendingForecast(lower, upper, unit, 0.0, True))
            return -math.inf, math.inf
        centre = (lower + upper) / 2.0
        if rank < 1:
            self._pending.append(PendingForecast(lower, upper, unit, 0.0, False))
            return centre, centre
        offset = self._ordered[rank - 1]
        self._pending.append(PendingForecast(lower, upper, unit, offset, None))
        return min(lower - offset * unit, centre), max(upper + offset * unit, centre)

    def observe(self, outcome: float | None) -> bool | None:
        """Learn from the outcome of the oldest waiting forecast.

        Args:
            outcome: None where it will never be known, for instance over missing bars: nothing is learned.

        Returns:
            Whether the interval covered it; None for no outcome.

        Raises:
            ValueError: no forecast waits, or the outcome is not finite.
        """
        if not self._pending:
            raise ValueError("no forecast waits for an outcome")
        if outcome is not None and not math.isfinite(outcome):
            raise ValueError("an outcome is not finite")
        pending = self._pending.popleft()
        if outcome is None:
            return None
        score = max(pending.lower - outcome, outcome - pending.upper) / pending.unit
        covered = score <= pending.offset if pending.covers is None else pending.covers
        self._observed += 1
        self._missed += not covered
        self._level += self._options.gamma * (self._options.alpha - (not covered))
        self._remember(score)
        return covered

    def state(self) -> AdaptiveState:
        """Return everything needed to go on elsewhere."""
        return AdaptiveState(
            options=self._options,
            level=self._level,
            scores=tuple(self._scores),
            pending=tuple(self._pending),
            observed=self._observed,
            missed=self._missed,
        )

    def _remember(self, score: float) -> None:
        if len(self._scores) == self._options.window:
            del self._ordered[bisect.bisect_left(self._ordered, self._scores.popleft())]
        self._scores.append(score)
        bisect.insort(self._ordered, score)


def adaptive_intervals(
    lower: FloatArray, upper: FloatArray, outcome: FloatArray, unit: FloatArray, start: AdaptiveState
) -> AdaptiveIntervals:
    """Run an adaptive interval over past bars, as it would have run live: each outcome counts once it is known.

    Args:
        lower / upper: forecast ends, shape (n,).
        outcome: shape (n,); not a number where there is none.
        unit: shape (n,).
        start: the state before the first bar, with no forecast waiting.

    Raises:
        ValueError: forecasts wait already, or values out of range.
    """
    if start.pending:
        raise ValueError("forecasts wait already")
    adaptive = AdaptiveConformal(start)
    size, horizon = len(lower), start.options.horizon
    ends, level = np.empty((2, size)), np.empty(size)
    known, covered = ~np.isnan(outcome), np.zeros(size, np.bool_)
    for row in range(size):
        due = row - horizon
        if due >= 0:
            covered[due] = adaptive.observe(float(outcome[due]) if known[due] else None) is True
        level[row] = adaptive.level
        ends[:, row] = adaptive.forecast(float(lower[row]), float(upper[row]), float(unit[row]))
    state = adaptive.state()
    for row in range(max(0, size - horizon), size):
        covered[row] = adaptive.observe(float(outcome[row]) if known[row] else None) is True
    return AdaptiveIntervals(ends[0], ends[1], level, covered, known, state)


def _or_infinite(offset: float | None) -> float:
    return math.inf if offset is None else offset


def _checked_unit(unit: FloatArray) -> FloatArray:
    if not (np.isfinite(unit).all() and (np.asarray(unit) > 0.0).all()):
        raise ValueError("a unit of volatility is positive and finite")
    return unit
