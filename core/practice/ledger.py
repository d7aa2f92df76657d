"""Balances of the practice account: integer units of 1e-8, free and locked. Event-loop thread of the exchange."""

from __future__ import annotations

from collections.abc import Mapping

from core.practice.orders import Order, insufficient_balance
from core.practice.specs import MarketSpec

FEE_DIVISOR = 1_000  # 0.1 %, taken from what is received, rounded down to a unit


class Ledger:
    """What the account holds. Every change is a transfer between free, locked and the market: nothing is created."""

    def __init__(self, balances: Mapping[str, tuple[int, int]]) -> None:
        self._free = {asset: free for asset, (free, _) in balances.items()}
        self._locked = {asset: locked for asset, (_, locked) in balances.items()}
        self._changed: set[str] = set()

    def free(self, asset: str) -> int:
        """Return spendable units."""
        return self._free.get(asset, 0)

    def locked(self, asset: str) -> int:
        """Return units held by open orders."""
        return self._locked.get(asset, 0)

    def balances(self) -> dict[str, tuple[int, int]]:
        """Return (free, locked) of every asset ever held."""
        return {asset: (self._free.get(asset, 0), self._locked.get(asset, 0)) for asset in self._free | self._locked}

    def take_changes(self) -> dict[str, tuple[int, int]]:
        """Return (free, locked) of the assets changed since the last call."""
        changed = {asset: (self.free(asset), self.locked(asset)) for asset in sorted(self._changed)}
        self._changed.clear()
        return changed

    def lock(self, spec: MarketSpec, order: Order) -> None:
        """Lock what `order` may spend.

        Raises:
            Rejection: the account does not hold it.
        """
        asset, units = spend_of(spec, order)
        if units > self.free(asset):
            raise insufficient_balance()
        self._add(self._free, asset, -units)
        self._add(self._locked, asset, units)
        order.locked = units

    def release(self, spec: MarketSpec, order: Order) -> None:
        """Free whatever is still locked for `order`."""
        asset = spec.quote if order.is_buy else spec.base
        self._add(self._locked, asset, -order.locked)
        self._add(self._free, asset, order.locked)
        order.locked = 0

    def settle(self, spec: MarketSpec, order: Order, price: int, lots: int) -> tuple[int, str]:
        """Exchange base for quote for one fill and return (fee units, fee asset).

        What the order locked for these lots above the price paid becomes free again.
        """
        value = price * lots * spec.value_scale
        base_units = lots * spec.lot_units
        if order.is_buy:
            reserved = order.price * lots * spec.value_scale if order.locked else 0
            self._pay(spec.quote, order, value, reserved)
            fee = base_units // FEE_DIVISOR
            self._add(self._free, spec.base, base_units - fee)
            return fee, spec.base
        self._pay(spec.base, order, base_units, base_units if order.locked else 0)
        fee = value // FEE_DIVISOR
        self._add(self._free, spec.quote, value - fee)
        return fee, spec.quote

    def _pay(self, asset: str, order: Order, units: int, reserved: int) -> None:
        if reserved:
            order.locked -= reserved
            self._add(self._locked, asset, -reserved)
            self._add(self._free, asset, reserved)
        if self.free(asset) < units:
            raise AssertionError(f"{asset} overdrawn by order {order.order_id}")
        self._add(self._free, asset, -units)

    def _add(self, book: dict[str, int], asset: str, units: int) -> None:
        if units:
            book[asset] = book.get(asset, 0) + units
            self._changed.add(asset)


def spend_of(spec: MarketSpec, order: Order) -> tuple[str, int]:
    """Return (asset, units) that a limit order may spend on its remaining lots."""
    if order.is_buy:
        return spec.quote, order.remaining * order.price * spec.value_scale
    return spec.base, order.remaining * spec.lot_units
