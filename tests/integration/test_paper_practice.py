"""Paper trading over real sockets: a practice exchange lends its market, and nothing else of it is ever asked for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from app.paper import PaperMarket, PaperSession, open_paper_session, read_place
from app.runtime import open_trading_session, prepare_data
from core.config import DataPaths
from core.domain.fills import Liquidity
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingMode
from core.errors import UserError
from core.events import ConnectionStatus, ExecutorEvent
from core.execution.assembly import last_mode
from core.execution.executor_options import ExecutorOptions
from core.practice.account_audit import list_orders
from core.practice.control import PracticeControl, PracticeEndpoints
from core.practice.process import PracticeProcess
from tests.integration.test_trade_command import ended, main_py, wait_until_said
from tests.trained_model import Trained

BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.01"))
# What a person without an account may ask of the venue; below `/api/v3` or a stream.
PUBLIC = {"ping", "time", "exchangeInfo", "klines", "depth", "trades", "aggTrades", "ticker/24hr"}


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    with PracticeProcess(data_dir=tmp_path_factory.mktemp("exchange"), seed=5, balance="100000") as endpoints:
        yield endpoints


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path / "locks"))
    return prepare_data(tmp_path / "data")


@asynccontextmanager
async def trading(
    paths: DataPaths, endpoints: PracticeEndpoints, events: list[ExecutorEvent] | None = None, **how: object
) -> AsyncIterator[PaperSession]:
    seen: list[ExecutorEvent] = [] if events is None else events
    session = await open_paper_session(paths, PaperMarket.of(endpoints), seen.append, **how)
    task: asyncio.Task[None] | None = None
    try:
        await session.executor.start()
        task = asyncio.create_task(session.executor.run())
        yield session
    finally:
        await session.close()
        if task is not None:
            await task


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the conditions are facts of the books, not events
            await asyncio.sleep(0.05)


async def limit_at(session: PaperSession, factor: str) -> OrderDraft:
    instrument = session.gateway.instruments["BTC/USDT"]
    last = Decimal(repr((await session.gateway.fetch_ticker("BTC/USDT")).last))
    price = instrument.floor_price(last * Decimal(factor))
    return OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.01"), limit_price=price)


async def assert_books_equal(session: PaperSession) -> None:
    check, _ = await session.executor.audit()
    assert check.differences == ()


class Recorder:
    """Stands between client and exchange and writes down whatever is asked; a key in it is noted."""

    def __init__(self, target: PracticeEndpoints) -> None:
        self._target = target
        self.paths: list[str] = []
        self.sent: list[dict] = []
        self.keyed: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PracticeEndpoints]:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        try:
            yield replace(
                self._target,
                rest=f"http://127.0.0.1:{port}",
                ws=f"ws://127.0.0.1:{port}/stream/ws",
                ws_api=f"ws://127.0.0.1:{port}/ws-api/v3",
            )
        finally:
            await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(f"{request.method} {request.path}")
        if "X-MBX-APIKEY" in request.headers or "signature" in request.query_string:
            self.keyed.append(request.path)
        address = f"{self._target.rest}{request.path_qs}"
        async with aiohttp.ClientSession() as session:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._pass_socket(request, session, address)
            async with session.request(request.method, address, data=await request.read()) as answer:
                kind = answer.headers.get("Content-Type", "").partition(";")[0]
                return web.Response(body=await answer.read(), status=answer.status, content_type=kind)

    async def _pass_socket(
        self, request: web.Request, session: aiohttp.ClientSession, address: str
    ) -> web.WebSocketResponse:
        client = web.WebSocketResponse()
        await client.prepare(request)
        async with session.ws_connect(address) as server:

            async def to_client() -> None:
                async for message in server:
                    await client.send_str(message.data)

            back = asyncio.create_task(to_client())
            async for message in client:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self.sent.append(json.loads(message.data))
                    await server.send_str(message.data)
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
        return client


async def test_orders_fill_from_the_live_market_and_the_books_equal(
    paths: DataPaths, exchange: PracticeEndpoints
) -> None:
    events: list[ExecutorEvent] = []
    before = list_orders(exchange, "BTCUSDT")
    async with trading(paths, exchange, events) as session:
        assert session.gateway.mode is TradingMode.PAPER
        bought = await session.executor.place_order(BUY)
        assert bought.state is OrderState.FILLED
        resting = await session.executor.place_order(await limit_at(session, "0.97"))
        assert resting.state is OrderState.ACCEPTED
        near = await session.executor.place_order(await limit_at(session, "0.99999"))
        await until(lambda: session.gateway._exchange.seen_ns("BTC/USDT") is not None)
        await session.executor.cancel_order(resting.client_order_id)
        await assert_books_equal(session)
        assert near.state in (OrderState.ACCEPTED, OrderState.FILLED, OrderState.PARTIALLY_FILLED)
    assert list_orders(exchange, "BTCUSDT") == before, "the exchange's own account was never touched"
    modes = {event.mode for event in events if isinstance(event, ConnectionStatus)}
    assert modes == {TradingMode.PAPER}
    assert last_mode(paths) is TradingMode.PAPER
    place = read_place(paths)
    assert place is not None
    assert place.market.endpoints is not None
    assert (place.market.endpoints.api_key, place.market.endpoints.api_secret) == ("", "")
    assert exchange.api_key not in (paths.paper / "market.json").read_text("utf-8")


async def test_a_session_asks_for_nothing_but_public_things(paths: DataPaths, exchange: PracticeEndpoints) -> None:
    recorder = Recorder(exchange)
    quick = ExecutorOptions(reconcile_s=0.3, unknown_s=0.2, ping_s=0.3)
    async with recorder.running() as endpoints, trading(paths, endpoints, options=quick) as session:
        await session.executor.place_order(BUY)
        order = await session.executor.place_order(await limit_at(session, "0.98"))
        await asyncio.sleep(1.5)  # reconciliations, pings, streams
        await session.executor.cancel_order(order.client_order_id)
        await session.executor.reconcile_now()
        assert (await session.executor.kill(flatten=True)).complete
    asked = {path.removeprefix("GET /api/v3/") for path in recorder.paths if not path.startswith("GET /stream/ws")}
    assert asked <= PUBLIC
    assert {"exchangeInfo", "depth", "time"} <= asked
    assert recorder.keyed == []
    assert {message["method"] for message in recorder.sent} <= {"SUBSCRIBE", "UNSUBSCRIBE"}
    streams = {stream.partition("@")[2] for message in recorder.sent for stream in message["params"]}
    assert streams <= {"trade", "depth@100ms", "miniTicker", "kline_1m", "kline_1h"}
    assert streams >= {"trade", "depth@100ms"}


async def test_what_was_open_meets_what_the_market_did_meanwhile(paths: DataPaths, tmp_path: Path) -> None:
    with PracticeProcess(data_dir=tmp_path / "moving", seed=7, speed="60") as endpoints:
        async with trading(paths, endpoints) as session:
            await session.executor.place_order(replace(BUY, quantity=Decimal("0.05")))
            for factor in ("0.997", "1.003"):  # whichever way it goes, one of them is reached within hours
                draft = await limit_at(session, factor)
                side = Side.BUY if factor < "1" else Side.SELL
                order = await session.executor.place_order(replace(draft, side=side))
                assert order.state is OrderState.ACCEPTED
            fills = len(await session.gateway.fetch_fills("BTC/USDT"))
        control = PracticeControl(endpoints)
        await control.set_speed(3_600)
        await asyncio.sleep(8.0)
        await control.set_speed(1)
        await control.close()
        events: list[ExecutorEvent] = []
        async with trading(paths, endpoints, events) as session:
            await until(lambda: len(session.executor.working_orders) < 2)
            missed = (await session.gateway.fetch_fills("BTC/USDT"))[fills:]
            assert missed != []
            assert {fill.liquidity for fill in missed} == {Liquidity.MAKER}
            await session.executor.reconcile_now()
            await assert_books_equal(session)


async def test_practice_and_paper_share_a_folder_and_keep_their_books_apart(
    paths: DataPaths, exchange: PracticeEndpoints
) -> None:
    async with trading(paths, exchange) as session:
        await session.executor.place_order(BUY)
        held = session.executor.position("BTC/USDT", "manual").quantity
    practice = await open_trading_session(paths, exchange, lambda event: None)
    await practice.executor.start()
    assert practice.executor.position("BTC/USDT", "manual").quantity == 0
    assert last_mode(paths) is TradingMode.PRACTICE
    await practice.close()
    async with trading(paths, exchange) as session:
        assert session.executor.position("BTC/USDT", "manual").quantity == held
        await assert_books_equal(session)


async def test_a_new_account_begins_with_its_balance_and_keeps_the_old_file(
    paths: DataPaths, exchange: PracticeEndpoints
) -> None:
    async with trading(paths, exchange) as session:
        await session.executor.place_order(BUY)
        with pytest.raises(UserError, match="already trading"):
            await open_paper_session(paths, PaperMarket.of(exchange), lambda event: None, new_account=True)
    with pytest.raises(UserError, match="began with another balance"):
        await open_paper_session(paths, PaperMarket.of(exchange), lambda event: None, opening={"USDT": Decimal(500)})
    async with trading(paths, exchange, new_account=True, opening={"USDT": Decimal(500)}) as session:
        (balance,) = await session.gateway.fetch_balances()
        assert (balance.currency, balance.free) == ("USDT", 500)
        assert session.executor.position("BTC/USDT", "manual").quantity == 0
    assert len(list((paths.paper / "archive").glob("*.sqlite"))) == 1


# --- the command line ---------------------------------------------------------------------------------------------


def endpoints_file(folder: Path, endpoints: PracticeEndpoints) -> Path:
    path = folder / "ready.json"
    path.write_text(json.dumps({name: getattr(endpoints, name) for name in PracticeEndpoints.__slots__}))
    return path


def test_the_command_trades_on_paper_and_says_that_the_books_equal(tmp_path: Path, exchange: PracticeEndpoints) -> None:
    ready = str(endpoints_file(tmp_path, exchange))
    data = tmp_path / "data"
    first = main_py(data, "trade", "--paper", "--endpoints", ready, "--balance", "5000", "--minutes", "0.02")
    answer, _ = ended(first, 0)
    assert (answer["orders"], answer["orders_match"], answer["positions_match"]) == (0, True, True)
    assert len(list((data / "paper").glob("practice-*.sqlite"))) == 1
    again = main_py(data, "trade", "--paper", "--endpoints", ready, "--balance", "700", "--minutes", "0.02")
    answer, _ = ended(again, 2)
    assert "began with another balance" in answer["error"]


def test_a_model_trades_on_paper_and_the_books_equal(trained: Trained, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "models").symlink_to(trained.models_dir)
    with PracticeProcess(data_dir=tmp_path / "lender", seed=3, speed="7200") as endpoints:
        ready = str(endpoints_file(tmp_path, endpoints))
        run = ("trade", "--paper", "--endpoints", ready, "--model", trained.result.model_id, "--minutes", "0.3")
        answer, err = ended(main_py(data, *run), 0)
        assert "Signal of model-" in err
        assert answer["orders_match"]
        assert answer["positions_match"]
        assert list_orders(endpoints, "BTCUSDT") == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--paper", "--practice"), "Whose market to trade on is not clear."),
        (("--paper", "--venue", "kraken"), "Paper trading knows no venue 'kraken'."),
        (("--paper", "--balance", "much"), "The balance 'much' is not an amount of money."),
        (("--practice", "--balance", "5"), "Those options belong to paper trading."),
        ((), "Where to trade is not clear."),
    ],
)
def test_contradictions_are_one_sentence(tmp_path: Path, options: tuple[str, ...], error: str) -> None:
    answer, err = ended(main_py(tmp_path, "trade", *options), 2)
    assert answer["error"] == error
    assert "Traceback" not in err


async def place_resting(paths: DataPaths, endpoints: PracticeEndpoints) -> str:
    async with trading(paths, endpoints) as session:
        await session.executor.place_order(BUY)
        return (await session.executor.place_order(await limit_at(session, "0.9"))).client_order_id


def kill(data: Path, *options: str) -> subprocess.Popen[str]:
    return main_py(data, "kill", *options)


def test_a_kill_cancels_in_the_account_of_a_program_that_is_gone(
    paths: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(paths.root / "locks"))
    with PracticeProcess(data_dir=tmp_path / "gone", seed=5) as endpoints:
        resting = asyncio.run(place_resting(paths, endpoints))
    # The exchange has ended: nothing answers any more, and nothing needs to.
    answer, _ = ended(kill(paths.root), 0)
    assert answer["cancelled"] == [resting]
    assert answer["confirmed"]
    answer, _ = ended(kill(paths.root, "--flatten"), 1)
    assert answer["confirmed"]
    assert answer["flat"] is False
    assert answer["errors"] != []


def test_a_kill_sells_at_the_live_market(paths: DataPaths, exchange: PracticeEndpoints) -> None:
    before = list_orders(exchange, "BTCUSDT")
    resting = asyncio.run(place_resting(paths, exchange))
    answer, _ = ended(kill(paths.root, "--flatten"), 0)
    assert answer["cancelled"] == [resting]
    assert answer["flat"] is True
    assert [sale["state"] for sale in answer["sold"]] == ["filled"]
    assert list_orders(exchange, "BTCUSDT") == before


def test_a_kill_stops_a_program_that_hangs(paths: DataPaths, exchange: PracticeEndpoints, tmp_path: Path) -> None:
    resting = asyncio.run(place_resting(paths, exchange))
    ready = str(endpoints_file(tmp_path, exchange))
    process = main_py(paths.root, "trade", "--paper", "--endpoints", ready)
    wait_until_said(process, "Trading.")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        answer, _ = ended(kill(paths.root), 0)
        assert answer["cancelled"] == [resting]
    finally:
        os.kill(process.pid, signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    answer, err = ended(process, 0)
    assert answer["orders_match"], err
