"""Faults of requests over real sockets: what a client sees, and what the exchange then really holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import ccxt
import pytest

from core.errors import UserError
from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from tests.integration.practice_clients import RawClient, pro_client, raw_client, raw_client_of, rest_client

SYMBOL = "BTC/USDT"
CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    process = PracticeProcess(data_dir=tmp_path_factory.mktemp("faults"), balance="1000000", limits="off")
    try:
        yield process.start()
    finally:
        assert process.stop() == 0


@pytest.fixture
async def client(running: PracticeEndpoints) -> AsyncIterator[RawClient]:
    async with raw_client_of(running) as found:
        yield found
        await found.control.clear_faults()
        await found.signed("DELETE", "openOrders", symbol="BTCUSDT")


def new_id() -> str:
    return f"t-{uuid4().hex[:20]}"


async def limit_order(client: RawClient, client_id: str, share: float = 0.8) -> dict[str, Any]:
    """Return the parameters of a small limit buy at a share of the last price."""
    last = float((await client.request("GET", "ticker/price", symbol="BTCUSDT")).body["price"])
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
    return {**order, "price": f"{last * share:.2f}", "newClientOrderId": client_id}


async def known(client: RawClient, client_id: str) -> dict[str, Any] | None:
    """Return the order as the exchange has it, or None."""
    reply = await client.signed("GET", "order", symbol="BTCUSDT", origClientOrderId=client_id)
    return None if reply.body.get("code") == -2013 else dict(reply.body)


async def fired(client: RawClient) -> list[int]:
    return [fault["fired"] for fault in (await client.control.faults())["faults"]]


async def ask(client: RawClient, socket: aiohttp.ClientWebSocketResponse, method: str, **params: Any) -> dict[str, Any]:
    await socket.send_json(client.message("q", method, **params))
    return dict(await socket.receive_json(timeout=5))


# --- answers that do not come -------------------------------------------------------------------------------------


async def test_an_acknowledgement_is_lost_and_the_order_is_there(client: RawClient) -> None:
    await client.control.arm_faults("lost-ack:order,next=1")
    lost, kept = new_id(), new_id()
    with pytest.raises(CUT):
        await client.signed("POST", "order", **await limit_order(client, lost))
    placed = await known(client, lost)
    assert placed is not None
    assert placed["status"] == "NEW"
    assert (await client.signed("POST", "order", **await limit_order(client, kept))).status == 200
    assert await fired(client) == [1]


async def test_a_request_is_lost_and_nothing_happened(client: RawClient) -> None:
    await client.control.arm_faults("lost:order,next=1;lost:cancel,next=2")
    lost, kept = new_id(), new_id()
    with pytest.raises(CUT):
        await client.signed("POST", "order", **await limit_order(client, lost))
    assert await known(client, lost) is None
    await client.signed("POST", "order", **await limit_order(client, kept))
    with pytest.raises(CUT):
        await client.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId=kept)
    order = await known(client, kept)
    assert order is not None
    assert order["status"] == "NEW"
    assert await fired(client) == [1, 2]  # aiohttp repeats a DELETE by itself, but never a POST


@pytest.mark.parametrize(("kind", "there"), [("lost-ack", True), ("lost", False)])
async def test_no_answer_until_the_client_gives_up(running: PracticeEndpoints, kind: str, there: bool) -> None:
    async with raw_client_of(running, 0.6) as client:
        await client.control.arm_faults(f"{kind}:order,next=1,how=silent")
        name = new_id()
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await client.signed("POST", "order", **await limit_order(client, name))
        assert time.monotonic() - begun > 0.5
        assert (await known(client, name) is not None) is there
        await client.control.clear_faults()


async def test_both_reach_the_websocket_api(client: RawClient) -> None:
    first, second, third = new_id(), new_id(), new_id()
    await client.control.arm_faults("lost-ack:order,next=1;lost-ack:order,next=1,how=silent;lost:order,next=1,skip=1")
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        await socket.send_json(client.message("1", "order.place", **await limit_order(client, first)))
        assert (await socket.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert await known(client, first) is not None
    await client.control.clear_faults()
    await client.control.arm_faults("lost-ack:order,next=1,how=silent;lost:order,next=1,skip=1")
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        await socket.send_json(client.message("2", "order.place", **await limit_order(client, second)))
        assert (await ask(client, socket, "time"))["id"] == "q"  # the next answer overtakes the one that never comes
        assert await known(client, second) is not None
        await socket.send_json(client.message("3", "order.place", **await limit_order(client, third)))
        assert (await socket.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert await known(client, third) is None


async def test_ccxt_sees_a_network_failure(client: RawClient) -> None:
    async with rest_client(client.endpoints) as exchange:
        await exchange.load_markets()
        price = (await exchange.fetch_ticker(SYMBOL))["last"] * 0.8
        await client.control.arm_faults("lost-ack:order,next=1")
        name = new_id()
        with pytest.raises(ccxt.NetworkError):
            await exchange.create_order(SYMBOL, "limit", "buy", 0.001, price, {"newClientOrderId": name})
        assert await known(client, name) is not None
    async with pro_client(client.endpoints) as exchange:
        await exchange.load_markets()
        await client.control.clear_faults()
        await client.control.arm_faults("lost-ack:order,next=1")
        name = new_id()
        with pytest.raises(ccxt.NetworkError):
            await exchange.create_order_ws(SYMBOL, "limit", "buy", 0.001, price, {"newClientOrderId": name})
        assert await known(client, name) is not None


# --- error answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
@pytest.mark.parametrize("code", [0, -1000, -1006, -1007])
async def test_5xx_before_and_after_the_order_is_accepted(client: RawClient, code: int, when: str, there: bool) -> None:
    shape = f"code={code}" if code else "status=503"
    await client.control.arm_faults(f"error:order,{shape},when={when},next=2")
    by_rest, by_socket = new_id(), new_id()
    reply = await client.signed("POST", "order", **await limit_order(client, by_rest))
    assert reply.status == 503
    assert (reply.body["code"] == code) if code else isinstance(reply.body, str)
    assert (await known(client, by_rest) is not None) is there
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        answer = await ask(client, socket, "order.place", **await limit_order(client, by_socket))
    assert (answer["status"], answer["error"]["code"]) == (503, code or -1000)
    assert (await known(client, by_socket) is not None) is there
    assert await fired(client) == [2]


async def test_every_refusal_has_the_venues_shape(client: RawClient) -> None:
    expected = {-1003: 429, -1015: 429, -1021: 400, -2010: 400, -2015: 401, -1008: 503}
    for code, status in expected.items():
        await client.control.clear_faults()
        await client.control.arm_faults(f"error:order,code={code},retry=7s")
        name = new_id()
        reply = await client.signed("POST", "order", **await limit_order(client, name))
        assert (reply.status, reply.body["code"]) == (status, code)
        assert reply.headers["Retry-After"] == "7"
        assert await known(client, name) is None
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        answer = await ask(client, socket, "order.place", **await limit_order(client, new_id()))
    assert answer["error"]["data"]["retryAfter"] - answer["error"]["data"]["serverTime"] == 7_000


async def test_ccxt_takes_them_for_what_they_are(client: RawClient) -> None:
    async with rest_client(client.endpoints) as exchange:
        await exchange.load_markets()
        for spec, kind in {
            "error:account,code=-1003,retry=1s": ccxt.DDoSProtection,
            "error:account,code=-1021": ccxt.InvalidNonce,
            "error:account,code=-2015": ccxt.AuthenticationError,
            "error:account,status=503": ccxt.ExchangeNotAvailable,
            "error:account,code=-1007": ccxt.RequestTimeout,
            "ban,for=30s": ccxt.DDoSProtection,
            "maintenance,for=30s": ccxt.ExchangeNotAvailable,
        }.items():
            await client.control.clear_faults()
            await client.control.arm_faults(spec)
            with pytest.raises(kind):
                await exchange.fetch_balance()


@pytest.mark.parametrize(
    ("operation", "method", "path", "params"),
    [
        ("time", "GET", "time", {}),
        ("depth", "GET", "depth", {"symbol": "BTCUSDT"}),
        ("klines", "GET", "klines", {"symbol": "BTCUSDT", "interval": "1m"}),
        ("account", "GET", "account", {}),
        ("openOrders", "GET", "openOrders", {"symbol": "BTCUSDT"}),
        ("myTrades", "GET", "myTrades", {"symbol": "BTCUSDT"}),
        ("query", "GET", "order", {"symbol": "BTCUSDT", "orderId": "1"}),
        ("apiRestrictions", "GET", "/sapi/v1/account/apiRestrictions", {}),
    ],
)
async def test_each_operation_is_struck_by_its_name(
    client: RawClient, operation: str, method: str, path: str, params: dict[str, Any]
) -> None:
    await client.control.arm_faults(f"error:{operation},status=500,next=1")
    assert (await client.request("GET", "ping")).status == 200
    send = client.request if operation in ("time", "depth", "klines") else client.signed
    assert (await send(method, path, **params)).status == 500
    assert (await send(method, path, **params)).status != 500


# --- the whole server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "status"), [("ban,for=3s", 418), ("maintenance,for=3s", 503)])
async def test_while_closed_everything_but_control_is_refused(client: RawClient, spec: str, status: int) -> None:
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        await client.control.arm_faults(spec)
        for reply in (
            await client.request("GET", "ping"),
            await client.signed("POST", "order", symbol="BTCUSDT"),
            await client.signed("GET", "/sapi/v1/account/apiRestrictions"),
        ):
            assert reply.status == status
            assert 1 <= int(reply.headers["Retry-After"]) <= 3
        for address in (client.endpoints.ws_api, client.endpoints.ws):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.session.ws_connect(address)
            assert refused.value.status == status
        assert (await ask(client, socket, "account.status"))["status"] == status
        assert (await client.control.state()).market
        assert sum(await fired(client)) == 6
        await asyncio.sleep(3.0)
        assert (await client.request("GET", "ping")).status == 200
        assert (await ask(client, socket, "account.status"))["status"] == 200


async def test_the_servers_clock_is_wrong(client: RawClient) -> None:
    await client.control.arm_faults("skew,ms=-30000")
    shown = (await client.request("GET", "time")).body["serverTime"]
    assert abs(shown - (time.time() * 1000 - 30_000)) < 2_000
    refused = await client.signed("GET", "account")
    assert (refused.status, refused.body["code"]) == (400, -1021)
    name = new_id()
    params = await limit_order(client, name)
    placed = await client.signed("POST", "order", **params, timestamp=shown + 500)
    assert placed.status == 200
    assert abs(placed.body["transactTime"] - shown) < 5_000
    assert (await client.control.faults())["skew_ms"] == -30_000
    await client.control.clear_faults()
    await client.control.arm_faults("skew,ms=30000")
    assert (await client.signed("GET", "account")).body["code"] == -1021  # too old now
    await client.control.clear_faults()
    assert (await client.signed("GET", "account")).status == 200


async def test_ccxt_follows_a_wrong_clock(client: RawClient) -> None:
    await client.control.arm_faults("skew,ms=-30000")
    async with rest_client(client.endpoints) as exchange:
        await exchange.load_markets()
        with pytest.raises(ccxt.InvalidNonce):
            await exchange.fetch_balance()
        await exchange.load_time_difference()
        assert (await exchange.fetch_balance())["USDT"]["total"] > 0


async def test_an_answer_is_delayed_and_a_request_arrives_late(client: RawClient) -> None:
    await client.control.arm_faults("delay:order,ms=500,next=1")
    name = new_id()
    params = await limit_order(client, name)
    begun = time.monotonic()
    waiting = asyncio.ensure_future(client.signed("POST", "order", **params))
    await asyncio.sleep(0.25)
    assert await known(client, name) is not None  # already carried out
    assert not waiting.done()
    assert (await waiting).status == 200
    assert time.monotonic() - begun > 0.45

    await client.control.arm_faults("delay:order,ms=900,when=before,next=2")
    late, too_late = new_id(), new_id()
    params = await limit_order(client, late)
    waiting = asyncio.ensure_future(client.signed("POST", "order", **params))
    await asyncio.sleep(0.3)
    assert await known(client, late) is None
    assert (await waiting).status == 200
    assert await known(client, late) is not None
    params = await limit_order(client, too_late)
    refused = await client.signed("POST", "order", **params, recvWindow=500)
    assert refused.body["code"] == -1021
    assert await known(client, too_late) is None


async def test_a_delayed_request_arrives_although_its_client_has_gone(client: RawClient) -> None:
    await client.control.arm_faults("delay:order,ms=600,when=before,next=2")
    by_rest, by_socket = new_id(), new_id()
    params = await limit_order(client, by_rest)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.signed("POST", "order", **params), 0.2)
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        await socket.send_json(client.message("1", "order.place", **await limit_order(client, by_socket)))
        assert (await ask(client, socket, "time"))["status"] == 200  # nobody else waits for it
    assert await known(client, by_socket) is None
    await asyncio.sleep(0.8)
    assert await known(client, by_rest) is not None
    assert await known(client, by_socket) is not None


# --- queries that lag ---------------------------------------------------------------------------------------------


async def test_an_order_is_unknown_to_queries_for_a_while(client: RawClient) -> None:
    await client.control.arm_faults("lag:query+openOrders,ms=700,next=1")
    name = new_id()
    assert (await client.signed("POST", "order", **await limit_order(client, name))).body["status"] == "NEW"
    assert await known(client, name) is None
    assert (await client.signed("GET", "openOrders", symbol="BTCUSDT")).body == []
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        answer = await ask(client, socket, "order.status", symbol="BTCUSDT", origClientOrderId=name)
        assert answer["error"]["code"] == -2013
        assert (await ask(client, socket, "openOrders.status", symbol="BTCUSDT"))["result"] == []
    listed = (await client.signed("GET", "allOrders", symbol="BTCUSDT")).body
    assert listed[-1]["clientOrderId"] == name  # was not chosen
    await asyncio.sleep(0.8)
    assert await known(client, name) is not None
    assert len((await client.signed("GET", "openOrders", symbol="BTCUSDT")).body) == 1
    other = new_id()
    await client.signed("POST", "order", **await limit_order(client, other))
    assert await known(client, other) is not None  # only the next one lagged


async def test_own_trades_lag(client: RawClient) -> None:
    await client.control.arm_faults("lag:myTrades,ms=700,next=1")
    placed = await client.signed("POST", "order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002")
    number = placed.body["orderId"]
    assert placed.body["status"] == "FILLED"
    assert (await client.signed("GET", "myTrades", symbol="BTCUSDT", orderId=number)).body == []
    assert (await client.signed("GET", "order", symbol="BTCUSDT", orderId=number)).body["status"] == "FILLED"
    await asyncio.sleep(0.8)
    assert len((await client.signed("GET", "myTrades", symbol="BTCUSDT", orderId=number)).body) >= 1


# --- fills, and what others do ------------------------------------------------------------------------------------


async def test_partial_fills(client: RawClient) -> None:
    await client.control.arm_faults("partial:BTCUSDT,lots=100")
    name = new_id()
    part = await client.signed("POST", "order", **await limit_order(client, name, 1.01) | {"timeInForce": "IOC"})
    order = await known(client, name)
    assert order is not None
    assert (order["status"], order["executedQty"]) == ("FILLED", "0.00100000")  # as many as it wanted
    big = await limit_order(client, new_id(), 1.01) | {"quantity": "0.005"}
    part = await client.signed("POST", "order", **big | {"timeInForce": "IOC"})
    assert (part.body["status"], part.body["executedQty"]) == ("EXPIRED", "0.00100000")
    resting = await client.signed("POST", "order", **big | {"newClientOrderId": new_id()})
    assert (resting.body["status"], resting.body["executedQty"]) == ("PARTIALLY_FILLED", "0.00100000")


async def test_the_market_trades_and_somebody_else_acts_while_the_client_is_cut_off(client: RawClient) -> None:
    control = client.control
    name = new_id()
    async with client.session.ws_connect(client.endpoints.ws_api) as socket:
        assert (await ask(client, socket, "userDataStream.subscribe.signature"))["status"] == 200
        placed = await client.signed("POST", "order", **await limit_order(client, name))
        assert (await socket.receive_json(timeout=5))["event"]["x"] == "NEW"
        await socket.receive_json(timeout=5)  # the balance
        await control.arm_faults("refuse:user")
        assert await control.disconnect("user") == 1
        assert (await socket.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.session.ws_connect(client.endpoints.ws_api)
    assert refused.value.status == 503
    shown = await control.trade_against("BTCUSDT", client_id=name, quantity=Decimal("0.0004"))
    assert (shown["status"], shown["executedQty"]) == ("PARTIALLY_FILLED", "0.00040000")
    number = placed.body["orderId"]
    (fill,) = (await client.signed("GET", "myTrades", symbol="BTCUSDT", orderId=number)).body
    assert (fill["qty"], fill["price"], fill["isMaker"]) == ("0.00040000", placed.body["price"], True)

    foreign = await control.place_foreign(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.0003")
    assert foreign["status"] == "FILLED"
    assert foreign["clientOrderId"].startswith("web_")
    cancelled = await control.cancel_foreign("BTCUSDT", client_id=name)
    assert cancelled["status"] == "CANCELED"
    order = await known(client, name)
    assert order is not None
    assert (order["status"], order["executedQty"]) == ("CANCELED", "0.00040000")
    with pytest.raises(UserError, match="Unknown order"):
        await control.trade_against("BTCUSDT", client_id=name)
    with pytest.raises(UserError, match="Mandatory parameter"):
        await control.place_foreign(symbol="BTCUSDT")
    await control.clear_faults()
    async with client.session.ws_connect(client.endpoints.ws_api):
        pass


# --- arming -------------------------------------------------------------------------------------------------------


async def test_faults_never_touch_control_and_are_refused_clearly(client: RawClient) -> None:
    with pytest.raises(UserError, match="no fault named 'explode'"):
        await client.control.arm_faults("explode:order")
    with pytest.raises(UserError, match="no fault with the id 99"):
        await client.control.clear_faults(99)
    armed = await client.control.arm_faults("lost:*;maintenance;seed=4")
    assert [fault["id"] for fault in armed["faults"]] == [1, 2]
    assert (await client.control.state()).market
    assert await client.control.burst(10, 0.1) == 1
    await client.control.clear_faults(2)
    with pytest.raises(CUT):
        await client.request("GET", "ping")
    (left,) = (await client.control.faults())["faults"]
    assert (left["spec"], left["fired"], left["active"]) == ("lost", 2, True)  # aiohttp asked twice
    headers = {"Authorization": f"Bearer {client.endpoints.token}"}
    body = {"rules": [{"kind": "delay", "targets": ["time"], "ms": 5, "p": 0.5}], "seed": 3}
    async with client.session.post(f"{client.endpoints.control}/faults", headers=headers, json=body) as response:
        assert (await response.json())["faults"][1]["p"] == 0.5
    async with client.session.post(f"{client.endpoints.control}/faults", json=body) as response:
        assert response.status == 401


async def test_the_same_seed_strikes_the_same_requests(client: RawClient) -> None:
    async def outcomes(seed: int) -> list[int]:
        await client.control.clear_faults()
        await client.control.arm_faults(f"seed={seed};error:time,status=500,p=0.4")
        return [(await client.request("GET", "time")).status for _ in range(30)]

    first = await outcomes(11)
    assert {200, 500} == set(first)
    assert await outcomes(11) == first
    assert await outcomes(12) != first


async def test_faults_from_the_command_line(tmp_path: Path) -> None:
    async with raw_client(tmp_path, faults="lost-ack:order,next=1;skew,ms=200") as client:
        armed = await client.control.faults()
        assert [fault["spec"] for fault in armed["faults"]] == ["lost-ack:order,next=1", "skew,ms=200"]
        name = new_id()
        with pytest.raises(CUT):
            await client.signed("POST", "order", **await limit_order(client, name))
        assert await known(client, name) is not None
    broken = PracticeProcess(data_dir=tmp_path, faults="lost:everything")
    with pytest.raises(UserError, match="cannot strike 'everything'"):
        await asyncio.to_thread(broken.start)
