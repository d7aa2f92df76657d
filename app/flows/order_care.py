"""What a person can do about an order that is out: change it, or decide on one without an answer. Qt-free, pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from app.flows.amount import Sentence
from app.flows.order_flow import TicketContext, TicketInput, assess
from app.flows.reason_text import Reason
from app.i18n import format_exact, format_price, mark
from core.domain.instruments import Instrument
from core.domain.money import ZERO
from core.domain.orders import Intent, IntentSource, Order, OrderChange, OrderState, OrderType, Side

_WORKING = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)


def is_changeable(order: Order) -> bool:
    """Whether a person may put another order in this one's place: a working one of their own, no part of a plan."""
    intent = order.intent
    own = intent.source is IntentSource.MANUAL and not intent.parent_id
    return own and order.state in _WORKING and intent.order_type is not OrderType.MARKET


def is_unanswered(order: Order) -> bool:
    """Whether nobody knows what became of an order."""
    return order.state is OrderState.UNKNOWN


# --- changing -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChangeInput:
    """What stands in the fields. None means empty or unreadable; the stop price counts for stop orders only.

    Attributes:
        quantity: base currency in total, what is filled included.
    """

    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ChangeJudgement:
    """The judgement over one change.

    Attributes:
        blocker: why it cannot be made; None where it can.
        warnings: what the person must see before.
        preview: what will be sent; None while blocked.
        change: what to ask for; None while blocked.
    """

    blocker: Sentence | None
    warnings: tuple[Sentence, ...] = ()
    preview: Sentence | None = None
    change: OrderChange | None = None


def judge_change(order: Order, entry: ChangeInput, context: TicketContext) -> ChangeJudgement:
    """Judge what is to take the place of an order."""
    if not is_changeable(order):
        return ChangeJudgement(Sentence(mark("The order is not working any more; it cannot be changed.")))
    intent, filled = order.intent, order.filled_quantity
    if entry.quantity is not None and entry.quantity <= filled and filled:
        return ChangeJudgement(
            Sentence(mark("{filled} is filled already; the total must be larger."), {"filled": format_exact(filled)})
        )
    remaining = None if entry.quantity is None else entry.quantity - filled
    judged = assess(
        TicketInput(
            intent.side,
            intent.order_type,
            remaining,
            entry.limit_price,
            entry.stop_price,
            intent.time_in_force,
            intent.reduce_only,
            intent.owner,
        ),
        _without(order, context),
    )
    figures, instrument = judged.estimate, context.instrument
    if judged.blocker is not None or figures is None or instrument is None:
        return ChangeJudgement(judged.blocker, judged.warnings)
    total = filled + figures.quantity
    if (total, figures.limit_price, figures.stop_price) == (intent.quantity, intent.limit_price, intent.stop_price):
        return ChangeJudgement(Sentence(mark("Nothing is changed yet.")), judged.warnings)
    change = OrderChange(total, figures.limit_price, figures.stop_price)
    return ChangeJudgement(None, judged.warnings, _change_sentence(order, change, instrument), change)


def _without(order: Order, context: TicketContext) -> TicketContext:
    """Return the context once the order is cancelled: what it holds is free again."""
    intent, left = order.intent, order.remaining_quantity
    if intent.side is Side.BUY:
        freed = left * (intent.limit_price or ZERO)
        return replace(context, free_quote=None if context.free_quote is None else context.free_quote + freed)
    return replace(context, free_base=None if context.free_base is None else context.free_base + left)


def _change_sentence(order: Order, change: OrderChange, instrument: Instrument) -> Sentence:
    total = change.quantity or ZERO
    words = {
        "remaining": format_exact(total - order.filled_quantity),
        "filled": format_exact(order.filled_quantity),
        "base": instrument.base,
        "price": format_price(change.limit_price, instrument.tick_size),
        "stop": format_price(change.stop_price, instrument.tick_size),
    }
    key = (order.intent.side, order.intent.order_type is OrderType.STOP_LOSS_LIMIT, bool(order.filled_quantity))
    return Sentence(_CHANGE_TEXT[key], words)


# By side, whether it has a stop price, whether some of it is filled.
_CHANGE_TEXT = {
    (Side.BUY, False, False): mark("Then buys {remaining} {base} at {price} or below."),
    (Side.BUY, False, True): mark("Then buys {remaining} {base} at {price} or below; {filled} is filled already."),
    (Side.SELL, False, False): mark("Then sells {remaining} {base} at {price} or above."),
    (Side.SELL, False, True): mark("Then sells {remaining} {base} at {price} or above; {filled} is filled already."),
    (Side.BUY, True, False): mark("Then buys {remaining} {base} at {price} or below once {stop} is reached."),
    (Side.BUY, True, True): mark(
        "Then buys {remaining} {base} at {price} or below once {stop} is reached; {filled} is filled already."
    ),
    (Side.SELL, True, False): mark("Then sells {remaining} {base} at {price} or above once {stop} is reached."),
    (Side.SELL, True, True): mark(
        "Then sells {remaining} {base} at {price} or above once {stop} is reached; {filled} is filled already."
    ),
}


# --- orders without an answer -------------------------------------------------------------------------------------


def describe(intent: Intent, instrument: Instrument | None) -> Sentence:
    """Return an order in one line."""
    tick = None if instrument is None else instrument.tick_size
    words = {
        "quantity": format_exact(intent.quantity),
        "symbol": intent.symbol,
        "price": "" if intent.limit_price is None else format_price(intent.limit_price, tick),
    }
    return Sentence(_ORDER_TEXT[intent.side, intent.limit_price is not None], words)


_ORDER_TEXT = {
    (Side.BUY, True): mark("Buy {quantity} {symbol} at {price}"),
    (Side.BUY, False): mark("Buy {quantity} {symbol} at the market price"),
    (Side.SELL, True): mark("Sell {quantity} {symbol} at {price}"),
    (Side.SELL, False): mark("Sell {quantity} {symbol} at the market price"),
}


def outcome_of(order: Order) -> Sentence | Reason | None:
    """Return what became of an order that was without an answer; None while it still is."""
    state = order.state
    if state is OrderState.UNKNOWN:
        return None
    words = {"filled": format_exact(order.filled_quantity), "quantity": format_exact(order.intent.quantity)}
    if state is OrderState.FILLED:
        return Sentence(mark("Decided: the exchange has filled the order ({filled})."), words)
    if state is OrderState.CANCELED:
        return Sentence(mark("Decided: the order is cancelled; {filled} of {quantity} was filled before."), words)
    if state.is_terminal:
        return Reason(order.reason_code, order.message) if order.message or order.reason_code else _ENDED
    return Sentence(mark("Decided: the exchange has the order; {filled} of {quantity} is filled so far."), words)


_ENDED = Sentence(mark("Decided: the order is over; nothing of it works any more."))
