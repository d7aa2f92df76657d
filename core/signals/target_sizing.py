"""From an agent's target weight to what is bought or sold, as the accounting kernel does it. Pure; any thread.

The kernel decides at a close by the equity and the price there, and so does a live order: `target_lots` is the same
function. What the kernel knows only at the next opening, the price that is paid, is taken to be this close, worsened by
what the agent learned that trading costs.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from core.accounting.reference import AccountState, allowed_weight, target_lots, weight_of
from core.accounting.rules import CostRates, spot_rules
from core.domain.instruments import Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.strategies.own_account import OwnAccount


def target_change(weight: float, account: OwnAccount, instrument: Instrument, costs: CostRates, band: float) -> Decimal:
    """Return how much base currency to buy, or to sell below 0, in whole lots; 0 where nothing is to be done.

    A purchase never costs more than the account's cash, its fee included. The venue's minimums are not looked at here.

    Args:
        weight: of the position in the equity.
        costs: that the agent learned with.
        band: a target is not followed while the weight is nearer to it than this.

    Raises:
        ValueError: the weight is no number.
    """
    rules = replace(spot_rules(instrument), band=band)
    lots = float(LEDGER_CONTEXT.divide(account.quantity, instrument.lot_size))
    state = AccountState(cash=float(account.cash), lots=lots, mark=account.candle.close)
    if abs(allowed_weight(weight, rules) - weight_of(state, rules)) < rules.band:
        return ZERO
    target = LEDGER_CONTEXT.multiply(Decimal(int(target_lots(state, weight, rules))), instrument.lot_size)
    change = LEDGER_CONTEXT.subtract(target, account.quantity)
    if change <= 0:
        return -instrument.round_quantity(-change)
    return instrument.round_quantity(min(change, _affordable(account, instrument, costs)))


def _affordable(account: OwnAccount, instrument: Instrument, costs: CostRates) -> Decimal:
    """Return the base currency that the account's cash pays, the fee included."""
    worse = 1 + Decimal(repr(costs.half_spread)) + Decimal(repr(costs.slippage))
    price = instrument.ceil_price(LEDGER_CONTEXT.multiply(account.mark, worse))
    each = LEDGER_CONTEXT.multiply(price, 1 + instrument.taker_fee)
    return LEDGER_CONTEXT.divide(max(account.cash, ZERO), each)
