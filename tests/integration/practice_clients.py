"""ccxt's own clients with nothing but their URLs redirected to a practice exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.practice.control import PracticeEndpoints


def redirect(exchange: Any, endpoints: PracticeEndpoints) -> Any:
    """Point every URL of a ccxt Binance client at the practice exchange."""
    api = exchange.urls["api"]
    for name in api:
        if name != "ws":
            api[name] = f"{endpoints.rest}/api/v3"
    if "ws" in api:
        kinds = dict.fromkeys(("spot", "margin", "future", "linear", "inverse", "delivery"), endpoints.ws)
        api["ws"] = {**kinds, "ws-api": {"spot": endpoints.ws_api, "future": endpoints.ws_api}}
    return exchange


def options(endpoints: PracticeEndpoints) -> dict[str, Any]:
    """Return the constructor argument of a spot-only client."""
    return {
        "apiKey": endpoints.api_key,
        "secret": endpoints.api_secret,
        "enableRateLimit": False,
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False},
    }


@asynccontextmanager
async def rest_client(endpoints: PracticeEndpoints, **changes: Any) -> AsyncIterator[Any]:
    """Yield ccxt's asynchronous client."""
    from ccxt.async_support import binance

    exchange = redirect(binance({**options(endpoints), **changes}), endpoints)
    exchange.aiohttp_trust_env = False
    try:
        yield exchange
    finally:
        await exchange.close()


@asynccontextmanager
async def pro_client(endpoints: PracticeEndpoints) -> AsyncIterator[Any]:
    """Yield ccxt.pro's client."""
    from ccxt.pro import binance

    exchange = redirect(binance(options(endpoints)), endpoints)
    try:
        yield exchange
    finally:
        await exchange.close()
