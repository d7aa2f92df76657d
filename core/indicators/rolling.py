"""Rolling statistics over the last `window` values. Pure functions of float64 arrays, any thread.

Every result at t depends on the last `window` values alone, and is computed by the same operations in the same order
wherever the window lies: a sum over eight values is always the sum of two sums over four. That is why a short streaming
buffer gives the very numbers of a whole-history batch, which running sums cannot. The cost is O(n log window).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Below this share of the mean, a spread is rounding noise of equal values.
_RELATIVE_NOISE = 1e-6


State = tuple[FloatArray, ...]
# Joins the statistics of `older_length` values with those of the `newer_length` values that follow them.
Combine = Callable[[State, int, State, int], State]


def _fold_states(state: State, window: int, combine: Combine) -> State:
    """Combine the statistics of the last `window` values at each index by doubling; the first results are NaN."""
    if window < 1:
        raise ValueError(f"the window must be positive, not {window}")
    size = len(state[0])
    results = tuple(np.full(size, np.nan) for _ in state)
    if size < window:
        return results
    # block[i] describes `length` values ending at i + length - 1.
    block, length, offset = state, 1, 0
    partial: State | None = None
    remaining = window
    while remaining:
        if remaining & 1:
            piece = tuple(part[offset : offset + size - window + 1] for part in block)
            partial = piece if partial is None else combine(partial, offset, piece, length)
            offset += length
        remaining >>= 1
        if remaining:
            older, newer = tuple(part[:-length] for part in block), tuple(part[length:] for part in block)
            block = combine(older, length, newer, length)
            length *= 2
    for result, part in zip(results, partial or (), strict=True):
        result[window - 1 :] = part
    return results


def _fold(values: FloatArray, window: int, combine: Callable[[FloatArray, FloatArray], FloatArray]) -> FloatArray:
    return _fold_states((values,), window, lambda older, _m, newer, _n: (combine(older[0], newer[0]),))[0]


def decayed_sum(values: FloatArray, decay: float, length: int) -> FloatArray:
    """Return the sum of decay^k * values[t - k] over k < `length`, shape (n,), NaN for the first `length` - 1.

    The recursive smoothing of `values` with a memory that ends: the very numbers, wherever the history starts.
    """

    def combine(older: State, _older_length: int, newer: State, newer_length: int) -> State:
        return (newer[0] + decay**newer_length * older[0],)

    return _fold_states((values,), length, combine)[0]


def rolling_moments(values: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Return mean and sum of squared deviations of the last `window` values, shapes (n,).

    Joined pairwise (Chan, Golub and LeVeque 1983): no difference of large squares, exactly zero for equal values.
    """

    def combine(older: State, older_length: int, newer: State, newer_length: int) -> State:
        total = older_length + newer_length
        step = newer[0] - older[0]
        squares = older[1] + newer[1] + step * step * (older_length * newer_length / total)
        return older[0] + step * (newer_length / total), squares

    mean, squares = _fold_states((values, np.zeros(len(values))), window, combine)
    return mean, squares


def rolling_comoments(x: FloatArray, y: FloatArray, window: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the sums of (dx dx, dx dy, dy dy) over the last `window` values, d: deviation from the mean."""

    def combine(older: State, older_length: int, newer: State, newer_length: int) -> State:
        total = older_length + newer_length
        weight = older_length * newer_length / total
        step_x, step_y = newer[0] - older[0], newer[1] - older[1]
        return (
            older[0] + step_x * (newer_length / total),
            older[1] + step_y * (newer_length / total),
            older[2] + newer[2] + step_x * step_x * weight,
            older[3] + newer[3] + step_x * step_y * weight,
            older[4] + newer[4] + step_y * step_y * weight,
        )

    zeros = np.zeros(len(x))
    result = _fold_states((x, y, zeros, zeros, zeros), window, combine)
    return result[2], result[3], result[4]


def rolling_age_of_max(values: FloatArray, window: int) -> FloatArray:
    """Return how many bars ago the largest of the last `window` values was, the latest of equals, shape (n,)."""

    def combine(older: State, _older_length: int, newer: State, _newer_length: int) -> State:
        later = newer[0] >= older[0]
        return np.where(later, newer[0], older[0]), np.where(later, newer[1], older[1])

    index = np.arange(len(values), dtype=np.float64)
    return index - _fold_states((values, index), window, combine)[1]


def lagged(values: FloatArray, lag: int) -> FloatArray:
    """Return values[t - lag], shape (n,), NaN for the first `lag`."""
    result = np.full(len(values), np.nan)
    result[lag:] = values[: max(len(values) - lag, 0)]
    return result


def ratio(numerator: FloatArray, denominator: FloatArray, undefined: float) -> FloatArray:
    """Return numerator / denominator, and `undefined` where the denominator is zero; NaN stays NaN."""
    zero = denominator == 0
    return np.where(zero, undefined, numerator / np.where(zero, 1.0, denominator))


def on_grid(values: FloatArray, bits: int) -> FloatArray:
    """Return the values rounded to so many significant bits (of 53).

    The bits left free take up the growth of sums: a running sum of such prices is not rounded and stays exactly the
    sum of its window, so a comparison with it comes out the same wherever the history starts.
    """
    spread = values * float(2 ** (53 - bits) + 1)  # Dekker's splitting
    result: FloatArray = spread - (spread - values)
    return result


def rolling_sum(values: FloatArray, window: int) -> FloatArray:
    """Return the sum of the last `window` values, shape (n,), NaN for the first `window` - 1."""
    return _fold(values, window, np.add)


def rolling_mean(values: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last `window` values, shape (n,), NaN for the first `window` - 1."""
    return rolling_sum(values, window) / window


def rolling_max(values: FloatArray, window: int) -> FloatArray:
    """Return the largest of the last `window` values, shape (n,), NaN for the first `window` - 1."""
    return _fold(values, window, np.maximum)


def rolling_min(values: FloatArray, window: int) -> FloatArray:
    """Return the smallest of the last `window` values, shape (n,), NaN for the first `window` - 1."""
    return _fold(values, window, np.minimum)


def rolling_rms(values: FloatArray, window: int) -> FloatArray:
    """Return the root mean square of the last `window` values, shape (n,)."""
    result: FloatArray = np.sqrt(rolling_mean(values * values, window))
    return result


def rolling_zscore(values: FloatArray, window: int) -> FloatArray:
    """Return how many standard deviations the last value lies from the mean of its window, shape (n,).

    Zero where the window holds (almost) equal values. Bounded by the square root of `window`.
    """
    mean = rolling_mean(values, window)
    variance = np.maximum(rolling_mean(values * values, window) - mean * mean, 0.0)
    deviation = np.sqrt(variance)
    flat = deviation <= _RELATIVE_NOISE * np.abs(mean)
    return np.where(flat, 0.0, (values - mean) / np.where(flat, 1.0, deviation)) + 0.0 * mean
