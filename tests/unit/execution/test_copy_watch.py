"""Another copy with the same key: an order of our making that is in no book reduces trading until a person re-arms."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.domain.orders import Intent, IntentSource, OrderDraft, OrderState, OrderType, Side, TradingState
from core.errors import UserError
from core.events import Notice, Severity
from core.execution.account import DAY_NS
from core.execution.api.gateway import OrderRequest
from core.execution.executor import Executor
from core.execution.foreign_kill import KillJournal
from core.execution.order_manager import client_order_id
from core.execution.risk_watch import DAILY_LOSS_REASON, NEW_DAY_REASON
from core.execution.trading_control import COPY_REASON
from core.signals.risk_management import RiskSettings
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import VenueOrder

D = Decimal
BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, D(1))
SELL = OrderDraft("BTC/USDT", Side.SELL, OrderType.MARKET, D("0.5"), reduce_only=True)
TITLE = "Another copy of Maru trades with this key"


def of_a_copy(desk: Desk, number: int = 1) -> VenueOrder:
    """The other copy's journal has another name, so its orders are called otherwise."""
    name = client_order_id(f"manual:{number}", "the other copy's journal")
    return desk.venue.place_foreign("BTC/USDT", Side.BUY, D(1), D(90), name)


def told(desk: Desk) -> list[str]:
    return [notice.text for notice in desk.said(Notice) if (notice.title, notice.severity) == (TITLE, Severity.ERROR)]


async def see(executor: Executor) -> TradingState:
    await executor.reconcile_now()
    return executor.trading_state


async def test_an_order_of_a_copy_that_is_there_at_the_start_reduces_trading(desk: Desk) -> None:
    order = of_a_copy(desk)
    executor = await desk.start()
    assert (executor.trading_state, executor.trading_record.reason) == (TradingState.REDUCING, COPY_REASON)
    (text,) = told(desk)
    assert order.request.client_order_id in text
    assert "End the other copy, or re-arm trading" in text
    denied = await executor.place_order(BUY)
    assert (denied.state, denied.reason_code) == (OrderState.DENIED, "TRADING_STATE_REDUCING")
    assert desk.venue.sent == []
    assert order.state is OrderState.ACCEPTED  # it is the other copy's


async def test_it_lasts_until_a_person_rearms_and_begins_anew_with_the_next_order(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    of_a_copy(desk)
    assert await see(executor) is TradingState.REDUCING
    assert (await executor.place_order(SELL)).state is OrderState.FILLED
    of_a_copy(desk, 2)
    await see(executor)
    assert len(told(desk)) == 1  # a busy copy is told once
    await executor.stop()
    executor = await desk.start()
    assert executor.trading_state is TradingState.REDUCING
    assert len(told(desk)) == 1
    await executor.rearm()
    for _ in range(2):  # what is known already triggers nothing, now or after a restart
        assert await see(executor) is TradingState.ACTIVE
        assert (await executor.place_order(BUY)).state is OrderState.FILLED
        await executor.stop()
        executor = await desk.start()
    assert len(told(desk)) == 1
    of_a_copy(desk, 3)
    assert await see(executor) is TradingState.REDUCING
    assert len(told(desk)) == 2


async def test_a_halt_stays_a_halt_and_the_copy_is_told_all_the_same(desk: Desk) -> None:
    executor = await desk.start()
    await executor.kill()
    of_a_copy(desk)
    assert await see(executor) is TradingState.HALTED
    of_a_copy(desk, 2)
    await see(executor)
    (text,) = told(desk)
    assert "Trading stays halted" in text
    await executor.rearm()
    assert await see(executor) is TradingState.ACTIVE


async def test_a_new_day_does_not_end_what_a_copy_began(desk: Desk) -> None:
    desk.risk = RiskSettings(max_daily_loss=D(5), max_drawdown=D(300), price_collar=D(1))
    executor = await desk.start()
    await executor.place_order(BUY)

    async def look(price: str) -> tuple[TradingState, str]:
        desk.venue.prices["BTC/USDT"] = D(price)
        executor._marks.update("BTC/USDT", D(price))
        await executor._risk_watch.round()
        return executor.trading_state, executor.trading_record.reason

    assert (await look("100"))[0] is TradingState.ACTIVE
    assert await look("90") == (TradingState.REDUCING, DAILY_LOSS_REASON)
    of_a_copy(desk)
    await executor.reconcile_now()
    assert await look("90") == (TradingState.REDUCING, COPY_REASON)
    desk.venue.clock.advance(DAY_NS)
    assert await look("90") == (TradingState.REDUCING, COPY_REASON)
    await executor.rearm()
    assert (await look("90"))[0] is TradingState.ACTIVE
    assert await look("80") == (TradingState.REDUCING, DAILY_LOSS_REASON)
    desk.venue.clock.advance(DAY_NS)
    assert await look("80") == (TradingState.ACTIVE, NEW_DAY_REASON)


async def test_what_a_kill_from_outside_sold_is_no_copy(desk: Desk) -> None:
    executor = await desk.start()
    await executor.place_order(BUY)
    intent = Intent(
        "kill:outside-3:BTC/USDT:manual",
        IntentSource.KILL_SWITCH,
        "manual",
        "BTC/USDT",
        Side.SELL,
        D("0.5"),
        OrderType.MARKET,
        reduce_only=True,
        reason="STOP: close the position",
        created_ns=desk.venue.clock.now_ns(),
    )
    KillJournal(desk.paths.root, 3, 1).append_intent(intent)
    name = client_order_id(intent.intent_id)
    await desk.venue.submit_order(OrderRequest(name, intent.symbol, Side.SELL, OrderType.MARKET, intent.quantity))
    assert await see(executor) is TradingState.ACTIVE
    assert told(desk) == []
    await executor.ask_about(name)
    await executor.reconcile_now()
    assert executor.position("BTC/USDT", "manual").quantity == D("0.499")
    assert executor.trading_state is TradingState.ACTIVE


async def test_an_order_of_somebody_else_changes_nothing(desk: Desk) -> None:
    desk.venue.place_foreign("BTC/USDT", Side.BUY, D(1), D(90))
    executor = await desk.start()
    assert executor.trading_state is TradingState.ACTIVE
    assert told(desk) == []


async def test_a_crash_between_the_state_and_the_adoption_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the order is in the books nothing tells that it was a stranger, so the state is written first."""
    executor = await desk.start()
    of_a_copy(desk)

    def full(*_: object) -> None:
        raise UserError("The disk is full.", "Free some space.")

    with monkeypatch.context() as broken:
        broken.setattr(desk.journal, "insert_order", full)
        with pytest.raises(UserError):
            await executor.reconcile_now()
    await executor.stop()
    executor = await desk.start()
    assert (executor.trading_state, executor.trading_record.reason) == (TradingState.REDUCING, COPY_REASON)
    assert len(executor.working_orders) == 1
