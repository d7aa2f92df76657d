"""The program's half of the dead-man switch: with children that behave well, badly, or are not there."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.clock import ManualClock, SystemClock
from core.config import DataPaths
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side, TradingMode
from core.events import BooksTold, ExecutorEvent, Notice, Severity
from core.execution import sentinel_process
from core.execution.api.gateway import NoAnswer
from core.execution.foreign_kill import ForeignJournal
from core.execution.process_lock import runtime_folder
from core.execution.sentinel import Claim, Outcome, SentinelRules
from core.execution.sentinel_process import (
    PRACTICE_PATIENCE_S,
    SentinelAccount,
    SentinelKeeper,
    SentinelProcess,
    describe,
)

# A child that writes what it hears into the file named by its argument, and answers like the real one.
LISTENS = """
import json, sys
with open(sys.argv[1], "a") as heard:
    print(json.dumps({"kind": "ready"}), flush=True)
    for line in sys.stdin:
        heard.write(line)
        heard.flush()
        kind = json.loads(line)["kind"]
        if kind == "bye":
            break
        if kind == "beat":
            print(json.dumps({"kind": "seen"}), flush=True)
    else:
        heard.write(json.dumps({"kind": "end of file"}) + "\\n")
"""
DEAF = "import time; time.sleep(60)"
COMPLAINS = "import sys; sys.exit('no such venue.')"
QUICK = SentinelRules(silence_s=3.0, beat_s=0.02)


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


@dataclass
class Watched:
    """An executor as the switch sees it."""

    working_orders: list[Order] = field(default_factory=list)
    reconciled: int = 0
    fails: Exception | None = None
    hangs: bool = False

    async def reconcile_now(self) -> None:
        self.reconciled += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails


class Stage:
    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir()
        runtime_folder().mkdir(parents=True, exist_ok=True)
        self.paths = DataPaths(folder / "data")
        self.heard_file = folder / "heard"
        self.notices: list[Notice] = []
        self.executor = Watched()

    def keeper(self, command: list[str] | None = None, rules: SentinelRules | None = QUICK) -> SentinelKeeper:
        account = SentinelAccount(TradingMode.PRACTICE, "binance", {"rest": "r"}, "f" * 16, "key", "secret")
        keeper = SentinelKeeper(
            self.paths,
            account,
            self.take,
            ManualClock(99),
            rules,
            command or python(LISTENS, str(self.heard_file)),
        )
        keeper.guard(self.executor)
        return keeper

    def take(self, event: ExecutorEvent) -> None:
        assert isinstance(event, Notice)
        self.notices.append(event)

    def heard(self) -> list[dict[str, Any]]:
        if not self.heard_file.exists():
            return []
        return [json.loads(line) for line in self.heard_file.read_text().splitlines()]

    def claim(self) -> str:
        return Claim(runtime_folder(), "f" * 16).read()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - facts of another process
            await asyncio.sleep(0.01)


def order(name: str, side: Side, kind: OrderType, *, reduce_only: bool = False) -> Order:
    price = Decimal(10)
    wish = Intent(
        name, IntentSource.MANUAL, "manual", "BTC/USDT", side, Decimal(1), kind, price, price, reduce_only=reduce_only
    )
    return Order(name, wish, OrderState.ACCEPTED)


_times = itertools.count(1)


def end(outcome: Outcome, *cancelled: str, error: str = "") -> dict[str, Any]:
    return {"time_ns": next(_times), "outcome": outcome.value, "cancelled": list(cancelled), "error": error}


async def test_it_begins_with_the_books_beats_and_says_goodbye(stage: Stage) -> None:
    stage.executor.working_orders = [
        order("limit", Side.BUY, OrderType.LIMIT),
        order("stop", Side.SELL, OrderType.STOP_LOSS_LIMIT),
        order("exit", Side.SELL, OrderType.LIMIT, reduce_only=True),
    ]
    keeper = stage.keeper()
    assert keeper.pid is None
    keeper.follow(Notice(Severity.INFO, "anything else"))
    keeper.follow(BooksTold())
    keeper.follow(BooksTold())  # told anew: still one
    await until(lambda: len(stage.heard()) > 3 and keeper.is_running)
    pid = keeper.pid
    assert pid is not None
    await keeper.close()
    await keeper.close()
    assert not psutil.pid_exists(pid)
    first, *beats, last = stage.heard()
    assert (first["kind"], first["api_secret"], first["mode"]) == ("start", "secret", "practice")
    assert first["rules"]["patience_s"] == PRACTICE_PATIENCE_S
    assert {tuple(beat["protective"]) for beat in beats} == {("stop", "exit")}
    assert last == {"kind": "bye"}
    assert stage.notices == []


async def test_the_orders_are_claimed_once_the_switch_listens_or_the_program_ends(stage: Stage) -> None:
    Claim(runtime_folder(), "f" * 16).write("before")
    keeper = stage.keeper(python(DEAF))
    keeper.follow(BooksTold())
    await until(lambda: keeper.pid is not None)
    await asyncio.sleep(0.1)
    assert stage.claim() == "before", "nobody guards them yet; the older switch must not leave"
    keeper.hand_over()
    assert stage.claim() not in ("", "before")
    await keeper.close()
    other = stage.keeper()
    other.follow(BooksTold())
    mine = stage.claim()
    await until(lambda: other.is_running and stage.claim() != mine)
    assert stage.heard()[0]["claim_before"] == mine
    assert stage.heard()[0]["claim"] == stage.claim()
    await other.close()


async def test_a_start_that_failed_claims_nothing(stage: Stage) -> None:
    keeper = stage.keeper()
    keeper.hand_over()
    await keeper.close()
    assert stage.claim() == ""
    assert stage.heard() == []


async def test_without_a_switch_the_orders_are_claimed_all_the_same(stage: Stage) -> None:
    keeper = stage.keeper(rules=None)
    keeper.follow(BooksTold())
    await until(lambda: stage.claim() != "")
    assert keeper.pid is None
    await keeper.close()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/nowhere/at/all"], "It cannot be started: No such file or directory."),
        (python(COMPLAINS), "It ended: no such venue."),
        (python("pass"), "It ended."),
        (python(DEAF), "It does not answer."),
    ],
)
async def test_a_switch_that_does_not_run_is_told_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, command: list[str], why: str
) -> None:
    monkeypatch.setattr(sentinel_process, "RESTART_S", 0.02)
    keeper = stage.keeper(command)
    keeper.follow(BooksTold())
    await until(lambda: bool(stage.notices))
    first = keeper.pid
    await until(lambda: keeper.pid != first or first is None)
    (notice,) = stage.notices
    assert (notice.severity, notice.title) == (Severity.WARNING, "The dead-man switch does not run")
    assert notice.text == f"{why} Until it runs again, orders stay at the exchange when this program ends unexpectedly."
    await keeper.close()


async def test_a_switch_that_died_is_replaced_and_that_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel_process, "RESTART_S", 0.02)
    keeper = stage.keeper()
    keeper.follow(BooksTold())
    await until(lambda: keeper.is_running)
    assert keeper.pid is not None
    psutil.Process(keeper.pid).kill()
    await until(lambda: len(stage.notices) == 2)
    assert [notice.title for notice in stage.notices] == [
        "The dead-man switch does not run",
        "The dead-man switch runs again",
    ]
    await keeper.close()
    assert [message["kind"] for message in stage.heard()].count("start") == 2


async def test_a_switch_that_reads_nothing_never_holds_up_the_loop(stage: Stage) -> None:
    many = [order(f"{n:0100d}", Side.SELL, OrderType.STOP_LOSS_LIMIT) for n in range(3_000)]  # more than a pipe takes
    stage.executor.working_orders = many
    keeper = stage.keeper(python(DEAF))
    keeper.follow(BooksTold())
    slowest = 0.0
    async with asyncio.timeout(30):
        while not stage.notices:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1.0
    assert "does not answer" in stage.notices[0].text
    await keeper.close()


async def test_a_loop_that_stands_still_does_not_beat(stage: Stage) -> None:
    keeper = stage.keeper()
    keeper.follow(BooksTold())
    await until(lambda: keeper.is_running and len(stage.heard()) > 3)
    time.sleep(0.1)  # noqa: ASYNC251 - that is the point
    before = len(stage.heard())
    time.sleep(0.5)  # noqa: ASYNC251
    assert len(stage.heard()) == before
    await until(lambda: len(stage.heard()) > before)
    await keeper.close()


async def test_a_task_that_is_cancelled_says_goodbye(stage: Stage) -> None:
    keeper = stage.keeper()
    keeper.follow(BooksTold())
    await until(lambda: keeper.is_running)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "sentinel"]  # the comparison is over
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: stage.heard()[-1] == {"kind": "bye"})
    await keeper.close()


async def test_a_close_in_the_middle_of_the_start_leaves_no_child(stage: Stage) -> None:
    before = {child.pid for child in psutil.Process().children()}
    for pause in (0.0, 0.001, 0.005, 0.01, 0.03):
        keeper = stage.keeper()
        keeper.follow(BooksTold())
        await asyncio.sleep(pause)
        await keeper.close()
    assert {child.pid for child in psutil.Process().children()} <= before
    assert "end of file" not in [message["kind"] for message in stage.heard()]


def test_a_process_that_is_dropped_before_it_starts_never_starts(tmp_path: Path) -> None:
    process = SentinelProcess(python(LISTENS, str(tmp_path / "heard")))
    process.dismiss()
    process.start({"kind": "start"})
    assert (process.pid, process.wait(10)) == (None, None)


async def test_what_a_switch_did_is_told_and_the_books_are_compared(stage: Stage) -> None:
    keeper = stage.keeper()
    keeper.follow(BooksTold())
    await until(lambda: keeper.is_running and stage.executor.reconciled == 1)
    file = ForeignJournal(stage.paths.root / "sentinel-journal-99.jsonl")
    file.append("begin", {})
    await asyncio.sleep(0.1)
    assert stage.notices == []
    file.append("end", end(Outcome.CONFIRMED, "a", "b"))
    await until(lambda: stage.executor.reconciled == 2)
    file.append("end", end(Outcome.CAME_BACK, "c"))
    await until(lambda: stage.executor.reconciled == 3)
    await asyncio.sleep(0.1)
    assert [notice.title for notice in stage.notices] == ["The dead-man switch acted"] * 2
    assert "Orders cancelled: 2." in stage.notices[0].text
    await keeper.close()


@pytest.mark.parametrize("trouble", [None, NoAnswer("no connection"), ZeroDivisionError("a bug")])
async def test_a_comparison_that_hangs_or_fails_does_not_keep_it_from_beating(
    stage: Stage, trouble: Exception | None
) -> None:
    keeper = stage.keeper()
    keeper.follow(BooksTold())
    await until(lambda: keeper.is_running and stage.executor.reconciled == 1)
    stage.executor.fails, stage.executor.hangs = trouble, trouble is None
    ForeignJournal(stage.paths.root / "sentinel-journal-99.jsonl").append("end", end(Outcome.CONFIRMED, "a"))
    await until(lambda: stage.executor.reconciled == 2)
    before = len(stage.heard())
    await until(lambda: len(stage.heard()) > before + 5)
    assert [notice.title for notice in stage.notices] == ["The dead-man switch acted"]
    await keeper.close()


async def test_who_has_not_compared_the_books_claims_nothing(stage: Stage) -> None:
    stage.executor.hangs = True
    keeper = stage.keeper()
    keeper.follow(BooksTold())
    await until(lambda: keeper.is_running and len(stage.heard()) > 3)
    await keeper.close()
    assert stage.claim() == "", "its start may have failed: the older switch must not leave"


async def test_the_books_are_compared_until_that_succeeds(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel_process, "RETRY_S", 0.01)
    stage.executor.fails = NoAnswer("no connection")
    keeper = stage.keeper(rules=None)
    keeper.follow(BooksTold())
    await until(lambda: stage.executor.reconciled > 3)
    assert stage.claim() == ""
    stage.executor.fails = None
    await until(lambda: stage.claim() != "")
    await keeper.close()


async def test_what_happened_before_the_start_is_told_although_the_start_merges_it(stage: Stage) -> None:
    file = ForeignJournal(stage.paths.root / "sentinel-journal-1.jsonl")
    file.append("end", end(Outcome.CONFIRMED, "a"))
    keeper = stage.keeper()
    file.path.rename(file.path.with_suffix(".merged"))
    file.append("end", end(Outcome.TAKEN_OVER, "b"))  # it was still at work, and began its file anew
    keeper.follow(BooksTold())
    await until(lambda: len(stage.notices) == 2)
    assert ["Orders cancelled: 1." in stage.notices[0].text, "took over: 1." in stage.notices[1].text] == [True, True]
    await keeper.close()


@pytest.mark.parametrize(
    ("line", "severity", "part"),
    [
        (end(Outcome.CONFIRMED, "a"), Severity.WARNING, "Orders cancelled: 1."),
        (end(Outcome.CONFIRMED), Severity.INFO, "Orders cancelled: 0."),
        (end(Outcome.CAME_BACK, "a"), Severity.WARNING, "until it was back: 1."),
        (end(Outcome.TAKEN_OVER, "a", "b"), Severity.WARNING, "took over: 2."),
        (end(Outcome.INCOMPLETE), Severity.ERROR, "cancel them by hand"),
        (end(Outcome.GAVE_UP, error="no connection"), Severity.WARNING, "did not answer (no connection)."),
        (end(Outcome.REFUSED, error="bad key."), Severity.ERROR, "refused the key (bad key)."),
        (end(Outcome.FAILED, error="KeyError('x')"), Severity.ERROR, "the switch failed (KeyError('x'))."),
    ],
)
def test_what_is_told(line: dict[str, Any], severity: Severity, part: str) -> None:
    notice = describe(line)
    assert notice is not None
    assert notice.severity is severity
    assert part in notice.text


@pytest.mark.parametrize("outcome", [Outcome.CAME_BACK, Outcome.TAKEN_OVER])
def test_what_came_to_nothing_is_not_told(outcome: Outcome) -> None:
    assert describe(end(outcome)) is None


async def test_a_real_child_says_why_it_cannot_serve(stage: Stage) -> None:
    account = SentinelAccount(TradingMode.LIVE, "nowhere", {}, "f" * 16, "key", "secret")
    keeper = SentinelKeeper(stage.paths, account, stage.take, SystemClock(), SentinelRules(beat_s=0.2))
    keeper.guard(stage.executor)
    keeper.follow(BooksTold())
    await until(lambda: bool(stage.notices))
    assert stage.notices[0].text.startswith("It ended: no venue is known by the name nowhere.")
    await keeper.close()


def test_a_real_child_starts_and_obeys_a_goodbye(tmp_path: Path) -> None:
    account = SentinelAccount(TradingMode.LIVE, "binance", {}, "f" * 16, "key", "secret")
    keeper = SentinelKeeper(DataPaths(tmp_path), account, lambda event: None, SystemClock(), QUICK)
    process = SentinelProcess(sentinel_process.sentinel_command())
    process.start(keeper.start_message(QUICK))
    deadline = time.monotonic() + 20
    while not process.is_ready:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.beat([])
    while process.unanswered:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.dismiss()
    assert process.wait(10) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_of_a_frozen_application_is_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert sentinel_process.sentinel_command() == [sys.executable, "sentinel"]
    assert subprocess.list2cmdline(sentinel_process.sentinel_command())
