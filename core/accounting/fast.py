"""The accounting kernel compiled by numba, for runs of target weights. Job children only: importing numba takes long.

The same operations in the same order as `core.accounting.reference`, which says what they mean: both agree to the last
digits. Numbers of the reference come in as arguments, because compiled code is kept between runs and would keep them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from core.accounting.reference import EXACT, LEAST_RATIO, NOISE, AccountState, open_account
from core.accounting.rules import CostRates, MarketRules

FloatArray = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; what was compiled of this file is kept where there is a place for it.

    Nothing is kept of other files: what they compiled holds the kernel, and numba would not see that it changed.
    """
    if function.__module__ != __name__:
        alone: Function = numba.njit(function)
        return alone
    try:
        kept: Function = numba.njit(cache=True)(function)
    except RuntimeError:  # neither beside the source nor in the person's cache folder may be written
        kept = numba.njit(function)
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class BarArrays:
    """Bars in a row, one value for each; see `core.accounting.reference.BarPrices`."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    funding_rate: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class TargetRun:
    """What following target weights did, one value for each bar.

    Attributes:
        equity / lots: at the close; the first is before anything was done.
        fill_lots / fill_price: of the decision that met the bar; 0 where nothing was filled. What a closing by force or
            the closing at the end sold is not in it.
        fee / spread / slippage / impact / funding / borrow: costs of the bar, all of them.
        log_return: of the equity.
        liquidated_at: bar in which the account was closed by force; -1 where it never was.
        close_out_lots / close_out_price: what the closing at the end traded; 0 where nothing was.
    """

    equity: FloatArray
    lots: FloatArray
    fill_lots: FloatArray
    fill_price: FloatArray
    fee: FloatArray
    spread: FloatArray
    slippage: FloatArray
    impact: FloatArray
    funding: FloatArray
    borrow: FloatArray
    log_return: FloatArray
    liquidated_at: int
    close_out_lots: float
    close_out_price: float


class Account(NamedTuple):
    """`AccountState` for compiled code."""

    cash: float
    lots: float
    mark: float
    entry_price: float
    liquidated: bool


class Bar(NamedTuple):
    """`BarPrices` for compiled code."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    funding_rate: float


class CostNumbers(NamedTuple):
    """`CostRates` for compiled code."""

    taker_fee: float
    half_spread: float
    slippage: float
    impact: float
    impact_exponent: float
    borrow_base: float
    borrow_quote: float
    liquidation_fee: float


class RuleNumbers(NamedTuple):
    """`MarketRules` for compiled code, and the numbers of the reference.

    Attributes:
        lowest: target weight.
        exact / noise / least_ratio: `EXACT`, `NOISE`, `LEAST_RATIO`.
    """

    tick_size: float
    lot_size: float
    unit: float
    min_quantity: float
    min_notional: float
    max_leverage: float
    lowest: float
    maintenance: float
    band: float
    exact: float
    noise: float
    least_ratio: float


class Outcome(NamedTuple):
    """`Step` for compiled code; the fill is the decision's."""

    account: Account
    log_return: float
    fill_lots: float
    fill_price: float
    fee: float
    spread: float
    slippage: float
    impact: float
    funding: float
    borrow: float


class _Trade(NamedTuple):
    lots: float
    price: float
    fee: float
    spread: float
    slippage: float
    impact: float


_COSTS = ("log_return", "fee", "spread", "slippage", "impact", "funding", "borrow")  # what adds up within a bar
_ROWS = ("equity", "lots", "fill_lots", "fill_price", *_COSTS)


def cost_numbers(costs: CostRates) -> CostNumbers:
    """Return costs for compiled code."""
    return CostNumbers(*(float(getattr(costs, name)) for name in CostNumbers._fields))


def rule_numbers(rules: MarketRules, *, any_size: bool = False) -> RuleNumbers:
    """Return rules for compiled code.

    Args:
        any_size: without smallest orders and without the band; see `core.accounting.reference.close_out`.
    """
    return RuleNumbers(
        tick_size=float(rules.tick_size),
        lot_size=float(rules.lot_size),
        unit=float(rules.unit),
        min_quantity=0.0 if any_size else float(rules.min_quantity),
        min_notional=0.0 if any_size else float(rules.min_notional),
        max_leverage=float(rules.max_leverage),
        lowest=-float(rules.max_leverage) if rules.allows_short else 0.0,
        maintenance=float(rules.maintenance),
        band=0.0 if any_size else float(rules.band),
        exact=EXACT,
        noise=NOISE,
        least_ratio=LEAST_RATIO,
    )


