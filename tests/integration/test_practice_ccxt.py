"""ccxt's unmodified clients against a practice exchange in its own process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from tests.integration.practice_clients import pro_client, rest_client

SYMBOL = "BTC/USDT"


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    process = PracticeProcess(data_dir=tmp_path_factory.mktemp("practice"), seed=5, speed="30")
    try:
        yield process.start()
    finally:
        process.stop()


async def test_market_data(endpoints: PracticeEndpoints) -> None:
    async with rest_client(endpoints) as exchange:
        markets = await exchange.load_markets()
        assert {"BTC/USDT", "ETH/USDT", "SOL/USDT"} <= set(markets)
        market = markets[SYMBOL]
        assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)
        assert market["limits"]["cost"]["min"] == 5.0
        assert abs(await exchange.fetch_time() - exchange.milliseconds()) < 2_000

        bars = await exchange.fetch_ohlcv(SYMBOL, "1h", limit=500)
        assert len(bars) == 500
        assert all(b[0] - a[0] == 3_600_000 for a, b in itertools.pairwise(bars))
        again = await exchange.fetch_ohlcv(SYMBOL, "1h", since=bars[0][0], limit=100)
        assert again == bars[:100]

        book = await exchange.fetch_order_book(SYMBOL, limit=50)
        assert len(book["bids"]) == len(book["asks"]) == 50
        assert book["bids"][0][0] < book["asks"][0][0]

        trades = await exchange.fetch_trades(SYMBOL, limit=100)
        assert len(trades) == 100
        ticker = await exchange.fetch_ticker(SYMBOL)
        assert ticker["bid"] < ticker["ask"]
        assert ticker["low"] <= ticker["last"] <= ticker["high"]
        assert len(await exchange.fetch_tickers([SYMBOL, "ETH/USDT"])) == 2


async def test_trades_of_a_past_minute_add_up_to_its_candle(endpoints: PracticeEndpoints) -> None:
    async with rest_client(endpoints) as exchange:
        bars = await exchange.fetch_ohlcv("ETH/USDT", "1m", limit=30)
        for bar in bars[3:20:8]:
            params = {"endTime": bar[0] + 59_999}
            trades = await exchange.fetch_trades("ETH/USDT", since=bar[0], limit=1000, params=params)
            prices = [trade["price"] for trade in trades]
            assert [prices[0], max(prices), min(prices), prices[-1]] == bar[1:5]
            assert sum(trade["amount"] for trade in trades) == pytest.approx(bar[5], rel=1e-12)


async def test_orders(endpoints: PracticeEndpoints) -> None:
    async with rest_client(endpoints) as exchange:
        await exchange.load_markets()
        before = await exchange.fetch_balance()
        assert before["USDT"]["total"] > 0
        last = (await exchange.fetch_ticker(SYMBOL))["last"]

        bought = await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        assert bought["status"] == "closed"
        assert bought["filled"] == 0.01
        assert bought["trades"][0]["fee"]["currency"] == "BTC"
        by_cost = await exchange.create_order(SYMBOL, "market", "buy", None, None, {"cost": 100})
        assert by_cost["cost"] == pytest.approx(100, abs=1)

        resting = await exchange.create_order(SYMBOL, "limit", "buy", 0.001, last * 0.8, {"clientOrderId": "mine-1"})
        maker = await exchange.create_order(SYMBOL, "limit", "sell", 0.001, last * 1.2, {"postOnly": True})
        stop = await exchange.create_order(
            SYMBOL, "limit", "sell", 0.001, last * 0.7, {"stopPrice": last * 0.75, "clientOrderId": "mine-stop"}
        )
        assert [order["status"] for order in (resting, maker)] == ["open", "open"]
        fetched = await exchange.fetch_order(resting["id"], SYMBOL)
        assert fetched["clientOrderId"] == "mine-1"
        assert (await exchange.fetch_order(stop["id"], SYMBOL))["info"]["type"] == "STOP_LOSS_LIMIT"
        assert {order["id"] for order in await exchange.fetch_open_orders(SYMBOL)} == {
            resting["id"],
            maker["id"],
            stop["id"],
        }
        cancelled = await exchange.cancel_order(resting["id"], SYMBOL)
        assert cancelled["status"] == "canceled"
        await exchange.cancel_all_orders(SYMBOL)
        assert await exchange.fetch_open_orders(SYMBOL) == []
        assert len(await exchange.fetch_orders(SYMBOL)) == 5

        mine = await exchange.fetch_my_trades(SYMBOL)
        assert sum(t["amount"] for t in mine) == pytest.approx(bought["filled"] + by_cost["filled"], rel=1e-9)
        public = await exchange.fetch_trades(SYMBOL, limit=1000)
        assert {t["id"] for t in mine} <= {t["id"] for t in public}
        after = await exchange.fetch_balance()
        assert after["USDT"]["used"] == 0
        assert after["BTC"]["free"] == pytest.approx((bought["filled"] + by_cost["filled"]) * 0.999, abs=1e-7)
        sold = await exchange.create_order(
            SYMBOL, "market", "sell", exchange.amount_to_precision(SYMBOL, after["BTC"]["free"])
        )
        assert sold["status"] == "closed"


async def test_streams(endpoints: PracticeEndpoints) -> None:
    async with pro_client(endpoints) as exchange:
        await exchange.load_markets()
        bars = await asyncio.wait_for(exchange.watch_ohlcv(SYMBOL, "1m"), 10)
        assert len(bars[-1]) == 6
        trades = await asyncio.wait_for(exchange.watch_trades(SYMBOL), 10)
        assert trades[0]["price"] > 0
        ticker = await asyncio.wait_for(exchange.watch_ticker(SYMBOL), 10)
        assert ticker["last"] > 0
        best = await asyncio.wait_for(exchange.watch_bids_asks([SYMBOL]), 10)
        assert best[SYMBOL]["bid"] < best[SYMBOL]["ask"]
        seen: list[int] = []
        for _ in range(5):
            book = await asyncio.wait_for(exchange.watch_order_book(SYMBOL), 10)
            assert book["bids"][0][0] < book["asks"][0][0]
            seen.append(book["nonce"])
        assert seen == sorted(set(seen))


async def test_user_stream_and_orders_over_websocket(endpoints: PracticeEndpoints) -> None:
    async with pro_client(endpoints) as exchange:
        await exchange.load_markets()
        orders = asyncio.ensure_future(exchange.watch_orders(SYMBOL))
        fills = asyncio.ensure_future(exchange.watch_my_trades(SYMBOL))
        balance = asyncio.ensure_future(exchange.watch_balance())
        await asyncio.sleep(0.5)
        last = (await exchange.fetch_ticker(SYMBOL))["last"]
        placed = await exchange.create_order_ws(SYMBOL, "market", "buy", 0.002)
        assert placed["status"] == "closed"
        seen = await asyncio.wait_for(orders, 10)
        assert seen[-1]["id"] == placed["id"]
        assert (await asyncio.wait_for(fills, 10))[-1]["order"] == placed["id"]
        assert (await asyncio.wait_for(balance, 10))["BTC"]["free"] > 0
        resting = await exchange.create_order_ws(SYMBOL, "limit", "buy", 0.001, last * 0.8)
        assert (await exchange.fetch_order_ws(resting["id"], SYMBOL))["status"] == "open"
        gone = await exchange.cancel_order_ws(resting["id"], SYMBOL)
        assert gone["status"] == "canceled"


async def test_refusals_have_the_venues_codes(endpoints: PracticeEndpoints) -> None:
    import ccxt

    async with rest_client(endpoints) as exchange:
        await exchange.load_markets()
        last = (await exchange.fetch_ticker(SYMBOL))["last"]
        with pytest.raises(ccxt.InsufficientFunds, match="insufficient balance"):
            await exchange.create_order(SYMBOL, "limit", "buy", 100, last * 0.9)
        with pytest.raises(ccxt.BadRequest, match="NOTIONAL"):
            await exchange.create_order(SYMBOL, "limit", "buy", 0.00001, last * 0.9)
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.cancel_order("999999", SYMBOL)
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.fetch_order("999999", SYMBOL)
        with pytest.raises(ccxt.BadSymbol):
            await exchange.public_get_klines({"symbol": "NOPEUSDT", "interval": "1m"})
    async with rest_client(endpoints, secret="wrong") as exchange:
        with pytest.raises(ccxt.AuthenticationError):
            await exchange.fetch_balance()
    async with rest_client(endpoints, apiKey="0" * 64) as exchange:
        with pytest.raises(ccxt.AuthenticationError):
            await exchange.fetch_balance()
    async with rest_client(endpoints) as exchange:
        exchange.nonce = lambda: exchange.milliseconds() - 60_000
        with pytest.raises(ccxt.InvalidNonce):
            await exchange.fetch_balance()
