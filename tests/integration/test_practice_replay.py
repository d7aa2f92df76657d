"""Replay and lockstep: stored bars come out as they went in, at the pace of the client that acknowledges them."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from core.practice.control import PracticeControl, PracticeEndpoints, PracticeMarketClock
from core.practice.process import PracticeProcess
from tests.integration.practice_clients import rest_client

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
SYMBOL = "ETH/USDT"


def write_bars(folder: Path, count: int = 40, missing: frozenset[int] = frozenset()) -> list[list[float]]:
    """Write ETH_USDT-1h.csv and return its bars as ccxt shows them."""
    bars = []
    price = 2_000.0
    for n in range(count):
        close = round(2_000 + 150 * math.sin(n / 4) + n, 2)
        high, low = round(max(price, close) + 7.5, 2), round(min(price, close) - 6.25, 2)
        if n not in missing:
            bars.append([START + n * HOUR, price, high, low, close, round(120.5 + 7 * (n % 5), 4)])
        price = close
    rows = [",".join(map(str, bar)) for bar in bars]
    (folder / "ETH_USDT-1h.csv").write_text("\n".join(["date,open,high,low,close,volume", *rows]) + "\n")
    return bars


@asynccontextmanager
async def running(process: PracticeProcess) -> AsyncIterator[tuple[PracticeEndpoints, PracticeControl]]:
    endpoints = await asyncio.to_thread(process.start)
    control = PracticeControl(endpoints)
    try:
        yield endpoints, control
    finally:
        await control.close()
        await asyncio.to_thread(process.stop)


async def test_history_is_the_file(tmp_path: Path) -> None:
    bars = write_bars(tmp_path, missing=frozenset({7, 8}))
    process = PracticeProcess(
        data_dir=tmp_path / "data", replay=tmp_path / "ETH_USDT-1h.csv", speed="max", start_bar=20
    )
    async with running(process) as (endpoints, _), rest_client(endpoints) as exchange:
        await exchange.load_markets()
        served = await exchange.fetch_ohlcv(SYMBOL, "1h", limit=1000)
        assert served[:-1] == bars[:20]
        assert served[-1][0] == bars[20][0]
        assert served[-1][1:5] == [bars[20][1]] * 4
        minutes = await exchange.fetch_ohlcv(SYMBOL, "1m", since=bars[5][0], limit=60)
        assert len(minutes) == 60
        assert minutes[0][1] == bars[5][1]
        assert max(minute[2] for minute in minutes) == bars[5][2]
        assert sum(minute[5] for minute in minutes) == pytest.approx(bars[5][5], rel=1e-9)
        days = await exchange.fetch_ohlcv(SYMBOL, "1d", limit=10)
        assert sum(day[5] for day in days) == pytest.approx(sum(bar[5] for bar in served), rel=1e-9)


async def next_frames(socket: Any, count: int) -> list[dict[str, Any]]:
    return [json.loads((await asyncio.wait_for(socket.receive(), 10)).data) for _ in range(count)]


async def test_lockstep_waits_for_the_client(tmp_path: Path) -> None:
    bars = write_bars(tmp_path)
    process = PracticeProcess(
        data_dir=tmp_path / "data", replay=tmp_path / "ETH_USDT-1h.csv", speed="max", start_bar=30
    )
    async with (
        running(process) as (endpoints, control),
        aiohttp.ClientSession() as session,
        session.ws_connect(endpoints.ws) as socket,
    ):
        await socket.send_json({"method": "SUBSCRIBE", "params": ["ethusdt@kline_1h"], "id": 1})
        answer, present = await next_frames(socket, 2)
        assert answer == {"result": None, "id": 1}
        assert (present["k"]["t"], present["k"]["x"]) == (bars[30][0], False)
        state = await control.state()
        assert state.lockstep
        assert state.last_closed_ms == bars[29][0]
        assert not await control.ack("ETHUSDT", "1h", bars[28][0])
        assert not await control.ack("NOPE", "1h", bars[29][0])

        finals = []
        for number in range(30, 40):
            assert await control.ack("ETHUSDT", "1h", bars[number - 1][0])
            (final,) = await next_frames(socket, 1)
            assert final["k"]["x"] is True
            finals.append([final["k"]["t"], *(float(final["k"][key]) for key in "ohlcv")])
            if number < 39:
                (opening,) = await next_frames(socket, 1)
                assert (opening["k"]["t"], opening["k"]["x"]) == (bars[number + 1][0], False)
                assert float(opening["k"]["c"]) == bars[number + 1][1]
                assert opening["k"]["n"] == 1
        assert finals == bars[30:]
        state = await control.state()
        assert state.finished
        assert state.last_closed_ms == bars[39][0]
        assert not await control.ack("ETHUSDT", "1h", bars[39][0])


async def test_orders_between_bars_match_at_the_open(tmp_path: Path) -> None:
    bars = write_bars(tmp_path)
    process = PracticeProcess(
        data_dir=tmp_path / "data", replay=tmp_path / "ETH_USDT-1h.csv", speed="max", start_bar=20
    )
    async with running(process) as (endpoints, control), rest_client(endpoints) as exchange:
        await exchange.load_markets()
        bought = await exchange.create_order(SYMBOL, "market", "buy", 0.5)
        assert bought["average"] == pytest.approx(bars[20][1], abs=0.05)
        resting = await exchange.create_order(SYMBOL, "limit", "buy", 0.25, bars[20][3] + 0.5)
        assert await control.ack("ETHUSDT", "1h", bars[19][0])
        for _ in range(200):
            if (await control.state()).last_closed_ms == bars[20][0]:
                break
            await asyncio.sleep(0.01)
        filled = await exchange.fetch_order(resting["id"], SYMBOL)
        assert filled["status"] == "closed"
        assert filled["average"] == resting["price"]
        (mine,) = [t for t in await exchange.fetch_my_trades(SYMBOL) if t["order"] == resting["id"]]
        assert mine["takerOrMaker"] == "maker"
        # The hour with our fills is served as traded: its trades still add up to its candle.
        window = {"endTime": bars[20][0] + HOUR - 1}
        trades = await exchange.fetch_trades(SYMBOL, since=bars[20][0], limit=1000, params=window)
        (bar,) = [b for b in await exchange.fetch_ohlcv(SYMBOL, "1h", limit=3) if b[0] == bars[20][0]]
        prices = [trade["price"] for trade in trades]
        assert [prices[0], max(prices), min(prices), prices[-1]] == bar[1:5]
        assert sum(trade["amount"] for trade in trades) == pytest.approx(bar[5], rel=1e-9)


async def test_market_clock_follows_the_replay(tmp_path: Path) -> None:
    write_bars(tmp_path)
    process = PracticeProcess(data_dir=tmp_path / "data", replay=tmp_path / "ETH_USDT-1h.csv", speed="600", start_bar=5)
    async with running(process) as (_, control):
        clock = PracticeMarketClock(await control.state())
        first = clock.now_ns()
        await asyncio.sleep(0.2)
        assert clock.now_ns() - first >= 100 * 10**9
        stopped = await control.set_speed(None)
        assert stopped.lockstep
        clock.update(stopped)
        assert clock.now_ns() == clock.now_ns()


@pytest.mark.realdata
async def test_real_bars_survive_the_round_trip(tmp_path: Path, realdata: Path) -> None:
    file = realdata / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather"
    process = PracticeProcess(data_dir=tmp_path, replay=file, speed="max", start_bar=4_000)
    async with running(process) as (endpoints, control), rest_client(endpoints) as exchange:
        await exchange.load_markets()
        bars = await exchange.fetch_ohlcv("BTC/USDT", "1h", limit=1000)
        assert len(bars) == 1000
        state = await control.state()
        for _ in range(40):
            assert state.last_closed_ms is not None
            assert await control.ack("BTCUSDT", "1h", state.last_closed_ms)
            before = state.last_closed_ms
            while state.last_closed_ms == before:
                await asyncio.sleep(0)
                state = await control.state()
        after = await exchange.fetch_ohlcv("BTC/USDT", "1h", limit=42)
        assert after[0] == bars[-2]
