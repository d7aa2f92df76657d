"""What weights gain in a market of the self-test, through the trading kernel. Pure functions, any thread; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from core.accounting.reference import (
    AccountState,
    BarPrices,
    Target,
    equity_of,
    open_account,
    step,
)
from ml.arrays import FloatArray
from ml.known_answers import Policy
from ml.selftest_markets import CASH, MEAN_VARIANCE, TaskMarket


@dataclass(frozen=True, slots=True, eq=False)
class Gain:
    """What weights came to.

    Attributes:
        rewards: of each decision, times the market's scale, shape (n,).
        known: the same without what nobody could know, so that luck counts less; its mean is the same in the long run.
        turnover: sum of the weights traded.
        episodes: of a task with an end; 0 of others.
    """

    rewards: FloatArray
    known: FloatArray
    turnover: float
    episodes: int

    @property
    def per_bar(self) -> float:
        """Mean of `rewards`."""
        return float(self.rewards.mean())

    @property
    def mean(self) -> float:
        """In the unit of the task's optimum, of `known`: per bar, or per episode where tasks have an end."""
        return float(self.known.sum()) / (self.episodes or len(self.known))


def best_weights(market: TaskMarket, policy: Policy) -> FloatArray:
    """Return the weights of a policy from flat, or where tasks have an end from the start of every episode; (T-1,)."""
    weights = np.empty(len(market) - 1)
    held = market.start_weight
    for row, state in enumerate(market.state[:-1]):
        if market.close_out and row % market.episode == 0:
            held = market.start_weight
        held = min(max(float(policy(state, np.float64(held))), market.lowest), market.highest)
        weights[row] = held
    return weights


def measure(market: TaskMarket, weights: FloatArray) -> Gain:
    """Carry out weights in the kernel and return what they gained.

    After each bar the account is brought back to `CASH` in size, its weight kept: a gain that the next trades would
    move the price more for is no part of a task. It begins with the market's start weight; where tasks have an end,
    each whole episode does, and what follows the last whole one is left out.

    Args:
        market: of T rows.
        weights: decided at the close of all rows but the last, shape (T-1,).
    """
    if weights.shape != (len(market) - 1,):
        raise ValueError("one weight for each bar but the last is needed")
    length = market.episode if market.close_out else len(weights)
    episodes = len(weights) // length
    decided = weights[: episodes * length]
    rewards, turnover = np.empty(len(decided)), 0.0
    account = open_account(CASH, 1.0)
    for row, weight in enumerate(decided):
        if row % length == 0:
            account = _with_weight(market.start_weight, float(market.close[row]))
        before = account.lots
        account, rewards[row] = _decide(market, account, row, float(weight))
        turnover += abs(account.lots - before) * float(market.open[row + 1])
        if market.close_out and row % length == length - 1:
            last, sold = _sold(market, account, row + 1)
            rewards[row] += sold
            turnover += last
        account = _resized(account, market)
    rewards *= market.reward_scale
    luck = market.reward_scale * decided * market.surprise[1 : 1 + len(decided)]
    return Gain(rewards, rewards - luck, turnover, episodes if market.close_out else 0)


def _with_weight(weight: float, price: float) -> AccountState:
    """Return an account of `CASH` that holds a weight, entered at a price."""
    held = weight * CASH / price
    return AccountState(cash=CASH * (1.0 - weight), lots=held, mark=price, entry_price=price if held else 0.0)


def _decide(market: TaskMarket, account: AccountState, row: int, weight: float) -> tuple[AccountState, float]:
    """Meet the bar after `row`; return the account and the reward, unscaled."""
    done = step(account, Target(weight), _bar(market, row + 1), market.costs, market.rules)
    return done.state, _reward(market, done.log_return, weight, float(market.volatility[row]))


def _reward(market: TaskMarket, log_return: float, weight: float, volatility: float) -> float:
    if market.reward != MEAN_VARIANCE:
        return log_return
    return math.expm1(log_return) - 0.5 * market.risk_aversion * (weight * volatility) ** 2


def _sold(market: TaskMarket, account: AccountState, row: int) -> tuple[float, float]:
    """Return the value that is sold at the close of a row, and what it costs as a share of the equity, below 0."""
    price = float(market.close[row])
    last = BarPrices(price, price, price, price, float(market.volume[row]))
    equity = equity_of(account, market.rules)
    done = step(account, Target(0.0), last, market.costs, market.rules)
    return abs(account.lots) * price, equity_of(done.state, market.rules) / equity - 1.0


def _bar(market: TaskMarket, row: int) -> BarPrices:
    return BarPrices(
        open=float(market.open[row]),
        high=float(market.high[row]),
        low=float(market.low[row]),
        close=float(market.close[row]),
        volume=float(market.volume[row]),
        funding_rate=float(market.funding[row]),
    )


def _resized(account: AccountState, market: TaskMarket) -> AccountState:
    factor = CASH / equity_of(account, market.rules)
    return replace(account, cash=account.cash * factor, lots=account.lots * factor)
