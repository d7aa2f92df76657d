"""The accounting kernel for thousands of accounts at once, in PyTorch: target weights only. Job children.

The same operations in the same order as `core.accounting.reference`, which says what they mean: in float64 both agree
to 1e-9. In float32 they agree to 1e-4 as long as nothing is rounded: a whole lot more or less is decided by the last
digits. No Python branch looks at a tensor's value, so nothing waits for the device and CUDA graphs can hold a step;
what the rules rule out is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from core.accounting.reference import EXACT, LEAST_RATIO, NOISE
from core.accounting.rules import CostRates, MarketRules

_ROUNDING = ("tick_size", "lot_size", "min_quantity", "min_notional")
UNSCALED = ("borrow_base", "borrow_quote", "liquidation_fee")  # as `CostRates.times` says


class Accounts(NamedTuple):
    """What `AccountState` holds, one account a row; open them with `open_accounts`."""

    cash: Tensor
    lots: Tensor
    mark: Tensor
    entry_price: Tensor
    liquidated: Tensor


class Bars(NamedTuple):
    """What `BarPrices` holds, one bar for each account."""

    open: Tensor
    high: Tensor
    low: Tensor
    close: Tensor
    volume: Tensor
    funding_rate: Tensor


class CostTensors(NamedTuple):
    """What `CostRates` holds of orders that take; each one number for all, or one for each account."""

    taker_fee: Tensor
    half_spread: Tensor
    slippage: Tensor
    impact: Tensor
    borrow_base: Tensor
    borrow_quote: Tensor
    liquidation_fee: Tensor

    def scaled(self, factor: Tensor) -> Self:
        """Return the costs of trading so many times as high; what holding costs stays."""
        scaled = {name: getattr(self, name) * factor for name in self._fields if name not in UNSCALED}
        return self._replace(**scaled)


class Charges(NamedTuple):
    """What cannot cost anything in this market, so that a step need not calculate it: False leaves it out."""

    impact: bool = True
    funding: bool = True
    borrow: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class RowRules:
    """`MarketRules` of several markets, that of each account in its row; the rest is the same for all.

    Attributes:
        tick_size / lot_size / min_quantity / min_notional: one number for each account, 0 where there is none.
        tick / unit: step of prices and quantity of a lot, 1 where they are not rounded.
        max_leverage / maintenance / allows_short / band: as in `MarketRules`.
        knows_ticks / knows_lots / knows_minimums: whether any market has some, so that a step need not look.
    """

    tick_size: Tensor
    lot_size: Tensor
    min_quantity: Tensor
    min_notional: Tensor
    tick: Tensor
    unit: Tensor
    max_leverage: float
    maintenance: float
    allows_short: bool
    band: float
    knows_ticks: bool
    knows_lots: bool
    knows_minimums: bool

    @classmethod
    def of(cls, markets: Sequence[MarketRules], *, device: torch.device | str) -> Self:
        """Return the rules of markets, one in each row.

        Raises:
            ValueError: leverage, margin, shorts or band are not the same in all of them: those are the account's.
        """
        first = markets[0]
        if len({(each.max_leverage, each.maintenance, each.allows_short, each.band) for each in markets}) > 1:
            raise ValueError("accounts of one batch have the same leverage, margin, shorts and band")
        tick_size, lot_size, min_quantity, min_notional = (
            torch.tensor([getattr(each, name) for each in markets], dtype=torch.float64, device=device)
            for name in _ROUNDING
        )
        return cls(
            tick_size=tick_size,
            lot_size=lot_size,
            min_quantity=min_quantity,
            min_notional=min_notional,
            tick=torch.where(tick_size > 0, tick_size, 1.0),
            unit=torch.where(lot_size > 0, lot_size, 1.0),
            max_leverage=first.max_leverage,
            maintenance=first.maintenance,
            allows_short=first.allows_short,
            band=first.band,
            knows_ticks=any(each.tick_size > 0 for each in markets),
            knows_lots=any(each.lot_size > 0 for each in markets),
            knows_minimums=any(each.min_quantity > 0 or each.min_notional > 0 for each in markets),
        )

    def at(self, index: Tensor) -> Self:
        """Return the rules of accounts, each in the market of a number, int64 (N,)."""
        gathered = {name: getattr(self, name).index_select(0, index) for name in (*_ROUNDING, "tick", "unit")}
        return replace(self, **gathered)

    def any_size(self) -> Self:
        """Return them without smallest orders and without the band, see `core.accounting.reference.close_out`."""
        nothing = torch.zeros_like(self.tick_size)
        return replace(self, min_quantity=nothing, min_notional=nothing, band=0.0, knows_minimums=False)

    def one_by_one(self) -> list[MarketRules]:
        """Return them account by account; waits for the device."""
        shared = {name: getattr(self, name) for name in ("max_leverage", "maintenance", "allows_short", "band")}
        rows = torch.stack([getattr(self, name) for name in _ROUNDING], dim=1).tolist()
        return [MarketRules(**dict(zip(_ROUNDING, row, strict=True)), **shared) for row in rows]


AccountRules = MarketRules | RowRules
"""One set of rules for all accounts, or those of each."""


class StepOutcome(NamedTuple):
    """What one bar did.

    Attributes:
        accounts: after it.
        log_return: logarithm of the equity after over the equity before.
        fill_lots / fill_price: of the decision; 0 where nothing was filled. What a closing by force sold is not in it.
        fee: of both; the rest as in `core.accounting.reference.Costs`.
        liquidated_now: closed by force in this bar.
    """

    accounts: Accounts
    log_return: Tensor
    fill_lots: Tensor
    fill_price: Tensor
    fee: Tensor
    spread: Tensor
    slippage: Tensor
    impact: Tensor
    funding: Tensor
    borrow: Tensor
    liquidated_now: Tensor


class _Trade(NamedTuple):
    """A fill; lots with sign, 0 where there is none."""

    lots: Tensor
    price: Tensor
    fee: Tensor
    spread: Tensor
    slippage: Tensor
    impact: Tensor


ALL_CHARGES = Charges()


def cost_tensors(rates: CostRates, *, dtype: torch.dtype, device: torch.device | str) -> CostTensors:
    """Return the rates as one number for all accounts."""
    values = {field.name: getattr(rates, field.name) for field in fields(rates)}
    return CostTensors(*(torch.tensor(values[name], dtype=dtype, device=device) for name in CostTensors._fields))


def charges_of(rates: CostRates, rules: MarketRules, *, has_funding: bool) -> Charges:
    """Return what a step must calculate for these costs, however they are scaled, and rules."""
    owes_cash = rules.max_leverage > 1 or has_funding
    borrow = (rates.borrow_base > 0 and rules.allows_short) or (rates.borrow_quote > 0 and owes_cash)
    return Charges(impact=rates.impact > 0, funding=has_funding, borrow=borrow)


def open_accounts(cash: Tensor, mark: Tensor) -> Accounts:
    """Return accounts that hold nothing."""
    zero = torch.zeros_like(cash)
    return Accounts(cash, zero, mark, zero, torch.zeros_like(cash, dtype=torch.bool))


def equity(accounts: Accounts, rules: AccountRules) -> Tensor:
    """Return what the accounts are worth at their marks."""
    return accounts.cash + _units(accounts.lots, rules) * accounts.mark


def weight(accounts: Accounts, rules: AccountRules) -> Tensor:
    """Return the value of the positions over the equity; 0 where nothing is left."""
    value = _units(accounts.lots, rules) * accounts.mark
    return _weight(value, accounts.cash + value)


def whole_lots(lots: Tensor, rules: AccountRules) -> Tensor:
    """Return lots without their fractions where a market knows lots."""
    if isinstance(rules, RowRules):
        return torch.where(rules.lot_size > 0, lots.trunc(), lots) if rules.knows_lots else lots
    return lots.trunc() if rules.lot_size > 0 else lots


def step_targets(
    accounts: Accounts,
    weight: Tensor,
    bars: Bars,
    costs: CostTensors,
    rules: AccountRules,
    impact_exponent: float = 0.5,
    *,
    charges: Charges = ALL_CHARGES,
) -> StepOutcome:
    """Meet one bar with each account; see `core.accounting.reference.step`.

    Args:
        accounts: at the closes before `bars`.
        weight: decided there. One that is no number is not followed; the reference refuses it.
        rules: of all accounts, or of each.
        charges: what is left out where it cannot cost anything; by default nothing is.
    """
    units = _units(accounts.lots, rules)
    value = units * accounts.mark
    before = accounts.cash + value
    nothing = torch.zeros_like(before)
    change, unwanted = _change(accounts, weight, value, before, rules)
    refused = accounts.liquidated | unwanted
    cash, funding, borrow, liquidated = accounts.cash, nothing, nothing, accounts.liquidated
    if charges.funding:
        funding = units * bars.open * bars.funding_rate
        cash = cash - funding
    now = units * bars.open
    worth = cash + now
    gapped = None
    if rules.allows_short or rules.max_leverage > 1 or charges.funding:
        gapped = (worth <= rules.maintenance * now.abs()) & (now != 0)
        refused = refused | gapped
    trade = _trade(change, refused, (units, now, worth), bars, costs, rules, impact_exponent, charges)
    cash = cash - _units(trade.lots, rules) * trade.price - trade.fee
    lots, fee = accounts.lots + trade.lots, trade.fee
    entry = _entry_price(accounts, trade, lots)
    if gapped is not None:
        cash, forced_fee, forced = _forced(cash, lots, gapped, bars, costs, rules)
        fee, lots, liquidated = fee + forced_fee, lots.masked_fill(forced, 0.0), liquidated | forced
    held = _units(lots, rules) * bars.close
    if charges.borrow:
        borrow = -(cash.clamp(max=0.0) * costs.borrow_quote + held.clamp(max=0.0) * costs.borrow_base)
        cash = cash - borrow
    after = cash + held
    liquidated = liquidated | (after <= 0)
    lots, entry = lots.masked_fill(liquidated, 0.0), entry.masked_fill(liquidated, 0.0)
    cash = torch.where(liquidated, after.clamp(min=0.0), cash)  # nothing is held where it was closed by force
    log_return = (after / before).clamp(min=LEAST_RATIO).log().masked_fill(before <= 0, 0.0)
    done = Accounts(cash, lots, bars.close, entry, liquidated)
    paid = (fee, trade.spread, trade.slippage, trade.impact, funding, borrow)
    return StepOutcome(done, log_return, trade.lots, trade.price, *paid, liquidated & ~accounts.liquidated)


def _change(
    accounts: Accounts, weight: Tensor, value: Tensor, before: Tensor, rules: AccountRules
) -> tuple[Tensor, Tensor]:
    """Return the lots to trade for target weights, and where there are none."""
    allowed = weight.clamp(-rules.max_leverage if rules.allows_short else 0.0, rules.max_leverage)
    wanted = _toward_zero(allowed * before.clamp(min=0.0) / _units(accounts.mark, rules), rules)
    change = wanted - accounts.lots
    size = change.abs()
    noise = max(NOISE, 16 * torch.finfo(change.dtype).eps)  # in float32 much more is noise
    if isinstance(rules, RowRules):
        noise_of = noise * (accounts.lots.abs() + size)
        is_wanted = size > (noise_of.masked_fill(rules.lot_size > 0, 0.0) if rules.knows_lots else noise_of)
    elif rules.lot_size > 0:
        is_wanted = size > 0
    else:
        is_wanted = size > noise * (accounts.lots.abs() + size)
    if rules.band > 0:
        is_wanted = is_wanted & ((allowed - _weight(value, before)).abs() >= rules.band)
    return change, ~is_wanted


def _trade(
    change: Tensor,
    refused: Tensor,
    held: tuple[Tensor, Tensor, Tensor],
    bars: Bars,
    costs: CostTensors,
    rules: AccountRules,
    impact_exponent: float,
    charges: Charges,
) -> _Trade:
    """Trade at the opening price.

    Args:
        held: units, their value at the opening price, and the equity there.
    """
    units, value, worth = held
    side, size = change.sign(), change.abs()
    share, impact = costs.half_spread + costs.slippage, torch.zeros_like(change)
    if charges.impact:
        participation = (_units(size, rules) / bars.volume).masked_fill(bars.volume <= 0, 1.0)
        power = participation.sqrt() if impact_exponent == 0.5 else participation**impact_exponent
        impact = costs.impact * power
        share = share + impact
    price = _worse(bars.open * (1.0 + side * share), side, rules).clamp(min=0.0)
    lost = side * (price - bars.open) + price * costs.taker_fee
    most = (rules.max_leverage * worth - side * value) / (bars.open + rules.max_leverage * lost)
    room = torch.maximum(most, (-side * units).clamp(min=0.0))
    size = torch.minimum(size, _toward_zero(room / rules.unit if _knows_lots(rules) else room, rules))
    traded = _units(size, rules)
    paid = traded * price
    refused = refused | (size <= 0)
    knows_some = isinstance(rules, RowRules) and rules.knows_minimums
    if knows_some or (isinstance(rules, MarketRules) and rules.min_quantity > 0):
        refused = refused | (traded < rules.min_quantity * (1.0 - NOISE))
    if knows_some or (isinstance(rules, MarketRules) and rules.min_notional > 0):
        refused = refused | (paid < rules.min_notional * (1.0 - NOISE))
    traded, paid, lots, price = (part.masked_fill(refused, 0.0) for part in (traded, paid, side * size, price))
    middle = traded * bars.open
    spread, moved = middle * costs.half_spread, middle * impact if charges.impact else impact
    return _Trade(lots, price, paid * costs.taker_fee, spread, side * (paid - middle) - spread - moved, moved)


def _entry_price(accounts: Accounts, trade: _Trade, lots: Tensor) -> Tensor:
    """Return the average price of what is held after a fill."""
    old = accounts.lots
    average = (accounts.entry_price * old + trade.price * trade.lots) / lots
    shrunk = torch.where(old * lots > 0, accounts.entry_price, trade.price)
    entry = torch.where(old * trade.lots >= 0, average, shrunk)
    return entry.masked_fill(lots == 0, 0.0)


def _forced(
    cash: Tensor, lots: Tensor, gapped: Tensor, bars: Bars, costs: CostTensors, rules: AccountRules
) -> tuple[Tensor, Tensor, Tensor]:
    """Close what has no margin left at the opening or at the worst price of the bar.

    Returns:
        The cash after it, the fee, and where it happened.
    """
    side, units = lots.sign(), _units(lots, rules)
    margin = -cash / (units * (1.0 - rules.maintenance * side))
    worst = torch.where(side > 0, bars.low, bars.high)
    forced = gapped | ((side * (worst - margin) <= 0) & (side != 0))
    price = torch.where(gapped, bars.open, side * torch.minimum(side * margin, side * bars.open))
    price = _worse(price * (1.0 - side * (costs.half_spread + costs.slippage)), -side, rules).clamp(min=0.0)
    left = (cash + units * price).clamp(min=0.0)
    fee = torch.minimum(units.abs() * price * (costs.taker_fee + costs.liquidation_fee), left)
    return torch.where(forced, left - fee, cash), fee.masked_fill(~forced, 0.0), forced


def _weight(value: Tensor, worth: Tensor) -> Tensor:
    return (value / worth).masked_fill(worth <= 0, 0.0)


def _knows_lots(rules: AccountRules) -> bool:
    return rules.knows_lots if isinstance(rules, RowRules) else rules.lot_size > 0


def _units(lots: Tensor, rules: AccountRules) -> Tensor:
    return lots * rules.unit if _knows_lots(rules) else lots


def _worse(price: Tensor, side: Tensor, rules: AccountRules) -> Tensor:
    """Return prices in whole ticks, rounded against who trades."""
    if isinstance(rules, RowRules):
        if not rules.knows_ticks:
            return price
        return torch.where(rules.tick_size > 0, _whole_ticks(price, side, rules.tick), price)
    return _whole_ticks(price, side, rules.tick_size) if rules.tick_size > 0 else price


def _whole_ticks(price: Tensor, side: Tensor, tick: Tensor | float) -> Tensor:
    ticks = price / tick
    return side * (side * ticks - _noise(ticks)).ceil() * tick


def _toward_zero(lots: Tensor, rules: AccountRules) -> Tensor:
    """Return whole lots, never more than asked for."""
    if not _knows_lots(rules):
        return lots
    size = lots.abs()
    whole = (size + _noise(size)).floor().copysign(lots)
    return torch.where(rules.lot_size > 0, whole, lots) if isinstance(rules, RowRules) else whole


def _noise(number: Tensor) -> Tensor:
    return NOISE * (number.abs() / EXACT).clamp(min=1.0)
