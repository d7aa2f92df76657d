"""Reading and checking requests by the venue's rules, with its error codes. Pure functions, any thread."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from core.practice.orders import (
    BUY,
    FOK,
    GTC,
    IOC,
    LIMIT,
    LIMIT_MAKER,
    MARKET,
    SELL,
    STOP_LOSS_LIMIT,
    Order,
    Rejection,
)
from core.practice.specs import UNIT_DECIMALS, MarketSpec

Params = Mapping[str, str]

MAX_OPEN_ORDERS: Final = 200
MAX_STOP_ORDERS: Final = 20
_MAX_LOTS_TEXT: Final = "9000000"
_MAX_PRICE_TEXT: Final = "10000000"
_PERCENT_UP: Final = 5
_PERCENT_DOWN: Final = Decimal("0.2")
_NUMBER: Final = re.compile(r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
_CLIENT_ID: Final = re.compile(r"^[a-zA-Z0-9_.:/-]{1,36}$")
_INTEGER: Final = re.compile(r"^[0-9]{1,20}$")
_TYPES: Final = {LIMIT, MARKET, LIMIT_MAKER, STOP_LOSS_LIMIT}
_KNOWN_TYPES: Final = _TYPES | {"STOP_LOSS", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"}


def missing(name: str) -> Rejection:
    """Return the refusal of a request without a required parameter."""
    return Rejection(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def required(params: Params, name: str) -> str:
    """Return a non-empty parameter.

    Raises:
        Rejection: it is missing (-1102).
    """
    value = params.get(name, "")
    if not value:
        raise missing(name)
    return value


def integer(params: Params, name: str, default: int | None = None) -> int | None:
    """Return a non-negative whole number.

    Raises:
        Rejection: it is something else (-1100).
    """
    text = params.get(name)
    if text is None or text == "":
        return default
    if not _INTEGER.match(text):
        raise Rejection(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def limited(params: Params, default: int, maximum: int) -> int:
    """Return the parameter `limit`, at least 1 and at most `maximum`."""
    value = integer(params, "limit", default)
    if value is None or value < 1:
        raise Rejection(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(value, maximum)


def decimal_text(params: Params, name: str) -> Decimal:
    """Return a positive decimal number as the venue accepts it.

    Raises:
        Rejection: it is missing, malformed, too precise or zero.
    """
    text = required(params, name)
    if not _NUMBER.match(text):
        legal = _NUMBER.pattern
        raise Rejection(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
    value = Decimal(text)
    if -int(value.normalize().as_tuple().exponent) > UNIT_DECIMALS:
        raise Rejection(-1111, f"Parameter '{name}' has too much precision.")
    if value == 0:
        raise Rejection(-1013, f"Invalid {name}.")
    return value


def _steps(value: Decimal, decimals: int, filter_name: str) -> int:
    scaled = value.scaleb(decimals)
    if scaled != scaled.to_integral_value():
        raise Rejection(-1013, f"Filter failure: {filter_name}")
    return int(scaled)


def _price(params: Params, name: str, spec: MarketSpec) -> int:
    value = decimal_text(params, name)
    if value > Decimal(_MAX_PRICE_TEXT):
        raise Rejection(-1013, "Filter failure: PRICE_FILTER")
    return _steps(value, spec.price_decimals, "PRICE_FILTER")


def quantity(params: Params, spec: MarketSpec) -> int:
    """Return the parameter `quantity` in lots.

    Raises:
        Rejection: it is missing, malformed or no whole number of lots.
    """
    value = decimal_text(params, "quantity")
    if value > Decimal(_MAX_LOTS_TEXT):
        raise Rejection(-1013, "Filter failure: LOT_SIZE")
    return _steps(value, spec.quantity_decimals, "LOT_SIZE")


def read_order(params: Params, spec: MarketSpec, last_price: int, server_ms: int) -> Order:
    """Turn request parameters into a checked order (id 0).

    Args:
        last_price: ticks; reference of the value of market orders and of the price band.

    Raises:
        Rejection: a parameter or a filter refuses it.
    """
    side = required(params, "side")
    if side not in (BUY, SELL):
        raise Rejection(-1117, "Invalid side.")
    kind = required(params, "type")
    if kind not in _TYPES:
        supported = kind in _KNOWN_TYPES
        raise Rejection(
            -2010 if supported else -1116, "This order type is not supported." if supported else "Invalid orderType."
        )
    client_id = params.get("newClientOrderId") or secrets.token_hex(11)
    if not _CLIENT_ID.match(client_id):
        legal = _CLIENT_ID.pattern
        raise Rejection(-1100, f"Illegal characters found in parameter 'newClientOrderId'; legal range is '{legal}'.")
    order = Order(0, client_id, spec.symbol, side, kind, GTC, 0, 0)
    order.created_ms = order.updated_ms = order.working_ms = server_ms
    if kind == MARKET:
        _read_market(params, spec, order)
    else:
        _read_limit(params, spec, order)
    check_filters(order, spec, last_price)
    return order


def _read_market(params: Params, spec: MarketSpec, order: Order) -> None:
    for name in ("price", "timeInForce", "stopPrice"):
        if params.get(name):
            raise Rejection(-1106, f"Parameter '{name}' sent when not required.")
    if params.get("quoteOrderQty"):
        if params.get("quantity"):
            raise Rejection(-1128, "Combination of optional parameters invalid.")
        order.quote_quantity = int(decimal_text(params, "quoteOrderQty").scaleb(UNIT_DECIMALS))
    else:
        order.quantity = quantity(params, spec)


def _read_limit(params: Params, spec: MarketSpec, order: Order) -> None:
    order.quantity = quantity(params, spec)
    order.price = _price(params, "price", spec)
    if order.type == LIMIT_MAKER:
        if params.get("timeInForce"):
            raise Rejection(-1106, "Parameter 'timeInForce' sent when not required.")
    else:
        order.time_in_force = required(params, "timeInForce")
        if order.time_in_force not in (GTC, IOC, FOK):
            raise Rejection(-1115, "Invalid timeInForce.")
    if order.type == STOP_LOSS_LIMIT:
        order.stop = _price(params, "stopPrice", spec)
    elif params.get("stopPrice"):
        raise Rejection(-1106, "Parameter 'stopPrice' sent when not required.")


def check_filters(order: Order, spec: MarketSpec, last_price: int) -> None:
    """Apply the price band and the minimum value.

    Raises:
        Rejection: a filter refuses it (-1013).
    """
    if order.price and not (_PERCENT_DOWN * last_price <= order.price <= _PERCENT_UP * last_price):
        raise Rejection(-1013, "Filter failure: PERCENT_PRICE_BY_SIDE")
    minimum = int(spec.min_notional.scaleb(UNIT_DECIMALS))
    value = order.quote_quantity or order.quantity * (order.price or last_price) * spec.value_scale
    if value < minimum:
        raise Rejection(-1013, "Filter failure: NOTIONAL")


def symbol_info(spec: MarketSpec) -> dict[str, Any]:
    """Return one entry of `exchangeInfo`."""
    tick, lot = spec.price_text(1), spec.quantity_text(1)
    return {
        "symbol": spec.symbol,
        "status": "TRADING",
        "baseAsset": spec.base,
        "baseAssetPrecision": UNIT_DECIMALS,
        "quoteAsset": spec.quote,
        "quotePrecision": UNIT_DECIMALS,
        "quoteAssetPrecision": UNIT_DECIMALS,
        "baseCommissionPrecision": UNIT_DECIMALS,
        "quoteCommissionPrecision": UNIT_DECIMALS,
        "orderTypes": [LIMIT, LIMIT_MAKER, MARKET, STOP_LOSS_LIMIT],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": f"{_MAX_PRICE_TEXT}.00000000",
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": f"{_MAX_LOTS_TEXT}.00000000", "stepSize": lot},
            {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": f"{_MAX_LOTS_TEXT}.00000000", "stepSize": lot},
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": str(_PERCENT_UP),
                "bidMultiplierDown": str(_PERCENT_DOWN),
                "askMultiplierUp": str(_PERCENT_UP),
                "askMultiplierDown": str(_PERCENT_DOWN),
                "avgPriceMins": 0,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": f"{spec.min_notional:.8f}",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 0,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": MAX_OPEN_ORDERS},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": MAX_STOP_ORDERS},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }
