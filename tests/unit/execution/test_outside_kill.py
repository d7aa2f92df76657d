"""The kill from another process: what it sells, what it says of it, and that nothing small keeps it from the rest."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import pytest

from core.domain.market import Ticker
from core.domain.orders import OrderDraft, OrderState, OrderType, Side
from core.execution.api.gateway import DefinitiveReject, OrderReport, OrderRequest
from core.execution.foreign_kill import KillJournal
from core.execution.journal import Journal
from core.execution.kill_switch import KillReport
from core.execution.order_manager import client_order_id
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_foreign_kill import sale
from tests.unit.execution.test_kill_switch import BUY, outside
from tests.unit.execution.test_unknown_orders import REST

BTC, ETH = "BTC/USDT", "ETH/USDT"


async def stop_and_sell(desk: Desk) -> KillReport:
    kill = outside(desk)
    report, _ = await kill.run(kill.fence.raise_epoch("killed", 1).epoch, flatten=True, reason="killed")
    return report


async def held(desk: Desk, *drafts: OrderDraft) -> None:
    """Trade, and end the program."""
    executor = await desk.start()
    for draft in drafts:
        await executor.place_order(draft)
    await executor.stop()


def delist(venue: FakeVenue, symbol: str) -> None:
    """The venue knows nothing of a market any more."""
    ticker, query = venue.fetch_ticker, venue.fetch_order

    async def price(name: str) -> Ticker:
        if name == symbol:
            raise DefinitiveReject(f"fake has no market {symbol}")
        return await ticker(name)

    async def ask(name: str, key: str) -> OrderReport:
        if name == symbol:
            raise DefinitiveReject(f"fake has no market {symbol}")
        return await query(name, key)

    venue.fetch_ticker, venue.fetch_order = price, ask  # type: ignore[method-assign]
    venue.instruments = {name: rules for name, rules in venue.instruments.items() if name != symbol}


async def test_a_position_the_venue_does_not_list_any_more_keeps_no_other_from_being_sold(
    desk: Desk, venue: FakeVenue
) -> None:
    await held(desk, BUY, replace(BUY, symbol=ETH, quantity=D(5)))
    delist(venue, BTC)
    sent = len(venue.sent)
    report = await stop_and_sell(desk)
    assert [request.symbol for request in venue.sent[sent:]] == [ETH]
    assert report.flat is False
    assert report.errors == [
        "0.4995 BTC/USDT of manual cannot be sold here: the venue does not trade this market any more"
    ]


async def test_an_order_that_cannot_be_asked_about_keeps_no_market_from_being_sold(
    desk: Desk, venue: FakeVenue
) -> None:
    await held(desk, REST, replace(BUY, symbol=ETH, quantity=D(5)))
    delist(venue, BTC)
    sent = len(venue.sent)
    report = await stop_and_sell(desk)
    assert [request.symbol for request in venue.sent[sent:]] == [ETH]
    assert report.flat is False  # nobody knows whether it bought something
    assert any("could not be asked about" in error for error in report.errors)


async def test_a_market_without_a_price_is_sold_without(desk: Desk, venue: FakeVenue) -> None:
    await held(desk, BUY)
    instruments = venue.instruments
    delist(venue, BTC)
    venue.instruments = instruments
    sent = len(venue.sent)
    report = await stop_and_sell(desk)
    assert [request.symbol for request in venue.sent[sent:]] == [BTC]
    assert report.errors == ["no price of BTC/USDT: fake has no market BTC/USDT"]


async def test_nothing_is_called_flat_that_could_not_be_sold(desk: Desk, venue: FakeVenue) -> None:
    await held(desk, BUY)
    venue.free["BTC"] = D("0.2")  # the rest is gone, or locked by somebody else
    report = await stop_and_sell(desk)
    assert [sold["filled"] for sold in report.sold] == ["0.2"]
    assert report.flat is False
    assert not report.complete


async def test_dust_that_stays_is_flat(desk: Desk, venue: FakeVenue) -> None:
    await held(desk, replace(BUY, quantity=D("0.50009")))
    report = await stop_and_sell(desk)
    assert [sold["state"] for sold in report.sold] == ["filled"]
    assert report.flat
    assert report.complete


async def test_a_sale_that_may_still_come_is_neither_sold_again_nor_called_done(desk: Desk, venue: FakeVenue) -> None:
    await held(desk, BUY)
    announced = replace(sale(BTC), quantity=D("0.4995"), owner="manual", created_ns=venue.clock.now_ns())
    KillJournal(desk.paths.root, 1, 1).append_intent(announced)
    sent = len(venue.sent)
    report = await stop_and_sell(desk)
    assert venue.sent[sent:] == []
    assert report.flat is False
    assert client_order_id(announced.intent_id) not in venue.orders


async def test_the_books_are_read_as_of_one_moment(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sale on the wire that the program books between two of the kill's looks into the journal is not sold again."""
    venue.free["BTC"] = D(5)  # the account's own coins: without them the venue would refuse a second sale
    executor = await desk.start()
    await executor.place_order(BUY)
    hold, send = asyncio.Event(), venue.submit_order

    async def late(request: OrderRequest) -> OrderReport:
        answer = await send(request)
        await hold.wait()
        return answer

    venue.submit_order = late  # type: ignore[method-assign]
    venue.silent = True
    closing = OrderDraft(BTC, Side.SELL, OrderType.MARKET, D("0.4995"), reduce_only=True)
    selling = asyncio.create_task(executor.place_order(closing))
    await asyncio.sleep(0.05)
    venue.submit_order = send  # type: ignore[method-assign]
    kill = outside(desk)
    epoch = kill.fence.raise_epoch("killed", 1).epoch
    executor._stop_desk.round()  # halts and acknowledges
    (order,) = executor.working_orders
    at_venue, read = venue.orders[order.client_order_id], Journal.unsettled_orders

    def between(journal: Journal) -> list[Any]:
        executor._manager.apply_report(venue.report(at_venue, tuple(at_venue.fills)))
        return read(journal)

    sent = len(venue.sent)
    monkeypatch.setattr(Journal, "unsettled_orders", between)
    report, _ = await kill.run(epoch, flatten=True, reason="killed")
    monkeypatch.undo()
    hold.set()
    assert (await selling).state is OrderState.FILLED
    assert venue.sent[sent:] == []
    assert report.flat


