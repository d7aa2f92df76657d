"""The order manager on its own: every way an order, a report or a fill can come about."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.fills import Fill, Liquidity
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side
from core.errors import UserError
from core.events import ExecutorEvent, OrderUpdated
from core.execution import order_manager
from core.execution.api.gateway import AmbiguousOutcome, OrderReport, OrderUnknown
from core.execution.fence import Fence, FenceState
from core.execution.journal import DuplicateIntent, Journal
from core.execution.marks import Marks
from core.execution.order_manager import OrderManager, client_order_id, is_ours
from core.execution.order_state import IllegalTransition
from core.execution.records import OrderRecord
from core.signals.risk_management import Approved, Denied, ReasonCode
from tests.unit.execution.fake_venue import FakeVenue

D = Decimal
S = OrderState


@pytest.fixture
async def manager(venue: FakeVenue, journal: Journal, paths) -> OrderManager:
    await venue.connect()
    fence = Fence(paths.root / "fence.json")
    fence.write(FenceState(0))
    events: list[ExecutorEvent] = []
    made = OrderManager(venue, journal, fence, venue.clock, events.append, Marks(venue.clock))
    made.load()
    made.events = events  # type: ignore[attr-defined]
    return made


def limit(number: int = 1, quantity: str = "1") -> Intent:
    return Intent(
        f"manual:{number}",
        IntentSource.MANUAL,
        "manual",
        "BTC/USDT",
        Side.BUY,
        D(quantity),
        OrderType.LIMIT,
        limit_price=D(90),
    )


def report(key: str, state: OrderState, filled: str = "0", venue_id: str = "v1", **changes: object) -> OrderReport:
    made = OrderReport(
        "BTC/USDT",
        key,
        venue_id,
        state,
        Side.BUY,
        OrderType.LIMIT,
        D(1),
        D(filled),
        D(90),
        D(90) if D(filled) else None,
        1,
    )
    return replace(made, **changes)


def fill(number: int, quantity: str, key: str = "", venue_id: str = "v1", currency: str = "USDT") -> Fill:
    return Fill(
        "fake",
        "BTC/USDT",
        str(number),
        venue_id,
        key,
        Side.BUY,
        D(90),
        D(quantity),
        D("0.1"),
        currency,
        Liquidity.MAKER,
        1,
    )


async def resting(manager: OrderManager, venue: FakeVenue, number: int = 1) -> Order:
    order = await manager.submit(Approved(limit(number)))
    assert order.state is S.ACCEPTED
    return order


@given(st.text(max_size=80))
def test_a_client_order_id_is_legal_and_the_same_for_ever(intent_id: str) -> None:
    made = client_order_id(intent_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,32}", made)
    assert made == client_order_id(intent_id)
    assert is_ours(made)


def test_ids_differ_and_others_are_not_ours() -> None:
    assert len({client_order_id(f"manual:{n}") for n in range(1_000)}) == 1_000
    assert client_order_id("manual:1") == "maru-s5kujxqeb6r6ydzs7zpyygiuvr" or is_ours(client_order_id("manual:1"))
    assert not is_ours("web_123")
    assert not is_ours("maru-short")


async def test_one_intent_is_one_order(manager: OrderManager, venue: FakeVenue) -> None:
    await resting(manager, venue)
    with pytest.raises(DuplicateIntent):
        await manager.submit(Approved(limit()))
    with pytest.raises(DuplicateIntent):
        manager.deny(Denied(limit(), ReasonCode.DAILY_LOSS, "no"))
    assert len(venue.sent) == 1


async def test_a_refusal_after_the_stream_showed_the_order_is_not_believed(
    manager: OrderManager, venue: FakeVenue
) -> None:
    async def contradict(request):
        manager.apply_report(report(request.client_order_id, S.ACCEPTED))
        from core.execution.api.gateway import DefinitiveReject

        raise DefinitiveReject("no")

    venue.submit_order = contradict  # type: ignore[method-assign]
    assert (await manager.submit(Approved(limit()))).state is S.ACCEPTED


async def test_an_answer_lost_after_the_stream_spoke_changes_nothing(manager: OrderManager, venue: FakeVenue) -> None:
    async def lose(request):
        manager.apply_report(report(request.client_order_id, S.ACCEPTED))
        raise AmbiguousOutcome("gone")

    venue.submit_order = lose  # type: ignore[method-assign]
    assert (await manager.submit(Approved(limit()))).state is S.ACCEPTED


async def test_the_fill_may_come_before_the_acknowledgement(manager: OrderManager, venue: FakeVenue) -> None:
    async def early(request):
        key = request.client_order_id
        manager.book(fill(1, "0.4", key))
        return report(key, S.ACCEPTED)

    venue.submit_order = early  # type: ignore[method-assign]
    order = await manager.submit(Approved(limit()))
    assert (order.state, order.filled_quantity) == (S.PARTIALLY_FILLED, D("0.4"))


async def test_outdated_and_repeated_reports_change_nothing(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    key, venue_id = order.client_order_id, order.venue_order_id
    manager.apply_report(report(key, S.FILLED, "1", venue_id, fills=(fill(1, "1", key, venue_id),)))
    told = len(manager.events)
    for state in (S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED):
        after = manager.apply_report(report(key, state, "0.5", venue_id))
        assert after is not None
        assert (after.state, after.filled_quantity) == (S.FILLED, D(1))
    assert len(manager.events) == told


async def test_a_contradiction_raises(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    manager.apply_report(report(order.client_order_id, S.FILLED, "1", order.venue_order_id))
    with pytest.raises(IllegalTransition):
        manager.apply_report(report(order.client_order_id, S.REJECTED, "0", order.venue_order_id))


async def test_a_venue_rejection_by_stream_carries_its_words(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    after = manager.apply_report(report(order.client_order_id, S.REJECTED, "0", order.venue_order_id, message="margin"))
    assert after is not None
    assert (after.state, after.reason_code, after.message) == (S.REJECTED, "VENUE_REJECTED", "margin")


async def test_fills_are_booked_once_and_make_the_average(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    venue_id = order.venue_order_id
    assert manager.book(fill(1, "0.4", venue_id=venue_id))
    assert not manager.book(fill(1, "0.4", venue_id=venue_id))
    assert manager.book(replace(fill(2, "0.6", venue_id=venue_id), price=D(80)))
    record = manager.record(order.client_order_id)
    assert record is not None
    assert (record.order.state, record.order.average_price) == (S.FILLED, D(84))
    assert record.is_settled
    assert manager.unsettled == []
    assert not manager.book(fill(3, "1", venue_id="nobody"))
    assert not manager.book(fill(3, "1", venue_id=""))


async def test_an_overfill_is_booked_as_it_is(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    for number, quantity in ((1, "1"), (2, "0.5")):
        manager.book(fill(number, quantity, venue_id=order.venue_order_id))
    record = manager.record(order.client_order_id)
    assert record is not None
    assert (record.order.state, record.order.filled_quantity, record.order.remaining_quantity) == (
        S.FILLED,
        D("1.5"),
        0,
    )
    assert manager.account_quantity("BTC/USDT") == D("1.5")


@pytest.mark.parametrize("end", [S.CANCELED, S.EXPIRED, S.REJECTED])
async def test_late_fills_are_booked_whatever_the_state(
    manager: OrderManager, venue: FakeVenue, end: OrderState
) -> None:
    order = await resting(manager, venue)
    manager.apply_report(report(order.client_order_id, end, "0", order.venue_order_id))
    manager.book(fill(1, "0.4", venue_id=order.venue_order_id))
    record = manager.record(order.client_order_id)
    assert record is not None
    assert (record.order.state, record.order.filled_quantity) == (end, D("0.4"))
    manager.book(fill(2, "0.6", venue_id=order.venue_order_id))
    record = manager.record(order.client_order_id)
    assert record is not None
    assert record.order.state is (S.REJECTED if end is S.REJECTED else S.FILLED)


async def test_a_fill_during_a_pending_cancel_keeps_it_pending(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    venue.cancel_faults.append(AmbiguousOutcome("slow"))
    with pytest.raises(AmbiguousOutcome):
        await manager.cancel(order.client_order_id)
    manager.book(fill(1, "0.4", venue_id=order.venue_order_id))
    record = manager.record(order.client_order_id)
    assert record is not None
    assert record.order.state is S.PENDING_CANCEL


async def test_a_fee_nobody_can_price_is_told_and_kept_out_of_the_figure(
    manager: OrderManager, venue: FakeVenue
) -> None:
    order = await resting(manager, venue)
    asked: list[tuple[str, str]] = []
    manager.on_unpriced = lambda currency, quote: asked.append((currency, quote))
    manager.book(fill(1, "0.4", venue_id=order.venue_order_id, currency="BNB"))
    assert asked == [("BNB", "USDT")]
    assert manager.position("BTC/USDT", "manual").fees == 0


async def test_cancel_of_what_is_over_or_unknown_to_us(manager: OrderManager, venue: FakeVenue) -> None:
    with pytest.raises(KeyError):
        await manager.cancel("nobody")
    order = await resting(manager, venue)
    await manager.cancel(order.client_order_id)
    calls = len(venue.calls)
    assert (await manager.cancel(order.client_order_id)).state is S.CANCELED
    assert len(venue.calls) == calls


async def test_a_cancel_the_venue_does_not_understand_stays_pending(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    del venue.orders[order.client_order_id]
    with pytest.raises(OrderUnknown):
        await manager.cancel(order.client_order_id)
    assert [o.state for o in manager.working] == [S.PENDING_CANCEL]


async def test_unknown_is_for_open_orders_only_and_once(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    assert manager.mark_unknown(order.client_order_id, "gone").state is S.UNKNOWN
    told = len(manager.events)
    assert manager.mark_unknown(order.client_order_id, "gone").state is S.UNKNOWN
    assert len(manager.events) == told
    ended = manager.expire(order.client_order_id, ReasonCode.GONE_AT_VENUE, "gone")
    assert manager.mark_unknown(order.client_order_id, "x") == ended
    with pytest.raises(KeyError):
        manager.mark_unknown("nobody", "x")


async def test_a_lost_order_that_trades_after_all_is_alive_again(manager: OrderManager, venue: FakeVenue) -> None:
    venue.submit_faults.append("lost_before")
    order = await manager.submit(Approved(limit()))
    manager.expire(order.client_order_id, ReasonCode.NEVER_ARRIVED, "lost")
    manager.book(fill(1, "0.4", order.client_order_id))
    record = manager.record(order.client_order_id)
    assert record is not None
    assert (record.order.state, record.order.reason_code) == (S.PARTIALLY_FILLED, "")


async def test_adopted_orders_keep_their_names_apart(manager: OrderManager, venue: FakeVenue) -> None:
    first = manager.adopt(report("web", S.ACCEPTED, venue_id="v7"))
    second = manager.adopt(report("web", S.ACCEPTED, venue_id="v8"))
    third = manager.adopt(report("", S.PARTIALLY_FILLED, "0.5", "v9", fills=(fill(1, "0.5", venue_id="v9"),)))
    assert [o.client_order_id for o in (first, second, third)] == ["web", "ext-v8", "ext-v9"]
    assert third.filled_quantity == D("0.5")
    again = manager.apply_report(report("web", S.CANCELED, venue_id="v8"))
    assert again is not None
    assert again.client_order_id == "ext-v8"


async def test_what_another_process_of_ours_sent_is_claimed_not_adopted(
    manager: OrderManager, venue: FakeVenue
) -> None:
    manager.claim = lambda: manager.import_unknown(limit(9), 1)  # type: ignore[assignment,return-value]
    after = manager.apply_report(report(client_order_id("manual:9"), S.ACCEPTED))
    assert after is not None
    assert after.intent.owner == "manual"
    assert not manager.import_unknown(limit(9), 1)
    assert manager.apply_report(report("web", S.ACCEPTED, venue_id="v77")) is None


async def test_old_orders_leave_memory_but_are_still_found(
    manager: OrderManager, venue: FakeVenue, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_manager, "RECENT_ORDERS", 1)
    orders = []
    for number in range(3):
        order = await resting(manager, venue, number)
        await manager.cancel(order.client_order_id)
        orders.append(order)
    first = orders[0]
    found = manager.find("BTC/USDT", "", first.venue_order_id)
    assert isinstance(found, OrderRecord)
    assert found.key == first.client_order_id
    manager.load()
    assert manager.unsettled == []
    assert [event.order.state for event in manager.events if isinstance(event, OrderUpdated)].count(S.CANCELED) == 3


async def test_a_cancel_that_failed_for_good_is_noted(manager: OrderManager, venue: FakeVenue) -> None:
    order = await resting(manager, venue)
    assert manager.cancel_failed(order.client_order_id, "x").state is S.ACCEPTED
    venue.cancel_faults.append(AmbiguousOutcome("slow"))
    with pytest.raises(AmbiguousOutcome):
        await manager.cancel(order.client_order_id)
    after = manager.cancel_failed(order.client_order_id, "the venue refused")
    assert (after.state, after.message) == (S.ACCEPTED, "the venue refused")


async def test_the_manager_is_idle_only_when_every_answer_is_there(manager: OrderManager, venue: FakeVenue) -> None:
    assert await manager.wait_idle(0.01)
    first, second = manager.register(Approved(limit(1))), manager.register(Approved(limit(2)))
    await manager.transmit(first)
    assert not await manager.wait_idle(0.01)
    await manager.transmit(second)
    assert await manager.wait_idle(0.01)


async def test_an_answer_that_contradicts_what_the_stream_said_changes_nothing(
    manager: OrderManager, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = client_order_id("manual:1")

    async def contradict(request: object) -> OrderReport:
        manager.apply_report(report(key, OrderState.PARTIALLY_FILLED, "0.5"))
        return report(key, OrderState.REJECTED)

    monkeypatch.setattr(venue, "submit_order", contradict)
    order = await manager.submit(Approved(limit()))
    assert (order.state, order.filled_quantity) == (OrderState.PARTIALLY_FILLED, D("0.5"))


async def test_a_cancel_goes_out_also_where_it_cannot_be_written_down(
    manager: OrderManager, venue: FakeVenue, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await resting(manager, venue)

    def full(*args: object) -> None:
        raise UserError("The disk is full.", "Free some space.")

    with monkeypatch.context() as disk:
        disk.setattr(journal, "update_order", full)
        with pytest.raises(UserError, match="disk is full"):  # the answer cannot be written either
            await manager.cancel(order.client_order_id)
    assert venue.orders[order.client_order_id].state is S.CANCELED
    assert [o.state for o in manager.working] == [S.ACCEPTED]  # as in the books, until they can be written
    assert (await manager.cancel(order.client_order_id)).state is S.CANCELED
