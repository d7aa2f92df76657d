"""Market time against wall time, start times, and what happens when the disk is full."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.practice.account_store import AccountStore
from core.practice.bars import DAY_MS, HOUR_MS, MINUTE_MS
from core.practice.exchange import Exchange
from core.practice.player import Timeline, parse_speed
from core.practice.server import PracticeConfig, gate_of, start_time
from core.practice.specs import UNITS, fixed_text
from core.practice.streams import parse_stream
from core.practice.synthetic import SyntheticMarket
from tests.unit.practice.markets import SPEC, START, exchange_over, order, steady

NOW = 1_750_000_000_123


def test_market_time_runs_at_its_speed_and_never_ahead_of_the_wall() -> None:
    line = Timeline(NOW - 10_000, NOW, 6.0)
    assert line.at(NOW + 1_000) == NOW - 4_000
    assert line.at(NOW + 5_000) == NOW + 5_000
    line.set_speed(1.0, NOW - 4_000, NOW + 1_000)
    assert line.at(NOW + 2_000) == NOW - 3_000


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "quick", "1e9"])
def test_odd_speeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="speed"):
        parse_speed(text)


def test_speeds_are_read() -> None:
    assert parse_speed("2.5") == 2.5
    assert parse_speed("max") is None


def test_where_market_time_begins(tmp_path: Path) -> None:
    market = SyntheticMarket(1)
    assert start_time(market, PracticeConfig(tmp_path), None, NOW) == NOW
    fast = start_time(market, PracticeConfig(tmp_path, speed=10.0), None, NOW)
    assert 0 <= NOW - 7 * DAY_MS - fast < MINUTE_MS
    assert start_time(market, PracticeConfig(tmp_path, speed=10.0), NOW - 5, NOW) == NOW - 5
    gated = start_time(market, PracticeConfig(tmp_path, speed=None, gate_ms=HOUR_MS), None, NOW)
    assert gated % HOUR_MS == 0
    with pytest.raises(UserError, match="outside"):
        start_time(market, PracticeConfig(tmp_path, start_ms=NOW + 1), None, NOW)
    with pytest.raises(UserError, match="already traded"):
        start_time(market, PracticeConfig(tmp_path, start_ms=NOW - DAY_MS), NOW - HOUR_MS, NOW)
    half = start_time(steady(4), PracticeConfig(tmp_path), None, NOW)
    assert half == START + 2 * MINUTE_MS


def test_lockstep_bars_are_multiples_of_the_markets_own() -> None:
    assert gate_of("1h", MINUTE_MS) == HOUR_MS
    assert gate_of(None, MINUTE_MS) is None
    for name in ("90m", "1m"):
        with pytest.raises(UserError, match="bar length"):
            gate_of(name, HOUR_MS)


def test_stream_names() -> None:
    stream = parse_stream("btcusdt@kline_1h", ["BTCUSDT"])
    assert (stream.symbol, stream.kind, stream.argument) == ("BTCUSDT", "kline", "1h")
    assert parse_stream("btcusdt@depth20@100ms", ["BTCUSDT"]).argument == "20"
    for name in ("ethusdt@trade", "btcusdt@kline_7m", "btcusdt@kline", "btcusdt@trade_1m", "btcusdt", "!ticker@arr"):
        with pytest.raises(Exception, match="Invalid stream"):
            parse_stream(name, ["BTCUSDT"])


@given(st.integers(-(10**15), 10**15), st.integers(0, 8))
def test_amounts_are_written_exactly(value: int, decimals: int) -> None:
    text = fixed_text(value, decimals)
    assert len(text.split(".")[1]) == 8
    assert int(text.replace(".", "")) == value * 10 ** (8 - decimals)


def test_a_full_disk_is_one_sentence_and_loses_nothing_stored(tmp_path: Path) -> None:
    exchange = exchange_over(steady(), tmp_path)
    first = exchange.place(order(exchange, lots=100), 1).order
    database: sqlite3.Connection = exchange.store._db
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")

    def trade_until_full() -> None:
        for number in range(200):
            exchange.place(order(exchange, lots=100, price=5_000_000), number)

    with pytest.raises(UserError, match="cannot be written"):
        trade_until_full()
    exchange.store.close()
    again = Exchange(steady(), AccountStore(tmp_path / "account.sqlite", {}), START)
    found = again.store.find_order(SPEC.symbol, first.order_id, None)
    assert found is not None
    assert found.status == "FILLED"
    locked = sum(living.locked for living in again.open_orders())
    assert again.ledger.locked("USDT") == locked
    again.store.close()


def test_after_the_end_of_the_data_a_position_can_still_be_closed(tmp_path: Path) -> None:
    exchange = exchange_over(steady(2), tmp_path, btc=1)
    exchange.advance(START + 5 * MINUTE_MS, 1)
    assert exchange.finished
    assert exchange.klines(SPEC.symbol, MINUTE_MS, None, None, 10)[:, 0].tolist() == [START, START + MINUTE_MS]
    sold = exchange.place(order(exchange, "SELL", 10), 2)
    assert sold.order.status == "FILLED"
    bars = exchange.klines(SPEC.symbol, MINUTE_MS, None, None, 10)
    assert bars[-1, [0, 5]].tolist() == [START + 2 * MINUTE_MS, 10]
    prints = exchange.prints_from(SPEC.symbol, START, exchange.market_ms, 100)
    assert prints[-1].trade_id == sold.fills[0].trade_id
    exchange.store.close()


def test_orders_in_a_gap_of_the_data_trade_inside_the_last_bar(tmp_path: Path) -> None:
    market = steady(3)
    del market._cells[START + MINUTE_MS]
    exchange = exchange_over(market, tmp_path)
    exchange.advance(START + MINUTE_MS + 30_000, 1)
    placed = exchange.place(order(exchange, lots=10), 2)
    prints = exchange.prints_from(SPEC.symbol, START, START + MINUTE_MS - 1, 100)
    assert prints[-1].trade_id == placed.fills[0].trade_id
    (bar,) = exchange.klines(SPEC.symbol, MINUTE_MS, None, None, 10)
    assert bar[7] == len(prints) == 3
    exchange.store.close()


def test_an_account_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "account.sqlite").write_bytes(b"something else entirely" * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        AccountStore(tmp_path / "account.sqlite", {"USDT": UNITS})


def test_a_market_that_moved_on_while_down_fills_what_it_passed(tmp_path: Path) -> None:
    exchange = exchange_over(steady(2), tmp_path)
    resting = exchange.place(order(exchange, lots=100, price=5_990_000), 1).order
    exchange.save_clock()
    exchange.store.close()
    fallen = steady(2, price=5_980_000)
    again = Exchange(fallen, AccountStore(tmp_path / "account.sqlite", {}), START + MINUTE_MS)
    again.settle_gap(5)
    found = again.store.find_order(SPEC.symbol, resting.order_id, None)
    assert found is not None
    assert (found.status, found.executed) == ("FILLED", 100)
    again.store.close()
