"""Metrics of quantile forecasts: pinball loss, CRPS, coverage, width, interval score. Any thread; numpy only.

Quantiles have shape (n, Q), or (Q,) for the same ones everywhere; outcomes (n,); levels ascend between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.metric_results import RangeMetrics


def pinball_losses(quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return the pinball loss of every outcome at every level, shape (n, Q)."""
    error = outcome[:, None] - quantiles
    scaled = np.asarray(levels) * error
    losses: FloatArray = np.maximum(scaled, scaled - error)
    return losses


def mean_pinball(quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float]) -> float:
    """Return the mean pinball loss over all levels."""
    return float(pinball_losses(quantiles, outcome, levels).mean())


def crps_weights(levels: Sequence[float]) -> FloatArray:
    """Return the weights of `crps_of_quantiles`: those of the trapezoidal rule with zeros at levels 0 and 1."""
    edges = np.concatenate([[0.0], np.asarray(levels), [1.0]])
    weights: FloatArray = 0.5 * (edges[2:] - edges[:-2])
    return weights


def crps_of_quantiles(quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return the continuous ranked probability score of each forecast as its quantiles show it, shape (n,).

    CRPS is twice the integral of the pinball loss over all levels. Here the integral is the trapezoidal rule over the
    known levels, with no loss at levels 0 and 1, where the expected loss of a calibrated forecast ends. A weighted sum
    of pinball losses rewards honest quantiles, whichever levels there are. Calibrated forecasts lose as a concave
    function of the level, so the sum is below the full CRPS: for normal ones by 4.8 % at 5, 25, 50, 75 and 95 %, by
    0.4 % at nineteen levels (5, 10, … 95 %) and by 0.02 % at ninety-nine. Compare only scores of the same
    levels.
    """
    score: FloatArray = 2.0 * pinball_losses(quantiles, outcome, levels) @ crps_weights(levels)
    return score


def interval_scores(low: FloatArray, high: FloatArray, outcome: FloatArray, nominal: float) -> FloatArray:
    """Return Winkler's score of central intervals with nominal coverage `nominal`, shape (n,)."""
    penalty = 2.0 / (1.0 - nominal)
    outside = np.maximum(low - outcome, 0.0) + np.maximum(outcome - high, 0.0)
    scores: FloatArray = high - low + penalty * outside
    return scores


def inside_outer(quantiles: FloatArray, outcome: FloatArray) -> NDArray[np.bool_]:
    """Return which outcomes lie between the lowest and the highest quantile, shape (n,)."""
    inside: NDArray[np.bool_] = (outcome >= quantiles[..., 0]) & (outcome <= quantiles[..., -1])
    return inside


def range_metrics(name: str, quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float]) -> RangeMetrics:
    """Return the quality of a forecaster's quantiles."""
    nominal = levels[-1] - levels[0]
    low, high = quantiles[..., 0], quantiles[..., -1]
    return RangeMetrics(
        name=name,
        pinball=mean_pinball(quantiles, outcome, levels),
        crps=float(crps_of_quantiles(quantiles, outcome, levels).mean()),
        coverage=float(inside_outer(quantiles, outcome).mean()),
        nominal_coverage=nominal,
        width=float((high - low).mean()),
        winkler=float(interval_scores(low, high, outcome, nominal).mean()),
    )
