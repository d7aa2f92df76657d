"""Markets for the trading kernel whose best policy is known. Pure functions, any thread; numpy only.

Every task runs through the very kernel that trades. The formulas of `ml.agents.known_answers` are of prices that add
up; the kernel's are multiplied. A price e^(s·X) with a small s makes them meet: a weight w earns s·w·ΔX, a fee of c·s
is a cost of c per unit traded, and rewards are given times 1/s. A cost that grows with the square of a trade is market
impact with an exponent of 1, in a market whose volume is worth one account: accounts are opened with `CASH`.

Bars open where the one before closed: a decision is filled at the price it was made at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.accounting.rules import CostRates, MarketRules
from ml.agents.known_answers import (
    CfmMarket,
    Constant,
    Hysteresis,
    Phase,
    Policy,
    SignalMarket,
    Unwinding,
    cfm_free_gain,
    cfm_free_policy,
    cfm_linear,
    cfm_quadratic_gain,
    cfm_quadratic_policy,
    kelly_growth,
    kelly_weight,
    leak_optimum,
    normal_outcomes,
    ou_gain,
    ou_with_cost,
)
from ml.arrays import Float32Array, FloatArray
from ml.selftest_tasks import sinusoid, sinusoid_profit

SCALE = 1e-3  # s
CASH = 1.0  # an account's equity at the start: impact is that of its trades on a volume worth this much
LOG_RETURN, MEAN_VARIANCE = "log_return", "mean_variance"
EPISODE = 512
_NO_COSTS = CostRates(taker_fee=0.0, maker_fee=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class TaskMarket:
    """Bars, rules and rewards of a task.

    Attributes:
        task: its name, a key of `TASKS`.
        names: of the features.
        features: known at the close of each bar, shape (T, F).
        open / high / low / close / volume / funding: of the bars, shape (T,).
        volatility: of the next bar's log return, shape (T,).
        costs / rules: of the market.
        reward: "log_return", or "mean_variance": simple return less half the risk aversion times the square of
            weight · volatility.
        reward_scale: rewards are given times this.
        risk_aversion: of "mean_variance".
        lowest / highest: weights.
        episode: decisions until an episode is cut off.
        start_weight: held at the start of an episode.
        close_out: an episode has an end: what is held there is sold with all costs.
        state: what the best policy goes by, shape (T,).
        surprise: part of the bar's log return that nobody can know before, of mean 0; shape (T,).
    """

    task: str
    names: tuple[str, ...]
    features: Float32Array
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    funding: FloatArray
    volatility: FloatArray
    costs: CostRates
    rules: MarketRules
    reward: str
    reward_scale: float
    risk_aversion: float
    lowest: float
    highest: float
    episode: int
    start_weight: float
    close_out: bool
    state: FloatArray
    surprise: FloatArray

    def __len__(self) -> int:
        return len(self.close)

    @property
    def stride(self) -> int:
        """Rows of an episode: those of its decisions and one that is only met. Episodes with an end follow so."""
        return self.episode + 1


@dataclass(frozen=True, slots=True, eq=False)
class KnownTask:
    """A market and its answer.

    Attributes:
        market: the bars.
        policy: the best one, of `market.state` and the position.
        optimum: what it gains per bar, times `market.reward_scale`; of a task with an end: in a whole episode.
    """

    market: TaskMarket
    policy: Policy
    optimum: float


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """What a generator draws: log returns of the bars, features, state, and what of the returns nobody can know."""

    returns: FloatArray
    features: dict[str, FloatArray]
    state: FloatArray
    surprise: FloatArray


def _market(
    task: str,
    series: _Series,
    *,
    volatility: float,
    costs: CostRates = _NO_COSTS,
    scale: float = SCALE,
    risk_aversion: float = 0.0,
    lowest: float = -1.0,
    highest: float = 1.0,
    episode: int = EPISODE,
    start_weight: float = 0.0,
    close_out: bool = False,
) -> TaskMarket:
    """Return bars that open at the close before, with a volume worth `CASH`; a risk aversion pays mean and variance."""
    close = np.exp(np.cumsum(series.returns))
    opened = np.concatenate([[1.0], close[:-1]])
    size = len(close)
    return TaskMarket(
        task=task,
        names=tuple(series.features),
        features=np.stack(list(series.features.values()), axis=1).astype(np.float32),
        open=opened,
        high=np.maximum(opened, close),
        low=np.minimum(opened, close),
        close=close,
        volume=CASH / opened,
        funding=np.zeros(size),
        volatility=np.full(size, volatility),
        costs=costs,
        rules=MarketRules(max_leverage=max(abs(lowest), abs(highest)), allows_short=lowest < 0),
        reward=MEAN_VARIANCE if risk_aversion > 0 else LOG_RETURN,
        reward_scale=1.0 / scale,
        risk_aversion=risk_aversion,
        lowest=lowest,
        highest=highest,
        episode=episode,
        start_weight=start_weight,
        close_out=close_out,
        state=series.state,
        surprise=series.surprise,
    )


def _convexity(volatility: float) -> float:
    """Return by how much the mean of simple returns exceeds that of log returns."""
    return 0.5 * volatility**2


def _autoregressive(shocks: FloatArray, keep: float) -> FloatArray:
    """Return y' = keep · y + shock from a draw of the stationary distribution on, which the first shock scales to."""
    values = np.empty(len(shocks))
    last = shocks[0] / math.sqrt(1.0 - keep * keep)
    values[0] = last
    for row in range(1, len(shocks)):
        last = keep * last + shocks[row]
        values[row] = last
    return values


