"""Re-arming while nothing trades: only the halt a person has seen, only alone, and never behind the back of a kill."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from core.clock import ManualClock
from core.config import DataPaths
from core.domain.orders import TradingState
from core.errors import UserError
from core.execution.fence import Fence
from core.execution.journal import Journal
from core.execution.process_lock import ExecutorLock
from core.execution.rearm import HaltedAgain, RearmAtRest
from core.execution.records import StrategyRecord, TradingStateRecord
from core.execution.trading_control import describe_halt
from core.strategies.spec import StrategySpec
from tests.unit.execution.conftest import Desk

NOW = 1_700_000_000_000_000_000
SPEC = StrategySpec("s1", "Test", "BTC/USDT", "1m", "model", Decimal(1_000))


@pytest.fixture
def fence(paths: DataPaths) -> Fence:
    return Fence(paths.root / "fence.json")


@pytest.fixture
def action(paths: DataPaths, fence: Fence) -> RearmAtRest:
    return RearmAtRest(paths, fence, ExecutorLock(paths.root / "locks", None, paths.root), ManualClock(NOW))


def test_a_new_folder_is_not_halted(action: RearmAtRest) -> None:
    assert action.look().state is TradingState.ACTIVE


def test_a_halt_by_the_fence_alone_is_rearmed_and_strategies_stay_stopped(
    action: RearmAtRest, fence: Fence, journal: Journal
) -> None:
    journal.save_strategy(StrategyRecord(SPEC, running=True))
    journal.save_strategy(StrategyRecord(replace(SPEC, strategy_id="s2")))
    fence.raise_epoch("kill from the command line", NOW - 5)
    before = fence.read()
    halt = action.look()
    assert halt == TradingStateRecord(TradingState.HALTED, "kill from the command line", 1, NOW - 5)
    assert action.rearm(halt, "re-armed") == ["s1"]
    assert journal.trading_state() == TradingStateRecord(TradingState.ACTIVE, "re-armed", 1, NOW)
    assert journal.commands("trading_state")[0].payload == {"state": "active", "reason": "re-armed", "epoch": 1}
    assert not any(record.running for record in journal.strategies())
    assert fence.read() == before  # only a kill writes it
    assert action.look().state is TradingState.ACTIVE


def test_a_reduction_is_rearmed_as_well(action: RearmAtRest, journal: Journal) -> None:
    journal.set_trading_state(TradingStateRecord(TradingState.REDUCING, "the daily loss limit was reached", 0, NOW - 5))
    seen = action.look()
    assert describe_halt(seen).startswith("Only orders that reduce a position are allowed since 2023-11-14T22:13:19")
    action.rearm(seen, "re-armed")
    assert action.look().state is TradingState.ACTIVE


async def test_the_next_executor_trades_after_a_kill_and_a_rearm(desk: Desk, action: RearmAtRest) -> None:
    first = await desk.start()
    await first.kill()
    await first.stop()
    halt = action.look()
    assert halt == first.trading_record
    action.rearm(halt, "re-armed")
    second = await desk.start()
    assert second.trading_state is TradingState.ACTIVE
    assert second.trading_record.reason == "re-armed"


def test_a_kill_between_look_and_rearm_stays(action: RearmAtRest, fence: Fence, journal: Journal) -> None:
    fence.raise_epoch("first", NOW)
    halt = action.look()
    fence.raise_epoch("second", NOW)
    with pytest.raises(HaltedAgain, match="second") as caught:
        action.rearm(halt, "re-armed")
    assert caught.value.halt.epoch == 2
    assert journal.trading_state() is None
    assert action.look().state is TradingState.HALTED


def test_another_halt_at_the_same_epoch_stays_too(action: RearmAtRest, fence: Fence, journal: Journal) -> None:
    fence.raise_epoch("first", NOW)
    halt = action.look()
    # A program ran meanwhile, was re-armed and killed, and could not write the fence.
    journal.set_trading_state(TradingStateRecord(TradingState.HALTED, "second", 1, NOW + 1))
    with pytest.raises(HaltedAgain, match="second"):
        action.rearm(halt, "re-armed")


def test_a_kill_in_the_very_moment_of_rearming_is_noticed_and_holds(
    action: RearmAtRest, fence: Fence, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence.raise_epoch("first", NOW)
    halt = action.look()
    write = Journal.set_trading_state

    def raced(self: Journal, record: TradingStateRecord) -> None:
        fence.raise_epoch("second", NOW)
        write(self, record)

    monkeypatch.setattr(Journal, "set_trading_state", raced)
    with pytest.raises(HaltedAgain, match="second"):
        action.rearm(halt, "re-armed")
    assert action.look().state is TradingState.HALTED


def test_it_waits_for_nobody_where_an_executor_runs(action: RearmAtRest, paths: DataPaths, fence: Fence) -> None:
    fence.raise_epoch("first", NOW)
    halt = action.look()
    running = ExecutorLock(paths.root / "locks", "key", paths.root)
    running.acquire()
    with pytest.raises(UserError, match="already trading over this data folder") as caught:
        action.rearm(halt, "re-armed")
    assert "Re-arm in its window" in caught.value.remedy
    with pytest.raises(UserError, match="already trading"):
        action.look()
    running.release()
    action.rearm(halt, "re-armed")
    assert running.is_free()


def test_a_halt_is_one_sentence() -> None:
    halt = TradingStateRecord(TradingState.HALTED, "the disk is full.", 1, NOW)
    assert describe_halt(halt) == "Trading is halted since 2023-11-14T22:13:20+00:00: the disk is full."
