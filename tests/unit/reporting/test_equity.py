from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from core.domain.fills import Fill, Liquidity
from core.domain.orders import Side
from core.reporting.equity import buy_and_hold_curve, equity_curve

TIMES = np.array([10, 20, 30, 40], np.int64)
CLOSES = np.array([100.0, 110.0, 90.0, 120.0])


def fill(side: Side, price: str, quantity: str, fee: str, currency: str, time_ns: int) -> Fill:
    return Fill(
        "binance",
        "BTC/USDT",
        str(time_ns),
        "1",
        "c1",
        side,
        Decimal(price),
        Decimal(quantity),
        Decimal(fee),
        currency,
        Liquidity.TAKER,
        time_ns,
    )


def test_without_fills_equity_stays_at_the_capital() -> None:
    assert equity_curve(TIMES, CLOSES, [], 1000.0, "BTC", "USDT").tolist() == [1000.0] * 4


def test_a_round_trip_with_fees_in_both_currencies_matches_the_hand_calculation() -> None:
    fills = [
        fill(Side.SELL, "120", "1.998", "0.23976", "USDT", 40),
        fill(Side.BUY, "100", "2", "0.002", "BTC", 10),
    ]
    curve = equity_curve(TIMES, CLOSES, fills, 1000.0, "BTC", "USDT")
    assert curve[0] == pytest.approx(1000 - 200 + 1.998 * 100)
    assert curve[2] == pytest.approx(1000 - 200 + 1.998 * 90)
    assert curve[3] == pytest.approx(1000 - 200 + 1.998 * 120 - 0.23976)


def test_a_fill_after_the_last_close_counts_at_the_last_close() -> None:
    curve = equity_curve(TIMES, CLOSES, [fill(Side.BUY, "120", "1", "0", "USDT", 99)], 1000.0, "BTC", "USDT")
    assert curve[-1] == pytest.approx(1000.0)
    assert curve[0] == 1000.0


def test_a_fee_in_a_third_currency_is_refused_rather_than_ignored() -> None:
    with pytest.raises(ValueError, match="BNB"):
        equity_curve(TIMES, CLOSES, [fill(Side.BUY, "1", "1", "0.1", "BNB", 10)], 1.0, "BTC", "USDT")


def test_buy_and_hold_pays_one_fee_and_follows_the_close() -> None:
    curve = buy_and_hold_curve(np.array([100.0, 1, 1, 1]), CLOSES, 1000.0, 0.001)
    assert curve.tolist() == pytest.approx([999.0, 1098.9, 899.1, 1198.8])
    assert len(buy_and_hold_curve(np.empty(0), np.empty(0), 1000.0, 0.001)) == 0
