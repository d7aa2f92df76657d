"""Every request the exchange answers: its name, its two addresses, what it costs and needs. Pure values, any thread.

Weights are those of the venue's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from core.practice.api import TradingApi
from core.practice.permissions import Right
from core.practice.rules import Params

API: Final = "/api/v3"
USER_STREAM, USER_STREAM_END, RESTRICTIONS = "userStream", "userStreamEnd", "apiRestrictions"


@dataclass(frozen=True, slots=True)
class Operation:
    """One request.

    Attributes:
        name: what faults call it.
        method / path: its REST address; "" where REST has none.
        ws: its method on the WebSocket API; "" where that has none.
        needs: what the key must be allowed.
        weight: request weight by parameters.
        run: answers it; None where whoever takes the request does.
        warm: prepares the answer in steps of a few milliseconds, so that the market goes on meanwhile.
        places: counts as a new order.
    """

    name: str
    method: str
    path: str
    ws: str
    needs: Right
    weight: Callable[[Params], int]
    run: Callable[[TradingApi, Params], Any] | None = None
    warm: Callable[[TradingApi, Params], Iterator[None]] | None = None
    places: bool = False


def _fixed(weight: int) -> Callable[[Params], int]:
    return lambda params: weight


def _by_symbol(one: int, otherwise: int | Callable[[Params], int]) -> Callable[[Params], int]:
    """Return the weight for a request that names one symbol, or several or none."""

    def weigh(params: Params) -> int:
        if params.get("symbol"):
            return one
        return otherwise if isinstance(otherwise, int) else otherwise(params)

    return weigh


def _many_day_tickers(params: Params) -> int:
    named = params.get("symbols", "").count(",") + 1 if params.get("symbols") else 0
    return 80 if named == 0 or named > 100 else 2 if named <= 20 else 40


def _depth_weight(params: Params) -> int:
    text = params.get("limit") or "100"
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 100
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1_000 else 250


def _own_trades_weight(params: Params) -> int:
    return 5 if params.get("orderId") else 20


def _table() -> tuple[Operation, ...]:
    none, signed, reading, trading = Right.NONE, Right.SIGNED, Right.READING, Right.TRADING
    api, one_or_many, order, open_orders = TradingApi, _by_symbol(2, 4), f"{API}/order", f"{API}/openOrders"
    day = _by_symbol(2, _many_day_tickers)
    return (
        Operation("ping", "GET", f"{API}/ping", "ping", none, _fixed(1), lambda exchange, params: {}),
        Operation("time", "GET", f"{API}/time", "time", none, _fixed(1), api.time),
        Operation("exchangeInfo", "GET", f"{API}/exchangeInfo", "exchangeInfo", none, _fixed(20), api.exchange_info),
        Operation("depth", "GET", f"{API}/depth", "depth", none, _depth_weight, api.depth),
        Operation("trades", "GET", f"{API}/trades", "trades.recent", none, _fixed(25), api.trades),
        Operation("aggTrades", "GET", f"{API}/aggTrades", "trades.aggregate", none, _fixed(4), api.aggregate_trades),
        Operation("klines", "GET", f"{API}/klines", "klines", none, _fixed(2), api.klines, api.warm_klines),
        Operation("ticker24hr", "GET", f"{API}/ticker/24hr", "ticker.24hr", none, day, api.day_ticker),
        Operation("tickerPrice", "GET", f"{API}/ticker/price", "ticker.price", none, one_or_many, api.price_ticker),
        Operation("bookTicker", "GET", f"{API}/ticker/bookTicker", "ticker.book", none, one_or_many, api.book_ticker),
        Operation("account", "GET", f"{API}/account", "account.status", reading, _fixed(20), api.account),
        Operation("order", "POST", order, "order.place", trading, _fixed(1), api.place_order, places=True),
        Operation("orderTest", "POST", f"{order}/test", "order.test", trading, _fixed(1), api.test_order),
        Operation("cancel", "DELETE", order, "order.cancel", trading, _fixed(1), api.cancel_order),
        Operation(
            "cancelAll", "DELETE", open_orders, "openOrders.cancelAll", trading, _fixed(1), api.cancel_open_orders
        ),
        Operation("query", "GET", order, "order.status", reading, _fixed(4), api.query_order),
        Operation("openOrders", "GET", open_orders, "openOrders.status", reading, _by_symbol(6, 80), api.open_orders),
        Operation("allOrders", "GET", f"{API}/allOrders", "allOrders", reading, _fixed(20), api.all_orders),
        Operation("myTrades", "GET", f"{API}/myTrades", "myTrades", reading, _own_trades_weight, api.my_trades),
        # Another family of requests at the venue, with a budget of its own that is not announced here.
        Operation(RESTRICTIONS, "GET", "/sapi/v1/account/apiRestrictions", "", signed, _fixed(0)),
        Operation(USER_STREAM, "", "", "userDataStream.subscribe.signature", reading, _fixed(2)),
        Operation(USER_STREAM_END, "", "", "userDataStream.unsubscribe", none, _fixed(2)),
    )


OPERATIONS: Final = _table()
OPERATION_NAMES: Final = tuple(operation.name for operation in OPERATIONS)
