"""Halt, cancel, confirm, flatten, report: also when parts of the program or the venue fail."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from core.clock import NS_PER_S
from core.domain.orders import Intent, IntentSource, OrderDraft, OrderState, OrderType, Side, TradingState
from core.errors import UserError
from core.events import Notice, TradingStateChanged
from core.execution.api.gateway import AmbiguousOutcome, OrderRequest
from core.execution.fence import Fence
from core.execution.foreign_kill import KillJournal
from core.execution.kill_switch import KillReport
from core.execution.order_manager import client_order_id
from core.execution.outside_kill import OutsideKill
from core.execution.process_lock import ExecutorLock
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_unknown_orders import REST, run, state_of, until

BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.5"))


def written(desk: Desk) -> dict:
    report = [e for e in desk.said(TradingStateChanged) if e.report][-1].report
    return json.loads(Path(report).read_text(encoding="utf-8"))


async def test_kill_cancels_ours_and_theirs_and_confirms(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(REST)
    desk.venue.place_foreign("ETH/USDT", Side.BUY, Decimal(1), Decimal(9))
    report = await executor.kill()
    assert desk.venue.open_orders() == []
    assert report.confirmed
    assert report.complete
    assert len(report.cancelled) == 2
    assert state_of(desk, order) is OrderState.CANCELED
    assert written(desk)["confirmed"] is True
    denied = await executor.place_order(BUY)
    assert denied.reason_code == "TRADING_HALTED"


async def test_flatten_sells_what_is_ours_and_names_the_dust(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    report = await executor.kill(flatten=True)
    assert report.flat
    assert [sale["state"] for sale in report.sold] == ["filled"]
    assert executor.position("BTC/USDT", "manual").quantity == 0
    again = await executor.kill(flatten=True)
    assert again.sold == []
    assert again.flat


async def test_a_position_too_small_to_sell_is_dust(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.06")))
    desk.venue.prices["BTC/USDT"] = Decimal(10)
    desk.venue.clock.advance(60_000_000_000)  # the old price is too old
    report = await executor.kill(flatten=True)
    assert report.sold == []
    assert report.dust == [{"symbol": "BTC/USDT", "owner": "manual", "quantity": "0.05994"}]


async def test_the_halt_survives_a_restart_until_rearmed(desk: Desk) -> None:
    first = await desk.start()
    await first.kill()
    await first.stop()
    second = await desk.start()
    assert second.trading_state is TradingState.HALTED
    assert (await second.place_order(BUY)).state is OrderState.DENIED
    await second.rearm()
    assert (await second.place_order(BUY)).state is OrderState.FILLED
    await second.stop()
    third = await desk.start()
    assert third.trading_state is TradingState.ACTIVE


async def test_cancels_that_fail_are_repeated(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(REST)
    desk.venue.cancel_faults.append(AmbiguousOutcome("timed out"))
    desk.venue.list_faults.append(AmbiguousOutcome("timed out"))
    report = await executor.kill()
    assert report.confirmed
    assert desk.venue.open_orders() == []
    assert any("timed out" in error for error in report.errors)


async def test_a_venue_that_stays_silent_is_reported_as_unconfirmed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.execution.kill_switch.ROUND_PAUSE_S", 0.0)
    executor = await desk.start()
    await executor.place_order(REST)
    desk.venue.cancel_faults.extend([AmbiguousOutcome("down")] * 50)
    report = await executor.kill()
    assert not report.confirmed
    assert not report.complete
    assert report.still_open
    assert [n.severity for n in desk.said(Notice)][-1] == "error"


async def test_a_second_stop_does_not_sell_what_is_sold_but_not_listed(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    desk.venue.free["BTC"] += 5  # of somebody else
    desk.venue.hide_trades = True
    desk.venue.submit_faults.append("lost_after")
    first = await executor.kill(flatten=True)
    assert not first.flat
    sold = len(desk.venue.sent)
    await executor.ask_about(desk.venue.sent[-1].client_order_id)  # filled, says the venue, and lists no trade
    second = await executor.kill(flatten=True)
    assert len(desk.venue.sent) == sold
    assert not second.flat
    assert "the venue has not listed all trades in BTC/USDT yet" in second.errors
    desk.venue.hide_trades = False
    third = await executor.kill(flatten=True)
    assert third.flat
    assert len(desk.venue.sent) == sold


async def test_nothing_is_rearmed_between_two_presses(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(REST)
    presses = [asyncio.create_task(executor.kill()) for _ in range(2)]
    await asyncio.sleep(0)
    while not all(press.done() for press in presses):
        with pytest.raises(UserError, match="being stopped"):
            await executor.rearm()
        await asyncio.sleep(0)
    assert executor.trading_state is TradingState.HALTED
    await executor.rearm()
    assert executor.trading_state is TradingState.ACTIVE


async def test_kill_works_with_a_journal_that_cannot_be_written(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(REST)

    def full(*args: object, **kwargs: object) -> None:
        raise UserError("The disk is full.")

    desk.journal.set_trading_state = full  # type: ignore[method-assign]
    report = await executor.kill()
    assert report.confirmed
    assert "The disk is full." in report.errors
    assert executor.trading_state is TradingState.HALTED
    await executor.stop()
    second = await desk.start()  # the fence remembers what the journal could not
    assert second.trading_state is TradingState.HALTED


async def test_a_fence_raised_between_commit_and_send_stops_the_send(desk: Desk) -> None:
    executor = await desk.start()
    Fence(desk.paths.root / "fence.json").raise_epoch("killed from outside", desk.venue.clock.now_ns())
    order = await executor.place_order(BUY)
    assert order.state is OrderState.DENIED
    assert order.reason_code == "FENCED"
    assert desk.venue.sent == []


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"epoch": "x"}', b"[]"])
async def test_a_fence_that_cannot_be_read_lets_nothing_through(desk: Desk, content: bytes | None) -> None:
    executor = await desk.start()
    path = desk.paths.root / "fence.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert (await executor.place_order(BUY)).reason_code == "FENCED"
    await executor.rearm()
    if content is None:
        assert (await executor.place_order(REST)).state is OrderState.ACCEPTED


async def test_a_running_executor_follows_a_fence_raised_outside(desk: Desk) -> None:
    executor, _ = await run(desk)
    fence = Fence(desk.paths.root / "fence.json")
    state = fence.raise_epoch("killed from outside", desk.venue.clock.now_ns())
    await until(lambda: executor.trading_state is TradingState.HALTED)
    acknowledged = fence.read()
    assert acknowledged is not None
    assert acknowledged.acknowledged == state.epoch
    assert any("from outside" in n.title for n in desk.said(Notice))
    await executor.rearm()
    assert (await executor.place_order(BUY)).state is OrderState.FILLED


async def test_a_kill_that_came_in_meanwhile_is_not_rearmed(desk: Desk) -> None:
    executor = await desk.start()
    await executor.kill()
    Fence(desk.paths.root / "fence.json").raise_epoch("killed from outside", desk.venue.clock.now_ns())
    with pytest.raises(UserError, match="stopped from outside a moment ago"):
        await executor.rearm()
    assert executor.trading_state is TradingState.HALTED
    assert (await executor.place_order(BUY)).reason_code == "TRADING_HALTED"


async def test_restarts_keep_since_when_and_why_trading_is_halted(desk: Desk) -> None:
    first = await desk.start()
    desk.venue.clock.advance(1_000)
    await first.kill(reason="too wild")
    halt = first.trading_record
    assert (halt.reason, halt.since_ns) == ("too wild", desk.venue.clock.now_ns())
    await first.stop()
    desk.venue.clock.advance(1_000)
    second = await desk.start()
    assert second.trading_record == halt
    assert len(desk.journal.commands("trading_state")) == 2  # the first start and the kill; a start is no command


async def test_the_halt_of_a_fence_began_when_the_fence_was_raised(desk: Desk) -> None:
    raised = desk.venue.clock.now_ns()
    Fence(desk.paths.root / "fence.json").raise_epoch("killed from outside", raised)
    desk.venue.clock.advance(1_000)
    executor = await desk.start()
    halt = executor.trading_record
    assert (halt.state, halt.reason, halt.since_ns) == (TradingState.HALTED, "killed from outside", raised)


async def test_what_a_kill_from_outside_sold_is_merged_at_the_next_start(desk: Desk) -> None:
    first = await desk.start()
    await first.place_order(BUY)
    await first.stop()
    journal = KillJournal(desk.paths.root, 7, 1)
    journal.append_intent(
        Intent(
            "kill:7:BTC/USDT:manual",
            IntentSource.KILL_SWITCH,
            "manual",
            "BTC/USDT",
            Side.SELL,
            Decimal("0.4995"),
            OrderType.MARKET,
            created_ns=5,
        )
    )
    journal.path.write_bytes(journal.path.read_bytes() + b'{"kind": "int')  # it died while writing
    sold = client_order_id("kill:7:BTC/USDT:manual")
    await desk.venue.submit_order(OrderRequest(sold, "BTC/USDT", Side.SELL, OrderType.MARKET, Decimal("0.4995")))
    second = await desk.start()
    assert second.position("BTC/USDT", "manual").quantity == 0
    record = desk.journal.order(sold)
    assert record is not None
    assert record.order.state is OrderState.FILLED
    assert record.intent.owner == "manual"
    await second.stop()
    third = await desk.start()
    assert third.position("BTC/USDT", "manual").quantity == 0


async def test_what_a_kill_from_outside_sells_while_the_program_runs_is_no_order_of_somebody_else(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    quantity = Decimal("0.4995")
    sale = Intent(
        "kill:7:BTC/USDT:manual",
        IntentSource.KILL_SWITCH,
        "manual",
        "BTC/USDT",
        Side.SELL,
        quantity,
        OrderType.MARKET,
        created_ns=5,
    )
    KillJournal(desk.paths.root, 7, 1).append_intent(sale)
    sold = client_order_id(sale.intent_id)
    await desk.venue.submit_order(OrderRequest(sold, "BTC/USDT", Side.SELL, OrderType.MARKET, quantity))
    await executor.reconcile_now()  # the stream said nothing, and the trade names only the venue's own order id
    await executor.reconcile_now()
    assert {p.owner: p.quantity for p in executor.positions} == {"manual": Decimal(0)}
    record = desk.journal.order(sold)
    assert record is not None
    assert record.is_settled


async def test_a_kill_from_outside_sells_no_more_than_is_left_of_a_purchase_after_its_fee(desk: Desk) -> None:
    desk.venue.free["BTC"] = Decimal(1)  # the account's own, no business of the program
    executor = await desk.start()
    order = await executor.place_order(REST)
    await executor.stop()
    desk.venue.fill(order.client_order_id, Decimal("0.3"))  # bought while nothing ran: not in the books
    sent = len(desk.venue.sent)
    kill = outside(desk)
    report, _ = await kill.run(kill.fence.raise_epoch("killed", 1).epoch, flatten=True, reason="killed")
    assert [request.quantity for request in desk.venue.sent[sent:]] == [Decimal("0.2997")]
    assert report.flat


def outside(desk: Desk) -> OutsideKill:
    lock = ExecutorLock(desk.paths.root / "locks", "test")
    fence = Fence(desk.paths.root / "fence.json")
    return OutsideKill(desk.paths, fence, lock, lambda: nullcontext(desk.venue), desk.venue.clock)


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_kill_from_outside_sells_only_beside_a_program_that_has_halted(desk: Desk, acknowledged: bool) -> None:
    executor = await desk.start()  # holds the lock, and does not look at the fence
    await executor.place_order(BUY)
    resting = await executor.place_order(OrderDraft("ETH/USDT", Side.BUY, OrderType.LIMIT, Decimal(1), Decimal(9)))
    sent = len(desk.venue.sent)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    kill = replace(outside(desk), sleep=sleep)
    epoch = kill.fence.raise_epoch("killed", 1).epoch
    kill.fence.acknowledge(epoch if acknowledged else epoch - 1)
    report, path = await kill.run(epoch, flatten=True, reason="killed")
    assert desk.venue.orders[resting.client_order_id].state is OrderState.CANCELED, "cancels wait for nobody"
    assert report.flat is acknowledged
    assert len(desk.venue.sent) - sent == len(report.sold) == int(acknowledged)
    if acknowledged:
        assert report.errors == []
        return
    assert sum(slept) >= kill.acknowledge_s == 10.0
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["errors"] == ["the trading program neither ended nor halted, so nothing was sold"]
    assert not report.complete


async def test_a_kill_from_outside_sells_nothing_that_an_earlier_one_sold(desk: Desk) -> None:
    desk.venue.free["BTC"] = Decimal(1)  # the account's own: without it the venue would refuse a second sale
    executor = await desk.start()
    await executor.place_order(BUY)
    await executor.stop()
    sent = len(desk.venue.sent)
    kill = outside(desk)
    for press in range(3):
        desk.venue.clock.advance(30 * NS_PER_S)
        epoch = kill.fence.raise_epoch("killed", press).epoch
        await kill.run(epoch, flatten=True, reason="killed")
    assert [request.quantity for request in desk.venue.sent[sent:]] == [Decimal("0.4995")]


async def test_a_sale_that_never_arrived_is_made_good_by_the_next_kill_once_it_cannot_arrive(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    await executor.stop()
    sent = len(desk.venue.sent)
    desk.venue.submit_faults.append("lost_before")
    kill = outside(desk)
    for later_s in (0, 5, 30):
        desk.venue.clock.advance(later_s * NS_PER_S)
        epoch = kill.fence.raise_epoch("killed", later_s).epoch
        await kill.run(epoch, flatten=True, reason="killed")
    assert len(desk.venue.sent) - sent == 2  # the one that was lost, and the one 30 s later


async def test_two_kills_from_outside_do_not_sell_beside_each_other(desk: Desk) -> None:
    desk.venue.free["BTC"] = Decimal(1)
    executor = await desk.start()
    await executor.place_order(BUY)
    await executor.stop()
    sent = len(desk.venue.sent)
    kill = outside(desk)
    first, second = (kill.fence.raise_epoch("killed", 1).epoch for _ in range(2))
    reports = await asyncio.gather(*(kill.run(epoch, flatten=True, reason="killed") for epoch in (first, second)))
    assert len(desk.venue.sent) - sent == 1
    assert sorted(bool(report.flat) for report, _ in reports) == [False, True]


def test_a_kill_journal_line_is_complete_json(tmp_path: Path) -> None:
    journal = KillJournal(tmp_path, 3, 9)
    journal.append("cancelled", {"orders": ["a"]})
    assert json.loads(journal.path.read_text()) == {"kind": "cancelled", "orders": ["a"]}


def test_the_summary_says_what_is_left() -> None:
    report = KillReport("now", "why", flatten=True, cancelled=["a"], still_open=["b"], unknown=["c"], flat=False)
    report.listed = True
    assert report.summary() == (
        "1 order cancelled, 1 may still be open, 1 order is still unknown, 0 positions sold, not all."
    )
    assert not report.complete


def test_the_summary_knows_no_number_where_the_venue_never_listed_what_is_open() -> None:
    report = KillReport("now", "why", flatten=False, cancelled=["a"])
    assert report.summary() == "1 order cancelled, how many are still open is unknown."


def test_the_summary_counts_in_english() -> None:
    sold, refused = {"filled": "0.5"}, {"filled": "0"}
    one = KillReport("now", "why", flatten=True, cancelled=["a"], confirmed=True, sold=[sold, refused], flat=True)
    assert one.summary() == "1 order cancelled, none is open, 1 position sold."
    two = KillReport("now", "why", flatten=True, cancelled=["a", "b"], confirmed=True, sold=[sold, sold], flat=True)
    assert two.summary() == "2 orders cancelled, none is open, 2 positions sold."


async def test_the_report_folder_being_unwritable_is_said_after_the_work(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(REST)
    desk.paths.reports.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="report of STOP could not be written"):
        await executor.kill()
    assert desk.venue.open_orders() == []
    await asyncio.sleep(0)


def delist(venue: FakeVenue, symbol: str) -> None:
    """Take a market off the venue's list, from the next connection on."""
    connect = venue.connect

    async def connect_without() -> None:
        await connect()
        venue.instruments = {name: rules for name, rules in venue.instruments.items() if name != symbol}

    venue.connect = connect_without  # type: ignore[method-assign]


