"""How much of a Sharpe ratio is luck: probabilistic and deflated Sharpe ratio, probability of backtest overfitting.

Pure functions, any thread; numpy only. Every Sharpe ratio here is per bar, never annualised: the formulas count bars.
Kurtosis is raw, 3 for a normal distribution.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ml.arrays import BoolArray, FloatArray
from ml.jsonvalues import JsonValue
from ml.metrics.distributions import normal_cdf, normal_ppf
from ml.statistic_results import DeflatedSharpe, SharpeMoments

BLOCKS = 16
_EULER = 0.5772156649015329
_CONSTANT = 1e-12  # a variance below this share of the mean square is rounding
_CELLS = 2_000_000  # split x strategy values held at once


@dataclass(frozen=True, slots=True)
class BacktestOverfitting(JsonValue):
    """Result of combinatorially symmetric cross-validation.

    Attributes:
        pbo: share of splits whose in-sample best ranks at or below the median out of sample.
        strategies / blocks / bars: of the matrix; bars are those used.
        logits: ln(ω / (1 − ω)) of the relative out-of-sample rank ω of each split's best, one per split.
        slope: of the out-of-sample on the in-sample Sharpe ratio of the best; None where the latter never varies.
        probability_of_loss: share of splits whose best loses money out of sample.
    """

    pbo: float
    strategies: int
    blocks: int
    bars: int
    logits: tuple[float, ...]
    slope: float | None
    probability_of_loss: float


def sharpe_moments(returns: FloatArray) -> SharpeMoments | None:
    """Measure returns per bar, shape (n,).

    Returns:
        None for fewer than three returns or constant ones.

    Raises:
        ValueError: a return is not finite.
    """
    if not np.isfinite(returns).all():
        raise ValueError("a return is not finite")
    count = len(returns)
    if count < 3:
        return None
    mean = float(returns.mean())
    centred = returns - mean
    variance = float(centred @ centred) / count
    if variance <= _CONSTANT * _CONSTANT * mean * mean or variance == 0.0:
        return None
    scaled = centred / math.sqrt(variance)
    return SharpeMoments(
        sharpe=mean / math.sqrt(variance * count / (count - 1)),
        count=count,
        skew=float((scaled**3).mean()),
        kurtosis=float((scaled**4).mean()),
    )


def probabilistic_sharpe(moments: SharpeMoments, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio exceeds a benchmark (Bailey & López de Prado 2012).

    Φ((SR − SR*) √(T − 1) / √(1 − γ3 SR + (γ4 − 1)/4 SR²)).

    Raises:
        ValueError: moments no sample can have.
    """
    deviation = math.sqrt(_variance_factor(moments))
    return float(normal_cdf((moments.sharpe - benchmark) * math.sqrt(moments.count - 1) / deviation))


def sharpe_probability(moments: SharpeMoments | None) -> float | None:
    """Return the probability that the true Sharpe ratio is above 0; None for moments no sample has.

    Those come from a package of somebody else.
    """
    try:
        return None if moments is None else probabilistic_sharpe(moments)
    except ValueError:
        return None


def minimum_track_record(moments: SharpeMoments, benchmark: float = 0.0, confidence: float = 0.95) -> float | None:
    """Return how many bars it takes to believe that the Sharpe ratio exceeds a benchmark (same paper).

    1 + (1 − γ3 SR + (γ4 − 1)/4 SR²) (Φ⁻¹(confidence) / (SR − SR*))²; None where the ratio is not above it.
    """
    excess = moments.sharpe - benchmark
    if excess <= 0.0:
        return None
    return 1.0 + _variance_factor(moments) * (float(normal_ppf(confidence)) / excess) ** 2


def is_possible(moments: SharpeMoments) -> bool:
    """Return whether a sample can have such moments: the kurtosis of n numbers is at most n."""
    try:
        _variance_factor(moments)
    except ValueError:
        return False
    return moments.kurtosis <= moments.count


def _variance_factor(moments: SharpeMoments) -> float:
    sharpe = moments.sharpe
    factor = 1.0 - moments.skew * sharpe + (moments.kurtosis - 1.0) / 4.0 * sharpe * sharpe
    if moments.count < 2 or moments.kurtosis < 1.0 + moments.skew**2 - 1e-9 or factor <= 0.0:
        raise ValueError("no sample has such moments")
    return factor


def expected_maximum_sharpe(trials: float, trial_std: float) -> float:
    """Return the Sharpe ratio that the best of `trials` worthless trials shows (Bailey & López de Prado 2014).

    √V [(1 − γ) Φ⁻¹(1 − 1/N) + γ Φ⁻¹(1 − 1/(N e))] with Euler's γ; 0 for a single trial, from which nothing was picked.

    Raises:
        ValueError: fewer than one trial, or a negative deviation.
    """
    if not trials >= 1.0 or not trial_std >= 0.0:
        raise ValueError("at least one trial and no negative deviation")
    if trials == 1.0:
        return 0.0
    first = float(normal_ppf(1.0 - 1.0 / trials))
    second = float(normal_ppf(1.0 - 1.0 / (trials * math.e)))
    # Between one and two trials the approximation dips below zero: picking never makes a ratio less remarkable.
    return trial_std * max(0.0, (1.0 - _EULER) * first + _EULER * second)


