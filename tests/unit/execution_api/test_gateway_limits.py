"""A gateway that is told to slow down, is shut out, loses its venue or has the wrong time, over real sockets."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from core.clock import ManualClock, SystemClock
from core.domain.candles import Timeframe
from core.domain.orders import OrderState, OrderType, Side, TradingMode
from core.events import ConnectionState, ConnectionStatus
from core.execution.api import link_probe
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.circuit_breaker import BreakerState
from core.execution.api.gateway import NoAnswer, OrderRequest, RetryableError, SendRevoked
from core.execution.api.rate_limiter import LimitKind
from core.execution.api.request_budget import BudgetRegistry, Lane
from core.execution.error_handler import Operation
from tests.unit.execution_api import venue_double
from tests.unit.execution_api.venue_double import KEY, SECRET, VenueDouble, refusing

BTC = "BTC/USDT"
ORDER = OrderRequest("maru-1", BTC, Side.BUY, OrderType.LIMIT, Decimal("0.00123"), Decimal("60000.01"))
ONLINE, DEGRADED, OFFLINE = ConnectionState.ONLINE, ConnectionState.DEGRADED, ConnectionState.OFFLINE
STALE = refusing(-1021, "Timestamp for this request is outside of the recvWindow.")


class SetClock(SystemClock):
    """This machine's clock, which somebody sets."""

    shift_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.shift_ns


@pytest.fixture(autouse=True)
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_probe.LinkProbe.__init__, "__kwdefaults__", {"timeout_s": 0.3, "pause_s": 0.05})


@pytest.fixture
def wall() -> SetClock:
    return SetClock()


@pytest.fixture
def budgets() -> BudgetRegistry:
    return BudgetRegistry()


@pytest.fixture
async def gateway(
    venue: VenueDouble,
    market_clock: ManualClock,
    statuses: list[ConnectionStatus],
    wall: SetClock,
    budgets: BudgetRegistry,
) -> AsyncIterator[CcxtGateway]:
    made = CcxtGateway(
        replace(venue.profile(), request_timeout_ms=300),
        TradingMode.PRACTICE,
        Credentials(KEY, SECRET),
        market_clock=market_clock,
        wall_clock=wall,
        on_connection=statuses.append,
        budgets=budgets,
    )
    await made.connect()
    yield made
    await made.close()


def weight_used(gateway: CcxtGateway) -> float:
    return gateway._client.limiter.address.used(LimitKind.WEIGHT, 60.0)


# --- limits -------------------------------------------------------------------------------------------------------


async def test_the_limits_are_the_venues_own_and_its_figures_count(
    venue: VenueDouble, market_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    info: dict[str, Any] = copy.deepcopy(venue_double.EXCHANGE_INFO)
    info["rateLimits"] = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 2},
    ]
    monkeypatch.setattr(venue_double, "EXCHANGE_INFO", info)
    keys = Credentials(KEY, SECRET)
    gateway = CcxtGateway(venue.profile(), TradingMode.PRACTICE, keys, market_clock=market_clock)
    await gateway.connect()
    try:
        await gateway.submit_order(ORDER)
        with pytest.raises(RetryableError, match="request limit"):
            await gateway.submit_order(replace(ORDER, client_order_id="maru-2"))  # the second of two is the margin's
        assert len(venue.sent("POST /api/v3/order")) == 1
        used = weight_used(gateway)
        venue.headers = {"x-mbx-used-weight-1m": "899"}  # somebody else on this address
        await gateway.fetch_open_orders(BTC)
        assert weight_used(gateway) == 899 > used
        venue.headers = {}
        with pytest.raises(RetryableError, match="request limit"):
            await gateway._client.call(Operation.QUERY, 2, lambda e: e.fetch_time(), max_wait_s=0)
        await gateway.cancel_order(BTC, "maru-1")  # 900 of 1,000 may be used, and a cancel may use all of it
    finally:
        await gateway.close()


