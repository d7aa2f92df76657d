"""Normal and Student-t distributions and their CRPS, without scipy so that live inference may use them too.

Any thread; numpy only. Accurate to about 1e-12; the tests compare with scipy and scoringrules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ml.arrays import FloatArray

_STANDARD = NormalDist()
_SQRT_PI = math.sqrt(math.pi)
_TINY = 1e-300
_MOST_STEPS = 1_000
_MANY = 200.0  # degrees of freedom from which the expansion around the normal is exact to rounding
_NORMAL_FROM = 1e15  # degrees of freedom beyond which the difference to the normal is below rounding


def _each(function: Callable[[float], float], values: ArrayLike) -> FloatArray:
    array = np.asarray(values, np.float64)
    return np.fromiter(map(function, array.ravel().tolist()), np.float64, array.size).reshape(array.shape)


def normal_cdf(z: ArrayLike) -> FloatArray:
    """Return the standard normal distribution function, of the shape of `z`."""
    return _each(lambda value: 0.5 * math.erfc(-value / math.sqrt(2.0)), z)


def normal_pdf(z: ArrayLike) -> FloatArray:
    """Return the standard normal density, of the shape of `z`."""
    array = np.asarray(z, np.float64)
    density: FloatArray = np.exp(-0.5 * array * array) / math.sqrt(2.0 * math.pi)
    return density


def normal_ppf(probability: ArrayLike) -> FloatArray:
    """Return the standard normal quantiles of probabilities strictly between 0 and 1."""
    return _each(_STANDARD.inv_cdf, probability)


def _log_gamma_half_ratio(a: FloatArray) -> FloatArray:
    """Return ln Γ(a + ½) − ln Γ(a); by its series where the difference of two large logarithms would lose digits."""
    large = np.maximum(a, 30.0)
    series = 0.5 * np.log(large) - 1 / (8 * large) + 1 / (192 * large**3) - 1 / (640 * large**5)
    series += 17 / (14_336 * large**7)
    direct = _each(lambda value: math.lgamma(value + 0.5) - math.lgamma(value), np.minimum(a, 30.0))
    ratio: FloatArray = np.where(a > 30.0, series, direct)
    return ratio


def _beta_fraction(x: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the continued fraction of the incomplete beta function by Lentz's method, shape (n,)."""
    c = np.ones_like(x)
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    value = d.copy()
    for step in range(1, _MOST_STEPS):
        even = step * (b - step) * x / ((a + 2 * step - 1.0) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1.0))
        for term in (even, odd):
            d = 1.0 + term * d
            c = 1.0 + term / c
            d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
            c = np.where(np.abs(c) < _TINY, _TINY, c)
            change = c * d
            value = value * change
        if np.abs(change - 1.0).max() < 1e-15:
            break
    return value


def _upper_tail(x: FloatArray, df: FloatArray) -> FloatArray:
    """Return P(T > x) for x >= 0, flat arrays of one size; few degrees of freedom keep digits far out."""
    tail = np.empty_like(x)
    many = df > _MANY
    tail[many] = normal_cdf(-_as_normal(x[many], df[many]))
    tail[~many] = _beta_tail(x[~many], df[~many])
    return tail


def _as_normal(x: FloatArray, df: FloatArray) -> FloatArray:
    """Return the normal value as improbable as Student's x >= 0, by Hill's expansion in 1 / df (1970)."""
    a = df - 0.5
    b = 48.0 * a * a
    y = a * np.log1p(x * x / df)
    correction = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b)
    value: FloatArray = np.sqrt(y) * (1.0 + (correction + y + 3.0) / b)
    return value


def _beta_tail(x: FloatArray, df: FloatArray) -> FloatArray:
    """Return P(T > x) for x >= 0 by the incomplete beta function, flat arrays of one size."""
    half = 0.5 * df
    square = x * x
    inside, outside = df / (df + square), square / (df + square)  # each computed without cancellation
    # The front factor x^a (1 − x)^b / B(a, b) of the incomplete beta function with a = df / 2 and b = 1 / 2.
    front = np.exp(-half * np.log1p(square / df) + _log_gamma_half_ratio(half)) * np.sqrt(outside) / _SQRT_PI
    direct = inside < (half + 1.0) / (half + 2.5)
    tail = np.empty_like(x)
    if direct.any():
        a = half[direct]
        tail[direct] = 0.5 * front[direct] / a * _beta_fraction(inside[direct], a, np.full_like(a, 0.5))
    rest = ~direct
    if rest.any():
        b = half[rest]
        tail[rest] = 0.5 - front[rest] * _beta_fraction(outside[rest], np.full_like(b, 0.5), b)
    return tail


def student_t_cdf(x: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return the distribution function of Student's t; `df` > 0 broadcasts against `x`."""
    x, df = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(df, np.float64))
    flat, freedom = x.ravel(), np.minimum(df.ravel(), _NORMAL_FROM)
    tail = _upper_tail(np.abs(flat), freedom)
    return np.where(flat > 0.0, 1.0 - tail, tail).reshape(x.shape)