# --- C: sinusoid -------------------------------------------------------------------------------------------------


def sinusoid_task(rows: int, seed: int, *, period: int = 96, amplitude: float = 0.1, cost: float = 5e-4) -> KnownTask:
    """Return task C; the seed draws where in the cycle it begins. Its gain is per bar too, a period's over its bars."""
    skipped = int(np.random.default_rng(seed).integers(period))
    returns = sinusoid(rows + skipped + 1, period, amplitude)[skipped + 1 :]
    phase = (np.arange(skipped + 1, skipped + 1 + rows) / period) % 1.0
    features = {"sine": np.sin(2.0 * np.pi * phase), "cosine": np.cos(2.0 * np.pi * phase)}
    scale = float(np.abs(returns).mean())
    market = _market(
        "C",
        _Series(returns, features, phase, np.zeros(rows)),
        volatility=float(returns.std()),
        costs=CostRates(taker_fee=cost, maker_fee=cost),
        scale=scale,
    )
    return KnownTask(market, Phase(period), sinusoid_profit(amplitude, cost) / period / scale)


# --- D and E: Ornstein-Uhlenbeck ---------------------------------------------------------------------------------


def ou_task(rows: int, seed: int, *, kappa: float = 0.1, sigma: float = 1.0, cost: float = 0.0) -> KnownTask:
    """Return task D, or E with a cost per unit traded."""
    shocks = np.random.default_rng(seed).normal(0.0, sigma, rows + 1)
    level = _autoregressive(shocks, 1.0 - kappa)
    series = _Series(SCALE * np.diff(level), {"level": level[1:]}, level[1:], SCALE * shocks[1:])
    costs = CostRates(taker_fee=cost * SCALE, maker_fee=cost * SCALE)
    market = _market("E" if cost else "D", series, volatility=SCALE * sigma, costs=costs)
    if not cost:
        return KnownTask(market, Hysteresis(0.0, -1.0), ou_gain(kappa, sigma))
    solved = ou_with_cost(kappa, sigma, cost)
    return KnownTask(market, solved.policy, solved.gain)


# --- F and G: geometric Brownian motion --------------------------------------------------------------------------


def zero_drift_task(rows: int, seed: int, *, sigma: float = 0.02, cost: float = 1e-3) -> KnownTask:
    """Return task F: the price is a martingale, so that every position loses half its variance, and trading its cost.

    What could mislead is shown: the last return and the sum of the last ten.
    """
    shocks = np.random.default_rng(seed).normal(0.0, sigma, rows + 10)
    returns = shocks - _convexity(sigma)
    total = np.concatenate([[0.0], np.cumsum(shocks)])
    ten = (total[10:] - total[:-10])[1:] / (sigma * math.sqrt(10.0))
    features = {"last return": shocks[10:] / sigma, "last ten returns": ten}
    series = _Series(returns[10:], features, np.zeros(rows), shocks[10:])
    costs = CostRates(taker_fee=cost, maker_fee=cost)
    return KnownTask(_market("F", series, volatility=sigma, costs=costs, scale=sigma), Constant(0.0), 0.0)


def kelly_task(
    rows: int, seed: int, *, drift: float = 5e-4, sigma: float = 0.02, lowest: float = 0.0, highest: float = 2.5
) -> KnownTask:
    """Return task G: E of the simple return is `drift` per bar to leading order, and there are no costs."""
    shocks = np.random.default_rng(seed).normal(0.0, sigma, rows)
    returns = drift - _convexity(sigma) + shocks
    series = _Series(returns, {"last return": shocks / sigma}, np.zeros(rows), shocks)
    weight = kelly_weight(drift, sigma, lowest=lowest, highest=highest)
    market = _market("G", series, volatility=sigma, scale=sigma, lowest=lowest, highest=highest)
    return KnownTask(market, Constant(weight), kelly_growth(drift, sigma, weight) / sigma)


# --- H and I: a signal -------------------------------------------------------------------------------------------


