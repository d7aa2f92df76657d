"""The links against a practice exchange that misbehaves: limits, bans, outages, wrong clocks, lost frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from core.clock import SystemClock
from core.domain.market import BookSnapshot
from core.domain.orders import OrderState, OrderType, Side, TradingMode
from core.events import ConnectionState
from core.execution.api.binance_api import binance_practice_profile
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.gateway import (
    AmbiguousOutcome,
    GatewayError,
    NoAnswer,
    OrderRequest,
    OrderUnknown,
    RetryableError,
)
from core.execution.api.rate_limiter import LimitKind
from core.execution.api.request_budget import BudgetRegistry, Lane
from core.execution.error_handler import Operation
from core.practice.control import PracticeControl, PracticeEndpoints
from core.practice.process import PracticeProcess

BTC = "BTC/USDT"
ONLINE, DEGRADED = ConnectionState.ONLINE, ConnectionState.DEGRADED


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    process = PracticeProcess(data_dir=tmp_path_factory.mktemp("practice"), speed="60", seed=11)
    try:
        yield process.start()
    finally:
        process.stop()


@pytest.fixture
async def control(exchange: PracticeEndpoints) -> AsyncIterator[PracticeControl]:
    made = PracticeControl(exchange)
    await made.clear_faults()
    await made.limits(1.0)
    yield made
    await made.clear_faults()
    await made.limits(1.0)
    await made.close()


@asynccontextmanager
async def connected(
    endpoints: PracticeEndpoints, *, budgets: BudgetRegistry | None = None, **changes: Any
) -> AsyncIterator[CcxtGateway]:
    profile = binance_practice_profile(rest=endpoints.rest, ws=endpoints.ws, ws_api=endpoints.ws_api)
    gateway = CcxtGateway(
        replace(profile, **changes),
        TradingMode.PRACTICE,
        Credentials(endpoints.api_key, endpoints.api_secret),
        market_clock=SystemClock(),
        budgets=budgets,
    )
    try:
        await gateway.connect()
        yield gateway
    finally:
        await gateway.close()


async def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def weight_used(control: PracticeControl) -> int:
    """What the venue itself counted in its running minute."""
    rows = (await control.limits())["used"]
    return int(next(row["count"] for row in rows if row["rateLimitType"] == "REQUEST_WEIGHT"))


async def away_from_the_minutes_end() -> None:
    """Wait where the venue's window would end in the middle of a test and take its figures along."""
    left_s = 60 - time.time() % 60
    if left_s < 8:
        await asyncio.sleep(left_s + 0.1)


async def resting(gateway: CcxtGateway, client_id: str) -> OrderRequest:
    instrument, last = gateway.instruments[BTC], (await gateway.fetch_ticker(BTC)).last
    price = instrument.floor_price(Decimal(str(last)) * Decimal("0.8"))
    return OrderRequest(client_id, BTC, Side.BUY, OrderType.LIMIT, Decimal("0.001"), price)


async def test_a_busy_data_side_never_meets_the_limit_and_leaves_room_for_a_cancel(
    exchange: PracticeEndpoints, control: PracticeControl
) -> None:
    await away_from_the_minutes_end()
    await control.limits(0.05)  # 300 a minute
    async with connected(exchange) as gateway:
        order = await resting(gateway, "limits-1")
        await gateway.submit_order(order)
        sent = 0

        async def draw_charts() -> None:
            nonlocal sent
            while True:
                await gateway._client.call(Operation.QUERY, 2, _ticker, max_wait_s=0)
                sent += 1

        with pytest.raises(RetryableError, match="request limit"):
            await draw_charts()
        assert sent > 20
        used = await weight_used(control)
        assert 50 < used <= 300 * 0.7
        await gateway.fetch_order(BTC, "limits-1")
        assert (await gateway.cancel_order(BTC, "limits-1")).state is OrderState.CANCELED


async def test_what_another_program_on_this_address_uses_is_seen(
    exchange: PracticeEndpoints, control: PracticeControl
) -> None:
    await away_from_the_minutes_end()
    budgets = BudgetRegistry()
    async with connected(exchange, budgets=budgets) as gateway, connected(exchange, budgets=budgets) as market:
        async with aiohttp.ClientSession() as other:
            for _ in range(20):
                async with other.get(f"{exchange.rest}/api/v3/depth?symbol=BTCUSDT&limit=5000") as answer:
                    assert answer.status == 200
        await gateway.server_time_ns()
        told = await weight_used(control)
        assert told > 1_000
        for link in (gateway, market):  # one address, one budget
            assert link._client.limiter.address.used(LimitKind.WEIGHT, 60.0) >= told - 20


async def test_a_ban_is_waited_out_without_a_single_request(
    exchange: PracticeEndpoints, control: PracticeControl
) -> None:
    async with connected(exchange) as gateway:
        await control.arm_faults("ban,for=4s")
        with pytest.raises(RetryableError) as caught:
            await gateway.fetch_ticker(BTC)
        assert 1 <= caught.value.retry_after_s <= 5
        assert gateway.connection.state is DEGRADED
        assert "shut out this address until" in gateway.connection.detail
        met = (await control.faults())["faults"][0]["met"]
        for _ in range(5):
            with pytest.raises(RetryableError, match="shut out"):
                await gateway._client.call(Operation.QUERY, 2, _ticker, max_wait_s=0)
            with pytest.raises(RetryableError, match="shut out"):
                await gateway._client.call(Operation.CANCEL, 1, _time, lane=Lane.CANCEL, max_wait_s=0)
            await asyncio.sleep(0.1)
        faults = (await control.faults())["faults"]
        assert not faults or faults[0]["met"] == met
        await until(lambda: gateway.connection.state is ONLINE)
        await gateway.fetch_ticker(BTC)


