"""Reading balances: never less often than they change, never more often than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from core.domain.positions import Balance
from core.execution.api.gateway import RetryableError
from core.execution.book_keeper import BookKeeper
from tests.unit.execution.conftest import Desk


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
