"""Decimal arithmetic: exact where it can be, rounded the said way where it cannot."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.money import (
    ceil_to_step,
    floor_to_step,
    is_multiple,
    nearest_step,
    parse_decimal,
    plain,
    total,
    truncate_to_step,
)

D = Decimal
STEP = D("0.05")
values = st.decimals(min_value=-1_000, max_value=1_000, places=4)


@pytest.mark.parametrize("text", ["", "one", "NaN", "Infinity", "1,5"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_decimal(text)


def test_numbers_are_read_with_every_digit() -> None:
    assert parse_decimal("-0.00000001") == D("-1E-8")
    assert parse_decimal("1e3") == 1_000


def test_steps_round_in_the_direction_they_say() -> None:
    assert (floor_to_step(D("-0.07"), STEP), ceil_to_step(D("-0.07"), STEP)) == (D("-0.10"), D("-0.05"))
    assert (truncate_to_step(D("-0.07"), STEP), truncate_to_step(D("0.07"), STEP)) == (D("-0.05"), D("0.05"))
    assert (nearest_step(D("0.125"), STEP), nearest_step(D("0.075"), STEP)) == (D("0.10"), D("0.10"))


@pytest.mark.parametrize("step", ["0", "-0.1"])
def test_a_step_must_be_positive(step: str) -> None:
    with pytest.raises(ValueError, match="step must be positive"):
        floor_to_step(D(1), D(step))


@given(values)
def test_rounding_stays_within_one_step(value: Decimal) -> None:
    below, above = floor_to_step(value, STEP), ceil_to_step(value, STEP)
    assert below <= value <= above
    assert above - below in (0, STEP)
    assert is_multiple(below, STEP)
    assert is_multiple(above, STEP)
    assert is_multiple(value, STEP) == (below == above)
    assert abs(nearest_step(value, STEP) - value) * 2 <= STEP
    assert abs(truncate_to_step(value, STEP)) <= abs(value)


@given(st.lists(values))
def test_a_total_is_the_exact_sum(amounts: list[Decimal]) -> None:
    assert total(amounts) == sum(amounts, start=D(0))


@pytest.mark.parametrize(
    ("value", "text"), [("1E-5", "0.00001"), ("1.500", "1.5"), ("-0.00", "0"), ("100", "100"), ("0E+3", "0")]
)
def test_numbers_are_written_without_exponent_and_trailing_zeros(value: str, text: str) -> None:
    assert plain(D(value)) == text
