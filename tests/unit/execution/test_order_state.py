"""The state machine: every pair of states is decided, and only the listed steps happen."""

from __future__ import annotations

import itertools

import pytest

from core.domain.orders import TERMINAL_STATES, OrderState
from core.execution.order_state import OUTDATED, TRANSITIONS, IllegalTransition, hear, step

S = OrderState


def test_every_state_stands_in_both_tables() -> None:
    assert set(TRANSITIONS) == set(OUTDATED) == set(OrderState)


def test_a_step_is_listed_or_raises() -> None:
    for current, target in itertools.product(OrderState, OrderState):
        if target in TRANSITIONS[current]:
            assert step(current, target) is target
        else:
            with pytest.raises(IllegalTransition, match=f"from {current} to {target}"):
                step(current, target)


def test_a_report_moves_is_outdated_or_raises() -> None:
    for current, reported in itertools.product(OrderState, OrderState):
        if reported in OUTDATED[current]:
            assert hear(current, reported) is current
        elif reported in TRANSITIONS[current]:
            assert hear(current, reported) is reported
        else:
            with pytest.raises(IllegalTransition):
                hear(current, reported)


def test_the_end_is_the_end_but_for_a_late_fill() -> None:
    for state in TERMINAL_STATES:
        assert TRANSITIONS[state] <= {S.FILLED}
    assert S.FILLED in TRANSITIONS[S.CANCELED]


def test_only_a_pending_cancel_hears_what_it_may_also_fall_back_to() -> None:
    both = {state for state in OrderState if TRANSITIONS[state] & OUTDATED[state]}
    assert both == {S.PENDING_CANCEL}


def test_what_was_sent_is_never_denied_later_than_before_its_answer() -> None:
    assert {state for state in OrderState if S.DENIED in TRANSITIONS[state]} == {S.INITIALIZED, S.SUBMITTED}
    assert {state for state in OrderState if S.REJECTED in TRANSITIONS[state]} == {
        S.INITIALIZED,
        S.SUBMITTED,
        S.ACCEPTED,
        S.UNKNOWN,
    }
