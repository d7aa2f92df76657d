"""The manual order from first key to booked answer, as a state machine. Qt-free; the GUI thread drives it.

    EDIT ──review──▶ REVIEW ──send──▶ SENDING ──▶ DONE | DENIED | UNKNOWN
      ◀────edit──────┘                              (edit() returns to EDIT from any of them)

The flow sends a draft exactly once and never again by itself: an unanswered order is UNKNOWN until the executor
brings evidence. Every figure shown before the send (spent, fee, received, position afterwards) is computed here, in
Decimal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from app.flows.amount import Sentence
from app.flows.reason_text import Reason, Refusal
from app.i18n import format_exact, format_price, mark, round_decimals
from app.services import OrderDraft
from core.clock import NS_PER_MS, NS_PER_S
from core.domain.instruments import FeeRule, Instrument
from core.domain.money import ZERO, plain
from core.domain.orders import (
    MANUAL_OWNER,
    Intent,
    IntentSource,
    Order,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
    TradingState,
)
from core.domain.positions import Ownership
from core.events import DraftRefused, ExecutorEvent, IntentDenied, OrderUpdated
from core.signals.risk_management import ReasonCode

PRICE_DEVIATION_LIMIT = Decimal("0.05")
EQUITY_SHARE_LIMIT = Decimal("0.25")
# Stays free when a market order buys for "everything": a venue refuses the whole order where the book moved a tick.
MARKET_RESERVE = Decimal("0.001")
DUPLICATE_WINDOW_NS = 2 * NS_PER_S
ANSWER_TIMEOUT_NS = 10 * NS_PER_S
# The second half of a double click must not confirm what the first half only asked to review.
REVIEW_GUARD_NS = 400 * NS_PER_MS
_NOT_SENT = mark("Denied, nothing was sent: {reason}")
_VENUE_REFUSED = mark("Refused by the exchange: {reason}")
_NOT_EXECUTED = mark("Not executed: {reason}")
_AVERAGE_DECIMALS = 8  # of an average price, which has no tick size


class FlowState(StrEnum):
    """Where the order stands from the point of view of the person who sends it."""

    EDIT = "edit"
    REVIEW = "review"
    SENDING = "sending"
    DONE = "done"
    DENIED = "denied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TicketInput:
    """What stands in the fields. None means empty or unreadable.

    `owner` says whose position a reduce-only order closes; every other order is the person's own.
    """

    side: Side = Side.BUY
    order_type: OrderType = OrderType.LIMIT
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    owner: str = MANUAL_OWNER


@dataclass(frozen=True, slots=True)
class TicketContext:
    """The world around the ticket, as last told by the executor and the feed.

    Attributes:
        instrument: market and its rules; None before the venue told them.
        last, bid, ask: prices in quote currency; None while unknown.
        free_base, free_quote: free balances; None before the account is known.
        equity: all the account holds, in quote currency, open orders included; None while a figure of it is unknown.
        position: net base currency held over all owners.
        owned: base currency held by each owner; reduce-only is measured against the draft's owner, as risk does.
        titles: what the owners that are strategies are called.
        trading: the strategies that trade this market now.
        online: whether orders can reach the venue.
        trading_state: what the executor allows.
        ownership: who may trade the market.
    """

    instrument: Instrument | None = None
    last: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    free_base: Decimal | None = None
    free_quote: Decimal | None = None
    equity: Decimal | None = None
    position: Decimal = ZERO
    owned: Mapping[str, Decimal] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    trading: frozenset[str] = frozenset()
    online: bool = False
    trading_state: TradingState = TradingState.ACTIVE
    ownership: Ownership = Ownership.SHARED

    def market_price(self, side: Side) -> Decimal | None:
        """Return the price an order that takes liquidity now would meet, else the last price."""
        best = self.ask if side is Side.BUY else self.bid
        return best if best is not None else self.last

    def closable(self, owner: str, side: Side) -> Decimal:
        """Return how much of an owner's position an order of this side can close, in whole lots."""
        held = max(ZERO, self.owned.get(owner, ZERO) * -side.sign)
        return held if self.instrument is None else self.instrument.round_quantity(held)

    def title(self, owner: str) -> str:
        """Return what an owner is called."""
        return self.titles.get(owner) or owner


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the order will do if it executes as written.

    Attributes:
        quantity, limit_price, stop_price: after rounding to lot and tick.
        price: price the figures are computed with.
        value: quote currency exchanged before fees.
        fee: expected fee, in `fee_currency`.
        spent: what leaves the free balance: quote currency of a buy, base currency of a sell.
        received: what comes in after the fee: base currency of a buy, quote currency of a sell.
        position: net position afterwards, after the fee, base currency.
        rounded: whether rounding changed what was typed.
    """

    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    price: Decimal
    value: Decimal
    fee: Decimal
    fee_currency: str
    spent: Decimal
    received: Decimal
    position: Decimal
    rounded: bool


@dataclass(frozen=True, slots=True)
class Assessment:
    """The judgement over one input.

    Attributes:
        blocker: why the order cannot be sent; None where it can.
        warnings: what the person must see before sending.
        estimate: the figures; None while they cannot be computed.
    """

    blocker: Sentence | None
    warnings: tuple[Sentence, ...]
    estimate: Estimate | None


def estimate(entry: TicketInput, context: TicketContext) -> Estimate | None:
    """Compute rounding, cost, fee and resulting position; None while quantity, price or market are missing."""
    instrument = context.instrument
    if instrument is None or entry.quantity is None:
        return None
    quantity = instrument.round_quantity(entry.quantity)
    limit = _round_limit(entry, instrument)
    stop = instrument.round_price(entry.stop_price) if _needs_stop(entry) and entry.stop_price is not None else None
    price = context.market_price(entry.side) if entry.order_type is OrderType.MARKET else limit
    if price is None:
        return None
    value = quantity * price
    rate = instrument.maker_fee if entry.order_type is OrderType.LIMIT_MAKER else instrument.taker_fee
    buying = entry.side is Side.BUY
    fee_in_base = buying and instrument.fee_rule is FeeRule.RECEIVED
    fee = (quantity if fee_in_base else value) * rate
    bought = quantity - fee if fee_in_base else quantity
    return Estimate(
        quantity=quantity,
        limit_price=limit,
        stop_price=stop,
        price=price,
        value=value,
        fee=fee,
        fee_currency=instrument.base if fee_in_base else instrument.quote,
        spent=(value if fee_in_base else value + fee) if buying else quantity,
        received=bought if buying else value - fee,
        position=context.position + (bought if buying else -quantity),
        rounded=quantity != entry.quantity
        or (limit is not None and limit != entry.limit_price)
        or (stop is not None and stop != entry.stop_price),
    )


def assess(entry: TicketInput, context: TicketContext) -> Assessment:
    """Judge an input: what forbids it, what to warn about, and its figures."""
    figures = estimate(entry, context)
    blocker = (
        _blocked_by_state(entry, context)
        or _missing_field(entry, context)
        or _blocked_by_rules(entry, context, figures)
    )
    return Assessment(blocker, _warnings(entry, context, figures), figures)


def closing_owner(entry: TicketInput, context: TicketContext) -> str:
    """Return in whose name the order is sent.

    Reduce-only closes what the person holds; where that is nothing, what the one strategy holds that no longer trades:
    a person who took over a market finds its position in the strategy's name.
    """
    if not entry.reduce_only or entry.owner != MANUAL_OWNER or context.closable(MANUAL_OWNER, entry.side):
        return entry.owner
    holders = _holders(entry.side, context)
    return holders[0] if len(holders) == 1 and holders[0] not in context.trading else MANUAL_OWNER


def quantity_for_share(entry: TicketInput, context: TicketContext, share: Decimal) -> Decimal | None:
    """Return the quantity that uses `share` (0…1) of the free balance, rounded down to the lot.

    A fee that comes on top of the price is within the share, and a market buy leaves a reserve for a moving book.

    None while the balance, the market or (for a buy) the price is unknown.
    """
    instrument = context.instrument
    if instrument is None:
        return None
    if entry.side is Side.SELL:
        return None if context.free_base is None else instrument.round_quantity(context.free_base * share)
    price = context.market_price(Side.BUY) if entry.order_type is OrderType.MARKET else entry.limit_price
    if price is None:
        price = context.market_price(Side.BUY)
    if context.free_quote is None or price is None or price <= 0:
        return None
    spend = context.free_quote * share
    if instrument.fee_rule is FeeRule.QUOTE:
        spend /= 1 + instrument.taker_fee
    if entry.order_type is OrderType.MARKET:
        spend *= 1 - MARKET_RESERVE
    return instrument.round_quantity(spend / price)


class OrderFlow:
    """One manual order at a time.

    Args:
        send: called once per confirmed order with the rounded draft.
        now_ns: wall time in ns UTC; injected so that tests can move it.
    """

    def __init__(self, send: Callable[[OrderDraft], None], now_ns: Callable[[], int]) -> None:
        self._send = send
        self._now_ns = now_ns
        self.state = FlowState.EDIT
        self.entry = TicketInput()
        self.context = TicketContext()
        self.outcome: Sentence | Refusal | None = None
        self.one_click = False
        self.client_order_id = ""
        self._pending: OrderDraft | None = None
        self._sent_ns = 0
        self._reviewed_ns = 0
        self._last_sent: OrderDraft | None = None
        self._known_ids: set[str] = set()

    @property
    def in_flight(self) -> bool:
        """Whether an order was sent and not yet answered."""
        return self.state is FlowState.SENDING

    def assessment(self) -> Assessment:
        """Judge the present input, including a repetition of the order sent a moment ago."""
        judged = assess(self.entry, self.context)
        draft = self._draft(judged)
        recent = self._now_ns() - self._sent_ns < DUPLICATE_WINDOW_NS
        if draft is not None and recent and draft == self._last_sent:
            text = Sentence(mark("The same order was sent less than 2 seconds ago."))
            judged = replace(judged, warnings=(text, *judged.warnings))
        return judged

    def edit(self, entry: TicketInput | None = None) -> None:
        """Change the input; leaves the review and forgets the outcome of the order before. No effect in flight."""
        if self.in_flight:
            return
        if entry is not None:
            self.entry = entry
        self.state = FlowState.EDIT
        self.outcome = None
        self._pending = None
        self.client_order_id = ""

    def put_back(self, entry: TicketInput) -> None:
        """Take over fields that were emptied because their order was sent; what became of it stays known."""
        self.entry = entry

    def observe(self, context: TicketContext) -> None:
        """Take over a new view of the world. A review that became impossible falls back to EDIT."""
        self.context = context
        if self.state is FlowState.REVIEW and assess(self.entry, context).blocker is not None:
            self.state = FlowState.EDIT

    def review(self) -> bool:
        """Go to REVIEW if nothing forbids the order; with one-click armed and no warnings, send at once.

        Returns:
            Whether the flow moved on.
        """
        if self.state is not FlowState.EDIT:
            return False
        judged = self.assessment()
        if judged.blocker is not None:
            return False
        self.state = FlowState.REVIEW
        self._reviewed_ns = self._now_ns()
        if self.one_click and not judged.warnings:
            return self._send_now(judged)
        return True

    def send(self) -> bool:
        """Send the reviewed order, once.

        Returns:
            Whether it was sent; False outside REVIEW, within 0.4 s of it, or where it became impossible meanwhile.
        """
        if self.state is not FlowState.REVIEW or self._now_ns() - self._reviewed_ns < REVIEW_GUARD_NS:
            return False
        return self._send_now(self.assessment())

    def _send_now(self, judged: Assessment) -> bool:
        draft = self._draft(judged)
        if judged.blocker is not None or draft is None:
            self.state = FlowState.EDIT
            return False
        # The state moves before the call: a second click that arrives while the command runs finds SENDING.
        self.state = FlowState.SENDING
        self.outcome = None
        self.client_order_id = ""
        self._pending = self._last_sent = draft
        self._sent_ns = self._now_ns()
        self._send(draft)
        return True

    def tick(self) -> bool:
        """Look at the clock; an order unanswered for 10 s becomes UNKNOWN. Returns whether the state changed."""
        if self.in_flight and self._now_ns() - self._sent_ns >= ANSWER_TIMEOUT_NS:
            self.state = FlowState.UNKNOWN
            self.outcome = Sentence(mark("No answer yet. The order may or may not exist; it is being reconciled."))
            return True
        return False

    def on_event(self, event: ExecutorEvent) -> bool:
        """Follow the answer of the executor. Returns whether the state changed."""
        if isinstance(event, OrderUpdated):
            return self._on_order(event.order)
        if isinstance(event, IntentDenied) and self._awaits(event.intent.source, _draft_of(event.intent)):
            return self._settle(FlowState.DENIED, Refusal(_NOT_SENT, Reason(event.code, event.message)))
        if isinstance(event, DraftRefused) and self._awaits(IntentSource.MANUAL, event.draft):
            return self._settle(FlowState.DENIED, Refusal(_NOT_SENT, Reason("", event.message)))
        return False

    def _on_order(self, order: Order) -> bool:
        intent = order.intent
        if intent.source is not IntentSource.MANUAL:
            return False
        fresh = order.client_order_id not in self._known_ids
        self._known_ids.add(order.client_order_id)
        if fresh and not self.client_order_id and self._awaits(intent.source, _draft_of(intent)):
            self.client_order_id = order.client_order_id
        if order.client_order_id != self.client_order_id:
            return False
        return self._follow(order)

    def _follow(self, order: Order) -> bool:
        if self.state not in (FlowState.SENDING, FlowState.UNKNOWN):
            return False
        state = order.state
        if state in (OrderState.INITIALIZED, OrderState.SUBMITTED):
            return False
        if state is OrderState.UNKNOWN:
            return self._settle(
                FlowState.UNKNOWN, Sentence(mark("The venue did not answer. The order is being reconciled."))
            )
        if state in (OrderState.DENIED, OrderState.REJECTED):
            by_venue = order.reason_code == ReasonCode.VENUE_REJECTED.value
            lead = _NOT_SENT if state is OrderState.DENIED else _VENUE_REFUSED if by_venue else _NOT_EXECUTED
            return self._settle(FlowState.DENIED, Refusal(lead, Reason(order.reason_code, order.message)))
        if state is OrderState.EXPIRED and order.filled_quantity == 0:
            return self._settle(FlowState.DENIED, Sentence(mark("The order expired without a fill.")))
        if state is OrderState.FILLED:
            price = round_decimals(order.average_price or ZERO, _AVERAGE_DECIMALS)
            values = {"quantity": format_exact(order.filled_quantity), "price": format_exact(price)}
            return self._settle(FlowState.DONE, Sentence(mark("Filled {quantity} @ {price}."), values))
        return self._settle(FlowState.DONE, Sentence(mark("The order is on the book.")))

    def _settle(self, state: FlowState, outcome: Sentence | Refusal) -> bool:
        changed = (state, outcome) != (self.state, self.outcome)
        self.state, self.outcome = state, outcome
        return changed

    def _awaits(self, source: IntentSource, draft: OrderDraft) -> bool:
        waiting = self.state in (FlowState.SENDING, FlowState.UNKNOWN) and not self.client_order_id
        return waiting and source is IntentSource.MANUAL and draft == self._pending

    def _draft(self, judged: Assessment) -> OrderDraft | None:
        instrument, figures = self.context.instrument, judged.estimate
        if instrument is None or figures is None:
            return None
        entry = self.entry
        resting = entry.order_type in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT)
        return OrderDraft(
            symbol=instrument.symbol,
            side=entry.side,
            order_type=entry.order_type,
            quantity=figures.quantity,
            limit_price=figures.limit_price,
            stop_price=figures.stop_price,
            time_in_force=entry.time_in_force if resting else TimeInForce.GTC,
            reduce_only=entry.reduce_only,
            owner=closing_owner(entry, self.context),
        )


def _draft_of(intent: Intent) -> OrderDraft:
    return OrderDraft(
        symbol=intent.symbol,
        side=intent.side,
        order_type=intent.order_type,
        quantity=intent.quantity,
        limit_price=intent.limit_price,
        stop_price=intent.stop_price,
        time_in_force=intent.time_in_force,
        reduce_only=intent.reduce_only,
        owner=intent.owner,
    )


def _needs_limit(entry: TicketInput) -> bool:
    return entry.order_type is not OrderType.MARKET


def _needs_stop(entry: TicketInput) -> bool:
    return entry.order_type is OrderType.STOP_LOSS_LIMIT


def _round_limit(entry: TicketInput, instrument: Instrument) -> Decimal | None:
    """Round in favour of the person: a buy never dearer, a sell never cheaper than typed."""
    if not _needs_limit(entry) or entry.limit_price is None:
        return None
    rounding = instrument.floor_price if entry.side is Side.BUY else instrument.ceil_price
    return rounding(entry.limit_price)


def _reduces(entry: TicketInput, context: TicketContext) -> bool:
    return (entry.side is Side.SELL and context.position > 0) or (entry.side is Side.BUY and context.position < 0)


def _blocked_by_state(entry: TicketInput, context: TicketContext) -> Sentence | None:
    if context.trading_state is TradingState.HALTED:
        return Sentence(mark("Trading is halted. Re-arm it to send orders."))
    if not context.online:
        return Sentence(mark("Offline: orders cannot reach the exchange."))
    if context.instrument is None:
        return Sentence(mark("The rules of this market are not known yet."))
    if context.trading_state is TradingState.REDUCING and not _reduces(entry, context):
        return Sentence(mark("Only orders that reduce the position are allowed now."))
    if context.ownership is Ownership.BOT and not entry.reduce_only:
        return Sentence(mark("This market is left to its strategies: you can only send reduce-only orders."))
    return None


def _missing_field(entry: TicketInput, context: TicketContext) -> Sentence | None:
    if entry.quantity is None or entry.quantity == 0:
        return Sentence(mark("Enter a quantity."))
    if _needs_limit(entry) and not entry.limit_price:
        return Sentence(mark("Enter a price."))
    if _needs_stop(entry) and not entry.stop_price:
        return Sentence(mark("Enter a stop price."))
    if not _needs_limit(entry) and context.market_price(entry.side) is None:
        return Sentence(mark("There is no market price yet."))
    return None


def _blocked_by_rules(entry: TicketInput, context: TicketContext, figures: Estimate | None) -> Sentence | None:
    instrument = context.instrument
    if figures is None or instrument is None:
        return None
    quantity = figures.quantity
    if quantity < instrument.min_quantity or quantity <= 0:
        return Sentence(mark("The smallest quantity is {minimum}."), {"minimum": plain(_smallest(instrument))})
    if quantity > instrument.max_quantity:
        return Sentence(mark("The largest quantity is {maximum}."), {"maximum": plain(instrument.max_quantity)})
    if figures.value < instrument.min_notional:
        values = {"minimum": plain(instrument.min_notional), "quote": instrument.quote}
        return Sentence(mark("The smallest order value is {minimum} {quote}."), values)
    if (problem := _triggered(entry, context, figures, instrument)) is not None:
        return problem
    if entry.reduce_only and (problem := _not_reducing(entry, context, quantity, instrument.base)) is not None:
        return problem
    if entry.side is Side.BUY and context.free_quote is not None and figures.spent > context.free_quote:
        values = {"free": plain(context.free_quote.quantize(instrument.tick_size)), "currency": instrument.quote}
        return Sentence(mark("Not enough balance: {free} {currency} free."), values)
    if entry.side is Side.SELL and context.free_base is not None and quantity > context.free_base:
        return Sentence(
            mark("Not enough balance: {free} {currency} free."),
            {"free": plain(context.free_base), "currency": instrument.base},
        )
    return None


def _triggered(
    entry: TicketInput, context: TicketContext, figures: Estimate, instrument: Instrument
) -> Sentence | None:
    """Refuse a stop the market is at or beyond already: the exchange would."""
    stop, last = figures.stop_price, context.last
    if stop is None or last is None or (stop - last) * entry.side.sign > 0:
        return None
    values = {"price": format_price(last, instrument.tick_size)}
    if entry.side is Side.BUY:
        return Sentence(mark("A stop that buys must be above the last price of {price}."), values)
    return Sentence(mark("A stop that sells must be below the last price of {price}."), values)


def _not_reducing(entry: TicketInput, context: TicketContext, quantity: Decimal, base: str) -> Sentence | None:
    closable = context.closable(closing_owner(entry, context), entry.side)
    if quantity <= closable:
        return None
    if closable:
        values = {"quantity": plain(closable), "base": base}
        return Sentence(mark("Reduce-only: at most {quantity} {base} can be closed."), values)
    holders = _holders(entry.side, context)
    active = [owner for owner in holders if owner in context.trading]
    if active:
        text = mark("The position belongs to the strategy {name}. Press Take over at the top to close it yourself.")
        return Sentence(text, {"name": ", ".join(context.title(owner) for owner in active)})
    if holders:
        text = mark("The position belongs to several strategies: {names}. Close each of them in Positions.")
        return Sentence(text, {"names": ", ".join(context.title(owner) for owner in holders)})
    return Sentence(mark("Reduce-only: the order would not shrink the position."))


def _holders(side: Side, context: TicketContext) -> list[str]:
    """Return the strategies whose position an order of this side would close."""
    return [owner for owner in context.owned if owner != MANUAL_OWNER and context.closable(owner, side)]


def _smallest(instrument: Instrument) -> Decimal:
    return max(instrument.min_quantity, instrument.lot_size)


def _warnings(entry: TicketInput, context: TicketContext, figures: Estimate | None) -> tuple[Sentence, ...]:
    instrument = context.instrument
    if figures is None or instrument is None:
        return ()
    found: list[Sentence] = []
    market = context.market_price(entry.side)
    if figures.limit_price is not None and market:
        deviation = (figures.limit_price - market) / market
        if abs(deviation) > PRICE_DEVIATION_LIMIT:
            found.append(
                Sentence(mark("The price is {percent} % away from the market."), {"percent": f"{deviation * 100:+.1f}"})
            )
        crosses = figures.limit_price >= market if entry.side is Side.BUY else figures.limit_price <= market
        if entry.order_type is OrderType.LIMIT_MAKER and crosses:
            found.append(Sentence(mark("A limit-maker order at this price would be rejected: it would trade at once.")))
    if context.equity and figures.value > context.equity * EQUITY_SHARE_LIMIT:
        share = figures.value / context.equity * 100
        found.append(Sentence(mark("This order is {percent} % of the account."), {"percent": f"{share:.0f}"}))
    if figures.rounded:
        found.append(Sentence(mark("Rounded to the market's steps.")))
    return tuple(found)
