"""Pre-trade risk: the one gate every intent passes. Pure decisions, any thread; the executor calls them on its own.

An `Approved` value is the only thing the order manager accepts, and only `RiskManager.check` makes one. Cancels are no
intents: they always pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from enum import StrEnum

from core.clock import NS_PER_S
from core.domain.instruments import Instrument
from core.domain.money import ZERO, is_multiple, parse_decimal, plain
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TradingState
from core.errors import UserError


class ReasonCode(StrEnum):
    """Why an order was denied by us, or ended without the venue saying why."""

    TRADING_HALTED = "TRADING_HALTED"
    TRADING_STATE_REDUCING = "TRADING_STATE_REDUCING"
    RECONCILING = "RECONCILING"
    FENCED = "FENCED"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    UNKNOWN_ORDER_LOCK = "UNKNOWN_ORDER_LOCK"
    NO_MARKET_PRICE = "NO_MARKET_PRICE"
    LOT_SIZE = "LOT_SIZE"
    TICK_SIZE = "TICK_SIZE"
    NOTIONAL_BELOW_MINIMUM = "NOTIONAL_BELOW_MINIMUM"
    MAX_ORDER_VALUE = "MAX_ORDER_VALUE"
    MAX_POSITION = "MAX_POSITION"
    MAX_OPEN_ORDERS = "MAX_OPEN_ORDERS"
    DAILY_LOSS = "DAILY_LOSS"
    PRICE_COLLAR = "PRICE_COLLAR"
    DUPLICATE_INTENT = "DUPLICATE_INTENT"
    REDUCE_ONLY_WOULD_INCREASE = "REDUCE_ONLY_WOULD_INCREASE"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    VENUE_REJECTED = "VENUE_REJECTED"  # the venue said no
    NOT_PROCESSED = "NOT_PROCESSED"  # the venue surely did not act on it (rate limit, stale timestamp)
    NEVER_ARRIVED = "NEVER_ARRIVED"  # proven: the request did not reach the venue
    DECLARED_GONE = "DECLARED_GONE"  # a person saw at the venue that the order is not there
    GONE_AT_VENUE = "GONE_AT_VENUE"  # the venue once had the order and does not list it any more


@dataclass(frozen=True, slots=True)
class RiskSettings:
    """Limits, in quote currency where they are amounts. Changed only through a journalled command.

    Attributes:
        max_order_value: largest value of one order.
        max_position_value: largest value held (and being bought) in one market over all owners.
        max_daily_loss: loss since the start of the UTC day after which exposure may not grow.
        price_collar: largest distance of a price from the market, as a fraction.
        max_open_orders: working orders over all markets.
        duplicate_window_s: an equal manual order within this time is taken for a second click.
    """

    max_order_value: Decimal = Decimal(25_000)
    max_position_value: Decimal = Decimal(100_000)
    max_daily_loss: Decimal = Decimal(5_000)
    price_collar: Decimal = Decimal("0.05")
    max_open_orders: int = 50
    duplicate_window_s: int = 2

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value < 0 or (isinstance(value, Decimal) and not value.is_finite()):
                raise UserError(f"The risk setting {setting.name} must not be {value}.", "Give a number from 0 up.")

    def to_json(self) -> dict[str, object]:
        """Return a JSON object; decimals as text."""
        return {name: plain(v) if isinstance(v, Decimal) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, payload: Mapping[str, object]) -> RiskSettings:
        """Read what `to_json` wrote."""
        return cls(
            max_order_value=parse_decimal(str(payload["max_order_value"])),
            max_position_value=parse_decimal(str(payload["max_position_value"])),
            max_daily_loss=parse_decimal(str(payload["max_daily_loss"])),
            price_collar=parse_decimal(str(payload["price_collar"])),
            max_open_orders=int(str(payload["max_open_orders"])),
            duplicate_window_s=int(str(payload["duplicate_window_s"])),
        )


@dataclass(frozen=True, slots=True)
class RiskContext:
    """What the world looks like at the moment of a check.

    Attributes:
        now_ns: wall time, ns UTC.
        in_doubt: the books have yet to be compared with the venue; exposure must not grow.
        instrument: the market's rules; None where the venue has no such market.
        owner_quantity: base currency the intent's owner holds.
        account_quantity: base currency all owners hold together.
        holdings: account balance of the base currency (free and locked).
        free: free account balances by currency; what orders not yet seen there will take is not in it.
        working: working orders of the account (all markets).
        mark_price: last market price, None while unknown.
        day_pnl: profit since the start of the UTC day, quote currency.
        recent_manual: manual intents of the last seconds, this one not among them.
    """

    now_ns: int
    trading_state: TradingState
    instrument: Instrument | None
    mark_price: Decimal | None
    in_doubt: bool = False
    owner_quantity: Decimal = ZERO
    account_quantity: Decimal = ZERO
    holdings: Decimal = ZERO
    free: Mapping[str, Decimal] = field(default_factory=dict)
    working: Sequence[Order] = ()
    day_pnl: Decimal = ZERO
    recent_manual: Sequence[Intent] = ()


@dataclass(frozen=True, slots=True)
class Approved:
    """An intent that passed; the order manager takes nothing else."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Denied:
    """An intent that did not pass, why for machines and why for people."""

    intent: Intent
    code: ReasonCode
    message: str


