"""The journal: what goes in comes back, all or nothing, and a failing disk is said before anything is sent."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from core.config import DataPaths
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingState
from core.domain.positions import Position
from core.errors import UserError
from core.execution.api.gateway import GatewayError
from core.execution.journal import DuplicateIntent, Journal
from core.execution.records import StrategyRecord, TradingStateRecord
from core.signals.risk_management import RiskSettings
from core.strategies.own_account import AccountMemory
from core.strategies.spec import StrategyKind, StrategySpec
from tests.unit.execution.conftest import Desk
from tests.unit.execution.test_order_manager import fill
from tests.unit.execution.test_reconciliation import record

D = Decimal


def test_an_order_comes_back_as_it_went_in(journal: Journal) -> None:
    stored = record(average_price=D("1.10"), filled_quantity=D("0.5"), message="m", reason_code="r", updated_ns=3)
    journal.insert_order(stored, "submit", 5)
    assert journal.order("a") == stored
    assert journal.order_by_venue_id("BTC/USDT", "v-a") == stored
    assert journal.order("b") is None
    assert journal.unsettled_orders() == [stored]
    with pytest.raises(DuplicateIntent):
        journal.insert_order(stored, "submit", 6)
    after = replace(stored, order=replace(stored.order, state=OrderState.CANCELED))
    journal.update_order(after, OrderState.ACCEPTED, "cancel", 7)
    assert [(e.from_state, e.to_state, e.cause, e.time_ns) for e in journal.events("a")] == [
        (OrderState.INITIALIZED, OrderState.ACCEPTED, "submit", 5),
        (OrderState.ACCEPTED, OrderState.CANCELED, "cancel", 7),
    ]
    with pytest.raises(LookupError):
        journal.update_order(record("b"), OrderState.ACCEPTED, "x", 8)


def test_every_connection_survives_a_power_cut(journal: Journal) -> None:
    with ExitStack() as held:  # each is another one, as they are all held at once
        for _ in range(3):
            connection = held.enter_context(journal._engine.connect())
            assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2, "FULL"
            assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_fill_order_and_position_are_written_together_or_not_at_all(journal: Journal) -> None:
    stored = record()
    journal.insert_order(stored, "submit", 1)
    first = fill(1, "1", "a", "v-a")
    position = Position("fake", "BTC/USDT", "manual", D(1), D(90))
    after = stored.with_fill(D(1), D(90))
    book = {"from_state": OrderState.ACCEPTED, "cause": "fill"}
    assert journal.book_fill(first, after, position, D("0.1"), 2, **book)
    assert not journal.book_fill(first, after.with_fill(D(1), D(90)), position, None, 3, **book)
    assert journal.order("a") == after
    assert journal.has_fill(first)
    assert not journal.has_fill(fill(2, "1"))
    assert journal.fills() == [first]
    assert journal.last_fill_ns() == {"BTC/USDT": 1}
    stranger = replace(after, order=replace(after.order, client_order_id="nobody"))
    with pytest.raises((LookupError, sa.exc.IntegrityError)):
        journal.book_fill(fill(3, "1", "nobody"), stranger, position, None, 4, **book)
    assert journal.fills() == [first]
    assert journal.positions() == [position]
    assert journal.last_fill_ns() == {"BTC/USDT": 1}


def test_the_newest_fill_of_each_market_and_how_far_trades_were_read(journal: Journal, paths: DataPaths) -> None:
    stored, position = record(), Position("fake", "BTC/USDT", "manual", D(1), D(90))
    journal.insert_order(stored, "submit", 1)
    book = {"from_state": OrderState.ACCEPTED, "cause": "fill"}
    assert journal.last_fill_ns() == {}
    assert journal.trades_read() is None, "an earlier version wrote none"
    for number, newest in ((5, 5), (3, 5), (9, 9)):  # one is heard late
        heard = replace(fill(number, "0.1", "a", "v-a"), time_ns=number)
        journal.book_fill(heard, stored, position, None, 2, **book)
        assert journal.last_fill_ns() == {"BTC/USDT": newest}
    journal.set_trades_read({"BTC/USDT": 5})
    again = Journal(paths.journal_db)
    assert again.trades_read() == {"BTC/USDT": 5}
    again.close()


def test_strategies_state_settings_and_facts(journal: Journal) -> None:
    spec = StrategySpec("s", "S", "BTC/USDT", "1h", "m", D("12.50"), 0.7, 0.1)
    journal.save_strategy(StrategyRecord(spec))
    kept = StrategyRecord(spec, True, 42, 1.0)
    journal.save_strategy(kept)
    assert journal.strategies() == [kept]
    account = AccountMemory(D("-0.5"), D("0.00001"), 40, D("1000.00000001"))
    agent = replace(kept, spec=replace(spec, strategy_id="a", kind=StrategyKind.AGENT), account=account)
    journal.save_strategy(agent)
    assert journal.strategies() == [agent, kept]
    journal.delete_strategy("a")
    journal.delete_strategy("s")
    assert journal.strategies() == []
    assert journal.trading_state() is None
    halted = TradingStateRecord(TradingState.HALTED, "kill", 3, 9)
    journal.set_trading_state(halted)
    assert journal.trading_state() == halted
    assert journal.commands("trading_state")[0].payload == {"state": "halted", "reason": "kill", "epoch": 3}
    assert journal.risk_settings() is None
    journal.set_risk_settings(RiskSettings(max_open_orders=3), 1)
    journal.set_risk_settings(RiskSettings(max_open_orders=4), 2)
    assert journal.risk_settings() == RiskSettings(max_open_orders=4)
    assert len(journal.commands("risk_settings")) == 2
    journal.set_meta("k", "1")
    journal.set_meta("k", "2")
    assert (journal.meta("k"), journal.meta("other")) == ("2", None)


def test_equity_keeps_days_apart(journal: Journal) -> None:
    assert journal.day_start() is None
    journal.add_equity(1, D("0.5"), day_start=True)
    journal.add_equity(2, D("0.7"))
    journal.add_equity(2, D("9"))
    assert journal.day_start() == (1, D("0.5"))
    assert journal.equity() == [(1, D("0.5")), (2, D("0.7"))]


async def test_a_full_disk_stops_the_order_before_it_is_sent(desk: Desk) -> None:
    executor = await desk.start()
    with desk.journal._engine.connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar()
        connection.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
    draft = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, D("0.001"), limit_price=D(95))

    async def until_full() -> None:
        for number in range(1, 400):
            desk.venue.clock.advance(3_000_000_000)
            order = await executor.place_order(replace(draft, quantity=D("0.06") + D(number) / 1000))
            await executor.cancel_order(order.client_order_id)

    with pytest.raises(UserError, match="The disk is full"):
        await until_full()
    known = {record.key for record in desk.journal.orders()}
    assert {request.client_order_id for request in desk.venue.sent} <= known


async def test_risk_settings_change_by_command_and_survive(desk: Desk) -> None:
    executor = await desk.start()
    await executor.change_risk_settings(RiskSettings(max_order_value=D(10)))
    await executor.stop()
    second = await desk.start()
    assert second.risk_settings.max_order_value == 10
    order = await second.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, D("0.5")))
    assert order.reason_code == "MAX_ORDER_VALUE"


async def test_a_journal_that_fails_while_running_ends_the_executor_with_one_sentence(desk: Desk) -> None:
    executor = await desk.start()
    order = await executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, D(1), limit_price=D(95)))

    def full(*args: object, **kwargs: object) -> bool:
        raise UserError("The disk is full.")

    desk.journal.book_fill = full  # type: ignore[method-assign]
    desk.venue.fill(order.client_order_id, D(1))
    with pytest.raises(UserError, match="disk is full"):
        await executor.run()
    second = await desk.start()  # space was made: the venue still knows what the journal missed
    assert second.position("BTC/USDT", "manual").quantity == D("0.999")


async def test_a_task_that_outlives_its_program_writes_nothing(desk: Desk) -> None:
    executor = await desk.start()
    draft = OrderDraft("BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal("0.5"), Decimal(95))
    order = await executor.place_order(draft)
    await executor.stop()
    before = desk.journal.events(order.client_order_id)
    with suppress(UserError, GatewayError):
        await executor._manager.cancel(order.client_order_id)
    assert desk.journal.events(order.client_order_id) == before
    with pytest.raises(UserError, match="Trading has ended"):
        desk.journal.add_command("late", {}, 1)
