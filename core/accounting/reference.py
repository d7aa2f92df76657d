"""The accounting kernel in plain Python: the truth that fast versions are compared with. Pure functions, any thread.

A decision is made at the close of a bar and meets the next one, in this order:

1. Funding is paid on what was held before, at the opening price: the order of the decision arrives after it.
2. A position that the gap to the opening price leaves without margin is closed there by force. Whoever closes by force
   takes, and pays for it as for any trade, but for impact: venues do it in parts. The fee for it comes on top.
3. The decision is carried out. A target weight becomes a quantity by the equity and the price of the moment it was
   decided, the last close, as a live order does; it is filled at the opening price, worsened by half the spread,
   slippage and impact. A limit order that does not take at the opening price is filled at its limit once the bar goes
   beyond it: a bar that only touches the limit may have met others in the queue.
4. The worst price of the bar closes a position by force that has no margin left there.
5. What is owed pays interest, and everything is marked at the close.

Nothing is known of a bar before it is met. Prices and quantities are integer numbers of ticks and lots where the rules
say so, so that a Decimal ledger books the same fills; amounts of money are float64. `core.accounting.fast` and the
batched version of the learning part do the same operations in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from core.accounting.rules import CostRates, MarketRules

NOISE = 1e-9  # of a tick or a lot: what rounding in float64 may add to a whole number of up to `EXACT`
EXACT = 1e6  # ticks or lots; the rounding of larger numbers grows with them
LEAST_RATIO = 1e-6  # of the equity that the logarithm of a return is taken of, so that ruin is a number


@dataclass(frozen=True, slots=True)
class BarPrices:
    """One bar as the kernel meets it.

    Attributes:
        open / high / low / close: in quote currency.
        volume: in base currency.
        funding_rate: due at the opening, of the position's value; paid by who is long where it is above 0.
    """

    open: float
    high: float
    low: float
    close: float
    volume: float = math.inf
    funding_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account in one market.

    Attributes:
        cash: in quote currency; below 0 where it is owed.
        lots: held; below 0 where they are owed. A whole number where the rules know lots, else base currency.
        mark: price that the account was last valued at, in quote currency.
        entry_price: average price of what is held; 0.0 where nothing is.
        liquidated: closed by force; nothing happens any more.
    """

    cash: float
    lots: float
    mark: float
    entry_price: float = 0.0
    liquidated: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Hold a position worth `weight` times the equity."""

    weight: float


@dataclass(frozen=True, slots=True)
class MarketOrder:
    """Buy so many lots at once; sell below 0."""

    lots: float


@dataclass(frozen=True, slots=True)
class LimitOrder:
    """Buy so many lots at `price` or better within the next bar; sell below 0."""

    lots: float
    price: float


Decision = Target | MarketOrder | LimitOrder | None


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade.

    Attributes:
        lots: bought; sold below 0.
        price: in quote currency.
        fee: in quote currency; of a liquidation no more than is left.
        is_maker: rested before.
        is_forced: a liquidation.
    """

    lots: float
    price: float
    fee: float
    is_maker: bool = False
    is_forced: bool = False


