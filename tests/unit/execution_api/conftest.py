"""A venue double and a gateway connected to it; both closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.clock import ManualClock, SystemClock
from core.domain.orders import TradingMode
from core.events import ConnectionStatus
from core.execution.api.ccxt_gateway import CcxtGateway, Credentials
from tests.unit.execution_api.venue_double import KEY, SECRET, T0_MS, VenueDouble


@pytest.fixture
async def venue() -> AsyncIterator[VenueDouble]:
    double = VenueDouble()
    await double.start()
    yield double
    await double.stop()


@pytest.fixture
def market_clock() -> ManualClock:
    return ManualClock(T0_MS * 1_000_000)


@pytest.fixture
def statuses() -> list[ConnectionStatus]:
    return []


@pytest.fixture
async def gateway(
    venue: VenueDouble, market_clock: ManualClock, statuses: list[ConnectionStatus]
) -> AsyncIterator[CcxtGateway]:
    made = CcxtGateway(
        venue.profile(),
        TradingMode.PRACTICE,
        Credentials(KEY, SECRET),
        market_clock=market_clock,
        wall_clock=SystemClock(),
        on_connection=statuses.append,
    )
    await made.connect()
    yield made
    await made.close()