Verdict = Approved | Denied
_Finding = tuple[ReasonCode, str]


class RiskManager:
    """Applies the settings in force. The settings are replaced only by the executor, after journalling them."""

    def __init__(self, settings: RiskSettings) -> None:
        self._settings = settings

    @property
    def settings(self) -> RiskSettings:
        """The settings in force."""
        return self._settings

    def replace_settings(self, settings: RiskSettings) -> None:
        """Put new settings in force; the caller has journalled the command."""
        self._settings = settings

    def check(self, intent: Intent, context: RiskContext) -> Verdict:
        """Decide whether an intent may become an order; the first rule broken is the reason."""
        finding = self._finding(intent, context)
        return Approved(intent) if finding is None else Denied(intent, *finding)

    def _finding(self, intent: Intent, context: RiskContext) -> _Finding | None:
        instrument, mark = context.instrument, context.mark_price
        grows = increases_exposure(intent, context)
        if (found := _state_finding(intent, context, grows)) is not None:
            return found
        if instrument is None:
            return ReasonCode.UNKNOWN_SYMBOL, f"{intent.symbol} is not traded at this venue"
        if mark is None:
            return ReasonCode.NO_MARKET_PRICE, f"no market price of {intent.symbol} is known"
        price = intent.limit_price if intent.limit_price is not None else mark
        for found in (
            _rule_finding(intent, instrument, price),
            self._duplicate_finding(intent, context),
            self._price_finding(intent, mark),
            self._limit_finding(intent, context, price, grows),
            _balance_finding(intent, context, instrument, price),
        ):
            if found is not None:
                return found
        return None

    def _duplicate_finding(self, intent: Intent, context: RiskContext) -> _Finding | None:
        if intent.source is not IntentSource.MANUAL:
            return None
        window_ns = self._settings.duplicate_window_s * NS_PER_S
        wish = _wish(intent)
        for earlier in context.recent_manual:
            if 0 <= context.now_ns - earlier.created_ns < window_ns and _wish(earlier) == wish:
                seconds = self._settings.duplicate_window_s
                return ReasonCode.DUPLICATE_INTENT, f"the same order was placed less than {seconds} s ago"
        return None

    def _price_finding(self, intent: Intent, mark: Decimal) -> _Finding | None:
        collar = self._settings.price_collar
        if intent.reference_price is not None and abs(intent.reference_price - mark) > collar * mark:
            return (
                ReasonCode.PRICE_COLLAR,
                f"the decision was made at {intent.reference_price}, the market is now at {mark}",
            )
        if intent.limit_price is None:
            return None
        # A stop order executes around its stop price, wherever the market is now.
        anchor = mark if intent.stop_price is None else intent.stop_price
        beyond = (intent.limit_price - anchor) * intent.side.sign
        if beyond > collar * anchor:
            return (
                ReasonCode.PRICE_COLLAR,
                f"the limit {intent.limit_price} is more than {collar:.1%} worse than {anchor}",
            )
        return None

    def _limit_finding(self, intent: Intent, context: RiskContext, price: Decimal, grows: bool) -> _Finding | None:
        settings, value = self._settings, intent.quantity * price
        if intent.source is IntentSource.KILL_SWITCH or intent.reduce_only:
            return None  # leaving a position must not fail on a limit meant for entries
        if value > settings.max_order_value:
            return ReasonCode.MAX_ORDER_VALUE, f"order value {value:.2f} is above the limit {settings.max_order_value}"
        if (working := len(context.working)) >= settings.max_open_orders:
            message = "1 order is working already" if working == 1 else f"{working} orders are working already"
            return ReasonCode.MAX_OPEN_ORDERS, message
        if not grows:
            return None
        pending = _pending(intent, context)
        held = context.account_quantity * intent.side.sign
        position_value = (max(ZERO, held) + pending + intent.quantity) * price
        if position_value > settings.max_position_value:
            return (
                ReasonCode.MAX_POSITION,
                f"the position would be worth {position_value:.2f}, above the limit {settings.max_position_value}",
            )
        if context.day_pnl <= -settings.max_daily_loss:
            return ReasonCode.DAILY_LOSS, f"today's loss {-context.day_pnl:.2f} reached {settings.max_daily_loss}"
        return None


