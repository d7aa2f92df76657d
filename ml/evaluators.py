"""Honest figures: a model beside its baselines on the same bars it never saw. Any thread; numpy only.

Everything is computed here from first principles; the tests compare with scikit-learn and scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ml.api import ForecastMetrics, PointMetrics
from ml.dataset import ForecastDataset, Part
from ml.features import FloatArray, IntArray

SIGNIFICANCE = 0.05
_RIDGE_STRENGTHS = tuple(10.0**power for power in range(-2, 7))
_Z95 = 1.959963984540054


def normal_cdf(z: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 1, equal values sharing their mean rank, shape (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: FloatArray = last - (counts - 1) / 2.0
    return mean_rank[inverse]


def correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Return Pearson's correlation, or None where one of them is constant."""
    da, db = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(da @ da) * float(db @ db))
    return float(da @ db) / scale if scale > 1e-300 else None


def rank_correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Return Spearman's correlation, or None where one of them is constant."""
    return correlation(ranks(a), ranks(b))


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share observed in `count` independent trials."""
    z2 = _Z95 * _Z95
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return centre - half, centre + half


def mean_pinball(quantiles: FloatArray, outcome: FloatArray, levels: Sequence[float]) -> float:
    """Return the mean pinball loss over all levels; quantiles (n, Q) or (Q,), outcome (n,)."""
    error = outcome[:, None] - quantiles
    tau = np.asarray(levels)
    return float(np.maximum(tau * error, (tau - 1.0) * error).mean())


def long_run_variance(values: FloatArray, horizon: int) -> float:
    """Return the Newey-West variance of the mean's numerator for overlapping forecasts.

    The lag covers the overlap of the horizon and, for clustered volatility, the usual 4 (n / 100)^(2/9).
    """
    count = len(values)
    lags = min(count - 1, max(horizon - 1, math.floor(4.0 * (count / 100.0) ** (2.0 / 9.0))))
    centred = values - values.mean()
    total = float(centred @ centred) / count
    for lag in range(1, lags + 1):
        weight = 1.0 - lag / (lags + 1.0)
        total += 2.0 * weight * float(centred[lag:] @ centred[:-lag]) / count
    return max(total, 0.0)


def edge_p_value(forecast: FloatArray, outcome: FloatArray, horizon: int) -> float:
    """Return the one-sided p-value that squared errors are smaller than those of the zero forecast.

    Diebold and Mariano's statistic. An estimated model that knows nothing adds noise and so loses on average, which
    makes the test conservative: it rarely claims an edge that is not there.
    """
    gain = outcome**2 - (outcome - forecast) ** 2
    variance = long_run_variance(gain, horizon)
    if variance <= 0.0:
        return 1.0
    return normal_cdf(-float(gain.mean()) / math.sqrt(variance / len(gain)))


def point_metrics(name: str, forecast: FloatArray, outcome: FloatArray, horizon: int) -> PointMetrics:
    """Return the errors of a point forecast; both arrays are log returns over the horizon, shape (n,)."""
    error = outcome - forecast
    zero_mae = float(np.abs(outcome).mean())
    zero_mse = float((outcome**2).mean())
    signed = (forecast != 0.0) & (outcome != 0.0)
    hits = float(np.mean(np.sign(forecast[signed]) == np.sign(outcome[signed]))) if signed.any() else None
    interval: tuple[float | None, float | None] = (None, None)
    if hits is not None:
        interval = wilson_interval(hits, max(1.0, np.count_nonzero(signed) / horizon))
    return PointMetrics(
        name=name,
        mae=float(np.abs(error).mean()),
        rmse=math.sqrt(float((error**2).mean())),
        skill=1.0 - float(np.abs(error).mean()) / zero_mae if zero_mae else 0.0,
        r2=1.0 - float((error**2).mean()) / zero_mse if zero_mse else 0.0,
        ic=correlation(forecast, outcome),
        rank_ic=rank_correlation(forecast, outcome),
        hit_rate=hits,
        hit_low=interval[0],
        hit_high=interval[1],
    )


def ridge_forecast(data: ForecastDataset, rows: IntArray) -> FloatArray:
    """Fit a ridge regression on the training part and forecast `rows`.

    The strength is chosen on the validation part; inputs are the model's own scaled features of one bar.

    Returns:
        Log returns over the horizon, shape (len(rows),).
    """
    x, y = _design(data, data.train)
    x_valid, y_valid = _design(data, data.valid)
    gram, moment = x.T @ x, x.T @ y
    best: FloatArray = np.zeros(x.shape[1])
    best_error = math.inf
    for strength in _RIDGE_STRENGTHS:
        penalty = np.full(x.shape[1], strength)
        penalty[0] = 0.0  # the intercept is free
        weights = np.asarray(np.linalg.solve(gram + np.diag(penalty + 1e-9), moment), np.float64)
        error = float(((y_valid - x_valid @ weights) ** 2).mean())
        if error < best_error:
            best, best_error = weights, error
    forecast: FloatArray = _with_intercept(data.inputs[rows].astype(np.float64)) @ best
    return forecast


def _design(data: ForecastDataset, part: Part) -> tuple[FloatArray, FloatArray]:
    rows = data.rows(part)
    return _with_intercept(data.inputs[rows].astype(np.float64)), data.log_return[rows, 0]


def _with_intercept(x: FloatArray) -> FloatArray:
    return np.column_stack([np.ones(len(x)), x])


def evaluate_forecast(
    data: ForecastDataset,
    rows: IntArray,
    quantiles: FloatArray,
    levels: tuple[float, ...],
    valid_medians: FloatArray,
) -> ForecastMetrics:
    """Judge quantile forecasts of test rows beside the baselines on the same rows.

    Args:
        data: the dataset.
        rows: test rows that were forecast, shape (n,).
        quantiles: log returns over the horizon, shape (n, Q).
        levels: of the quantiles, the median in the middle.
        valid_medians: forecasts of validation rows, for the unit of the z-score, shape (m,).
    """
    outcome = data.log_return[rows, 0]
    median = quantiles[:, len(levels) // 2]
    model = point_metrics("model", median, outcome, data.horizons[0])
    persistence = point_metrics("persistence", np.zeros(len(rows)), outcome, data.horizons[0])
    ridge = point_metrics("ridge", ridge_forecast(data, rows), outcome, data.horizons[0])
    train_quantiles = np.quantile(data.log_return[data.rows(data.train), 0], levels)
    p_value = edge_p_value(median, outcome, data.horizons[0])
    edge = p_value < SIGNIFICANCE and model.r2 > 0.0 and (model.ic or 0.0) > 0.0
    inside = (outcome >= quantiles[:, 0]) & (outcome <= quantiles[:, -1])
    return ForecastMetrics(
        targets=len(rows),
        effective_targets=len(rows) // data.horizons[0],
        model=model,
        baselines=(persistence, ridge),
        pinball=mean_pinball(quantiles, outcome, levels),
        pinball_baseline=mean_pinball(train_quantiles, outcome, levels),
        coverage=float(inside.mean()),
        nominal_coverage=levels[-1] - levels[0],
        edge_p_value=p_value,
        edge=edge,
        forecast_std=float(valid_medians.std()),
        target_std=float(data.log_return[data.rows(data.train), 0].std()),
        verdict=verdict(model, ridge, len(rows), p_value, edge=edge),
    )


def verdict(model: PointMetrics, ridge: PointMetrics, targets: int, p_value: float, *, edge: bool) -> str:
    """Return one sentence that does not promise more than the figures."""
    figures = f"R² {model.r2:+.2%} on {targets:,} unseen bars, p = {p_value:.3f}"
    if p_value < 0.001:
        figures = f"R² {model.r2:+.2%} on {targets:,} unseen bars, p < 0.001"
    if not edge:
        return f"No evidence of an edge over persistence ({figures})."
    if ridge.r2 >= model.r2:
        return f"Evidence of an edge over persistence before costs ({figures}); a ridge regression does as well."
    return f"Evidence of an edge over persistence before costs ({figures})."
