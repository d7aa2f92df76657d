"""Comparing the books with the venue. Pure functions; any thread.

`reconcile` decides what follows from a local and a venue state; gathering the one and applying the other is the
business of `core.execution.synchroniser`. Applying its events twice changes nothing the second time. A query that
failed is no evidence of anything: what it would have told is simply not decided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.clock import NS_PER_S
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import FeeRule, Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.orders import IntentSource, Order, OrderState, OrderType, Side
from core.execution.api.gateway import OrderReport
from core.execution.records import INFERRED, OrderRecord

# Our clock may have been set since the order was sent, or its offset not be measured yet. A trade taken for ours too
# easily only waits until the order's fate is known; one taken for somebody else's is booked for the wrong owner.
CLOCK_TOLERANCE_NS = 3_600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class LocalState:
    """The books at the moment the queries began.

    Attributes:
        records: orders that are not settled, without those whose submit is being answered right now.
        owners: client order id of each known order by (symbol, venue order id).
        booked: (symbol, trade id) of fills already in the books.
        clock_offset_ns: venue clock minus ours.
        in_flight: orders whose submit is being answered, or was sent after the queries began: nothing is concluded from
            not finding them, but a trade nobody knows may be theirs.
        adopt_from_ns: trades of unknown orders before this venue time are nobody's business here, ns UTC.
    """

    records: tuple[OrderRecord, ...]
    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)
    booked: frozenset[tuple[str, str]] = frozenset()
    adopt_from_ns: int = 0
    clock_offset_ns: int = 0
    in_flight: tuple[OrderRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class VenueState:
    """What the venue answered.

    Attributes:
        open_orders: all working orders of the account; None where that query failed.
        queried: answer about each single order asked for; None where the venue does not know it. Orders whose query
            failed are absent.
        fills: own trades of the symbols asked for.
    """

    open_orders: tuple[OrderReport, ...] | None
    queried: Mapping[str, OrderReport | None] = field(default_factory=dict)
    fills: tuple[Fill, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderReported:
    """The venue knows one of our orders; what it says is to be applied."""

    report: OrderReport


@dataclass(frozen=True, slots=True)
class OrderAdopted:
    """The venue has an order nobody here knows."""

    report: OrderReport


@dataclass(frozen=True, slots=True)
class FillMissed:
    """A trade of a known order is not in the books."""

    fill: Fill


@dataclass(frozen=True, slots=True)
class ExternalFill:
    """A trade of an order nobody here knows; several of one order come in sequence."""

    fill: Fill


@dataclass(frozen=True, slots=True)
class OrderMissing:
    """The venue does not know one of our orders (or not yet): its fate is open."""

    client_order_id: str


@dataclass(frozen=True, slots=True)
class CancelPending:
    """A cancel was asked for and the order still works: ask again."""

    client_order_id: str


Event = OrderReported | OrderAdopted | FillMissed | ExternalFill | OrderMissing | CancelPending


def describe(event: Event) -> str:
    """Return a short line for the log: what happened, to which order of which market."""
    match event:
        case OrderReported(report):
            return f"order {_key(report)} {_report_text(report)}"
        case OrderAdopted(report):
            return f"foreign order {_key(report)} {_report_text(report)}"
        case FillMissed(fill):
            return f"missed fill of order {_key(fill)} {_fill_text(fill)}"
        case ExternalFill(fill):
            return f"fill of foreign order {_key(fill)} {_fill_text(fill)}"
        case OrderMissing(client_order_id):
            return f"order {client_order_id} not known to the venue"
    return f"order {event.client_order_id} still working, cancel repeated"


def _key(known: OrderReport | Fill) -> str:
    return known.client_order_id or known.venue_order_id


def _report_text(report: OrderReport) -> str:
    return f"{report.symbol} {report.side} {report.quantity:f}, filled {report.filled_quantity:f}, {report.state}"


def _fill_text(fill: Fill) -> str:
    return f"{fill.symbol} {fill.side} {fill.quantity:f} @ {fill.price:f}"


def reconcile(local: LocalState, venue: VenueState) -> list[Event]:
    """Say what must happen for the books to equal the venue: orders first, then their fills, then foreign ones."""
    events: list[Event] = []
    reports = {record.key: _report_on(record, venue) for record in local.records}
    for record in local.records:
        report = reports[record.key]
        if report is not None:
            if _differs(record.order, report):
                events.append(OrderReported(report))
            if record.order.state is OrderState.PENDING_CANCEL and not report.state.is_terminal:
                events.append(CancelPending(record.key))
        elif _is_missing(record, venue):
            events.append(OrderMissing(record.key))
    owners = dict(local.owners)
    owners.update({(r.symbol, r.venue_order_id): key for key, r in reports.items() if r is not None})
    events += [OrderAdopted(report) for report in _foreign_orders(local, venue, owners)]
    adopted = {(e.report.symbol, e.report.venue_order_id) for e in events if isinstance(e, OrderAdopted)}
    seen = set(local.booked)
    for fill in venue.fills:
        trade, order = (fill.symbol, fill.trade_id), (fill.symbol, fill.venue_order_id)
        if trade in seen:
            continue
        seen.add(trade)
        if order in owners or order in adopted or fill.client_order_id in reports:
            events.append(FillMissed(fill))
        elif fill.time_ns >= local.adopt_from_ns and not may_be_ours(
            fill, local.records + local.in_flight, local.clock_offset_ns
        ):
            events.append(ExternalFill(fill))
    return events


def may_be_ours(fill: Fill, records: tuple[OrderRecord, ...], clock_offset_ns: int) -> bool:
    """Return whether a trade of an unidentified order may belong to one of ours whose venue id is still unknown."""
    latest_submit_ns = fill.time_ns - clock_offset_ns + CLOCK_TOLERANCE_NS
    return any(
        not record.order.venue_order_id
        and record.order.state in (OrderState.SUBMITTED, OrderState.UNKNOWN)
        and record.intent.symbol == fill.symbol
        and record.intent.side is fill.side
        and fill.quantity <= record.intent.quantity
        and record.order.submitted_ns <= latest_submit_ns
        for record in records
    )


def inferred_fill(record: OrderRecord, venue: str, instrument: Instrument, time_ns: int) -> Fill | None:
    """Return the fill that must have happened where the venue says "filled" and lists no trades; None where none is.

    Quantity and price are what the venue's own totals leave over what is booked. Its trade id is a hash of the very
    fill, so that a second look, or a second start, finds it booked. The fee is the taker's: never less than it was.
    """
    order, context = record.order, LEDGER_CONTEXT
    quantity = context.subtract(order.filled_quantity, record.booked_quantity)
    if quantity <= 0 or order.average_price is None:
        return None
    value = context.subtract(context.multiply(order.filled_quantity, order.average_price), record.booked_value)
    price = context.divide(value, quantity)
    buying = order.intent.side is Side.BUY and instrument.fee_rule is FeeRule.RECEIVED
    fee = context.multiply(quantity if buying else context.multiply(quantity, price), instrument.taker_fee)
    told = f"{venue}|{order.intent.symbol}|{record.key}|{order.filled_quantity.normalize():f}|{price.normalize():f}"
    return Fill(
        venue=venue,
        symbol=order.intent.symbol,
        trade_id=INFERRED + hashlib.sha256(told.encode()).hexdigest()[:24],
        venue_order_id=order.venue_order_id,
        client_order_id=record.key,
        side=order.intent.side,
        price=price,
        quantity=quantity,
        fee=fee,
        fee_currency=instrument.base if buying else instrument.quote,
        liquidity=Liquidity.TAKER,
        time_ns=time_ns,
    )


def is_inferred(fill: Fill) -> bool:
    """Return whether a fill was made by `inferred_fill`."""
    return fill.trade_id.startswith(INFERRED)


def read_until(
    before: Mapping[str, int], listed: Sequence[Fill], waiting: Sequence[Fill], adopt_from_ns: int
) -> dict[str, int]:
    """Return how far own trades are read, by symbol: venue time, ns UTC; it never goes back.

    That is the newest trade of a listing that is booked, but not beyond one whose owner is not known yet. The time of a
    trade is compared with those of other trades alone: in a replayed market no other clock tells it. What a stream told
    moves nothing: older trades, of an outage, may not have been listed yet.

    Args:
        listed: own trades as listed, whole from where the reading began.
        waiting: those of them that are not booked.
        adopt_from_ns: what nobody here traded before is not waited for.
    """
    not_booked = {(fill.symbol, fill.trade_id) for fill in waiting}
    newest: dict[str, int] = {}
    first_open: dict[str, int] = {}
    for fill in listed:
        symbol, time_ns = fill.symbol, fill.time_ns
        if (symbol, fill.trade_id) not in not_booked:
            newest[symbol] = max(time_ns, newest.get(symbol, time_ns))
        elif time_ns >= adopt_from_ns:
            first_open[symbol] = min(time_ns, first_open.get(symbol, time_ns))
    until = {symbol: min(time_ns, first_open.get(symbol, time_ns)) for symbol, time_ns in newest.items()}
    return {**before, **{symbol: max(time_ns, before.get(symbol, time_ns)) for symbol, time_ns in until.items()}}


def external_reports(fills: list[Fill]) -> list[OrderReport]:
    """Make one report per foreign order from its trades: all that is known of an order first seen by its fills."""
    by_order: dict[tuple[str, str, Side], list[Fill]] = {}
    for fill in fills:
        by_order.setdefault((fill.symbol, fill.venue_order_id, fill.side), []).append(fill)
    return [
        OrderReport(
            symbol=symbol,
            client_order_id=group[0].client_order_id,
            venue_order_id=venue_order_id,
            state=OrderState.FILLED,
            side=side,
            order_type=OrderType.MARKET,
            quantity=sum((fill.quantity for fill in group), start=ZERO),
            filled_quantity=sum((fill.quantity for fill in group), start=ZERO),
            limit_price=None,
            average_price=None,
            time_ns=group[-1].time_ns,
            fills=tuple(group),
        )
        for (symbol, venue_order_id, side), group in by_order.items()
    ]


def is_outgrown(record: OrderRecord, report: OrderReport) -> bool:
    """Return whether an order of somebody else is larger than the trades by which it was first seen."""
    return record.intent.source is IntentSource.EXTERNAL and report.quantity > record.intent.quantity


def seen_whole(record: OrderRecord, report: OrderReport, now_ns: int) -> OrderRecord:
    """Return an order of somebody else, of which only trades were seen, as what the venue says it is."""
    order = record.order
    intent = replace(
        record.intent,
        quantity=report.quantity,
        order_type=report.order_type,
        limit_price=report.limit_price,
        stop_price=report.limit_price,
    )
    rests = order.state is OrderState.FILLED and order.filled_quantity < report.quantity
    state = OrderState.PARTIALLY_FILLED if rests else order.state
    return replace(record, order=replace(order, intent=intent, state=state, updated_ns=now_ns))


def _report_on(record: OrderRecord, venue: VenueState) -> OrderReport | None:
    # The single query was asked after the list, so it is newer.
    queried = venue.queried.get(record.key)
    if queried is not None:
        return queried
    for report in venue.open_orders or ():
        if _same_order(record, report):
            return report
    return None


def _same_order(record: OrderRecord, report: OrderReport) -> bool:
    known = record.order.venue_order_id
    if known and report.venue_order_id:
        return known == report.venue_order_id and record.intent.symbol == report.symbol
    return record.key == report.client_order_id


def _differs(order: Order, report: OrderReport) -> bool:
    return (
        order.state is not report.state
        or report.filled_quantity > order.filled_quantity
        or order.venue_order_id != report.venue_order_id
    )


def _is_missing(record: OrderRecord, venue: VenueState) -> bool:
    """Missing is only what was asked for by its own id, and answered; and what is over cannot be missing."""
    asked = record.key in venue.queried
    return asked and venue.open_orders is not None and not record.order.state.is_terminal


def _foreign_orders(local: LocalState, venue: VenueState, owners: Mapping[tuple[str, str], str]) -> list[OrderReport]:
    keys = {record.key for record in local.records}
    return [
        report
        for report in venue.open_orders or ()
        if (report.symbol, report.venue_order_id) not in owners and report.client_order_id not in keys
    ]