def run_targets(
    weights: FloatArray,
    bars: BarArrays,
    costs: CostRates,
    rules: MarketRules,
    *,
    cash: float = 1.0,
    start: AccountState | None = None,
    close_out: bool = False,
) -> TargetRun:
    """Follow target weights bar by bar.

    Args:
        weights: one less than bars; each is decided at the close of its bar and meets the next one.
        cash: to begin with.
        start: account to go on with instead of cash, valued at the first close.
        close_out: sell what is held after the last bar at its close with all costs; they are the last bar's.

    Raises:
        ValueError: a weight or a price is no number, or the lengths do not fit.
    """
    columns = checked_columns(weights, bars)
    first = float(bars.close[0])
    state = start if start is not None else open_account(cash, first)
    account = Account(float(state.cash), float(state.lots), first, float(state.entry_price), bool(state.liquidated))
    numbers = cost_numbers(costs)
    out = np.zeros((len(_ROWS), len(bars.close)))
    account, liquidated_at = _run(
        account, np.ascontiguousarray(weights, np.float64), columns, numbers, rule_numbers(rules), out
    )
    run = dict(zip(_ROWS, out, strict=True))
    sold = (0.0, 0.0)
    if close_out:
        last = account.mark
        bar = Bar(last, last, last, last, float(bars.volume[-1]), 0.0)
        end = step_scalar(account, 0.0, bar, numbers, rule_numbers(rules, any_size=True))
        for name in _COSTS:
            run[name][-1] += getattr(end, name)
        run["equity"][-1] = end.account.cash
        run["lots"][-1] = end.account.lots
        sold = end.fill_lots, end.fill_price
        if end.account.liquidated and liquidated_at < 0:
            liquidated_at = len(bars.close) - 1
    return TargetRun(**run, liquidated_at=liquidated_at, close_out_lots=sold[0], close_out_price=sold[1])