def fill_the_disk_of_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.execution.foreign_kill.os.fsync", no_space)


async def test_a_full_disk_keeps_no_order_at_the_venue(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held(desk, REST)
    kill = outside(desk)
    epoch = kill.fence.raise_epoch("killed", 1).epoch
    fill_the_disk_of_kills(monkeypatch)
    report, _ = await kill.run(epoch, flatten=False, reason="killed")
    assert venue.open_orders() == []
    assert report.complete
    assert report.errors == ["what the kill did could not be written down: No space left on device"]


async def test_a_sale_that_cannot_be_announced_is_not_sent(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held(desk, BUY)
    sent = len(venue.sent)
    kill = outside(desk)
    epoch = kill.fence.raise_epoch("killed", 1).epoch
    fill_the_disk_of_kills(monkeypatch)
    report, _ = await kill.run(epoch, flatten=True, reason="killed")
    assert venue.sent[sent:] == []
    assert report.flat is False
    assert "a sale that cannot be written down first is not sent: No space left on device" in report.errors


async def test_without_a_fence_orders_are_cancelled_and_nothing_is_sold(desk: Desk, venue: FakeVenue) -> None:
    await held(desk, REST, BUY)
    sent = len(venue.sent)
    report, _ = await outside(desk).run(None, flatten=True, reason="killed")
    assert venue.open_orders() == []
    assert venue.sent[sent:] == []
    assert report.flat is False
    assert not report.complete
    assert any("the fence could not be raised" in error for error in report.errors)
    report, _ = await outside(desk).run(None, flatten=False, reason="killed")
    assert report.confirmed
    assert not report.complete  # a program may go on sending


async def test_a_kill_that_breaks_down_leaves_a_report(desk: Desk, venue: FakeVenue) -> None:
    await held(desk, BUY)

    async def break_down() -> None:
        raise KeyError("BTC")

    venue.fetch_balances = break_down  # type: ignore[method-assign, assignment]
    report = await stop_and_sell(desk)
    assert report.errors == ["the kill failed: KeyError 'BTC'"]
    assert report.flat is False
