"""Rules an agent is measured against, in the same accounts with the same costs. Any thread; numpy, numba.

A rule with a parameter takes the one that did best on the training bars, so that none is chosen by what came out on the
judged ones. All rules know of a bar what the agent knows of it: its close and what was before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ml.agents.accounts import JudgedMarket, JudgedPart, bars_between, log_returns
from ml.agents.hindsight import hindsight_bound
from ml.agents.results import RandomTiming
from ml.arrays import FloatArray, IntArray, finite_series
from ml.bootstrap import sharpe
from ml.trading_metrics import simple_from_log

FLAT = "flat"
BUY_AND_HOLD = "hold"
SHORT_AND_HOLD = "short"
VOLATILITY_TARGET = "volatility_target"
MOMENTUM = "momentum"
REVERSION = "mean_reversion"
FORECAST = "forecast_sign"
LOOKBACKS = (1, 3, 6, 12, 24, 48, 96, 168)
_TAIL = 0.05
_GRID = 5  # weights that hindsight chooses among: the highest gains most


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A rule as it is followed on the judged bars.

    Attributes:
        name: of it.
        weights: one per decision row, shape (m,).
        parameter: see `ml.agents.results.BaselineFigures`.
    """

    name: str
    weights: FloatArray
    parameter: float | None = None


def baseline_rules(train: JudgedPart, test: JudgedPart, forecast: FloatArray | None = None) -> Iterator[Rule]:
    """Yield the rules, flat and hold first.

    Args:
        train: stretches that parameters are chosen on.
        test: stretches that are judged, of the same market.
        forecast: of the forecaster the agent builds on, known at the close of each bar, any unit, shape (T,).
    """
    market, rows = test.market, test.rows
    yield Rule(FLAT, np.zeros(len(rows)))
    yield Rule(BUY_AND_HOLD, np.ones(len(rows)))
    if market.lowest < 0.0 and market.rules.allows_short:
        yield Rule(SHORT_AND_HOLD, -np.ones(len(rows)))
    aim = float(np.median(market.volatility[train.rows]))
    yield Rule(VOLATILITY_TARGET, _volatility_targeted(market, aim)[rows], aim)
    for name, side in ((MOMENTUM, 1.0), (REVERSION, -1.0)):
        lookback = _best_lookback(train, side)
        yield Rule(name, _signed(market, side * past_return(market, lookback))[rows], float(lookback))
    if forecast is not None:
        yield Rule(FORECAST, _signed(market, finite_series(forecast[rows])))


def past_return(market: JudgedMarket, lookback: int) -> FloatArray:
    """Return the log return over so many bars up to each close; 0 where a run has not as many, shape (T,)."""
    close = np.log(market.bars.close)
    moved = np.zeros(len(close))
    for start, stop in market.runs:
        moved[start + lookback : stop] = close[start + lookback : stop] - close[start : max(start, stop - lookback)]
    return moved


def random_timing(weights: FloatArray, part: JudgedPart, *, draws: int, seed: int) -> RandomTiming:
    """Return what an agent's targets earn at random times.

    The targets are moved along the bars by a random number of them, what leaves at the end comes back at the
    beginning: how much is traded and held stays the same but for the one place where the ends meet. Those of several
    markets are moved together, each within its market: what is held in them at the same time stays together.

    Args:
        weights: targets of the agent, shape (m,), m >= 2.
        part: to follow them on.
        draws: how many times, at least 1.
        seed: of the draws.
    """
    own = float(log_returns(weights, part).sum())
    markets = [decisions for _, decisions in part.of_markets()]
    shifts = np.random.default_rng(seed).integers(1, max(map(len, markets)), draws)
    earned = np.array([log_returns(_rolled(weights, markets, int(shift)), part).sum() for shift in shifts])
    near = 1e-12 * max(1.0, abs(own))  # a constant policy earns the same whenever it begins
    low, median, high = (float(value) for value in np.quantile(earned, (_TAIL, 0.5, 1.0 - _TAIL)))
    return RandomTiming(
        draws=draws,
        low=low,
        median=median,
        high=high,
        percentile=float((earned < own - near).mean()),
        p_value=(1.0 + float((earned >= own - near).sum())) / (1.0 + draws),
    )


def _rolled(weights: FloatArray, markets: Sequence[IntArray], shift: int) -> FloatArray:
    """Return targets moved along the bars of each market."""
    moved = np.empty_like(weights)
    for decisions in markets:
        moved[decisions] = np.roll(weights[decisions], shift)
    return moved


def hindsight_return(part: JudgedPart) -> float | None:
    """Return the net log return of who knows every price and pays the costs.

    None for several markets at the same time: the best for each alone is not the best for all together.
    """
    if part.slot is not None:
        return None
    market, (lowest, highest) = part.market, part.market.bounds
    grid = np.unique(np.append(np.linspace(lowest, highest, _GRID), 0.0))
    return sum(
        hindsight_bound(
            bars_between(market.bars, start, stop), market.costs, market.rules_at(start), grid, close_out=True
        ).log_return
        for start, stop in part.stretches
    )


def _volatility_targeted(market: JudgedMarket, aim: float) -> FloatArray:
    """Return the share of the account at which holding is as volatile as aimed at, within what may be held."""
    wanted = np.full(len(market.volatility), market.highest)
    np.divide(aim, market.volatility, out=wanted, where=market.volatility > 0.0)
    return np.asarray(np.clip(wanted, max(0.0, market.lowest), market.highest), np.float64)


def _signed(market: JudgedMarket, signal: FloatArray) -> FloatArray:
    """Return the highest weight where a signal is above 0, the lowest where it is below, and nothing at 0."""
    result: FloatArray = np.select([signal > 0.0, signal < 0.0], [market.highest, market.lowest], 0.0)
    return result


def _best_lookback(train: JudgedPart, side: float) -> int:
    """Return the lookback with the highest net Sharpe ratio on the training bars; the shortest of equal ones."""
    ratios = []
    for lookback in LOOKBACKS:
        weights = _signed(train.market, side * past_return(train.market, lookback))[train.rows]
        # Stretches too short for a lookback do not recommend it.
        earned = simple_from_log(log_returns(weights, train))
        ratios.append(float(sharpe(earned)) if weights.any() else -math.inf)
    return LOOKBACKS[int(np.argmax(ratios))]
