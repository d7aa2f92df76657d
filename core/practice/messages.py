"""The venue's JSON shapes of trades, bars, orders and balances. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.practice.bars import BUY_VALUE, BUY_VOLUME, CLOSE, COUNT, HIGH, LOW, OPEN, TIME, VALUE, VOLUME, Ints
from core.practice.ledger import Ledger
from core.practice.matching import Levels
from core.practice.orders import MARKET, STOP_LOSS_LIMIT, Fill, Order, OrderEvent
from core.practice.specs import MarketSpec, units_text
from core.practice.tape import ID_SHIFT, Print

Json = dict[str, Any]

_ZERO = "0.00000000"


def kline_row(spec: MarketSpec, row: Ints, interval_ms: int) -> list[Any]:
    """Return one entry of `/klines`."""
    r = row.tolist()
    return [
        r[TIME],
        spec.price_text(r[OPEN]),
        spec.price_text(r[HIGH]),
        spec.price_text(r[LOW]),
        spec.price_text(r[CLOSE]),
        spec.quantity_text(r[VOLUME]),
        r[TIME] + interval_ms - 1,
        spec.value_text(r[VALUE]),
        r[COUNT],
        spec.quantity_text(r[BUY_VOLUME]),
        spec.value_text(r[BUY_VALUE]),
        "0",
    ]


def kline_event(
    spec: MarketSpec, row: Ints, interval: str, interval_ms: int, base_ms: int, event_ms: int, *, final: bool
) -> Json:
    """Return a `kline` stream event."""
    r = row.tolist()
    first_id = (r[TIME] // base_ms) << ID_SHIFT
    return {
        "e": "kline",
        "E": event_ms,
        "s": spec.symbol,
        "k": {
            "t": r[TIME],
            "T": r[TIME] + interval_ms - 1,
            "s": spec.symbol,
            "i": interval,
            "f": first_id if r[COUNT] else -1,
            "L": first_id + r[COUNT] - 1 if r[COUNT] else -1,
            "o": spec.price_text(r[OPEN]),
            "c": spec.price_text(r[CLOSE]),
            "h": spec.price_text(r[HIGH]),
            "l": spec.price_text(r[LOW]),
            "v": spec.quantity_text(r[VOLUME]),
            "n": r[COUNT],
            "x": final,
            "q": spec.value_text(r[VALUE]),
            "V": spec.quantity_text(r[BUY_VOLUME]),
            "Q": spec.value_text(r[BUY_VALUE]),
            "B": "0",
        },
    }


def trade_event(spec: MarketSpec, p: Print, event_ms: int) -> Json:
    """Return a `trade` stream event."""
    return {
        "e": "trade",
        "E": event_ms,
        "s": spec.symbol,
        "t": p.trade_id,
        "p": spec.price_text(p.price),
        "q": spec.quantity_text(p.quantity),
        "T": p.time_ms,
        "m": p.buyer_maker,
        "M": True,
    }


def aggregate_event(spec: MarketSpec, p: Print, event_ms: int) -> Json:
    """Return an `aggTrade` stream event; every trade is its own aggregate."""
    return {"e": "aggTrade", "E": event_ms, "s": spec.symbol, **aggregate_row(spec, p)}


def aggregate_row(spec: MarketSpec, p: Print) -> Json:
    """Return one entry of `/aggTrades`."""
    return {
        "a": p.trade_id,
        "p": spec.price_text(p.price),
        "q": spec.quantity_text(p.quantity),
        "f": p.trade_id,
        "l": p.trade_id,
        "T": p.time_ms,
        "m": p.buyer_maker,
        "M": True,
    }


def trade_row(spec: MarketSpec, p: Print) -> Json:
    """Return one entry of `/trades`."""
    return {
        "id": p.trade_id,
        "price": spec.price_text(p.price),
        "qty": spec.quantity_text(p.quantity),
        "quoteQty": spec.value_text(p.price * p.quantity),
        "time": p.time_ms,
        "isBuyerMaker": p.buyer_maker,
        "isBestMatch": True,
    }


def level_rows(spec: MarketSpec, levels: Levels) -> list[list[str]]:
    """Return book levels as pairs of strings."""
    return [[spec.price_text(price), spec.quantity_text(lots)] for price, lots in levels]


def day_ticker(spec: MarketSpec, day: Ints, best: tuple[Levels, Levels], now_ms: int) -> Json:
    """Return `/ticker/24hr` of one market from the single bar that covers the last day."""
    r = day.tolist()
    change = r[CLOSE] - r[OPEN]
    average = r[VALUE] // r[VOLUME] if r[VOLUME] else r[CLOSE]
    bids, asks = best
    return {
        "symbol": spec.symbol,
        "priceChange": spec.price_text(change),
        "priceChangePercent": f"{100 * change / r[OPEN]:.3f}",
        "weightedAvgPrice": spec.price_text(average),
        "prevClosePrice": spec.price_text(r[OPEN]),
        "lastPrice": spec.price_text(r[CLOSE]),
        "lastQty": spec.quantity_text(1),
        "bidPrice": spec.price_text(bids[0][0]) if bids else _ZERO,
        "bidQty": spec.quantity_text(bids[0][1]) if bids else _ZERO,
        "askPrice": spec.price_text(asks[0][0]) if asks else _ZERO,
        "askQty": spec.quantity_text(asks[0][1]) if asks else _ZERO,
        "openPrice": spec.price_text(r[OPEN]),
        "highPrice": spec.price_text(r[HIGH]),
        "lowPrice": spec.price_text(r[LOW]),
        "volume": spec.quantity_text(r[VOLUME]),
        "quoteVolume": spec.value_text(r[VALUE]),
        "openTime": now_ms - 86_400_000,
        "closeTime": now_ms,
        "firstId": -1,
        "lastId": -1,
        "count": r[COUNT],
    }


def mini_ticker_event(spec: MarketSpec, day: Ints, event_ms: int) -> Json:
    """Return a `24hrMiniTicker` stream event."""
    r = day.tolist()
    return {
        "e": "24hrMiniTicker",
        "E": event_ms,
        "s": spec.symbol,
        "c": spec.price_text(r[CLOSE]),
        "o": spec.price_text(r[OPEN]),
        "h": spec.price_text(r[HIGH]),
        "l": spec.price_text(r[LOW]),
        "v": spec.quantity_text(r[VOLUME]),
        "q": spec.value_text(r[VALUE]),
    }


def order_row(spec: MarketSpec, order: Order) -> Json:
    """Return an order as queries show it."""
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "price": spec.price_text(order.price),
        "origQty": spec.quantity_text(order.quantity),
        "executedQty": spec.quantity_text(order.executed),
        "origQuoteOrderQty": units_text(order.quote_quantity),
        "cummulativeQuoteQty": spec.value_text(order.value),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
        "stopPrice": spec.price_text(order.stop),
        "icebergQty": _ZERO,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": order.working,
        "workingTime": order.working_ms if order.working else -1,
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def placement(spec: MarketSpec, order: Order, fills: Iterable[Fill], response: str) -> Json:
    """Return the answer to a placement: ACK, RESULT or FULL."""
    answer: Json = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.created_ms,
    }
    if response == "ACK":
        return answer
    row = order_row(spec, order)
    for hidden in ("icebergQty", "time", "updateTime", "isWorking"):
        del row[hidden]
    if order.type != STOP_LOSS_LIMIT:
        del row["stopPrice"]
    answer.update(row)
    if response == "FULL":
        answer["fills"] = [
            {
                "price": spec.price_text(fill.price),
                "qty": spec.quantity_text(fill.quantity),
                "commission": units_text(fill.fee),
                "commissionAsset": fill.fee_asset,
                "tradeId": fill.trade_id,
            }
            for fill in fills
        ]
    return answer


def cancellation(spec: MarketSpec, order: Order, request_id: str) -> Json:
    """Return the answer to a cancel."""
    row = order_row(spec, order)
    for hidden in ("icebergQty", "time", "updateTime", "isWorking", "workingTime"):
        del row[hidden]
    row.update({"origClientOrderId": order.client_id, "clientOrderId": request_id, "transactTime": order.updated_ms})
    return row


def my_trade(spec: MarketSpec, fill: Fill) -> Json:
    """Return one entry of `/myTrades`."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": -1,
        "price": spec.price_text(fill.price),
        "qty": spec.quantity_text(fill.quantity),
        "quoteQty": spec.value_text(fill.price * fill.quantity),
        "commission": units_text(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.time_ms,
        "isBuyer": fill.is_buyer,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def account(ledger: Ledger, omit_zero: bool, now_ms: int) -> Json:
    """Return `/account`."""
    rate = "0.00100000"
    return {
        "makerCommission": 10,
        "takerCommission": 10,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": rate, "taker": rate, "buyer": _ZERO, "seller": _ZERO},
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": now_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": units_text(free), "locked": units_text(locked)}
            for asset, (free, locked) in sorted(ledger.balances().items())
            if not omit_zero or free or locked
        ],
        "permissions": ["SPOT"],
        "uid": 1,
    }


