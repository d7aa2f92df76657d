from __future__ import annotations

from decimal import Decimal

import pytest

from app.flows.amount import AmountError, parse_amount


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        ("0.001", "0.001"),
        (".5", "0.5"),
        ("5.", "5"),
        ("61200", "61200"),
        ("  0.10 ", "0.10"),
        ("\u00a061200\u00a0", "61200"),
        ("000123.4500", "123.4500"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
    ],
)
def test_reads_exactly_what_is_written(text: str, value: str) -> None:
    assert parse_amount(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "   ", "\u00a0"])
def test_nothing_written_is_no_value(text: str) -> None:
    assert parse_amount(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "0,001",
        "1,5",
        "1,234",
        "1.234,5",
        "1,234.5",
        "1e3",
        "1E3",
        "1 234",
        "1\u00a0234",
        "1\u202f234",
        "＋１",
        "１",
        "+1",
        "-1",
        "1.2.3",
        ".",
        "abc",
        "0x10",
        "1_000",
        "NaN",
        "Infinity",
        "٣",
        "1" * 41,
    ],
)
def test_refuses_everything_with_another_reading(text: str) -> None:
    with pytest.raises(AmountError) as caught:
        parse_amount(text)
    assert caught.value.sentence.text() == str(caught.value)
    assert len(str(caught.value)) > 10
