"""Limits that act by themselves: a drawdown halts, a day's loss reduces, a runaway stops; and how each ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from core.clock import NS_PER_S, ManualClock
from core.domain.order_plans import ExitRules, PlanDraft, PlanKind, PlanState
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingState
from core.domain.positions import Position
from core.errors import UserError
from core.events import Notice, RiskFigures, RiskSettingsChanged, StrategyState, StrategyStatus, TradingStateChanged
from core.execution.account import DAY_NS
from core.execution.api.gateway import RetryableError
from core.execution.fence import Fence
from core.execution.journal import Journal
from core.execution.loss_measure import META_KEY, Baseline, LossMeasure
from core.execution.process_lock import ExecutorLock
from core.execution.rearm import RearmAtRest
from core.execution.records import StrategyRecord
from core.execution.risk_watch import DAILY_LOSS_REASON, NEW_DAY_REASON
from core.execution.trading_control import DRAWDOWN_REASON
from core.signals.risk_management import Denied, ReasonCode, RiskSettings
from core.strategies.spec import StrategySpec
from tests.unit.execution.conftest import Desk
from tests.unit.execution.test_risk_context import wish

D = Decimal
SPEC = StrategySpec("s1", "Test", "BTC/USDT", "1m", "model", D(1_000))
BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, D(10))
LIMITS = RiskSettings(max_daily_loss=D(100), max_drawdown=D(300), price_collar=D(1))


class Session:
    """An executor that holds 10 BTC bought at 100 with no fee, and the watch over it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def open(self) -> Session:
        self.executor = await self.desk.start()
        self.watch = self.executor._risk_watch
        return self

    async def at(self, price: str) -> TradingState:
        """Let the market move, and look once."""
        self.desk.venue.prices["BTC/USDT"] = D(price)
        self.executor._marks.update("BTC/USDT", D(price))
        await self.watch.round()
        return self.executor.trading_state

    async def restart(self, price: str = "100") -> Session:
        self.desk.venue.prices["BTC/USDT"] = D(price)
        await self.executor.stop()
        return await self.open()

    async def buy(self, quantity: str = "1") -> str:
        self.desk.venue.clock.advance(3 * NS_PER_S)
        order = await self.executor.place_order(replace(BUY, quantity=D(quantity)))
        return order.reason_code if order.state is OrderState.DENIED else order.state.value

    async def sell(self) -> str:
        self.desk.venue.clock.advance(3 * NS_PER_S)
        draft = replace(BUY, side=Side.SELL, quantity=D(1), reduce_only=True)
        return (await self.executor.place_order(draft)).state.value

    def notices(self) -> list[str]:
        return [notice.title for notice in self.desk.said(Notice)]

    def baseline(self) -> Baseline:
        return Baseline.from_json(self.desk.journal.meta(META_KEY) or "")


@pytest.fixture
async def session(desk: Desk) -> Session:
    desk.risk = LIMITS
    desk.venue.fee_rate = D(0)
    made = await Session(desk).open()
    assert await made.buy("10") == "filled"
    assert await made.at("100") is TradingState.ACTIVE
    return made


# --- drawdown -----------------------------------------------------------------------------------------------------


async def test_a_drawdown_halts_at_the_limit_from_the_highest_profit(session: Session) -> None:
    assert await session.at("150") is TradingState.ACTIVE
    assert await session.at("120.01") is TradingState.ACTIVE  # 299.90 below the top, and 200 above the start
    assert await session.at("120") is TradingState.HALTED
    record = session.desk.journal.trading_state()
    assert record is not None
    assert (record.state, record.reason) == (TradingState.HALTED, DRAWDOWN_REASON)
    assert session.desk.journal.commands("trading_state")[0].payload["reason"] == DRAWDOWN_REASON
    assert session.notices() == ["Drawdown limit reached: trading is halted"]
    assert session.desk.said(Notice)[0].text.startswith("The drawdown 300.00 reached the limit 300. Find out why")
    assert await session.buy() == "TRADING_HALTED"
    assert await session.at("90") is TradingState.HALTED
    assert len(session.notices()) == 1, "said once"


