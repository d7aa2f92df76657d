"""Where two parts of the order path meet: what one does while the other waits for an answer."""

from __future__ import annotations

import asyncio
from decimal import Decimal as D

import pytest

from core.clock import NS_PER_S
from core.domain.market import Ticker
from core.domain.orders import OrderChange, OrderDraft, OrderType, Side
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue

BTC = "BTC/USDT"
REST = OrderDraft(BTC, Side.BUY, OrderType.LIMIT, D("0.5"), limit_price=D(90))


async def test_two_changes_of_one_order_make_one_new_order(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    venue.clock.advance(20 * NS_PER_S)  # the price is old: both ask for it
    plain = venue.fetch_ticker

    async def slow_ticker(symbol: str) -> Ticker:
        await asyncio.sleep(0.02)
        return await plain(symbol)

    monkeypatch.setattr(venue, "fetch_ticker", slow_ticker)
    changes = (OrderChange(limit_price=D(91)), OrderChange(limit_price=D(92)))
    await asyncio.gather(*(executor.replace_order(order.client_order_id, c) for c in changes), return_exceptions=True)
    assert len(venue.open_orders()) == 1
