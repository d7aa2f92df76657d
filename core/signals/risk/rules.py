"""The rules of the risk gate: one table of named pure functions, in the order they are asked. Any thread.

A rule answers with the sentence that says why the intent must not become an order, or with "". What a rule cannot
judge because something is missing (a market, a price) is the business of the rule that asks for it.

Whom a rule concerns:

- Cancels are no intents and pass always.
- `leaves`: STOP's sales and reduce-only orders. No limit meant for entering may keep anybody in a position.
- `grows`: the order could make a position larger. Losses, doubts, slips and a wrong clock stop only these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from statistics import median

from core.clock import NS_PER_MS, NS_PER_S
from core.domain.money import LEDGER_CONTEXT, ZERO, is_multiple, plain
from core.domain.orders import Intent, IntentSource, OrderState, OrderType, Side, TradingState
from core.signals.risk.context import (
    RiskContext,
    increases_exposure,
    overtaken,
    pending,
    reduce_only_excess,
    under_way,
    unseen,
)
from core.signals.risk.reasons import ReasonCode
from core.signals.risk.settings import RiskSettings, daily_loss_reached, drawdown_reached

USUAL_ORDERS = 5  # so many orders make a habit
# An order worth less than this part of the account is no slip, however small the ones before it were.
SLIP_SHARE = Decimal("0.05")


@dataclass(frozen=True)
class Question:
    """An intent, the world around it and the limits in force."""

    intent: Intent
    context: RiskContext
    settings: RiskSettings

    @cached_property
    def leaves(self) -> bool:
        """Whether the order can only close: STOP's sales, reduce-only orders."""
        return self.intent.source is IntentSource.KILL_SWITCH or self.intent.reduce_only

    @cached_property
    def grows(self) -> bool:
        """Whether the order could make a position larger."""
        return increases_exposure(self.intent, self.context)

    @cached_property
    def price(self) -> Decimal | None:
        """What a unit costs: the limit, else the market's last price."""
        return self.intent.limit_price if self.intent.limit_price is not None else self.context.mark_price

    @cached_property
    def value(self) -> Decimal:
        """What the order is worth, quote currency; 0 while no price is known."""
        return ZERO if self.price is None else LEDGER_CONTEXT.multiply(self.intent.quantity, self.price)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: unique; several rules may share a code.
        broken: the sentence why not, or "".
        of_parent: whether it is asked of the whole of an order that goes out in parts as well.
    """

    name: str
    code: ReasonCode
    broken: Callable[[Question], str]
    of_parent: bool = True


# --- state ------------------------------------------------------------------------------------------------------------


def _halted(q: Question) -> str:
    closes = q.intent.source is IntentSource.KILL_SWITCH and not q.grows
    if q.context.trading_state is not TradingState.HALTED or closes:
        return ""
    if q.context.keeps_protection and q.intent.reduce_only:
        return ""  # nobody stopped trading by hand, and what is held must not stand unprotected
    return "trading is halted; only STOP may close positions"


def _reduce_only(q: Question) -> str:
    # An order that promises nothing must not break the promise of one that is under way.
    return reduce_only_excess(q.intent, q.context) if q.intent.reduce_only else overtaken(q.intent, q.context)


def _reducing(q: Question) -> str:
    reducing = q.context.trading_state is TradingState.REDUCING
    return "only orders that reduce a position are allowed now" if reducing and q.grows else ""


def _ownership(q: Question) -> str:
    return "" if q.intent.source is IntentSource.KILL_SWITCH else q.context.symbol_owner_denies


def _reconciling(q: Question) -> str:
    return "the books are being compared with the venue" if q.context.in_doubt and q.grows else ""


def _unknown_order(q: Question) -> str:
    symbol = q.intent.symbol
    unknown = any(o.state is OrderState.UNKNOWN and o.intent.symbol == symbol for o in q.context.working)
    return f"the fate of an earlier order in {symbol} is still unknown" if unknown and q.grows else ""


def _clock_skew(q: Question) -> str:
    skew = q.context.clock_skew_ns
    if not q.context.live or not q.grows:
        return ""
    if skew is None:
        return "the difference from the venue's clock has not been measured yet"
    if abs(skew) <= q.settings.max_clock_skew_ms * NS_PER_MS:
        return ""
    return f"this machine's clock differs from the venue's by {abs(skew) // NS_PER_MS} ms"


# --- market -----------------------------------------------------------------------------------------------------------


def _unknown_symbol(q: Question) -> str:
    return f"{q.intent.symbol} is not traded at this venue" if q.context.instrument is None else ""


def _no_price(q: Question) -> str:
    # A market order that closes needs no price: nothing that it could break depends on one.
    unneeded = q.leaves and q.intent.order_type is OrderType.MARKET
    if q.context.mark_price is not None or unneeded:
        return ""
    return f"no market price of {q.intent.symbol} is known"


def _stale_price(q: Question) -> str:
    age = q.context.mark_age_ns
    if age is None or q.leaves or 0 <= age <= q.settings.max_price_age_s * NS_PER_S:
        return ""
    return f"the last market price of {q.intent.symbol} is {abs(age) // NS_PER_S} s old"


def _tick_size(q: Question) -> str:
    if q.context.instrument is None:
        return ""
    tick = q.context.instrument.tick_size
    for name, asked in (("limit", q.intent.limit_price), ("stop", q.intent.stop_price)):
        if asked is not None and (asked <= 0 or not is_multiple(asked, tick)):
            return f"{name} price {asked} is not a multiple of {tick}"
    return ""


def _lot_size(q: Question) -> str:
    if q.context.instrument is None:
        return ""
    return q.context.instrument.rule_violation(q.intent.quantity, None) or ""


def _notional(q: Question) -> str:
    if q.context.instrument is None or q.price is None or _lot_size(q):
        return ""
    return q.context.instrument.rule_violation(q.intent.quantity, q.price) or ""


# --- slips ------------------------------------------------------------------------------------------------------------


def _duplicate(q: Question) -> str:
    intent, window_ns = q.intent, q.settings.duplicate_window_s * NS_PER_S
    # The parts of a plan are equal by design; their numbers make each of them one order at most.
    if intent.parent_id or intent.source not in (IntentSource.MANUAL, IntentSource.STRATEGY):
        return ""
    for earlier in q.context.recent:
        if 0 <= q.context.now_ns - earlier.created_ns < window_ns and _wish(earlier) == _wish(intent):
            return f"the same order was placed less than {q.settings.duplicate_window_s} s ago"
    return ""


def _stale_decision(q: Question) -> str:
    mark, reference = q.context.mark_price, q.intent.reference_price
    if mark is None or reference is None or not q.grows:
        return ""  # the further the market ran away, the more an exit is wanted
    if abs(reference - mark) <= q.settings.price_collar * mark:
        return ""
    return f"the decision was made at {reference}, the market is now at {mark}"


def _price_collar(q: Question) -> str:
    limit, mark, collar = q.intent.limit_price, q.context.mark_price, q.settings.price_collar
    # A stop order executes around its stop price, wherever the market is now.
    anchor = mark if q.intent.stop_price is None else q.intent.stop_price
    if limit is None or anchor is None or (limit - anchor) * q.intent.side.sign <= collar * anchor:
        return ""
    return f"the limit {limit} is more than {collar:.1%} worse than {anchor}"


def _thin_book(q: Question) -> str:
    book = q.context.book
    if book is None or q.leaves or q.intent.order_type is not OrderType.MARKET or q.intent.quantity <= book.quantity:
        return ""
    return f"the visible book offers {plain(book.quantity)} to a market order of {plain(q.intent.quantity)}"


def _slippage(q: Question) -> str:
    book, most = q.context.book, q.settings.max_slippage
    if book is None or book.price is None or q.leaves or q.intent.order_type is not OrderType.MARKET:
        return ""
    if (book.price - book.middle) * q.intent.side.sign <= most * book.middle:
        return ""
    price, middle = _rough(book.price), _rough(book.middle)
    return f"the book would fill this order near {price}, more than {most:.1%} worse than {middle}"


def _rough(price: Decimal) -> str:
    return plain(Decimal(f"{price:.8g}"))  # an average has more digits than anybody reads


def _order_share(q: Question) -> str:
    equity, share = q.context.equity, q.settings.max_order_share
    if equity is None or not q.grows or q.value <= share * equity:
        return ""
    return f"order value {q.value:.2f} is above {share:.0%} of what the account is worth ({equity:.2f})"


def _unusual_quantity(q: Question) -> str:
    usual, equity = q.context.usual_quantities, q.context.equity
    if not q.grows or len(usual) < USUAL_ORDERS or (equity is not None and q.value < SLIP_SHARE * equity):
        return ""
    middle = median(usual)
    if q.intent.quantity < q.settings.max_quantity_multiple * middle or _fits_own_account(q):
        return ""
    return f"a quantity of {plain(q.intent.quantity)} is far above the usual {plain(middle)}"


def _fits_own_account(q: Question) -> bool:
    """Whether an agent's position stays within the account that a person gave it.

    A target weight is no habit: after many small changes a large one is meant. Refused, it would be so at every close,
    for what is refused makes no habit.
    """
    equity, price = q.context.own_equity, q.price
    if equity is None or price is None:
        return False
    quantity = q.context.owner_quantity + under_way(q.intent, q.context) + q.intent.quantity
    return LEDGER_CONTEXT.multiply(quantity, price) <= equity


# --- limits -----------------------------------------------------------------------------------------------------------


def _order_value(q: Question) -> str:
    limit = q.settings.max_order_value
    return f"order value {q.value:.2f} is above the limit {limit}" if q.value > limit and not q.leaves else ""


def _open_orders(q: Question) -> str:
    working = len(q.context.working)
    if working < q.settings.max_open_orders or q.leaves:
        return ""
    return "1 order is working already" if working == 1 else f"{working} orders are working already"


def _orders_per_second(q: Question) -> str:
    sent, most = q.context.orders_last_second, q.settings.max_orders_per_second
    return "" if sent < most or q.leaves else f"{sent} orders went out within the last second, and {most} are allowed"


def _orders_per_minute(q: Question) -> str:
    sent, most = q.context.orders_last_minute, q.settings.max_orders_per_minute
    return "" if sent < most or q.leaves else f"{sent} orders went out within the last minute, and {most} are allowed"


def _cancels_per_minute(q: Question) -> str:
    sent, most = q.context.cancels_last_minute, q.settings.max_cancels_per_minute
    return "" if sent < most or q.leaves else f"{sent} cancels went out within the last minute, and {most} are allowed"


def _position(q: Question) -> str:
    if q.leaves or not q.grows or q.price is None:
        return ""
    held = q.context.account_quantity * q.intent.side.sign
    quantity = max(ZERO, held) + pending(q.intent, q.context) + q.intent.quantity
    worth, limit = LEDGER_CONTEXT.multiply(quantity, q.price), q.settings.max_position_value
    return f"the position would be worth {worth:.2f}, above the limit {limit}" if worth > limit else ""


def _daily_loss(q: Question) -> str:
    if not q.grows or not daily_loss_reached(q.context.day_pnl, q.settings):
        return ""
    return f"today's loss {-q.context.day_pnl:.2f} reached {q.settings.max_daily_loss}"


def _drawdown(q: Question) -> str:
    if not q.grows or not drawdown_reached(q.context.drawdown, q.settings):
        return ""
    return f"the drawdown {q.context.drawdown:.2f} reached {q.settings.max_drawdown}"


def _balance(q: Question) -> str:
    intent, instrument, selling = q.intent, q.context.instrument, q.intent.side is Side.SELL
    if instrument is None or (q.price is None and not selling):
        return ""
    currency = instrument.base if selling else instrument.quote
    needed = intent.quantity if selling else q.value
    available = q.context.free.get(currency, ZERO) - unseen(q.context, currency, q.price or ZERO)
    return f"{plain(needed)} {currency} needed, {plain(available)} available" if needed > available else ""


RULES: tuple[Rule, ...] = (
    Rule("halted", ReasonCode.TRADING_HALTED, _halted),
    Rule("reduce_only", ReasonCode.REDUCE_ONLY_WOULD_INCREASE, _reduce_only),
    Rule("reducing", ReasonCode.TRADING_STATE_REDUCING, _reducing),
    Rule("ownership", ReasonCode.OWNERSHIP, _ownership),
    Rule("reconciling", ReasonCode.RECONCILING, _reconciling),
    Rule("unknown_order", ReasonCode.UNKNOWN_ORDER_LOCK, _unknown_order),
    Rule("clock_skew", ReasonCode.CLOCK_SKEW, _clock_skew),
    Rule("unknown_symbol", ReasonCode.UNKNOWN_SYMBOL, _unknown_symbol),
    Rule("no_price", ReasonCode.NO_MARKET_PRICE, _no_price),
    Rule("stale_price", ReasonCode.STALE_PRICE, _stale_price),
    Rule("tick_size", ReasonCode.TICK_SIZE, _tick_size),
    Rule("lot_size", ReasonCode.LOT_SIZE, _lot_size),
    Rule("notional", ReasonCode.NOTIONAL_BELOW_MINIMUM, _notional),
    Rule("duplicate", ReasonCode.DUPLICATE_INTENT, _duplicate, of_parent=False),
    Rule("orders_per_second", ReasonCode.ORDER_RATE, _orders_per_second, of_parent=False),
    Rule("orders_per_minute", ReasonCode.ORDER_RATE, _orders_per_minute, of_parent=False),
    Rule("cancels_per_minute", ReasonCode.ORDER_RATE, _cancels_per_minute, of_parent=False),
    Rule("stale_decision", ReasonCode.PRICE_COLLAR, _stale_decision),
    Rule("price_collar", ReasonCode.PRICE_COLLAR, _price_collar),
    Rule("order_value", ReasonCode.MAX_ORDER_VALUE, _order_value),
    Rule("order_share", ReasonCode.FAT_FINGER, _order_share),
    Rule("unusual_quantity", ReasonCode.FAT_FINGER, _unusual_quantity),
    Rule("open_orders", ReasonCode.MAX_OPEN_ORDERS, _open_orders, of_parent=False),
    Rule("position", ReasonCode.MAX_POSITION, _position),
    Rule("daily_loss", ReasonCode.DAILY_LOSS, _daily_loss),
    Rule("drawdown", ReasonCode.DRAWDOWN, _drawdown),
    Rule("balance", ReasonCode.INSUFFICIENT_BALANCE, _balance),
    # An order that the account cannot pay is told so before anybody reasons about the book.
    Rule("thin_book", ReasonCode.SLIPPAGE, _thin_book, of_parent=False),
    Rule("slippage", ReasonCode.SLIPPAGE, _slippage, of_parent=False),
)


def _wish(intent: Intent) -> tuple[object, ...]:
    """What two intents share where the second repeats the first; a strategy may wish the same on the next bar."""
    bar = intent.evidence.bar_open_ns if intent.source is IntentSource.STRATEGY else None
    whose, prices = (intent.source, intent.owner, intent.parent_id), (intent.limit_price, intent.stop_price)
    return whose, intent.symbol, intent.side, intent.quantity, intent.order_type, prices, bar