async def test_the_gate_denies_growth_before_the_watch_looks(session: Session) -> None:
    await session.at("150")
    session.desk.venue.prices["BTC/USDT"] = D(120)
    session.executor._marks.update("BTC/USDT", D(120))
    assert session.executor.trading_state is TradingState.ACTIVE
    assert await session.buy() == "DRAWDOWN"
    assert await session.sell() == "filled"


async def test_the_fence_is_raised_so_that_every_process_knows(session: Session) -> None:
    await session.at("70")
    fence = Fence(session.desk.paths.root / "fence.json").read()
    assert fence is not None
    assert (fence.epoch, fence.acknowledged, fence.reason) == (1, 1, DRAWDOWN_REASON)


async def test_stop_still_closes_after_a_drawdown(session: Session) -> None:
    await session.at("70")
    report = await session.executor.kill(flatten=True)
    assert report.flat
    assert session.executor.position("BTC/USDT", "manual").quantity == 0


async def test_what_protects_stays_in_a_drawdown_and_goes_with_stop(session: Session) -> None:
    resting = {
        "stop": replace(
            BUY,
            side=Side.SELL,
            order_type=OrderType.STOP_LOSS_LIMIT,
            stop_price=D(65),
            limit_price=D(64),
            reduce_only=True,
        ),
        "entry": replace(BUY, order_type=OrderType.LIMIT, limit_price=D(50), quantity=D(1)),
    }
    keys = {}
    for name, draft in resting.items():
        keys[name] = (await session.executor.place_order(draft)).client_order_id
    await session.at("70")
    for _ in range(2):
        await session.executor._desk.chase_cancels()
    states = {name: session.desk.venue.orders[key].state for name, key in keys.items()}
    assert states == {"stop": OrderState.ACCEPTED, "entry": OrderState.CANCELED}
    await session.executor.kill()
    assert session.desk.venue.open_orders() == []


async def test_plans_that_would_enter_wait_after_a_drawdown(session: Session) -> None:
    entering = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(4), slices=4, duration_s=400)
    closing = PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, D(2), exits=ExitRules(stop_price=D(65)))
    await session.executor.create_plan(entering)
    await session.executor.create_plan(closing)
    await session.at("70")
    told = {plan.draft.kind: (plan.state, plan.reason) for plan in session.executor.plans}
    assert told == {
        PlanKind.TWAP: (PlanState.PAUSED, DRAWDOWN_REASON),
        PlanKind.EXIT: (PlanState.WORKING, ""),
    }


async def test_plans_outlive_a_restart_in_a_drawdown_as_their_stops_do(session: Session) -> None:
    entering = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D(4), slices=4, duration_s=400)
    closing = PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, D(2), exits=ExitRules(stop_price=D(65)))
    await session.executor.create_plan(closing)
    await session.executor.create_plan(entering)
    await session.at("70")
    await session.restart("70")
    assert session.executor.trading_state is TradingState.HALTED
    states = {plan.draft.kind: plan.state for plan in session.executor.plans}
    assert states == {PlanKind.EXIT: PlanState.WORKING, PlanKind.TWAP: PlanState.PAUSED}
    (stop,) = session.desk.venue.open_orders()
    await session.executor.rearm()
    await session.executor.cancel_plan(next(p.plan_id for p in session.executor.plans if p.state is PlanState.WORKING))
    assert session.desk.venue.open_orders() == []
    assert stop.state is OrderState.CANCELED


