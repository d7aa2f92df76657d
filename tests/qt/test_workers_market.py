"""Market data beside the window: nothing closed is lost, nothing of another market is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QObject, Slot
from pytestqt.qtbot import QtBot

from app.workers.market import TRADES_KEPT, MarketSink, MarketWorker
from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.market import BookSnapshot, PublicTrade, Ticker
from core.domain.orders import Side, TradingMode
from core.errors import UserError
from core.events import ConnectionState, ConnectionStatus
from core.execution.api.gateway import RetryableError
from tests.qt.conftest import settle

LIMIT = 10_000
BTC, ETH = "BTC/USDT", "ETH/USDT"
NS = 60_000_000_000


def candle(number: int, *, final: bool = True, symbol: str = BTC, close: float = 1.0) -> Candle:
    return Candle(symbol, Timeframe.M1, number * NS, 1, 2, 0.5, close, 1, final, "stream")


def trade(number: int, symbol: str = BTC) -> PublicTrade:
    return PublicTrade(symbol, str(number), 1.0, 1.0, Side.BUY, number)


def book(sequence: int, symbol: str = BTC) -> BookSnapshot:
    return BookSnapshot(symbol, ((1.0, 1.0),), ((2.0, 1.0),), sequence, sequence)


def ticker(last: float, symbol: str = BTC) -> Ticker:
    return Ticker(symbol, last, None, None, None, None, 0)


class Venue:
    """What the test sets up: sessions that do nothing by themselves."""

    def __init__(self) -> None:
        self.refusals: list[Exception] = []
        self.watched: list[tuple[str, Timeframe]] = []
        self.closed = 0
        self.sink: MarketSink | None = None
        self.run_error: Exception | None = None

    async def open(self, sink: MarketSink) -> Venue:
        if self.refusals:
            raise self.refusals.pop(0)
        self.sink = sink
        return self

    async def watch(self, symbol: str, timeframe: Timeframe) -> None:
        self.watched.append((symbol, timeframe))

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

    def append_candles(self, venue: str, candles: Sequence[Candle]) -> bool:
        assert venue == "binance"
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
            worker.instruments_loaded, worker.history_arrived, worker.book_changed, worker.ticker_changed,
            worker.trades_arrived, worker.connection_changed, worker.trouble,
        ):  # fmt: skip
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
            self.venue.open, BTC, Timeframe.M1, venue="binance", books=self.books, retry_s=(0.01,)
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
    qtbot.waitUntil(lambda: rig.venue.watched == [(BTC, Timeframe.M1)], timeout=LIMIT)


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
    assert rig.books.kept == closed


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


def test_history_connection_and_markets_are_passed_on(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    frame = CandleFrame(
        np.array([0], np.int64), *(np.ones(1) for _ in range(5)), np.array([True]), BTC, Timeframe.M1
    )  # fmt: skip
    status = ConnectionStatus("binance", "market", TradingMode.PRACTICE, ConnectionState.ONLINE)
    send(rig, "on_history", frame)
    send(rig, "on_connection", status)
    send(rig, "on_instruments", [])
    send(rig, "on_history_failed", UserError("No history.", "Wait."))
    qtbot.waitUntil(lambda: rig.window.failures == [("No history.", "Wait.")], timeout=LIMIT)
    assert rig.window.got == [frame, status, ()]


def test_trouble_is_told_and_the_feed_comes_back(qtbot: QtBot, rig: Rig) -> None:
    rig.venue.refusals = [RetryableError("down")] * 3
    rig.venue.run_error = UserError("Cut off.", "")
    rig.worker.start()
    qtbot.waitUntil(lambda: len(rig.venue.watched) == 2, timeout=LIMIT)
    qtbot.waitUntil(lambda: len(rig.window.of(UserError)) == 2, timeout=LIMIT)
    assert [str(error) for error in rig.window.of(UserError)] == ["down", "Cut off."]
    assert rig.worker.stop(10)
    assert rig.venue.closed == 2


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
