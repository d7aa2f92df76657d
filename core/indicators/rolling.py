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


def _fold(values: FloatArray, window: int, combine: Callable[[FloatArray, FloatArray], FloatArray]) -> FloatArray:
    """Combine the last `window` values at each index by doubling; the first `window` - 1 results are NaN."""
    if window < 1:
        raise ValueError(f"the window must be positive, not {window}")
    size = len(values)
    result = np.full(size, np.nan)
    if size < window:
        return result
    # block[i] combines `length` values ending at i + length - 1.
    block, length, offset = values, 1, 0
    partial: FloatArray | None = None
    remaining = window
    while remaining:
        if remaining & 1:
            piece = block[offset : offset + size - window + 1]
            partial = piece.copy() if partial is None else combine(partial, piece)
            offset += length
        remaining >>= 1
        if remaining:
            block = combine(block[:-length], block[length:])
            length *= 2
    result[window - 1 :] = partial
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