def increases_exposure(intent: Intent, context: RiskContext) -> bool:
    """Return whether the intent could make a position larger.

    A sale covered by what the owner or the account holds only reduces; a purchase reduces only a short position.
    What opposite orders already working would take is not available a second time.
    """
    wanted = intent.quantity + _pending(intent, context)
    if intent.side is Side.SELL:
        return wanted > max(context.owner_quantity, context.holdings)
    return wanted > -context.owner_quantity


def _state_finding(intent: Intent, context: RiskContext, grows: bool) -> _Finding | None:
    kill = intent.source is IntentSource.KILL_SWITCH
    if context.trading_state is TradingState.HALTED and not (kill and not grows):
        return ReasonCode.TRADING_HALTED, "trading is halted; only STOP may close positions"
    if intent.reduce_only and (found := _reduce_finding(intent, context)) is not None:
        return found
    if not grows:
        return None
    if context.trading_state is TradingState.REDUCING:
        return ReasonCode.TRADING_STATE_REDUCING, "only orders that reduce a position are allowed now"
    if context.in_doubt:
        return ReasonCode.RECONCILING, "the books are being compared with the venue"
    if any(o.state is OrderState.UNKNOWN and o.intent.symbol == intent.symbol for o in context.working):
        return ReasonCode.UNKNOWN_ORDER_LOCK, f"the fate of an earlier order in {intent.symbol} is still unknown"
    return None


def _reduce_finding(intent: Intent, context: RiskContext) -> _Finding | None:
    """A reduce-only order may take what its owner's other closing orders leave, never more."""
    under_way = sum((o.remaining_quantity for o in context.working if _closes_the_same(o.intent, intent)), start=ZERO)
    if intent.quantity + under_way <= context.owner_quantity * -intent.side.sign:
        return None
    held = plain(context.owner_quantity)
    message = f"the order may only reduce the position of {held}"
    if under_way:
        message = f"the order may only reduce the position of {held}, and {plain(under_way)} is on its way out already"
    return ReasonCode.REDUCE_ONLY_WOULD_INCREASE, message


def _closes_the_same(other: Intent, intent: Intent) -> bool:
    return (other.symbol, other.owner, other.side) == (intent.symbol, intent.owner, intent.side)


def _rule_finding(intent: Intent, instrument: Instrument, price: Decimal) -> _Finding | None:
    for name, asked in (("limit", intent.limit_price), ("stop", intent.stop_price)):
        if asked is not None and (asked <= 0 or not is_multiple(asked, instrument.tick_size)):
            return ReasonCode.TICK_SIZE, f"{name} price {asked} is not a multiple of {instrument.tick_size}"
    if (violation := instrument.rule_violation(intent.quantity, None)) is not None:
        return ReasonCode.LOT_SIZE, violation
    if (violation := instrument.rule_violation(intent.quantity, price)) is not None:
        return ReasonCode.NOTIONAL_BELOW_MINIMUM, violation
    return None


def _balance_finding(intent: Intent, context: RiskContext, instrument: Instrument, price: Decimal) -> _Finding | None:
    selling = intent.side is Side.SELL
    currency = instrument.base if selling else instrument.quote
    needed = intent.quantity if selling else intent.quantity * price
    available = context.free.get(currency, ZERO) - _unseen(context, currency, price)
    if needed > available:
        return ReasonCode.INSUFFICIENT_BALANCE, f"{plain(needed)} {currency} needed, {plain(available)} available"
    return None


def _unseen(context: RiskContext, currency: str, mark: Decimal) -> Decimal:
    """Amount that orders still on their way (or unknown) may take from the free balance the venue last reported."""
    total = ZERO
    for order in context.working:
        if order.state not in (OrderState.SUBMITTED, OrderState.UNKNOWN):
            continue
        intent = order.intent
        base, _, quote = intent.symbol.partition("/")
        if intent.side is Side.SELL and base == currency:
            total += order.remaining_quantity
        elif intent.side is Side.BUY and quote == currency:
            total += order.remaining_quantity * (intent.limit_price or intent.reference_price or mark)
    return total


def _pending(intent: Intent, context: RiskContext) -> Decimal:
    """Base currency that working orders in the intent's market and direction may still trade."""
    same = (o for o in context.working if o.intent.symbol == intent.symbol and o.intent.side is intent.side)
    return sum((o.remaining_quantity for o in same), start=ZERO)


def _wish(intent: Intent) -> tuple[str, Side, Decimal, OrderType, Decimal | None, Decimal | None]:
    return intent.symbol, intent.side, intent.quantity, intent.order_type, intent.limit_price, intent.stop_price
