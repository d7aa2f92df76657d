"""The paper gateway: no keys, a book that holds on arrival, and what happened while nobody listened."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from core.clock import NS_PER_S
from core.domain.candles import Timeframe
from core.domain.orders import OrderState, OrderType, Side, TradingMode
from core.errors import UserError
from core.events import ConnectionState
from core.execution.api.binance_api import binance_profile
from core.execution.api.ccxt_gateway import CcxtGateway
from core.execution.api.gateway import (
    AmbiguousOutcome,
    BalanceReport,
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    NoAnswer,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
    SendRevoked,
    UserEvent,
)
from core.execution.paper import feed as feed_module
from core.execution.paper.gateway import PaperGateway, PaperOptions
from tests.unit.execution.fake_venue import START_NS
from tests.unit.execution.paper.conftest import AT_ONCE, Paper, until
from tests.unit.execution.paper.market_double import SYMBOL, MarketDouble

D = Decimal
MINUTE_NS = 60 * NS_PER_S
BUY = OrderRequest("buy", SYMBOL, Side.BUY, OrderType.MARKET, D(1))
REST = OrderRequest("rest", SYMBOL, Side.BUY, OrderType.LIMIT, D(1), D(98))


def test_a_gateway_with_keys_or_for_real_orders_is_refused(paper: Paper) -> None:
    file = paper.file()
    for market in (MarketDouble(has_keys=True), MarketDouble(mode=TradingMode.LIVE)):
        with pytest.raises(FatalGatewayError, match="takes no keys"):
            PaperGateway(market, file, market_clock=market.clock)
    file.close()


async def test_the_real_market_gateway_without_keys_is_taken_and_cannot_reach_an_account(paper: Paper) -> None:
    market = CcxtGateway(binance_profile(), TradingMode.PAPER, None, market_clock=paper.market.clock)
    gateway = PaperGateway(market, paper.file(), market_clock=paper.market.clock)
    assert (gateway.venue, gateway.mode) == ("binance", TradingMode.PAPER)
    for request in (market.fetch_balances(), market.submit_order(BUY), market.fetch_open_orders()):
        with pytest.raises(FatalGatewayError, match="no keys"):
            await request
    await gateway.close()
    assert market.connection.state is ConnectionState.OFFLINE


async def test_an_order_meets_the_book_that_holds_on_arrival(paper: Paper) -> None:
    travelled: list[float] = []

    async def travel(seconds: float) -> None:
        travelled.append(seconds)
        paper.market.set_book(((199.0, 1.0),), ((200.0, 5.0),))

    options = PaperOptions(latency_s=0.05, jitter_s=0.02, seed=3)
    clock = paper.market.clock
    gateway = PaperGateway(
        paper.market, paper.file(), market_clock=clock, wall_clock=clock, options=options, sleep=travel
    )
    paper.opened.append(gateway)
    await gateway.connect()
    assert (await gateway.submit_order(BUY)).average_price == 200
    await gateway.fetch_balances()
    await gateway.fetch_open_orders()
    assert all(0.05 <= seconds <= 0.07 for seconds in travelled)
    assert len(set(travelled)) == 3


async def test_the_market_that_prices_the_fees_is_followed_too(paper: Paper) -> None:
    gateway = await paper.connected(replace(AT_ONCE, fees_in="ETH"))
    await gateway.submit_order(OrderRequest("eth", "ETH/USDT", Side.BUY, OrderType.MARKET, D(10)))
    report = await gateway.submit_order(BUY)
    assert [(fill.fee, fill.fee_currency) for fill in report.fills] == [(D("0.01"), "ETH")]  # at 10 USDT each


async def test_an_order_that_never_arrived_can_be_proven_lost_as_at_a_real_venue(paper: Paper) -> None:
    assert (await paper.connected()).recv_window_ms == 3_000


async def test_what_is_stopped_on_the_way_never_arrives(paper: Paper) -> None:
    gateway = await paper.connected()
    with pytest.raises(SendRevoked):
        await gateway.submit_order(replace(BUY, may_send=lambda: False))
    answers = iter([True, False])  # stopped between sending and arriving
    with pytest.raises(SendRevoked):
        await gateway.submit_order(replace(BUY, may_send=lambda: next(answers)))
    with pytest.raises(OrderUnknown):
        await gateway.fetch_order(SYMBOL, "buy")


async def test_before_it_is_connected_nothing_is_traded_and_all_can_be_cancelled(paper: Paper) -> None:
    first = await paper.connected()
    await first.submit_order(REST)
    await first.close()
    gateway = paper.gateway()
    with pytest.raises(RetryableError, match="not connected"):
        await gateway.submit_order(BUY)
    assert [report.client_order_id for report in await gateway.fetch_open_orders()] == ["rest"]
    assert [report.state for report in await gateway.cancel_all_orders(SYMBOL)] == [OrderState.CANCELED]
    (balance,) = await gateway.fetch_balances()
    assert (balance.free, balance.locked) == (10_000, 0)
    assert paper.market.asked.count("connect") == 1


async def test_a_market_that_does_not_answer_is_no_market_to_trade_on(paper: Paper) -> None:
    gateway = await paper.connected()
    with pytest.raises(DefinitiveReject, match="no market XRP/USDT"):
        await gateway.submit_order(replace(BUY, symbol="XRP/USDT"))
    paper.market.dead = True
    with pytest.raises(NoAnswer):
        await gateway.submit_order(BUY)
    with pytest.raises(NoAnswer):
        await gateway.server_time_ns()
    paper.market.dead = False
    assert await gateway.server_time_ns() == paper.market.clock.now_ns()  # the paper venue's own clock
    assert (await gateway.submit_order(BUY)).state is OrderState.FILLED


async def test_what_the_disk_refuses_is_undecided_for_an_order_and_no_answer_for_a_question(
    paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise UserError("The disk is full.", "")

    gateway = await paper.connected()
    with monkeypatch.context() as broken:
        broken.setattr(gateway._file, "save", fails)
        with pytest.raises(AmbiguousOutcome, match="disk is full"):
            await gateway.submit_order(BUY)
        broken.setattr(gateway._file, "changed_outside", fails)
        with pytest.raises(RetryableError, match="disk is full"):
            await gateway.fetch_balances()
    assert await gateway.fetch_open_orders() == []


async def listen(gateway: PaperGateway, heard: list[UserEvent]) -> None:
    async for event in gateway.watch_user():
        heard.append(event)


async def test_the_account_stream_begins_with_the_balances_and_tells_every_change(paper: Paper) -> None:
    gateway, heard = await paper.connected(), []
    task = asyncio.create_task(listen(gateway, heard))
    await until(lambda: len(heard) == 1)
    assert isinstance(heard[0], BalanceReport)
    await gateway.submit_order(BUY)
    await until(lambda: len(heard) == 3)
    report = heard[1]
    assert isinstance(report, OrderReport)
    assert (report.state, len(report.fills)) == (OrderState.FILLED, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gateway._listeners == []


async def test_a_bug_in_a_feed_does_not_pass_in_silence(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await paper.connected()
    task = asyncio.create_task(listen(gateway, []))
    await asyncio.sleep(0)
    await gateway.submit_order(REST)
    await until(lambda: paper.market.listeners("trades") == 1)

    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(gateway._exchange, "on_trades", bug)
    paper.market.trade(98.0, 1.0, Side.SELL)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, 5)


async def test_another_process_that_cancels_is_heard_of_while_the_market_is_quiet(
    paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.execution.paper.gateway.WATCH_FILE_S", 0.01)
    gateway, heard = await paper.connected(), []
    task = asyncio.create_task(listen(gateway, heard))
    await gateway.submit_order(REST)
    other = paper.gateway()
    await other.cancel_all_orders(SYMBOL)
    await until(lambda: any(isinstance(e, OrderReport) and e.state is OrderState.CANCELED for e in heard))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- feeds --------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "BACKOFF_S", 0.01)


@pytest.fixture
async def resting(paper: Paper, quick: None) -> PaperGateway:
    """An account with an order one below the best bid of 99, two in front of it."""
    gateway = await paper.connected()
    await gateway.submit_order(REST)
    await until(lambda: paper.market.listeners("trades") == paper.market.listeners("book") == 1)
    return gateway


async def filled(gateway: PaperGateway) -> Decimal:
    return (await gateway.fetch_order(SYMBOL, "rest")).filled_quantity


async def test_a_resting_order_waits_its_turn_in_the_live_queue(paper: Paper, resting: PaperGateway) -> None:
    paper.market.trade(98.0, 2.0, Side.SELL)
    await asyncio.sleep(0.05)
    assert await filled(resting) == 0
    paper.market.trade(98.0, 0.25, Side.SELL)
    await asyncio.sleep(0.05)
    assert await filled(resting) == D("0.25")
    paper.market.set_book(((97.0, 1.0),), ((97.5, 9.0),))
    await asyncio.sleep(0.05)
    assert await filled(resting) == 1
    assert [fill.price for fill in await resting.fetch_fills(SYMBOL)] == [98, 98]


async def test_trades_missed_while_the_stream_was_down_are_read_again_and_none_counts_twice(
    paper: Paper, resting: PaperGateway
) -> None:
    paper.market.trade(97.9, 0.25, Side.SELL)
    await asyncio.sleep(0.05)
    assert await filled(resting) == D("0.25")
    paper.market.cut()
    paper.market.clock.advance(NS_PER_S)
    paper.market.make_trade(97.9, 0.25, Side.SELL)  # nobody listens
    await until(lambda: paper.market.listeners("trades") == 1)
    await asyncio.sleep(0.05)
    assert await filled(resting) == D("0.5")
    paper.market.clock.advance(1)
    paper.market.make_trade(97.9, 0.125, Side.SELL)  # between the reading and the first message
    paper.market.trade(97.9, 0.0625, Side.SELL)
    await asyncio.sleep(0.05)
    assert await filled(resting) == D("0.6875")


async def test_what_a_resumed_stream_tells_again_counts_once(paper: Paper, resting: PaperGateway) -> None:
    paper.market.cut()
    paper.market.clock.advance(NS_PER_S)
    missed = [paper.market.make_trade(97.9, 0.25, Side.SELL) for _ in range(2)]
    await until(lambda: paper.market.listeners("trades") == 1)
    await asyncio.sleep(0.05)
    assert await filled(resting) == D("0.5")  # read by REST
    for trade in missed:  # and told again by the stream, one by one
        paper.market._push("trades", SYMBOL, (trade,))
    paper.market.trade(97.9, 0.125, Side.SELL)
    await asyncio.sleep(0.05)
    assert await filled(resting) == D("0.625")


async def test_trouble_is_reported_until_the_stream_works_again(paper: Paper, resting: PaperGateway) -> None:
    paper.market.dead = True
    paper.market.cut()
    await until(lambda: len(paper.market.troubles) == 2)
    assert set(paper.market.troubles) == {f"paper book {SYMBOL}", f"paper trades {SYMBOL}"}
    paper.market.dead = False
    await until(lambda: paper.market.listeners("trades") == paper.market.listeners("book") == 1)
    paper.market.trade(99.0, 1.0, Side.BUY)
    paper.market.set_book(((99.0, 1.0), (98.0, 2.0)), ((100.0, 1.0),))
    await until(lambda: not paper.market.troubles)


async def left_and_found(paper: Paper, away_ns: int, what_happened) -> PaperGateway:
    """Leave an account with a resting order, let the market go on, and open it again."""
    first = await paper.connected()
    await first.submit_order(REST)
    await until(lambda: paper.market.listeners("trades") == 1)
    await first.close()
    began = paper.market.clock.now_ns()
    what_happened(began)
    paper.market.clock.set(began + away_ns)
    gateway = await paper.connected()
    await until(lambda: paper.market.listeners("trades") == 1)
    return gateway


async def test_after_a_short_time_away_the_trades_of_that_time_are_matched(paper: Paper) -> None:
    def happened(_: int) -> None:
        paper.market.clock.advance(NS_PER_S)
        paper.market.make_trade(98.0, 50.0, Side.SELL)  # at the price: where in the queue nobody knows
        paper.market.make_trade(97.5, 0.25, Side.SELL)

    gateway = await left_and_found(paper, 5 * MINUTE_NS, happened)
    assert await filled(gateway) == D("0.25")
    assert f"candles {Timeframe.M1}" not in paper.market.asked
    (fill,) = await gateway.fetch_fills(SYMBOL)
    assert fill.price == 98


async def test_after_a_long_time_away_bars_bridge_the_gap_and_trades_the_rest(paper: Paper) -> None:
    def happened(began: int) -> None:
        first = Timeframe.M1.floor(began)
        paper.market.add_bar(first, 50.0, 120.0)  # the minute it was left in was partly seen: it proves nothing
        paper.market.add_bar(first + MINUTE_NS, 98.0, 99.0)  # only touched
        paper.market.add_bar(first + 2 * MINUTE_NS, 97.0, 99.0, volume=0.5)
        paper.market.clock.set(first + 3 * MINUTE_NS)
        paper.market.make_trade(97.0, 0.125, Side.SELL)

    gateway = await left_and_found(paper, 3_600 * NS_PER_S, happened)
    assert f"candles {Timeframe.M1}" in paper.market.asked
    assert await filled(gateway) == D("0.625")


async def test_what_cannot_be_had_fills_nothing(paper: Paper) -> None:
    gateway = await left_and_found(paper, 5 * 86_400 * NS_PER_S, lambda began: None)
    assert f"candles {Timeframe.H1}" in paper.market.asked
    assert await filled(gateway) == 0


async def test_a_program_that_died_reads_again_what_it_had_not_stored_and_fills_nothing_twice(
    paper: Paper, quick: None
) -> None:
    first = await paper.connected()
    await first.submit_order(REST)
    await until(lambda: paper.market.listeners("trades") == 1)
    paper.market.trade(97.9, 0.25, Side.SELL)
    paper.market.trade(99.0, 5.0, Side.SELL)  # changes nothing, so nothing is stored
    await asyncio.sleep(0.05)
    for feed in first._feeds.values():
        await feed.stop()
    second = await paper.connected()  # the first one never closed its file
    await until(lambda: paper.market.listeners("trades") == 1)
    assert await filled(second) == D("0.25")
    assert len(await second.fetch_fills(SYMBOL)) == 1


async def test_where_orders_stand_is_stored_now_and_then(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "REMEMBER_S", -1.0)
    gateway = await paper.connected()
    await gateway.submit_order(REST)
    await until(lambda: paper.market.listeners("trades") == 1)
    paper.market.trade(98.0, 0.5, Side.SELL)
    await until(lambda: gateway._file.open_orders()[0].ahead == D("1.5"))
    assert gateway._file.seen()[SYMBOL] == paper.market.clock.now_ns()


async def test_a_quiet_book_is_read_again_before_an_order_meets_it(
    paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await paper.connected()
    await gateway.submit_order(replace(BUY, quantity=D("0.5")))
    asked = paper.market.asked.count("book")
    await gateway.submit_order(replace(BUY, client_order_id="soon", quantity=D("0.1")))
    assert paper.market.asked.count("book") == asked
    monkeypatch.setattr(feed_module, "BOOK_MAX_AGE_S", -1.0)
    await gateway.submit_order(replace(BUY, client_order_id="late", quantity=D("0.1")))
    assert paper.market.asked.count("book") == asked + 1


async def test_two_markets_are_followed_apart(paper: Paper) -> None:
    gateway = await paper.connected()
    await gateway.submit_order(REST)
    eth = OrderRequest("eth", "ETH/USDT", Side.BUY, OrderType.LIMIT, D(10), D(9))
    await gateway.submit_order(eth)
    await until(lambda: paper.market.listeners("trades", "ETH/USDT") == 1)
    paper.market.trade(8.5, 4.0, Side.SELL, "ETH/USDT")
    await asyncio.sleep(0.05)
    assert (await gateway.fetch_order("ETH/USDT", "eth")).filled_quantity == 4
    assert await filled(gateway) == 0
    assert len(await gateway.fetch_open_orders("ETH/USDT")) == 1
    assert len(await gateway.fetch_open_orders()) == 2


async def test_market_data_come_from_the_market_itself(paper: Paper) -> None:
    gateway = await paper.connected()
    paper.market.add_bar(START_NS, 99.0, 101.0)
    assert await gateway.fetch_candles(SYMBOL, Timeframe.M1) == paper.market.bars
    assert await gateway.fetch_trades(SYMBOL) == []
    assert await gateway.fetch_book(SYMBOL) == paper.market.books[SYMBOL]
    assert (await gateway.fetch_ticker(SYMBOL)).last == 100
    async for ticker in gateway.watch_ticker(SYMBOL):
        assert ticker.last == 100
        break
    gateway.report_trouble("x", "broken")
    assert paper.market.troubles == {"x": "broken"}
    gateway.clear_trouble("x")
    assert paper.market.troubles == {}


async def test_closing_is_done_once_and_closes_the_market(paper: Paper) -> None:
    gateway = await paper.connected(AT_ONCE)
    await gateway.submit_order(REST)
    await gateway.close()
    await gateway.close()
    assert paper.market.closed == 1
    with pytest.raises(GatewayError, match="cannot be used"):
        await gateway.fetch_balances()
