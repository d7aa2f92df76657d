"""Replaced orders and order plans over real sockets: ccxt client, practice exchange, journal on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal as D
from pathlib import Path

import pytest

from app.runtime import TradingSession, prepare_data
from core.config import DataPaths
from core.domain.order_plans import ExitRules, PlanDraft, PlanKind, PlanState
from core.domain.orders import OrderChange, OrderState, Side
from core.errors import UserError
from core.events import ExecutorEvent, PlanUpdated
from core.practice.control import PracticeEndpoints
from core.practice.process import PracticeProcess
from tests.integration.test_executor_practice import assert_books_equal, limit_below_market, trading, until

BTC = "BTC/USDT"


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeEndpoints]:
    with PracticeProcess(
        data_dir=tmp_path_factory.mktemp("exchange"), seed=9, balance="100000", limits="1000"
    ) as endpoints:
        yield endpoints


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path / "locks"))
    return prepare_data(tmp_path / "data")


async def price(session: TradingSession) -> D:
    return D(repr((await session.link.gateway.fetch_ticker(BTC)).last))


def tick(session: TradingSession, value: D) -> D:
    return session.link.gateway.instruments[BTC].floor_price(value)


async def test_a_replaced_order_rests_at_its_new_price_and_locks_no_more(
    paths: DataPaths, exchange: PracticeEndpoints
) -> None:
    async with trading(paths, exchange) as session:
        draft = await limit_below_market(session)
        assert draft.limit_price is not None
        former = await session.executor.place_order(draft)
        lower = tick(session, draft.limit_price * D("0.99"))
        order = await session.executor.replace_order(former.client_order_id, OrderChange(limit_price=lower))
        assert order.state is OrderState.ACCEPTED
        listed = await session.link.gateway.fetch_open_orders(BTC)
        assert [report.client_order_id for report in listed] == [order.client_order_id]
        with pytest.raises(UserError, match="would be refused"):
            await session.executor.replace_order(order.client_order_id, OrderChange(quantity=D(50)))
        await session.executor.cancel_order(order.client_order_id)
        await assert_books_equal(session)


async def test_a_bracket_protects_what_it_bought_and_leaves_at_its_target(
    paths: DataPaths, exchange: PracticeEndpoints
) -> None:
    events: list[ExecutorEvent] = []
    async with trading(paths, exchange, events) as session:
        now = await price(session)
        rules = ExitRules(tick(session, now * D("0.95")), tick(session, now * D("1.05")))
        draft = PlanDraft(PlanKind.BRACKET, BTC, Side.BUY, D("0.02"), None, rules)
        await session.executor.create_plan(draft)
        await until(lambda: any(o.intent.stop_price for o in session.executor.working_orders))
        (stop,) = session.executor.working_orders
        assert stop.intent.quantity == D("0.01998")
        assert stop.state is OrderState.ACCEPTED
        await assert_books_equal(session)
    async with trading(paths, exchange, events) as session:  # a restart finds stop and plan
        assert [o.client_order_id for o in session.executor.working_orders] == [stop.client_order_id]
        (plan,) = session.executor.plans
        await session.executor.cancel_plan(plan.plan_id)
        assert session.executor.working_orders == []
        # Where it should have sold already nothing is sold: that is no target.
        last = await price(session)
        held = session.executor.position(BTC, "manual").quantity
        quantity = session.link.gateway.instruments[BTC].round_quantity(held)
        leave = PlanDraft(
            PlanKind.EXIT, BTC, Side.SELL, quantity, exits=ExitRules(None, tick(session, last * D("0.99")))
        )
        with pytest.raises(UserError, match="or it would sell at once"):
            await session.executor.create_plan(leave)
        await session.executor.create_plan(replace(leave, exits=ExitRules(trail=D(1))))  # a few seconds away
        await until(lambda: _ended(events) is PlanState.DONE, 60.0)
        await assert_books_equal(session)


async def test_an_iceberg_shows_its_parts_one_after_the_other(paths: DataPaths, exchange: PracticeEndpoints) -> None:
    events: list[ExecutorEvent] = []
    async with trading(paths, exchange, events) as session:
        above = tick(session, await price(session) * D("1.01"))  # marketable: every part is filled at once
        draft = PlanDraft(PlanKind.ICEBERG, BTC, Side.BUY, D("0.03"), above, visible=D("0.01"))
        await session.executor.create_plan(draft)
        await until(lambda: _ended(events) is PlanState.DONE)
        check, _ = await session.executor.audit()
        assert check.differences == ()
        assert check.orders >= 3


async def test_a_twap_buys_in_parts_over_time(paths: DataPaths, exchange: PracticeEndpoints) -> None:
    events: list[ExecutorEvent] = []
    async with trading(paths, exchange, events) as session:
        draft = PlanDraft(PlanKind.TWAP, BTC, Side.BUY, D("0.02"), slices=2, duration_s=4)
        await session.executor.create_plan(draft)
        await until(lambda: _ended(events) is PlanState.DONE)
        check, _ = await session.executor.audit()
        assert check.differences == ()
        assert check.orders == 2


def _ended(events: list[ExecutorEvent]) -> PlanState | None:
    plans = [event.plan for event in events if isinstance(event, PlanUpdated)]
    return plans[-1].state if plans else None