async def test_maintenance_opens_the_breaker_and_its_end_closes_it(
    exchange: PracticeEndpoints, control: PracticeControl
) -> None:
    async with connected(exchange) as gateway:
        order = await resting(gateway, "breaker-1")
        await control.arm_faults("maintenance")
        for _ in range(5):
            with pytest.raises(RetryableError):
                await gateway.fetch_balances()
        started = time.monotonic()
        with pytest.raises(NoAnswer):
            await gateway.fetch_balances()
        with pytest.raises(RetryableError) as caught:
            await gateway.submit_order(order)
        assert not isinstance(caught.value, AmbiguousOutcome)
        assert time.monotonic() - started < 0.3
        assert gateway.connection.detail.endswith("no new order is sent until it answers")
        await control.clear_faults()
        await until(lambda: gateway.connection.state is ONLINE)
        assert (await gateway.submit_order(order)).state is OrderState.ACCEPTED
        await gateway.cancel_order(BTC, "breaker-1")


@pytest.mark.parametrize("skew_ms", [-5_000, 6_000])
async def test_a_clock_that_goes_wrong_is_mended_and_an_order_refused_for_it_is_sent_once(
    exchange: PracticeEndpoints, control: PracticeControl, skew_ms: int
) -> None:
    async with connected(exchange) as gateway:
        order = await resting(gateway, f"skew{skew_ms}")
        await control.arm_faults(f"skew,ms={skew_ms}")
        with pytest.raises(RetryableError) as caught:
            await gateway.submit_order(order)
        assert caught.value.code == "-1021"
        assert gateway.connection.state is DEGRADED
        assert "ms off the exchange's" in gateway.connection.detail
        assert gateway.clock_skew_ns == pytest.approx(skew_ms * 1e6, abs=3e8)
        with pytest.raises(OrderUnknown):
            await gateway.fetch_order(BTC, order.client_order_id)
        second = replace(order, client_order_id=f"skew{skew_ms}-2")
        assert (await gateway.submit_order(second)).state is OrderState.ACCEPTED
        await control.clear_faults()
        # The venue's clock jumped back: this cancel's timestamp is wrong, and it is repeated by itself.
        assert (await gateway.cancel_order(BTC, second.client_order_id)).state is OrderState.CANCELED
        await until(lambda: gateway.connection.state is ONLINE)


async def test_the_book_stays_the_venues_while_its_frames_are_lost_doubled_and_overtaken(
    exchange: PracticeEndpoints, control: PracticeControl
) -> None:
    books: dict[int, BookSnapshot] = {}
    errors: list[str] = []
    async with connected(exchange) as gateway:

        async def follow() -> None:
            while True:
                try:
                    async with aclosing(gateway.watch_book(BTC, 20)) as stream:  # type: ignore[type-var]
                        async for book in stream:
                            books[book.sequence] = book
                except GatewayError as exc:
                    errors.append(exc.message)

        task = asyncio.create_task(follow())
        await until(lambda: bool(books))
        spec = "btcusdt@depth@100ms"
        await control.arm_faults(f"seed=5;drop:{spec},p=0.15;duplicate:{spec},p=0.15;reorder:{spec},p=0.15,ms=200")
        equal = 0
        for _ in range(60):
            real = await gateway.fetch_book(BTC, 20)
            await asyncio.sleep(0.15)
            served = books.get(real.sequence)
            if served is not None:
                assert (served.bids, served.asks) == (real.bids, real.asks)
                equal += 1
        fired = {row["kind"]: row["fired"] for row in (await control.faults())["faults"]}
        assert min(fired["drop"], fired["duplicate"], fired["reorder"]) > 0
        assert equal > 3
        assert all(book.bids[0][0] < book.asks[0][0] for book in books.values())
        assert errors == []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_tape_has_no_hole_after_its_connection_was_cut(
    exchange: PracticeEndpoints, control: PracticeControl
) -> None:
    ids: list[int] = []
    lost = 0
    async with connected(exchange) as gateway:

        async def follow() -> None:
            nonlocal lost
            while True:
                try:
                    async with aclosing(gateway.watch_trades(BTC)) as stream:  # type: ignore[type-var]
                        async for batch in stream:
                            ids.extend(int(trade.trade_id) for trade in batch)
                except GatewayError:
                    lost += 1
                    await asyncio.sleep(0.5)

        task = asyncio.create_task(follow())
        await until(lambda: len(ids) > 20)
        for number in (1, 2):
            assert await control.disconnect("market") > 0
            await until(lambda number=number: lost == number)  # type: ignore[misc]
            count = len(ids)
            await until(lambda count=count: len(ids) > count + 20)  # type: ignore[misc]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        real: list[int] = []
        while not real or real[-1] < ids[-1]:
            page = await gateway._fetch_trades_from(BTC, real[-1] + 1 if real else ids[0])
            real += [trade.trade_id for trade in page]
    assert ids == [number for number in real if number <= ids[-1]]


async def test_an_account_stream_that_is_cut_ends_so_that_its_reader_compares(
    exchange: PracticeEndpoints, control: PracticeControl
) -> None:
    async with connected(exchange) as gateway:
        stream = gateway.watch_user()
        await anext(stream)
        assert await control.disconnect("user") == 1

        async def read_on() -> None:
            async for _ in stream:
                pass

        with pytest.raises(RetryableError):
            await asyncio.wait_for(read_on(), 10)


async def _ticker(exchange: Any) -> Any:
    return await exchange.fetch_ticker(BTC)


async def _time(exchange: Any) -> Any:
    return await exchange.fetch_time()
