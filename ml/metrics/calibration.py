"""Do quantiles mean what they say? Probability integral transform and its test. Any thread; numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ml.arrays import FloatArray
from ml.metric_results import Calibration, CalibrationPoint
from ml.metrics.distributions import kolmogorov_sf, normal_cdf, normal_ppf

BINS = 10


def probability_integral_transform(
    quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float], rng: np.random.Generator
) -> FloatArray:
    """Return where each outcome falls in its forecast distribution, uniform on (0, 1) when calibrated.

    Between two quantiles the distribution function is a straight line on normal probability paper, which is exact for
    normal forecasts of any mean and width; a straight line on plain paper would be off by 0.03 in the middle between 5
    and 25 % and make the test reject perfect forecasts. Outside the outer quantiles nothing is known but the
    probability of being there, so the value is drawn uniformly from it; the same where quantiles coincide.

    Args:
        quantiles: ascending within each row, shape (n, Q).
        outcome: shape (n,).
        levels: of the quantiles.
        rng: draws.
    """
    edges = np.concatenate([[0.0], np.asarray(levels, np.float64), [1.0]])
    below = (quantiles < outcome[:, None]).sum(axis=1)  # levels surely passed
    upto = (quantiles <= outcome[:, None]).sum(axis=1)
    size, count = len(outcome), len(levels)
    values: FloatArray = edges[below] + (edges[np.maximum(upto, below) + 1] - edges[below]) * rng.uniform(size=size)
    # An outcome on one quantile alone has exactly that level; on several, any level they span.
    tied = upto > below
    lone = tied & (upto == below + 1)
    values[lone] = edges[upto[lone]]
    several = tied & ~lone
    low, high = edges[below[several] + 1], edges[upto[several]]
    values[several] = low + (high - low) * rng.uniform(size=int(several.sum()))
    between = np.flatnonzero(~tied & (below > 0) & (below < count))
    left = below[between] - 1
    lower, upper = quantiles[between, left], quantiles[between, left + 1]
    share = (outcome[between] - lower) / (upper - lower)
    z = normal_ppf(levels)
    values[between] = normal_cdf(z[left] + share * (z[left + 1] - z[left]))
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
