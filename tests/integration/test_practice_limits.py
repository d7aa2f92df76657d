"""The announced request limits over real sockets: counted in every answer, enforced, and raised for benches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest

from core.errors import UserError
from core.practice.process import PracticeProcess
from tests.integration.practice_clients import RawClient, raw_client, rest_client

ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.001",
    "price": "30000",
}


async def resting(client: RawClient) -> dict[str, Any]:
    """Return the parameters of an order far from the market."""
    last = float((await client.request("GET", "ticker/price", symbol="BTCUSDT")).body["price"])
    return {**ORDER, "price": f"{last * 0.5:.2f}"}


async def within_one_interval(client: RawClient, seconds: int, room: float) -> None:
    """Wait until the server's interval has room for what follows."""
    now = (await client.request("GET", "time")).body["serverTime"] / 1000
    if seconds - now % seconds < room:
        await asyncio.sleep(seconds - now % seconds + 0.1)


async def test_every_answer_tells_what_was_used(tmp_path: Path) -> None:
    async with raw_client(tmp_path) as client:
        announced = (await client.request("GET", "exchangeInfo")).body["rateLimits"]
        assert [(row["rateLimitType"], row["limit"]) for row in announced] == [
            ("REQUEST_WEIGHT", 6_000),
            ("ORDERS", 100),
            ("ORDERS", 200_000),
        ]
        order = await resting(client)
        await within_one_interval(client, 60, 5)
        await within_one_interval(client, 10, 5)
        start = int((await client.request("GET", "ping")).headers["X-MBX-USED-WEIGHT-1M"])
        assert (await client.signed("GET", "account")).headers["X-MBX-USED-WEIGHT-1M"] == str(start + 20)
        placed = await client.signed("POST", "order", **order)
        assert placed.headers["X-MBX-USED-WEIGHT-1M"] == str(start + 21)
        assert (placed.headers["X-MBX-ORDER-COUNT-10S"], placed.headers["X-MBX-ORDER-COUNT-1D"]) == ("1", "1")
        refused = await client.signed("POST", "order", **order | {"quantity": "500"})
        assert refused.body["code"] == -2010
        assert refused.headers["X-MBX-USED-WEIGHT-1M"] == str(start + 22)
        filled = {name: ORDER[name] for name in ("symbol", "side", "quantity")} | {"type": "MARKET"}
        await client.signed("POST", "order", **filled)
        async with client.session.ws_connect(client.endpoints.ws_api) as socket:
            await socket.send_json(client.message("1", "order.place", **order))
            answer = await socket.receive_json(timeout=5)
            counts = [row["count"] for row in answer["rateLimits"]]
            assert counts == [start + 26, 2, 2]  # connecting costs 2; the filled order no longer counts
            await socket.send_json({"id": "2", "method": "depth", "params": {"symbol": "BTCUSDT", "limit": 1000}})
            answer = await socket.receive_json(timeout=5)
            assert [row["count"] for row in answer["rateLimits"]] == [start + 76]
        assert "X-MBX-USED-WEIGHT-1M" not in (await client.signed("GET", "/control/state")).headers


async def test_too_much_weight_is_refused_and_who_goes_on_is_banned(tmp_path: Path) -> None:
    async with raw_client(tmp_path, limits="0.01") as client:  # 60 weight per minute
        async with rest_client(client.endpoints) as exchange:
            await within_one_interval(client, 60, 15)
            await client.control.limits(0.01)
            replies = [await client.signed("GET", "account") for _ in range(4)]
            assert [reply.status for reply in replies] == [200, 200, 200, 429]
            assert replies[3].body["code"] == -1003
            assert 1 <= int(replies[3].headers["Retry-After"]) <= 60
            with pytest.raises(ccxt.DDoSProtection):
                await exchange.fetch_time()
            async with client.session.ws_connect(client.endpoints.ws) as socket:  # streams have no weight
                assert not socket.closed
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.session.ws_connect(client.endpoints.ws_api)
            assert refused.value.status == 429
            statuses = [(await client.request("GET", "ping")).status for _ in range(25)]
            assert statuses == sorted(statuses, reverse=True)
            assert (statuses[0], statuses[-1]) == (429, 418)
            banned = await client.request("GET", "ping")
            assert 115 <= int(banned.headers["Retry-After"]) <= 120
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.session.ws_connect(client.endpoints.ws)
            assert refused.value.status == 418
        state = await client.control.limits()
        assert state["banned_until_ms"] > 0
        assert (await client.control.limits("off"))["used"] == []
        assert (await client.request("GET", "exchangeInfo")).body["rateLimits"] == []
        assert [(await client.signed("GET", "account")).status for _ in range(10)] == [200] * 10


async def test_too_many_orders_are_refused_on_both_ways(tmp_path: Path) -> None:
    async with raw_client(tmp_path, limits="0.03") as client:  # 3 orders per 10 s
        order = await resting(client)
        await within_one_interval(client, 10, 4)
        await client.control.limits(0.03)
        async with client.session.ws_connect(client.endpoints.ws_api) as socket:
            for _ in range(2):
                assert (await client.signed("POST", "order", **order)).status == 200
            await socket.send_json(client.message("1", "order.place", **order))
            assert (await socket.receive_json(timeout=5))["status"] == 200
            refused = await client.signed("POST", "order", **order)
            assert (refused.status, refused.body["code"]) == (429, -1015)
            assert 1 <= int(refused.headers["Retry-After"]) <= 10
            await socket.send_json(client.message("2", "order.place", **order))
            answer = await socket.receive_json(timeout=5)
            assert (answer["status"], answer["error"]["code"]) == (429, -1015)
            assert answer["error"]["data"]["retryAfter"] > answer["error"]["data"]["serverTime"]
            assert len((await client.signed("GET", "openOrders", symbol="BTCUSDT")).body) == 3  # and none more
            assert (await client.signed("DELETE", "openOrders", symbol="BTCUSDT")).status == 200  # cancels always pass


async def test_odd_limits_are_refused(tmp_path: Path) -> None:
    broken = PracticeProcess(data_dir=tmp_path, limits="loose")
    with pytest.raises(UserError, match="limits 'loose'"):
        await asyncio.to_thread(broken.start)
    async with raw_client(tmp_path) as client:
        with pytest.raises(UserError, match="limits"):
            await client.control.limits("loose")
        assert (await client.control.limits(100))["limits"] == 100
