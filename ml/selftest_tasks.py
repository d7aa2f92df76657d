"""Processes whose best possible forecast is known, and what it reaches. Pure functions, any thread; numpy only."""

from __future__ import annotations

import math

import numpy as np

from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from ml.arrays import FloatArray
from ml.metrics.distributions import normal_pdf, normal_ppf

HOURS_PER_DAY = 24
_START_NS = 1_600_000_000_000_000_000 // Timeframe.D1.ns * Timeframe.D1.ns  # midnight: row 0 is hour 0
_SYMBOL = "TEST/USDT"


def bars_of_returns(returns: FloatArray, seed: int) -> CandleFrame:
    """Return hourly bars from midnight on whose closes have the given log returns.

    Highs, lows and volumes are drawn independently: they say nothing about any return.
    """
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(returns))
    open_ = np.concatenate([[100.0], close[:-1]])
    tips = np.abs(rng.normal(0.0, 0.002, (2, len(returns))))
    return CandleFrame(
        time_ns=_START_NS + np.arange(len(returns), dtype=np.int64) * Timeframe.H1.ns,
        open=open_,
        high=np.maximum(open_, close) * (1.0 + tips[0]),
        low=np.minimum(open_, close) * (1.0 - tips[1]),
        close=close,
        volume=rng.lognormal(3.0, 0.5, len(returns)),
        final=np.ones(len(returns), np.bool_),
        symbol=_SYMBOL,
        timeframe=Timeframe.H1,
    )


# --- generators: log returns per bar ----------------------------------------------------------------------------


def noise(size: int, seed: int, sigma: float = 0.01) -> FloatArray:
    """Return independent normal returns."""
    values: FloatArray = np.random.default_rng(seed).normal(0.0, sigma, size)
    return values


def autoregression(phi: FloatArray, seed: int, sigma: float = 0.01) -> FloatArray:
    """Return r' = φ r + σ ε from 0 on, with one φ for every bar."""
    shocks = noise(len(phi), seed, sigma)
    values = np.empty(len(phi))
    last = 0.0
    for row, shock in enumerate(shocks):
        last = phi[row] * last + shock
        values[row] = last
    return values


def sinusoid(size: int, period: int, amplitude: float) -> FloatArray:
    """Return the returns of a price P0 (1 + A sin(2πt/T)); the first one is 0.

    Raises:
        ValueError: the turning points would not fall on bars.
    """
    if period % 4:
        raise ValueError("a quarter of the period must be a whole number of bars")
    price = 1.0 + amplitude * np.sin(2.0 * np.pi * np.arange(size) / period)
    returns: FloatArray = np.diff(np.log(price), prepend=0.0)
    return returns


def daily_volatility(size: int, swing: float, sigma: float = 0.01) -> FloatArray:
    """Return a σ for every bar that follows the hour: σ e^(swing · sin(2π hour/24)); e^(2 swing) from low to high."""
    hour = np.arange(size) % HOURS_PER_DAY
    values: FloatArray = sigma * np.exp(swing * np.sin(2.0 * np.pi * hour / HOURS_PER_DAY))
    return values


def garch(size: int, seed: int, *, alpha: float, beta: float, sigma: float = 0.01) -> tuple[FloatArray, FloatArray]:
    """Return the returns and the σ of each bar of σ'² = (1 − α − β) σ̄² + α r² + β σ² with normal innovations."""
    shocks = noise(size, seed, 1.0)
    returns, deviations = np.empty(size), np.empty(size)
    variance = sigma**2
    for row, shock in enumerate(shocks):
        deviations[row] = math.sqrt(variance)
        returns[row] = deviations[row] * shock
        variance = (1.0 - alpha - beta) * sigma**2 + alpha * returns[row] ** 2 + beta * variance
    return returns, deviations


# --- optima -----------------------------------------------------------------------------------------------------


def ar1_r2(phi: float) -> float:
    """Return the R² of the forecast φ r against a price that stays."""
    return phi * phi


def ar1_wrong_sign_r2(phi: float) -> float:
    """Return the R² of the forecast φ r after φ has become −φ."""
    return -3.0 * phi * phi


def ar1_r2_error(phi: float, count: int) -> float:
    """Return the standard error of the R² of φ r over `count` bars.

    One bar gains r'² − (r' − f)² = f² + 2fσε with f = φ r: variance 4φ²σ²s² to leading order, s² that of returns.
    """
    return 2.0 * abs(phi) * math.sqrt(1.0 - phi * phi) / math.sqrt(count)


def ar1_hit_rate(phi: float) -> float:
    """Return the share of right signs of φ r: the orthant probability of two normal variables correlated by |φ|."""
    return 0.5 + math.asin(abs(phi)) / math.pi


def ar1_sign_sharpe(phi: float) -> float:
    """Return the Sharpe ratio per bar of holding the sign of φ r."""
    return abs(phi) * math.sqrt(2.0 / math.pi) / math.sqrt(1.0 - 2.0 * phi * phi / math.pi)


def sinusoid_profit(amplitude: float, cost: float = 0.0) -> float:
    """Return the log profit per period of the right sign at every bar; two flips of ±1 turn over four units."""
    return 2.0 * math.log((1.0 + amplitude) / (1.0 - amplitude)) - 4.0 * cost


def normal_crps(sigma: FloatArray) -> float:
    """Return the expected CRPS of N(0, σ²) forecast as such, averaged: E[σ]/√π."""
    return float(sigma.mean()) / math.sqrt(math.pi)


def normal_pinball(sigma: FloatArray, level: float) -> float:
    """Return the expected pinball loss of the true quantile of N(0, σ²), averaged: E[σ] · density at the quantile."""
    return float(sigma.mean()) * float(normal_pdf(normal_ppf(level)))


def normal_quantiles(sigma: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Return the true quantiles of N(0, σ²), shape (n, Q)."""
    quantiles: FloatArray = sigma[:, None] * normal_ppf(levels)[None, :]
    return quantiles


def r2_gain(outcome: FloatArray, forecast: FloatArray) -> float:
    """Return the out-of-sample R² against a price that stays."""
    return 1.0 - float(((outcome - forecast) ** 2).sum()) / float((outcome**2).sum())
