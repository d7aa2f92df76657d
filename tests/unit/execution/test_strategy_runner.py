"""Strategies decide once per closed bar, trade through the one path, and survive restarts and their own bugs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.domain.candles import Candle, Timeframe
from core.domain.orders import Intent, OrderState, Side, TradingState
from core.domain.signals import Forecast
from core.errors import UserError
from core.events import ExecutorEvent, ForecastMade, Notice, SignalEmitted, StrategyState, StrategyStatus
from core.execution import strategy_runner
from core.execution.api.gateway import AmbiguousOutcome
from core.execution.fence import Fence
from core.strategies.spec import StrategySpec
from ml.hot_swap import SwappablePredictor
from tests.unit.execution.conftest import Desk
from tests.unit.execution.fake_venue import START_NS, FakeVenue
from tests.unit.execution.test_unknown_orders import REST, run, until

MINUTE = 60 * NS_PER_S
T0 = Timeframe.M1.floor(START_NS)
SPEC = StrategySpec("s1", "Test", "BTC/USDT", "1m", "model", Decimal(1_000), entry_z=0.5, exit_z=0.0)


def bar(index: int, close: float = 100.0, *, final: bool = True, symbol: str = "BTC/USDT") -> Candle:
    """Bar `index` minutes after the last one of the history."""
    return Candle(symbol, Timeframe.M1, T0 + index * MINUTE, close, close, close, close, 1.0, final, "stream")


class ScriptedModel:
    """Forecasts the z score written down for each bar index; 0.2 elsewhere."""

    model_id = "model"
    symbol = "BTC/USDT"
    timeframe = Timeframe.M1
    warm_up_bars = 5

    def __init__(self, scores: dict[int, float]) -> None:
        self.scores = scores
        self.seen: list[int] = []
        self.error: Exception | None = None

    def warm_up(self, candles: Sequence[Candle]) -> Forecast | None:
        self.seen = [c.open_time_ns for c in candles]
        return self._forecast(candles[-1]) if len(candles) >= self.warm_up_bars else None

    def update(self, candle: Candle) -> Forecast | None:
        if self.error is not None:
            raise self.error
        assert candle.open_time_ns == self.seen[-1] + MINUTE
        self.seen.append(candle.open_time_ns)
        return self._forecast(candle)

    def _forecast(self, candle: Candle) -> Forecast:
        index = (candle.open_time_ns - T0) // MINUTE
        z = self.scores.get(index, 0.2)
        return Forecast(candle.symbol, candle.open_time_ns, 1, (0.1, 0.5, 0.9), (-z, z, 2 * z), z, "model", "f")


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel({1: 1.0, 2: 0.3, 3: -1.0})


@pytest.fixture
def trading(desk: Desk, model: ScriptedModel, venue: FakeVenue) -> Desk:
    desk.load_predictor = lambda model_id: model
    venue.candles = [bar(i) for i in range(-20, 1)]
    venue.clock.set(T0 + MINUTE)
    return desk


def states(desk: Desk) -> list[StrategyState]:
    return [status.state for status in desk.said(StrategyStatus)]


async def running(desk: Desk, **extra: object):
    executor = await desk.start(**extra)
    task = asyncio.create_task(executor.run())
    await executor.add_strategy(SPEC)
    await executor.start_strategy("s1")
    await until(lambda: bool(desk.venue.candle_queues))
    return executor, task


async def test_it_enters_holds_and_leaves(trading: Desk) -> None:
    processed: list[tuple[int, Decimal]] = []

    async def done(candle: Candle) -> None:
        processed.append((candle.open_time_ns, executor.position("BTC/USDT", "s1").quantity))

    executor, _ = await running(trading, bar_processed=done)
    assert states(trading)[-1] is StrategyState.RUNNING
    for index in (1, 2, 3):
        trading.venue.push_candle(bar(index, final=False))
        trading.venue.push_candle(bar(index))
        await until(lambda index=index: len(processed) == index)
    assert [quantity for _, quantity in processed] == [Decimal("9.99"), Decimal("9.99"), Decimal(0)]
    assert [signal.signal.target_weight for signal in trading.said(SignalEmitted)] == [1.0, 1.0, 0.0]
    assert [r.side for r in trading.venue.sent] == ["buy", "sell"]
    assert trading.said(StrategyStatus)[-1].last_signal == 0.0


async def test_each_forecast_is_told_once_and_after_the_order(trading: Desk, model: ScriptedModel) -> None:
    sent_when_told: list[int] = []

    class Watched(list[ExecutorEvent]):
        def append(self, event: ExecutorEvent) -> None:
            super().append(event)
            if isinstance(event, ForecastMade):
                sent_when_told.append(len(trading.venue.sent))

    trading.events = Watched()
    await running(trading)
    trading.venue.push_candle(bar(1, 101.0))
    trading.venue.push_candle(bar(2, 102.0))
    await until(lambda: len(trading.said(ForecastMade)) == 3)
    news = trading.said(ForecastMade)
    assert [(n.forecast.bar_open_ns - T0) // MINUTE for n in news] == [0, 1, 2]  # the first ends the history
    assert [(n.timeframe, n.close) for n in news] == [("1m", 100.0), ("1m", 101.0), ("1m", 102.0)]
    assert [n.forecast.z_score for n in news] == [0.2, 1.0, 0.3]
    assert sent_when_told == [0, 1, 1]
    await asyncio.sleep(0.05)
    assert len(trading.said(ForecastMade)) == 3


async def test_a_model_that_warms_up_tells_no_forecast(trading: Desk, model: ScriptedModel) -> None:
    trading.venue.candles = trading.venue.candles[-3:]
    await running(trading)
    await asyncio.sleep(0.05)
    assert states(trading)[-1] is StrategyState.WARMING_UP
    assert trading.said(ForecastMade) == []


async def test_bars_missed_in_a_pause_are_not_traded_at_the_price_of_now(trading: Desk, model: ScriptedModel) -> None:
    processed: list[int] = []

    async def done(candle: Candle) -> None:
        processed.append(candle.open_time_ns)

    await running(trading, bar_processed=done)
    model.scores = {1: 1.0, 2: -1.0, 3: 1.0}
    trading.venue.clock.set(T0 + 4 * MINUTE)  # bars 1, 2 and 3 have closed meanwhile
    for index in (1, 2, 3):
        trading.venue.push_candle(bar(index))
    await until(lambda: len(processed) == 3)
    assert [signal.signal.target_weight for signal in trading.said(SignalEmitted)] == [1.0, 0.0, 1.0]
    assert [r.side for r in trading.venue.sent] == ["buy"]


async def test_no_decision_on_history_open_bars_or_the_same_bar_twice(trading: Desk) -> None:
    executor, _ = await running(trading)
    trading.venue.push_candle(bar(1, final=False))
    await asyncio.sleep(0.05)
    assert trading.said(SignalEmitted) == []
    trading.venue.push_candle(bar(1))
    trading.venue.push_candle(bar(1))
    await until(lambda: len(trading.venue.sent) == 1)
    await asyncio.sleep(0.05)
    assert len(trading.said(SignalEmitted)) == 1
    assert executor.position("BTC/USDT", "s1").quantity > 0


async def test_a_restart_resumes_and_does_not_decide_on_the_same_bar_again(trading: Desk, model: ScriptedModel) -> None:
    executor, _ = await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(trading.venue.sent) == 1)
    await executor.stop()
    trading.venue.candles = [c for c in trading.venue.candles if c.open_time_ns <= T0]
    trading.events.clear()
    await run(trading)
    await until(lambda: bool(trading.venue.candle_queues))
    trading.venue.push_candle(bar(1))  # closed again, as the venue may tell it
    trading.venue.push_candle(bar(2))
    await until(lambda: len(trading.said(SignalEmitted)) == 1)
    # z = 0.3 lies between exit and entry: it still wants to hold only because it remembers that it was in.
    assert trading.said(SignalEmitted)[0].signal.target_weight == 1.0
    assert len(trading.venue.sent) == 1


async def test_beside_a_window_nothing_starts_by_itself(trading: Desk) -> None:
    executor, _ = await running(trading)
    await executor.stop()
    for start in (1, 2):
        trading.events.clear()
        restarted = await trading.start()
        task = asyncio.create_task(restarted.run(resume=False))
        # Told once; at the next start it is simply a strategy that is stopped.
        expected = StrategyState.PAUSED if start == 1 else StrategyState.STOPPED
        await until(lambda expected=expected: states(trading)[-1] is expected)
        told = [notice.text for notice in trading.said(Notice) if notice.title == "Strategies wait to be started"]
        assert told == (["They were running: Test."] if start == 1 else [])
        trading.venue.push_candle(bar(start))
        await asyncio.sleep(0.05)
        assert trading.said(SignalEmitted) == []
        assert trading.venue.sent == []
        if start == 1:
            await restarted.stop()
            await task
    await restarted.start_strategy("s1")
    assert states(trading)[-1] is StrategyState.RUNNING


async def test_a_gap_is_filled_from_history_and_not_traded(trading: Desk, model: ScriptedModel) -> None:
    await running(trading)
    trading.venue.candles += [bar(1), bar(2)]
    trading.venue.push_candle(bar(3))
    await until(lambda: len(trading.said(SignalEmitted)) == 1)
    assert model.seen[-3:] == [T0 + MINUTE, T0 + 2 * MINUTE, T0 + 3 * MINUTE]
    assert trading.venue.sent == []


async def test_a_hole_at_the_venue_is_left_to_the_model(trading: Desk, model: ScriptedModel) -> None:
    await running(trading)
    trading.venue.push_candle(bar(9))
    await until(lambda: len(trading.said(SignalEmitted)) == 1)
    assert model.seen[-2:] == [T0, T0 + 9 * MINUTE]


async def test_too_little_history_is_waited_for(trading: Desk, model: ScriptedModel) -> None:
    model.scores = {4: 1.0}
    trading.venue.candles = [bar(0)]
    await running(trading)
    status = trading.said(StrategyStatus)[-1]
    assert (status.state, status.detail) == (StrategyState.WARMING_UP, "the model needs 5 closed bars without a gap")
    model.update = lambda candle: model.warm_up([bar(i) for i in range((candle.open_time_ns - T0) // MINUTE + 1)])
    for index in range(1, 5):
        trading.venue.push_candle(bar(index))
    await until(lambda: len(trading.venue.sent) == 1)
    assert states(trading)[-1] is StrategyState.RUNNING
    await until(lambda: len(trading.said(SignalEmitted)) == 1)


async def test_a_bug_in_a_model_stops_that_strategy_alone(trading: Desk, model: ScriptedModel) -> None:
    executor, task = await running(trading)
    model.error = ZeroDivisionError("oops")
    trading.venue.push_candle(bar(1))
    await until(lambda: states(trading)[-1] is StrategyState.FAILED)
    assert trading.said(StrategyStatus)[-1].detail == "ZeroDivisionError: oops"
    assert not task.done()
    await until(lambda: not trading.venue.candle_queues)
    assert executor.trading_state == "active"


async def resting(desk: Desk):
    """Run the strategy until an order of its own rests at the venue."""
    executor, task = await running(desk)
    desk.venue.submit_faults.append("rest")
    desk.venue.push_candle(bar(1))
    await until(lambda: bool(executor.working_orders))
    await until(lambda: executor.working_orders[0].state is OrderState.ACCEPTED)
    return executor, task


async def test_a_strategy_that_fails_has_its_orders_cancelled_and_is_tried_again_at_the_next_start(
    trading: Desk, model: ScriptedModel
) -> None:
    executor, _ = await resting(trading)
    await executor.place_order(REST)
    model.error = ZeroDivisionError("oops")
    trading.venue.push_candle(bar(2))
    await until(lambda: states(trading)[-1] is StrategyState.FAILED)
    await until(lambda: len(trading.venue.open_orders()) == 1)  # the manual one
    assert executor.wanted_strategies == {"s1"}
    model.error = None
    await executor.stop()
    trading.events.clear()
    await run(trading)
    await until(lambda: StrategyState.RUNNING in states(trading))


async def test_the_end_of_a_run_waits_for_the_cancels_of_a_failed_strategy(trading: Desk, model: ScriptedModel) -> None:
    executor, _ = await resting(trading)
    may_cancel, cancel = asyncio.Event(), trading.venue.cancel_order

    async def slow(*args: object) -> object:
        await may_cancel.wait()
        return await cancel(*args)

    trading.venue.cancel_order = slow  # type: ignore[method-assign, assignment]
    model.error = ZeroDivisionError("oops")
    trading.venue.push_candle(bar(2))
    await until(lambda: states(trading)[-1] is StrategyState.FAILED)
    ending = asyncio.create_task(executor.quiesce())
    await asyncio.sleep(0.03)
    assert not ending.done()
    may_cancel.set()
    await ending
    assert trading.venue.open_orders() == []


@pytest.mark.parametrize("outcome", ["at once", "slow", "slow and broken", "broken"])
async def test_a_signal_is_told_once_whatever_becomes_of_its_order(
    trading: Desk, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    monkeypatch.setattr(strategy_runner, "SHOWN_AFTER_S", 0.05)
    executor, _ = await running(trading)
    submit, ended = executor._runner._path.submit, asyncio.Event()

    async def slow(intent: Intent) -> object:
        try:
            if "slow" in outcome:
                await asyncio.sleep(0.1)
                assert len(trading.said(SignalEmitted)) == 1, "it is not kept back by an order that takes long"
            if "broken" in outcome:
                raise ZeroDivisionError("oops")
            return await submit(intent)
        finally:
            ended.set()

    monkeypatch.setattr(executor._runner._path, "submit", slow)
    trading.venue.push_candle(bar(1))
    await until(ended.is_set)
    await asyncio.sleep(2 * strategy_runner.SHOWN_AFTER_S + 0.02)
    assert [signal.signal.target_weight for signal in trading.said(SignalEmitted)] == [1.0]
    assert (states(trading)[-1] is StrategyState.FAILED) is ("broken" in outcome)
    assert len(trading.venue.sent) == ("broken" not in outcome)


async def test_what_fails_after_it_was_stopped_is_no_failure(trading: Desk) -> None:
    executor = await trading.start()
    await executor.add_strategy(SPEC)
    answer = asyncio.Event()

    async def gone(*args: object, **kwargs: object) -> list[Candle]:
        await answer.wait()
        raise AmbiguousOutcome("closed")

    trading.venue.fetch_candles = gone  # type: ignore[method-assign]
    starting = asyncio.create_task(executor.start_strategy("s1"))
    await until(lambda: states(trading)[-1] is StrategyState.WARMING_UP)
    await executor.quiesce()
    answer.set()
    await starting
    assert states(trading)[-1] is StrategyState.PAUSED


async def test_nobody_waits_for_the_bars_of_a_strategy_that_does_not_run(trading: Desk, model: ScriptedModel) -> None:
    executor = await trading.start()
    await executor.add_strategy(SPEC)
    model.symbol = "ETH/USDT"
    await executor.start_strategy("s1")
    with pytest.raises(UserError, match="Test does not run: The model was trained on ETH/USDT"):
        await executor.wait_until_following("s1")
    model.symbol = "BTC/USDT"
    await executor.start_strategy("s1")
    waiting = asyncio.create_task(executor.wait_until_following("s1"))
    await asyncio.sleep(0.01)
    await executor.stop_strategy("s1")
    with pytest.raises(UserError, match="Test does not run"):
        await waiting


async def test_a_kill_forgets_failed_strategies_too(trading: Desk, model: ScriptedModel) -> None:
    executor, _ = await running(trading)
    model.error = ZeroDivisionError("oops")
    trading.venue.push_candle(bar(1))
    await until(lambda: states(trading)[-1] is StrategyState.FAILED)
    await executor.kill()
    await executor.rearm()
    assert executor.wanted_strategies == set()


async def test_a_kill_while_nothing_ran_leaves_strategies_stopped_after_the_rearm(trading: Desk) -> None:
    executor, _ = await running(trading)
    await executor.stop()
    Fence(trading.paths.root / "fence.json").raise_epoch("killed from outside", trading.venue.clock.now_ns())
    halted, _ = await run(trading)
    assert halted.trading_state is TradingState.HALTED
    await halted.rearm()
    await halted.stop()
    trading.events.clear()
    await run(trading)
    await asyncio.sleep(0.03)
    assert set(states(trading)) == {StrategyState.STOPPED}


async def test_a_broken_candle_stream_is_opened_again(trading: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.execution.strategy_runner.FEED_BACKOFF_S", 0.01)
    await running(trading)
    trading.venue.push_candle(AmbiguousOutcome("closed"))
    await until(lambda: not trading.venue.candle_queues)
    await until(lambda: bool(trading.venue.candle_queues))
    trading.venue.push_candle(bar(1))
    await until(lambda: bool(trading.venue.sent))
    assert [draft.side for draft in trading.venue.sent] == [Side.BUY]
    assert states(trading)[-1] is StrategyState.RUNNING


async def test_stopping_cancels_orders_and_keeps_the_position(trading: Desk) -> None:
    executor, _ = await running(trading)
    trading.venue.submit_faults.append("rest")
    trading.venue.push_candle(bar(1))
    await until(lambda: bool(executor.working_orders))
    await until(lambda: executor.working_orders[0].state is OrderState.ACCEPTED)
    await executor.stop_strategy("s1")
    assert trading.venue.open_orders() == []
    assert states(trading)[-1] is StrategyState.STOPPED
    await executor.remove_strategy("s1")
    with pytest.raises(UserError, match="no strategy named s1"):
        await executor.start_strategy("s1")


@pytest.mark.parametrize("how", ["stopped", "removed", "started anew", "added anew"])
async def test_what_a_strategy_decided_before_it_was_stopped_is_not_sent(trading: Desk, how: str) -> None:
    trading.load_predictor = lambda model_id: ScriptedModel({1: 1.0})
    executor, _ = await running(trading)
    other = replace(SPEC, strategy_id="s2", title="Other")
    await executor.add_strategy(other)
    await executor.start_strategy("s2")  # it keeps the feed, and with it the decision, alive
    go, asked, fetch = asyncio.Event(), asyncio.Event(), trading.venue.fetch_book

    async def slow(symbol: str, depth: int = 100) -> object:
        asked.set()
        await go.wait()
        return await fetch(symbol, depth)

    trading.venue.fetch_book = slow  # type: ignore[method-assign, assignment]
    trading.venue.push_candle(bar(1))
    await asyncio.wait_for(asked.wait(), 2)
    match how:
        case "stopped":
            await executor.stop_strategy("s1")
        case "removed":
            await executor.remove_strategy("s1")
        case "started anew":
            await executor.stop_strategy("s1")
            await executor.start_strategy("s1")
        case "added anew":
            await executor.remove_strategy("s1")
            await executor.add_strategy(SPEC)
            await executor.start_strategy("s1")
    trading.events.clear()
    go.set()
    await until(lambda: executor.position("BTC/USDT", "s2").quantity == Decimal("9.99"))
    assert len(trading.venue.sent) == 1
    assert executor.position("BTC/USDT", "s1").quantity == 0
    shown = {status.strategy_id for status in trading.said(StrategyStatus)}
    assert "s1" not in shown or how != "removed", "what was removed is not shown again"


async def test_a_strategy_stops_although_the_journal_cannot_be_written(
    trading: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, _ = await running(trading)
    trading.venue.submit_faults.append("rest")
    trading.venue.push_candle(bar(1))
    await until(lambda: [o.state for o in executor.working_orders] == [OrderState.ACCEPTED])

    def full(*args: object) -> None:
        raise UserError("The disk is full.", "")

    monkeypatch.setattr(trading.journal, "save_strategy", full)
    with pytest.raises(UserError, match="disk is full"):
        await executor.stop_strategy("s1")
    assert states(trading)[-1] is StrategyState.STOPPED
    assert executor.working_orders == []
    trading.venue.push_candle(bar(2))
    await asyncio.sleep(0.05)
    assert len(trading.venue.sent) == 1


async def test_kill_pauses_and_rearm_does_not_restart(trading: Desk) -> None:
    executor, _ = await running(trading)
    await executor.kill()
    assert states(trading)[-1] is StrategyState.PAUSED
    with pytest.raises(UserError, match="Trading is halted"):
        await executor.start_strategy("s1")
    await executor.rearm()
    assert states(trading)[-1] is StrategyState.PAUSED
    await executor.stop()
    trading.events.clear()
    await run(trading)
    await asyncio.sleep(0.03)
    assert set(states(trading)) == {StrategyState.STOPPED}


async def test_wrong_and_broken_models_are_said(trading: Desk, model: ScriptedModel) -> None:
    executor = await trading.start()
    await executor.add_strategy(SPEC)
    model.symbol = "ETH/USDT"
    await executor.start_strategy("s1")
    assert "was trained on ETH/USDT" in trading.said(StrategyStatus)[-1].detail
    model.symbol = "BTC/USDT"
    trading.load_predictor = lambda model_id: 1 / 0
    broken = await restart(trading)
    await broken.start_strategy("s1")
    assert "ZeroDivisionError" in trading.said(StrategyStatus)[-1].detail


async def restart(desk: Desk):
    await desk.executors[-1].stop()
    return await desk.start()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SPEC, "exists already"),
        (StrategySpec("s2", "T", "DOGE/USDT", "1m", "m", Decimal(1)), "is not traded"),
        (StrategySpec("s2", "T", "BTC/USDT", "7m", "m", Decimal(1)), "no known bar length"),
    ],
)
async def test_a_strategy_that_cannot_be_registered(trading: Desk, spec: StrategySpec, message: str) -> None:
    executor = await trading.start()
    await executor.add_strategy(SPEC)
    with pytest.raises(UserError, match=message):
        await executor.add_strategy(spec)


class NamedModel(ScriptedModel):
    """A model with an id of its own, that may be of another market."""

    def __init__(self, model_id: str, scores: dict[int, float], symbol: str = "BTC/USDT") -> None:
        super().__init__(scores)
        self.model_id, self.symbol = model_id, symbol

    def _forecast(self, candle: Candle) -> Forecast:
        return replace(super()._forecast(candle), model_id=self.model_id)


def changeable(*models: ScriptedModel) -> Callable[[str], SwappablePredictor]:
    known = {model.model_id: model for model in models}

    def load(model_id: str) -> ScriptedModel:
        if model_id not in known:
            raise UserError(f"There is no model {model_id!r}.", "List them.")
        return known[model_id]

    return lambda model_id: SwappablePredictor(load(model_id), load)


async def test_another_model_decides_from_the_next_bar_on(trading: Desk, model: ScriptedModel) -> None:
    other = NamedModel("other", {2: -1.0})
    trading.load_predictor = changeable(model, other)
    executor, task = await running(trading)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(trading.said(SignalEmitted)) == 1)
    trading.venue.candles.append(bar(1))
    await executor.change_model("s1", "other")
    assert trading.said(StrategyStatus)[-1].model_id == "other"
    assert trading.said(StrategyStatus)[-1].state is StrategyState.RUNNING
    await until(lambda: trading.said(ForecastMade)[-1].forecast.model_id == "other")  # at once, for the eye
    assert trading.said(ForecastMade)[-1].forecast.bar_open_ns == T0 + MINUTE
    trading.venue.push_candle(bar(2))
    await until(lambda: len(trading.said(SignalEmitted)) == 2)
    first, second = (event.signal for event in trading.said(SignalEmitted))
    assert (first.model_id, first.target_weight) == ("model", 1.0)
    assert (second.model_id, second.target_weight) == ("other", 0.0)
    assert other.seen[-2:] == [T0 + MINUTE, T0 + 2 * MINUTE]  # none missed, none twice
    await executor.stop()
    await task
    again = await trading.start()
    assert [spec.model_id for spec in again.strategies] == ["other"]


async def test_a_model_that_takes_over_while_a_gap_is_repaired_gets_all_it_needs(
    trading: Desk, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = NamedModel("other", {3: 1.0})
    other.warm_up_bars = 40
    trading.load_predictor = changeable(model, other)
    trading.venue.candles = [bar(i) for i in range(-60, 1)]
    executor, _ = await running(trading)
    plain, asked, go_on = trading.venue.fetch_candles, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **options: Any) -> Any:
        if not asked.is_set():
            asked.set()
            await go_on.wait()
        return await plain(*args, **options)

    monkeypatch.setattr(trading.venue, "fetch_candles", slow)
    trading.venue.candles += [bar(1), bar(2), bar(3)]
    trading.venue.clock.set(T0 + 4 * MINUTE)
    trading.venue.push_candle(bar(3))  # bars 1 and 2 never came by stream
    await asked.wait()
    await executor.change_model("s1", "other")
    go_on.set()
    await until(lambda: bool(trading.said(SignalEmitted)))
    assert trading.said(SignalEmitted)[0].signal.model_id == "other"
    assert len(other.seen) >= 40
    assert states(trading)[-1] is StrategyState.RUNNING


async def test_a_model_that_a_gap_has_cooled_says_that_it_warms_up(trading: Desk, model: ScriptedModel) -> None:
    await running(trading)
    trading.venue.candles = [bar(2)]  # the venue has no more of what was missed
    trading.venue.clock.set(T0 + 4 * MINUTE)
    trading.venue.push_candle(bar(3))
    await until(lambda: states(trading)[-1] is StrategyState.WARMING_UP)
    assert trading.said(StrategyStatus)[-1].detail == "the model needs 5 closed bars without a gap"
    for index in range(4, 8):
        trading.venue.push_candle(bar(index))
    trading.venue.candles = [bar(index) for index in range(2, 8)]
    trading.venue.push_candle(bar(9))
    await until(lambda: states(trading)[-1] is StrategyState.RUNNING)
    assert trading.said(StrategyStatus)[-1].detail == ""


async def test_a_stopped_strategy_gets_another_model_too(trading: Desk, model: ScriptedModel) -> None:
    trading.load_predictor = changeable(model, NamedModel("other", {}))
    executor = await trading.start()
    await executor.add_strategy(SPEC)
    await executor.change_model("s1", "other")
    assert [spec.model_id for spec in executor.strategies] == ["other"]
    assert trading.said(StrategyStatus)[-1].state is StrategyState.STOPPED


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("none", "no model 'none'"), ("ether", "trained on ETH/USDT"), ("young", "needs 99 closed bars")],
)
async def test_a_model_that_does_not_fit_leaves_the_former_one_at_work(
    trading: Desk, model: ScriptedModel, wanted: str, message: str
) -> None:
    young = NamedModel("young", {})
    young.warm_up_bars = 99
    trading.load_predictor = changeable(model, NamedModel("ether", {}, "ETH/USDT"), young)
    executor, _ = await running(trading)
    with pytest.raises(UserError, match=message):
        await executor.change_model("s1", wanted)
    with pytest.raises(UserError, match="no strategy named s2"):
        await executor.change_model("s2", "model")
    trading.venue.push_candle(bar(1))
    await until(lambda: len(trading.said(SignalEmitted)) == 1)
    assert trading.said(SignalEmitted)[0].signal.model_id == "model"
    assert [spec.model_id for spec in executor.strategies] == ["model"]


async def test_a_strategy_stopped_while_the_new_model_warms_up_keeps_its_own(
    trading: Desk, model: ScriptedModel
) -> None:
    other = NamedModel("other", {})
    trading.load_predictor = changeable(model, other)
    executor, _ = await running(trading)
    begun, go_on = threading.Event(), threading.Event()
    plain = other.warm_up

    def slow(candles: Sequence[Candle]) -> Forecast | None:
        begun.set()
        assert go_on.wait(10)
        return plain(candles)

    other.warm_up = slow  # type: ignore[method-assign]
    change = asyncio.create_task(executor.change_model("s1", "other"))
    await until(begun.is_set)
    await executor.stop_strategy("s1")
    go_on.set()
    with pytest.raises(UserError, match="stopped or removed meanwhile"):
        await change
    assert [spec.model_id for spec in executor.strategies] == ["model"]


async def test_a_model_that_breaks_before_it_takes_over_is_not_taken(trading: Desk, model: ScriptedModel) -> None:
    other = NamedModel("other", {})
    loaded = changeable(model, other)("model")
    prepare = loaded.prepare

    def and_break(model_id: str, history: Sequence[Candle]) -> None:
        prepare(model_id, history)
        loaded._standby = None

    loaded.prepare = and_break  # type: ignore[method-assign]
    trading.load_predictor = lambda model_id: loaded if model_id == "model" else changeable(other)("other")
    executor, _ = await running(trading)
    with pytest.raises(UserError, match="could not keep up"):
        await executor.change_model("s1", "other")
    assert [spec.model_id for spec in executor.strategies] == ["model"]


async def test_two_changes_at_once_come_one_after_the_other(trading: Desk, model: ScriptedModel) -> None:
    first, second = NamedModel("first", {}), NamedModel("second", {})
    trading.load_predictor = changeable(model, first, second)
    executor, _ = await running(trading)
    await asyncio.gather(executor.change_model("s1", "first"), executor.change_model("s1", "second"))
    assert [spec.model_id for spec in executor.strategies] == ["second"]
    trading.venue.push_candle(bar(1))
    await until(lambda: len(trading.said(SignalEmitted)) == 1)
    assert trading.said(SignalEmitted)[0].signal.model_id == "second"


async def test_a_refused_change_leaves_nothing_standing_by(
    trading: Desk, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = NamedModel("other", {})
    trading.load_predictor = changeable(model, other)
    executor, _ = await running(trading)
    monkeypatch.setattr(executor._journal, "save_strategy", _cannot_write)
    with pytest.raises(UserError, match="cannot be written"):
        await executor.change_model("s1", "other")
    monkeypatch.undo()
    fed = len(other.seen)
    trading.venue.push_candle(bar(1))
    await until(lambda: len(trading.said(SignalEmitted)) == 1)
    assert trading.said(SignalEmitted)[0].signal.model_id == "model"
    assert len(other.seen) == fed
    assert [spec.model_id for spec in executor.strategies] == ["model"]


def _cannot_write(record: object) -> None:
    raise UserError("The journal cannot be written.", "Free some space.")
