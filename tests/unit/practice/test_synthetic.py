"""The synthetic market: deterministic, continuous, and every bar the exact sum of its trades."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.practice.bars import (
    CLOSE,
    COUNT,
    DAY_MS,
    HIGH,
    HOUR_MS,
    INTERVALS,
    LOW,
    MINUTE_MS,
    OPEN,
    TIME,
    VOLUME,
    WEEK_MS,
    aggregate,
    bar_of_trades,
    floor_open,
)
from core.practice.market_source import MarketSource
from core.practice.synthetic import GENESIS_MS, SyntheticMarket

MARKET = SyntheticMarket(3)
SYMBOLS = sorted(MARKET.specs)
YEARS_OF_MINUTES = 8 * 365 * 1440


def conforms(source: MarketSource) -> MarketSource:
    return source


def test_it_is_a_market_source_with_the_promised_markets() -> None:
    assert set(conforms(MARKET).specs) >= {"BTCUSDT", "ETHUSDT", "SOLUSDT"}


@settings(max_examples=40, deadline=None)
@given(symbol=st.sampled_from(SYMBOLS), minute=st.integers(0, YEARS_OF_MINUTES))
def test_trades_of_any_minute_add_up_to_its_bar(symbol: str, minute: int) -> None:
    open_ms = GENESIS_MS + minute * MINUTE_MS
    (bar,) = MARKET.klines(symbol, MINUTE_MS, open_ms, open_ms + MINUTE_MS)
    trades = MARKET.trades(symbol, open_ms)
    assert np.array_equal(bar_of_trades(open_ms, trades.price, trades.quantity, trades.buyer_maker), bar)
    assert (trades.quantity > 0).all()
    assert (np.diff(trades.time_ms) >= 0).all()
    assert trades.time_ms[0] == open_ms
    assert trades.time_ms[-1] == open_ms + MINUTE_MS - 1


@settings(max_examples=12, deadline=None)
@given(
    symbol=st.sampled_from(SYMBOLS),
    interval=st.sampled_from(sorted(INTERVALS.values())),
    minute=st.integers(WEEK_MS // MINUTE_MS, YEARS_OF_MINUTES),
)
def test_bars_of_any_interval_are_sums_of_minutes(symbol: str, interval: int, minute: int) -> None:
    open_ms = floor_open(GENESIS_MS + minute * MINUTE_MS, interval)
    (bar,) = MARKET.klines(symbol, interval, open_ms, open_ms + 1)
    minutes = MARKET.klines(symbol, MINUTE_MS, open_ms, open_ms + interval)
    assert len(minutes) == interval // MINUTE_MS
    assert np.array_equal(aggregate(minutes, interval)[0], bar)


def test_the_same_seed_gives_the_same_market_however_it_is_asked() -> None:
    start = GENESIS_MS + 2_000 * DAY_MS
    asked_late = SyntheticMarket(3)
    asked_late.klines("ETHUSDT", DAY_MS, start - 900 * DAY_MS, start + 10 * DAY_MS)
    expected = MARKET.klines("ETHUSDT", HOUR_MS, start, start + 3 * DAY_MS)
    assert np.array_equal(asked_late.klines("ETHUSDT", HOUR_MS, start, start + 3 * DAY_MS), expected)
    fresh = SyntheticMarket(3).trades("ETHUSDT", start + 77 * MINUTE_MS)
    assert np.array_equal(fresh.price, MARKET.trades("ETHUSDT", start + 77 * MINUTE_MS).price)
    other = SyntheticMarket(4).klines("ETHUSDT", HOUR_MS, start, start + 3 * DAY_MS)
    assert not np.array_equal(other, expected)


def test_prices_are_continuous_positive_and_plausible() -> None:
    start = GENESIS_MS + 1_500 * DAY_MS
    for symbol, spec in MARKET.specs.items():
        rows = MARKET.klines(symbol, MINUTE_MS, start, start + 3 * DAY_MS)
        assert np.array_equal(rows[1:, OPEN], rows[:-1, CLOSE])
        assert (rows[:, LOW] > 0).all()
        assert (rows[:, HIGH] >= rows[:, [OPEN, CLOSE]].max(axis=1)).all()
        assert (rows[:, LOW] <= rows[:, [OPEN, CLOSE]].min(axis=1)).all()
        assert (rows[:, VOLUME] > 0).all()
        assert (rows[:, COUNT] >= 10).all()
        days = MARKET.klines(symbol, DAY_MS, GENESIS_MS, GENESIS_MS + 300 * DAY_MS)
        moves = np.diff(np.log(days[:, CLOSE].astype(float)))
        assert 0.005 < moves.std() < 0.12
        assert spec.value_scale >= 1


def test_volatility_clusters() -> None:
    days = MARKET.klines("BTCUSDT", DAY_MS, GENESIS_MS, GENESIS_MS + 700 * DAY_MS)
    size = np.log(days[:, HIGH] / days[:, LOW])
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.3


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w"])
def test_span_holds_as_many_bars_as_asked(interval: str) -> None:
    length = INTERVALS[interval]
    now = GENESIS_MS + 1_000 * DAY_MS + 12_345_678
    start, end = MARKET.span("BTCUSDT", length, None, now, 40)
    newest = MARKET.klines("BTCUSDT", length, start, end)
    assert len(newest) == 40
    assert newest[-1, TIME] == floor_open(now - 1, length)
    start, end = MARKET.span("BTCUSDT", length, int(newest[5, TIME]) - 1, now, 10)
    assert np.array_equal(MARKET.klines("BTCUSDT", length, start, end), newest[5:15])


def test_before_the_first_minute_there_is_nothing() -> None:
    assert len(MARKET.trades("BTCUSDT", GENESIS_MS - MINUTE_MS)) == 0
    assert len(MARKET.klines("BTCUSDT", MINUTE_MS, 0, GENESIS_MS)) == 0
    assert MARKET.next_open(0) == GENESIS_MS