@dataclass(frozen=True, slots=True)
class Costs:
    """What a bar cost, in quote currency; funding received is below 0.

    Attributes:
        fee: all fees.
        spread / slippage / impact: what fills were worse than the opening price, without closings by force; rounding to
            ticks is slippage.
        funding / borrow: of holding.
    """

    fee: float = 0.0
    spread: float = 0.0
    slippage: float = 0.0
    impact: float = 0.0
    funding: float = 0.0
    borrow: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one bar did.

    Attributes:
        state: after it.
        fills: in order.
        costs: of it.
        log_return: logarithm of the equity after over the equity before, at least log(`LEAST_RATIO`).
    """

    state: AccountState
    fills: tuple[Fill, ...]
    costs: Costs
    log_return: float


def open_account(cash: float, mark: float) -> AccountState:
    """Return an account that holds nothing."""
    return AccountState(cash=cash, lots=0.0, mark=mark)


def equity_of(state: AccountState, rules: MarketRules) -> float:
    """Return what an account is worth at its mark."""
    return state.cash + state.lots * rules.unit * state.mark


def weight_of(state: AccountState, rules: MarketRules) -> float:
    """Return the value of the position over the equity; 0.0 where nothing is left."""
    equity = equity_of(state, rules)
    return state.lots * rules.unit * state.mark / equity if equity > 0 else 0.0


def step(state: AccountState, decision: Decision, bar: BarPrices, costs: CostRates, rules: MarketRules) -> Step:
    """Meet one bar; see the module.

    Args:
        state: at the close before `bar`.
        decision: made there; None leaves the position as it is.

    Returns:
        The account at the close of `bar` and what led to it.
    """
    if state.liquidated:
        return Step(replace(state, mark=bar.close), (), Costs(), 0.0)
    before = equity_of(state, rules)
    fills: list[Fill] = []
    paid = Costs(funding=state.lots * rules.unit * bar.open * bar.funding_rate)
    now = replace(state, cash=state.cash - paid.funding, mark=bar.open)
    if _is_short_of_margin(now, rules):
        now, forced = _liquidate(now, bar.open, costs, rules)
        fills.append(forced)
        paid = replace(paid, fee=forced.fee)
    else:
        fill, part = _trade(state, now, decision, bar, costs, rules)
        if fill is not None and fill.is_maker and _margin_price(now, bar, rules) is not None:
            fill = None  # nobody knows which price came first: the worse
        if fill is not None:
            now = _booked(now, fill, rules)
            fills.append(fill)
            paid = replace(part, funding=paid.funding)
        worst = _margin_price(now, bar, rules)
        if worst is not None:
            now, forced = _liquidate(now, worst, costs, rules)
            fills.append(forced)
            paid = replace(paid, fee=paid.fee + forced.fee)
    borrow = _interest(now, bar.close, costs, rules)
    now = replace(now, cash=now.cash - borrow, mark=bar.close)
    if not now.liquidated and equity_of(now, rules) <= 0:
        now, forced = _liquidate(now, bar.close, costs, rules)  # interest took the rest
        if forced.lots != 0:
            fills.append(forced)
    ratio = max(equity_of(now, rules) / before, LEAST_RATIO) if before > 0 else 1.0
    return Step(now, tuple(fills), replace(paid, borrow=borrow), math.log(ratio))


def close_out(state: AccountState, volume: float, costs: CostRates, rules: MarketRules) -> Step:
    """Sell what is held at the mark with all costs, however little it is: what a run ends with.

    Args:
        volume: of the bar whose close the mark is.
    """
    bar = BarPrices(state.mark, state.mark, state.mark, state.mark, volume)
    return step(state, Target(0.0), bar, costs, replace(rules, min_quantity=0.0, min_notional=0.0, band=0.0))


def target_lots(state: AccountState, weight: float, rules: MarketRules) -> float:
    """Return the position that a weight means at the mark, never larger by rounding.

    What a market does not allow is cut, see `allowed_weight`.
    """
    wanted = allowed_weight(weight, rules) * max(equity_of(state, rules), 0.0) / (state.mark * rules.unit)
    return _toward_zero(wanted, rules)


def allowed_weight(weight: float, rules: MarketRules) -> float:
    """Return the nearest weight that a market allows: within the leverage, not below 0 where there are no shorts.

    Raises:
        ValueError: it is no number; to hold something because of it would be chance.
    """
    if not math.isfinite(weight):
        raise ValueError(f"a target weight must be a finite number, not {weight}")
    lowest = -rules.max_leverage if rules.allows_short else 0.0
    return min(max(weight, lowest), rules.max_leverage)


def _trade(
    decided: AccountState, now: AccountState, decision: Decision, bar: BarPrices, costs: CostRates, rules: MarketRules
) -> tuple[Fill | None, Costs]:
    """Return the fill of a decision, if there is one, and what it cost."""
    match decision:
        case None:
            return None, Costs()
        case Target(weight):
            if abs(allowed_weight(weight, rules) - weight_of(decided, rules)) < rules.band:
                return None, Costs()
            change = target_lots(decided, weight, rules) - now.lots
            if abs(change) <= NOISE * (abs(now.lots) + abs(change)) and rules.lot_size <= 0:
                return None, Costs()
            return _take(now, change, bar, costs, rules, limit=None)
        case MarketOrder(lots):
            return _take(now, _toward_zero(lots, rules), bar, costs, rules, limit=None)
        case _:
            side = 1.0 if decision.lots > 0 else -1.0
            limit = _worse(decision.price, -side, rules)  # whole ticks, never worse than asked for
            return _take(now, _toward_zero(decision.lots, rules), bar, costs, rules, limit=limit)


def _take(
    now: AccountState, change: float, bar: BarPrices, costs: CostRates, rules: MarketRules, *, limit: float | None
) -> tuple[Fill | None, Costs]:
    """Trade at the opening price, or at a limit that the bar goes beyond.

    Raises:
        ValueError: the quantity is no number, or the limit none above 0.
    """
    if not math.isfinite(change) or not (limit is None or 0 < limit < math.inf):
        raise ValueError(f"no order: {change} at {limit}")
    side = 1.0 if change > 0 else -1.0
    quantity = abs(change) * rules.unit
    participation = quantity / bar.volume if bar.volume > 0 else 1.0
    impact = costs.impact * participation**costs.impact_exponent
    price = max(_worse(bar.open * (1.0 + side * (costs.half_spread + costs.slippage + impact)), side, rules), 0.0)
    rests = False
    if limit is not None and side * (price - limit) > 0:
        room = side * (limit - bar.open) / bar.open - costs.half_spread
        rests = room < 0
        if rests and side * (limit - (bar.low if side > 0 else bar.high)) <= 0:
            return None, Costs()
        price, impact = limit, min(impact, room)  # within reach at the opening it takes, but never beyond the limit
    fee_rate, middle = (costs.maker_fee, price) if rests else (costs.taker_fee, bar.open)
    lots = _affordable(now, abs(change), side, price, fee_rate, middle, rules)
    units = lots * rules.unit
    value = units * price
    if lots <= 0 or units < rules.min_quantity * (1.0 - NOISE) or value < rules.min_notional * (1.0 - NOISE):
        return None, Costs()
    fill = Fill(side * lots, price, value * fee_rate, is_maker=rests)
    if rests:
        return fill, Costs(fee=fill.fee)
    traded = units * bar.open
    spread, moved = traded * costs.half_spread, traded * impact
    return fill, Costs(fill.fee, spread, units * side * (price - bar.open) - spread - moved, moved)


def _affordable(
    now: AccountState, lots: float, side: float, price: float, fee_rate: float, middle: float, rules: MarketRules
) -> float:
    """Return how much of an order leaves the position within the leverage; what only reduces it always does.

    With leverage 1 and no debts this is what the cash pays, the fee included.

    Args:
        middle: what a unit is worth at the moment of the fill.
    """
    units, value = now.lots * rules.unit, now.lots * rules.unit * middle
    equity = now.cash + value
    reducing = max(-side * units, 0.0)  # this much closes what is held
    lost = max(side * (price - middle) + price * fee_rate, 0.0)  # of equity for each unit traded; rebates add no room
    most = (rules.max_leverage * equity - side * value) / (middle + rules.max_leverage * lost)
    if side < 0 and not rules.allows_short:
        most = 0.0
    return min(lots, _toward_zero(max(most, reducing) / rules.unit, rules))


def _booked(state: AccountState, fill: Fill, rules: MarketRules) -> AccountState:
    """Return the account after a fill."""
    cash = state.cash - fill.lots * rules.unit * fill.price - fill.fee
    lots = state.lots + fill.lots
    if lots == 0:
        entry = 0.0
    elif state.lots * fill.lots >= 0:
        entry = (state.entry_price * abs(state.lots) + fill.price * abs(fill.lots)) / abs(lots)
    else:
        entry = state.entry_price if state.lots * lots > 0 else fill.price
    return replace(state, cash=cash, lots=lots, entry_price=entry)


def _is_short_of_margin(state: AccountState, rules: MarketRules) -> bool:
    value = state.lots * rules.unit * state.mark
    return value != 0 and state.cash + value <= rules.maintenance * abs(value)


def _margin_price(state: AccountState, bar: BarPrices, rules: MarketRules) -> float | None:
    """Return the price within the bar at which no margin is left; None where it was not reached.

    Costs of a fill may have taken the last margin: then it is the opening price.
    """
    units = state.lots * rules.unit
    if units > 0:
        price = -state.cash / (units * (1.0 - rules.maintenance))
        return min(price, bar.open) if bar.low <= price else None
    if units < 0:
        price = -state.cash / (units * (1.0 + rules.maintenance))
        return max(price, bar.open) if bar.high >= price else None
    return None


def _liquidate(state: AccountState, price: float, costs: CostRates, rules: MarketRules) -> tuple[AccountState, Fill]:
    """Close everything by force; what would be left below nothing is the venue's loss, the fee first."""
    side, units = (-1.0 if state.lots > 0 else 1.0), abs(state.lots) * rules.unit
    paid = max(_worse(price * (1.0 + side * (costs.half_spread + costs.slippage)), side, rules), 0.0)
    left = max(state.cash - side * units * paid, 0.0)
    fee = min(units * paid * (costs.taker_fee + costs.liquidation_fee), left)
    fill = Fill(-state.lots, paid, fee, is_forced=True)
    return AccountState(cash=left - fee, lots=0.0, mark=state.mark, liquidated=True), fill


def _interest(state: AccountState, close: float, costs: CostRates, rules: MarketRules) -> float:
    """Return what is paid for what is owed at the end of a bar."""
    owed_cash = max(-state.cash, 0.0)
    owed_coins = max(-state.lots, 0.0) * rules.unit * close
    return owed_cash * costs.borrow_quote + owed_coins * costs.borrow_base


def _worse(price: float, side: float, rules: MarketRules) -> float:
    """Return the price in whole ticks, rounded against who trades."""
    if rules.tick_size <= 0:
        return price
    ticks = price / rules.tick_size
    noise = _noise(ticks)
    whole = math.ceil(ticks - noise) if side > 0 else math.floor(ticks + noise)
    return whole * rules.tick_size


def _toward_zero(lots: float, rules: MarketRules) -> float:
    """Return whole lots, never more than asked for."""
    if rules.lot_size <= 0:
        return lots
    return math.copysign(math.floor(abs(lots) + _noise(lots)), lots)


def _noise(number: float) -> float:
    return NOISE * max(1.0, abs(number) / EXACT)
