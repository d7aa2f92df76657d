"""What the latency figures are made of: the tap on the sockets, the model that always trades, the percentile."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import aiohttp
from aiohttp import web

from app.benchmarks.bar_trader import BarTrader
from app.benchmarks.order_latency_bench import percentile
from app.benchmarks.wire_tap import WireTap
from core.domain.candles import Candle, Timeframe
from core.domain.instruments import Instrument
from core.domain.orders import Side
from core.domain.positions import Position
from core.strategies.model_strategy import ModelStrategy
from core.strategies.spec import StrategySpec

MINUTE = Timeframe.M1.ns


def frame(open_ms: int, interval: str, final: bool) -> str:
    bar = {"t": open_ms, "s": "BTCUSDT", "i": interval, "o": "1.0", "x": final, "q": "0"}
    return json.dumps({"e": "kline", "s": "BTCUSDT", "k": bar}, separators=(",", ":"))


async def serve_bars(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    for text in (frame(60_000, "1m", False), frame(60_000, "1m", True), frame(0, "5m", True)):
        await socket.send_str(text)
    await socket.close()
    return socket


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({})


async def test_the_tap_sees_orders_cancels_and_final_bars_at_the_sockets_and_leaves_no_trace() -> None:
    app = web.Application()
    app.router.add_route("*", "/api/v3/{path}", answer)
    app.router.add_get("/ws", serve_bars)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    order = "symbol=BTCUSDT&side=BUY&quantity=0.00031&newClientOrderId=maru-abc&signature=00"
    try:
        async with aiohttp.ClientSession() as session:
            began = time.monotonic()
            with WireTap() as tap:
                await session.post(f"{base}/api/v3/order", data=order)
                await session.get(f"{base}/api/v3/order?symbol=BTCUSDT")
                await session.delete(f"{base}/api/v3/openOrders?symbol=BTCUSDT")
                async with session.ws_connect(f"{base}/ws") as socket:
                    async for _ in socket:
                        pass
            await session.post(f"{base}/api/v3/order", data=order)
            ended = time.monotonic()
    finally:
        await runner.cleanup()
    assert [(sent.client_id, sent.quantity) for sent in tap.orders] == [("maru-abc", "0.00031")]
    assert len(tap.cancels) == 1
    assert list(tap.bars) == [60_000]
    assert began <= tap.orders[0].at_s <= tap.cancels[0] <= tap.bars[60_000] <= ended


def test_the_trader_changes_sides_on_every_bar() -> None:
    market = Instrument("binance", "BTC/USDT", "BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
    spec = StrategySpec("bench", "Bench", "BTC/USDT", "1m", "bench", Decimal(500), entry_z=0.5, exit_z=0.0)
    strategy = ModelStrategy(spec, BarTrader("bench", "BTC/USDT", Timeframe.M1), market)
    assert strategy.warm_up([bar(0)])
    holding, sides = Decimal(0), []
    for number in range(1, 7):
        decision = strategy.on_bar(bar(number), Position("binance", "BTC/USDT", "bench", holding), 0)
        assert decision is not None
        assert decision.intent is not None
        sides.append(decision.intent.side)
        holding += decision.intent.side.sign * decision.intent.quantity
    assert sides == [Side.BUY, Side.SELL] * 3


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 99) == 99.0
    assert percentile(values[:3], 99) == 100.0
    assert percentile([7.0], 99) == 7.0


def bar(number: int) -> Candle:
    price = 50_000.0
    return Candle(
        "BTC/USDT", Timeframe.M1, number * MINUTE, price, price, price, price, 1.0, final=True, source="stream"
    )
