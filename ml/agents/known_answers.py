"""Trading problems whose best policy is known: what it does and what it gains. Pure functions, any thread; numpy only.

Gains are per bar and in the units of the problem's own price, as the formulas have them. A policy maps the state that
the market is in and the position held to the position to hold next; states and positions may be arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.accounting.reference import LEAST_RATIO
from ml.agents.value_iteration import normal_cells, relative_value_iteration
from ml.arrays import FloatArray, IntArray
from ml.metrics.distributions import normal_cdf, normal_pdf, normal_ppf

_OU_POINTS, _OU_DEVIATIONS = 401, 5.0  # 801 points move the gain of task E by less than 1e-5
_CFM_STATES, _CFM_POSITIONS = 61, 161  # finer ones move the gain by less than 0.1 %

_LEAK_SWEEPS, _LEAK_TOLERANCE, _LEAK_ROUNDING = 10_000, 1e-6, 1e-13


class Policy(Protocol):
    """A best policy."""

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """Return the position to hold from `state` on where `position` is held."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """The same position whatever happens."""

    position: float

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """See `Policy`."""
        return np.full(np.broadcast(state, position).shape, self.position)


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """Follow the state once it is beyond the band, at `slope` · ∞ cut to ±1; keep the position within it.

    Attributes:
        band: half its width.
        sign: 1 to be long above the band, -1 to be long below it.
    """

    band: float
    sign: float

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """See `Policy`."""
        return np.where(np.abs(state) > self.band, self.sign * np.sign(state), position)


@dataclass(frozen=True, slots=True)
class Linear:
    """`keep` of the position and `slope` times the state: the part of the way to a moving aim."""

    keep: float
    slope: float

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """See `Policy`."""
        return self.keep * position + self.slope * state


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Trade to the nearer edge of a band that moves with the state.

    Attributes:
        states: rising, shape (n,); beyond them the edges stay as they are.
        lower / upper: edges there, shape (n,).
    """

    states: FloatArray
    lower: FloatArray
    upper: FloatArray

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """See `Policy`."""
        lowest, highest = np.interp(state, self.states, self.lower), np.interp(state, self.states, self.upper)
        return np.minimum(np.maximum(position, lowest), highest)


@dataclass(frozen=True, slots=True)
class Phase:
    """Long where a sinusoid rises until the next bar; the state is how far into the cycle it is, 0 to 1."""

    period: int

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """See `Policy`."""
        return np.where(np.cos(2.0 * np.pi * (state + 0.5 / self.period)) >= 0.0, 1.0, -1.0) + 0.0 * position


@dataclass(frozen=True, slots=True)
class Unwind:
    """Sell along the trajectory of Almgren and Chriss; the state is the number of trades left, this one included."""

    urgency: float

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """See `Policy`."""
        if self.urgency == 0.0:
            return position * (1.0 - 1.0 / state)
        return position * np.sinh(self.urgency * (state - 1.0)) / np.sinh(self.urgency * state)


# --- D: Ornstein-Uhlenbeck price, no cost ------------------------------------------------------------------------


def ou_deviation(kappa: float, sigma: float) -> float:
    """Return the standard deviation of X' = X − κX + σε."""
    return sigma / math.sqrt(kappa * (2.0 - kappa))


def ou_gain(kappa: float, sigma: float) -> float:
    """Return what −sign(X) gains: κ E|X|."""
    return kappa * ou_deviation(kappa, sigma) * math.sqrt(2.0 / math.pi)


def ou_sharpe(kappa: float, sigma: float) -> float:
    """Return the Sharpe ratio per bar of −sign(X)."""
    mean, spread = ou_gain(kappa, sigma), kappa * ou_deviation(kappa, sigma)
    return mean / math.sqrt(sigma**2 + spread**2 - mean**2)


# --- E: Ornstein-Uhlenbeck price, proportional cost --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OuWithCost:
    """Best trading of an OU price within ±1.

    Attributes:
        gain: per bar.
        band: |X| at which the position turns.
    """

    gain: float
    band: float

    @property
    def policy(self) -> Hysteresis:
        """Short above the band, long below it."""
        return Hysteresis(self.band, -1.0)


