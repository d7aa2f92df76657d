"""A new order plan before it is sent: what forbids it, what it will do, in figures. Qt-free, pure, any thread.

Exits sell: the markets are spot, what is held is long. Checks of a single order are those of the ticket
(`app.flows.order_flow.assess`); the executor checks everything again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from app.flows.amount import Sentence
from app.flows.order_flow import Assessment, Estimate, TicketContext, TicketInput, assess
from app.i18n import format_duration, format_exact, format_number, format_price, mark
from core.domain.instruments import Instrument
from core.domain.money import ZERO
from core.domain.order_plans import ExitRules, PlanDraft, PlanKind, trailing_stop
from core.domain.orders import MANUAL_OWNER, OrderType, Side, TradingState

WITH_EXITS = (PlanKind.EXIT, PlanKind.BRACKET)
_SECONDS = 60
_MONEY_DECIMALS = 2
# What `PlanDraft` and `ExitRules` refuse, in words for a person.
_DRAFT_TEXT = {
    "an exit needs a stop, a trailing distance or a target": mark("Enter a stop, a trailing distance or a target."),
    "prices of an exit must be positive": mark("Prices must be above zero."),
    "a TWAP order needs at least 2 parts, and at least 2 seconds for each": mark(
        "A TWAP order needs at least 2 parts, and at least 2 seconds for each."
    ),
    "the visible part must be smaller than the whole order": mark(
        "The visible part must be smaller than the whole order."
    ),
}


@dataclass(frozen=True, slots=True)
class PlanInput:
    """What stands in the fields. None means empty or unreadable.

    Attributes:
        side: of a TWAP and an iceberg; a bracket buys and an exit sells.
        limit_price: empty is the market price, where the kind allows it.
        parts, minutes: of a TWAP.
        owner: whose position an exit closes.
    """

    kind: PlanKind = PlanKind.BRACKET
    side: Side = Side.BUY
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    target_price: Decimal | None = None
    parts: Decimal | None = None
    minutes: Decimal | None = None
    visible: Decimal | None = None
    reduce_only: bool = False
    owner: str = MANUAL_OWNER


@dataclass(frozen=True, slots=True)
class PlanContext:
    """The world around a new plan.

    Attributes:
        ticket: what an order ticket for this market would see.
        protected: how much of the owner's position other plans close already.
    """

    ticket: TicketContext
    protected: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class PlanJudgement:
    """The judgement over one input.

    Attributes:
        blocker: why the plan cannot be begun; None where it can.
        warnings: what the person must see before.
        preview: what it will do, one sentence each; empty while that cannot be said.
        draft: what would be sent; None while blocked.
    """

    blocker: Sentence | None
    warnings: tuple[Sentence, ...] = ()
    preview: tuple[Sentence, ...] = ()
    draft: PlanDraft | None = None


def judge(entry: PlanInput, context: PlanContext) -> PlanJudgement:
    """Judge an input."""
    ticket = context.ticket
    judged = assess(_whole(entry), ticket)
    instrument, figures = ticket.instrument, judged.estimate
    reachable = ticket.online and ticket.trading_state is not TradingState.HALTED
    blocker = (_not_covered(entry, context) if reachable else None) or judged.blocker
    if blocker is not None or instrument is None or figures is None:
        return PlanJudgement(blocker)
    entry = _rounded(entry, instrument, figures)
    if (blocker := _wrong_exit(entry, figures.price, instrument)) is not None:
        return PlanJudgement(blocker)
    try:
        draft = _draft(entry, instrument.symbol)
    except ValueError as exc:
        return PlanJudgement(Sentence(_DRAFT_TEXT.get(str(exc), str(exc))))
    if (blocker := _small_parts(draft, ticket)) is not None:
        return PlanJudgement(blocker)
    return PlanJudgement(None, _warnings(entry, judged), _preview(draft, figures, instrument), draft)


# --- the draft ----------------------------------------------------------------------------------------------------


def _side(entry: PlanInput) -> Side:
    fixed = {PlanKind.EXIT: Side.SELL, PlanKind.BRACKET: Side.BUY}
    return fixed.get(entry.kind, entry.side)


def _reduces(entry: PlanInput) -> bool:
    return entry.kind is PlanKind.EXIT or (entry.kind is not PlanKind.BRACKET and entry.reduce_only)


def _whole(entry: PlanInput) -> TicketInput:
    """Return the order that would trade all of it at once: what forbids that one forbids the plan."""
    limited = entry.kind is PlanKind.ICEBERG or (entry.kind is not PlanKind.EXIT and entry.limit_price is not None)
    return TicketInput(
        side=_side(entry),
        order_type=OrderType.LIMIT if limited else OrderType.MARKET,
        quantity=entry.quantity,
        limit_price=entry.limit_price if limited else None,
        reduce_only=_reduces(entry),
        owner=entry.owner,
    )


def _rounded(entry: PlanInput, instrument: Instrument, figures: Estimate) -> PlanInput:
    """Return the input on the market's steps."""

    def price(value: Decimal | None) -> Decimal | None:
        return None if value is None else instrument.round_price(value)

    return replace(
        entry,
        quantity=figures.quantity,
        limit_price=figures.limit_price,
        stop_price=price(entry.stop_price),
        trail=price(entry.trail),
        target_price=price(entry.target_price),
        visible=None if entry.visible is None else instrument.round_quantity(entry.visible),
    )


