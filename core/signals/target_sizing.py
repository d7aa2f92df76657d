"""From an agent's target weight to what is bought or sold, as the accounting kernel does it. Pure; any thread.

The kernel decides at a close by the equity and the price there, and so does a live order: `target_lots` is the same
function. What the kernel knows only at the next opening, the price that is paid, is taken to be this close, worsened by
what the agent learned that trading costs and by `SPARE`: an order that its account cannot pay is refused as a whole,
and might be at every close. What is then left of the cash, or lacking, is no reason for another order: an account as
full as it can be stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from core.accounting.reference import AccountState, allowed_weight, target_lots, weight_of
from core.accounting.rules import CostRates, spot_rules
from core.domain.instruments import Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.strategies.own_account import OwnAccount

SPARE = Decimal("0.001")  # of the cash: by so much more than expected the opening price may be worse than the close


def target_change(weight: float, account: OwnAccount, instrument: Instrument, costs: CostRates, band: float) -> Decimal:
    """Return how much base currency to buy, or to sell below 0, in whole lots; 0 where nothing is to be done.

    A purchase leaves `SPARE` of the account's cash, its fee paid. The venue's minimums are not looked at here.

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
    wanted, held = allowed_weight(weight, rules), weight_of(state, rules)
    if abs(wanted - held) < rules.band:
        return ZERO
    target = LEDGER_CONTEXT.multiply(Decimal(int(target_lots(state, weight, rules))), instrument.lot_size)
    change = LEDGER_CONTEXT.subtract(target, account.quantity)
    each = _most_paid(account, instrument, costs)
    affordable = LEDGER_CONTEXT.divide(max(account.cash, ZERO), each)
    wants_all = wanted >= rules.max_leverage - float(SPARE) or change > affordable
    if wants_all and held > 0.5 and abs(account.cash) <= _unspent(account, instrument, each):
        return ZERO
    if change <= 0:
        return -instrument.round_quantity(-change)
    return instrument.round_quantity(min(change, affordable))


def _most_paid(account: OwnAccount, instrument: Instrument, costs: CostRates) -> Decimal:
    """Return what a unit may cost at the next opening, fee and spare included, quote currency."""
    worse = 1 + Decimal(repr(costs.half_spread)) + Decimal(repr(costs.slippage))
    price = instrument.ceil_price(LEDGER_CONTEXT.multiply(account.mark, worse))
    return LEDGER_CONTEXT.multiply(LEDGER_CONTEXT.multiply(price, 1 + instrument.taker_fee), 1 + SPARE)


def _unspent(account: OwnAccount, instrument: Instrument, each: Decimal) -> Decimal:
    """Return the cash that an account as full as it can be may have left, or owe, quote currency.

    Whatever a purchase kept back for a worse price, the fee and the spare where they were not needed, and as much again
    where the opening was as much better; and a lot that was too large for the rest.
    """
    share = LEDGER_CONTEXT.subtract(LEDGER_CONTEXT.divide(each, account.mark), Decimal(1))
    kept = LEDGER_CONTEXT.multiply(2 * share, max(account.equity, ZERO))
    return LEDGER_CONTEXT.add(kept, LEDGER_CONTEXT.multiply(instrument.lot_size, each))
