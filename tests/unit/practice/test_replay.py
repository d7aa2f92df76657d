"""Replayed markets: files in, the very same bars out, and clear words where a file is unusable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.practice import paths
from core.practice.bars import COUNT, DAY_MS, HOUR_MS, TIME, VOLUME, bar_of_trades
from core.practice.replay import ReplayMarket, read_bars

START = 1_700_000_000_000 // DAY_MS * DAY_MS
ROWS = [
    (START, 100.0, 110.0, 95.0, 105.0, 12.3456),
    (START + HOUR_MS, 105.0, 106.0, 104.0, 104.5, 0.0),
    (START + 3 * HOUR_MS, 104.5, 120.0, 104.5, 119.99, 0.0003),
    (START + 4 * HOUR_MS, 119.99, 121.0, 90.0, 91.0, 50_000.0),
]


def write_csv(folder: Path, rows: list[tuple[float, ...]], name: str = "ETH_USDT-1h.csv") -> Path:
    file = folder / name
    lines = [",".join(map(str, row)) for row in rows]
    file.write_text("\n".join(["date,open,high,low,close,volume", *lines]) + "\n")
    return file


def test_bars_come_back_rounded_to_tick_and_lot(tmp_path: Path) -> None:
    market = ReplayMarket.from_files([write_csv(tmp_path, ROWS)])
    assert market.base_ms == HOUR_MS
    assert (market.first_ms, market.end_ms) == (START, START + 5 * HOUR_MS)
    bars = market.klines("ETHUSDT", HOUR_MS, 0, 2**62)
    assert bars[:, TIME].tolist() == [row[0] for row in ROWS]
    assert bars[0, 1:6].tolist() == [10_000, 11_000, 9_500, 10_500, 123_456]
    assert bars[1, 1:8].tolist() == [10_450] * 4 + [0, 0, 0]
    assert bars[2, VOLUME] == paths.MIN_VOLUME
    assert market.next_open(START + HOUR_MS + 1) == START + 3 * HOUR_MS
    assert market.next_open(START + 5 * HOUR_MS) is None
    for bar in bars:
        trades = market.trades("ETHUSDT", int(bar[TIME]))
        assert len(trades) == bar[COUNT]
        if len(trades):
            assert np.array_equal(bar_of_trades(int(bar[TIME]), trades.price, trades.quantity, trades.buyer_maker), bar)
    assert len(market.trades("ETHUSDT", START + 2 * HOUR_MS)) == 0


def test_a_quiet_bar_does_not_widen_the_day(tmp_path: Path) -> None:
    market = ReplayMarket.from_files([write_csv(tmp_path, ROWS[:2])])
    (day,) = market.klines("ETHUSDT", DAY_MS, 0, 2**62)
    assert day[1:6].tolist() == [10_000, 11_000, 9_500, 10_500, 123_456]


def test_all_file_kinds_hold_the_same_market(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import feather, parquet

    columns = list(zip(*ROWS, strict=True))
    names = ("date", "open", "high", "low", "close", "volume")
    table = pa.table(dict(zip(names, columns, strict=True)))
    stamped = table.set_column(0, "date", table.column("date").cast(pa.int64()).cast(pa.timestamp("ms", tz="UTC")))
    feather.write_feather(stamped, tmp_path / "ETH_USDT-1h.feather")
    parquet.write_table(table, tmp_path / "ETH_USDT-1h.parquet")
    iso = [(f"{np.datetime64(int(row[0]), 'ms')}+00:00", *row[1:]) for row in ROWS]
    files = [write_csv(tmp_path, iso), tmp_path / "ETH_USDT-1h.feather", tmp_path / "ETH_USDT-1h.parquet"]
    assert len({ReplayMarket.from_files([file]).source_id for file in files}) == 1


def test_several_markets_replay_together(tmp_path: Path) -> None:
    files = [write_csv(tmp_path, ROWS), write_csv(tmp_path, ROWS[1:], "SOLUSDT.csv")]
    market = ReplayMarket.from_files(files)
    assert set(market.specs) == {"ETHUSDT", "SOLUSDT"}
    daily = write_csv(tmp_path, [(START + n * DAY_MS, *ROWS[0][1:]) for n in range(3)], "BTC_USDT-1d.csv")
    with pytest.raises(UserError, match="different length"):
        ReplayMarket.from_files([files[0], daily])
    with pytest.raises(UserError, match="given twice"):
        ReplayMarket.from_files([files[0], files[0]])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ETH_USDT.feather", b"not an arrow file"),
        ("ETH_USDT.parquet", b"PAR1 broken"),
        ("ETH_USDT.csv", b""),
        ("ETH_USDT.csv", b"date,open\n1,2\n"),
        ("ETH_USDT.csv", b"\xff\xfe\x00"),
        ("ETH_USDT.txt", b"hello"),
        ("ETH_USDT.csv", b"date,open,high,low,close,volume\n1700000000,1,2,1,1,1\n"),
        ("ETH_USDT.csv", b"date,open,high,low,close,volume\n1700000000,1,0.5,1,1,1\n1700003600,1,2,1,1,1\n"),
        ("ETH_USDT.csv", b"date,open,high,low,close,volume\n1700000000,1,nan,1,1,1\n1700003600,1,2,1,1,1\n"),
        ("ETH_USDT.csv", b"date,open,high,low,close,volume\n1700000007,1,2,1,1,1\n1700000020,1,2,1,1,1\n"),
        ("nonsense.csv", b"date,open,high,low,close,volume\n1700000000,1,2,1,1,1\n1700003600,1,2,1,1,1\n"),
    ],
)
def test_unusable_files_are_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        ReplayMarket.from_files([file])
    assert "\n" not in refused.value.message
    assert refused.value.remedy


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        read_bars(tmp_path / "BTC_USDT.feather")


@settings(max_examples=200, deadline=None)
@given(
    corners=st.lists(st.integers(1, 10**9), min_size=4, max_size=4),
    volume=st.integers(paths.MIN_VOLUME, 10**11),
    pairs=st.integers(0, 300),
    buy=st.integers(0, 255),
    high_first=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_recipe_keeps_its_promise(
    corners: list[int], volume: int, pairs: int, buy: int, high_first: bool, seed: int
) -> None:
    low, start, end, high = sorted(corners)
    pairs = min(pairs, (volume - paths.MIN_VOLUME) // 4)
    recipe = np.array([0, start, high, low, end, volume, pairs, buy, high_first], np.int64)
    (bar,) = paths.bars_of(recipe[:, None])
    trades = paths.trades_of(recipe, HOUR_MS, np.random.default_rng(seed))
    assert (trades.quantity > 0).all()
    assert (trades.price >= low).all()
    assert bar[1:6].tolist() == [start, high, low, end, volume]
    if int(volume) * high < 2**62:
        assert np.array_equal(bar_of_trades(0, trades.price, trades.quantity, trades.buyer_maker), bar)


@pytest.mark.realdata
def test_real_bars_are_replayed_exactly(realdata: Path) -> None:
    file = realdata / "ohlcv_binance_btc_2017_2024" / "BTC_USDT-1h.feather"
    times, values = read_bars(file)
    market = ReplayMarket.from_files([file])
    bars = market.klines("BTCUSDT", HOUR_MS, 0, 2**62)
    assert np.array_equal(bars[:, TIME], times)
    assert np.abs(bars[:, VOLUME] / 1e5 - values[:, 4]).max() <= 0.5e-5 + 1e-9
    traded = bars[:, VOLUME] > 0
    assert (~traded).sum() == 4
    assert np.abs(bars[traded, 1:5] / 100 - values[traded, :4]).max() < 0.00501
