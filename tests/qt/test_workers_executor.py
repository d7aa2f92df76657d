"""The executor beside the window: commands, events, failures, the kill switch while the window stands still."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Slot
from pytestqt.qtbot import QtBot

from app.runtime import raise_fence
from app.workers.executor import ExecutorWorker
from core.config import DataPaths
from core.domain.fills import Fill, Liquidity
from core.domain.orders import OrderDraft, OrderType, Side, TradingMode, TradingState
from core.domain.positions import Ownership
from core.errors import UserError
from core.events import DraftRefused, EventSink, FillBooked, Notice, Severity, TradingStateChanged
from core.execution.api.gateway import FatalGatewayError, RetryableError
from core.execution.assembly import fence_path
from core.execution.fence import Fence
from core.signals.risk_management import RiskSettings
from core.strategies.spec import StrategySpec

LIMIT = 10_000
DRAFT = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal(1))
SPEC = StrategySpec("s", "S", "BTC/USDT", "1m", "m", Decimal(100))


def booked(number: int) -> FillBooked:
    fill = Fill(
        "binance",
        "BTC/USDT",
        str(number),
        "v",
        "c",
        Side.BUY,
        Decimal(1),
        Decimal(1),
        Decimal(0),
        "USDT",
        Liquidity.TAKER,
        number,
    )
    return FillBooked(fill, None)


class Engine:
    """A trading engine that records what it is told."""

    def __init__(self, sink: EventSink, desk: Desk) -> None:
        self.sink = sink
        self.desk = desk
        self.stopped = asyncio.Event()

    async def start(self) -> None:
        if self.desk.refusals:
            raise self.desk.refusals.pop(0)
        self.sink(booked(0))  # the books of the run before
        self.desk.calls.append("start")

    async def run(self, *, resume: bool) -> None:
        self.desk.calls.append("run")
        self.desk.resumes.append(resume)
        self.sink(booked(1))
        if self.desk.run_error is not None:
            raise self.desk.run_error
        await self.stopped.wait()

    async def stop(self) -> None:
        self.stopped.set()

    @property
    def strategies(self) -> tuple[StrategySpec, ...]:
        return (SPEC,)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def command(*args: Any, **named: Any) -> None:
            self.desk.calls.append((name, *args, *named.values()))
            if name in self.desk.errors:
                raise self.desk.errors[name]
            if name == "cancel_all":
                await asyncio.sleep(60)
            if name == "kill":
                self.desk.killed.set()
                await asyncio.to_thread(self.desk.lets_kill_end.wait, 30)
                self.sink(TradingStateChanged(TradingState.HALTED, "stopped with STOP"))

        return command


class Session:
    def __init__(self, executor: Engine) -> None:
        self.executor = executor

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.executor.desk.calls.append("close")


class Desk:
    """What the test sets up and what it finds."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.resumes: list[bool] = []
        self.refusals: list[Exception] = []
        self.errors: dict[str, Exception] = {}
        self.run_error: Exception | None = None
        self.killed = threading.Event()
        self.lets_kill_end = threading.Event()
        self.lets_kill_end.set()
        self.opening: threading.Event | None = None  # holds up every opening until it is set
        self.waits = False

    def choose_mode(self, mode: TradingMode) -> None:
        self.calls.append(("choose_mode", mode))
        if "choose_mode" in self.errors:
            raise self.errors["choose_mode"]

    async def open_account(self, balance: Decimal) -> None:
        self.calls.append(("open_account", balance))
        if "open_account" in self.errors:
            raise self.errors["open_account"]

    async def open(self, sink: EventSink) -> Session:
        while self.opening is not None and not self.opening.is_set():
            self.waits = True
            await asyncio.sleep(0.005)
        return Session(Engine(sink, self))


class Window(QObject):
    def __init__(self, worker: ExecutorWorker) -> None:
        super().__init__()
        self.events: list[Any] = []
        self.fills: list[FillBooked] = []
        self.failures: list[Exception] = []
        self.readies = 0
        worker.events.event_arrived.connect(self.on_event)
        worker.filled.connect(self.on_fill)
        worker.failed.connect(self.on_failure)
        worker.ready.connect(self.on_ready)

    @Slot(object)
    def on_event(self, event: Any) -> None:
        self.events.append(event)

    @Slot(object)
    def on_fill(self, event: FillBooked) -> None:
        self.fills.append(event)

    @Slot(object)
    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)

    @Slot()
    def on_ready(self) -> None:
        self.readies += 1

    def notices(self) -> list[tuple[str, str]]:
        return [(event.title, event.text) for event in self.events if isinstance(event, Notice)]


