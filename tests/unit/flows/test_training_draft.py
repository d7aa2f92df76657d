"""Texts of the training wizard's entries: numbers and instants read back exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.flows.training_draft import TrainingDraft, end_of, end_text, split_spec, start_of, start_text
from app.flows.typed_numbers import parse_bars, percent_text, plain_text, share_of
from ml.api import SplitSpec


def test_lists_of_bars() -> None:
    assert parse_bars("1, 2,4", 2_000) == (1, 2, 4)
    assert parse_bars("", 2_000) is None
    assert parse_bars("0, 1", 2_000) is None
    assert parse_bars("1, 3000", 2_000) is None
    assert parse_bars("1, 2, 3", 2_000, most=2) is None
    assert parse_bars("٣", 2_000) is None


def test_shares_that_cannot_be_read_do_not_matter_where_dates_divide() -> None:
    dates = {"by_date": True, "valid_from": "2024-01-01", "test_from": "2024-06-01"}
    usual = SplitSpec(valid_from="2024-01-01", test_from="2024-06-01")
    for wrong in ({"train_percent": "7o"}, {"valid_percent": "99"}, {"train_percent": ""}):
        assert split_spec(TrainingDraft(**dates, **wrong)) == usual
    assert split_spec(TrainingDraft(**dates, train_percent="62.5")).train_fraction == 0.625


@given(st.floats(1e-9, 1e3))
def test_texts_of_numbers_read_back_as_the_same_number(value: float) -> None:
    assert float(plain_text(value)) == value
    share = min(value, 0.99)
    assert share_of(percent_text(share)) == share or len(percent_text(share)) > 40


@given(st.integers(0, 4 * 10**9), st.booleans())
def test_ends_of_ranges_read_back_as_the_same_instant(seconds: int, midnight: bool) -> None:
    time_ns = (seconds // 86_400 * 86_400 if midnight else seconds) * 10**9
    assert start_of(start_text(time_ns)) == time_ns
    assert end_of(end_text(time_ns)) == time_ns
    assert ("T" in start_text(time_ns)) == (seconds % 86_400 != 0 and not midnight)
