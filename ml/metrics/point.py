"""Metrics of point forecasts: errors, correlations, hit rate, each with an interval. Any thread; numpy only."""

from __future__ import annotations

import math

import numpy as np

from ml.arrays import FloatArray, IntArray
from ml.metric_results import PointMetrics
from ml.metrics.comparison import long_run_variance

_Z95 = 1.959963984540054
_SMALLEST_BLOCK = 20  # forecasts in a calendar block
_FEWEST_BLOCKS = 6
_DAY_NS = 86_400_000_000_000


def ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 1, equal values sharing their mean rank, shape (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: FloatArray = last - (counts - 1) / 2.0
    return mean_rank[inverse]


def correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Return Pearson's correlation, or None where one of them is constant."""
    da, db = a - a.mean(), b - b.mean()
    if _is_still(a, da) or _is_still(b, db):
        return None
    # Scaled first: the product of two sums of squares may leave the range of floats.
    da, db = da / np.abs(da).max(), db / np.abs(db).max()
    return float((da * db).sum()) / math.sqrt(float((da * da).sum()) * float((db * db).sum()))


def _is_still(values: FloatArray, centred: FloatArray) -> bool:
    """Whether deviations from the mean are nothing but rounding."""
    return bool(np.abs(centred).max() <= 1e-13 * np.abs(values).max())


def rank_correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Return Spearman's correlation, or None where one of them is constant."""
    return correlation(ranks(a), ranks(b))


def correlation_interval(a: FloatArray, b: FloatArray, horizon: int) -> tuple[float, float] | None:
    """Return the 95 % interval of Pearson's correlation under overlap and clustered volatility.

    The delta method with the Newey-West variance of the influence function, on Fisher's scale so that it stays inside
    ±1. None where there is no correlation.
    """
    rho = correlation(a, b)
    if rho is None or abs(rho) >= 1.0 - 1e-12:
        return None
    za, zb = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    influence = za * zb - 0.5 * rho * (za * za + zb * zb)
    error = math.sqrt(long_run_variance(influence, horizon) / len(a)) / (1.0 - rho * rho)
    centre = math.atanh(rho)
    return math.tanh(centre - _Z95 * error), math.tanh(centre + _Z95 * error)


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share observed in `count` independent trials."""
    z2 = _Z95 * _Z95
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return centre - half, centre + half


def hit_rate(forecast: FloatArray, outcome: FloatArray) -> tuple[float | None, int]:
    """Return the share of right signs and of how many; zeros on either side do not count."""
    signed = (forecast != 0.0) & (outcome != 0.0)
    count = int(np.count_nonzero(signed))
    if not count:
        return None, 0
    return float(np.mean(np.sign(forecast[signed]) == np.sign(outcome[signed]))), count


def skill(loss: float, reference: float) -> float:
    """Return 1 − loss / reference, 0 where the reference makes no error."""
    return 1.0 - loss / reference if reference > 0.0 else 0.0


def icir(forecast: FloatArray, outcome: FloatArray, time_ns: IntArray | None) -> tuple[float | None, str]:
    """Return mean over standard deviation of the IC of calendar blocks (UTC), and which blocks.

    Months where at least six hold enough forecasts, else weeks (from Monday), else days; None and "" else. Block values
    are not annualised.
    """
    if time_ns is None:
        return None, ""
    days = time_ns // _DAY_NS
    months = time_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    for name, block in (("month", months), ("week", (days + 3) // 7), ("day", days)):
        values = _block_correlations(forecast, outcome, block)
        if len(values) >= _FEWEST_BLOCKS:
            spread = float(np.std(values, ddof=1))
            return (float(np.mean(values)) / spread, name) if spread > 0.0 else (None, "")
    return None, ""


def _block_correlations(forecast: FloatArray, outcome: FloatArray, block: IntArray) -> list[float]:
    edges = np.flatnonzero(np.diff(block)) + 1
    values = []
    for rows in np.split(np.arange(len(block)), edges):
        if len(rows) >= _SMALLEST_BLOCK:
            value = correlation(forecast[rows], outcome[rows])
            if value is not None:
                values.append(value)
    return values


def point_metrics(
    name: str,
    forecast: FloatArray,
    outcome: FloatArray,
    horizon: int,
    *,
    persistence: FloatArray | None = None,
) -> PointMetrics:
    """Return the errors of a point forecast.

    Args:
        name: of the forecaster.
        forecast / outcome: log returns over the horizon, shape (n,).
        horizon: bars ahead; forecasts of neighbouring bars overlap in all but one of them, so the interval of the hit
            rate counts every `horizon`-th.
        persistence: the last return repeated, for the skill against it.
    """
    error = outcome - forecast
    mae, mse = float(np.abs(error).mean()), float((error**2).mean())
    hits, signed = hit_rate(forecast, outcome)
    hit_interval: tuple[float | None, float | None] = (None, None)
    if hits is not None:
        hit_interval = wilson_interval(hits, max(1.0, signed / horizon))
    ic_interval: tuple[float | None, float | None]
    ic_interval = correlation_interval(forecast, outcome, horizon) or (None, None)
    return PointMetrics(
        name=name,
        mae=mae,
        rmse=math.sqrt(mse),
        skill=skill(mae, float(np.abs(outcome).mean())),
        r2=skill(mse, float((outcome**2).mean())),
        ic=correlation(forecast, outcome),
        rank_ic=rank_correlation(forecast, outcome),
        hit_rate=hits,
        hit_low=hit_interval[0],
        hit_high=hit_interval[1],
        ic_low=ic_interval[0],
        ic_high=ic_interval[1],
        skill_persistence=None if persistence is None else skill(mae, float(np.abs(outcome - persistence).mean())),
    )
