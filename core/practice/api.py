"""What can be asked of the exchange, free of transport: REST and the WebSocket API both call this.

Event-loop thread of the exchange. Parameters are text, answers are JSON values in the venue's shapes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final

from core.practice import messages, rules
from core.practice.bars import DAY_MS, INTERVALS, MINUTE_MS, Ints, aggregate, flat_bar
from core.practice.exchange import Exchange
from core.practice.messages import Json
from core.practice.orders import LIMIT, MARKET, STOP_LOSS_LIMIT, Order, Rejection
from core.practice.rules import Params
from core.practice.specs import MarketSpec

MAX_KLINES: Final = 1000
MAX_TRADES: Final = 1000
MAX_DEPTH: Final = 5000


class TradingApi:
    """Requests against one exchange.

    Attributes:
        book_ids: returns the sequence number that the depth stream has reached for a symbol.
    """

    def __init__(
        self,
        exchange: Exchange,
        server_ms: Callable[[], int],
        hides: Callable[[str, int], bool],
        limits: Callable[[], list[Json]],
    ) -> None:
        """Answer for one exchange.

        Args:
            exchange: whose markets and account.
            server_ms: the server's clock.
            hides: says whether a query does not know an order yet.
            limits: returns the request limits in force.
        """
        self._exchange = exchange
        self._server_ms = server_ms
        self._hides = hides
        self._limits = limits
        self.book_ids: Callable[[str], int] = lambda symbol: 0

    # --- market data ------------------------------------------------------------------------------------------

    def spec(self, params: Params) -> MarketSpec:
        """Return the market named by `symbol`.

        Raises:
            Rejection: -1102 without one, -1121 for an unknown one.
        """
        return self._known(rules.required(params, "symbol"))

    def _known(self, symbol: str) -> MarketSpec:
        spec = self._exchange.specs.get(symbol)
        if spec is None:
            raise Rejection(-1121, "Invalid symbol.")
        return spec

    def time(self, params: Params) -> Json:
        """Return the server's wall time."""
        return {"serverTime": self._server_ms()}

    def exchange_info(self, params: Params) -> Json:
        """Return rules and filters of the markets."""
        return {
            "timezone": "UTC",
            "serverTime": self._server_ms(),
            "rateLimits": self._limits(),
            "exchangeFilters": [],
            "practiceMarket": self._exchange.source.source_id,  # not the venue's: whose prices these are
            "symbols": [rules.symbol_info(spec) for spec in self._chosen(params)],
        }

    def _chosen(self, params: Params) -> list[MarketSpec]:
        if params.get("symbol"):
            return [self._known(params["symbol"])]
        if params.get("symbols"):
            try:
                names = json.loads(params["symbols"])
            except ValueError as exc:
                raise Rejection(-1100, "Illegal characters found in parameter 'symbols'.") from exc
            if not isinstance(names, list):
                raise Rejection(-1100, "Illegal characters found in parameter 'symbols'.")
            return [self._known(str(name)) for name in names]
        return list(self._exchange.specs.values())

    def klines(self, params: Params) -> list[list[Any]]:
        """Return bars."""
        spec, interval, start, end, limit = self._kline_request(params)
        rows = self._exchange.klines(spec.symbol, interval, start, end, limit)
        return [messages.kline_row(spec, row, interval) for row in rows]

    def warm_klines(self, params: Params) -> Iterator[None]:
        """Prepare the same `klines` in steps of a few milliseconds."""
        spec, interval, start, end, limit = self._kline_request(params)
        return self._exchange.warm(spec.symbol, interval, start, end, limit)

    def _kline_request(self, params: Params) -> tuple[MarketSpec, int, int | None, int | None, int]:
        spec = self.spec(params)
        interval = INTERVALS.get(rules.required(params, "interval"))
        if interval is None:
            raise Rejection(-1120, "Invalid interval.")
        base = self._exchange.source.base_ms
        if interval % base and base % interval:  # e.g. three-minute bars of a five-minute replay
            raise Rejection(-1120, "Invalid interval.")
        start, end = rules.integer(params, "startTime"), rules.integer(params, "endTime")
        return spec, interval, start, end, rules.limited(params, 500, MAX_KLINES)

    def depth(self, params: Params) -> Json:
        """Return the book and the sequence number it belongs to."""
        spec = self.spec(params)
        limit = rules.limited(params, 100, MAX_DEPTH)
        # The number first: asking for it publishes what changed, so that book and number agree.
        last_id = self.book_ids(spec.symbol)
        bids, asks = self._book(spec, limit)
        return {
            "lastUpdateId": last_id,
            "bids": messages.level_rows(spec, bids),
            "asks": messages.level_rows(spec, asks),
        }

    def _book(self, spec: MarketSpec, depth: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return self._exchange.matcher(spec.symbol).book(self._exchange.trading_ms, depth)

    def aggregate_trades(self, params: Params) -> list[Json]:
        """Return trades by id, by time, or the latest."""
        spec = self.spec(params)
        limit = rules.limited(params, 500, MAX_TRADES)
        first = rules.integer(params, "fromId")
        start, end = rules.integer(params, "startTime"), rules.integer(params, "endTime")
        if first is not None and (start is not None or end is not None):
            raise Rejection(-1128, "Combination of optional parameters invalid.")
        now = self._exchange.market_ms
        if first is not None:
            prints = self._exchange.prints_from(spec.symbol, 0, now, limit, first)
        elif start is not None:
            prints = self._exchange.prints_from(spec.symbol, start, min(end if end is not None else now, now), limit)
        elif end is not None:
            prints = self._exchange.prints_from(spec.symbol, end - 10 * MINUTE_MS, min(end, now), 100_000)[-limit:]
        else:
            prints = self._exchange.recent_prints(spec.symbol, limit)
        return [messages.aggregate_row(spec, p) for p in prints]

    def trades(self, params: Params) -> list[Json]:
        """Return the latest trades."""
        spec = self.spec(params)
        prints = self._exchange.recent_prints(spec.symbol, rules.limited(params, 500, MAX_TRADES))
        return [messages.trade_row(spec, p) for p in prints]

    def day_bar(self, symbol: str) -> Ints:
        """Return the single bar that covers the last 24 hours of market time."""
        exchange = self._exchange
        base = exchange.source.base_ms
        step = max(base, MINUTE_MS)
        rows = exchange.klines(symbol, step, None, None, max(1, min(DAY_MS // step, 1440)))
        if len(rows) == 0:
            return flat_bar(exchange.market_ms, exchange.last_price(symbol))
        rows = rows.copy()
        rows[:, 0] = 0
        bar: Ints = aggregate(rows, DAY_MS)[0]
        return bar

    def day_ticker(self, params: Params) -> Json | list[Json]:
        """Return 24-hour statistics of one, some or all markets."""
        rows = [
            messages.day_ticker(spec, self.day_bar(spec.symbol), self._book(spec, 1), self._exchange.market_ms)
            for spec in self._chosen(params)
        ]
        return rows[0] if params.get("symbol") else rows

    def price_ticker(self, params: Params) -> Json | list[Json]:
        """Return last prices."""
        rows = [
            {"symbol": spec.symbol, "price": spec.price_text(self._exchange.last_price(spec.symbol))}
            for spec in self._chosen(params)
        ]
        return rows[0] if params.get("symbol") else rows

    def book_ticker(self, params: Params) -> Json | list[Json]:
        """Return best prices."""
        rows = []
        for spec in self._chosen(params):
            bids, asks = self._book(spec, 1)
            (bid, bid_lots), (ask, ask_lots) = (bids or [(0, 0)])[0], (asks or [(0, 0)])[0]
            rows.append(
                {
                    "symbol": spec.symbol,
                    "bidPrice": spec.price_text(bid),
                    "bidQty": spec.quantity_text(bid_lots),
                    "askPrice": spec.price_text(ask),
                    "askQty": spec.quantity_text(ask_lots),
                }
            )
        return rows[0] if params.get("symbol") else rows

    # --- account ----------------------------------------------------------------------------------------------

    def account(self, params: Params) -> Json:
        """Return balances and permissions."""
        omit = params.get("omitZeroBalances") == "true"
        return messages.account(self._exchange.ledger, omit, self._server_ms())

    def place_order(self, params: Params) -> Json:
        """Place an order; the answer follows `newOrderRespType`."""
        spec = self.spec(params)
        order, response = self._read(params, spec)
        order.order_id = self._exchange.next_order_id()
        placed = self._exchange.place(order, self._server_ms())
        return messages.placement(spec, placed.order, placed.fills, response)

    def test_order(self, params: Params) -> Json:
        """Check an order without placing it."""
        self._read(params, self.spec(params))
        return {}

    def _read(self, params: Params, spec: MarketSpec) -> tuple[Order, str]:
        order = rules.read_order(params, spec, self._exchange.last_price(spec.symbol), self._server_ms())
        response = params.get("newOrderRespType") or ("FULL" if order.type in (LIMIT, MARKET) else "ACK")
        if response not in ("ACK", "RESULT", "FULL"):
            raise Rejection(-1135, "Invalid newOrderRespType.")
        open_orders = self._exchange.open_orders(spec.symbol)
        if any(other.client_id == order.client_id for other in open_orders):
            raise Rejection(-2010, "Duplicate order sent.")
        if len(open_orders) >= rules.MAX_OPEN_ORDERS:
            raise Rejection(-1013, "Filter failure: MAX_NUM_ORDERS")
        stops = sum(not other.working for other in open_orders)
        if order.type == STOP_LOSS_LIMIT and stops >= rules.MAX_STOP_ORDERS:
            raise Rejection(-1013, "Filter failure: MAX_NUM_ALGO_ORDERS")
        return order, response

    def _named(self, params: Params) -> tuple[int | None, str | None]:
        order_id, client_id = rules.integer(params, "orderId"), params.get("origClientOrderId") or None
        if order_id is None and client_id is None:
            raise Rejection(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        return order_id, client_id

    def query_order(self, params: Params) -> Json:
        """Return one order, open or not."""
        spec = self.spec(params)
        order_id, client_id = self._named(params)
        found = self._open(spec, order_id, client_id)
        order = found if found is not None else self._exchange.store.find_order(spec.symbol, order_id, client_id)
        unknown = order is None or (client_id is not None and order.client_id != client_id)
        if order is None or unknown or self._hides("query", order.order_id):
            raise Rejection(-2013, "Order does not exist.")
        return messages.order_row(spec, order)

    def _open(self, spec: MarketSpec, order_id: int | None, client_id: str | None) -> Order | None:
        for order in self._exchange.open_orders(spec.symbol):
            if (order_id is None or order.order_id == order_id) and (client_id is None or order.client_id == client_id):
                return order
        return None

    def cancel_order(self, params: Params) -> Json:
        """Cancel one open order."""
        spec = self.spec(params)
        order = self._open(spec, *self._named(params))
        if order is None:
            raise Rejection(-2011, "Unknown order sent.")
        cancelled = self._exchange.cancel(order, self._server_ms())
        return messages.cancellation(spec, cancelled, params.get("newClientOrderId") or secrets.token_hex(11))

    def trade_against(self, params: Params) -> Json:
        """Let the market trade against an own order that rests; nothing a client could ask for."""
        spec = self.spec(params)
        order = self._open(spec, *self._named(params))
        if order is None or not order.working:
            raise Rejection(-2011, "Unknown order sent.")
        lots = rules.quantity(params, spec) if params.get("quantity") else order.remaining
        return messages.order_row(spec, self._exchange.trade_against(order, lots, self._server_ms()))

    def cancel_open_orders(self, params: Params) -> list[Json]:
        """Cancel all open orders of a market."""
        spec = self.spec(params)
        orders = self._exchange.open_orders(spec.symbol)
        if not orders:
            raise Rejection(-2011, "Unknown order sent.")
        answers = []
        for order in orders:
            cancelled = self._exchange.cancel(order, self._server_ms())
            answers.append(messages.cancellation(spec, cancelled, secrets.token_hex(11)))
        return answers

    def open_orders(self, params: Params) -> list[Json]:
        """Return open orders of one market or of all."""
        symbol = self.spec(params).symbol if params.get("symbol") else None
        orders = [o for o in self._exchange.open_orders(symbol) if not self._hides("openOrders", o.order_id)]
        return [messages.order_row(self._known(order.symbol), order) for order in orders]

    def all_orders(self, params: Params) -> list[Json]:
        """Return orders of a market, whatever their state."""
        spec = self.spec(params)
        orders = self._exchange.store.orders(
            spec.symbol,
            from_id=rules.integer(params, "orderId"),
            start_ms=rules.integer(params, "startTime"),
            end_ms=rules.integer(params, "endTime"),
            limit=rules.limited(params, 500, 1000),
        )
        shown = [order for order in orders if not self._hides("allOrders", order.order_id)]
        return [messages.order_row(spec, order) for order in shown]

    def my_trades(self, params: Params) -> list[Json]:
        """Return own trades of a market."""
        spec = self.spec(params)
        fills = self._exchange.store.fills(
            spec.symbol,
            from_id=rules.integer(params, "fromId"),
            order_id=rules.integer(params, "orderId"),
            start_ms=rules.integer(params, "startTime"),
            end_ms=rules.integer(params, "endTime"),
            limit=rules.limited(params, 500, 1000),
        )
        shown = [fill for fill in fills if not self._hides("myTrades", fill.order_id)]
        return [messages.my_trade(spec, fill) for fill in shown]