def student_t_pdf(x: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return the density of Student's t; `df` > 0 broadcasts against `x`."""
    x, df = np.asarray(x, np.float64), np.minimum(np.asarray(df, np.float64), _NORMAL_FROM)
    norm = np.exp(_log_gamma_half_ratio(0.5 * df)) / np.sqrt(df * math.pi)
    density: FloatArray = norm * np.exp(-0.5 * (df + 1.0) * np.log1p(x * x / df))
    return density


def student_t_ppf(probability: ArrayLike, df: ArrayLike) -> FloatArray:
    """Return quantiles of Student's t for probabilities strictly between 0 and 1; the arguments broadcast.

    Newton's method for the logarithm of the tail over the logarithm of x: that curve is concave and falls, so the
    method approaches the root from one side and cannot run away, however heavy the tail.
    """
    probability, df = np.broadcast_arrays(np.asarray(probability, np.float64), np.asarray(df, np.float64))
    p, freedom = probability.ravel(), np.minimum(df.ravel(), _NORMAL_FROM)
    tail = np.minimum(p, 1.0 - p)
    x = np.zeros_like(p)
    todo = np.flatnonzero(tail < 0.5)
    z = -normal_ppf(tail[todo])
    log_x = np.log(np.maximum(z + (z**3 + z) / (4.0 * freedom[todo]), _TINY))
    for _ in range(60):
        if not len(todo):
            break
        at = np.exp(log_x)
        reached = _upper_tail(at, freedom[todo])
        slope = -at * student_t_pdf(at, freedom[todo]) / reached
        step = np.clip((np.log(tail[todo]) - np.log(reached)) / slope, -20.0, 20.0)
        log_x += step
        x[todo] = np.exp(log_x)
        going = np.abs(step) > 1e-15 + 4e-16 / np.abs(slope)
        todo, log_x = todo[going], log_x[going]
    return np.where(p < 0.5, -x, x).reshape(probability.shape)


def crps_normal(outcome: ArrayLike, mean: ArrayLike, scale: ArrayLike) -> FloatArray:
    """Return the CRPS of normal forecasts; the arguments broadcast, `scale` > 0."""
    scale = np.asarray(scale, np.float64)
    z = (np.asarray(outcome, np.float64) - np.asarray(mean, np.float64)) / scale
    score: FloatArray = scale * (z * (2.0 * normal_cdf(z) - 1.0) + 2.0 * normal_pdf(z) - 1.0 / _SQRT_PI)
    return score


def crps_student_t(outcome: ArrayLike, df: ArrayLike, location: ArrayLike, scale: ArrayLike) -> FloatArray:
    """Return the CRPS of Student-t forecasts; the arguments broadcast, `scale` > 0 and `df` > 1.

    The closed form of Jordan, Krüger and Lerch (2019).
    """
    scale = np.asarray(scale, np.float64)
    df = np.minimum(np.asarray(df, np.float64), _NORMAL_FROM)
    z = (np.asarray(outcome, np.float64) - np.asarray(location, np.float64)) / scale
    # B(1/2, df − 1/2) / B(1/2, df/2)²
    betas = np.exp(2.0 * _log_gamma_half_ratio(0.5 * df) - _log_gamma_half_ratio(df - 0.5)) / _SQRT_PI
    spread = 2.0 * student_t_pdf(z, df) * (df + z * z) / (df - 1.0) - 2.0 * np.sqrt(df) / (df - 1.0) * betas
    score: FloatArray = scale * (z * (2.0 * student_t_cdf(z, df) - 1.0) + spread)
    return score


def crps_samples(samples: FloatArray, outcome: FloatArray) -> FloatArray:
    """Return the CRPS of the empirical distribution of equally likely samples.

    Args:
        samples: shape (n, m).
        outcome: shape (n,).
    """
    count = samples.shape[1]
    ordered = np.sort(samples, axis=1)
    distance = np.abs(samples - outcome[:, None]).mean(axis=1)
    weights = (2.0 * np.arange(1, count + 1) - count - 1.0) / (count * count)
    score: FloatArray = distance - ordered @ weights  # the second term is half of the mean |X − X'|
    return score


def kolmogorov_sf(x: float) -> float:
    """Return the probability that Kolmogorov's limiting statistic exceeds x."""
    if x <= 0.0:
        return 1.0
    if x < 1.0:  # the series of the distribution function converges faster here
        terms = sum(math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8.0 * x * x)) for k in range(1, 8))
        return 1.0 - math.sqrt(2.0 * math.pi) / x * terms
    return 2.0 * sum((-1.0) ** (k - 1) * math.exp(-2.0 * k * k * x * x) for k in range(1, 12))
