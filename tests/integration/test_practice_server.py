"""The practice exchange as a process: persistence, safety on loopback, streams, control, clear failures."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from app.commands.root import run_cli
from core.errors import UserError
from core.practice.control import PracticeControl, PracticeEndpoints, follow_clock
from core.practice.control import PracticeMarketClock as MarketClock
from core.practice.process import PracticeProcess

MAIN = Path(__file__).resolve().parents[2] / "main.py"


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[tuple[PracticeEndpoints, aiohttp.ClientSession]]:
    process = PracticeProcess(data_dir=folder, **options)
    endpoints = await asyncio.to_thread(process.start)
    try:
        async with aiohttp.ClientSession() as session:
            yield endpoints, session
    finally:
        await asyncio.to_thread(process.stop)


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    """One exchange for the tests that leave no trace in its account."""
    process = PracticeProcess(data_dir=tmp_path_factory.mktemp("lively"), speed="60")
    try:
        yield process.start()
    finally:
        assert process.stop() == 0


async def call(
    session: aiohttp.ClientSession, endpoints: PracticeEndpoints, method: str, path: str, **params: Any
) -> Any:
    """Send a signed request and return the JSON answer."""
    query = urlencode({**params, "timestamp": int(time.time() * 1000), "recvWindow": 10_000})
    signature = hmac.new(endpoints.api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    url = f"{endpoints.rest}/api/v3/{path}?{query}&signature={signature}"
    async with session.request(method, url, headers={"X-MBX-APIKEY": endpoints.api_key}) as response:
        return await response.json()


async def public(session: aiohttp.ClientSession, endpoints: PracticeEndpoints, path: str, **params: Any) -> Any:
    async with session.get(f"{endpoints.rest}/api/v3/{path}", params=params) as response:
        return await response.json()


async def test_a_restart_finds_what_it_left(tmp_path: Path) -> None:
    order = {"symbol": "BTCUSDT", "side": "BUY"}
    async with running(tmp_path, speed="1000") as (endpoints, session):
        bought = await call(session, endpoints, "POST", "order", **order, type="MARKET", quantity="0.02")
        assert bought["status"] == "FILLED"
        price = float(bought["fills"][0]["price"])
        resting = await call(
            session,
            endpoints,
            "POST",
            "order",
            **order,
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.001",
            price=f"{price * 0.5:.2f}",
            newClientOrderId="rest-1",
        )
        assert resting["status"] == "NEW"
        account = await call(session, endpoints, "GET", "account")
        trades = await call(session, endpoints, "GET", "myTrades", symbol="BTCUSDT")
        own = await public(session, endpoints, "aggTrades", symbol="BTCUSDT", fromId=trades[0]["id"], limit=1)
        minute = int(own[0]["T"]) // 60_000  # of the market's clock; the newest trade may be of a later one by now
        keys = (endpoints.api_key, endpoints.api_secret)
        control = PracticeControl(endpoints)
        left_at = (await control.state()).market_time_ms
        await control.close()
    async with running(tmp_path, speed="1000") as (endpoints, session):
        assert (endpoints.api_key, endpoints.api_secret) == keys
        assert (await call(session, endpoints, "GET", "account"))["balances"] == account["balances"]
        assert await call(session, endpoints, "GET", "myTrades", symbol="BTCUSDT") == trades
        (still_open,) = await call(session, endpoints, "GET", "openOrders", symbol="BTCUSDT")
        assert still_open["clientOrderId"] == "rest-1"
        again = await call(
            session,
            endpoints,
            "POST",
            "order",
            **order,
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.001",
            price=f"{price * 0.5:.2f}",
            newClientOrderId="rest-1",
        )
        assert again == {"code": -2010, "msg": "Duplicate order sent."}
        control = PracticeControl(endpoints)
        assert (await control.state()).market_time_ms >= left_at
        await control.close()
        # The minute with our trade is served as traded, and its trades add up to its candle.
        window = {"symbol": "BTCUSDT", "startTime": minute * 60_000, "endTime": minute * 60_000 + 59_999}
        prints = await public(session, endpoints, "aggTrades", **window, limit=1000)
        (bar,) = await public(session, endpoints, "klines", **window, interval="1m")
        assert {t["id"] for t in trades} <= {p["a"] for p in prints}
        assert sum(round(float(p["q"]) * 1e5) for p in prints) == round(float(bar[5]) * 1e5)
        assert max(float(p["p"]) for p in prints) == float(bar[2])


async def test_a_killed_exchange_has_lost_nothing(tmp_path: Path) -> None:
    process = PracticeProcess(data_dir=tmp_path)
    endpoints = await asyncio.to_thread(process.start)
    async with aiohttp.ClientSession() as session:
        placed = await call(
            session, endpoints, "POST", "order", symbol="ETHUSDT", side="BUY", type="MARKET", quoteOrderQty="500"
        )
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.stop)
    async with running(tmp_path) as (endpoints, session):
        found = await call(session, endpoints, "GET", "order", symbol="ETHUSDT", orderId=placed["orderId"])
        assert found["status"] == "FILLED"
        assert found["executedQty"] == placed["executedQty"]
        fills = await call(session, endpoints, "GET", "myTrades", symbol="ETHUSDT")
        assert len(fills) == len(placed["fills"])


def archived_files(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("archive/*")]


async def test_reset_begins_a_new_account_and_keeps_the_old_one(tmp_path: Path) -> None:
    async with running(tmp_path, balance="2500") as (endpoints, session):
        await call(session, endpoints, "POST", "order", symbol="SOLUSDT", side="BUY", type="MARKET", quantity="1")
        control = PracticeControl(endpoints)
        new = await control.reset()
        with pytest.raises(UserError, match="not an amount of money"):
            await control.reset(Decimal(-5))
        renewed = replace(endpoints, api_key=new.api_key, api_secret=new.api_secret)
        refused = await call(session, endpoints, "GET", "account")
        assert refused["code"] == -2015  # who still trades with the old key must not take this account for the old one
        account = await call(session, renewed, "GET", "account")
        assert account["balances"] == [{"asset": "USDT", "free": "2500.00000000", "locked": "0.00000000"}]
        assert await call(session, renewed, "GET", "allOrders", symbol="SOLUSDT") == []
        assert archived_files(tmp_path) == [new.archived]
        richer = await control.reset(Decimal(70_000))
        await control.close()
        renewed = replace(endpoints, api_key=richer.api_key, api_secret=richer.api_secret)
        account = await call(session, renewed, "GET", "account")
        assert account["balances"] == [{"asset": "USDT", "free": "70000.00000000", "locked": "0.00000000"}]
        assert len(archived_files(tmp_path)) == 2
        depth = await public(session, endpoints, "depth", symbol="SOLUSDT", limit=5)
        assert len(depth["bids"]) == 5


async def test_a_start_with_a_new_account_sets_the_old_one_aside(tmp_path: Path) -> None:
    async with running(tmp_path, speed="60") as (before, session):
        await call(session, before, "POST", "order", symbol="SOLUSDT", side="BUY", type="MARKET", quantity="1")
    command = [sys.executable, str(MAIN), "practice-exchange", "--json", "--data-dir", str(tmp_path), "--speed", "60"]
    process = await asyncio.create_subprocess_exec(
        *command, "--new-account", "--balance", "777", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        after = PracticeEndpoints.from_json(json.loads(await process.stdout.readline()))
        assert after.api_key != before.api_key
        async with aiohttp.ClientSession() as session:
            account = await call(session, after, "GET", "account")
        assert account["balances"] == [{"asset": "USDT", "free": "777.00000000", "locked": "0.00000000"}]
        assert len(archived_files(tmp_path)) == 1
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_only_local_programs_with_the_right_words_get_in(lively: PracticeEndpoints) -> None:
    async with aiohttp.ClientSession() as session:
        port = lively.rest.rsplit(":", 1)[1]
        for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{port}"}, {"Origin": "http://evil.example"}):
            async with session.get(f"{lively.rest}/api/v3/time", headers=headers) as response:
                assert response.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(lively.ws, headers={"Origin": "http://evil.example"})
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with session.get(f"{lively.control}/state", headers=headers) as response:
                assert response.status == 401
        right = {"Authorization": f"Bearer {lively.token}"}
        for body in ("{}", "[]", "no JSON"):
            async with session.post(f"{lively.control}/ack", headers=right, data=body) as response:
                assert response.status == 400
                assert (await response.json())["error"]
        assert lively.token not in repr(lively)
        assert lively.api_secret not in repr(lively)
        with socket.socket() as outside:
            outside.settimeout(1)
            addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
            for address in addresses - {"127.0.0.1", "127.0.1.1"}:
                assert outside.connect_ex((address, int(port))) != 0


async def frames(connection: Any, wanted: int, accept: Any) -> list[dict[str, Any]]:
    """Collect frames for which `accept` holds."""
    found: list[dict[str, Any]] = []
    while len(found) < wanted:
        message = json.loads((await asyncio.wait_for(connection.receive(), 10)).data)
        if accept(message):
            found.append(message)
    return found


async def depth_after(connection: Any, reached: int) -> dict[str, Any]:
    """Return the next depth update beyond a sequence number."""
    return (await frames(connection, 1, lambda m: m.get("e") == "depthUpdate" and m["u"] > reached))[0]


async def test_depth_updates_follow_each_other_and_rebuild_the_book(lively: PracticeEndpoints) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(lively.ws) as connection:
        await connection.send_json({"method": "SUBSCRIBE", "params": ["ethusdt@depth@100ms"], "id": 7})
        (answer,) = await frames(connection, 1, lambda m: "result" in m)
        assert answer == {"result": None, "id": 7}
        await frames(connection, 1, lambda m: m.get("e") == "depthUpdate")
        snapshot = await public(session, lively, "depth", symbol="ETHUSDT", limit=5000)
        reached = snapshot["lastUpdateId"]
        book = {side: dict(map(tuple, snapshot[name])) for side, name in (("b", "bids"), ("a", "asks"))}
        for _ in range(8):
            update = await depth_after(connection, reached)
            assert update["U"] == reached + 1
            reached = update["u"]
            for side in ("b", "a"):
                for price, quantity in update[side]:
                    book[side][price] = quantity
                    if float(quantity) == 0:
                        del book[side][price]
        control = PracticeControl(lively)
        await control.set_speed(None)
        later = await public(session, lively, "depth", symbol="ETHUSDT", limit=5000)
        while reached < later["lastUpdateId"]:
            update = await depth_after(connection, reached)
            assert update["U"] == reached + 1
            reached = update["u"]
            for side in ("b", "a"):
                book[side].update(map(tuple, update[side]))
        for side, name in (("b", "bids"), ("a", "asks")):
            assert {p: q for p, q in book[side].items() if float(q)} == dict(map(tuple, later[name]))
        await control.set_speed(60.0)
        await control.close()


async def test_subscriptions_and_combined_streams(lively: PracticeEndpoints) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{lively.ws}/0") as connection:
            names = ["btcusdt@miniTicker", "btcusdt@bookTicker", "btcusdt@kline_1m", "btcusdt@aggTrade"]
            await connection.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
            await connection.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
            await connection.send_json({"method": "SUBSCRIBE", "params": ["nope@trade"], "id": 3})
            await connection.send_str("{broken")
            answers = await frames(connection, 4, lambda m: "id" in m)
            assert answers[1]["result"] == names
            assert [answer["error"]["code"] for answer in answers[2:]] == [2, 3]
            kinds = {"24hrMiniTicker", "kline", "aggTrade"}
            while kinds:
                (event,) = await frames(connection, 1, lambda m: "id" not in m)
                kinds.discard(event.get("e", "bookTicker"))
            await connection.send_json({"method": "UNSUBSCRIBE", "params": names, "id": 4})
            await frames(connection, 1, lambda m: m.get("id") == 4)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.receive(), 0.5)
        url = lively.ws.removesuffix("/ws") + "?streams=btcusdt@trade/ethusdt@depth20@100ms"
        async with session.ws_connect(url) as connection:
            seen: dict[str, Any] = {}
            while len(seen) < 2:
                (event,) = await frames(connection, 1, lambda m: "stream" in m)
                seen[event["stream"]] = event["data"]
            assert seen["btcusdt@trade"]["s"] == "BTCUSDT"
            assert len(seen["ethusdt@depth20@100ms"]["bids"]) == 20


async def test_a_burst_is_traded_and_stays_on_the_tape(lively: PracticeEndpoints) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(lively.ws) as connection:
        await connection.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1})
        control = PracticeControl(lively)
        assert await control.burst(400, 0.5) == 200
        events = await frames(connection, 200, lambda m: m.get("e") == "trade")
        with pytest.raises(UserError, match="refused"):
            await control.burst(-1)
        await control.close()
        first, last = events[0]["T"] // 60_000 * 60_000, events[-1]["T"]
        prints = await public(session, lively, "aggTrades", symbol="BTCUSDT", startTime=first, limit=1000)
        assert {event["t"] for event in events} <= {p["a"] for p in prints}
        bars = await public(session, lively, "klines", symbol="BTCUSDT", interval="1m", startTime=first, limit=3)
        assert bars[0][8] >= 150 or last // 60_000 > first // 60_000


async def test_the_clock_can_be_followed_and_the_exchange_shut_down(tmp_path: Path) -> None:
    process = PracticeProcess(data_dir=tmp_path, speed="50")
    endpoints = await asyncio.to_thread(process.start)
    try:
        control = PracticeControl(endpoints)
        state = await control.state()
        assert state.server_time_ms - state.market_time_ms > 86_400_000
        assert (state.speed, state.lockstep, state.finished) == (50.0, False, False)
        clock = MarketClock(state)
        following = asyncio.ensure_future(follow_clock(control, clock, 0.05))
        await asyncio.sleep(0.2)
        assert 0 < clock.now_ns() - state.market_time_ms * 10**6 < 60 * 10**9
        await control.shutdown()
        with pytest.raises(UserError):
            await asyncio.wait_for(following, 10)
        await control.close()
    finally:
        await asyncio.to_thread(process.stop)
    assert not process.running


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "BTC_USDT-1h.feather"
    broken.write_bytes(b"ARROW1 but not really")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            (["--port", port], "already in use"),
            (["--replay", str(broken)], "cannot be read as bars"),
            (["--replay", str(tmp_path / "none.csv")], "There is no file"),
            (["--speed", "fast"], "speed"),
            (["--balance", "lots"], "balance"),
            (["--start", "yesterday"], "not a date"),
            (["--faults", "explode:order"], "no fault named"),
            (["--limits", "loose"], "limits"),
        ]
        for arguments, words in cases:
            code = run_cli(["practice-exchange", "--json", "--data-dir", str(tmp_path / "data"), *arguments])
            output = capsys.readouterr()
            assert code == 2, output
            answer = json.loads(output.out)
            assert words in answer["error"]
            assert answer["remedy"]
            assert output.err == ""
    assert run_cli(["practice-exchange", "--nonsense"]) == 2
    assert "--nonsense" in capsys.readouterr().err


def test_it_starts_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(MAIN), "practice-exchange", "--json", "--port", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


async def test_one_account_has_one_exchange(tmp_path: Path) -> None:
    async with running(tmp_path):
        second = PracticeProcess(data_dir=tmp_path)
        with pytest.raises(UserError, match="in use"):
            await asyncio.to_thread(second.start)
        assert not second.running


def test_a_start_can_be_cancelled(tmp_path: Path) -> None:
    process = PracticeProcess(data_dir=tmp_path)
    process.cancel()
    with pytest.raises(UserError, match="ended at once"):
        process.start(60)
    assert not process.running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_time(tmp_path: Path, number: int) -> None:
    process = PracticeProcess(data_dir=tmp_path)
    endpoints = process.start()
    assert endpoints.rest.startswith("http://127.0.0.1:")
    assert process.pid is not None
    begun = time.monotonic()
    os.kill(process.pid, number)
    while process.running and time.monotonic() - begun < 5:
        time.sleep(0.02)
    assert process.stop() == 0


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    script = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from core.practice.process import PracticeProcess\n"
        "p = PracticeProcess(data_dir=Path(sys.argv[2])); p.start(); print(p.pid, flush=True); os._exit(1)\n"
    )
    command = [sys.executable, "-c", script, str(MAIN.parent), str(tmp_path)]
    child = int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout)
    begun = time.monotonic()
    while Path(f"/proc/{child}").exists() and time.monotonic() - begun < 5:
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists()


async def test_a_new_exchange_takes_the_place_of_a_killed_one(tmp_path: Path) -> None:
    first = PracticeProcess(data_dir=tmp_path)
    endpoints = await asyncio.to_thread(first.start)
    control = PracticeControl(endpoints)
    before = await control.state()
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    await asyncio.to_thread(first.stop)
    second = PracticeProcess(data_dir=tmp_path, resume=endpoints)
    try:
        assert await asyncio.to_thread(second.start) == endpoints
        after = await control.state()  # same address, same token
        assert after.server_time_ms > before.server_time_ms
    finally:
        await control.close()
        await asyncio.to_thread(second.stop)
