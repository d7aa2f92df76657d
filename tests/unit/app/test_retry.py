"""Trouble that passes is tried again; a key that is refused is asked with once, then a person decides."""

from __future__ import annotations

import asyncio

import pytest

from app.workers.retry import Retry, needs_person
from core.errors import UserError
from core.execution.api.gateway import FatalGatewayError, RetryableError
from core.execution.api.key_permissions import KeyRefused


def caused(cause: Exception) -> UserError:
    error = UserError("binance cannot be used: no.", "Check the key.")
    error.__cause__ = cause
    return error


REFUSALS = [
    FatalGatewayError("bad key", "-2015"),
    caused(FatalGatewayError("bad key")),
    caused(KeyRefused("withdraws")),
]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refused_key_is_not_asked_with_again_until_a_person_says_so(refusal: Exception) -> None:
    attempts: list[int] = []
    told: list[str] = []

    async def attempt() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise refusal

    retry = Retry((0.0,), waits_for_person=True)
    running = asyncio.create_task(retry.run(attempt, lambda trouble: told.append(str(trouble))))
    for tried in (1, 2):
        await asyncio.sleep(0.05)
        assert len(attempts) == tried, "asked once, whatever time passes"
        assert len(told) == tried, "in vain again is told again"
        retry.now()
    await asyncio.wait_for(running, 5)
    assert len(attempts) == 3


async def test_what_was_told_still_says_that_a_person_is_needed() -> None:
    told: list[bool] = []

    async def attempt() -> None:
        raise FatalGatewayError("bad key")

    running = asyncio.create_task(
        Retry((0.0,), waits_for_person=True).run(attempt, lambda trouble: told.append(needs_person(trouble)))
    )
    await asyncio.sleep(0.02)
    running.cancel()
    assert told == [True]


@pytest.mark.parametrize("passing", [RetryableError("busy"), UserError("offline"), caused(RetryableError("busy"))])
async def test_trouble_that_passes_is_tried_again_by_itself(passing: Exception) -> None:
    attempts: list[int] = []

    async def attempt() -> None:
        attempts.append(1)
        if len(attempts) < 4:
            raise passing

    await asyncio.wait_for(Retry((0.0,), waits_for_person=True).run(attempt, lambda trouble: None), 5)
    assert len(attempts) == 4


async def test_market_data_without_a_key_goes_on_trying() -> None:
    attempts: list[int] = []

    async def attempt() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise FatalGatewayError("HTTP 404")

    await asyncio.wait_for(Retry((0.0,)).run(attempt, lambda trouble: None), 5)
    assert len(attempts) == 3
