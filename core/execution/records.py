"""What the journal keeps of an order beside the order itself. Pure values, any thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.orders import Intent, Order, OrderState, TradingState
from core.domain.positions import Ownership
from core.strategies.own_account import AccountMemory
from core.strategies.spec import StrategySpec

EXTERNAL_OWNER = "external"
INFERRED = "inferred-"  # begins the trade id of a fill the venue spoke of but never named


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order and how much of it is in the books.

    Attributes:
        booked_quantity / booked_value: sums over the fills booked, base and quote currency. The order's own
            `filled_quantity` may run ahead: the venue may name a filled quantity before it names the trades.
    """

    order: Order
    booked_quantity: Decimal = ZERO
    booked_value: Decimal = ZERO

    @property
    def intent(self) -> Intent:
        """The wish behind the order."""
        return self.order.intent

    @property
    def key(self) -> str:
        """Client order id."""
        return self.order.client_order_id

    @property
    def fills_complete(self) -> bool:
        """Whether every fill the venue spoke of is booked."""
        return self.booked_quantity >= self.order.filled_quantity

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is expected: the order is over and its fills are booked."""
        return self.order.state.is_terminal and self.fills_complete

    def with_fill(self, quantity: Decimal, price: Decimal) -> OrderRecord:
        """Return the record with one more fill booked; the average price follows once the books lead."""
        context = LEDGER_CONTEXT
        booked = context.add(self.booked_quantity, quantity)
        value = context.add(self.booked_value, context.multiply(quantity, price))
        order = self.order
        if booked >= order.filled_quantity:
            order = replace(order, filled_quantity=booked, average_price=context.divide(value, booked))
        return OrderRecord(order, booked, value)


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One step of an order's life as journalled."""

    client_order_id: str
    from_state: OrderState
    to_state: OrderState
    cause: str
    detail: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """A strategy as journalled.

    Attributes:
        running: whether it should run (again, after a restart).
        last_bar_ns: open time of the last bar decided on, ns UTC; it never decides on that bar or an older one again.
        last_target: target weight decided there.
        account: of an agent, what it must remember of its account; None before its first decision, and of others.
    """

    spec: StrategySpec
    running: bool = False
    last_bar_ns: int | None = None
    last_target: float | None = None
    account: AccountMemory | None = None


@dataclass(frozen=True, slots=True)
class TradingStateRecord:
    """Whether trading is allowed, and the fence epoch it was armed at."""

    state: TradingState
    reason: str
    epoch: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class OwnershipRecord:
    """Who may trade a market.

    Attributes:
        changed_by: who said so.
        paused: strategies that ran when the person took the market over; they start again when it is handed back.
        since_ns: ns UTC.
    """

    symbol: str
    ownership: Ownership
    changed_by: str
    paused: tuple[str, ...]
    since_ns: int


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """Something a person or another process ordered."""

    kind: str
    payload: dict[str, object]
    time_ns: int
