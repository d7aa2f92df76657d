"""Balances and orders of a paper account. Pure and exact: nothing is created or lost but fees. Any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.domain.fills import Fill
from core.domain.instruments import FeeRule, Instrument
from core.domain.money import LEDGER_CONTEXT, ZERO
from core.domain.orders import OrderState, OrderType, Side, TimeInForce
from core.domain.positions import Balance
from core.execution.api.gateway import OrderReport, OrderRequest
from core.execution.fill_values import SimOrder


class InsufficientBalance(Exception):
    """The account does not hold what an order may spend; nothing happened."""


@dataclass(slots=True)
class PaperOrder:
    """One order of a paper account.

    Attributes:
        order_id: the paper venue's id, rising.
        executed / value: base currency filled and quote currency exchanged.
        locked: still held back for it, in the currency it pays with.
        is_waiting: a stop that has not been triggered.
        ahead: quantity in front of it in the real book when last stored; None while unknown.
    """

    order_id: int
    client_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    created_ns: int
    updated_ns: int
    state: OrderState = OrderState.ACCEPTED
    executed: Decimal = ZERO
    value: Decimal = ZERO
    locked: Decimal = ZERO
    is_waiting: bool = False
    ahead: Decimal | None = None
    message: str = ""

    @classmethod
    def of(cls, request: OrderRequest, order_id: int, now_ns: int) -> PaperOrder:
        """Make the order a request asks for."""
        return cls(
            order_id,
            request.client_order_id,
            request.symbol,
            request.side,
            request.order_type,
            request.time_in_force,
            request.quantity,
            request.limit_price,
            request.stop_price,
            now_ns,
            now_ns,
            is_waiting=request.order_type is OrderType.STOP_LOSS_LIMIT,
        )

    @property
    def key(self) -> str:
        """Its name in the fill model."""
        return str(self.order_id)

    @property
    def pays_in(self) -> str:
        """The currency it spends; unified symbols name both."""
        base, _, quote = self.symbol.partition("/")
        return quote if self.side is Side.BUY else base

    @property
    def remaining(self) -> Decimal:
        """Not filled yet."""
        return LEDGER_CONTEXT.subtract(self.quantity, self.executed)

    @property
    def is_open(self) -> bool:
        """Whether it can still fill."""
        return not self.state.is_terminal

    def simulated(self) -> SimOrder:
        """Return what the fill model works with."""
        return SimOrder(
            self.key,
            self.side,
            self.order_type,
            self.remaining,
            self.limit_price,
            self.stop_price,
            self.time_in_force,
            self.ahead,
            waiting=self.is_waiting,
        )

    def report(self, fills: tuple[Fill, ...] = ()) -> OrderReport:
        """Return what the venue would say of it."""
        return OrderReport(
            symbol=self.symbol,
            client_order_id=self.client_id,
            venue_order_id=self.key,
            state=self.state,
            side=self.side,
            order_type=self.order_type,
            quantity=self.quantity,
            filled_quantity=self.executed,
            limit_price=None if self.order_type is OrderType.MARKET else self.limit_price,
            average_price=LEDGER_CONTEXT.divide(self.value, self.executed) if self.executed else None,
            time_ns=self.updated_ns,
            fills=fills,
            message=self.message,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a plain mapping; amounts are texts."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PaperOrder:
        """Read what `to_json` made."""
        known = dict(values)
        for name in ("quantity", "limit_price", "stop_price", "executed", "value", "locked", "ahead"):
            known[name] = None if known[name] is None else Decimal(known[name])
        known["side"], known["state"] = Side(known["side"]), OrderState(known["state"])
        known["order_type"], known["time_in_force"] = (
            OrderType(known["order_type"]),
            TimeInForce(known["time_in_force"]),
        )
        return cls(**known)


class PaperLedger:
    """What the account holds, free and locked, by currency."""

    def __init__(self, balances: Iterable[Balance] = ()) -> None:
        self._balances = {balance.currency: balance for balance in balances}
        self._changed: set[str] = set()

    @property
    def balances(self) -> tuple[Balance, ...]:
        """All that is not zero, by currency."""
        return tuple(b for _, b in sorted(self._balances.items()) if b.free or b.locked)

    def balance(self, currency: str) -> Balance:
        """Return one currency's balance."""
        return self._balances.get(currency) or Balance(currency, ZERO, ZERO)

    def take_changes(self) -> tuple[Balance, ...]:
        """Return the balances changed since the last call, by currency."""
        changed = tuple(self.balance(currency) for currency in sorted(self._changed))
        self._changed.clear()
        return changed

    def lock(self, instrument: Instrument, order: PaperOrder) -> None:
        """Hold back what a limit order may spend, fees on top included.

        Raises:
            InsufficientBalance: it is not there.
        """
        need = spend_of(instrument, order, order.quantity)
        if need > self.balance(order.pays_in).free:
            raise InsufficientBalance
        self._move(order.pays_in, -need, need)
        order.locked = need

    def release(self, order: PaperOrder) -> None:
        """Free whatever is still held back for an order."""
        if order.locked:
            self._move(order.pays_in, order.locked, -order.locked)
            order.locked = ZERO

    def require(self, instrument: Instrument, order: PaperOrder, levels: Iterable[tuple[Decimal, Decimal]]) -> None:
        """Make sure that what an order takes at once can be paid for.

        Raises:
            InsufficientBalance: it cannot.
        """
        need = ZERO
        for price, quantity in levels:
            need = LEDGER_CONTEXT.add(need, _cost(instrument, order.side, price, quantity))
        if need > self.balance(order.pays_in).free:
            raise InsufficientBalance

    def settle(self, instrument: Instrument, order: PaperOrder, fill: Fill) -> None:
        """Exchange base for quote and pay the fee; what was locked above the price paid becomes free."""
        if order.locked:
            left = spend_of(instrument, order, LEDGER_CONTEXT.subtract(order.remaining, fill.quantity))
            reserved = LEDGER_CONTEXT.subtract(order.locked, left)
            self._move(order.pays_in, reserved, -reserved)
            order.locked = LEDGER_CONTEXT.subtract(order.locked, reserved)
        value = LEDGER_CONTEXT.multiply(fill.price, fill.quantity)
        sign = fill.side.sign
        self._move(instrument.base, sign * fill.quantity)
        self._move(instrument.quote, -sign * value)
        self._move(fill.fee_currency, -fill.fee)

    def _move(self, currency: str, free: Decimal, locked: Decimal = ZERO) -> None:
        held = self.balance(currency)
        self._balances[currency] = Balance(
            currency, LEDGER_CONTEXT.add(held.free, free), LEDGER_CONTEXT.add(held.locked, locked)
        )
        self._changed.add(currency)


def spend_of(instrument: Instrument, order: PaperOrder, quantity: Decimal) -> Decimal:
    """Return the most that filling `quantity` of a limit order costs, in the currency it pays with."""
    if order.side is Side.SELL or order.limit_price is None:
        return quantity
    return _cost(instrument, order.side, order.limit_price, quantity)


def _cost(instrument: Instrument, side: Side, price: Decimal, quantity: Decimal) -> Decimal:
    if side is Side.SELL:
        return quantity
    value = LEDGER_CONTEXT.multiply(price, quantity)
    if instrument.fee_rule is FeeRule.QUOTE:
        rate = max(instrument.maker_fee, instrument.taker_fee)
        value = LEDGER_CONTEXT.add(value, LEDGER_CONTEXT.multiply(value, rate))
    return value
