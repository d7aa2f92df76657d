"""Who may trade a market: the decision, taking over, handing back, and what a crash in between leaves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal

import pytest

from core.domain.orders import Intent, IntentSource, Order, OrderDraft, OrderState, OrderType, Side
from core.domain.positions import Ownership
from core.errors import UserError
from core.events import Notice, OwnershipChanged, StrategyState, StrategyStatus, TransferBooked
from core.execution.executor import Executor
from core.execution.fence import Fence
from core.execution.ownership import is_strategy, manual_orders, strategy_orders, undecided, who_may_trade
from core.execution.ownership_desk import OwnershipDesk
from core.execution.position_desk import PositionDesk
from core.execution.records import OwnershipRecord
from core.strategies.spec import StrategySpec
from tests.unit.execution.conftest import Desk
from tests.unit.execution.test_strategy_runner import ScriptedModel, bar, running

D = Decimal
SYMBOL = "BTC/USDT"
SHARED, BOT, MANUAL = Ownership.SHARED, Ownership.BOT, Ownership.MANUAL


def intent(source: IntentSource, *, reduce: bool = False, symbol: str = SYMBOL, owner: str = "s1") -> Intent:
    number = f"{source}:{reduce}:{symbol}"
    return Intent(number, source, owner, symbol, Side.SELL, D(1), OrderType.LIMIT, D(104), reduce_only=reduce)


@pytest.mark.parametrize(
    ("ownership", "source", "reduce", "allowed"),
    [
        (SHARED, IntentSource.STRATEGY, False, True),
        (SHARED, IntentSource.MANUAL, False, True),
        (BOT, IntentSource.STRATEGY, False, True),
        (BOT, IntentSource.MANUAL, False, False),
        (BOT, IntentSource.MANUAL, True, True),
        (BOT, IntentSource.KILL_SWITCH, True, True),
        (MANUAL, IntentSource.STRATEGY, False, False),
        (MANUAL, IntentSource.STRATEGY, True, False),
        (MANUAL, IntentSource.MANUAL, False, True),
        (MANUAL, IntentSource.KILL_SWITCH, True, True),
        (MANUAL, IntentSource.EXTERNAL, False, True),
    ],
)
def test_who_may_trade(ownership: Ownership, source: IntentSource, reduce: bool, allowed: bool) -> None:
    sentence = who_may_trade(ownership, intent(source, reduce=reduce))
    assert (sentence == "") is allowed
    assert allowed or SYMBOL in sentence


def test_orders_are_told_apart() -> None:
    mine = Order("a", intent(IntentSource.MANUAL), OrderState.ACCEPTED)
    for_it = Order("b", intent(IntentSource.MANUAL, reduce=True), OrderState.ACCEPTED)
    its = Order("c", intent(IntentSource.STRATEGY), OrderState.SUBMITTED)
    elsewhere = Order("d", intent(IntentSource.STRATEGY, symbol="ETH/USDT"), OrderState.UNKNOWN)
    working = [mine, for_it, its, elsewhere]
    assert strategy_orders(working, SYMBOL) == [its]
    assert manual_orders(working, SYMBOL) == [mine]
    assert undecided(working, SYMBOL)
    assert undecided(working, "ETH/USDT")
    assert not undecided([mine, for_it], SYMBOL)
    assert [is_strategy(owner) for owner in ("s1", "manual", "external")] == [True, False, False]


# --- the desk -------------------------------------------------------------------------------------------------------


@dataclass
class Ownerships:
    """An executor and its ownership desk."""

    desk: Desk
    executor: Executor
    owners: OwnershipDesk
    positions: PositionDesk

    @classmethod
    async def start(cls, desk: Desk) -> Ownerships:
        return cls.over(desk, await desk.start())

    @classmethod
    def over(cls, desk: Desk, executor: Executor) -> Ownerships:
        return cls(desk, executor, executor._ownership, executor._positions)

    async def trade(self, owner: str, side: Side, quantity: str, limit: str | None = None) -> Order:
        self.desk.venue.clock.advance(3_000_000_000)
        number = self.desk.venue.clock.now_ns()
        source = IntentSource.MANUAL if owner == "manual" else IntentSource.STRATEGY
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        price = None if limit is None else D(limit)
        wish = Intent(f"{owner}:{number}", source, owner, SYMBOL, side, D(quantity), kind, price, created_ns=number)
        return await self.executor.submit(wish)


@pytest.fixture
async def owning(desk: Desk) -> Ownerships:
    return await Ownerships.start(desk)


async def test_taking_over_cancels_the_strategies_orders_and_nothing_else(owning: Ownerships, desk: Desk) -> None:
    await owning.trade("s1", Side.BUY, "1")
    theirs = await owning.trade("s1", Side.SELL, "0.5", "104")
    mine = await owning.trade("manual", Side.BUY, "0.5", "96")
    await owning.owners.take_over(SYMBOL)
    states = {o.client_order_id: o.state for o in owning.executor.working_orders}
    assert states == {mine.client_order_id: OrderState.ACCEPTED}
    assert desk.journal.order(theirs.client_order_id).order.state is OrderState.CANCELED
    assert owning.owners.ownership(SYMBOL) is MANUAL
    assert desk.said(OwnershipChanged) == [OwnershipChanged(SYMBOL, MANUAL, "person")]
    assert owning.owners.owner_denies(intent(IntentSource.STRATEGY))
    assert not owning.owners.owner_denies(intent(IntentSource.STRATEGY, symbol="ETH/USDT"))
    assert owning.executor.position(SYMBOL, "s1").quantity > 0  # it stays where it was
    assert desk.journal.commands("ownership")[0].payload["ownership"] == "manual"
    with pytest.raises(UserError, match="You have taken BTC/USDT over"):
        await owning.owners.take_over(SYMBOL)
    with pytest.raises(UserError, match="You have taken BTC/USDT over"):
        owning.owners.check_start(SYMBOL)
    owning.owners.check_start("ETH/USDT")


async def test_the_gate_refuses_what_the_ownership_forbids(owning: Ownerships, desk: Desk) -> None:
    await owning.executor.take_over(SYMBOL)
    denied = await owning.trade("s1", Side.BUY, "1")
    assert (denied.state, denied.reason_code) == (OrderState.DENIED, "OWNERSHIP")
    assert denied.message == "BTC/USDT was taken over by hand; strategies may not trade it"
    assert (await owning.trade("manual", Side.BUY, "1")).state is OrderState.FILLED
    await owning.executor.hand_back(SYMBOL, BOT)
    denied = await owning.trade("manual", Side.BUY, "1")
    assert (denied.state, denied.reason_code) == (OrderState.DENIED, "OWNERSHIP")
    desk.venue.clock.advance(3_000_000_000)
    draft = OrderDraft(SYMBOL, Side.SELL, OrderType.MARKET, D("0.999"), reduce_only=True)
    assert (await owning.executor.place_order(draft)).state is OrderState.FILLED
    assert (await owning.trade("s1", Side.BUY, "1")).state is OrderState.FILLED
    report = await owning.executor.kill(flatten=True)
    assert (report.confirmed, report.flat) == (True, True)  # STOP asks nobody


async def test_positions_move_where_it_was_asked_for(owning: Ownerships, desk: Desk) -> None:
    await owning.trade("s1", Side.BUY, "1")
    await owning.trade("s2", Side.BUY, "2")
    await owning.owners.take_over(SYMBOL, move=True)
    assert owning.executor.position(SYMBOL, "manual").quantity == D("2.997")
    moved = [(e.transfer.from_owner, e.transfer.quantity) for e in desk.said(TransferBooked)]
    assert moved == [("s1", D("0.999")), ("s2", D("1.998"))]
    assert [owning.executor.position(SYMBOL, s).quantity for s in ("s1", "s2")] == [0, 0]
    await owning.owners.hand_back(SYMBOL, move_to="s2")
    assert owning.executor.position(SYMBOL, "s2").quantity == D("2.997")
    assert owning.owners.ownership(SYMBOL) is SHARED
    await owning.owners.transfer(SYMBOL, "s2", "s1", "tidied up")
    assert owning.executor.position(SYMBOL, "s1").quantity == D("2.997")
    assert [c.payload["to_owner"] for c in desk.journal.commands("transfer")] == ["s1", "s2", "manual", "manual"]
    assert desk.journal.commands("transfer")[0].payload["reason"] == "tidied up"


async def test_a_position_that_cannot_move_is_told_and_the_market_is_taken_over(owning: Ownerships, desk: Desk) -> None:
    desk.venue.free["BTC"] = D(5)
    await owning.executor._keeper.refresh_balances()
    await owning.trade("manual", Side.SELL, "1")
    await owning.trade("s1", Side.BUY, "1")
    await owning.owners.take_over(SYMBOL, move=True)
    assert owning.owners.ownership(SYMBOL) is MANUAL
    assert desk.said(Notice)[-1].title == "A position was not moved"
    assert "opposite sides" in desk.said(Notice)[-1].text


async def test_an_order_of_unknown_fate_forbids_any_change(owning: Ownerships, desk: Desk) -> None:
    desk.venue.submit_faults.append("lost_before")
    order = await owning.trade("s1", Side.BUY, "1")
    assert order.state is OrderState.UNKNOWN
    with pytest.raises(UserError, match="The fate of an order in BTC/USDT is still unknown"):
        await owning.owners.take_over(SYMBOL)
    with pytest.raises(UserError, match="The fate of an order in BTC/USDT is still unknown"):
        await owning.owners.hand_back(SYMBOL, BOT)
    assert desk.journal.ownership() == {}
    assert desk.said(OwnershipChanged) == []


async def test_a_market_is_left_to_its_strategies_and_shared_again(owning: Ownerships) -> None:
    mine = await owning.trade("manual", Side.BUY, "0.5", "96")
    with pytest.raises(UserError, match="You have orders working in BTC/USDT"):
        await owning.owners.hand_back(SYMBOL, BOT)
    await owning.executor.cancel_order(mine.client_order_id)
    await owning.owners.hand_back(SYMBOL, BOT, by="telegram")
    assert owning.owners.owner_denies(intent(IntentSource.MANUAL))
    with pytest.raises(UserError, match="Nothing changes"):
        await owning.owners.hand_back(SYMBOL, BOT)
    with pytest.raises(UserError, match="Nothing changes"):
        await owning.owners.hand_back(SYMBOL, MANUAL)
    await owning.owners.hand_back(SYMBOL)
    assert not owning.owners.owner_denies(intent(IntentSource.MANUAL))


async def test_a_transfer_that_fails_leaves_the_hand_back_undone(owning: Ownerships) -> None:
    await owning.owners.take_over(SYMBOL)
    with pytest.raises(UserError, match="manual holds nothing"):
        await owning.owners.hand_back(SYMBOL, move_to="s1")
    assert owning.owners.ownership(SYMBOL) is MANUAL


async def test_it_survives_a_restart_and_what_was_left_undone_is_finished(owning: Ownerships, desk: Desk) -> None:
    await owning.trade("s1", Side.BUY, "1")
    await owning.trade("s1", Side.SELL, "0.5", "104")
    # As if the program had died right after the new ownership was written.
    desk.journal.set_ownership(OwnershipRecord(SYMBOL, MANUAL, "person", (), 1))
    await owning.executor.stop()
    again = await Ownerships.start(desk)
    assert again.owners.ownership(SYMBOL) is MANUAL
    assert desk.said(OwnershipChanged) == [OwnershipChanged(SYMBOL, MANUAL, "person")]
    assert again.executor.working_orders == [], "a start finishes what was begun"
    await again.owners.hand_back(SYMBOL)
    await again.owners.settle()


async def test_a_hand_back_waits_for_the_take_over_it_ends(owning: Ownerships) -> None:
    await owning.trade("s1", Side.BUY, "1")
    await owning.trade("s1", Side.SELL, "0.5", "104")
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(client_id: str) -> object:
        began.set()
        await go_on.wait()
        return await owning.executor.cancel_order(client_id)

    owning.owners._cancel = slow
    taking = asyncio.create_task(owning.owners.take_over(SYMBOL, move=True))
    await began.wait()
    giving = asyncio.create_task(owning.owners.hand_back(SYMBOL))
    await owning.owners.settle()  # the change under way cancels by itself
    assert owning.owners.ownership(SYMBOL) is MANUAL
    go_on.set()
    await asyncio.gather(taking, giving)
    assert owning.owners.ownership(SYMBOL) is SHARED
    assert owning.executor.position(SYMBOL, "s1").quantity == 0


def full(*args: object, **kwargs: object) -> None:
    raise UserError("The disk is full.", "")


# --- with strategies ------------------------------------------------------------------------------------------------


@pytest.fixture
def trading(desk: Desk) -> Desk:
    desk.load_predictor = lambda model_id: ScriptedModel({1: 1.0, 2: 1.0})
    desk.venue.candles = [bar(i) for i in range(-20, 1)]
    desk.venue.clock.set(bar(1).open_time_ns)
    return desk


def last_states(desk: Desk) -> dict[str, StrategyState]:
    return {status.strategy_id: status.state for status in desk.said(StrategyStatus)}


async def test_the_strategies_pause_and_run_again_after_the_hand_back(trading: Desk) -> None:
    executor, _ = await running(trading)
    other = StrategySpec("s2", "Other", "ETH/USDT", "1m", "model", D(1_000), entry_z=0.5, exit_z=0.0)
    await executor.add_strategy(other)
    owning = Ownerships.over(trading, executor)
    await owning.owners.take_over(SYMBOL)
    assert last_states(trading) == {"s1": StrategyState.PAUSED, "s2": StrategyState.STOPPED}
    assert executor.wanted_strategies == set()
    assert trading.said(OwnershipChanged)[-1] == OwnershipChanged(SYMBOL, MANUAL, "person", ("s1",))
    with pytest.raises(UserError, match="You have taken BTC/USDT over"):
        await executor.start_strategy("s1")
    await executor.stop()
    second = await trading.start()
    owning = Ownerships.over(trading, second)
    assert trading.said(OwnershipChanged)[-1].paused == ("s1",)
    await owning.owners.hand_back(SYMBOL)
    assert last_states(trading)["s1"] is StrategyState.RUNNING
    assert second.wanted_strategies == {"s1"}


async def test_a_moved_position_shows_in_the_strategys_status(trading: Desk) -> None:
    executor, _ = await running(trading)
    owning = Ownerships.over(trading, executor)
    await owning.trade("s1", Side.BUY, "1")
    await owning.owners.take_over(SYMBOL, move=True)
    assert trading.said(StrategyStatus)[-1].position == 0
    await owning.owners.hand_back(SYMBOL, move_to="s1")
    assert trading.said(StrategyStatus)[-1].position == D("0.999")


async def test_a_position_goes_only_to_a_strategy_that_trades_the_market(trading: Desk) -> None:
    executor, _ = await running(trading)
    await executor.add_strategy(StrategySpec("s2", "Other", "ETH/USDT", "1m", "model", D(1_000)))
    owning = Ownerships.over(trading, executor)
    await owning.trade("s1", Side.BUY, "1")
    await executor.take_over(SYMBOL, move=True)
    for nobody in ("ghost", "s2"):
        with pytest.raises(UserError, match=f"No strategy named {nobody} trades BTC/USDT"):
            await executor.hand_back(SYMBOL, move_to=nobody)
    assert owning.owners.ownership(SYMBOL) is MANUAL
    assert executor.position(SYMBOL, "manual").quantity == D("0.999")
    await executor.hand_back(SYMBOL, move_to="s1")
    assert executor.position(SYMBOL, "s1").quantity == D("0.999")


async def test_a_crash_before_the_pause_is_made_good_at_the_next_start(trading: Desk) -> None:
    executor, _ = await running(trading)
    trading.journal.set_ownership(OwnershipRecord(SYMBOL, MANUAL, "person", (), 1))
    await executor.stop()
    second = await trading.start()
    owning = Ownerships.over(trading, second)
    assert second.wanted_strategies == set()
    assert trading.journal.ownership()[SYMBOL].paused == ("s1",)
    await owning.owners.hand_back(SYMBOL)
    assert last_states(trading)["s1"] is StrategyState.RUNNING


async def test_a_strategy_that_cannot_be_started_again_is_told(trading: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    executor, _ = await running(trading)
    await executor.take_over(SYMBOL)
    monkeypatch.setattr(trading.journal, "add_command", full)
    await executor.hand_back(SYMBOL)
    assert trading.said(Notice)[-1].title == "A strategy was not started again"
    assert last_states(trading)["s1"] is StrategyState.PAUSED


@pytest.mark.parametrize("how", ["stopped", "removed", "killed", "stopped on a full disk"])
async def test_a_hand_back_starts_nothing_that_was_stopped_since(
    trading: Desk, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, _ = await running(trading)
    await executor.take_over(SYMBOL)
    match how:
        case "stopped":
            await executor.stop_strategy("s1")
        case "removed":
            await executor.remove_strategy("s1")
        case "killed":
            await executor.kill()
            await executor.rearm()
        case "stopped on a full disk":
            monkeypatch.setattr(trading.journal, "set_ownership", full)
            with pytest.raises(UserError, match="disk is full"):
                await executor.stop_strategy("s1")
            monkeypatch.undo()
            await executor.stop_strategy("s1")  # what could not be written is written now
    assert trading.said(OwnershipChanged)[-1] == OwnershipChanged(SYMBOL, MANUAL, "person", ())
    assert trading.journal.ownership()[SYMBOL].paused == ()
    trading.events.clear()
    await executor.stop()
    second = await trading.start()
    await second.hand_back(SYMBOL)
    assert StrategyState.RUNNING not in {status.state for status in trading.said(StrategyStatus)}
    assert trading.said(Notice) == []
    assert second.wanted_strategies == set()


async def test_a_kill_while_nothing_ran_is_no_reason_to_start_with_the_hand_back(trading: Desk) -> None:
    executor, _ = await running(trading)
    await executor.take_over(SYMBOL)
    await executor.stop()
    Fence(trading.paths.root / "fence.json").raise_epoch("killed while nothing ran", 1)
    second = await trading.start()
    assert trading.journal.ownership()[SYMBOL].paused == ()
    await second.rearm()
    await second.hand_back(SYMBOL)
    assert last_states(trading)["s1"] is not StrategyState.RUNNING


async def test_stop_while_strategies_are_started_again_stops_those_to_come(trading: Desk) -> None:
    executor, _ = await running(trading)
    await executor.add_strategy(StrategySpec("s2", "Second", SYMBOL, "1m", "model", D(1_000)))
    await executor.start_strategy("s2")
    await executor.take_over(SYMBOL)
    asked, go, fetch = asyncio.Event(), asyncio.Event(), trading.venue.fetch_candles

    async def slow(*args: object, **kwargs: object) -> object:
        asked.set()
        await go.wait()
        return await fetch(*args, **kwargs)  # type: ignore[arg-type]

    trading.venue.fetch_candles = slow  # type: ignore[method-assign, assignment]
    giving = asyncio.create_task(executor.hand_back(SYMBOL))
    await asyncio.wait_for(asked.wait(), 2)  # the first one warms up
    await executor.kill()
    await executor.rearm()
    go.set()
    await giving
    assert set(last_states(trading).values()) == {StrategyState.PAUSED}
    assert executor.wanted_strategies == set()


async def test_a_draft_for_a_strategy_stays_the_persons(owning: Ownerships) -> None:
    await owning.trade("s1", Side.BUY, "1")
    owning.desk.venue.clock.advance(3_000_000_000)
    draft = OrderDraft(SYMBOL, Side.SELL, OrderType.LIMIT, D("0.5"), D(104), reduce_only=True, owner="s1")
    order = await owning.executor.place_order(draft)
    await owning.owners.take_over(SYMBOL)
    assert [o.client_order_id for o in owning.executor.working_orders] == [order.client_order_id]