def execution_report(spec: MarketSpec, event: OrderEvent, event_ms: int) -> Json:
    """Return an `executionReport` of the user-data stream."""
    order, fill = event.order, event.fill
    lots, price = (fill.quantity, fill.price) if fill is not None else (0, 0)
    report: Json = {
        "e": "executionReport",
        "E": event_ms,
        "s": order.symbol,
        "c": order.client_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": spec.quantity_text(order.quantity),
        "p": spec.price_text(order.price),
        "P": spec.price_text(order.stop),
        "F": _ZERO,
        "g": -1,
        "C": order.client_id if event.kind == "CANCELED" else "",
        "x": event.kind,
        "X": order.status,
        "r": "NONE",
        "i": order.order_id,
        "l": spec.quantity_text(lots),
        "z": spec.quantity_text(order.executed),
        "L": spec.price_text(price),
        "n": units_text(fill.fee) if fill is not None else "0",
        "N": fill.fee_asset if fill is not None else None,
        "T": order.updated_ms,
        "t": fill.trade_id if fill is not None else -1,
        "I": order.order_id,
        "w": order.is_open and order.working,
        "m": fill.is_maker if fill is not None else False,
        "M": False,
        "O": order.created_ms,
        "Z": spec.value_text(order.value),
        "Y": spec.value_text(lots * price),
        "Q": units_text(order.quote_quantity),
        "V": "EXPIRE_MAKER",
    }
    if order.working and order.type != MARKET:
        report["W"] = order.working_ms
    return report


