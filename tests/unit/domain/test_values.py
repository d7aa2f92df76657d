"""Candles, orders, fills, books and forecasts: what the values say of themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from core.clock import NS_PER_S
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill, Liquidity
from core.domain.market import BookSnapshot
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side
from core.domain.positions import Balance
from core.domain.signals import Forecast

D = Decimal


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


def test_bars_open_at_multiples_and_weeks_on_monday() -> None:
    assert Timeframe.H4.floor(ns("2026-03-04T07:59:59")) == ns("2026-03-04T04:00:00")
    assert Timeframe.W1.floor(ns("2026-03-04T07:59:59")) == ns("2026-03-02T00:00:00")
    assert Timeframe.W1.floor(ns("2026-03-02T00:00:00")) == ns("2026-03-02T00:00:00")
    assert (Timeframe.M15.seconds, Timeframe.D1.ms) == (900, 86_400_000)
    candle = Candle("BTC/USDT", Timeframe.M1, 0, 1.0, 1.0, 1.0, 1.0, 1.0, True)
    assert candle.close_time_ns == 60 * NS_PER_S


def test_sides_are_opposite() -> None:
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert (Side.BUY.opposite, Side.SELL.opposite) == (Side.SELL, Side.BUY)


def test_what_is_over_is_terminal() -> None:
    over = {state for state in OrderState if state.is_terminal}
    assert {s.value for s in over} == {"denied", "filled", "canceled", "expired", "rejected"}


GOOD = Intent("i", IntentSource.MANUAL, "manual", "BTC/USDT", Side.BUY, D(1), OrderType.MARKET)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"quantity": D(0)}, "quantity must be positive"),
        ({"order_type": OrderType.LIMIT}, "a limit order needs a limit price"),
        ({"order_type": OrderType.STOP_LOSS_LIMIT, "limit_price": D(1)}, "a stop order needs a stop price"),
    ],
)
def test_an_intent_that_is_none_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(GOOD, **wrong)


def test_a_stop_order_with_both_prices_is_one() -> None:
    stop = replace(GOOD, order_type=OrderType.STOP_LOSS_LIMIT, limit_price=D(1), stop_price=D(2))
    assert stop.stop_price == 2


def test_an_over_filled_order_has_nothing_left() -> None:
    assert Order("c", GOOD, filled_quantity=D("0.4")).remaining_quantity == D("0.6")
    assert Order("c", GOOD, filled_quantity=D("1.4")).remaining_quantity == 0


def test_a_fill_is_worth_price_times_quantity() -> None:
    fill = Fill("v", "BTC/USDT", "1", "v", "c", Side.BUY, D("1.1"), D("0.2"), D(0), "USDT", Liquidity.MAKER, 1)
    assert fill.value == D("0.22")


def test_the_mid_price_needs_both_sides() -> None:
    assert BookSnapshot("BTC/USDT", ((99.0, 1.0),), ((101.0, 1.0),), 1).mid == 100.0
    assert BookSnapshot("BTC/USDT", (), ((101.0, 1.0),), 1).mid is None
    assert BookSnapshot("BTC/USDT", ((99.0, 1.0),), (), 1).mid is None


def test_the_median_is_the_middle_quantile() -> None:
    assert Forecast("BTC/USDT", 0, 1, (0.1, 0.5, 0.9), (-1.0, 0.25, 1.0), 0.0, "m", "f").median == 0.25


def test_a_balance_is_free_and_locked() -> None:
    assert Balance("BTC", D("0.1"), D("0.2")).total == D("0.3")
