"""Do quantiles mean what they say? Probability integral transform and its test. Any thread; numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ml.arrays import FloatArray
from ml.metric_results import Calibration, CalibrationPoint
from ml.metrics.distributions import kolmogorov_sf

BINS = 10


def probability_integral_transform(
    quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float], rng: np.random.Generator
) -> FloatArray:
    """Return where each outcome falls in its forecast distribution, uniform on (0, 1) when calibrated.

    Quantiles say how likely the space between two of them is and nothing of where in it an outcome falls, so the value
    is drawn uniformly from the probability of that space: exactly uniform for right quantiles of whatever distribution.
    Any curve drawn through them instead would be a guess at its shape and make the test reject right quantiles of
    another one. Where quantiles coincide it is drawn from all the levels that they span.

    Args:
        quantiles: ascending within each row, shape (n, Q).
        outcome: shape (n,).
        levels: of the quantiles.
        rng: draws.
    """
    edges = np.concatenate([[0.0], np.asarray(levels, np.float64), [1.0]])
    below = (quantiles < outcome[:, None]).sum(axis=1)  # levels surely passed
    upto = (quantiles <= outcome[:, None]).sum(axis=1)
    tied = upto > below  # on one quantile alone it has exactly that level
    low = np.where(tied, edges[np.minimum(below + 1, len(edges) - 1)], edges[below])
    high = np.where(tied, edges[upto], edges[np.minimum(upto + 1, len(edges) - 1)])
    values: FloatArray = low + (high - low) * rng.uniform(size=len(outcome))
    return values


def uniformity(values: FloatArray, independent: float) -> tuple[float, float]:
    """Return Kolmogorov's distance of values from the uniform distribution and its p-value.

    Args:
        values: between 0 and 1, shape (n,).
        independent: how many of them count as independent; the p-value is that of the limiting distribution.
    """
    ordered, count = np.sort(values), len(values)
    steps = np.arange(count + 1) / count
    distance = float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))
    return distance, min(1.0, kolmogorov_sf(math.sqrt(independent) * distance))


def calibration(
    quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float], horizon: int, rng: np.random.Generator
) -> Calibration:
    """Judge the calibration of quantiles, shape (n, Q)."""
    values = probability_integral_transform(quantiles, outcome, levels, rng)
    counts = np.bincount(np.minimum((values * BINS).astype(np.int64), BINS - 1), minlength=BINS)
    distance, p_value = uniformity(values, len(outcome) / horizon)
    observed = (outcome[:, None] <= quantiles).mean(axis=0)
    return Calibration(
        points=tuple(CalibrationPoint(float(a), float(b)) for a, b in zip(levels, observed, strict=True)),
        pit_counts=tuple(int(count) for count in counts),
        ks_statistic=distance,
        ks_p_value=p_value,
    )