def ou_with_cost(kappa: float, sigma: float, cost: float, *, points: int = _OU_POINTS) -> OuWithCost:
    """Solve the OU price with `cost` per unit traded, by relative value iteration on a grid of `points` prices."""
    reach = _OU_DEVIATIONS * ou_deviation(kappa, sigma)
    prices = np.linspace(-reach, reach, points)
    positions = np.array([-1.0, 0.0, 1.0])
    solved = relative_value_iteration(
        reward=-kappa * prices[:, None] * positions[None, :],
        transition=normal_cells((1.0 - kappa) * prices, sigma, prices),
        positions=positions,
        cost=cost,
    )
    advantage = solved.after[:, 2] - solved.after[:, 0]  # of long over short; falls with the price
    turn = float(np.interp(-2.0 * cost, -advantage, prices))
    return OuWithCost(solved.gain, abs(turn))


# --- G: geometric Brownian motion with drift, logarithmic or power utility ---------------------------------------


def kelly_weight(
    drift: float, sigma: float, risk_aversion: float = 1.0, *, lowest: float = -math.inf, highest: float = math.inf
) -> float:
    """Return the best constant weight μ/γσ², cut to the allowed range: what is gained is concave in the weight."""
    return min(max(drift / (risk_aversion * sigma**2), lowest), highest)


def kelly_growth(drift: float, sigma: float, weight: float, risk_aversion: float = 1.0) -> float:
    """Return the certainty equivalent of the growth per bar with a weight: wμ − γw²σ²/2."""
    return weight * drift - 0.5 * risk_aversion * (weight * sigma) ** 2


# --- H: Gârleanu-Pedersen, quadratic cost ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignalMarket:
    """A signal f' = (1−φ)f + ε foretells returns Bf + σu; a position costs γσ²x²/2 per bar and λσ²Δx²/2 to change.

    Attributes:
        slope: B.
        decay: φ.
        shock: standard deviation of ε.
        sigma: σ.
        risk_aversion: γ.
        cost: λ.
    """

    slope: float = 1.0
    decay: float = 0.2
    shock: float = 0.3
    sigma: float = 1.0
    risk_aversion: float = 1.0
    cost: float = 4.0

    @property
    def signal_variance(self) -> float:
        """Of f."""
        return self.shock**2 / (self.decay * (2.0 - self.decay))

    @property
    def trading_rate(self) -> float:
        """Share of the way to the aim that is traded each bar: a/λ (without discount)."""
        gamma, lam = self.risk_aversion, self.cost
        return 2.0 * gamma / (gamma + math.sqrt(gamma**2 + 4.0 * gamma * lam))  # (−γ + √…)/2λ, also for λ = 0

    @property
    def aim(self) -> float:
        """Position aimed at per unit of the signal."""
        rate = self.trading_rate * self.cost
        markowitz = self.slope / (self.risk_aversion * self.sigma**2)
        return markowitz / (1.0 + self.decay * rate / self.risk_aversion)

    @property
    def policy(self) -> Linear:
        """The best policy."""
        return Linear(1.0 - self.trading_rate, self.trading_rate * self.aim)

    @property
    def markowitz(self) -> Linear:
        """At each bar the best position without costs."""
        return Linear(0.0, self.slope / (self.risk_aversion * self.sigma**2))

    @property
    def myopic(self) -> Linear:
        """At each bar what is best for that bar alone, its cost included."""
        weight = self.risk_aversion + self.cost
        return Linear(self.cost / weight, self.slope / (self.sigma**2 * weight))

    def value(self, policy: Linear) -> float:
        """Return what a linear policy gains per bar, from the stationary moments of signal and position."""
        keep, slope, lag = policy.keep, policy.slope, 1.0 - self.decay
        signal = self.signal_variance
        joint = slope * signal / (1.0 - keep * lag)  # E[xf]
        square = (2.0 * keep * slope * lag * joint + slope**2 * signal) / (1.0 - keep**2)  # E[x²]
        change = 2.0 * square - 2.0 * (keep * square + slope * lag * joint)
        risk = 0.5 * self.sigma**2 * (self.risk_aversion * square + self.cost * change)
        return self.slope * joint - risk


# --- I: the three problems of Chaouki et al. (arXiv 2003.06497) --------------------------------------------------


