"""Download with resume, and the live feed: history joins the stream without a hole, failures restart it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.data.collector import FetchProgress, fetch_history
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.data.real_time_collector import Backoff, MarketFeed, collect_realtime_data
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import practice_origin
from core.errors import UserError
from core.execution.api.gateway import DefinitiveReject, FatalGatewayError, NoAnswer, RetryableError
from tests.unit.data.fake_gateway import STEP, FakeGateway, book, candle, ticker, trade

M1 = Timeframe.M1
PRACTICE = practice_origin("synthetic-7")  # the gateway says "binance": it speaks that protocol


async def fetch(gateway: FakeGateway, store: CandleStore, start: int, end: int, **more: Any) -> Any:
    return await fetch_history(gateway, store, PRACTICE, "BTC/USDT", M1, start * STEP, end * STEP, **more)  # type: ignore[arg-type]


async def test_pages_resume_and_fill_holes(tmp_path: Path) -> None:
    gateway, store = FakeGateway(5_000), CandleStore(tmp_path)
    seen: list[FetchProgress] = []
    result = await fetch(gateway, store, 0, 2_500, progress=seen.append)
    assert (result.received, result.changed, result.pages, result.complete) == (2_500, 2_500, 3, True)
    assert [p.done for p in seen] == [0, 1_000, 2_000, 2_500]
    assert {p.total for p in seen} == {2_500}
    assert seen[0].eta_s is None
    assert seen[-1].eta_s == 0
    gateway.asked.clear()
    assert (await fetch(gateway, store, 0, 2_500)).pages == 0
    result = await fetch(gateway, store, 0, 3_000)
    assert gateway.asked == [(2_500 * STEP, 500)]
    assert result.received == 500
    assert store.read(PRACTICE, "BTC/USDT", M1).time_ns.tolist() == [i * STEP for i in range(3_000)]


async def test_bars_the_venue_lacks_do_not_stop_a_download(tmp_path: Path) -> None:
    gateway, store = FakeGateway(4_000, missing=frozenset(range(100, 2_600))), CandleStore(tmp_path)
    result = await fetch(gateway, store, 0, 3_000)
    assert (result.received, result.complete) == (500, True)
    nothing = await fetch(FakeGateway(0), store, 5_000, 9_000)
    assert (nothing.received, nothing.pages) == (0, 1)


async def test_stop_keeps_what_was_read(tmp_path: Path) -> None:
    gateway, store = FakeGateway(5_000), CandleStore(tmp_path)
    result = await fetch(gateway, store, 0, 5_000, should_stop=lambda: len(gateway.asked) >= 2)
    assert (result.complete, len(store.read(PRACTICE, "BTC/USDT", M1))) == (False, 2_000)


async def test_failures_of_a_download(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    gateway = FakeGateway(10)
    gateway.failures = [RetryableError("busy", retry_after_s=0)]
    assert (await fetch(gateway, store, 0, 10)).received == 10
    gateway.failures = [DefinitiveReject("no market")]
    with pytest.raises(UserError, match="refused: no market"):
        await fetch(gateway, store, 100, 110)
    gateway.failures = [FatalGatewayError("bad key")]
    with pytest.raises(UserError, match="cannot be used: bad key"):
        await fetch(gateway, store, 100, 110)
    with pytest.raises(UserError, match="before its start"):
        await fetch(gateway, store, 5, 5)


class Sink:
    def __init__(self) -> None:
        self.history: list[CandleFrame] = []
        self.candles: list[Candle] = []
        self.books: list[Any] = []
        self.trades: list[Any] = []
        self.tickers: list[Any] = []
        self.failures: list[str] = []
        self.stored: list[Candle] = []
        self.on_history = self.history.append
        self.on_candle = self.candles.append
        self.on_book = self.books.append
        self.on_trades = self.trades.extend
        self.on_ticker = self.tickers.append
        self.on_failure = self.failures.append

    def append(self, candles: Sequence[Candle]) -> None:
        self.stored.extend(candles)

    def finals(self) -> list[int]:
        return [c.open_time_ns // STEP for c in self.candles if c.final]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(gateway: FakeGateway, sink: Sink) -> AsyncIterator[tuple[MarketFeed, asyncio.Task[None]]]:
    backoff = Backoff(first_s=0.01, most_s=0.02)
    feed = MarketFeed(gateway, "BTC/USDT", M1, sink, append=sink.append, backoff=backoff)  # type: ignore[arg-type]
    task = asyncio.create_task(feed.run())
    try:
        yield feed, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_history_joins_the_stream_without_a_hole() -> None:
    gateway, sink = FakeGateway(10), Sink()
    gateway.history.append(candle(10, final=False))
    async with running(gateway, sink):
        await until(lambda: sink.history and "candles BTC/USDT 1m" in gateway.opened)
        assert len(sink.history[0]) == 11
        gateway.history = [candle(i) for i in range(13)]  # bars closed between history and the first message
        stream = gateway.queue("candles BTC/USDT 1m")
        stream.put_nowait(candle(13, final=False))
        stream.put_nowait(candle(13, close=5))
        stream.put_nowait(candle(13, close=5))  # repeated
        await until(lambda: 13 in sink.finals())
        assert sink.finals() == [10, 11, 12, 13]
        assert [c.open_time_ns // STEP for c in sink.stored] == list(range(14))
        assert all(c.final for c in sink.stored)
    assert sink.failures == []
    assert gateway.past_troubles == []


async def test_a_broken_stream_comes_back_and_nothing_is_missing() -> None:
    gateway, sink = FakeGateway(3), Sink()
    async with running(gateway, sink):
        stream = gateway.queue("candles BTC/USDT 1m")
        gateway.queue("trades BTC/USDT").put_nowait((trade(1),))
        gateway.queue("book BTC/USDT").put_nowait(book())
        gateway.queue("ticker BTC/USDT").put_nowait(ticker())
        await until(lambda: sink.trades and sink.books and sink.tickers)
        for name in ("trades BTC/USDT", "book BTC/USDT"):
            gateway.queue(name).put_nowait(RetryableError("cut"))
        gateway.history = [candle(i) for i in range(6)]
        stream.put_nowait(RetryableError("cut"))
        await until(lambda: gateway.opened.count("candles BTC/USDT 1m") == 2)
        assert sink.finals() == [3, 4, 5]
        assert len(sink.history) == 1  # the chart is not reset by a hiccup
        gateway.queue("trades BTC/USDT").put_nowait((trade(2),))
        gateway.queue("book BTC/USDT").put_nowait(book())
        await until(lambda: len(sink.trades) == 2 and len(sink.books) == 2)
        assert gateway.troubles == {}
        assert set(gateway.past_troubles) == {"trades: cut", "book: cut", "candles: cut"}


async def test_switching_and_a_market_that_does_not_exist() -> None:
    gateway, sink = FakeGateway(3), Sink()
    async with running(gateway, sink) as (feed, _):
        await until(lambda: len(gateway.opened) == 4)
        gateway.failures = [DefinitiveReject("no market NOPE")]
        feed.switch("NOPE", M1)
        await until(lambda: sink.failures == ["no market NOPE"])
        assert gateway.troubles == {}  # the link is as good as before
        feed.switch("ETH/USDT", Timeframe.H1)
        await until(lambda: "candles ETH/USDT 1h" in gateway.opened)
        assert feed.market == ("ETH/USDT", Timeframe.H1)
        assert [f.symbol for f in sink.history] == ["BTC/USDT", "ETH/USDT"]
        feed.switch("ETH/USDT", Timeframe.H1)
        await asyncio.sleep(0.02)
        assert gateway.opened.count("candles ETH/USDT 1h") == 1


async def test_a_market_out_of_reach_is_told_and_shown_later() -> None:
    gateway, sink = FakeGateway(3), Sink()
    gateway.failures = [NoAnswer("no connection")] * 2
    async with running(gateway, sink):
        await until(lambda: len(sink.history) == 1)
        assert sink.failures == ["no connection"] * 2
        assert gateway.troubles == {}


async def test_troubles_of_a_market_end_with_it() -> None:
    gateway, sink = FakeGateway(3), Sink()
    feed = MarketFeed(gateway, "BTC/USDT", M1, sink, backoff=Backoff(first_s=60, most_s=60))  # type: ignore[arg-type]
    task = asyncio.create_task(feed.run())
    gateway.queue("book BTC/USDT").put_nowait(RetryableError("cut"))
    await until(lambda: gateway.troubles == {"book": "book: cut"})
    feed.switch("ETH/USDT", M1)
    await until(lambda: "book ETH/USDT" in gateway.opened)
    assert gateway.troubles == {}
    gateway.queue("trades ETH/USDT").put_nowait(RetryableError("cut"))
    await until(lambda: gateway.troubles == {"trades": "trades: cut"})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gateway.troubles == {}


async def test_a_refusal_for_good_ends_the_feed() -> None:
    gateway, sink = FakeGateway(3), Sink()
    gateway.failures = [FatalGatewayError("bad key")]
    with pytest.raises(FatalGatewayError, match="bad key"):
        await collect_realtime_data(gateway, "BTC/USDT", M1, sink)  # type: ignore[arg-type]


def test_pauses_grow_and_stay_bounded() -> None:
    backoff = Backoff(first_s=1, most_s=10, spread=0.2)
    assert [backoff.pause_s(n, 0.5) for n in (1, 2, 3, 5, 100)] == [1, 2, 4, 10, 10]
    assert backoff.pause_s(1, 0.0) == pytest.approx(0.8)
