"""Comparing and reading: never less often than the account changes, never more often than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from core.domain.positions import Balance
from core.events import Notice
from core.execution.api.gateway import BalanceReport, RetryableError
from core.execution.book_keeper import BookKeeper
from core.execution.executor import Executor
from core.execution.executor_options import ExecutorOptions
from tests.unit.execution.conftest import FAST, Desk
from tests.unit.execution.test_unknown_orders import REST, until


class Balances:
    """Answers only when it is allowed to, and counts."""

    def __init__(self, answer: Callable[[], tuple[Balance, ...]]) -> None:
        self.begun = 0
        self.answers = asyncio.Semaphore(0)
        self.failure: Exception | None = None
        self._answer = answer

    async def fetch(self) -> tuple[Balance, ...]:
        self.begun += 1
        held = self._answer()  # as it is when the venue looks
        await self.answers.acquire()
        if self.failure is not None:
            raise self.failure
        return held


class Reader:
    """A keeper over a venue that answers on demand."""

    def __init__(self, keeper: BookKeeper, held: Callable[[], tuple[Balance, ...]]) -> None:
        self.keeper = keeper
        self.balances = Balances(held)

    async def ask(self) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.keeper.refresh_balances())
        await asyncio.sleep(0)
        return task


@pytest.fixture
async def reader(desk: Desk) -> Reader:
    executor = await desk.start()
    made = Reader(executor._keeper, desk.venue._balances)
    desk.venue.fetch_balances = made.balances.fetch  # type: ignore[method-assign]
    return made


async def test_who_asks_while_balances_are_read_shares_the_next_reading(reader: Reader) -> None:
    first = await reader.ask()
    later = [await reader.ask() for _ in range(5)]
    reader.balances.answers.release()
    await first
    assert not any(task.done() for task in later), "what was read began before they asked"
    reader.balances.answers.release()
    await asyncio.gather(*later)
    assert reader.balances.begun == 2


async def test_one_after_another_everybody_gets_a_reading_of_its_own(reader: Reader) -> None:
    for _ in range(3):
        reader.balances.answers.release()
        await reader.keeper.refresh_balances()
    assert reader.balances.begun == 3


async def test_a_reading_that_is_given_up_is_made_by_the_next(reader: Reader) -> None:
    first, second = await reader.ask(), await reader.ask()
    first.cancel()
    await asyncio.sleep(0)
    reader.balances.answers.release()
    await second
    assert first.cancelled()
    assert reader.balances.begun == 2


async def test_a_venue_that_does_not_answer_is_not_asked_by_each_in_turn(reader: Reader) -> None:
    reader.balances.failure = RetryableError("away")
    tasks = [await reader.ask() for _ in range(4)]
    for _ in tasks:
        reader.balances.answers.release()
    await asyncio.gather(*tasks)
    assert reader.balances.begun == 2


# --- how often --------------------------------------------------------------------------------------------------------


def test_the_account_is_looked_at_as_often_as_was_promised() -> None:
    periods = ExecutorOptions()
    assert periods.unknown_s == 2.0, "orders without an answer"
    assert 5.0 <= periods.reconcile_s / 2 <= periods.reconcile_s <= 10.0, "open orders"
    assert 30.0 <= periods.cash_s <= 60.0, "positions and cash"


@pytest.fixture
async def trading(desk: Desk) -> Executor:
    """An order works, the books were compared, and no loop runs."""
    desk.options = ExecutorOptions()
    executor = await desk.start()
    await executor.place_order(REST)
    return executor


async def pauses(keeper: BookKeeper, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long the keeper waits before each of the first comparisons; takes no time."""
    waited: list[float] = []
    pause, compared = asyncio.sleep, 0

    async def sleep(seconds: float) -> None:
        if seconds:
            waited.append(seconds)
        await pause(0)

    compare = keeper.compare_round

    async def compare_round() -> None:
        nonlocal compared
        await compare()
        compared += 1

    keeper.compare_round = compare_round  # type: ignore[method-assign]
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", sleep)
        looking = asyncio.ensure_future(keeper.compare_regularly())
        async with asyncio.timeout(5):
            while len(waited) < 3:
                await pause(0)
        looking.cancel()
    assert compared >= 2, "what is waited for is a comparison"
    return waited[:3]


@pytest.mark.parametrize(("silent_s", "period_s"), [(9.0, 10.0), (10.5, 5.0)])
async def test_a_stream_that_says_nothing_of_working_orders_is_not_relied_on(
    trading: Executor, monkeypatch: pytest.MonkeyPatch, silent_s: float, period_s: float
) -> None:
    trading._keeper._heard = asyncio.get_running_loop().time() - silent_s
    assert await pauses(trading._keeper, monkeypatch) == [period_s] * 3


async def test_a_stream_that_talks_is_left_in_peace(
    trading: Executor, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = trading._keeper
    keeper._heard = asyncio.get_running_loop().time() - 60
    following = asyncio.ensure_future(keeper.follow_account())
    await until(lambda: bool(desk.venue.user_queues))
    desk.venue.push(BalanceReport(desk.venue._balances(), desk.venue.clock.now_ns()))
    await until(desk.venue.user_queues[0].empty)
    assert await pauses(keeper, monkeypatch) == [10.0] * 3
    following.cancel()


async def test_without_orders_at_work_a_silent_stream_has_nothing_to_say(
    trading: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trading.cancel_all()
    trading._keeper._heard = asyncio.get_running_loop().time() - 60
    assert await pauses(trading._keeper, monkeypatch) == [10.0] * 3


async def test_books_in_doubt_are_compared_sooner(trading: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    await trading.cancel_all()
    trading._keeper.in_doubt = True
    assert (await pauses(trading._keeper, monkeypatch))[:2] == [5.0, 10.0]


async def test_a_running_program_looks_at_positions_and_cash_by_itself(desk: Desk) -> None:
    desk.options = replace(FAST, reconcile_s=3_600.0, cash_s=0.02)
    executor = await desk.start()
    running = asyncio.ensure_future(executor.run())
    await asyncio.sleep(0.05)
    desk.venue.clock.advance(1)
    desk.venue.free["USDT"] += Decimal(5)
    await until(lambda: "5 USDT came in that no trade explains." in [notice.text for notice in desk.said(Notice)])
    await executor.stop()
    await running