@pytest.mark.parametrize("quantity", ["0.5", "0.0001"], ids=["position", "dust"])
async def test_what_the_venue_does_not_list_any_more_keeps_nothing_else_from_being_sold(
    desk: Desk, venue: FakeVenue, quantity: str
) -> None:
    executor = await desk.start()
    await executor.place_order(replace(BUY, quantity=Decimal("0.5")))
    keep = Decimal("0.4995") - Decimal(quantity)
    if keep > 0:
        await executor.place_order(OrderDraft("BTC/USDT", Side.SELL, OrderType.MARKET, keep, reduce_only=True))
    await executor.place_order(replace(BUY, symbol="ETH/USDT", quantity=Decimal(5)))
    await executor.stop()
    delist(venue, "BTC/USDT")
    second = await desk.start()
    report = await second.kill(flatten=True)
    assert [(sale["symbol"], sale["state"]) for sale in report.sold] == [("ETH/USDT", "filled")]
    assert report.flat is False
    assert any("BTC/USDT of manual cannot be sold here" in error for error in report.errors)
    assert written(desk)["complete"] is False


async def test_sales_that_break_down_leave_a_report(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)

    async def break_down() -> None:
        raise KeyError("BTC")

    monkeypatch.setattr(executor._keeper, "refresh_balances", break_down)
    report = await executor.kill(flatten=True)
    assert report.flat is False
    assert report.errors == ["closing the positions failed: KeyError 'BTC'"]
    assert written(desk)["flat"] is False


async def test_a_sale_the_venue_refuses_is_not_counted_as_sold(desk: Desk, venue: FakeVenue) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    venue.submit_faults.append("reject")
    report = await executor.kill(flatten=True)
    assert "0 positions sold, not all" in report.summary()
    assert [sale["state"] for sale in report.sold] == ["rejected"]