def account_position(balances: Mapping[str, tuple[int, int]], event_ms: int) -> Json:
    """Return an `outboundAccountPosition` of the user-data stream."""
    return {
        "e": "outboundAccountPosition",
        "E": event_ms,
        "u": event_ms,
        "B": [
            {"a": asset, "f": units_text(free), "l": units_text(locked)} for asset, (free, locked) in balances.items()
        ],
    }


def ticker_event(spec: MarketSpec, day: Ints, best: tuple[Levels, Levels], event_ms: int) -> Json:
    """Return a `24hrTicker` stream event."""
    row = day_ticker(spec, day, best, event_ms)
    short = {
        "p": "priceChange",
        "P": "priceChangePercent",
        "w": "weightedAvgPrice",
        "x": "prevClosePrice",
        "c": "lastPrice",
        "Q": "lastQty",
        "b": "bidPrice",
        "B": "bidQty",
        "a": "askPrice",
        "A": "askQty",
        "o": "openPrice",
        "h": "highPrice",
        "l": "lowPrice",
        "v": "volume",
        "q": "quoteVolume",
        "O": "openTime",
        "C": "closeTime",
        "F": "firstId",
        "L": "lastId",
        "n": "count",
    }
    return {"e": "24hrTicker", "E": event_ms, "s": spec.symbol, **{key: row[name] for key, name in short.items()}}
