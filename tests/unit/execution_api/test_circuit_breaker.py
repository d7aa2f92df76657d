"""The circuit breaker's states, and what passes in each."""

from __future__ import annotations

import asyncio
import threading

import pytest

from core.execution.api.circuit_breaker import BreakerState, CircuitBreaker, VenueBreaker
from core.execution.api.gateway import NoAnswer, RetryableError
from core.execution.error_handler import Operation


def opened() -> tuple[CircuitBreaker, list[bool]]:
    told: list[bool] = []
    breaker = CircuitBreaker(told.append, failures_to_open=3)
    for _ in range(3):
        breaker.failed()
    return breaker, told


def test_only_failures_in_a_row_open_it() -> None:
    told: list[bool] = []
    breaker = CircuitBreaker(told.append, failures_to_open=3)
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert (breaker.state, told) == (BreakerState.CLOSED, [])
    for operation in Operation:
        breaker.admit(operation)


def test_while_open_a_cancel_passes_a_query_fails_at_once_and_an_order_is_surely_not_sent() -> None:
    breaker, told = opened()
    assert (breaker.state, told) == (BreakerState.OPEN, [True])
    breaker.admit(Operation.CANCEL)
    with pytest.raises(NoAnswer):
        breaker.admit(Operation.QUERY)
    with pytest.raises(RetryableError) as caught:
        breaker.admit(Operation.SUBMIT)
    assert type(caught.value) is RetryableError
    breaker.failed()
    assert told == [True]


def test_the_probe_decides_and_nobody_else_passes_while_it_is_on_its_way() -> None:
    breaker, told = opened()
    breaker.admit(Operation.QUERY, is_probe=True)
    assert breaker.state is BreakerState.HALF_OPEN
    with pytest.raises(NoAnswer):
        breaker.admit(Operation.QUERY)
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    breaker.admit(Operation.QUERY, is_probe=True)
    breaker.succeeded()
    assert (breaker.state, told) == (BreakerState.CLOSED, [True, False])
    breaker.failed()  # the count began anew
    assert breaker.state is BreakerState.CLOSED


def test_a_cancel_that_is_answered_closes_it_too() -> None:
    breaker, told = opened()
    breaker.admit(Operation.CANCEL)
    breaker.succeeded()
    assert (breaker.state, told) == (BreakerState.CLOSED, [True, False])


async def test_a_link_that_is_opened_anew_begins_closed() -> None:
    breaker, told = opened()
    breaker.join()
    assert (breaker.state, told) == (BreakerState.CLOSED, [True])


# --- several links to one venue -----------------------------------------------------------------------------------


def two_links() -> tuple[CircuitBreaker, list[bool], CircuitBreaker, list[bool]]:
    venue, told, told_too = VenueBreaker(), list[bool](), list[bool]()
    orders = CircuitBreaker(told.append, venue, failures_to_open=3)
    return orders, told, CircuitBreaker(told_too.append, venue, failures_to_open=3), told_too


async def test_what_one_link_finds_out_holds_for_all_and_any_answer_ends_it() -> None:
    orders, told, market, told_too = two_links()
    orders.join()
    market.join()
    for _ in range(3):
        market.failed()
    with pytest.raises(RetryableError, match="not sent"):
        orders.admit(Operation.SUBMIT)
    await asyncio.sleep(0)
    assert (told, told_too) == ([True], [True])
    orders.admit(Operation.QUERY, is_probe=True)
    orders.succeeded()
    market.admit(Operation.QUERY)
    await asyncio.sleep(0)
    assert (told, told_too) == ([True, False], [True, False])
    market.failed()  # its count began anew as well
    assert market.state is BreakerState.CLOSED


async def test_each_link_counts_for_itself() -> None:
    """Charts that are served say nothing of orders that are not, and failures of two links are not in a row."""
    orders, _, market, _ = two_links()
    for _ in range(2):
        orders.failed()
        market.failed()
        market.succeeded()
    assert orders.state is BreakerState.CLOSED
    orders.failed()
    assert market.state is BreakerState.OPEN


async def test_a_link_that_joins_does_not_close_what_others_found_out_and_one_that_left_is_told_nothing() -> None:
    orders, told, market, told_too = two_links()
    orders.join()
    for _ in range(3):
        orders.failed()
    market.join()
    with pytest.raises(NoAnswer):
        market.admit(Operation.QUERY)
    orders.leave()
    orders.leave()
    market.admit(Operation.QUERY, is_probe=True)
    market.succeeded()
    await asyncio.sleep(0)
    assert (told, told_too) == ([True], [False])
    market.leave()
    for _ in range(3):
        market.failed()
    orders.join()
    assert orders.state is BreakerState.CLOSED  # nobody else is there whose probe could close it


async def test_a_link_of_another_thread_is_told_on_its_own_loop() -> None:
    orders, told, _, _ = two_links()
    orders.join()
    heard_on: list[int] = []
    ready, seen, ended = threading.Event(), threading.Event(), threading.Event()

    async def other_thread() -> None:
        done = asyncio.Event()

        def hear(_: bool) -> None:
            heard_on.append(threading.get_ident())
            seen.set()
            done.set()

        CircuitBreaker(hear, orders._venue).join()  # and it never leaves: its loop ends first
        ready.set()
        await asyncio.wait_for(done.wait(), 5)

    thread = threading.Thread(target=lambda: (asyncio.run(other_thread()), ended.set()))
    thread.start()
    assert await asyncio.to_thread(ready.wait, 5)
    for _ in range(3):
        orders.failed()
    assert await asyncio.to_thread(ended.wait, 5)
    thread.join(5)
    assert seen.is_set()
    assert heard_on == [thread.ident]
    orders.succeeded()  # a loop that has ended harms nobody
    assert told == [True, False]


async def test_news_that_overtake_each_other_leave_every_link_with_what_holds() -> None:
    orders, told, market, told_too = two_links()
    orders.join()
    market.join()
    for _ in range(3):
        market.failed()
    orders.succeeded()  # before its loop could tell it that the breaker had opened
    await asyncio.sleep(0)
    assert (told[-1], told_too[-1]) == (False, False)
