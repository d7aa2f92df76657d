"""The figures `main.py trade` ends with."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from app.commands.trade import _result
from core.execution.books import BookCheck


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("-6.1011234000000000000000000000000000741", "-6.1011234"),
        ("1234567.123456789", "1234567.12345679"),
        ("-0.000000001", "0"),
        ("250", "250"),
        ("0", "0"),
    ],
)
def test_amounts_are_shown_with_eight_decimals(amount: str, shown: str) -> None:
    value = Decimal(amount)
    analysis = SimpleNamespace(net_pnl=value, fees=value, max_drawdown=value, round_trips=(), hit_rate=None)
    check = BookCheck(orders=0, fills=0, positions={}, orders_match=True, positions_match=True, differences=())
    result = _result("active", check, analysis)
    assert [result[name] for name in ("pnl", "fees", "max_drawdown")] == [shown] * 3
