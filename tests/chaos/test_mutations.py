"""The harness finds bugs: each of these, put into the program on purpose, is found within a few hundred schedules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa

from core.domain.order_plans import OrderPlan
from core.domain.orders import OrderState
from core.execution import order_manager, plan_decisions, reconciliation
from core.execution.api.gateway import AmbiguousOutcome
from core.execution.book_keeper import BookKeeper
from core.execution.journal import Journal
from core.execution.order_desk import OrderDesk
from core.execution.order_manager import OrderManager, ReasonCode
from core.execution.plan_runner import PlanRunner
from core.execution.synchroniser import Synchroniser
from core.execution.trading_control import TradingControl
from core.persistence.models import FillRow
from tests.chaos.run import Player, scratch
from tests.chaos.schedule import Maker, blind, crash, generate, kill, market, place, planned, risky

MOST = 400
Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    logging.disable(logging.CRITICAL)
    with TemporaryDirectory(dir=scratch()) as folder:
        yield Player(Path(folder))
    logging.disable(logging.NOTSET)


def resends_what_was_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    transmit = OrderManager.transmit

    async def again(self: OrderManager, key: str) -> Any:
        order = await transmit(self, key)
        if order.state is OrderState.UNKNOWN:
            request = order_manager._request(order, lambda: True)
            report = await self._gateway.submit_order(request)
            return self.apply_report(report)
        return order

    monkeypatch.setattr(OrderManager, "transmit", again)


def books_a_trade_as_often_as_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    book_fill = Journal.book_fill

    def forgetful(self: Journal, fill: Any, *rest: Any, **more: Any) -> bool:
        with self._write() as connection:
            connection.execute(sa.delete(FillRow).where(FillRow.trade_id == fill.trade_id))
        return book_fill(self, fill, *rest, **more)

    monkeypatch.setattr(Journal, "book_fill", forgetful)


def takes_silence_for_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: OrderManager, key: str, message: str) -> Any:
        self._refuse(key, ReasonCode.VENUE_REJECTED, AmbiguousOutcome(message))
        return self._existing(key).order

    monkeypatch.setattr(OrderManager, "mark_unknown", refuse)


def sends_before_it_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The intent reaches the disk only when the answer is there; the ledger of sends is told a lie about it."""
    insert, update, transmit = Journal.insert_order, Journal.update_order, OrderManager.transmit
    held: dict[tuple[int, str], tuple[Any, ...]] = {}

    def later(self: Any, record: Any, cause: str, now_ns: int) -> None:
        if cause == "submit":
            held[(id(self), record.key)] = (record, cause, now_ns)
        else:
            insert(self, record, cause, now_ns)

    def flush(journal: Any, key: str) -> None:
        values = held.pop((id(journal), key), None)
        if values is not None:
            insert(journal, *values)

    def first_insert(self: Any, record: Any, *rest: Any) -> None:
        flush(self, record.key)
        update(self, record, *rest)

    async def flush_after(self: OrderManager, key: str) -> Any:
        try:
            return await transmit(self, key)
        finally:
            flush(self._journal, key)

    monkeypatch.setattr(Journal, "insert_order", later)
    monkeypatch.setattr(Journal, "update_order", first_insert)
    monkeypatch.setattr(OrderManager, "transmit", flush_after)


def takes_its_own_trades_for_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "may_be_ours", lambda *_: False)


def sends_after_a_restart_what_was_committed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    reconcile = Synchroniser.reconcile

    async def send_first(self: Synchroniser, symbols: Any) -> Any:
        for record in self._manager.unsettled:
            if record.order.state is OrderState.SUBMITTED and not self._manager.is_in_flight(record.key):
                request = order_manager._request(record.order, lambda: True)
                self._manager.apply_report(await self._gateway.submit_order(request))
        return await reconcile(self, symbols)

    monkeypatch.setattr(Synchroniser, "reconcile", send_first)


def never_compares_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: BookKeeper) -> None:
        pass

    monkeypatch.setattr(BookKeeper, "compare_round", nothing)


def does_not_read_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OrderManager, "_may_send", lambda self, key: True)


def forgets_orders_that_show_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: OrderDesk) -> None:
        pass

    monkeypatch.setattr(OrderDesk, "chase_cancels", nothing)


def keeps_a_halt_in_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TradingControl, "store_halt", lambda self, reason: [])


def does_not_note_its_own_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it has taken a stop back, the plan believes that somebody else did."""
    save = PlanRunner._save

    def forgetful(self: PlanRunner, plan: OrderPlan) -> None:
        save(self, replace(plan, cancelled=frozenset()))

    monkeypatch.setattr(PlanRunner, "_save", forgetful)


def goes_on_while_the_fate_of_a_plans_order_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_decisions, "_UNDECIDED", ())
    # What is open does not count as at work either: the next order follows.
    monkeypatch.setattr(
        plan_decisions.Child,
        "is_open",
        property(lambda self: self.order.state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)),
    )


# What is broken, by which invariant it shows, what must happen often for it to show soon, and a seed shortly before
# one that shows it: the search may go on for long, the tests may not.
MUTATIONS: list[tuple[Mutation, set[str], tuple[Maker, ...], int]] = [
    (resends_what_was_not_answered, {"sent-twice"}, (), 1_000),
    (books_a_trade_as_often_as_it_is_heard, {"position", "order-differs"}, (), 1_020),
    (takes_silence_for_a_refusal, {"fill-missing", "order-differs", "order-lost", "contradiction"}, (), 1_000),
    (sends_before_it_commits, {"order-lost", "fill-missing", "sent-later"}, (risky, crash), 1_020),
    (takes_its_own_trades_for_those_of_others, {"fill-owner"}, (blind,), 1_000),
    (sends_after_a_restart_what_was_committed_before, {"sent-twice", "sent-later"}, (place, crash), 1_000),
    (never_compares_the_books, {"fill-missing", "order-differs"}, (blind, market), 1_010),
    (does_not_read_the_fence, {"sent-halted"}, (place, kill), 1_012),
    (forgets_orders_that_show_after_a_stop, {"halt-leaves"}, (risky, kill), 1_012),
    (keeps_a_halt_in_memory_only, {"trading-state"}, (kill,), 1_002),
    (does_not_note_its_own_cancels, {"plan-abandoned"}, (planned, market), 1_070),
    (goes_on_while_the_fate_of_a_plans_order_is_open, {"works-twice", "plan-too-much"}, (planned, risky), 3_040),
]


@pytest.mark.parametrize(
    ("mutation", "kinds", "focus", "first"), MUTATIONS, ids=[entry[0].__name__ for entry in MUTATIONS]
)
def test_the_harness_finds_a_program_that(
    player: Player,
    monkeypatch: pytest.MonkeyPatch,
    mutation: Mutation,
    kinds: set[str],
    focus: tuple[Maker, ...],
    first: int,
) -> None:
    mutation(monkeypatch)
    for seed in range(first, first + MOST):
        if player(generate(seed, focus)).kinds & kinds:
            return
    pytest.fail(f"{MOST} schedules did not find it")
