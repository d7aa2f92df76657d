"""What the end of a task means: a bug ends everything, books that cannot be written only where nobody bears it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from core.errors import UserError
from core.execution.loops import Loops, take_all

FULL = UserError("The disk is full.", "Free some space.")


async def fail(error: BaseException) -> None:
    raise error


def loops(bears: Callable[[UserError], bool]) -> tuple[Loops, list[BaseException]]:
    told: list[BaseException] = []
    return Loops(bears, told.append), told


async def test_a_loop_goes_on_while_what_it_cannot_write_is_borne() -> None:
    turns: list[int] = []
    made, told = loops(lambda error: len(turns) < 3)

    async def act() -> None:
        turns.append(1)
        raise FULL

    made.begin(made.every(0.0, act))
    await asyncio.wait_for(made.ended.wait(), 2)
    assert len(turns) == 3
    assert made.failure is FULL
    assert told == [FULL]


@pytest.mark.parametrize(("error", "ends"), [(FULL, False), (KeyError("a bug"), True)])
async def test_a_step_that_cannot_write_is_borne_and_a_bug_is_not(error: Exception, ends: bool) -> None:
    made, told = loops(lambda error: True)
    await asyncio.wait([made.spawn(fail(error))])
    await asyncio.sleep(0)
    assert made.ended.is_set() is ends
    assert told == ([error] if ends else [])


async def test_a_loop_that_ends_with_a_sentence_of_its_own_is_never_borne() -> None:
    """A refused key: without its loop the program would go on without hearing anything."""
    made, _ = loops(lambda error: True)
    made.begin(fail(FULL))
    await asyncio.wait_for(made.ended.wait(), 2)
    assert made.failure is FULL


async def test_the_first_failure_counts_and_closing_is_none() -> None:
    made, told = loops(lambda error: False)
    made.begin(asyncio.sleep(60))
    first, second = KeyError("first"), KeyError("second")
    await asyncio.wait([made.spawn(fail(first)), made.spawn(fail(second))])
    await made.close()
    assert made.failure is first
    assert told == [first]


async def test_every_step_is_taken_and_the_first_error_is_told() -> None:
    taken: list[str] = []

    async def step(name: str, error: UserError | None) -> None:
        taken.append(name)
        if error is not None:
            raise error

    other = UserError("Something else.", "")
    with pytest.raises(UserError) as told:
        await take_all(lambda: step("a", FULL), lambda: step("b", other), lambda: step("c", None))
    assert told.value is FULL
    assert taken == ["a", "b", "c"]