def deflated_sharpe(moments: SharpeMoments, trials: float, trial_std: float) -> DeflatedSharpe:
    """Return the probabilistic Sharpe ratio against the best of so many worthless trials (same paper).

    Args:
        moments: of the trial that was picked.
        trials: all that were ever run.
        trial_std: standard deviation of the trials' Sharpe ratios per bar.
    """
    threshold = expected_maximum_sharpe(trials, trial_std)
    return DeflatedSharpe(float(trials), float(trial_std), threshold, probabilistic_sharpe(moments, threshold))


def backtest_overfitting(returns: FloatArray, blocks: int = BLOCKS) -> BacktestOverfitting:
    """Return the probability of backtest overfitting (Bailey, Borwein, López de Prado & Zhu 2017).

    The bars are cut into equal blocks; every half of them is in sample once and the other half out of sample. The
    oldest bars that fill no block are left out. A strategy that does nothing in a half has a Sharpe ratio of 0 there;
    equal ratios share their mean rank.

    Args:
        returns: per bar of every strategy tried, on the same bars, shape (T, N).
        blocks: S, even.

    Raises:
        ValueError: fewer than two strategies, too few bars, an odd number of blocks, or a strategy that earns the same
            on every bar of a half, which has no Sharpe ratio.
    """
    bars, strategies = _checked(returns).shape
    size = bars // blocks if blocks > 0 else 0
    if blocks < 2 or blocks % 2 or strategies < 2 or size * blocks < 2 * blocks:
        raise ValueError("at least two strategies, two bars per block and an even number of blocks")
    used = returns[bars - size * blocks :].reshape(blocks, size, strategies)
    sums, squares = used.sum(axis=1), (used**2).sum(axis=1)
    half = size * blocks // 2
    inside = _halves(blocks)
    step = max(1, _CELLS // strategies)
    parts = [_best_of(inside[at : at + step], sums, squares, half) for at in range(0, len(inside), step)]
    in_best, out_best, rank = (np.concatenate(part) for part in zip(*parts, strict=True))
    omega = rank / (strategies + 1.0)
    logits = np.log(omega / (1.0 - omega))
    spread = in_best - in_best.mean()
    varies = float(spread @ spread)
    return BacktestOverfitting(
        pbo=float((omega <= 0.5).mean()),
        strategies=strategies,
        blocks=blocks,
        bars=size * blocks,
        logits=tuple(logits.tolist()),
        slope=float(spread @ out_best) / varies if varies > 1e-24 else None,
        probability_of_loss=float((out_best < 0.0).mean()),
    )


def _halves(blocks: int) -> BoolArray:
    """Return which blocks are in sample for every choice of half of them, shape (C(S, S/2), S)."""
    chosen = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    inside = np.zeros((len(chosen), blocks), np.bool_)
    np.put_along_axis(inside, chosen, True, axis=1)
    return inside


def _best_of(
    inside: BoolArray, sums: FloatArray, squares: FloatArray, half: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return in- and out-of-sample ratio and out-of-sample rank from 1 of each split's best, shapes (splits,)."""
    mask = inside.astype(np.float64)
    in_ratio = _ratios(mask @ sums, mask @ squares, half)
    out_ratio = _ratios((1.0 - mask) @ sums, (1.0 - mask) @ squares, half)
    best = in_ratio.argmax(axis=1)
    row = np.arange(len(best))
    chosen = out_ratio[row, best]
    below = (out_ratio < chosen[:, None]).sum(axis=1)
    equal = (out_ratio == chosen[:, None]).sum(axis=1)
    return in_ratio[row, best], chosen, below + (equal + 1.0) / 2.0


def _ratios(sums: FloatArray, squares: FloatArray, count: int) -> FloatArray:
    """Return Sharpe ratios from sums of returns and of their squares, any shape."""
    mean = sums / count
    variance = squares / count - mean**2
    still = variance <= _CONSTANT * squares / count
    if (still & (sums != 0.0)).any():
        raise ValueError("a strategy earns the same on every bar of a half and has no Sharpe ratio")
    ratio: FloatArray = np.where(still, 0.0, mean / np.sqrt(np.where(still, 1.0, variance) * count / (count - 1)))
    return ratio


def _checked(returns: FloatArray) -> FloatArray:
    if returns.ndim != 2 or not returns.size:
        raise ValueError("returns have the shape (bars, strategies)")
    if not np.isfinite(returns).all():
        raise ValueError("a return is not finite")
    return returns
