"""The venue's JSON turned into what `CcxtGateway` hands over, and orders into what it sends. Pure, any thread.

Written out because ccxt's own parsers cost more than a whole simulated second; `test_wire.py` proves both equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

from core.clock import NS_PER_MS
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import FeeRule, Instrument
from core.domain.money import plain
from core.domain.orders import OrderState, OrderType, Side
from core.domain.positions import Balance
from core.execution.api.gateway import OrderReport, OrderRequest
from core.practice.specs import UNITS, MarketSpec

VENUE = "binance"
RECV_WINDOW_MS = 3_000
_AVERAGE_STEP = Decimal("1e-18")
_STATES = {
    "NEW": OrderState.ACCEPTED,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
}
_TYPES = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT_MAKER,
    "STOP_LOSS_LIMIT": OrderType.STOP_LOSS_LIMIT,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def instrument_of(spec: MarketSpec) -> Instrument:
    """Return a market's rules as the gateway reads them."""
    return Instrument(
        VENUE,
        spec.unified,
        spec.symbol,
        spec.base,
        spec.quote,
        tick_size=Decimal(1).scaleb(-spec.price_decimals),
        lot_size=Decimal(1).scaleb(-spec.quantity_decimals),
        min_quantity=Decimal(1).scaleb(-spec.quantity_decimals),
        max_quantity=Decimal("9000000.00000000"),
        min_notional=spec.min_notional,
        fee_rule=FeeRule.RECEIVED,
    )


def order_params(request: OrderRequest) -> dict[str, str]:
    """Return the parameters of a placement."""
    params = {
        "symbol": request.symbol.replace("/", ""),
        "side": request.side.value.upper(),
        "type": _NAMES[request.order_type],
        "quantity": plain(request.quantity),
        "newClientOrderId": request.client_order_id,
        "newOrderRespType": "FULL",
    }
    if request.order_type is not OrderType.MARKET and request.limit_price is not None:
        params["price"] = plain(request.limit_price)
    if request.order_type is OrderType.STOP_LOSS_LIMIT and request.stop_price is not None:
        params["stopPrice"] = plain(request.stop_price)
    if request.order_type in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT):
        params["timeInForce"] = request.time_in_force.value
    return params


def report_of(row: Mapping[str, Any], symbol: str, client_id: str = "") -> OrderReport:
    """Return an order's row (query, placement or cancellation) as a report."""
    filled = Decimal(row["executedQty"])
    state = _STATES[row["status"]]
    if state is OrderState.ACCEPTED and filled > 0:
        state = OrderState.PARTIALLY_FILLED
    kind = _TYPES[row["type"]]
    stamp = int(row.get("updateTime") or row.get("transactTime") or row["time"])
    side = Side(row["side"].lower())
    average = None
    if filled > 0:
        average = (Decimal(row["cummulativeQuoteQty"]) / filled).quantize(_AVERAGE_STEP, ROUND_DOWN)
    inherited = {"orderId": row["orderId"], "time": stamp, "isBuyer": side is Side.BUY}
    own_id = client_id or row.get("origClientOrderId") or row["clientOrderId"]
    return OrderReport(
        symbol=symbol,
        client_order_id=own_id,
        venue_order_id=str(row["orderId"]),
        state=state,
        side=side,
        order_type=kind,
        quantity=Decimal(row["origQty"]),
        filled_quantity=filled,
        limit_price=None if kind is OrderType.MARKET else Decimal(row["price"]),
        average_price=average,
        time_ns=stamp * NS_PER_MS,
        fills=tuple(fill_of({**inherited, **fill}, symbol, own_id) for fill in row.get("fills", ())),
    )


def fill_of(row: Mapping[str, Any], symbol: str, client_id: str) -> Fill:
    """Return an own trade."""
    return Fill(
        VENUE,
        symbol,
        str(row["id"] if "id" in row else row["tradeId"]),
        str(row["orderId"]),
        client_id,
        Side.BUY if row["isBuyer"] else Side.SELL,
        Decimal(row["price"]),
        Decimal(row["qty"]),
        Decimal(row["commission"]),
        row["commissionAsset"],
        Liquidity.MAKER if row.get("isMaker") else Liquidity.TAKER,
        int(row["time"]) * NS_PER_MS,
    )


def balances_of(balances: Mapping[str, tuple[int, int]]) -> tuple[Balance, ...]:
    """Return all non-zero balances of the venue's ledger."""
    found = (Balance(a, units(free), units(locked)) for a, (free, locked) in sorted(balances.items()) if free or locked)
    return tuple(found)


def units(amount: int) -> Decimal:
    """Return an account amount."""
    return Decimal(amount) / UNITS
