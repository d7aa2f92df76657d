"""CcxtGateway and MarketFeed on the real practice exchange: one child process for the module."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.clock import Clock
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.data.quality import check_quality
from core.data.real_time_collector import MarketFeed
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import practice_origin
from core.domain.orders import OrderState, OrderType, Side, TradingMode
from core.execution.api.binance_api import binance_practice_profile
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.gateway import BalanceReport, DefinitiveReject, OrderReport, OrderRequest, OrderUnknown
from core.practice.control import PracticeControl, PracticeEndpoints, PracticeMarketClock, follow_clock
from core.practice.process import PracticeProcess

D = Decimal
BTC = "BTC/USDT"
M1 = Timeframe.M1
ORIGIN = practice_origin("synthetic-7")


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    process = PracticeProcess(data_dir=tmp_path_factory.mktemp("practice"), speed="120", seed=7)
    try:
        yield process.start()
    finally:
        process.stop()


@asynccontextmanager
async def connected(endpoints: PracticeEndpoints) -> AsyncIterator[tuple[CcxtGateway, Clock]]:
    control = PracticeControl(endpoints)
    clock = PracticeMarketClock(await control.state())
    follower = asyncio.create_task(follow_clock(control, clock))
    gateway = CcxtGateway(
        binance_practice_profile(rest=endpoints.rest, ws=endpoints.ws, ws_api=endpoints.ws_api),
        TradingMode.PRACTICE,
        Credentials(endpoints.api_key, endpoints.api_secret),
        market_clock=clock,
    )
    try:
        await gateway.connect()
        yield gateway, clock
    finally:
        await gateway.close()
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        await control.close()


async def until(condition: Any, timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_orders_by_request_query_and_stream_agree(exchange: PracticeEndpoints) -> None:
    async with connected(exchange) as (gateway, _):
        events: list[Any] = []

        async def listen() -> None:
            async for event in gateway.watch_user():
                events.append(event)

        listener = asyncio.create_task(listen())
        await until(lambda: bool(events))
        assert isinstance(events[0], BalanceReport)
        bought = await gateway.submit_order(OrderRequest("t-1", BTC, Side.BUY, OrderType.MARKET, D("0.01")))
        assert bought.state is OrderState.FILLED
        price = gateway.instruments[BTC].floor_price(bought.average_price * D("0.9"))  # type: ignore[operator]
        resting = await gateway.submit_order(OrderRequest("t-2", BTC, Side.BUY, OrderType.LIMIT, D("0.01"), price))
        assert resting.state is OrderState.ACCEPTED
        assert [o.client_order_id for o in await gateway.fetch_open_orders()] == ["t-2"]
        stop = OrderRequest("t-3", BTC, Side.SELL, OrderType.STOP_LOSS_LIMIT, D("0.005"), price, price)
        assert (await gateway.submit_order(stop)).order_type is OrderType.STOP_LOSS_LIMIT
        assert (await gateway.cancel_order(BTC, "t-2")).state is OrderState.CANCELED
        assert [o.client_order_id for o in await gateway.cancel_all_orders(BTC)] == ["t-3"]
        await until(lambda: sum(isinstance(e, OrderReport) and e.state is OrderState.CANCELED for e in events) == 2)
        streamed = [fill for e in events if isinstance(e, OrderReport) for fill in e.fills]
        queried = [f for f in await gateway.fetch_fills(BTC) if f.client_order_id == "t-1"]
        assert streamed == queried
        assert {f.trade_id for f in bought.fills} == {f.trade_id for f in queried}
        assert sum(f.quantity for f in queried) == D("0.01")
        for wrong, code in (
            (OrderRequest("t-4", BTC, Side.BUY, OrderType.MARKET, D(5_000)), "-2010"),
            (OrderRequest("t-5", BTC, Side.BUY, OrderType.LIMIT, D("0.00001"), price), "-1013"),
        ):
            with pytest.raises(DefinitiveReject) as caught:
                await gateway.submit_order(wrong)
            assert caught.value.code == code
            with pytest.raises(OrderUnknown):
                await gateway.fetch_order(BTC, wrong.client_order_id)
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


class Sink:
    def __init__(self) -> None:
        self.history: CandleFrame | None = None
        self.candles: list[Candle] = []
        self.books: list[Any] = []
        self.trades: list[Any] = []
        self.tickers: list[Any] = []
        self.failures: list[str] = []
        self.on_candle = self.candles.append
        self.on_book = self.books.append
        self.on_trades = self.trades.extend
        self.on_ticker = self.tickers.append
        self.on_failure = self.failures.append

    def on_history(self, frame: CandleFrame) -> None:
        self.history = frame


async def test_feed_from_network_to_store(exchange: PracticeEndpoints, tmp_path: Path) -> None:
    sink, store = Sink(), CandleStore(tmp_path)

    def append(candles: Sequence[Candle]) -> None:
        store.append(ORIGIN, candles)

    async with connected(exchange) as (gateway, _):
        feed = MarketFeed(gateway, BTC, M1, sink, append=append, history_bars=200)
        task = asyncio.create_task(feed.run())
        await until(lambda: sum(c.final for c in sink.candles) >= 4 and sink.books and sink.trades and sink.tickers)
        assert sink.history is not None
        assert len(sink.history) == 200
        book = sink.books[-1]
        assert book.bids[0][0] < book.asks[0][0]
        ids = [int(t.trade_id) for t in sink.trades]
        assert ids == sorted(set(ids))
        live = [c for c in sink.candles if c.final]
        feed.switch("ETH/USDT", Timeframe.M5)
        await until(lambda: sink.history is not None and sink.history.symbol == "ETH/USDT")
        again = await gateway.fetch_candles(BTC, M1, since_ns=live[0].open_time_ns, limit=len(live))
        as_prices = [(c.open_time_ns, c.open, c.high, c.low, c.close, c.volume) for c in live]
        assert as_prices == [(c.open_time_ns, c.open, c.high, c.low, c.close, c.volume) for c in again]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    store.flush()
    stored = store.read(ORIGIN, BTC, M1)
    assert len(stored) >= 199 + len(live)
    report = check_quality(stored)
    assert (report.is_clean, report.unfinished) == (True, 0)
    assert sink.failures == []
