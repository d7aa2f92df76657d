"""Faults of streams over real sockets: what arrives, in which order, and what the exchange knows all the same."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt
import pytest

from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from tests.integration.practice_clients import RawClient, pro_client, raw_client_of

TRADES = "solusdt@trade"
BUY: dict[str, Any] = {"symbol": "SOLUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
GONE = (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    process = PracticeProcess(data_dir=tmp_path_factory.mktemp("streams"), balance="1000000", limits="off")
    try:
        yield process.start()
    finally:
        assert process.stop() == 0


@pytest.fixture
async def client(running: PracticeEndpoints) -> AsyncIterator[RawClient]:
    async with raw_client_of(running) as found:
        yield found
        await found.control.clear_faults()


@asynccontextmanager
async def market(client: RawClient, *names: str) -> AsyncIterator[Socket]:
    async with client.session.ws_connect(client.endpoints.ws) as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": list(names or (TRADES,)), "id": 1})
        assert await socket.receive_json(timeout=5) == {"result": None, "id": 1}
        yield socket


@asynccontextmanager
async def account(client: RawClient) -> AsyncIterator[Socket]:
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        await socket.send_json(client.message("1", "userDataStream.subscribe.signature"))
        assert (await socket.receive_json(timeout=5))["status"] == 200
        yield socket


async def numbers(socket: Socket, count: int) -> list[int]:
    """Return the ids of the next trades."""
    return [int((await socket.receive_json(timeout=10))["t"]) for _ in range(count)]


async def events(socket: Socket, count: int) -> list[str]:
    """Return the next account events: execution types, or "balance"."""
    found = [(await socket.receive_json(timeout=5))["event"] for _ in range(count)]
    return [event["x"] if event["e"] == "executionReport" else "balance" for event in found]


async def published(client: RawClient, first: int, count: int) -> list[int]:
    """Return the ids that the market really traded, from one on."""
    reply = await client.request("GET", "aggTrades", symbol="SOLUSDT", fromId=first, limit=count)
    return [row["a"] for row in reply.body]


async def silent(socket: Socket, seconds: float) -> bool:
    try:
        await asyncio.wait_for(socket.receive(), seconds)
    except TimeoutError:
        return True
    return False


# --- the market ---------------------------------------------------------------------------------------------------


async def test_frames_are_dropped_and_only_those_of_the_named_stream(client: RawClient) -> None:
    await client.control.arm_faults(f"drop:{TRADES},skip=3,next=5")
    async with market(client, "solusdt@aggTrade") as other, market(client) as socket:
        await client.control.burst(200, 0.2, "SOLUSDT")
        seen = await numbers(socket, 20)
        traded = await published(client, seen[0], 25)
        assert seen == traded[:3] + traded[8:25]
        whole: list[int] = []
        while len(whole) < 25:  # the other one has listened for longer
            number = (await other.receive_json(timeout=5))["a"]
            whole += [number] if number >= seen[0] else []
        assert whole == traded
    (shown,) = (await client.control.faults())["faults"]
    assert shown["fired"] == 5


async def test_chance_is_seeded(client: RawClient) -> None:
    patterns = []
    for _ in range(2):
        await client.control.clear_faults()
        await client.control.arm_faults(f"seed=3;drop:{TRADES},p=0.5,skip=1")  # the first one is seen
        async with market(client) as socket:
            await client.control.burst(200, 0.4, "SOLUSDT")
            seen = await numbers(socket, 20)
            traded = await published(client, seen[0], 200)
            patterns.append([number in seen for number in traded[: traded.index(seen[-1]) + 1]])
    assert patterns[0] == patterns[1]
    assert 0.2 < sum(patterns[0]) / len(patterns[0]) < 0.8


@pytest.mark.parametrize(
    ("spec", "order"),
    [
        ("duplicate:{},skip=1,next=1", [0, 1, 1, 2, 3]),
        ("reorder:{},skip=1,next=1", [0, 2, 1, 3]),
        ("reorder:{},skip=1,next=2", [0, 3, 1, 2, 4]),
    ],
)
async def test_frames_are_doubled_and_reordered(client: RawClient, spec: str, order: list[int]) -> None:
    await client.control.arm_faults(spec.format(TRADES))
    async with market(client) as socket:
        await client.control.burst(100, 0.2, "SOLUSDT")
        seen = await numbers(socket, len(order))
        traded = await published(client, seen[0], 10)
        assert seen == [traded[place] for place in order]


async def test_a_frame_that_nothing_overtakes_comes_after_its_time(client: RawClient) -> None:
    async with account(client) as socket:
        await client.control.arm_faults("reorder:user@outbound*,ms=400,next=1")
        begun = time.monotonic()
        await client.signed("POST", "order", **BUY)
        assert await events(socket, 2) == ["NEW", "TRADE"]
        assert await events(socket, 1) == ["balance"]
        assert time.monotonic() - begun > 0.35


async def test_frames_are_late(client: RawClient) -> None:
    await client.control.arm_faults(f"late:{TRADES},ms=700,skip=1,next=1")
    async with market(client) as socket:
        begun = time.monotonic()
        await client.control.burst(100, 1.0, "SOLUSDT")
        seen = []
        while not seen or seen[-1] >= max(seen):
            seen += await numbers(socket, 1)
        assert time.monotonic() - begun > 0.65
        traded = await published(client, seen[0], 200)
        assert seen[-1] == traded[1]
        assert seen[:-1] == [traded[0], *traded[2 : len(seen)]]


async def test_connections_are_cut_refused_and_ended(client: RawClient) -> None:
    await client.control.arm_faults("cut:*@trade,skip=2,next=1")
    async with market(client) as socket, market(client, "solusdt@kline_1m") as bars:
        await client.control.burst(100, 0.2, "SOLUSDT")
        await numbers(socket, 2)
        assert (await socket.receive(timeout=5)).type in GONE
        await bars.receive_json(timeout=5)
    await client.control.clear_faults()
    await client.control.arm_faults("refuse:market,next=1")
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await client.session.ws_connect(client.endpoints.ws)
    async with market(client) as trades, market(client, "solusdt@kline_1m") as bars, account(client) as orders:
        assert await client.control.disconnect("*@trade", how="close") == 1
        while (message := await trades.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await bars.receive_json(timeout=5)
        assert await client.control.disconnect("market") == 1
        while (message := await bars.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type in GONE
        await client.signed("POST", "order", **BUY)
        assert await events(orders, 1) == ["NEW"]


async def watch_until_it_fails(exchange: Any) -> None:
    while True:
        await asyncio.wait_for(exchange.watch_trades("SOL/USDT"), 10)


async def test_ccxt_loses_its_stream_and_comes_back(client: RawClient) -> None:
    async with pro_client(client.endpoints) as exchange:
        await exchange.load_markets()
        await client.control.burst(50, 5, "SOLUSDT")
        await asyncio.wait_for(exchange.watch_trades("SOL/USDT"), 10)
        await client.control.disconnect("market")
        with pytest.raises(ccxt.NetworkError):
            await watch_until_it_fails(exchange)
        assert await asyncio.wait_for(exchange.watch_trades("SOL/USDT"), 10)


async def test_a_wrong_clock_is_told_but_neither_moves_the_market_nor_stops_the_streams(client: RawClient) -> None:
    await client.control.arm_faults("skew,ms=-60000")
    async with market(client, "solusdt@miniTicker", "solusdt@bookTicker", "solusdt@depth@100ms") as socket:
        await client.control.burst(20, 3, "SOLUSDT")
        seen = [await socket.receive_json(timeout=3) for _ in range(12)]
    stamps = [event["E"] for event in seen if "E" in event]
    now = time.time() * 1000
    assert stamps
    assert all(abs(now - 60_000 - stamp) < 5_000 for stamp in stamps)
    state = await client.control.state()
    assert abs(state.server_time_ms - (time.time() * 1000 - 60_000)) < 2_000
    assert abs(state.market_time_ms - time.time() * 1000) < 2_000


# --- a client that is too slow ------------------------------------------------------------------------------------


async def test_a_stalled_socket_delivers_afterwards(client: RawClient) -> None:
    async with market(client) as socket, account(client) as orders:
        await client.control.burst(50, 0.1, "SOLUSDT")
        first = (await numbers(socket, 1))[0]
        await client.control.arm_faults(f"stall:{TRADES},for=1s")
        begun = time.monotonic()
        await client.control.burst(100, 0.3, "SOLUSDT")
        await client.signed("POST", "order", **BUY)
        assert (await events(orders, 1)) == ["NEW"]  # others are not held up
        seen = [first]
        while len(seen) < 34:
            seen += await numbers(socket, 1)
        assert time.monotonic() - begun > 0.95
        assert seen == (await published(client, first, 200))[: len(seen)]  # late, and none is missing


async def test_a_stalled_socket_answers_neither_pings_nor_requests(client: RawClient) -> None:
    async with client.session.ws_connect(client.endpoints.ws_api, autoping=False) as socket:
        await socket.ping(b"before")
        pong = await socket.receive(timeout=5)
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"before")
        await client.control.arm_faults("stall:user,for=1s")
        await socket.ping(b"during")
        await socket.send_json(client.message("1", "order.place", **BUY))
        assert (await client.request("GET", "ping")).status == 200
        begun = time.monotonic()
        answer = await socket.receive_json(timeout=5)
        assert time.monotonic() - begun > 0.7
        assert answer["result"]["status"] == "FILLED"
        await socket.ping(b"after")
        assert (await socket.receive(timeout=5)).data == b"after"


async def test_a_slow_client_is_disconnected(client: RawClient) -> None:
    async with market(client) as socket, market(client, "solusdt@aggTrade") as other:
        await client.control.arm_faults("slow:*@trade,size=5;stall:*@trade,for=10s")
        begun = time.monotonic()
        await client.control.burst(500, 0.1, "SOLUSDT")
        while (message := await socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            pass  # from before it stalled
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
        assert time.monotonic() - begun < 5  # not only when the stall is over
        await other.receive_json(timeout=5)
        assert [fault["fired"] for fault in (await client.control.faults())["faults"]] == [1, 1]


# --- the account --------------------------------------------------------------------------------------------------


async def test_a_gap_in_the_account_stream(client: RawClient) -> None:
    async with account(client) as socket, market(client) as trades:
        await client.control.arm_faults("drop:user,for=1s")
        placed = await client.signed("POST", "order", **BUY)
        assert placed.body["status"] == "FILLED"
        assert (await trades.receive_json(timeout=5))["s"] == "SOLUSDT"  # the market goes on
        assert await silent(socket, 1.2)
        assert not socket.closed
        after = await client.signed("POST", "order", **BUY)
        report = (await socket.receive_json(timeout=5))["event"]
        assert (report["x"], report["i"]) == ("NEW", after.body["orderId"])
        (shown,) = (await client.control.faults())["faults"]
        assert (shown["fired"], shown["active"]) == (3, False)


async def test_single_kinds_of_account_events(client: RawClient) -> None:
    async with account(client) as socket:
        await client.control.arm_faults("drop:user@executionReport,skip=1,next=1")
        await client.signed("POST", "order", **BUY)
        assert await events(socket, 2) == ["NEW", "balance"]


async def test_account_events_out_of_order_and_twice(client: RawClient) -> None:
    async with account(client) as socket:
        await client.control.arm_faults("reorder:user,next=1")
        await client.signed("POST", "order", **BUY)
        assert await events(socket, 3) == ["TRADE", "NEW", "balance"]
        await client.control.clear_faults()
        await client.control.arm_faults("duplicate:user@executionReport,skip=1,next=1")
        await client.signed("POST", "order", **BUY)
        assert await events(socket, 4) == ["NEW", "TRADE", "TRADE", "balance"]


async def test_the_connection_is_cut_in_place_of_an_event(client: RawClient) -> None:
    async with account(client) as socket:
        await client.control.arm_faults("cut:user,skip=1,next=1")
        placed = await client.signed("POST", "order", **BUY)
        assert placed.body["status"] == "FILLED"
        assert await events(socket, 1) == ["NEW"]
        assert (await socket.receive(timeout=5)).type in GONE
    fills = await client.signed("GET", "myTrades", symbol="SOLUSDT", orderId=placed.body["orderId"])
    assert len(fills.body) >= 1


async def test_ccxt_misses_what_was_dropped(client: RawClient) -> None:
    async with pro_client(client.endpoints) as exchange:
        await exchange.load_markets()
        watching = asyncio.ensure_future(exchange.watch_orders("SOL/USDT"))
        await asyncio.sleep(0.5)
        await client.control.arm_faults("drop:user@executionReport")
        missed = await exchange.create_order("SOL/USDT", "market", "buy", 0.1)
        await asyncio.sleep(0.3)
        assert not watching.done()
        await client.control.clear_faults()
        seen = await exchange.create_order("SOL/USDT", "market", "buy", 0.1)
        assert (await asyncio.wait_for(watching, 10))[-1]["id"] == seen["id"]
        assert (await exchange.fetch_order(missed["id"], "SOL/USDT"))["status"] == "closed"


async def test_answers_to_requests_are_no_frames(client: RawClient) -> None:
    await client.control.arm_faults("drop:*;cut:*")
    async with market(client) as socket, account(client):
        await socket.send_str(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 2}))
        assert (await socket.receive_json(timeout=5))["result"] == [TRADES]