class Rig:
    def __init__(self) -> None:
        self.desk = Desk()
        self.worker = ExecutorWorker(self.desk.open, retry_s=(0.01,), open_account=self.desk.open_account)
        self.window = Window(self.worker)


@pytest.fixture
def rig(qapp: object) -> Any:
    made = Rig()
    yield made
    assert made.worker.stop(10)
    made.worker.events.drain()


def start(qtbot: QtBot, rig: Rig) -> None:
    rig.worker.start()
    qtbot.waitUntil(lambda: rig.window.readies == 1 and "run" in rig.desk.calls, timeout=LIMIT)


def test_every_command_reaches_the_executor_in_order(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    worker = rig.worker
    worker.place_order(DRAFT)
    worker.cancel_order("c1")
    worker.add_strategy(SPEC)
    worker.start_strategy("s")
    worker.stop_strategy("s")
    worker.remove_strategy("s")
    worker.take_over("BTC/USDT", True)
    worker.hand_back("BTC/USDT", Ownership.BOT, "s")
    worker.kill(True)
    worker.rearm()
    expected = [
        "start",
        "run",
        ("place_order", DRAFT),
        ("cancel_order", "c1"),
        ("add_strategy", SPEC),
        ("start_strategy", "s"),
        ("stop_strategy", "s"),
        ("remove_strategy", "s"),
        ("take_over", "BTC/USDT", True),
        ("hand_back", "BTC/USDT", Ownership.BOT, "s"),
        ("kill", True),
        ("rearm",),
    ]
    qtbot.waitUntil(lambda: rig.desk.calls == expected, timeout=LIMIT)
    assert worker.stop(10)
    assert rig.desk.calls[-1] == "close"
    assert rig.window.notices() == []


def test_new_limits_reach_the_executor_and_are_confirmed_or_refused(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    limits = RiskSettings(max_order_value=Decimal(5))
    rig.worker.change_risk_settings(limits)
    qtbot.waitUntil(lambda: rig.window.notices() == [("The risk limits were changed", "")], timeout=LIMIT)
    assert rig.desk.calls[-1] == ("change_risk_settings", limits)
    rig.desk.errors = {"change_risk_settings": UserError("The disk is full.", "Free some space.")}
    rig.worker.change_risk_settings(limits)
    qtbot.waitUntil(lambda: len(rig.window.notices()) == 2, timeout=LIMIT)
    assert rig.window.notices()[1] == ("The risk limits were not changed", "The disk is full. Free some space.")


def test_fills_of_earlier_runs_are_shown_but_not_announced(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    qtbot.waitUntil(lambda: rig.window.events == [booked(0), booked(1)], timeout=LIMIT)
    qtbot.waitUntil(lambda: rig.window.fills == [booked(1)], timeout=LIMIT)


def test_error_of_a_command_is_told_and_trading_goes_on(
    qtbot: QtBot, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs: list[BaseException] = []
    monkeypatch.setattr("sys.excepthook", lambda _kind, error, _trace: bugs.append(error))
    rig.desk.errors = {"place_order": UserError("This is no order.", "Fill it in."), "rearm": KeyError("bug")}
    start(qtbot, rig)
    rig.worker.place_order(DRAFT)
    rig.worker.rearm()
    rig.worker.cancel_order("c1")
    qtbot.waitUntil(lambda: ("cancel_order", "c1") in rig.desk.calls, timeout=LIMIT)
    qtbot.waitUntil(lambda: len(rig.window.notices()) == 2, timeout=LIMIT)
    assert rig.window.notices() == [
        ("The order was not sent", "This is no order. Fill it in."),
        ("Trading was not re-armed", "'bug'"),
    ]
    assert [e for e in rig.window.events if isinstance(e, DraftRefused)] == [
        DraftRefused(DRAFT, "This is no order. Fill it in.")
    ]
    assert [type(bug) for bug in bugs] == [KeyError]
    assert rig.window.failures == []


def test_order_is_refused_while_there_is_no_connection(qtbot: QtBot, rig: Rig) -> None:
    rig.desk.refusals = [UserError("The venue does not answer.", "")] * 10_000
    rig.worker.start()
    rig.worker.place_order(DRAFT)
    qtbot.waitUntil(lambda: len(rig.window.notices()) >= 2, timeout=LIMIT)
    titles = [title for title, _ in rig.window.notices()]
    assert sorted(titles) == ["The order was not sent", "Trading is not connected"]
    assert [event.draft for event in rig.window.events if isinstance(event, DraftRefused)] == [DRAFT]
    assert "start" not in rig.desk.calls


def test_venue_down_at_start_is_told_once_and_tried_again(qtbot: QtBot, rig: Rig) -> None:
    rig.desk.refusals = [UserError("The venue does not answer.", "Wait.")] * 5 + [RetryableError("maintenance")]
    start(qtbot, rig)
    assert rig.window.notices() == [
        ("Trading is not connected", "The venue does not answer. Wait."),
        ("Trading is not connected", "maintenance"),
    ]
    assert rig.desk.calls.count("close") == 6


def test_kill_pressed_before_the_connection_acts_after_it(qtbot: QtBot, rig: Rig) -> None:
    rig.worker.kill(False)
    start(qtbot, rig)
    qtbot.waitUntil(lambda: ("kill", False) in rig.desk.calls, timeout=LIMIT)
    assert rig.desk.calls[:3] == ["start", ("kill", False), "run"]
    assert rig.window.notices()[0][0] == "Stop trading"


def test_a_stop_at_work_can_be_seen(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    assert not rig.worker.stop_at_work
    rig.desk.lets_kill_end.clear()
    rig.worker.kill(False)
    assert rig.desk.killed.wait(10)
    assert rig.worker.stop_at_work
    rig.desk.lets_kill_end.set()
    qtbot.waitUntil(lambda: not rig.worker.stop_at_work, timeout=LIMIT)


def test_kill_works_while_the_window_stands_still(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    before = len(rig.window.events)
    for number in range(5_000):
        rig.worker.events.push(booked(number))  # and its queue is full
    rig.worker.kill(False)
    assert rig.desk.killed.wait(10)  # the GUI thread waits here: no event loop turns
    assert len(rig.window.events) == before
    qtbot.waitUntil(
        lambda: rig.window.events[-1] == TradingStateChanged(TradingState.HALTED, "stopped with STOP"), timeout=LIMIT
    )
    assert len(rig.window.events) == before + 5_001


def test_bug_in_the_executor_ends_it_and_is_reported(qtbot: QtBot, rig: Rig) -> None:
    rig.desk.run_error = RuntimeError("bug")
    rig.worker.start()
    qtbot.waitUntil(lambda: len(rig.window.failures) == 1, timeout=LIMIT)
    assert str(rig.window.failures[0]) == "bug"
    assert rig.worker.join(5)
    assert rig.desk.calls[-1] == "close"
    rig.worker.place_order(DRAFT)
    rig.worker.kill(False)
    qtbot.waitUntil(lambda: len(rig.window.notices()) == 2, timeout=LIMIT)
    assert [title for title, _ in rig.window.notices()] == ["The order was not sent", "Stop trading"]


def test_trouble_a_person_can_repair_opens_a_new_session(qtbot: QtBot, rig: Rig) -> None:
    rig.desk.run_error = UserError("The disk is full.", "Free some space.")
    rig.worker.start()
    qtbot.waitUntil(lambda: rig.desk.calls.count("close") >= 2, timeout=LIMIT)
    rig.desk.run_error = None
    qtbot.waitUntil(lambda: rig.window.readies >= 3, timeout=LIMIT)
    assert ("Trading is not connected", "The disk is full. Free some space.") in rig.window.notices()


def test_a_new_account_is_opened_between_two_sessions_and_the_strategies_come_along(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.desk.calls.clear()
    rig.worker.new_account(Decimal(500))
    qtbot.waitUntil(lambda: rig.window.readies == 2 and "run" in rig.desk.calls, timeout=LIMIT)
    assert rig.desk.calls == ["close", ("open_account", Decimal(500)), "start", ("add_strategy", SPEC), "run"]
    assert rig.window.notices()[-1][0] == "A new account has begun"
    # What somebody started in this program goes on after a break; what an earlier one left behind does not.
    assert rig.desk.resumes == [False, True]
    assert not rig.window.failures


def test_a_strategy_the_new_account_cannot_take_does_not_keep_it_from_trading(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.desk.calls.clear()
    rig.desk.errors["add_strategy"] = UserError("BTC/USDT is not traded at binance.", "Choose another market.")
    rig.worker.new_account(Decimal(500))
    qtbot.waitUntil(lambda: rig.window.readies == 2 and "run" in rig.desk.calls, timeout=LIMIT)
    told = ("The strategy was not added", "S: BTC/USDT is not traded at binance. Choose another market.")
    assert told in rig.window.notices()


def test_an_account_that_cannot_be_exchanged_trades_on(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.desk.calls.clear()
    rig.desk.errors["open_account"] = UserError("The practice exchange does not answer.", "Start it again.")
    rig.worker.new_account(Decimal(500))
    qtbot.waitUntil(lambda: rig.window.readies == 2 and "run" in rig.desk.calls, timeout=LIMIT)
    assert rig.desk.calls == ["close", ("open_account", Decimal(500)), "start", "run"]
    told = ("The new account was not opened", "The practice exchange does not answer. Start it again.")
    assert told in rig.window.notices()


def test_other_accounts_than_practice_are_not_exchanged(qtbot: QtBot, qapp: object) -> None:
    desk = Desk()
    worker = ExecutorWorker(desk.open)
    window = Window(worker)
    worker.start()
    qtbot.waitUntil(lambda: window.readies == 1 and "run" in desk.calls, timeout=LIMIT)
    worker.new_account(Decimal(1))
    qtbot.waitUntil(lambda: bool(window.notices()), timeout=LIMIT)
    assert window.notices()[0][0] == "The new account was not opened"
    assert worker.stop(10)
    assert desk.calls == ["start", "run", "close"]
    worker.events.drain()


@pytest.fixture
def modes(qapp: object) -> Any:
    """A worker that can trade in several modes."""
    made = Rig()
    made.worker = ExecutorWorker(made.desk.open, retry_s=(0.01,), choose_mode=made.desk.choose_mode)
    made.window = Window(made.worker)
    yield made
    assert made.worker.stop(10)
    made.worker.events.drain()


def test_another_mode_is_another_session_whose_strategies_wait(qtbot: QtBot, modes: Any) -> None:
    chosen: list[TradingMode] = []
    modes.worker.mode_chosen.connect(chosen.append)
    start(qtbot, modes)
    modes.desk.calls.clear()
    modes.worker.switch_mode(TradingMode.PAPER)
    qtbot.waitUntil(lambda: modes.window.readies == 2 and "run" in modes.desk.calls, timeout=LIMIT)
    # The engine of the other account knows the strategy already: it is not registered twice.
    assert modes.desk.calls == ["close", ("choose_mode", TradingMode.PAPER), "start", "run"]
    assert modes.desk.resumes == [False, False]
    qtbot.waitUntil(lambda: chosen == [TradingMode.PAPER], timeout=LIMIT)
    assert modes.window.notices() == []


def test_a_mode_asked_for_without_a_connection_holds_for_the_next_attempt(qtbot: QtBot, modes: Any) -> None:
    modes.desk.refusals = [UserError("No connection.", "") for _ in range(10_000)]
    modes.worker.start()
    qtbot.waitUntil(lambda: modes.desk.calls.count("close") > 2, timeout=LIMIT)
    modes.worker.switch_mode(TradingMode.PAPER)
    qtbot.waitUntil(lambda: ("choose_mode", TradingMode.PAPER) in modes.desk.calls, timeout=LIMIT)
    modes.desk.refusals.clear()
    qtbot.waitUntil(lambda: modes.window.readies == 1, timeout=LIMIT)
    assert modes.desk.calls.count(("choose_mode", TradingMode.PAPER)) == 1


def test_a_mode_asked_for_while_another_is_being_opened_ends_that_one(qtbot: QtBot, modes: Any) -> None:
    modes.desk.opening = threading.Event()
    modes.worker.start()
    qtbot.waitUntil(lambda: modes.desk.waits, timeout=LIMIT)
    modes.worker.switch_mode(TradingMode.PAPER)
    modes.desk.opening.set()
    qtbot.waitUntil(lambda: modes.window.readies == 1 and "run" in modes.desk.calls, timeout=LIMIT)
    assert modes.desk.calls == ["start", "close", ("choose_mode", TradingMode.PAPER), "start", "run"]


def test_a_mode_that_cannot_be_had_leaves_the_present_one(qtbot: QtBot, rig: Rig, modes: Any) -> None:
    for made, text in ((rig, "There is no other mode to trade in."), (modes, "Not here.")):
        made.desk.errors["choose_mode"] = UserError("Not here.", "")
        start(qtbot, made)
        made.worker.switch_mode(TradingMode.LIVE)
        qtbot.waitUntil(lambda made=made: made.window.readies == 2, timeout=LIMIT)
        assert made.window.notices() == [("The mode was not changed", text)]


def test_command_under_way_at_the_end_is_told(qtbot: QtBot, rig: Rig) -> None:
    start(qtbot, rig)
    rig.worker.cancel_all(None)
    qtbot.waitUntil(lambda: ("cancel_all", None) in rig.desk.calls, timeout=LIMIT)
    assert rig.worker.stop(10)
    rig.worker.events.drain()
    assert rig.window.notices()[-1][0] == "Not all orders were cancelled"
    assert Notice(Severity.WARNING, *rig.window.notices()[-1]) in rig.window.events


def test_reconnect_cuts_the_pause_short(qtbot: QtBot, qapp: object) -> None:
    desk = Desk()
    desk.refusals = [UserError("Down.", "")]
    worker = ExecutorWorker(desk.open, retry_s=(60.0,))
    window = Window(worker)
    worker.start()
    qtbot.waitUntil(lambda: len(window.notices()) == 1, timeout=LIMIT)
    worker.reconnect()
    qtbot.waitUntil(lambda: window.readies == 1, timeout=LIMIT)
    assert worker.stop(10)


def test_a_kill_without_a_connection_is_made_durable_at_once(qtbot: QtBot) -> None:
    desk, halts = Desk(), []
    desk.refusals = [UserError("The venue does not answer.", "")] * 10_000
    worker = ExecutorWorker(desk.open, retry_s=(60.0,), halt=lambda: halts.append("halt"))
    window = Window(worker)
    worker.start()
    worker.kill(False)
    qtbot.waitUntil(lambda: ("Stop trading", _LATER) in window.notices(), timeout=LIMIT)
    assert halts == ["halt"]  # before it acts, and whether or not it ever does
    assert worker.stop(10)
    worker.events.drain()


_LATER = "There is no connection to the venue; it acts as soon as there is one."


def test_a_fence_raised_without_an_executor_stops_the_next_one(tmp_path: Path) -> None:
    paths = DataPaths(tmp_path)
    assert raise_fence(paths, "kill switch") == 1
    assert raise_fence(paths, "kill switch") == 2
    state = Fence(fence_path(paths)).read()
    assert state is not None
    assert (state.epoch, state.reason) == (2, "kill switch")


def test_a_refused_key_is_asked_with_once_and_then_waits_for_a_person(qtbot: QtBot, rig: Rig) -> None:
    refused = UserError("binance cannot be used: Invalid API-key.", "Check the keys.")
    refused.__cause__ = FatalGatewayError("Invalid API-key.", "-2015")
    rig.desk.refusals = [refused, refused]
    rig.worker.start()
    qtbot.waitUntil(lambda: len(rig.window.notices()) == 1, timeout=LIMIT)
    qtbot.wait(200)  # twenty of its pauses
    assert rig.desk.calls.count("close") == 1
    title, text = rig.window.notices()[0]
    assert title == "Trading is not connected"
    assert text.startswith("binance cannot be used: Invalid API-key. Check the keys.\n")
    assert "Reconnect" in text
    rig.worker.reconnect()
    qtbot.waitUntil(lambda: len(rig.window.notices()) == 2, timeout=LIMIT)
    rig.worker.reconnect()
    qtbot.waitUntil(lambda: rig.window.readies == 1, timeout=LIMIT)


def test_a_key_revoked_while_trading_ends_the_session_and_waits(qtbot: QtBot, rig: Rig) -> None:
    rig.desk.run_error = FatalGatewayError("Invalid API-key.", "-2015")
    rig.worker.start()
    qtbot.waitUntil(lambda: len(rig.window.notices()) == 1, timeout=LIMIT)
    qtbot.wait(200)
    assert rig.desk.calls == ["start", "run", "close"]
