"""Order plans over a venue: orders, restarts, STOP, and hands that interfere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal as D

import pytest

from core.clock import NS_PER_S
from core.domain.market import BookSnapshot, Ticker
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState
from core.domain.orders import MANUAL_OWNER, OrderDraft, OrderState, OrderType, Side, TradingState
from core.errors import RiskRefused, UserError
from core.events import Notice, PlanUpdated, Severity
from core.execution import plan_runner
from core.execution.api.gateway import DefinitiveReject, RetryableError
from core.execution.executor import Executor
from core.execution.fence import Fence
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import FakeVenue, VenueOrder

BTC = "BTC/USDT"
BRACKET = PlanDraft(PlanKind.BRACKET, BTC, Side.BUY, D(1), None, ExitRules(D(90), D(120)))
EXIT = PlanDraft(PlanKind.EXIT, BTC, Side.SELL, D("0.5"), exits=ExitRules(D(90), D(120)))


def exit_draft(side: Side, rules: ExitRules) -> PlanDraft:
    return PlanDraft(PlanKind.EXIT, BTC, side, D("0.5"), exits=rules)


def bracket_draft(limit: str | None, rules: ExitRules) -> PlanDraft:
    return PlanDraft(PlanKind.BRACKET, BTC, Side.BUY, D(1), None if limit is None else D(limit), rules)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - facts of the venue, not events
            await asyncio.sleep(0.005)


def resting(venue: FakeVenue) -> list[VenueOrder]:
    return venue.open_orders()


def plan_of(desk: Desk) -> OrderPlan:
    return desk.said(PlanUpdated)[-1].plan


async def running(desk: Desk, *, resume: bool = True) -> tuple[Executor, asyncio.Task[None]]:
    executor = await desk.start()
    task = asyncio.create_task(executor.run(resume=resume))
    await asyncio.sleep(0.02)
    return executor, task


async def crash(executor: Executor, task: asyncio.Task[None], desk: Desk) -> None:
    """End the loops, keep the orders: what a restart finds."""
    await executor.stop()
    with suppress(asyncio.CancelledError):
        await task
    desk.executors.remove(executor)


async def test_a_bracket_buys_and_rests_its_stop(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    (stop,) = resting(venue)
    assert (stop.request.order_type, stop.request.side) == (OrderType.STOP_LOSS_LIMIT, Side.SELL)
    assert stop.request.quantity == D("0.999")  # the fee was taken in coins
    assert stop.request.stop_price == D(90)
    await executor.stop()
    await task


async def test_a_stop_from_outside_that_cannot_be_written_to_the_plans_is_told(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)

    def full(plan: OrderPlan) -> None:
        raise UserError("The disk is full.", "")

    monkeypatch.setattr(executor._plans._journal, "save_plan", full)
    Fence(desk.paths.root / "fence.json").raise_epoch("killed from outside", venue.clock.now_ns())
    await until(lambda: not resting(venue))
    told = [(notice.title, notice.text) for notice in desk.said(Notice)]
    assert ("The halt could not be written down", "The disk is full.") in told
    assert executor.plans == ()
    assert plan_of(desk).state is PlanState.CANCELED, "on the screen"
    with pytest.raises(UserError, match="disk is full"):
        await executor.rearm()
    monkeypatch.undo()
    await until(lambda: desk.journal.plan_state(plan_of(desk).plan_id) is PlanState.CANCELED)
    await executor.rearm()
    assert executor.plans == ()
    await executor.stop()
    await task


async def test_what_stop_ended_does_not_come_back_where_the_disk_was_full(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)

    def full(*args: object, **kwargs: object) -> None:
        raise UserError("The disk is full.", "")

    for place, name in (
        (desk.journal, "save_plan"),
        (desk.journal, "set_trading_state"),
        (executor._control._fence, "raise_epoch"),
    ):
        monkeypatch.setattr(place, name, full)
    report = await executor.kill()
    assert report.errors == ["The disk is full."]  # said once
    assert desk.journal.trading_state().state is TradingState.ACTIVE, "nothing is written yet"
    with pytest.raises(UserError, match="disk is full"):
        await executor.rearm()
    assert executor.trading_state is TradingState.HALTED
    assert not task.done(), "the program stays, for its person to see"
    monkeypatch.undo()
    await until(lambda: desk.journal.plan_state(plan_of(desk).plan_id) is PlanState.CANCELED)
    await crash(executor, task, desk)
    second = await desk.start()
    assert second.trading_state is TradingState.HALTED
    assert second.plans == ()


async def test_the_stop_filled_ends_the_bracket(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    (stop,) = resting(venue)
    venue.tick(BTC, D(90))
    venue.fill(stop.request.client_order_id, stop.request.quantity, D("89.9"))
    await until(lambda: plan_of(desk).state is PlanState.DONE)
    assert executor.position(BTC, MANUAL_OWNER).quantity == 0
    assert executor.plans == ()
    await executor.stop()
    await task


async def test_the_target_cancels_the_stop_and_sells(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    (stop,) = resting(venue)
    venue.tick(BTC, D(121))
    await until(lambda: stop.state is OrderState.CANCELED and len(resting(venue)) == 1)
    (sale,) = resting(venue)
    assert (sale.request.limit_price, sale.request.quantity) == (D(120), D("0.999"))
    venue.fill(sale.request.client_order_id, D("0.999"), D(121))
    await until(lambda: plan_of(desk).state is PlanState.DONE)
    await executor.stop()
    await task


@pytest.mark.parametrize("resume", [True, False])
async def test_a_stop_survives_a_restart_and_is_not_placed_twice(desk: Desk, venue: FakeVenue, resume: bool) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    await crash(executor, task, desk)
    sent = len(venue.sent)
    executor, task = await running(desk, resume=resume)
    await asyncio.sleep(0.1)
    assert len(venue.sent) == sent
    (stop,) = resting(venue)
    venue.tick(BTC, D(121))  # it still watches the target
    await until(lambda: stop.state is OrderState.CANCELED)
    await executor.stop()
    await task


async def test_a_stop_lost_on_its_way_is_placed_anew_once_that_is_proven(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    venue.submit_faults.extend(["ok", "lost_before"])
    await executor.create_plan(BRACKET)
    await until(lambda: len(venue.sent) == 2)
    await asyncio.sleep(0.05)
    assert len(venue.sent) == 2  # its fate is open: nothing follows
    for _ in range(20):
        venue.clock.advance(NS_PER_S)
        await asyncio.sleep(0.02)
    assert len(resting(venue)) == 1
    assert len(venue.sent) == 3
    assert len({request.client_order_id for request in venue.sent}) == 3
    await executor.stop()
    await task


async def test_beside_a_window_an_iceberg_waits_for_its_person(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    draft = PlanDraft(PlanKind.ICEBERG, BTC, Side.BUY, D(1), D(95), visible=D("0.5"))
    plan = await executor.create_plan(draft)
    (part,) = resting(venue)
    await crash(executor, task, desk)
    executor, task = await running(desk, resume=False)
    venue.fill(part.request.client_order_id, D("0.5"))
    await asyncio.sleep(0.1)
    assert plan_of(desk).state is PlanState.PAUSED
    assert resting(venue) == []
    await executor.resume_plan(plan.plan_id)
    await until(lambda: len(resting(venue)) == 1)
    await executor.stop()
    await task


async def test_cancelling_a_plan_cancels_its_orders_and_nothing_follows(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    plan = await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    await executor.cancel_plan(plan.plan_id)
    await asyncio.sleep(0.1)
    assert resting(venue) == []
    assert plan_of(desk).state is PlanState.CANCELED
    assert executor.position(BTC, MANUAL_OWNER).quantity == D("0.999")
    with pytest.raises(UserError, match="no such order plan"):
        await executor.cancel_plan(plan.plan_id)
    await executor.stop()
    await task


async def test_stop_ends_every_plan(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    await executor.kill()
    await asyncio.sleep(0.1)
    assert resting(venue) == []
    assert executor.plans == ()
    with pytest.raises(UserError, match="halted"):
        await executor.create_plan(BRACKET)
    await executor.stop()
    await task


async def test_a_stop_taken_away_by_hand_is_told_as_lost_protection(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    await executor.cancel_order(resting(venue)[0].request.client_order_id)
    await until(lambda: plan_of(desk).state is PlanState.CANCELED)
    assert "A position is not protected any more" in [notice.title for notice in desk.said(Notice)]
    assert resting(venue) == []
    await executor.stop()
    await task


async def ended(desk: Desk, plan: OrderPlan) -> tuple[PlanState, str, Notice]:
    await until(lambda: plan_of(desk).plan_id == plan.plan_id and plan_of(desk).state.is_over)
    return plan_of(desk).state, plan_of(desk).reason, desk.said(Notice)[-1]


async def test_an_entry_taken_away_before_it_bought_leaves_nothing_unprotected(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    plan = await executor.create_plan(bracket_draft("95", ExitRules(D(90))))
    (entry,) = resting(venue)
    await venue.cancel_order(BTC, entry.request.client_order_id)  # as the dead-man switch does
    state, reason, notice = await ended(desk, plan)
    assert state is PlanState.CANCELED
    assert reason == "one of its orders was cancelled by hand, by the venue or by the dead-man switch"
    assert (notice.severity, notice.title) == (Severity.WARNING, "An order plan ended early")
    assert reason in notice.text
    await executor.stop()
    await task


async def test_a_position_of_another_plan_is_not_told_as_left_alone(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await executor.place_order(OrderDraft(BTC, Side.BUY, OrderType.MARKET, D(1)))
    plan = await executor.create_plan(bracket_draft("95", ExitRules(D(90))))
    await venue.cancel_order(BTC, resting(venue)[0].request.client_order_id)
    *_, notice = await ended(desk, plan)
    assert (notice.severity, notice.title) == (Severity.WARNING, "An order plan ended early")
    await executor.stop()
    await task


async def test_a_stop_the_venue_took_away_after_the_entry_bought_is_an_alarm(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    plan = await executor.create_plan(bracket_draft(None, ExitRules(D(90))))
    await until(lambda: len(resting(venue)) == 1)
    await venue.cancel_order(BTC, resting(venue)[0].request.client_order_id)
    *_, notice = await ended(desk, plan)
    assert (notice.severity, notice.title) == (Severity.ERROR, "A position is not protected any more")
    await executor.stop()
    await task


async def test_a_twap_whose_time_is_over_says_what_it_did_not_trade(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    draft = PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D(1), slices=2, duration_s=4)
    plan = await executor.create_plan(draft)
    await until(lambda: len(venue.sent) == 1)
    venue.clock.advance(8 * NS_PER_S)  # as long again is over as well
    state, reason, notice = await ended(desk, plan)
    assert (state, reason) == (PlanState.DONE, "the time is over; 0.5 was not traded")
    assert (notice.severity, notice.title) == (Severity.WARNING, "An order plan did not trade everything")
    await executor.stop()
    await task


async def test_an_exit_needs_a_position_that_has_none_yet(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    with pytest.raises(UserError, match="at most the position of 0"):
        await executor.create_plan(EXIT)
    await executor.place_order(OrderDraft(BTC, Side.BUY, OrderType.MARKET, D(1)))
    await executor.create_plan(EXIT)
    with pytest.raises(UserError, match="has an exit already"):
        await executor.create_plan(EXIT)
    await executor.stop()
    await task


async def test_a_plan_made_while_trading_is_stopped_does_not_begin_after_it(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    await executor.place_order(OrderDraft(BTC, Side.BUY, OrderType.MARKET, D(1)))
    asked, answer, fetch = asyncio.Event(), asyncio.Event(), venue.fetch_ticker

    async def slow(symbol: str) -> Ticker:
        asked.set()
        await answer.wait()
        return await fetch(symbol)

    monkeypatch.setattr(venue, "fetch_ticker", slow)
    venue.clock.advance(60 * NS_PER_S)  # the price is old: the plan waits for it
    creating = asyncio.create_task(executor.create_plan(EXIT))
    await asked.wait()
    await executor.kill()
    answer.set()
    with pytest.raises(UserError, match="Trading is halted"):
        await creating
    assert executor.plans == ()
    await executor.stop()
    await task


async def test_a_plan_cancelled_while_the_book_is_read_sends_nothing_any_more(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task = await running(desk)
    asked, answer, fetch = asyncio.Event(), asyncio.Event(), venue.fetch_book

    async def slow(symbol: str, depth: int = 100) -> BookSnapshot:
        asked.set()
        await answer.wait()
        return await fetch(symbol, depth)

    monkeypatch.setattr(venue, "fetch_book", slow)
    creating = asyncio.create_task(
        executor.create_plan(PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D(1), slices=4, duration_s=40))
    )
    await asked.wait()
    (plan,) = executor.plans
    await executor.cancel_plan(plan.plan_id)
    answer.set()
    await creating
    assert venue.sent == []
    assert executor.plans == ()
    await executor.stop()
    await task


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D("0.1"), slices=10, duration_s=60), "would be refused"),
        (PlanDraft(PlanKind.EXIT, BTC, Side.SELL, D(1), exits=ExitRules(D("90.001"))), "tick size"),
        (PlanDraft(PlanKind.EXIT, "X/Y", Side.SELL, D(1), exits=ExitRules(D(90))), "not traded"),
        (exit_draft(Side.SELL, ExitRules(D(102))), "The stop 102 must be below 100, or it would sell at once."),
        (exit_draft(Side.SELL, ExitRules(D(100))), "The stop 100 must be below 100, or it would sell at once."),
        (exit_draft(Side.SELL, ExitRules(None, D(100))), "The target 100 must be above 100, or it would sell at once."),
        (exit_draft(Side.SELL, ExitRules(None, None, D(100))), "The trailing distance 100 must be smaller"),
        (exit_draft(Side.SELL, ExitRules(D(101), None, D(5))), "The stop 101 must be below 100"),
        (exit_draft(Side.BUY, ExitRules(D(98))), "The stop 98 must be above 100, or it would buy at once."),
        (exit_draft(Side.BUY, ExitRules(D(100))), "The stop 100 must be above 100, or it would buy at once."),
        (exit_draft(Side.BUY, ExitRules(None, D(100))), "The target 100 must be below 100, or it would buy at once."),
        (bracket_draft(None, ExitRules(D(100))), "The stop 100 must be below 100"),
        (bracket_draft(None, ExitRules(None, D(99))), "The target 99 must be above 100"),
        (
            bracket_draft("95", ExitRules(None, None, D(96))),
            "The trailing distance 96 must be smaller than the price of 95",
        ),
        (bracket_draft("104", ExitRules(D(102))), "The stop 102 must be below 100"),  # is filled at 100
    ],
)
async def test_plans_that_could_only_fail_are_refused(
    desk: Desk, venue: FakeVenue, draft: PlanDraft, words: str
) -> None:
    executor, task = await running(desk)
    with pytest.raises(UserError, match=words):
        await executor.create_plan(draft)
    assert executor.plans == ()
    assert venue.sent == []
    await executor.stop()
    await task


async def test_a_plan_that_risk_refuses_says_why_for_machines(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    with pytest.raises(RiskRefused, match="The plan would be refused") as refused:
        await executor.create_plan(PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D(1_000), slices=10, duration_s=60))
    assert refused.value.reason_code == "MAX_ORDER_VALUE"
    await executor.kill()
    with pytest.raises(RiskRefused, match="Trading is halted") as refused:
        await executor.create_plan(PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D(1), slices=10, duration_s=60))
    assert refused.value.reason_code == "TRADING_HALTED"
    assert venue.sent == []
    await executor.stop()
    await task


@pytest.mark.parametrize(
    "draft",
    [
        bracket_draft("95", ExitRules(D(94), D(98))),  # of what is bought at 95
        bracket_draft(None, ExitRules(D("99.99"), D("100.01"))),
        bracket_draft("104", ExitRules(D("99.99"), D(105))),
    ],
)
async def test_exits_on_the_right_side_of_their_entry_are_taken(desk: Desk, draft: PlanDraft) -> None:
    executor, task = await running(desk)
    await executor.create_plan(draft)
    assert len(executor.plans) == 1
    await executor.stop()
    await task


async def test_a_stop_above_the_market_sells_nothing(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    await executor.place_order(OrderDraft(BTC, Side.BUY, OrderType.MARKET, D(1)))
    with pytest.raises(UserError, match="The stop 102 must be below 100") as refused:
        await executor.create_plan(exit_draft(Side.SELL, ExitRules(D(102))))
    assert refused.value.remedy == "Lower the stop."
    await asyncio.sleep(0.1)
    assert [request.side for request in venue.sent] == [Side.BUY]
    await executor.create_plan(exit_draft(Side.SELL, ExitRules(D("99.99"))))
    await until(lambda: len(resting(venue)) == 1)
    await executor.stop()
    await task


async def test_a_twap_trades_its_parts_in_their_time(desk: Desk, venue: FakeVenue) -> None:
    executor, task = await running(desk)
    draft = PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D(1), slices=4, duration_s=40)
    await executor.create_plan(draft)
    for number in range(2, 5):
        venue.clock.advance(10 * NS_PER_S)
        await until(lambda number=number: len(venue.sent) == number)
    await until(lambda: plan_of(desk).state is PlanState.DONE)
    assert [request.quantity for request in venue.sent] == [D("0.25")] * 4
    (notice,) = desk.said(Notice)
    assert (notice.severity, notice.title) == (Severity.SUCCESS, "An order plan is done")
    await executor.stop()
    await task


# --- what plans leave ---------------------------------------------------------------------------------------------


async def protected(desk: Desk, venue: FakeVenue) -> tuple[Executor, asyncio.Task[None], OrderPlan, VenueOrder]:
    """Run a bracket until its stop rests."""
    executor, task = await running(desk)
    plan = await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    (stop,) = resting(venue)
    await until(lambda: [o.state for o in executor.working_orders] == [OrderState.ACCEPTED])
    return executor, task, plan, stop


async def orphaned(desk: Desk, venue: FakeVenue) -> VenueOrder:
    """End a plan, and the program before it could cancel the stop."""
    executor, task, plan, stop = await protected(desk, venue)
    desk.journal.save_plan(replace(plan_of(desk), state=PlanState.CANCELED))
    await crash(executor, task, desk)
    assert desk.journal.plan_state(plan.plan_id) is PlanState.CANCELED
    assert resting(venue) == [stop]
    return stop


async def test_a_stop_whose_cancel_failed_is_cancelled_after_the_restart(desk: Desk, venue: FakeVenue) -> None:
    executor, task, plan, stop = await protected(desk, venue)
    venue.cancel_faults.extend([RetryableError("Too many requests", "429")] * 10_000)
    await executor.cancel_plan(plan.plan_id)
    await crash(executor, task, desk)
    venue.cancel_faults.clear()
    assert resting(venue) == [stop]
    executor, task = await running(desk)
    await until(lambda: stop.state is OrderState.CANCELED)
    await executor.stop()
    await task


async def test_what_an_ended_plan_could_not_cancel_is_cancelled_after_the_restart(desk: Desk, venue: FakeVenue) -> None:
    stop = await orphaned(desk, venue)
    executor, task = await running(desk)
    await until(lambda: stop.state is OrderState.CANCELED)
    await executor.stop()
    await task


async def test_a_refused_cancel_is_asked_for_more_and_more_rarely_and_told_once(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_runner, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(plan_runner, "LONGEST_PAUSE_S", 0.3)
    executor, _ = await running(desk)
    await executor.create_plan(BRACKET)
    await until(lambda: len(resting(venue)) == 1)
    cancel, refused = venue.cancel_order, []

    async def refuse(symbol: str, key: str) -> object:
        refused.append(key)
        raise DefinitiveReject("Market is closed.", "-1013")

    venue.cancel_order = refuse  # type: ignore[method-assign, assignment]
    desk.events.clear()
    venue.tick(BTC, D(125))  # the target is reached: the stop is to be taken back
    await asyncio.sleep(0.8)
    assert 2 <= len(refused) <= 5, "at 0, 0.1, 0.3 and 0.6 s"
    assert [n.title for n in desk.said(Notice)] == ["The venue refuses to cancel"]
    saved = [event.plan for event in desk.said(PlanUpdated) if event.plan.cancelled]
    assert len(saved) == 1, "the same wish is not written again"
    (stop,) = resting(venue)
    venue.cancel_order = cancel  # type: ignore[method-assign]
    await until(lambda: stop.state is OrderState.CANCELED and len(resting(venue)) == 1)
    assert resting(venue)[0].request.limit_price == D(120), "the target follows"


async def test_a_venue_that_refuses_to_cancel_what_a_plan_left_is_asked_once(desk: Desk, venue: FakeVenue) -> None:
    stop = await orphaned(desk, venue)
    venue.calls.clear()
    venue.cancel_faults.extend([DefinitiveReject("This order is locked.", "-2011")] * 10_000)
    executor, task = await running(desk)
    await until(lambda: "cancel" in venue.calls)
    for _ in range(10):
        venue.clock.advance(NS_PER_S)
        await asyncio.sleep(0.03)
    assert venue.calls.count("cancel") == 1
    assert resting(venue) == [stop]
    assert "The venue refuses to cancel" in [notice.title for notice in desk.said(Notice)]
    await executor.stop()
    await task


async def test_the_stop_of_a_paused_plan_stays(desk: Desk, venue: FakeVenue) -> None:
    executor, task, plan, stop = await protected(desk, venue)
    executor._plans._save(replace(plan_of(desk), state=PlanState.PAUSED))
    await asyncio.sleep(0.2)
    await crash(executor, task, desk)
    executor, task = await running(desk)
    await asyncio.sleep(0.2)
    assert desk.journal.plan_state(plan.plan_id) is PlanState.PAUSED
    assert resting(venue) == [stop]
    assert "cancel" not in venue.calls
    await executor.stop()
    await task


async def test_the_stop_of_a_plan_whose_market_was_suspended_stays(
    desk: Desk, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, task, plan, stop = await protected(desk, venue)
    await crash(executor, task, desk)
    connect = venue.connect

    async def suspended() -> None:
        await connect()
        venue.instruments = {symbol: rules for symbol, rules in venue.instruments.items() if symbol != BTC}

    with monkeypatch.context() as patch:
        patch.setattr(venue, "connect", suspended)
        executor, task = await running(desk)
        await until(lambda: plan_of(desk).state is PlanState.FAILED)
        await asyncio.sleep(0.2)
        await crash(executor, task, desk)
    assert "A position is not protected any more" in [notice.title for notice in desk.said(Notice)]
    assert resting(venue) == [stop]
    executor, task = await running(desk)
    await asyncio.sleep(0.2)
    assert desk.journal.plan_state(plan.plan_id) is PlanState.FAILED
    assert resting(venue) == [stop]
    assert "cancel" not in venue.calls
    await executor.stop()
    await task
