"""Are the books equal to the venue? An independent check by query, for reports and tests. Executor's event loop.

It compares the journal with what the venue lists: every order and trade of ours, all positions with the trades, and
what the account holds of each traded coin with all that is known to have moved it: trades in any market, fees in any
currency, and the deposits and withdrawals its person was told of. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from core.domain.fills import Fill
from core.domain.instruments import Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO, plain
from core.domain.orders import OrderState
from core.execution.api.gateway import ExchangeGateway, OrderReport, OrderUnknown
from core.execution.cash_check import describe, unexplained_since
from core.execution.cash_flows import currencies
from core.execution.journal import Journal
from core.execution.records import OrderRecord

_NEVER_THERE = frozenset({OrderState.DENIED, OrderState.REJECTED, OrderState.EXPIRED})


@dataclass(frozen=True, slots=True)
class BookCheck:
    """Result of the comparison.

    Attributes:
        orders / fills: how many the journal holds (denied ones apart).
        differences: one sentence each; empty where all is equal.
        positions: base currency held by all owners, by symbol.
    """

    orders: int
    fills: int
    orders_match: bool
    positions_match: bool
    differences: tuple[str, ...]
    positions: dict[str, Decimal]


async def check_books(gateway: ExchangeGateway, journal: Journal, first_balances: dict[str, Decimal]) -> BookCheck:
    """Compare journal and venue.

    Of a market that is not listed any more only what is held is compared, and what is unsettled there is named.

    Args:
        first_balances: total of each currency when the journal began; where a later comparison found all explained,
            or told its person what was not, that one counts.

    Raises:
        GatewayError: the venue could not be asked.
    """
    records = [record for record in journal.orders() if record.order.state is not OrderState.DENIED]
    order_differences = [text for record in records if (text := await _order_difference(gateway, record))]
    fills = journal.fills()
    booked = {(fill.symbol, fill.trade_id): fill for fill in fills if fill.symbol in gateway.instruments}
    known = {(record.intent.symbol, record.order.venue_order_id) for record in records}
    for symbol in sorted({record.intent.symbol for record in records} & set(gateway.instruments)):
        listed = [f for f in await gateway.fetch_fills(symbol) if (symbol, f.venue_order_id) in known]
        for fill in listed:
            ours = booked.pop((symbol, fill.trade_id), None)
            if ours is None:
                order_differences.append(f"trade {fill.trade_id} in {symbol} is not booked")
            elif (ours.price, ours.quantity, ours.fee) != (fill.price, fill.quantity, fill.fee):
                order_differences.append(f"trade {fill.trade_id} in {symbol} is booked differently")
    order_differences += [f"trade {t} in {s} is not at the venue" for s, t in booked]
    positions: dict[str, Decimal] = {}
    for position in journal.positions():
        positions[position.symbol] = positions.get(position.symbol, ZERO) + position.quantity
    position_differences = _unlike_trades(positions, fills, gateway.instruments)
    position_differences += await _unexplained_coins(
        gateway, journal, {*positions, *(fill.symbol for fill in fills)}, first_balances
    )
    return BookCheck(
        orders=len(records),
        fills=len(fills),
        orders_match=not order_differences,
        positions_match=not position_differences,
        differences=(*order_differences, *position_differences),
        positions=positions,
    )


async def _order_difference(gateway: ExchangeGateway, record: OrderRecord) -> str:
    order = record.order
    if record.intent.symbol not in gateway.instruments:
        return "" if record.is_settled else f"order {record.key}: {record.intent.symbol} is not listed"
    try:
        report: OrderReport | None = await gateway.fetch_order(record.intent.symbol, record.key)
    except OrderUnknown:
        report = None
    if report is None and record.key == f"ext-{order.venue_order_id}" and record.fills_complete:
        return ""  # our own name for an order of somebody else: nobody can be asked by it, its trades are compared
    if report is None:
        # A refused order leaves no trace at most venues.
        there = order.state not in _NEVER_THERE or order.filled_quantity > 0
        return f"order {record.key} is {order.state} here and not at the venue" if there else ""
    same_state = order.state is report.state or (
        order.state is OrderState.PENDING_CANCEL and not report.state.is_terminal
    )
    if not same_state or order.filled_quantity != report.filled_quantity:
        here, there_ = f"{order.state} {order.filled_quantity}", f"{report.state} {report.filled_quantity}"
        return f"order {record.key} is {here} here and {there_} at the venue"
    if not record.fills_complete:
        return f"order {record.key} has {record.booked_quantity} of {order.filled_quantity} booked"
    return ""


def _unlike_trades(
    positions: Mapping[str, Decimal], fills: list[Fill], instruments: Mapping[str, Instrument]
) -> list[str]:
    """Compare positions with the trades in the books; a fee in base currency left the position it was paid for."""
    traded: dict[str, Decimal] = dict.fromkeys(positions, ZERO)
    for fill in fills:
        base, _ = currencies(fill.symbol, instruments.get(fill.symbol))
        fee = fill.fee if fill.fee_currency == base else ZERO
        change = LEDGER_CONTEXT.subtract(fill.quantity * fill.side.sign, fee)
        traded[fill.symbol] = LEDGER_CONTEXT.add(traded.get(fill.symbol, ZERO), change)
    return [
        f"the position in {symbol} is {plain(positions.get(symbol, ZERO))}, its trades make {plain(quantity)}"
        for symbol, quantity in sorted(traded.items())
        if quantity != positions.get(symbol, ZERO)
    ]


async def _unexplained_coins(
    gateway: ExchangeGateway, journal: Journal, symbols: Iterable[str], first_balances: Mapping[str, Decimal]
) -> list[str]:
    """Compare what the account holds of each traded coin with what is known of it."""
    coins = {currencies(symbol, gateway.instruments.get(symbol))[0] for symbol in symbols}
    balances = await gateway.fetch_balances()
    found = unexplained_since(balances, journal, gateway.instruments, first_balances)
    return [describe(currency, amount) for currency, amount in found.items() if currency in coins]