async def test_strategies_pause_and_stay_stopped(desk: Desk) -> None:
    desk.risk = LIMITS
    session = await Session(desk).open()
    await session.buy("10")
    await session.executor.add_strategy(SPEC)
    session.executor._runner._entries["s1"].record = StrategyRecord(SPEC, running=True)
    desk.journal.save_strategy(StrategyRecord(SPEC, running=True))
    await session.at("100")
    await session.at("60")
    assert [record.running for record in desk.journal.strategies()] == [False]


async def test_a_halt_survives_a_restart_and_ends_only_by_rearming(session: Session) -> None:
    await session.at("70")
    await session.restart("70")
    assert await session.at("95") is TradingState.HALTED
    await session.executor.rearm()
    assert await session.at("95") is TradingState.ACTIVE
    assert session.notices()[-1] == "Drawdown and today's loss are measured anew from now"
    assert session.baseline().peak == D(-50), "10 BTC bought at 100, now at 95"
    told = [command.payload for command in session.desk.journal.commands("loss_baseline")]
    assert told == [{"day_start": "-50", "peak": "-50", "peak_before": "0"}]
    assert await session.buy() == "filled"
    assert await session.at("68") is TradingState.REDUCING  # 297 and a day's loss
    assert await session.at("67") is TradingState.HALTED


async def test_rearming_at_rest_measures_anew_as_well(session: Session) -> None:
    await session.at("70")
    await session.executor.stop()
    paths = session.desk.paths
    clock = ManualClock(session.desk.venue.clock.now_ns() + 1)
    lock = ExecutorLock(paths.root / "locks", None, paths.root)
    action = RearmAtRest(paths, Fence(paths.root / "fence.json"), lock, clock)
    action.rearm(action.look(), "re-armed from the command line")
    session.desk.venue.prices["BTC/USDT"] = D(70)
    await session.open()
    assert await session.at("70") is TradingState.ACTIVE
    assert session.baseline().peak == D(-300)


async def test_a_restart_forgets_no_more_than_a_hundredth_of_the_limit(session: Session) -> None:
    await session.at("149.8")
    await session.at("150")  # 2 more: within the tolerance of 3, not written down
    assert session.baseline().peak == D(498)
    await session.restart("150")
    assert await session.at("120.03") is TradingState.ACTIVE
    assert await session.at("119.8") is TradingState.HALTED


async def test_a_restart_without_a_price_halts_nothing_and_forgets_nothing(session: Session) -> None:
    await session.at("150")
    await session.executor.stop()
    session.desk.venue.ticker_error = RetryableError("no prices")
    await session.open()
    await session.watch.round()
    await session.watch.round()
    assert session.notices() == ["The loss limits cannot be watched"]
    assert session.desk.said(Notice)[-1].text == "No price is known of BTC/USDT."
    assert session.executor.trading_state is TradingState.ACTIVE
    assert session.baseline().peak == D(500)
    assert await session.at("121") is TradingState.ACTIVE
    assert await session.at("120") is TradingState.HALTED


async def test_a_price_too_old_to_trade_on_still_values_a_position(session: Session) -> None:
    await session.at("85")
    session.executor._marks.forget("BTC/USDT")
    assert session.executor._account.pnl() == D(-150)
    await session.watch.round()
    assert session.executor.trading_state is TradingState.REDUCING