async def test_an_order_stopped_while_it_waits_for_its_turn_never_leaves(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    stopped = False
    asked: list[bool] = []

    def may_send() -> bool:
        asked.append(not stopped)
        return not stopped

    gateway._client.limiter.account.pause(Lane.SUBMIT, 0.2)
    sending = asyncio.create_task(gateway.submit_order(replace(ORDER, may_send=may_send)))
    await asyncio.sleep(0.05)
    assert not sending.done()
    stopped = True
    with pytest.raises(SendRevoked, match="trading was stopped"):
        await sending
    assert venue.sent("POST /api/v3/order") == []
    assert asked == [False], "asked once, after the wait"
    await gateway.submit_order(ORDER)
    assert len(venue.sent("POST /api/v3/order")) == 1


async def test_links_of_one_process_share_the_budget_of_their_address(
    gateway: CcxtGateway, venue: VenueDouble, market_clock: ManualClock, budgets: BudgetRegistry
) -> None:
    market = CcxtGateway(
        venue.profile(), TradingMode.PRACTICE, None, market_clock=market_clock, link="market", budgets=budgets
    )
    await market.connect()
    before = weight_used(gateway)
    await market.fetch_book(BTC)
    assert weight_used(gateway) == weight_used(market) == before + 5
    await market.close()


async def test_too_many_requests_for_charts_stops_charts_and_nothing_else(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    """Bans came from the data side and took the orders with them (freqtrade#7187, OctoBot#2108)."""
    venue.fail_next("GET /api/v3/klines", refusing(-1003, "Too many requests.", 429, **{"retry-after": "60"}))
    with pytest.raises(RetryableError) as caught:
        await gateway.fetch_candles(BTC, Timeframe.M1)
    assert caught.value.retry_after_s == 60
    with pytest.raises(RetryableError, match="request limit"):
        async with asyncio.timeout(1):
            await gateway.fetch_book(BTC)
    assert venue.sent("GET /api/v3/depth") == []
    await gateway.fetch_ticker(BTC)  # an order is decided by it
    await gateway.submit_order(ORDER)
    await gateway.fetch_order(BTC, "maru-1")
    await gateway.cancel_order(BTC, "maru-1")


async def test_too_many_orders_stops_orders_and_no_chart(gateway: CcxtGateway, venue: VenueDouble) -> None:
    venue.fail_next("POST /api/v3/order", refusing(-1015, "Too many new orders.", 429, **{"Retry-After": "7"}))
    with pytest.raises(RetryableError):
        await gateway.submit_order(ORDER)
    with pytest.raises(RetryableError, match="request limit"):
        await gateway.submit_order(replace(ORDER, client_order_id="maru-2"))
    assert len(venue.sent("POST /api/v3/order")) == 1
    await gateway.fetch_book(BTC)


async def test_a_ban_ends_all_traffic_and_is_told_with_its_end(
    gateway: CcxtGateway, venue: VenueDouble, statuses: list[ConnectionStatus]
) -> None:
    end_ms = int((time.time() + 1.5) * 1_000)
    words = f"Way too much request weight used; IP banned until {end_ms}. Please use WebSocket Streams."
    venue.fail_next("GET /api/v3/klines", refusing(-1003, words, 418))  # no Retry-After: the words tell the end
    with pytest.raises(RetryableError) as caught:
        await gateway.fetch_candles(BTC, Timeframe.M1)
    assert 0.5 < caught.value.retry_after_s <= 1.6
    end = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(end_ms / 1_000))
    assert gateway.connection.state is DEGRADED
    assert gateway.connection.detail == f"the exchange has shut out this address until {end} UTC"
    sent = len(venue.requests)
    with pytest.raises(RetryableError, match="shut out"):
        await gateway._client.call(Operation.QUERY, 1, lambda e: e.fetch_time(), max_wait_s=0)
    dial = asyncio.create_task(anext(gateway.watch_trades(BTC)))
    await asyncio.sleep(0.5)
    assert len(venue.requests) == sent  # neither the probe nor a stream
    assert venue.sockets == []
    await venue.until(lambda: gateway.connection.state is ONLINE)
    assert time.time() * 1_000 >= end_ms - 50
    await venue.until(lambda: bool(venue.sockets))
    dial.cancel()
    await asyncio.gather(dial, return_exceptions=True)


# --- circuit breaker ----------------------------------------------------------------------------------------------


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


async def test_a_venue_that_only_fails_is_not_asked_any_more_until_a_probe_is_answered(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    await gateway.submit_order(ORDER)
    down = refusing(0, "down", 503)
    venue.always["GET /api/v3/time"] = venue.always["GET /api/v3/account"] = down
    for _ in range(5):
        with pytest.raises(RetryableError):
            await gateway.fetch_balances()
    assert gateway._client.breaker.state is not BreakerState.CLOSED
    assert gateway.connection.detail == "the exchange answers with HTTP 503; no new order is sent until it answers"
    asked = len(venue.sent("GET /api/v3/account"))
    started = time.monotonic()
    with pytest.raises(NoAnswer):
        await gateway.fetch_balances()
    with pytest.raises(RetryableError) as caught:
        await gateway.submit_order(replace(ORDER, client_order_id="maru-2"))
    assert type(caught.value) is RetryableError  # surely not processed, where a timeout would have been ambiguous
    assert time.monotonic() - started < 0.2
    assert len(venue.sent("GET /api/v3/account")) == asked
    assert len(venue.sent("POST /api/v3/order")) == 1
    assert (await gateway.cancel_order(BTC, "maru-1")).state is OrderState.CANCELED  # tried, and it arrived
    venue.always.clear()
    await venue.until(lambda: gateway.connection.state is ONLINE)
    await gateway.submit_order(replace(ORDER, client_order_id="maru-3"))


async def test_a_venue_that_is_silent_opens_it_too_and_the_probe_alone_brings_it_back(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    venue.always["GET /api/v3/time"] = venue.always["GET /api/v3/account"] = hang
    for _ in range(5):
        with pytest.raises(NoAnswer):
            await gateway.fetch_balances()
    with pytest.raises(RetryableError, match="not sent"):
        await gateway.submit_order(ORDER)
    await venue.until(lambda: gateway.connection.state is OFFLINE)
    assert gateway.connection.detail.endswith("no new order is sent until it answers")
    venue.always.clear()
    await venue.until(lambda: gateway.connection.state is ONLINE)
    assert gateway._client.breaker.state is BreakerState.CLOSED


async def test_links_of_one_process_to_a_venue_have_one_breaker(
    gateway: CcxtGateway, venue: VenueDouble, market_clock: ManualClock, budgets: BudgetRegistry
) -> None:
    market = CcxtGateway(
        venue.profile(), TradingMode.PRACTICE, None, market_clock=market_clock, link="market", budgets=budgets
    )
    await market.connect()
    try:
        down = refusing(0, "down", 503)
        for route in ("GET /api/v3/time", "GET /api/v3/depth"):
            venue.always[route] = down
        for _ in range(5):
            with pytest.raises(RetryableError):
                await market.fetch_book(BTC)
        with pytest.raises(RetryableError, match="not sent"):
            await gateway.submit_order(ORDER)
        assert venue.sent("POST /api/v3/order") == []
        await venue.until(lambda: gateway.connection.detail.endswith("no new order is sent until it answers"))
        venue.always.clear()
        await venue.until(lambda: (gateway.connection.state, market.connection.state) == (ONLINE, ONLINE))
        await gateway.submit_order(ORDER)
    finally:
        await market.close()


async def test_a_breaker_that_opens_while_a_link_is_being_opened_is_told_once_it_is(
    gateway: CcxtGateway, venue: VenueDouble, market_clock: ManualClock, budgets: BudgetRegistry
) -> None:
    market = CcxtGateway(
        venue.profile(), TradingMode.PRACTICE, None, market_clock=market_clock, link="market", budgets=budgets
    )
    start = market._probe.start

    def opens() -> None:
        venue.always["GET /api/v3/time"] = refusing(0, "down", 503)
        for _ in range(5):
            gateway._client.breaker.failed()
        start()

    market._probe.start = opens  # type: ignore[method-assign]
    await market.connect()
    try:
        assert market.connection.detail.endswith("no new order is sent until it answers")
        venue.always.clear()
        await venue.until(lambda: market.connection.state is ONLINE)
    finally:
        await market.close()


# --- clock --------------------------------------------------------------------------------------------------------


def stamp_error_ms(venue: VenueDouble, route: str) -> float:
    """How far the newest request's timestamp is from the venue's clock."""
    return abs(int(venue.sent(route)[-1]["timestamp"]) - (time.time() * 1_000 + venue.time_skew_ms))


async def test_a_stale_timestamp_is_mended_and_queries_and_cancels_are_repeated_once(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    """Clock skew made bots stop until somebody restarted them (ccxt#2281)."""
    await gateway.submit_order(ORDER)
    venue.time_skew_ms = 5_000
    venue.fail_next("GET /api/v3/account", STALE)
    assert await gateway.fetch_balances()
    assert stamp_error_ms(venue, "GET /api/v3/account") < 500
    venue.time_skew_ms = -5_000
    venue.fail_next("DELETE /api/v3/order", STALE)
    assert (await gateway.cancel_order(BTC, "maru-1")).state is OrderState.CANCELED
    assert stamp_error_ms(venue, "DELETE /api/v3/order") < 500
    venue.fail_next("GET /api/v3/account", STALE, STALE)
    with pytest.raises(RetryableError) as caught:
        await gateway.fetch_balances()
    assert caught.value.code == "-1021"  # once, not for ever


async def test_a_stale_order_is_never_sent_again_but_the_next_one_has_the_right_time(
    gateway: CcxtGateway, venue: VenueDouble
) -> None:
    venue.time_skew_ms = 5_000
    venue.fail_next("POST /api/v3/order", STALE)
    with pytest.raises(RetryableError) as caught:
        await gateway.submit_order(ORDER)
    assert (type(caught.value), caught.value.code) == (RetryableError, "-1021")
    assert len(venue.sent("POST /api/v3/order")) == 1
    await gateway.submit_order(replace(ORDER, client_order_id="maru-2"))
    assert stamp_error_ms(venue, "POST /api/v3/order") < 500


@pytest.mark.parametrize("shift_s", [3_600, -3_600, 2])
async def test_setting_the_wall_clock_moves_no_timestamp(
    gateway: CcxtGateway, venue: VenueDouble, wall: SetClock, shift_s: int
) -> None:
    asked = len(venue.sent("GET /api/v3/time"))
    wall.shift_ns = shift_s * 1_000_000_000
    assert gateway.clock_skew_ns == pytest.approx(-shift_s * 1e9, abs=3e8)  # seen at once, before anybody was asked
    await gateway.submit_order(ORDER)
    assert stamp_error_ms(venue, "POST /api/v3/order") < 500
    assert len(venue.sent("GET /api/v3/time")) > asked  # and measured again, as a machine that slept looks the same


async def test_an_order_is_not_sent_while_nobody_knows_the_time(
    gateway: CcxtGateway, venue: VenueDouble, wall: SetClock
) -> None:
    venue.always["GET /api/v3/time"] = hang
    wall.shift_ns = 60_000_000_000
    with pytest.raises(RetryableError, match="clock was set"):
        await gateway.submit_order(ORDER)
    assert venue.sent("POST /api/v3/order") == []
    assert "clock offset is unknown" in gateway.connection.detail or gateway.connection.state is OFFLINE
    venue.always.clear()
    await gateway.submit_order(ORDER)


async def test_a_wrong_clock_raises_an_alarm_and_takes_it_back(
    gateway: CcxtGateway, venue: VenueDouble, wall: SetClock
) -> None:
    venue.time_skew_ms = 2_000
    await gateway.server_time_ns()
    assert gateway.connection.state is DEGRADED
    off = int(gateway.connection.detail.removeprefix("this computer's clock is ").split(" ms off")[0])
    assert off == pytest.approx(2_000, abs=100)
    assert gateway.connection.clock_offset_ms == pytest.approx(2_000, abs=100)
    assert gateway.clock_skew_ns == pytest.approx(2e9, abs=1e8)
    wall.shift_ns = 2_000_000_000
    await gateway.server_time_ns()
    assert gateway.connection.state is ONLINE
    assert gateway.clock_skew_ns == pytest.approx(0, abs=1e8)


async def test_a_clock_that_is_wrong_from_the_beginning_is_told_when_the_link_opens(
    venue: VenueDouble, market_clock: ManualClock
) -> None:
    venue.time_skew_ms = -1_500
    gateway = CcxtGateway(venue.profile(), TradingMode.PRACTICE, None, market_clock=market_clock)
    assert gateway.clock_skew_ns is None
    await gateway.connect()
    assert gateway.connection.state is DEGRADED
    assert "ms off the exchange's" in gateway.connection.detail
    await gateway.close()
