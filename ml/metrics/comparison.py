"""Is one forecast better than another? Diebold and Mariano's test. Any thread; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ml.arrays import FloatArray
from ml.metrics.distributions import student_t_cdf


@dataclass(frozen=True, slots=True)
class DmResult:
    """Outcome of a test of equal accuracy.

    Attributes:
        mean_difference: mean of loss a − loss b; negative where a is better.
        statistic: corrected for small samples, of the same sign; 0 where the differences do not vary.
        p_value: two-sided, 1 where they do not vary.
        p_a_better: one-sided, against the alternative that a is better.
    """

    mean_difference: float
    statistic: float
    p_value: float
    p_a_better: float


def newey_west_lags(count: int, horizon: int) -> int:
    """Return the lags to use: the overlap, or 4 (n / 100)^(2/9) for clustered volatility where that is more."""
    clustering = math.floor(4.0 * math.pow(count / 100.0, 2.0 / 9.0))
    return min(count - 1, max(horizon - 1, clustering))


def long_run_variance(values: FloatArray, horizon: int) -> float:
    """Return the variance of sqrt(n) times the mean of a series whose values overlap over `horizon` bars.

    The larger of two estimates: Newey and West's, which sees clustered volatility but, by its falling weights, misses
    up to a third of the overlap; and the plain sum of the autocovariances inside the overlap, which is unbiased for it.
    """
    count = len(values)
    lags = newey_west_lags(count, horizon)
    # All lags at once: the power spectrum of the series, padded so that its ends do not meet.
    spectrum = np.fft.rfft(values - values.mean(), 1 << max(count + lags - 1, 1).bit_length())
    gamma = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: lags + 1] / count
    weights = 1.0 - np.arange(1, lags + 1) / (lags + 1.0)
    newey_west = float(gamma[0] + 2.0 * (weights @ gamma[1:]))
    overlap = float(gamma[0] + 2.0 * gamma[1:horizon].sum())
    return max(newey_west, overlap, 0.0)


def diebold_mariano(loss_a: FloatArray, loss_b: FloatArray, horizon: int) -> DmResult:
    """Test whether two forecasts are equally accurate.

    The correction of Harvey, Leybourne and Newbold (1997), the variance of `long_run_variance`, and Student's
    distribution with one degree of freedom less than there are targets that do not overlap.

    Args:
        loss_a / loss_b: losses on the same targets in time order, shape (n,).
        horizon: bars ahead.
    """
    difference = loss_a - loss_b
    count, mean = len(difference), float(difference.mean())
    variance = long_run_variance(difference, horizon)
    scale = float(np.abs(loss_a).max() + np.abs(loss_b).max())
    independent = count / horizon
    if variance <= (1e-14 * scale) ** 2 or independent < 3:
        return DmResult(mean, 0.0, 1.0, 1.0)
    factor = (count + 1.0 - 2.0 * horizon + horizon * (horizon - 1.0) / count) / count
    statistic = mean / math.sqrt(variance / count) * math.sqrt(factor)
    below, tail = student_t_cdf(np.array([statistic, -abs(statistic)]), independent - 1.0)
    return DmResult(mean, statistic, min(1.0, 2.0 * float(tail)), float(below))