async def test_a_journal_that_cannot_be_written_halts_all_the_same(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(record: object) -> None:
        raise UserError("The disk is full.", "")

    monkeypatch.setattr(session.executor._control._journal, "set_trading_state", full)
    assert await session.at("70") is TradingState.HALTED
    assert session.notices() == ["The halt could not be written down", "Drawdown limit reached: trading is halted"]
    fence = Fence(session.desk.paths.root / "fence.json").read()
    assert fence is not None
    assert fence.epoch == 1, "the next start is halted by the fence"


# --- day's loss ---------------------------------------------------------------------------------------------------


async def test_a_days_loss_reduces_until_the_next_day(session: Session) -> None:
    assert await session.at("90.01") is TradingState.ACTIVE
    assert await session.at("90") is TradingState.REDUCING
    assert session.desk.said(TradingStateChanged)[-1].reason == DAILY_LOSS_REASON
    assert session.notices() == ["Daily loss limit reached"]
    assert await session.buy() == "TRADING_STATE_REDUCING"
    assert await session.sell() == "filled"
    assert await session.at("105") is TradingState.REDUCING, "a recovery does not lift it"
    session.desk.venue.clock.advance(DAY_NS)
    assert await session.at("105") is TradingState.ACTIVE
    assert session.desk.said(TradingStateChanged)[-1].reason == NEW_DAY_REASON
    assert len(session.notices()) == 1, "nothing was re-armed"
    assert await session.buy() == "filled"
    assert await session.at("105") is TradingState.ACTIVE


async def test_a_new_day_keeps_the_highest_profit(session: Session) -> None:
    await session.at("110")
    await session.at("89")
    session.desk.venue.clock.advance(DAY_NS)
    assert await session.at("89") is TradingState.ACTIVE
    assert await session.at("89") is TradingState.ACTIVE
    assert session.baseline().peak == D(100)
    assert await session.at("80.01") is TradingState.ACTIVE  # 89.90 lost today, 299.90 below the top
    assert await session.at("80") is TradingState.HALTED


async def test_a_new_day_begins_while_nothing_runs(session: Session) -> None:
    await session.at("90")
    await session.executor.stop()
    session.desk.venue.clock.advance(DAY_NS)
    session.desk.venue.prices["BTC/USDT"] = D(90)
    await session.open()
    assert session.executor.trading_state is TradingState.REDUCING
    assert await session.at("90") is TradingState.ACTIVE
    assert session.baseline().day_start == D(-100)


async def test_a_person_rearms_and_the_loss_is_measured_anew(session: Session) -> None:
    await session.at("90")
    await session.executor.rearm()
    assert await session.at("90") is TradingState.ACTIVE
    assert session.notices()[-1] == "Drawdown and today's loss are measured anew from now"
    assert await session.at("80.01") is TradingState.ACTIVE
    assert await session.at("80") is TradingState.REDUCING
    session.desk.venue.clock.advance(DAY_NS)
    assert await session.at("80") is TradingState.ACTIVE


async def test_a_reduction_survives_a_restart(session: Session) -> None:
    await session.at("90")
    await session.restart("90")
    assert await session.at("90") is TradingState.REDUCING
    assert await session.buy() == "TRADING_STATE_REDUCING"


async def test_a_loss_that_goes_on_halts_from_reducing(session: Session) -> None:
    assert await session.at("90") is TradingState.REDUCING
    assert await session.at("70") is TradingState.HALTED
    session.desk.venue.clock.advance(DAY_NS)
    assert await session.at("100") is TradingState.HALTED, "a new day does not lift a halt"


async def test_a_crash_between_the_note_and_the_state_loses_nothing(session: Session) -> None:
    """The day is noted first: a state that was not written is found again by the next look."""
    session.executor._account.losses.mark_reduced(session.executor._account.today)
    assert await session.at("99") is TradingState.ACTIVE
    assert await session.at("90") is TradingState.REDUCING
    session.executor._account.losses.mark_reduced(session.executor._account.today - 1)
    session.executor._control.rearm("re-armed")
    assert await session.at("90") is TradingState.ACTIVE
    assert session.baseline().reduced_day is None


# --- the control --------------------------------------------------------------------------------------------------


async def test_reducing_never_lifts_a_halt(session: Session) -> None:
    control = session.executor._control
    assert not control.resume("no reason", reduced_for="a test")
    control.halt_now()
    assert control.store_halt("a test") == []
    assert not control.reduce("a test")
    assert not control.resume("a test", reduced_for="a test")
    assert session.executor.trading_state is TradingState.HALTED


# --- the rest -----------------------------------------------------------------------------------------------------


async def test_a_runaway_is_stopped_with_a_notice(session: Session) -> None:
    await session.executor.add_strategy(SPEC)
    session.executor._runner._entries["s1"].record = StrategyRecord(SPEC, running=True)
    flow = session.executor._desk.flow
    flow.denied(Denied(wish(), ReasonCode.ORDER_RATE, "10 orders went out"), 200)
    flow.denied(Denied(wish(owner="gone"), ReasonCode.ORDER_RATE, "10 orders went out"), 200)
    await session.watch.round()
    told = [(notice.title, notice.text) for notice in session.desk.said(Notice)]
    assert told == [
        ("A strategy was stopped: it orders too fast", "s1: 10 orders went out."),
        ("A strategy was stopped: it orders too fast", "gone: 10 orders went out."),
    ]
    assert [record.running for record in session.desk.journal.strategies()] == [False]
    assert session.desk.said(StrategyStatus)[-1].state == "stopped"


async def test_limits_and_figures_are_told_when_they_change(session: Session) -> None:
    assert [event.settings for event in session.desk.said(RiskSettingsChanged)] == [LIMITS]
    await session.at("100")
    looser = replace(LIMITS, max_open_orders=7)
    await session.executor.change_risk_settings(looser)
    await session.at("99")
    assert [event.settings for event in session.desk.said(RiskSettingsChanged)] == [LIMITS, looser]
    assert session.desk.said(RiskFigures) == [RiskFigures(D(0), D(0)), RiskFigures(D(-10), D(10))]


def test_a_baseline_survives_the_journal(journal: Journal) -> None:
    odd = Baseline(D("1E+2"), 3, D("-0.10"), None, 7)
    assert Baseline.from_json(odd.to_json()) == odd
    measure = LossMeasure(journal)
    assert measure.present is None
    assert (measure.day_pnl(D(5)), measure.drawdown(D(5))) == (D(0), D(0))
    measure.observe(D(5), 1, D(2))
    assert (measure.day_pnl(D(4)), measure.drawdown(D(4)), measure.drawdown(D(6))) == (D(2), D(1), D(0))
    again = LossMeasure(journal)
    assert again.known == measure.known == Baseline(D(5), 1, D(2))
    again.observe(D(1), 2, D(1))
    assert again.known == Baseline(D(5), 2, D(1))


async def test_a_coin_that_is_not_traded_any_more_does_not_stop_the_watch(session: Session) -> None:
    session.executor._manager._positions[("OLD/USDT", "manual")] = Position("fake", "OLD/USDT", "manual", D(5), D(3))
    assert await session.at("90") is TradingState.REDUCING
    assert session.notices() == ["Daily loss limit reached"]


@pytest.mark.parametrize("halted", [False, True])
async def test_strategies_start_again_where_they_may_still_leave(session: Session, halted: bool) -> None:
    await session.at("60" if halted else "90")
    session.desk.journal.save_strategy(StrategyRecord(SPEC, running=not halted))
    await session.restart("90")
    running = asyncio.create_task(session.executor.run())
    await asyncio.sleep(0.05)
    states = [status.state for status in session.desk.said(StrategyStatus)]
    assert (StrategyState.WARMING_UP in states) is not halted
    await session.executor.stop()
    await running


async def test_a_plan_too_large_as_a_whole_is_refused_before_its_first_part(desk: Desk) -> None:
    desk.risk = RiskSettings(max_order_value=D(500))
    session = await Session(desk).open()
    parts = PlanDraft(PlanKind.TWAP, "BTC/USDT", Side.BUY, D("5.1"), slices=4, duration_s=400)
    with pytest.raises(UserError, match=r"order value 510\.00 is above the limit 500"):
        await session.executor.create_plan(parts)
    assert session.executor.plans == ()
    assert desk.venue.sent == []
    await session.executor.create_plan(replace(parts, quantity=D(5)))
    assert len(desk.venue.sent) == 1
