"""Orders and fills as the practice exchange books them. Plain values; event-loop thread of the exchange."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

BUY, SELL = "BUY", "SELL"
LIMIT, MARKET, LIMIT_MAKER, STOP_LOSS_LIMIT = "LIMIT", "MARKET", "LIMIT_MAKER", "STOP_LOSS_LIMIT"
GTC, IOC, FOK = "GTC", "IOC", "FOK"
NEW, PARTIALLY_FILLED, FILLED = "NEW", "PARTIALLY_FILLED", "FILLED"
CANCELED, EXPIRED, EXPIRED_IN_MATCH = "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"
OPEN_STATES = frozenset({NEW, PARTIALLY_FILLED})


@dataclass(slots=True)
class Order:
    """One order of the account.

    Attributes:
        price: limit in ticks; 0 for a market order.
        quantity: lots; for a market order by value the lots bought or sold so far.
        quote_quantity: value wanted by a market order, account units; else 0.
        stop: trigger in ticks; else 0.
        stop_above: a stop triggers when the last price is at or above (else at or below) `stop`.
        executed: lots filled.
        value: ticks times lots filled.
        locked: account units still locked for this order, in the asset it pays with.
        working: on the book (False: a stop that waits).
        queue: synthetic lots in front of it at its price.
        created_ms / updated_ms / working_ms: server time.
    """

    order_id: int
    client_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    price: int
    quantity: int
    quote_quantity: int = 0
    stop: int = 0
    stop_above: bool = False
    status: str = NEW
    executed: int = 0
    value: int = 0
    locked: int = 0
    working: bool = True
    queue: int = 0
    created_ms: int = 0
    updated_ms: int = 0
    working_ms: int = 0

    @property
    def remaining(self) -> int:
        """Lots not filled yet."""
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN_STATES

    @property
    def is_buy(self) -> bool:
        """Whether it buys the base currency."""
        return self.side == BUY

    def copy(self) -> Order:
        """Return a snapshot."""
        return replace(self)

    def to_json(self) -> dict[str, Any]:
        """Return a plain mapping for storing."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order.

    Attributes:
        trade_id: id of the trade on the public tape.
        price / quantity: ticks and lots.
        fee: account units of `fee_asset`, the currency received.
        market_ms: market time; time_ms: server time.
    """

    trade_id: int
    order_id: int
    symbol: str
    price: int
    quantity: int
    fee: int
    fee_asset: str
    is_buyer: bool
    is_maker: bool
    time_ms: int
    market_ms: int

    def to_json(self) -> dict[str, Any]:
        """Return a plain mapping for storing."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """What happened to an order: `kind` is the venue's execution type (NEW, TRADE, CANCELED, EXPIRED …)."""

    kind: str
    order: Order
    fill: Fill | None = None


class Rejection(Exception):
    """A request refused with one of the venue's error codes; nothing happened.

    Attributes:
        code: the venue's; 0 where the answer has no JSON body.
        status: of HTTP.
        retry_s: seconds after which to come again, where the answer names them.
    """

    def __init__(self, code: int, message: str, status: int = 400, retry_s: int | None = None) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.retry_s = retry_s


def insufficient_balance() -> Rejection:
    """Return the venue's refusal of an order the account cannot pay for."""
    return Rejection(-2010, "Account has insufficient balance for requested action.")
