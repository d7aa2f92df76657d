"""What the risk gate is told, and how large a position an order could make. Pure values, any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from core.domain.instruments import Instrument
from core.domain.money import ZERO, plain
from core.domain.orders import Intent, Order, OrderState, Side, TradingState


@dataclass(frozen=True, slots=True)
class BookView:
    """What the visible order book offers a market order.

    Attributes:
        middle: between the best prices; the best price where only one side is there.
        price: what the order would pay or get on average, as far as the book is visible; None where nothing is offered.
        quantity: base currency offered in all.
    """

    middle: Decimal
    price: Decimal | None
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class RiskContext:
    """What the world looks like at the moment of a check.

    Attributes:
        now_ns: wall time, ns UTC.
        instrument: the market's rules; None where the venue has no such market.
        mark_price: last market price, None while unknown.
        mark_age_ns: how long ago it was heard; None where nobody measured.
        marks: last prices of the other markets orders work in.
        in_doubt: the books have yet to be compared with the venue; exposure must not grow.
        owner_quantity: base currency the intent's owner holds.
        account_quantity: base currency all owners hold together.
        holdings: account balance of the base currency (free and locked).
        free: free account balances by currency; what orders not yet seen there will take is not in it.
        equity: what the account is worth in the market's quote currency; None while unknown.
        working: working orders of the account (all markets).
        unbooked: wishes the venue filled by so much base currency more than it has listed as trades; no position shows
            that yet.
        day_pnl: profit since the start of the UTC day, or since trading was re-armed on it; quote currency.
        drawdown: fall of the profit from its highest point since trading was armed, quote currency; 0 at the top.
        recent: manual and strategy intents sent in the last seconds, this one not among them.
        usual_quantities: what this owner ordered last in this market, base currency.
        own_equity: worth of the account that an agent's intent trades and nothing else, quote currency; None of others.
        orders_last_second / orders_last_minute: orders sent, over all owners.
        cancels_last_minute: cancels sent.
        book: what the visible book offers a market order; None where no book is known.
        live: whether the gateway moves real money.
        clock_skew_ns: the venue's clock minus ours; None where nobody measured.
        keeps_protection: trading was halted by a limit, not by a person: orders that only reduce a position pass.
        symbol_owner_denies: why this owner must not trade this market now, one sentence; empty where it may.
    """

    now_ns: int
    trading_state: TradingState
    instrument: Instrument | None
    mark_price: Decimal | None
    mark_age_ns: int | None = None
    marks: Mapping[str, Decimal] = field(default_factory=dict)
    in_doubt: bool = False
    keeps_protection: bool = False
    owner_quantity: Decimal = ZERO
    account_quantity: Decimal = ZERO
    holdings: Decimal = ZERO
    free: Mapping[str, Decimal] = field(default_factory=dict)
    equity: Decimal | None = None
    working: Sequence[Order] = ()
    unbooked: Sequence[tuple[Intent, Decimal]] = ()
    day_pnl: Decimal = ZERO
    drawdown: Decimal = ZERO
    recent: Sequence[Intent] = ()
    usual_quantities: Sequence[Decimal] = ()
    own_equity: Decimal | None = None
    orders_last_second: int = 0
    orders_last_minute: int = 0
    cancels_last_minute: int = 0
    book: BookView | None = None
    live: bool = False
    clock_skew_ns: int | None = None
    symbol_owner_denies: str = ""


def increases_exposure(intent: Intent, context: RiskContext) -> bool:
    """Return whether the intent could make a position larger.

    A sale covered by what the owner or the account holds only reduces; a purchase reduces only a short position.
    What opposite orders already working would take is not available a second time. A reduce-only order that keeps its
    promise reduces: it is measured against its owner's position, which no other owner's order takes from.
    """
    if intent.reduce_only:
        return bool(reduce_only_excess(intent, context))
    wanted = intent.quantity + pending(intent, context)
    if intent.side is Side.SELL:
        return wanted > max(context.owner_quantity, context.holdings)
    return wanted > -context.owner_quantity


def reduce_only_excess(intent: Intent, context: RiskContext) -> str:
    """Say why a reduce-only order takes more than its owner's other closing orders leave; empty where it does not."""
    coming = under_way(intent, context)
    if intent.quantity + coming <= context.owner_quantity * -intent.side.sign:
        return ""
    held = plain(context.owner_quantity)
    if coming:
        return f"the order may only reduce the position of {held}, and {plain(coming)} is on its way out already"
    return f"the order may only reduce the position of {held}"


def overtaken(intent: Intent, context: RiskContext) -> str:
    """Say which reduce-only orders of its owner an order would make turn the position around; empty where none."""
    promised = sum(
        (o.remaining_quantity for o in context.working if o.intent.reduce_only and _closes_the_same(o.intent, intent)),
        start=ZERO,
    )
    if not promised or intent.quantity + under_way(intent, context) <= context.owner_quantity * -intent.side.sign:
        return ""
    held = plain(context.owner_quantity)
    return f"reduce-only orders for {plain(promised)} of the position of {held} are at work already; cancel them first"


def pending(intent: Intent, context: RiskContext) -> Decimal:
    """Return the base currency that working orders in the intent's market and direction may still trade.

    Purchases whose trades are not listed yet belong to it; sales do not, as the account's holdings show them already.
    """
    orders = _to_come(context) if intent.side is Side.BUY else _working(context)
    return sum((q for i, q in orders if (i.symbol, i.side) == (intent.symbol, intent.side)), start=ZERO)


def unseen(context: RiskContext, currency: str, mark: Decimal) -> Decimal:
    """Return what orders on their way (or unknown) may take from the free balance the venue last reported."""
    total = ZERO
    for order in context.working:
        if order.state not in (OrderState.SUBMITTED, OrderState.UNKNOWN):
            continue
        intent = order.intent
        base, _, quote = intent.symbol.partition("/")
        if intent.side is Side.SELL and base == currency:
            total += order.remaining_quantity
        elif intent.side is Side.BUY and quote == currency:
            price = intent.limit_price or intent.reference_price or context.marks.get(intent.symbol, mark)
            total += order.remaining_quantity * price
    return total


def under_way(intent: Intent, context: RiskContext) -> Decimal:
    """Return what its owner's orders in the intent's market and direction may still add to the books, base currency."""
    return sum((q for i, q in _to_come(context) if _closes_the_same(i, intent)), start=ZERO)


def _to_come(context: RiskContext) -> list[tuple[Intent, Decimal]]:
    return [*_working(context), *context.unbooked]


def _working(context: RiskContext) -> list[tuple[Intent, Decimal]]:
    return [(order.intent, order.remaining_quantity) for order in context.working]


def _closes_the_same(other: Intent, intent: Intent) -> bool:
    return (other.symbol, other.owner, other.side) == (intent.symbol, intent.owner, intent.side)
