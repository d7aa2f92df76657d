"""The circuit breaker's states, and what passes in each."""

from __future__ import annotations

import pytest

from core.execution.api.circuit_breaker import BreakerState, CircuitBreaker
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


def test_a_link_that_is_opened_anew_begins_closed() -> None:
    breaker, told = opened()
    breaker.reset()
    assert (breaker.state, told) == (BreakerState.CLOSED, [True])