@dataclass(frozen=True, slots=True)
class CfmMarket:
    """Reward pπ' − λπ'² − cost of the trade with a predictor p' = (1−θ)p + ε.

    Attributes:
        decay: θ.
        shock: standard deviation of ε.
        risk: λ.
        cost: ψ, per unit traded or per unit squared.
    """

    decay: float = 0.1
    shock: float = 0.1
    risk: float = 0.3
    cost: float = 0.1

    @property
    def deviation(self) -> float:
        """Standard deviation of p."""
        return ou_deviation(self.decay, self.shock)

    def as_signal(self, sigma: float, *, quadratic: bool) -> SignalMarket:
        """Return the same problem as one of returns with volatility `sigma`; without a quadratic cost there is none."""
        cost = 2.0 * self.cost / sigma**2 if quadratic else 0.0
        return SignalMarket(1.0, self.decay, self.shock, sigma, 2.0 * self.risk / sigma**2, cost)


def cfm_free_policy(market: CfmMarket) -> Linear:
    """Return the best policy without a cost of trading: p/2λ."""
    return Linear(0.0, 0.5 / market.risk)


def cfm_free_gain(market: CfmMarket) -> float:
    """Return what it gains: E[p²]/4λ."""
    return market.deviation**2 / (4.0 * market.risk)


def cfm_quadratic_policy(market: CfmMarket) -> Linear:
    """Return the best policy with cost ψΔ²: that of Gârleanu and Pedersen."""
    return market.as_signal(1.0, quadratic=True).policy


def cfm_quadratic_gain(market: CfmMarket) -> float:
    """Return what it gains."""
    return market.as_signal(1.0, quadratic=True).value(cfm_quadratic_policy(market))


def cfm_myopic_policy(market: CfmMarket) -> Linear:
    """Return (p + 2ψπ)/2(λ + ψ), the best for one bar with cost ψΔ², which the article compares with."""
    weight = market.risk + market.cost
    return Linear(market.cost / weight, 0.5 / weight)


@dataclass(frozen=True, slots=True, eq=False)
class CfmBand:
    """Best trading of the predictor with cost ψ|Δ|, by relative value iteration.

    Attributes:
        gain: per bar.
        policy: the band.
    """

    gain: float
    policy: Band


def cfm_linear(market: CfmMarket) -> CfmBand:
    """Solve the problem with cost ψ|Δ| on a grid of predictors and positions.

    Edges of the band are where the parabola through the best point of the grid and its neighbours is highest.
    """
    reach = _OU_DEVIATIONS * market.deviation
    signals = np.linspace(-reach, reach, _CFM_STATES)
    furthest = 0.5 * reach / market.risk
    positions = np.linspace(-furthest, furthest, _CFM_POSITIONS)
    solved = relative_value_iteration(
        reward=signals[:, None] * positions[None, :] - market.risk * positions[None, :] ** 2,
        transition=normal_cells((1.0 - market.decay) * signals, market.shock, signals),
        positions=positions,
        cost=market.cost,
    )
    paid = market.cost * positions[None, :]
    lower, upper = _peaks(solved.after - paid, positions), _peaks(solved.after + paid, positions)
    return CfmBand(solved.gain, Band(signals, lower, upper))


