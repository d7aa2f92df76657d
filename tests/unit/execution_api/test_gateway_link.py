"""The state of a gateway's link while its venue dies, hangs and comes back; and that no session stays open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from core.clock import ManualClock
from core.domain.candles import Timeframe
from core.domain.orders import TradingMode
from core.events import ConnectionState, ConnectionStatus
from core.execution.api import link_probe
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from core.execution.api.gateway import GatewayError, NoAnswer, RetryableError
from tests.unit.execution_api.test_gateway_streams import Reader, finals
from tests.unit.execution_api.venue_double import KEY, SECRET, VenueDouble, kline_event, refusing

OFFLINE, CONNECTING = ConnectionState.OFFLINE, ConnectionState.CONNECTING
ONLINE, DEGRADED = ConnectionState.ONLINE, ConnectionState.DEGRADED


@pytest.fixture(autouse=True)
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_probe.LinkProbe.__init__, "__kwdefaults__", {"timeout_s": 0.3, "pause_s": 0.05})


def told(statuses: list[ConnectionStatus]) -> list[ConnectionState]:
    """Return the states gone through, without repetitions."""
    states = [status.state for status in statuses]
    return [state for state, before in zip(states, [None, *states], strict=False) if state is not before]


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError("the client waited for too long")


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def test_a_dead_venue_is_offline_and_comes_back_by_itself(
    gateway: CcxtGateway, venue: VenueDouble, statuses: list[ConnectionStatus]
) -> None:
    reader = Reader(gateway.watch_candles("BTC/USDT", Timeframe.M1))
    await venue.until(lambda: len(venue.subscriptions) == 1)
    await venue.publish(kline_event(0, 100, closed=True))
    await venue.until(lambda: finals(reader) == [0])
    statuses.clear()
    await venue.stop()
    await venue.until(lambda: gateway.connection.state is OFFLINE)
    assert f"no connection to 127.0.0.1:{venue.port}" in gateway.connection.detail
    statuses.clear()
    await asyncio.sleep(2.5)  # the stream dials, REST is polled, the probe asks: all of it in vain
    assert told(statuses) in ([], [OFFLINE])
    await venue.start(venue.port)
    await venue.until(lambda: gateway.connection.state is DEGRADED)  # REST answers, the stream does not yet
    await venue.until(lambda: len(venue.subscriptions) == 2, 10)
    await venue.publish(kline_event(1, 100, closed=False))
    await venue.until(lambda: gateway.connection.state is ONLINE)
    assert [state for state in told(statuses) if state is not OFFLINE] == [DEGRADED, ONLINE]
    await reader.stop()


async def test_a_dead_stream_of_a_living_venue_is_degraded(
    gateway: CcxtGateway, venue: VenueDouble, statuses: list[ConnectionStatus]
) -> None:
    reader = Reader(gateway.watch_candles("BTC/USDT", Timeframe.M1))
    await venue.until(lambda: len(venue.subscriptions) == 1)
    statuses.clear()
    await venue.drop_streams()
    await venue.until(lambda: gateway.connection.state is DEGRADED)
    asked = len(venue.sent("GET /api/v3/time"))
    await gateway.server_time_ns()
    await venue.until(lambda: len(venue.sent("GET /api/v3/time")) > asked)
    assert told(statuses) == [DEGRADED]  # an answered ping mends no stream
    await reader.stop()
    assert gateway.connection.state is ONLINE  # nobody misses the stream any more


async def test_one_lost_answer_is_no_outage_but_a_hanging_venue_is(
    gateway: CcxtGateway, venue: VenueDouble, statuses: list[ConnectionStatus]
) -> None:
    statuses.clear()
    asked = len(venue.sent("GET /api/v3/time"))
    venue.fail_next("GET /api/v3/account", hang_up, hang_up)  # aiohttp itself asks twice
    with pytest.raises(NoAnswer):
        await gateway.fetch_balances()
    await venue.until(lambda: len(venue.sent("GET /api/v3/time")) > asked)
    await asyncio.sleep(0.1)
    assert told(statuses) in ([], [ONLINE])
    venue.fail_next("GET /api/v3/account", hang_up, hang_up)  # aiohttp itself asks twice
    venue.fail_next("GET /api/v3/time", hang, hang)
    with pytest.raises(NoAnswer):
        await gateway.fetch_balances()
    await venue.until(lambda: gateway.connection.state is OFFLINE)
    await venue.until(lambda: gateway.connection.state is ONLINE)


async def test_a_busy_venue_is_degraded_until_it_serves_again(gateway: CcxtGateway, venue: VenueDouble) -> None:
    venue.fail_next("GET /api/v3/account", refusing(0, "down", 503))
    venue.fail_next("GET /api/v3/time", refusing(0, "down", 503), refusing(0, "down", 503))
    with pytest.raises(RetryableError):
        await gateway.fetch_balances()
    assert gateway.connection.state is DEGRADED
    assert "503" in gateway.connection.detail
    await venue.until(lambda: gateway.connection.state is ONLINE)


async def test_a_caller_reports_what_it_reads_over_the_link(gateway: CcxtGateway) -> None:
    gateway.report_trouble("account stream", "cut")
    assert (gateway.connection.state, gateway.connection.detail) == (DEGRADED, "cut")
    gateway.clear_trouble("account stream")
    assert gateway.connection.state is ONLINE
    await gateway.close()
    gateway.report_trouble("account stream", "closed")
    assert (gateway.connection.state, gateway.connection.detail) == (OFFLINE, "")


# --- sessions ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """What the loop says of things that were not closed."""
    said: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    yield said
    loop.set_exception_handler(None)


async def test_a_cancel_at_any_moment_of_connect_leaves_no_session_open(
    venue: VenueDouble, market_clock: ManualClock, complaints: list[str]
) -> None:
    profile = replace(venue.profile(), request_timeout_ms=2_000)
    for moment in range(40):
        keys = Credentials(KEY, SECRET)
        gateway = CcxtGateway(profile, TradingMode.PRACTICE, keys, market_clock=market_clock)
        connecting = asyncio.create_task(gateway.connect())
        for _ in range(moment * 2):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        if connecting.cancelled():
            assert gateway.connection.state is OFFLINE
        await gateway.close()
        del gateway, connecting
    gc.collect()
    assert complaints == []


async def test_a_cancel_in_the_middle_of_close_leaves_no_session_open(
    gateway: CcxtGateway, venue: VenueDouble, complaints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session: Any = gateway._client._session
    closing = asyncio.Event()

    async def hangs() -> None:
        closing.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(gateway._client.live, "close", hangs)
    task = asyncio.create_task(gateway.close())
    await closing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.closed
    with pytest.raises(GatewayError):
        await gateway.fetch_balances()
