"""From ccxt's unified dictionaries to our values. Pure functions, any thread.

ccxt runs with `number = str`, so every amount arrives as the text the venue sent; Decimal is made here and nowhere
else. Market data become float64: analytics only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_MS
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill, Liquidity
from core.domain.instruments import FeeRule, Instrument
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.money import ZERO, parse_decimal
from core.domain.orders import OrderState, OrderType, Side
from core.domain.positions import Balance
from core.execution.api.gateway import OrderReport

_STATES = {
    "open": OrderState.ACCEPTED,
    "closed": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "canceling": OrderState.ACCEPTED,
    "expired": OrderState.EXPIRED,
    "rejected": OrderState.REJECTED,
}


def to_decimal(value: Any) -> Decimal | None:
    """Return a number ccxt passed on, exactly as the venue wrote it; None stays None.

    Raises:
        ValueError: it is no number, or a float slipped through.
    """
    if value is None or value == "":
        return None
    if isinstance(value, float):
        raise ValueError(f"an amount arrived as float: {value!r}")
    return parse_decimal(str(value))


def parse_instrument(market: Mapping[str, Any], venue: str, fee_rule: FeeRule) -> Instrument | None:
    """Return a spot market's rules; None for what is no active spot market with known steps.

    Args:
        fee_rule: the venue's; ccxt does not tell it.
    """
    if not market.get("spot") or market.get("active") is False:
        return None
    precision, limits = market["precision"], market["limits"]
    tick, lot = to_decimal(precision.get("price")), to_decimal(precision.get("amount"))
    if tick is None or lot is None or tick <= 0 or lot <= 0:
        return None
    amount, cost = limits.get("amount") or {}, limits.get("cost") or {}
    defaults = Instrument(venue, market["symbol"], market["id"], market["base"], market["quote"], tick, lot)
    return Instrument(
        venue=venue,
        symbol=str(market["symbol"]),
        venue_symbol=str(market["id"]),
        base=str(market["base"]),
        quote=str(market["quote"]),
        tick_size=tick,
        lot_size=lot,
        min_quantity=to_decimal(amount.get("min")) or ZERO,
        max_quantity=to_decimal(amount.get("max")) or defaults.max_quantity,
        min_notional=to_decimal(cost.get("min")) or ZERO,
        maker_fee=_or(to_decimal(market.get("maker")), defaults.maker_fee),
        taker_fee=_or(to_decimal(market.get("taker")), defaults.taker_fee),
        fee_rule=fee_rule,
    )


def parse_candles(
    rows: Sequence[Sequence[Any]], symbol: str, timeframe: Timeframe, *, closed_before_ns: int, source: str
) -> list[Candle]:
    """Return bars, oldest first; final where a later one follows or their close is not after `closed_before_ns`."""
    candles = []
    for index, (open_ms, open_, high, low, close, volume) in enumerate(rows):
        time_ns = int(open_ms) * NS_PER_MS
        final = index + 1 < len(rows) or time_ns + timeframe.ns <= closed_before_ns
        prices = (float(open_), float(high), float(low), float(close))
        candles.append(Candle(symbol, timeframe, time_ns, *prices, float(volume), final, source))
    return candles


def parse_public_trade(trade: Mapping[str, Any], symbol: str) -> PublicTrade:
    """Return a trade of the market."""
    return PublicTrade(
        symbol,
        str(trade["id"]),
        float(trade["price"]),
        float(trade["amount"]),
        Side(trade["side"]),
        int(trade["timestamp"]) * NS_PER_MS,
    )


def parse_book(book: Mapping[str, Any], symbol: str, depth: int, received_ns: int) -> BookSnapshot:
    """Return the best `depth` levels of each side."""
    bids = tuple((float(level[0]), float(level[1])) for level in book["bids"][:depth])
    asks = tuple((float(level[0]), float(level[1])) for level in book["asks"][:depth])
    stamp = book.get("timestamp")
    time_ns = int(stamp) * NS_PER_MS if stamp else received_ns
    return BookSnapshot(symbol, bids, asks, time_ns, int(book.get("nonce") or 0))


def parse_ticker(ticker: Mapping[str, Any], symbol: str, received_ns: int) -> Ticker:
    """Return the ticker; the daily change is computed from open and last where the venue sends no percentage."""
    last, open_, percentage = (_float(ticker.get(key)) for key in ("last", "open", "percentage"))
    change = percentage / 100 if percentage is not None else last / open_ - 1 if last and open_ else None
    stamp = ticker.get("timestamp")
    return Ticker(
        symbol,
        last if last is not None else float("nan"),
        _float(ticker.get("bid")),
        _float(ticker.get("ask")),
        change,
        _float(ticker.get("baseVolume")),
        int(stamp) * NS_PER_MS if stamp else received_ns,
    )


def parse_order(order: Mapping[str, Any], client_order_id: str, venue: str, received_ns: int) -> OrderReport:
    """Return what the venue says of an order, with the fills its answer carries.

    Raises:
        ValueError: the answer lacks a state, a side or a quantity.
    """
    filled = to_decimal(order.get("filled")) or ZERO
    quantity = to_decimal(order.get("amount"))
    status = order.get("status")
    if quantity is None or order.get("side") is None or status not in _STATES:
        raise ValueError(f"incomplete order: state {status!r}, quantity {quantity!r}")
    state = _STATES[status]
    if state is OrderState.ACCEPTED and filled > 0:
        state = OrderState.PARTIALLY_FILLED
    kind = _order_type(order)
    stamp = order.get("lastUpdateTimestamp") or order.get("lastTradeTimestamp") or order.get("timestamp")
    symbol, venue_id = str(order["symbol"]), str(order.get("id") or "")
    inherited = {"timestamp": stamp, "side": order["side"]}
    fills = tuple(
        parse_fill({**inherited, **_known(trade), "order": venue_id}, symbol, client_order_id, venue)
        for trade in order.get("trades") or ()
    )
    return OrderReport(
        symbol=symbol,
        client_order_id=client_order_id,
        venue_order_id=venue_id,
        state=state,
        side=Side(order["side"]),
        order_type=kind,
        quantity=quantity,
        filled_quantity=filled,
        limit_price=None if kind is OrderType.MARKET else to_decimal(order.get("price")),
        average_price=to_decimal(order.get("average")) if filled > 0 else None,
        time_ns=int(stamp) * NS_PER_MS if stamp else received_ns,
        fills=fills,
    )


def parse_fill(trade: Mapping[str, Any], symbol: str, client_order_id: str, venue: str) -> Fill:
    """Return one own trade.

    Raises:
        ValueError: price or quantity are missing.
    """
    price, quantity = to_decimal(trade.get("price")), to_decimal(trade.get("amount"))
    if price is None or quantity is None:
        raise ValueError("an own trade without price or quantity")
    fee = trade.get("fee") or {}
    return Fill(
        venue=venue,
        symbol=symbol,
        trade_id=str(trade["id"]),
        venue_order_id=str(trade.get("order") or ""),
        client_order_id=client_order_id,
        side=Side(trade["side"]),
        price=price,
        quantity=quantity,
        fee=to_decimal(fee.get("cost")) or ZERO,
        fee_currency=str(fee.get("currency") or symbol.partition("/")[2]),
        liquidity=Liquidity.MAKER if trade.get("takerOrMaker") == "maker" else Liquidity.TAKER,
        time_ns=int(trade.get("timestamp") or 0) * NS_PER_MS,
    )


def parse_balances(balance: Mapping[str, Any]) -> tuple[Balance, ...]:
    """Return all non-zero balances."""
    found = []
    for currency in balance["total"]:
        free = to_decimal(balance["free"].get(currency)) or ZERO
        locked = to_decimal(balance["used"].get(currency)) or ZERO
        if free or locked:
            found.append(Balance(str(currency), free, locked))
    return tuple(found)


def _known(trade: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None: the fills in an order's answer carry no time of their own."""
    return {key: value for key, value in trade.items() if value is not None}


def _order_type(order: Mapping[str, Any]) -> OrderType:
    if order.get("type") == "market":
        return OrderType.MARKET
    if to_decimal(order.get("triggerPrice")):
        return OrderType.STOP_LOSS_LIMIT
    return OrderType.LIMIT_MAKER if order.get("postOnly") else OrderType.LIMIT


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _or(value: Decimal | None, default: Decimal) -> Decimal:
    return default if value is None else value
