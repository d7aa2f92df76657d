"""What weights gain in a market of the self-test, through the trading kernel. Job children only (numba)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.accounting.fast import (
    Account,
    Bar,
    CostNumbers,
    RuleNumbers,
    compiled,
    cost_numbers,
    rule_numbers,
    step_scalar,
)
from ml.agents.known_answers import Policy
from ml.arrays import FloatArray
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
    start = held = np.full(1, market.start_weight)
    for row in range(len(weights)):
        if market.close_out and row % market.stride == 0:
            held = start
        held = np.minimum(np.maximum(policy(market.state[row : row + 1], held), market.lowest), market.highest)
        weights[row] = held[0]
    return weights


def measure(market: TaskMarket, weights: FloatArray) -> Gain:
    """Carry out weights in the kernel and return what they gained.

    After each bar the account is brought back to `CASH` in size, its weight kept: a gain that the next trades would
    move the price more for is no part of a task. It begins with the market's start weight; where tasks have an end,
    each whole episode does. What follows the last whole one is left out, and the last row of each is only met.

    Args:
        market: of T rows.
        weights: decided at the close of all rows but the last, shape (T-1,).

    Raises:
        ValueError: a weight is no number, or the lengths do not fit.
        ArithmeticError: nothing was left of the account.
    """
    if weights.shape != (len(market) - 1,) or not np.isfinite(weights).all():
        raise ValueError("one weight for each bar but the last is needed")
    stride = market.stride if market.close_out else len(weights)
    episodes = (len(weights) + 1) // stride if market.close_out else 1
    decided = np.clip(weights[: episodes * stride].astype(np.float64), market.lowest, market.highest)
    if market.close_out:
        decided[market.episode :: stride] = 0.0
    columns = (market.open, market.high, market.low, market.close, market.volume, market.funding)
    rules = (rule_numbers(market.rules), rule_numbers(market.rules, any_size=True))
    returns, turnover = _walk(
        decided, columns, cost_numbers(market.costs), rules, (stride, CASH, market.start_weight, market.close_out)
    )
    if not np.isfinite(returns).all():
        raise ArithmeticError("the account was closed by force")
    rewards = returns
    if market.reward == MEAN_VARIANCE:
        risk = (decided * market.volatility[: len(decided)]) ** 2
        rewards = np.expm1(returns) - 0.5 * market.risk_aversion * risk
    rewards = market.reward_scale * rewards
    luck = market.reward_scale * decided * market.surprise[1 : 1 + len(decided)]
    return Gain(rewards, rewards - luck, turnover, episodes if market.close_out else 0)


@compiled
def _walk(
    weights: FloatArray,
    columns: tuple[FloatArray, ...],
    costs: CostNumbers,
    rules: tuple[RuleNumbers, RuleNumbers],
    given: tuple[int, float, float, bool],
) -> tuple[FloatArray, float]:
    """Return the log return of each decision's bar, not a number from a forced closing on, and the turnover.

    Args:
        rules: of decisions, and of the sale at an episode's end.
        given: rows of an episode, cash and weight at its start, and whether it ends with a sale.
    """
    stride, cash, start, has_end = given
    opens, highs, lows, closes, volumes, rates = columns
    returns, turnover = np.full(len(weights), np.nan), 0.0
    account = Account(cash, 0.0, closes[0], 0.0, False)
    for row in range(len(weights)):
        if has_end and row % stride == stride - 1:
            returns[row] = 0.0
            continue
        if row % stride == 0:
            account = Account(cash * (1.0 - start), start * cash / closes[row], closes[row], closes[row], False)
        bar = Bar(opens[row + 1], highs[row + 1], lows[row + 1], closes[row + 1], volumes[row + 1], rates[row + 1])
        done = step_scalar(account, weights[row], bar, costs, rules[0])
        total = done.log_return
        turnover += abs(done.fill_lots) * bar.open
        account = done.account
        if has_end and row % stride == stride - 2:
            last = Bar(bar.close, bar.close, bar.close, bar.close, bar.volume, 0.0)
            sold = step_scalar(account, 0.0, last, costs, rules[1])
            total += sold.log_return
            turnover += abs(sold.fill_lots) * bar.close
            account = sold.account
        if account.liquidated:
            break
        returns[row] = total
        factor = cash / (account.cash + account.lots * rules[0].unit * bar.close)
        account = Account(account.cash * factor, account.lots * factor, bar.close, account.entry_price, False)
    return returns, turnover