def _draft(entry: PlanInput, symbol: str) -> PlanDraft:
    """Return the plan.

    Raises:
        ValueError: it makes no sense as it stands.
    """
    twap, exits = entry.kind is PlanKind.TWAP, None
    if entry.kind in WITH_EXITS:
        exits = ExitRules(entry.stop_price, entry.target_price, entry.trail)
    return PlanDraft(
        kind=entry.kind,
        symbol=symbol,
        side=_side(entry),
        quantity=entry.quantity or ZERO,
        limit_price=entry.limit_price,
        exits=exits,
        slices=int(entry.parts or 0) if twap else 0,
        duration_s=int((entry.minutes or 0) * _SECONDS) if twap else 0,
        visible=entry.visible if entry.kind is PlanKind.ICEBERG else None,
        reduce_only=_reduces(entry) and entry.kind is not PlanKind.EXIT,
        owner=entry.owner,
    )


# --- what forbids it ----------------------------------------------------------------------------------------------


def _not_covered(entry: PlanInput, context: PlanContext) -> Sentence | None:
    """Refuse to close more than its owner holds and no other plan closes."""
    instrument = context.ticket.instrument
    if not _reduces(entry) or instrument is None:
        return None
    held = context.ticket.closable(entry.owner, _side(entry))
    others = context.protected if entry.kind is PlanKind.EXIT else ZERO
    values = {"held": format_exact(held), "others": format_exact(others), "base": instrument.base}
    if not held:
        return Sentence(mark("There is no position here that could be closed."))
    if entry.quantity is None or entry.quantity + others <= held:
        return None
    if others:
        return Sentence(mark("The position is {held} {base}, and {others} {base} of it has an exit already."), values)
    return Sentence(mark("The position is {held} {base}; no more can be closed."), values)


def _wrong_exit(entry: PlanInput, now: Decimal, instrument: Instrument) -> Sentence | None:
    """Refuse an exit that would happen the moment it begins."""
    if entry.kind not in WITH_EXITS:
        return None
    values = {"price": format_price(now, instrument.tick_size)}
    if entry.stop_price is not None and entry.stop_price >= now:
        return Sentence(mark("The stop must be below {price}, or it would sell at once."), values)
    if entry.trail is not None and entry.trail >= now:
        return Sentence(mark("The trailing distance must be smaller than the price of {price}."), values)
    if entry.target_price is not None and entry.target_price <= now:
        return Sentence(mark("The target must be above {price}, or it would sell at once."), values)
    return None


def _part(draft: PlanDraft, instrument: Instrument) -> Decimal:
    """Return what one order of a TWAP or an iceberg trades."""
    return draft.visible or instrument.round_quantity(draft.quantity / draft.slices)


def _small_parts(draft: PlanDraft, ticket: TicketContext) -> Sentence | None:
    instrument = ticket.instrument
    if draft.kind in WITH_EXITS or instrument is None:
        return None
    part = _part(draft, instrument)
    kind = OrderType.MARKET if draft.limit_price is None else OrderType.LIMIT
    single = TicketInput(draft.side, kind, part, draft.limit_price, reduce_only=draft.reduce_only, owner=draft.owner)
    problem = assess(single, ticket).blocker
    if problem is None:
        return None
    values = {"part": format_exact(part), "base": instrument.base, "why": problem.text()}
    return Sentence(mark("One part would be {part} {base}. {why}"), values)


# --- what is said -------------------------------------------------------------------------------------------------


def _warnings(entry: PlanInput, judged: Assessment) -> tuple[Sentence, ...]:
    if entry.kind not in WITH_EXITS:
        return judged.warnings
    # How large an order is, and how far from the market, says nothing against leaving.
    found = list(judged.warnings) if entry.kind is PlanKind.BRACKET else []
    if entry.stop_price is None and entry.trail is None:
        found.append(Sentence(mark("Without a stop the loss is not limited.")))
    if entry.target_price is not None:
        found.append(Sentence(mark("The target is watched only while this program runs.")))
    if entry.trail is not None:
        found.append(Sentence(mark("The stop follows the price only while this program runs.")))
    return tuple(found)


def _preview(draft: PlanDraft, figures: Estimate, instrument: Instrument) -> tuple[Sentence, ...]:
    if draft.exits is not None:
        bracket = draft.kind is PlanKind.BRACKET
        first = (_entry_sentence(draft, figures, instrument),) if bracket else ()
        return (*first, *_exit_sentences(draft, draft.exits, figures, instrument))
    words = {
        "quantity": format_exact(draft.quantity),
        "part": format_exact(_part(draft, instrument)),
        "base": instrument.base,
        "n": str(draft.slices),
        "pause": format_duration(draft.duration_s / draft.slices) if draft.slices else "",
        "price": _price(draft.limit_price, instrument),
    }
    return (Sentence(_PART_TEXT[draft.kind, draft.side, draft.limit_price is not None], words),)


