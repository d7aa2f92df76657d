"""Market data beside the window: nothing closed is lost, nothing of another market is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from PySide6.QtCore import QObject, Slot
from pytestqt.qtbot import QtBot

from app.workers.market import TRADES_KEPT, MarketWorker
from core.data.frame import CandleFrame
from core.data.real_time_collector import MarketSink
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import DataOrigin, practice_origin
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import Side, TradingMode
from core.errors import UserError
from core.events import ConnectionState, ConnectionStatus
from core.execution.api.gateway import RetryableError
from tests.qt.conftest import settle

LIMIT = 10_000
BTC, ETH = "BTC/USDT", "ETH/USDT"
NS = 60_000_000_000
PRACTICE = practice_origin("synthetic-7")


def candle(number: int, *, final: bool = True, symbol: str = BTC, close: float = 1.0) -> Candle:
    return Candle(symbol, Timeframe.M1, number * NS, 1, 2, 0.5, close, 1, final, "stream")


def trade(number: int, symbol: str = BTC) -> PublicTrade:
    return PublicTrade(symbol, str(number), 1.0, 1.0, Side.BUY, number)


def book(sequence: int, symbol: str = BTC) -> BookSnapshot:
    return BookSnapshot(symbol, ((1.0, 1.0),), ((2.0, 1.0),), sequence, sequence)


def ticker(last: float, symbol: str = BTC) -> Ticker:
    return Ticker(symbol, last, None, None, None, None, 0)


class Venue:
    """What the test sets up: feeds that do nothing by themselves; it is its own link and gateway."""

    def __init__(self) -> None:
        self.refusals: list[Exception] = []
        self.watched: list[tuple[str, Timeframe]] = []
        self.closed = 0
        self.sink: MarketSink | None = None
        self.run_error: Exception | None = None
        self.instruments: dict[str, Any] = {}
        self.origin = PRACTICE

    @property
    def gateway(self) -> Any:
        return self

    async def open(self, _told: Any) -> Venue:
        if self.refusals:
            raise self.refusals.pop(0)
        return self

    def make_feed(self, _gateway: Any, symbol: str, timeframe: Timeframe, sink: MarketSink, _append: Any) -> Venue:
        self.sink = sink
        self.watched.append((symbol, timeframe))
        return self

    async def run(self) -> None:
        if self.run_error is not None:
            error, self.run_error = self.run_error, None
            raise error
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1


class Books:
    def __init__(self) -> None:
        self.kept: list[Candle] = []

    def append_candles(self, origin: DataOrigin, candles: Sequence[Candle]) -> bool:
        assert origin == PRACTICE
        self.kept.extend(candles)
        return True


class Window(QObject):
    def __init__(self, worker: MarketWorker) -> None:
        super().__init__()
        self.got: list[Any] = []
        self.failures: list[tuple[str, str]] = []
        self.candles: list[Candle] = []
        worker.candle_arrived.connect(self.on_candle)
        worker.history_failed.connect(self.on_failed)
        for signal in (
            worker.instruments_loaded,
            worker.history_arrived,
            worker.book_changed,
            worker.ticker_changed,
            worker.trades_arrived,
            worker.connection_changed,
        ):
            signal.connect(self.take)

    @Slot(object)
    def take(self, value: Any) -> None:
        self.got.append(value)

    @Slot(object)
    def on_candle(self, value: Candle) -> None:
        self.candles.append(value)

    @Slot(str, str)
    def on_failed(self, message: str, remedy: str) -> None:
        self.failures.append((message, remedy))

    def of(self, kind: type) -> list[Any]:
        return [value for value in self.got if isinstance(value, kind)]


class Rig:
    def __init__(self) -> None:
        self.venue, self.books = Venue(), Books()
        self.worker = MarketWorker(
            self.venue.open,
            BTC,
            Timeframe.M1,
            venue="binance",
            mode=TradingMode.PRACTICE,
            books=self.books,
            make_feed=self.venue.make_feed,
            retry_s=(0.01,),
        )
        self.window = Window(self.worker)


@pytest.fixture
def rig(qapp: object) -> Iterator[Rig]:
    made = Rig()
    yield made
    assert made.worker.stop(10)
    settle()


def start(qtbot: QtBot, rig: Rig) -> None:
    rig.worker.start()
    qtbot.waitUntil(lambda: rig.venue.watched == [(BTC, Timeframe.M1)] and rig.window.got == [()], timeout=LIMIT)
    rig.window.got.clear()  # the markets on offer


def send(rig: Rig, name: str, *values: Any) -> None:
    """Let the feed report something on its own thread."""

    async def report() -> None:
        for value in values:
            getattr(rig.venue.sink, name)(value)

    assert rig.worker.submit(report)


def test_closed_bars_all_arrive_in_order_and_before_the_forming_one(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    values: list[Candle] = []
    for number in range(2_000):
        values += [candle(number, final=False), candle(number, final=False, close=1.5), candle(number)]
    values.append(candle(2_000, final=False))
    send(rig, "on_candle", *values)
    qtbot.waitUntil(lambda: rig.window.candles[-1:] == [values[-1]], timeout=LIMIT)
    closed = [c for c in rig.window.candles if c.final]
    assert [c.open_time_ns // NS for c in closed] == list(range(2_000))
    times = [c.open_time_ns for c in rig.window.candles]
    assert times == sorted(times)
    assert len(rig.window.candles) < 6_000


def test_prices_are_replaced_by_newer_ones(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    send(rig, "on_book", *[book(number) for number in range(1_000)])
    send(rig, "on_ticker", *[ticker(float(number)) for number in range(1_000)])
    qtbot.waitUntil(lambda: rig.window.of(BookSnapshot)[-1:] == [book(999)], timeout=LIMIT)
    qtbot.waitUntil(lambda: rig.window.of(Ticker)[-1:] == [ticker(999.0)], timeout=LIMIT)
    assert len(rig.window.of(BookSnapshot)) < 100


def test_trades_arrive_once_each(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    send(rig, "on_trades", (trade(1), trade(2)), (trade(3),))
    qtbot.waitUntil(lambda: sum(rig.window.of(tuple), ()) == (trade(1), trade(2), trade(3)), timeout=LIMIT)
    send(rig, "on_trades", tuple(trade(number) for number in range(4, 1_000)))
    qtbot.waitUntil(lambda: rig.window.of(tuple)[-1][-1:] == (trade(999),), timeout=LIMIT)
    assert len(rig.window.of(tuple)[-1]) <= TRADES_KEPT


def test_the_market_of_another_mode_is_another_link(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.worker.reopen(TradingMode.PRACTICE)
    qtbot.waitUntil(lambda: rig.venue.closed == 1 and len(rig.venue.watched) == 2, timeout=LIMIT)
    rig.venue.refusals = [UserError("Nothing answers.", "")]
    rig.worker.reopen(TradingMode.PAPER)
    qtbot.waitUntil(lambda: bool(rig.window.of(ConnectionStatus)), timeout=LIMIT)
    assert rig.window.of(ConnectionStatus)[-1].mode is TradingMode.PAPER
    qtbot.waitUntil(lambda: len(rig.venue.watched) >= 3, timeout=LIMIT)


def test_other_markets_are_dropped(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.worker.watch(ETH, "5m")
    qtbot.waitUntil(lambda: rig.venue.watched[-1] == (ETH, Timeframe.M5), timeout=LIMIT)
    send(rig, "on_candle", candle(1))
    send(rig, "on_book", book(1))
    send(rig, "on_ticker", ticker(1.0))
    send(rig, "on_trades", (trade(1),))
    send(rig, "on_history", CandleFrame.concat([], BTC, Timeframe.M1))
    send(rig, "on_ticker", ticker(5.0, ETH))
    qtbot.waitUntil(lambda: rig.window.got == [ticker(5.0, ETH)], timeout=LIMIT)
    assert rig.window.candles == []


def test_switching_drops_what_was_not_shown_yet(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.worker.on_candle(candle(1))
    rig.worker.on_book(book(1))
    rig.worker.watch(ETH, "1m")
    settle()
    assert rig.window.candles == []
    assert rig.window.got == []


def history(count: int = 1) -> CandleFrame:
    return CandleFrame.from_candles([candle(number) for number in range(count)], BTC, Timeframe.M1)


def test_a_failure_shows_only_where_nothing_is_drawn(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    frame = history()
    send(rig, "on_failure", "No such market.")
    qtbot.waitUntil(lambda: len(rig.window.failures) == 1, timeout=LIMIT)
    send(rig, "on_history", frame)
    send(rig, "on_failure", "Cut off.")  # what is drawn stays
    send(rig, "on_ticker", ticker(1.0))
    qtbot.waitUntil(lambda: len(rig.window.got) == 2, timeout=LIMIT)
    assert rig.window.got == [frame, ticker(1.0)]  # and nothing of the link: the gateway alone tells how that is
    assert [message for message, _ in rig.window.failures] == ["No such market."]


def test_trouble_is_told_and_the_feed_comes_back(qtbot: QtBot, rig: Rig) -> None:
    rig.venue.refusals = [RetryableError("down")] * 3
    rig.venue.run_error = UserError("Cut off.", "")
    rig.worker.start()
    qtbot.waitUntil(lambda: len(rig.venue.watched) == 2, timeout=LIMIT)
    qtbot.waitUntil(lambda: len(rig.window.of(tuple)) == 2, timeout=LIMIT)
    told = rig.window.of(ConnectionStatus)
    assert [(status.state, status.detail) for status in told] == [
        (ConnectionState.OFFLINE, "down"),
        (ConnectionState.OFFLINE, "Cut off."),
    ]
    assert rig.worker.stop(10)
    assert rig.venue.closed == 2


def test_watching_the_same_market_again_brings_its_history_again(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.worker.watch(BTC, "1m")
    qtbot.waitUntil(lambda: rig.venue.watched == [(BTC, Timeframe.M1)] * 2, timeout=LIMIT)


def test_market_chosen_while_disconnected_is_watched_at_once(qtbot: QtBot, rig: Rig) -> None:
    rig.worker.watch(ETH, "1h")
    rig.worker.start()
    qtbot.waitUntil(lambda: (ETH, Timeframe.H1) in rig.venue.watched, timeout=LIMIT)
    assert (BTC, Timeframe.M1) not in rig.venue.watched


def test_many_cycles(qtbot: QtBot, qapp: object) -> None:
    for number in range(40):
        rig = Rig()
        rig.worker.start()
        rig.worker.watch(ETH, "1m")
        if number % 2:
            qtbot.wait(1)
        assert rig.worker.stop(10)


class Gateway:
    """A gateway with three bars of the past whose stream closes one more and moves another."""

    venue = "binance"

    def __init__(self) -> None:
        self.instruments: dict[str, Any] = {}

    def clear_trouble(self, source: str) -> None:
        return

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, **_limits: Any) -> list[Candle]:
        return [candle(number) for number in range(3)]

    async def watch_candles(self, symbol: str, timeframe: Timeframe) -> AsyncIterator[Candle]:
        yield candle(3)
        yield candle(4, final=False)
        await asyncio.Event().wait()

    async def watch_book(self, symbol: str, depth: int = 20) -> AsyncIterator[BookSnapshot]:
        yield book(7)
        await asyncio.Event().wait()

    async def watch_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        yield ticker(1.5)
        await asyncio.Event().wait()

    async def watch_trades(self, symbol: str) -> AsyncIterator[Sequence[PublicTrade]]:
        yield (trade(1),)
        await asyncio.Event().wait()


class Link:
    def __init__(self) -> None:
        self.gateway: Any = Gateway()
        self.origin = PRACTICE

    async def close(self) -> None:
        return


def test_real_feed_from_gateway_to_window(qtbot: QtBot, qapp: object) -> None:
    online = ConnectionStatus("binance", "market", TradingMode.PRACTICE, ConnectionState.ONLINE)

    async def open_link(told: Any) -> Link:
        told(online)
        return Link()

    books = Books()
    worker = MarketWorker(open_link, BTC, Timeframe.M1, venue="binance", mode=TradingMode.PRACTICE, books=books)
    window = Window(worker)
    worker.start()
    qtbot.waitUntil(lambda: window.candles == [candle(3), candle(4, final=False)], timeout=LIMIT)
    qtbot.waitUntil(lambda: (trade(1),) in window.of(tuple), timeout=LIMIT)
    assert window.of(BookSnapshot) == [book(7)]
    assert window.of(Ticker) == [ticker(1.5)]
    (frame,) = window.of(CandleFrame)
    assert frame.time_ns.tolist() == [0, NS, 2 * NS]
    assert books.kept == [candle(number) for number in range(4)]
    assert worker.origin == PRACTICE
    assert window.of(ConnectionStatus) == [online]
    assert worker.stop(10)