@compiled
def step_scalar(account: Account, weight: float, bar: Bar, costs: CostNumbers, rules: RuleNumbers) -> Outcome:
    """Meet one bar with a target weight; see `core.accounting.reference.step`."""
    if account.liquidated:
        still = Account(account.cash, account.lots, bar.close, account.entry_price, True)
        return Outcome(still, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    before = account.cash + account.lots * rules.unit * account.mark
    funding = account.lots * rules.unit * bar.open * bar.funding_rate
    cash, lots, entry, liquidated = account.cash - funding, account.lots, account.entry_price, False
    trade = _Trade(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    value = lots * rules.unit * bar.open
    forced = -1.0  # price of a closing by force
    if value != 0 and cash + value <= rules.maintenance * abs(value):
        forced = bar.open
    else:
        change = _change(account, weight, before, rules)
        if change != 0:
            trade = _take(cash, lots, change, bar, costs, rules)
        if trade.lots != 0:
            cash = cash - trade.lots * rules.unit * trade.price - trade.fee
            entry = _entry_price(lots, entry, trade)
            lots = lots + trade.lots
        forced = _margin_price(cash, lots, bar, rules)
    fee = trade.fee
    if forced >= 0:
        side, units = (-1.0 if lots > 0 else 1.0), abs(lots) * rules.unit
        paid = max(_worse(forced * (1.0 + side * (costs.half_spread + costs.slippage)), side, rules), 0.0)
        left = max(cash - side * units * paid, 0.0)
        forced_fee = min(units * paid * (costs.taker_fee + costs.liquidation_fee), left)
        cash, lots, entry, liquidated, fee = left - forced_fee, 0.0, 0.0, True, fee + forced_fee
    borrow = max(-cash, 0.0) * costs.borrow_quote + max(-lots, 0.0) * rules.unit * bar.close * costs.borrow_base
    cash = cash - borrow
    after = cash + lots * rules.unit * bar.close
    if not liquidated and after <= 0:
        cash, lots, entry, liquidated, after = 0.0, 0.0, 0.0, True, 0.0
    ratio = max(after / before, rules.least_ratio) if before > 0 else 1.0
    done = Account(cash, lots, bar.close, entry, liquidated)
    return Outcome(
        done,
        math.log(ratio),
        trade.lots,
        trade.price,
        fee,
        trade.spread,
        trade.slippage,
        trade.impact,
        funding,
        borrow,
    )


@compiled
def _run(
    account: Account,
    weights: FloatArray,
    columns: tuple[FloatArray, ...],
    costs: CostNumbers,
    rules: RuleNumbers,
    out: FloatArray,
) -> tuple[Account, int]:
    """Fill the rows of `out`, see `_ROWS`; return the account at the end and the bar of a closing by force."""
    opens, highs, lows, closes, volumes, rates = columns
    out[0, 0] = account.cash + account.lots * rules.unit * account.mark
    out[1, 0] = account.lots
    liquidated_at = -1
    for row in range(1, len(closes)):
        bar = Bar(opens[row], highs[row], lows[row], closes[row], volumes[row], rates[row])
        end = step_scalar(account, weights[row - 1], bar, costs, rules)
        if end.account.liquidated and not account.liquidated:
            liquidated_at = row
        account = end.account
        out[0, row] = account.cash + account.lots * rules.unit * account.mark
        out[1, row] = account.lots
        out[2, row] = end.fill_lots
        out[3, row] = end.fill_price
        out[4, row] = end.log_return
        out[5, row] = end.fee
        out[6, row] = end.spread
        out[7, row] = end.slippage
        out[8, row] = end.impact
        out[9, row] = end.funding
        out[10, row] = end.borrow
    return account, liquidated_at


@compiled
def _change(account: Account, weight: float, before: float, rules: RuleNumbers) -> float:
    """Return the lots to trade for a target weight; 0 where it is not followed."""
    allowed = min(max(weight, rules.lowest), rules.max_leverage)
    held = account.lots * rules.unit * account.mark / before if before > 0 else 0.0
    if abs(allowed - held) < rules.band:
        return 0.0
    wanted = _toward_zero(allowed * max(before, 0.0) / (account.mark * rules.unit), rules)
    change = wanted - account.lots
    if rules.lot_size <= 0 and abs(change) <= rules.noise * (abs(account.lots) + abs(change)):
        return 0.0
    return change


@compiled
def _take(cash: float, lots: float, change: float, bar: Bar, costs: CostNumbers, rules: RuleNumbers) -> _Trade:
    """Trade at the opening price."""
    side = 1.0 if change > 0 else -1.0
    quantity = abs(change) * rules.unit
    participation = quantity / bar.volume if bar.volume > 0 else 1.0
    impact = costs.impact * participation**costs.impact_exponent
    price = max(_worse(bar.open * (1.0 + side * (costs.half_spread + costs.slippage + impact)), side, rules), 0.0)
    units, value = lots * rules.unit, lots * rules.unit * bar.open
    reducing = max(-side * units, 0.0)
    lost = max(side * (price - bar.open) + price * costs.taker_fee, 0.0)
    most = (rules.max_leverage * (cash + value) - side * value) / (bar.open + rules.max_leverage * lost)
    filled = min(abs(change), _toward_zero(max(most, reducing) / rules.unit, rules))
    bought = filled * rules.unit
    paid = bought * price
    too_small = bought < rules.min_quantity * (1.0 - rules.noise) or paid < rules.min_notional * (1.0 - rules.noise)
    if filled <= 0 or too_small:
        return _Trade(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    traded = bought * bar.open
    spread, moved = traded * costs.half_spread, traded * impact
    slippage = bought * side * (price - bar.open) - spread - moved
    return _Trade(side * filled, price, paid * costs.taker_fee, spread, slippage, moved)


@compiled
def _entry_price(before: float, entry: float, trade: _Trade) -> float:
    """Return the average price of what is held after a fill."""
    lots = before + trade.lots
    if lots == 0:
        return 0.0
    if before * trade.lots >= 0:
        return (entry * abs(before) + trade.price * abs(trade.lots)) / abs(lots)
    return entry if before * lots > 0 else trade.price


@compiled
def _margin_price(cash: float, lots: float, bar: Bar, rules: RuleNumbers) -> float:
    """Return the price within the bar at which no margin is left; -1 where it was not reached."""
    units = lots * rules.unit
    if units > 0:
        price = -cash / (units * (1.0 - rules.maintenance))
        return min(price, bar.open) if bar.low <= price else -1.0
    if units < 0:
        price = -cash / (units * (1.0 + rules.maintenance))
        return max(price, bar.open) if bar.high >= price else -1.0
    return -1.0


@compiled
def _worse(price: float, side: float, rules: RuleNumbers) -> float:
    """Return the price in whole ticks, rounded against who trades."""
    if rules.tick_size <= 0:
        return price
    ticks = price / rules.tick_size
    noise = rules.noise * max(1.0, abs(ticks) / rules.exact)
    whole = math.ceil(ticks - noise) if side > 0 else math.floor(ticks + noise)
    return whole * rules.tick_size


@compiled
def _toward_zero(lots: float, rules: RuleNumbers) -> float:
    """Return whole lots, never more than asked for."""
    if rules.lot_size <= 0:
        return lots
    noise = rules.noise * max(1.0, abs(lots) / rules.exact)
    return math.copysign(math.floor(abs(lots) + noise), lots)


def checked_columns(weights: FloatArray, bars: BarArrays) -> tuple[FloatArray, ...]:
    """Return the columns of bars that can be met."""
    columns = tuple(np.ascontiguousarray(getattr(bars, field.name), dtype=np.float64) for field in fields(BarArrays))
    count = len(bars.close)
    if count < 1 or {column.shape for column in columns} != {(count,)} or weights.shape != (count - 1,):
        raise ValueError("bars must be equally long, and weights one shorter")
    if not np.isfinite(weights).all():
        raise ValueError("target weights must be finite numbers")
    prices_are_good = all(np.isfinite(column).all() and (column > 0).all() for column in columns[:4])
    if not prices_are_good or np.isnan(columns[4]).any() or not np.isfinite(columns[5]).all():
        raise ValueError("prices must be finite numbers above 0, volumes and funding rates numbers")
    return columns