_PART_TEXT = {
    (PlanKind.TWAP, Side.BUY, False): mark(
        "Buys {quantity} {base} at the market price in {n} parts of about {part} {base}, one every {pause}."
    ),
    (PlanKind.TWAP, Side.SELL, False): mark(
        "Sells {quantity} {base} at the market price in {n} parts of about {part} {base}, one every {pause}."
    ),
    (PlanKind.TWAP, Side.BUY, True): mark(
        "Buys {quantity} {base} at {price} or below in {n} parts of about {part} {base}, one every {pause}. "
        "What the market does not give at that price is not bought."
    ),
    (PlanKind.TWAP, Side.SELL, True): mark(
        "Sells {quantity} {base} at {price} or above in {n} parts of about {part} {base}, one every {pause}. "
        "What the market does not take at that price is not sold."
    ),
    (PlanKind.ICEBERG, Side.BUY, True): mark(
        "Buys {quantity} {base} at {price} or below; the order book shows {part} {base} at a time."
    ),
    (PlanKind.ICEBERG, Side.SELL, True): mark(
        "Sells {quantity} {base} at {price} or above; the order book shows {part} {base} at a time."
    ),
}


def _entry_sentence(draft: PlanDraft, figures: Estimate, instrument: Instrument) -> Sentence:
    words = {
        "quantity": format_exact(draft.quantity),
        "base": instrument.base,
        "price": _price(draft.limit_price, instrument),
        "value": format_number(figures.value, _MONEY_DECIMALS),
        "quote": instrument.quote,
    }
    if draft.limit_price is None:
        return Sentence(mark("Buys {quantity} {base} at the market price, for about {value} {quote}."), words)
    return Sentence(mark("Buys {quantity} {base} at {price} or below, for at most {value} {quote}."), words)


def _exit_sentences(
    draft: PlanDraft, exits: ExitRules, figures: Estimate, instrument: Instrument
) -> tuple[Sentence, ...]:
    found: list[Sentence] = []
    bracket = draft.kind is PlanKind.BRACKET
    first_stop = exits.stop_price
    if exits.trail is not None:
        first_stop = trailing_stop(exits.stop_price, exits.trail, figures.price, Side.SELL, instrument)
        words = _outcome(draft, first_stop, figures, instrument) | {"trail": _price(exits.trail, instrument)}
        found.append(Sentence(_TRAIL_TEXT[bracket], words))
    elif first_stop is not None:
        found.append(Sentence(_STOP_TEXT[bracket], _outcome(draft, first_stop, figures, instrument)))
    if exits.target_price is not None:
        text = _TARGET_TEXT[bracket, bool(found)]
        found.append(Sentence(text, _outcome(draft, exits.target_price, figures, instrument)))
    return tuple(found)


# By whether it is a bracket, whose cost is known.
_STOP_TEXT = {
    True: mark("Sells it once the price falls to {price}: worst loss about {loss} {quote}, fees included."),
    False: mark("Sells {quantity} {base} once the price falls to {price}: brings about {value} {quote} after fees."),
}
_TRAIL_TEXT = {
    True: mark(
        "Sells it once the price falls {trail} below the best one reached, at first {price}: worst loss about "
        "{loss} {quote}, fees included."
    ),
    False: mark(
        "Sells {quantity} {base} once the price falls {trail} below the best one reached, at first {price}: brings "
        "about {value} {quote} after fees."
    ),
}
# By whether it is a bracket, and whether a stop stands before it.
_TARGET_TEXT = {
    (True, True): mark("Or sells it at {price} or above: gain about {gain} {quote}, fees included."),
    (True, False): mark("Sells it at {price} or above: gain about {gain} {quote}, fees included."),
    (False, True): mark("Or sells at {price} or above: brings at least {value} {quote} after fees."),
    (False, False): mark("Sells {quantity} {base} at {price} or above: brings at least {value} {quote} after fees."),
}


def _outcome(draft: PlanDraft, price: Decimal, figures: Estimate, instrument: Instrument) -> dict[str, str]:
    """Return the figures of a sale of all of it at a price."""
    rate = instrument.taker_fee
    brings = draft.quantity * price * (1 - rate)
    gain = brings - draft.quantity * figures.price * (1 + rate)
    return {
        "quantity": format_exact(draft.quantity),
        "base": instrument.base,
        "quote": instrument.quote,
        "price": _price(price, instrument),
        "value": format_number(brings, _MONEY_DECIMALS),
        "gain": format_number(gain, _MONEY_DECIMALS),
        "loss": format_number(-gain, _MONEY_DECIMALS),
    }


def _price(price: Decimal | None, instrument: Instrument) -> str:
    return format_price(price, instrument.tick_size)
