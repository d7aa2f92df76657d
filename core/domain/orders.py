"""Intents and orders: who wants what, and what became of it. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from core.domain.money import ZERO

# Owner of what a person buys and sells; every other owner is a strategy's id, or "external".
MANUAL_OWNER = "manual"
REPLACEMENT = "replace:"  # begins the intent id of an order that takes another one's place
STOP_REASON = "stopped with STOP"  # why trading is halted after a person pressed the kill switch


class Side(StrEnum):
    """Direction of an order or trade."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """How an order executes."""

    MARKET = "market"
    LIMIT = "limit"
    LIMIT_MAKER = "limit_maker"
    STOP_LOSS_LIMIT = "stop_loss_limit"


class TimeInForce(StrEnum):
    """How long an order rests."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderState(StrEnum):
    """States of DESIGN section 4. DENIED is ours (risk), REJECTED the venue's, UNKNOWN is an unanswered question."""

    INITIALIZED = "initialized"
    DENIED = "denied"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"

    @property
    def is_terminal(self) -> bool:
        """Whether the venue holds no working order any more (late fills may still arrive)."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset(
    {OrderState.DENIED, OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED}
)


class TradingMode(StrEnum):
    """Which money a gateway moves; fixed when the gateway is built."""

    PRACTICE = "practice"
    PAPER = "paper"
    LIVE = "live"


class TradingState(StrEnum):
    """What the executor may do: everything, only reduce exposure, or only cancel."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


class IntentSource(StrEnum):
    """Who wants the order."""

    STRATEGY = "strategy"
    MANUAL = "manual"
    KILL_SWITCH = "kill_switch"
    EXTERNAL = "external"  # found at the venue, placed by someone else


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a strategy's decision rests on, so that it can be traced later.

    Attributes:
        model_id: content hash of the model package; empty where no model decided.
        feature_hash: hash of the feature vector the model saw.
        forecast: expected log return over the model's horizon.
        bar_open_ns: open time of the bar decided on, ns UTC.
    """

    model_id: str = ""
    feature_hash: str = ""
    forecast: float | None = None
    bar_open_ns: int | None = None


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """A manual order as the ticket holds it; the executor turns it into an `Intent`.

    Attributes:
        owner: whose position it changes; another one's than "manual" can only be reduced.
    """

    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    owner: str = MANUAL_OWNER


@dataclass(frozen=True, slots=True)
class Intent:
    """A wish to trade, before risk has seen it.

    Attributes:
        intent_id: unique id of the wish; the client order id is derived from it, so one wish is at most one order.
        source: who wants it.
        owner: strategy id, or "manual".
        symbol: unified symbol.
        quantity: base currency, positive.
        limit_price: required for limit orders.
        stop_price: required for stop orders.
        reduce_only: may only shrink the position.
        reason: one sentence for the journal and the screen.
        reference_price: price the decision was made at; the price collar compares with it and with the market.
        created_ns: ns UTC.
    """

    intent_id: str
    source: IntentSource
    owner: str
    symbol: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    reason: str = ""
    reference_price: Decimal | None = None
    evidence: Evidence = field(default_factory=Evidence)
    created_ns: int = 0

    def __post_init__(self) -> None:
        if self.quantity <= 0:
            raise ValueError(f"quantity must be positive, got {self.quantity}")
        if self.order_type is not OrderType.MARKET and self.limit_price is None:
            raise ValueError(f"a {self.order_type} order needs a limit price")
        if self.order_type is OrderType.STOP_LOSS_LIMIT and self.stop_price is None:
            raise ValueError("a stop order needs a stop price")

    @property
    def parent_id(self) -> str:
        """Id of the order plan it is a part of (see `core.domain.order_plans`); "" where it stands alone."""
        prefix, _, rest = self.intent_id.partition(":")
        return rest.partition(":")[0] if prefix == "plan" else ""


@dataclass(frozen=True, slots=True)
class Order:
    """An intent that became an order (or was denied), with all that is known of it.

    Attributes:
        client_order_id: our id at the venue, 1–32 of `[A-Za-z0-9_-]`, derived from the intent.
        venue_order_id: the venue's id once known, else "".
        filled_quantity: base currency filled so far.
        average_price: volume-weighted fill price; None before the first fill.
        state: where it stands.
        reason_code: machine-readable reason of DENIED/REJECTED/EXPIRED, else "".
        message: the same for people.
        submitted_ns / updated_ns: ns UTC; 0 before.
    """

    client_order_id: str
    intent: Intent
    state: OrderState = OrderState.INITIALIZED
    venue_order_id: str = ""
    filled_quantity: Decimal = ZERO
    average_price: Decimal | None = None
    reason_code: str = ""
    message: str = ""
    submitted_ns: int = 0
    updated_ns: int = 0

    @property
    def remaining_quantity(self) -> Decimal:
        """Base currency not yet filled."""
        return max(ZERO, self.intent.quantity - self.filled_quantity)


@dataclass(frozen=True, slots=True)
class OrderChange:
    """What is to be different about a resting order; None keeps it.

    Attributes:
        quantity: base currency in total, what is filled already included.
    """

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None

    def apply(self, former: Order, new_id: str, now_ns: int) -> Intent | None:
        """Return the wish for what remains of the changed order; None where nothing does, or nothing changed.

        Args:
            former: the order it replaces, with what is filled of it.
            new_id: unique part of the new intent's id, or that id itself.
        """
        intent = former.intent
        total = intent.quantity if self.quantity is None else self.quantity
        limit = intent.limit_price if self.limit_price is None else self.limit_price
        stop = intent.stop_price if self.stop_price is None else self.stop_price
        same = (total, limit, stop) == (intent.quantity, intent.limit_price, intent.stop_price)
        if same or total <= former.filled_quantity:
            return None
        return replace(
            intent,
            intent_id=new_id if new_id.startswith(REPLACEMENT) else f"{REPLACEMENT}{new_id}",
            quantity=total - former.filled_quantity,
            limit_price=limit,
            stop_price=stop,
            reference_price=None,
            reason=f"replaces {former.client_order_id}",
            created_ns=now_ns,
        )
