"""What trading did to the account's balances, currency by currency. Pure functions; any thread.

Deposits, withdrawals, dust conversions and the like are no trades: they show as what the flows do not explain. Unlike
positions, which are valued in quote currency, flows know in which currency a fee was really taken, so the comparison
is exact for every currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.positions import Balance, FundingPayment

Flows = dict[str, Decimal]


def add_fill(flows: Flows, fill: Fill, instrument: Instrument | None) -> None:
    """Add what a fill moved: base and quote currency, and its fee in the currency it was taken in.

    Args:
        instrument: None where the venue does not trade the market any more.
    """
    signed = fill.quantity * fill.side.sign
    base, quote = currencies(fill.symbol, instrument)
    _add(flows, base, signed)
    _add(flows, quote, LEDGER_CONTEXT.multiply(-signed, fill.price))
    _add(flows, fill.fee_currency, -fill.fee)


def currencies(symbol: str, instrument: Instrument | None) -> tuple[str, str]:
    """Return base and quote currency of a market; its name tells them where the venue does not trade it any more."""
    named = symbol.partition(":")[0].partition("/")
    return (instrument.base, instrument.quote) if instrument else (named[0], named[2])


def add_funding(flows: Flows, payment: FundingPayment) -> None:
    """Add what a funding payment moved."""
    _add(flows, payment.currency, payment.amount)


def unexplained(
    balances: Iterable[Balance], first_balances: Mapping[str, Decimal], flows: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Return what the account holds beyond its beginning and its trades, by currency; currencies that agree are absent.

    Args:
        balances: all balances of the account now; a currency that is not named is held at zero.
        first_balances: totals when the books began.
        flows: what every booked fill and payment moved since.

    Returns:
        Positive where more came in than trading explains (a deposit), negative where more went out.
    """
    held = {balance.currency: balance.total for balance in balances}
    differences = {}
    for currency in sorted({*held, *first_balances, *flows}):
        expected = LEDGER_CONTEXT.add(first_balances.get(currency, ZERO), flows.get(currency, ZERO))
        difference = LEDGER_CONTEXT.subtract(held.get(currency, ZERO), expected)
        if difference:
            differences[currency] = difference
    return differences


def _add(flows: Flows, currency: str, amount: Decimal) -> None:
    if amount:
        flows[currency] = LEDGER_CONTEXT.add(flows.get(currency, ZERO), amount)
