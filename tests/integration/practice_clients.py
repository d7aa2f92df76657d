"""Clients of a practice exchange: ccxt's own with nothing but their URLs redirected, and plain HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from core.practice.control import PracticeControl, PracticeEndpoints
from core.practice.process import PracticeProcess


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; `body` is JSON, or text where it is none."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RawClient:
    """Plain requests and sockets, without any client library's opinion."""

    endpoints: PracticeEndpoints
    control: PracticeControl
    session: aiohttp.ClientSession

    async def request(self, method: str, path: str, **params: Any) -> Reply:
        """Send an unsigned request; a path without a leading slash lies below /api/v3."""
        return await self._send(method, path, urlencode(params))

    async def signed(self, method: str, path: str, **params: Any) -> Reply:
        """Send a signed request."""
        query = urlencode({"timestamp": int(time.time() * 1000), "recvWindow": 10_000, **params})
        return await self._send(method, path, f"{query}&signature={self._sign(query)}")

    def message(self, request_id: str, method: str, **params: Any) -> dict[str, Any]:
        """Return a signed request of the WebSocket API."""
        values = {"timestamp": int(time.time() * 1000), "apiKey": self.endpoints.api_key, **params}
        payload = "&".join(f"{name}={values[name]}" for name in sorted(values))
        return {"id": request_id, "method": method, "params": {**values, "signature": self._sign(payload)}}

    async def _send(self, method: str, path: str, query: str) -> Reply:
        place = path if path.startswith("/") else f"/api/v3/{path}"
        headers = {"X-MBX-APIKEY": self.endpoints.api_key}
        async with self.session.request(method, f"{self.endpoints.rest}{place}?{query}", headers=headers) as response:
            json = response.content_type == "application/json"
            return Reply(response.status, await (response.json() if json else response.text()), response.headers)

    def _sign(self, text: str) -> str:
        return hmac.new(self.endpoints.api_secret.encode(), text.encode(), hashlib.sha256).hexdigest()


@asynccontextmanager
async def raw_client(folder: Path, **options: Any) -> AsyncIterator[RawClient]:
    """Yield a client of an exchange of its own."""
    process = PracticeProcess(data_dir=folder, **options)
    endpoints = await asyncio.to_thread(process.start)
    try:
        async with raw_client_of(endpoints) as client:
            yield client
    finally:
        await asyncio.to_thread(process.stop)


@asynccontextmanager
async def raw_client_of(endpoints: PracticeEndpoints, timeout_s: float = 20.0) -> AsyncIterator[RawClient]:
    """Yield a client of an exchange that runs."""
    control = PracticeControl(endpoints)
    try:
        # aiohttp itself repeats a GET or DELETE once whose connection broke.
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session:
            yield RawClient(endpoints, control, session)
    finally:
        await control.close()


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
