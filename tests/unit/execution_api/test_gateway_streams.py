"""CcxtGateway's streams against the double: finality, back-fill, silence, account events, prompt close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from core.clock import ManualClock
from core.domain.candles import Timeframe
from core.domain.orders import OrderState, Side, TradingMode
from core.events import ConnectionState, ConnectionStatus
from core.execution.api.binance_api import BinanceDialect
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.gateway import BalanceReport, FatalGatewayError, GatewayError, OrderReport, RetryableError
from core.execution.api.venue_profile import Capabilities
from tests.unit.execution_api.venue_double import (
    KEY,
    MINUTE_MS,
    SECRET,
    T0_MS,
    VenueDouble,
    depth_frame,
    kline,
    kline_event,
    tape_row,
    trade_frame,
)


class Reader:
    """Collects a stream in the background."""

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.items: list[Any] = []
        self.error: BaseException | None = None
        self._stream = stream
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with aclosing(self._stream) as stream:  # type: ignore[type-var]
                async for item in stream:
                    self.items.append(item)
        except GatewayError as exc:
            self.error = exc

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def ids(reader: Reader) -> list[int]:
    return [int(trade.trade_id) for batch in reader.items for trade in batch]


def finals(reader: Reader) -> list[int]:
    return [(c.open_time_ns // 1_000_000 - T0_MS) // MINUTE_MS for c in reader.items if c.final]


async def test_bars_are_final_once_with_back_fill(gateway: CcxtGateway, venue: VenueDouble) -> None:
    reader = Reader(gateway.watch_candles("BTC/USDT", Timeframe.M1))
    await venue.until(lambda: "btcusdt@kline_1m" in venue.subscriptions)
    await venue.publish(kline_event(0, 100.5, closed=False))
    await venue.until(lambda: len(reader.items) == 1)
    await venue.publish(kline_event(0, 101, closed=True))
    await venue.publish(kline_event(0, 101, closed=True))  # duplicated frame
    await venue.publish(kline_event(1, 102, closed=False))
    await venue.until(lambda: len(reader.items) >= 3)
    assert finals(reader) == [0]
    assert venue.sent("GET /api/v3/klines") == []  # the venue's own flag needs no second reading
    venue.klines = [kline(i, close=200 + i) for i in range(6)]
    await venue.publish(kline_event(5, 105, closed=False))  # bars 1 to 4 were lost
    await venue.until(lambda: len(finals(reader)) == 5)
    await reader.stop()
    assert finals(reader) == [0, 1, 2, 3, 4]
    by_time = {c.open_time_ns: c for c in reader.items if c.final}
    assert [c.close for c in by_time.values()] == [101, 201, 202, 203, 204]
    assert [c.open_time_ns for c in reader.items] == sorted(c.open_time_ns for c in reader.items)
    await venue.until(lambda: venue.subscriptions == [])


async def test_silent_stream_is_replaced_by_rest_and_recovers(
    venue: VenueDouble, market_clock: ManualClock, statuses: list[ConnectionStatus]
) -> None:
    profile = replace(venue.profile(), stream_silence_s=0.2)
    gateway = CcxtGateway(
        profile, TradingMode.PRACTICE, None, market_clock=market_clock, on_connection=statuses.append, link="market"
    )
    await gateway.connect()
    venue.klines = [kline(0), kline(1)]
    market_clock.set((T0_MS + MINUTE_MS + 1) * 1_000_000)
    reader = Reader(gateway.watch_candles("BTC/USDT", Timeframe.M1))
    await venue.until(lambda: finals(reader) == [0], 8)
    assert gateway.connection.state is ConnectionState.DEGRADED
    assert "REST" in gateway.connection.detail
    venue.klines.append(kline(2))
    market_clock.set((T0_MS + 2 * MINUTE_MS + 1) * 1_000_000)
    await venue.until(lambda: finals(reader) == [0, 1], 8)
    async with asyncio.timeout(8):
        while finals(reader) != [0, 1, 2]:  # what is said while it subscribes anew is not heard
            await venue.publish(kline_event(2, 7, closed=True))
            await asyncio.sleep(0.05)
    assert gateway.connection.state is ConnectionState.ONLINE
    assert {s.link for s in statuses} == {"market"}
    await reader.stop()
    await gateway.close()


async def test_dropped_stream_is_subscribed_again(gateway: CcxtGateway, venue: VenueDouble) -> None:
    reader = Reader(gateway.watch_candles("BTC/USDT", Timeframe.M1))
    await venue.until(lambda: len(venue.subscriptions) == 1)
    await venue.publish(kline_event(0, 100, closed=True))
    await venue.until(lambda: finals(reader) == [0])
    await venue.drop_streams()
    await venue.until(lambda: len(venue.subscriptions) == 2)
    venue.klines = [kline(i) for i in range(4)]
    await venue.publish(kline_event(3, 100, closed=False))
    await venue.until(lambda: len(finals(reader)) >= 3)
    assert finals(reader) == [0, 1, 2]
    await reader.stop()


async def test_trades_come_once_and_end_with_an_error(gateway: CcxtGateway, venue: VenueDouble) -> None:
    reader = Reader(gateway.watch_trades("BTC/USDT"))
    await venue.until(lambda: "btcusdt@aggTrade" in venue.subscriptions)
    for i in range(50):
        await venue.publish(trade_frame(i))
        await venue.publish(trade_frame(i))  # duplicated frame
        await venue.publish({**trade_frame(1_000), "s": "ETHUSDT"})
    await venue.until(lambda: len(ids(reader)) == 50)
    assert ids(reader) == list(range(50))
    first = reader.items[0][0]
    assert (first.price, first.quantity, first.side) == (100.5, 0.1, Side.SELL)
    await venue.drop_streams()
    await venue.until(lambda: reader.error is not None)
    assert isinstance(reader.error, RetryableError)


async def test_book_follows_its_deltas(gateway: CcxtGateway, venue: VenueDouble) -> None:
    reader = Reader(gateway.watch_book("BTC/USDT", 2))
    await venue.until(lambda: "btcusdt@depth@100ms" in venue.subscriptions)
    await venue.publish(depth_frame(90, 100, [["50", "1"]]))  # older than the snapshot
    await venue.until(lambda: len(venue.sent("GET /api/v3/depth")) == 1)
    await venue.until(lambda: bool(reader.items))
    await venue.publish(depth_frame(101, 102, [["99.5", "4"], ["98.00", "0"]]))
    await venue.until(lambda: reader.items[-1].sequence == 102)
    book = reader.items[-1]
    assert (book.bids, book.asks) == (((99.5, 4.0), (99.0, 1.0)), ((101.0, 3.0),))
    assert len(venue.sent("GET /api/v3/depth")) == 1
    assert await gateway.fetch_book("BTC/USDT") is not None  # ccxt's own cache is not asked
    await reader.stop()
    await venue.until(lambda: venue.subscriptions == [])


async def test_a_lost_or_impossible_change_of_the_book_is_never_served(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    """A book with a hole or crossed sides was served for hours (ccxt#29210, hummingbot#1926)."""
    reader = Reader(gateway.watch_book("BTC/USDT", 5))
    await venue.until(lambda: bool(reader.items))
    snapshot = {"lastUpdateId": 200, "bids": [["90.00", "1"]], "asks": [["91.00", "3"]]}
    venue._get_depth = lambda _: snapshot  # type: ignore[method-assign]
    await venue.publish(depth_frame(103, 104, [["99.9", "7"]]))  # 101 and 102 are missing
    await venue.until(lambda: reader.items[-1].sequence == 200)
    assert (reader.items[-1].bids, reader.items[-1].asks) == (((90.0, 1.0),), ((91.0, 3.0),))  # nothing of the old one
    snapshot = {"lastUpdateId": 300, "bids": [["80.00", "1"]], "asks": [["81.00", "3"]]}
    await venue.publish(depth_frame(201, 202, [["95", "1"]]))  # crosses the ask at 91
    await venue.until(lambda: reader.items[-1].sequence == 300)
    await venue.publish(depth_frame(301, 301, [["80.5", "2"]]))
    await venue.until(lambda: reader.items[-1].sequence == 301)
    assert [book.sequence for book in reader.items] == [100, 200, 300, 301]
    assert all(book.bids[0][0] < book.asks[0][0] for book in reader.items)
    assert reader.error is None
    await reader.stop()


async def test_two_readers_of_one_book_do_not_disturb_each_other(gateway: CcxtGateway, venue: VenueDouble) -> None:
    first, second = Reader(gateway.watch_book("BTC/USDT", 5)), Reader(gateway.watch_book("BTC/USDT", 1))
    await venue.until(lambda: bool(first.items) and bool(second.items))
    assert venue.subscriptions == ["btcusdt@depth@100ms"]
    await first.stop()
    await venue.publish(depth_frame(101, 101, [["99.5", "4"]]))
    await venue.until(lambda: second.items[-1].sequence == 101)
    assert venue.subscriptions == ["btcusdt@depth@100ms"]
    await second.stop()
    await venue.until(lambda: venue.subscriptions == [])


async def test_trades_missed_while_the_connection_was_gone_are_read_again(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    """After a reconnection the tape simply went on, with a hole (ccxt#26945)."""
    reader = Reader(gateway.watch_trades("BTC/USDT"))
    await venue.until(lambda: "btcusdt@aggTrade" in venue.subscriptions)
    await venue.publish(trade_frame(10))
    await venue.until(lambda: ids(reader) == [10])
    await venue.drop_streams()
    await venue.until(lambda: reader.error is not None)
    venue.tape = [tape_row(i) for i in range(2_600)]
    again = Reader(gateway.watch_trades("BTC/USDT"))
    await venue.until(lambda: len(venue.subscriptions) == 2)
    await venue.publish(trade_frame(2_598))
    await venue.publish(trade_frame(2_600))
    venue.tape.append(tape_row(2_600))
    await venue.until(lambda: bool(ids(again)) and ids(again)[-1] == 2_600)
    assert ids(again) == list(range(11, 2_601))
    await again.stop()
    await venue.until(lambda: venue.subscriptions == [])
    fresh = Reader(gateway.watch_trades("BTC/USDT"))  # left on purpose: nothing to catch up with
    await venue.until(lambda: len(venue.subscriptions) == 1)
    await venue.publish(trade_frame(9_000))
    await venue.until(lambda: ids(fresh) == [9_000])
    await fresh.stop()


async def test_a_storm_of_reconnections_leaves_nothing_behind(gateway: CcxtGateway, venue: VenueDouble) -> None:
    """Connections were opened anew and never let go until memory ran out (freqtrade#10597, #10873, #10933)."""

    async def storm(times: int) -> tuple[int, int, int]:
        for _ in range(times):
            readers = [Reader(gateway.watch_trades("BTC/USDT")), Reader(gateway.watch_book("BTC/USDT", 5))]
            await venue.until(lambda: len(venue.subscriptions) >= 2)
            await venue.until(lambda readers=readers: bool(readers[1].items))  # type: ignore[misc]
            venue.subscriptions.clear()
            await venue.drop_streams()
            await venue.until(lambda readers=readers: all(r.error is not None for r in readers))  # type: ignore[misc]
            await asyncio.gather(*(reader.task for reader in readers))
        await asyncio.sleep(0.1)
        client = gateway._client
        return len(client._raw_handlers), len(client.exchange.clients), len(asyncio.all_tasks())

    few = await storm(2)
    many = await storm(12)
    assert few[:2] == many[:2] == (0, 0)
    assert many[2] <= few[2] + 1


async def test_a_book_that_is_only_quiet_goes_on(venue: VenueDouble, market_clock: ManualClock) -> None:
    """REST may know a change a moment before the stream tells it: that is no dead stream."""
    profile = replace(venue.profile(), stream_silence_s=0.3)
    gateway = CcxtGateway(profile, TradingMode.PRACTICE, None, market_clock=market_clock)
    await gateway.connect()
    reader = Reader(gateway.watch_book("BTC/USDT", 2))
    await venue.until(lambda: bool(reader.items))
    await venue.until(lambda: len(venue.sent("GET /api/v3/depth")) == 3)  # asked twice, nothing has happened
    moved = {"lastUpdateId": 101, "bids": [["99.50", "4"], ["99.00", "1"]], "asks": [["101.00", "3"]]}
    venue._get_depth = lambda _: moved  # type: ignore[method-assign]
    await venue.until(lambda: len(venue.sent("GET /api/v3/depth")) == 4)
    await venue.publish(depth_frame(101, 101, [["99.5", "4"]]))
    await venue.until(lambda: reader.items[-1].sequence == 101)
    assert reader.error is None
    await gateway.close()


async def test_a_trade_that_the_stream_lost_is_put_in_its_place(venue: VenueDouble, market_clock: ManualClock) -> None:
    profile = replace(venue.profile(), capabilities=Capabilities(dense_trade_ids=True))
    gateway = CcxtGateway(profile, TradingMode.PRACTICE, None, market_clock=market_clock)
    await gateway.connect()
    reader = Reader(gateway.watch_trades("BTC/USDT"))
    await venue.until(lambda: "btcusdt@aggTrade" in venue.subscriptions)
    venue.tape = [tape_row(i) for i in range(6)]
    for i in (1, 2, 5, 4, 3):
        await venue.publish(trade_frame(i))
    await venue.until(lambda: len(ids(reader)) == 5)
    assert ids(reader) == [1, 2, 3, 4, 5]
    await gateway.close()


async def test_a_stream_that_is_silent_while_the_market_moves_is_subscribed_anew(
    venue: VenueDouble, market_clock: ManualClock
) -> None:
    """Sockets that stay open and say nothing were trusted for ever (hummingbot#8250, freqtrade#10597)."""
    profile = replace(venue.profile(), stream_silence_s=0.3)
    gateway = CcxtGateway(profile, TradingMode.PRACTICE, None, market_clock=market_clock)
    await gateway.connect()
    venue.tape = [tape_row(1)]
    trades, ticker = Reader(gateway.watch_trades("BTC/USDT")), Reader(gateway.watch_ticker("BTC/USDT"))
    await venue.until(lambda: len(venue.subscriptions) == 2)
    await venue.publish(trade_frame(1))
    await venue.until(lambda: ids(trades) == [1])
    await asyncio.sleep(0.5)
    assert trades.error is None  # a quiet market is no broken stream
    venue.tape = [tape_row(i) for i in range(4)]
    await venue.until(lambda: trades.error is not None)
    assert ids(trades) == [1, 2, 3]
    await venue.until(lambda: len(ticker.items) >= 2)
    assert ticker.error is None
    venue.last_price = "101"
    await venue.until(lambda: ticker.error is not None)
    assert [t.last for t in ticker.items][-2:] == [100, 101]
    assert "went silent" in str(trades.error)
    assert "went silent" in str(ticker.error)
    again = Reader(gateway.watch_trades("BTC/USDT"))
    await venue.until(lambda: venue.subscriptions.count("btcusdt@aggTrade") == 1)
    await again.stop()
    await gateway.close()


async def test_a_candle_stream_that_is_silent_is_subscribed_anew(venue: VenueDouble, market_clock: ManualClock) -> None:
    profile = replace(venue.profile(), stream_silence_s=0.2)
    gateway = CcxtGateway(profile, TradingMode.PRACTICE, None, market_clock=market_clock)
    await gateway.connect()
    reader = Reader(gateway.watch_candles("BTC/USDT", Timeframe.M1))
    await venue.until(lambda: venue.subscriptions == ["btcusdt@kline_1m"])
    venue.subscriptions.clear()  # the venue forgets it and says nothing
    venue.klines = [kline(0), kline(1)]
    await venue.until(lambda: venue.subscriptions == ["btcusdt@kline_1m"], 8)
    async with asyncio.timeout(8):
        while finals(reader) != [0, 1]:
            await venue.publish(kline_event(1, 7, closed=True))
            await asyncio.sleep(0.05)
    await reader.stop()
    await gateway.close()


async def test_silent_book_that_moved_on_is_reported_stale(venue: VenueDouble, market_clock: ManualClock) -> None:
    profile = replace(venue.profile(), stream_silence_s=0.3)
    gateway = CcxtGateway(profile, TradingMode.PRACTICE, None, market_clock=market_clock)
    await gateway.connect()
    reader = Reader(gateway.watch_book("BTC/USDT", 2))
    await venue.until(lambda: len(reader.items) >= 1)
    moved = {"lastUpdateId": 900, "bids": [["88.00", "1"]], "asks": [["101.00", "3"]]}
    venue._get_depth = lambda _: moved  # type: ignore[method-assign]
    await venue.until(lambda: reader.error is not None)
    assert "stale" in str(reader.error)
    await gateway.close()


class LibraryDialect(BinanceDialect):
    """A venue whose own messages we do not read: ccxt's caches have to do."""

    def depth_stream(self, venue_symbol: str) -> str:
        return ""

    def trade_stream(self, venue_symbol: str) -> str:
        return ""


@pytest.fixture
async def library(venue: VenueDouble, market_clock: ManualClock) -> AsyncIterator[CcxtGateway]:
    profile = replace(venue.profile(), dialect=LibraryDialect(), stream_silence_s=0.4)
    made = CcxtGateway(profile, TradingMode.PRACTICE, None, market_clock=market_clock)
    await made.connect()
    yield made
    await made.close()


async def test_without_ids_that_rest_knows_the_librarys_tape_is_read(library: CcxtGateway, venue: VenueDouble) -> None:
    tape = Reader(library.watch_trades("BTC/USDT"))
    await venue.until(lambda: venue.subscriptions == ["btcusdt@trade"])
    for i in range(30):
        trade = {"e": "trade", "E": T0_MS, "s": "BTCUSDT", "t": i, "p": "100.5", "q": "0.25", "T": T0_MS, "m": False}
        await venue.publish(trade)
    await venue.until(lambda: len(ids(tape)) == 30)
    assert ids(tape) == list(range(30))
    await tape.stop()


async def test_without_numbered_changes_the_librarys_book_is_read(library: CcxtGateway, venue: VenueDouble) -> None:
    book = Reader(library.watch_book("BTC/USDT", 2))
    await venue.until(lambda: len(venue.sent("GET /api/v3/depth")) >= 1)
    await asyncio.sleep(0.05)
    await venue.publish(depth_frame(101, 102, [["99.5", "4"]]))
    await venue.until(lambda: bool(book.items) and book.items[-1].sequence == 102)
    assert book.items[-1].bids == ((99.5, 4.0), (99.0, 1.0))
    moved = {"lastUpdateId": 900, "bids": [["88.00", "1"]], "asks": [["101.00", "3"]]}
    venue._get_depth = lambda _: moved  # type: ignore[method-assign]
    await venue.until(lambda: book.error is not None)
    assert "stale" in str(book.error)


async def test_ticker(gateway: CcxtGateway, venue: VenueDouble) -> None:
    reader = Reader(gateway.watch_ticker("BTC/USDT"))
    await venue.until(lambda: "btcusdt@miniTicker" in venue.subscriptions)
    mini = {"e": "24hrMiniTicker", "E": T0_MS, "s": "BTCUSDT", "c": "110", "o": "100", "h": "1", "l": "1", "v": "7"}
    await venue.publish({**mini, "q": "1"})
    await venue.until(lambda: len(reader.items) == 1)
    assert reader.items[0].last == 110
    assert reader.items[0].change_24h == pytest.approx(0.1)
    await reader.stop()


EXECUTION = {
    "e": "executionReport",
    "E": T0_MS,
    "s": "BTCUSDT",
    "c": "maru-1",
    "S": "BUY",
    "o": "LIMIT",
    "f": "GTC",
    "q": "0.00200000",
    "p": "100.00000000",
    "P": "0.00000000",
    "C": "",
    "x": "NEW",
    "X": "NEW",
    "r": "NONE",
    "i": 5,
    "l": "0.00000000",
    "z": "0.00000000",
    "L": "0.00000000",
    "n": "0",
    "N": None,
    "T": T0_MS,
    "t": -1,
    "m": False,
    "Z": "0.00000000",
}


def trade_report(trade_id: int, cumulative: str, status: str) -> dict[str, Any]:
    changes = {"x": "TRADE", "X": status, "l": "0.00100000", "L": "100.00000000", "z": cumulative, "t": trade_id}
    return {**EXECUTION, **changes, "n": "0.00000100", "N": "BTC", "Z": str(Decimal(cumulative) * 100), "m": True}


async def test_account_events_are_complete_even_in_a_burst(gateway: CcxtGateway, venue: VenueDouble) -> None:
    reader = Reader(gateway.watch_user())
    await venue.until(lambda: len(reader.items) == 1)
    assert isinstance(reader.items[0], BalanceReport)
    await asyncio.gather(
        venue.publish(EXECUTION, user=True),
        venue.publish(trade_report(1, "0.00100000", "PARTIALLY_FILLED"), user=True),
        venue.publish(trade_report(2, "0.00200000", "FILLED"), user=True),
        venue.publish(
            {"e": "outboundAccountPosition", "E": T0_MS, "u": T0_MS, "B": [{"a": "BTC", "f": "0.002", "l": "0"}]},
            user=True,
        ),
    )
    await venue.until(lambda: len(reader.items) == 5)
    reports = [item for item in reader.items if isinstance(item, OrderReport)]
    assert [r.state for r in reports] == [OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.FILLED]
    fills = [fill for r in reports for fill in r.fills]
    assert [(f.trade_id, f.quantity, f.fee, f.fee_currency) for f in fills] == [
        ("1", Decimal("0.001"), Decimal("0.000001"), "BTC"),
        ("2", Decimal("0.001"), Decimal("0.000001"), "BTC"),
    ]
    assert reports[-1].average_price == Decimal(100)
    assert reader.items[-1].balances[0].free == Decimal("0.002")
    cancelled = {**EXECUTION, "x": "CANCELED", "X": "CANCELED", "c": "cancel-request", "C": "maru-1"}
    await venue.publish(cancelled, user=True)
    await venue.until(lambda: len(reader.items) == 6)
    assert (reader.items[-1].client_order_id, reader.items[-1].state) == ("maru-1", OrderState.CANCELED)
    await venue.drop_streams()
    await venue.until(lambda: reader.error is not None)
    assert isinstance(reader.error, RetryableError)


async def test_a_balance_before_ccxt_watches_orders_does_not_end_the_stream(
    gateway: CcxtGateway, venue: VenueDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance = {"e": "outboundAccountPosition", "E": T0_MS, "u": T0_MS, "B": [{"a": "BTC", "f": "0.002", "l": "0"}]}
    watch = gateway._client.live.watch_orders

    async def late(*args: Any) -> Any:
        await venue.publish(balance, user=True)
        await asyncio.sleep(0.1)
        return await watch(*args)

    monkeypatch.setattr(gateway._client.live, "watch_orders", late)
    reader = Reader(gateway.watch_user())
    await venue.until(lambda: len(reader.items) == 2)
    await venue.publish(EXECUTION, user=True)
    await venue.until(lambda: len(reader.items) == 3)
    assert reader.error is None


async def test_an_account_message_not_understood_ends_the_stream_instead_of_silencing_it(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    reader = Reader(gateway.watch_user())
    await venue.until(lambda: len(reader.items) == 1)
    await asyncio.sleep(0.1)
    await venue.publish({"e": "executionReport", "s": "BTCUSDT"}, user=True)
    await venue.until(lambda: reader.error is not None)
    assert isinstance(reader.error, RetryableError)
    assert "not understood" in reader.error.message


async def test_an_account_stream_without_any_sign_of_life_ends(venue: VenueDouble, market_clock: ManualClock) -> None:
    """Updates of own orders stopped and nobody noticed (ccxt#22719, #19152, #27412)."""
    profile = replace(venue.profile(), ping_interval_s=0.2)
    gateway = CcxtGateway(profile, TradingMode.PRACTICE, Credentials(KEY, SECRET), market_clock=market_clock)
    await gateway.connect()
    reader = Reader(gateway.watch_user())
    await venue.until(lambda: len(reader.items) == 1)
    await asyncio.sleep(2.5)
    assert reader.error is None  # nothing happens on the account, yet pongs come
    for _, connection in list(_connections(gateway)):
        connection.keepAlive = 1_000_000_000  # ccxt's own watch sleeps, as it does after the wall clock was set back
        connection.ping_looper.cancel()
    await venue.until(lambda: reader.error is not None)
    assert "silent" in str(reader.error)
    again = Reader(gateway.watch_user())
    await venue.until(lambda: len(again.items) == 1)
    await venue.publish(EXECUTION, user=True)
    await venue.until(lambda: len(again.items) == 2)
    await gateway.close()


def _connections(gateway: CcxtGateway) -> Any:
    return gateway._client.exchange.clients.items()


async def test_an_account_stream_that_was_silently_replaced_ends(gateway: CcxtGateway, venue: VenueDouble) -> None:
    """An update between two connections is lost for good, so whoever listens has to compare (ccxt#23251)."""
    reader = Reader(gateway.watch_user())
    await venue.until(lambda: len(reader.items) == 1)
    clients = gateway._client.exchange.clients
    address = next(url for url in clients if "ws-api" in url)
    clients[address] = object()
    await venue.until(lambda: reader.error is not None)
    assert "reconnected" in str(reader.error)
    del clients[address]


async def test_account_stream_with_a_refused_key(venue: VenueDouble, market_clock: ManualClock) -> None:
    gateway = CcxtGateway(venue.profile(), TradingMode.PRACTICE, Credentials(KEY, SECRET), market_clock=market_clock)
    await gateway.connect()
    gateway._client.exchange.apiKey = "revoked"
    with pytest.raises(FatalGatewayError, match="-2015"):
        await anext(gateway.watch_user())
    await gateway.close()


async def test_close_ends_every_stream(gateway: CcxtGateway, venue: VenueDouble) -> None:
    readers = [
        Reader(gateway.watch_candles("BTC/USDT", Timeframe.M1)),
        Reader(gateway.watch_trades("BTC/USDT")),
        Reader(gateway.watch_book("BTC/USDT")),
        Reader(gateway.watch_ticker("BTC/USDT")),
        Reader(gateway.watch_user()),
    ]
    await venue.until(lambda: len(venue.subscriptions) == 4 and len(readers[4].items) == 1)
    async with asyncio.timeout(30):
        await gateway.close()
    for reader in readers[1:]:
        async with asyncio.timeout(2):
            await reader.task
        assert isinstance(reader.error, RetryableError)
    await readers[0].stop()
