"""Average gain of trading a known process with a cost of trading, by value iteration. Pure functions; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ml.arrays import FloatArray
from ml.metrics.distributions import normal_cdf

_TOLERANCE = 1e-9  # of the gain, absolute
_SWEEPS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """A solved problem.

    Attributes:
        gain: per bar, of the best policy.
        after: reward and what follows of holding a position from a state on, relative; shape (states, positions).
    """

    gain: float
    after: FloatArray


def normal_cells(mean: FloatArray, sigma: float, points: FloatArray) -> FloatArray:
    """Return how likely a normal variable falls nearest to each of evenly spaced points.

    Rounding to a point adds a twelfth of the squared spacing to the variance (Sheppard), which is taken off before.

    Args:
        mean: of the variable, shape (n,).
        sigma: its standard deviation; above a third of the spacing.
        points: shape (m,), rising; what falls beyond the ends belongs to them.

    Returns:
        Shape (n, m); rows sum to 1.
    """
    edges = 0.5 * (points[1:] + points[:-1])
    narrowed = math.sqrt(sigma**2 - (points[1] - points[0]) ** 2 / 12.0)
    below = normal_cdf((edges[None, :] - mean[:, None]) / narrowed)
    cells: FloatArray = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return cells


def relative_value_iteration(
    reward: FloatArray, transition: FloatArray, positions: FloatArray, cost: float, *, tolerance: float = _TOLERANCE
) -> Average:
    """Solve max over π' of r(s, π') − c|π' − π| + E v(s', π') with v relative, until the gain is known.

    Args:
        reward: of holding a position from a state on, shape (states, positions).
        transition: of the states, which trading does not move, shape (states, states).
        positions: that can be held, rising.
        cost: c, per unit traded.
        tolerance: of the gain.

    Raises:
        ArithmeticError: the gain did not settle.
    """
    value = np.zeros_like(reward)
    for _ in range(_SWEEPS):
        after = reward + transition @ value
        new = best_trade(after, positions, cost)
        change = new - value
        low, high = float(change.min()), float(change.max())
        value = new - new[0, 0]
        if high - low < tolerance:
            return Average(0.5 * (low + high), after)
    raise ArithmeticError(f"the gain is only known to lie between {low:g} and {high:g}")


def best_trade(after: FloatArray, positions: FloatArray, cost: float) -> FloatArray:
    """Return max over π' of after(s, π') − c|π' − π| for every state and π: the best of buying and of selling."""
    paid = cost * positions
    buying = np.maximum.accumulate((after - paid)[:, ::-1], axis=1)[:, ::-1] + paid
    selling = np.maximum.accumulate(after + paid, axis=1) - paid
    best: FloatArray = np.maximum(buying, selling)
    return best