def _signal_market(task: str, rows: int, seed: int, given: SignalMarket, fee: float, bound: float) -> TaskMarket:
    """Return bars whose returns a signal foretells, with γ and λ of the kernel's units and a fee per unit traded."""
    rng = np.random.default_rng(seed)
    signal = _autoregressive(rng.normal(0.0, given.shock, rows + 1), 1.0 - given.decay)
    surprise = SCALE * rng.normal(0.0, given.sigma, rows)
    expected = SCALE * given.slope * signal[:-1] - _convexity(SCALE * given.sigma)
    series = _Series(expected + surprise, {"signal": signal[1:]}, signal[1:], surprise)
    costs = CostRates(
        taker_fee=fee * SCALE,
        maker_fee=fee * SCALE,
        impact=0.5 * given.cost * given.sigma**2 * SCALE,
        impact_exponent=1.0,
    )
    return _market(
        task,
        series,
        volatility=SCALE * given.sigma,
        costs=costs,
        risk_aversion=given.risk_aversion / SCALE,
        lowest=-bound,
        highest=bound,
    )


def garleanu_pedersen_task(rows: int, seed: int, given: SignalMarket | None = None, bound: float = 1.5) -> KnownTask:
    """Return task H; the bound should lie far outside of what the best policy holds."""
    known = given or SignalMarket()
    return KnownTask(_signal_market("H", rows, seed, known, 0.0, bound), known.policy, known.value(known.policy))


def cfm_task(
    kind: str, rows: int, seed: int, given: CfmMarket | None = None, *, sigma: float = 0.1, bound: float = 2.0
) -> KnownTask:
    """Return task I without a cost of trading ("free"), with a "quadratic" or with a "linear" one.

    Args:
        sigma: of the return around the predictor; the article pays the predictor itself.
    """
    known = given or CfmMarket()
    as_signal = known.as_signal(sigma, quadratic=kind == "quadratic")
    market = _signal_market(f"I-{kind}", rows, seed, as_signal, known.cost if kind == "linear" else 0.0, bound)
    match kind:
        case "free":
            return KnownTask(market, cfm_free_policy(known), cfm_free_gain(known))
        case "quadratic":
            return KnownTask(market, cfm_quadratic_policy(known), cfm_quadratic_gain(known))
        case "linear":
            solved = cfm_linear(known)
            return KnownTask(market, solved.policy, solved.gain)
    raise ValueError(f"there is no kind {kind!r} of task I")


# --- J: Almgren-Chriss -------------------------------------------------------------------------------------------


def unwinding_task(rows: int, seed: int, given: Unwinding | None = None) -> KnownTask:
    """Return task J: episodes that begin with a weight of 1 and end with a forced sale, the last of the trades.

    The state is the number of trades left. What an agent sees of it is for the environment to add: the share of time
    that is left.
    """
    known = given or Unwinding()
    decisions = known.trades - 1  # the forced sale is the last trade
    surprise = SCALE * np.random.default_rng(seed).normal(0.0, known.sigma, rows)
    series = _Series(
        surprise - _convexity(SCALE * known.sigma),
        {"last return": surprise / (SCALE * known.sigma)},
        (known.trades - np.arange(rows) % known.trades).astype(np.float64),
        surprise,
    )
    market = _market(
        "J",
        series,
        volatility=SCALE * known.sigma,
        costs=CostRates(taker_fee=0.0, maker_fee=0.0, impact=known.cost * SCALE, impact_exponent=1.0),
        risk_aversion=2.0 * known.risk_aversion / SCALE,
        lowest=0.0,
        highest=1.0,
        episode=decisions,
        start_weight=1.0,
        close_out=True,
    )
    return KnownTask(market, known.policy, -known.total_cost(known.trajectory()))


# --- M: leak -----------------------------------------------------------------------------------------------------


def leak_task(rows: int, seed: int, *, sigma: float = 1.0, cost: float = 0.5) -> KnownTask:
    """Return task M: independent returns, the next of which is a feature. The state is that log return itself."""
    shocks = np.random.default_rng(seed).normal(0.0, sigma, rows + 1)
    features = {"next return": shocks[1:], "last return": shocks[:-1]}
    series = _Series(SCALE * shocks[:-1], features, SCALE * shocks[1:], np.zeros(rows))
    costs = CostRates(taker_fee=cost * SCALE, maker_fee=cost * SCALE)
    market = _market("M", series, volatility=SCALE * sigma, costs=costs)
    solved = leak_optimum(normal_outcomes(SCALE * sigma), cost * SCALE, np.array([-1.0, 0.0, 1.0]))
    return KnownTask(market, solved, solved.gain / SCALE)


TASKS: dict[str, Callable[[int, int], KnownTask]] = {
    "C": sinusoid_task,
    "D": ou_task,
    "E": lambda rows, seed: ou_task(rows, seed, cost=0.5),
    "F": zero_drift_task,
    "G": kelly_task,
    "H": garleanu_pedersen_task,
    "I-free": lambda rows, seed: cfm_task("free", rows, seed),
    "I-quadratic": lambda rows, seed: cfm_task("quadratic", rows, seed),
    "I-linear": lambda rows, seed: cfm_task("linear", rows, seed),
    "J": unwinding_task,
    "M": leak_task,
}
