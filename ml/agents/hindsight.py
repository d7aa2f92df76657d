"""The most that could have been earned on given bars, costs included. Job children only (numba).

Whoever knows all bars chooses among target weights on a grid, at the close of every bar, with the timing and the costs
of the trading kernel: its compiled step is what is searched with. For each bar and target only the richest account that
comes to it is followed on. Accounts that come to the same target differ in what they hold by the cost of their last
trade, so that no path of the grid can be better by more than a cost of that cost.

What would make trades dearer as an account grows, or refuse them, is left out: impact, whole lots, smallest orders and
whole ticks. With them less is reached, which keeps the number a bound. A weight between those of the grid, or one that
is left to drift, may still earn a little more where costs are high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.accounting.fast import (
    Account,
    Bar,
    BarArrays,
    CostNumbers,
    RuleNumbers,
    checked_columns,
    compiled,
    cost_numbers,
    rule_numbers,
    step_scalar,
)
from core.accounting.rules import CostRates, MarketRules
from ml.arrays import FloatArray

MOST_POSITIONS = 21


@dataclass(frozen=True, slots=True, eq=False)
class Hindsight:
    """The best path.

    Attributes:
        log_return: of the equity over all bars, net.
        weights: targets decided at the close of all bars but the last, shape (n-1,).
    """

    log_return: float
    weights: FloatArray

    def share(self, log_return: float) -> float | None:
        """Return what part of the bound a net log return reached; None where there was nothing to earn."""
        return log_return / self.log_return if self.log_return > 0 else None


def hindsight_bound(
    bars: BarArrays,
    costs: CostRates,
    rules: MarketRules,
    positions: FloatArray,
    *,
    close_out: bool = False,
) -> Hindsight:
    """Search the best path from flat by dynamic programming; time goes with bars x positions².

    Args:
        bars: n, at least two.
        costs: impact is left out.
        rules: leverage, margin and shorts count; rounding, smallest orders and the band do not.
        positions: target weights to choose among, rising, at most `MOST_POSITIONS`; 0 must be one of them, since it is
            what can always be held.
        close_out: what is held after the last bar is sold at its close.

    Raises:
        ValueError: positions or bars that do not fit.
    """
    grid = np.ascontiguousarray(positions, np.float64)
    if not 1 <= len(grid) <= MOST_POSITIONS or not (np.diff(grid) > 0).all() or not (grid == 0.0).any():
        raise ValueError(f"at most {MOST_POSITIONS} rising positions with 0 among them are needed")
    count = len(bars.close)
    if count < 2:
        raise ValueError("at least two bars are needed")
    columns = checked_columns(np.zeros(count - 1), bars)
    plain = replace(rules, tick_size=0.0, lot_size=0.0, min_quantity=0.0, min_notional=0.0, band=0.0)
    numbers = cost_numbers(replace(costs, impact=0.0, impact_exponent=1.0))
    came_from = np.zeros((count - 1, len(grid)), np.int8)
    total, last = _search(columns, grid, numbers, rule_numbers(plain), close_out, came_from)
    return Hindsight(total, grid[_path(came_from, last)])


@compiled
def _search(
    columns: tuple[FloatArray, ...],
    grid: FloatArray,
    costs: CostNumbers,
    rules: RuleNumbers,
    close_out: bool,
    came_from: NDArray[np.int8],
) -> tuple[float, int]:
    """Fill in which target each one is best reached from; return the log return and the last target of the best path.

    Accounts are brought back to a size of 1 after every bar, all by the same factor: only their ratios matter.
    """
    opens, highs, lows, closes, _, rates = columns
    size = len(grid)
    cash, lots = np.zeros((2, size)), np.zeros((2, size))
    now = 0
    flat = int(np.argmin(np.abs(grid)))
    cash[0, flat] = 1.0  # a target that nothing leads to has an account with nothing
    total, best = 0.0, flat
    for row in range(len(closes) - 1):
        bar = Bar(opens[row + 1], highs[row + 1], lows[row + 1], closes[row + 1], math.inf, rates[row + 1])
        last_row = row == len(closes) - 2
        then, richest = 1 - now, 0.0
        for target in range(size):
            most = -1.0
            for held in range(size):
                if cash[now, held] == 0.0 and lots[now, held] == 0.0:
                    continue
                account = Account(cash[now, held], lots[now, held], closes[row], 0.0, False)
                done = step_scalar(account, grid[target], bar, costs, rules).account
                if last_row and close_out:
                    end = Bar(bar.close, bar.close, bar.close, bar.close, math.inf, 0.0)
                    done = step_scalar(done, 0.0, end, costs, rules).account
                worth = done.cash + done.lots * rules.unit * bar.close
                if done.liquidated:
                    worth = 0.0
                if worth > most:
                    most = worth
                    came_from[row, target] = held
                    cash[then, target] = done.cash if worth > 0.0 else 0.0
                    lots[then, target] = done.lots if worth > 0.0 else 0.0
            if most > richest:
                richest, best = most, target
        total += math.log(richest)
        for target in range(size):
            cash[then, target] /= richest
            lots[then, target] /= richest
        now = then
    return total, best


@compiled
def _path(came_from: NDArray[np.int8], last: int) -> NDArray[np.int64]:
    """Return the targets of the path that ends with `last`."""
    path = np.empty(len(came_from), np.int64)
    target = last
    for row in range(len(came_from) - 1, -1, -1):
        path[row] = target
        target = int(came_from[row, target])
    return path
