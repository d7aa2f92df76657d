"""Why an order was denied by us, or ended without the venue saying why. Pure values, any thread."""

from __future__ import annotations

from enum import StrEnum


class ReasonCode(StrEnum):
    """Machine-readable reasons; Docs/risk_reasons.md explains each, in this order."""

    TRADING_HALTED = "TRADING_HALTED"
    TRADING_STATE_REDUCING = "TRADING_STATE_REDUCING"
    RECONCILING = "RECONCILING"
    FENCED = "FENCED"
    OWNERSHIP = "OWNERSHIP"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    UNKNOWN_ORDER_LOCK = "UNKNOWN_ORDER_LOCK"
    CLOCK_SKEW = "CLOCK_SKEW"
    NO_MARKET_PRICE = "NO_MARKET_PRICE"
    STALE_PRICE = "STALE_PRICE"
    LOT_SIZE = "LOT_SIZE"
    TICK_SIZE = "TICK_SIZE"
    NOTIONAL_BELOW_MINIMUM = "NOTIONAL_BELOW_MINIMUM"
    MAX_ORDER_VALUE = "MAX_ORDER_VALUE"
    FAT_FINGER = "FAT_FINGER"
    MAX_POSITION = "MAX_POSITION"
    MAX_OPEN_ORDERS = "MAX_OPEN_ORDERS"
    ORDER_RATE = "ORDER_RATE"
    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    PRICE_COLLAR = "PRICE_COLLAR"
    SLIPPAGE = "SLIPPAGE"
    DUPLICATE_INTENT = "DUPLICATE_INTENT"
    REDUCE_ONLY_WOULD_INCREASE = "REDUCE_ONLY_WOULD_INCREASE"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    VENUE_REJECTED = "VENUE_REJECTED"  # the venue said no
    NOT_PROCESSED = "NOT_PROCESSED"  # the venue surely did not act on it (rate limit, stale timestamp)
    NEVER_ARRIVED = "NEVER_ARRIVED"  # proven: the request did not reach the venue
    DECLARED_GONE = "DECLARED_GONE"  # a person saw at the venue that the order is not there
    GONE_AT_VENUE = "GONE_AT_VENUE"  # the venue once had the order and does not list it any more