def _peaks(values: FloatArray, positions: FloatArray) -> FloatArray:
    """Return the position where each row of concave values is highest, between the points of the grid."""
    best = np.clip(values.argmax(axis=1), 1, len(positions) - 2)
    rows = np.arange(len(values))
    left, middle, right = (values[rows, best + step] for step in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    shift = np.where(bend < 0.0, 0.5 * (left - right) / np.where(bend < 0.0, bend, -1.0), 0.0)
    peaks: FloatArray = positions[best] + np.clip(shift, -1.0, 1.0) * (positions[1] - positions[0])
    return peaks


# --- J: Almgren-Chriss -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unwinding:
    """A position of 1 is sold in so many trades.

    Attributes:
        trades: the last one sells what is left.
        sigma: of the price per bar.
        cost: η: a trade of n costs ηn².
        risk_aversion: λ: holding x over a bar costs λσ²x².
    """

    trades: int = 20
    sigma: float = 1.0
    cost: float = 1.0
    risk_aversion: float = 0.02

    @property
    def urgency(self) -> float:
        """κ with 2(cosh κ − 1) = λσ²/η."""
        return math.acosh(1.0 + 0.5 * self.risk_aversion * self.sigma**2 / self.cost)

    @property
    def policy(self) -> Unwind:
        """The best policy."""
        return Unwind(self.urgency)

    def trajectory(self) -> FloatArray:
        """Return what is held before the first trade and after each, shape (trades + 1,)."""
        left = np.arange(self.trades, -1, -1, dtype=np.float64)
        if self.urgency == 0.0:
            return left / self.trades
        held: FloatArray = np.sinh(self.urgency * left) / math.sinh(self.urgency * self.trades)
        return held

    def total_cost(self, held: FloatArray) -> float:
        """Return what a trajectory costs: trades and the risk of what is held between them."""
        trading = self.cost * float((np.diff(held) ** 2).sum())
        return trading + self.risk_aversion * self.sigma**2 * float((held[1:] ** 2).sum())


# --- M: the next return is known ---------------------------------------------------------------------------------


def leak_threshold_gain(sigma: float, cost: float) -> float:
    """Return what turning to the sign of a known next return gains where it exceeds the cost: E(|ε| − c)⁺.

    Returns are independent and normal, positions within ±1, and what a position is worth for later bars is the same
    for all: within ±1 a unit more can be had or given away for c on either side.
    """
    ratio = cost / sigma
    return 2.0 * (sigma * float(normal_pdf(ratio)) - cost * float(normal_cdf(-ratio)))


@dataclass(frozen=True, slots=True, eq=False)
class LeakOptimum:
    """Best trading of independent returns when the next one is known, with nothing known of those after it.

    Attributes:
        gain: log return per bar, net of costs.
        returns: log returns that were told apart, rising, shape (S,).
        positions: weights, rising, shape (A,).
        choice: index of the weight to go to for each known return and weight held, shape (S, A).
    """

    gain: float
    returns: FloatArray
    positions: FloatArray
    choice: IntArray

    def __call__(self, state: FloatArray, position: FloatArray) -> FloatArray:
        """See `Policy`; the state is the next log return."""
        known = np.searchsorted(0.5 * (self.returns[1:] + self.returns[:-1]), state)
        held = np.searchsorted(0.5 * (self.positions[1:] + self.positions[:-1]), position)
        target: FloatArray = self.positions[self.choice[known, held]]
        return target


def normal_outcomes(sigma: float, count: int = 400) -> FloatArray:
    """Return equally likely values that stand for a normal variable: its means between `count` quantiles."""
    edges = normal_ppf(np.linspace(0.0, 1.0, count + 1)[1:-1])
    density = np.concatenate([[0.0], normal_pdf(edges), [0.0]])
    means: FloatArray = sigma * count * -np.diff(density)
    return means


def leak_optimum(returns: FloatArray, cost: float, positions: FloatArray) -> LeakOptimum:
    """Solve the leak task by value iteration over the weight held and the known next return.

    A bar multiplies the equity by 1 + w(e^r − 1) − c|w − held|, and the weight drifts with the price until the next
    decision. What a weight is worth is interpolated between the positions.

    Args:
        returns: log returns that are equally likely, rising.
        cost: c, share of the value traded.
        positions: weights that can be held, rising.
    """
    simple = np.expm1(returns)[:, None]
    grown = simple * positions[None, :]
    drifted = positions * (1.0 + simple) / np.maximum(1.0 + grown, LEAST_RATIO)
    paid = cost * np.abs(positions[:, None] - positions[None, :])
    earned = np.log(np.maximum(1.0 + grown[:, None, :] - paid[None, :, :], LEAST_RATIO))  # return, held, target
    value = np.zeros(len(positions))
    for _ in range(_LEAK_SWEEPS):
        total = earned + np.interp(drifted, positions, value)[:, None, :]
        change = total.max(axis=2).mean(axis=0) - value
        value = value + change - change[0]
        if np.ptp(change) <= _LEAK_TOLERANCE * abs(change).max() + _LEAK_ROUNDING:
            return LeakOptimum(float(change.mean()), returns, positions, total.argmax(axis=2))
    raise ArithmeticError(f"the gain is only known to lie between {change.min():g} and {change.max():g}")
