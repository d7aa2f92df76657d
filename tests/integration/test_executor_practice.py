"""The order path over real sockets: ccxt client, practice exchange in its own process, journal on disk."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from app.runtime import TradingSession, open_market_link, open_trading_session, prepare_data
from core.config import DataPaths
from core.data.real_time_collector import MarketFeed
from core.domain.candles import Timeframe
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingState
from core.events import ConnectionState, ConnectionStatus, ExecutorEvent, FillBooked
from core.execution.api.gateway import AmbiguousOutcome
from core.execution.executor_options import ExecutorOptions
from core.practice.control import PracticeEndpoints
from core.practice.endpoints_file import publish_endpoints
from core.practice.process import PracticeProcess

MAIN = Path(__file__).parents[2] / "main.py"
BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.01"))


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    with PracticeProcess(
        data_dir=tmp_path_factory.mktemp("exchange"), seed=5, balance="100000", limits="1000"
    ) as endpoints:
        yield endpoints


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path / "locks"))
    return prepare_data(tmp_path / "data")


@asynccontextmanager
async def trading(
    paths: DataPaths, endpoints: PracticeEndpoints, events: list[ExecutorEvent] | None = None
) -> AsyncIterator[TradingSession]:
    seen: list[ExecutorEvent] = [] if events is None else events
    session = await open_trading_session(paths, endpoints, seen.append)
    task: asyncio.Task[None] | None = None
    try:
        await session.executor.start()
        task = asyncio.create_task(session.executor.run())
        yield session
    finally:
        await session.close()
        if task is not None:
            await task


async def limit_below_market(session: TradingSession) -> OrderDraft:
    instrument = session.link.gateway.instruments["BTC/USDT"]
    last = Decimal(repr((await session.link.gateway.fetch_ticker("BTC/USDT")).last))
    price = instrument.floor_price(last * Decimal("0.97"))
    return OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.01"), limit_price=price)


async def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the conditions are facts of the journal, not events
            await asyncio.sleep(0.05)


async def assert_books_equal(session: TradingSession) -> None:
    check, _ = await session.executor.audit()
    assert check.differences == ()


class Links:
    """What the links of trading and of market data say, as the window would show it."""

    def __init__(self) -> None:
        self.now: dict[str, ConnectionStatus] = {}
        self.history: dict[str, list[ConnectionState]] = {"orders": [], "market": []}

    def take(self, event: ExecutorEvent) -> None:
        if isinstance(event, ConnectionStatus):
            self.now[event.link] = event
            states = self.history[event.link]
            if states[-1:] != [event.state]:
                states.append(event.state)

    def all(self, state: ConnectionState) -> bool:
        return [self.now[link].state for link in ("orders", "market")] == [state, state]

    def forget(self) -> None:
        self.history = {"orders": [], "market": []}


class Chart:
    def __init__(self) -> None:
        self.books = 0
        self.on_history = self.on_candle = self.on_trades = self.on_ticker = self.on_failure = lambda _: None

    def on_book(self, _: object) -> None:
        self.books += 1


async def test_a_killed_exchange_is_offline_until_it_runs_again(paths: DataPaths, tmp_path: Path) -> None:
    # two audits a second would use up a minute's requests on a slow machine, and then no price is told
    first = PracticeProcess(data_dir=tmp_path / "exchange", seed=5, limits="1000")
    endpoints = await asyncio.to_thread(first.start)
    second = PracticeProcess(data_dir=tmp_path / "exchange", seed=5, resume=endpoints, limits="1000")
    links, chart = Links(), Chart()
    quick = ExecutorOptions(reconcile_s=0.5, ping_s=0.5, backoff_max_s=2.0)
    market = await open_market_link(endpoints, on_connection=links.take)
    feed = asyncio.create_task(MarketFeed(market.gateway, "BTC/USDT", Timeframe.M1, chart).run())
    session = await open_trading_session(paths, endpoints, links.take, options=quick)
    running: asyncio.Task[None] | None = None
    try:
        await session.executor.start()
        running = asyncio.create_task(session.executor.run())
        await until(lambda: links.all(ConnectionState.ONLINE) and chart.books > 0)
        await asyncio.sleep(1.0)
        links.forget()
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: links.all(ConnectionState.OFFLINE))
        assert "no connection to 127.0.0.1" in links.now["orders"].detail
        links.forget()
        await asyncio.sleep(4.0)  # pings, reconciliations and dials, all in vain
        assert links.all(ConnectionState.OFFLINE)
        assert all(set(states) <= {ConnectionState.OFFLINE} for states in links.history.values())
        seen = chart.books
        await asyncio.to_thread(second.start)
        await until(lambda: links.all(ConnectionState.ONLINE), 30)
        await until(lambda: chart.books > seen)
        await asyncio.sleep(1.0)
        for states in links.history.values():  # straight up: never ONLINE before everything works
            assert [state for state in states if state is not ConnectionState.OFFLINE] in (
                [ConnectionState.ONLINE],
                [ConnectionState.DEGRADED, ConnectionState.ONLINE],
            )
        order = await session.executor.place_order(BUY)
        assert order.state is OrderState.FILLED
        await session.close()
        await running
        assert links.now["orders"].state is ConnectionState.OFFLINE
    finally:  # a test that fails leaves nothing to the next one
        await session.close()
        feed.cancel()
        await asyncio.gather(feed, *filter(None, [running]), return_exceptions=True)
        await market.close()
        await asyncio.to_thread(first.stop)
        await asyncio.to_thread(second.stop)


async def test_a_cancel_at_any_moment_of_the_start_leaves_no_session_open(
    exchange: PracticeEndpoints, paths: DataPaths
) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))

    async def trade() -> None:
        session = await open_trading_session(paths, exchange, lambda _: None)
        try:
            await session.executor.start()
            await session.executor.run()
        finally:
            await session.close()

    for moment in range(16):
        task = asyncio.create_task(trade())
        await asyncio.sleep(moment * 0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        del task
    gc.collect()
    assert complaints == []
    async with trading(paths, exchange):  # journal and lock were left free
        pass


async def test_a_market_order_is_filled_and_both_sides_agree(exchange: PracticeEndpoints, paths: DataPaths) -> None:
    events: list[ExecutorEvent] = []
    async with trading(paths, exchange, events) as session:
        order = await session.executor.place_order(BUY)
        assert order.state is OrderState.FILLED
        position = session.executor.position("BTC/USDT", "manual")
        assert position.quantity == Decimal("0.00999")
        held = {b.currency: b.total for b in await session.link.gateway.fetch_balances()}
        assert held["BTC"] - session.executor.first_balances.get("BTC", Decimal(0)) == position.quantity
        await assert_books_equal(session)
    assert any(isinstance(event, FillBooked) for event in events)


async def test_a_lost_answer_is_resolved_without_sending_again(exchange: PracticeEndpoints, paths: DataPaths) -> None:
    async with trading(paths, exchange) as session:
        gateway = session.link.gateway
        send, sent = gateway.submit_order, []

        async def answer_lost(request):
            sent.append(request)
            await send(request)
            raise AmbiguousOutcome("connection reset")

        gateway.submit_order = answer_lost  # type: ignore[method-assign]
        order = await session.executor.place_order(BUY)
        await until(lambda: session.executor.position("BTC/USDT", "manual").quantity > 0)
        await until(lambda: not session.executor.working_orders)
        assert len(sent) == 1
        assert order.client_order_id == sent[0].client_order_id
        await assert_books_equal(session)


async def test_a_request_that_never_arrived_is_proven_so(exchange: PracticeEndpoints, paths: DataPaths) -> None:
    async with trading(paths, exchange) as session:

        async def lost(request):
            raise AmbiguousOutcome("timed out")

        session.link.gateway.submit_order = lost  # type: ignore[method-assign]
        # Not in BTC: trades just made there by other tests could be this order's and would rightly delay the proof.
        draft = OrderDraft("ETH/USDT", Side.BUY, OrderType.MARKET, Decimal("0.1"))
        order = await session.executor.place_order(draft)
        assert order.state is OrderState.UNKNOWN
        await until(lambda: not session.executor.working_orders)
        await assert_books_equal(session)
        assert session.executor.positions == []


async def test_a_restart_finds_orders_and_fills_again(exchange: PracticeEndpoints, paths: DataPaths) -> None:
    async with trading(paths, exchange) as session:
        resting = await session.executor.place_order(await limit_below_market(session))
        await session.executor.place_order(BUY)
        assert resting.state is OrderState.ACCEPTED
    async with trading(paths, exchange) as session:
        assert [o.client_order_id for o in session.executor.working_orders] == [resting.client_order_id]
        await assert_books_equal(session)
        assert (await session.executor.cancel_order(resting.client_order_id)).state is OrderState.CANCELED


async def test_kill_leaves_no_open_order_and_no_position(exchange: PracticeEndpoints, paths: DataPaths) -> None:
    async with trading(paths, exchange) as session:
        await session.executor.place_order(await limit_below_market(session))
        await session.executor.place_order(BUY)
        report = await session.executor.kill(flatten=True)
        assert report.complete
        assert await session.link.gateway.fetch_open_orders() == []
        assert session.executor.position("BTC/USDT", "manual").quantity < Decimal("0.0001")
        await assert_books_equal(session)


async def run_main(*arguments: str) -> tuple[int, dict, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(MAIN), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    text = out.decode().strip()
    return process.returncode or 0, json.loads(text.splitlines()[-1]) if text else {}, err.decode()


async def test_kill_from_another_process_stops_a_running_executor(
    exchange: PracticeEndpoints, paths: DataPaths
) -> None:
    publish_endpoints(paths, exchange)
    async with trading(paths, exchange) as session:
        await session.executor.place_order(await limit_below_market(session))
        await session.executor.place_order(BUY)
        code, report, said = await run_main("kill", "--flatten", "--data-dir", str(paths.root), "--json")
        assert code == 0, said
        assert report["complete"]
        assert len(report["cancelled"]) <= 1  # the running program may have been quicker
        assert session.executor.trading_state is TradingState.HALTED
        assert await session.link.gateway.fetch_open_orders() == []
        await until(lambda: not session.executor.working_orders)
        await until(lambda: session.executor.position("BTC/USDT", "manual").quantity < Decimal("0.0001"))
        assert session.executor.position("BTC/USDT", "external").quantity == 0
        await assert_books_equal(session)
    async with trading(paths, exchange) as session:
        assert session.executor.trading_state is TradingState.HALTED
        await session.executor.rearm()
        assert (await session.executor.place_order(BUY)).state is OrderState.FILLED
        await assert_books_equal(session)


async def test_a_kill_from_another_process_sells_three_markets_and_the_books_know_it(
    exchange: PracticeEndpoints, paths: DataPaths
) -> None:
    publish_endpoints(paths, exchange)
    sizes = {"BTC/USDT": "0.01", "ETH/USDT": "0.1", "SOL/USDT": "1"}
    async with trading(paths, exchange) as session:
        for times in range(1, 4):  # each sale is announced, and taken over, while the next one is being sent
            for symbol, size in sizes.items():
                bought = await session.executor.place_order(replace(BUY, symbol=symbol, quantity=times * Decimal(size)))
                assert bought.state is OrderState.FILLED, bought
            code, report, said = await run_main("kill", "--flatten", "--data-dir", str(paths.root), "--json")
            assert code == 0, said
            assert report["complete"], report
            assert {sale["symbol"] for sale in report["sold"]} == set(sizes)
            for symbol in sizes:
                dust = Decimal(sizes[symbol]) / 100
                await until(lambda s=symbol, d=dust: session.executor.position(s, "manual").quantity < d)  # type: ignore[misc]
                assert session.executor.position(symbol, "external").quantity == 0, symbol
            await assert_books_equal(session)
            await session.executor.rearm()


async def test_kill_needs_no_running_program(exchange: PracticeEndpoints, paths: DataPaths) -> None:
    publish_endpoints(paths, exchange)
    async with trading(paths, exchange) as session:
        await session.executor.place_order(await limit_below_market(session))
        await session.executor.place_order(BUY)
    code, report, said = await run_main("kill", "--flatten", "--data-dir", str(paths.root), "--json")
    assert code == 0, said
    assert report["confirmed"]
    assert [sale["state"] for sale in report["sold"]] == ["filled"]
    async with trading(paths, exchange) as session:
        assert session.executor.trading_state is TradingState.HALTED
        assert session.executor.working_orders == []
        assert session.executor.position("BTC/USDT", "manual").quantity < Decimal("0.0001")
        await assert_books_equal(session)
